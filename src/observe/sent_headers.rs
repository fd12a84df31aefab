//! Which workstation sends messages without the header fields that practice software has to write, or
//! uses a Message-ID again. Counted and shown; no message is changed or refused for it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::record::{rfc3339, shown};
use super::status::SentHeadersStatus;
use super::{Event, SessionFacts};
use crate::words::RequiredField;

/// How long a Message-ID is remembered. Programs that count wrongly do so within a day, and a restart
/// forgets all of them anyway.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Message-IDs that are remembered at a time, of all accounts: a hash of eight bytes each. A hospital
/// sends about five thousand messages a day (gemSpec_Perf 5.4.1).
const MESSAGE_IDS: usize = 50_000;
/// Workstations that have a row of their own; those beyond share one. Without a name a workstation is
/// its address, and with `unknown_workstations = "allow"` there may be any number.
const WORKSTATIONS: usize = 1_000;
const FURTHER: &str = "(further workstations)";

/// What was counted since the start. One per observer.
#[derive(Default)]
pub(super) struct SentHeaders(Mutex<Table>);

#[derive(Default)]
struct Table {
    message_ids: MessageIds,
    workstations: BTreeMap<String, Row>,
}

/// One workstation's messages.
struct Row {
    messages: u64,
    missing: [u64; RequiredField::ALL.len()],
    reused: u64,
    /// When the latest message came that lacked something.
    last: OffsetDateTime,
}

impl SentHeaders {
    /// Notes a message that was sent. True: its account has used its Message-ID before.
    pub(super) fn note(&self, event: &Event<'_>, now: Instant, time: OffsetDateTime) -> bool {
        let Event::MessageSent { session, message_id, missing, accepted, .. } = *event else {
            return false;
        };
        let mut table = self.table();
        // What was refused, or may not have come through, is rightly sent again as it is.
        let is_sent = accepted == Ok(true);
        let reused =
            is_sent && message_id.is_some_and(|id| table.message_ids.meet(session, id, now));
        let row = table.row(&session.workstation_or_address(), time);
        row.messages += 1;
        for field in missing {
            row.missing[*field as usize] += 1;
        }
        row.reused += u64::from(reused);
        if reused || !missing.is_empty() {
            row.last = time;
        }
        reused
    }

    /// The workstations of which some message lacked something.
    pub(super) fn status(&self) -> Vec<SentHeadersStatus> {
        let table = self.table();
        let rows = table.workstations.iter().filter(|(_, row)| row.is_faulty());
        rows.map(|(workstation, row)| row.status(workstation)).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn row(&mut self, workstation: &str, time: OffsetDateTime) -> &mut Row {
        let is_full = self.workstations.len() >= WORKSTATIONS;
        let name = match is_full && !self.workstations.contains_key(workstation) {
            true => FURTHER,
            false => workstation,
        };
        let new = || Row { messages: 0, missing: Default::default(), reused: 0, last: time };
        self.workstations.entry(name.to_owned()).or_insert_with(new)
    }
}

impl Row {
    fn is_faulty(&self) -> bool {
        self.reused > 0 || self.missing.iter().any(|count| *count > 0)
    }

    fn status(&self, workstation: &str) -> SentHeadersStatus {
        let missing = RequiredField::ALL.iter().zip(self.missing).filter(|(_, count)| *count > 0);
        SentHeadersStatus {
            workstation: shown(workstation),
            messages: self.messages,
            missing: missing.map(|(field, count)| (field.as_str().to_owned(), count)).collect(),
            reused_message_ids: self.reused,
            last: rfc3339(self.last),
        }
    }
}

/// The Message-IDs of late, as hashes with a key that is never stored.
#[derive(Default)]
struct MessageIds {
    hasher: RandomState,
    known: HashSet<u64>,
    /// The oldest first.
    order: VecDeque<(Instant, u64)>,
}

impl MessageIds {
    /// Remembers this one; true if it was known.
    fn meet(&mut self, session: &SessionFacts, message_id: &str, now: Instant) -> bool {
        // A long one comes cut, and others may begin like it.
        if message_id.is_empty() || message_id.ends_with('\u{2026}') {
            return false;
        }
        while let Some((at, hash)) = self.order.front() {
            if self.order.len() < MESSAGE_IDS && now.saturating_duration_since(*at) < WINDOW {
                break;
            }
            self.known.remove(hash);
            self.order.pop_front();
        }
        let hash = self.hasher.hash_one((&session.account, message_id));
        let is_new = self.known.insert(hash);
        if is_new {
            self.order.push_back((now, hash));
        }
        !is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kim::Account;
    use crate::words::{Protocol, Reason};

    struct Case {
        sent: SentHeaders,
        now: Instant,
    }

    fn session(workstation: &str, account: &str) -> SessionFacts {
        let peer = "192.0.2.1:50000".parse().unwrap();
        let mut session = SessionFacts::new(Protocol::Smtp, "smtps".into(), peer);
        session.workstation = (!workstation.is_empty()).then(|| workstation.into());
        session.account = Some(Account::new(account));
        session
    }

    impl Case {
        fn new() -> Self {
            Self { sent: SentHeaders::default(), now: Instant::now() }
        }

        fn send(
            &self,
            session: &SessionFacts,
            message_id: Option<&str>,
            missing: &[RequiredField],
            accepted: Result<bool, Reason>,
        ) -> bool {
            let event = Event::MessageSent {
                session,
                bytes: 1,
                seconds: 0.0,
                service: None,
                message_id,
                missing,
                recipients: 1,
                accepted,
                left_after: None,
                reply: "250",
                added: &[],
            };
            self.sent.note(&event, self.now, OffsetDateTime::UNIX_EPOCH)
        }
    }

    #[test]
    fn what_a_workstation_s_messages_lack_is_counted_by_field() {
        let case = Case::new();
        let (pc1, pc2, stranger) =
            (session("PC1", "a@b.de"), session("PC2", "a@b.de"), session("", "x@y.de"));
        for at in 0..3 {
            let id = format!("<{at}@pc1>");
            case.send(&pc1, Some(&id), &[RequiredField::UserAgent], Ok(true));
        }
        case.send(&pc1, None, &[RequiredField::MessageId, RequiredField::UserAgent], Ok(false));
        case.send(&pc2, Some("<1@pc2>"), &[], Ok(true));
        case.send(&stranger, Some("<1@x>"), &[RequiredField::Support], Ok(true));
        let told = case.sent.status();
        let told: Vec<_> =
            told.iter().map(|row| (row.workstation.as_str(), row.messages)).collect();
        assert_eq!(told, [("192.0.2.1", 1), ("PC1", 4)], "PC2 has nothing to mend");
        let pc1 = &case.sent.status()[1];
        let missing: Vec<_> =
            pc1.missing.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(missing, [("Message-ID", 1), ("X-TI-User-Agent", 4)]);
        assert_eq!(pc1.reused_message_ids, 0);
    }

    #[test]
    fn a_message_id_is_used_again_if_its_account_has_sent_it_within_the_window() {
        let mut case = Case::new();
        let (one, other) = (session("PC1", "a@b.de"), session("PC1", "c@b.de"));
        assert!(!case.send(&one, Some("<1@x>"), &[], Ok(false)), "refused");
        assert!(!case.send(&one, Some("<1@x>"), &[], Err(Reason::ClientModuleUnreachable)), "lost");
        assert!(!case.send(&one, Some("<1@x>"), &[], Ok(true)), "the try that went through");
        assert!(!case.send(&other, Some("<1@x>"), &[], Ok(true)), "another account");
        assert!(!case.send(&one, Some("<1@X>"), &[], Ok(true)), "another Message-ID");
        let from_pc2 = session("PC2", "A@b.de");
        assert!(case.send(&from_pc2, Some("<1@x>"), &[], Ok(true)), "wherever it is sent");
        for odd in [None, Some(""), Some("<long\u{2026}")] {
            assert!(!case.send(&one, odd, &[], Ok(true)));
            assert!(!case.send(&one, odd, &[], Ok(true)), "not to be told apart: {odd:?}");
        }
        assert_eq!(case.sent.status().len(), 1, "PC2 alone");
        case.now += WINDOW;
        assert!(!case.send(&one, Some("<1@x>"), &[], Ok(true)), "forgotten");
    }

    #[test]
    fn memory_is_bounded() {
        let case = Case::new();
        for at in 0..2 * MESSAGE_IDS {
            let session = session(&format!("PC{}", at % (2 * WORKSTATIONS)), "a@b.de");
            case.send(&session, Some(&format!("<{at}@x>")), &[RequiredField::Support], Ok(true));
        }
        let table = case.sent.table();
        assert!(table.message_ids.known.len() <= MESSAGE_IDS);
        assert_eq!(table.message_ids.known.len(), table.message_ids.order.len());
        assert_eq!(table.workstations.len(), WORKSTATIONS + 1);
        let counted: u64 = table.workstations.values().map(|row| row.messages).sum();
        assert_eq!(counted, 2 * MESSAGE_IDS as u64, "none is lost");
    }
}

//! Messages that came undecrypted: noted before their end is passed on, and not deleted.

use std::collections::{HashMap, HashSet};

use super::Driver;
use crate::gateway::turns::HoldOutcome;
use crate::held::{Digest, Undecrypted};
use crate::kim::Evidence;
use crate::observe::{Event, HeldHow, HeldStatus, ReleasedBy};
use crate::proto::header::HeaderReader;
use crate::proto::relay::{StepReport, Uid, UidDue, Verdict};
use crate::words::Reason;

/// Numbers of messages that a session remembers; no mailbox is that full.
const REMEMBERED: usize = 100_000;

/// What a session knows of the messages that it fetched, by their numbers. The register knows them by
/// what the client module calls them; this also holds where it cannot.
#[derive(Default)]
pub(super) struct Fetched {
    /// With what the register knows them by, where it can.
    undecrypted: HashMap<u32, Option<Digest>>,
    /// Only of maildrops of which something is held.
    decrypted: HashSet<u32>,
}

/// How a message came.
enum Came {
    /// The header says that the client module could not decrypt it, or may say so where it was not read.
    Undecrypted(String),
    Decrypted,
}

impl Driver {
    /// A message is here, and its end was not passed on yet: the workstation does not have all of it
    /// before the register does.
    pub(super) async fn fetched(
        &mut self,
        number: u32,
        is_whole: bool,
        came: &HeaderReader,
        uid: Uid<'_>,
    ) -> StepReport {
        let protection = &self.pair.loaded.config.protection;
        let (is_on, hold) =
            (protection.hold_delete_on_failed_decryption, protection.hold_undecrypted);
        if !is_on {
            return PASS;
        }
        let register = !hold.is_zero();
        match (how_it_came(came), uid) {
            (Came::Undecrypted(_), Uid::Unasked) => {
                self.fetched.decrypted.remove(&number);
                if self.fetched.undecrypted.len() < REMEMBERED {
                    self.fetched.undecrypted.insert(number, None);
                }
                if register { StepReport::NeedUid(UidDue::Now) } else { PASS }
            }
            (Came::Undecrypted(cause), Uid::Unknown) => {
                self.report_held(number, &cause, None, HeldHow::UidUnknown);
                PASS
            }
            (Came::Undecrypted(cause), Uid::Is(uid)) => {
                self.hold(number, uid, cause).await;
                PASS
            }
            // A preview is not what somebody could read.
            (Came::Decrypted, _) if !is_whole => PASS,
            (Came::Decrypted, Uid::Unasked) => {
                self.fetched.undecrypted.remove(&number);
                if !register || !self.pair.shared.turns.has_held(&self.maildrop()) {
                    return PASS;
                }
                if self.fetched.decrypted.len() < REMEMBERED {
                    self.fetched.decrypted.insert(number);
                }
                StepReport::NeedUid(UidDue::AfterAnswer)
            }
            (Came::Decrypted, Uid::Unknown) => PASS,
            (Came::Decrypted, Uid::Is(uid)) => {
                let (maildrop, turns) = (self.maildrop(), &self.pair.shared.turns);
                if let Some(message) = turns.came_decrypted(maildrop, uid, hold).await {
                    self.pair.shared.observer.emit(Event::MessageReleased {
                        session: Some(&self.pair.facts),
                        message: &HeldStatus::from(message),
                        by: ReleasedBy::Fetch,
                    });
                }
                PASS
            }
        }
    }

    /// Whether a message that the rules let go may be deleted as far as its decryption goes.
    pub(super) fn judge_held(&self, number: u32, uid: Uid<'_>) -> StepReport {
        let protection = &self.pair.loaded.config.protection;
        if !protection.hold_delete_on_failed_decryption {
            return PASS;
        }
        let hold = protection.hold_undecrypted;
        let turns = &self.pair.shared.turns;
        let is_held = match uid {
            // It may have been released since it was fetched here.
            Uid::Unasked if let Some(known) = self.fetched.undecrypted.get(&number) => {
                let is_let_go = |message| turns.is_held(&message, hold) == Some(false);
                hold.is_zero() || !known.is_some_and(is_let_go)
            }
            Uid::Unasked if self.fetched.decrypted.contains(&number) => false,
            Uid::Unasked if !hold.is_zero() && turns.has_held(&self.maildrop()) => {
                return StepReport::NeedUid(UidDue::Now);
            }
            Uid::Unasked => false,
            Uid::Is(uid) => {
                let message = turns.message(&self.maildrop(), uid);
                turns.is_held(&message, hold) == Some(true)
            }
            // Something of this maildrop is held, and it may be this.
            Uid::Unknown => true,
        };
        if !is_held {
            return PASS;
        }
        let session = &self.pair.facts;
        self.pair.shared.observer.emit(Event::DeleteHeld { session, number });
        StepReport::Verdict(Verdict::Refuse(Reason::DeleteHeld))
    }

    async fn hold(&mut self, number: u32, uid: &str, cause: String) {
        let message = self.pair.shared.turns.message(&self.maildrop(), uid);
        if let Some(known) = self.fetched.undecrypted.get_mut(&number) {
            *known = Some(message);
        }
        let pair = &self.pair;
        let message = Undecrypted {
            maildrop: self.maildrop(),
            uid: uid.to_owned(),
            account: pair.shared.observer.audited_account(&pair.facts),
            workstation: pair.facts.workstation_or_address().to_string(),
            cause: cause.clone(),
        };
        let hold = pair.loaded.config.protection.hold_undecrypted;
        match pair.shared.turns.hold(message, hold).await {
            HoldOutcome::Held(id) => self.report_held(number, &cause, Some(&id), HeldHow::Stored),
            HoldOutcome::Known => {}
            HoldOutcome::LetGo => {
                self.fetched.undecrypted.remove(&number);
            }
            HoldOutcome::InMemory => self.report_held(number, &cause, None, HeldHow::InMemory),
            HoldOutcome::Full => self.report_held(number, &cause, None, HeldHow::RegisterFull),
        }
    }

    fn report_held(&self, number: u32, cause: &str, id: Option<&str>, how: HeldHow) {
        let session = &self.pair.facts;
        let event = Event::MessageHeld { session, number, id, cause, how };
        self.pair.shared.observer.emit(event);
    }

    /// The account at its own client module, whether that or its standby was dialled.
    fn maildrop(&self) -> Digest {
        let permit = &self.pair.permit;
        self.pair.shared.turns.maildrop(permit.client_module(), permit.account())
    }
}

const PASS: StepReport = StepReport::Verdict(Verdict::Pass);

fn how_it_came(header: &HeaderReader) -> Came {
    if header.is_over_limit() {
        return Came::Undecrypted("header not read".to_owned());
    }
    let values = |name| header.values(name).collect::<Vec<_>>();
    let evidence = Evidence {
        decryption: &values("X-KIM-DecryptionResult"),
        errors: &values("X-KIM-Fehlermeldung"),
        subjects: &values("Subject"),
    };
    evidence.cause().map_or(Came::Decrypted, Came::Undecrypted)
}

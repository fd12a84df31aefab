//! Repeated refusals become one line a minute, so that what is refused cannot fill the audit and
//! the log. The first of a kind is written at once. What follows within a minute is counted, and written
//! as one line when the minute is over, or when the process ends.
//!
//! The time comes in as a value. Nothing here is asked about a login or a message that went through.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::SessionFacts;
use super::record::{Foldable, Record, RecordedEvent, shown};
use crate::kim::{Account, LoginWarning};

/// How long lines of one kind are counted before they are written as one.
const WINDOW: Duration = Duration::from_secs(60);
/// Kinds that one source may have in a window. Further refusals of it count together, whatever the
/// account or rule: names that a stranger makes up must not become lines of their own.
const KINDS_OF_A_SOURCE: u32 = 20;
/// Kinds that are known at a time. Further refusals count together, whatever their source.
const KINDS: usize = 2048;
/// Lines within a window that all addresses without a name may have at once, together. A thousand of them
/// with their own allowances would fill the audit all the same.
const AT_ONCE_OF_STRANGERS: u32 = 6_000;

/// What was counted. One per observer.
#[derive(Default)]
pub(super) struct Folds(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Keyed, so that no one can choose names whose hashes are equal.
    hasher: RandomState,
    kinds: HashMap<u64, Kind>,
    /// How many kinds a source has.
    sources: HashMap<u64, u32>,
    strangers: Allowance,
}

/// How many more lines addresses without a name may have at once.
#[derive(Default)]
struct Allowance {
    until: Option<Instant>,
    left: u32,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| until <= now) {
            *self = Self { until: Some(now + WINDOW), left: AT_ONCE_OF_STRANGERS };
        }
        let less = self.left.checked_sub(1);
        self.left = less.unwrap_or(0);
        less.is_some()
    }
}

/// Lines that differ in nothing that matters.
struct Kind {
    /// The end of the window.
    until: Instant,
    /// How many more may be written at once in this window.
    allowed: u32,
    source: u64,
    folded: Option<Folded>,
}

/// Lines that were counted and not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// How many.
    pub(super) count: u64,
    /// When the first of them happened.
    pub(super) since: String,
    /// The word of the event.
    pub(super) event: &'static str,
    pub(super) reason: Cow<'static, str>,
    /// A workstation, an address, or a network; empty for many.
    pub(super) source: String,
    pub(super) account: Option<String>,
    pub(super) rule: Option<String>,
    /// What the first of them said, without session and port; `None` for what stands in the log only.
    what: Option<String>,
}

/// How much the lines of a kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// Everything but the session and its port.
    Same,
    /// Not the account and the rule either.
    Source,
    /// Only what happened.
    Any,
}

impl Folds {
    /// Whether to write this line. If not, it was counted. `was_admitted`: whether a login was accepted on
    /// the session that ends.
    pub(super) fn admit(
        &self,
        session: Option<&SessionFacts>,
        was_admitted: bool,
        record: &Record<'_>,
        now: Instant,
    ) -> bool {
        let (Some(session), Some(foldable)) = (session, record.what.foldable(was_admitted)) else {
            return true;
        };
        self.table().admit_session(session, &foldable, Some(record), now)
    }

    /// The same for a warning about a login, which the audit has no line for.
    pub(super) fn admit_warning(
        &self,
        session: &SessionFacts,
        warning: LoginWarning,
        now: Instant,
    ) -> bool {
        let foldable = Foldable {
            event: "login-warning",
            reason: warning.problem().into(),
            action: "",
            account: None,
            rule: None,
            about: Cow::Borrowed(session.account.as_ref().map_or("", Account::as_str)),
            at_once: 1,
        };
        self.table().admit_session(session, &foldable, None, now)
    }

    /// The same for an address that may not use the admin address.
    pub(super) fn admit_admin(&self, peer: IpAddr, now: Instant) -> bool {
        let foldable = Foldable {
            event: "admin",
            reason: "not in admin.allow".into(),
            action: "",
            account: None,
            rule: None,
            about: Cow::Borrowed(""),
            at_once: 1,
        };
        self.table().admit(&Source::of_address(peer), true, &foldable, None, now)
    }

    /// Lines whose window is over.
    pub(super) fn due(&self, now: Instant) -> Vec<Folded> {
        let mut table = self.table();
        let mut due = Vec::new();
        table.kinds.retain(|_, kind| {
            if now < kind.until {
                return true;
            }
            let folded = kind.folded.take();
            // It goes on, so what follows is counted as well: one line a minute, not two.
            let goes_on = folded.is_some();
            due.extend(folded);
            (kind.until, kind.allowed) = (now + WINDOW, 0);
            goes_on
        });
        table.count_sources();
        due
    }

    /// Everything that was counted up to now.
    pub(super) fn all(&self) -> Vec<Folded> {
        self.table().kinds.values_mut().filter_map(|kind| kind.folded.take()).collect()
    }

    /// When something may be due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.table().kinds.values().map(|kind| kind.until).min()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn admit_session(
        &mut self,
        session: &SessionFacts,
        foldable: &Foldable<'_>,
        record: Option<&Record<'_>>,
        now: Instant,
    ) -> bool {
        self.admit(&Source::of(session), session.workstation.is_none(), foldable, record, now)
    }

    fn admit(
        &mut self,
        from: &Source<'_>,
        is_stranger: bool,
        foldable: &Foldable<'_>,
        record: Option<&Record<'_>>,
        now: Instant,
    ) -> bool {
        let source = self.hash(from);
        let Foldable { event, reason, action, account, rule, about, at_once } = foldable;
        let same = self.hash(&(event, reason, action, source, account, rule, about));
        let (key, width) = if self.kinds.contains_key(&same) {
            (same, Width::Same)
        } else if self.is_full() && is_stranger {
            (self.hash(&(event, reason)), Width::Any)
        } else if self.sources.get(&source).is_some_and(|kinds| *kinds >= KINDS_OF_A_SOURCE) {
            (self.hash(&(event, reason, source)), Width::Source)
        } else {
            (same, Width::Same)
        };
        let kind = match self.kinds.get_mut(&key) {
            Some(kind) => kind,
            None => {
                *self.sources.entry(source).or_default() += 1;
                let new = Kind { until: now + WINDOW, allowed: *at_once, source, folded: None };
                self.kinds.entry(key).or_insert(new)
            }
        };
        if kind.until <= now && kind.folded.is_none() {
            (kind.until, kind.allowed) = (now + WINDOW, *at_once);
        }
        if let Some(less) = kind.allowed.checked_sub(1)
            && (!is_stranger || self.strangers.take(now))
        {
            kind.allowed = less;
            return true;
        }
        match &mut kind.folded {
            Some(folded) => folded.count += 1,
            None => kind.folded = Some(Folded::new(from, foldable, record, width)),
        }
        false
    }

    /// Beyond this only kinds without a source are added, and kinds of configured workstations. There are
    /// few of both.
    fn is_full(&self) -> bool {
        self.kinds.len() >= KINDS
    }

    fn count_sources(&mut self) {
        self.sources.clear();
        for kind in self.kinds.values() {
            *self.sources.entry(kind.source).or_default() += 1;
        }
    }

    fn hash(&self, value: &impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

/// Who is refused.
#[derive(Hash)]
enum Source<'a> {
    Workstation(&'a str),
    Address(IpAddr),
    /// The first 64 bits of an IPv6 address, within which a machine chooses its addresses itself.
    Network(u64),
}

impl<'a> Source<'a> {
    fn of(session: &'a SessionFacts) -> Self {
        match &session.workstation {
            Some(name) => Self::Workstation(name),
            None => Self::of_address(session.peer.ip()),
        }
    }

    fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Self::Network((u128::from(address) >> 64) as u64)
            }
            address @ (IpAddr::V4(_) | IpAddr::V6(_)) => Self::Address(address),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Workstation(name) => shown(name),
            Self::Address(address) => address.to_string(),
            Self::Network(bits) => {
                format!("{}/64", std::net::Ipv6Addr::from(u128::from(*bits) << 64))
            }
        }
    }
}

impl Folded {
    fn new(
        from: &Source<'_>,
        foldable: &Foldable<'_>,
        record: Option<&Record<'_>>,
        width: Width,
    ) -> Self {
        let source = if width == Width::Any { String::new() } else { from.shown() };
        let named = |text: &Option<&str>| text.filter(|_| width == Width::Same).map(str::to_owned);
        let what = record.map(|record| record.what.folded(width, &source));
        Self {
            count: 1,
            since: record.map(|record| record.time.clone()).unwrap_or_default(),
            event: foldable.event,
            reason: Cow::Owned(foldable.reason.clone().into_owned()),
            account: named(&foldable.account),
            rule: named(&foldable.rule),
            source,
            what: what.and_then(|what| serde_json::to_string(&what).ok()),
        }
    }

    /// The audit line: what the first of them said, with `count` and `since`.
    pub(super) fn line(&self, time: &str) -> Option<Vec<u8>> {
        #[derive(Serialize)]
        struct Added<'a> {
            count: u64,
            since: &'a str,
        }
        let what = self.what.as_deref()?.strip_prefix('{')?.strip_suffix('}')?;
        let added = serde_json::to_string(&Added { count: self.count, since: &self.since }).ok()?;
        Some(format!("{{\"time\":\"{time}\",{what},{}", added.strip_prefix('{')?).into_bytes())
    }
}

impl RecordedEvent<'_> {
    /// The same, as far as it holds for all lines that are counted with it.
    fn folded(&self, width: Width, source: &str) -> Self {
        let mut all = self.clone();
        let Some(about) = all.about_mut() else { return all };
        about.session.clear();
        let from_workstation = about.workstation.is_some();
        about.peer = match width {
            Width::Same | Width::Source if from_workstation => {
                let peer = about.peer.parse().map(|peer: std::net::SocketAddr| peer.ip());
                peer.map_or_else(|_| String::new(), |ip| ip.to_canonical().to_string())
            }
            Width::Same | Width::Source => source.to_owned(),
            Width::Any => String::new(),
        };
        if width > Width::Same {
            (about.account, about.mandant_id) = (None, None);
            (about.clientsystem_id, about.workplace_id, about.client_module) = (None, None, None);
        }
        if width == Width::Any {
            (about.workstation, about.users) = (None, Vec::new());
        }
        if width > Width::Same {
            all.forget_rule();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::Value;
    use time::OffsetDateTime;

    use super::super::{Event, Pseudonyms};
    use super::*;
    use crate::kim::Account;
    use crate::words::{Action, CloseReason, Protocol, Reason};

    const SECOND: Duration = Duration::from_secs(1);

    /// A table and what it lets through.
    struct Case {
        folds: Folds,
        now: Instant,
        written: usize,
    }

    impl Case {
        fn new() -> Self {
            Self { folds: Folds::default(), now: Instant::now(), written: 0 }
        }

        fn say(&mut self, event: &Event<'_>) -> bool {
            let record =
                Record::new(event, OffsetDateTime::UNIX_EPOCH, &Pseudonyms::Off, &Pseudonyms::Off);
            let admitted = self.folds.admit(event.session(), false, &record, self.now);
            self.written += usize::from(admitted);
            admitted
        }

        /// A login of this account from this address is refused.
        fn refuse(&mut self, peer: &str, account: &str) -> bool {
            let mut session = session(peer);
            session.account = Some(Account::new(account));
            self.say(&denied(&session, Reason::NotAllowed, true))
        }

        fn due(&mut self) -> Vec<Value> {
            let folded = self.folds.due(self.now);
            folded.iter().map(line).collect()
        }
    }

    fn session(peer: &str) -> SessionFacts {
        let peer: SocketAddr = peer.parse().unwrap();
        SessionFacts::new(Protocol::Pop3, "pop3s".into(), peer)
    }

    fn denied(session: &SessionFacts, reason: Reason, enforced: bool) -> Event<'_> {
        Event::Denied {
            session,
            action: Action::Login,
            reason,
            rule: Some("policy.mode"),
            enforced,
        }
    }

    fn line(folded: &Folded) -> Value {
        serde_json::from_slice(&folded.line("2027-01-01T00:00:00.000Z").unwrap()).unwrap()
    }

    #[test]
    fn a_flood_of_refusals_is_one_line_at_once_and_one_a_minute() {
        let mut case = Case::new();
        for minute in 0..3 {
            for n in 0..10_000 {
                let first = case.refuse(&format!("192.0.2.1:{n}"), "prx@praxis.kim.telematik");
                assert_eq!(first, (minute, n) == (0, 0));
            }
            assert_eq!(case.due(), [Value::Null; 0], "the minute is not over");
            case.now += 60 * SECOND;
            let [line] = case.due().try_into().unwrap();
            let count = if minute == 0 { 9_999 } else { 10_000 };
            assert_eq!((&line["count"], &line["event"]), (&count.into(), &"denied".into()));
            assert_eq!(
                (&line["peer"], &line["reason"]),
                (&"192.0.2.1".into(), &"not-allowed".into())
            );
            assert_eq!(line["account"], "prx@praxis.kim.telematik");
            assert_eq!((&line["rule"], line.get("session")), (&"policy.mode".into(), None));
            assert_eq!(line["since"], "1970-01-01T00:00:00.000Z");
        }
        case.now += 60 * SECOND;
        assert!(case.due().is_empty() && case.folds.next().is_none(), "all is forgotten");
        assert!(case.refuse("192.0.2.1:1", "prx@praxis.kim.telematik"), "written at once again");
    }

    #[test]
    fn refusals_that_differ_are_told_apart() {
        let mut case = Case::new();
        assert!(case.refuse("192.0.2.1:1", "a@x.de"));
        assert!(case.refuse("192.0.2.1:1", "b@x.de"), "another account");
        assert!(case.refuse("192.0.2.2:1", "a@x.de"), "another address");
        let session = session("192.0.2.1:1");
        assert!(case.say(&denied(&session, Reason::Denied, true)), "another reason");
        assert!(!case.refuse("192.0.2.1:2", "a@x.de"), "another port");
    }

    #[test]
    fn names_that_a_stranger_makes_up_are_no_lines_of_their_own() {
        let mut case = Case::new();
        for n in 0..10_000 {
            case.refuse("192.0.2.1:1", &format!("a{n}@x.de"));
        }
        assert!(case.written <= 25, "{} lines", case.written);
        case.now += 60 * SECOND;
        let lines = case.due();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].get("account").is_none() && lines[0].get("rule").is_none());
        assert_eq!(lines[0]["peer"], "192.0.2.1");
        assert_eq!(lines[0]["count"].as_u64().unwrap() + case.written as u64, 10_000);
    }

    #[test]
    fn addresses_without_number_are_few_lines_and_little_memory() {
        let mut case = Case::new();
        for n in 0..100_000_u32 {
            case.refuse(&format!("[2001:db8:{:x}:{:x}::1]:1", n >> 16, n & 0xffff), "a@x.de");
        }
        assert!(case.written <= KINDS + 10, "{} lines", case.written);
        assert!(case.folds.table().kinds.len() <= KINDS + 10);
        let mut pc1 = session("192.0.2.1:1");
        pc1.workstation = Some("PC1".into());
        assert!(
            case.say(&denied(&pc1, Reason::Denied, true)),
            "a configured workstation keeps its line"
        );
        case.now += 60 * SECOND;
        let lines = case.due();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].get("peer").is_none() && lines[0].get("account").is_none());
        case.now += 120 * SECOND;
        case.due();
        assert!(case.folds.table().sources.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_thousand_strangers_that_connect_again_and_again_do_not_fill_the_audit() {
        let mut case = Case::new();
        for _ in 0..60 {
            for n in 0..1000_u16 {
                let [high, low] = n.to_be_bytes();
                case.say(&Event::Connected(&session(&format!("192.0.{high}.{low}:1"))));
            }
        }
        assert_eq!(case.written, AT_ONCE_OF_STRANGERS as usize);
        let mut pc1 = session("192.0.2.1:1");
        pc1.workstation = Some("PC1".into());
        assert!(case.say(&Event::Connected(&pc1)), "a configured workstation keeps its line");
        case.now += 60 * SECOND;
        let counts = case.due().iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(counts, 60_000 - u64::from(AT_ONCE_OF_STRANGERS), "and none is forgotten");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let mut case = Case::new();
        for n in 0..1000 {
            case.refuse(&format!("[2001:db8::{n:x}]:1"), "a@x.de");
        }
        assert_eq!(case.written, 1);
        case.now += 60 * SECOND;
        assert_eq!(case.due()[0]["peer"], "2001:db8::/64");
    }

    #[test]
    fn a_practice_behind_one_address_keeps_every_line_and_a_flood_of_connections_does_not() {
        let mut case = Case::new();
        let session = session("192.0.2.1:1");
        let closed = Event::Closed {
            session: &session,
            close: CloseReason::Ok,
            bytes_to_client: 0,
            bytes_to_module: 0,
            seconds: 0.0,
        };
        for n in 0..1000 {
            let both = [case.say(&Event::Connected(&session)), case.say(&closed)];
            assert_eq!(both, [n < 60; 2], "{n}");
        }
        let record = |event| {
            Record::new(event, OffsetDateTime::UNIX_EPOCH, &Pseudonyms::Off, &Pseudonyms::Off)
        };
        let admitted = case.folds.admit(Some(&session), true, &record(&closed), case.now);
        assert!(admitted, "the end of a session that was logged in is always written");
    }

    #[test]
    fn what_went_through_is_never_folded() {
        let mut case = Case::new();
        let session = session("192.0.2.1:1");
        for _ in 0..100 {
            assert!(case.say(&Event::MessageDeleted { session: &session, number: 1 }));
            assert!(case.say(&denied(&session, Reason::Denied, false)), "observe mode");
        }
        assert!(case.folds.next().is_none());
    }

    #[test]
    fn what_was_counted_is_given_at_the_end() {
        let mut case = Case::new();
        for _ in 0..5 {
            case.refuse("192.0.2.1:1", "a@x.de");
        }
        let all = case.folds.all();
        assert_eq!((all.len(), all[0].count), (1, 4));
        assert!(case.folds.all().is_empty());
    }
}

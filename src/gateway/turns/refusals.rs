//! The recent refusals of each login, or of each account, at one workstation, and how long it waits for
//! them. Time is an argument everywhere.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::fingerprint::Fingerprint;
use crate::kim::Account;

/// Refusals are forgotten after this many pauses without a new refusal. A password that the client
/// module called wrong may become right, so even it must be tried again some day.
const REMEMBERED_PAUSES: u32 = 12;

/// Logins that are remembered. If there is one more, the one with the oldest refusal is forgotten.
pub(super) const LOGINS: usize = 10_000;

/// Refused passwords that are remembered of one login. If there is one more, the oldest is forgotten.
const PASSWORDS: usize = 8;

/// Bytes of a reply that are remembered: a reply line's limit in RFC 5321, section 4.5.3.1.5.
const REPLY: usize = 512;

/// In a pause, a login may try one new password in this time.
const NEW_PASSWORD: Duration = Duration::from_secs(60);

/// The recent refusals by fingerprint: of a login or an account, at one workstation.
#[derive(Debug)]
pub(super) struct RefusalTable {
    failures: u32,
    pause: Duration,
    memory: Duration,
    refusals: HashMap<Fingerprint, Refusals>,
    /// How many attempts wait for the client module's answer. An entry belongs to a connection, so
    /// the limit on connections bounds this.
    in_flight: HashMap<Fingerprint, u32>,
}

/// The refusals of one login or account at one workstation.
#[derive(Debug)]
struct Refusals {
    count: u32,
    last: Instant,
    /// Why the client module refused each password the last time. Oldest first.
    passwords: Vec<(Fingerprint, Cause)>,
    cause: Cause,
    reply: Arc<str>,
    whose: Whose,
    /// When a new password was let through although the pause had not ended.
    new_password: Option<Instant>,
}

/// Why a client module refused a login, as far as its words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It said so in a code for wrong passwords.
    WrongPassword,
    /// Perhaps the password, perhaps a locked card.
    Unclear,
}

/// Where a login comes from, and its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    /// The workstation's name, or its address where it has no name.
    pub(crate) workstation: Arc<str>,
    /// The login's account.
    pub(crate) account: Account,
}

/// The login must not go to the client module yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    /// For how much longer this login waits with this password.
    pub(crate) remaining: Duration,
    /// The first line of the client module's last refusal.
    pub(crate) last_reply: Arc<str>,
}

/// Why an attempt may go to the client module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Nothing is paused.
    Free,
    /// There is a pause, and the password is a new one.
    NewPassword,
}

/// A login or an account that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waits<'a> {
    pub(super) whose: &'a Whose,
    /// How long every password that was tried before waits. Zero where only wrong ones do.
    pub(super) pause: Duration,
    /// How long the passwords wait that the client module called wrong, where there are such.
    pub(super) wrong_passwords: Option<Duration>,
    pub(super) refusals: u32,
    /// Of the last refusal.
    pub(super) cause: Cause,
    pub(super) reply: &'a str,
}

impl RefusalTable {
    /// Pauses a login for `pause` after `failures` refusals. If either is zero, it never does.
    pub(super) fn new(failures: u32, pause: Duration) -> Self {
        let (refusals, in_flight) = (HashMap::new(), HashMap::new());
        let mut table = Self { failures, pause, memory: pause, refusals, in_flight };
        table.adjust(failures, pause);
        table
    }

    /// Applies other bounds. Refusals so far stay counted.
    pub(super) fn adjust(&mut self, failures: u32, pause: Duration) {
        let memory = pause.saturating_mul(REMEMBERED_PAUSES);
        (self.failures, self.pause, self.memory) = (failures, pause, memory);
    }

    /// Whether this login may go to the client module with this password. After too many refusals,
    /// - a password that the client module called wrong waits until the refusals are forgotten,
    /// - another one that was refused waits for the pause: a card may have been locked,
    /// - a new one goes at once, now and then: somebody corrects what he typed.
    pub(super) fn check(
        &self,
        login: Fingerprint,
        password: Fingerprint,
        lets_new_passwords_through: bool,
        now: Instant,
    ) -> Result<Pass, Paused> {
        let Some(refusals) = self.refusals_that_pause(login, now) else { return Ok(Pass::Free) };
        let tried = refusals.passwords.iter().find(|(tried, _)| *tried == password);
        let since = now.saturating_duration_since(refusals.last);
        let mut remaining = match tried {
            Some((_, Cause::WrongPassword)) => self.memory,
            Some((_, Cause::Unclear)) | None => self.pause,
        }
        .saturating_sub(since);
        if remaining.is_zero() {
            return Ok(Pass::Free);
        }
        if tried.is_none() && lets_new_passwords_through {
            let wait = refusals.new_password.map_or(Duration::ZERO, |last| {
                NEW_PASSWORD.saturating_sub(now.saturating_duration_since(last))
            });
            if wait.is_zero() {
                return Ok(Pass::NewPassword);
            }
            remaining = remaining.min(wait);
        }
        Err(Paused { remaining, last_reply: Arc::clone(&refusals.reply) })
    }

    /// Whether this login has refusals.
    pub(super) fn has_refusals(&self, login: Fingerprint, now: Instant) -> bool {
        self.remembered(login, now).is_some()
    }

    /// Whether the attempts that wait for their answers may use up what is left of the limit. One
    /// attempt at a time may always be sent, because the pause decides about it.
    pub(super) fn is_full(&self, login: Fingerprint, now: Instant) -> bool {
        if self.is_off() {
            return false;
        }
        let refused = self.remembered(login, now).map_or(0, |refusals| refusals.count);
        let left = self.failures.saturating_sub(refused).max(1);
        self.in_flight.get(&login).copied().unwrap_or(0) >= left
    }

    /// The attempt goes to the client module, for this reason.
    pub(super) fn begin(&mut self, login: Fingerprint, pass: Pass, now: Instant) {
        *self.in_flight.entry(login).or_insert(0) += 1;
        match (pass, self.refusals.get_mut(&login)) {
            (Pass::NewPassword, Some(refusals)) => refusals.new_password = Some(now),
            (Pass::NewPassword | Pass::Free, _) => {}
        }
    }

    /// The attempt does not wait for an answer any more.
    pub(super) fn end(&mut self, login: Fingerprint) {
        if let Entry::Occupied(mut waiting) = self.in_flight.entry(login) {
            match waiting.get().saturating_sub(1) {
                0 => drop(waiting.remove()),
                left => *waiting.get_mut() = left,
            }
        }
    }

    /// Counts a refusal with this first line of the reply.
    pub(super) fn refused(
        &mut self,
        login: Fingerprint,
        password: Fingerprint,
        (cause, reply): (Cause, &str),
        whose: &Whose,
        now: Instant,
    ) {
        if self.is_off() {
            return;
        }
        if self.remembered(login, now).is_none() {
            if self.refusals.len() >= LOGINS && !self.refusals.contains_key(&login) {
                self.drop_oldest();
            }
            self.refusals.insert(login, Refusals::none(whose, now));
        }
        if let Some(refusals) = self.refusals.get_mut(&login) {
            refusals.add(password, cause, reply, now);
        }
    }

    /// Forgets the refusals of this login.
    pub(super) fn accepted(&mut self, login: Fingerprint) {
        self.refusals.remove(&login);
    }

    /// Forgets the refusals of these. How many of them waited.
    pub(super) fn forget(&mut self, these: impl Fn(&Whose) -> bool, now: Instant) -> usize {
        let ended = self.waiting(now).filter(|waits| these(waits.whose)).count();
        self.refusals.retain(|_, refusals| !these(&refusals.whose));
        ended
    }

    /// Those that wait at this time.
    pub(super) fn waiting(&self, now: Instant) -> impl Iterator<Item = Waits<'_>> {
        self.refusals.keys().filter_map(move |login| {
            let refusals = self.refusals_that_pause(*login, now)?;
            let since = now.saturating_duration_since(refusals.last);
            let has_wrong = refusals.passwords.iter().any(|(_, c)| *c == Cause::WrongPassword);
            let wrong_passwords = has_wrong.then(|| self.memory.saturating_sub(since));
            let pause = self.pause.saturating_sub(since);
            (has_wrong || !pause.is_zero()).then(|| Waits {
                whose: &refusals.whose,
                pause,
                wrong_passwords,
                refusals: refusals.count,
                cause: refusals.cause,
                reply: &refusals.reply,
            })
        })
    }

    fn is_off(&self) -> bool {
        self.failures == 0 || self.pause.is_zero()
    }

    /// The refusals of this login, if they are not so old that they are forgotten.
    fn remembered(&self, login: Fingerprint, now: Instant) -> Option<&Refusals> {
        let refusals = self.refusals.get(&login)?;
        (now.saturating_duration_since(refusals.last) < self.memory).then_some(refusals)
    }

    /// The same, if they are too many.
    fn refusals_that_pause(&self, login: Fingerprint, now: Instant) -> Option<&Refusals> {
        let too_many = |refusals: &&Refusals| !self.is_off() && refusals.count >= self.failures;
        self.remembered(login, now).filter(too_many)
    }

    /// Walks through all of them, but only after ten thousand different logins were refused.
    fn drop_oldest(&mut self) {
        let oldest = self.refusals.iter().min_by_key(|(_, refusals)| refusals.last);
        if let Some(oldest) = oldest.map(|(login, _)| *login) {
            self.refusals.remove(&oldest);
        }
    }
}

impl Refusals {
    fn none(whose: &Whose, now: Instant) -> Self {
        Self {
            count: 0,
            last: now,
            passwords: Vec::new(),
            cause: Cause::Unclear,
            reply: "".into(),
            whose: whose.clone(),
            new_password: None,
        }
    }

    fn add(&mut self, password: Fingerprint, cause: Cause, reply: &str, now: Instant) {
        self.count = self.count.saturating_add(1);
        (self.last, self.cause) = (now, cause);
        self.reply = reply[..reply.floor_char_boundary(REPLY)].into();
        self.passwords.retain(|(other, _)| *other != password);
        if self.passwords.len() >= PASSWORDS {
            self.passwords.remove(0);
        }
        self.passwords.push((password, cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(300);
    const SECOND: Duration = Duration::from_secs(1);
    const LOGIN: Fingerprint = Fingerprint::fixed(1);
    const WRONG: Fingerprint = Fingerprint::fixed(2);
    const OTHER: Fingerprint = Fingerprint::fixed(3);
    const CALLED_WRONG: (Cause, &str) = (Cause::WrongPassword, "535 5.7.8 no");
    const UNCLEAR: (Cause, &str) = (Cause::Unclear, "-ERR Nutzer nicht authentifiziert");

    /// A table, with fewer words.
    struct Table(RefusalTable);

    impl Table {
        fn new(failures: u32, pause: Duration) -> Self {
            Self(RefusalTable::new(failures, pause))
        }

        /// Refused three times with one password.
        fn paused(by: (Cause, &str)) -> (Self, Instant) {
            let (mut table, now) = (Self::new(3, PAUSE), Instant::now());
            for count in 0..3 {
                assert_eq!(table.waits(WRONG, now), None, "after {count} refusals");
                table.refused(WRONG, by, now);
            }
            (table, now)
        }

        fn refused(&mut self, password: Fingerprint, by: (Cause, &str), now: Instant) {
            self.0.refused(LOGIN, password, by, &whose(), now);
        }

        /// How long this password waits; `None`: not at all.
        fn waits(&self, password: Fingerprint, now: Instant) -> Option<Duration> {
            self.0.check(LOGIN, password, true, now).err().map(|paused| paused.remaining)
        }

        /// Lets this password through, and says whether it was because it is new.
        fn begins_as_new(&mut self, password: Fingerprint, now: Instant) -> bool {
            let pass = self.0.check(LOGIN, password, true, now).unwrap();
            self.0.begin(LOGIN, pass, now);
            self.0.end(LOGIN);
            pass == Pass::NewPassword
        }
    }

    fn whose() -> Whose {
        Whose { workstation: "PC1".into(), account: Account::new("a@b.de") }
    }

    #[test]
    fn other_bounds_hold_for_what_was_refused_before() {
        let now = Instant::now();
        let mut table = Table::new(3, Duration::from_secs(60));
        table.refused(WRONG, UNCLEAR, now);
        for (failures, paused) in [(3, false), (1, true), (0, false)] {
            table.0.adjust(failures, Duration::from_secs(60));
            assert_eq!(table.waits(WRONG, now).is_some(), paused, "{failures}");
        }
    }

    #[test]
    fn a_password_that_was_called_wrong_waits_for_longer_than_the_pause() {
        let (table, now) = Table::paused(CALLED_WRONG);
        assert_eq!(table.waits(WRONG, now + SECOND), Some(PAUSE * 12 - SECOND));
        assert_eq!(table.waits(WRONG, now + PAUSE), Some(PAUSE * 11));
        assert_eq!(table.waits(WRONG, now + PAUSE * 12 - SECOND), Some(SECOND));
        assert_eq!(table.waits(WRONG, now + PAUSE * 12), None);
        assert_eq!(table.waits(OTHER, now + PAUSE), None);
    }

    /// A locked card: the right password stayed out for an hour after the card was unlocked.
    #[test]
    fn a_password_that_was_refused_for_another_reason_gets_one_try_after_each_pause() {
        let (mut table, mut now) = Table::paused(UNCLEAR);
        for pause in 0..30 {
            assert_eq!(table.waits(WRONG, now + PAUSE - SECOND), Some(SECOND), "{pause}");
            now += PAUSE;
            assert!(!table.begins_as_new(WRONG, now));
            table.refused(WRONG, UNCLEAR, now);
            assert_eq!(table.waits(WRONG, now), Some(PAUSE));
        }
        // What was said last about a password counts.
        table.refused(WRONG, CALLED_WRONG, now + PAUSE);
        assert_eq!(table.waits(WRONG, now + PAUSE * 2), Some(PAUSE * 11));
        table.refused(WRONG, UNCLEAR, now + PAUSE * 2);
        assert_eq!(table.waits(WRONG, now + PAUSE * 3), None);
    }

    #[test]
    fn after_a_pause_one_attempt_goes_at_a_time() {
        let (mut table, now) = Table::paused(UNCLEAR);
        assert!(!table.0.is_full(LOGIN, now + PAUSE));
        table.0.begin(LOGIN, Pass::Free, now + PAUSE);
        assert!(table.0.is_full(LOGIN, now + PAUSE));
    }

    #[test]
    fn a_corrected_password_is_tried_at_once_and_another_one_a_minute_later() {
        for by in [UNCLEAR, CALLED_WRONG] {
            let (mut table, now) = Table::paused(by);
            assert!(table.begins_as_new(OTHER, now + SECOND));
            table.refused(OTHER, by, now + SECOND);
            let third = Fingerprint::fixed(4);
            let minute = Duration::from_secs(60);
            assert_eq!(table.waits(third, now + SECOND), Some(minute));
            assert_eq!(table.waits(third, now + minute), Some(SECOND));
            assert!(table.begins_as_new(third, now + minute + SECOND));
            // It was let through, but has no answer yet.
            assert_eq!(table.waits(third, now + minute + SECOND), Some(minute));
            for tried in [WRONG, OTHER] {
                assert!(table.waits(tried, now + minute + SECOND) > Some(minute), "{tried:?}");
            }
        }
        // The end of the pause comes before the end of the minute.
        let (mut table, now) = Table::paused(UNCLEAR);
        assert!(table.begins_as_new(OTHER, now + PAUSE - SECOND));
        assert_eq!(table.waits(Fingerprint::fixed(4), now + PAUSE - SECOND), Some(SECOND));
    }

    #[test]
    fn where_new_passwords_are_not_let_through_they_wait_for_the_pause() {
        let (table, now) = Table::paused(UNCLEAR);
        let paused = table.0.check(LOGIN, OTHER, false, now + SECOND).unwrap_err();
        assert_eq!((paused.remaining, &*paused.last_reply), (PAUSE - SECOND, UNCLEAR.1));
    }

    #[test]
    fn different_passwords_count_together() {
        let (mut table, now) = (Table::new(3, PAUSE), Instant::now());
        for password in 10..13 {
            table.refused(Fingerprint::fixed(password), UNCLEAR, now);
        }
        assert_eq!(table.waits(Fingerprint::fixed(10), now), Some(PAUSE));
    }

    #[test]
    fn success_forgets_all_of_it() {
        let (mut table, now) = Table::paused(CALLED_WRONG);
        table.0.accepted(LOGIN);
        assert_eq!(table.waits(WRONG, now), None);
        table.refused(WRONG, CALLED_WRONG, now);
        assert_eq!(table.waits(WRONG, now), None);
    }

    #[test]
    fn others_are_not_affected() {
        let (table, now) = Table::paused(CALLED_WRONG);
        assert_eq!(table.0.check(Fingerprint::fixed(9), WRONG, false, now), Ok(Pass::Free));
    }

    #[test]
    fn refusals_that_lie_far_apart_do_not_add_up() {
        let (mut table, start) = (Table::new(2, PAUSE), Instant::now());
        for day in 0..5 {
            let now = start + Duration::from_secs(86_400) * day;
            table.refused(WRONG, CALLED_WRONG, now);
            assert_eq!(table.waits(WRONG, now), None);
        }
    }

    #[test]
    fn zero_switches_it_off() {
        for mut table in [Table::new(0, PAUSE), Table::new(3, Duration::ZERO)] {
            let now = Instant::now();
            (0..9).for_each(|_| table.refused(WRONG, CALLED_WRONG, now));
            assert_eq!(table.waits(WRONG, now), None);
            assert_eq!(table.0.waiting(now).count(), 0);
        }
    }

    #[test]
    fn a_clock_that_steps_back_does_not_panic() {
        let (table, now) = Table::paused(UNCLEAR);
        if let Some(before) = now.checked_sub(SECOND) {
            assert_eq!(table.waits(WRONG, before), Some(PAUSE));
        }
    }

    #[test]
    fn all_that_wait_are_told_with_their_times_until_they_wait_no_more() {
        let (unclear, now) = Table::paused(UNCLEAR);
        let told = |table: &Table, now| {
            let told = table.0.waiting(now).map(|waits| {
                assert_eq!((waits.whose, waits.refusals), (&whose(), 3));
                (waits.pause, waits.wrong_passwords, waits.cause, waits.reply.to_owned())
            });
            told.collect::<Vec<_>>()
        };
        let reply = UNCLEAR.1.to_owned();
        assert_eq!(told(&unclear, now + SECOND), [(PAUSE - SECOND, None, Cause::Unclear, reply)]);
        assert_eq!(told(&unclear, now + PAUSE), []);
        let (wrong, now) = Table::paused(CALLED_WRONG);
        for (after, pause, memory) in
            [(SECOND, PAUSE - SECOND, PAUSE * 12 - SECOND), (PAUSE * 2, Duration::ZERO, PAUSE * 10)]
        {
            let reply = CALLED_WRONG.1.to_owned();
            let expected = (pause, Some(memory), Cause::WrongPassword, reply);
            assert_eq!(told(&wrong, now + after), [expected]);
        }
        assert_eq!(told(&wrong, now + PAUSE * 12), []);
    }

    #[test]
    fn what_is_forgotten_on_demand_is_counted_if_it_waited() {
        let (mut table, now) = Table::paused(CALLED_WRONG);
        let nobody = Whose { workstation: "PC2".into(), account: Account::new("a@b.de") };
        table.0.refused(Fingerprint::fixed(9), WRONG, UNCLEAR, &nobody, now);
        assert_eq!(table.0.forget(|whose| *whose == nobody, now), 0, "it did not wait yet");
        assert_eq!(table.0.refusals.len(), 1);
        assert_eq!(table.0.forget(|_| true, now), 1);
        assert_eq!(table.waits(WRONG, now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (mut table, start) = (Table::new(1, PAUSE), Instant::now());
        let refuse = |table: &mut Table, login: u64, now| {
            table.0.refused(Fingerprint::fixed(login), WRONG, UNCLEAR, &whose(), now);
        };
        for number in 0..LOGINS as u64 + 5 {
            refuse(&mut table, number, start + Duration::from_millis(number));
        }
        assert_eq!(table.0.refusals.len(), LOGINS);
        let check = |login| table.0.check(Fingerprint::fixed(login), WRONG, true, start);
        assert_eq!(check(4), Ok(Pass::Free));
        assert!(check(5).is_err());

        for password in 0..100 {
            let reply = "\u{fc}".repeat(4096);
            table.refused(Fingerprint::fixed(password), (Cause::Unclear, &reply), start);
        }
        let refusals = &table.0.refusals[&LOGIN];
        assert_eq!((refusals.passwords.len(), refusals.reply.len()), (PASSWORDS, REPLY));
    }
}

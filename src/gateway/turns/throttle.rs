//! The budget of failed logins: a wrong password must not lock the account at the mail service.
//!
//! Mail clients poll with a stored password for as long as they run, and the mail service may lock
//! an account after a number of failures that its operator does not tell. So a login that the client
//! module has refused several times is answered here for a while. Time comes in as an argument.

use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kim::Account;

/// Refusals are forgotten after this many pauses without a further one. Client modules also refuse
/// logins while a card is locked, so the right password must not stay barred for ever.
const REMEMBERED_PAUSES: u32 = 12;

/// Logins that are remembered; beyond it the one with the oldest refusal is dropped.
const LOGINS: usize = 10_000;

/// Wrong passwords that are remembered of one login; beyond it the oldest is dropped.
const PASSWORDS: usize = 8;

/// Octets of a reply that are remembered (RFC 5321 4.5.3.1.5).
const REPLY: usize = 512;

/// Makes fingerprints under a random key that ends with this value, so that what is kept in memory
/// cannot be tried against a list of passwords afterwards.
#[derive(Clone, Default)]
pub(crate) struct Fingerprints(RandomState);

/// A keyed hash of something that is not to be kept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

impl Fingerprints {
    /// With a new key.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Of these parts in this order: workstation and login, or a password.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        Fingerprint(self.0.hash_one(parts))
    }
}

/// Refusals of all logins of an account at one workstation, for each that one login may have. The
/// mail service locks the account, whatever else stands in a login.
const OF_ACCOUNT: u32 = 3;

/// A login on its way to the client module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Of workstation and login.
    pub(crate) login: Fingerprint,
    /// Of workstation and account.
    pub(crate) account: Fingerprint,
    /// Of the password.
    pub(crate) password: Fingerprint,
}

/// What may be tried: with one login from one workstation, and with all logins of one account from
/// there. Another workstation's logins are never held up.
#[derive(Debug)]
pub(crate) struct Budget {
    logins: Pauses,
    accounts: Pauses,
}

impl Budget {
    /// So many refusals of a login, and so long a pause. Zero refusals, or no time: never.
    pub(crate) fn new(failures: u32, pause: Duration) -> Self {
        let accounts = Pauses::new(failures.saturating_mul(OF_ACCOUNT), pause);
        Self { logins: Pauses::new(failures, pause), accounts }
    }

    /// Other bounds from now on; what was refused so far is not forgotten.
    pub(crate) fn adjust(&mut self, failures: u32, pause: Duration) {
        self.logins.adjust(failures, pause);
        self.accounts.adjust(failures.saturating_mul(OF_ACCOUNT), pause);
    }

    /// Whether it may go to the client module.
    pub(crate) fn check(&self, attempt: Attempt, now: Instant) -> Result<(), Paused> {
        self.logins.check(attempt.login, attempt.password, now)?;
        self.accounts.check(attempt.account, attempt.password, now)
    }

    /// As [`Pauses::refused`].
    pub(crate) fn refused(&mut self, attempt: Attempt, reply: &str, now: Instant) {
        self.logins.refused(attempt.login, attempt.password, reply, now);
        self.accounts.refused(attempt.account, attempt.password, reply, now);
    }

    /// The client module has accepted it: what was refused to it and its account is forgotten.
    pub(crate) fn accepted(&mut self, attempt: Attempt) {
        self.logins.accepted(attempt.login);
        self.accounts.accepted(attempt.account);
    }

    /// The logins, to look at; the pauses of accounts are not among them.
    pub(crate) fn logins(&mut self) -> &mut Pauses {
        &mut self.logins
    }
}

/// The logins that the client module has refused of late, each from one workstation.
#[derive(Debug)]
pub(crate) struct Pauses {
    failures: u32,
    pause: Duration,
    memory: Duration,
    logins: HashMap<Fingerprint, Refusals>,
}

/// What the client module has said to one login from one workstation.
#[derive(Debug)]
struct Refusals {
    count: u32,
    last: Instant,
    /// Oldest first.
    passwords: Vec<Fingerprint>,
    reply: Arc<str>,
    /// For people who look.
    whose: Option<Whose>,
}

/// Whose login it is that is answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    /// The workstation's name, or its address where it has no name.
    pub(crate) workstation: Arc<str>,
    /// The login's account.
    pub(crate) account: Account,
}

/// A login is answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    /// How long this login with this password has to wait.
    pub(crate) remaining: Duration,
    /// The first line of the client module's last refusal.
    pub(crate) last_reply: Arc<str>,
}

impl Pauses {
    /// Pauses a login for so long after so many refusals. Zero refusals, or no time: never.
    pub(crate) fn new(failures: u32, pause: Duration) -> Self {
        let memory = pause.saturating_mul(REMEMBERED_PAUSES);
        Self { failures, pause, memory, logins: HashMap::new() }
    }

    /// Other bounds from now on; what was refused so far is not forgotten.
    pub(crate) fn adjust(&mut self, failures: u32, pause: Duration) {
        *self = Self { logins: std::mem::take(&mut self.logins), ..Self::new(failures, pause) };
    }

    /// Whether this login may go to the client module with this password. Once there were too many
    /// refusals, any other password waits for the pause, and one that was refused is not sent again
    /// before all is forgotten.
    pub(crate) fn check(
        &self,
        login: Fingerprint,
        password: Fingerprint,
        now: Instant,
    ) -> Result<(), Paused> {
        let too_many = |refusals: &&Refusals| self.failures > 0 && refusals.count >= self.failures;
        let Some(refusals) = self.logins.get(&login).filter(too_many) else {
            return Ok(());
        };
        let refused = refusals.passwords.contains(&password);
        let wait = if refused { self.memory } else { self.pause };
        let remaining = wait.saturating_sub(now.saturating_duration_since(refusals.last));
        if remaining.is_zero() {
            return Ok(());
        }
        Err(Paused { remaining, last_reply: Arc::clone(&refusals.reply) })
    }

    /// The client module has refused this login, with this first line. Not for refusals that say
    /// nothing about the password, e.g. `454` or `[SYS/TEMP]`.
    pub(crate) fn refused(
        &mut self,
        login: Fingerprint,
        password: Fingerprint,
        reply: &str,
        now: Instant,
    ) {
        if self.failures == 0 || self.pause.is_zero() {
            return;
        }
        if self.logins.len() >= LOGINS && !self.logins.contains_key(&login) {
            self.drop_oldest();
        }
        let refusals = match self.logins.entry(login) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Refusals::none(now)),
        };
        if now.saturating_duration_since(refusals.last) >= self.memory {
            *refusals = Refusals::none(now);
        }
        refusals.add(password, reply, now);
    }

    /// The client module has accepted this login: its refusals are forgotten.
    pub(crate) fn accepted(&mut self, login: Fingerprint) {
        self.logins.remove(&login);
    }

    /// Remembers whose this login is, if it was refused.
    pub(crate) fn belongs_to(&mut self, login: Fingerprint, whose: Whose) {
        if let Some(refusals) = self.logins.get_mut(&login) {
            refusals.whose = Some(whose);
        }
    }

    /// The logins that are answered here at this time, whatever their password: whose they are, if
    /// that was said, and for how long.
    pub(crate) fn paused(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (Option<&Whose>, Duration)> + use<'_> {
        self.logins.values().filter(|refusals| refusals.count >= self.failures).filter_map(
            move |refusals| {
                let passed = now.saturating_duration_since(refusals.last);
                let remaining = self.pause.checked_sub(passed).filter(|left| !left.is_zero())?;
                Some((refusals.whose.as_ref(), remaining))
            },
        )
    }

    /// A walk through all of them, but only after thousands of different logins were refused.
    fn drop_oldest(&mut self) {
        let oldest = self.logins.iter().min_by_key(|(_, refusals)| refusals.last);
        if let Some(oldest) = oldest.map(|(login, _)| *login) {
            self.logins.remove(&oldest);
        }
    }
}

impl Refusals {
    fn none(now: Instant) -> Self {
        Self { count: 0, last: now, passwords: Vec::new(), reply: "".into(), whose: None }
    }

    fn add(&mut self, password: Fingerprint, reply: &str, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.last = now;
        self.reply = reply[..reply.floor_char_boundary(REPLY)].into();
        self.passwords.retain(|other| *other != password);
        if self.passwords.len() >= PASSWORDS {
            self.passwords.remove(0);
        }
        self.passwords.push(password);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(300);
    const SECOND: Duration = Duration::from_secs(1);
    const LOGIN: Fingerprint = Fingerprint(1);
    const WRONG: Fingerprint = Fingerprint(2);
    const OTHER: Fingerprint = Fingerprint(3);

    fn refused_three_times() -> (Pauses, Instant) {
        let (mut pauses, now) = (Pauses::new(3, PAUSE), Instant::now());
        for count in 0..3 {
            assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()), "after {count} refusals");
            pauses.refused(LOGIN, WRONG, "535 5.7.8 no", now);
        }
        (pauses, now)
    }

    fn remaining(paused: Result<(), Paused>) -> Option<Duration> {
        paused.err().map(|paused| paused.remaining)
    }

    #[test]
    fn other_bounds_hold_for_what_was_refused_before() {
        let (fingerprints, now) = (Fingerprints::new(), Instant::now());
        let (login, right) = (fingerprints.of(&[b"login"]), fingerprints.of(&[b"right"]));
        let mut pauses = Pauses::new(3, Duration::from_secs(60));
        pauses.refused(login, fingerprints.of(&[b"wrong"]), "535 no", now);
        for (failures, paused) in [(3, false), (1, true), (0, false)] {
            pauses.adjust(failures, Duration::from_secs(60));
            assert_eq!(pauses.check(login, right, now).is_err(), paused, "{failures}");
        }
    }

    #[test]
    fn after_the_last_refusal_the_login_is_answered_with_its_words() {
        let (pauses, now) = refused_three_times();
        let paused = pauses.check(LOGIN, OTHER, now + SECOND).unwrap_err();
        assert_eq!(paused.remaining, PAUSE - SECOND);
        let mut pauses = pauses;
        let whose = Whose { workstation: "PC1".into(), account: Account::new("a@b.de") };
        pauses.belongs_to(LOGIN, whose.clone());
        pauses.belongs_to(OTHER, whose.clone());
        let shown: Vec<_> = pauses.paused(now + SECOND).collect();
        assert_eq!(shown, [(Some(&whose), PAUSE - SECOND)]);
        assert_eq!(&*paused.last_reply, "535 5.7.8 no");
        assert_eq!(pauses.paused(now).count(), 1);
    }

    #[test]
    fn another_password_waits_for_the_pause_and_the_refused_one_for_longer() {
        let (pauses, now) = refused_three_times();
        assert_eq!(remaining(pauses.check(LOGIN, OTHER, now + PAUSE)), None);
        assert_eq!(remaining(pauses.check(LOGIN, WRONG, now + PAUSE)), Some(PAUSE * 11));
        assert_eq!(remaining(pauses.check(LOGIN, WRONG, now + PAUSE * 12 - SECOND)), Some(SECOND));
        assert_eq!(remaining(pauses.check(LOGIN, WRONG, now + PAUSE * 12)), None);
        assert_eq!(pauses.paused(now + PAUSE).count(), 0);
    }

    #[test]
    fn a_further_refusal_starts_the_pause_again() {
        let (mut pauses, now) = refused_three_times();
        pauses.refused(LOGIN, OTHER, "535 again", now + PAUSE);
        let third = Fingerprint(4);
        assert_eq!(remaining(pauses.check(LOGIN, third, now + PAUSE)), Some(PAUSE));
        for refused in [WRONG, OTHER] {
            assert!(pauses.check(LOGIN, refused, now + PAUSE * 2).is_err());
        }
        assert_eq!(pauses.check(LOGIN, third, now + PAUSE * 2), Ok(()));
    }

    #[test]
    fn different_passwords_count_together() {
        let (mut pauses, now) = (Pauses::new(3, PAUSE), Instant::now());
        for password in 10..13 {
            pauses.refused(LOGIN, Fingerprint(password), "-ERR no", now);
        }
        assert!(pauses.check(LOGIN, OTHER, now).is_err());
    }

    #[test]
    fn success_forgets_all_of_it() {
        let (mut pauses, now) = refused_three_times();
        pauses.accepted(LOGIN);
        assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()));
        pauses.refused(LOGIN, WRONG, "535", now);
        assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()));
    }

    #[test]
    fn others_are_not_affected() {
        let (pauses, now) = refused_three_times();
        assert_eq!(pauses.check(Fingerprint(9), WRONG, now), Ok(()));
    }

    #[test]
    fn refusals_that_lie_far_apart_do_not_add_up() {
        let (mut pauses, start) = (Pauses::new(2, PAUSE), Instant::now());
        for day in 0..5 {
            let now = start + Duration::from_secs(86_400) * day;
            pauses.refused(LOGIN, WRONG, "535", now);
            assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()));
        }
    }

    #[test]
    fn zero_switches_it_off() {
        for mut pauses in [Pauses::new(0, PAUSE), Pauses::new(3, Duration::ZERO)] {
            let now = Instant::now();
            (0..9).for_each(|_| pauses.refused(LOGIN, WRONG, "535", now));
            assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()));
            assert_eq!(pauses.paused(now).count(), 0);
        }
    }

    #[test]
    fn a_clock_that_steps_back_does_not_panic() {
        let (pauses, now) = refused_three_times();
        if let Some(before) = now.checked_sub(SECOND) {
            assert_eq!(remaining(pauses.check(LOGIN, OTHER, before)), Some(PAUSE));
        }
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (mut pauses, start) = (Pauses::new(1, PAUSE), Instant::now());
        for number in 0..LOGINS as u64 + 5 {
            let now = start + Duration::from_millis(number);
            pauses.refused(Fingerprint(number), WRONG, "535", now);
        }
        assert_eq!(pauses.logins.len(), LOGINS);
        assert_eq!(pauses.check(Fingerprint(4), OTHER, start), Ok(()));
        assert!(pauses.check(Fingerprint(5), OTHER, start).is_err());

        for password in 0..100 {
            pauses.refused(LOGIN, Fingerprint(password), &"\u{fc}".repeat(4096), start);
        }
        let refusals = &pauses.logins[&LOGIN];
        assert_eq!((refusals.passwords.len(), refusals.reply.len()), (PASSWORDS, REPLY));
    }

    #[test]
    fn other_tails_of_a_login_do_not_help_for_long_against_one_account() {
        let (mut budget, now) = (Budget::new(3, PAUSE), Instant::now());
        let attempt = |n: u64| Attempt {
            login: Fingerprint(100 + n),
            account: Fingerprint(1),
            password: Fingerprint(200 + n),
        };
        for n in 0..9 {
            assert_eq!(budget.check(attempt(n), now), Ok(()), "{n}");
            budget.refused(attempt(n), "535", now);
        }
        assert_eq!(remaining(budget.check(attempt(9), now)), Some(PAUSE));
        let elsewhere = Attempt { account: Fingerprint(2), ..attempt(9) };
        assert_eq!(budget.check(elsewhere, now), Ok(()), "another workstation or account");
        assert_eq!(budget.check(attempt(9), now + PAUSE), Ok(()));
        assert!(budget.check(attempt(8), now + PAUSE).is_err(), "this password was refused");
        budget.accepted(attempt(9));
        assert_eq!(budget.check(attempt(8), now), Ok(()));
    }

    #[test]
    fn fingerprints_differ_by_part_and_by_key() {
        let one = Fingerprints::new();
        assert_eq!(one.of(&[b"PC1", b"login"]), one.of(&[b"PC1", b"login"]));
        assert_ne!(one.of(&[b"PC1", b"login"]), one.of(&[b"PC1l", b"ogin"]));
        assert_ne!(one.of(&[b"geheim"]), Fingerprints::new().of(&[b"geheim"]));
    }
}

//! The throttle of logins: a wrong password must not lock the account at the mail service.
//!
//! A mail program polls with a stored password for as long as it runs. The mail service may lock the
//! account after some number of failures, which its operator does not publish. After several refusals
//! by the client module, kimgate itself refuses the login for a while. Time is an argument everywhere.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::fingerprint::{Fingerprint, Fingerprints};
use crate::kim::Account;

/// Refusals are forgotten after this many pauses without a new refusal. A client module also refuses
/// logins while a card is locked, so even a refused password must be tried again some day.
const REMEMBERED_PAUSES: u32 = 12;

/// Logins that are remembered. If there is one more, the one with the oldest refusal is forgotten.
const LOGINS: usize = 10_000;

/// Wrong passwords that are remembered of one login. If there is one more, the oldest is forgotten.
const PASSWORDS: usize = 8;

/// Bytes of a reply that are remembered: a reply line's limit in RFC 5321, section 4.5.3.1.5.
const REPLY: usize = 512;

/// All logins of an account at one workstation may be refused this many times as often as one login.
/// There is a bound for the account because the mail service locks the account, not the login.
const OF_ACCOUNT: u32 = 3;

/// A login that goes to the client module.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Of workstation and login, without the login's blanks and its upper and lower case: spellings
    /// that a client module may take for the same login share one count.
    login: Fingerprint,
    /// Of workstation and account.
    account: Fingerprint,
    /// Of the password.
    password: Fingerprint,
    whose: Whose,
}

impl Attempt {
    pub(super) fn new(prints: &Fingerprints, whose: Whose, login: &[u8], password: &[u8]) -> Self {
        let workstation = whose.workstation.as_bytes();
        let account = same_for_the_throttle(whose.account.as_str().as_bytes());
        Self {
            login: prints.of(&[workstation, &same_for_the_throttle(login)]),
            // The third part keeps it apart from the fingerprint of any login.
            account: prints.of(&[workstation, &account, b""]),
            password: prints.of(&[password]),
            whose,
        }
    }
}

/// The login without blanks and in lower case. Only the throttle's count uses it; the client module
/// gets the bytes that the workstation sent.
fn same_for_the_throttle(login: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    login.iter().filter(|byte| !blank(byte)).map(u8::to_ascii_lowercase).collect()
}

/// Why an attempt may not be sent to the client module now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotYet {
    /// The login is paused.
    Paused(Paused),
    /// So many attempts wait for their answers that the limit is reached if all are refused.
    InFlight,
}

/// What the client module says to an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoginVerdict<'a> {
    /// The login is accepted.
    Accepted,
    /// The login or the password may be wrong; the first line of the reply. A refusal that says
    /// nothing about the password, e.g. `454` or `[SYS/TEMP]`, is not one.
    Refused(&'a str),
}

/// Counts refusals for each login at a workstation, and for each account at a workstation. Logins from
/// another workstation are never delayed by them.
#[derive(Debug)]
pub(super) struct LoginThrottle {
    logins: RefusalTable,
    accounts: RefusalTable,
    /// The password that the client module accepted last for each login. It needs no waiting for the
    /// answers of others: a program that sends ten letters at once logs in ten times with it.
    accepted: HashMap<Fingerprint, Fingerprint>,
}

impl LoginThrottle {
    /// Pauses a login for `pause` after `failures` refusals. If either is zero, it never does.
    pub(super) fn new(failures: u32, pause: Duration) -> Self {
        let accounts = RefusalTable::new(failures.saturating_mul(OF_ACCOUNT), pause);
        let logins = RefusalTable::new(failures, pause);
        Self { logins, accounts, accepted: HashMap::new() }
    }

    /// Applies other bounds. Refusals so far stay counted.
    pub(super) fn adjust(&mut self, failures: u32, pause: Duration) {
        self.logins.adjust(failures, pause);
        self.accounts.adjust(failures.saturating_mul(OF_ACCOUNT), pause);
    }

    /// Whether the attempt may go to the client module.
    pub(super) fn check(&self, attempt: &Attempt, now: Instant) -> Result<(), Paused> {
        self.logins.check(attempt.login, attempt.password, now)?;
        self.accounts.check(attempt.account, attempt.password, now)
    }

    /// Counts the attempt as one that waits for its answer, until [`LoginThrottle::end`]. Such
    /// attempts count towards the limit, because each of them may be refused.
    pub(super) fn begin(&mut self, attempt: &Attempt, now: Instant) -> Result<(), NotYet> {
        self.check(attempt, now).map_err(NotYet::Paused)?;
        let is_known = self.accepted.get(&attempt.login) == Some(&attempt.password);
        let is_full =
            self.logins.is_full(attempt.login, now) || self.accounts.is_full(attempt.account, now);
        if is_full && !is_known {
            return Err(NotYet::InFlight);
        }
        self.logins.begin(attempt.login);
        self.accounts.begin(attempt.account);
        Ok(())
    }

    /// The attempt does not wait for an answer any more.
    pub(super) fn end(&mut self, attempt: &Attempt) {
        self.logins.end(attempt.login);
        self.accounts.end(attempt.account);
    }

    /// Counts a refusal. An accepted login clears the refusals of the login and of its account.
    pub(super) fn verdict(&mut self, attempt: &Attempt, verdict: LoginVerdict<'_>, now: Instant) {
        let Attempt { login, account, password, .. } = *attempt;
        match verdict {
            LoginVerdict::Accepted => {
                self.logins.accepted(login);
                self.accounts.accepted(account);
                if self.accepted.len() >= LOGINS {
                    self.accepted.clear();
                }
                self.accepted.insert(login, password);
            }
            LoginVerdict::Refused(reply) => {
                if self.accepted.get(&login) == Some(&password) {
                    self.accepted.remove(&login);
                }
                self.logins.refused(login, password, reply, now);
                self.logins.belongs_to(login, attempt.whose.clone());
                self.accounts.refused(account, password, reply, now);
            }
        }
    }

    /// The logins that are paused now, and for how much longer. Pauses of a whole account are not
    /// among them.
    pub(super) fn paused(&self, now: Instant) -> impl Iterator<Item = (Option<&Whose>, Duration)> {
        self.logins.paused(now)
    }
}

/// The recent refusals by fingerprint: of a login or an account, at one workstation.
#[derive(Debug)]
struct RefusalTable {
    failures: u32,
    pause: Duration,
    memory: Duration,
    logins: HashMap<Fingerprint, Refusals>,
    /// How many attempts wait for the client module's answer. An entry belongs to a connection, so
    /// the limit on connections bounds this.
    in_flight: HashMap<Fingerprint, u32>,
}

/// The refusals of one login or account at one workstation.
#[derive(Debug)]
struct Refusals {
    count: u32,
    last: Instant,
    /// Oldest first.
    passwords: Vec<Fingerprint>,
    reply: Arc<str>,
    /// For the status page.
    whose: Option<Whose>,
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

impl RefusalTable {
    /// As [`LoginThrottle::new`].
    fn new(failures: u32, pause: Duration) -> Self {
        let memory = pause.saturating_mul(REMEMBERED_PAUSES);
        Self { failures, pause, memory, logins: HashMap::new(), in_flight: HashMap::new() }
    }

    /// As [`LoginThrottle::adjust`].
    fn adjust(&mut self, failures: u32, pause: Duration) {
        let memory = pause.saturating_mul(REMEMBERED_PAUSES);
        (self.failures, self.pause, self.memory) = (failures, pause, memory);
    }

    /// Whether this login may go to the client module with this password. After too many refusals a
    /// new password waits for the pause. A refused password waits until the refusals are forgotten.
    fn check(&self, login: Fingerprint, password: Fingerprint, now: Instant) -> Result<(), Paused> {
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

    /// Whether the attempts that wait for their answers may use up what is left of the limit. One
    /// attempt at a time may always be sent, because the pause decides about it.
    fn is_full(&self, login: Fingerprint, now: Instant) -> bool {
        if self.failures == 0 || self.pause.is_zero() {
            return false;
        }
        let remembered =
            |refusals: &&Refusals| now.saturating_duration_since(refusals.last) < self.memory;
        let refused = self.logins.get(&login).filter(remembered).map_or(0, |known| known.count);
        let left = self.failures.saturating_sub(refused).max(1);
        self.in_flight.get(&login).copied().unwrap_or(0) >= left
    }

    fn begin(&mut self, login: Fingerprint) {
        *self.in_flight.entry(login).or_insert(0) += 1;
    }

    fn end(&mut self, login: Fingerprint) {
        if let Entry::Occupied(mut waiting) = self.in_flight.entry(login) {
            match waiting.get().saturating_sub(1) {
                0 => drop(waiting.remove()),
                left => *waiting.get_mut() = left,
            }
        }
    }

    /// Counts a refusal with this first line of the reply.
    fn refused(&mut self, login: Fingerprint, password: Fingerprint, reply: &str, now: Instant) {
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

    /// Forgets the refusals of this login.
    fn accepted(&mut self, login: Fingerprint) {
        self.logins.remove(&login);
    }

    /// Records whose this login is, if it has refusals.
    fn belongs_to(&mut self, login: Fingerprint, whose: Whose) {
        if let Some(refusals) = self.logins.get_mut(&login) {
            refusals.whose = Some(whose);
        }
    }

    /// The logins that are paused at this time with any password, whose they are if that is known,
    /// and for how much longer.
    fn paused(&self, now: Instant) -> impl Iterator<Item = (Option<&Whose>, Duration)> + use<'_> {
        self.logins.values().filter(|refusals| refusals.count >= self.failures).filter_map(
            move |refusals| {
                let passed = now.saturating_duration_since(refusals.last);
                let remaining = self.pause.checked_sub(passed).filter(|left| !left.is_zero())?;
                Some((refusals.whose.as_ref(), remaining))
            },
        )
    }

    /// Walks through all of them, but only after ten thousand different logins were refused.
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
    const LOGIN: Fingerprint = Fingerprint::fixed(1);
    const WRONG: Fingerprint = Fingerprint::fixed(2);
    const OTHER: Fingerprint = Fingerprint::fixed(3);

    fn refused_three_times() -> (RefusalTable, Instant) {
        let (mut pauses, now) = (RefusalTable::new(3, PAUSE), Instant::now());
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
        let mut pauses = RefusalTable::new(3, Duration::from_secs(60));
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
        let third = Fingerprint::fixed(4);
        assert_eq!(remaining(pauses.check(LOGIN, third, now + PAUSE)), Some(PAUSE));
        for refused in [WRONG, OTHER] {
            assert!(pauses.check(LOGIN, refused, now + PAUSE * 2).is_err());
        }
        assert_eq!(pauses.check(LOGIN, third, now + PAUSE * 2), Ok(()));
    }

    #[test]
    fn different_passwords_count_together() {
        let (mut pauses, now) = (RefusalTable::new(3, PAUSE), Instant::now());
        for password in 10..13 {
            pauses.refused(LOGIN, Fingerprint::fixed(password), "-ERR no", now);
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
        assert_eq!(pauses.check(Fingerprint::fixed(9), WRONG, now), Ok(()));
    }

    #[test]
    fn refusals_that_lie_far_apart_do_not_add_up() {
        let (mut pauses, start) = (RefusalTable::new(2, PAUSE), Instant::now());
        for day in 0..5 {
            let now = start + Duration::from_secs(86_400) * day;
            pauses.refused(LOGIN, WRONG, "535", now);
            assert_eq!(pauses.check(LOGIN, WRONG, now), Ok(()));
        }
    }

    #[test]
    fn zero_switches_it_off() {
        for mut pauses in [RefusalTable::new(0, PAUSE), RefusalTable::new(3, Duration::ZERO)] {
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
        let (mut pauses, start) = (RefusalTable::new(1, PAUSE), Instant::now());
        for number in 0..LOGINS as u64 + 5 {
            let now = start + Duration::from_millis(number);
            pauses.refused(Fingerprint::fixed(number), WRONG, "535", now);
        }
        assert_eq!(pauses.logins.len(), LOGINS);
        assert_eq!(pauses.check(Fingerprint::fixed(4), OTHER, start), Ok(()));
        assert!(pauses.check(Fingerprint::fixed(5), OTHER, start).is_err());

        for password in 0..100 {
            pauses.refused(LOGIN, Fingerprint::fixed(password), &"\u{fc}".repeat(4096), start);
        }
        let refusals = &pauses.logins[&LOGIN];
        assert_eq!((refusals.passwords.len(), refusals.reply.len()), (PASSWORDS, REPLY));
    }

    fn attempt(prints: &Fingerprints, login: &[u8], password: &[u8]) -> Attempt {
        let account = Account::new("a@b.de");
        Attempt::new(prints, Whose { workstation: "PC1".into(), account }, login, password)
    }

    #[test]
    fn attempts_that_wait_for_their_answers_count_towards_the_limit() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let prints = Fingerprints::new();
        let sent: Vec<_> = (0..3u8).map(|n| attempt(&prints, b"login", &[n])).collect();
        for attempt in &sent {
            assert_eq!(throttle.begin(attempt, now), Ok(()));
        }
        let fourth = attempt(&prints, b"login", b"fourth");
        assert_eq!(throttle.begin(&fourth, now), Err(NotYet::InFlight));
        assert_eq!(throttle.begin(&attempt(&prints, b"other", b"fourth"), now), Ok(()));
        throttle.verdict(&sent[0], LoginVerdict::Refused("535"), now);
        throttle.end(&sent[0]);
        assert_eq!(throttle.begin(&fourth, now), Err(NotYet::InFlight), "one refused, two wait");
        throttle.end(&sent[1]);
        assert_eq!(throttle.begin(&fourth, now), Ok(()), "one ended without a verdict");
        for attempt in [&sent[2], &fourth] {
            throttle.verdict(attempt, LoginVerdict::Refused("535"), now);
            throttle.end(attempt);
        }
        let paused = throttle.begin(&attempt(&prints, b"login", b"fifth"), now);
        assert!(matches!(paused, Err(NotYet::Paused(_))), "{paused:?}");
        assert!(throttle.logins.in_flight.len() == 1, "only that of the other login is left");
    }

    #[test]
    fn a_password_that_was_accepted_before_waits_for_no_other() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let prints = Fingerprints::new();
        let right = attempt(&prints, b"login", b"right");
        throttle.verdict(&right, LoginVerdict::Accepted, now);
        for _ in 0..50 {
            assert_eq!(throttle.begin(&right, now), Ok(()));
        }
        let wrong = attempt(&prints, b"login", b"wrong");
        assert_eq!(throttle.begin(&wrong, now), Err(NotYet::InFlight));
        throttle.verdict(&right, LoginVerdict::Refused("535"), now);
        assert_eq!(throttle.begin(&right, now), Err(NotYet::InFlight), "it was changed");
    }

    #[test]
    fn after_a_pause_one_attempt_at_a_time_is_sent() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let prints = Fingerprints::new();
        for n in 0..3u8 {
            throttle.verdict(&attempt(&prints, b"login", &[n]), LoginVerdict::Refused("535"), now);
        }
        let (fourth, fifth) = (attempt(&prints, b"login", b"4"), attempt(&prints, b"login", b"5"));
        assert_eq!(throttle.begin(&fourth, now + PAUSE), Ok(()));
        assert_eq!(throttle.begin(&fifth, now + PAUSE), Err(NotYet::InFlight));
    }

    #[test]
    fn one_blank_more_in_a_login_is_the_same_login() {
        let prints = Fingerprints::new();
        let login = attempt(&prints, b"a@b.de#mail:995#M#C#W", b"");
        for spelled in
            ["a@b.de #mail:995#M#C#W", "a@b.de#mail:995#M#C#W  ", "A@b.de#mail:995#m#\tC#W"]
        {
            let same = attempt(&prints, spelled.as_bytes(), b"");
            assert_eq!(same.login, login.login, "{spelled:?}");
        }
        assert_ne!(attempt(&prints, b"a@b.de#mail:995#M#C#W2", b"").login, login.login);
        for account in [" a@b.de", "a@b.de ", "a @b.de"] {
            let account = Account::new(account);
            let whose = Whose { workstation: "PC1".into(), account };
            assert_eq!(Attempt::new(&prints, whose, b"x", b"").account, login.account);
        }
    }

    #[test]
    fn other_tails_of_a_login_do_not_help_for_long_against_one_account() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let attempt = |n: u64| Attempt {
            login: Fingerprint::fixed(100 + n),
            account: Fingerprint::fixed(1),
            password: Fingerprint::fixed(200 + n),
            whose: Whose { workstation: "PC1".into(), account: Account::new("a@b.de") },
        };
        for n in 0..9 {
            assert_eq!(throttle.check(&attempt(n), now), Ok(()), "{n}");
            throttle.verdict(&attempt(n), LoginVerdict::Refused("535"), now);
        }
        assert_eq!(remaining(throttle.check(&attempt(9), now)), Some(PAUSE));
        let elsewhere = Attempt { account: Fingerprint::fixed(2), ..attempt(9) };
        assert_eq!(throttle.check(&elsewhere, now), Ok(()), "another workstation or account");
        assert_eq!(throttle.check(&attempt(9), now + PAUSE), Ok(()));
        assert!(throttle.check(&attempt(8), now + PAUSE).is_err(), "this password was refused");
        throttle.verdict(&attempt(9), LoginVerdict::Accepted, now);
        assert_eq!(throttle.check(&attempt(8), now), Ok(()));
    }
}

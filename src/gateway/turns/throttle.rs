//! The throttle of logins: a wrong password must not lock the account at the mail service.
//!
//! A mail program polls with a stored password for as long as it runs. The mail service may lock the
//! account after some number of failures, which its operator does not publish. After several refusals
//! by the client module, kimgate itself refuses the login for a while. Time is an argument everywhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::refusals::{Cause, LOGINS, Pass, Paused, RefusalTable, Waits, Whose};
use crate::gateway::fingerprint::{Fingerprint, Fingerprints};

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
    Refused(Cause, &'a str),
}

/// What of a login waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// This login.
    Login,
    /// All logins of its account at its workstation.
    Account,
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
        self.passes(attempt, now).map(drop)
    }

    /// Why the pauses of login and account let the attempt through, if they do.
    fn passes(&self, attempt: &Attempt, now: Instant) -> Result<(Pass, Pass), Paused> {
        let Attempt { login, account, password, .. } = *attempt;
        // A login that was never refused is no corrected one: whoever guesses makes up new ends of it.
        let was_refused = self.logins.has_refusals(login, now);
        match (
            self.logins.check(login, password, true, now),
            self.accounts.check(account, password, was_refused, now),
        ) {
            (Ok(login), Ok(account)) => Ok((login, account)),
            (Err(login), Err(account)) if account.remaining > login.remaining => Err(account),
            (Err(paused), _) | (Ok(_), Err(paused)) => Err(paused),
        }
    }

    /// Counts the attempt as one that waits for its answer, until [`LoginThrottle::end`]. Such
    /// attempts count towards the limit, because each of them may be refused.
    pub(super) fn begin(&mut self, attempt: &Attempt, now: Instant) -> Result<(), NotYet> {
        let (of_login, of_account) = self.passes(attempt, now).map_err(NotYet::Paused)?;
        let is_known = self.accepted.get(&attempt.login) == Some(&attempt.password);
        let is_full =
            self.logins.is_full(attempt.login, now) || self.accounts.is_full(attempt.account, now);
        if is_full && !is_known {
            return Err(NotYet::InFlight);
        }
        self.logins.begin(attempt.login, of_login, now);
        self.accounts.begin(attempt.account, of_account, now);
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
            LoginVerdict::Refused(cause, reply) => {
                if self.accepted.get(&login) == Some(&password) {
                    self.accepted.remove(&login);
                }
                let (said, whose) = ((cause, reply), &attempt.whose);
                self.logins.refused(login, password, said, whose, now);
                self.accounts.refused(account, password, said, whose, now);
            }
        }
    }

    /// Forgets the refusals of these logins. How many pauses that ended, of logins and of accounts.
    pub(super) fn forget(&mut self, these: impl Fn(&Whose) -> bool, now: Instant) -> usize {
        self.logins.forget(&these, now) + self.accounts.forget(&these, now)
    }

    /// All logins and accounts that wait now.
    pub(super) fn waiting(&self, now: Instant) -> impl Iterator<Item = (Scope, Waits<'_>)> {
        let logins = self.logins.waiting(now).map(|waits| (Scope::Login, waits));
        logins.chain(self.accounts.waiting(now).map(|waits| (Scope::Account, waits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kim::Account;

    const PAUSE: Duration = Duration::from_secs(300);
    const WRONG: LoginVerdict<'_> = LoginVerdict::Refused(Cause::WrongPassword, "535 no");

    fn remaining(paused: Result<(), Paused>) -> Option<Duration> {
        paused.err().map(|paused| paused.remaining)
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
        throttle.verdict(&sent[0], WRONG, now);
        throttle.end(&sent[0]);
        assert_eq!(throttle.begin(&fourth, now), Err(NotYet::InFlight), "one refused, two wait");
        throttle.end(&sent[1]);
        assert_eq!(throttle.begin(&fourth, now), Ok(()), "one ended without a verdict");
        for attempt in [&sent[2], &fourth] {
            throttle.verdict(attempt, WRONG, now);
            throttle.end(attempt);
        }
        let paused = throttle.begin(&fourth, now);
        assert!(matches!(paused, Err(NotYet::Paused(_))), "{paused:?}");
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
        throttle.verdict(&right, WRONG, now);
        assert_eq!(throttle.begin(&right, now), Err(NotYet::InFlight), "it was changed");
    }

    #[test]
    fn after_a_pause_one_attempt_at_a_time_is_sent() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let prints = Fingerprints::new();
        for n in 0..3u8 {
            throttle.verdict(&attempt(&prints, b"login", &[n]), WRONG, now);
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
            throttle.verdict(&attempt(n), WRONG, now);
        }
        assert_eq!(remaining(throttle.check(&attempt(9), now)), Some(PAUSE));
        let elsewhere = Attempt { account: Fingerprint::fixed(2), ..attempt(9) };
        assert_eq!(throttle.check(&elsewhere, now), Ok(()), "another workstation or account");
        // A new password for a login that was refused is a corrected one, and so goes once a minute.
        let corrected = |n| Attempt { password: Fingerprint::fixed(300 + n), ..attempt(n) };
        assert_eq!(throttle.begin(&corrected(1), now), Ok(()));
        throttle.end(&corrected(1));
        assert_eq!(remaining(throttle.check(&corrected(2), now)), Some(Duration::from_secs(60)));
        assert_eq!(throttle.check(&attempt(9), now + PAUSE), Ok(()));
        assert!(throttle.check(&attempt(8), now + PAUSE).is_err(), "this password was refused");
        throttle.verdict(&attempt(9), LoginVerdict::Accepted, now);
        assert_eq!(throttle.check(&attempt(8), now), Ok(()));
    }

    #[test]
    fn a_hundred_new_passwords_at_once_are_one_more_than_the_limit() {
        let (mut throttle, now) = (LoginThrottle::new(3, PAUSE), Instant::now());
        let prints = Fingerprints::new();
        let mut sent = 0;
        for n in 0..100u8 {
            let attempt = attempt(&prints, b"login", &[n]);
            if throttle.begin(&attempt, now).is_ok() {
                sent += 1;
                throttle.verdict(&attempt, WRONG, now);
                throttle.end(&attempt);
            }
        }
        assert_eq!(sent, 4);
    }

    #[test]
    fn pauses_are_ended_by_account_and_by_workstation() {
        let prints = Fingerprints::new();
        let now = Instant::now();
        let paused = || {
            let mut throttle = LoginThrottle::new(1, PAUSE);
            for (workstation, account, logins) in [("PC1", "a@b.de", 3), ("PC2", "c@d.de", 1)] {
                for n in 0..logins {
                    let account = Account::new(account);
                    let whose = Whose { workstation: workstation.into(), account };
                    let attempt = Attempt::new(&prints, whose, &[n], b"wrong");
                    throttle.verdict(&attempt, WRONG, now);
                }
            }
            throttle
        };
        let scopes = |throttle: &LoginThrottle| {
            let scopes = throttle.waiting(now).map(|(scope, waits)| (scope, waits.refusals));
            let mut scopes: Vec<_> = scopes.collect();
            scopes.sort_by_key(|(scope, count)| (*scope == Scope::Account, *count));
            scopes
        };
        let all = [(Scope::Login, 1), (Scope::Login, 1), (Scope::Login, 1), (Scope::Login, 1)];
        assert_eq!(scopes(&paused())[..4], all);
        assert_eq!(scopes(&paused())[4..], [(Scope::Account, 3)]);
        let mut throttle = paused();
        assert_eq!(throttle.forget(|whose| whose.account.is("c@d.de"), now), 1);
        assert_eq!(throttle.forget(|whose| &*whose.workstation == "PC1", now), 4);
        assert_eq!(throttle.forget(|_| true, now), 0);
        assert_eq!(paused().forget(|_| true, now), 5);
    }
}

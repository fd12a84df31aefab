//! What sessions take in turn: card contexts, mailboxes, and tries of a password; and what they know
//! together of messages that came undecrypted.
//!
//! [`Turns`] is the one place that the rest of the gateway asks. Each lease is a value that gives
//! its turn back when it is dropped. No method hands out a lock.

mod contexts;
mod fair_queue;
mod held;
mod mailboxes;
#[cfg(test)]
mod model;
mod refusals;
mod throttle;

pub(crate) use contexts::{Conflict, ContextKey, ContextLease};
pub(crate) use held::HoldOutcome;
pub(crate) use mailboxes::MailboxLease;
pub(crate) use refusals::{Cause, Paused, Whose};
pub(crate) use throttle::{Attempt, LoginVerdict};

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use contexts::ContextTable;
use held::HeldMessages;
use mailboxes::Mailboxes;
use refusals::Waits;
use throttle::{LoginThrottle, NotYet, Scope};

use super::config::{ContextRules, Protection};
use super::fingerprint::Fingerprints;
use super::reply::code_of;
use crate::held::{Digest, HeldMessage, Register, ReleaseError, Undecrypted};
use crate::kim::Account;
use crate::observe::{
    ContextStatus, HeldList, HeldSummary, MailboxStatus, PauseReason, PauseScope, PauseStatus,
    TurnsStatus,
};
use crate::printable::printable;

/// The paused logins that the status shows. Up to ten thousand may be remembered, and as many accounts.
const SHOWN_PAUSES: usize = 100;

/// The turns of all sessions of this gateway.
pub(crate) struct Turns {
    contexts: ContextTable,
    mailboxes: Mailboxes,
    held: HeldMessages,
    fingerprints: Fingerprints,
    throttle: Mutex<LoginThrottle>,
    /// Wakes the logins that wait for the answers of others, when one was answered.
    answered: Notify,
}

/// A login that was sent to the client module and waits for its answer. While this lives, it counts
/// towards the limit of refusals.
pub(crate) struct InFlight<'a> {
    turns: &'a Turns,
    attempt: Attempt,
}

impl InFlight<'_> {
    /// Records what the client module said. An attempt that got no answer about its login or password
    /// is just dropped.
    pub(crate) fn verdict(self, verdict: LoginVerdict<'_>, now: Instant) {
        self.turns.throttle().verdict(&self.attempt, verdict, now);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.turns.throttle().end(&self.attempt);
        self.turns.answered.notify_waiters();
    }
}

impl Turns {
    /// Nothing is taken yet, and no login was refused. `held` is what the register has from before.
    pub(crate) fn new(protection: &Protection, held: Register) -> Self {
        let throttle = LoginThrottle::new(protection.login_failures, protection.login_pause);
        Self {
            contexts: ContextTable::default(),
            mailboxes: Mailboxes::default(),
            held: HeldMessages::new(held),
            fingerprints: Fingerprints::new(),
            throttle: Mutex::new(throttle),
            answered: Notify::new(),
        }
    }

    /// Applies the bounds of a new configuration. Refusals so far stay counted.
    pub(crate) fn adjust(&self, protection: &Protection) {
        self.throttle().adjust(protection.login_failures, protection.login_pause);
    }

    /// Takes a card context for a session of this workstation. Where another workstation has it and
    /// the rules enforce contexts, waits for up to `rules.wait`; otherwise it does not wait.
    pub(crate) async fn take_context(
        &self,
        key: &ContextKey,
        workstation: &Arc<str>,
        rules: &ContextRules,
    ) -> Result<ContextLease, Conflict> {
        self.contexts.take(key, workstation, rules).await
    }

    /// How many card contexts are in use by a session.
    pub(crate) fn contexts_active(&self) -> usize {
        self.contexts.active()
    }

    /// Takes an account's mailbox at a client module for a session of this workstation. `None` if
    /// other sessions keep it for longer than `wait`.
    pub(crate) async fn take_mailbox(
        &self,
        client_module: &str,
        account: &Account,
        workstation: &Arc<str>,
        wait: Duration,
    ) -> Option<MailboxLease> {
        self.mailboxes.take(client_module.into(), account.as_str(), workstation, wait).await
    }

    /// What stands for an account at a client module.
    pub(crate) fn maildrop(&self, client_module: &str, account: &Account) -> Digest {
        self.held.maildrop(client_module, account)
    }

    /// Whether anything of this maildrop is held.
    pub(crate) fn has_held(&self, maildrop: &Digest) -> bool {
        self.held.register().has_held(maildrop)
    }

    /// What the register knows a message of this maildrop by.
    pub(crate) fn message(&self, maildrop: &Digest, uid: &str) -> Digest {
        self.held.register().message(maildrop, uid)
    }

    /// Whether this message is held, where messages are held for so long. `None`: the register does not
    /// know it.
    pub(crate) fn is_held(&self, message: &Digest, hold: Duration) -> Option<bool> {
        self.held.register().is_held(message, self.held.terms(hold))
    }

    /// Holds a message that came undecrypted. On return the disk has it, where it takes it.
    pub(crate) async fn hold(&self, message: Undecrypted, hold: Duration) -> HoldOutcome {
        self.held.hold(message, hold).await
    }

    /// A message came decrypted. Gives what was held.
    pub(crate) async fn came_decrypted(
        &self,
        maildrop: Digest,
        uid: &str,
        hold: Duration,
    ) -> Option<HeldMessage> {
        self.held.came_decrypted(maildrop, uid, hold).await
    }

    /// Lets go what was held for so long. Gives what that was.
    pub(crate) async fn sweep_held(&self, hold: Duration) -> Vec<HeldMessage> {
        self.held.sweep(hold).await
    }

    /// Lets a message go that people call so. It waits for the disk in this thread.
    pub(crate) fn release(&self, id: &str, hold: Duration) -> Result<HeldMessage, ReleaseError> {
        self.held.release(id, hold)
    }

    /// How much is held, as `/status` shows it.
    pub(crate) fn held_summary(&self, hold: Duration) -> HeldSummary {
        self.held.summary(hold)
    }

    /// What is held, as `/held` shows it.
    pub(crate) fn held_list(&self, hold: Duration) -> HeldList {
        self.held.list(hold)
    }

    /// Asks whether a login may go to the client module, before it waits for anything else.
    pub(crate) fn attempt(
        &self,
        whose: Whose,
        login: &[u8],
        password: &[u8],
        now: Instant,
    ) -> Result<Attempt, Paused> {
        let attempt = Attempt::new(&self.fingerprints, whose, login, password);
        self.still_may(&attempt, now).map(|()| attempt)
    }

    /// Asks again after waiting: others may have used up the limit meanwhile.
    pub(crate) fn still_may(&self, attempt: &Attempt, now: Instant) -> Result<(), Paused> {
        self.throttle().check(attempt, now)
    }

    /// Asks again, just before the login is sent. While other attempts may use up the limit, waits for
    /// their answers, which come within `limits.login_timeout`.
    pub(crate) async fn begin(&self, attempt: Attempt) -> Result<InFlight<'_>, Paused> {
        loop {
            let mut answered = pin!(self.answered.notified());
            // Armed before the attempt, so that an answer between the two is not missed.
            answered.as_mut().enable();
            let begun = self.throttle().begin(&attempt, Instant::now());
            match begun {
                Ok(()) => return Ok(InFlight { turns: self, attempt }),
                Err(NotYet::Paused(paused)) => return Err(paused),
                Err(NotYet::InFlight) => answered.await,
            }
        }
    }

    /// Ends the pauses of this account and at this workstation, or of all where `None` is said, and
    /// forgets the refusals. How many pauses there were.
    pub(crate) fn unlock(
        &self,
        account: Option<&Account>,
        workstation: Option<&str>,
        now: Instant,
    ) -> usize {
        let these = |whose: &Whose| {
            account.is_none_or(|account| *account == whose.account)
                && workstation.is_none_or(|name| name.eq_ignore_ascii_case(&whose.workstation))
        };
        let ended = self.throttle().forget(these, now);
        // There is more room now for those that wait for the answers of others.
        self.answered.notify_waiters();
        ended
    }

    /// What sessions hold and wait for, as `/status` shows it. `shown` gives an account the form that
    /// the operator wants to see.
    pub(crate) fn status(&self, shown: impl Fn(&Account) -> String) -> TurnsStatus {
        let contexts = self.contexts.taken().into_iter().map(|(key, holder, sessions)| {
            // The optional fields follow in the login. The status does not show their values.
            let mut fields = key.context.split('#');
            let mut field = || printable(fields.next().unwrap_or_default()).into_owned();
            ContextStatus {
                client_module: key.client_module.to_string(),
                mandant_id: field(),
                clientsystem_id: field(),
                workplace_id: field(),
                workstation: printable(&holder).into_owned(),
                sessions,
            }
        });
        let mailboxes = self.mailboxes.taken().into_iter();
        let mailboxes = mailboxes.map(|(client_module, account, waiting)| MailboxStatus {
            client_module: client_module.to_string(),
            account: shown(&Account::new(&account)),
            waiting,
        });
        let (paused_logins, more_paused_logins) = self.paused_logins(&shown, Instant::now());
        let mut turns = TurnsStatus {
            contexts: contexts.collect(),
            mailboxes: mailboxes.collect(),
            paused_logins,
            more_paused_logins,
        };
        turns.contexts.sort();
        turns.mailboxes.sort();
        turns
    }

    /// The first logins that wait, by workstation and account, and how many there are besides.
    fn paused_logins(
        &self,
        shown: impl Fn(&Account) -> String,
        now: Instant,
    ) -> (Vec<PauseStatus>, usize) {
        let throttle = self.throttle();
        let mut waiting: Vec<_> = throttle.waiting(now).collect();
        waiting.sort_by(|(_, one), (_, other)| {
            let key = |waits: &Waits<'_>| {
                (waits.whose.workstation.clone(), waits.whose.account.clone(), waits.pause)
            };
            key(one).cmp(&key(other))
        });
        let more = waiting.len().saturating_sub(SHOWN_PAUSES);
        waiting.truncate(SHOWN_PAUSES);
        let paused = waiting.into_iter().map(|(scope, waits)| pause_status(scope, &waits, &shown));
        (paused.collect(), more)
    }

    fn throttle(&self) -> MutexGuard<'_, LoginThrottle> {
        // No method of the throttle panics half-way, so it is sound after a poisoned lock too.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause_status(
    scope: Scope,
    waits: &Waits<'_>,
    shown: impl Fn(&Account) -> String,
) -> PauseStatus {
    let Waits { whose, pause, wrong_passwords, refusals, cause, reply } = *waits;
    let seconds = |left: Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
    PauseStatus {
        workstation: Some(printable(&whose.workstation).into_owned()),
        account: Some(shown(&whose.account)),
        scope: match scope {
            _ if pause.is_zero() => PauseScope::WrongPassword,
            Scope::Login => PauseScope::Login,
            Scope::Account => PauseScope::Account,
        },
        seconds: seconds(if pause.is_zero() { wrong_passwords.unwrap_or(pause) } else { pause }),
        wrong_password_seconds: wrong_passwords.map(seconds),
        refusals,
        reason: match cause {
            Cause::WrongPassword => PauseReason::WrongPassword,
            Cause::Unclear => PauseReason::RejectedByClientModule,
        },
        reply: code_of(reply.as_bytes()).to_owned(),
    }
}

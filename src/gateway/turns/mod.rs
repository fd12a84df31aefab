//! What sessions take in turn: card contexts, mailboxes, and tries of a password.
//!
//! [`Turns`] is the one place that the rest of the gateway asks. Each lease is a value that gives
//! its turn back when it is dropped. No method hands out a lock.

mod contexts;
mod mailboxes;
mod throttle;

pub(crate) use contexts::{Conflict, ContextKey, ContextLease};
pub(crate) use mailboxes::MailboxLease;
pub(crate) use throttle::{Attempt, LoginVerdict, Paused, Whose};

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use contexts::ContextTable;
use mailboxes::Mailboxes;
use throttle::{LoginThrottle, NotYet};

use super::config::{ContextRules, Protection};
use super::fingerprint::Fingerprints;
use crate::kim::Account;
use crate::observe::{ContextStatus, MailboxStatus, PauseStatus, TurnsStatus};
use crate::printable::printable;

/// The paused logins that the status shows. Up to ten thousand may be remembered.
const SHOWN_PAUSES: usize = 100;

/// The turns of all sessions of this gateway.
pub(crate) struct Turns {
    contexts: ContextTable,
    mailboxes: Mailboxes,
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
    /// Nothing is taken yet, and no login was refused.
    pub(crate) fn new(protection: &Protection) -> Self {
        let throttle = LoginThrottle::new(protection.login_failures, protection.login_pause);
        Self {
            contexts: ContextTable::default(),
            mailboxes: Mailboxes::default(),
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

    /// Takes an account's mailbox at a client module. `None` if other sessions keep it for longer
    /// than `wait`.
    pub(crate) async fn take_mailbox(
        &self,
        client_module: &str,
        account: &Account,
        wait: Duration,
    ) -> Option<MailboxLease> {
        self.mailboxes.take(client_module.into(), account.as_str(), wait).await
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
        self.throttle().check(&attempt, now).map(|()| attempt)
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
        let mut turns = TurnsStatus {
            contexts: contexts.collect(),
            mailboxes: mailboxes.collect(),
            paused_logins: self.paused_logins(shown),
        };
        turns.contexts.sort();
        turns.mailboxes.sort();
        turns.paused_logins.sort();
        turns
    }

    fn paused_logins(&self, shown: impl Fn(&Account) -> String) -> Vec<PauseStatus> {
        let throttle = self.throttle();
        let paused = throttle.paused(Instant::now()).map(|(whose, remaining)| PauseStatus {
            workstation: whose.map(|whose| printable(&whose.workstation).into_owned()),
            account: whose.map(|whose| shown(&whose.account)),
            seconds: remaining.as_secs(),
        });
        paused.take(SHOWN_PAUSES).collect()
    }

    fn throttle(&self) -> MutexGuard<'_, LoginThrottle> {
        // No method of the throttle panics half-way, so it is sound after a poisoned lock too.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

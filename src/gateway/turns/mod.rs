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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contexts::ContextTable;
use mailboxes::Mailboxes;
use throttle::LoginThrottle;

use super::config::{ContextRules, Protection};
use super::fingerprint::Fingerprints;
use crate::kim::Account;
use crate::observe::{ContextStatus, MailboxStatus, PauseStatus, TurnsStatus, printable};

/// The paused logins that the status shows. Up to ten thousand may be remembered.
const SHOWN_PAUSES: usize = 100;

/// The turns of all sessions of this gateway.
pub(crate) struct Turns {
    contexts: ContextTable,
    mailboxes: Mailboxes,
    fingerprints: Fingerprints,
    throttle: Mutex<LoginThrottle>,
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

    /// Asks whether a login may go to the client module now. If it may, its outcome is to be told to
    /// [`Turns::verdict`] with the attempt.
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

    /// Records what the client module said to an attempt. An attempt that got no answer about its
    /// login or password is just dropped.
    pub(crate) fn verdict(&self, attempt: &Attempt, verdict: LoginVerdict<'_>, now: Instant) {
        self.throttle().verdict(attempt, verdict, now);
    }

    /// What sessions hold and wait for, as `/status` shows it. `shown` gives an account the form that
    /// the operator wants to see.
    pub(crate) fn status(&self, shown: impl Fn(&Account) -> String) -> TurnsStatus {
        let contexts = self.contexts.taken().into_iter().map(|(key, holder, sessions)| {
            // UserId and KonnektorId follow in the login. The status does not show them.
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

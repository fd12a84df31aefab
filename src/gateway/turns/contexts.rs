//! One card context, one workstation: the Konnektor breaks when two use the same (TIP1-A_4960).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::gateway::config::{ContextMode, ContextRules};

/// Names a card context at a client module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContextKey {
    /// The client module's name.
    pub(crate) client_module: Arc<str>,
    /// The login's fields after `host:port`, with `#` between them.
    pub(crate) context: String,
}

/// Which workstation has which context.
#[derive(Clone, Default)]
pub(super) struct ContextTable {
    taken: Arc<Mutex<HashMap<ContextKey, Holding>>>,
    /// Wakes every session that waits, when a context was released.
    released: Arc<Notify>,
}

struct Holding {
    workstation: Arc<str>,
    sessions: usize,
    /// Until when the context stays taken after the last session whose login was accepted. `None`
    /// before one has ended.
    lingers_until: Option<Instant>,
}

impl Holding {
    fn is_taken(&self, now: Instant) -> bool {
        self.sessions > 0 || self.lingers_until.is_some_and(|until| now < until)
    }
}

/// A session's share in a context. The context belongs to the session's workstation until every lease
/// is dropped. If the client module accepted the session's login, the context also stays with the
/// workstation for the linger time after that; until then no card was asked for this workstation.
pub(crate) struct ContextLease {
    contexts: ContextTable,
    key: ContextKey,
    /// Zero until the login is accepted.
    linger: Duration,
    linger_if_accepted: Duration,
}

impl ContextLease {
    /// The client module has accepted the session's login.
    pub(crate) fn accepted(&mut self) {
        self.linger = self.linger_if_accepted;
    }
}

/// Another workstation has the context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Its name, or its address where it has no name.
    pub(crate) holder: Arc<str>,
}

impl ContextTable {
    /// Takes the context if it is free or belongs to this workstation already.
    fn try_take(
        &self,
        key: &ContextKey,
        workstation: &Arc<str>,
        rules: &ContextRules,
    ) -> Result<ContextLease, Conflict> {
        let mut taken = self.lock();
        let now = Instant::now();
        // There are about as many contexts as workstations, so this walk is short.
        taken.retain(|_, holding| holding.is_taken(now));
        let holding = taken.entry(key.clone()).or_insert_with(|| Holding {
            workstation: workstation.clone(),
            sessions: 0,
            lingers_until: None,
        });
        if holding.workstation != *workstation {
            return Err(Conflict { holder: holding.workstation.clone() });
        }
        holding.sessions += 1;
        Ok(ContextLease {
            contexts: self.clone(),
            key: key.clone(),
            linger: Duration::ZERO,
            linger_if_accepted: rules.linger,
        })
    }

    /// Takes the context. Where the rules enforce contexts, waits for it for up to `rules.wait`.
    pub(super) async fn take(
        &self,
        key: &ContextKey,
        workstation: &Arc<str>,
        rules: &ContextRules,
    ) -> Result<ContextLease, Conflict> {
        let wait = match rules.mode {
            ContextMode::Enforce => rules.wait,
            ContextMode::Observe | ContextMode::Off => Duration::ZERO,
        };
        let deadline = Instant::now() + wait;
        loop {
            // Armed before the attempt, so that a release between the two is not missed.
            let released = self.released.notified();
            let conflict = match self.try_take(key, workstation, rules) {
                Ok(lease) => return Ok(lease),
                Err(conflict) => conflict,
            };
            if Instant::now() >= deadline {
                return Err(conflict);
            }
            let try_again = self.lingers_until(key).map_or(deadline, |until| until.min(deadline));
            // After the time or after a release, the next attempt decides.
            let _ = timeout_at(try_again, released).await;
        }
    }

    /// How many contexts a session uses. One that only lingers does not count.
    pub(super) fn active(&self) -> usize {
        self.lock().values().filter(|holding| holding.sessions > 0).count()
    }

    /// Every context that is taken, its workstation, and the number of sessions that use it: zero
    /// while it lingers.
    pub(super) fn taken(&self) -> Vec<(ContextKey, Arc<str>, usize)> {
        let now = Instant::now();
        let taken = self.lock();
        let there = taken.iter().filter(|(_, h)| h.is_taken(now));
        there.map(|(key, h)| (key.clone(), h.workstation.clone(), h.sessions)).collect()
    }

    fn lingers_until(&self, key: &ContextKey) -> Option<Instant> {
        let taken = self.lock();
        let holding = taken.get(key).filter(|holding| holding.sessions == 0);
        holding.and_then(|holding| holding.lingers_until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextKey, Holding>> {
        // No method panics half-way, so the table is sound after a poisoned lock too.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ContextLease {
    fn drop(&mut self) {
        let mut taken = self.contexts.lock();
        if let Some(holding) = taken.get_mut(&self.key) {
            holding.sessions -= 1;
            if !self.linger.is_zero() {
                let until = Instant::now() + self.linger;
                holding.lingers_until = holding.lingers_until.max(Some(until));
            }
        }
        drop(taken);
        self.contexts.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(wait: u64, linger: u64) -> ContextRules {
        ContextRules {
            mode: ContextMode::Enforce,
            wait: Duration::from_secs(wait),
            linger: Duration::from_secs(linger),
        }
    }

    fn key() -> ContextKey {
        ContextKey { client_module: "main".into(), context: "Mandant1#ivorisortho#PC1".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_workstation_share_a_context() {
        let contexts = ContextTable::default();
        let pc1: Arc<str> = "PC1".into();
        let mut first = contexts.try_take(&key(), &pc1, &config(10, 5)).unwrap();
        first.accepted();
        let second = contexts.try_take(&key(), &pc1, &config(10, 5)).unwrap();
        drop(first);
        let conflict = contexts.try_take(&key(), &"PC2".into(), &config(10, 5)).err();
        assert_eq!(conflict, Some(Conflict { holder: pc1.clone() }));
        let taken = || contexts.taken().into_iter().map(|(_, holder, sessions)| (holder, sessions));
        assert_eq!(taken().collect::<Vec<_>>(), [(pc1.clone(), 1)]);
        drop(second);
        assert_eq!(taken().collect::<Vec<_>>(), [(pc1.clone(), 0)]);
        assert_eq!(contexts.active(), 0);
        let conflict = contexts.try_take(&key(), &"PC2".into(), &config(10, 5)).err();
        assert!(conflict.is_some(), "it lingers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_workstation_gets_it_when_the_linger_is_over() {
        let contexts = ContextTable::default();
        let mut hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap();
        hold.accepted();
        let start = Instant::now();
        let second = tokio::spawn({
            let contexts = contexts.clone();
            async move { contexts.take(&key(), &"PC2".into(), &config(10, 5)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(hold);
        assert!(second.await.unwrap());
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_workstation_is_refused_after_the_wait_and_told_who_has_it() {
        let contexts = ContextTable::default();
        let _hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap();
        let start = Instant::now();
        let refused = contexts.take(&key(), &"PC2".into(), &config(10, 5)).await.err();
        assert_eq!(refused, Some(Conflict { holder: "PC1".into() }));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_workstation_may_come_back_while_it_lingers() {
        let contexts = ContextTable::default();
        let mut first = contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap();
        first.accepted();
        drop(first);
        let back = contexts.try_take(&key(), &"PC1".into(), &config(10, 5));
        assert!(back.is_ok());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(contexts.try_take(&key(), &"PC2".into(), &config(10, 5)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_was_not_accepted_leaves_no_linger_and_ends_none() {
        let contexts = ContextTable::default();
        let (pc1, pc2): (Arc<str>, Arc<str>) = ("PC1".into(), "PC2".into());
        drop(contexts.try_take(&key(), &pc1, &config(10, 5)).unwrap());
        let mut accepted = contexts.try_take(&key(), &pc2, &config(10, 5)).unwrap();
        accepted.accepted();
        drop(accepted);
        drop(contexts.try_take(&key(), &pc2, &config(10, 5)).unwrap());
        assert!(contexts.try_take(&key(), &pc1, &config(10, 5)).is_err(), "PC2 lingers still");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(contexts.try_take(&key(), &pc1, &config(10, 5)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_killed_frees_its_context() {
        let contexts = ContextTable::default();
        let task = tokio::spawn({
            let contexts = contexts.clone();
            async move {
                let _hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 0));
                std::future::pending::<()>().await;
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(contexts.active(), 1);
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(contexts.active(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_panics_frees_its_context() {
        let contexts = ContextTable::default();
        let task = tokio::spawn({
            let contexts = contexts.clone();
            async move {
                let _hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 0));
                panic!("on purpose");
            }
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(contexts.active(), 0);
        assert!(contexts.try_take(&key(), &"PC2".into(), &config(10, 0)).is_ok());
    }
}

//! One card context, one workstation: the Konnektor breaks when two use the same (TIP1-A_4960).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::gateway::config::Contexts as Config;

/// A context: the client module's name and the login's fields after host:port.
pub(crate) type Key = (Arc<str>, String);

/// Which workstation has which context.
#[derive(Clone, Default)]
pub(crate) struct Contexts {
    taken: Arc<Mutex<HashMap<Key, Holding>>>,
    /// Something was released; whoever waits looks again.
    released: Arc<Notify>,
}

struct Holding {
    workstation: Arc<str>,
    sessions: usize,
    /// When the last session ended and how long the context stays taken after that.
    lingers_until: Option<Instant>,
}

/// The context is this session's workstation's until the hold is dropped.
pub(crate) struct ContextLease {
    contexts: Contexts,
    key: Key,
    linger: Duration,
}

/// Another workstation has the context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Its name, or its address where it has no name.
    pub(crate) holder: Arc<str>,
}

impl Contexts {
    /// Takes the context if it is free or this workstation's already.
    pub(crate) fn try_take(
        &self,
        key: &Key,
        workstation: &Arc<str>,
        config: &Config,
    ) -> Result<ContextLease, Conflict> {
        let mut taken = self.lock();
        let now = Instant::now();
        // Contexts are as few as workstations; looking them all through keeps the table clean.
        taken.retain(|_, holding| holding.lingers_until.is_none_or(|until| now < until));
        let holding = taken.entry(key.clone()).or_insert_with(|| Holding {
            workstation: workstation.clone(),
            sessions: 0,
            lingers_until: None,
        });
        if holding.workstation != *workstation {
            return Err(Conflict { holder: holding.workstation.clone() });
        }
        holding.sessions += 1;
        holding.lingers_until = None;
        Ok(ContextLease { contexts: self.clone(), key: key.clone(), linger: config.linger })
    }

    /// Waits for the context, at the longest for `config.wait`.
    pub(crate) async fn take(
        &self,
        key: &Key,
        workstation: &Arc<str>,
        config: &Config,
    ) -> Result<ContextLease, Conflict> {
        let deadline = Instant::now() + config.wait;
        loop {
            // Armed before the look, so that a release in between is not missed.
            let released = self.released.notified();
            let conflict = match self.try_take(key, workstation, config) {
                Ok(hold) => return Ok(hold),
                Err(conflict) => conflict,
            };
            if Instant::now() >= deadline {
                return Err(conflict);
            }
            let look_again = self.lingers_until(key).map_or(deadline, |until| until.min(deadline));
            // Elapsed or released: either way the next look decides.
            let _ = timeout_at(look_again, released).await;
        }
    }

    /// Contexts that some session uses; a lingering one is not among them.
    pub(crate) fn active(&self) -> usize {
        self.lock().values().filter(|holding| holding.sessions > 0).count()
    }

    /// Every context that is taken, by which workstation and for how many sessions; none of them where
    /// it only lingers.
    pub(crate) fn taken(&self) -> Vec<(Key, Arc<str>, usize)> {
        let now = Instant::now();
        let taken = self.lock();
        let there = taken.iter().filter(|(_, h)| h.lingers_until.is_none_or(|until| now < until));
        there.map(|(key, h)| (key.clone(), h.workstation.clone(), h.sessions)).collect()
    }

    fn lingers_until(&self, key: &Key) -> Option<Instant> {
        self.lock().get(key).and_then(|holding| holding.lingers_until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Holding>> {
        // Nothing in here panics half-way, so the table is sound even after a poisoned lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ContextLease {
    fn drop(&mut self) {
        let mut taken = self.contexts.lock();
        if let Some(holding) = taken.get_mut(&self.key) {
            holding.sessions -= 1;
            if holding.sessions == 0 {
                holding.lingers_until = Some(Instant::now() + self.linger);
            }
        }
        drop(taken);
        self.contexts.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(wait: u64, linger: u64) -> Config {
        Config {
            wait: Duration::from_secs(wait),
            linger: Duration::from_secs(linger),
            ..Config::default()
        }
    }

    fn key() -> Key {
        ("main".into(), "Mandant1#ivorisortho#PC1".into())
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_workstation_share_a_context() {
        let contexts = Contexts::default();
        let pc1: Arc<str> = "PC1".into();
        let first = contexts.try_take(&key(), &pc1, &config(10, 5)).unwrap();
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
        let contexts = Contexts::default();
        let hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap();
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
        let contexts = Contexts::default();
        let _hold = contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap();
        let start = Instant::now();
        let refused = contexts.take(&key(), &"PC2".into(), &config(10, 5)).await.err();
        assert_eq!(refused, Some(Conflict { holder: "PC1".into() }));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_workstation_may_come_back_while_it_lingers() {
        let contexts = Contexts::default();
        drop(contexts.try_take(&key(), &"PC1".into(), &config(10, 5)).unwrap());
        let back = contexts.try_take(&key(), &"PC1".into(), &config(10, 5));
        assert!(back.is_ok());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(contexts.try_take(&key(), &"PC2".into(), &config(10, 5)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_killed_frees_its_context() {
        let contexts = Contexts::default();
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
        let contexts = Contexts::default();
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

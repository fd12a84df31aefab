//! One card context, one workstation: the Konnektor breaks when two use the same (TIP1-A_4960).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fair_queue::{FairQueue, Ticket};
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
    contexts: Arc<Mutex<HashMap<ContextKey, Context>>>,
}

/// There is one as long as a workstation has it or a session waits for it.
#[derive(Default)]
struct Context {
    /// The workstation that has it, or had it last.
    holder: Option<Arc<str>>,
    /// Sessions of the holder.
    sessions: usize,
    /// Those whose login the client module has accepted.
    accepted: usize,
    /// Until when the context stays taken after the last session whose login was accepted. `None`
    /// before one has ended.
    lingers_until: Option<Instant>,
    queue: FairQueue,
}

/// A session's share in a context. The context belongs to the session's workstation until every lease
/// is dropped. If the client module accepted the session's login, the context also stays with the
/// workstation for the linger time after that; until then no card was asked for this workstation.
pub(crate) struct ContextLease {
    contexts: ContextTable,
    key: ContextKey,
    is_accepted: bool,
    linger: Duration,
}

/// Another workstation has the context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Its name, or its address where it has no name.
    pub(crate) holder: Arc<str>,
}

/// A session's place in a context's queue, until it is dropped.
struct Place<'a> {
    contexts: &'a ContextTable,
    key: &'a ContextKey,
    workstation: &'a Arc<str>,
    ticket: Ticket,
    wake: Arc<Notify>,
}

/// What becomes of a session that comes.
enum Arrival<'a> {
    Taken,
    Refused(Conflict),
    Queued(Place<'a>),
}

/// Why a session has to wait.
struct Wait {
    conflict: Conflict,
    /// When the context becomes free although nothing happens.
    until: Option<Instant>,
}

impl ContextTable {
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
        let place = match self.arrive(key, workstation, !wait.is_zero()) {
            Arrival::Taken => return Ok(self.lease(key, rules)),
            Arrival::Refused(conflict) => return Err(conflict),
            Arrival::Queued(place) => place,
        };
        loop {
            let Wait { conflict, until } = match place.take() {
                Ok(()) => return Ok(self.lease(key, rules)),
                Err(wait) => wait,
            };
            if Instant::now() >= deadline {
                return Err(conflict);
            }
            let try_again = until.map_or(deadline, |until| until.min(deadline));
            // After the time or after a change, the next attempt decides.
            let _ = timeout_at(try_again, place.wake.notified()).await;
        }
    }

    /// How many contexts a session uses. One that only lingers does not count.
    pub(super) fn active(&self) -> usize {
        self.lock().values().filter(|context| context.sessions > 0).count()
    }

    /// Every context that is taken, its workstation, and the number of sessions that use it: zero
    /// while it lingers.
    pub(super) fn taken(&self) -> Vec<(ContextKey, Arc<str>, usize)> {
        let now = Instant::now();
        let contexts = self.lock();
        let taken = contexts.iter().filter(|(_, context)| !context.is_free(now));
        taken.filter_map(|(key, c)| Some((key.clone(), c.holder.clone()?, c.sessions))).collect()
    }

    /// The first attempt. A session that does not wait is never seen in the queue by another.
    fn arrive<'a>(
        &'a self,
        key: &'a ContextKey,
        workstation: &'a Arc<str>,
        waits: bool,
    ) -> Arrival<'a> {
        let now = Instant::now();
        let mut contexts = self.lock();
        // There are about as many contexts as workstations, so this walk is short.
        contexts.retain(|_, context| !context.is_free(now) || !context.queue.is_empty());
        let context = contexts.entry(key.clone()).or_default();
        let (ticket, wake) = context.queue.join(workstation);
        match context.take(ticket, workstation, now) {
            Ok(()) => Arrival::Taken,
            Err(_) if waits => {
                Arrival::Queued(Place { contexts: self, key, workstation, ticket, wake })
            }
            Err(Wait { conflict, .. }) => {
                context.queue.leave(ticket);
                Arrival::Refused(conflict)
            }
        }
    }

    fn lease(&self, key: &ContextKey, rules: &ContextRules) -> ContextLease {
        let (contexts, key, linger) = (self.clone(), key.clone(), rules.linger);
        ContextLease { contexts, key, is_accepted: false, linger }
    }

    /// Changes a context, and then wakes the sessions that may have it now.
    fn change(&self, key: &ContextKey, change: impl FnOnce(&mut Context)) {
        let mut contexts = self.lock();
        let Some(context) = contexts.get_mut(key) else { return };
        change(context);
        context.wake();
        if context.is_free(Instant::now()) && context.queue.is_empty() {
            contexts.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextKey, Context>> {
        // No method panics half-way, so the table is sound after a poisoned lock too.
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    fn is_free(&self, now: Instant) -> bool {
        self.sessions == 0 && !self.lingers(now)
    }

    fn lingers(&self, now: Instant) -> bool {
        self.lingers_until.is_some_and(|until| now < until)
    }

    /// Whether this session may have the context.
    ///
    /// If it is free, the workstations take turns. The sessions of the workstation that has it share it.
    /// But as long as none of its logins was accepted, others that wait go first: otherwise a
    /// workstation could keep the context with wrong logins, each sent before the last one is refused.
    fn admits(&self, ticket: Ticket, workstation: &str, now: Instant) -> bool {
        if self.is_free(now) {
            return self.queue.is_next(ticket);
        }
        let holds = self.accepted > 0 || self.lingers(now);
        self.holder.as_deref() == Some(workstation)
            && (holds || !self.queue.others_wait(workstation))
    }

    /// Gives the context to this session and takes it out of the queue, or says why it has to wait.
    fn take(&mut self, ticket: Ticket, workstation: &Arc<str>, now: Instant) -> Result<(), Wait> {
        if self.admits(ticket, workstation, now) {
            self.holder = Some(workstation.clone());
            self.sessions += 1;
            self.queue.leave(ticket);
            self.queue.served(workstation);
            self.wake();
            return Ok(());
        }
        // What another workstation has, or will have before this one.
        let other = self.holder.as_ref().filter(|holder| *holder != workstation);
        let other = other.filter(|_| !self.is_free(now)).or(self.queue.next_workstation());
        let holder = other.unwrap_or(workstation).clone();
        let until = self.lingers_until.filter(|until| self.sessions == 0 && now < *until);
        Err(Wait { conflict: Conflict { holder }, until })
    }

    /// Wakes the sessions that may have it. If it lingers, the next one wakes to set its own alarm.
    fn wake(&self) {
        if self.sessions == 0 {
            self.queue.wake_next();
        }
        if let Some(holder) = &self.holder {
            self.queue.wake_all_of(holder);
        }
    }
}

impl Place<'_> {
    fn take(&self) -> Result<(), Wait> {
        let mut contexts = self.contexts.lock();
        let context = contexts.entry(self.key.clone()).or_default();
        context.take(self.ticket, self.workstation, Instant::now())
    }
}

impl ContextLease {
    /// The client module has accepted the session's login.
    pub(crate) fn accepted(&mut self) {
        if !std::mem::replace(&mut self.is_accepted, true) {
            self.contexts.change(&self.key, |context| context.accepted += 1);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.contexts.change(self.key, |context| context.queue.leave(self.ticket));
    }
}

impl Drop for ContextLease {
    fn drop(&mut self) {
        self.contexts.change(&self.key, |context| {
            context.sessions -= 1;
            if self.is_accepted {
                context.accepted -= 1;
                let until = Instant::now() + self.linger;
                context.lingers_until = context.lingers_until.max(Some(until));
            }
        });
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

    /// Takes the context if that needs no waiting.
    async fn now(
        contexts: &ContextTable,
        workstation: &Arc<str>,
        linger: u64,
    ) -> Result<ContextLease, Conflict> {
        contexts.take(&key(), workstation, &config(0, linger)).await
    }

    fn key() -> ContextKey {
        ContextKey { client_module: "main".into(), context: "Mandant1#ivorisortho#PC1".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_workstation_share_a_context() {
        let contexts = ContextTable::default();
        let pc1: Arc<str> = "PC1".into();
        let mut first = now(&contexts, &pc1, 5).await.unwrap();
        first.accepted();
        let second = now(&contexts, &pc1, 5).await.unwrap();
        drop(first);
        let conflict = now(&contexts, &"PC2".into(), 5).await.err();
        assert_eq!(conflict, Some(Conflict { holder: pc1.clone() }));
        let taken = || contexts.taken().into_iter().map(|(_, holder, sessions)| (holder, sessions));
        assert_eq!(taken().collect::<Vec<_>>(), [(pc1.clone(), 1)]);
        drop(second);
        assert_eq!(taken().collect::<Vec<_>>(), [(pc1.clone(), 0)]);
        assert_eq!(contexts.active(), 0);
        let conflict = now(&contexts, &"PC2".into(), 5).await.err();
        assert!(conflict.is_some(), "it lingers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_workstation_gets_it_when_the_linger_is_over() {
        let contexts = ContextTable::default();
        let mut hold = now(&contexts, &"PC1".into(), 5).await.unwrap();
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
        let _hold = now(&contexts, &"PC1".into(), 5).await.unwrap();
        let start = Instant::now();
        let refused = contexts.take(&key(), &"PC2".into(), &config(10, 5)).await.err();
        assert_eq!(refused, Some(Conflict { holder: "PC1".into() }));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_workstation_may_come_back_while_it_lingers() {
        let contexts = ContextTable::default();
        let mut first = now(&contexts, &"PC1".into(), 5).await.unwrap();
        first.accepted();
        drop(first);
        let back = now(&contexts, &"PC1".into(), 5).await;
        assert!(back.is_ok());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(now(&contexts, &"PC2".into(), 5).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_was_not_accepted_leaves_no_linger_and_ends_none() {
        let contexts = ContextTable::default();
        let (pc1, pc2): (Arc<str>, Arc<str>) = ("PC1".into(), "PC2".into());
        drop(now(&contexts, &pc1, 5).await.unwrap());
        let mut accepted = now(&contexts, &pc2, 5).await.unwrap();
        accepted.accepted();
        drop(accepted);
        drop(now(&contexts, &pc2, 5).await.unwrap());
        assert!(now(&contexts, &pc1, 5).await.is_err(), "PC2 lingers still");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(now(&contexts, &pc1, 5).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_killed_frees_its_context() {
        let contexts = ContextTable::default();
        let task = tokio::spawn({
            let contexts = contexts.clone();
            async move {
                let _hold = now(&contexts, &"PC1".into(), 0).await;
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
                let _hold = now(&contexts, &"PC1".into(), 0).await;
                panic!("on purpose");
            }
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(contexts.active(), 0);
        assert!(now(&contexts, &"PC2".into(), 0).await.is_ok());
    }

    async fn queue(
        contexts: &ContextTable,
        workstation: &str,
        waiting: usize,
    ) -> tokio::task::JoinHandle<Result<ContextLease, Conflict>> {
        let (contexts, workstation) = (contexts.clone(), Arc::from(workstation));
        let task = tokio::spawn({
            let contexts = contexts.clone();
            async move { contexts.take(&key(), &workstation, &config(10, 5)).await }
        });
        while contexts.lock()[&key()].queue.len() < waiting {
            tokio::task::yield_now().await;
        }
        task
    }

    /// PC9 sent the next wrong login before the last one was refused, and so kept the context for good.
    #[tokio::test(start_paused = true)]
    async fn a_workstation_whose_logins_are_not_accepted_does_not_keep_the_context() {
        let contexts = ContextTable::default();
        let pc9: Arc<str> = "PC9".into();
        let wrong = now(&contexts, &pc9, 5).await.unwrap();
        let pc1 = queue(&contexts, "PC1", 1).await;
        let next_wrong = queue(&contexts, "PC9", 2).await;
        assert_eq!(now(&contexts, &pc9, 5).await.err(), Some(Conflict { holder: "PC1".into() }));
        drop(wrong);
        let mut lease = pc1.await.unwrap().unwrap();
        assert_eq!(contexts.taken()[0].1, "PC1".into());
        // One that was accepted is shared, whoever waits.
        let second = queue(&contexts, "PC1", 2).await;
        lease.accepted();
        assert!(second.await.unwrap().is_ok());
        drop(lease);
        assert!(next_wrong.await.unwrap().is_ok(), "after the linger");
        assert!(contexts.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_waits_in_vain_leaves_nothing_and_frees_those_it_kept_back() {
        let contexts = ContextTable::default();
        let pc9: Arc<str> = "PC9".into();
        let first = now(&contexts, &pc9, 5).await.unwrap();
        let pc1 = queue(&contexts, "PC1", 1).await;
        let second = queue(&contexts, "PC9", 2).await;
        pc1.abort();
        assert!(pc1.await.is_err());
        let second = second.await.unwrap().unwrap();
        assert_eq!(contexts.taken()[0].2, 2);
        drop((first, second));
        assert!(contexts.lock().is_empty());
    }
}

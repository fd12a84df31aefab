//! Turns at a mailbox: POP3 locks it for one session at a time (RFC 1939 section 4), so a second session
//! waits here instead of failing at the client module. The workstations take turns; see [`FairQueue`].

use std::collections::hash_map::{Entry, HashMap, OccupiedEntry};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fair_queue::{FairQueue, Ticket};

/// A mailbox: the client module's name and the account.
type Key = (Arc<str>, Arc<str>);

/// The mailboxes that a session has or waits for.
#[derive(Clone, Default)]
pub(super) struct Mailboxes {
    taken: Arc<Mutex<HashMap<Key, Mailbox>>>,
}

/// There is one as long as a session has it or waits for it.
#[derive(Default)]
struct Mailbox {
    is_held: bool,
    queue: FairQueue,
}

/// The mailbox belongs to this session until the lease is dropped.
pub(crate) struct MailboxLease {
    mailboxes: Mailboxes,
    key: Key,
}

/// A session's place in a mailbox's queue, until it is dropped.
struct Place<'a> {
    mailboxes: &'a Mailboxes,
    key: &'a Key,
    workstation: &'a Arc<str>,
    ticket: Ticket,
    wake: Arc<Notify>,
}

impl Mailboxes {
    /// Waits for the mailbox for up to `wait`. `None` if other sessions keep it for longer.
    pub(super) async fn take(
        &self,
        client_module: Arc<str>,
        account: &str,
        workstation: &Arc<str>,
        wait: Duration,
    ) -> Option<MailboxLease> {
        let key = (client_module, account.into());
        let deadline = Instant::now() + wait;
        let place = self.join(&key, workstation);
        loop {
            if place.take() {
                return Some(MailboxLease { mailboxes: self.clone(), key: key.clone() });
            }
            timeout_at(deadline, place.wake.notified()).await.ok()?;
        }
    }

    /// The mailboxes that are taken, as client module and account, and how many sessions wait for
    /// each.
    pub(super) fn taken(&self) -> Vec<(Arc<str>, Arc<str>, usize)> {
        let taken = self.lock();
        let taken = taken.iter().map(|((client_module, account), mailbox)| {
            (client_module.clone(), account.clone(), mailbox.queue.len())
        });
        taken.collect()
    }

    fn join<'a>(&'a self, key: &'a Key, workstation: &'a Arc<str>) -> Place<'a> {
        let mut taken = self.lock();
        let (ticket, wake) = taken.entry(key.clone()).or_default().queue.join(workstation);
        Place { mailboxes: self, key, workstation, ticket, wake }
    }

    /// Changes a mailbox, and then lets the next session have it, or forgets it.
    fn change(&self, key: &Key, change: impl FnOnce(&mut Mailbox)) {
        if let Entry::Occupied(mut mailbox) = self.lock().entry(key.clone()) {
            change(mailbox.get_mut());
            settle(mailbox);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Mailbox>> {
        // No method panics half-way, so the table is sound after a poisoned lock too.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mailboxes that are taken.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }
}

/// After every change: a mailbox that is free and awaited has woken the session that is next.
fn settle(mailbox: OccupiedEntry<'_, Key, Mailbox>) {
    match (mailbox.get().is_held, mailbox.get().queue.is_empty()) {
        (true, _) => {}
        (false, true) => drop(mailbox.remove()),
        (false, false) => mailbox.get().queue.wake_next(),
    }
}

impl Place<'_> {
    /// Takes the mailbox, if it is free and this session is next.
    fn take(&self) -> bool {
        let mut taken = self.mailboxes.lock();
        let Some(mailbox) = taken.get_mut(self.key) else { return false };
        if mailbox.is_held || !mailbox.queue.is_next(self.ticket) {
            return false;
        }
        mailbox.is_held = true;
        mailbox.queue.served(self.workstation);
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.mailboxes.change(self.key, |mailbox| mailbox.queue.leave(self.ticket));
    }
}

impl Drop for MailboxLease {
    fn drop(&mut self) {
        self.mailboxes.change(&self.key, |mailbox| mailbox.is_held = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    async fn take(mailboxes: &Mailboxes, account: &str) -> Option<MailboxLease> {
        from(mailboxes, account, "PC1").await
    }

    async fn from(mailboxes: &Mailboxes, account: &str, workstation: &str) -> Option<MailboxLease> {
        mailboxes.take("main".into(), account, &workstation.into(), WAIT).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_session_goes_the_moment_the_first_ends() {
        let mailboxes = Mailboxes::default();
        let first = take(&mailboxes, "a@x").await.unwrap();
        let second = tokio::spawn({
            let mailboxes = mailboxes.clone();
            async move {
                let asked = tokio::time::Instant::now();
                let turn = take(&mailboxes, "a@x").await;
                (turn.is_some(), asked.elapsed())
            }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(second.await.unwrap(), (true, Duration::ZERO));
        assert_eq!(mailboxes.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_that_stays_taken_is_refused_after_the_wait() {
        let mailboxes = Mailboxes::default();
        let first = take(&mailboxes, "a@x").await;
        let asked = tokio::time::Instant::now();
        assert!(take(&mailboxes, "a@x").await.is_none());
        assert_eq!(asked.elapsed(), WAIT);
        assert!(take(&mailboxes, "b@x").await.is_some(), "another mailbox is free");
        drop(first);
        assert_eq!(mailboxes.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_order_of_arrival() {
        let mailboxes = Mailboxes::default();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = take(&mailboxes, "a@x").await;
        let mut waiting = Vec::new();
        for n in 0..5 {
            let (mailboxes, order) = (mailboxes.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let _turn = take(&mailboxes, "a@x").await;
                order.lock().unwrap().push(n);
            }));
            tokio::task::yield_now().await;
        }
        assert_eq!(mailboxes.taken(), [("main".into(), "a@x".into(), 5)]);
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(mailboxes.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_is_killed_gives_its_place_up() {
        let mailboxes = Mailboxes::default();
        let first = take(&mailboxes, "a@x").await;
        let waiter = tokio::spawn({
            let mailboxes = mailboxes.clone();
            async move { take(&mailboxes, "a@x").await.is_some() }
        });
        tokio::task::yield_now().await;
        waiter.abort();
        assert!(waiter.await.is_err());
        drop(first);
        assert!(take(&mailboxes, "a@x").await.is_some());
        assert_eq!(mailboxes.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_is_killed_after_the_first_one_left_leaves_nothing_behind() {
        let mailboxes = Mailboxes::default();
        let first = take(&mailboxes, "a@x").await;
        let waiter = tokio::spawn({
            let mailboxes = mailboxes.clone();
            async move { take(&mailboxes, "a@x").await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiter.abort();
        assert!(waiter.await.is_err());
        assert_eq!(mailboxes.len(), 0);
    }

    /// PC9 had forty logins in the queue, and PC1 waited for all of them.
    #[tokio::test(start_paused = true)]
    async fn forty_logins_of_one_workstation_keep_no_other_from_the_mailbox() {
        let mailboxes = Mailboxes::default();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = from(&mailboxes, "a@x", "PC9").await;
        let mut waiting = Vec::new();
        for n in 0..42 {
            let (mailboxes, order) = (mailboxes.clone(), order.clone());
            let workstation = if n < 40 { "PC9" } else { "PC1" };
            waiting.push(tokio::spawn(async move {
                let turn = from(&mailboxes, "a@x", workstation).await;
                order.lock().unwrap().push(workstation);
                assert!(turn.is_some());
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(order.lock().unwrap()[..4], ["PC1", "PC9", "PC1", "PC9"]);
        assert_eq!(mailboxes.len(), 0);
    }
}

//! Turns at a mailbox: POP3 locks it for one session at a time (RFC 1939 section 4), so a second session
//! waits here, in order of arrival, instead of failing at the client module.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A mailbox: the client module's name and the account.
type Key = (Arc<str>, Arc<str>);

/// The mailboxes that a session has or waits for.
#[derive(Clone, Default)]
pub(super) struct Mailboxes {
    /// One permit each: the session that holds it has the mailbox.
    semaphores: Arc<DashMap<Key, Arc<Semaphore>>>,
}

/// The mailbox belongs to this session until the lease is dropped.
pub(crate) struct MailboxLease {
    mailboxes: Mailboxes,
    key: Key,
    permit: Option<OwnedSemaphorePermit>,
}

impl Mailboxes {
    /// Waits for the mailbox for up to `wait`. `None` if other sessions keep it for longer.
    pub(super) async fn take(
        &self,
        client_module: Arc<str>,
        account: &str,
        wait: Duration,
    ) -> Option<MailboxLease> {
        let key = (client_module, account.into());
        let semaphore = self.semaphores.entry(key.clone()).or_insert_with(one_permit).clone();
        // Made before the wait: if this future is dropped while it waits, the lease removes the
        // entry that no other session uses.
        let mut lease = MailboxLease { mailboxes: self.clone(), key, permit: None };
        let permit = timeout(wait, semaphore.acquire_owned()).await;
        lease.permit = Some(permit.ok()?.ok()?);
        Some(lease)
    }

    /// The mailboxes that are taken, as client module and account, and how many sessions wait for
    /// each.
    pub(super) fn taken(&self) -> Vec<(Arc<str>, Arc<str>, usize)> {
        let taken = self.semaphores.iter().map(|entry| {
            let (client_module, account) = entry.key().clone();
            // Two references are the map's and the lease's.
            let waiting = Arc::strong_count(entry.value()).saturating_sub(2);
            (client_module, account, waiting)
        });
        taken.collect()
    }

    /// Mailboxes that are taken.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.semaphores.len()
    }
}

fn one_permit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

impl Drop for MailboxLease {
    fn drop(&mut self) {
        self.permit = None;
        // Every session that has or awaits the mailbox holds a reference. If only the map has one,
        // the entry is not needed any more.
        let unused = |semaphore: &Arc<Semaphore>| Arc::strong_count(semaphore) == 1;
        self.mailboxes.semaphores.remove_if(&self.key, |_, semaphore| unused(semaphore));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    async fn take(mailboxes: &Mailboxes, account: &str) -> Option<MailboxLease> {
        mailboxes.take("main".into(), account, WAIT).await
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
}

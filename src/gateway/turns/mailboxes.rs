//! MailboxLease-taking at a mailbox: POP3 locks it for one session at a time (RFC 1939 section 4), so a
//! second one waits here, in order of arrival, instead of failing at the client module.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A mailbox: the client module's name and the account.
type Key = (Arc<str>, Arc<str>);

/// Who is at which mailbox, and who waits.
#[derive(Clone, Default)]
pub(crate) struct Mailboxes {
    turns: Arc<DashMap<Key, Arc<Semaphore>>>,
}

/// The mailbox is this session's until the turn is dropped.
pub(crate) struct MailboxLease {
    mailboxes: Mailboxes,
    key: Key,
    permit: Option<OwnedSemaphorePermit>,
}

impl Mailboxes {
    /// Waits for the mailbox, at the longest for `wait`; `None` where others have it for longer.
    pub(crate) async fn take(
        &self,
        client_module: Arc<str>,
        account: &str,
        wait: Duration,
    ) -> Option<MailboxLease> {
        let key = (client_module, account.into());
        let semaphore = self.turns.entry(key.clone()).or_insert_with(one_turn).clone();
        // A turn that was not had is dropped here, or with a waiter that gives up, and takes its
        // entry along if nobody else waits.
        let mut turn = MailboxLease { mailboxes: self.clone(), key, permit: None };
        let permit = timeout(wait, semaphore.acquire_owned()).await;
        turn.permit = Some(permit.ok()?.ok()?);
        Some(turn)
    }

    /// The mailboxes that are taken, and how many sessions wait for each.
    pub(crate) fn taken(&self) -> Vec<(Arc<str>, Arc<str>, usize)> {
        let taken = self.turns.iter().map(|entry| {
            let (client_module, account) = entry.key().clone();
            // The map's own, and that of the session whose turn it is.
            let waiting = Arc::strong_count(entry.value()).saturating_sub(2);
            (client_module, account, waiting)
        });
        taken.collect()
    }

    /// Mailboxes that are taken.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.turns.len()
    }
}

fn one_turn() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

impl Drop for MailboxLease {
    fn drop(&mut self) {
        self.permit = None;
        // Whoever holds or awaits the semaphore shares it; the map alone means nobody does.
        self.mailboxes.turns.remove_if(&self.key, |_, turn| Arc::strong_count(turn) == 1);
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

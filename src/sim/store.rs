//! The maildrops: messages in memory, within limits, one session on a maildrop at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::Message;

/// All maildrops, by address in lower case.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<StoreState>,
    maildrop_limit: usize,
    budget: Arc<StoreBudget>,
}

#[derive(Debug, Default)]
struct StoreState {
    maildrops: BTreeMap<String, Vec<Kept>>,
    locked: BTreeSet<String>,
    last_id: u64,
}

/// A message in a maildrop.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Never given twice: what UIDL shows.
    pub(crate) id: u64,
    pub(crate) message: Arc<Message>,
    _held: Arc<StoreShare>,
}

impl Store {
    pub(crate) fn new(maildrop_limit: usize, total_limit: usize) -> Self {
        let budget = Arc::new(StoreBudget { left: AtomicUsize::new(total_limit) });
        Self { state: Mutex::default(), maildrop_limit, budget }
    }

    /// The most that one message may keep.
    pub(crate) fn maildrop_limit(&self) -> usize {
        self.maildrop_limit
    }

    /// Memory for a message on its way; grow it as the message grows.
    pub(crate) fn hold(&self) -> StoreShare {
        StoreShare { budget: Arc::clone(&self.budget), bytes: 0 }
    }

    /// Puts a message into a maildrop; where there is no room, its stand-in. False: no room at all.
    pub(crate) fn deliver(&self, address: &str, message: Message) -> bool {
        let mut state = self.state();
        let maildrop = state.maildrops.get(address).map(Vec::as_slice).unwrap_or_default();
        let used: usize = maildrop.iter().map(|kept| kept.message.memory()).sum();
        let room = self.maildrop_limit.saturating_sub(used);
        let mut held = self.hold();
        let message = match message {
            whole if whole.memory() <= room && held.grow(whole.memory()) => whole,
            large => {
                let stand_in = large.stand_in();
                if stand_in.memory() > room || !held.grow(stand_in.memory()) {
                    return false;
                }
                stand_in
            }
        };
        state.last_id += 1;
        let kept = Kept { id: state.last_id, message: Arc::new(message), _held: Arc::new(held) };
        state.maildrops.entry(address.to_owned()).or_default().push(kept);
        true
    }

    pub(crate) fn maildrop(&self, address: &str) -> Vec<Kept> {
        self.state().maildrops.get(address).cloned().unwrap_or_default()
    }

    pub(crate) fn delete(&self, address: &str, ids: &BTreeSet<u64>) {
        if let Some(maildrop) = self.state().maildrops.get_mut(address) {
            maildrop.retain(|kept| !ids.contains(&kept.id));
        }
    }

    /// Takes the exclusive lock on a maildrop (RFC 1939 section 4); `None` while another has it.
    pub(crate) fn lock(self: &Arc<Self>, address: &str) -> Option<Lock> {
        let address = address.to_owned();
        let free = self.state().locked.insert(address.clone());
        free.then(|| Lock { store: Arc::clone(self), address })
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exclusive lock on a maildrop, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    store: Arc<Store>,
    address: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.store.state().locked.remove(&self.address);
    }
}

#[derive(Debug)]
struct StoreBudget {
    left: AtomicUsize,
}

/// A part of the memory for messages, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct StoreShare {
    budget: Arc<StoreBudget>,
    bytes: usize,
}

impl StoreShare {
    /// Takes so many bytes more; false, and nothing is taken, where there are not enough.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = self
            .budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for StoreShare {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(store: &Store, address: &str) -> Vec<u64> {
        store.maildrop(address).iter().map(|kept| kept.message.size()).collect()
    }

    #[test]
    fn a_message_beyond_a_limit_leaves_a_stand_in_and_deleting_makes_room() {
        let store = Arc::new(Store::new(10_000, 15_000));
        let message = |bytes| Message::whole(vec![b'x'; bytes]);
        assert!(store.deliver("a", message(8_000)));
        assert!(store.deliver("a", message(8_000)), "the maildrop is full, the stand-in fits");
        assert!(store.deliver("b", message(8_000)), "all maildrops are full, the stand-in fits");
        assert_eq!(sizes(&store, "a")[0], 8_000);
        assert!(sizes(&store, "a")[1] < 1_000);
        assert!(sizes(&store, "b")[0] < 1_000);
        let first = store.maildrop("a")[0].id;
        store.delete("a", &[first].into());
        assert!(store.deliver("b", message(8_000)));
        assert_eq!(sizes(&store, "b")[1], 8_000);
    }

    #[test]
    fn where_not_even_the_stand_in_fits_the_message_is_refused() {
        let store = Arc::new(Store::new(10_000, 10));
        assert!(!store.deliver("a", Message::whole(vec![b'x'; 1_000])));
        assert!(store.maildrop("a").is_empty());
    }

    #[test]
    fn a_maildrop_has_one_lock_that_goes_with_its_holder() {
        let store = Arc::new(Store::new(1, 1));
        let lock = store.lock("a").unwrap();
        assert!(store.lock("a").is_none());
        assert!(store.lock("b").is_some());
        drop(lock);
        assert!(store.lock("a").is_some());
    }
}

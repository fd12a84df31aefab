//! What is held, in memory: about 100 bytes for each message.

use std::collections::HashSet;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::sync::Arc;

use super::key::Digest;
use super::line::Line;

/// Messages that the register holds at most.
pub const MOST: usize = 200_000;

/// And of one maildrop, so that nobody can fill the register by sending to one account.
pub const MOST_OF_ONE: usize = 50_000;

/// Whose message it is and how it came, without anything of the message. Many messages share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) maildrop: Digest,
    /// As the audit shows it.
    pub(super) account: String,
    pub(super) workstation: String,
    /// What told that it came undecrypted.
    pub(super) cause: String,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// When it first came undecrypted, in Unix seconds.
    pub(super) since: i64,
    pub(super) origin: Arc<Origin>,
    /// Nobody has to keep it any longer. It stays in the table, or the next fetch would hold it again.
    pub(super) is_released: bool,
    /// Its line is on the disk.
    pub(super) is_stored: bool,
}

/// There is no room for another message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Digest, Entry>,
    maildrops: HashMap<Digest, Maildrop>,
    origins: HashSet<Arc<Origin>>,
}

#[derive(Debug, Default)]
struct Maildrop {
    /// Messages that nobody has released.
    held: usize,
    all: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has_held(&self, maildrop: &Digest) -> bool {
        self.maildrops.get(maildrop).is_some_and(|of| of.held > 0)
    }

    pub(super) fn get(&self, id: &Digest) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Entry)> {
        self.entries.iter()
    }

    /// Adds a message that is not there yet.
    pub(super) fn insert(&mut self, id: Digest, since: i64, origin: Origin) -> Result<(), Full> {
        let all = self.maildrops.get(&origin.maildrop).map_or(0, |of| of.all);
        if self.entries.len() >= MOST || all >= MOST_OF_ONE {
            return Err(Full);
        }
        let origin = match self.origins.get(&origin) {
            Some(known) => known.clone(),
            None => {
                let origin = Arc::new(origin);
                self.origins.insert(origin.clone());
                origin
            }
        };
        if let Slot::Vacant(slot) = self.entries.entry(id) {
            let of = self.maildrops.entry(origin.maildrop).or_default();
            (of.held, of.all) = (of.held + 1, of.all + 1);
            slot.insert(Entry { since, origin, is_released: false, is_stored: false });
        }
        Ok(())
    }

    pub(super) fn stored(&mut self, id: &Digest) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.is_stored = true;
        }
    }

    pub(super) fn release(&mut self, id: &Digest) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.is_released) else {
            return;
        };
        entry.is_released = true;
        if let Some(of) = self.maildrops.get_mut(&entry.origin.maildrop) {
            of.held -= 1;
        }
    }

    pub(super) fn forget(&mut self, id: &Digest) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        if let Slot::Occupied(mut of) = self.maildrops.entry(entry.origin.maildrop) {
            of.get_mut().all -= 1;
            of.get_mut().held -= usize::from(!entry.is_released);
            if of.get().all == 0 {
                of.remove();
            }
        }
        // The set itself and this entry are the last that have it.
        if Arc::strong_count(&entry.origin) == 2 {
            self.origins.remove(&entry.origin);
        }
        Some(entry)
    }

    /// Does what a line of the journal says. Of a message that has no room, nothing is kept.
    pub(super) fn apply(&mut self, line: Line) {
        match line {
            Line::Held { id, maildrop, since, account, workstation, cause, released } => {
                let origin = Origin { maildrop, account, workstation, cause };
                self.forget(&id);
                if self.insert(id, since, origin).is_ok() {
                    self.stored(&id);
                    if released {
                        self.release(&id);
                    }
                }
            }
            Line::Forgotten { id } => drop(self.forget(&id)),
        }
    }
}

impl Entry {
    pub(super) fn line(&self, id: Digest) -> Line {
        let Origin { maildrop, account, workstation, cause } = (*self.origin).clone();
        let (since, released) = (self.since, self.is_released);
        Line::Held { id, maildrop, since, account, workstation, cause, released }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::try_from(format!("{number:032x}")).unwrap()
    }

    #[test]
    fn one_maildrop_cannot_take_the_room_of_all() {
        let mut table = Table::default();
        let mut fill = |account: usize| {
            let maildrop = digest(account);
            let origin = || Origin {
                maildrop,
                account: account.to_string(),
                workstation: "PC1".into(),
                cause: "error 4009".into(),
            };
            let id = |n: usize| digest(account << 32 | n);
            let mut taken = 0;
            while table.insert(id(taken), 0, origin()).is_ok() {
                taken += 1;
            }
            (taken, maildrop, id(0))
        };
        let (first, maildrop, id) = fill(1);
        assert_eq!(first, MOST_OF_ONE);
        for account in 2..=4 {
            assert_eq!(fill(account).0, MOST_OF_ONE);
        }
        assert_eq!(fill(5).0, 0);
        assert_eq!((table.len(), table.origins.len()), (MOST, 4));
        table.release(&id);
        table.release(&id);
        assert_eq!(table.len(), MOST);
        assert!(table.has_held(&maildrop));
        for id in table.entries.keys().copied().collect::<Vec<_>>() {
            table.forget(&id);
        }
        assert!(!table.has_held(&maildrop) && table.maildrops.is_empty());
        assert_eq!((table.len(), table.origins.len()), (0, 0));
    }
}

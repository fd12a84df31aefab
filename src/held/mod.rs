//! The register of held messages: those that came undecrypted, and that nobody may delete through
//! kimgate until somebody could read them.
//!
//! A message is known by a keyed hash of client module, account and UIDL. It is let go when it came
//! decrypted, when a person released it, or after `protection.hold_undecrypted`. A message that was
//! released or has become too old is remembered as such until no server has it any more, so that
//! fetching it again does not hold it again: a header that a sender has forged delays a deletion and
//! never forbids it.
//!
//! The register is in memory, and each change goes to a journal in the state folder before the method
//! returns. Methods that change something wait for the disk, the others do not. Where the journal
//! cannot be used, the register works on in memory, and says so.

mod journal;
mod key;
mod line;
mod table;

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use key::Digest;
pub use table::{MOST, MOST_OF_ONE};

use crate::trust::make_state_dir;
use journal::Journal;
use key::Key;
use line::Line;
use table::{Entry, Origin, Table};

/// After this time a message is forgotten altogether. The mail service deletes after 90 days.
const GONE: i64 = 100 * 86_400;

/// Everything that is held. Shared by all sessions.
pub struct Register {
    key: Key,
    table: Mutex<Table>,
    /// `None`: there is no file, and what is held is held until kimgate ends.
    journal: Mutex<Option<Journal>>,
    trouble: Option<String>,
}

/// How long messages are held, and what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// As in `protection.hold_undecrypted`.
    pub hold: Duration,
    /// Unix seconds.
    pub now: i64,
}

/// A message that came undecrypted.
#[derive(Clone, Debug)]
pub struct Undecrypted {
    /// Where it is.
    pub maildrop: Digest,
    /// What the client module calls it there.
    pub uid: String,
    /// Whose it is, as the audit shows it.
    pub account: String,
    /// The workstation that fetched it.
    pub workstation: String,
    /// What told that it came undecrypted.
    pub cause: String,
}

/// What became of a message that came undecrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is held from now on, over restarts.
    New {
        /// What people call it.
        id: String,
    },
    /// It was held already.
    Known,
    /// It was held, and was let go: it may be deleted.
    LetGo,
    /// It is held until kimgate ends, because the disk does not take it.
    InMemory,
    /// It is not held: the register has no room.
    Full,
}

/// A message that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMessage {
    /// What people call it.
    pub id: String,
    /// When it first came undecrypted, in Unix seconds.
    pub since: i64,
    /// Whose it is, as the audit shows it.
    pub account: String,
    /// The workstation that fetched it first.
    pub workstation: String,
    /// What told that it came undecrypted.
    pub cause: String,
}

/// Why a message was not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Or it came decrypted meanwhile, or has become too old.
    #[error("no message with this ID is held")]
    Unknown,
    /// Two IDs begin alike.
    #[error("several messages have an ID that begins like this")]
    Ambiguous,
    /// It is let go until kimgate ends; after that it is held again.
    #[error("released, but the state folder does not take it: {0}")]
    NotStored(io::Error),
}

impl Register {
    /// Reads what is held, and takes the journal for this process. It never fails: mail must not stop
    /// because of it. [`Register::trouble`] says what is wrong.
    pub fn open(state_dir: &Path, now: i64) -> Self {
        let opened = make_state_dir(state_dir).and_then(|()| Journal::open(state_dir));
        let (key, table, journal, trouble) = match opened {
            Ok((journal, found, trouble)) => {
                (found.key, filled(found.lines, now), Some(journal), trouble)
            }
            Err(error) => {
                let trouble = format!("{}: {error}; held until kimgate ends", state_dir.display());
                // A disk that takes nothing more, or another process that has the lock, is no reason
                // to let go what was held before.
                let (key, table) = match journal::read(state_dir) {
                    Ok(found) => (found.key, filled(found.lines, now)),
                    Err(_) => (Key::passing(), Table::default()),
                };
                (key, table, None, Some(trouble))
            }
        };
        if let Some(trouble) = &trouble {
            tracing::error!(trouble, "held messages: the register is not as it should be");
        }
        Self { key, table: Mutex::new(table), journal: Mutex::new(journal), trouble }
    }

    /// Reads what is held, without taking the journal: changes stay in memory.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub fn peek(state_dir: &Path, now: i64) -> io::Result<Self> {
        let found = journal::read(state_dir)?;
        let table = Mutex::new(filled(found.lines, now));
        Ok(Self { key: found.key, table, journal: Mutex::new(None), trouble: None })
    }

    /// What is wrong with the files in the state folder.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What stands for an account at a client module. Accounts are compared without case and
    /// blanks, as the login throttle compares them: a client module may not care about those.
    pub fn maildrop(&self, client_module: &str, account: &str) -> Digest {
        let account = account.split_whitespace().collect::<String>().to_lowercase();
        self.key.digest("maildrop", &[client_module.as_bytes(), account.as_bytes()])
    }

    /// Whether anything of this maildrop is held, so that its messages have to be told apart.
    pub fn has_held(&self, maildrop: &Digest) -> bool {
        self.table().has_held(maildrop)
    }

    /// What stands for a message of this maildrop.
    pub fn message(&self, maildrop: &Digest, uid: &str) -> Digest {
        let maildrop = String::from(*maildrop);
        self.key.digest("message", &[maildrop.as_bytes(), uid.as_bytes()])
    }

    /// Whether this message may not be deleted; `None`: nothing is known of it.
    pub fn is_held(&self, message: &Digest, terms: Terms) -> Option<bool> {
        self.table().get(message).map(|entry| terms.hold_on(entry))
    }

    /// How many messages are held, and since when the oldest of them, in Unix seconds.
    pub fn held(&self, terms: Terms) -> (usize, Option<i64>) {
        let table = self.table();
        let since = table.iter().filter(|(_, entry)| terms.hold_on(entry)).map(|(_, e)| e.since);
        since.fold((0, None), |(count, oldest), since| {
            (count + 1, Some(oldest.map_or(since, |oldest: i64| oldest.min(since))))
        })
    }

    /// The messages that are held, the oldest first, `most` at most.
    pub fn list(&self, terms: Terms, most: usize) -> Vec<HeldMessage> {
        let table = self.table();
        let held = table.iter().filter(|(_, entry)| terms.hold_on(entry));
        let mut held: Vec<_> = held.map(|(id, entry)| (entry.since, *id)).collect();
        held.sort_unstable();
        let held = held.into_iter().take(most);
        held.filter_map(|(_, id)| table.get(&id).map(|entry| shown(&id, entry))).collect()
    }

    /// A message came undecrypted.
    pub fn hold(&self, message: Undecrypted, terms: Terms) -> Hold {
        let Undecrypted { maildrop, uid, account, workstation, cause } = message;
        let id = self.message(&maildrop, &uid);
        let mut table = self.table();
        let is_known = match table.get(&id) {
            Some(entry) if !terms.hold_on(entry) => return Hold::LetGo,
            Some(entry) if entry.is_stored => return Hold::Known,
            // Another session waits for the disk, or the disk did not take it.
            Some(_) => true,
            None => {
                let origin = Origin { maildrop, account, workstation, cause };
                if table.insert(id, terms.now, origin).is_err() {
                    return Hold::Full;
                }
                false
            }
        };
        drop(table);
        match self.write(&[id]) {
            Err(_) => Hold::InMemory,
            Ok(()) if is_known => Hold::Known,
            Ok(()) => Hold::New { id: id.id() },
        }
    }

    /// A message came decrypted. Gives what was held.
    pub fn came_decrypted(
        &self,
        maildrop: &Digest,
        uid: &str,
        terms: Terms,
    ) -> Option<HeldMessage> {
        let id = self.message(maildrop, uid);
        let entry = self.table().forget(&id)?;
        // What the disk does not take is held again after a restart, which does no harm.
        let _ = self.write(&[id]);
        terms.hold_on(&entry).then(|| shown(&id, &entry))
    }

    /// Lets a message go that people call `name`.
    ///
    /// # Errors
    ///
    /// There is none, or the release does not survive a restart.
    pub fn release(&self, name: &str, terms: Terms) -> Result<HeldMessage, ReleaseError> {
        let name = name.trim().to_ascii_lowercase();
        let mut table = self.table();
        let held = table.iter().filter(|(_, entry)| terms.hold_on(entry));
        let mut named = held.filter(|(id, _)| id.id() == name);
        let (id, entry) = named.next().ok_or(ReleaseError::Unknown)?;
        let (id, message) = (*id, shown(id, entry));
        if named.next().is_some() {
            return Err(ReleaseError::Ambiguous);
        }
        drop(named);
        table.release(&id);
        drop(table);
        self.write(&[id]).map_err(ReleaseError::NotStored)?;
        Ok(message)
    }

    /// Lets go what has been held for long enough, forgets what no server has any more, and stores what
    /// the disk did not take before. Gives what was let go. To be called now and then.
    pub fn sweep(&self, terms: Terms) -> Vec<HeldMessage> {
        let mut let_go = Vec::new();
        let mut table = self.table();
        let old: Vec<Digest> = {
            let is_old =
                |entry: &Entry| !entry.is_released && !terms.hold_on(entry) || terms.is_gone(entry);
            table.iter().filter(|(_, entry)| is_old(entry)).map(|(id, _)| *id).collect()
        };
        for id in &old {
            let Some(entry) = table.get(id) else { continue };
            if !entry.is_released {
                let_go.push(shown(id, entry));
            }
            if terms.is_gone(entry) {
                table.forget(id);
            } else {
                table.release(id);
            }
        }
        let unsaved = table.iter().filter(|(_, entry)| !entry.is_stored).map(|(id, _)| *id);
        let due: Vec<Digest> = old.into_iter().chain(unsaved).collect();
        drop(table);
        if !due.is_empty() {
            // What the disk does not take is tried again next time, or the next start finds it out anew.
            let _ = self.write(&due);
        }
        let_go
    }

    /// Writes how these messages stand in the table now. So the last line about a message is right
    /// whatever two sessions do at once. The table is never locked while the disk is waited for.
    fn write(&self, ids: &[Digest]) -> io::Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(journal) = journal.as_mut() else {
            return Err(io::Error::other("there is no journal"));
        };
        let (lines, count) = {
            let table = self.table();
            let line = |id: &Digest| match table.get(id) {
                Some(entry) => entry.line(*id),
                None => Line::Forgotten { id: *id },
            };
            (ids.iter().map(line).collect::<Vec<_>>(), table.len())
        };
        let written = journal.append(&self.key, &lines, count, || {
            let entries: Vec<(Digest, Entry)> =
                self.table().iter().map(|(id, entry)| (*id, entry.clone())).collect();
            entries.into_iter().map(|(id, entry)| entry.line(id)).collect()
        });
        match &written {
            Ok(()) => {
                let mut table = self.table();
                ids.iter().for_each(|id| table.stored(id));
            }
            Err(error) => {
                tracing::error!(%error, "held messages: the state folder does not take a line");
            }
        }
        written
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No method of the table panics half-way, so it is sound after a poisoned lock too.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    /// Whether this message is still held.
    fn hold_on(&self, entry: &Entry) -> bool {
        !entry.is_released && self.now.saturating_sub(entry.since) < self.seconds()
    }

    fn is_gone(&self, entry: &Entry) -> bool {
        self.now.saturating_sub(entry.since) >= GONE.max(self.seconds())
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.hold.as_secs()).unwrap_or(i64::MAX)
    }
}

/// A table of these lines. A clock that was ahead must not hold a message for years.
fn filled(lines: Vec<Line>, now: i64) -> Table {
    let mut table = Table::default();
    for mut line in lines {
        if let Line::Held { since, .. } = &mut line {
            *since = now.min(*since);
        }
        table.apply(line);
    }
    table
}

fn shown(id: &Digest, entry: &Entry) -> HeldMessage {
    let Origin { account, workstation, cause, .. } = &*entry.origin;
    HeldMessage {
        id: id.id(),
        since: entry.since,
        account: account.clone(),
        workstation: workstation.clone(),
        cause: cause.clone(),
    }
}

#[cfg(test)]
mod tests;

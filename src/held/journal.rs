//! The file of the register: a line for each thing that happened, and from time to time all of it
//! written anew.
//!
//! A line counts when the disk has it. What a crash left of the last line is dropped. Only one
//! process writes: it has the lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::key::{Key, for_owner};
use super::line::Line;

const JOURNAL: &str = "held.journal";
const KEY: &str = "held.key";
const LOCK: &str = "held.lock";
/// Where what cannot be read is put aside.
const DAMAGED: &str = "held.damaged";

/// Bytes of the longest journal that is read: five times what a full register needs.
const LONGEST: u64 = 512 << 20;

/// Lines that no longer count and are left in the file: as many as there are messages, and these.
const SPARE_LINES: usize = 1000;

/// The file, open for more lines.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// `None`: it has to be written anew before the next line.
    file: Option<File>,
    lines: usize,
    _lock: File,
}

/// What was found in a state folder.
pub(super) struct Found {
    pub(super) key: Key,
    /// Whether the key was there before.
    has_key: bool,
    pub(super) lines: Vec<Line>,
    /// Lines that cannot be read, the last one not among them.
    damaged: usize,
    /// The last line is not complete.
    is_torn: bool,
}

impl Journal {
    /// Takes the lock, and reads what is there. The sentence says what is wrong, where something was
    /// put aside.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Found, Option<String>)> {
        let lock = for_owner().write(true).create(true).truncate(false).open(folder.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let problem = "another kimgate uses this state folder";
                io::Error::new(io::ErrorKind::WouldBlock, problem)
            }
            TryLockError::Error(error) => error,
        })?;
        close_to_others(folder);
        let (found, trouble) = match read(folder) {
            Ok(found) if found.damaged > 0 => {
                fs::copy(folder.join(JOURNAL), folder.join(DAMAGED))?;
                let trouble = format!(
                    "{} of {} lines of {JOURNAL} cannot be read and hold nothing any more; a copy is \
                     {DAMAGED}",
                    found.damaged,
                    found.damaged + found.lines.len()
                );
                (found, Some(trouble))
            }
            Ok(found) => (found, None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let trouble = format!(
                    "{error}; what was held before is not held any more, and is now in {DAMAGED}"
                );
                for name in [JOURNAL, KEY] {
                    put_aside(folder, name)?;
                }
                (read(folder)?, Some(trouble))
            }
            Err(error) => return Err(error),
        };
        let found = match found.has_key {
            true => found,
            false => Found { key: Key::make(&folder.join(KEY))?, ..found },
        };
        let is_whole = !found.is_torn && found.damaged == 0;
        let file = match is_whole {
            true => Some(for_owner().append(true).create(true).open(folder.join(JOURNAL))?),
            false => None,
        };
        sync_folder(folder)?;
        let lines = found.lines.len();
        Ok((Self { folder: folder.to_owned(), file, lines, _lock: lock }, found, trouble))
    }

    /// Adds lines, or writes all of them anew where that is due. `all` gives every line that counts,
    /// the new ones among them; there are `count` of them. On return the disk has them.
    pub(super) fn append(
        &mut self,
        key: &Key,
        lines: &[Line],
        count: usize,
        all: impl FnOnce() -> Vec<Line>,
    ) -> io::Result<()> {
        let is_due = self.lines > 2 * count + SPARE_LINES;
        let Some(file) = self.file.as_mut().filter(|_| !is_due) else {
            return self.rewrite(key, &all());
        };
        let bytes: Vec<u8> = lines.iter().flat_map(|line| line.write(key)).collect();
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => self.lines += lines.len(),
            // A part of the line may be there.
            Err(_) => self.file = None,
        }
        written
    }

    /// The new file has its name only when the disk has all of it.
    fn rewrite(&mut self, key: &Key, lines: &[Line]) -> io::Result<()> {
        self.file = None;
        let (path, draft) = (self.folder.join(JOURNAL), self.folder.join("held.journal-new"));
        let file = for_owner().write(true).create(true).truncate(true).open(&draft)?;
        keep_owner(&path, &file);
        let mut writer = BufWriter::new(file);
        for line in lines {
            writer.write_all(&line.write(key))?;
        }
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&draft, &path)?;
        sync_folder(&self.folder)?;
        self.file = Some(for_owner().append(true).open(&path)?);
        self.lines = lines.len();
        Ok(())
    }
}

/// Reads without changing anything. An error of the kind `InvalidData` says that the key and the
/// journal cannot belong together.
pub(super) fn read(folder: &Path) -> io::Result<Found> {
    let named = |name: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", folder.join(name).display()))
    };
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem);
    let key = Key::read(&folder.join(KEY)).map_err(|error| named(KEY, error))?;
    let has_key = key.is_some();
    let mut found = Found {
        key: key.unwrap_or_else(Key::passing),
        has_key,
        lines: Vec::new(),
        damaged: 0,
        is_torn: false,
    };
    let file = match File::open(folder.join(JOURNAL)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(named(JOURNAL, error)),
    };
    let length = file.metadata().map_err(|error| named(JOURNAL, error))?.len();
    if length > LONGEST {
        return Err(named(JOURNAL, invalid("is too long")));
    }
    if length > 0 && !has_key {
        return Err(named(KEY, invalid("is missing")));
    }
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(|error| named(JOURNAL, error))?;
        match line.split_last() {
            None => break,
            Some((b'\n', text)) => match Line::read(&found.key, text) {
                Some(line) => found.lines.push(line),
                None => found.damaged += 1,
            },
            Some(_) => found.is_torn = true,
        }
    }
    if found.lines.is_empty() && found.damaged > 0 {
        return Err(named(JOURNAL, invalid("no line belongs to held.key")));
    }
    Ok(found)
}

fn put_aside(folder: &Path, name: &str) -> io::Result<()> {
    let aside = match name {
        JOURNAL => DAMAGED.to_owned(),
        _ => format!("{name}-damaged"),
    };
    match fs::rename(folder.join(name), folder.join(aside)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the files from other users of this machine, where a copy or a backup has left them open.
fn close_to_others(folder: &Path) {
    #[cfg(unix)]
    for name in [JOURNAL, KEY, LOCK] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        let Ok(data) = fs::metadata(&path) else { continue };
        if data.permissions().mode() & 0o077 != 0 {
            let closed = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
            let closed = closed.map_or_else(|error| error.to_string(), |()| "mended".into());
            tracing::warn!(file = %path.display(), closed, "other users could read this file");
        }
    }
    #[cfg(not(unix))]
    let _ = folder; // the folder's access list rules there
}

/// Leaves a file to the owner of the one that it replaces: root may release a message of a gateway
/// that runs as another user.
fn keep_owner(old: &Path, new: &File) {
    #[cfg(unix)]
    if let Ok(data) = fs::metadata(old) {
        use std::os::unix::fs::MetadataExt as _;
        // Whoever is not root can only keep what is their own already.
        let _ = std::os::unix::fs::fchown(new, Some(data.uid()), Some(data.gid()));
    }
    #[cfg(not(unix))]
    let _ = (old, new);
}

/// Makes the names of new files survive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

//! Mail addresses as keyed hashes: the same address is the same word, and nobody without the key
//! can find out which.
//!
//! A hash without a key would hide nothing: the addresses of a directory are quickly tried.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::hmac;

use crate::printable::printable;
use crate::trust::make_state_dir;

const KEY_FILE: &str = "audit.key";
const KEY_LENGTH: usize = 32;
/// How a pseudonym begins; no mail address does.
const PSEUDONYM: &str = "hmac:";
/// Bytes of the hash that are shown: enough that two accounts of one practice never meet.
const SHOWN: usize = 12;

/// How addresses are shown.
pub enum Pseudonyms {
    /// As they are.
    Off,
    /// As HMAC-SHA-256.
    On(Box<hmac::Key>),
}

impl Pseudonyms {
    /// Those that an audit of this folder has; `None` where it never had any.
    pub fn existing(state_dir: &Path) -> io::Result<Option<Self>> {
        let has_key = state_dir.join(KEY_FILE).try_exists()?;
        has_key.then(|| Self::open(state_dir)).transpose()
    }

    /// Reads the key from `state_dir`, or makes it there.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(KEY_FILE);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("audit key {}: {error}", path.display()))
        };
        let key = match fs::read(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_state_dir(state_dir).map_err(named)?;
                make_key(&path).map_err(named)?
            }
            Err(error) => return Err(named(error)),
        };
        if key.len() != KEY_LENGTH {
            let wrong = format!("has {} bytes instead of {KEY_LENGTH}; remove it", key.len());
            return Err(named(io::Error::new(io::ErrorKind::InvalidData, wrong)));
        }
        Ok(Self::On(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key))))
    }

    /// A key that is not stored: its hashes can be compared until kimgate ends.
    pub(super) fn passing() -> Self {
        Self::On(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; KEY_LENGTH]>())))
    }

    /// What stands for this address, whatever its case.
    pub fn of<'a>(&self, address: &'a str) -> Cow<'a, str> {
        match self {
            Self::Off => printable(address),
            Self::On(key) => {
                let tag = hmac::sign(key, address.to_ascii_lowercase().as_bytes());
                let mut name = String::from(PSEUDONYM);
                for byte in &tag.as_ref()[..SHOWN] {
                    let _ = write!(name, "{byte:02x}");
                }
                Cow::Owned(name)
            }
        }
    }
}

/// Written whole before it has its name: half a key would be another key.
fn make_key(path: &Path) -> io::Result<Vec<u8>> {
    let key: [u8; KEY_LENGTH] = rand::random();
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_pseudonym_across_restarts_and_case() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Pseudonyms::open(&state).unwrap().of("prx@praxis.kim.telematik").into_owned();
        let again = Pseudonyms::open(&state).unwrap();
        assert_eq!(again.of("PRX@Praxis.kim.telematik"), first);
        assert_ne!(again.of("px@praxis.kim.telematik"), first);
        assert_eq!(first.len(), PSEUDONYM.len() + 2 * SHOWN);
        let elsewhere = Pseudonyms::open(dir.path()).unwrap();
        assert_ne!(elsewhere.of("prx@praxis.kim.telematik"), first, "another key");
        let read = Pseudonyms::existing(&state).unwrap().unwrap();
        assert_eq!(read.of("prx@praxis.kim.telematik"), first);
        let other = dir.path().join("other");
        assert!(Pseudonyms::existing(&other).unwrap().is_none() && !other.exists());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Pseudonyms::open(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), "short").unwrap();
        let error = Pseudonyms::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("audit.key") && error.contains("5 bytes"), "{error}");
    }
}

//! Keyed hashes: the same message is the same hash, and without the key nobody finds out which.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// Bytes of the key, and of its file.
const LENGTH: usize = 32;

/// Bytes that are kept of a hash. Among 200,000 messages no two meet.
const KEPT: usize = 16;

/// Bytes of a hash that a person types.
const SHOWN: usize = 6;

/// What stands for a message or for a maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; KEPT]);

impl Digest {
    /// Its first digits, by which people name it.
    pub fn id(&self) -> String {
        hex(&self.0[..SHOWN])
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut digest = [0; KEPT];
        let is_hex = text.len() == 2 * KEPT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pairs = text.as_bytes().chunks_exact(2).filter(|_| is_hex);
        let bytes =
            pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let read = digest.iter_mut().zip(bytes).map(|(to, from)| *to = from).count();
        if read == KEPT { Ok(Self(digest)) } else { Err("not a digest".to_owned()) }
    }
}

/// The key of one state folder.
pub(super) struct Key(hmac::Key);

impl Key {
    /// A key that is not kept: its hashes can be compared until kimgate ends.
    pub(super) fn passing() -> Self {
        Self::new(&rand::random::<[u8; LENGTH]>())
    }

    /// Reads the key; `None` where there is none yet.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == LENGTH => Ok(Some(Self::new(&bytes))),
            Ok(bytes) => {
                let problem = format!("has {} bytes instead of {LENGTH}", bytes.len());
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a key and its file. Written whole before it has its name: half a key would be another
    /// key.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        let key: [u8; LENGTH] = rand::random();
        let draft = path.with_extension("key-new");
        let mut file = for_owner().write(true).create(true).truncate(true).open(&draft)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        Ok(Self::new(&key))
    }

    fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The hash of these parts. `purpose` keeps the hashes of different things apart, and the lengths
    /// keep `ab`, `c` apart from `a`, `bc`.
    pub(super) fn digest(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose.as_bytes());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut digest = [0; KEPT];
        digest.copy_from_slice(&tag.as_ref()[..KEPT]);
        Digest(digest)
    }

    /// A few digits that only the owner of this key could have put before this line.
    pub(super) fn seal(&self, line: &[u8]) -> String {
        hex(&self.digest("line", &[line]).0[..4])
    }
}

/// No hash of it is shown, and the key itself even less.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Files that only their owner may read.
pub(super) fn for_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_was_written_and_nothing_else_is_one() {
        let digest = Key::passing().digest("message", &[b"a"]);
        let text = String::from(digest);
        assert_eq!(Digest::try_from(text.clone()), Ok(digest));
        assert!(text.starts_with(&digest.id()));
        for wrong in ["", "00", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..])] {
            assert!(Digest::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        let key = Key::passing();
        let digests = [
            key.digest("message", &[b"ab", b"c"]),
            key.digest("message", &[b"a", b"bc"]),
            key.digest("message", &[b"abc"]),
            key.digest("maildrop", &[b"ab", b"c"]),
            Key::passing().digest("message", &[b"ab", b"c"]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
    }
}

//! One line of the journal.

use serde::{Deserialize, Serialize};

use super::key::{Digest, Key};

/// How a message stands. Of all lines about it the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Line {
    /// It came undecrypted.
    Held {
        id: Digest,
        maildrop: Digest,
        since: i64,
        account: String,
        workstation: String,
        cause: String,
        /// Nobody has to keep it any longer, and a further fetch does not change that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        released: bool,
    },
    /// It came decrypted, or is too old to be on a server still.
    Forgotten { id: Digest },
}

impl Line {
    /// With its seal and its line end.
    pub(super) fn write(&self, key: &Key) -> Vec<u8> {
        // Strings and numbers alone always become JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{} {json}\n", key.seal(json.as_bytes())).into_bytes()
    }

    /// Reads a line without its end. `None`: it was damaged, or written with another key.
    pub(super) fn read(key: &Key, line: &[u8]) -> Option<Self> {
        let (seal, json) = line.split_at_checked(8)?;
        let json = json.strip_prefix(b" ")?;
        if key.seal(json).as_bytes() != seal {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_one_wrong_byte_is_no_line() {
        let key = Key::passing();
        let id = key.digest("message", &[b"1"]);
        let maildrop = key.digest("maildrop", &[b"a"]);
        for line in [
            Line::Held {
                id,
                maildrop,
                since: 5,
                account: "a\"b\\\u{1}\n".into(),
                workstation: "PC1".into(),
                cause: "error 4009".into(),
                released: false,
            },
            Line::Forgotten { id },
        ] {
            let written = line.write(&key);
            let (end, text) = written.split_last().unwrap();
            assert_eq!(*end, b'\n');
            assert!(!text.contains(&b'\n'));
            assert_eq!(Line::read(&key, text), Some(line));
            for at in 0..text.len() {
                let mut wrong = text.to_vec();
                wrong[at] ^= 1;
                assert_eq!(Line::read(&key, &wrong), None, "at {at}");
                assert_eq!(Line::read(&key, &text[..at]), None, "cut at {at}");
            }
            assert_eq!(Line::read(&Key::passing(), text), None);
        }
    }
}

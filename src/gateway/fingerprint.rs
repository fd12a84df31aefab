//! Keyed hashes: what must be recognised again without being kept.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Makes fingerprints under a random key. The key is lost with this value, so a fingerprint in a memory
/// dump cannot be tried against a list of passwords.
#[derive(Clone, Default)]
pub(crate) struct Fingerprints(RandomState);

/// A keyed hash of something that is not kept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

impl Fingerprints {
    /// With a new key.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Of these parts in this order. Where one part ends and the next begins counts too.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        Fingerprint(self.0.hash_one(parts))
    }
}

#[cfg(test)]
impl Fingerprint {
    /// With this value, for tables.
    pub(crate) const fn fixed(value: u64) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_differ_by_part_and_by_key() {
        let one = Fingerprints::new();
        assert_eq!(one.of(&[b"PC1", b"login"]), one.of(&[b"PC1", b"login"]));
        assert_ne!(one.of(&[b"PC1", b"login"]), one.of(&[b"PC1l", b"ogin"]));
        assert_ne!(one.of(&[b"geheim"]), Fingerprints::new().of(&[b"geheim"]));
    }
}

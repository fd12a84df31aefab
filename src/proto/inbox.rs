//! The bytes that came in and were not read yet. They may hold a password.

use zeroize::Zeroize;

/// A queue of bytes. It overwrites what it drops, because logins pass through it.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    /// Appends bytes.
    pub(super) fn push(&mut self, more: &[u8]) {
        if self.bytes.len() + more.len() > self.bytes.capacity() {
            self.move_to_larger(more.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// The unread bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the first `n` bytes.
    pub(super) fn consume(&mut self, n: usize) {
        let end = (self.start + n).min(self.bytes.len());
        self.bytes[self.start..end].zeroize();
        self.start = end;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Takes all unread bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let rest = self.bytes().to_vec();
        self.consume(rest.len());
        rest
    }

    /// Grows by hand: a `Vec` that grows does not overwrite its old copy.
    fn move_to_larger(&mut self, more: usize) {
        let unread = self.bytes();
        let mut larger = Vec::with_capacity((unread.len() + more).next_power_of_two().max(256));
        larger.extend_from_slice(unread);
        self.bytes.zeroize();
        self.bytes = larger;
        self.start = 0;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut inbox = Inbox::default();
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            let piece = vec![round; usize::from(round) % 23];
            inbox.push(&piece);
            expected.extend_from_slice(&piece);
            let gone = usize::from(round) % 17;
            let gone = gone.min(expected.len());
            inbox.consume(gone);
            expected.drain(..gone);
            assert_eq!(inbox.bytes(), expected);
        }
        assert_eq!(inbox.take(), expected);
        assert!(inbox.bytes().is_empty());
    }
}

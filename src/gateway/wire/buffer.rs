//! Bytes that were read and not yet used. They are kept in 64 KiB from a pool; an empty buffer has
//! no memory.

use std::cell::RefCell;

use zeroize::Zeroize;

/// The most bytes that one read takes. It is large enough that a bulk transfer needs few system calls, and
/// larger than any command line.
pub(crate) const CHUNK: usize = 64 << 10;

/// Chunks that each thread keeps for the next session. Further ones go back to the allocator.
const SPARE_CHUNKS: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// The unread bytes: a window in a chunk. The chunk is larger than [`CHUNK`] if bytes were put back
/// that did not fit.
#[derive(Default)]
pub(crate) struct Buffer {
    chunk: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The unread bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk[self.start..self.end])
    }

    /// Whether a full window would have no room for another byte.
    pub(crate) fn is_full(&self) -> bool {
        self.chunk.as_ref().is_some_and(|chunk| self.end - self.start == chunk.len())
    }

    /// Room for more, after the unread bytes. It is empty only if the buffer is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let chunk = self.chunk.get_or_insert_with(|| {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            spare.unwrap_or_else(|| new_chunk(CHUNK))
        });
        if self.start > 0 && (self.start == self.end || self.end == chunk.len()) {
            chunk.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut chunk[self.end..]
    }

    /// Doubles the room if the buffer is full. The caller bounds how much may be unread.
    pub(crate) fn grow_if_full(&mut self) {
        if self.is_full() {
            let mut larger = new_chunk(2 * self.bytes().len());
            larger[..self.bytes().len()].copy_from_slice(self.bytes());
            let end = self.bytes().len();
            self.consume_and_wipe();
            (self.chunk, self.end) = (Some(larger), end);
        }
    }

    /// Adds `n` bytes that were written to [`Buffer::space`].
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
    }

    /// Drops the first `n` unread bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        self.release_if_empty();
    }

    /// Drops all unread bytes and overwrites them, as they may hold a password.
    pub(crate) fn consume_and_wipe(&mut self) {
        if let Some(chunk) = &mut self.chunk {
            chunk[self.start..self.end].zeroize();
        }
        self.consume(self.end - self.start);
    }

    /// Puts bytes back, before the other unread bytes.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = bytes.len() + self.bytes().len();
        let mut chunk = new_chunk(end.max(CHUNK));
        chunk[..bytes.len()].copy_from_slice(bytes);
        chunk[bytes.len()..end].copy_from_slice(self.bytes());
        self.consume_and_wipe();
        (self.chunk, self.end) = (Some(chunk), end);
    }

    /// Gives the chunk back to the pool if no unread bytes are left in it.
    pub(crate) fn release_if_empty(&mut self) {
        if self.start < self.end {
            return;
        }
        (self.start, self.end) = (0, 0);
        if let Some(chunk) = self.chunk.take() {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_CHUNKS && chunk.len() == CHUNK {
                    spare.push(chunk);
                }
            });
        }
    }
}

fn new_chunk(len: usize) -> Box<[u8]> {
    vec![0; len].into_boxed_slice()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.consume_and_wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn bytes_come_out_in_order_across_consume_and_refill() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"abc");
        buffer.consume(2);
        put(&mut buffer, b"de");
        assert_eq!(buffer.bytes(), b"cde");
        buffer.consume(3);
        assert_eq!(buffer.bytes(), b"");
    }

    #[test]
    fn an_empty_buffer_holds_no_chunk() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"abc");
        buffer.consume(3);
        assert!(buffer.chunk.is_none());
    }

    #[test]
    fn a_window_at_the_end_moves_to_the_front_for_more_room() {
        let mut buffer = Buffer::default();
        buffer.space();
        buffer.filled(CHUNK);
        assert!(buffer.is_full());
        assert!(buffer.space().is_empty());
        buffer.consume(CHUNK - 1);
        assert_eq!(buffer.space().len(), CHUNK - 1);
    }

    #[test]
    fn what_was_put_back_is_read_first() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b" and new");
        buffer.unread(b"left over");
        assert_eq!(buffer.bytes(), b"left over and new");
        let mut full = Buffer::default();
        full.space();
        full.filled(CHUNK);
        full.unread(b"more");
        assert_eq!(full.bytes().len(), CHUNK + 4);
        let mut nothing = Buffer::default();
        nothing.unread(b"");
        assert!(nothing.chunk.is_none());
    }
}

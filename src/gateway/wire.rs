//! A stream with what was read from it and not yet used.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::buffer::Buffer;
use super::stream::Stream;
use crate::proto::relay::{PeerEof, Unread};

/// How long a peer may take to accept our last words before the connection just ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// One side of a session: the stream, its unread bytes, and how it ended if it did.
pub(crate) struct Wire {
    stream: Stream,
    unread: Buffer,
    end: Option<PeerEof>,
    received: u64,
    sent: u64,
}

/// What waiting for bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are new unread bytes.
    More,
    /// There will be no more.
    Ended(PeerEof),
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, unread: Buffer::default(), end: None, received: 0, sent: 0 }
    }

    /// The unread bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.unread.bytes()
    }

    /// The same as a relay machine is shown it.
    pub(crate) fn seen(&self) -> Unread<'_> {
        Unread { bytes: self.unread.bytes(), eof: self.end }
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.unread.consume(n);
    }

    pub(crate) fn consume_and_wipe(&mut self) {
        self.unread.consume_and_wipe();
    }

    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.unread.unread(bytes);
    }

    /// Whether [`Wire::poll_fill`] could take in another byte.
    pub(crate) fn has_room(&self) -> bool {
        !self.unread.is_full()
    }

    /// Makes room for more where there is none.
    pub(crate) fn make_room(&mut self) {
        self.unread.grow_if_full();
    }

    pub(crate) fn end(&self) -> Option<PeerEof> {
        self.end
    }

    /// Octets received and sent so far, inside TLS.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Shakes hands over a plain connection. Its unread bytes must be none, and on failure the
    /// connection is lost.
    pub(crate) async fn upgrade(
        &mut self,
        handshake: impl AsyncFnOnce(TcpStream) -> io::Result<Stream>,
    ) -> io::Result<()> {
        match std::mem::replace(&mut self.stream, Stream::Lost) {
            Stream::Plain(tcp) if self.bytes().is_empty() => {
                self.stream = handshake(tcp).await?;
                Ok(())
            }
            Stream::Plain(_) | Stream::Workstation(_) | Stream::ClientModule(_) | Stream::Lost => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    /// Reads until the stream would block or the buffer is full.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        if let Some(end) = self.end {
            return Poll::Ready(Filled::Ended(end));
        }
        let mut more = false;
        while !self.unread.is_full() {
            let mut space = ReadBuf::new(self.unread.space());
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut space);
            let n = space.filled().len();
            match read {
                Poll::Ready(Ok(())) if n > 0 => {
                    self.unread.filled(n);
                    self.received += n as u64;
                    more = true;
                    continue;
                }
                Poll::Ready(Ok(())) => self.end = Some(PeerEof::Clean),
                Poll::Ready(Err(_)) => self.end = Some(PeerEof::Cut),
                Poll::Pending if !more => {
                    self.unread.release_if_empty();
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            break;
        }
        self.unread.release_if_empty();
        match (more, self.end) {
            (false, Some(end)) => Poll::Ready(Filled::Ended(end)),
            _ => Poll::Ready(Filled::More),
        }
    }

    /// Waits for more unread bytes, or for the end.
    pub(crate) async fn fill(&mut self) -> Filled {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Sends these bytes on, all of them, but leaves them in TLS's or the kernel's hands.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Sends these bytes on unless the other side speaks or leaves meanwhile; says whether all went
    /// out. A peer that answers before it has read everything may never read the rest.
    pub(crate) async fn write_while_silent(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut done = 0;
        while done < bytes.len() {
            let written = poll_fn(|cx| {
                if let Poll::Ready(written) =
                    Pin::new(&mut self.stream).poll_write(cx, &bytes[done..])
                {
                    return Poll::Ready(written.map(Some));
                }
                ready!(self.poll_fill(cx));
                Poll::Ready(Ok(None))
            });
            match written.await? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(n) => done += n,
                None => return Ok(false),
            }
        }
        self.sent += bytes.len() as u64;
        Ok(true)
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Sends these bytes and sees them off.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).await?;
        self.flush().await
    }

    /// Ends the connection properly, close_notify included, with last words if there are any.
    pub(crate) async fn close(mut self, last_words: &[u8]) {
        // The session is over either way; a peer that no longer listens changes nothing.
        let _ = timeout(GOODBYE, self.stream.finish(last_words)).await;
    }

    /// Ends the connection so that nobody can take it for a proper end.
    pub(crate) fn abort(self) {
        self.stream.reset_on_drop();
    }
}

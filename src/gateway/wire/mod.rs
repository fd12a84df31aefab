//! One connection with the bytes that were read from it and not yet used.

mod buffer;
mod handshakes;
mod tls;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proto::relay::{PeerEof, Unread};
use crate::trust::{HandshakeFault, ListenerTls, UpstreamTls, Verdict};
use buffer::Buffer;
use tls::Stream;

pub(crate) use buffer::CHUNK;
pub(crate) use tls::PeerCertificate;

/// How long a peer may take to accept the last bytes of a connection.
const GOODBYE: Duration = Duration::from_secs(5);

/// One side of a session: the stream, its unread bytes, and how it ended if it did.
pub(crate) struct Wire {
    stream: Stream,
    unread: Buffer,
    end: Option<PeerEof>,
    /// Why reading failed, where `end` is a cut.
    read_error: Option<io::Error>,
    sent: u64,
}

/// What waiting for bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are new unread bytes.
    More,
    /// No more bytes will come.
    Ended(PeerEof),
}

/// Sets what every TCP connection needs. Small packets leave at once, since mail dialogues consist
/// of them. Keepalive finds out within two minutes that a peer lost power while its session was idle.
pub(crate) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Sends what the kernel takes without waiting, to a peer whose connection ends at once.
pub(crate) fn say_at_once(tcp: &TcpStream, last_words: &[u8]) {
    // The connection ends, whether the peer hears this or not.
    let _ = SockRef::from(tcp).send(last_words);
}

impl Wire {
    /// A connection without TLS.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        let stream = Stream::Plain(tcp);
        Self { stream, unread: Buffer::default(), end: None, read_error: None, sent: 0 }
    }

    /// Does the TLS handshake with a workstation on a plain connection without unread bytes. `first`
    /// looks at the connection before. After an error, or if this is dropped before its end, nothing
    /// can be read or written: plain text has no place where TLS was agreed on.
    pub(crate) async fn accept_tls(
        &mut self,
        tls: &ListenerTls,
        first: impl AsyncFnOnce(&TcpStream) -> io::Result<()>,
    ) -> Result<(), HandshakeFault> {
        let tcp = self.take_plain().map_err(|error| HandshakeFault::of(&error))?;
        first(&tcp).await.map_err(|error| HandshakeFault::of(&error))?;
        self.stream = Stream::accept(tcp, tls).await?;
        Ok(())
    }

    /// Does the TLS handshake with a client module on a plain connection without unread bytes.
    /// After an error nothing can be read or written.
    pub(crate) async fn connect_tls(&mut self, tls: &UpstreamTls) -> io::Result<()> {
        let tcp = self.take_plain()?;
        self.stream = Stream::connect(tcp, tls).await?;
        Ok(())
    }

    fn take_plain(&mut self) -> io::Result<TcpStream> {
        match std::mem::replace(&mut self.stream, Stream::Lost) {
            Stream::Plain(tcp) if self.bytes().is_empty() => Ok(tcp),
            Stream::Plain(_) | Stream::Workstation(_) | Stream::ClientModule(_) | Stream::Lost => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    /// Whether a TLS handshake succeeded.
    pub(crate) fn has_tls(&self) -> bool {
        matches!(self.stream, Stream::Workstation(_) | Stream::ClientModule(_))
    }

    /// The certificate that the workstation showed in its handshake.
    pub(crate) fn peer_certificate(&self) -> PeerCertificate {
        self.stream.peer_certificate()
    }

    /// The verdict on the client module's certificate; `None` without TLS. `tls` must be what
    /// [`Wire::connect_tls`] was called with.
    pub(crate) fn verdict(&self, tls: &UpstreamTls) -> Option<Arc<Verdict>> {
        self.stream.verdict(tls)
    }

    /// The unread bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.unread.bytes()
    }

    /// The unread bytes and the end, as a relay machine reads them.
    pub(crate) fn seen(&self) -> Unread<'_> {
        Unread { bytes: self.unread.bytes(), eof: self.end }
    }

    /// Drops the first `n` unread bytes; there must be as many.
    pub(crate) fn consume(&mut self, n: usize) {
        self.unread.consume(n);
    }

    /// Drops all unread bytes and overwrites them, as they may hold a password.
    pub(crate) fn consume_and_wipe(&mut self) {
        self.unread.consume_and_wipe();
    }

    /// Puts bytes back, before the other unread bytes.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.unread.unread(bytes);
    }

    /// Whether [`Wire::poll_fill`] could read another byte.
    pub(crate) fn has_room(&self) -> bool {
        !self.unread.is_full()
    }

    /// Doubles the room for unread bytes if there is none left.
    pub(crate) fn make_room(&mut self) {
        self.unread.grow_if_full();
    }

    /// How the peer stopped sending; `None` while it may still send.
    pub(crate) fn end(&self) -> Option<PeerEof> {
        self.end
    }

    /// Why reading failed, if it did: TLS says in an alert what the peer does not like.
    pub(crate) fn take_read_error(&mut self) -> Option<io::Error> {
        self.read_error.take()
    }

    /// Bytes sent so far, without TLS's own.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
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
                    more = true;
                    continue;
                }
                Poll::Ready(Ok(())) => self.end = Some(PeerEof::Clean),
                Poll::Ready(Err(error)) => {
                    self.end = Some(PeerEof::Cut);
                    self.read_error = Some(error);
                }
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

    /// Waits for more unread bytes, or for the end of what the peer sends.
    pub(crate) async fn fill(&mut self) -> Filled {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Writes all of these bytes. They may stay in the buffers of TLS and the kernel until
    /// [`Wire::flush`].
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Writes these bytes, but stops if the peer sends something or ends meanwhile. Returns whether
    /// all were written. A peer that answers before it has read everything may never read the rest.
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

    /// Sends what is still in TLS's buffer.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Writes these bytes and flushes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).await?;
        self.flush().await
    }

    /// Sends `last_words`, which may be empty, and ends the connection properly, with TLS by
    /// close_notify.
    pub(crate) async fn close(mut self, last_words: &[u8]) {
        // The session is over, whether the peer still reads this or not.
        let _ = timeout(GOODBYE, self.stream.finish(last_words)).await;
    }

    /// Makes the drop of this wire a TCP reset.
    pub(crate) fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }

    /// Resets the connection, so that the peer cannot take this for a proper end.
    pub(crate) fn abort(self) {
        self.reset_on_drop();
    }
}

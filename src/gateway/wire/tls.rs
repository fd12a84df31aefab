//! One connection, plain or with TLS, on either side of the gateway.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A TCP connection, with or without TLS on it.
pub(crate) enum Stream {
    Plain(TcpStream),
    Workstation(Box<server::TlsStream<TcpStream>>),
    ClientModule(Box<client::TlsStream<TcpStream>>),
    /// Its TCP connection was taken for a handshake that failed; nothing can be read or written.
    Lost,
}

impl Stream {
    /// What every connection needs: small packets leave at once, since mail dialogues are made of
    /// them, and a peer that lost power is noticed even while a session is idle.
    pub(crate) fn prepare(tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15));
        SockRef::from(tcp).set_tcp_keepalive(&keepalive)
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Workstation(tls) => Some(tls.get_ref().0),
            Self::ClientModule(tls) => Some(tls.get_ref().0),
            Self::Lost => None,
        }
    }

    /// Sends the last bytes and ends the sending half properly. Under TLS both and close_notify are
    /// one packet.
    pub(crate) async fn finish(&mut self, last: &[u8]) -> io::Result<()> {
        let buffered = match self {
            Self::Workstation(tls) => tls.get_mut().1.writer().write(last)?,
            Self::ClientModule(tls) => tls.get_mut().1.writer().write(last)?,
            Self::Plain(_) | Self::Lost => 0,
        };
        self.write_all(&last[buffered..]).await?;
        self.shutdown().await
    }

    /// Makes the coming drop a reset. A message that was cut short must not look complete to
    /// anybody, also not to a peer without TLS, for whom a plain close would be a clean end.
    pub(crate) fn reset_on_drop(&self) {
        if let Some(tcp) = self.tcp() {
            // A socket that is gone already needs no reset.
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

macro_rules! on_each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => $call,
            Stream::Workstation($inner) => $call,
            Stream::ClientModule($inner) => $call,
            Stream::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

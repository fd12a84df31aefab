//! The stream under a wire: a TCP connection, plain or with TLS on it.
//!
//! No other file of the gateway names rustls or tokio_rustls, so that another version of rustls
//! changes this file and `trust` only.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::handshakes::aside;
use crate::trust::{
    HandshakeFault, ListenerTls, UpstreamTls, Verdict, client_expires_at, client_names,
};

/// A TCP connection, with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    /// TLS with a workstation, which is the TLS client.
    Workstation(Box<server::TlsStream<TcpStream>>),
    /// TLS with a client module, which is the TLS server.
    ClientModule(Box<client::TlsStream<TcpStream>>),
    /// A handshake took the TCP connection and failed. Reads and writes fail with `NotConnected`.
    Lost,
}

/// What the verified certificate of a workstation says. Empty if it showed none.
#[derive(Debug, Default)]
pub(crate) struct PeerCertificate {
    /// Its common names and DNS names, without duplicates.
    pub(crate) names: Vec<String>,
    /// Its `notAfter`.
    pub(crate) expires_at: Option<OffsetDateTime>,
}

impl Stream {
    /// Does the TLS handshake with a workstation. Also fails if the workstation resumed a session
    /// whose certificate has expired since: rustls does not check that again.
    pub(super) async fn accept(
        mut tcp: TcpStream,
        tls: &ListenerTls,
    ) -> Result<Self, HandshakeFault> {
        refuse_old(&mut tcp).await?;
        let acceptor = TlsAcceptor::from(tls.server_config());
        let accepted = aside(async move { acceptor.accept(tcp).await }).await;
        let stream = accepted.map_err(|error| HandshakeFault::of(&error))?;
        match HandshakeFault::of_resumed(shown(stream.get_ref().1)) {
            Some(fault) => Err(fault),
            None => Ok(Self::Workstation(Box::new(stream))),
        }
    }

    /// Does the TLS handshake with a client module. `trust::verdict_of` tells from the error what
    /// was wrong with its certificate.
    pub(super) async fn connect(tcp: TcpStream, tls: &UpstreamTls) -> io::Result<Self> {
        let connector = TlsConnector::from(tls.client_config());
        let name = tls.server_name();
        let stream = aside(async move { connector.connect(name, tcp).await }).await?;
        Ok(Self::ClientModule(Box::new(stream)))
    }

    /// The certificate that the workstation showed.
    pub(super) fn peer_certificate(&self) -> PeerCertificate {
        match self {
            Self::Workstation(stream) => {
                let chain = shown(stream.get_ref().1);
                PeerCertificate { names: client_names(chain), expires_at: client_expires_at(chain) }
            }
            Self::Plain(_) | Self::ClientModule(_) | Self::Lost => PeerCertificate::default(),
        }
    }

    /// The verdict on the client module's certificate; `None` without TLS.
    pub(super) fn verdict(&self, tls: &UpstreamTls) -> Option<Arc<Verdict>> {
        match self {
            Self::ClientModule(stream) => Some(tls.verdict(shown(stream.get_ref().1))),
            Self::Plain(_) | Self::Workstation(_) | Self::Lost => None,
        }
    }

    /// Sends the last bytes and closes the sending half properly. With TLS the last bytes and
    /// close_notify leave in one packet.
    pub(super) async fn finish(&mut self, last: &[u8]) -> io::Result<()> {
        let buffered = match self {
            Self::Workstation(tls) => tls.get_mut().1.writer().write(last)?,
            Self::ClientModule(tls) => tls.get_mut().1.writer().write(last)?,
            Self::Plain(_) | Self::Lost => 0,
        };
        self.write_all(&last[buffered..]).await?;
        self.shutdown().await
    }

    /// Makes the drop of this stream a TCP reset. A message that was cut short must not look
    /// complete: without TLS the peer would take a plain close for a clean end.
    pub(super) fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Workstation(tls) => tls.get_ref().0,
            Self::ClientModule(tls) => tls.get_ref().0,
            Self::Lost => return,
        };
        // This fails only if the connection is gone already, and then no reset is needed.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

/// Tells a client that offers nothing newer than TLS 1.1 so. rustls looks for an extension of TLS 1.2
/// first, and its alert would speak of ciphers. A hello that comes in smaller pieces is left to it.
async fn refuse_old(tcp: &mut TcpStream) -> Result<(), HandshakeFault> {
    // The head of the record, the type and length of the hello, and the newest version (RFC 5246
    // section 7.4.1.2). TLS 1.3 writes 1.2 there.
    let mut hello = [0; 11];
    let seen = tcp.peek(&mut hello).await.unwrap_or_default();
    let is_old = seen == hello.len()
        && matches!(hello, [0x16, 3, _, _, _, 1, _, _, _, 3, minor] if minor < 3);
    if !is_old {
        return Ok(());
    }
    // The whole record is read first: a close with unread bytes is a reset, which may take the alert away,
    // and a client that is still writing would hear of nothing else. The connection ends, whether the alert
    // arrives or not.
    let rest = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    let _ = tcp.read_exact(&mut vec![0; 5 + rest.min(RECORD)]).await;
    let _ = tcp.write_all(PROTOCOL_VERSION).await;
    let _ = tcp.shutdown().await;
    Err(HandshakeFault::too_old())
}

/// Bytes of the longest record (RFC 5246 section 6.2.1).
const RECORD: usize = 1 << 14;

/// The fatal alert 70 in a record of TLS 1.0 (RFC 5246 section 7.2).
const PROTOCOL_VERSION: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];

/// The certificates that the peer of this connection showed, its own first. Empty if there are none.
fn shown(connection: &CommonState) -> &[CertificateDer<'static>] {
    connection.peer_certificates().unwrap_or_default()
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

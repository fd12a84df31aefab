//! A connection to a server for `trust` and `doctor`: one question at a time, each answer kept.
//!
//! The gateway's own dialling needs a permit and reports to metrics; these commands show a person
//! every step of it instead. The words on the wire are the same machines'.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::proto::back::{Answer, Back, BackStep, unasked};
use crate::proto::sasl::Credentials;
use crate::proto::{ProtocolError, pop3, smtp};
use crate::trust::{Class, UpstreamTls, Verdict, looks_like_tls, verdict_of};
use crate::words::Protocol;

/// How long a connection, a handshake or a greeting may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A dialogue with one server.
pub(super) struct Dialogue {
    stream: Stream,
    back: Box<dyn Back>,
    /// The greeting and what came after each of our lines.
    answers: Vec<Vec<u8>>,
}

/// Where a dialogue waits for its owner.
pub(super) enum Pause {
    /// The handshake is due.
    StartTls,
    /// The server waits for a login.
    Ready,
    /// It accepted the login.
    LoggedIn(Answer),
    /// It refused us, or the login.
    Refused(Answer),
    /// It answered QUIT.
    Done,
}

/// Why a dialogue is over.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection ended.
    Gone,
    /// Nothing came in time.
    Silent,
    /// TLS where a greeting in clear was expected.
    Tls,
    /// It refuses the certificate that we showed, or wants one. With TLS 1.3 that comes after the
    /// handshake.
    Certificate(Box<Verdict>),
    /// It said something that the protocol does not allow.
    Protocol(ProtocolError),
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Its connection went into a handshake that failed.
    Lost,
}

/// Connects to the first of these addresses that answers.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let tcp = timeout(PATIENCE, TcpStream::connect(addresses)).await??;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Shakes hands on a fresh connection.
pub(super) async fn handshake(
    tcp: TcpStream,
    tls: &UpstreamTls,
) -> io::Result<TlsStream<TcpStream>> {
    timeout(PATIENCE, TlsConnector::from(tls.client_config()).connect(tls.server_name(), tcp))
        .await?
}

/// Version and cipher suite.
pub(super) fn described(tls: &ClientConnection) -> String {
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(_) => "TLS 1.2", // nothing older is spoken
        None => "TLS",
    };
    let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    // TLS13_AES_128_GCM_SHA256 says the version twice.
    let suite = suite.unwrap_or_default();
    format!("{version}, {}", suite.trim_start_matches("TLS13_").trim_start_matches("TLS_"))
}

impl Dialogue {
    /// Waits for the greeting on a connection in clear.
    pub(super) fn plain(
        tcp: TcpStream,
        protocol: Protocol,
        own_name: &str,
        start_tls: bool,
    ) -> Self {
        Self::new(Stream::Plain(tcp), protocol, own_name, start_tls)
    }

    /// Waits for the greeting after the TLS handshake.
    pub(super) fn secured(tls: TlsStream<TcpStream>, protocol: Protocol, own_name: &str) -> Self {
        Self::new(Stream::Tls(Box::new(tls)), protocol, own_name, false)
    }

    fn new(stream: Stream, protocol: Protocol, own_name: &str, start_tls: bool) -> Self {
        let back: Box<dyn Back> = match protocol {
            Protocol::Pop3 => Box::new(pop3::Back::new(start_tls)),
            Protocol::Smtp => Box::new(smtp::Back::new(own_name, start_tls)),
        };
        Self { stream, back, answers: vec![Vec::new()] }
    }

    /// Talks until the owner has to do something.
    pub(super) async fn talk(&mut self, patience: Duration) -> Result<Pause, Trouble> {
        match timeout(patience, self.drive()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::Silent),
        }
    }

    /// Shakes hands after [`Pause::StartTls`].
    pub(super) async fn secure(&mut self, tls: &UpstreamTls) -> io::Result<()> {
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Lost) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.stream = Stream::Tls(Box::new(handshake(tcp, tls).await?));
        self.back.secured();
        Ok(())
    }

    /// Sends a login after [`Pause::Ready`].
    pub(super) fn log_in(&mut self, credentials: &Credentials) {
        self.back.log_in(credentials);
    }

    /// Says goodbye.
    pub(super) fn quit(&mut self) {
        self.back.quit();
    }

    /// Everything that came since the last line of ours.
    pub(super) fn last_answer(&self) -> &[u8] {
        self.answers.last().map_or(&[], Vec::as_slice)
    }

    /// What came before we said anything.
    pub(super) fn greeting(&self) -> &[u8] {
        self.answers.first().map_or(&[], Vec::as_slice)
    }

    /// TLS, if there is any.
    pub(super) fn tls(&self) -> Option<&ClientConnection> {
        match &self.stream {
            Stream::Tls(stream) => Some(stream.get_ref().1),
            Stream::Plain(_) | Stream::Lost => None,
        }
    }

    /// The same, when the dialogue is over.
    pub(super) fn into_tls(self) -> Option<ClientConnection> {
        match self.stream {
            Stream::Tls(stream) => Some(stream.into_inner().1),
            Stream::Plain(_) | Stream::Lost => None,
        }
    }

    async fn drive(&mut self) -> Result<Pause, Trouble> {
        loop {
            match self.back.step().map_err(Trouble::Protocol)? {
                BackStep::Send(bytes) => {
                    let early = self.stream.read_now().await;
                    if !early.is_empty() {
                        return Err(Trouble::Protocol(unasked(&early)));
                    }
                    self.answers.push(Vec::new());
                    self.stream.send(bytes.expose()).await.map_err(|_| Trouble::Gone)?;
                }
                BackStep::NeedInput => self.read().await?,
                BackStep::StartTls => return Ok(Pause::StartTls),
                BackStep::Ready => return Ok(Pause::Ready),
                BackStep::LoggedIn(answer) => return Ok(Pause::LoggedIn(answer)),
                BackStep::Refused(answer) => return Ok(Pause::Refused(answer)),
                BackStep::Done => return Ok(Pause::Done),
            }
        }
    }

    async fn read(&mut self) -> Result<(), Trouble> {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes).await.map_err(|error| read_failed(&error))?;
        let bytes = &bytes[..read];
        if bytes.is_empty() {
            return Err(Trouble::Gone);
        }
        if matches!(self.stream, Stream::Plain(_)) && looks_like_tls(bytes) {
            return Err(Trouble::Tls);
        }
        if let Some(answer) = self.answers.last_mut() {
            answer.extend_from_slice(bytes);
        }
        self.back.feed(bytes);
        Ok(())
    }
}

fn read_failed(error: &io::Error) -> Trouble {
    match verdict_of(error) {
        Some(verdict) if verdict.class == Class::OwnCertificateRefused => {
            Trouble::Certificate(Box::new(verdict))
        }
        _ => Trouble::Gone,
    }
}

impl Stream {
    async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes).await,
            Self::Tls(stream) => stream.read(bytes).await,
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The beginning of what has come up to now, without waiting. An end is found by the next read.
    async fn read_now(&mut self) -> Vec<u8> {
        let mut bytes = [0; 256];
        let mut space = ReadBuf::new(&mut bytes);
        poll_fn(|cx| {
            let _ = match self {
                Self::Plain(stream) => Pin::new(stream).poll_read(cx, &mut space),
                Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut space),
                Self::Lost => Poll::Pending,
            };
            Poll::Ready(())
        })
        .await;
        space.filled().to_vec()
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

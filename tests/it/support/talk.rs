//! A mail program that does what a test says, line by line, and takes whatever comes.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::player::Stream;

/// One connection to a server on this machine.
pub(crate) struct Talk {
    stream: BufReader<Box<dyn Stream>>,
    patience: Duration,
}

impl Talk {
    /// Connects without TLS, from 127.0.0.1.
    pub(crate) async fn plain(port: u16) -> io::Result<Talk> {
        Talk::plain_from(Ipv4Addr::LOCALHOST.into(), port).await
    }

    /// Connects without TLS, from this loopback address.
    pub(crate) async fn plain_from(from: IpAddr, port: u16) -> io::Result<Talk> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let tcp = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
        tcp.set_nodelay(true)?;
        Ok(Talk { stream: buffered(Box::new(tcp)), patience: Duration::from_secs(60) })
    }

    /// Connects with TLS from the first byte, and trusts this certificate alone.
    pub(crate) async fn tls(port: u16, trusted: &Path) -> io::Result<Talk> {
        Talk::plain(port).await?.secure(trusted).await
    }

    /// The handshake.
    pub(crate) async fn secure(self, trusted: &Path) -> io::Result<Talk> {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(&fs::read(trusted)?);
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let tcp = self.stream.into_inner();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Talk { stream: buffered(Box::new(tls)), patience: self.patience })
    }

    /// How long an answer may take; a minute where nothing else is said.
    pub(crate) fn with_patience(self, patience: Duration) -> Talk {
        Talk { patience, ..self }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        timeout(self.patience, sent).await?
    }

    /// Sends a line and reads the last line of its answer.
    pub(crate) async fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.answer().await
    }

    /// The last line of an answer; after `+OK` more may come.
    pub(crate) async fn answer(&mut self) -> io::Result<String> {
        loop {
            let line = self.line().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// The next line without its end.
    pub(crate) async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(4 << 20);
        timeout(self.patience, bounded.read_until(b'\n', &mut line)).await??;
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Reads a dot-ended text piece by piece, without its dot-stuffing.
    pub(crate) async fn text(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut unread = b"\r\n".to_vec();
        let mut skip = 2;
        loop {
            let more = timeout(self.patience, self.stream.fill_buf()).await??;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = more.len();
            unread.extend_from_slice(more);
            self.stream.consume(len);
            let mut done = 0;
            while let Some(dot) = memchr::memmem::find(&unread[done..], b"\r\n.") {
                let dot = done + dot + 2;
                let Some(after) = unread.get(dot + 1..dot + 3) else { break };
                take(&unread[done + skip..dot]);
                if after == b"\r\n" {
                    return Ok(());
                }
                // What follows the dot may be the start of another line end.
                (done, skip) = (dot + 1, 0);
            }
            let keep = unread.len().saturating_sub(4).max(done);
            if keep > done + skip {
                take(&unread[done + skip..keep]);
                skip = 0;
                done = keep;
            }
            unread.drain(..done);
        }
    }
}

fn buffered(stream: Box<dyn Stream>) -> BufReader<Box<dyn Stream>> {
    BufReader::with_capacity(64 << 10, stream)
}

//! A small mail program for `demo --once`: it sends one message and fetches it again.
//!
//! Written by the RFCs alone and with none of the gateway's own parsers, so that it would not share
//! a mistake with them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::secret::Secret;

/// Far longer than the simulator takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to talk to, and how.
pub(super) struct Account<'a> {
    pub(super) login: &'a str,
    pub(super) password: &'a Secret<String>,
    /// The gateway's certificate, which is all that is trusted.
    pub(super) ca_pem: &'a str,
}

/// A connection that speaks in lines.
struct Lines {
    stream: BufReader<TlsStream<TcpStream>>,
}

impl Account<'_> {
    /// Sends a message by SMTP; gives the server's words about it.
    pub(super) async fn send(
        &self,
        server: SocketAddr,
        address: &str,
        message: &[u8],
    ) -> io::Result<String> {
        let mut lines = self.connect(server).await?;
        lines.smtp("220", None).await?;
        lines.smtp("250", Some("EHLO demo.localhost")).await?;
        let plain = format!("\0{}\0{}", self.login, self.password.expose());
        lines.smtp("235", Some(&format!("AUTH PLAIN {}", STANDARD.encode(plain)))).await?;
        lines.smtp("250", Some(&format!("MAIL FROM:<{address}>"))).await?;
        lines.smtp("250", Some(&format!("RCPT TO:<{address}>"))).await?;
        lines.smtp("354", Some("DATA")).await?;
        lines.write(&stuffed(message)).await?;
        let accepted = lines.smtp("250", Some(".")).await?;
        lines.smtp("221", Some("QUIT")).await?;
        Ok(accepted)
    }

    /// Logs in by POP3 with another login; gives the server's refusal.
    pub(super) async fn try_login(&self, server: SocketAddr, login: &str) -> io::Result<()> {
        let mut lines = self.connect(server).await?;
        lines.pop3(None).await?;
        lines.pop3(Some(&format!("USER {login}"))).await?;
        lines.pop3(Some(&format!("PASS {}", self.password.expose()))).await.map(drop)
    }

    /// Fetches the newest message by POP3 and deletes it.
    pub(super) async fn fetch(&self, server: SocketAddr) -> io::Result<Vec<u8>> {
        let mut lines = self.connect(server).await?;
        lines.pop3(None).await?;
        lines.pop3(Some(&format!("USER {}", self.login))).await?;
        lines.pop3(Some(&format!("PASS {}", self.password.expose()))).await?;
        let stat = lines.pop3(Some("STAT")).await?;
        let newest = stat.split(' ').nth(1).unwrap_or_default().to_owned();
        lines.pop3(Some(&format!("RETR {newest}"))).await?;
        let message = lines.body().await?;
        lines.pop3(Some(&format!("DELE {newest}"))).await?;
        lines.pop3(Some("QUIT")).await?;
        Ok(message)
    }

    async fn connect(&self, server: SocketAddr) -> io::Result<Lines> {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.ca_pem.as_bytes());
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(server).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(server.ip());
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Lines { stream: BufReader::new(tls) })
    }
}

impl Lines {
    /// Sends a command and reads a reply that must begin with this code.
    async fn smtp(&mut self, code: &str, command: Option<&str>) -> io::Result<String> {
        self.command(command).await?;
        loop {
            let line = self.line().await?;
            if !line.starts_with(code) {
                return Err(io::Error::other(line));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// Sends a command and reads a status line that must be `+OK`.
    async fn pop3(&mut self, command: Option<&str>) -> io::Result<String> {
        self.command(command).await?;
        let line = self.line().await?;
        if line.starts_with("+OK") { Ok(line) } else { Err(io::Error::other(line)) }
    }

    async fn command(&mut self, command: Option<&str>) -> io::Result<()> {
        match command {
            Some(command) => self.write(format!("{command}\r\n").as_bytes()).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let line = String::from_utf8(self.raw_line().await?).map_err(io::Error::other)?;
        Ok(line.trim_end().to_owned())
    }

    async fn raw_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(64 << 10);
        let read = bounded.read_until(b'\n', &mut line);
        timeout(PATIENCE, read).await.map_err(io::Error::other)??;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The lines up to the one with a dot alone, with the sender's extra dots taken away.
    async fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.raw_line().await?;
            if line == b".\r\n" {
                return Ok(body);
            }
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}

/// The message with a second dot where a line begins with one (RFC 5321 section 4.5.2).
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

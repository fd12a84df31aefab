//! A mail client for scenarios: it says what it is told to and expects what it is told to.

use std::fmt::Display;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::player::Stream;
use super::transcript::{Pattern, bytes};

/// Everybody's.
pub(crate) const PASSWORD: &str = "geheim";
/// The account that most dialogues are about.
pub(crate) const ADDRESS: &str = "prx@praxis.kim.telematik";
/// Longer than anything takes; who waits for so long has found a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How the gateway ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order: close_notify, or FIN where there is no TLS.
    Clean,
    /// So that it cannot be taken for a whole answer.
    Cut,
}

/// A mail client that says what it is told to; every expectation that is not met ends the test.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Sends a line.
    pub(crate) async fn send(&mut self, line: impl Display) {
        self.send_bytes(format!("{line}\r\n").as_bytes()).await;
    }

    /// Sends bytes; the other side may be gone, and then the next look says so.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// The next line, which must match a pattern as in transcripts.
    pub(crate) async fn expect(&mut self, pattern: &str) -> String {
        let line = self.line().await;
        let matches = Pattern::new(pattern).unwrap().matches(line.as_bytes());
        assert!(matches, "came {line:?} instead of {pattern:?}");
        line
    }

    /// Lines up to one that matches; gives them all.
    pub(crate) async fn expect_until(&mut self, pattern: &str) -> Vec<String> {
        let wanted = Pattern::new(pattern).unwrap();
        let mut lines = vec![self.line().await];
        while !lines.last().is_some_and(|line| wanted.matches(line.as_bytes())) {
            lines.push(self.line().await);
        }
        lines
    }

    /// Sends a line and reads one.
    pub(crate) async fn ask(&mut self, line: impl Display, pattern: &str) -> String {
        self.send(line).await;
        self.expect(pattern).await
    }

    pub(crate) async fn pop3_login(&mut self, login: &str) {
        self.ask(format!("USER {login}"), "+OK<any>").await;
        self.ask(format!("PASS {PASSWORD}"), "+OK<any>").await;
    }

    pub(crate) async fn smtp_login(&mut self, login: &str) {
        self.send("EHLO pc").await;
        self.expect_until("250 <any>").await;
        self.ask(auth_plain(login, PASSWORD), "235 <any>").await;
    }

    /// MAIL, RCPT and DATA, up to the invitation to send the message.
    pub(crate) async fn begin_message(&mut self) {
        self.begin_message_from(ADDRESS).await;
    }

    /// The same from another address.
    pub(crate) async fn begin_message_from(&mut self, sender: &str) {
        self.ask(format!("MAIL FROM:<{sender}>"), "250 <any>").await;
        self.ask("RCPT TO:<kasse@ext.kim.telematik>", "250 <any>").await;
        self.ask("DATA", "354 <any>").await;
    }

    /// Says that it will send nothing more; it still reads.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads up to the end, before which nothing else may come.
    pub(crate) async fn end(&mut self) -> End {
        let (rest, end) = self.rest().await;
        assert!(rest.is_empty(), "before the end came \"{}\"", rest.escape_ascii());
        end
    }

    /// Everything up to the end, and how it came.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            match self.more().await {
                Ok(0) => return (std::mem::take(&mut self.unread), End::Clean),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.unread), End::Cut),
            }
        }
    }

    /// So many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert_ne!(self.more().await.unwrap(), 0, "the end came after {}", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// A message up to the line with its dot, without dot-stuffing.
    pub(crate) async fn until_dot(&mut self) -> Vec<u8> {
        self.heard_until_dot().await.unwrap_or_else(|| panic!("the end came before the dot"))
    }

    /// The next line, or nothing where the connection ends before it is whole.
    pub(crate) async fn heard(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.more().await.ok().filter(|n| *n > 0)?;
        }
    }

    /// The same up to the line with its dot; gives the message without dot-stuffing.
    pub(crate) async fn heard_until_dot(&mut self) -> Option<Vec<u8>> {
        // As if after a line end, so that an empty message has an end like all others.
        let mut framed = b"\r\n".to_vec();
        let end = loop {
            let searched = framed.len().saturating_sub(4);
            framed.append(&mut self.unread);
            let dot = framed[searched..].windows(5).position(|window| window == b"\r\n.\r\n");
            if let Some(dot) = dot {
                break searched + dot + 5;
            }
            self.more().await.ok().filter(|n| *n > 0)?;
        };
        self.unread = framed.split_off(end);
        let mut message = Vec::with_capacity(end);
        for (at, byte) in framed[..end - 3].iter().enumerate() {
            if *byte != b'.' || !framed[..at].ends_with(b"\r\n") {
                message.push(*byte);
            }
        }
        Some(message.split_off(2))
    }

    async fn line(&mut self) -> String {
        match self.heard().await {
            Some(line) => line,
            None => panic!("the end came after \"{}\"", self.unread.escape_ascii()),
        }
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        let mut buffer = vec![0; 64 << 10];
        let n = within(self.stream.read(&mut buffer)).await?;
        self.unread.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

/// A message as it goes over the wire (RFC 5321 section 4.5.2, RFC 1939 section 3), without its end.
pub(crate) fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in message.iter().enumerate() {
        if *byte == b'.' && (at == 0 || message[..at].ends_with(b"\r\n")) {
            out.push(b'.');
        }
        out.push(*byte);
    }
    out
}

/// `AUTH PLAIN` with everything on one line.
pub(crate) fn auth_plain(login: &str, password: &str) -> String {
    let text = format!("AUTH PLAIN <b64:\\0{login}\\0{password}>");
    String::from_utf8(bytes(&text).unwrap()).unwrap()
}

/// The result of something that must not take for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("nothing came"))
}

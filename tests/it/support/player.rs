//! Plays a transcript in a world and says at which line it went another way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::transcript::{Act, Expectation, Listener, Pattern, Setup, Transcript};

/// A connection to the gateway.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A gateway with a client module behind it, as a player sees it.
pub(crate) trait World {
    /// Connects to the listener that is under test; on an implicit one TLS is up already.
    async fn connect(&self, listener: Listener, from: IpAddr) -> Box<dyn Stream>;

    /// TLS on a connection that is in clear so far.
    async fn start_tls(&self, stream: Box<dyn Stream>) -> Box<dyn Stream>;

    /// Waits until all sessions are over; what the audit says.
    async fn audit(&self) -> Vec<Value>;

    /// What the client module saw, one fact a line: `connection`, `login STRING`, `quit`,
    /// `closed without quit`, `deleted N`, `message complete`, `message incomplete`, and each
    /// command after the login as it came.
    async fn upstream(&self) -> Vec<String>;
}

/// Longer than any answer takes; the clock may be paused.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays all of it; the error names the line.
pub(crate) async fn play(transcript: &Transcript, world: &impl World) -> Result<(), String> {
    let mut connections = BTreeMap::new();
    for step in &transcript.steps {
        let line = match connections.entry(step.connection) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(open(world, &transcript.setup, step.connection).await)
            }
        };
        let done = tokio::time::timeout(PATIENCE, line.act(world, &step.act)).await;
        done.unwrap_or_else(|_| Err(format!("nothing came, had {}", shown(&line.unread))))
            .map_err(|fault| format!("line {}: {fault}", step.line))?;
    }
    drop(connections);
    let audit = world.audit().await;
    let told: Vec<String> = audit.iter().map(Value::to_string).collect();
    for expectation in &transcript.audit {
        check(expectation, audit.iter().any(|line| is(line, &expectation.text)), &told)?;
    }
    let seen = world.upstream().await;
    for expectation in &transcript.upstream {
        let pattern = Pattern::new(&expectation.text)?;
        check(expectation, seen.iter().any(|fact| pattern.matches(fact.as_bytes())), &seen)?;
    }
    Ok(())
}

async fn open(world: &impl World, setup: &Setup, connection: usize) -> Line {
    let stream = world.connect(setup.listener, setup.source(connection)).await;
    Line { stream: Some(stream), unread: Vec::new() }
}

/// One connection and what came over it that no step has looked at.
struct Line {
    stream: Option<Box<dyn Stream>>,
    unread: Vec<u8>,
}

impl Line {
    async fn act(&mut self, world: &impl World, act: &Act) -> Result<(), String> {
        match act {
            Act::Send(bytes) => self.send(bytes).await,
            Act::StartTls if !self.unread.is_empty() => {
                Err(format!("before the handshake came {}", shown(&self.unread)))
            }
            Act::StartTls => {
                let stream = self.stream.take().ok_or("the connection is gone")?;
                self.stream = Some(world.start_tls(stream).await);
                Ok(())
            }
            Act::Drop => {
                self.stream = None;
                Ok(())
            }
            Act::Expect(pattern) => {
                let line = self.line().await?;
                let matches = pattern.matches(&line);
                matches.then_some(()).ok_or_else(|| format!("came {}", shown(&line)))
            }
            Act::ExpectUntil(pattern) => {
                while !pattern.matches(&self.line().await?) {}
                Ok(())
            }
            Act::ExpectBytes(expected) => {
                while self.unread.len() < expected.len() && self.more().await? {}
                if !self.unread.starts_with(expected) {
                    return Err(format!("came {}", shown(&self.unread)));
                }
                self.unread.drain(..expected.len());
                Ok(())
            }
            Act::ExpectClosed => {
                while self.more().await? {}
                let rest = self.unread.is_empty().then_some(());
                rest.ok_or_else(|| format!("before the end came {}", shown(&self.unread)))
            }
        }
    }

    /// The other side may have closed already; what it said before is still to be read.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("the connection is gone")?;
        if stream.write_all(bytes).await.is_ok() {
            let _ = stream.flush().await;
        }
        Ok(())
    }

    /// The next line without its CRLF; nothing else ends one.
    async fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.unread.drain(..at + 2).collect();
                line.truncate(at);
                return Ok(line);
            }
            if !self.more().await? {
                return Err(format!("closed after {}", shown(&self.unread)));
            }
        }
    }

    /// Reads on; false at the end, however it came.
    async fn more(&mut self) -> Result<bool, String> {
        let stream = self.stream.as_mut().ok_or("the connection is gone")?;
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }
}

/// Whether an audit line is of this event, with this reason and these `field=value`s.
fn is(line: &Value, text: &str) -> bool {
    let text_of =
        |field: &str| line[field].as_str().map_or_else(|| line[field].to_string(), str::to_owned);
    let mut words = text.split_whitespace();
    words.next().is_some_and(|event| text_of("event") == event)
        && words.all(|word| match word.split_once('=') {
            Some((field, value)) => text_of(field) == value,
            None => text_of("reason") == word,
        })
}

fn check(expectation: &Expectation, found: bool, among: &[String]) -> Result<(), String> {
    if found == expectation.present {
        return Ok(());
    }
    let what = if expectation.present { "missing" } else { "not expected" };
    let among = among.join("\n    ");
    Err(format!("line {}: {what}: {}; there is\n    {among}", expectation.line, expectation.text))
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

//! What a simulated client module saw: the witness that tests ask.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::secret::Secret;
use crate::words::Protocol;

/// One thing that happened. `connection` counts the connections from 1, over both protocols.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A connection was accepted.
    Opened {
        /// Which one.
        connection: u64,
        /// On which port.
        protocol: Protocol,
        /// Where it came from.
        peer: SocketAddr,
    },
    /// A TLS handshake was finished.
    Secured {
        /// On which connection.
        connection: u64,
    },
    /// A command line came; login and password are left out of it.
    Command {
        /// On which connection.
        connection: u64,
        /// Its protocol.
        protocol: Protocol,
        /// The line without its end.
        line: String,
    },
    /// Complete credentials came.
    Login {
        /// On which connection.
        connection: u64,
        /// Its protocol.
        protocol: Protocol,
        /// How they came.
        mechanism: Mechanism,
        /// The login, decoded.
        login: Vec<u8>,
        /// Every line of the exchange, without its end, as it came.
        lines: Vec<Secret<Vec<u8>>>,
        /// Whether they were right; a fault may refuse them all the same.
        accepted: bool,
    },
    /// A message was sent to the simulator, whole or in part.
    Received {
        /// On which connection.
        connection: u64,
        /// MAIL FROM, without brackets.
        sender: String,
        /// RCPT TO, without brackets.
        recipients: Vec<String>,
        /// The bytes without dot-stuffing.
        bytes: u64,
        /// Their SHA-256 in hex.
        sha256: String,
        /// Whether the final dot came.
        complete: bool,
    },
    /// A message was fetched, whole or in part.
    Fetched {
        /// On which connection.
        connection: u64,
        /// Its number.
        number: usize,
        /// The bytes without dot-stuffing that were handed to the connection.
        bytes: u64,
        /// Their SHA-256 in hex.
        sha256: String,
        /// Whether all of it was.
        complete: bool,
    },
    /// Deletions were committed at QUIT.
    Deleted {
        /// On which connection.
        connection: u64,
        /// From which maildrop.
        address: String,
        /// The message numbers.
        numbers: Vec<usize>,
    },
    /// A connection ended.
    Closed {
        /// Which one.
        connection: u64,
        /// Its protocol.
        protocol: Protocol,
        /// In which way.
        ending: Ending,
    },
}

/// How a login came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// POP3's USER and PASS.
    UserPass,
    /// AUTH PLAIN with everything on one line.
    PlainInitial,
    /// AUTH PLAIN, then a line.
    PlainPrompted,
    /// AUTH LOGIN with the user on the same line.
    LoginInitial,
    /// AUTH LOGIN, then two lines.
    LoginPrompted,
    /// Through mailin, which does not tell more.
    Mailin,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// QUIT was answered.
    Quit,
    /// The peer sent close_notify without QUIT.
    CloseNotify,
    /// The peer sent FIN, and no close_notify before it where there was TLS.
    Eof,
    /// The peer sent RST, or the connection broke.
    Reset,
    /// The TLS handshake failed.
    Handshake,
    /// The simulator ended it: a fault, a refusal that closes, a limit, or its stop.
    Simulator,
}

/// The list of what was seen, and whom to wake when it grows.
#[derive(Debug)]
pub(crate) struct Journal {
    recording: bool,
    entries: Mutex<Vec<Seen>>,
    grown: Notify,
}

impl Journal {
    /// So many entries are kept; a simulator that runs for days must not grow.
    const LIMIT: usize = 100_000;
    /// How long a test waits for what it expects.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(crate) fn new(recording: bool) -> Self {
        Self { recording, entries: Mutex::default(), grown: Notify::new() }
    }

    pub(crate) fn write(&self, seen: impl FnOnce() -> Seen) {
        if !self.recording {
            return;
        }
        let mut entries = self.entries();
        if entries.len() < Self::LIMIT {
            entries.push(seen());
        }
        drop(entries);
        self.grown.notify_waiters();
    }

    pub(crate) fn read(&self) -> Vec<Seen> {
        self.entries().clone()
    }

    pub(crate) async fn wait_for(&self, predicate: impl Fn(&[Seen]) -> bool) -> bool {
        let found = async {
            loop {
                let grown = self.grown.notified();
                tokio::pin!(grown);
                // Enabled before looking, so that an entry in between wakes us as well.
                grown.as_mut().enable();
                if predicate(&self.entries()) {
                    return;
                }
                grown.await;
            }
        };
        tokio::time::timeout(Self::PATIENCE, found).await.is_ok()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

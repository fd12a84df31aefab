//! Facts go in once, as an [`Event`]; audit, metrics, log, session table and status come out.

mod config;
mod event;
mod status;

pub use config::{
    AuditConfig, KnownNames, LogConfig, LogFormat, LogLevel, LogWordError, ObserveConfig,
};
pub use event::{ClientModuleState, Direction, Event, Phase, SessionFacts, SessionId};
pub use status::{Readiness, Status};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::words::{Protocol, Reason, Security};

/// Where everything that happens is said. One per gateway; clones are the same observer.
///
/// Nothing here waits: a slow or full disk costs audit lines, which are counted, and never a
/// session.
#[derive(Clone)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {}

impl Observer {
    /// Opens the audit file, reads or makes the pseudonym key, and registers the metrics.
    pub fn new(_config: ObserveConfig) -> io::Result<Self> {
        Ok(Self { inner: Arc::new(Inner {}) })
    }

    /// Says that something happened.
    pub fn emit(&self, _event: Event<'_>) {
        let _ = &self.inner;
    }

    /// Puts a session into the live table until the handle is dropped. If no [`Event::Closed`] has
    /// been said by then, the session's task panicked or was aborted, and that is said instead.
    pub fn track(&self, _session: &SessionFacts) -> LiveSession {
        LiveSession { _observer: self.clone() }
    }

    /// Replaces the names that may become labels, after a reload.
    pub fn rename(&self, _names: KnownNames) {}

    /// A listener is bound.
    pub fn listener_bound(&self, _name: &str, _protocol: Protocol, _at: SocketAddr, _by: Security) {
    }

    /// When a certificate of kimgate's own ends.
    pub fn listener_not_after(&self, _role: &'static str, _unix_seconds: i64) {}

    /// True once every listener is bound, false again when kimgate stops.
    pub fn ready(&self, _ready: bool) {}

    /// How a client module answered.
    pub fn client_module_state(&self, _name: &str, _protocol: Protocol, _state: ClientModuleState) {
    }

    /// Octets went through; also told to [`LiveSession::relayed`], which calls this.
    pub fn relay_bytes(&self, _protocol: Protocol, _direction: Direction, _octets: u64) {}

    /// How long a POP3 login waited for its mailbox.
    pub fn mailbox_wait(&self, _seconds: f64) {}

    /// How many card contexts are taken.
    pub fn contexts_active(&self, _contexts: usize) {}

    /// A connection was closed before it became a session.
    pub fn connection_refused(&self, _reason: Reason) {}

    /// A task of kimgate's own panicked.
    pub fn panicked(&self) {}

    /// All metrics as Prometheus text.
    pub fn encode(&self) -> String {
        String::new()
    }

    /// Whether mail can go through now, and what is missing.
    pub fn readiness(&self) -> Readiness {
        Readiness::default()
    }

    /// Everything the console shows.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Waits, two seconds at most, until the audit lines said so far are written. For the end of
    /// the process; blocks the thread.
    pub fn flush(&self) -> bool {
        true
    }
}

/// A session's place in the live table.
pub struct LiveSession {
    _observer: Observer,
}

impl LiveSession {
    /// More is known now.
    pub fn learn(&self, _session: &SessionFacts) {}

    /// What it is doing now.
    pub fn phase(&self, _phase: Phase) {}

    /// Octets went through.
    pub fn relayed(&self, _direction: Direction, _octets: u64) {}
}

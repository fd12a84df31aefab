//! A running session's hold on the live table.

use std::sync::Arc;
use std::thread;

use super::sessions::Entry;
use super::{Direction, Event, Observer, Phase, SessionFacts, SessionId};
use crate::words::{CloseReason, Protocol, Reason};

/// A session's place in the live table, kept by the task that runs the session.
pub struct LiveSession {
    observer: Observer,
    entry: Arc<Entry>,
    id: SessionId,
    protocol: Protocol,
}

impl LiveSession {
    pub(super) fn new(observer: Observer, entry: Arc<Entry>, session: &SessionFacts) -> Self {
        Self { observer, entry, id: session.id, protocol: session.protocol }
    }

    /// More is known now.
    pub fn learn(&self, session: &SessionFacts) {
        self.entry.learn(session);
    }

    /// What it is doing now.
    pub fn phase(&self, phase: Phase) {
        self.entry.enter(phase);
    }

    /// Octets went through: counted here and in the metrics.
    pub fn relayed(&self, direction: Direction, octets: u64) {
        self.entry.relayed(direction, octets);
        self.observer.relay_bytes(self.protocol, direction, octets);
    }

    /// Octets that went through so far.
    pub fn octets(&self, direction: Direction) -> u64 {
        self.entry.octets(direction)
    }

    /// Since the session came into the table.
    pub fn seconds(&self) -> f64 {
        self.entry.seconds()
    }
}

impl Drop for LiveSession {
    /// Nobody said how the session ended: its task panicked, or was aborted at the end of the
    /// drain. Audit and metrics would otherwise show a session that never ends.
    fn drop(&mut self) {
        let Some(entry) = self.observer.inner.sessions.close(self.id) else { return };
        let close = match thread::panicking() {
            true => {
                self.observer.panicked();
                CloseReason::Internal
            }
            false => CloseReason::Because(Reason::ShuttingDown),
        };
        self.observer.emit(Event::Closed {
            session: &entry.facts(),
            close,
            bytes_to_client: entry.octets(Direction::ToClient),
            bytes_to_module: entry.octets(Direction::ToModule),
            seconds: entry.seconds(),
        });
    }
}

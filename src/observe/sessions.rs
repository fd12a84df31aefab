//! The live table: which sessions there are and what they are doing.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dashmap::DashMap;

use super::record::{NOT_AN_ADDRESS, milliseconds, optional_fields, showable, shown};
use super::status::SessionStatus;
use super::{Direction, Phase, SessionFacts, SessionId};
use crate::words::Protocol;

/// Every session that is open.
#[derive(Default)]
pub(super) struct Sessions(DashMap<SessionId, Arc<Entry>>);

/// One of them.
pub(super) struct Entry {
    facts: Mutex<SessionFacts>,
    started: Instant,
    phase: AtomicU8,
    /// A login was accepted.
    was_admitted: AtomicBool,
    to_module: AtomicU64,
    to_client: AtomicU64,
}

impl Sessions {
    /// The session's entry, made if there is none.
    pub(super) fn open(&self, session: &SessionFacts) -> Arc<Entry> {
        self.0.entry(session.id).or_insert_with(|| Arc::new(Entry::new(session))).clone()
    }

    pub(super) fn learn(&self, session: &SessionFacts, is_admitted: bool) {
        let entry = self.0.get(&session.id).map(|entry| Arc::clone(&entry));
        if let Some(entry) = entry {
            entry.was_admitted.fetch_or(is_admitted, Ordering::Relaxed);
            entry.learn(session);
        }
    }

    /// Takes the session out; `None` if it has been taken out before.
    pub(super) fn close(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.0.remove(&id).map(|(_, entry)| entry)
    }

    pub(super) fn active(&self, protocol: Protocol) -> usize {
        self.0.iter().filter(|entry| entry.facts().protocol == protocol).count()
    }

    /// The oldest first.
    pub(super) fn status(&self) -> Vec<SessionStatus> {
        let mut sessions: Vec<_> = self.0.iter().map(|entry| entry.status()).collect();
        sessions.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sessions
    }
}

impl Entry {
    fn new(session: &SessionFacts) -> Self {
        Self {
            facts: Mutex::new(session.clone()),
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Handshake as u8),
            was_admitted: AtomicBool::new(false),
            to_module: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        }
    }

    pub(super) fn facts(&self) -> SessionFacts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn learn(&self, session: &SessionFacts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = session.clone();
    }

    pub(super) fn was_admitted(&self) -> bool {
        self.was_admitted.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn relayed(&self, direction: Direction, bytes: u64) {
        let counter = match direction {
            Direction::ToModule => &self.to_module,
            Direction::ToClient => &self.to_client,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn octets(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToModule => self.to_module.load(Ordering::Relaxed),
            Direction::ToClient => self.to_client.load(Ordering::Relaxed),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn status(&self) -> SessionStatus {
        let facts = self.facts();
        let named = |value: &str| (!value.is_empty()).then(|| shown(value));
        let login = facts.login.as_ref();
        SessionStatus {
            id: facts.id.to_string(),
            protocol: facts.protocol,
            listener: shown(&facts.listener),
            peer: facts.peer.to_string(),
            workstation: facts.workstation.as_deref().map(shown),
            users: facts.users.iter().map(|user| shown(user)).collect(),
            account: facts.account.as_ref().map(|account| {
                shown(showable(account, facts.known_account).unwrap_or(NOT_AN_ADDRESS))
            }),
            mandant_id: login.and_then(|login| named(login.mandant_id())),
            clientsystem_id: login.and_then(|login| named(login.clientsystem_id())),
            workplace_id: login.and_then(|login| named(login.workplace_id())),
            optional_fields: optional_fields(&facts).into_iter().map(String::from).collect(),
            client_module: facts.client_module.as_deref().map(shown),
            phase: Phase::from_number(self.phase.load(Ordering::Relaxed)).as_str().into(),
            seconds: milliseconds(self.seconds()),
            bytes_to_client: self.octets(Direction::ToClient),
            bytes_to_module: self.octets(Direction::ToModule),
        }
    }
}

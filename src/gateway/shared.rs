//! What all sessions of a gateway share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::door::Listeners;
use super::door::connections::Connections;
use super::doubts::Doubts;
use super::loaded::Loaded;
use super::turns::contexts::Contexts;
use super::turns::mailboxes::Mailboxes;
use super::turns::throttle::{Budget, Fingerprints};
use crate::observe::Observer;

pub(crate) struct Shared {
    pub(crate) live: ArcSwap<Loaded>,
    pub(crate) listeners: Listeners,
    pub(crate) observer: Observer,
    pub(crate) connections: Connections,
    pub(crate) contexts: Contexts,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) fingerprints: Fingerprints,
    pauses: Mutex<Budget>,
    pub(crate) doubts: Doubts,
    /// Questions to the client modules of the configuration in force.
    probing: Mutex<CancellationToken>,
    /// No new connections; whoever is between two commands is told goodbye.
    pub(crate) stop: CancellationToken,
    /// Everything ends now.
    pub(crate) kill: CancellationToken,
}

impl Shared {
    pub(crate) fn new(live: Loaded, listeners: Listeners, observer: Observer) -> Self {
        let protection = &live.config.protection;
        let pauses = Budget::new(protection.login_failures, protection.login_pause);
        Self {
            pauses: Mutex::new(pauses),
            live: ArcSwap::new(Arc::new(live)),
            listeners,
            observer,
            connections: Connections::default(),
            contexts: Contexts::default(),
            mailboxes: Mailboxes::default(),
            fingerprints: Fingerprints::new(),
            doubts: Doubts::default(),
            probing: Mutex::default(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Ends the questions that were asked so far, and gives the end of the next ones.
    pub(crate) fn probe_anew(&self) -> CancellationToken {
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        probing.cancel();
        *probing = self.stop.child_token();
        probing.clone()
    }

    /// Logins that the client module has refused too often.
    pub(crate) fn pauses(&self) -> MutexGuard<'_, Budget> {
        // Its methods leave it sound wherever they end.
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What all sessions of a gateway share.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::door::connections::Connections;
use super::doubts::Doubts;
use super::fingerprint::Fingerprints;
use super::loaded::Loaded;
use super::turns::Turns;
use crate::observe::Observer;

pub(crate) struct Shared {
    /// The configuration in force.
    pub(crate) loaded: ArcSwap<Loaded>,
    pub(crate) observer: Observer,
    pub(crate) connections: Connections,
    pub(crate) turns: Turns,
    /// For [`Doubts`].
    pub(crate) fingerprints: Fingerprints,
    pub(crate) doubts: Doubts,
    /// Ends the probes that the configuration in force has started.
    probing: Mutex<CancellationToken>,
    /// No new connections, and sessions between two commands end.
    pub(crate) stop: CancellationToken,
    /// Every session ends now.
    pub(crate) kill: CancellationToken,
}

impl Shared {
    pub(crate) fn new(loaded: Loaded, observer: Observer) -> Self {
        let config = &loaded.config;
        Self {
            connections: Connections::new(config.limits.connections),
            turns: Turns::new(&config.protection),
            loaded: ArcSwap::new(Arc::new(loaded)),
            observer,
            fingerprints: Fingerprints::new(),
            doubts: Doubts::default(),
            probing: Mutex::default(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Puts another configuration in force.
    pub(crate) fn replace(&self, loaded: Loaded) {
        self.connections.set_limit(loaded.config.limits.connections);
        self.turns.adjust(&loaded.config.protection);
        self.loaded.store(Arc::new(loaded));
    }

    /// Ends the probes so far, and gives the token that ends the next ones.
    pub(crate) fn probe_anew(&self) -> CancellationToken {
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        probing.cancel();
        *probing = self.stop.child_token();
        probing.clone()
    }
}

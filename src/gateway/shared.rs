//! What all sessions of a gateway share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_module::health;
use super::door::connections::Connections;
use super::door::rate::Rate;
use super::loaded::Loaded;
use super::login_warnings::LoginWarnings;
use super::turns::Turns;
use crate::held::Register;
use crate::observe::{Event, HeldStatus, Observer, ReleasedBy};
use crate::words::Protocol;

pub(crate) struct Shared {
    /// The configuration in force.
    pub(crate) loaded: ArcSwap<Loaded>,
    pub(crate) observer: Observer,
    pub(crate) connections: Connections,
    pub(crate) rate: Arc<Rate>,
    pub(crate) turns: Turns,
    pub(crate) login_warnings: LoginWarnings,
    /// Ends the probes that the configuration in force has started.
    probing: Mutex<CancellationToken>,
    /// No new connections, and sessions between two commands end.
    pub(crate) stop: CancellationToken,
    /// Every session ends now.
    pub(crate) kill: CancellationToken,
}

impl Shared {
    pub(crate) fn new(loaded: Loaded, observer: Observer, held: Register) -> Self {
        let config = &loaded.config;
        Self {
            connections: Connections::new(config.limits.connections),
            rate: Arc::new(Rate::new(config.limits.connection_rate, Instant::now())),
            turns: Turns::new(&config.protection, held),
            loaded: ArcSwap::new(Arc::new(loaded)),
            observer,
            login_warnings: LoginWarnings::default(),
            probing: Mutex::default(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Puts another configuration in force.
    pub(crate) fn replace(&self, loaded: Loaded) {
        self.connections.set_limit(loaded.config.limits.connections);
        self.rate.set(loaded.config.limits.connection_rate);
        self.turns.adjust(&loaded.config.protection);
        self.loaded.store(Arc::new(loaded));
    }

    /// A held message was let go, and not by a session.
    pub(crate) fn report_released(&self, message: &HeldStatus, by: ReleasedBy) {
        self.observer.emit(Event::MessageReleased { session: None, message, by });
    }

    /// Starts to probe the client modules of the configuration in force, and ends the probes of the
    /// one before it.
    pub(crate) fn probe_client_modules(&self, protocols: BTreeSet<Protocol>, tasks: &TaskTracker) {
        let until = self.stop.child_token();
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *probing, until.clone()).cancel();
        drop(probing);
        health::watch(&self.loaded.load().modules, protocols, &self.observer, tasks, &until);
    }
}

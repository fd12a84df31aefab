//! What all sessions of a gateway share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::client_module::health;
use super::connections::Connections;
use super::contexts::Contexts;
use super::listeners::Listeners;
use super::live::Live;
use super::login::warnings::LoginWarnings;
use super::mailboxes::Mailboxes;
use crate::observe::Observer;
use crate::policy::limits::{Budget, Fingerprints};

pub(crate) struct Shared {
    pub(crate) live: ArcSwap<Live>,
    pub(crate) listeners: Listeners,
    pub(crate) observer: Observer,
    pub(crate) connections: Connections,
    pub(crate) contexts: Contexts,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) fingerprints: Fingerprints,
    pauses: Mutex<Budget>,
    pub(crate) login_warnings: LoginWarnings,
    /// Ends the probes of the client modules of the configuration in force.
    probing: Mutex<CancellationToken>,
    /// No new connections; whoever is between two commands is told goodbye.
    pub(crate) stop: CancellationToken,
    /// Everything ends now.
    pub(crate) kill: CancellationToken,
}

impl Shared {
    pub(crate) fn new(live: Live, listeners: Listeners, observer: Observer) -> Self {
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
            login_warnings: LoginWarnings::default(),
            probing: Mutex::default(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Probes the client modules of the configuration in force, and no longer those of the one
    /// before it.
    pub(crate) fn probe_client_modules(&self) {
        let until = self.stop.child_token();
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *probing, until.clone()).cancel();
        drop(probing);
        let Listeners { tasks, .. } = &self.listeners;
        let protocols = self.listeners.protocols();
        health::watch(&self.live.load().modules, protocols, &self.observer, tasks, &until);
    }

    /// Logins that the client module has refused too often.
    pub(crate) fn pauses(&self) -> MutexGuard<'_, Budget> {
        // Its methods leave it sound wherever they end.
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

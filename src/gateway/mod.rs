//! Sockets, tasks and time: workstations on one side, client modules on the other.

mod admit;
mod buffer;
mod config;
mod connections;
mod contexts;
mod doubts;
mod health;
mod listener;
mod live;
mod machines;
mod mailboxes;
mod pair;
mod pop3;
mod proxy;
mod reply;
mod resolve;
mod session;
mod shared;
mod smtp;
mod smtp_data;
mod stream;
mod turns;
mod upstream;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{ClientModule, Config, ContextMode, Contexts, Limits, Listener, Protection};

use live::Live;
use shared::Shared;

use crate::observe::Observer;
use crate::policy::Policy;
use crate::trust::MaterialError;
use crate::words::Protocol;

/// A gateway whose listeners are bound.
pub struct Gateway {
    shared: Arc<Shared>,
    bound: Vec<(Arc<Listener>, TcpListener)>,
    addresses: BTreeMap<String, SocketAddr>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A listener's address cannot be had.
    #[error("listener {name} cannot use {address}: {error}")]
    Bind {
        /// As in `[listeners.NAME]`.
        name: String,
        /// What it wanted.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
}

impl Gateway {
    /// Loads certificates and binds every listener. Must be called within a tokio runtime.
    pub fn bind(config: Config, policy: Policy, observer: Observer) -> Result<Self, StartError> {
        let listeners = config.listeners.clone();
        let live = Live::load(config, policy)?;
        live.tell_certificate(&observer);
        let mut bound = Vec::new();
        let mut addresses = BTreeMap::new();
        for listener in listeners {
            let wanted = listener.address;
            let name = listener.name.to_string();
            let socket = listener::bind(&listener).and_then(|s| Ok((s.local_addr()?, s)));
            let (address, socket) = socket.map_err(|error| StartError::Bind {
                name: name.clone(),
                address: wanted,
                error,
            })?;
            observer.listener_bound(&name, listener.protocol, address, listener.security);
            addresses.insert(name, address);
            bound.push((Arc::new(listener), socket));
        }
        observer.ready(true);
        let shared = Arc::new(Shared::new(live, observer));
        let weak = Arc::downgrade(&shared);
        let turns = move || weak.upgrade().map(|shared| turns::now(&shared)).unwrap_or_default();
        shared.observer.turns_from(turns);
        Ok(Self { shared, bound, addresses })
    }

    /// Where each listener is, by name; with port 0 in the configuration this is the real port.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// The PEM file with the chain that workstations see; `None` where every listener is plain.
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.shared.live.load().tls.as_ref().map(|tls| tls.file().to_owned())
    }

    /// A handle that stays when [`Gateway::serve`] has the gateway.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Serves until `shutdown`, then lets messages in flight finish within `limits.drain`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { shared, bound, .. } = self;
        let sessions = TaskTracker::new();
        let listening = TaskTracker::new();
        let protocols: BTreeSet<Protocol> = bound.iter().map(|(l, _)| l.protocol).collect();
        for protocol in protocols {
            listening.spawn(health::watch(shared.clone(), protocol));
        }
        for (listener, socket) in bound {
            let (shared, sessions) = (shared.clone(), sessions.clone());
            listening.spawn(listener::accept(socket, listener, shared, sessions));
        }
        shutdown.cancelled().await;
        shared.observer.ready(false);
        shared.stop.cancel();
        sessions.close();
        let drain = shared.live.load().config.limits.drain;
        if timeout(drain, sessions.wait()).await.is_err() {
            tracing::warn!(
                sessions = sessions.len(),
                "ending sessions that did not finish in time"
            );
            shared.kill.cancel();
            sessions.wait().await;
        }
        listening.close();
        // Probes may be waiting for a slow client module; nobody needs their result any more.
        let _ = timeout(std::time::Duration::from_secs(1), listening.wait()).await;
    }
}

/// What can be done with a gateway while it runs.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Puts another configuration in force: for new logins at once, for live sessions at their next
    /// command. Listeners stay as they are. On an error nothing changes.
    pub fn reload(&self, config: Config, policy: Policy) -> Result<(), MaterialError> {
        let live = Live::load(config, policy)?;
        live.inherit(&self.shared.live.load());
        let protection = &live.config.protection;
        self.shared.pauses().adjust(protection.login_failures, protection.login_pause);
        live.tell_certificate(&self.shared.observer);
        self.shared.live.store(Arc::new(live));
        self.shared.reloaded.notify_waiters();
        Ok(())
    }

    /// Ends every session now, without waiting for messages in flight.
    pub fn kill(&self) {
        self.shared.kill.cancel();
    }
}

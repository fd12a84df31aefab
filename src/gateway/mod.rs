//! Sockets, tasks and time: workstations on one side, client modules on the other.

mod admit;
mod buffer;
mod config;
mod connections;
mod contexts;
mod doubts;
mod exposure;
mod health;
mod listener;
mod listeners;
mod live;
mod machines;
mod mailboxes;
mod proxy;
mod relay;
mod reply;
mod resolve;
mod session;
mod shared;
mod stream;
mod turns;
mod upstream;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use config::{
    ClientModule, Config, ContextMode, Contexts, Limits, Listener, Protection, place,
};
pub use exposure::{Exposure, exposure, own_addresses};
pub use listeners::Sockets;
pub use proxy::proxied_address;

use listeners::Listeners;
use live::Live;
use shared::Shared;

use crate::observe::Observer;
use crate::policy::Policy;
use crate::trust::MaterialError;

/// A gateway whose listeners are bound.
pub struct Gateway {
    shared: Arc<Shared>,
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
    /// A listener without TLS was handed a socket that others can reach.
    #[error(
        "listener {name} has tls = \"none\", but its socket is {address}, which is not loopback"
    )]
    Plain {
        /// As in `[listeners.NAME]`.
        name: String,
        /// Where the socket is.
        address: SocketAddr,
    },
    /// An address that strangers reach.
    #[error(transparent)]
    Exposed(#[from] ExposedError),
    /// A socket was handed over that no listener is called after.
    #[error(
        "a socket was handed over for {name:?}, but there is no [listeners.{name}]; \
         FileDescriptorName= in the socket unit must be a listener's name, or \"admin\""
    )]
    Stranger {
        /// What it was handed over for.
        name: String,
    },
}

/// Why an address is not opened: nobody has said that it is meant.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} at {address} would be reached {}; name an address of the practice's own network, or \
     write gateway.public = true if it is meant",
    from_where(.exposure)
)]
pub struct ExposedError {
    /// Which listener, or the admin pages.
    pub what: String,
    /// Where it was to be.
    pub address: SocketAddr,
    /// Why not.
    pub exposure: Exposure,
}

fn from_where(exposure: &Exposure) -> String {
    match exposure {
        Exposure::Public(ip) => format!("from the internet, at this machine's address {ip}"),
        Exposure::Strangers(ip) => format!(
            "by strangers, at {ip}, which is in no private network, and the rules let unknown \
             workstations in"
        ),
    }
}

impl Gateway {
    /// Loads certificates and binds every listener. Must be called within a tokio runtime.
    pub fn bind(config: Config, policy: Policy, observer: Observer) -> Result<Self, StartError> {
        Self::open(config, policy, observer, Sockets::new())
    }

    /// The same, where some addresses are bound already.
    pub fn open(
        config: Config,
        policy: Policy,
        observer: Observer,
        sockets: Sockets,
    ) -> Result<Self, StartError> {
        let wanted = config.listeners.clone();
        let live = Live::load(config, policy, None)?;
        live.tell_certificates(&observer);
        let listeners = Listeners::open(wanted, sockets)?;
        let open = listeners.status().into_iter();
        live.guard(open.map(|listener| (listener.name, listener.address)))?;
        observer.listeners(listeners.status());
        observer.ready(true);
        let shared = Arc::new(Shared::new(live, listeners, observer));
        let weak = Arc::downgrade(&shared);
        let turns = move || weak.upgrade().map(|shared| turns::now(&shared)).unwrap_or_default();
        shared.observer.turns_from(turns);
        Ok(Self { shared })
    }

    /// Where each listener is, by name; with port 0 in the configuration this is the real port.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.shared.listeners.addresses()
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
        let Self { shared } = self;
        let Listeners { sessions, tasks, .. } = &shared.listeners;
        health::watch(&shared);
        tasks.spawn(warn_of_ends(shared.clone()));
        shared.listeners.serve(&shared);
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
        tasks.close();
        // Probes may be waiting for a slow client module; nobody needs their result any more.
        let _ = timeout(std::time::Duration::from_secs(1), tasks.wait()).await;
    }
}

/// Certificates run out while nothing else happens.
async fn warn_of_ends(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(std::time::Duration::from_secs(3600)) => {}
        }
        shared.observer.warn_of_ends(time::OffsetDateTime::now_utc());
    }
}

/// What can be done with a gateway while it runs.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Puts another configuration in force: for new logins at once, for live sessions at their next
    /// command. Listeners that are new, gone or changed are opened, closed or changed without
    /// touching sessions. On an error nothing changes. Must be called within a tokio runtime.
    pub fn reload(&self, config: Config, policy: Policy) -> Result<(), StartError> {
        let Self { shared } = self;
        let wanted = config.listeners.clone();
        let before = shared.live.load();
        let mut live = Live::load(config, policy, Some(&before))?;
        let listeners = wanted.iter().map(|listener| (listener.name.to_string(), listener.address));
        live.guard(listeners)?;
        live.inherit(&before);
        shared.listeners.replace(wanted, shared, || {
            let protection = &live.config.protection;
            shared.pauses().adjust(protection.login_failures, protection.login_pause);
            live.tell_certificates(&shared.observer);
            shared.live.store(Arc::new(live));
        })?;
        shared.observer.listeners(shared.listeners.status());
        health::watch(shared);
        Ok(())
    }

    /// Ends every session now, without waiting for messages in flight.
    pub fn kill(&self) {
        self.shared.kill.cancel();
    }
}

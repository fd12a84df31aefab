//! Sockets, tasks and time: workstations on one side, client modules on the other.

mod client_module;
mod config;
mod door;
mod error;
mod fingerprint;
mod loaded;
mod login;
mod login_warnings;
mod relay;
mod reply;
mod session;
mod shared;
mod turns;
mod wire;
mod workstation;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{
    ClientModuleConfig, Config, ContextMode, ContextRules, Limits, Listener, Protection, place,
};
pub use door::{ExposedError, Exposure, Sockets, exposure, own_addresses, proxied_address};
pub use error::StartError;
pub use reply::{CONTACT, on_the_wire};

use door::{Accepted, Acceptor, Listeners};
use loaded::Loaded;
use shared::Shared;

use crate::held::{Register, ReleaseError};
use crate::kim::Login;
use crate::observe::{Event, HeldList, HeldStatus, Observer, ReleasedBy};
use crate::policy::Policy;

/// How often the certificates in use are looked at for ones that expire soon.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(3600);
/// How often held messages are looked at for ones that were held for long enough.
const SWEEP: Duration = Duration::from_secs(60);
/// How long a stopped gateway waits for probes that wait for a slow client module.
const LAST_PROBES: Duration = Duration::from_secs(1);

/// A gateway whose listeners are bound.
pub struct Gateway {
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
    /// Every session that runs.
    sessions: TaskTracker,
}

impl Gateway {
    /// Loads certificates and binds every listener. Must be called within a tokio runtime.
    pub fn bind(config: Config, policy: Policy, observer: Observer) -> Result<Self, StartError> {
        Self::open(config, policy, observer, Sockets::new())
    }

    /// As [`Gateway::bind`], with sockets that are bound already.
    pub fn open(
        config: Config,
        policy: Policy,
        observer: Observer,
        sockets: Sockets,
    ) -> Result<Self, StartError> {
        let wanted = config.listeners.clone();
        let loaded = Loaded::load(config, policy, None)?;
        loaded.report_certificates(&observer);
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let held = Register::open(&loaded.config.state_dir, now);
        let shared = Arc::new(Shared::new(loaded, observer, held));
        let sessions = TaskTracker::new();
        let acceptor = acceptor(&shared, sessions.clone());
        let listeners = Arc::new(Listeners::open(wanted, sockets, acceptor)?);
        let open = listeners.status();
        let addresses = open.iter().map(|listener| (listener.name.as_str(), listener.address));
        shared.loaded.load().refuse_exposed(addresses)?;
        shared.observer.listeners(open);
        shared.observer.ready(true);
        let weak = Arc::downgrade(&shared);
        shared.observer.turns_from(move || {
            let Some(shared) = weak.upgrade() else { return Default::default() };
            shared.turns.status(|account| shared.observer.shown_account(account))
        });
        let weak = Arc::downgrade(&shared);
        shared.observer.held_from(move || {
            let Some(shared) = weak.upgrade() else { return Default::default() };
            let hold = shared.loaded.load().config.protection.hold_undecrypted;
            shared.turns.held_summary(hold)
        });
        Ok(Self { shared, listeners, sessions })
    }

    /// The address of each listener, by name. If the configuration has port 0, this is the port
    /// that the system chose.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.listeners.addresses()
    }

    /// The PEM file with the chain that workstations see. `None` if no listener has TLS.
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.shared.loaded.load().tls.as_ref().map(|tls| tls.file().to_owned())
    }

    /// A handle that stays usable after [`Gateway::serve`] has taken the gateway.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone(), listeners: self.listeners.clone() }
    }

    /// Serves until `shutdown`, then lets messages in flight finish within `limits.drain`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { shared, listeners, sessions } = self;
        let tasks = &listeners.tasks;
        shared.probe_client_modules(listeners.protocols(), tasks);
        tasks.spawn(warn_of_expiry(shared.clone()));
        tasks.spawn(let_go(shared.clone()));
        listeners.serve();
        shutdown.cancelled().await;
        shared.observer.ready(false);
        shared.stop.cancel();
        sessions.close();
        let drain = shared.loaded.load().config.limits.drain;
        if timeout(drain, sessions.wait()).await.is_err() {
            tracing::warn!(
                sessions = sessions.len(),
                "ending sessions that did not finish in time"
            );
            shared.kill.cancel();
            sessions.wait().await;
        }
        tasks.close();
        // After this time, what is left are probes. Their results are not needed any more.
        let _ = timeout(LAST_PROBES, tasks.wait()).await;
    }
}

/// Accepts connections of every listener, and runs each as a session.
fn acceptor(shared: &Arc<Shared>, sessions: TaskTracker) -> Acceptor {
    let (of_session, turning_away) = (shared.clone(), shared.clone());
    let serve = move |accepted: Accepted| {
        sessions.spawn(session::run(accepted, of_session.clone()));
    };
    Acceptor {
        stop: shared.stop.clone(),
        observer: shared.observer.clone(),
        connections: shared.connections.clone(),
        rate: shared.rate.clone(),
        serve: Box::new(serve),
        turn_away: Box::new(move |tcp, peer, listener| {
            session::turn_away(&tcp, peer, listener, &turning_away);
        }),
    }
}

/// Certificates expire while nothing else happens, so a task looks at them now and then.
async fn warn_of_expiry(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
        }
        shared.observer.warn_of_ends(time::OffsetDateTime::now_utc());
    }
}

/// Messages that were held for long enough are let go, from time to time.
async fn let_go(shared: Arc<Shared>) {
    loop {
        let hold = shared.loaded.load().config.protection.hold_undecrypted;
        for message in shared.turns.sweep_held(hold).await {
            shared.report_released(&message.into(), ReleasedBy::Age);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// What can be done with a gateway while it runs.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
}

impl Handle {
    /// Puts another configuration in force: for new logins at once, for live sessions at their next
    /// command. Opens the listeners that are new, closes the ones that are gone, and changes the
    /// others; sessions are not touched. On an error nothing changes. Must be called within a tokio
    /// runtime.
    pub fn reload(&self, config: Config, policy: Policy) -> Result<(), StartError> {
        let Self { shared, listeners } = self;
        let wanted = config.listeners.clone();
        let before = shared.loaded.load();
        let mut loaded = Loaded::load(config, policy, Some(&before))?;
        loaded.refuse_exposed(wanted.iter().map(|listener| (&*listener.name, listener.address)))?;
        loaded.inherit(&before);
        listeners.replace(wanted, || {
            loaded.report_certificates(&shared.observer);
            shared.replace(loaded);
        })?;
        shared.observer.listeners(listeners.status());
        shared.probe_client_modules(listeners.protocols(), &listeners.tasks);
        Ok(())
    }

    /// Ends the login pauses of this account at this workstation, for a command from this address.
    /// `None` stands for all. How many there were.
    pub fn unlock(&self, account: Option<&str>, workstation: Option<&str>, peer: IpAddr) -> usize {
        // The login that the account stands in may be pasted as a whole.
        let account = account.map(|text| Login::parse(text.as_bytes()).account().clone());
        let Shared { turns, observer, .. } = &*self.shared;
        let ended = turns.unlock(account.as_ref(), workstation, Instant::now());
        observer.emit(Event::Unlocked { peer, account: account.as_ref(), workstation, ended });
        ended
    }

    /// The messages that are held because they came undecrypted.
    pub fn held(&self) -> HeldList {
        let hold = self.shared.loaded.load().config.protection.hold_undecrypted;
        self.shared.turns.held_list(hold)
    }

    /// Lets a held message go, whoever could read it or not. Waits for the disk.
    ///
    /// # Errors
    ///
    /// None is called so, or the release does not survive a restart.
    pub fn release(&self, id: &str) -> Result<HeldStatus, ReleaseError> {
        let hold = self.shared.loaded.load().config.protection.hold_undecrypted;
        let released = HeldStatus::from(self.shared.turns.release(id, hold)?);
        self.shared.report_released(&released, ReleasedBy::Person);
        Ok(released)
    }

    /// Ends every session now, without waiting for messages in flight.
    pub fn kill(&self) {
        self.shared.kill.cancel();
    }
}

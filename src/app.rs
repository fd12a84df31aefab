//! Puts the parts together, once: configuration in, a served gateway out.

mod changes;
pub mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::autoconfig::{self, Autoconfig};
use crate::config::{Config, Finding, Severity, load};
use crate::gateway::{
    ExposedError, Gateway, Handle, Listener, Sockets, StartError, exposure, own_addresses,
};
use crate::observe::{Event, HeldList, HeldStatus, Observer};
use crate::policy::{Changes, Policy};
use crate::sandbox::Sandbox;
use crate::{admin, observe, service};
use watch::Snapshot;

/// A gateway with its admin pages, bound and not yet serving.
pub struct App {
    gateway: Gateway,
    admin: Option<TcpListener>,
    reloader: Reloader,
}

/// Why kimgate does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener or a certificate.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The admin address.
    #[error("admin.address {address}: {error}")]
    Admin {
        /// What was wanted.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// The admin pages would be on the internet.
    #[error(transparent)]
    Exposed(#[from] ExposedError),
    /// The audit file or the state folder.
    #[error("audit: {0}")]
    Observe(io::Error),
    /// Rules that do not fit together; `check` has said so with file and line.
    #[error("the rules cannot be used: {0}")]
    Rules(String),
}

impl AppError {
    /// What the operator can do about it, where the error itself does not say so.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Start(error) => error.remedy(),
            Self::Exposed(error) => Some(error.remedy()),
            Self::Admin { .. } | Self::Observe(_) | Self::Rules(_) => None,
        }
    }

    /// The error and its remedy, in one line.
    pub fn with_remedy(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }
}

impl App {
    /// Binds every address and loads every file that the configuration names.
    pub async fn bind(config: Config) -> Result<Self, AppError> {
        Self::open(config, Sockets::new(), None).await
    }

    /// The same, where some addresses are bound already, by the listener's name or "admin", and where
    /// the process is in a sandbox.
    pub async fn open(
        config: Config,
        mut sockets: Sockets,
        sandbox: Option<Sandbox>,
    ) -> Result<Self, AppError> {
        let tried = Snapshot::take(&config.source, &Snapshot::default());
        let observer = Observer::new(config.observe.clone()).map_err(AppError::Observe)?;
        let policy = compile(&config)?;
        let autoconfig = Arc::new(autoconfig::InForce::default());
        autoconfig.replace(autoconfig_of(&config)?);
        let handed = sockets.remove(ADMIN).and_then(|mut sockets| sockets.pop());
        let gateway = Gateway::open(config.gateway.clone(), policy, observer.clone(), sockets)?;
        let admin = match (&config.admin, handed) {
            (None, _) => None,
            (Some(admin), handed) => {
                let address = admin.address;
                let bound = match handed {
                    Some(socket) => {
                        socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket))
                    }
                    None => TcpListener::bind(address).await,
                };
                let bound = bound.map_err(|error| AppError::Admin { address, error })?;
                let address = bound.local_addr().unwrap_or(address);
                let exposed = exposure(address, &own_addresses(), false);
                if let Some(exposure) = exposed.filter(|_| !config.gateway.public) {
                    let what = "admin pages".into();
                    return Err(ExposedError { what, address, exposure }.into());
                }
                Some(bound)
            }
        };
        let hash = &config.hash;
        observer.emit(Event::ConfigLoaded { reload: false, accepted: true, hash, problems: 0 });
        let reloader = Reloader(Arc::new(Running {
            gateway: gateway.handle(),
            observer,
            access: Arc::new(ArcSwap::from_pointee(access(&config))),
            autoconfig,
            sandbox,
            source: config.source.clone(),
            tried: Mutex::new(tried),
            in_force: Mutex::new(config),
        }));
        Ok(Self { gateway, admin, reloader })
    }

    /// The gateway, for its addresses.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where every event goes.
    pub fn observer(&self) -> &Observer {
        &self.reloader.0.observer
    }

    /// A handle for reloading while the app serves.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown`, then lets messages in flight finish.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { gateway, admin, reloader } = self;
        let observer = reloader.0.observer.clone();
        let held = Held(reloader.0.gateway.clone());
        // The admin pages stay until the last session is over: that is when people look.
        let drained = CancellationToken::new();
        let pages: Option<JoinHandle<io::Result<()>>> = admin.map(|listener| {
            let access = reloader.0.access.clone();
            let workstations = reloader.0.autoconfig.clone();
            let gateway = reloader.0.gateway.clone();
            let unlock = Arc::new(move |these: &admin::Unlock, peer| {
                let (account, workstation) =
                    (these.account.as_deref(), these.workstation.as_deref());
                admin::Unlocked { ended: gateway.unlock(account, workstation, peer) }
            });
            let reload = Arc::new(move || reloader.answer());
            let (observer, held) = (observer.clone(), Arc::new(held));
            let pages = admin::Pages { observer, access, workstations, reload, unlock, held };
            tokio::spawn(admin::serve(listener, pages, drained.clone()))
        });
        gateway.serve(shutdown).await;
        drained.cancel();
        if let Some(pages) = pages {
            // Whatever the pages ended with, the gateway has done its work.
            let _ = pages.await;
        }
        // The last audit lines; a disk that hangs must not keep the process.
        let _ = tokio::task::spawn_blocking(move || observer.flush()).await;
    }
}

/// The gateway's held messages, for the admin pages.
struct Held(Handle);

impl admin::HeldMessages for Held {
    fn list(&self) -> HeldList {
        self.0.held()
    }

    fn release(&self, id: &str) -> Result<HeldStatus, String> {
        self.0.release(id).map_err(|error| error.to_string())
    }
}

/// The name of the admin pages' socket, where a service manager brings it.
const ADMIN: &str = "admin";

/// Puts a changed configuration file in force.
#[derive(Clone)]
pub struct Reloader(Arc<Running>);

struct Running {
    gateway: Handle,
    observer: Observer,
    access: Arc<ArcSwap<admin::Access>>,
    autoconfig: Arc<autoconfig::InForce>,
    /// What a reload can read; `None`: everything.
    sandbox: Option<Sandbox>,
    source: PathBuf,
    /// What was in the files when they were last tried. Locked for a whole reload: one comes after
    /// the other.
    tried: Mutex<Snapshot>,
    in_force: Mutex<Config>,
}

impl Reloader {
    /// Reads the file again and says, in lines for people, what is different now and for whom. On
    /// any error nothing changes and the errors say why; warnings are shown by `kimgate check`. All of it
    /// is logged. Reads files, so it is slow; must be called within a tokio runtime.
    pub fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let mut tried = self.tried();
        *tried = Snapshot::take(&self.0.source, &tried);
        self.load_and_put_in_force(&tried)
    }

    /// The same where a file has changed since the last try, whether that one was used or not.
    pub fn reload_if_changed(&self) -> Option<Result<Vec<String>, Vec<String>>> {
        let mut tried = self.tried();
        let now = Snapshot::take(&self.0.source, &tried);
        if now == *tried {
            return None;
        }
        *tried = now;
        Some(self.load_and_put_in_force(&tried))
    }

    /// Whether a file has changed since the last try.
    fn has_changed(&self) -> bool {
        let tried = self.tried();
        Snapshot::take(&self.0.source, &tried) != *tried
    }

    /// The configuration file and the files that it named when it was last tried.
    pub fn files(&self) -> Vec<PathBuf> {
        self.tried().files()
    }

    fn load_and_put_in_force(&self, tried: &Snapshot) -> Result<Vec<String>, Vec<String>> {
        service::reloading();
        let Running { observer, .. } = &*self.0;
        let mut in_force = self.in_force();
        let outcome = load(&in_force.source, std::env::vars())
            .map_err(|findings| {
                let errors = findings.iter().filter(|found| found.severity == Severity::Error);
                errors.map(Finding::to_string).collect::<Vec<_>>()
            })
            .and_then(|loaded| {
                self.put_in_force(&mut in_force, loaded.config).map_err(|error| vec![error])
            })
            .map_err(|problems| {
                let outside = tried.files().into_iter().filter(|file| !self.admits(file));
                outside
                    .map(|file| outside_of_the_sandbox(&file))
                    .chain(problems)
                    .collect::<Vec<_>>()
            });
        let (accepted, hash, problems) = match &outcome {
            Ok(_) => (true, in_force.hash.as_str(), 0),
            Err(problems) => (false, "", problems.len() as u32),
        };
        observer.emit(Event::ConfigLoaded { reload: true, accepted, hash, problems });
        drop(in_force);
        for problem in outcome.as_ref().err().into_iter().flatten() {
            tracing::error!(problem, "configuration not reloaded");
        }
        service::ready();
        outcome
    }

    /// Whether the sandbox, where there is one, lets this file be read.
    fn admits(&self, file: &Path) -> bool {
        self.0.sandbox.as_ref().is_none_or(|sandbox| sandbox.admits(file))
    }

    /// Ends every session now.
    pub fn kill(&self) {
        self.0.gateway.kill();
    }

    fn answer(&self) -> admin::Reloaded {
        match self.reload() {
            Ok(changes) => admin::Reloaded { accepted: true, lines: changes },
            Err(problems) => admin::Reloaded { accepted: false, lines: problems },
        }
    }

    fn put_in_force(&self, in_force: &mut Config, config: Config) -> Result<Vec<String>, String> {
        let Running { gateway, observer, access: in_use, autoconfig, .. } = &*self.0;
        let (old, new) = (compile(in_force), compile(&config));
        let new = new.map_err(|error| error.to_string())?;
        let asked = autoconfig_of(&config).map_err(|error| error.to_string())?;
        let changes = old.map_or_else(
            |_| Changes::default(),
            |old| Changes::between((&in_force.rules, &old), (&config.rules, &new)),
        );
        gateway
            .reload(config.gateway.clone(), new)
            .map_err(|error| AppError::from(error).with_remedy())?;
        observer.rename(config.observe.names.clone());
        in_use.store(Arc::new(access(&config)));
        autoconfig.replace(asked);
        if in_force.log.level != config.log.level {
            observe::set_log_level(config.log.level);
        }
        let further = further_changes(in_force, &config);
        *in_force = config;
        for change in
            changes::lines(&changes, |address| observer.named(address)).iter().chain(&further)
        {
            tracing::warn!(change, "configuration changed");
        }
        Ok(changes::lines(&changes, str::to_owned).into_iter().chain(further).collect())
    }

    fn tried(&self) -> MutexGuard<'_, Snapshot> {
        self.0.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self) -> MutexGuard<'_, Config> {
        self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a file that is there, and that its owner may read, cannot be read.
fn outside_of_the_sandbox(file: &Path) -> String {
    format!(
        "{} is in a folder that the configuration did not name when kimgate started, so kimgate cannot \
         read it; restart kimgate to use it (gateway.sandbox)",
        file.display()
    )
}

/// What is different besides permissions, and what of it waits for a restart.
fn further_changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (&old.gateway.listeners, &new.gateway.listeners);
    let named = |listeners: &[Listener], name: &str| {
        listeners.iter().find(|listener| *listener.name == *name).cloned()
    };
    for listener in after {
        let (name, address) = (&listener.name, listener.address);
        match named(before, name) {
            None => lines.push(format!("listener {name}: opened at {address}")),
            Some(old) if old.address != address => {
                lines.push(format!("listener {name}: moved from {} to {address}", old.address));
            }
            Some(old) if old != *listener => {
                lines.push(format!("listener {name}: changed for new connections"));
            }
            Some(_) => {}
        }
    }
    for listener in before.iter().filter(|listener| named(after, &listener.name).is_none()) {
        lines.push(format!("listener {}: closed; its sessions go on", listener.name));
    }
    if old.log.level != new.log.level {
        lines.push("log.level: applied".into());
    }
    if access(old).allow != access(new).allow {
        lines.push("admin.allow: applied".into());
    }
    let hosts = |config: &Config| config.admin.as_ref().map(|admin| admin.hosts.clone());
    if hosts(old) != hosts(new) {
        lines.push("admin.hosts: applied".into());
    }
    let has_autoconfig =
        |config: &Config| config.admin.as_ref().is_some_and(|admin| admin.autoconfig);
    if has_autoconfig(old) != has_autoconfig(new) {
        lines.push("admin.autoconfig: applied".into());
    }
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    let audit = |config: &Config| {
        let audit = &config.observe.audit;
        (audit.file.clone(), audit.keep, audit.pseudonymize)
    };
    let waits = [
        ("admin.address", address(old) != address(new)),
        ("audit", audit(old) != audit(new)),
        ("log.format", old.log.format != new.log.format),
        ("gateway.state_dir", old.state_dir != new.state_dir),
        ("gateway.sandbox", old.sandbox != new.sandbox),
    ];
    let waits = waits.into_iter().filter(|(_, changed)| *changed);
    lines.extend(waits.map(|(key, _)| format!("{key}: waits for a restart")));
    lines
}

/// Which peers may see the admin pages, and by which names.
fn access(config: &Config) -> admin::Access {
    let Some(admin) = &config.admin else { return admin::Access::default() };
    let mut hosts = vec![config.gateway.name.clone()];
    hosts.extend_from_slice(&admin.hosts);
    admin::Access { allow: admin.allow.clone(), hosts }
}

/// What workstations may ask for under this configuration.
fn autoconfig_of(config: &Config) -> Result<Option<Autoconfig>, AppError> {
    match config.admin.as_ref().is_some_and(|admin| admin.autoconfig) {
        true => Ok(Some(Autoconfig::new(config.clone(), compile(config)?))),
        false => Ok(None),
    }
}

fn compile(config: &Config) -> Result<Policy, AppError> {
    Policy::compile(config.rules.clone()).map_err(|errors| {
        let lines: Vec<String> =
            errors.iter().map(|e| format!("{}; {}", e.problem, e.problem.remedy())).collect();
        AppError::Rules(lines.join("; "))
    })
}

/// Says where a panic was and nothing of what it says: its text may quote a message or a login.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked; please report this place");
    }));
}

/// Starts the log for people.
pub fn start_log(config: observe::LogConfig) -> io::Result<()> {
    observe::init_log(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reload_that_fails_names_its_errors_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kimgate.toml");
        let unwise = "gateway.name = \"localhost\"\nadmin.address = \"off\"\n\
            audit.file = \"audit.jsonl\"\nlimits.login_timeout = \"5s\"\n\
            listeners.pop3s = { protocol = \"pop3\", address = \"127.0.0.1:0\" }\n\
            client_modules.main = { host = \"127.0.0.1\" }\n";
        std::fs::write(&file, unwise).unwrap();
        let loaded = load(&file, std::iter::empty()).unwrap();
        assert!(!loaded.warnings.is_empty());
        let app = App::bind(loaded.config).await.unwrap();
        std::fs::write(&file, format!("{unwise}policy.mode = \"strict\"\n")).unwrap();
        let problems = app.reloader().reload().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("policy.mode"), "{problems:?}");
    }
}

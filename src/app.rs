//! Puts the parts together, once: configuration in, a served gateway out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Finding, Severity, load};
use crate::gateway::{Gateway, Handle, StartError};
use crate::observe::{Event, Observer};
use crate::policy::Policy;
use crate::{admin, observe};

/// A gateway with its admin pages, bound and not yet serving.
pub struct App {
    gateway: Gateway,
    admin: Option<(TcpListener, admin::Config)>,
    observer: Observer,
    source: PathBuf,
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
    /// The audit file or the state folder.
    #[error("audit: {0}")]
    Observe(io::Error),
    /// Rules that do not fit together; `check` has said so with file and line.
    #[error("the rules cannot be used: {0}")]
    Rules(String),
}

impl App {
    /// Binds every address and loads every file that the configuration names.
    pub async fn bind(config: Config) -> Result<Self, AppError> {
        let observer = Observer::new(config.observe.clone()).map_err(AppError::Observe)?;
        let policy = compile(&config)?;
        let gateway = Gateway::bind(config.gateway, policy, observer.clone())?;
        let admin = match config.admin {
            None => None,
            Some(admin) => {
                let address = admin.address;
                let bound = TcpListener::bind(address).await;
                Some((bound.map_err(|error| AppError::Admin { address, error })?, admin))
            }
        };
        let hash = &config.hash;
        observer.emit(Event::ConfigLoaded { reload: false, accepted: true, hash, problems: 0 });
        Ok(Self { gateway, admin, observer, source: config.source })
    }

    /// The gateway, for its addresses.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// What everything is told to.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// A handle for reloading while the app serves.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            gateway: self.gateway.handle(),
            observer: self.observer.clone(),
            source: self.source.clone(),
        }
    }

    /// Serves until `shutdown`, then lets messages in flight finish.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { gateway, admin, observer, .. } = self;
        // The admin pages stay until the last session is over: that is when people look.
        let drained = CancellationToken::new();
        let pages: Option<JoinHandle<io::Result<()>>> = admin.map(|(listener, config)| {
            tokio::spawn(admin::serve(listener, config, observer.clone(), drained.clone()))
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

/// Puts a changed configuration file in force.
#[derive(Clone)]
pub struct Reloader {
    gateway: Handle,
    observer: Observer,
    source: PathBuf,
}

impl Reloader {
    /// Reads the file again. On any error nothing changes and the errors say why; warnings are
    /// `check`'s to tell.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        let outcome = load(&self.source, std::env::vars())
            .map_err(|findings| {
                let errors = findings.iter().filter(|found| found.severity == Severity::Error);
                errors.map(Finding::to_string).collect::<Vec<_>>()
            })
            .and_then(|loaded| self.put_in_force(loaded.config).map_err(|error| vec![error]));
        let (accepted, hash, problems) = match &outcome {
            Ok(hash) => (true, hash.as_str(), 0),
            Err(problems) => (false, "", problems.len() as u32),
        };
        self.observer.emit(Event::ConfigLoaded { reload: true, accepted, hash, problems });
        outcome.map(drop)
    }

    /// Ends every session now.
    pub fn kill(&self) {
        self.gateway.kill();
    }

    fn put_in_force(&self, config: Config) -> Result<String, String> {
        let policy = compile(&config).map_err(|error| error.to_string())?;
        let names = config.observe.names;
        self.gateway.reload(config.gateway, policy).map_err(|error| error.to_string())?;
        self.observer.rename(names);
        Ok(config.hash)
    }
}

fn compile(config: &Config) -> Result<Policy, AppError> {
    Policy::compile(config.rules.clone()).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| error.problem.to_string()).collect();
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

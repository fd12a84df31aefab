//! `kimgate run`: the gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ConfigFile, Failure, Interrupts, Screen, block_on, check};
use crate::app::{App, Reloader, silence_panics, start_log, watch};
use crate::config::{self, Config, load};
use crate::observe::{Observer, Status};
use crate::sandbox::{Sandbox, forbid_core_dumps};
use crate::service;
use crate::trust::make_state_dir;

/// Run the gateway
///
/// A changed configuration, certificate or key is reloaded at once, as after SIGHUP. SIGTERM or Ctrl-C
/// lets messages in flight finish within limits.drain; a second one ends them at once.
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate run --config config/kimgate.toml")]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        // Before there are other threads, see there.
        let sockets = service::sockets()?;
        let path = self.file.path()?;
        let loaded = load(&path, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
        start_log(loaded.config.log)?;
        silence_panics();
        for warning in &loaded.warnings {
            tracing::warn!(key = %warning.key, line = warning.line, problem = %warning.problem,
                "configuration warning");
        }
        let sandbox = give_up(&loaded.config);
        block_on(async {
            let app = App::open(loaded.config, sockets, sandbox)
                .await
                .map_err(|error| Failure::error(error.with_remedy()))?;
            for (name, address) in app.gateway().addresses() {
                tracing::info!(listener = %name, %address, "listening");
            }
            if let Some(address) = app.admin_address() {
                tracing::info!(%address, "admin pages");
            }
            let shutdown = CancellationToken::new();
            tokio::spawn(obey_signals(Interrupts::listen(), shutdown.clone(), app.reloader()));
            tokio::spawn(report(app.observer().clone(), shutdown.clone()));
            tokio::spawn(watch::follow(app.reloader()));
            service::ready();
            app.serve(shutdown).await;
            tracing::info!("stopped");
            Ok(())
        })?
    }
}

/// Gives up what this process does not need. Before there are other threads, which would keep it.
fn give_up(config: &Config) -> Option<Sandbox> {
    if !config.sandbox {
        tracing::warn!("gateway.sandbox is off: core dumps and all files are possible");
        return None;
    }
    if let Err(error) = forbid_core_dumps() {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    // In the sandbox it could no longer be made. What goes wrong here is told by what needs it.
    let _ = make_state_dir(&config.state_dir);
    let audit = config.observe.audit.file.as_deref().and_then(Path::parent);
    let audit = audit.map(|folder| match folder == Path::new("") {
        true => Path::new("."),
        false => folder,
    });
    let writable: Vec<_> = [Some(config.state_dir.as_path()), audit]
        .into_iter()
        .flatten()
        .map(Path::to_owned)
        .collect();
    let mut files = config::files(&config.source, std::env::vars());
    files.extend(std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    match Sandbox::enter(&files, &writable) {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            tracing::warn!(%error, "no sandbox: this process can open every file that its user can");
            None
        }
    }
}

async fn obey_signals(mut signals: Interrupts, shutdown: CancellationToken, reloader: Reloader) {
    tokio::spawn(reload_on_hangup(reloader.clone()));
    signals.next().await;
    tracing::info!("stopping; messages in flight may finish, a second signal ends them");
    service::stopping("stopping: messages in flight may finish");
    shutdown.cancel();
    signals.next().await;
    tracing::warn!("a second signal: everything ends now");
    reloader.kill();
}

/// Between two lines for the service manager, where it wants no signs of life more often.
const REPORT: Duration = Duration::from_secs(10);

/// Tells the service manager how things stand, for as long as kimgate runs. Each line is put
/// together by a task of its own, so that it stands for a runtime that still runs tasks and for locks
/// that are still given back.
async fn report(observer: Observer, shutdown: CancellationToken) {
    let pace = service::watchdog().map_or(REPORT, |limit| REPORT.min(limit / 3));
    let mut ticks = tokio::time::interval(pace);
    loop {
        ticks.tick().await;
        let (observer, stopping) = (observer.clone(), shutdown.is_cancelled());
        let Ok(line) =
            tokio::spawn(async move { how_it_stands(&observer.status(), stopping) }).await
        else {
            continue;
        };
        service::status(&line);
    }
}

fn how_it_stands(status: &Status, stopping: bool) -> String {
    let sessions = match status.sessions.len() {
        1 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    };
    let silent: Vec<&str> = status
        .client_modules
        .iter()
        .filter(|module| [&module.pop3, &module.smtp].into_iter().flatten().any(|side| !side.up))
        .map(|module| module.name.as_str())
        .collect();
    let modules = match (silent.is_empty(), status.readiness.ready) {
        (true, true) => "client modules answer".to_owned(),
        (true, false) => "client modules not asked yet".to_owned(),
        (false, _) => format!("no answer from client module {}", silent.join(", ")),
    };
    let begin = if stopping { "stopping: " } else { "" };
    format!("{begin}{sessions}; {modules}")
}

#[cfg(unix)]
async fn reload_on_hangup(reloader: Reloader) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        // Reading files and certificates is slow work for a thread that serves sessions.
        let reloader = reloader.clone();
        // What comes of it is in the log.
        let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
    }
}

#[cfg(not(unix))]
async fn reload_on_hangup(_reloader: Reloader) {}

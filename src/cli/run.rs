//! `kimgate run`: the gateway.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ConfigFile, Failure, Screen, check, interrupted, runtime};
use crate::app::{App, Reloader, silence_panics, start_log};
use crate::config::load;

/// Run the gateway
///
/// SIGHUP reads the configuration again; SIGTERM or Ctrl-C lets messages in flight finish within
/// limits.drain, a second one ends at once.
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate run --config config/kimgate.toml")]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let path = self.file.path()?;
        let loaded = load(&path, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
        start_log(loaded.config.log)?;
        silence_panics();
        for warning in &loaded.warnings {
            tracing::warn!(key = %warning.key, line = warning.line, problem = %warning.problem,
                "configuration warning");
        }
        let runtime = runtime()?;
        runtime.block_on(async {
            let app = App::bind(loaded.config).await.map_err(Failure::error)?;
            for (name, address) in app.gateway().addresses() {
                tracing::info!(listener = %name, %address, "listening");
            }
            if let Some(address) = app.admin_address() {
                tracing::info!(%address, "admin pages");
            }
            let shutdown = CancellationToken::new();
            tokio::spawn(obey_signals(shutdown.clone(), app.reloader()));
            app.serve(shutdown).await;
            tracing::info!("stopped");
            Ok(())
        })
    }
}

async fn obey_signals(shutdown: CancellationToken, reloader: Reloader) {
    tokio::spawn(reload_on_hangup(reloader.clone()));
    interrupted().await;
    tracing::info!("stopping; messages in flight may finish, a second signal ends them");
    shutdown.cancel();
    interrupted().await;
    reloader.kill();
}

#[cfg(unix)]
async fn reload_on_hangup(reloader: Reloader) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        // Reading files and certificates is slow work for a thread that serves sessions.
        let reloader = reloader.clone();
        let outcome = tokio::task::spawn_blocking(move || reloader.reload()).await;
        match outcome {
            Ok(Ok(())) => tracing::info!("configuration reloaded"),
            Ok(Err(problems)) => {
                for problem in problems {
                    tracing::error!(problem, "configuration not reloaded");
                }
            }
            Err(_) => tracing::error!("configuration not reloaded"),
        }
    }
}

#[cfg(not(unix))]
async fn reload_on_hangup(_reloader: Reloader) {}

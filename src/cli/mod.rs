//! The commands: what was typed, what happens, what is printed, and with which code it ends.

mod admin;
mod amounts;
mod audit;
mod certs;
mod check;
mod client;
mod demo;
mod dial;
mod doctor;
mod explain;
mod held;
mod package_files;
mod profile;
mod reload;
mod run;
mod screen;
mod simulate;
mod status;
mod support;
mod table;
mod trust;
mod unlock;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use screen::Screen;

/// A local SMTP/POP3 gateway between a practice's workstations and its KIM client module.
#[derive(Debug, Parser)]
#[command(name = "kimgate", version, arg_required_else_help = true, max_term_width = 100)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Check(check::Check),
    Explain(explain::Explain),
    Doctor(doctor::Doctor),
    Trust(trust::Trust),
    Certs(certs::Certs),
    Profile(profile::Profile),
    Simulate(simulate::Simulate),
    Status(status::StatusCommand),
    Audit(audit::Audit),
    Support(support::Support),
    Reload(reload::Reload),
    Unlock(unlock::UnlockCommand),
    Held(held::Held),
    #[command(hide = true)]
    PackageFiles(package_files::PackageFiles),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration; without it KIMGATE_CONFIG, or ./config/kimgate.toml where it exists
    #[arg(long, value_name = "FILE", env = "KIMGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> Result<PathBuf, Failure> {
        let usual = PathBuf::from("config/kimgate.toml");
        match &self.config {
            Some(path) => Ok(path.clone()),
            None if usual.exists() => Ok(usual),
            None => Err(Failure::usage(
                "no configuration: add --config FILE, set KIMGATE_CONFIG, or write \
                 ./config/kimgate.toml (config/minimal.toml is a start)",
            )),
        }
    }
}

/// Why a command ends with another code than 0.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// What was asked for did not work out; the message says why.
    fn error(message: impl ToString) -> Self {
        Self { code: 1, message: Some(message.to_string()) }
    }

    /// The command cannot be understood.
    fn usage(message: impl ToString) -> Self {
        Self { code: 2, message: Some(message.to_string()) }
    }

    /// The answer is no, and it has been printed.
    fn no() -> Self {
        Self { code: 1, message: None }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::error(error)
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let words = Words::parse();
    let mut screen = Screen::new();
    let done = match words.command {
        Command::Demo(demo) => demo.execute(&mut screen),
        Command::Run(run) => run.execute(&mut screen),
        Command::Check(check) => check.execute(&mut screen),
        Command::Explain(explain) => explain.execute(&mut screen),
        Command::Doctor(doctor) => doctor.execute(&mut screen),
        Command::Trust(trust) => trust.execute(&mut screen),
        Command::Certs(certs) => certs.execute(&mut screen),
        Command::Profile(profile) => profile.execute(&mut screen),
        Command::Simulate(simulate) => simulate.execute(&mut screen),
        Command::Status(status) => status.execute(&mut screen),
        Command::Audit(audit) => audit.execute(&mut screen),
        Command::Support(support) => support.execute(&mut screen),
        Command::Reload(reload) => reload.execute(&mut screen),
        Command::Unlock(unlock) => unlock.execute(&mut screen),
        Command::Held(held) => held.execute(&mut screen),
        Command::PackageFiles(files) => files.execute(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message {
                screen.complain(&format!("kimgate: {message}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Runs a future to its end. Threads that still wait for the system then, as for a resolver that
/// hangs, are left to it.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::error)?;
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(done)
}

/// Resolves at the first Ctrl-C or SIGTERM.
async fn interrupted() {
    Interrupts::listen().next().await;
}

/// Ctrl-C and SIGTERM from now on; none is lost between two looks.
struct Interrupts {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Interrupts {
    #[cfg(unix)]
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        // Without signals there is nothing to wait for but the end of the process.
        std::future::poll_fn(|cx| {
            let came = self.signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    #[cfg(not(unix))]
    fn listen() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Words::command().debug_assert();
    }
}

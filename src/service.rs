//! The service manager, usually systemd: the sockets that it hands over, and the notices that it gets.
//!
//! Where kimgate was not started by one, everything here does nothing.

use std::time::Duration;

use crate::gateway::Sockets;

#[cfg(unix)]
pub use unix::{ready, reloading, sockets, status, stopping, watchdog};

#[cfg(unix)]
mod unix {
    use std::io;

    use listenfd::ListenFd;
    use sd_notify::NotifyState;

    use super::{Duration, Sockets};

    /// The sockets that were handed over, by the names in `FileDescriptorName=`. To be called
    /// once, before there are other threads: the variables that bring them are removed.
    pub fn sockets() -> io::Result<Sockets> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let mut sockets = Sockets::new();
        for at in 0..handed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            let socket = handed.take_tcp_listener(at).map_err(|error| {
                io::Error::other(format!("the socket handed over for {name:?}: {error}"))
            })?;
            sockets.entry(name.to_owned()).or_default().extend(socket);
        }
        Ok(sockets)
    }

    /// kimgate serves, for the first time or again after a reload.
    pub fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`ready`] ends that.
    pub fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// No new connections from now on.
    pub fn stopping(status: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`, and a sign of life.
    pub fn status(line: &str) {
        tell(&[NotifyState::Watchdog, NotifyState::Status(line)]);
    }

    /// How long kimgate may go without a sign of life.
    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
    }

    /// A manager that does not listen is its own trouble.
    fn tell(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(%error, "the service manager cannot be told");
        }
    }
}

#[cfg(not(unix))]
pub use elsewhere::{ready, reloading, sockets, status, stopping, watchdog};

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use super::{Duration, Sockets};

    /// None.
    pub fn sockets() -> io::Result<Sockets> {
        Ok(Sockets::new())
    }

    /// There is no service manager.
    pub fn ready() {}

    /// There is no service manager.
    pub fn reloading() {}

    /// There is no service manager.
    pub fn stopping(_: &str) {}

    /// There is no service manager.
    pub fn status(_: &str) {}

    /// None.
    pub fn watchdog() -> Option<Duration> {
        None
    }
}

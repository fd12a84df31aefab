//! Every address on which workstations connect, and what a reload does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;

use super::listener::{OpenListener, accept};
use crate::gateway::StartError;
use crate::gateway::config::Listener;
use crate::gateway::shared::Shared;
use crate::observe::ListenerStatus;
use crate::words::{Protocol, Security};

/// Sockets that somebody else has bound, by the listener's name.
pub type Sockets = BTreeMap<String, Vec<std::net::TcpListener>>;

/// The open addresses.
pub(crate) struct Listeners {
    open: Mutex<Vec<Arc<OpenListener>>>,
    /// Sessions of all of them.
    pub(crate) sessions: TaskTracker,
    /// Accept loops, and whatever else ends with the gateway.
    pub(crate) tasks: TaskTracker,
}

impl Listeners {
    /// Opens all of them, on the sockets that were handed over or on their own.
    pub(crate) fn open(wanted: Vec<Listener>, mut handed: Sockets) -> Result<Self, StartError> {
        let mut open = Vec::new();
        for listener in wanted {
            match handed.remove(&*listener.name) {
                None => open.push(bind(listener)?),
                Some(sockets) => {
                    for socket in sockets {
                        open.push(take_over(listener.clone(), socket)?);
                    }
                }
            }
        }
        if let Some(name) = handed.into_keys().next() {
            return Err(StartError::Stranger { name });
        }
        let (sessions, tasks) = (TaskTracker::new(), TaskTracker::new());
        Ok(Self { open: Mutex::new(open), sessions, tasks })
    }

    /// As `/status` shows them.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        self.lock().iter().map(|door| door.status()).collect()
    }

    /// Begins to accept.
    pub(crate) fn serve(&self, shared: &Arc<Shared>) {
        for door in &*self.lock() {
            self.accept(door, shared);
        }
    }

    /// Makes these the open addresses. What is new is opened first, then `swap` is called, then what
    /// stays speaks what it should and what is gone is closed. Sessions go on wherever they came in.
    /// On an error nothing has changed and `swap` was not called.
    pub(crate) fn replace(
        &self,
        wanted: Vec<Listener>,
        shared: &Arc<Shared>,
        swap: impl FnOnce(),
    ) -> Result<(), StartError> {
        let mut open = self.lock();
        let mut leaving = std::mem::take(&mut *open);
        let (mut kept, mut new) = (Vec::new(), Vec::new());
        for listener in wanted {
            // An address is one listener's; port 0 says nothing and goes by the name.
            let (stays, others): (Vec<_>, Vec<_>) = leaving.into_iter().partition(|door| {
                let open = door.listener();
                open.address == listener.address
                    && (open.address.port() != 0 || open.name == listener.name)
            });
            leaving = others;
            match stays.is_empty() {
                true => new.push(listener),
                false => kept.extend(stays.into_iter().map(|door| (door, listener.clone()))),
            }
        }
        let opened = match self.open_beside(new, &mut leaving, shared) {
            Ok(opened) => opened,
            Err(error) => {
                *open = kept.into_iter().map(|(door, _)| door).chain(leaving).collect();
                return Err(error);
            }
        };
        swap();
        for (door, listener) in kept {
            door.change(listener);
            open.push(door);
        }
        for door in opened {
            self.accept(&door, shared);
            open.push(door);
        }
        leaving.iter().for_each(|door| door.close());
        Ok(())
    }

    /// Opens these while `leaving` are still open. Where one of those is in the way it is closed
    /// first, and opened again if the new one cannot be had after all.
    fn open_beside(
        &self,
        new: Vec<Listener>,
        leaving: &mut [Arc<OpenListener>],
        shared: &Arc<Shared>,
    ) -> Result<Vec<Arc<OpenListener>>, StartError> {
        let mut opened = Vec::new();
        let mut closed = Vec::new();
        for listener in new {
            let mut tried = bind(listener.clone());
            if matches!(&tried, Err(StartError::Bind { error, .. }) if error.kind() == io::ErrorKind::AddrInUse)
            {
                let port = listener.address.port();
                let in_the_way =
                    leaving.iter().enumerate().filter(|(_, d)| d.address().port() == port);
                for (at, door) in in_the_way {
                    door.close();
                    closed.push(at);
                }
                tried = bind(listener);
            }
            match tried {
                Ok(door) => opened.push(door),
                Err(error) => {
                    drop(opened);
                    for at in closed {
                        self.reopen(&mut leaving[at], shared);
                    }
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }

    fn reopen(&self, door: &mut Arc<OpenListener>, shared: &Arc<Shared>) {
        let listener = Listener { address: door.address(), ..(*door.listener()).clone() };
        match bind(listener) {
            Ok(again) => {
                // Later comparisons go by what was asked for.
                again.change((*door.listener()).clone());
                self.accept(&again, shared);
                *door = again;
            }
            Err(error) => tracing::error!(%error, "a listener is lost until the next restart"),
        }
    }

    fn accept(&self, door: &Arc<OpenListener>, shared: &Arc<Shared>) {
        self.tasks.spawn(accept(door.clone(), shared.clone(), self.sessions.clone()));
    }

    /// What is spoken on any of them.
    pub(crate) fn protocols(&self) -> BTreeSet<Protocol> {
        self.lock().iter().map(|door| door.listener().protocol).collect()
    }

    /// Where each is, by name.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.lock().iter().map(|door| (door.listener().name.to_string(), door.address())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<OpenListener>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(listener: Listener) -> Result<Arc<OpenListener>, StartError> {
    let (name, address) = (listener.name.to_string(), listener.address);
    let bound =
        OpenListener::bind(listener).map_err(|error| StartError::Bind { name, address, error })?;
    Ok(Arc::new(bound))
}

fn take_over(
    listener: Listener,
    socket: std::net::TcpListener,
) -> Result<Arc<OpenListener>, StartError> {
    let (name, address) = (listener.name.to_string(), listener.address);
    let (plain, wanted) = (listener.security == Security::None, listener.address);
    let door = OpenListener::hand_over(listener, socket).map_err(|error| StartError::Bind {
        name: name.clone(),
        address,
        error,
    })?;
    let address = door.address();
    // The configuration was judged by the address that it names, and this is another one.
    if plain && !address.ip().to_canonical().is_loopback() {
        return Err(StartError::Plain { name, address });
    }
    if wanted.port() != 0 && wanted != address {
        tracing::warn!(listener = %name, %address, configured = %wanted,
            "the service manager's socket is somewhere else than the configuration says");
    }
    Ok(Arc::new(door))
}

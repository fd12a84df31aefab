//! All open listeners, and what a reload does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;

use super::acceptor::Acceptor;
use super::listener::{OpenListener, Reach};
use crate::gateway::config::Listener;
use crate::gateway::error::StartError;
use crate::observe::ListenerStatus;
use crate::words::{Protocol, Security};

/// Sockets that are bound already, by the listener's name.
pub type Sockets = BTreeMap<String, Vec<std::net::TcpListener>>;

/// The open listeners.
pub(crate) struct Listeners {
    open: Mutex<Vec<Arc<OpenListener>>>,
    acceptor: Arc<Acceptor>,
    /// Accept loops, and whatever else ends with the gateway.
    pub(crate) tasks: TaskTracker,
}

/// What becomes of the open listeners under another configuration.
struct Plan {
    /// They stay open, with this configuration.
    kept: Vec<(Arc<OpenListener>, Listener)>,
    /// They are opened.
    new: Vec<(Listener, Reach)>,
    /// They are closed.
    leaving: Vec<Arc<OpenListener>>,
}

impl Plan {
    fn new(open: Vec<Arc<OpenListener>>, wanted: Vec<Listener>) -> Self {
        let mut plan = Self { kept: Vec::new(), new: Vec::new(), leaving: open };
        for listener in &wanted {
            // Only one listener can have an address, but many can have port 0: those go by name.
            let (stay, leaving): (Vec<_>, Vec<_>) = plan.leaving.into_iter().partition(|open| {
                let (reach, open) = (open.reach(), open.config());
                open.address == listener.address
                    && reach == Reach::of(listener, &wanted)
                    && (open.address.port() != 0 || open.name == listener.name)
            });
            plan.leaving = leaving;
            match stay.is_empty() {
                true => plan.new.push((listener.clone(), Reach::of(listener, &wanted))),
                false => plan.kept.extend(stay.into_iter().map(|open| (open, listener.clone()))),
            }
        }
        plan
    }
}

impl Listeners {
    /// Opens all of them, on the sockets that are bound already or on their own.
    pub(crate) fn open(
        wanted: Vec<Listener>,
        mut sockets: Sockets,
        acceptor: Acceptor,
    ) -> Result<Self, StartError> {
        let mut open = Vec::new();
        for listener in wanted.clone() {
            let reach = Reach::of(&listener, &wanted);
            match sockets.remove(&*listener.name) {
                None => open.push(bind(listener, reach)?),
                Some(sockets) => {
                    for socket in sockets {
                        open.push(take_over(listener.clone(), socket, reach)?);
                    }
                }
            }
        }
        if let Some(name) = sockets.into_keys().next() {
            return Err(StartError::UnknownSocket { name });
        }
        let (acceptor, tasks) = (Arc::new(acceptor), TaskTracker::new());
        Ok(Self { open: Mutex::new(open), acceptor, tasks })
    }

    /// As `/status` shows them.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        self.lock().iter().map(|open| open.status()).collect()
    }

    /// Starts to accept on all of them.
    pub(crate) fn serve(&self) {
        for open in &*self.lock() {
            self.accept(open);
        }
    }

    /// Makes these the open listeners. Opens the new ones first, then calls `swap`, then changes the
    /// ones that stay and closes the others. Sessions go on. On an error nothing has changed, and
    /// `swap` was not called.
    pub(crate) fn replace(
        &self,
        wanted: Vec<Listener>,
        swap: impl FnOnce(),
    ) -> Result<(), StartError> {
        let mut open = self.lock();
        let Plan { kept, new, mut leaving } = Plan::new(std::mem::take(&mut *open), wanted);
        let opened = match self.open_beside(new, &mut leaving) {
            Ok(opened) => opened,
            Err(error) => {
                *open = kept.into_iter().map(|(open, _)| open).chain(leaving).collect();
                return Err(error);
            }
        };
        swap();
        for (stays, config) in kept {
            stays.change(config);
            open.push(stays);
        }
        for new in opened {
            self.accept(&new);
            open.push(new);
        }
        leaving.iter().for_each(|closed| closed.close());
        Ok(())
    }

    /// Opens these while `leaving` are still open. If one of those has the port, closes it first, and
    /// opens it again if the new one cannot be opened.
    fn open_beside(
        &self,
        new: Vec<(Listener, Reach)>,
        leaving: &mut [Arc<OpenListener>],
    ) -> Result<Vec<Arc<OpenListener>>, StartError> {
        let mut opened = Vec::new();
        let mut closed = Vec::new();
        for (listener, reach) in new {
            let mut tried = bind(listener.clone(), reach);
            if tried.as_ref().is_err_and(is_in_use) {
                let port = listener.address.port();
                let in_the_way =
                    leaving.iter().enumerate().filter(|(_, open)| open.address().port() == port);
                for (at, open) in in_the_way {
                    open.close();
                    closed.push(at);
                }
                tried = bind(listener, reach);
            }
            match tried {
                Ok(new) => opened.push(new),
                Err(error) => {
                    drop(opened);
                    for at in closed {
                        self.reopen(&mut leaving[at]);
                    }
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }

    fn reopen(&self, open: &mut Arc<OpenListener>) {
        let config = Listener { address: open.address(), ..(*open.config()).clone() };
        match bind(config, open.reach()) {
            Ok(again) => {
                // A later reload compares the configured address, which may have port 0.
                again.change((*open.config()).clone());
                self.accept(&again);
                *open = again;
            }
            Err(error) => tracing::error!(%error, "a listener is lost until the next restart"),
        }
    }

    fn accept(&self, open: &Arc<OpenListener>) {
        self.tasks.spawn(self.acceptor.clone().accept(open.clone()));
    }

    /// The protocols of all of them.
    pub(crate) fn protocols(&self) -> BTreeSet<Protocol> {
        self.lock().iter().map(|open| open.config().protocol).collect()
    }

    /// Their addresses, by name.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.lock().iter().map(|open| (open.config().name.to_string(), open.address())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<OpenListener>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_in_use(error: &StartError) -> bool {
    matches!(error, StartError::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
}

fn bind(listener: Listener, reach: Reach) -> Result<Arc<OpenListener>, StartError> {
    let (name, address) = (listener.name.to_string(), listener.address);
    let bound = OpenListener::bind(listener, reach).map_err(|error| StartError::Bind {
        name,
        address,
        error,
    })?;
    Ok(Arc::new(bound))
}

fn take_over(
    listener: Listener,
    socket: std::net::TcpListener,
    reach: Reach,
) -> Result<Arc<OpenListener>, StartError> {
    let (name, address) = (listener.name.to_string(), listener.address);
    let (plain, wanted) = (listener.security == Security::None, listener.address);
    let open = OpenListener::hand_over(listener, socket, reach)
        .map_err(|error| StartError::Bind { name: name.clone(), address, error })?;
    let address = open.address();
    // Only the configured address was checked, and the socket may have another one.
    if plain && !address.ip().to_canonical().is_loopback() {
        return Err(StartError::Plain { name, address });
    }
    if wanted.port() != 0 && wanted != address {
        tracing::warn!(listener = %name, %address, configured = %wanted,
            "the service manager's socket has another address than the configuration");
    }
    Ok(Arc::new(open))
}

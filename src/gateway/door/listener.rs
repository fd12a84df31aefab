//! One address on which workstations connect: its socket and the accept loop.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::config::Listener;
use crate::gateway::session::{Accepted, run};
use crate::gateway::shared::Shared;
use crate::gateway::stream::Stream;
use crate::observe::ListenerStatus;
use crate::words::Reason;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;
/// Connections beyond the limit that are still told so; the rest is just closed.
const TOLD: usize = 64;
/// After an error that does not pass by itself, as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// An open address. A reload may change what is spoken there, or close it, while its sessions go on.
pub(crate) struct OpenListener {
    listener: ArcSwap<Listener>,
    /// Where it really is.
    address: SocketAddr,
    /// `None` once it is closed.
    socket: Mutex<Option<TcpListener>>,
    closed: CancellationToken,
}

impl OpenListener {
    /// Binds the listener's address.
    pub(crate) fn bind(listener: Listener) -> io::Result<Self> {
        let address = listener.address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for connections of the last run to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Self::new(listener, socket.listen(BACKLOG)?)
    }

    /// Uses a socket that somebody else has bound and listens on.
    pub(crate) fn hand_over(listener: Listener, socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(listener, TcpListener::from_std(socket)?)
    }

    fn new(listener: Listener, socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            listener: ArcSwap::from_pointee(listener),
            socket: Mutex::new(Some(socket)),
            closed: CancellationToken::new(),
        })
    }

    /// What is spoken here to whoever connects now.
    pub(crate) fn listener(&self) -> Arc<Listener> {
        self.listener.load_full()
    }

    /// Where it really is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `/status` shows it.
    pub(crate) fn status(&self) -> ListenerStatus {
        let listener = self.listener.load();
        ListenerStatus {
            name: listener.name.to_string(),
            protocol: listener.protocol,
            address: self.address,
            security: listener.security,
        }
    }

    /// From the next connection on this is spoken here.
    pub(crate) fn change(&self, listener: Listener) {
        self.listener.store(Arc::new(listener));
    }

    /// Gives the address free, at once.
    pub(crate) fn close(&self) {
        drop(self.socket().take());
        self.closed.cancel();
    }

    /// `None` once it is closed.
    async fn next(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = poll_fn(|cx| match &*self.socket() {
            Some(socket) => socket.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        });
        tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            accepted = accepted => accepted,
        }
    }

    fn socket(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until the gateway stops or a reload closes the address.
pub(crate) async fn accept(door: Arc<OpenListener>, shared: Arc<Shared>, sessions: TaskTracker) {
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => None,
            accepted = door.next() => accepted,
        };
        match accepted {
            None => return door.close(),
            Some(Ok((tcp, peer))) => {
                let listener = door.listener();
                if std::mem::take(&mut is_failing) {
                    tracing::info!(listener = %listener.name, "accepts connections again");
                }
                let prepared = Stream::prepare(&tcp).map(|()| tcp);
                let Ok(tcp) = prepared else { continue };
                welcome(tcp, peer, listener, &shared, &sessions);
            }
            Some(Err(error)) if concerns_one_connection(&error) => {}
            Some(Err(error)) => {
                let listener = door.listener();
                shared.observer.accept_failed();
                // Once for each time of need: somebody reads the log, and the disk is finite.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(listener = %listener.name, %error, "cannot accept connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn welcome(
    tcp: TcpStream,
    peer: SocketAddr,
    listener: Arc<Listener>,
    shared: &Arc<Shared>,
    sessions: &TaskTracker,
) {
    let limit = shared.live.load().config.limits.connections;
    let place = shared.connections.enter(limit);
    let to_be_told = match &place {
        Some(_) => None,
        None => {
            shared.observer.connection_refused(Reason::TooManyConnections);
            let Some(place) = shared.connections.enter(limit + TOLD) else { return };
            Some(place)
        }
    };
    let accepted = Accepted { tcp, peer, listener, place };
    let shared = shared.clone();
    sessions.spawn(async move {
        let _to_be_told = to_be_told;
        run(accepted, shared).await;
    });
}

/// Errors of a connection that was gone before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

//! One open listener: its socket and what is spoken there.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::gateway::config::Listener;
use crate::observe::ListenerStatus;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A listener with its socket. A reload may change its configuration or close it; its sessions go on.
pub(super) struct OpenListener {
    config: ArcSwap<Listener>,
    /// The socket's address. Another one than configured where that has port 0.
    address: SocketAddr,
    /// `None` after it was closed.
    socket: Mutex<Option<TcpListener>>,
    closed: CancellationToken,
}

impl OpenListener {
    /// Binds the listener's address.
    pub(super) fn bind(config: Listener) -> io::Result<Self> {
        let address = config.address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Without this a restart waits until the connections of the last run have timed out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Self::new(config, socket.listen(BACKLOG)?)
    }

    /// Uses a socket that is bound and listening already.
    pub(super) fn hand_over(config: Listener, socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(config, TcpListener::from_std(socket)?)
    }

    fn new(config: Listener, socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            config: ArcSwap::from_pointee(config),
            socket: Mutex::new(Some(socket)),
            closed: CancellationToken::new(),
        })
    }

    /// The configuration for new connections.
    pub(super) fn config(&self) -> Arc<Listener> {
        self.config.load_full()
    }

    /// The socket's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `/status` shows it.
    pub(super) fn status(&self) -> ListenerStatus {
        let config = self.config.load();
        ListenerStatus {
            name: config.name.to_string(),
            protocol: config.protocol,
            address: self.address,
            security: config.security,
        }
    }

    /// Uses another configuration from the next connection on.
    pub(super) fn change(&self, config: Listener) {
        self.config.store(Arc::new(config));
    }

    /// Frees the address at once.
    pub(super) fn close(&self) {
        drop(self.socket().take());
        self.closed.cancel();
    }

    /// The next connection; `None` after it was closed.
    pub(super) async fn next(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
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

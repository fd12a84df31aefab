//! One open listener: its socket and what is spoken there.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use arc_swap::ArcSwap;
use socket2::SockRef;
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
    reach: Reach,
    closed: CancellationToken,
}

/// Whom a listener on `[::]` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// IPv4 and IPv6, and whom any other listener serves.
    All,
    /// IPv6 alone: another listener has an IPv4 address and the same port.
    Ipv6,
}

impl Reach {
    /// The reach of this listener beside these.
    pub(super) fn of(listener: &Listener, all: &[Listener]) -> Self {
        let address = listener.address;
        let is_all = address.is_ipv6() && address.ip().is_unspecified() && address.port() != 0;
        let has_port = |other: &Listener| other.address.port() == address.port();
        let is_shared = all.iter().any(|other| other.address.is_ipv4() && has_port(other));
        if is_all && is_shared { Self::Ipv6 } else { Self::All }
    }
}

impl OpenListener {
    /// Binds the listener's address.
    pub(super) fn bind(config: Listener, reach: Reach) -> io::Result<Self> {
        let address = config.address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if address.is_ipv6() && address.ip().is_unspecified() {
            // Systems differ in what they do by themselves.
            SockRef::from(&socket).set_only_v6(reach == Reach::Ipv6)?;
        }
        // Without this a restart waits until the connections of the last run have timed out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Self::new(config, socket.listen(BACKLOG)?, reach)
    }

    /// Uses a socket that is bound and listening already.
    pub(super) fn hand_over(
        config: Listener,
        socket: std::net::TcpListener,
        reach: Reach,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(config, TcpListener::from_std(socket)?, reach)
    }

    fn new(config: Listener, socket: TcpListener, reach: Reach) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            config: ArcSwap::from_pointee(config),
            socket: Mutex::new(Some(socket)),
            reach,
            closed: CancellationToken::new(),
        })
    }

    /// The configuration for new connections.
    pub(super) fn config(&self) -> Arc<Listener> {
        self.config.load_full()
    }

    /// Whom it was opened for.
    pub(super) fn reach(&self) -> Reach {
        self.reach
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Protocol, Security};

    fn listener(address: &str) -> Listener {
        Listener {
            name: address.into(),
            protocol: Protocol::Pop3,
            address: address.parse().unwrap(),
            security: Security::Implicit,
            proxy_protocol_from: Vec::new(),
        }
    }

    #[tokio::test]
    async fn all_addresses_of_ipv6_leave_ipv4_to_a_listener_of_its_own() {
        let Ok(free) = OpenListener::bind(listener("[::]:0"), Reach::All) else {
            return; // a machine without IPv6
        };
        let port = free.address().port();
        free.close();
        for ipv4 in ["0.0.0.0", "127.0.0.1"] {
            let both = [listener(&format!("[::]:{port}")), listener(&format!("{ipv4}:{port}"))];
            assert_eq!(both.each_ref().map(|l| Reach::of(l, &both)), [Reach::Ipv6, Reach::All]);
            let open =
                both.clone().map(|l| OpenListener::bind(l.clone(), Reach::of(&l, &both)).unwrap());
            for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
                TcpStream::connect(&address).await.unwrap();
            }
            open.iter().for_each(OpenListener::close);
        }
        // By itself it serves both.
        let alone = [listener(&format!("[::]:{port}"))];
        let open = OpenListener::bind(alone[0].clone(), Reach::of(&alone[0], &alone)).unwrap();
        TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        open.close();
    }
}

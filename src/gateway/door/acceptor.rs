//! The accept loop, which every open listener runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Place};
use super::listener::OpenListener;
use super::proxy;
use super::rate::Rate;
use crate::gateway::config::Listener;
use crate::gateway::wire;
use crate::observe::Observer;
use crate::words::Reason;

/// The wait after an error that does not pass by itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that a listener has accepted.
pub(crate) struct Accepted {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<Listener>,
    pub(crate) place: Place,
    /// Over the limit of connections: gets a reply and is closed.
    pub(crate) over_limit: bool,
}

/// Ends a connection of this peer without a session.
type TurnAway = dyn Fn(TcpStream, SocketAddr, &Listener) + Send + Sync;

/// What the accept loops of all listeners share.
pub(crate) struct Acceptor {
    /// No connection is accepted after this.
    pub(crate) stop: CancellationToken,
    pub(crate) observer: Observer,
    pub(crate) connections: Connections,
    pub(crate) rate: Arc<Rate>,
    /// Starts the session of a connection, and does not wait for it.
    pub(crate) serve: Box<dyn Fn(Accepted) + Send + Sync>,
    /// Ends a connection of a source that is over its rate.
    pub(crate) turn_away: Box<TurnAway>,
}

impl Acceptor {
    /// Accepts until the gateway stops or a reload closes the listener.
    pub(super) async fn accept(self: Arc<Self>, open: Arc<OpenListener>) {
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                accepted = open.next() => accepted,
            };
            match accepted {
                None => return open.close(),
                Some(Ok((tcp, peer))) => {
                    let listener = open.config();
                    if std::mem::take(&mut is_failing) {
                        tracing::info!(listener = %listener.name, "accepts connections again");
                    }
                    if wire::prepare(&tcp).is_ok() {
                        self.welcome(tcp, peer, listener);
                    }
                }
                Some(Err(error)) if concerns_one_connection(&error) => {}
                Some(Err(error)) => {
                    self.observer.accept_failed();
                    // One warning until it works again: the loop comes here ten times a second.
                    if !std::mem::replace(&mut is_failing, true) {
                        let listener = open.config();
                        tracing::warn!(listener = %listener.name, %error, "cannot accept connections");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, tcp: TcpStream, peer: SocketAddr, listener: Arc<Listener>) {
        // What comes through a load balancer is counted by the address in its header.
        let is_proxied = proxy::is_expected(peer, &listener.proxy_protocol_from);
        if !is_proxied && !self.rate.admits(peer.ip(), Instant::now()) {
            return (self.turn_away)(tcp, peer, &listener);
        }
        let (place, over_limit) = match self.connections.enter() {
            Some(place) => (place, false),
            None => {
                self.observer.connection_refused(Reason::TooManyConnections);
                let Some(place) = self.connections.enter_over_limit() else { return };
                (place, true)
            }
        };
        (self.serve)(Accepted { tcp, peer, listener, place, over_limit });
    }
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

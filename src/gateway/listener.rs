//! One address on which workstations connect: the accept loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::config::Listener;
use super::session::{Accepted, run};
use super::shared::Shared;
use super::stream::Stream;
use crate::words::Reason;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;
/// Connections beyond the limit that are still told so; the rest is just closed.
const TOLD: usize = 64;
/// After an error that does not pass by itself, as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds a listener's address.
pub(crate) fn bind(listener: &Listener) -> io::Result<TcpListener> {
    let address = listener.address;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the gateway stops.
pub(crate) async fn accept(
    socket: TcpListener,
    listener: Arc<Listener>,
    shared: Arc<Shared>,
    sessions: TaskTracker,
) {
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(listener = %listener.name, "accepts connections again");
                }
                let prepared = Stream::prepare(&tcp).map(|()| tcp);
                let Ok(tcp) = prepared else { continue };
                welcome(tcp, peer, &listener, &shared, &sessions);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
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
    peer: std::net::SocketAddr,
    listener: &Arc<Listener>,
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
    let accepted = Accepted { tcp, peer, listener: listener.clone(), place };
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

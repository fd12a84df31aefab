//! One connection from accept to close: the page to read first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::door::connections::{OriginPlace, Place};
use super::door::{Accepted, proxy};
use super::login::Admitted;
use super::relay::{self, Ended, Held, Pair};
use super::shared::Shared;
use super::wire::Wire;
use super::workstation::Session;
use crate::observe::{Event, SessionFacts};
use crate::words::{CloseReason, Reason, Security};

/// How long PROXY header and TLS handshake may take. Neither waits for a card or for a person.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// What a session has and holds when its login was accepted.
struct Begun {
    client: Wire,
    admitted: Admitted,
    origin: OriginPlace,
    place: Place,
}

/// Serves a connection and reports how it ended.
pub(crate) async fn run(mut accepted: Accepted, shared: Arc<Shared>) {
    let started = Instant::now();
    let Some(peer) = read_address(&mut accepted, &shared).await else { return };
    let session = Session::new(shared.clone(), &accepted.listener, peer);
    // Held to the end: a session that leaves the live table without `Closed` is a fault.
    let tracked = session.tracked.clone();
    shared.observer.emit(Event::Connected(&session.facts));
    let (facts, ended) = serve(session, accepted).await;
    shared.observer.emit(Event::Closed {
        session: &facts,
        close: ended.close,
        bytes_to_client: ended.to_workstation,
        bytes_to_module: ended.to_client_module,
        seconds: started.elapsed().as_secs_f64(),
    });
    shared.observer.contexts_active(shared.turns.contexts_active());
    drop(tracked);
}

/// The workstation's address; `None` if the gateway stops, or if a PROXY header is missing or wrong.
async fn read_address(accepted: &mut Accepted, shared: &Shared) -> Option<SocketAddr> {
    let limit = HANDSHAKE.min(shared.loaded.load().config.limits.login_timeout);
    let networks = &accepted.listener.proxy_protocol_from;
    let header = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return None,
        header = proxy::read(&mut accepted.tcp, accepted.peer, networks, limit) => header,
    };
    if header.is_err() {
        shared.observer.connection_refused(Reason::BadCommand);
    }
    header.ok()
}

/// The two halves of a session, each in a box of its own: the first needs much memory for handshakes
/// and dialling, which the second need not hold for hours.
async fn serve(mut session: Session, accepted: Accepted) -> (SessionFacts, Ended) {
    let shared = session.shared.clone();
    let begun = tokio::select! {
        biased;
        () = shared.kill.cancelled() => Err(CloseReason::from(Reason::ShuttingDown).into()),
        begun = Box::pin(begin(&mut session, accepted)) => begun,
    };
    match begun {
        Ok(begun) => Box::pin(relay(session, *begun)).await,
        Err(ended) => (session.facts, ended),
    }
}

/// Everything up to an accepted login: TLS, the workstation, its place, the login. On an error the
/// connection has been closed.
async fn begin(session: &mut Session, accepted: Accepted) -> Result<Box<Begun>, Ended> {
    let Accepted { tcp, listener, place, over_limit, .. } = accepted;
    let mut client = Wire::new(tcp);
    if listener.security == Security::Implicit {
        handshake(session, &mut client).await.map_err(CloseReason::Because)?;
    }
    session.recognise(&client);
    let origin = if over_limit { None } else { session.enter() };
    let Some(origin) = origin else {
        client.close(&session.goodbye(Reason::TooManyConnections)).await;
        return Err(CloseReason::Because(Reason::TooManyConnections).into());
    };
    match session.log_in(&mut client, listener.security).await {
        Ok(admitted) => Ok(Box::new(Begun { client, admitted, origin, place })),
        Err(close) => {
            let to_workstation = client.sent();
            client.close(&last_words(session, close)).await;
            Err(Ended { close, to_workstation, to_client_module: 0 })
        }
    }
}

/// The TLS handshake of a listener that has TLS from the first byte.
async fn handshake(session: &mut Session, client: &mut Wire) -> Result<(), Reason> {
    let _place = session.enter_handshake().ok_or(Reason::TooManyConnections)?;
    let limit = HANDSHAKE.min(session.loaded.config.limits.login_timeout);
    timeout(limit, session.secure(client)).await.unwrap_or(Err(Reason::Timeout))
}

/// What the workstation is told if the connection ends before its login. A front that ends the
/// connection itself has already sent its reply.
fn last_words(session: &Session, close: CloseReason) -> Vec<u8> {
    match close {
        CloseReason::Because(reason @ (Reason::Timeout | Reason::ShuttingDown)) => {
            session.goodbye(reason)
        }
        CloseReason::Ok
        | CloseReason::ClientLeft
        | CloseReason::Internal
        | CloseReason::Because(_) => Vec::new(),
    }
}

/// Everything after the login. No `async fn`: its future would keep what it was called with beside
/// what it made of it.
fn relay(session: Session, begun: Begun) -> impl Future<Output = (SessionFacts, Ended)> {
    let Begun { client, admitted, origin, place } = begun;
    let Admitted { upstream, context, mailbox } = admitted;
    let held = Held { _origin: origin, _context: context, _mailbox: mailbox };
    let Session { shared, loaded, facts, tracked, certificate_names } = session;
    relay::run(Pair {
        workstation: client,
        client_module: upstream.wire,
        permit: *upstream.permit,
        facts,
        loaded,
        shared,
        tracked,
        certificate_names,
        _place: place,
        held,
    })
}

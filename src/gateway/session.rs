//! One connection from accept to close: the page to read first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::config::Listener;
use super::door::connections::{OriginPlace, Place};
use super::door::{Accepted, proxy};
use super::login::Admitted;
use super::relay::{self, Ended, Held, Pair};
use super::reply::{About, no_greeting};
use super::shared::Shared;
use super::wire::{self, Wire};
use super::workstation::Session;
use crate::observe::{Event, SessionFacts};
use crate::words::{Action, CloseReason, Reason, Security};

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

/// Ends a connection of a source that is over `limits.connection_rate`, before anything is spent on it.
pub(crate) fn turn_away(tcp: &TcpStream, peer: SocketAddr, listener: &Listener, shared: &Shared) {
    let reason = Reason::TooManyConnections;
    let facts = SessionFacts::new(listener.protocol, listener.name.clone(), peer);
    shared.observer.connection_refused(reason);
    shared.observer.emit(Event::Denied {
        session: &facts,
        action: Action::Login,
        reason,
        rule: Some("limits.connection_rate"),
        enforced: true,
    });
    // A reply in clear means nothing where TLS comes first, and TLS is what a flood wants.
    if listener.security != Security::Implicit {
        let loaded = shared.loaded.load();
        let wording = loaded.config.wording();
        wire::say_at_once(tcp, &no_greeting(listener.protocol, wording, reason, About::default()));
    }
}

/// The workstation's address; `None` if there will be no session: the gateway stops, a PROXY header is
/// missing or wrong, or the source that it names is over its rate.
async fn read_address(accepted: &mut Accepted, shared: &Shared) -> Option<SocketAddr> {
    let limit = HANDSHAKE.min(shared.loaded.load().config.limits.login_timeout);
    let networks = &accepted.listener.proxy_protocol_from;
    let header = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return None,
        header = proxy::read(&mut accepted.tcp, accepted.peer, networks, limit) => header,
    };
    let Ok(address) = header else {
        shared.observer.connection_refused(Reason::BadCommand);
        return None;
    };
    let is_proxied = proxy::is_expected(accepted.peer, networks);
    if is_proxied && !shared.rate.admits(address.ip(), std::time::Instant::now()) {
        turn_away(&accepted.tcp, address, &accepted.listener, shared);
        return None;
    }
    Some(address)
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
    let security = listener.security;
    let mut client = Wire::new(tcp);
    // A place in the corner is kept until the login: TLS may begin after the greeting.
    let (origin, _corner) = match let_in(session, &mut client, security, over_limit).await {
        Ok(places) => places,
        Err(reason) => {
            // A reply in clear means nothing where TLS comes first.
            if security != Security::Implicit || client.has_tls() {
                client.close(&session.no_greeting(reason)).await;
            }
            return Err(CloseReason::Because(reason).into());
        }
    };
    match session.log_in(&mut client, security).await {
        Ok(admitted) => Ok(Box::new(Begun { client, admitted, origin, place })),
        Err(close) => {
            let to_workstation = client.sent();
            client.close(&last_words(session, close)).await;
            Err(Ended { close, to_workstation, to_client_module: 0 })
        }
    }
}

/// Everything before the greeting: TLS where it comes first, who the workstation is, and its places: one
/// of its own, and one among the strangers while it is one. `Err` is why it gets no greeting.
async fn let_in(
    session: &mut Session,
    client: &mut Wire,
    security: Security,
    over_limit: bool,
) -> Result<(OriginPlace, Option<OriginPlace>), Reason> {
    // With TLS from the first byte, the refusal can only be said after the handshake.
    if security != Security::Implicit {
        session.refuse_stranger(security)?;
    }
    let mut corner = session.enter_corner()?;
    if security == Security::Implicit {
        handshake(session, client).await?;
    }
    session.recognise(client);
    session.refuse_stranger(match security {
        Security::Implicit => Security::None,
        later @ (Security::StartTls | Security::None) => later,
    })?;
    // Named by its certificate, it is no stranger.
    corner.take_if(|_| session.facts.workstation.is_some());
    let origin = if over_limit { None } else { session.enter() };
    Ok((origin.ok_or(Reason::TooManyConnections)?, corner))
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

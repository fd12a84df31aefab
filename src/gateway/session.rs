//! One connection from accept to close: the page to read first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connections::{Accepted, OriginPlace, Place};
use super::login::Admitted;
use super::pair::{Alarms, Held, Pair, Stop, Told};
use super::shared::Shared;
use super::wire::Wire;
use super::workstation::Session;
use super::{pop3, proxy, smtp};
use crate::observe::{Event, SessionFacts};
use crate::words::{Close, Protocol, Reason, Security};

/// How long PROXY header and TLS handshake may take. Neither waits for a card or for a person.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// What a session has and holds when its login was accepted.
struct Begun {
    client: Wire,
    admitted: Admitted,
    origin: OriginPlace,
    place: Place,
}

/// How a session ended, and how many bytes it sent to each side.
pub(crate) struct Ended {
    pub(crate) close: Close,
    pub(crate) to_client: u64,
    pub(crate) to_module: u64,
}

impl From<Close> for Ended {
    fn from(close: Close) -> Self {
        Self { close, to_client: 0, to_module: 0 }
    }
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
        bytes_to_client: ended.to_client,
        bytes_to_module: ended.to_module,
        seconds: started.elapsed().as_secs_f64(),
    });
    shared.observer.contexts_active(shared.contexts.active());
    drop(tracked);
}

/// The workstation's address; `None` if the gateway stops, or if a PROXY header is missing or wrong.
async fn read_address(accepted: &mut Accepted, shared: &Shared) -> Option<SocketAddr> {
    let limit = HANDSHAKE.min(shared.live.load().config.limits.login_timeout);
    let header = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return None,
        header = proxy::read(accepted, limit) => header,
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
        () = shared.kill.cancelled() => Err(Close::from(Reason::ShuttingDown).into()),
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
    let Accepted { tcp, listener, place, .. } = accepted;
    let mut client = Wire::new(tcp);
    if listener.security == Security::Implicit {
        handshake(session, &mut client).await.map_err(Close::Because)?;
    }
    session.recognise(&client);
    let Some((place, origin)) = place.zip(session.enter()) else {
        client.close(&session.goodbye(Reason::TooManyConnections)).await;
        return Err(Close::Because(Reason::TooManyConnections).into());
    };
    match session.log_in(&mut client, listener.security).await {
        Ok(admitted) => Ok(Box::new(Begun { client, admitted, origin, place })),
        Err(close) => {
            let to_client = client.traffic().1;
            client.close(&last_words(session, close)).await;
            Err(Ended { close, to_client, to_module: 0 })
        }
    }
}

/// The TLS handshake of a listener that has TLS from the first byte.
async fn handshake(session: &mut Session, client: &mut Wire) -> Result<(), Reason> {
    let _place = session.enter_handshake().ok_or(Reason::TooManyConnections)?;
    let limit = HANDSHAKE.min(session.live.config.limits.login_timeout);
    timeout(limit, session.secure(client)).await.unwrap_or(Err(Reason::Timeout))
}

/// What the workstation is told if the connection ends before its login. A front that ends the
/// connection itself has already sent its reply.
fn last_words(session: &Session, close: Close) -> Vec<u8> {
    match close {
        Close::Because(reason @ (Reason::Timeout | Reason::ShuttingDown)) => {
            session.goodbye(reason)
        }
        Close::Ok | Close::ClientLeft | Close::Internal | Close::Because(_) => Vec::new(),
    }
}

/// Everything after the login.
async fn relay(session: Session, begun: Begun) -> (SessionFacts, Ended) {
    let Begun { client, admitted, origin, place: _place } = begun;
    let Admitted { upstream, context, turn } = admitted;
    converse(Pair {
        client,
        module: upstream.wire,
        permit: *upstream.permit,
        facts: session.facts,
        live: session.live,
        alarms: Alarms::new(&session.shared.stop),
        shared: session.shared,
        tracked: session.tracked,
        certificate_names: session.certificate_names,
        bad_lines: 0,
        left: None,
        moved: 0,
        told: Told::default(),
        farewell: Vec::new(),
        held: Held { _place: origin, _context: context, _turn: turn },
    })
    .await
}

async fn converse(mut pair: Pair) -> (SessionFacts, Ended) {
    let shared = pair.shared.clone();
    let served = async {
        match pair.facts.protocol {
            Protocol::Pop3 => pop3::serve(&mut pair).await,
            Protocol::Smtp => smtp::serve(&mut pair).await,
        }
    };
    let stop = tokio::select! {
        biased;
        () = shared.kill.cancelled() => Stop::Broken(Reason::ShuttingDown),
        stop = served => stop,
    };
    let facts = pair.facts.clone();
    let ended = tokio::select! {
        biased;
        ended = Box::pin(pair.end(stop)) => ended,
        () = shared.kill.cancelled() => Close::from(Reason::ShuttingDown).into(),
    };
    (facts, ended)
}

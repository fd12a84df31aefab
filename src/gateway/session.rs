//! One connection from accept to close: the page to read first.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::admit::{Admitted, Refused, Rejection};
use super::connections::{Origin, OriginPlace, Place};
use super::live::Live;
use super::machines::{Front, Wish};
use super::proxy;
use super::relay::{self, Ended, Held, Pair};
use super::reply::{About, code_of, goodbye};
use super::shared::Shared;
use super::stream::Stream;
use super::wire::Wire;
use crate::observe::{Event, LiveSession, Phase, SessionFacts};
use crate::policy::Station;
use crate::proto::front::{Setup, Stage};
use crate::trust::{HandshakeFault, client_expires_at, client_names};
use crate::words::{Action, Close, Reason, Security};

/// How long a TLS handshake may take from the accept on; it waits for no card and for no person.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(30);

/// Logins that one connection may try.
const TRIES: u32 = 10;

/// A connection that a listener has accepted.
pub(crate) struct Accepted {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<super::config::Listener>,
    /// `None`: one too many, which hears so and goes.
    pub(crate) place: Option<Place>,
}

/// A session as far as it is known.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The configuration that it was begun under, and then the one that its login was judged by.
    pub(crate) live: Arc<Live>,
    pub(crate) facts: SessionFacts,
    pub(crate) tracked: Arc<LiveSession>,
    certificate_names: Vec<String>,
}

/// A session that is logged in, and what it holds.
struct Begun {
    client: Wire,
    admitted: Admitted,
    origin: OriginPlace,
}

/// Serves a connection and says how it ended.
pub(crate) async fn run(mut accepted: Accepted, shared: Arc<Shared>) {
    let started = Instant::now();
    let live = shared.live.load_full();
    let header = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        header = proxy::read(&mut accepted, HANDSHAKE.min(live.config.limits.login_timeout)) => header,
    };
    let Ok(peer) = header else {
        shared.observer.connection_refused(Reason::BadCommand);
        return;
    };
    let listener = &accepted.listener;
    let facts = SessionFacts::new(listener.protocol, listener.name.clone(), peer);
    // Held to the end: a session that vanishes from the table without a close is a fault.
    let tracked = Arc::new(shared.observer.track(&facts));
    shared.observer.emit(Event::Connected(&facts));
    let session = Session {
        shared: shared.clone(),
        live,
        facts,
        tracked: tracked.clone(),
        certificate_names: Vec::new(),
    };
    let (facts, ended) = session.serve(accepted).await;
    shared.observer.emit(Event::Closed {
        session: &facts,
        close: ended.close,
        bytes_to_client: ended.to_workstation,
        bytes_to_module: ended.to_client_module,
        seconds: started.elapsed().as_secs_f64(),
    });
    shared.observer.contexts_active(shared.contexts.active());
    drop(tracked);
}

impl Session {
    /// Each half in a box of its own: what the first one needs for handshakes and dialling, the second
    /// one does not hold for hours.
    async fn serve(mut self, accepted: Accepted) -> (SessionFacts, Ended) {
        let shared = self.shared.clone();
        let begun = tokio::select! {
            biased;
            () = shared.kill.cancelled() => Err(Close::from(Reason::ShuttingDown).into()),
            begun = Box::pin(self.begin(accepted)) => begun,
        };
        match begun {
            Ok((begun, _place)) => Box::pin(relay::run(self.pair(*begun))).await,
            Err(ended) => (self.facts, ended),
        }
    }

    /// Everything up to the login. A connection that does not get there is closed when this returns.
    async fn begin(&mut self, accepted: Accepted) -> Result<(Box<Begun>, Place), Ended> {
        let Accepted { tcp, listener, place, .. } = accepted;
        let deadline = Instant::now() + HANDSHAKE.min(self.live.config.limits.login_timeout);
        let mut client = Wire::new(Stream::Plain(tcp));
        let secured = async {
            match listener.security {
                Security::Implicit => {
                    // Counted by address, as nobody knows yet which workstation it is: otherwise
                    // one that only connects could take the places of all.
                    let origin = Origin::Handshake(self.address());
                    let _place = self.enter(origin).ok_or(Reason::TooManyConnections)?;
                    self.secure(&mut client).await
                }
                Security::StartTls | Security::None => Ok(()),
            }
        };
        timeout_at(deadline, secured)
            .await
            .unwrap_or(Err(Reason::Timeout))
            .map_err(Close::Because)?;
        self.recognise(&client);
        let Some((place, origin)) = place.zip(self.enter(self.origin())) else {
            let workstation = self.facts.workstation_or_address();
            client.close(&self.live.full(self.facts.protocol, &workstation)).await;
            return Err(Close::Because(Reason::TooManyConnections).into());
        };
        match self.log_in(&mut client, &listener).await {
            Ok((admitted, bytes_after)) => {
                client.unread(&bytes_after);
                Ok((Box::new(Begun { client, admitted, origin }), place))
            }
            Err(close) => {
                let to_workstation = client.traffic().1;
                let last_words = self.last_words(close);
                client.close(&last_words).await;
                Err(Ended { close, to_workstation, to_client_module: 0 })
            }
        }
    }

    fn pair(self, begun: Begun) -> Pair {
        let Begun { client, admitted, origin } = begun;
        let Admitted { upstream, permit, context, turn, .. } = admitted;
        Pair {
            workstation: client,
            client_module: upstream.wire,
            permit,
            facts: self.facts,
            live: self.live,
            shared: self.shared,
            tracked: self.tracked,
            certificate_names: self.certificate_names,
            held: Held { _place: origin, _context: context, _turn: turn },
        }
    }

    /// The TLS handshake, on a listener that has TLS from the first byte or after STARTTLS.
    async fn secure(&mut self, client: &mut Wire) -> Result<(), Reason> {
        self.tracked.phase(Phase::Handshake);
        let Some(tls) = &self.live.tls else { return Err(Reason::TlsFailed) };
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.server_config());
        let (protocol, language) = (self.facts.protocol, self.live.config.language);
        client
            .upgrade(async |tcp| {
                proxy::answer_plaintext(&tcp, protocol, language).await?;
                Ok(Stream::Workstation(Box::new(acceptor.accept(tcp).await?)))
            })
            .await
            .map_err(|error| self.tls_failed(&HandshakeFault::of(&error)))?;
        match client.stream() {
            Stream::Workstation(tls) => match HandshakeFault::of_resumed(
                tls.get_ref().1.peer_certificates().unwrap_or_default(),
            ) {
                Some(fault) => Err(self.tls_failed(&fault)),
                None => Ok(()),
            },
            Stream::Plain(_) | Stream::ClientModule(_) | Stream::Lost => Ok(()),
        }
    }

    fn tls_failed(&mut self, fault: &HandshakeFault) -> Reason {
        self.facts.tls_fault = Some(fault.sentence(self.live.config.language));
        Reason::TlsFailed
    }

    /// Finds the workstation by its certificate or its address.
    fn recognise(&mut self, client: &Wire) {
        let mut ends = None;
        if let Stream::Workstation(tls) = client.stream() {
            let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
            (self.certificate_names, ends) = (client_names(shown), client_expires_at(shown));
        }
        self.facts.workstation = self.station().name().map(Into::into);
        if let (Some(workstation), Some(ends)) = (&self.facts.workstation, ends) {
            self.shared.observer.certificate_met(workstation, ends.unix_timestamp());
        }
        self.tracked.learn(&self.facts);
    }

    pub(crate) fn station(&self) -> Station {
        self.live.policy.station(self.facts.peer.ip(), &self.certificate_names)
    }

    fn origin(&self) -> Origin {
        match &self.facts.workstation {
            Some(name) => Origin::Workstation(name.clone()),
            None => Origin::Address(self.address()),
        }
    }

    fn address(&self) -> IpAddr {
        self.facts.peer.ip().to_canonical()
    }

    fn enter(&self, origin: Origin) -> Option<OriginPlace> {
        let limit = self.live.config.limits.connections_per_workstation;
        self.shared.connections.enter_from(origin, limit)
    }

    /// Talks to the workstation until a login is accepted; gives the bytes that came after it.
    async fn log_in(
        &mut self,
        client: &mut Wire,
        listener: &super::config::Listener,
    ) -> Result<(Admitted, Vec<u8>), Close> {
        let before_tls = listener.security == Security::StartTls;
        let mut front = self.front(if before_tls { Stage::BeforeTls } else { Stage::Open }, true);
        for _ in 0..TRIES {
            self.tracked.phase(Phase::Login);
            let credentials = loop {
                match self.next_wish(&mut front, client).await? {
                    Wish::Login(credentials) => break credentials,
                    Wish::Quit => return Err(Close::Ok),
                    Wish::StartTls => {
                        let patience = self.live.config.limits.login_timeout;
                        let secured = timeout(patience, self.secure(client)).await;
                        secured.map_err(|_| Close::Because(Reason::Timeout))??;
                        self.recognise(client);
                        front = self.front(Stage::Open, false);
                    }
                }
            };
            let asked = Instant::now();
            match self.admit(&credentials, client).await {
                Ok(admitted) => {
                    drop(credentials);
                    self.report_login(Ok(&admitted), asked);
                    // It holds the mailbox already, so it has to take its answer in time.
                    let patience = self.live.config.limits.login_timeout;
                    let sent = timeout(patience, client.send(&admitted.answer.bytes)).await;
                    sent.map_err(|_| Close::ClientLeft)?.map_err(|_| Close::ClientLeft)?;
                    return Ok((admitted, front.accept()));
                }
                Err(Rejection::Refused(refused)) => {
                    self.report_login(Err(&refused), asked);
                    front.refuse(&refused.reply);
                }
                Err(Rejection::ClientLeft) => return Err(Close::ClientLeft),
            }
        }
        // The last refusal still has to go out.
        let _ = timeout(SAY, front.drive(client, self.live.config.language)).await;
        Err(Close::Because(Reason::BadCommand))
    }

    fn front(&self, stage: Stage, greet: bool) -> Front {
        let config = &self.live.config;
        let setup = Setup {
            name: config.name.clone(),
            stage,
            capabilities: self.live.capabilities(),
            login_line: config.limits.login_line,
            command_line: config.limits.command_line,
        };
        Front::new(self.facts.protocol, setup, greet)
    }

    async fn next_wish(&mut self, front: &mut Front, client: &mut Wire) -> Result<Wish, Close> {
        let patience = self.live.config.limits.login_timeout;
        tokio::select! {
            biased;
            wish = timeout(patience, front.drive(client, self.live.config.language)) => {
                wish.map_err(|_| Close::Because(Reason::Timeout))?
            }
            () = self.shared.stop.cancelled() => Err(Close::Because(Reason::ShuttingDown)),
        }
    }

    fn report_login(&self, outcome: Result<&Admitted, &Refused>, asked: Instant) {
        let (action, result, rule, reply, would_deny) = match outcome {
            Ok(Admitted { permit, answer, .. }) => (
                Action::Login,
                Ok(()),
                Some(permit.rule()),
                answer.bytes.as_slice(),
                permit.would_deny().map(|denial| denial.reason),
            ),
            Err(Refused { action, reason, rule, reply }) => {
                (*action, Err(*reason), rule.as_ref(), reply.as_slice(), None)
            }
        };
        self.shared.observer.emit(Event::Login {
            session: &self.facts,
            action,
            result,
            seconds: asked.elapsed().as_secs_f64(),
            rule: rule.map(|rule| rule.as_str()),
            reply: code_of(reply),
            would_deny,
        });
    }

    /// What a workstation hears that is sent away before its login. A front that closes has said
    /// so itself.
    fn last_words(&self, close: Close) -> Vec<u8> {
        match close {
            Close::Because(reason @ (Reason::Timeout | Reason::ShuttingDown)) => {
                let config = &self.live.config;
                goodbye(self.facts.protocol, config.language, reason, About::default())
            }
            Close::Ok | Close::ClientLeft | Close::Internal | Close::Because(_) => Vec::new(),
        }
    }
}

/// How long a workstation may take to accept a last reply.
const SAY: std::time::Duration = std::time::Duration::from_secs(5);

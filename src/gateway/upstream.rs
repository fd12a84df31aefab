//! Dialling a client module: TCP, TLS, verdict, greeting. Nobody logs in without a permit.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::config::ClientModule;
use super::machines::{Back, BackError, Capabilities, StartTls};
use super::resolve::Resolver;
use super::stream::Stream;
use super::wire::Wire;
use crate::observe::{ClientModuleState, Event, Observer};
use crate::policy::Permit;
use crate::proto::back::{Answer, BackStep};
use crate::proto::sasl::Credentials;
use crate::trust::{Class, KnownCertificates, MaterialError, UpstreamTls, Verdict, verdict_of};
use crate::words::{Language, Protocol, Reason, Security};

/// How long a TCP connection may take; a machine that is there answers within a second.
const CONNECT: Duration = Duration::from_secs(10);

/// A client module as the gateway knows it.
pub(crate) struct Module {
    pub(crate) name: Arc<str>,
    pub(crate) config: ClientModule,
    /// By protocol, as each is a port of its own.
    tls: Option<[UpstreamTls; 2]>,
    resolver: Resolver,
    /// Our own name, for EHLO.
    gateway: String,
    language: Language,
    /// How long TLS and greeting, or a login, may take.
    patience: Duration,
    known: Arc<KnownCertificates>,
    learned: Mutex<Option<Capabilities>>,
    /// The verdicts that were reported last; two ports may show two certificates.
    reported: Mutex<BTreeMap<Protocol, Arc<Verdict>>>,
    /// By protocol: it did not answer the last time that it was dialled.
    silent: [AtomicBool; 2],
    /// A login found it silent; whoever asks after it should begin to.
    fell_silent: [Notify; 2],
}

/// A connection to a client module that waits for a login.
pub(crate) struct Upstream {
    pub(crate) module: Arc<Module>,
    pub(crate) wire: Wire,
    back: Back,
}

/// What dialling brought, where nothing went wrong on the way.
pub(crate) enum Dialled {
    /// It waits for a login.
    Ready(Box<Upstream>),
    /// It greeted us with a refusal.
    Refused(Answer),
}

/// Why a client module cannot be used now.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) reason: Reason,
    /// One line for a person.
    pub(crate) detail: String,
}

impl DialError {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl Module {
    /// Reads the module's certificates and keys.
    pub(crate) fn load(
        name: &str,
        config: &ClientModule,
        gateway: &str,
        language: Language,
        patience: Duration,
        known: Arc<KnownCertificates>,
    ) -> Result<Self, MaterialError> {
        let tls = match config.security {
            Security::None => None,
            Security::Implicit | Security::StartTls => {
                let tls = UpstreamTls::load(&config.trust, &config.host)?;
                Some([tls.for_another_port(), tls])
            }
        };
        Ok(Self {
            name: name.into(),
            config: config.clone(),
            tls,
            resolver: Resolver::new(&config.host),
            gateway: gateway.into(),
            language,
            patience,
            known,
            learned: Mutex::new(None),
            reported: Mutex::default(),
            silent: Default::default(),
            fell_silent: Default::default(),
        })
    }

    /// When the certificates end that its configuration names, by their roles.
    pub(crate) fn certificate_ends(&self) -> &[(&'static str, time::OffsetDateTime)] {
        self.tls.as_ref().map_or(&[], |[tls, _]| tls.expiries())
    }

    /// What it offered when last asked, if it ever answered.
    pub(crate) fn capabilities(&self) -> Option<Capabilities> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what it offers.
    pub(crate) fn learn(&self, capabilities: Capabilities) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = Some(capabilities);
    }

    fn is_silent(&self, protocol: Protocol) -> bool {
        self.silent[index(protocol)].load(Ordering::Relaxed)
    }

    /// Resolves when a login has found that it does not answer any more.
    pub(crate) async fn fell_silent(&self, protocol: Protocol) {
        self.fell_silent[index(protocol)].notified().await;
    }

    async fn connect(
        self: &Arc<Self>,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<Dialled, DialError> {
        match timeout(CONNECT + self.patience, self.greet(protocol, observer)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(DialError::new(
                Reason::ClientModuleUnreachable,
                format!("{}: no greeting in time", self.name),
            )),
        }
    }

    /// Says what came of dialling, and how long it took where somebody answered.
    fn tell<T>(
        &self,
        protocol: Protocol,
        outcome: &Result<T, DialError>,
        seconds: f64,
        observer: &Observer,
    ) {
        let known = self.capabilities();
        let state = match outcome {
            Ok(_) => ClientModuleState {
                up: true,
                capabilities: known.as_ref().map_or(&[], |known| known.lines(protocol)),
                error: None,
                connect_seconds: Some(seconds),
            },
            Err(error) => {
                ClientModuleState { error: Some(&error.detail), ..ClientModuleState::default() }
            }
        };
        let silent = matches!(outcome, Err(e) if e.reason == Reason::ClientModuleUnreachable);
        self.silent[index(protocol)].store(silent, Ordering::Relaxed);
        observer.client_module_state(&self.name, protocol, state);
    }

    async fn greet(
        self: &Arc<Self>,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<Dialled, DialError> {
        let tcp = self.tcp(protocol).await?;
        let implicit = self.config.security == Security::Implicit;
        let mut wire = Wire::new(Stream::Plain(tcp));
        let start_tls = self.start_tls(protocol);
        if let (true, Some(tls)) = (implicit, &start_tls) {
            let shaken = super::machines::secure(&mut wire, tls).await;
            shaken.map_err(|error| self.untrusted(&error, protocol, observer))?;
            self.judge(&wire, protocol, observer)?;
        }
        let mut back = Back::new(protocol, &self.gateway, start_tls.is_some() && !implicit);
        match back.drive(&mut wire, start_tls.as_ref()).await {
            Ok(BackStep::Refused(answer)) => Ok(Dialled::Refused(answer)),
            Ok(_) => {
                if !implicit {
                    self.judge(&wire, protocol, observer)?;
                }
                let module = self.clone();
                Ok(Dialled::Ready(Box::new(Upstream { module, wire, back })))
            }
            Err(error) => Err(self.fault(error, protocol, observer)),
        }
    }

    async fn tcp(&self, protocol: Protocol) -> Result<TcpStream, DialError> {
        let (host, port) = (self.config.host.as_str(), self.config.port(protocol));
        let unreachable = |why: &dyn std::fmt::Display| {
            DialError::new(Reason::ClientModuleUnreachable, format!("{host}:{port}: {why}"))
        };
        let tcp = match timeout(CONNECT, self.resolver.connect(port)).await {
            Ok(connected) => connected.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(unreachable(&"no answer within 10 s")),
        };
        Stream::prepare(&tcp).map_err(|error| unreachable(&error))?;
        Ok(tcp)
    }

    fn start_tls(&self, protocol: Protocol) -> Option<StartTls> {
        let tls = &self.tls.as_ref()?[index(protocol)];
        Some(StartTls { connector: tls.client_config().into(), server_name: tls.server_name() })
    }

    /// Reports the verdict on a handshake that went through. A resumed one shows no certificate
    /// again, so its dates are looked at here.
    fn judge(&self, wire: &Wire, protocol: Protocol, observer: &Observer) -> Result<(), DialError> {
        let (Some(tls), Stream::ClientModule(stream)) = (&self.tls, wire.stream()) else {
            return Ok(());
        };
        let verdict = tls[index(protocol)]
            .verdict(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let last = reported.insert(protocol, verdict.clone());
        if verdict.accepted && last.is_some_and(|last| Arc::ptr_eq(&last, &verdict)) {
            observer.certificate_judged_again(&self.name, verdict.class.as_str());
            return Ok(());
        }
        drop(reported);
        let sentence = self.report(Verdict::clone(&verdict), protocol, observer);
        if verdict.accepted {
            return Ok(());
        }
        Err(DialError::new(Reason::ClientModuleUntrusted, sentence))
    }

    fn untrusted(&self, error: &io::Error, protocol: Protocol, observer: &Observer) -> DialError {
        match verdict_of(error) {
            Some(verdict) => {
                // A connection that breaks says nothing about the certificate, and a standby may
                // do better.
                let reason = if verdict.class == Class::Reset {
                    Reason::ClientModuleUnreachable
                } else {
                    Reason::ClientModuleUntrusted
                };
                DialError::new(reason, self.report(verdict, protocol, observer))
            }
            None => {
                DialError::new(Reason::ClientModuleUnreachable, format!("{}: {error}", self.name))
            }
        }
    }

    fn report(&self, mut verdict: Verdict, protocol: Protocol, observer: &Observer) -> String {
        self.known.meet(&self.config.place(protocol), &mut verdict);
        let sentence = verdict.sentence(self.language);
        observer.emit(Event::Certificate {
            client_module: &self.name,
            class: verdict.class.as_str(),
            accepted: verdict.accepted,
            sentence: &sentence,
            fingerprint: verdict.certificate.as_ref().map(|c| c.fingerprint.as_str()),
            not_after: verdict.certificate.as_ref().map(|c| c.not_after.unix_timestamp()),
            replaces: verdict.replaces.as_deref(),
        });
        sentence
    }

    fn fault(&self, error: BackError, protocol: Protocol, observer: &Observer) -> DialError {
        match error {
            BackError::Gone => DialError::new(
                Reason::ClientModuleUnreachable,
                format!("{}: connection closed", self.name),
            ),
            BackError::Protocol(error) => {
                DialError::new(Reason::ClientModuleProtocolError, format!("{}: {error}", self.name))
            }
            BackError::Tls(error) => self.untrusted(&error, protocol, observer),
        }
    }
}

/// Dials the permit's client module, or its standby where it does not answer. No login has been
/// sent when this returns. Who did not answer the last time is dialled second, so that logins do not
/// wait for a machine that is off; the probes notice when it is back.
pub(crate) async fn dial(
    permit: &Permit,
    modules: &super::live::Modules,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Dialled, DialError> {
    let module = modules.get(permit.client_module()).ok_or_else(|| {
        DialError::new(Reason::ClientModuleUnreachable, "not in the configuration")
    })?;
    let Some(standby) = module.config.standby.as_deref().and_then(|name| modules.get(name)) else {
        return call(module, protocol, observer).await;
    };
    let (first, second) = match module.is_silent(protocol) && !standby.is_silent(protocol) {
        true => (standby, module),
        false => (module, standby),
    };
    let dialled = match call(first, protocol, observer).await {
        Err(error) if error.reason == Reason::ClientModuleUnreachable => {
            call(second, protocol, observer).await
        }
        dialled => dialled,
    };
    if let Ok(Dialled::Ready(upstream)) = &dialled
        && Arc::ptr_eq(&upstream.module, standby)
    {
        observer.failed_over(&module.name, &standby.name);
    }
    dialled
}

fn index(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Pop3 => 0,
        Protocol::Smtp => 1,
    }
}

async fn call(
    module: &Arc<Module>,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Dialled, DialError> {
    let started = Instant::now();
    let was_silent = module.is_silent(protocol);
    let dialled = module.connect(protocol, observer).await;
    module.tell(protocol, &dialled, started.elapsed().as_secs_f64(), observer);
    if module.is_silent(protocol) && !was_silent {
        module.fell_silent[index(protocol)].notify_one();
    }
    dialled
}

/// Asks a client module what it offers, without a login.
pub(crate) async fn probe(
    module: &Arc<Module>,
    protocol: Protocol,
    observer: &Observer,
) -> Result<(), DialError> {
    // What it says is for the logins to come; what it cannot say, dialling will.
    let _ = timeout(CONNECT, module.resolver.ask(module.config.port(protocol))).await;
    let started = Instant::now();
    let connected = module.connect(protocol, observer).await;
    let seconds = started.elapsed().as_secs_f64();
    let probed = match connected {
        Ok(Dialled::Ready(upstream)) => upstream.ask_capabilities(observer).await,
        // It answers, if only to say that it is busy; what it offers is not known.
        Ok(Dialled::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    };
    module.tell(protocol, &probed, seconds, observer);
    probed
}

impl Upstream {
    /// Learns what the client module offers, and takes leave.
    async fn ask_capabilities(mut self, observer: &Observer) -> Result<(), DialError> {
        let module = &self.module;
        // An SMTP server has said so already, and would leave a second wait without an answer.
        if self.back.ask_capabilities() {
            let asked = self.back.drive(&mut self.wire, None);
            match timeout(module.patience, asked).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    return Err(module.fault(error, self.back.protocol(), observer));
                }
                Err(_) => {
                    let detail = format!("{}: no answer in time", module.name);
                    return Err(DialError::new(Reason::ClientModuleUnreachable, detail));
                }
            }
        }
        let mut known = module.capabilities().unwrap_or_else(Capabilities::conservative);
        match &self.back {
            Back::Pop3(back) => known.pop3 = back.capabilities().clone(),
            Back::Smtp(back) => known.smtp = back.capabilities().clone(),
        }
        module.learn(known);
        self.back.quit();
        // It has told us what we came for; whether it answers QUIT changes nothing.
        let _ = timeout(CONNECT, self.back.drive(&mut self.wire, None)).await;
        self.wire.close(b"").await;
        Ok(())
    }

    /// Sends the login and waits for the verdict. Cards are slow, and so is this.
    pub(crate) async fn log_in(
        &mut self,
        credentials: &Credentials,
        observer: &Observer,
    ) -> Result<Result<Answer, Answer>, DialError> {
        self.back.log_in(credentials);
        let answered = self.back.drive(&mut self.wire, None);
        match timeout(self.module.patience, answered).await {
            Ok(Ok(BackStep::LoggedIn(answer))) => Ok(Ok(answer)),
            Ok(Ok(BackStep::Refused(answer))) => Ok(Err(answer)),
            Ok(Ok(_)) => Err(DialError::new(Reason::ClientModuleProtocolError, "")),
            // The answer may repeat the password, so its words stay out of the text.
            Ok(Err(BackError::Protocol(error))) => {
                let error = BackError::Protocol(error.without_excerpt());
                Err(self.module.fault(error, self.back.protocol(), observer))
            }
            Ok(Err(error)) => Err(self.module.fault(error, self.back.protocol(), observer)),
            Err(_) => Err(DialError::new(
                Reason::ClientModuleUnreachable,
                format!("{}: the login was not answered in time", self.module.name),
            )),
        }
    }
}

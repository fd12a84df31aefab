//! Dialling a client module: TCP, TLS, the verdict on its certificate, its greeting.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::back::{self, BackError};
use super::error::DialError;
use super::module::{ClientModule, ClientModules};
use crate::gateway::wire::{Wire, prepare};
use crate::observe::{ClientModuleState, Observer};
use crate::policy::Permit;
use crate::proto::ProtocolError;
use crate::proto::back::{Answer, Back, BackStep};
use crate::words::{Protocol, Reason, Security};

/// How long TCP, TLS, greeting and the answer to EHLO or CAPA may take together. No card is asked before
/// the login, so a machine that is there answers within a second.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// A connection to a client module that waits for a login.
pub(crate) struct Upstream {
    pub(super) module: Arc<ClientModule>,
    pub(super) wire: Wire,
    pub(super) back: Box<dyn Back>,
    protocol: Protocol,
}

/// Dials the permit's client module, and its standby if the first does not serve. A client module
/// that did not serve the last time is dialled after its standby, so that logins do not wait for a
/// machine that is off; the probes notice when it serves again. No login has been sent when this
/// returns.
pub(crate) async fn dial(
    permit: &Permit,
    modules: &ClientModules,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Box<Upstream>, DialError> {
    let module = modules.get(permit.client_module()).ok_or_else(|| {
        DialError::new(Reason::ClientModuleUnreachable, "not in the configuration")
    })?;
    let Some(standby) = module.config.standby.as_deref().and_then(|name| modules.get(name)) else {
        return dial_for_login(module, protocol, observer).await;
    };
    let standby_first = module.port(protocol).is_down() && !standby.port(protocol).is_down();
    let (first, second) = if standby_first { (standby, module) } else { (module, standby) };
    let dialled = match dial_for_login(first, protocol, observer).await {
        Err(error) if error.is_out_of_service() => dial_for_login(second, protocol, observer).await,
        dialled => dialled,
    };
    if let Ok(upstream) = &dialled
        && Arc::ptr_eq(&upstream.module, standby)
    {
        observer.failed_over(&module.name, &standby.name);
    }
    dialled
}

/// Dials one client module, and wakes its probe if it does not serve any more.
async fn dial_for_login(
    module: &Arc<ClientModule>,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Box<Upstream>, DialError> {
    let started = Instant::now();
    let port = module.port(protocol);
    let was_down = port.is_down();
    let dialled = module.connect(protocol, observer).await;
    module.record(protocol, &dialled, started.elapsed(), observer);
    if port.is_down() && !was_down {
        port.report_down();
    }
    dialled
}

impl Upstream {
    /// The client module that was dialled: the permit's, or its standby.
    pub(crate) fn client_module(&self) -> &Arc<str> {
        &self.module.name
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl ClientModule {
    /// Connects, and stops when the client module waits for a login.
    pub(super) async fn connect(
        self: &Arc<Self>,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<Box<Upstream>, DialError> {
        let limit = CONNECT.min(self.patience);
        let deadline = Instant::now() + limit;
        let tcp = match timeout_at(deadline, self.tcp(protocol)).await {
            Ok(tcp) => tcp?,
            Err(_) => return Err(self.unreachable(format!("no answer within {limit:?}"))),
        };
        match timeout_at(deadline, self.greet(tcp, protocol, observer)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(self.unreachable(format!("no greeting within {limit:?}"))),
        }
    }

    async fn greet(
        self: &Arc<Self>,
        tcp: TcpStream,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<Box<Upstream>, DialError> {
        let mut wire = Wire::new(tcp);
        let tls = self.port(protocol).tls();
        let (from_first_byte, start_tls) = match self.config.security {
            Security::Implicit => (tls, None),
            Security::StartTls | Security::None => (None, tls),
        };
        if let Some(tls) = from_first_byte {
            let secured = wire.connect_tls(tls).await;
            secured.map_err(|error| self.untrusted(&error, protocol, observer))?;
            self.judge(&wire, protocol, observer)?;
        }
        let mut back = back::new(protocol, &self.gateway, start_tls.is_some());
        match back::drive(&mut *back, &mut wire, start_tls).await {
            Ok(BackStep::Refused(answer)) => Err(self.turned_away(&answer)),
            Ok(BackStep::Ready) => {
                if start_tls.is_some() {
                    self.judge(&wire, protocol, observer)?;
                }
                let module = self.clone();
                Ok(Box::new(Upstream { module, wire, back, protocol }))
            }
            Ok(_) => {
                let error = ProtocolError::OutOfOrder("greeting").into();
                Err(self.failed(error, protocol, observer))
            }
            Err(error) => Err(self.failed(error, protocol, observer)),
        }
    }

    async fn tcp(&self, protocol: Protocol) -> Result<TcpStream, DialError> {
        let (host, port) = (self.config.host.as_str(), self.config.port(protocol));
        let connected = self.resolver.connect(port).await;
        let prepared = connected.and_then(|tcp| prepare(&tcp).map(|()| tcp));
        prepared.map_err(|error| {
            let detail = format!("{host}:{port}: {error}");
            DialError::new(Reason::ClientModuleUnreachable, detail)
        })
    }

    /// It answers, and serves nobody: its greeting, or its answer to EHLO, is a refusal. That is never
    /// the answer to a login, since none was sent.
    fn turned_away(&self, answer: &Answer) -> DialError {
        self.unreachable(format!("it turns everybody away: {}", answer.excerpt()))
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> DialError {
        DialError::new(Reason::ClientModuleUnreachable, format!("{}: {why}", self.name))
    }

    /// What it means that a back did not get to its next step.
    pub(super) fn failed(
        &self,
        error: BackError,
        protocol: Protocol,
        observer: &Observer,
    ) -> DialError {
        match error {
            BackError::Gone => self.unreachable("connection closed"),
            BackError::Protocol(error) => {
                DialError::new(Reason::ClientModuleProtocolError, format!("{}: {error}", self.name))
            }
            BackError::Tls(error) => self.untrusted(&error, protocol, observer),
        }
    }

    /// Records whether it serves, and how long that took.
    pub(super) fn record<T>(
        &self,
        protocol: Protocol,
        outcome: &Result<T, DialError>,
        took: Duration,
        observer: &Observer,
    ) {
        let known = self.capabilities();
        let state = match outcome {
            Ok(_) => ClientModuleState {
                up: true,
                capabilities: known.as_ref().map_or(&[], |known| known.lines(protocol)),
                error: None,
                connect_seconds: Some(took.as_secs_f64()),
            },
            Err(error) => {
                ClientModuleState { error: Some(&error.detail), ..ClientModuleState::default() }
            }
        };
        let is_down = matches!(outcome, Err(error) if error.is_out_of_service());
        self.port(protocol).set_down(is_down);
        observer.client_module_state(&self.name, protocol, state);
    }
}

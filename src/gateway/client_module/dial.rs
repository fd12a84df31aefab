//! Dialling a client module: TCP, TLS, the verdict on its certificate, its greeting.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::back::{Back, BackError};
use super::error::DialError;
use super::module::{ClientModule, ClientModules};
use crate::gateway::wire::{Wire, prepare};
use crate::observe::{ClientModuleState, Observer};
use crate::policy::Permit;
use crate::proto::back::{Answer, BackStep};
use crate::words::{Protocol, Reason, Security};

/// How long a TCP connection may take. A machine that is there answers within a second.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// A connection to a client module that waits for a login.
pub(crate) struct Upstream {
    pub(super) module: Arc<ClientModule>,
    pub(super) wire: Wire,
    pub(super) back: Back,
}

/// What dialling brought if nothing failed.
pub(crate) enum Dialled {
    /// The client module waits for a login.
    Ready(Box<Upstream>),
    /// The client module's greeting, or its answer to EHLO, was this refusal.
    Refused(Answer),
}

/// Dials the permit's client module, and its standby if the first does not answer. A client module
/// that did not answer the last time is dialled after its standby, so that logins do not wait for a
/// machine that is off; the probes notice when it answers again. No login has been sent when this
/// returns.
pub(crate) async fn dial(
    permit: &Permit,
    modules: &ClientModules,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Dialled, DialError> {
    let module = modules.get(permit.client_module()).ok_or_else(|| {
        DialError::new(Reason::ClientModuleUnreachable, "not in the configuration")
    })?;
    let Some(standby) = module.config.standby.as_deref().and_then(|name| modules.get(name)) else {
        return dial_for_login(module, protocol, observer).await;
    };
    let standby_first = module.port(protocol).is_silent() && !standby.port(protocol).is_silent();
    let (first, second) = if standby_first { (standby, module) } else { (module, standby) };
    let dialled = match dial_for_login(first, protocol, observer).await {
        Err(error) if error.reason == Reason::ClientModuleUnreachable => {
            dial_for_login(second, protocol, observer).await
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

/// Dials one client module, and wakes its probe if it does not answer any more.
async fn dial_for_login(
    module: &Arc<ClientModule>,
    protocol: Protocol,
    observer: &Observer,
) -> Result<Dialled, DialError> {
    let started = Instant::now();
    let port = module.port(protocol);
    let was_silent = port.is_silent();
    let dialled = module.connect(protocol, observer).await;
    module.record(protocol, &dialled, started.elapsed(), observer);
    if port.is_silent() && !was_silent {
        port.report_silence();
    }
    dialled
}

impl Upstream {
    /// The client module that was dialled: the permit's, or its standby.
    pub(crate) fn client_module(&self) -> &Arc<str> {
        &self.module.name
    }
}

impl ClientModule {
    /// Connects, and stops when the client module waits for a login.
    pub(super) async fn connect(
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

    async fn greet(
        self: &Arc<Self>,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<Dialled, DialError> {
        let mut wire = Wire::new(self.tcp(protocol).await?);
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
        let mut back = Back::new(protocol, &self.gateway, start_tls.is_some());
        match back.drive(&mut wire, start_tls).await {
            Ok(BackStep::Refused(answer)) => Ok(Dialled::Refused(answer)),
            Ok(_) => {
                if start_tls.is_some() {
                    self.judge(&wire, protocol, observer)?;
                }
                let module = self.clone();
                Ok(Dialled::Ready(Box::new(Upstream { module, wire, back })))
            }
            Err(error) => Err(self.failed(error, protocol, observer)),
        }
    }

    async fn tcp(&self, protocol: Protocol) -> Result<TcpStream, DialError> {
        let (host, port) = (self.config.host.as_str(), self.config.port(protocol));
        let unreachable = |why: &dyn Display| {
            DialError::new(Reason::ClientModuleUnreachable, format!("{host}:{port}: {why}"))
        };
        let tcp = match timeout(CONNECT, self.resolver.connect(port)).await {
            Ok(connected) => connected.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(unreachable(&"no answer within 10 s")),
        };
        prepare(&tcp).map_err(|error| unreachable(&error))?;
        Ok(tcp)
    }

    /// What it means that a back did not get to its next step.
    pub(super) fn failed(
        &self,
        error: BackError,
        protocol: Protocol,
        observer: &Observer,
    ) -> DialError {
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

    /// Records whether it answered, and how long that took.
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
        let silent = matches!(outcome, Err(e) if e.reason == Reason::ClientModuleUnreachable);
        self.port(protocol).set_silent(silent);
        observer.client_module_state(&self.name, protocol, state);
    }
}

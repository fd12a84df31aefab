//! A client module with what was loaded for it and what was learned about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::capabilities::Capabilities;
use super::ports::{PerProtocol, Port};
use super::resolve::Resolver;
use crate::gateway::config::ClientModuleConfig;
use crate::trust::{KnownCertificates, MaterialError, UpstreamTls};
use crate::words::{Language, Protocol, Security};

/// Client modules by name.
pub(crate) type ClientModules = BTreeMap<Arc<str>, Arc<ClientModule>>;

/// A client module as the gateway knows it.
pub(crate) struct ClientModule {
    /// As in `[client_modules.NAME]`.
    pub(crate) name: Arc<str>,
    pub(crate) config: ClientModuleConfig,
    pub(super) ports: PerProtocol<Port>,
    pub(super) resolver: Resolver,
    /// The gateway's name, for EHLO.
    pub(super) gateway: String,
    /// Of the sentences about its certificate.
    pub(super) language: Language,
    /// How long a login may take, and at most what comes before it.
    pub(super) patience: Duration,
    pub(super) known: Arc<KnownCertificates>,
    learned: Mutex<Option<Capabilities>>,
}

impl ClientModule {
    /// Reads the client module's certificates and keys.
    pub(crate) fn load(
        name: &str,
        config: &ClientModuleConfig,
        gateway: &str,
        language: Language,
        patience: Duration,
        known: Arc<KnownCertificates>,
    ) -> Result<Self, MaterialError> {
        let tls = match config.security {
            Security::None => None,
            Security::Implicit | Security::StartTls => {
                Some(UpstreamTls::load(&config.trust, &config.host)?)
            }
        };
        let pop3 = Port::new(tls.as_ref().map(UpstreamTls::for_another_port));
        Ok(Self {
            name: name.into(),
            config: config.clone(),
            ports: PerProtocol { pop3, smtp: Port::new(tls) },
            resolver: Resolver::new(&config.host),
            gateway: gateway.into(),
            language,
            patience,
            known,
            learned: Mutex::new(None),
        })
    }

    /// When the certificates expire that its configuration names, with their roles.
    pub(crate) fn certificate_expiries(&self) -> &[(&'static str, OffsetDateTime)] {
        // Both ports have the same certificates.
        self.ports.pop3.tls().map_or(&[], UpstreamTls::expiries)
    }

    /// What it offered when it was last asked; `None` if it has never answered.
    pub(crate) fn capabilities(&self) -> Option<Capabilities> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what it offers.
    pub(crate) fn learn(&self, capabilities: Capabilities) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = Some(capabilities);
    }

    pub(super) fn port(&self, protocol: Protocol) -> &Port {
        self.ports.get(protocol)
    }
}

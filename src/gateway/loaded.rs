//! What a reload replaces: configuration, permissions, certificates. A session keeps the one that its
//! login was judged by until its next command.

use std::net::SocketAddr;
use std::sync::Arc;

use super::client_module::{Capabilities, ClientModule, ClientModules};
use super::config::Config;
use super::door::{ExposedError, exposure, own_addresses};
use super::wire::CHUNK;
use crate::observe::Observer;
use crate::policy::Policy;
use crate::proto::relay::Settings;
use crate::trust::{KnownCertificates, ListenerTls, MaterialError};

/// One configuration with everything that was loaded for it.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) modules: ClientModules,
    pub(crate) tls: Option<ListenerTls>,
    /// What the relay machines go by.
    pub(crate) relay: Settings,
    known: Arc<KnownCertificates>,
}

impl Loaded {
    /// Loads every file that the configuration names. Certificates that were seen before are kept
    /// from `before` if the state folder is the same.
    pub(crate) fn load(
        config: Config,
        policy: Policy,
        before: Option<&Self>,
    ) -> Result<Self, MaterialError> {
        let kept = before.map(|before| &before.known).filter(|k| k.is_in(&config.state_dir));
        let known =
            kept.cloned().unwrap_or_else(|| Arc::new(KnownCertificates::open(&config.state_dir)));
        let tls = config.tls.as_ref().map(ListenerTls::load).transpose()?;
        let mut modules = ClientModules::new();
        for (name, module) in &config.client_modules {
            let patience = config.limits.login_timeout;
            let (gateway, known) = (&config.name, known.clone());
            let loaded =
                ClientModule::load(name, module, gateway, config.language, patience, known)?;
            modules.insert(loaded.name.clone(), Arc::new(loaded));
        }
        let relay = Settings {
            name: config.name.clone(),
            // A line that no buffer holds is too long, whatever the limit.
            command_line: config.limits.command_line.min(CHUNK),
            header: config.limits.header,
            message: config.limits.message,
            middleware_header: config.middleware_header,
            delivery_receipts: config.delivery_receipts,
            read_receipts: config.read_receipts,
        };
        Ok(Self { config, policy, modules, tls, relay, known })
    }

    /// Refuses addresses that can be reached from outside the practice's network, unless
    /// `gateway.public` allows them. Takes the listeners' names and addresses.
    pub(crate) fn refuse_exposed<'a>(
        &self,
        listeners: impl Iterator<Item = (&'a str, SocketAddr)>,
    ) -> Result<(), ExposedError> {
        if self.config.public {
            return Ok(());
        }
        let own = own_addresses();
        for (name, address) in listeners {
            let exposure = exposure(address, &own, self.policy.lets_strangers_in());
            if let Some(exposure) = exposure {
                let what = format!("listener {name}");
                return Err(ExposedError { what, address, exposure });
            }
        }
        Ok(())
    }

    /// Keeps what was learned from client modules under the configuration before this one, and the
    /// TLS sessions of workstations.
    pub(crate) fn inherit(&mut self, before: &Self) {
        if let (Some(tls), Some(before)) = (&mut self.tls, &before.tls) {
            tls.inherit(before);
        }
        for (name, module) in &self.modules {
            if let Some(known) = before.modules.get(name).and_then(|old| old.capabilities()) {
                module.learn(known);
            }
        }
    }

    /// Tells the observer when each certificate of the configuration expires.
    pub(crate) fn report_certificates(&self, observer: &Observer) {
        let own = self.tls.iter().flat_map(ListenerTls::expiries);
        let mut expiry: Vec<(String, i64)> =
            own.map(|(role, at)| ((*role).to_owned(), at.unix_timestamp())).collect();
        for (name, module) in &self.modules {
            let of_module = module.certificate_expiries();
            let of_module = of_module.iter();
            expiry.extend(
                of_module.map(|(role, at)| (format!("{role}/{name}"), at.unix_timestamp())),
            );
        }
        observer.certificates_in_use(&expiry);
    }

    /// What a listener may announce: what all client modules offer, because before the login it is not
    /// known which one a session will use. A client module that has never answered does not restrict
    /// what is announced.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let known = self.modules.values().filter_map(|module| module.capabilities());
        known.reduce(|a, b| a.intersect(&b)).unwrap_or_else(Capabilities::conservative)
    }
}

//! What a reload replaces: configuration, permissions, certificates. Sessions hold the one that
//! they logged in under until they ask again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::ExposedError;
use super::buffer::CHUNK;
use super::config::Config;
use super::exposure::{exposure, own_addresses};
use super::machines::Capabilities;
use super::upstream::Module;
use crate::observe::Observer;
use crate::policy::Policy;
use crate::proto::relay::Settings;
use crate::trust::{KnownCertificates, ListenerTls, MaterialError};

/// Client modules by name.
pub(crate) type Modules = BTreeMap<Arc<str>, Arc<Module>>;

/// One configuration with everything that was loaded for it.
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) modules: Modules,
    pub(crate) tls: Option<ListenerTls>,
    /// What the relay machines go by.
    pub(crate) relay: Settings,
    known: Arc<KnownCertificates>,
}

impl Live {
    /// Loads every file that the configuration names.
    pub(crate) fn load(
        config: Config,
        policy: Policy,
        before: Option<&Self>,
    ) -> Result<Self, MaterialError> {
        let kept = before.map(|before| &before.known).filter(|k| k.is_in(&config.state_dir));
        let known =
            kept.cloned().unwrap_or_else(|| Arc::new(KnownCertificates::open(&config.state_dir)));
        let tls = config.tls.as_ref().map(ListenerTls::load).transpose()?;
        let mut modules = Modules::new();
        for (name, module) in &config.client_modules {
            let patience = config.limits.login_timeout;
            let (gateway, known) = (&config.name, known.clone());
            let loaded = Module::load(name, module, gateway, config.language, patience, known)?;
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

    /// Refuses addresses that strangers reach, unless the configuration says that it is meant.
    pub(crate) fn guard(
        &self,
        listeners: impl Iterator<Item = (String, SocketAddr)>,
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

    /// Says when the certificates end that the configuration names.
    pub(crate) fn tell_certificates(&self, observer: &Observer) {
        let own = self.tls.iter().flat_map(ListenerTls::expiries);
        let mut ends: Vec<(String, i64)> =
            own.map(|(role, end)| ((*role).to_owned(), end.unix_timestamp())).collect();
        for (name, module) in &self.modules {
            let of_module = module.certificate_ends();
            ends.extend(
                of_module
                    .iter()
                    .map(|(role, end)| (format!("{role}/{name}"), end.unix_timestamp())),
            );
        }
        observer.certificates_in_use(&ends);
    }

    /// What a listener may announce: what all client modules offer, as nobody knows yet which of
    /// them a login will go to.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let known = self.modules.values().filter_map(|module| module.capabilities());
        known.reduce(|a, b| a.intersect(&b)).unwrap_or_else(Capabilities::conservative)
    }
}

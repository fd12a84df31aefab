//! What a reload replaces: configuration, permissions, certificates. Sessions hold the one that
//! they logged in under until they ask again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::ExposedError;
use super::config::Config;
use super::exposure::{exposure, own_addresses};
use super::machines::Capabilities;
use super::upstream::Module;
use crate::observe::Observer;
use crate::policy::Policy;
use crate::trust::{ListenerTls, MaterialError};

/// Client modules by name.
pub(crate) type Modules = BTreeMap<Arc<str>, Arc<Module>>;

/// One configuration with everything that was loaded for it.
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) modules: Modules,
    pub(crate) tls: Option<ListenerTls>,
}

impl Live {
    /// Loads every file that the configuration names.
    pub(crate) fn load(config: Config, policy: Policy) -> Result<Self, MaterialError> {
        let tls = config.tls.as_ref().map(ListenerTls::load).transpose()?;
        let mut modules = Modules::new();
        for (name, module) in &config.client_modules {
            let patience = config.limits.login_timeout;
            let loaded = Module::load(name, module, &config.name, config.language, patience)?;
            modules.insert(loaded.name.clone(), Arc::new(loaded));
        }
        Ok(Self { config, policy, modules, tls })
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

    /// Keeps what was learned from client modules under the configuration before this one.
    pub(crate) fn inherit(&self, before: &Self) {
        for (name, module) in &self.modules {
            if let Some(known) = before.modules.get(name).and_then(|old| old.capabilities()) {
                module.learn(known);
            }
        }
    }

    /// Says when the certificate ends that workstations see.
    pub(crate) fn tell_certificate(&self, observer: &Observer) {
        if let Some(tls) = &self.tls {
            observer.listener_not_after("listener", tls.not_after().unix_timestamp());
        }
    }

    /// What a listener may announce: what all client modules offer, as nobody knows yet which of
    /// them a login will go to.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let known = self.modules.values().filter_map(|module| module.capabilities());
        known.reduce(|a, b| a.intersect(&b)).unwrap_or_else(Capabilities::conservative)
    }
}

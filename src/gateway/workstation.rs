//! The workstation's side of a session before its login: TLS, who it is, and how it is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::Listener;
use super::door::connections::{Origin, OriginPlace, source};
use super::door::proxy::answer_plaintext;
use super::loaded::Loaded;
use super::reply::{About, goodbye, no_greeting, refusal};
use super::shared::Shared;
use super::wire::{PeerCertificate, Wire};
use crate::observe::{Event, LiveSession, Phase, SessionFacts};
use crate::policy::Station;
use crate::trust::ClientCertificates;
use crate::trust::HandshakeFault;
use crate::words::{Action, Protocol, Reason, Security};

/// A session, and what is known about it.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The configuration in force when the connection was accepted, and after a login the one that
    /// decided about it.
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) facts: SessionFacts,
    pub(crate) tracked: Arc<LiveSession>,
    /// Names in the workstation's certificate.
    pub(crate) certificate_names: Vec<String>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, listener: &Listener, peer: SocketAddr) -> Self {
        let loaded = shared.loaded.load_full();
        let facts = SessionFacts::new(listener.protocol, listener.name.clone(), peer);
        let tracked = Arc::new(shared.observer.track(&facts));
        Self { shared, loaded, facts, tracked, certificate_names: Vec::new() }
    }

    /// Does the TLS handshake, on a listener with TLS from the first byte or after STARTTLS.
    pub(crate) async fn secure(&mut self, client: &mut Wire) -> Result<(), Reason> {
        self.tracked.phase(Phase::Handshake);
        let loaded = self.loaded.clone();
        let Some(tls) = &loaded.tls else { return Err(Reason::TlsFailed) };
        let (protocol, wording) = (self.facts.protocol, loaded.config.wording());
        let first = async |tcp: &_| answer_plaintext(tcp, protocol, wording).await;
        client.accept_tls(tls, first).await.map_err(|fault| self.handshake_failed(&fault))
    }

    fn handshake_failed(&mut self, fault: &HandshakeFault) -> Reason {
        self.facts.tls_fault = Some(fault.sentence(self.loaded.config.language));
        Reason::TlsFailed
    }

    /// Finds the workstation by its certificate or its address.
    pub(crate) fn recognise(&mut self, client: &Wire) {
        let PeerCertificate { names, expires_at } = client.peer_certificate();
        self.certificate_names = names;
        self.facts.workstation = self.station().name().map(Into::into);
        if let (Some(workstation), Some(expires_at)) = (&self.facts.workstation, expires_at) {
            self.shared.observer.certificate_met(workstation, expires_at.unix_timestamp());
        }
        self.tracked.learn(&self.facts);
    }

    /// What policy knows the workstation by.
    pub(crate) fn station(&self) -> Station {
        self.loaded.policy.station(self.facts.peer.ip(), &self.certificate_names)
    }

    /// A place in the count of this workstation's connections; `None` if it has too many.
    pub(crate) fn enter(&self) -> Option<OriginPlace> {
        self.enter_as(match &self.facts.workstation {
            Some(name) => Origin::Workstation(name.clone()),
            None => Origin::Address(source(self.facts.peer.ip())),
        })
    }

    /// A place for the TLS handshake. It is counted by address, as the workstation is not known
    /// before its certificate was shown; without a limit, one machine that only connects could take
    /// the places of all.
    pub(crate) fn enter_handshake(&self) -> Option<OriginPlace> {
        self.enter_as(Origin::Handshake(source(self.facts.peer.ip())))
    }

    /// Refuses a workstation that no rule names, if such are denied and nothing that it can still show
    /// would change that. `to_come` is the TLS that it can still begin, and in which it could show a
    /// certificate.
    pub(crate) fn refuse_stranger(&self, to_come: Security) -> Result<(), Reason> {
        let Loaded { config, policy, .. } = &*self.loaded;
        let Err(denial) = policy.admit_station(&self.station()) else { return Ok(()) };
        let asked = config.tls.as_ref().map(|tls| tls.client_certificates);
        let is_asked = !matches!(asked, None | Some(ClientCertificates::Off));
        if to_come != Security::None && is_asked && policy.knows_certificates() {
            return Ok(());
        }
        self.shared.observer.emit(Event::Denied {
            session: &self.facts,
            action: denial.action,
            reason: denial.reason,
            rule: Some(denial.rule.as_str()),
            enforced: true,
        });
        Err(denial.reason)
    }

    /// A place among all sources that no rule names, if this is one and such are denied. A
    /// certificate may name it later; until then strangers must not take the places of the practice.
    /// `Err` if they have too many.
    pub(crate) fn enter_corner(&self) -> Result<Option<OriginPlace>, Reason> {
        if self.loaded.policy.admit_station(&self.station()).is_ok() {
            return Ok(None);
        }
        let limit = self.loaded.config.limits.unknown_connections;
        let place = self.shared.connections.enter_from(Origin::Strangers, limit);
        place.map(Some).ok_or(Reason::TooManyConnections)
    }

    fn enter_as(&self, origin: Origin) -> Option<OriginPlace> {
        let limit = self.loaded.config.limits.connections_per_workstation;
        self.shared.connections.enter_from(origin, limit)
    }

    /// The reply that refuses a login, for a reason of kimgate's own. `detail` is one more fact,
    /// such as the holder of a context.
    pub(crate) fn refusal(&self, reason: Reason, detail: &str) -> Vec<u8> {
        self.refusal_about(reason, About { detail, ..About::default() })
    }

    /// The reply to a login that is paused for so much longer.
    pub(crate) fn paused_reply(&self, last_reply: &str, remaining: Duration) -> Vec<u8> {
        let about = About { detail: last_reply, remaining, ..About::default() };
        self.refusal_about(Reason::LoginPaused, about)
    }

    fn refusal_about(&self, reason: Reason, about: About<'_>) -> Vec<u8> {
        let workstation = self.facts.workstation_or_address();
        let about = About {
            workstation: &workstation,
            account: self.facts.account.as_ref().map_or("", |account| account.as_str()),
            action: Some(match self.facts.protocol {
                Protocol::Pop3 => Action::Receive,
                Protocol::Smtp => Action::Send,
            }),
            ..about
        };
        refusal(self.facts.protocol, self.loaded.config.wording(), reason, about)
    }

    /// The reply of a connection that is closed instead of greeted.
    pub(crate) fn no_greeting(&self, reason: Reason) -> Vec<u8> {
        let workstation = self.facts.workstation_or_address();
        let about = About { workstation: &workstation, ..About::default() };
        no_greeting(self.facts.protocol, self.loaded.config.wording(), reason, about)
    }

    /// The last reply of a connection that ends before its login.
    pub(crate) fn goodbye(&self, reason: Reason) -> Vec<u8> {
        let workstation = self.facts.workstation_or_address();
        let about = About { workstation: &workstation, ..About::default() };
        goodbye(self.facts.protocol, self.loaded.config.wording(), reason, about)
    }
}

//! What is known of the gateway itself: listeners, client modules, certificates, configuration,
//! latest refusals.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::expiry::Expiry;
use super::labels::{self, Labels, client_module_role};
use super::record::{
    Record, RecordedEvent, RefusalRecord, from_unix, milliseconds, rfc3339, shown,
};
use super::status::{
    AnswerStatus, CertificateStatus, ClientModuleStatus, ConfigStatus, ErrorStatus, ListenerStatus,
    Missing, RefusalStatus, Status, VerdictStatus,
};
use super::{ClientModuleState, Event, Readiness};
use crate::printable::printable;
use crate::words::Protocol;

/// Refusals that the console shows.
const REFUSALS: usize = 50;
/// Of what a client module announces; a hostile one may announce for ever.
const CAPABILITIES: usize = 32;

/// One lock for all of it, since it changes seldom.
pub(super) struct Health(Mutex<HealthState>);

struct HealthState {
    started: OffsetDateTime,
    /// Every listener is bound, and kimgate is not stopping.
    bound: bool,
    listeners: Vec<ListenerStatus>,
    client_modules: BTreeMap<String, ClientModuleStatus>,
    /// By role.
    certificates: BTreeMap<String, Expiry>,
    config: ConfigStatus,
    refusals: VecDeque<RefusalStatus>,
}

impl Health {
    pub(super) fn new(labels: &Labels, now: OffsetDateTime) -> Self {
        let mut state = HealthState {
            started: now,
            bound: false,
            listeners: Vec::new(),
            client_modules: BTreeMap::new(),
            certificates: BTreeMap::new(),
            config: ConfigStatus::default(),
            refusals: VecDeque::new(),
        };
        state.rename(labels);
        Self(Mutex::new(state))
    }

    pub(super) fn rename(&self, labels: &Labels) {
        self.state().rename(labels);
    }

    pub(super) fn bound(&self, bound: bool) {
        self.state().bound = bound;
    }

    pub(super) fn listeners(&self, listeners: Vec<ListenerStatus>) {
        self.state().listeners = listeners;
    }

    /// Replaces what the configuration names, and gives the roles that are no more.
    pub(super) fn certificates_in_use(&self, ends: &[(String, i64)]) -> Vec<String> {
        let mut state = self.state();
        let is_named = |role: &str| ends.iter().any(|(named, _)| named == role);
        let certificates = &mut state.certificates;
        let gone = certificates.iter().filter(|(role, expiry)| !expiry.met && !is_named(role));
        let gone: Vec<String> = gone.map(|(role, _)| role.clone()).collect();
        certificates.retain(|role, _| !gone.contains(role));
        for (role, end) in ends {
            let new = || Expiry::new(*end, false);
            certificates.entry(role.clone()).or_insert_with(new).replaced_by(*end);
        }
        gone
    }

    /// Keeps when a certificate expires that a client module showed. Gives the days that are left
    /// where this is to be logged now.
    pub(super) fn certificate_met(
        &self,
        role: &str,
        unix_seconds: i64,
        now: OffsetDateTime,
    ) -> Option<i64> {
        let mut state = self.state();
        match state.certificates.get_mut(role) {
            Some(known) if known.not_after == unix_seconds => None,
            Some(known) => {
                known.replaced_by(unix_seconds);
                known.tell(now)
            }
            None => {
                let mut expiry = Expiry::new(unix_seconds, true);
                let days = expiry.tell(now);
                state.certificates.insert(role.to_owned(), expiry);
                days
            }
        }
    }

    /// The certificates whose expiry is to be logged now, with the days that are left.
    pub(super) fn expiring(&self, now: OffsetDateTime) -> Vec<(String, i64)> {
        let mut state = self.state();
        let each = state.certificates.iter_mut();
        each.filter_map(|(role, expiry)| Some((role.clone(), expiry.tell(now)?))).collect()
    }

    /// False for a client module that is not configured.
    pub(super) fn answered(
        &self,
        name: &str,
        protocol: Protocol,
        answer: &ClientModuleState<'_>,
        now: OffsetDateTime,
    ) -> bool {
        let mut state = self.state();
        let Some(client_module) = state.client_modules.get_mut(name) else { return false };
        let side = match protocol {
            Protocol::Pop3 => &mut client_module.pop3,
            Protocol::Smtp => &mut client_module.smtp,
        };
        let side = side.get_or_insert_default();
        side.up = answer.up;
        side.at = rfc3339(now);
        // Each login asks, and seldom is there anything new.
        let announced = || answer.capabilities.iter().take(CAPABILITIES).map(|c| printable(c));
        if !side.capabilities.iter().map(String::as_str).eq(announced()) {
            side.capabilities = announced().map(Cow::into_owned).collect();
        }
        side.error = answer.error.map(shown);
        if let Some(error) = side.error.clone() {
            side.last_error = Some(ErrorStatus { at: side.at.clone(), error });
        }
        side.connect_seconds = answer.connect_seconds.map(milliseconds);
        true
    }

    /// Keeps what `/status` shows of an event. False for a certificate that was judged the same before.
    pub(super) fn keep(&self, event: &Event<'_>, record: &Record<'_>) -> bool {
        let mut state = self.state();
        if let Some(refusal) = record.refusal() {
            state.refusals.truncate(REFUSALS - 1);
            state.refusals.push_front(refusal_status(record, &refusal));
        }
        match &record.what {
            RecordedEvent::Certificate(certificate) => {
                // The configuration's name for it; the record has it escaped.
                let Event::Certificate { client_module, .. } = *event else { return true };
                let Some(known) = state.client_modules.get_mut(client_module) else { return true };
                let verdict = VerdictStatus {
                    class: certificate.verdict.into(),
                    accepted: certificate.accepted,
                    sentence: certificate.sentence.to_string(),
                    fingerprint: owned(&certificate.fingerprint),
                    not_after: certificate.not_after.clone(),
                    replaces: owned(&certificate.replaces),
                };
                let same = known.certificate.as_ref().is_some_and(|last| {
                    (&last.class, last.accepted, &last.fingerprint)
                        == (&verdict.class, verdict.accepted, &verdict.fingerprint)
                        && (verdict.replaces.is_none() || last.replaces == verdict.replaces)
                });
                known.certificate = Some(verdict);
                !same
            }
            RecordedEvent::ConfigLoaded(loaded) => {
                let time = Some(record.time.clone());
                state.config = match loaded.accepted {
                    true => ConfigStatus {
                        hash: Some(loaded.config.to_string()),
                        loaded: time,
                        rejected: None,
                        problems: 0,
                    },
                    false => ConfigStatus {
                        rejected: time,
                        problems: loaded.problems,
                        ..state.config.clone()
                    },
                };
                true
            }
            RecordedEvent::Connected(_)
            | RecordedEvent::Login(_)
            | RecordedEvent::Denied(_)
            | RecordedEvent::MessageSent(_)
            | RecordedEvent::MessageReceived(_)
            | RecordedEvent::MessageDeleted(_)
            | RecordedEvent::DeleteHeld(_)
            | RecordedEvent::MessageHeld(_)
            | RecordedEvent::MessageReleased(_)
            | RecordedEvent::ContextConflict(_)
            | RecordedEvent::Unlocked(_)
            | RecordedEvent::Closed(_) => true,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.state().readiness()
    }

    /// What is known here; the rest is left empty.
    pub(super) fn status(&self, now: OffsetDateTime) -> Status {
        let state = self.state();
        // Client modules' have a place of their own.
        let own = state.certificates.iter().filter(|(role, _)| !labels::is_client_module(role));
        let ends = |(role, expiry): (&String, &Expiry)| {
            let not_after = rfc3339(from_unix(expiry.not_after)?);
            Some(CertificateStatus { role: shown(role), not_after })
        };
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            time: rfc3339(now),
            started: rfc3339(state.started),
            readiness: state.readiness(),
            config: state.config.clone(),
            listeners: state.listeners.clone(),
            client_modules: state.client_modules.values().cloned().collect(),
            certificates: own.filter_map(ends).collect(),
            refusals: state.refusals.iter().cloned().collect(),
            ..Status::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthState {
    fn rename(&mut self, labels: &Labels) {
        self.client_modules.retain(|name, _| labels.has_client_module(name));
        let is_gone = |role: &str| !labels.client_modules().any(|n| client_module_role(n) == role);
        self.certificates.retain(|role, _| !(labels::is_client_module(role) && is_gone(role)));
        for name in labels.client_modules() {
            let new = || ClientModuleStatus { name: name.into(), ..ClientModuleStatus::default() };
            self.client_modules.entry(name.into()).or_insert_with(new);
        }
    }

    fn readiness(&self) -> Readiness {
        let speaks = |protocol| self.listeners.iter().any(|l| l.protocol == protocol);
        let answers = |side: fn(&ClientModuleStatus) -> Option<&AnswerStatus>| {
            self.client_modules.values().filter_map(side).any(|answer| answer.up)
        };
        let checks = [
            (Missing::Listeners, self.bound && !self.listeners.is_empty()),
            (Missing::ClientModulePop3, !speaks(Protocol::Pop3) || answers(|m| m.pop3.as_ref())),
            (Missing::ClientModuleSmtp, !speaks(Protocol::Smtp) || answers(|m| m.smtp.as_ref())),
        ];
        let missing: Vec<_> =
            checks.iter().filter(|(_, there)| !there).map(|(missing, _)| *missing).collect();
        Readiness { ready: missing.is_empty(), missing }
    }
}

fn owned(text: &Option<Cow<'_, str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn refusal_status(record: &Record<'_>, refusal: &RefusalRecord<'_, '_>) -> RefusalStatus {
    RefusalStatus {
        time: record.time.clone(),
        peer: refusal.about.peer.clone(),
        workstation: owned(&refusal.about.workstation),
        account: owned(&refusal.about.account),
        action: refusal.action.map(String::from),
        reason: refusal.reason.into(),
        rule: refusal.rule.map(String::from),
        enforced: refusal.enforced,
    }
}

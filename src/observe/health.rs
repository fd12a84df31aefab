//! What is known of the gateway itself: listeners, client modules, certificates, configuration,
//! latest refusals.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::ending::Ending;
use super::labels::{self, Labels, client_module_role};
use super::record::{Record, from_unix, milliseconds, rfc3339, shown};
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

/// Behind one lock: everything in it changes seldom.
pub(super) struct Health(Mutex<State>);

struct State {
    started: OffsetDateTime,
    /// Every listener is bound, and kimgate is not stopping.
    bound: bool,
    listeners: Vec<ListenerStatus>,
    client_modules: BTreeMap<String, ClientModuleStatus>,
    /// By role.
    certificates: BTreeMap<String, Ending>,
    config: ConfigStatus,
    refusals: VecDeque<RefusalStatus>,
}

impl Health {
    pub(super) fn new(labels: &Labels, now: OffsetDateTime) -> Self {
        let mut state = State {
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
        let gone = certificates.iter().filter(|(role, ending)| !ending.met && !is_named(role));
        let gone: Vec<String> = gone.map(|(role, _)| role.clone()).collect();
        certificates.retain(|role, _| !gone.contains(role));
        for (role, end) in ends {
            let new = || Ending::new(*end, false);
            certificates.entry(role.clone()).or_insert_with(new).replaced_by(*end);
        }
        gone
    }

    /// Keeps when a certificate ends that somebody showed; gives the days that are left where
    /// somebody should be told of this one.
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
                let mut ending = Ending::new(unix_seconds, true);
                let days = ending.tell(now);
                state.certificates.insert(role.to_owned(), ending);
                days
            }
        }
    }

    /// The certificates whose end somebody should be told of now, with the days that are left.
    pub(super) fn ending(&self, now: OffsetDateTime) -> Vec<(String, i64)> {
        let mut state = self.state();
        let each = state.certificates.iter_mut();
        each.filter_map(|(role, ending)| Some((role.clone(), ending.tell(now)?))).collect()
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

    /// Keeps what an event tells. False for a certificate that was judged the same before.
    pub(super) fn note(&self, event: &Event<'_>, record: &Record<'_>) -> bool {
        let mut state = self.state();
        if let Some(reason) = record.refusal() {
            state.refusals.truncate(REFUSALS - 1);
            state.refusals.push_front(refusal(record, reason));
        }
        match *event {
            Event::Certificate { client_module, class, accepted, not_after, replaces, .. } => {
                let Some(known) = state.client_modules.get_mut(client_module) else { return true };
                let verdict = VerdictStatus {
                    class: class.into(),
                    accepted,
                    sentence: owned(&record.sentence).unwrap_or_default(),
                    fingerprint: owned(&record.fingerprint),
                    not_after: not_after.and_then(from_unix).map(rfc3339),
                    replaces: replaces.map(shown),
                };
                let same = known.certificate.as_ref().is_some_and(|last| {
                    (&last.class, last.accepted, &last.fingerprint)
                        == (&verdict.class, accepted, &verdict.fingerprint)
                        && (replaces.is_none() || last.replaces == verdict.replaces)
                });
                known.certificate = Some(verdict);
                !same
            }
            Event::ConfigLoaded { accepted, problems, .. } => {
                let time = Some(record.time.clone());
                state.config = match accepted {
                    true => ConfigStatus {
                        hash: owned(&record.config),
                        loaded: time,
                        rejected: None,
                        problems: 0,
                    },
                    false => ConfigStatus { rejected: time, problems, ..state.config.clone() },
                };
                true
            }
            Event::Connected(_)
            | Event::Login { .. }
            | Event::Denied { .. }
            | Event::MessageSent { .. }
            | Event::MessageReceived { .. }
            | Event::MessageDeleted { .. }
            | Event::DeleteHeld { .. }
            | Event::ContextConflict { .. }
            | Event::Closed { .. } => true,
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
        let ends = |(role, ending): (&String, &Ending)| {
            let not_after = rfc3339(from_unix(ending.not_after)?);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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

fn refusal(record: &Record<'_>, reason: &str) -> RefusalStatus {
    RefusalStatus {
        time: record.time.clone(),
        peer: record.peer.clone().unwrap_or_default(),
        workstation: owned(&record.workstation),
        account: owned(&record.account),
        action: record.action.map(String::from),
        reason: reason.into(),
        rule: owned(&record.rule),
        enforced: record.would_deny.is_none(),
    }
}

//! What happened, in numbers: how each event moves the families.

mod families;

use prometheus::core::Collector as _;
use prometheus::{IntCounter, IntCounterVec, TextEncoder};

use super::labels::{self, Labels, OTHER};
use super::{ClientModuleState, Counts, Direction, Event, HeldHow};
use crate::trust::Class;
use crate::words::{CloseReason, Protocol, Reason, RequiredField};
use families::{Families, PROTOCOLS};

/// The numbers of one gateway.
pub(super) struct Metrics(Families);

impl Metrics {
    pub(super) fn new(labels: &Labels) -> prometheus::Result<Self> {
        let metrics = Self(Families::register()?);
        metrics.start_at_zero();
        metrics.expect(labels);
        Ok(metrics)
    }

    /// Audit lines that could not be written; the audit counts them itself.
    pub(super) fn audit_lost(&self) -> IntCounter {
        self.0.audit_lost.clone()
    }

    /// What an event moves. `now` is Unix time.
    pub(super) fn count(&self, event: &Event<'_>, labels: &Labels, now: f64) {
        match *event {
            Event::Connected(_) => {}
            Event::Login { session, result, seconds, would_deny, .. } => {
                let protocol = session.protocol.as_str();
                let word = result.map_or_else(Reason::as_str, |()| "accepted");
                self.0.logins.with_label_values(&[protocol, word]).inc();
                self.0.login_seconds.with_label_values(&[protocol]).observe(sane(seconds));
                if let Some(reason) = would_deny {
                    self.0.would_deny.with_label_values(&[reason.as_str()]).inc();
                }
                if let (Ok(()), Protocol::Pop3, Some(account)) =
                    (result, session.protocol, &session.account)
                    && labels.has_account(account)
                {
                    self.0.mailbox_last_fetch.with_label_values(&[account.as_str()]).set(now);
                }
            }
            Event::Denied { action, reason, enforced, .. } => {
                if enforced {
                    self.0.denied.with_label_values(&[action.as_str(), reason.as_str()]).inc();
                } else {
                    self.0.would_deny.with_label_values(&[reason.as_str()]).inc();
                }
            }
            Event::MessageSent {
                bytes, seconds, service, missing, accepted, left_after, ..
            } => {
                self.0.end_of_data_seconds.observe(sane(seconds));
                for field in missing {
                    self.0.header_fields_missing.with_label_values(&[field.as_str()]).inc();
                }
                match accepted {
                    Ok(true) => self.message("sent", labels.service(service), bytes),
                    Ok(false) => self.0.messages_rejected.inc(),
                    Err(_) => self.0.messages_unanswered.inc(),
                }
                if accepted == Ok(true) && left_after.is_some() {
                    self.0.messages_unheard.inc();
                }
            }
            // Their bytes were passed on; the message was not received.
            Event::MessageReceived { bytes, complete, top, .. } if top || !complete => {
                self.message_bytes("received", bytes);
            }
            Event::MessageReceived { bytes, wait, service, decryption, integrity, .. } => {
                self.0.retrieve_wait_seconds.observe(sane(wait));
                self.message("received", labels.service(service), bytes);
                for value in decryption {
                    let code = labels::decryption(value);
                    self.0.decryption_results.with_label_values(&[code]).inc();
                }
                for value in integrity {
                    let code = labels::integrity(value);
                    self.0.integrity_results.with_label_values(&[code]).inc();
                }
            }
            Event::MessageDeleted { .. } => self.0.messages_deleted.inc(),
            Event::DeleteHeld { .. } => self.0.deletes_held.inc(),
            Event::MessageHeld { how, .. } => {
                if let Some(problem) = how.problem() {
                    self.0.holds_incomplete.with_label_values(&[problem]).inc();
                }
            }
            Event::MessageReleased { .. } => {}
            Event::ContextConflict { enforced, .. } => {
                let mode = if enforced { "enforce" } else { "observe" };
                self.0.context_conflicts.with_label_values(&[mode]).inc();
            }
            Event::Certificate { client_module, class, not_after, .. } => {
                if labels.has_client_module(client_module) {
                    self.verdict(client_module, class);
                    if let Some(not_after) = not_after {
                        self.not_after(&labels::client_module_role(client_module), not_after);
                    }
                }
            }
            Event::ConfigLoaded { reload, accepted, problems, .. } => {
                if reload {
                    self.0.config_reloads.with_label_values(&[reload_result(accepted)]).inc();
                }
                self.0.config_problems.set(if accepted { 0 } else { problems.into() });
                if accepted {
                    self.0.config_loaded.set(now);
                }
            }
            Event::Unlocked { .. } => {}
            Event::Closed { session, close, .. } => {
                self.0
                    .sessions
                    .with_label_values(&[session.protocol.as_str(), close.as_str()])
                    .inc();
            }
        }
    }

    pub(super) fn message_id_reused(&self) {
        self.0.message_ids_reused.inc();
    }

    pub(super) fn relayed(&self, protocol: Protocol, direction: Direction, bytes: u64) {
        let [pop3, smtp] = &self.0.relay_bytes;
        let [to_module, to_client] = match protocol {
            Protocol::Pop3 => pop3,
            Protocol::Smtp => smtp,
        };
        match direction {
            Direction::ToModule => to_module.inc_by(bytes),
            Direction::ToClient => to_client.inc_by(bytes),
        }
    }

    pub(super) fn client_module(
        &self,
        name: &str,
        protocol: Protocol,
        state: &ClientModuleState<'_>,
    ) {
        self.0
            .client_module_up
            .with_label_values(&[name, protocol.as_str()])
            .set(i64::from(state.up));
        if let Some(seconds) = state.connect_seconds {
            self.0.connect_seconds.observe(sane(seconds));
        }
    }

    pub(super) fn verdict(&self, client_module: &str, class: &'static str) {
        self.0.certificate_verdicts.with_label_values(&[client_module, class]).inc();
    }

    pub(super) fn failed_over(&self, client_module: &str) {
        self.0.failovers.with_label_values(&[client_module]).inc();
    }

    pub(super) fn not_after(&self, role: &str, unix_seconds: i64) {
        self.0.certificate_not_after.with_label_values(&[role]).set(unix_seconds);
    }

    pub(super) fn forget_not_after(&self, role: &str) {
        let _ = self.0.certificate_not_after.remove_label_values(&[role]);
    }

    pub(super) fn connection_refused(&self, reason: Reason) {
        self.0.connections_refused.with_label_values(&[reason.as_str()]).inc();
    }

    pub(super) fn mailbox_waited(&self, seconds: f64) {
        self.0.mailbox_wait_seconds.observe(sane(seconds));
    }

    pub(super) fn contexts(&self, active: i64) {
        self.0.contexts_active.set(active);
    }

    pub(super) fn contexts_active(&self) -> i64 {
        self.0.contexts_active.get()
    }

    pub(super) fn held(&self, messages: usize) {
        self.0.messages_held.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    pub(super) fn panicked(&self) {
        self.0.panics.inc();
    }

    pub(super) fn accept_failed(&self) {
        self.0.accept_errors.inc();
    }

    /// Shows series for names in the configuration before anything has happened to them.
    fn expect(&self, labels: &Labels) {
        for account in labels.accounts() {
            self.0.mailbox_last_fetch.with_label_values(&[account.as_str()]);
        }
        for name in labels.client_modules() {
            self.0.failovers.with_label_values(&[name]);
            for class in Class::ALL.map(Class::as_str) {
                self.0.certificate_verdicts.with_label_values(&[name, class]);
            }
        }
    }

    /// Drops the series of names that are no longer in the configuration, and expects the new ones.
    pub(super) fn rename(&self, old: &Labels, new: &Labels) {
        self.expect(new);
        for account in old.accounts().filter(|account| !new.has_account(account)) {
            let _ = self.0.mailbox_last_fetch.remove_label_values(&[account.as_str()]);
        }
        for name in old.client_modules().filter(|name| !new.has_client_module(name)) {
            for protocol in PROTOCOLS {
                let _ = self.0.client_module_up.remove_label_values(&[name, protocol.as_str()]);
            }
            let _ = self.0.failovers.remove_label_values(&[name]);
            for class in Class::ALL.map(Class::as_str) {
                let _ = self.0.certificate_verdicts.remove_label_values(&[name, class]);
            }
            let _ = self
                .0
                .certificate_not_after
                .remove_label_values(&[&labels::client_module_role(name)]);
        }
    }

    /// Prometheus text. `active` counts open sessions by protocol.
    pub(super) fn encode(&self, active: impl Fn(Protocol) -> i64) -> String {
        for protocol in PROTOCOLS {
            let gauge = self.0.sessions_active.with_label_values(&[protocol.as_str()]);
            gauge.set(active(protocol));
        }
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }

    pub(super) fn totals(&self) -> Counts {
        Counts {
            logins_accepted: sum(&self.0.logins, "accepted", true),
            logins_refused: sum(&self.0.logins, "accepted", false),
            would_deny: sum(&self.0.would_deny, "", false),
            messages_sent: sum(&self.0.messages, "sent", true),
            messages_received: sum(&self.0.messages, "received", true),
            deletes_held: self.0.deletes_held.get(),
            audit_lost: self.0.audit_lost.get(),
            panics: self.0.panics.get(),
        }
    }

    fn message(&self, direction: &str, service: &str, bytes: u64) {
        self.0.messages.with_label_values(&[direction, service]).inc();
        self.message_bytes(direction, bytes);
    }

    fn message_bytes(&self, direction: &str, bytes: u64) {
        self.0.message_bytes.with_label_values(&[direction]).inc_by(bytes);
    }

    /// A series that appears with its first event looks to Prometheus as if nothing had happened;
    /// so the ones that alerts are written for are there from the start.
    fn start_at_zero(&self) {
        for protocol in PROTOCOLS.map(Protocol::as_str) {
            self.0.logins.with_label_values(&[protocol, "accepted"]);
            self.0.login_seconds.with_label_values(&[protocol]);
            for close in [CloseReason::Ok, CloseReason::ClientLeft, CloseReason::Internal]
                .map(CloseReason::as_str)
            {
                self.0.sessions.with_label_values(&[protocol, close]);
            }
            for reason in Reason::ALL.map(Reason::as_str) {
                self.0.logins.with_label_values(&[protocol, reason]);
                self.0.sessions.with_label_values(&[protocol, reason]);
            }
        }
        for reason in Reason::ALL.map(Reason::as_str) {
            self.0.would_deny.with_label_values(&[reason]);
        }
        for direction in ["sent", "received"] {
            self.0.message_bytes.with_label_values(&[direction]);
            for service in ["KIM-Mail;Default", labels::NONE, OTHER] {
                self.0.messages.with_label_values(&[direction, service]);
            }
        }
        for code in ["00", "01", "02", "03", OTHER] {
            self.0.decryption_results.with_label_values(&[code]);
        }
        for code in ["01", "02", "03", "04", "05", "06", "07", "08", "09", OTHER] {
            self.0.integrity_results.with_label_values(&[code]);
        }
        for field in RequiredField::ALL.map(RequiredField::as_str) {
            self.0.header_fields_missing.with_label_values(&[field]);
        }
        for problem in HeldHow::INCOMPLETE.into_iter().filter_map(HeldHow::problem) {
            self.0.holds_incomplete.with_label_values(&[problem]);
        }
        for mode in ["observe", "enforce"] {
            self.0.context_conflicts.with_label_values(&[mode]);
        }
        for accepted in [true, false] {
            self.0.config_reloads.with_label_values(&[reload_result(accepted)]);
        }
        self.0.connections_refused.with_label_values(&[Reason::TooManyConnections.as_str()]);
    }
}

/// A histogram that has met NaN once has it as its sum for ever.
fn sane(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.max(0.0) } else { 0.0 }
}

fn reload_result(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "rejected" }
}

/// The sum over the series that have this label value, or over those that do not.
fn sum(family: &IntCounterVec, value: &str, with: bool) -> u64 {
    let families = family.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let chosen = series.filter(|m| m.get_label().iter().any(|l| l.value() == value) == with);
    chosen.map(|m| m.get_counter().get_value() as u64).sum()
}

//! Every metric family: its name, what it means, its labels.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::super::Direction;
use crate::words::Protocol;

pub(super) const PROTOCOLS: [Protocol; 2] = [Protocol::Pop3, Protocol::Smtp];

/// Smart cards make logins slow, and a client module may wait for one: up to three minutes.
const LOGIN_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0];
/// Within a LAN.
const CONNECT_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The client module signs and encrypts, or decrypts, while the workstation waits.
const CRYPTO_BUCKETS: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0];
/// Up to the default of `mailboxes.wait` and some more.
const WAIT_BUCKETS: &[f64] = &[0.0, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// All of them, in a registry of their own: two gateways in one process do not meet.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) sessions_active: IntGaugeVec,
    pub(super) sessions: IntCounterVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) logins: IntCounterVec,
    pub(super) denied: IntCounterVec,
    pub(super) would_deny: IntCounterVec,
    pub(super) login_seconds: HistogramVec,
    pub(super) client_module_up: IntGaugeVec,
    pub(super) connect_seconds: Histogram,
    pub(super) failovers: IntCounterVec,
    pub(super) certificate_verdicts: IntCounterVec,
    pub(super) certificate_not_after: IntGaugeVec,
    pub(super) messages: IntCounterVec,
    pub(super) messages_rejected: IntCounter,
    pub(super) messages_unanswered: IntCounter,
    pub(super) messages_unheard: IntCounter,
    pub(super) message_bytes: IntCounterVec,
    pub(super) header_fields_missing: IntCounterVec,
    pub(super) message_ids_reused: IntCounter,
    /// By protocol and direction: moved with every piece that is relayed.
    pub(super) relay_bytes: [[IntCounter; 2]; 2],
    pub(super) end_of_data_seconds: Histogram,
    pub(super) retrieve_wait_seconds: Histogram,
    pub(super) decryption_results: IntCounterVec,
    pub(super) integrity_results: IntCounterVec,
    pub(super) messages_deleted: IntCounter,
    pub(super) deletes_held: IntCounter,
    pub(super) messages_held: IntGauge,
    pub(super) holds_incomplete: IntCounterVec,
    pub(super) contexts_active: IntGauge,
    pub(super) context_conflicts: IntCounterVec,
    pub(super) mailbox_wait_seconds: Histogram,
    pub(super) mailbox_last_fetch: GaugeVec,
    pub(super) config_reloads: IntCounterVec,
    pub(super) config_loaded: Gauge,
    pub(super) config_problems: IntGauge,
    pub(super) panics: IntCounter,
    pub(super) accept_errors: IntCounter,
    /// Audit lines that could not be written; the sink counts them.
    pub(super) audit_lost: IntCounter,
}

impl Families {
    pub(super) fn register() -> prometheus::Result<Self> {
        let register = Register(Registry::new());
        let relay_bytes = register.counters(
            "kimgate_relay_bytes_total",
            "Bytes passed on after login, by direction.",
            &["protocol", "direction"],
        )?;
        register
            .gauges("kimgate_build_info", "Always 1; the version is in the label.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        #[cfg(target_os = "linux")]
        register
            .0
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            sessions_active: register.gauges(
                "kimgate_sessions_active",
                "Sessions that are open now.",
                &["protocol"],
            )?,
            sessions: register.counters(
                "kimgate_sessions_total",
                "Sessions that have ended, by why they did.",
                &["protocol", "reason"],
            )?,
            connections_refused: register.counters(
                "kimgate_connections_refused_total",
                "Connections closed before they became a session.",
                &["reason"],
            )?,
            logins: register.counters(
                "kimgate_logins_total",
                "Logins answered: accepted, or why not.",
                &["protocol", "result"],
            )?,
            denied: register.counters(
                "kimgate_denied_total",
                "Refusals by what was wanted. Refused logins count in kimgate_logins_total, but for unknown workstations and sources over their rate, which name no login.",
                &["action", "reason"],
            )?,
            would_deny: register.counters(
                "kimgate_would_deny_total",
                "What policy.mode = \"enforce\" would have refused.",
                &["reason"],
            )?,
            login_seconds: register.histograms(
                "kimgate_login_seconds",
                "From PASS or AUTH to the answer.",
                LOGIN_BUCKETS,
                &["protocol"],
            )?,
            client_module_up: register.gauges(
                "kimgate_client_module_up",
                "1 if the client module greeted the last time it was dialled.",
                &["client_module", "protocol"],
            )?,
            connect_seconds: register.histogram(
                "kimgate_client_module_connect_seconds",
                "From dialling a client module to its greeting.",
                CONNECT_BUCKETS,
            )?,
            failovers: register.counters(
                "kimgate_failovers_total",
                "Logins that went to the standby, by the client module that did not answer.",
                &["client_module"],
            )?,
            certificate_verdicts: register.counters(
                "kimgate_certificate_verdicts_total",
                "Certificates of client modules, by how they were judged.",
                &["client_module", "verdict"],
            )?,
            certificate_not_after: register.gauges(
                "kimgate_certificate_not_after_seconds",
                "When a certificate expires, in Unix time.",
                &["role"],
            )?,
            messages: register.counters(
                "kimgate_messages_total",
                "Messages that were passed on whole.",
                &["direction", "service"],
            )?,
            messages_rejected: register.counter(
                "kimgate_messages_rejected_total",
                "Sent messages that the client module refused at their end.",
            )?,
            messages_unanswered: register.counter(
                "kimgate_messages_unanswered_total",
                "Sent messages whose client module was lost before it answered.",
            )?,
            messages_unheard: register.counter(
                "kimgate_messages_accepted_after_client_left_total",
                "Sent messages that the client module accepted when the workstation had left.",
            )?,
            message_bytes: register.counters(
                "kimgate_message_bytes_total",
                "Bytes of messages that were passed on, whole or in part.",
                &["direction"],
            )?,
            header_fields_missing: register.counters(
                "kimgate_header_fields_missing_total",
                "Sent messages without a header field that practice software has to write.",
                &["field"],
            )?,
            message_ids_reused: register.counter(
                "kimgate_message_ids_reused_total",
                "Sent messages with the Message-ID of an earlier message of their account.",
            )?,
            relay_bytes: PROTOCOLS.map(|protocol| {
                Direction::ALL.map(|direction| {
                    relay_bytes.with_label_values(&[protocol.as_str(), direction.as_str()])
                })
            }),
            end_of_data_seconds: register.histogram(
                "kimgate_end_of_data_seconds",
                "From the last byte of a sent message to the client module's answer.",
                CRYPTO_BUCKETS,
            )?,
            retrieve_wait_seconds: register.histogram(
                "kimgate_retrieve_wait_seconds",
                "From RETR to the first byte of the message.",
                CRYPTO_BUCKETS,
            )?,
            decryption_results: register.counters(
                "kimgate_decryption_results_total",
                "X-KIM-DecryptionResult of fetched messages; 00 is good.",
                &["code"],
            )?,
            integrity_results: register.counters(
                "kimgate_integrity_results_total",
                "X-KIM-IntegrityCheckResult of fetched messages; 01 is good.",
                &["code"],
            )?,
            messages_deleted: register.counter(
                "kimgate_messages_deleted_total",
                "Messages marked for deletion at the client module.",
            )?,
            deletes_held: register.counter(
                "kimgate_deletes_held_total",
                "Deletions refused because the message had come undecrypted.",
            )?,
            messages_held: register.gauge(
                "kimgate_messages_held",
                "Messages that came undecrypted and are held until somebody can read them.",
            )?,
            holds_incomplete: register.counters(
                "kimgate_holds_incomplete_total",
                "Messages held in their session or in memory only, and why not over restarts.",
                &["problem"],
            )?,
            contexts_active: register.gauge(
                "kimgate_contexts_active",
                "Card contexts that are taken by a workstation.",
            )?,
            context_conflicts: register.counters(
                "kimgate_context_conflicts_total",
                "Card contexts wanted by two workstations at once, by contexts.mode.",
                &["mode"],
            )?,
            mailbox_wait_seconds: register.histogram(
                "kimgate_mailbox_wait_seconds",
                "How long a POP3 login waited for another session on its mailbox.",
                WAIT_BUCKETS,
            )?,
            mailbox_last_fetch: register.times(
                "kimgate_mailbox_last_fetch_seconds",
                "When an account was last fetched from, in Unix time; 0: not since the start.",
                &["account"],
            )?,
            config_reloads: register.counters(
                "kimgate_config_reloads_total",
                "Configurations read while running.",
                &["result"],
            )?,
            config_loaded: register.register(Gauge::new(
                "kimgate_config_loaded_seconds",
                "When the configuration in force was read, in Unix time.",
            )?)?,
            config_problems: register.gauge(
                "kimgate_config_problems",
                "Errors in the configuration that was read last; above 0 it is not in force.",
            )?,
            panics: register
                .counter("kimgate_panics_total", "Tasks of kimgate's own that panicked: bugs.")?,
            accept_errors: register.counter(
                "kimgate_accept_errors_total",
                "Times that a listener could take no connection: out of file descriptors or memory.",
            )?,
            audit_lost: register.counter(
                "kimgate_audit_lost_total",
                "Audit lines that could not be written: disk full, or slower than events.",
            )?,
            registry: register.0,
        })
    }
}

struct Register(Registry);

impl Register {
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), by)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), by)?)
    }

    fn times(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), by)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        by: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, by)?)
    }

    fn register<C: Collector + Clone + 'static>(&self, family: C) -> prometheus::Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

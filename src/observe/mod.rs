//! Facts go in once, as an [`Event`]; audit, metrics, log, live table and status come out.

mod audit;
mod audit_chain;
mod audit_file;
mod audit_parts;
mod config;
mod event;
mod expiry;
mod fold;
mod health;
mod labels;
mod live;
mod log;
mod metrics;
mod pseudonym;
mod record;
mod sent_headers;
mod sessions;
mod status;
mod times;

pub use audit_chain::{AuditChain, BrokenAudit, in_chain_order, verify_audit};
pub use audit_parts::{AuditPart, rotated as rotated_audit};
pub use config::{
    AuditConfig, KnownNames, LogConfig, LogFormat, LogLevel, LogWordError, ObserveConfig,
};
pub use event::{
    ClientModuleState, Direction, Event, EventKind, HeldHow, Phase, ReleasedBy, SessionFacts,
    SessionId,
};
pub use live::LiveSession;
pub use log::{init as init_log, set_level as set_log_level};
pub use pseudonym::Pseudonyms;
pub use status::{
    AnswerStatus, CertificateStatus, ClientModuleStatus, ConfigStatus, ContextStatus, Counts,
    ErrorStatus, HeldList, HeldStatus, HeldSummary, ListenerStatus, MailboxStatus, Missing,
    PauseReason, PauseScope, PauseStatus, Readiness, RefusalStatus, SentHeadersStatus,
    SessionStatus, Status, TurnsStatus, VerdictStatus,
};

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use crate::kim::{Account, LoginWarning};
use crate::words::{Protocol, Reason};
use audit::Audit;
use fold::Folds;
use health::Health;
use labels::Labels;
use metrics::Metrics;
use record::{Record, SessionRecord};
use sent_headers::SentHeaders;
use sessions::Sessions;

/// Where everything that happens is said. One per gateway; clones are the same observer.
///
/// Nothing here waits: a slow or full disk costs audit lines, which are counted, and never a
/// session.
#[derive(Clone)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    labels: ArcSwap<Labels>,
    audit: Audit,
    /// Off where there is no audit, and so nothing that could be flooded.
    folding: bool,
    folds: Arc<Folds>,
    names: Pseudonyms,
    /// Always on: a Message-ID may name its sender's machine, and its hash is enough to tell two apart.
    message_ids: Pseudonyms,
    sessions: Sessions,
    sent_headers: SentHeaders,
    health: Health,
    turns: OnceLock<Box<dyn Fn() -> TurnsStatus + Send + Sync>>,
    held: OnceLock<Box<dyn Fn() -> HeldSummary + Send + Sync>>,
}

impl Observer {
    /// Registers the metrics, opens the audit file, and reads or makes the pseudonym key.
    pub fn new(config: ObserveConfig) -> io::Result<Self> {
        let labels = Labels::new(config.names);
        let metrics = Metrics::new(&labels).map_err(io::Error::other)?;
        let names = match config.audit.pseudonymize && !config.audit.off {
            true => Pseudonyms::open(&config.audit.state_dir)?,
            false => Pseudonyms::Off,
        };
        let message_ids = match config.audit.off {
            true => Pseudonyms::passing(),
            // Without its folder kimgate can do its work, as long as no pseudonyms are asked for.
            false => Pseudonyms::open(&config.audit.state_dir).unwrap_or_else(|error| {
                tracing::warn!(%error, "hashes of Message-IDs will be others after a restart");
                Pseudonyms::passing()
            }),
        };
        let folds = Arc::<Folds>::default();
        let inner = Inner {
            audit: Audit::start(&config.audit, metrics.audit_lost(), Arc::clone(&folds))?,
            folding: !config.audit.off && !config.audit.repeats,
            folds,
            health: Health::new(&labels, OffsetDateTime::now_utc()),
            labels: ArcSwap::from_pointee(labels),
            names,
            message_ids,
            sessions: Sessions::default(),
            sent_headers: SentHeaders::default(),
            turns: OnceLock::new(),
            held: OnceLock::new(),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says that something happened.
    pub fn emit(&self, event: Event<'_>) {
        let Inner {
            metrics,
            labels,
            audit,
            folding,
            folds,
            names,
            message_ids,
            sessions,
            sent_headers,
            health,
            ..
        } = &*self.inner;
        let now = OffsetDateTime::now_utc();
        let mut was_admitted = false;
        match event {
            Event::Connected(session) => drop(sessions.open(session)),
            Event::Login { session, result, .. } => sessions.learn(session, result.is_ok()),
            Event::Closed { session, .. } => {
                was_admitted = sessions.close(session.id).is_some_and(|entry| entry.was_admitted());
            }
            Event::Denied { .. }
            | Event::MessageSent { .. }
            | Event::MessageReceived { .. }
            | Event::MessageDeleted { .. }
            | Event::DeleteHeld { .. }
            | Event::MessageHeld { .. }
            | Event::MessageReleased { .. }
            | Event::ContextConflict { .. }
            | Event::Certificate { .. }
            | Event::ConfigLoaded { .. }
            | Event::Unlocked { .. } => {}
        }
        metrics.count(&event, &labels.load(), unix_seconds(now));
        if sent_headers.note(&event, Instant::now(), now) {
            metrics.message_id_reused();
        }
        let record = Record::new(&event, now, names, message_ids);
        if let Event::Certificate { client_module, not_after: Some(end), .. } = event
            && labels.load().has_client_module(client_module)
        {
            let role = labels::client_module_role(client_module);
            if let Some(days) = health.certificate_met(&role, end, now) {
                log::expiring(&role, days);
            }
        }
        let admit =
            || !*folding || folds.admit(event.session(), was_admitted, &record, Instant::now());
        if health.keep(&event, &record) && admit() {
            audit.write(&record);
            log::say(&record.what);
        }
    }

    /// Logs that a session's login looks wrong. It goes on as it came, so the audit has no line for it.
    pub fn login_warning(&self, session: &SessionFacts, warning: LoginWarning) {
        let Inner { folding, folds, names, .. } = &*self.inner;
        if !*folding || folds.admit_warning(session, warning, Instant::now()) {
            log::login_warning(&SessionRecord::of(session, names), warning);
        }
    }

    /// Logs that an address may not use the admin address.
    pub fn admin_refused(&self, peer: IpAddr) {
        let Inner { folding, folds, .. } = &*self.inner;
        if !*folding || folds.admit_admin(peer, Instant::now()) {
            log::admin_refused(peer);
        }
    }

    /// The session's place in the live table. It has one from [`Event::Connected`], or this, until
    /// [`Event::Closed`]; if the handle is dropped before that, the session's task panicked or was
    /// aborted, and `Closed` is said for it.
    pub fn track(&self, session: &SessionFacts) -> LiveSession {
        LiveSession::new(self.clone(), self.inner.sessions.open(session), session)
    }

    /// An account as log lines show it.
    pub fn named(&self, address: &str) -> String {
        self.inner.names.of(address).into_owned()
    }

    /// Replaces the names that may become labels, after a reload.
    pub fn rename(&self, names: KnownNames) {
        let new = Arc::new(Labels::new(names));
        let old = self.inner.labels.swap(Arc::clone(&new));
        self.inner.metrics.rename(&old, &new);
        self.inner.health.rename(&new);
    }

    /// The addresses that are open now.
    pub fn listeners(&self, listeners: Vec<ListenerStatus>) {
        self.inner.health.listeners(listeners);
    }

    /// When each certificate expires that the configuration in force names, by its role and in Unix
    /// seconds. Those of the configuration before it are forgotten.
    pub fn certificates_in_use(&self, ends: &[(String, i64)]) {
        for gone in self.inner.health.certificates_in_use(ends) {
            self.inner.metrics.forget_not_after(&gone);
        }
        for (role, unix_seconds) in ends {
            self.inner.metrics.not_after(role, *unix_seconds);
        }
        self.warn_of_ends(OffsetDateTime::now_utc());
    }

    /// When the certificate expires that a configured workstation has shown.
    pub fn certificate_met(&self, workstation: &str, unix_seconds: i64) {
        let role = labels::workstation_role(workstation);
        self.inner.metrics.not_after(&role, unix_seconds);
        let now = OffsetDateTime::now_utc();
        if let Some(days) = self.inner.health.certificate_met(&role, unix_seconds, now) {
            log::expiring(&role, days);
        }
    }

    /// Says in the log which certificates expire within 30, 14 or 3 days, or have expired: each once for
    /// each of these marks.
    pub fn warn_of_ends(&self, now: OffsetDateTime) {
        for (role, days) in self.inner.health.expiring(now) {
            log::expiring(&role, days);
        }
    }

    /// True once every listener is bound, false again when kimgate stops.
    pub fn ready(&self, ready: bool) {
        self.inner.health.bound(ready);
    }

    /// How a client module answered.
    pub fn client_module_state(
        &self,
        name: &str,
        protocol: Protocol,
        state: ClientModuleState<'_>,
    ) {
        if self.inner.health.answered(name, protocol, &state, OffsetDateTime::now_utc()) {
            self.inner.metrics.client_module(name, protocol, &state);
        }
    }

    /// A configured client module's certificate was judged as the time before: counted, and nothing
    /// more to say than [`Event::Certificate`] has said then.
    pub fn certificate_judged_again(&self, client_module: &str, class: &'static str) {
        self.inner.metrics.verdict(client_module, class);
    }

    /// A login goes to the standby, because the client module does not answer.
    pub fn failed_over(&self, client_module: &str, standby: &str) {
        tracing::warn!(
            client_module,
            standby,
            "client module does not answer, its standby is used"
        );
        if self.inner.labels.load().has_client_module(client_module) {
            self.inner.metrics.failed_over(client_module);
        }
    }

    /// Bytes were relayed. [`LiveSession::relayed`] calls this.
    pub fn relay_bytes(&self, protocol: Protocol, direction: Direction, bytes: u64) {
        self.inner.metrics.relayed(protocol, direction, bytes);
    }

    /// How long a POP3 login waited for its mailbox.
    pub fn mailbox_wait(&self, seconds: f64) {
        self.inner.metrics.mailbox_waited(seconds);
    }

    /// How many card contexts are taken.
    pub fn contexts_active(&self, contexts: usize) {
        self.inner.metrics.contexts(i64::try_from(contexts).unwrap_or(i64::MAX));
    }

    /// Where the status finds what sessions hold and wait for. The first one to say so counts.
    pub fn turns_from(&self, turns: impl Fn() -> TurnsStatus + Send + Sync + 'static) {
        let _ = self.inner.turns.set(Box::new(turns));
    }

    /// Where status and metrics find how much is held. The first one to say so counts.
    pub fn held_from(&self, held: impl Fn() -> HeldSummary + Send + Sync + 'static) {
        let _ = self.inner.held.set(Box::new(held));
    }

    /// The account of a session as audit and log show it.
    pub fn audited_account(&self, session: &SessionFacts) -> String {
        record::account_of(session, &self.inner.names).unwrap_or_default().into_owned()
    }

    /// An account as a page may show it: people type their password where the user name belongs.
    pub fn shown_account(&self, account: &Account) -> String {
        let known = self.inner.labels.load().has_account(account);
        record::shown(record::showable(account, known).unwrap_or(record::NOT_AN_ADDRESS))
    }

    /// A connection was closed before it became a session.
    pub fn connection_refused(&self, reason: Reason) {
        self.inner.metrics.connection_refused(reason);
    }

    /// A listener could take no connection.
    pub fn accept_failed(&self) {
        self.inner.metrics.accept_failed();
    }

    /// A task of kimgate's own panicked.
    pub fn panicked(&self) {
        self.inner.metrics.panicked();
    }

    /// All metrics as Prometheus text, version 0.0.4.
    pub fn encode(&self) -> String {
        let active = |protocol| self.inner.sessions.active(protocol);
        self.inner.metrics.held(self.held().messages);
        self.inner.metrics.encode(|protocol| i64::try_from(active(protocol)).unwrap_or(i64::MAX))
    }

    /// Whether mail can go through now, and what is missing.
    pub fn readiness(&self) -> Readiness {
        self.inner.health.readiness()
    }

    /// Everything that the console shows.
    pub fn status(&self) -> Status {
        Status {
            counts: self.inner.metrics.totals(),
            contexts_active: self.inner.metrics.contexts_active(),
            turns: self.inner.turns.get().map(|turns| turns()).unwrap_or_default(),
            held: self.held(),
            sessions: self.inner.sessions.status(),
            sent_headers: self.inner.sent_headers.status(),
            ..self.inner.health.status(OffsetDateTime::now_utc())
        }
    }

    fn held(&self) -> HeldSummary {
        self.inner.held.get().map(|held| held()).unwrap_or_default()
    }

    /// Waits, two seconds at most, until the audit lines said so far are written; false if they are
    /// not. For the end of the process: it blocks the thread.
    pub fn flush(&self) -> bool {
        self.inner.audit.flush()
    }
}

fn unix_seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests;

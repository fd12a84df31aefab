//! The log for people: how it is set up, and one line for each event.
//!
//! Texts are constant, data is in fields. The log goes to standard error; standard output belongs
//! to the audit and to what commands print.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing::{Level, Subscriber, debug, error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use super::record::Record;
use super::{Event, LogConfig, LogFormat, LogLevel};
use crate::kim::LoginWarning;

/// Starts logging for the whole process. The error says that it was started before.
///
/// Where standard error goes to systemd's journal, each line begins with its priority as
/// sd-daemon(3) has it, and has no time of its own: the journal knows both better.
pub fn init(config: LogConfig) -> io::Result<()> {
    let ansi = io::stderr().is_terminal();
    let journal = is_journal();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(ansi);
    let text = format::Format::default().with_target(false);
    let lines = match config.format {
        LogFormat::Text if journal => lines.event_format(Prioritised(text.without_time())).boxed(),
        LogFormat::Text => lines.event_format(text).boxed(),
        LogFormat::Json => {
            let json = format().json().flatten_event(true).with_current_span(false);
            let lines = lines.fmt_fields(format::JsonFields::new());
            match journal {
                true => lines.event_format(Prioritised(json)).boxed(),
                false => lines.event_format(json).boxed(),
            }
        }
    };
    let (filter, handle) = reload::Layer::new(targets(config.level));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(io::Error::other)?;
    // The log is the process's, and so is its level.
    let _ = FILTER.set(handle);
    Ok(())
}

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Another level from now on, where [`init`] has started the log.
pub fn set_level(level: LogLevel) {
    if let Some(filter) = FILTER.get() {
        // It fails only where the subscriber is gone, and then nobody logs.
        let _ = filter.reload(targets(level));
    }
}

/// Whether standard error is what systemd says it has connected to the journal (systemd.exec(5)).
fn is_journal() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let stream = std::env::var("JOURNAL_STREAM");
        // A child whose standard error goes elsewhere inherits the variable all the same.
        let here = std::fs::metadata("/dev/stderr").map(|m| format!("{}:{}", m.dev(), m.ino()));
        matches!((stream, here), (Ok(stream), Ok(here)) if stream == here)
    }
    #[cfg(not(unix))]
    false
}

/// Lines that begin with `<3>` for an error and so on.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(line, "<{priority}>")?;
        self.0.format_event(context, line, event)
    }
}

/// `level` for kimgate itself. Other crates stop at info, whatever is asked for: below that they
/// show what they read, and `mailin` shows credentials.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = level.min(LevelFilter::INFO);
    Targets::new().with_default(others).with_target("kimgate", level).with_target("mailin", others)
}

/// A line with what is known of the session, and more fields.
macro_rules! line {
    ($level:ident, $r:expr, $text:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $level!(
            session = $r.session.as_deref(),
            protocol = $r.protocol,
            peer = $r.peer.as_deref(),
            workstation = $r.workstation.as_deref(),
            account = $r.account.as_deref(),
            $($name = $value,)*
            $text
        )
    };
}

/// Says an event.
pub(super) fn say(event: &Event<'_>, r: &Record<'_>) {
    let (reason, rule) = (r.reason, r.rule.as_deref());
    let (bytes, seconds) = (r.bytes, r.seconds);
    match *event {
        Event::Connected(_) => line!(debug, r, "connected", listener = r.listener.as_deref()),
        Event::Login { result: Ok(()), would_deny: None, .. } => line!(
            info,
            r,
            "login accepted",
            seconds = seconds,
            client_module = r.client_module.as_deref(),
        ),
        Event::Login { result: Ok(()), .. } => line!(
            warn,
            r,
            "login accepted, enforcing would refuse it",
            would_deny = r.would_deny,
            rule = rule,
            seconds = seconds,
        ),
        Event::Login { result: Err(_), .. } => line!(
            warn,
            r,
            "login refused",
            action = r.action,
            reason = reason,
            rule = rule,
            reply = r.reply.as_deref(),
            seconds = seconds,
        ),
        Event::Denied { enforced: true, .. } => {
            line!(warn, r, "refused", action = r.action, reason = reason, rule = rule);
        }
        Event::Denied { .. } => line!(
            warn,
            r,
            "passed, enforcing would refuse it",
            action = r.action,
            would_deny = r.would_deny,
            rule = rule,
        ),
        Event::MessageSent { accepted: Ok(true), left_after: Some(_), .. } => line!(
            warn,
            r,
            "message sent, but the workstation left before it heard so; it may send it again",
            message_id = r.message_id.as_deref(),
            left_after = r.left_after,
            seconds = seconds,
        ),
        Event::MessageSent { accepted: Ok(true), .. } => line!(
            info,
            r,
            "message sent",
            service = r.service.as_deref(),
            bytes = bytes,
            recipients = r.recipients,
            seconds = seconds,
        ),
        Event::MessageSent { accepted: Err(_), .. } => line!(
            warn,
            r,
            "the client module was lost before it answered: nobody knows whether the message went out",
            message_id = r.message_id.as_deref(),
            reason = reason,
            seconds = seconds,
        ),
        Event::MessageSent { .. } => line!(
            warn,
            r,
            "message refused by the client module",
            reply = r.reply.as_deref(),
            service = r.service.as_deref(),
            bytes = bytes,
            seconds = seconds,
        ),
        Event::MessageReceived { .. } if r.decryption.iter().any(|code| *code != "00") => line!(
            warn,
            r,
            "message came undecrypted; is the card plugged in and unlocked?",
            decryption = tracing::field::debug(&r.decryption),
            service = r.service.as_deref(),
            bytes = bytes,
        ),
        Event::MessageReceived { .. } => line!(
            info,
            r,
            "message received",
            service = r.service.as_deref(),
            bytes = bytes,
            seconds = seconds,
            wait = r.wait,
        ),
        Event::MessageDeleted { .. } => line!(info, r, "message deleted", number = r.number),
        Event::DeleteHeld { .. } => line!(
            warn,
            r,
            "deletion refused, the message came undecrypted and this is its only copy",
            number = r.number,
        ),
        Event::ContextConflict { enforced, .. } => line!(
            warn,
            r,
            "card context is taken by another workstation",
            holder = r.holder.as_deref(),
            enforced = enforced,
        ),
        Event::Certificate { accepted: true, replaces: Some(_), .. } => warn!(
            client_module = r.client_module.as_deref(),
            verdict = r.verdict,
            sentence = r.sentence.as_deref(),
            replaces = r.replaces.as_deref(),
            "the client module has another certificate than before, and it is accepted"
        ),
        Event::Certificate { accepted: true, .. } => info!(
            client_module = r.client_module.as_deref(),
            verdict = r.verdict,
            sentence = r.sentence.as_deref(),
            "certificate accepted"
        ),
        Event::Certificate { .. } => error!(
            client_module = r.client_module.as_deref(),
            verdict = r.verdict,
            sentence = r.sentence.as_deref(),
            replaces = r.replaces.as_deref(),
            "certificate refused"
        ),
        Event::ConfigLoaded { accepted: true, reload, .. } => {
            info!(config = r.config.as_deref(), reload, "configuration in force");
        }
        Event::ConfigLoaded { problems, .. } => {
            error!(problems, "configuration has errors, the old one stays in force");
        }
        Event::Closed { .. } if r.sentence.is_some() => {
            line!(info, r, "tls handshake failed", sentence = r.sentence.as_deref());
        }
        Event::Closed { .. } => {
            line!(debug, r, "closed", reason = reason, bytes = bytes, seconds = seconds);
        }
    }
}

/// Says what looks wrong about a login.
pub(super) fn login_warning(r: &Record<'_>, warning: LoginWarning) {
    let (problem, remedy) = (warning.problem(), warning.remedy());
    line!(
        warn,
        r,
        "a login looks wrong; it goes on as it came",
        problem = problem,
        remedy = remedy,
    );
}

/// Says that a certificate ends soon, or is over.
pub(super) fn ending(role: &str, days: i64) {
    let role = &*super::printable(role);
    match days {
        i64::MIN..0 => error!(role, "a certificate is over; renew it"),
        0..=3 => error!(role, days, "a certificate ends within days; renew it"),
        _ => warn!(role, days, "a certificate ends soon; renew it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_stop_at_info() {
        let targets = targets(LogLevel::Trace);
        assert!(targets.would_enable("kimgate::gateway", &Level::TRACE));
        for other in ["mailin", "mailin::smtp", "rustls::conn", "hyper"] {
            assert!(!targets.would_enable(other, &Level::DEBUG), "{other}");
            assert!(targets.would_enable(other, &Level::INFO), "{other}");
        }
    }

    #[test]
    fn a_quiet_level_is_quiet_for_all() {
        let targets = targets(LogLevel::Error);
        assert!(!targets.would_enable("mailin", &Level::INFO));
        assert!(!targets.would_enable("kimgate", &Level::WARN));
    }
}

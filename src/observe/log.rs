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

use super::record::{
    Answered, CertificateRecord, ConfigLoadedRecord, DeniedRecord, Judged, LoginRecord,
    MessageSentRecord, RecordedEvent, SessionRecord, UnlockedRecord,
};
use super::{LogConfig, LogFormat, LogLevel};
use crate::kim::LoginWarning;
use crate::printable::{escaped_beside_ascii, escaped_json};

/// Starts logging for the whole process. The error says that it was started before.
///
/// Where standard error goes to systemd's journal, each line begins with its priority as
/// sd-daemon(3) has it, and has no time of its own: the journal knows both better.
pub fn init(config: LogConfig) -> io::Result<()> {
    let ansi = io::stderr().is_terminal();
    let journal = is_journal();
    let json = matches!(config.format, LogFormat::Json);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || EscapedLines { json, output: io::stderr() })
        .with_ansi(ansi);
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
        // It fails only where the subscriber is gone, and then there is no log.
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

/// A last look at each line of the log. It escapes what may stand in the error texts of other crates.
///
/// ASCII control characters in a text are escaped by `tracing_subscriber` itself; those that are
/// left are its own colours and line ends.
struct EscapedLines<W> {
    json: bool,
    output: W,
}

impl<W: io::Write> io::Write for EscapedLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.is_ascii() {
            return self.output.write(line);
        }
        let text = String::from_utf8_lossy(line);
        let safe = if self.json { escaped_json(&text) } else { escaped_beside_ascii(&text) };
        self.output.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
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
    ($level:ident, $about:expr, $text:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $level!(
            session = $about.session.as_str(),
            protocol = $about.protocol,
            peer = $about.peer.as_str(),
            workstation = $about.workstation.as_deref(),
            account = $about.account.as_deref(),
            $($name = $value,)*
            $text
        )
    };
}

/// Says what happened.
pub(super) fn say(what: &RecordedEvent<'_>) {
    match what {
        RecordedEvent::Connected(about) => {
            line!(debug, about, "connected", listener = &*about.listener)
        }
        RecordedEvent::Login(r) => login(r),
        RecordedEvent::Denied(r) => denied(r),
        RecordedEvent::MessageSent(r) => sent(r),
        RecordedEvent::MessageReceived(r) if r.decryption.iter().any(|code| *code != "00") => {
            line!(
                warn,
                r.about,
                "message came undecrypted; is the card plugged in and unlocked?",
                decryption = tracing::field::debug(&r.decryption),
                service = r.service.as_deref(),
                bytes = r.bytes,
                complete = r.complete,
                top = r.top,
            )
        }
        RecordedEvent::MessageReceived(r) if r.complete == Some(false) => line!(
            warn,
            r.about,
            "a fetch broke off; a part of the message was passed on",
            service = r.service.as_deref(),
            bytes = r.bytes,
            top = r.top,
        ),
        RecordedEvent::MessageReceived(r) => line!(
            info,
            r.about,
            "message received",
            service = r.service.as_deref(),
            bytes = r.bytes,
            complete = r.complete,
            top = r.top,
            seconds = r.seconds,
            wait = r.wait,
        ),
        RecordedEvent::MessageDeleted(r) => {
            line!(info, r.about, "message deleted", number = r.number)
        }
        RecordedEvent::DeleteHeld(r) => line!(
            warn,
            r.about,
            "deletion refused, the message came undecrypted and this is its only copy",
            number = r.number,
        ),
        RecordedEvent::MessageHeld(r) => line!(
            warn,
            r.about,
            "message came undecrypted, deletion is held",
            held = r.held.as_deref(),
            number = r.number,
            cause = &*r.cause,
            place = r.place,
            problem = r.problem,
        ),
        RecordedEvent::MessageReleased(r) => info!(
            held = &*r.held,
            account =
                r.about.as_ref().map_or(r.account.as_deref(), |about| about.account.as_deref()),
            since = &*r.since,
            by = r.by,
            "message is not held any longer",
        ),
        RecordedEvent::ContextConflict(r) => line!(
            warn,
            r.about,
            "card context is taken by another workstation",
            holder = &*r.holder,
            enforced = !r.judged.accepted,
        ),
        RecordedEvent::Certificate(r) => certificate(r),
        RecordedEvent::ConfigLoaded(ConfigLoadedRecord {
            accepted: true, reload, config, ..
        }) => {
            info!(config = &**config, reload, "configuration in force");
        }
        RecordedEvent::ConfigLoaded(ConfigLoadedRecord { problems, .. }) => {
            error!(problems, "configuration has errors, the old one stays in force");
        }
        RecordedEvent::Unlocked(UnlockedRecord { peer, workstation, account, ended }) => {
            info!(
                peer = peer.as_str(),
                workstation = workstation.as_deref(),
                account = account.as_deref(),
                ended,
                "login pauses ended by command"
            );
        }
        RecordedEvent::Closed(r) => match r.sentence.as_deref() {
            Some(sentence) => line!(info, r.about, "tls handshake failed", sentence = sentence),
            None => line!(
                debug,
                r.about,
                "closed",
                reason = r.reason,
                bytes = r.bytes,
                seconds = r.seconds,
            ),
        },
    }
}

fn login(r: &LoginRecord<'_>) {
    let (judged, answered) = (r.judged, &r.answered);
    match (judged.accepted, judged.would_deny) {
        (true, None) => line!(
            info,
            r.about,
            "login accepted",
            seconds = answered.seconds,
            client_module = r.about.client_module.as_deref(),
        ),
        (true, Some(would_deny)) => line!(
            warn,
            r.about,
            "login accepted, enforcing would refuse it",
            would_deny = would_deny,
            rule = r.rule.as_deref(),
            seconds = answered.seconds,
        ),
        (false, _) => refused_login(&r.about, r.action, judged, r.rule.as_deref(), answered),
    }
}

fn denied(r: &DeniedRecord<'_>) {
    let rule = r.rule.as_deref();
    match (&r.answered, r.judged.accepted) {
        (Some(answered), _) => refused_login(&r.about, r.action, r.judged, rule, answered),
        (None, false) => line!(
            warn,
            r.about,
            "refused",
            action = r.action,
            reason = r.judged.reason,
            rule = rule,
        ),
        (None, true) => line!(
            warn,
            r.about,
            "passed, enforcing would refuse it",
            action = r.action,
            would_deny = r.judged.would_deny,
            rule = rule,
        ),
    }
}

fn refused_login(
    about: &SessionRecord<'_>,
    action: &str,
    judged: Judged,
    rule: Option<&str>,
    answered: &Answered<'_>,
) {
    line!(
        warn,
        about,
        "login refused",
        action = action,
        reason = judged.reason,
        rule = rule,
        reply = &*answered.reply,
        seconds = answered.seconds,
    );
}

fn sent(r: &MessageSentRecord<'_>) {
    match (r.accepted, r.left_after) {
        (Some(true), Some(left_after)) => line!(
            warn,
            r.about,
            "message sent, but the workstation left before it heard so; it may send it again",
            message_id = r.message_id.as_deref(),
            left_after = left_after,
            seconds = r.seconds,
        ),
        (Some(true), None) => line!(
            info,
            r.about,
            "message sent",
            service = r.service.as_deref(),
            bytes = r.bytes,
            recipients = r.recipients,
            seconds = r.seconds,
        ),
        (Some(false), _) => line!(
            warn,
            r.about,
            "message refused by the client module",
            reply = r.reply.as_deref(),
            service = r.service.as_deref(),
            bytes = r.bytes,
            seconds = r.seconds,
        ),
        (None, _) => line!(
            warn,
            r.about,
            "the client module was lost before it answered: the message may or may not have gone out",
            message_id = r.message_id.as_deref(),
            reason = r.reason,
            seconds = r.seconds,
        ),
    }
}

fn certificate(r: &CertificateRecord<'_>) {
    let (client_module, verdict, sentence) = (&*r.client_module, r.verdict, &*r.sentence);
    let replaces = r.replaces.as_deref();
    match (r.accepted, replaces) {
        (true, Some(_)) => warn!(
            client_module,
            verdict,
            sentence,
            replaces,
            "the client module has another certificate than before, and it is accepted"
        ),
        (true, None) => info!(client_module, verdict, sentence, "certificate accepted"),
        (false, _) => error!(client_module, verdict, sentence, replaces, "certificate refused"),
    }
}

/// Says what looks wrong about a login.
pub(super) fn login_warning(about: &SessionRecord<'_>, warning: LoginWarning) {
    let (problem, remedy) = (warning.problem(), warning.remedy());
    line!(
        warn,
        about,
        "a login looks wrong; it goes on as it came",
        problem = problem,
        remedy = remedy,
    );
}

/// Says that an address may not use the admin address.
pub(super) fn admin_refused(peer: std::net::IpAddr) {
    warn!(%peer, "admin address: not in admin.allow");
}

/// Says how often something happened again that was said before.
pub(super) fn folded(folded: &super::fold::Folded) {
    macro_rules! again {
        ($level:ident, $text:literal) => {
            $level!(
                count = folded.count,
                event = folded.event,
                reason = &*folded.reason,
                source = folded.source.as_str(),
                account = folded.account.as_deref(),
                rule = folded.rule.as_deref(),
                $text
            )
        };
    }
    match folded.event {
        "connected" => again!(debug, "more connections within a minute"),
        "closed" => again!(info, "more connections that came to nothing within a minute"),
        _ => again!(warn, "more of the same within a minute"),
    }
}

/// Says that a certificate expires soon, or has expired.
pub(super) fn expiring(role: &str, days: i64) {
    let role = &*crate::printable::printable(role);
    match days {
        i64::MIN..0 => error!(role, "a certificate has expired; renew it"),
        0..=3 => error!(role, days, "a certificate expires within days; renew it"),
        _ => warn!(role, days, "a certificate expires soon; renew it"),
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
    fn no_log_line_holds_what_reorders_or_hides_text() {
        use std::io::Write as _;
        let hostile = "\u{1b}[32mgr\u{fc}n\u{1b}[0m \u{202e}\u{200b}\u{feff}\u{e0041}\u{85}\n";
        for (json, shown) in [
            (false, "\u{1b}[32mgr\u{fc}n\u{1b}[0m \\u{202e}\\u{200b}\\u{feff}\\u{e0041}\\u{85}\n"),
            (true, "\\u001b[32mgr\u{fc}n\\u001b[0m \\u202e\\u200b\\ufeff\\udb40\\udc41\\u0085\n"),
        ] {
            let mut lines = EscapedLines { json, output: Vec::new() };
            lines.write_all(hostile.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(lines.output).unwrap(), shown);
        }
    }

    #[test]
    fn a_quiet_level_is_quiet_for_all() {
        let targets = targets(LogLevel::Error);
        assert!(!targets.would_enable("mailin", &Level::INFO));
        assert!(!targets.would_enable("kimgate", &Level::WARN));
    }
}

//! `kimgate status`: one look at a running gateway, from its admin address.

use std::net::SocketAddr;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::admin::{Admin, get, no_kimgate};
use super::amounts::{bytes_text, duration};
use super::{Failure, Screen, table};
use crate::observe::{
    AnswerStatus, ClientModuleStatus, PauseReason, PauseScope, PauseStatus, RefusalStatus,
    SessionStatus, Status,
};
use crate::printable::printable;
use crate::words::{Protocol, Security};

/// Show a running gateway: sessions, contexts, client modules, certificates, latest refusals
///
/// Exit code 0: mail can go through. 1: it cannot, or no gateway answers.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kimgate status\n  kimgate status --address 127.0.0.1:9465 --json"
)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    admin: Admin,
    /// Print the status as one JSON object
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let address = self.admin.address()?;
        let body = get(address, "/status")?;
        let status: Status = serde_json::from_slice(&body).map_err(|_| no_kimgate(address))?;
        if self.json {
            let json = serde_json::to_string_pretty(&status).map_err(Failure::error)?;
            screen.say_json(&json);
        } else {
            StatusView { screen, status: &status, now: OffsetDateTime::now_utc() }.show(address);
        }
        if status.readiness.ready { Ok(()) } else { Err(Failure::no()) }
    }
}

/// A status on a screen. What it says comes from another process and is escaped again.
struct StatusView<'a> {
    screen: &'a mut Screen,
    status: &'a Status,
    now: OffsetDateTime,
}

impl StatusView<'_> {
    fn show(mut self, address: SocketAddr) {
        let status = self.status;
        self.screen.headline(&format!(
            "kimgate {} at {address}, running for {}",
            printable(&status.version),
            self.age(&status.started)
        ));
        self.readiness();
        self.configuration();
        self.list(
            "listeners",
            status.listeners.iter().map(|listener| {
                vec![
                    printable(&listener.name).into_owned(),
                    spelled(listener.protocol).into(),
                    listener.address.to_string(),
                    match listener.security {
                        Security::Implicit => "TLS",
                        Security::StartTls => "STARTTLS",
                        Security::None => "no TLS",
                    }
                    .into(),
                ]
            }),
        );
        self.client_modules();
        let certificates = status.certificates.iter();
        let certificates: Vec<_> = certificates
            .map(|one| vec![printable(&one.role).into_owned(), self.until(&one.not_after)])
            .collect();
        self.list("certificates", certificates.into_iter());
        self.sessions();
        self.turns();
        let refusals: Vec<_> =
            status.refusals.iter().take(10).map(|refusal| self.refusal(refusal)).collect();
        self.list("latest refusals", refusals.into_iter());
        self.sent_headers();
        self.held();
        self.counts();
    }

    fn readiness(&mut self) {
        if self.status.readiness.ready {
            self.screen.done("ready: mail can go through");
        }
        for missing in &self.status.readiness.missing {
            self.screen.failed(missing);
        }
    }

    fn configuration(&mut self) {
        let config = &self.status.config;
        if let Some(loaded) = &config.loaded {
            let hash = config.hash.as_deref().unwrap_or_default();
            let since = format!("in force for {}", self.age(loaded));
            self.screen.done(format_args!("configuration {}, {since}", printable(hash)));
        }
        if let Some(rejected) = &config.rejected {
            let errors = config.problems;
            let when = self.age(rejected);
            self.screen.failed(format_args!(
                "a newer configuration was rejected {when} ago, with {errors} errors; \
                 `kimgate check` names them"
            ));
        }
    }

    fn client_modules(&mut self) {
        self.screen.say("");
        self.screen.headline("client modules");
        for module in &self.status.client_modules {
            for (protocol, answer) in
                [(Protocol::Pop3, &module.pop3), (Protocol::Smtp, &module.smtp)]
            {
                self.side(module, protocol, answer.as_ref());
            }
            if let Some(verdict) = &module.certificate {
                let end = verdict.not_after.as_deref().map(|end| self.until(end));
                let line = format!(
                    "{}  certificate {}{}",
                    printable(&module.name),
                    printable(&verdict.class),
                    end.map(|end| format!(", until {end}")).unwrap_or_default()
                );
                if verdict.accepted {
                    self.screen.done(line);
                } else {
                    self.screen.failed(line);
                    self.screen.say(&format!("      {}", printable(&verdict.sentence)));
                }
            }
        }
    }

    fn side(
        &mut self,
        module: &ClientModuleStatus,
        protocol: Protocol,
        answer: Option<&AnswerStatus>,
    ) {
        let name = format!("{}  {}", printable(&module.name), spelled(protocol));
        match answer {
            None => {}
            Some(answer) if answer.up => {
                let ms = answer.connect_seconds.map(|seconds| seconds * 1000.0);
                let ms = ms.map(|ms| format!(" in {ms:.0} ms")).unwrap_or_default();
                let age = self.age(&answer.at);
                self.screen.done(format_args!("{name} answered{ms}, {age} ago"));
                self.detail("offers", &answer.capabilities.join(", "));
                if let Some(last) = &answer.last_error {
                    let age = self.age(&last.at);
                    self.detail("last failure", &format!("{age} ago: {}", last.error));
                }
            }
            Some(answer) => {
                let why = answer.error.as_deref().unwrap_or("no answer");
                let age = self.age(&answer.at);
                self.screen.failed(format_args!("{name} {age} ago: {}", printable(why)));
            }
        }
    }

    /// More about the line above.
    fn detail(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            let width = self.screen.width().map_or(usize::MAX, |width| width.saturating_sub(6));
            for line in table::wrapped(&format!("{name} {}", printable(text)), width) {
                self.screen.say(&format!("      {line}"));
            }
        }
    }

    fn sessions(&mut self) {
        let status = self.status;
        let title = format!(
            "sessions: {}, contexts in use: {}",
            status.sessions.len(),
            status.contexts_active
        );
        if status.sessions.is_empty() {
            self.screen.say("");
            self.screen.headline(&title);
        } else {
            let heads = ["workstation", "account", "doing", "for", "bytes", "from"];
            self.list(&title, with_heads(&heads, status.sessions.iter().map(session)));
        }
    }

    fn turns(&mut self) {
        let turns = &self.status.turns;
        let contexts = turns.contexts.iter().map(|context| {
            let ids = [&context.mandant_id, &context.clientsystem_id, &context.workplace_id];
            let ids: Vec<&str> = ids.into_iter().map(String::as_str).collect();
            vec![
                printable(&ids.join(" · ")).into_owned(),
                printable(&context.workstation).into_owned(),
                match context.sessions {
                    0 => "free in a moment".into(),
                    1 => "1 session".into(),
                    count => format!("{count} sessions"),
                },
                printable(&context.client_module).into_owned(),
            ]
        });
        let heads = ["context", "workstation", "held by", "client module"];
        self.list("card contexts", with_heads(&heads, contexts));
        let mailboxes = turns.mailboxes.iter().map(|mailbox| {
            vec![
                printable(&mailbox.account).into_owned(),
                match mailbox.waiting {
                    0 => "nobody waits".into(),
                    count => format!("{count} waiting"),
                },
                printable(&mailbox.client_module).into_owned(),
            ]
        });
        self.list("mailboxes being fetched", mailboxes);
        let heads = ["workstation", "account", "for another", "what waits", "refused"];
        let paused = with_heads(&heads, turns.paused_logins.iter().map(pause));
        let more = turns.more_paused_logins;
        let more = (more > 0).then(|| vec![format!("and {more} more")]);
        self.list(
            "paused logins: refused too often, correct the password; `kimgate unlock` ends pauses",
            paused.chain(more),
        );
    }

    fn refusal(&self, refusal: &RefusalStatus) -> Vec<String> {
        let who = refusal.workstation.as_deref().unwrap_or(&refusal.peer);
        let enforced = if refusal.enforced { "" } else { " (would be)" };
        vec![
            format!("{} ago", self.age(&refusal.time)),
            printable(who).into_owned(),
            optional(refusal.account.as_deref()),
            optional(refusal.action.as_deref()),
            format!("{}{enforced}", printable(&refusal.reason)),
            optional(refusal.rule.as_deref()),
        ]
    }

    /// The makers of the practice software can mend it; the messages went out as they came.
    fn sent_headers(&mut self) {
        let rows = self.status.sent_headers.iter().map(|row| {
            let missing = row.missing.iter().map(|(field, count)| format!("{field} {count}"));
            let reused = row.reused_message_ids;
            let reused = (reused > 0).then(|| format!("Message-ID used again {reused}"));
            vec![
                printable(&row.workstation).into_owned(),
                row.messages.to_string(),
                printable(&missing.chain(reused).collect::<Vec<_>>().join(", ")).into_owned(),
                format!("{} ago", self.age(&row.last)),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let heads = ["workstation", "sent", "how many of them lack what", "last"];
        let title = "sent messages without what gematik demands of practice software";
        self.list(title, with_heads(&heads, rows.into_iter()));
    }

    fn held(&mut self) {
        let held = &self.status.held;
        if let Some(trouble) = &held.trouble {
            self.screen.failed(format_args!("held messages: {}", printable(trouble)));
        }
        let oldest = held.oldest.as_deref().map(|oldest| self.age(oldest));
        let what = match (held.messages, oldest) {
            (0, _) | (_, None) => return,
            (1, Some(age)) => format!("1 message came undecrypted and is held, for {age}"),
            (count, Some(age)) => {
                format!("{count} messages came undecrypted and are held, the oldest for {age}")
            }
        };
        self.screen.noted(format_args!("{what}; unlock the card and fetch again (`kimgate held`)"));
    }

    fn counts(&mut self) {
        let counts = &self.status.counts;
        self.screen.say("");
        self.screen.headline("since the start");
        self.screen.say(&format!(
            "  logins: {} accepted, {} refused; messages: {} sent, {} fetched; deletions held: {}",
            counts.logins_accepted,
            counts.logins_refused,
            counts.messages_sent,
            counts.messages_received,
            counts.deletes_held
        ));
        let troubles = [
            (counts.would_deny, "would be refused if policy.mode were \"enforce\""),
            (counts.audit_lost, "audit lines were lost: is the disk full?"),
            (counts.panics, "tasks panicked: please report it"),
        ];
        for (count, what) in troubles.into_iter().filter(|(count, _)| *count > 0) {
            self.screen.noted(format_args!("{count} {what}"));
        }
    }

    fn list(&mut self, title: &str, rows: impl Iterator<Item = Vec<String>>) {
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return;
        }
        self.screen.say("");
        self.screen.headline(title);
        let width = self.screen.width().map(|width| width.saturating_sub(2));
        for line in table::fitting(&rows, width) {
            self.screen.say(&format!("  {line}"));
        }
    }

    /// How long ago this was.
    fn age(&self, rfc3339: &str) -> String {
        match OffsetDateTime::parse(rfc3339, &Rfc3339) {
            Ok(then) => duration((self.now - then).as_seconds_f64()),
            Err(_) => printable(rfc3339).into_owned(),
        }
    }

    fn until(&self, rfc3339: &str) -> String {
        match OffsetDateTime::parse(rfc3339, &Rfc3339) {
            Ok(end) if end < self.now => format!("{}, which is over", end.date()),
            Ok(end) => format!("{}, {} more days", end.date(), (end - self.now).whole_days()),
            Err(_) => printable(rfc3339).into_owned(),
        }
    }
}

fn session(session: &SessionStatus) -> Vec<String> {
    vec![
        optional(session.workstation.as_deref()),
        optional(session.account.as_deref()),
        format!("{} {}", spelled(session.protocol), printable(&session.phase)),
        duration(session.seconds),
        format!(
            "↓ {} ↑ {}",
            bytes_text(session.bytes_to_client),
            bytes_text(session.bytes_to_module)
        ),
        printable(&session.peer).into_owned(),
    ]
}

fn pause(pause: &PauseStatus) -> Vec<String> {
    let times = if pause.refusals == 1 { "time" } else { "times" };
    let why = match pause.reason {
        PauseReason::WrongPassword => "wrong password",
        PauseReason::RejectedByClientModule => "for whatever reason",
    };
    let reply = printable(&pause.reply);
    vec![
        optional(pause.workstation.as_deref()),
        optional(pause.account.as_deref()),
        duration(pause.seconds as f64),
        match (pause.scope, pause.wrong_password_seconds) {
            (PauseScope::WrongPassword, _) => "the wrong password".into(),
            (PauseScope::Account, None) => "every login of the account".into(),
            (PauseScope::Login, None) => "the login".into(),
            (PauseScope::Account | PauseScope::Login, Some(seconds)) => format!(
                "{}, the wrong password for {}",
                if pause.scope == PauseScope::Account { "every login" } else { "the login" },
                duration(seconds as f64)
            ),
        },
        format!("{} {times}, {why} ({reply})", pause.refusals),
    ]
}

fn with_heads(
    heads: &[&str],
    rows: impl ExactSizeIterator<Item = Vec<String>>,
) -> impl Iterator<Item = Vec<String>> {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    (rows.len() > 0).then_some(heads).into_iter().chain(rows)
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "–".into(), |text| printable(text).into_owned())
}

fn spelled(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Pop3 => "POP3",
        Protocol::Smtp => "SMTP",
    }
}

//! `kimgate explain`: the decision that `run` would take, the rule that took it, and the way there.

mod learn;
mod remedy;
mod steps;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{ConfigFile, Failure, Screen, check};
use crate::config::{Config, Loaded, load};
use crate::kim::{Field, Login, LoginWarning};
use crate::policy::{Explanation, Mode, Outcome, Policy, Request, Rule, Station, Wish};
use crate::printable::printable;
use crate::trust::ClientCertificates;
use crate::words::{Action, Protocol};

/// Say what the gateway would decide about a login, by which rule, and what would have to change
///
/// Exit code 0: allowed. 1: denied. Connection limits, paused logins, contexts and mailboxes in use
/// change from moment to moment and are not looked at here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kimgate explain --from 192.168.0.31 --login 'prx@praxis.kim.telematik#…:995#Mandant1#…#PC1'\n  \
    kimgate explain --from 192.168.0.31 --login prx@praxis.kim.telematik --action send \\\n      \
    --recipient arzt@andere-praxis.kim.telematik --service 'eAU;Lieferung;V1.0'\n  \
    kimgate explain --learn audit.jsonl > learned.diff; patch kimgate.toml learned.diff")]
pub(super) struct Explain {
    #[command(flatten)]
    file: ConfigFile,
    /// The workstation's address
    #[arg(long, value_name = "ADDR", required_unless_present = "learn")]
    from: Option<IpAddr>,
    /// The user name that its mail client sends
    #[arg(long, required_unless_present = "learn")]
    login: Option<String>,
    /// A name in the client certificate that it shows; may be given several times
    #[arg(long = "certificate", value_name = "NAME")]
    certificates: Vec<String>,
    /// What it speaks; follows from the action where it is left out
    #[arg(long, value_enum)]
    protocol: Option<Speaks>,
    /// What it wants to do
    #[arg(long, value_enum)]
    action: Option<Wants>,
    /// The address in MAIL FROM; empty for the null sender
    #[arg(long, value_name = "A")]
    sender: Option<String>,
    /// An address in RCPT TO
    #[arg(long, value_name = "A")]
    recipient: Option<String>,
    /// The value of X-KIM-Dienstkennung; empty for a message without it
    #[arg(long, value_name = "S")]
    service: Option<String>,
    /// An address in From: or Sender: of the message
    #[arg(long, value_name = "A")]
    author: Option<String>,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
    /// Propose, as a diff to the configuration, the rules that admit exactly the traffic in these
    /// audit files, and nothing else where no list stands yet
    #[arg(long, value_name = "AUDITFILE", num_args = 1.., conflicts_with_all = [
        "from", "login", "certificates", "protocol", "action", "sender", "recipient", "service", "author",
        "json",
    ])]
    learn: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speaks {
    Pop3,
    Smtp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wants {
    Login,
    Send,
    Receive,
    Delete,
}

impl Explain {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let (Some(from), Some(login)) = (self.from, &self.login) else {
            return learn::learn(screen, &self.file.path()?, &self.learn);
        };
        let (protocol, action) = self.question()?;
        let path = self.file.path()?;
        let loaded = load(&path, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
        let policy = Policy::compile(loaded.config.rules.clone())
            .map_err(|_| Failure::error("the rules cannot be used; `kimgate check` says why"))?;
        let login = Login::parse(login.as_bytes());
        let case = self.judge(&loaded, &policy, from, login, (protocol, action));
        if self.json {
            let json = serde_json::to_string_pretty(&case.as_json()).map_err(Failure::error)?;
            screen.say_json(&json);
        } else {
            case.show(screen);
        }
        if case.explanation.allowed() { Ok(()) } else { Err(Failure::no()) }
    }

    /// What is asked about, where the options agree with each other.
    fn question(&self) -> Result<(Protocol, Action), Failure> {
        let about_sending = [&self.sender, &self.recipient, &self.service, &self.author]
            .into_iter()
            .any(Option::is_some);
        let (needed, action) = match self.action {
            Some(Wants::Send) => (Some(Speaks::Smtp), Action::Send),
            Some(Wants::Receive) => (Some(Speaks::Pop3), Action::Receive),
            Some(Wants::Delete) => (Some(Speaks::Pop3), Action::Delete),
            None if about_sending => (Some(Speaks::Smtp), Action::Send),
            Some(Wants::Login) | None => (None, Action::Login),
        };
        if about_sending && action != Action::Send {
            return Err(Failure::usage(
                "--sender, --recipient, --service and --author belong to --action send",
            ));
        }
        let protocol = match (self.protocol, needed) {
            (Some(given), Some(needed)) if given != needed => {
                return Err(Failure::usage(
                    "sending is SMTP, receiving and deleting are POP3: leave --protocol out",
                ));
            }
            (given, needed) => given.or(needed).unwrap_or(Speaks::Pop3),
        };
        Ok((
            match protocol {
                Speaks::Pop3 => Protocol::Pop3,
                Speaks::Smtp => Protocol::Smtp,
            },
            action,
        ))
    }

    fn judge<'a>(
        &'a self,
        loaded: &'a Loaded,
        policy: &Policy,
        from: IpAddr,
        login: Login,
        (protocol, action): (Protocol, Action),
    ) -> Case<'a> {
        let (shown, mut notes) = self.certificate_names(&loaded.config, protocol);
        let station = policy.station(from, shown);
        let configured = policy.configured(login.account());
        let warnings = LoginWarning::all(&login, Some(protocol), configured);
        notes.extend(warnings.iter().map(|warning| format!("the login {warning}")));
        let wish = Wish {
            action: Some(action),
            sender: self.sender.as_deref(),
            recipient: self.recipient.as_deref(),
            service: self.service.as_deref(),
            author: self.author.as_deref(),
        };
        let request = Request { station: &station, login: &login, protocol };
        let explanation = policy.explain(&request, &wish);
        Case { asked: self, from, loaded, station, login, protocol, action, explanation, notes }
    }

    /// The certificate's names as far as `run` would come to see them, and what is to be said.
    fn certificate_names(&self, config: &Config, protocol: Protocol) -> (&[String], Vec<String>) {
        let mut notes = Vec::new();
        if !config.gateway.listeners.iter().any(|listener| listener.protocol == protocol) {
            notes.push(format!("no listener speaks {}", spelled(protocol)));
        }
        let tls = config.gateway.tls.as_ref();
        let asked = tls.map_or(ClientCertificates::Off, |tls| tls.client_certificates);
        match (asked, self.certificates.is_empty()) {
            (ClientCertificates::Off, false) => {
                notes.push(
                    "tls.client_certificates is \"off\": no client is asked for a certificate, and \
                     --certificate counts for nothing"
                        .into(),
                );
                return (&[], notes);
            }
            (ClientCertificates::Required, true) => notes.push(
                "tls.client_certificates is \"required\": without a certificate the session ends \
                 before any of this (tls-failed)"
                    .into(),
            ),
            (ClientCertificates::Off | ClientCertificates::Optional, _)
            | (ClientCertificates::Required, false) => {}
        }
        (&self.certificates, notes)
    }
}

/// A question and its answer.
struct Case<'a> {
    asked: &'a Explain,
    from: IpAddr,
    loaded: &'a Loaded,
    station: Station,
    login: Login,
    protocol: Protocol,
    action: Action,
    explanation: Explanation,
    notes: Vec<String>,
}

/// A case, for a program.
#[derive(Serialize)]
struct ExplanationJson<'a> {
    allowed: bool,
    mode: Mode,
    protocol: Protocol,
    action: Action,
    account: String,
    workstation: Option<&'a str>,
    login_fields: Vec<FieldJson>,
    subjects: Vec<String>,
    client_module: &'a str,
    #[serde(flatten)]
    rule: RulePlace,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    steps: Vec<StepJson>,
    notes: &'a [String],
}

/// A field of the login by gematik's name. A login by SMTP has two readings of its last fields.
#[derive(Serialize)]
struct FieldJson {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct StepJson {
    step: &'static str,
    outcome: &'static str,
    text: String,
    #[serde(flatten)]
    rule: RulePlace,
}

/// A rule and where it stands; without a file it was left out, and its default holds.
#[derive(Serialize)]
struct RulePlace {
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl RulePlace {
    /// File and line alone.
    fn spot(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(variable), None) => variable.clone(),
            (None, _) => String::new(),
        }
    }
}

impl std::fmt::Display for RulePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.spot().as_str() {
            "" if self.rule == "built-in" => f.write_str("what holds without any rule"),
            "" => write!(f, "{}, which is left out and has its default", self.rule),
            spot => write!(f, "{}, {spot}", self.rule),
        }
    }
}

impl Case<'_> {
    fn show(&self, screen: &mut Screen) {
        let explanation = &self.explanation;
        screen.headline(&format!("{} {}", self.who(), self.wants()));
        let fields = self.fields();
        if !fields.is_empty() {
            let fields = fields.iter().map(|field| format!("{} {}", field.name, field.value));
            screen.say(&format!("  as {}", fields.collect::<Vec<_>>().join(", ")));
        }
        if !explanation.subjects.is_empty() {
            let subjects: Vec<String> = self.subjects();
            screen.say(&format!("  counts as {}", subjects.join(", ")));
        }
        let texts: Vec<(String, &crate::policy::Step)> =
            explanation.steps.iter().map(|step| (self.sentence(step), step)).collect();
        let width = texts.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(70);
        for (text, step) in texts {
            match step.outcome {
                Outcome::NoRule => screen.done(text),
                Outcome::Pass => {
                    let line = format!("{text:width$}  {}", self.place(&step.rule).spot());
                    screen.done(line.trim_end());
                }
                Outcome::Refuse(_) => {
                    let line = format!("{text:width$}  {}", self.place(&step.rule).spot());
                    screen.failed(line.trim_end());
                }
            }
        }
        for note in &self.notes {
            screen.noted(note);
        }
        self.conclude(screen);
    }

    fn conclude(&self, screen: &mut Screen) {
        let explanation = &self.explanation;
        let place = self.place(&explanation.rule);
        let Some(denial) = &explanation.denial else {
            screen.verdict(true, "allowed", &format!("  by {place}"));
            screen
                .say(&format!("         and goes to client module {}", explanation.client_module));
            return;
        };
        match explanation.mode {
            Mode::Enforce => {
                screen.verdict(false, "denied", &format!("   {}, by {place}", denial.reason));
            }
            Mode::Observe => {
                let rest = format!(
                    "  because policy.mode is \"observe\"; \"enforce\" would deny it: {}, by {place}",
                    denial.reason
                );
                screen.verdict(true, "allowed", &rest);
            }
        }
        screen.say(&format!("change   {}", self.remedy(denial)));
    }

    fn as_json(&self) -> ExplanationJson<'_> {
        let explanation = &self.explanation;
        let denial = explanation.denial.as_ref();
        ExplanationJson {
            allowed: explanation.allowed(),
            mode: explanation.mode,
            protocol: self.protocol,
            action: self.action,
            account: self.account(),
            workstation: explanation.workstation.as_deref(),
            login_fields: self.fields(),
            subjects: self.subjects(),
            client_module: &explanation.client_module,
            rule: self.place(&explanation.rule),
            reason: denial.map(|denial| denial.reason.as_str()),
            remedy: denial.map(|denial| self.remedy(denial)),
            steps: explanation
                .steps
                .iter()
                .map(|step| StepJson {
                    step: step.name.as_str(),
                    outcome: match step.outcome {
                        Outcome::Pass => "pass",
                        Outcome::NoRule => "no-rule",
                        Outcome::Refuse(_) => "refuse",
                    },
                    text: self.sentence(step),
                    rule: self.place(&step.rule),
                })
                .collect(),
            notes: &self.notes,
        }
    }

    fn place(&self, rule: &Rule) -> RulePlace {
        let found = self.loaded.place_of(&rule.path());
        let (file, line) = found.unzip();
        RulePlace {
            rule: rule.to_string(),
            file: file.map(|file| file.display().to_string()),
            line: line.flatten(),
        }
    }

    fn subjects(&self) -> Vec<String> {
        self.explanation.subjects.iter().map(ToString::to_string).collect()
    }

    /// The fields that the login has, without those before its context.
    fn fields(&self) -> Vec<FieldJson> {
        let login = &self.login;
        let needed = [
            (Field::MandantId, login.mandant_id()),
            (Field::ClientsystemId, login.clientsystem_id()),
            (Field::WorkplaceId, login.workplace_id()),
        ];
        let all = needed.into_iter().chain(login.optional_fields(Some(self.protocol)));
        let there = all.filter(|(_, value)| !value.is_empty());
        there
            .map(|(field, value)| FieldJson {
                name: field.as_str(),
                value: printable(value).into_owned(),
            })
            .collect()
    }

    /// The account as the login has it, fit for a terminal.
    fn account(&self) -> String {
        match self.login.account().as_str() {
            "" => "nobody".into(),
            account => printable(account).into_owned(),
        }
    }

    fn who(&self) -> String {
        match &self.explanation.workstation {
            Some(name) => format!("{name} ({})", self.from),
            None => self.from.to_string(),
        }
    }

    fn wants(&self) -> String {
        let account = self.account();
        match (self.action, self.protocol) {
            (Action::Login, protocol) => {
                format!("wants to log in as {account} by {}", spelled(protocol))
            }
            (Action::Send, _) => format!("wants to send as {account}"),
            (Action::Receive, _) => format!("wants to fetch the mail of {account}"),
            (Action::Delete, _) => format!("wants to delete mail of {account}"),
        }
    }
}

fn spelled(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Pop3 => "POP3",
        Protocol::Smtp => "SMTP",
    }
}

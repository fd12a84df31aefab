//! `kimgate doctor`: the way to each client module, step by step, with what to do where it ends.

mod capabilities;
mod examine;
mod texts;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{ConfigFile, Failure, Screen, block_on, check};
use crate::config::{Config, load};
use crate::gateway::ClientModuleConfig;
use crate::kim::{Account, Login};
use crate::policy::{Policy, Request, Station, Wish};
use crate::printable::printable;
use crate::secret::Secret;
use crate::trust::KnownCertificates;
use crate::words::Protocol;
use examine::Examination;
use texts::Texts;

/// Test the way to the client modules: name, TCP, TLS, certificate, greeting, capabilities, login
///
/// The "Verbindung testen" button. It sends no message, fetches none and deletes none. With a login
/// it logs in once per protocol and never tries again; the password comes from KIMGATE_PASSWORD or
/// is asked for. Exit code 0: all is well. 1: something is not, and the last line says what to do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kimgate doctor\n  \
    kimgate doctor --login 'prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1' \\\n      \
    --smtp-login 'prx@praxis.kim.telematik#mail.kim.telematik:465#Mandant1#pvs#PC1'")]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Test only the client module that has this account; default: the login's, else all of them
    #[arg(long, value_name = "A")]
    account: Option<String>,
    /// The user name to log in with, as the client module shows it; for POP3 unless its port is
    /// SMTP's
    #[arg(long, value_name = "L")]
    login: Option<String>,
    /// The user name for SMTP, which has another port in it
    #[arg(long, value_name = "L")]
    smtp_login: Option<String>,
    /// Print everything as one JSON object, at the end
    #[arg(long)]
    json: bool,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    #[serde(skip)]
    label: &'static str,
    outcome: Outcome,
    #[serde(rename = "milliseconds")]
    millis: u128,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Good,
    /// The steps go on, but the reader should know.
    Noted,
    Failed,
}

/// One client module by one protocol.
#[derive(Debug, Serialize)]
struct Finished {
    client_module: String,
    protocol: Protocol,
    ok: bool,
    steps: Vec<Step>,
}

/// What there is to log in with by one protocol.
enum Credential<'a> {
    Login(&'a str),
    /// There is a login, and it is not for this protocol; its port.
    OtherProtocol(String),
    None,
}

impl Doctor {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        for login in [&self.login, &self.smtp_login].into_iter().flatten() {
            if !Login::parse(login.as_bytes()).is_well_formed() {
                return Err(Failure::usage("a login is empty or holds control characters"));
            }
        }
        let path = self.file.path()?;
        let loaded = load(&path, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
        let config = &loaded.config;
        let texts = Texts(config.gateway.language);
        let account = self.account()?;
        let modules = self.modules(config, account.as_ref())?;
        let password = match (&account, self.login.is_some() || self.smtp_login.is_some()) {
            (Some(account), true) => Some(password(&texts.password_for(account))?),
            (_, _) => None,
        };
        if let (Some(account), false) = (&account, self.json)
            && !config.rules.accounts.keys().any(|address| account.is(address))
        {
            screen.noted(texts.unknown_account(&printable(account.as_str())));
        }
        let finished = block_on(async {
            let mut finished = Vec::new();
            for (name, module) in modules {
                finished.extend(self.examine(screen, config, name, module, &password).await);
            }
            finished
        })?;
        let ok = finished.iter().all(|finished| finished.ok);
        if self.json {
            let told = serde_json::json!({ "ok": ok, "client_modules": finished });
            let text = serde_json::to_string_pretty(&told).map_err(Failure::error)?;
            screen.say_json(&text);
        } else {
            screen.verdict(ok, texts.conclusion(ok), "");
        }
        if ok { Ok(()) } else { Err(Failure::no()) }
    }

    /// Both protocols, one after the other, as far as listeners speak them.
    async fn examine(
        &self,
        screen: &mut Screen,
        config: &Config,
        name: &str,
        module: &ClientModuleConfig,
        password: &Option<Secret<String>>,
    ) -> Vec<Finished> {
        let texts = Texts(config.gateway.language);
        let mut finished: Vec<Finished> = Vec::new();
        let mut password_is_wrong = false;
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            if !config.gateway.listeners.iter().any(|listener| listener.protocol == protocol) {
                continue;
            }
            if !self.json {
                screen.headline(&texts.headline(name, module, protocol));
            }
            let known = KnownCertificates::open(&config.state_dir);
            let mut examination = Examination {
                screen: (!self.json).then_some(&mut *screen),
                texts,
                own_name: &config.gateway.name,
                name,
                module,
                protocol,
                known: &known,
                login_timeout: patience(config),
                steps: Vec::new(),
                password_is_wrong,
            };
            examination.walk(&self.credential(protocol), password.as_ref()).await;
            password_is_wrong = examination.password_is_wrong;
            let steps = examination.steps;
            let ok = steps.iter().all(|step| step.outcome != Outcome::Failed);
            finished.push(Finished { client_module: name.to_owned(), protocol, ok, steps });
        }
        finished
    }

    /// The account that is asked about.
    fn account(&self) -> Result<Option<Account>, Failure> {
        let of_login = |login: &String| Login::parse(login.as_bytes()).account().clone();
        let named = [
            self.account.as_deref().map(Account::new),
            self.login.as_ref().map(of_login),
            self.smtp_login.as_ref().map(of_login),
        ];
        let mut named = named.into_iter().flatten();
        let first = named.next();
        if named.any(|other| Some(&other) != first.as_ref()) {
            return Err(Failure::usage("the logins and --account name different accounts"));
        }
        Ok(first)
    }

    /// The account's client module, or all of them.
    fn modules<'a>(
        &self,
        config: &'a Config,
        account: Option<&Account>,
    ) -> Result<Vec<(&'a str, &'a ClientModuleConfig)>, Failure> {
        let all = config.gateway.client_modules.iter();
        let all = all.map(|(name, module)| (name.as_str(), module));
        let Some(account) = account else { return Ok(all.collect()) };
        let policy = Policy::compile(config.rules.clone())
            .map_err(|_| Failure::error("the rules cannot be used; `kimgate check` says why"))?;
        let login = Login::parse(account.as_str().as_bytes());
        let station = Station::default();
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        let chosen = policy.explain(&request, &Wish::default()).client_module;
        Ok(all.filter(|(name, _)| *name == &*chosen).collect())
    }

    fn credential(&self, protocol: Protocol) -> Credential<'_> {
        let own = match protocol {
            Protocol::Pop3 => None,
            Protocol::Smtp => self.smtp_login.as_deref(),
        };
        if let Some(login) = own {
            return Credential::Login(login);
        }
        let Some(login) = self.login.as_deref() else { return Credential::None };
        let parsed = Login::parse(login.as_bytes());
        match (parsed.protocol(), protocol) {
            (None, Protocol::Smtp) if parsed.server().is_empty() => Credential::Login(login),
            (Some(meant), protocol) if meant == protocol => Credential::Login(login),
            (None, Protocol::Pop3) => Credential::Login(login),
            (Some(_), _) | (None, Protocol::Smtp) => {
                let port = parsed.server_port().unwrap_or_default();
                Credential::OtherProtocol(printable(port).into_owned())
            }
        }
    }
}

fn patience(config: &Config) -> Duration {
    config.gateway.limits.login_timeout
}

/// From the environment, or from the person at the terminal, who does not see it typed.
fn password(prompt: &str) -> Result<Secret<String>, Failure> {
    let given = match std::env::var("KIMGATE_PASSWORD") {
        Ok(given) => given,
        Err(_) => rpassword::prompt_password(prompt).map_err(|_| {
            Failure::usage("there is no terminal to ask for the password: set KIMGATE_PASSWORD")
        })?,
    };
    let password = Secret::new(given);
    match password.expose().is_empty() {
        true => Err(Failure::usage("the password is empty")),
        false => Ok(password),
    }
}

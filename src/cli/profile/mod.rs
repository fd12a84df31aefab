//! `kimgate profile`: what to type into a mail client, or a file that it reads.

mod apple;
mod text;

use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, ValueEnum};

use super::{ConfigFile, Failure, Screen, check};
use crate::autoconfig::{self, MailServer};
use crate::config::{Config, load};
use crate::kim::Login;
use crate::policy::{Policy, Request, Station, Wish, Workstation};
use crate::trust::{CertificateFacts, ClientCertificates, ListenerTls, as_pem};
use crate::words::{Action, Language, Protocol, Reason};

/// Print what to type into a workstation's mail client, or a file that sets it up
///
/// Warns on stderr where the gateway would refuse that login from that workstation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kimgate profile --workstation PC1 --login 'prx@praxis.kim.telematik#…:995#Mandant1#pvs#PC1' \\\n      \
    --smtp-login 'prx@praxis.kim.telematik#…:465#Mandant1#pvs#PC1'\n  \
    kimgate profile --workstation PC1 --login … --smtp-login … --format thunderbird \\\n      \
    > praxis.kim.telematik.xml")]
pub(super) struct Profile {
    #[command(flatten)]
    file: ConfigFile,
    /// The workstation, as in [workstations.NAME]
    #[arg(long, value_name = "NAME")]
    workstation: String,
    /// The user name for fetching, as the client module shows it
    #[arg(long, value_name = "L")]
    login: String,
    /// The user name for sending; default: the one in the workstation's logins, or --login where it
    /// names no server
    #[arg(long, value_name = "L")]
    smtp_login: Option<String>,
    /// text: for a person; thunderbird: autoconfig XML; apple: .mobileconfig
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The name or address that mail clients reach the gateway by; default: gateway.name
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Thunderbird,
    Apple,
}

/// Everything that is entered in a mail client.
struct Account<'a> {
    language: Language,
    workstation: &'a str,
    address: &'a str,
    incoming: MailServer<'a>,
    outgoing: Option<MailServer<'a>>,
    /// Where it may not, messages have to stay where they are.
    may_delete: bool,
    /// The gateway's certificate signed itself: what a mail client will ask about.
    fingerprint: Option<String>,
    /// The name in the certificate that the workstation shows.
    client_certificate: Option<&'a str>,
}

impl Account<'_> {
    /// Files for programs have both sides.
    fn outgoing(&self) -> Result<&MailServer<'_>, Failure> {
        self.outgoing.as_ref().ok_or_else(|| Failure::usage("--smtp-login is missing"))
    }
}

impl Profile {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let path = self.file.path()?;
        let loaded = load(&path, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
        let config = &loaded.config;
        let workstation = config.rules.workstations.get(&self.workstation).ok_or_else(|| {
            let known: Vec<&str> = config.rules.workstations.keys().map(String::as_str).collect();
            Failure::usage(format!(
                "there is no workstation {:?}; known: {}",
                self.workstation,
                known.join(", ")
            ))
        })?;
        let account = self.account(screen, config, workstation)?;
        match self.format {
            Format::Text => text::show(screen, &account),
            Format::Thunderbird => screen.say_file(&autoconfig::file(
                account.address,
                &account.incoming,
                account.outgoing()?,
            )),
            Format::Apple => screen.say_file(&apple::config(&account)?),
        }
        Ok(())
    }

    fn account<'a>(
        &'a self,
        screen: &mut Screen,
        config: &'a Config,
        workstation: &'a Workstation,
    ) -> Result<Account<'a>, Failure> {
        let login = self.well_formed(&self.login)?;
        if login.protocol() == Some(Protocol::Smtp) {
            return Err(Failure::usage(
                "--login names a port for SMTP; give the login for POP3, and this one with \
                 --smtp-login",
            ));
        }
        let smtp_login = self.smtp_login(workstation, &login)?;
        let policy = Policy::compile(config.rules.clone())
            .map_err(|_| Failure::error("the rules cannot be used; `kimgate check` says why"))?;
        let station = station(&policy, workstation);
        self.warn(screen, config, &policy, &station, &login, smtp_login);
        let delete = Wish { action: Some(Action::Delete), ..Wish::default() };
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        let refused = policy.explain(&request, &delete);
        let may_delete = refused.allowed()
            || refused.denial.is_none_or(|denial| denial.reason != Reason::DeleteNotAllowed);
        let outgoing =
            smtp_login.map(|login| self.server(config, Protocol::Smtp, login)).transpose()?;
        let certificate = gateway_certificate(config);
        self.warn_about_name(screen, config, certificate.as_ref());
        let tls = config.gateway.tls.as_ref();
        let asks = tls.is_some_and(|tls| tls.client_certificates != ClientCertificates::Off);
        Ok(Account {
            language: config.gateway.language,
            workstation: &self.workstation,
            address: self.login.split('#').next().unwrap_or_default(),
            incoming: self.server(config, Protocol::Pop3, &self.login)?,
            outgoing,
            may_delete,
            fingerprint: certificate
                .filter(|facts| facts.subject == facts.issuer)
                .map(|facts| facts.fingerprint),
            client_certificate: workstation
                .certificates
                .first()
                .map(String::as_str)
                .filter(|_| asks),
        })
    }

    /// The login for sending, where one is known; `None` where it is not and can be left
    /// out.
    fn smtp_login<'a>(
        &'a self,
        workstation: &'a Workstation,
        login: &Login,
    ) -> Result<Option<&'a str>, Failure> {
        if let Some(given) = &self.smtp_login {
            let given_login = self.well_formed(given)?;
            if given_login.account() != login.account() {
                return Err(Failure::usage("--login and --smtp-login name different accounts"));
            }
            return Ok(Some(given));
        }
        if login.serves(Protocol::Smtp) {
            return Ok(Some(&self.login));
        }
        let listed = workstation.logins.iter().flatten().find(|text| {
            let other = Login::parse(text.as_bytes());
            other.account() == login.account() && other.serves(Protocol::Smtp)
        });
        match (listed, self.format) {
            (Some(listed), _) => Ok(Some(listed)),
            (None, Format::Text) => Ok(None),
            (None, Format::Thunderbird | Format::Apple) => Err(Failure::usage(
                "give the login for sending with --smtp-login: it has another port in it",
            )),
        }
    }

    fn well_formed(&self, text: &str) -> Result<Login, Failure> {
        let login = Login::parse(text.as_bytes());
        match login.is_well_formed() {
            true => Ok(login),
            false => Err(Failure::usage("a login is empty or holds control characters")),
        }
    }

    fn server<'a>(
        &self,
        config: &Config,
        protocol: Protocol,
        login: &'a str,
    ) -> Result<MailServer<'a>, Failure> {
        autoconfig::server(config, self.server.as_deref(), protocol, login)
            .ok_or_else(|| Failure::error(format!("no listener speaks {protocol}")))
    }

    /// Says where the gateway would not let this in.
    fn warn(
        &self,
        screen: &mut Screen,
        config: &Config,
        policy: &Policy,
        station: &Station,
        login: &Login,
        smtp_login: Option<&str>,
    ) {
        if station.name() != Some(&self.workstation) {
            screen.complain(&format!(
                "kimgate: {} has neither address nor certificate, so it would not be known",
                self.workstation
            ));
            return;
        }
        let smtp = smtp_login.map(|login| Login::parse(login.as_bytes()));
        let both = [(Protocol::Pop3, Some(login)), (Protocol::Smtp, smtp.as_ref())];
        for (protocol, login) in both {
            let Some(login) = login else { continue };
            let request = Request { station, login, protocol };
            let explanation = policy.explain(&request, &Wish::default());
            let Some(denial) = &explanation.denial else { continue };
            screen.complain(&format!(
                "kimgate: {} would refuse this login by {protocol}: {}, by {}; `kimgate explain` \
                 says what would have to change",
                config.gateway.name, denial.reason, denial.rule
            ));
        }
    }

    /// Says where mail clients would find another name in the certificate than they dial.
    fn warn_about_name(
        &self,
        screen: &mut Screen,
        config: &Config,
        certificate: Option<&CertificateFacts>,
    ) {
        let Some(facts) = certificate else { return };
        let host = self.server.as_deref().unwrap_or(&config.gateway.name);
        let wildcard = |name: &str| {
            let parent = host.split_once('.').map(|(_, parent)| parent);
            name.strip_prefix("*.").is_some_and(|rest| parent == Some(rest))
        };
        if !facts.names.iter().any(|name| name.eq_ignore_ascii_case(host) || wildcard(name)) {
            screen.complain(&format!(
                "kimgate: the gateway's certificate is for {}, not for {host}: mail clients will \
                 warn; --server names another host",
                facts.names.join(", ")
            ));
        }
    }
}

/// The session that comes from this workstation.
fn station(policy: &Policy, workstation: &Workstation) -> Station {
    let from =
        workstation.addresses.first().map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |net| net.addr());
    let shown: Vec<String> = workstation.certificates.iter().take(1).cloned().collect();
    policy.station(from, &shown)
}

/// What the gateway shows, if it can be read here: a self-made one is made at its first start.
fn gateway_certificate(config: &Config) -> Option<CertificateFacts> {
    let file = ListenerTls::file_of(config.gateway.tls.as_ref()?);
    let pem = as_pem(std::fs::read(file).ok()?.into());
    CertificateFacts::from_pem(std::str::from_utf8(&pem).ok()?)
}

//! `kimgate demo`: a simulated client module and a gateway in one process, to try by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::client::Account;
use super::{Failure, Screen, block_on, interrupted};
use crate::app::{App, silence_panics};
use crate::config::Config;
use crate::gateway::{self, ClientModuleConfig, ContextRules, Limits, Listener, Protection};
use crate::observe::{AuditConfig, KnownNames, LogConfig, ObserveConfig};
use crate::policy::{AccessRules, AccountRules, Rules, Subject, Workstation};
use crate::secret::Secret;
use crate::sim::{Mailin, Sim, SimConfig};
use crate::trust::{ClientCertificates, ClientModuleTrust, ListenerTlsConfig, MinVersion};
use crate::words::{Language, Protocol, Security};
use crate::{admin, kim};

const ADDRESS: &str = "prx@praxis.tm.kim.telematik";
const POP3_LOGIN: &str =
    "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivorisortho#PC1#PRAXIS";
const SMTP_LOGIN: &str =
    "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:465#Mandant1#ivorisortho#PC1#PRAXIS";
const PASSWORD: &str = "Geheim-1234";
/// Where the demo listens, if these are free.
const PORTS: Ports = Ports { pop3: 1995, smtp: 1465, admin: 9465 };

/// Try kimgate: a simulated client module and a gateway in one process on loopback
///
/// Certificates are made at start, and nothing is kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kimgate demo --once   send and fetch one message, say what \
    happened, and exit\n  kimgate demo          keep it running, for a mail program of your own")]
pub(super) struct Demo {
    /// The client module behind the gateway: kimgate's own simulator, or mailin-embedded for SMTP
    #[arg(long, value_enum, default_value = "own")]
    upstream: Kind,
    /// Send and fetch one message, print each step, and exit
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Own,
    Mailin,
}

#[derive(Clone, Copy)]
struct Ports {
    pop3: u16,
    smtp: u16,
    admin: u16,
}

impl Ports {
    const FREE: Self = Self { pop3: 0, smtp: 0, admin: 0 };
}

/// A running demonstration.
struct Stage {
    pop3: SocketAddr,
    smtp: SocketAddr,
    admin: SocketAddr,
    app: App,
    sim: Sim,
    /// Threads that live as long as the process.
    _mailin: Option<Mailin>,
}

impl Demo {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        silence_panics();
        let folder = tempfile::Builder::new().prefix("kimgate-demo-").tempdir()?;
        block_on(self.perform(screen, folder.path()))?
    }

    async fn perform(self, screen: &mut Screen, folder: &Path) -> Result<(), Failure> {
        let ports = if self.once { Ports::FREE } else { PORTS };
        let stage = match self.build(folder, ports).await {
            Ok(stage) => stage,
            // These ports are taken; any others will do.
            Err(_) if !self.once => self.build(folder, Ports::FREE).await?,
            Err(failure) => return Err(failure),
        };
        let Stage { pop3, smtp, admin, app, sim, _mailin } = stage;
        let certificate = app.gateway().certificate_file().unwrap_or_default();
        let ca_pem = std::fs::read_to_string(&certificate)?;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(app.serve(shutdown.clone()));
        let outcome = if self.once {
            self.once(screen, pop3, smtp, &ca_pem, &sim).await
        } else {
            self.explain(screen, pop3, smtp, admin, &certificate);
            interrupted().await;
            Ok(())
        };
        shutdown.cancel();
        serving.await.map_err(Failure::error)?;
        sim.stop().await;
        outcome
    }

    async fn build(&self, folder: &Path, ports: Ports) -> Result<Stage, Failure> {
        let security = match self.upstream {
            Kind::Own => Security::Implicit,
            // mailin-embedded speaks TLS after STARTTLS only.
            Kind::Mailin => Security::StartTls,
        };
        let sim = Sim::start(SimConfig { security, ..SimConfig::default() }).await?;
        let mailin = match self.upstream {
            Kind::Own => None,
            Kind::Mailin => Some(Mailin::start(&sim)?),
        };
        let smtp_port = mailin.as_ref().map_or(sim.smtp_addr(), Mailin::addr).port();
        let module = ClientModuleConfig {
            host: Ipv4Addr::LOCALHOST.to_string(),
            pop3_port: sim.pop3_addr().port(),
            smtp_port,
            security,
            trust: ClientModuleTrust {
                pins: vec![sim.fingerprint().parse().map_err(Failure::error)?],
                ..ClientModuleTrust::default()
            },
            standby: None,
        };
        let app = App::bind(configuration(module, folder, ports))
            .await
            .map_err(|error| Failure::error(error.with_remedy()))?;
        let place = |name: &str| app.gateway().addresses().get(name).copied();
        let (Some(pop3), Some(smtp), Some(admin)) =
            (place("pop3s"), place("smtps"), app.admin_address())
        else {
            return Err(Failure::error("the demo's listeners are not there"));
        };
        Ok(Stage { pop3, smtp, admin, app, sim, _mailin: mailin })
    }

    async fn once(
        &self,
        screen: &mut Screen,
        pop3: SocketAddr,
        smtp: SocketAddr,
        ca_pem: &str,
        sim: &Sim,
    ) -> Result<(), Failure> {
        screen.headline("One message through kimgate");
        screen.done(format_args!(
            "client module   {} on {}, its certificate pinned",
            match self.upstream {
                Kind::Own => "simulated",
                Kind::Mailin => "mailin-embedded for SMTP, simulated for POP3,",
            },
            sim.pop3_addr().ip()
        ));
        screen.done(format_args!("gateway         POP3 {pop3}, SMTP {smtp}, TLS on both sides"));
        let message = message();
        let password = Secret::new(PASSWORD.to_owned());
        let mut account = Account { login: SMTP_LOGIN, password: &password, ca_pem };
        let begun = Instant::now();
        let reply = account
            .send(smtp, ADDRESS, &message)
            .await
            .map_err(|error| Failure::error(format!("the message could not be sent: {error}")))?;
        screen.done(format_args!(
            "sent            {} bytes in {} ms; the client module says \"{reply}\"",
            message.len(),
            begun.elapsed().as_millis()
        ));
        account.login = POP3_LOGIN;
        let begun = Instant::now();
        let fetched = account.fetch(pop3).await.map_err(|error| {
            Failure::error(format!("the message could not be fetched: {error}"))
        })?;
        screen.done(format_args!(
            "fetched         {} bytes in {} ms, and deleted",
            fetched.len(),
            begun.elapsed().as_millis()
        ));
        let Some(added) = fetched.strip_suffix(message.as_slice()) else {
            return Err(Failure::error("the message came back changed"));
        };
        let lines = added.iter().filter(|byte| **byte == b'\n').count();
        screen.done(format_args!(
            "compared        identical byte for byte, after the {lines} lines that a client \
             module writes above it"
        ));
        let refused = account.try_login(pop3, "fremd@praxis.tm.kim.telematik").await;
        match refused {
            Err(refusal) => screen.done(format_args!("refused         another account: {refusal}")),
            Ok(_) => return Err(Failure::error("an account without permission was let in")),
        }
        Ok(())
    }

    fn explain(
        &self,
        screen: &mut Screen,
        pop3: SocketAddr,
        smtp: SocketAddr,
        admin: SocketAddr,
        certificate: &Path,
    ) {
        let ca = certificate.display();
        screen.headline("kimgate runs, with a simulated client module behind it");
        screen.say("");
        screen.say("  Type this into a mail program on this machine:");
        screen.say(&format!(
            "    Posteingang   POP3, server {}, port {}, SSL/TLS",
            pop3.ip(),
            pop3.port()
        ));
        screen.say(&format!("                  Benutzername {POP3_LOGIN}"));
        screen.say(&format!(
            "    Postausgang   SMTP, server {}, port {}, SSL/TLS",
            smtp.ip(),
            smtp.port()
        ));
        screen.say(&format!("                  Benutzername {SMTP_LOGIN}"));
        screen.say(&format!("    Passwort      {PASSWORD} (any other will do as well)"));
        screen.say(&format!("    Zertifikat    {ca}"));
        screen.say("");
        screen.say("  Or send a message and fetch it with curl:");
        screen.say(&format!(
            "    printf 'From: {ADDRESS}\\r\\nSubject: Hallo\\r\\n\\r\\nGuten Tag.\\r\\n' | curl --cacert {ca} \
             --url 'smtps://{}:{PASSWORD}@{smtp}' --mail-from {ADDRESS} --mail-rcpt {ADDRESS} -T -",
            percent_encoded(SMTP_LOGIN)
        ));
        screen.say(&format!(
            "    curl --cacert {ca} --url 'pop3s://{}:{PASSWORD}@{pop3}/1'",
            percent_encoded(POP3_LOGIN)
        ));
        screen.say("");
        screen.say(&format!("  Metrics   http://{admin}/metrics"));
        screen.say(&format!("  Console   http://{admin}/"));
        screen.say("");
        screen.say("  Ctrl-C ends it; nothing is kept.");
    }
}

/// A practice with one workstation, which is this machine, and one account.
fn configuration(module: ClientModuleConfig, folder: &Path, ports: Ports) -> Config {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = |name: &str, protocol, port| Listener {
        name: name.into(),
        protocol,
        address: at(port),
        security: Security::Implicit,
        proxy_protocol_from: Vec::new(),
    };
    let this_machine = Workstation {
        addresses: vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))],
        ..Workstation::default()
    };
    let account = AccountRules {
        client_module: Some("main".into()),
        access: AccessRules { allow: vec![Subject::Workstation("PC1".into())], deny: Vec::new() },
        ..AccountRules::default()
    };
    Config {
        gateway: gateway::Config {
            name: "localhost".into(),
            language: Language::De,
            contact: String::new(),
            refuse_sending_at_mail: false,
            public: false,
            listeners: vec![
                listener("pop3s", Protocol::Pop3, ports.pop3),
                listener("smtps", Protocol::Smtp, ports.smtp),
            ],
            state_dir: folder.to_owned(),
            tls: Some(ListenerTlsConfig {
                certificate: None,
                min_version: MinVersion::default(),
                client_certificates: ClientCertificates::default(),
                client_ca: None,
                client_crl: Vec::new(),
                gateway_name: "localhost".into(),
                state_dir: folder.to_owned(),
            }),
            client_modules: BTreeMap::from([("main".into(), module)]),
            limits: Limits { drain: Duration::from_secs(2), ..Limits::default() },
            contexts: ContextRules::default(),
            mailbox_wait: Duration::from_secs(20),
            protection: Protection::default(),
            middleware_header: false,
            delivery_receipts: false,
            read_receipts: false,
        },
        rules: Rules {
            workstations: BTreeMap::from([("PC1".into(), this_machine)]),
            accounts: BTreeMap::from([(ADDRESS.into(), account)]),
            client_modules: vec!["main".into()],
            ..Rules::default()
        },
        observe: ObserveConfig {
            audit: AuditConfig {
                off: true,
                state_dir: folder.to_owned(),
                ..AuditConfig::default()
            },
            names: KnownNames {
                accounts: vec![kim::Account::new(ADDRESS)],
                services: Vec::new(),
                client_modules: vec!["main".into()],
            },
        },
        admin: Some(admin::Config {
            address: at(ports.admin),
            allow: vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))],
            hosts: Vec::new(),
            autoconfig: false,
        }),
        log: LogConfig::default(),
        state_dir: folder.to_owned(),
        sandbox: false,
        source: folder.join("demo"),
        hash: "demo".into(),
    }
}

/// A message with what tends to go wrong: lines that begin with dots, umlauts, blanks at the end.
fn message() -> Vec<u8> {
    format!(
        "From: <{ADDRESS}>\r\nTo: <{ADDRESS}>\r\nSubject: Probe\r\n\
         X-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n\
         Guten Tag,\r\n.\u{20}\r\n..zwei Punkte, Umlaute äöüß, Leerzeichen am Ende   \r\n\
         {}\r\n",
        "0123456789".repeat(95)
    )
    .into_bytes()
}

/// A login for the user part of a URL (RFC 3986 section 3.2.1).
fn percent_encoded(login: &str) -> String {
    login
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

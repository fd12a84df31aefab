//! Turns what was written into what the program needs: addresses, paths, rules.
//!
//! Whatever was left out gets its default here, and nothing that the program needs stays optional.
//! What cannot be read, or is missing, is reported here; `lint` judges the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::finding::{Key, Report, quoted};
use super::settings::{self, Settings};
use super::values::ValueError;
use super::{Config, rules};
use crate::kim::Account;
use crate::observe::{AuditConfig, KnownNames, LogConfig, LogFormat, LogLevel, ObserveConfig};
use crate::words::{Language, Security};
use crate::{admin, gateway, trust};

/// Builds the configuration; `None` where something is missing, which is then reported.
pub(super) fn config(
    settings: &Settings,
    place: &Surroundings,
    report: &mut Report<'_>,
) -> Option<Config> {
    let rules = rules::rules(settings, report);
    let gateway = gateway(settings, place, report);
    let admin = admin(&settings.admin, report);
    let state_dir = place.resolve(&settings.gateway.state_dir);
    Some(Config {
        gateway: gateway?,
        rules,
        observe: observe(settings, place, &state_dir),
        admin,
        log: log(&settings.log),
        state_dir,
        sandbox: settings.gateway.sandbox,
        source: place.source.clone(),
        hash: place.hash.clone(),
    })
}

/// What is known besides the text of the file.
pub(super) struct Surroundings {
    /// The file.
    pub(super) source: PathBuf,
    /// The machine's name.
    pub(super) host_name: String,
    /// The hash of what was written.
    pub(super) hash: String,
}

impl Surroundings {
    /// A path as it was written, from the file's folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.source.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A network, or an address as the network of itself alone. An IPv4 address mapped into IPv6
/// becomes the IPv4 address.
pub(super) fn network(text: &str) -> Result<IpNet, ValueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    text.parse::<IpNet>().map_err(|_| {
        let plain = without_blanks(text);
        let remedy: String = match text.rsplit_once(':') {
            _ if plain != text && (is_address(&plain) || plain.parse::<IpNet>().is_ok()) => {
                format!("write \"{plain}\", without the blank")
            }
            Some((address, port))
                if port.parse::<u16>().is_ok() && address.parse::<IpAddr>().is_ok() =>
            {
                format!("write \"{address}\" without the port")
            }
            _ => "write \"192.168.0.31\" or \"192.168.0.0/24\"; names are not looked up".into(),
        };
        ValueError::new(format!("{} is neither an address nor a network", quoted(text)), remedy)
    })
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Without blanks, those of word processors and web pages among them.
fn without_blanks(text: &str) -> String {
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}');
    text.chars().filter(|c| !is_blank(*c)).collect()
}

/// Reads each entry of a list; bad ones are reported at their own line.
pub(super) fn each<T>(
    list: &[String],
    key: &Key,
    report: &mut Report<'_>,
    read: impl Fn(&str) -> Result<T, ValueError>,
) -> Vec<T> {
    let mut good = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        match read(text) {
            Ok(value) => good.push(value),
            Err(error) => report.error(&key.element(index), error.problem, error.remedy),
        }
    }
    good
}

fn gateway(
    settings: &Settings,
    place: &Surroundings,
    report: &mut Report<'_>,
) -> Option<gateway::Config> {
    let name = settings.gateway.name.clone().unwrap_or_else(|| place.host_name.clone());
    let listeners: Vec<_> = settings
        .listeners
        .iter()
        .map(|(name, listener)| self::listener(name, listener, report))
        .collect();
    let listeners: Vec<_> = listeners.into_iter().flatten().collect();
    let all_plain = listeners.iter().all(|listener| listener.security == Security::None);
    let tls = (!all_plain).then(|| listener_tls(settings, &name, place));
    let modules: Vec<_> = settings
        .client_modules
        .iter()
        .map(|(name, module)| {
            client_module(name, module, settings.gateway.language, place, report)
                .map(|module| (name.clone(), module))
        })
        .collect();
    let client_modules: BTreeMap<_, _> = modules.into_iter().collect::<Option<_>>()?;
    Some(gateway::Config {
        name,
        language: settings.gateway.language,
        contact: settings.gateway.contact.clone(),
        refuse_sending_at_mail: settings.policy.refuse_sending == settings::RefuseSending::AtMail,
        public: settings.gateway.public,
        listeners,
        state_dir: place.resolve(&settings.gateway.state_dir),
        tls,
        client_modules,
        limits: limits(&settings.limits),
        contexts: gateway::ContextRules {
            mode: match settings.contexts.mode {
                settings::ContextMode::Off => gateway::ContextMode::Off,
                settings::ContextMode::Observe => gateway::ContextMode::Observe,
                settings::ContextMode::Enforce => gateway::ContextMode::Enforce,
            },
            wait: settings.contexts.wait.0,
            linger: settings.contexts.linger.0,
        },
        mailbox_wait: settings.mailboxes.wait.0,
        protection: gateway::Protection {
            hold_delete_on_failed_decryption: settings.protection.hold_delete_on_failed_decryption,
            hold_undecrypted: settings.protection.hold_undecrypted.0,
            login_failures: settings.protection.login_failures,
            login_pause: settings.protection.login_pause.0,
        },
        middleware_header: settings.headers.middleware == settings::Middleware::Add,
        delivery_receipts: settings.receipts.delivery == settings::Receipt::Always,
        read_receipts: settings.receipts.read == settings::Receipt::Always,
    })
}

fn listener(
    name: &str,
    written: &settings::Listener,
    report: &mut Report<'_>,
) -> Option<gateway::Listener> {
    let key = Key::of(&["listeners", name]);
    let (protocol, address) = (
        need(written.protocol, &key, "protocol", "protocol = \"pop3\" or \"smtp\"", report),
        need(written.address, &key, "address", "address = \"0.0.0.0:995\"", report),
    );
    let from = key.join("proxy_protocol_from");
    Some(gateway::Listener {
        proxy_protocol_from: each(&written.proxy_protocol_from, &from, report, network),
        name: name.into(),
        protocol: protocol?,
        address: address?.0,
        security: written.tls,
    })
}

fn listener_tls(settings: &Settings, name: &str, place: &Surroundings) -> trust::ListenerTlsConfig {
    let tls = &settings.tls;
    trust::ListenerTlsConfig {
        certificate: identity(&tls.certificate, &tls.private_key, place),
        min_version: match tls.min_version {
            settings::MinVersion::Tls12 => trust::MinVersion::Tls12,
            settings::MinVersion::Tls13 => trust::MinVersion::Tls13,
        },
        client_certificates: match tls.client_certificates {
            settings::ClientCertificates::Off => trust::ClientCertificates::Off,
            settings::ClientCertificates::Optional => trust::ClientCertificates::Optional,
            settings::ClientCertificates::Required => trust::ClientCertificates::Required,
        },
        client_ca: tls.client_ca.as_deref().map(|path| place.resolve(path)),
        client_crl: tls.client_crl.iter().map(|path| place.resolve(path)).collect(),
        gateway_name: name.to_owned(),
        state_dir: place.resolve(&settings.gateway.state_dir),
    }
}

fn client_module(
    name: &str,
    written: &settings::ClientModule,
    language: Language,
    place: &Surroundings,
    report: &mut Report<'_>,
) -> Option<gateway::ClientModuleConfig> {
    let key = Key::of(&["client_modules", name]);
    let host = need(written.host.clone(), &key, "host", "host = \"192.168.0.22\"", report);
    let trust = &written.trust;
    let trust_key = key.join("trust");
    let pins = each(&trust.pins, &trust_key.join("pins"), report, |text| {
        text.parse().map_err(|error: trust::PinError| {
            ValueError::new(format!("{} is not a pin", quoted(text)), error.remedy())
        })
    });
    let ignore = each(&trust.ignore, &trust_key.join("ignore"), report, ignored);
    Some(gateway::ClientModuleConfig {
        host: host?,
        pop3_port: written.pop3_port,
        smtp_port: written.smtp_port,
        security: written.tls,
        trust: trust::ClientModuleTrust {
            ca: trust.ca.iter().map(|path| place.resolve(Path::new(path))).collect(),
            system_roots: trust.system_roots,
            pins,
            ignore_self_signed: ignore.contains(&Ignored::SelfSigned),
            ignore_name_mismatch: ignore.contains(&Ignored::NameMismatch),
            identity: identity(&written.client_certificate, &written.client_key, place),
            language,
        },
        standby: written.standby.clone(),
    })
}

#[derive(PartialEq)]
enum Ignored {
    SelfSigned,
    NameMismatch,
}

fn ignored(text: &str) -> Result<Ignored, ValueError> {
    match text {
        "self-signed" => Ok(Ignored::SelfSigned),
        "name-mismatch" => Ok(Ignored::NameMismatch),
        _ => Err(ValueError::new(
            format!("{} cannot be ignored", quoted(text)),
            "write \"self-signed\", \"name-mismatch\" or both; for anything else pin the certificate",
        )),
    }
}

fn identity(
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
    place: &Surroundings,
) -> Option<trust::Identity> {
    let (certificate, private_key) = certificate.as_deref().zip(key.as_deref())?;
    Some(trust::Identity {
        certificate: place.resolve(certificate),
        private_key: place.resolve(private_key),
    })
}

fn limits(written: &settings::Limits) -> gateway::Limits {
    // Sizes have passed their bounds, which are far below what a machine word holds.
    let bytes = |size: super::values::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    gateway::Limits {
        connections: count(written.connections),
        connections_per_workstation: count(written.connections_per_workstation),
        unknown_connections: count(written.unknown_connections.of(written.connections)),
        connection_rate: written.connection_rate,
        login_line: bytes(written.login_line),
        command_line: bytes(written.command_line),
        header: bytes(written.header),
        message: written.message.0,
        login_timeout: written.login_timeout.0,
        idle_timeout: written.idle_timeout.0,
        transfer_stall_timeout: written.transfer_stall_timeout.0,
        drain: written.drain.0,
    }
}

fn admin(written: &settings::Admin, report: &mut Report<'_>) -> Option<admin::Config> {
    let allow = each(&written.allow, &Key::of(&["admin", "allow"]), report, network);
    written.address.0.map(|address| admin::Config {
        address: address.0,
        allow,
        hosts: written.hosts.clone(),
        autoconfig: written.autoconfig,
    })
}

fn observe(settings: &Settings, place: &Surroundings, state_dir: &Path) -> ObserveConfig {
    let services = settings.accounts.values().flat_map(|account| account.send.services.clone());
    ObserveConfig {
        audit: AuditConfig {
            file: settings.audit.file.as_deref().map(|path| place.resolve(path)),
            off: false,
            keep: settings.audit.keep.0,
            max_size: settings.audit.max_size.0,
            chain: settings.audit.chain,
            repeats: false,
            pseudonymize: settings.audit.pseudonymize,
            state_dir: state_dir.to_owned(),
        },
        names: KnownNames {
            accounts: settings.accounts.keys().map(|address| Account::new(address)).collect(),
            services: services.collect(),
            client_modules: settings.client_modules.keys().cloned().collect(),
        },
    }
}

fn log(written: &settings::Log) -> LogConfig {
    LogConfig {
        format: match written.format {
            settings::LogFormat::Text => LogFormat::Text,
            settings::LogFormat::Json => LogFormat::Json,
        },
        level: match written.level {
            settings::LogLevel::Error => LogLevel::Error,
            settings::LogLevel::Warn => LogLevel::Warn,
            settings::LogLevel::Info => LogLevel::Info,
            settings::LogLevel::Debug => LogLevel::Debug,
            settings::LogLevel::Trace => LogLevel::Trace,
        },
    }
}

/// A value that has no default.
fn need<T>(
    written: Option<T>,
    table: &Key,
    name: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let key = table.join(name);
    if written.is_none() && !report.is_unread(&key) {
        report.error(&key, "is missing", format!("write {example}"));
    }
    written
}

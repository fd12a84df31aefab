//! Client modules: the right machine, the right ports, the right trust.

use std::collections::HashSet;
use std::net::IpAddr;

use super::entry;
use crate::config::finding::{Key, Report, quoted};
use crate::config::read::nearest;
use crate::config::settings::{ClientModule, Settings};
use crate::trust::Pin;
use crate::words::Security;

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    if settings.client_modules.is_empty() {
        let remedy = "write [client_modules.main] with host = \"192.168.0.22\"";
        report.error(&Key::of(&["client_modules"]), "no client module", remedy);
    }
    if settings.client_modules.len() > MOST {
        let problem = format!("{} client modules", settings.client_modules.len());
        report.error(&Key::of(&["client_modules"]), problem, format!("write at most {MOST}"));
        return;
    }
    for (name, module) in &settings.client_modules {
        let key = entry("client_modules", name);
        host(&key, module, settings, report);
        ports(&key, module, report);
        trust(&key, module, report);
        pair(
            (&key.join("client_certificate"), module.client_certificate.is_some()),
            (&key.join("client_key"), module.client_key.is_some()),
            report,
        );
        standby(name, settings, report);
    }
}

/// The most client modules: each is compared with every listener and every login.
pub(super) const MOST: usize = 64;

/// Reports a certificate without its key, or a key without its certificate.
pub(super) fn pair(
    (certificate, has_certificate): (&Key, bool),
    (private_key, has_key): (&Key, bool),
    report: &mut Report<'_>,
) {
    if has_certificate && !has_key && !report.is_unread(private_key) {
        report.error(certificate, "has no key", format!("write {private_key} as well"));
    } else if has_key && !has_certificate && !report.is_unread(certificate) {
        report.error(private_key, "has no certificate", format!("write {certificate} as well"));
    }
}

fn host(key: &Key, module: &ClientModule, settings: &Settings, report: &mut Report<'_>) {
    let host_key = key.join("host");
    let Some(host) = module.host.as_deref() else { return };
    let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if ip.is_none() && !super::is_host_name(host) {
        let bare = bare_host(host);
        let remedy = match bare {
            Some(bare) => format!("write host = \"{bare}\"; ports have their own keys"),
            None => "write a name or an IP address, as in \"192.168.0.22\"".into(),
        };
        report.error(&host_key, format!("{} is not a host", quoted(host)), remedy);
        return;
    }
    let local = ip.is_some_and(|ip| ip.is_loopback()) || host.eq_ignore_ascii_case("localhost");
    if module.tls == Security::None && !local {
        let problem = "without TLS, passwords and patients' data cross the network";
        let remedy = "write \"implicit\"; \"none\" is for a client module on this machine";
        report.error(&key.join("tls"), problem, remedy);
    }
    if ip.is_some_and(|ip| ip.is_unspecified()) {
        let problem = format!("{host} is not an address to connect to");
        report.error(&host_key, problem, "write the address of the client module");
    }
    dials_itself(key, host, local, module, settings, report);
    let serves_network = |l: &crate::config::settings::Listener| {
        l.address.is_some_and(|address| !address.0.ip().is_loopback())
    };
    if local && settings.listeners.values().any(serves_network) {
        let problem = format!("{host} is the machine that kimgate runs on, not the workstation's");
        let remedy =
            "right only if the client module runs here too; else write its machine's address";
        report.warning(&host_key, problem, remedy);
    }
    let name = host.to_ascii_lowercase();
    if name.ends_with(".telematik") || name.ends_with(".telematik-test") {
        let problem = format!("{} is the KIM mail service, not the client module", quoted(host));
        let remedy = "write the machine in the practice that the client module runs on";
        report.warning(&host_key, problem, remedy);
    }
}

/// `host` without a scheme and a port, where that is what was written.
fn bare_host(host: &str) -> Option<&str> {
    let rest = host.split_once("://").map_or(host, |(_, rest)| rest);
    let rest = rest.trim().trim_end_matches('/');
    let bare = match rest.rsplit_once(':') {
        Some((bare, port)) if port.parse::<u16>().is_ok() => bare,
        Some(_) | None => rest,
    };
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    super::is_host_name(bare).then_some(bare)
}

fn dials_itself(
    key: &Key,
    host: &str,
    local: bool,
    module: &ClientModule,
    settings: &Settings,
    report: &mut Report<'_>,
) {
    for (name, listener) in &settings.listeners {
        let (Some(address), Some(protocol)) = (listener.address, listener.protocol) else {
            continue;
        };
        let address = address.0;
        let (port_key, port) = match protocol {
            crate::words::Protocol::Pop3 => ("pop3_port", module.pop3_port),
            crate::words::Protocol::Smtp => ("smtp_port", module.smtp_port),
        };
        let mine = address.ip().to_string() == host
            || (local && (address.ip().is_unspecified() || address.ip().is_loopback()));
        if mine && address.port() == port {
            let problem = format!("kimgate would dial its own listener {}", quoted(name));
            let remedy = "write the client module's port, or give the listener another one";
            report.error(&key.join(port_key), problem, remedy);
        }
    }
}

fn ports(key: &Key, module: &ClientModule, report: &mut Report<'_>) {
    let (pop3, smtp) = (module.pop3_port, module.smtp_port);
    let (pop3_key, smtp_key) = (key.join("pop3_port"), key.join("smtp_port"));
    for (key, port) in [(&pop3_key, pop3), (&smtp_key, smtp)] {
        if port == 0 {
            report.error(key, "0 is not a port to connect to", "write the client module's port");
        }
    }
    let smtp_like = |port: u16| [25, 465, 587].contains(&port) || port % 1000 == 465;
    let pop3_like = |port: u16| port == 110 || port % 1000 == 995;
    if pop3 == smtp {
        let problem = format!("POP3 and SMTP cannot both be at port {pop3}");
        report.warning(&smtp_key, problem, "look up both ports in the client module's settings");
    } else if smtp_like(pop3) || pop3_like(smtp) {
        let problem = format!("ports look swapped: POP3 at {pop3}, SMTP at {smtp}");
        report.warning(&pop3_key, problem, "usual are pop3_port = 995 and smtp_port = 465");
    }
    let plain = [pop3 == 110, smtp == 25 || smtp == 587];
    if module.tls == Security::Implicit && plain.contains(&true) {
        let problem = "ports 110, 25 and 587 do not start with TLS";
        report.warning(&key.join("tls"), problem, "write tls = \"starttls\", or port 995 and 465");
    }
}

fn trust(key: &Key, module: &ClientModule, report: &mut Report<'_>) {
    let trust = &module.trust;
    let key = key.join("trust");
    let empty = *trust == crate::config::settings::Trust::default();
    if module.tls == Security::None {
        if !empty {
            let problem = "is not used, because this client module has tls = \"none\"";
            report.warning(&key, problem, "remove it, or write tls = \"implicit\"");
        }
        return;
    }
    if empty {
        let problem = "no certificate of this client module could be accepted";
        let remedy = "run `kimgate trust HOST:PORT` and write the pin that it shows";
        report.warning(&key, problem, remedy);
    }
    if !trust.ignore.is_empty() {
        let (problem, remedy) = if trust.pins.is_empty() {
            (
                "accepts any machine that answers at that address",
                "write the certificate's pin under pins instead",
            )
        } else {
            ("makes the pins pointless: other certificates are accepted too", "remove it")
        };
        report.warning(&key.join("ignore"), problem, remedy);
    }
    if trust.system_roots {
        let problem = "any public authority could vouch for the client module";
        let remedy = "write its own authority under ca, or its certificate under pins";
        report.warning(&key.join("system_roots"), problem, remedy);
    }
    let mut seen = HashSet::new();
    for (index, pin) in trust.pins.iter().enumerate() {
        // One that is no pin is said elsewhere.
        if pin.parse::<Pin>().is_ok_and(|pin| !seen.insert(pin)) {
            report.warning(&key.join("pins").element(index), "is listed twice", "remove it");
        }
    }
}

fn standby(name: &str, settings: &Settings, report: &mut Report<'_>) {
    let Some(module) = settings.client_modules.get(name) else { return };
    let Some(standby) = module.standby.as_deref() else { return };
    let key = entry("client_modules", name).join("standby");
    if standby == name {
        report.error(&key, "is this client module itself", "name another one, or remove it");
        return;
    }
    if !settings.client_modules.contains_key(standby) {
        let names = settings.client_modules.keys().map(String::as_str).filter(|n| *n != name);
        let remedy = match nearest(standby, names) {
            Some(meant) => format!("write {}", quoted(meant)),
            None => format!("add [client_modules.{}]", quoted(standby)),
        };
        report.error(&key, format!("there is no client module {}", quoted(standby)), remedy);
        return;
    }
    // Every step goes to another client module or is the last, so this many steps are enough.
    let mut next = Some(standby);
    for _ in 0..settings.client_modules.len() {
        if next == Some(name) {
            report.error(
                &key,
                "leads back to this client module",
                "let one of them have no standby",
            );
            return;
        }
        next = next.and_then(|n| settings.client_modules.get(n)).and_then(|m| m.standby.as_deref());
    }
}

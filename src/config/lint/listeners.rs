//! Listeners, their certificate and the admin pages.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::entry;
use crate::config::build::network;
use crate::config::finding::{Key, Report, quoted};
use crate::config::settings::{ClientCertificates, Listener, Settings};
use crate::gateway::{Exposure, exposure};
use crate::policy::{Mode, Otherwise};
use crate::words::{Protocol, Security};

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    if settings.listeners.is_empty() {
        let remedy =
            "write [listeners.pop3s] with protocol = \"pop3\" and address = \"0.0.0.0:995\"";
        report.error(
            &Key::of(&["listeners"]),
            "no listener: no mail program could connect",
            remedy,
        );
    }
    if settings.listeners.len() > MOST {
        let problem = format!("{} listeners", settings.listeners.len());
        report.error(&Key::of(&["listeners"]), problem, format!("write at most {MOST}"));
        return;
    }
    for (name, listener) in &settings.listeners {
        one(&entry("listeners", name), listener, report);
    }
    same_address(settings, report);
    tls(settings, report);
    admin(settings, report);
    exposed(settings, report);
}

/// What `run` refuses, as far as a listener names an address. What 0.0.0.0 includes depends on the
/// machine, so `check` and `run` ask the machine.
fn exposed(settings: &Settings, report: &mut Report<'_>) {
    let listeners = settings.listeners.iter();
    let listeners = listeners.filter_map(|(n, l)| Some((entry("listeners", n), l.address?.0)));
    let admin = settings.admin.address.0.map(|address| (Key::of(&["admin"]), address.0));
    let policy = &settings.policy;
    let strangers = policy.unknown_workstations == Otherwise::Allow || policy.mode == Mode::Observe;
    let mut is_public = false;
    for (key, address) in listeners.chain(admin) {
        let lets_in = strangers && key != Key::of(&["admin"]);
        let Some(exposure) = exposure(address, &[], lets_in) else { continue };
        is_public |= matches!(exposure, Exposure::Public(_));
        if settings.gateway.public {
            continue;
        }
        let problem = match exposure {
            Exposure::Public(_) => format!("{address} can be reached from the internet"),
            Exposure::Strangers(_) => format!(
                "{address} is in no private network, and the rules let unknown workstations in"
            ),
        };
        let remedy = "name an address of the practice's own network; public = true under [gateway] \
                      says that it is meant";
        report.error(&key.join("address"), problem, remedy);
    }
    if settings.gateway.public && is_public {
        in_public(settings, strangers, report);
    }
}

/// Warns about what is missing where kimgate is public on purpose.
fn in_public(settings: &Settings, strangers: bool, report: &mut Report<'_>) {
    if settings.tls.client_certificates != ClientCertificates::Required {
        let problem = "on the internet an address does not identify a workstation";
        let remedy = "write \"required\", and client_ca";
        report.warning(&Key::of(&["tls", "client_certificates"]), problem, remedy);
    }
    if strangers {
        let problem = "with a public address, every machine on the internet may try logins";
        let remedy = "write unknown_workstations = \"deny\" and mode = \"enforce\"";
        report.warning(&Key::of(&["policy"]), problem, remedy);
    }
}

/// The most listeners: each is compared with every other.
const MOST: usize = 64;

fn one(key: &Key, listener: &Listener, report: &mut Report<'_>) {
    let everywhere = |text: &String| network(text).is_ok_and(|net| net.prefix_len() == 0);
    if let Some(at) = listener.proxy_protocol_from.iter().position(everywhere) {
        let key = key.join("proxy_protocol_from").element(at);
        let problem = "any machine could claim any address with a PROXY header";
        report.warning(&key, problem, "write the address of the proxy alone");
    }
    let Some(address) = listener.address.map(|address| address.0) else { return };
    if listener.tls == Security::None && !address.ip().to_canonical().is_loopback() {
        let problem =
            format!("without TLS, passwords and patients' data cross the network to {address}");
        let remedy = "write \"implicit\", or an address on 127.0.0.1";
        report.error(&key.join("tls"), problem, remedy);
    }
    let other = match listener.protocol {
        Some(Protocol::Pop3) => [25, 465, 587].contains(&address.port()).then_some(("SMTP", 995)),
        Some(Protocol::Smtp) => [110, 995].contains(&address.port()).then_some(("POP3", 465)),
        None => None,
    };
    if let Some((other, usual)) = other {
        let problem = format!("port {} is {other}'s", address.port());
        let remedy = format!("write port {usual}, or change the protocol");
        report.warning(&key.join("address"), problem, remedy);
    }
    if listener.tls == Security::StartTls && [465, 995].contains(&address.port()) {
        let problem =
            format!("mail clients expect TLS from the first byte at port {}", address.port());
        report.warning(&key.join("tls"), problem, "write \"implicit\"");
    }
}

/// Reports listeners on the same address; binding would fail with a message that names no key.
fn same_address(settings: &Settings, report: &mut Report<'_>) {
    let admin = settings.admin.address.0.map(|a| (Key::of(&["admin"]), a.0));
    let all: Vec<(Key, SocketAddr)> = settings
        .listeners
        .iter()
        .filter_map(|(name, l)| Some((entry("listeners", name), l.address?.0)))
        .chain(admin)
        .collect();
    for (at, (key, address)) in all.iter().enumerate() {
        let is_admin = *key == Key::of(&["admin"]);
        let is_taken =
            |other: SocketAddr| collide(*address, other) || is_admin && both(*address, other);
        if let Some((other, _)) = all[..at].iter().find(|(_, other)| is_taken(*other)) {
            let problem = format!("{address} is taken by {other}");
            report.error(&key.join("address"), problem, "give each its own port");
        }
    }
}

/// Whether one of them is all addresses of IPv6 and the other one is of IPv4. Of two listeners, the one
/// leaves IPv4 to the other; the admin address shares with none.
fn both(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all = |address: SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (is_all(one) && other.is_ipv4() || is_all(other) && one.is_ipv4())
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let covers =
        a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()));
    one.port() != 0 && one.port() == other.port() && covers
}

fn tls(settings: &Settings, report: &mut Report<'_>) {
    let tls = &settings.tls;
    let key = |name| Key::of(&["tls", name]);
    super::client_modules::pair(
        (&key("certificate"), tls.certificate.is_some()),
        (&key("private_key"), tls.private_key.is_some()),
        report,
    );
    match (tls.client_certificates, &tls.client_ca) {
        (ClientCertificates::Optional | ClientCertificates::Required, None) => {
            let problem = "no client_ca, so no workstation's certificate could be checked";
            let remedy = "write client_ca = \"certs/ca.pem\"; `kimgate certs ca` makes one";
            report.error(&key("client_certificates"), problem, remedy);
        }
        (ClientCertificates::Off, Some(_)) => {
            let problem = "is not used, because client_certificates is \"off\"";
            let remedy = "write client_certificates = \"optional\" or \"required\", or remove this";
            report.warning(&key("client_ca"), problem, remedy);
        }
        (ClientCertificates::Off, None)
        | (ClientCertificates::Optional | ClientCertificates::Required, Some(_)) => {}
    }
    if tls.client_certificates == ClientCertificates::Off && !tls.client_crl.is_empty() {
        let problem = "is not used, because client_certificates is \"off\"";
        let remedy = "write client_certificates = \"optional\" or \"required\", or remove this";
        report.warning(&key("client_crl"), problem, remedy);
    }
    let plain = settings.listeners.values().all(|listener| listener.tls == Security::None);
    if plain && !settings.listeners.is_empty() && tls.certificate.is_some() {
        let problem = "is not used, because every listener has tls = \"none\"";
        report.warning(&key("certificate"), problem, "remove it, or secure a listener");
    }
    if tls.client_certificates == ClientCertificates::Off {
        never_asked(settings, report);
    }
}

/// Warns about rules by certificate, which can never match where none is asked for.
fn never_asked(settings: &Settings, report: &mut Report<'_>) {
    let workstations =
        settings.workstations.iter().map(|(n, w)| ("workstations", n, &w.certificates));
    let users = settings.users.iter().map(|(n, u)| ("users", n, &u.certificates));
    for (section, name, certificates) in workstations.chain(users) {
        if !certificates.is_empty() {
            let problem = "never matches: workstations are not asked for certificates";
            let remedy = "write client_certificates = \"optional\" and client_ca under [tls]";
            report.warning(&entry(section, name).join("certificates"), problem, remedy);
        }
    }
}

fn admin_hosts(settings: &Settings, report: &mut Report<'_>) {
    let key = Key::of(&["admin", "hosts"]);
    for (index, host) in settings.admin.hosts.iter().enumerate() {
        if !super::is_host_name(host) {
            let problem = format!("{} is not a host name", quoted(host));
            let remedy = "write the name alone, without https:// and without a port";
            report.error(&key.element(index), problem, remedy);
        }
    }
}

fn admin(settings: &Settings, report: &mut Report<'_>) {
    admin_hosts(settings, report);
    let Some(address) = settings.admin.address.0 else { return };
    let allow = Key::of(&["admin", "allow"]);
    let nets: Vec<IpNet> = settings.admin.allow.iter().filter_map(|t| network(t).ok()).collect();
    if !address.0.ip().is_loopback() {
        let problem =
            format!("{address} serves addresses and accounts over HTTP without TLS or login");
        let remedy = "write \"127.0.0.1:9465\"; reach it through ssh or a reverse proxy";
        report.warning(&Key::of(&["admin", "address"]), problem, remedy);
    }
    if settings.admin.autoconfig && address.0.ip().is_loopback() {
        let problem = "no workstation can ask: the admin address is on this machine only";
        let remedy = "write address = \"192.168.0.5:80\", where Thunderbird looks for it";
        report.warning(&Key::of(&["admin", "autoconfig"]), problem, remedy);
    } else if settings.admin.autoconfig
        && settings.workstations.values().all(|w| w.logins.is_empty())
    {
        let problem = "it would have nothing to say: no workstation has a list `logins`";
        let remedy = "write logins = [\"…\"] with both logins under [workstations.NAME]";
        report.warning(&Key::of(&["admin", "autoconfig"]), problem, remedy);
    }
    if settings.admin.allow.is_empty() {
        report.warning(
            &allow,
            "no machine may open the pages",
            "write [\"127.0.0.1/32\"], or address = \"off\"",
        );
    } else if nets.iter().any(|net| net.prefix_len() == 0) {
        report.warning(
            &allow,
            "every machine may open the pages",
            "write the networks that administrators use",
        );
    }
}

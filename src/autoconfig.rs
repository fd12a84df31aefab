//! Thunderbird's autoconfig file, version 1.1: for `kimgate profile`, and for the admin address.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::admin::{Host, Workstations};
use crate::config::Config;
use crate::kim::{Account, Login};
use crate::policy::{Policy, Request, Station};
use crate::words::{Protocol, Security};

/// One side of an account.
pub(crate) struct MailServer<'a> {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    pub(crate) login: &'a str,
}

/// What workstations may ask for: the configuration in force, as far as it is about them.
pub struct Autoconfig {
    config: Config,
    policy: Policy,
}

impl Autoconfig {
    /// Of this configuration, whose rules are compiled already.
    pub fn new(config: Config, policy: Policy) -> Self {
        Self { config, policy }
    }

    /// Whether a workstation has this address.
    pub fn knows(&self, peer: IpAddr) -> bool {
        self.policy.station(peer, &[]).name().is_some()
    }

    /// The file for the workstation with this address, with logins out of its own list that it may
    /// use now. `host` is whom it asked, `account` whom it asked for; without that, the workstation
    /// must have one account only.
    pub fn file(&self, peer: IpAddr, host: &str, account: Option<&str>) -> Option<String> {
        let station = self.policy.station(peer, &[]);
        let listed = self.config.rules.workstations.get(station.name()?)?.logins.as_deref()?;
        let account = match account {
            Some(address) => Account::new(address),
            None => {
                let mut accounts =
                    self.allowed(&station, listed, Protocol::Pop3).map(|text| account_of(text));
                let first = accounts.next()?;
                accounts.all(|other| other == first).then_some(first)?
            }
        };
        let login = |protocol| {
            self.allowed(&station, listed, protocol).find(|text| account_of(text) == account)
        };
        let (incoming, outgoing) = (login(Protocol::Pop3)?, login(Protocol::Smtp)?);
        let address = incoming.split('#').next()?;
        if !self.is_own_name(host, address) {
            return None;
        }
        let server = |protocol, login| server(&self.config, None, protocol, login);
        Some(file(address, &server(Protocol::Pop3, incoming)?, &server(Protocol::Smtp, outgoing)?))
    }

    /// Those of the listed logins that may go this way now.
    fn allowed<'a>(
        &'a self,
        station: &'a Station,
        listed: &'a [String],
        protocol: Protocol,
    ) -> impl Iterator<Item = &'a String> {
        listed.iter().filter(move |text| {
            let login = Login::parse(text.as_bytes());
            let request = Request { station, login: &login, protocol };
            login.is_well_formed() && login.serves(protocol) && self.policy.decide(&request).is_ok()
        })
    }

    /// DNS rebinding: a page from outside, open in a workstation's browser, could have its own name
    /// resolve to this address and read the answer. It cannot change the name in `Host`.
    fn is_own_name(&self, host: &str, address: &str) -> bool {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let own = [&self.config.gateway.name, domain, &format!("autoconfig.{domain}")];
        Host::of(host).is_address_or(own)
    }
}

fn account_of(login: &str) -> Account {
    Login::parse(login.as_bytes()).account().clone()
}

/// The one in force; none where it is switched off.
#[derive(Default)]
pub struct InForce(ArcSwapOption<Autoconfig>);

impl InForce {
    /// From now on.
    pub fn replace(&self, autoconfig: Option<Autoconfig>) {
        self.0.store(autoconfig.map(Arc::new));
    }
}

impl Workstations for InForce {
    fn knows(&self, peer: IpAddr) -> bool {
        self.0.load().as_ref().is_some_and(|autoconfig| autoconfig.knows(peer))
    }

    fn autoconfig(&self, peer: IpAddr, host: &str, account: Option<&str>) -> Option<String> {
        self.0.load().as_ref()?.file(peer, host, account)
    }
}

/// The listener that a workstation should use: one that others than this machine can reach, and TLS
/// at once before STARTTLS. `None` where no listener speaks this.
pub(crate) fn server<'a>(
    config: &Config,
    host: Option<&str>,
    protocol: Protocol,
    login: &'a str,
) -> Option<MailServer<'a>> {
    let of_protocol = config.gateway.listeners.iter().filter(|l| l.protocol == protocol);
    let listener = of_protocol
        .min_by_key(|l| (l.address.ip().is_loopback(), l.security != Security::Implicit))?;
    let host = match host {
        Some(host) => host.to_owned(),
        None if listener.address.ip().is_loopback() => listener.address.ip().to_string(),
        None => config.gateway.name.clone(),
    };
    Some(MailServer { host, port: listener.address.port(), security: listener.security, login })
}

/// The file: Thunderbird reads it as `isp/DOMAIN.xml` in its program folder, or from
/// `http://autoconfig.DOMAIN/mail/config-v1.1.xml`.
pub(crate) fn file(address: &str, incoming: &MailServer<'_>, outgoing: &MailServer<'_>) -> String {
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    let (address, domain) = (escaped(address), escaped(domain));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- Save as isp/DOMAIN.xml in Thunderbird's program folder, or serve it as\n     \
         http://autoconfig.DOMAIN/mail/config-v1.1.xml -->\n\
         <clientConfig version=\"1.1\">\n  <emailProvider id=\"{domain}\">\n    \
         <domain>{domain}</domain>\n    <displayName>KIM {address}</displayName>\n    \
         <displayShortName>KIM</displayShortName>\n"
    );
    push(&mut xml, "incomingServer", "pop3", incoming);
    push(&mut xml, "outgoingServer", "smtp", outgoing);
    xml.push_str("  </emailProvider>\n</clientConfig>");
    xml
}
fn push(xml: &mut String, element: &str, kind: &str, server: &MailServer<'_>) {
    let socket = match server.security {
        Security::Implicit => "SSL",
        Security::StartTls => "STARTTLS",
        Security::None => "plain",
    };
    // Writing into a String cannot fail.
    let _ = write!(
        xml,
        "    <{element} type=\"{kind}\">\n      <hostname>{}</hostname>\n      \
         <port>{}</port>\n      <socketType>{socket}</socketType>\n      \
         <authentication>password-cleartext</authentication>\n      \
         <username>{}</username>\n",
        escaped(&server.host),
        server.port,
        escaped(server.login)
    );
    if kind == "pop3" {
        // Otherwise a person who fetches from a second PC, or may not delete, has nothing left.
        xml.push_str(
            "      <pop3>\n        <leaveMessagesOnServer>true</leaveMessagesOnServer>\n      \
             </pop3>\n",
        );
    }
    let _ = writeln!(xml, "    </{element}>");
}

/// Text between tags of XML and in its attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML 1.0 section 2.2 has no place for these, not even as a reference.
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: &str = r#"
        gateway.name = "kim.praxis.local"
        listeners.pop3s = { protocol = "pop3", address = "0.0.0.0:995" }
        listeners.smtps = { protocol = "smtp", address = "0.0.0.0:465" }
        client_modules.main = { host = "192.168.0.22", trust.ignore = ["self-signed"] }
        accounts."prx@praxis.kim.telematik" = {}
        accounts."arzt@praxis.kim.telematik" = { deny = ["workstation:PC2"] }
        [workstations.PC1]
        addresses = ["192.168.0.31"]
        logins = [
            "prx@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC1",
            "prx@praxis.kim.telematik#mail.kim.telematik:465#M#cs#PC1",
            "arzt@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC1",
            "arzt@praxis.kim.telematik#mail.kim.telematik:465#M#cs#PC1",
        ]
        [workstations.PC2]
        addresses = ["192.168.0.32"]
        logins = [
            "prx@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC2",
            "prx@praxis.kim.telematik#mail.kim.telematik:465#M#cs#PC2",
            "arzt@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC2",
            "arzt@praxis.kim.telematik#mail.kim.telematik:465#M#cs#PC2",
        ]
        [workstations.PC3]
        addresses = ["192.168.0.33"]
    "#;

    #[test]
    fn logins_are_for_their_workstation_and_asked_for_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kimgate.toml");
        std::fs::write(&file, WORLD).unwrap();
        let config = crate::config::load(&file, std::iter::empty()).unwrap().config;
        let policy = Policy::compile(config.rules.clone()).unwrap();
        let autoconfig = Autoconfig::new(config, policy);
        let (prx, arzt) = ("prx@praxis.kim.telematik", "ARZT@praxis.kim.telematik");
        let name = "autoconfig.praxis.kim.telematik";
        for (peer, host, account, login) in [
            (
                31,
                name,
                Some(prx),
                Some("prx@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC1<"),
            ),
            (
                31,
                "praxis.kim.telematik:80",
                Some(arzt),
                Some("arzt@praxis.kim.telematik#mail.kim.telematik:465#"),
            ),
            (31, "192.168.0.5", Some(prx), Some("#PC1<")),
            (31, "KIM.Praxis.local", Some(prx), Some("<port>465</port>")),
            // Which of the two?
            (31, name, None, None),
            // The one that it may use.
            (32, name, None, Some("prx@praxis.kim.telematik#mail.kim.telematik:995#M#cs#PC2<")),
            (32, name, Some(arzt), None),
            (31, "evil.example", Some(prx), None),
            (31, "", Some(prx), None),
            (31, name, Some("fremd@praxis.kim.telematik"), None),
            // No list, no workstation.
            (33, name, Some(prx), None),
            (34, name, Some(prx), None),
        ] {
            let found = autoconfig.file([192, 168, 0, peer].into(), host, account);
            let holds =
                found.as_deref().map(|file| login.is_some_and(|login| file.contains(login)));
            assert_eq!(holds, login.map(|_| true), "{peer} {host} {account:?}: {found:?}");
        }
        assert!(autoconfig.knows([192, 168, 0, 33].into()));
        assert!(!autoconfig.knows([192, 168, 0, 34].into()));
    }
}

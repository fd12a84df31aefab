//! Names that the operator chose: they appear in replies, logs and on the wire.

use super::entry;
use crate::config::finding::{Key, Report, quoted};
use crate::config::settings::{Named, Settings};
use crate::gateway;

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    if let Some(name) = &settings.gateway.name
        && !is_host_name(name)
    {
        let key = Key::of(&["gateway", "name"]);
        let problem = format!("{} is not a host name", quoted(name));
        report.error(
            &key,
            problem,
            "write letters, digits, hyphens and dots, as in \"kim.praxis.local\"",
        );
    }
    contact(&settings.gateway.contact, report);
    table_names("listeners", &settings.listeners, report);
    table_names("client_modules", &settings.client_modules, report);
    table_names("workstations", &settings.workstations, report);
    table_names("users", &settings.users, report);
    table_names("groups", &settings.groups, report);
    table_names("departments", &settings.departments, report);
    table_names("accounts", &settings.accounts, report);
}

/// It ends each refusal, so it has to fit there and to be ASCII on the wire.
fn contact(contact: &str, report: &mut Report<'_>) {
    let shown = gateway::on_the_wire(contact);
    let problem = if shown.matches('?').count() > contact.matches('?').count() {
        "has a character that a mail reply cannot hold"
    } else if contact.trim() != contact {
        "has blanks around it"
    } else if shown.len() > gateway::CONTACT {
        "is too long to be shown after every refusal"
    } else {
        return;
    };
    let remedy = format!("write at most {} characters, as in \"IT: 0371 1234\"", gateway::CONTACT);
    report.error(&Key::of(&["gateway", "contact"]), problem, remedy);
}

/// What can stand in EHLO (RFC 5321 4.1.1.1) without brackets, an IP address aside.
pub(in crate::config) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.bytes();
        !label.is_empty()
            && label.len() <= 63
            && bytes.clone().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    is_name || name.parse::<std::net::IpAddr>().is_ok()
}

fn table_names<T>(section: &str, tables: &Named<T>, report: &mut Report<'_>) {
    for name in tables.keys() {
        let problem = if name.is_empty() {
            "has an empty name"
        } else if name.chars().any(char::is_control) {
            "has a control character in its name"
        } else if name.trim() != name {
            "has blanks around its name"
        } else if name.len() > 256 {
            "has a name of more than 256 bytes"
        } else {
            continue;
        };
        report.error(&entry(section, name), problem, "give it a plain name");
    }
}

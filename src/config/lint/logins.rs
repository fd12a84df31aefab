//! Logins that a workstation may use. They are typed from the client module's page, often with
//! mistakes.
//!
//! No finding shows more of a login than its account.

use std::collections::BTreeMap;

use super::entry;
use crate::config::finding::{Key, Report, quoted};
use crate::config::settings::{Settings, Workstation};
use crate::kim::{Account, Login, LoginWarning};
use crate::policy::{LoginServers, Otherwise};

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    let accounts: std::collections::BTreeSet<Account> =
        settings.accounts.keys().map(|address| Account::new(address)).collect();
    let servers = LoginServers::new(&settings.policy.login_servers);
    no_host(settings, report);
    for (name, workstation) in &settings.workstations {
        let key = entry("workstations", name).join("logins");
        for (index, text) in workstation.logins.iter().enumerate() {
            let login = Login::parse(text.as_bytes());
            let key = key.element(index);
            if form(&key, text, &login, settings, report) {
                never_used(&key, &login, workstation, settings, report);
                server(&key, &login, settings, report);
                if servers.admit(&login) == Some(false) {
                    let problem = "its server is not among policy.login_servers, so it is refused";
                    report.warning(&key, problem, "add the host there, or correct the login");
                }
            }
            let closed = settings.policy.unknown_accounts == Otherwise::Deny;
            if closed && !accounts.contains(login.account()) && login.is_well_formed() {
                let account = quoted(login.account().as_str());
                let problem = format!("account {account} is not known");
                report.warning(&key, problem, format!("add [accounts.{account}]"));
            }
        }
        one_protocol(&key, workstation, report);
    }
}

/// Warns of a pattern that no host of a login matches.
fn no_host(settings: &Settings, report: &mut Report<'_>) {
    let key = Key::of(&["policy", "login_servers"]);
    for (index, pattern) in settings.policy.login_servers.iter().enumerate() {
        // Two colons are an IPv6 address, which stands here without its brackets.
        let has_port = pattern.matches(':').count() == 1;
        if has_port || pattern.contains(['/', '@', '#', '[', ']', ' ']) {
            let problem = format!("{} matches no host", quoted(pattern));
            let remedy = "write the host alone, without port, as in \"*.telematik\"";
            report.warning(&key.element(index), problem, remedy);
        }
    }
}

/// Checks the form; true if the rest can be checked as well.
fn form(
    key: &Key,
    text: &str,
    login: &Login,
    settings: &Settings,
    report: &mut Report<'_>,
) -> bool {
    if text.is_empty() {
        return false; // policy says it
    }
    if !login.is_well_formed() {
        let problem = "holds a control character, so no login equals it";
        report.warning(key, problem, "copy it again from the client module");
        return false;
    }
    let configured = settings.accounts.keys().find(|address| login.account().is(address));
    // The login itself says which protocol it is for; `one_protocol` looks for the other kind.
    for warning in LoginWarning::all(login, None, configured.map(String::as_str)) {
        report.warning(key, warning.problem(), warning.remedy());
    }
    true
}

fn never_used(
    key: &Key,
    login: &Login,
    workstation: &Workstation,
    settings: &Settings,
    report: &mut Report<'_>,
) {
    let workplaces = &workstation.workplaces;
    if login.is_only_an_address() {
        if settings.policy.logins_without_context == Otherwise::Deny {
            let problem = "is only an address, which logins_without_context = \"deny\" refuses";
            report.warning(key, problem, "write all of the login");
        }
    } else if !workplaces.is_empty() && !workplaces.iter().any(|w| w == login.workplace_id()) {
        let problem = "its WorkplaceId is not among this workstation's workplaces";
        report.warning(key, problem, "add it there, or correct the login");
    }
}

/// Warns where the host or port in a login is the client module's: it must be the KIM mail
/// service's.
fn server(key: &Key, login: &Login, settings: &Settings, report: &mut Report<'_>) {
    let (Some(host), Some(port)) = (login.server_host(), login.server_port()) else { return };
    for (name, module) in settings.client_modules.iter().take(super::client_modules::MOST) {
        let host_of_module = module.host.as_deref().unwrap_or_default();
        if host.is_some_and(|host| host.eq_ignore_ascii_case(host_of_module)) {
            let problem = format!("names the host of client module {}", quoted(name));
            let remedy = "one is wrong: a login names the KIM mail service, \
                          client_modules the machine in the practice";
            report.warning(key, problem, remedy);
        }
        let Ok(port) = port.parse::<u16>() else { continue };
        let taken = port == module.pop3_port || port == module.smtp_port;
        if taken && ![465, 995].contains(&port) {
            let problem = format!("its port {port} is also client module {}'s", quoted(name));
            let remedy = "look again: the port in a login is the KIM mail service's, \
                          pop3_port and smtp_port are the client module's own";
            report.warning(key, problem, remedy);
        }
    }
}

/// POP3 and SMTP logins of one account differ in the port, so an account with one kind alone can
/// fetch but not send, or the other way round.
fn one_protocol(key: &Key, workstation: &Workstation, report: &mut Report<'_>) {
    let mut ports: BTreeMap<Account, Vec<(usize, &str)>> = BTreeMap::new();
    let logins: Vec<Login> =
        workstation.logins.iter().map(|text| Login::parse(text.as_bytes())).collect();
    for (index, login) in logins.iter().enumerate() {
        if let Some(port) = login.server_port() {
            ports.entry(login.account().clone()).or_default().push((index, port));
        }
    }
    for (_, ports) in ports {
        let Some((index, first)) = ports.first() else { continue };
        let (missing, other) = match *first {
            "995" => ("sending", "465"),
            "465" => ("fetching", "995"),
            _ => continue,
        };
        if ports.iter().all(|(_, port)| port == first) {
            let problem =
                format!("is the only kind of login for this account: {missing} needs its own");
            let remedy = format!("add the login with port {other} as well");
            report.warning(&key.element(*index), problem, remedy);
        }
    }
}

//! Accounts: rules that can never match, contradict each other or name no subject.

use std::collections::{HashMap, HashSet};

use super::entry;
use crate::config::finding::{Key, Report, quoted};
use crate::config::rules::default_client_module;
use crate::config::settings::{Account, Settings};
use crate::kim::Login;
use crate::policy::{Otherwise, Subject};

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    if settings.accounts.is_empty() && settings.policy.unknown_accounts == Otherwise::Deny {
        let remedy = "write [accounts.\"prx@praxis.kim.telematik\"]";
        report.warning(&Key::of(&["accounts"]), "no account: every login is refused", remedy);
    }
    let mut reach = Reach::new(settings, report);
    client_module(settings, report);
    for (address, account) in &settings.accounts {
        let key = entry("accounts", address);
        self::address(&key, address, report);
        for (rules, allow, deny) in access_rules(&key, account) {
            access(&rules, allow, deny, &mut reach, report);
        }
        patterns(&key, account, report);
    }
}

fn address(key: &Key, address: &str, report: &mut Report<'_>) {
    let lower = address.to_ascii_lowercase();
    if address.contains('#') {
        return; // policy says it
    }
    if let Some(odd) = address.chars().find(|c| !c.is_ascii()) {
        let problem = format!("holds {}, and KIM addresses are ASCII", quoted(&odd.to_string()));
        let remedy = match spelled_out(address) {
            Some(spelled) => {
                format!("look the address up; umlauts are spelled out, as in {}", quoted(&spelled))
            }
            None => "copy the address from the client module".into(),
        };
        report.warning(key, problem, remedy);
    }
    let domain = lower.split_once('@').map(|(_, domain)| domain);
    let is_kim =
        |d: &str| [".kim.telematik", ".kim.telematik-test"].iter().any(|end| d.ends_with(end));
    match domain {
        None => report.warning(
            key,
            "is not a mail address",
            "write all of it, as in \"prx@praxis.kim.telematik\"",
        ),
        Some(domain) if !is_kim(domain) => {
            let problem = format!("{} is no KIM domain", quoted(domain));
            report.warning(key, problem, "KIM addresses end in .kim.telematik");
        }
        Some(_) => {}
    }
}

/// With several client modules, each account has to say which one is its own.
fn client_module(settings: &Settings, report: &mut Report<'_>) {
    let names: Vec<String> = settings.client_modules.keys().map(|name| quoted(name)).collect();
    if names.len() < 2 {
        return;
    }
    let default = default_client_module(settings);
    if settings.policy.unknown_accounts == Otherwise::Allow {
        let is_main = default == Some("main") || !settings.client_modules.contains_key("main");
        let problem = match default {
            None => "no client module is the one of accounts without a table",
            Some(_) if is_main => "",
            Some(_) => "accounts without a table would get \"main\", which is a standby",
        };
        if !problem.is_empty() {
            let remedy = "call the one that is meant [client_modules.main]";
            report.error(&Key::of(&["policy", "unknown_accounts"]), problem, remedy);
        }
    }
    if default.is_some() {
        return;
    }
    for (address, account) in &settings.accounts {
        let key = entry("accounts", address);
        if account.client_module.is_none() && !report.is_unread(&key.join("client_module")) {
            let problem = format!("does not say which client module: {}", names.join(", "));
            report.error(&key, problem, format!("write client_module = {}", names[0]));
        }
    }
}

/// With its umlauts spelled out; `None` where other characters are left.
fn spelled_out(address: &str) -> Option<String> {
    let table =
        [("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("Ä", "ae"), ("Ö", "oe"), ("Ü", "ue")];
    // A keyboard may write an umlaut as a letter and two dots.
    let composed =
        address.replace("a\u{308}", "ä").replace("o\u{308}", "ö").replace("u\u{308}", "ü");
    let spelled =
        table.iter().fold(composed, |text, (umlaut, letters)| text.replace(umlaut, letters));
    spelled.is_ascii().then_some(spelled)
}

/// Every pair of `allow` and `deny` of an account, with its key.
fn access_rules<'a>(key: &Key, account: &'a Account) -> [(Key, &'a [String], &'a [String]); 4] {
    [
        (key.clone(), &account.allow, &account.deny),
        (key.join("receive"), &account.receive.allow, &account.receive.deny),
        (key.join("delete"), &account.delete.allow, &account.delete.deny),
        (key.join("send"), &account.send.allow, &account.send.deny),
    ]
}

fn access(
    key: &Key,
    allow: &[String],
    deny: &[String],
    reach: &mut Reach<'_>,
    report: &mut Report<'_>,
) {
    let allow_key = key.join("allow");
    if let Some(index) = deny.iter().position(|subject| subject == "*") {
        let problem = "refuses every session, whatever allow says";
        let remedy = "list under allow who may; every other session is then refused";
        report.warning(&key.join("deny").element(index), problem, remedy);
        return;
    }
    let denied: HashSet<&String> = deny.iter().collect();
    for (index, text) in allow.iter().enumerate() {
        let key = allow_key.element(index);
        if denied.contains(text) {
            let problem = format!("{} stands under deny too, which wins", quoted(text));
            report.warning(&key, problem, "take it out of one of the two");
        } else if text.parse().is_ok_and(|subject| !reach.can_match(&subject)) {
            let problem = format!("{} can never match a session", quoted(text));
            report.warning(&key, problem, "add members or addresses to it, or take it out");
        }
    }
}

fn patterns(key: &Key, account: &Account, report: &mut Report<'_>) {
    let key = key.join("send");
    for (index, service) in account.send.services.iter().enumerate() {
        if !service.contains(';') && !service.contains('*') && !service.is_empty() {
            let problem = format!("{} matches no X-KIM-Dienstkennung", quoted(service));
            let remedy = format!("write {}", quoted(&format!("{service};*")));
            report.warning(&key.join("services").element(index), problem, remedy);
        }
    }
    only(&key.join("only"), account, report);
    for (index, recipient) in account.send.recipients.iter().enumerate() {
        if !recipient.contains('@') && !recipient.starts_with('*') && !recipient.is_empty() {
            let problem = format!("{} matches no whole address", quoted(recipient));
            let remedy =
                format!("write {}", quoted(&format!("*@{}", recipient.trim_start_matches('.'))));
            report.warning(&key.join("recipients").element(index), problem, remedy);
        }
    }
    for (index, sender) in account.send.senders.iter().enumerate() {
        if !sender.contains(['@', '*']) && sender != "<>" && !sender.is_empty() {
            let problem = format!("{} is not a mail address", quoted(sender));
            let remedy = "write all of it, or \"<>\" for the empty sender of receipts";
            report.warning(&key.join("senders").element(index), problem, remedy);
        }
    }
}

/// Rules for single services that never decide anything, or that nobody passes.
fn only(key: &Key, account: &Account, report: &mut Report<'_>) {
    let services = &account.send.services;
    for (pattern, subjects) in &account.send.only {
        let key = key.join(pattern);
        if !pattern.contains(';') && !pattern.contains('*') && !pattern.is_empty() {
            let problem = format!("{} matches no X-KIM-Dienstkennung", quoted(pattern));
            report.warning(&key, problem, format!("write {}", quoted(&format!("{pattern};*"))));
        } else if !services.is_empty() && !services.iter().any(|s| may_meet(s, pattern)) {
            let problem = "no service that send.services allows matches it";
            report.warning(&key, problem, "correct the pattern, or add the service there");
        }
        if subjects.is_empty() {
            let problem = "no one may send this service, because the list is empty";
            let remedy = "list who may, or take the service out of send.services";
            report.warning(&key, problem, remedy);
        }
    }
}

/// Whether some text may match both patterns, as far as what stands before their first wildcard
/// tells.
fn may_meet(one: &str, other: &str) -> bool {
    let fixed = |pattern: &str| {
        let end = pattern.find(['*', '?']).unwrap_or(pattern.len());
        pattern[..end].to_lowercase()
    };
    let (one, other) = (fixed(one), fixed(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Whether any session can ever match a subject.
struct Reach<'a> {
    settings: &'a Settings,
    /// What was written of these could not be read, so it may match.
    unread: HashSet<Subject>,
    /// The MandantIds that logins can have; `None`: any.
    mandants: Option<HashSet<String>>,
    known: HashMap<Subject, bool>,
}

impl<'a> Reach<'a> {
    fn new(settings: &'a Settings, report: &Report<'_>) -> Self {
        let closed = settings.policy.unknown_workstations == Otherwise::Deny
            && settings.workstations.values().all(|workstation| !workstation.logins.is_empty());
        let logins = || settings.workstations.values().flat_map(|w| &w.logins);
        let mandant = |login: &String| Login::parse(login.as_bytes()).mandant_id().to_owned();
        let is_read = |name: &String| !report.is_unread_within("workstations", name);
        let is_known = settings.workstations.keys().all(is_read);
        let mandants = (closed && is_known).then(|| logins().map(mandant).collect());
        let mut unread = HashSet::new();
        let mut note = |section: &str, name: &String, subject: fn(String) -> Subject| {
            if report.is_unread_within(section, name) {
                unread.insert(subject(name.clone()));
            }
        };
        settings.workstations.keys().for_each(|n| note("workstations", n, Subject::Workstation));
        settings.users.keys().for_each(|n| note("users", n, Subject::User));
        settings.groups.keys().for_each(|n| note("groups", n, Subject::Group));
        settings.departments.keys().for_each(|n| note("departments", n, Subject::Department));
        Self { settings, unread, mandants, known: HashMap::new() }
    }

    /// Names that do not exist are an error elsewhere, so they count as matching.
    fn can_match(&mut self, subject: &Subject) -> bool {
        if let Some(known) = self.known.get(subject) {
            return *known;
        }
        // Set before its members are looked at, so that a cycle ends here.
        self.known.insert(subject.clone(), false);
        let settings = self.settings;
        let can_match = match subject {
            Subject::Any => true,
            subject if self.unread.contains(subject) => true,
            Subject::Workstation(name) => settings
                .workstations
                .get(name)
                .is_none_or(|w| !w.addresses.is_empty() || !w.certificates.is_empty()),
            Subject::User(name) => settings.users.get(name).is_none_or(|u| {
                !u.certificates.is_empty() || !u.workstations.is_empty() || !u.user_ids.is_empty()
            }),
            Subject::Group(name) => self.members(settings.groups.get(name)),
            Subject::Department(name) => self.members(settings.departments.get(name)),
            Subject::Mandant(name) => self.mandants.as_ref().is_none_or(|all| all.contains(name)),
        };
        self.known.insert(subject.clone(), can_match);
        can_match
    }

    fn members(&mut self, group: Option<&crate::config::settings::Members>) -> bool {
        group.is_none_or(|group| {
            group.members.iter().any(|text| text.parse().map_or(true, |s| self.can_match(&s)))
        })
    }
}

//! Turns the settings about permissions into the rules of `policy`.

use super::build::{each, network};
use super::finding::{Key, Report};
use super::settings::{self, Settings};
use super::values::ValueError;
use crate::policy::{
    AccessRules, AccountRules, Policy, Problem, RuleError, Rules, Subject, SubjectError, User,
    Workstation,
};

/// Builds the rules and reports what `policy` finds wrong with them as a whole.
pub(super) fn rules(settings: &Settings, report: &mut Report<'_>) -> Rules {
    let default = default_client_module(settings);
    let rules = Rules {
        mode: settings.policy.mode,
        unknown_workstations: settings.policy.unknown_workstations,
        unknown_accounts: settings.policy.unknown_accounts,
        logins_without_context: settings.policy.logins_without_context,
        login_servers: settings.policy.login_servers.clone(),
        workstations: named(&settings.workstations, "workstations", report, workstation),
        users: named(&settings.users, "users", report, |user, _, _| User {
            certificates: user.certificates.clone(),
            workstations: user.workstations.clone(),
            user_ids: user.user_ids.clone(),
        }),
        groups: named(&settings.groups, "groups", report, members),
        departments: named(&settings.departments, "departments", report, members),
        accounts: named(&settings.accounts, "accounts", report, |written, key, report| {
            let rules = account(written, key, report);
            let client_module = rules.client_module.or_else(|| default.map(str::to_owned));
            AccountRules { client_module, ..rules }
        }),
        // Accounts without a table get the first, or main.
        client_modules: default
            .into_iter()
            .chain(
                settings.client_modules.keys().map(String::as_str).filter(|n| Some(*n) != default),
            )
            .map(str::to_owned)
            .collect(),
    };
    if let Err(errors) = Policy::compile(rules.clone()) {
        for error in errors {
            complain(error, settings, report);
        }
    }
    rules
}

/// The client module of accounts that name none: of those that are nobody's standby the only one, else
/// `main`. Which of several is meant, kimgate cannot know.
pub(super) fn default_client_module(settings: &Settings) -> Option<&str> {
    let modules = &settings.client_modules;
    let is_standby = |name: &str| {
        let mut others = modules.iter().filter(|(other, _)| *other != name);
        others.any(|(_, module)| module.standby.as_deref() == Some(name))
    };
    let mut free = modules.keys().map(String::as_str).filter(|name| !is_standby(name));
    match (free.next(), free.next()) {
        // A circle of standbys, which is said elsewhere.
        (None, None) => modules.keys().next().map(String::as_str),
        (only, None) => only,
        (Some("main"), _) | (_, Some("main")) => Some("main"),
        (_, Some(_)) => free.find(|name| *name == "main"),
    }
}

fn named<T, U>(
    tables: &settings::Named<T>,
    section: &str,
    report: &mut Report<'_>,
    build: impl Fn(&T, &Key, &mut Report<'_>) -> U,
) -> settings::Named<U> {
    let entry = |(name, table): (&String, &T)| {
        (name.clone(), build(table, &Key::of(&[section, name]), report))
    };
    tables.iter().map(entry).collect()
}

fn workstation(written: &settings::Workstation, key: &Key, report: &mut Report<'_>) -> Workstation {
    Workstation {
        addresses: each(&written.addresses, &key.join("addresses"), report, network),
        certificates: written.certificates.clone(),
        workplaces: restriction(&written.workplaces),
        logins: restriction(&written.logins),
    }
}

fn members(written: &settings::Members, key: &Key, report: &mut Report<'_>) -> Vec<Subject> {
    subjects(&written.members, &key.join("members"), report)
}

fn account(written: &settings::Account, key: &Key, report: &mut Report<'_>) -> AccountRules {
    let (receive, delete, send) = (key.join("receive"), key.join("delete"), key.join("send"));
    AccountRules {
        client_module: written.client_module.clone(),
        retired: written.retired,
        access: access(&written.allow, &written.deny, key, report),
        receive: access(&written.receive.allow, &written.receive.deny, &receive, report),
        delete: access(&written.delete.allow, &written.delete.deny, &delete, report),
        send: access(&written.send.allow, &written.send.deny, &send, report),
        services: restriction(&written.send.services),
        only: only(&written.send.only, &send.join("only"), report),
        recipients: restriction(&written.send.recipients),
        senders: written.send.senders.clone(),
        from: written.send.from,
    }
}

fn only(
    written: &settings::Named<Vec<String>>,
    key: &Key,
    report: &mut Report<'_>,
) -> settings::Named<Vec<Subject>> {
    let entry = |(pattern, list): (&String, &Vec<String>)| {
        (pattern.clone(), subjects(list, &key.join(pattern), report))
    };
    written.iter().map(entry).collect()
}

fn access(allow: &[String], deny: &[String], key: &Key, report: &mut Report<'_>) -> AccessRules {
    AccessRules {
        allow: subjects(allow, &key.join("allow"), report),
        deny: subjects(deny, &key.join("deny"), report),
    }
}

/// An entry that cannot be read is left out, and the configuration is refused because of it.
fn subjects(list: &[String], key: &Key, report: &mut Report<'_>) -> Vec<Subject> {
    each(list, key, report, |text| {
        text.parse()
            .map_err(|error: SubjectError| ValueError::new(error.to_string(), error.remedy()))
    })
}

/// An empty list restricts nothing, like an absent one; `allow` works the same way.
fn restriction(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn complain(error: RuleError, settings: &Settings, report: &mut Report<'_>) {
    if settings.client_modules.is_empty() && error.key.first().is_none_or(|k| k == "client_modules")
    {
        return; // lint says it
    }
    // What it names was written, and could not be read.
    let is_unread = match &error.problem {
        Problem::UnknownSubject { subject, .. } => match subject {
            Subject::Workstation(name) => report.is_unread_within("workstations", name),
            Subject::User(name) => report.is_unread_within("users", name),
            Subject::Group(name) => report.is_unread_within("groups", name),
            Subject::Department(name) => report.is_unread_within("departments", name),
            Subject::Any | Subject::Mandant(_) => false,
        },
        Problem::UnknownClientModule { name, .. } => {
            report.is_unread_within("client_modules", name)
        }
        Problem::NoClientModule
        | Problem::Cycle { .. }
        | Problem::SameNetwork { .. }
        | Problem::SameCertificate { .. }
        | Problem::SameAccount { .. }
        | Problem::NotAnAccount
        | Problem::EmptyEntry { .. } => false,
    };
    if is_unread {
        return;
    }
    report.error(&Key::from(error.key), error.problem.to_string(), error.problem.remedy());
}

//! Turns the settings about permissions into the rules of `policy`.

use super::build::{each, network};
use super::finding::{Key, Report};
use super::settings::{self, Settings};
use super::values::ValueError;
use crate::policy::{
    AccessRules, AccountRules, Policy, RuleError, Rules, Subject, SubjectError, User, Workstation,
};

/// Builds the rules and reports what `policy` finds wrong with them as a whole.
pub(super) fn rules(settings: &Settings, report: &mut Report<'_>) -> Rules {
    let rules = Rules {
        mode: settings.policy.mode,
        unknown_workstations: settings.policy.unknown_workstations,
        unknown_accounts: settings.policy.unknown_accounts,
        logins_without_context: settings.policy.logins_without_context,
        workstations: named(&settings.workstations, "workstations", report, workstation),
        users: named(&settings.users, "users", report, |user, _, _| User {
            certificates: user.certificates.clone(),
            workstations: user.workstations.clone(),
            user_ids: user.user_ids.clone(),
        }),
        groups: named(&settings.groups, "groups", report, members),
        departments: named(&settings.departments, "departments", report, members),
        accounts: named(&settings.accounts, "accounts", report, account),
        client_modules: settings.client_modules.keys().cloned().collect(),
    };
    if let Err(errors) = Policy::compile(rules.clone()) {
        for error in errors {
            complain(error, settings, report);
        }
    }
    rules
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
        recipients: restriction(&written.send.recipients),
        senders: written.send.senders.clone(),
        from: written.send.from,
    }
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
    report.error(&Key::from(error.key), error.problem.to_string(), error.problem.remedy());
}

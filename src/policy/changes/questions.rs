//! The questions that both sets of rules are asked: plausible logins, and what they may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::kim::{Account, Login};
use crate::policy::{AccountRules, Judgement, Policy, Request, Rules, Station, Subject};
use crate::words::{Action, Protocol};

/// Mandants, and UserIds, that are tried with each workstation and account.
const CLAIMS: usize = 8;
/// Stands for a mandant that no rule names.
const ANY_OTHER: &str = "any-other";

/// What a workstation may do with any of these logins.
pub(super) fn may(policy: &Policy, station: &Station, logins: &[Login]) -> BTreeSet<Action> {
    let mut actions = BTreeSet::new();
    for login in logins {
        let ask = |protocol| policy.decide(&Request { station, login, protocol });
        if !actions.contains(&Action::Send) && ask(Protocol::Smtp).is_ok() {
            actions.insert(Action::Send);
        }
        if !actions.contains(&Action::Delete)
            && let Ok(permit) = ask(Protocol::Pop3)
        {
            actions.insert(Action::Receive);
            if !matches!(permit.judge_delete(), Judgement::Refuse(_)) {
                actions.insert(Action::Delete);
            }
        }
        if actions.len() == 3 {
            break;
        }
    }
    actions
}

/// A connection from this workstation with its own certificate; `None`: from an unknown one.
pub(super) fn station(rules: &Rules, name: Option<&str>) -> Station {
    let entry = name.and_then(|name| rules.workstations.get_key_value(name));
    Station {
        name: entry.map(|(name, _)| Arc::from(name.as_str())),
        certificate_names: entry
            .map(|(_, entry)| entry.certificates.clone())
            .unwrap_or_default()
            .into(),
    }
}

/// The logins that somebody may plausibly use at this workstation with this account: the ones on the
/// workstation's list, and one for each workplace, mandant and UserId.
pub(super) fn logins(
    rules: [&Rules; 2],
    workstation: Option<&str>,
    account: Option<&Account>,
    mandants: &BTreeSet<&str>,
    user_ids: &BTreeSet<&str>,
) -> Vec<Login> {
    let entries: Vec<_> =
        rules.into_iter().filter_map(|rules| rules.workstations.get(workstation?)).collect();
    let listed = entries.iter().flat_map(|entry| entry.logins.iter().flatten());
    let mut logins: Vec<Login> = listed
        .map(|login| Login::parse(login.as_bytes()))
        .filter(|login| account.is_some_and(|account| login.account() == account))
        .collect();
    let address = account.map_or("nobody@example.invalid", Account::as_str);
    let own = entries.iter().filter_map(|entry| entry.workplaces.as_ref()?.first());
    let workplaces: BTreeSet<&str> =
        own.map(String::as_str).chain([workstation.unwrap_or(ANY_OTHER)]).collect();
    for workplace in workplaces {
        for mandant in mandants {
            for user_id in user_ids {
                let login = format!("{address}#*#{mandant}#cs#{workplace}#{user_id}");
                logins.push(Login::parse(login.as_bytes()));
            }
        }
    }
    logins
}

/// Mandants that some rule names, and one that no rule names.
pub(super) fn mandants(rules: [&Rules; 2]) -> BTreeSet<&str> {
    fn subjects(rules: &AccountRules) -> impl Iterator<Item = &Vec<Subject>> {
        let lists = [&rules.access, &rules.receive, &rules.delete, &rules.send];
        let lists = lists.into_iter().flat_map(|lists| [&lists.allow, &lists.deny]);
        lists.chain(rules.only.values())
    }
    let lists = rules.into_iter().flat_map(move |rules| {
        let accounts = rules.accounts.values().flat_map(subjects);
        rules.groups.values().chain(rules.departments.values()).chain(accounts)
    });
    let named = lists.flatten().filter_map(|subject| match subject {
        Subject::Mandant(name) => Some(name.as_str()),
        Subject::Any
        | Subject::Workstation(_)
        | Subject::User(_)
        | Subject::Group(_)
        | Subject::Department(_) => None,
    });
    let mut mandants: BTreeSet<&str> = named.take(10_000).collect();
    while mandants.len() > CLAIMS {
        mandants.pop_last();
    }
    mandants.insert(ANY_OTHER);
    mandants
}

/// UserIds that some rule names, and the empty one.
pub(super) fn user_ids(rules: [&Rules; 2]) -> BTreeSet<&str> {
    let users = rules.into_iter().flat_map(|rules| rules.users.values());
    let mut ids: BTreeSet<&str> =
        users.flat_map(|user| &user.user_ids).map(String::as_str).collect();
    while ids.len() > CLAIMS {
        ids.pop_last();
    }
    ids.insert("");
    ids
}

//! What a reload changes for whom, in sentences for the log and for `kimgate reload`.

use std::fmt::Write as _;

use crate::policy::{AccessChange, AccountAspect, AccountChange, Changes, Effect, Mode};
use crate::words::Action;

/// Workstations that one line names.
const NAMED: usize = 10;
/// Workstations without an entry.
const UNKNOWN_WORKSTATION: &str = "(unknown workstations)";
/// Accounts without an entry.
const UNKNOWN_ACCOUNT: &str = "(unknown accounts)";

/// One line for each change. `account` gives an address the form that the reader may see.
pub(super) fn lines(changes: &Changes, account: impl Fn(&str) -> String) -> Vec<String> {
    let mode = changes.mode.map(|mode| match mode {
        Mode::Observe => {
            "policy.mode is \"observe\" now: refusals are written down and not carried out".into()
        }
        Mode::Enforce => "policy.mode is \"enforce\" now: refusals are carried out".into(),
    });
    let accounts = changes.accounts.iter().map(|change| of_account(change, &account));
    let access = changes.access.iter().map(|change| of_access(change, &account));
    let skipped = changes.skipped_accounts;
    let skipped =
        (skipped > 0).then(|| format!("{skipped} more accounts were not compared: too many"));
    mode.into_iter().chain(accounts).chain(access).chain(skipped).collect()
}

fn of_account(change: &AccountChange, account: impl Fn(&str) -> String) -> String {
    let what = match change.what {
        AccountAspect::Lists => "other senders, recipients or services are allowed",
        AccountAspect::ClientModule => "another client module serves it",
    };
    format!("{}: {what}", account(change.account.as_str()))
}

fn of_access(change: &AccessChange, account: impl Fn(&str) -> String) -> String {
    let account = match &change.account {
        Some(address) => account(address.as_str()),
        None => UNKNOWN_ACCOUNT.to_owned(),
    };
    let count = change.workstations.len();
    let workstations = if count == 1 { "workstation" } else { "workstations" };
    let mut line = match &change.effect {
        Effect::LosesAccess => {
            let lose = if count == 1 { "loses" } else { "lose" };
            format!("{count} {workstations} {lose} access to {account}")
        }
        Effect::Loses(actions) => {
            format!("{count} {workstations} may no longer {} for {account}", list(actions))
        }
        Effect::Gains(actions) => {
            format!("{count} {workstations} may now {} for {account}", list(actions))
        }
    };
    let names = change.workstations.iter().take(NAMED);
    let names: Vec<&str> =
        names.map(|name| name.as_deref().unwrap_or(UNKNOWN_WORKSTATION)).collect();
    let _ = write!(line, ": {}", names.join(", "));
    if let Some(more @ 1..) = count.checked_sub(NAMED) {
        let _ = write!(line, " and {more} more");
    }
    line
}

/// The actions in alphabetical order, as `delete, receive and send`.
fn list(actions: &[Action]) -> String {
    let mut names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    names.sort_unstable();
    match &names[..] {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        AccessRules, AccountRules, Otherwise, Policy, Rules, Subject, User, Workstation,
    };

    fn rules(change: impl FnOnce(&mut Rules)) -> Rules {
        let workstation = |last: u8| Workstation {
            addresses: vec![std::net::IpAddr::from([10, 0, 0, last]).into()],
            ..Workstation::default()
        };
        let subject = |text: &str| text.parse::<Subject>().unwrap();
        let access = AccessRules { allow: vec![subject("group:desk")], deny: vec![] };
        let mut rules = Rules {
            workstations: (1..=4).map(|n| (format!("PC{n}"), workstation(n))).collect(),
            groups: [(
                "desk".into(),
                ["PC1", "PC2", "PC3"].map(|pc| subject(&format!("workstation:{pc}"))).into(),
            )]
            .into(),
            accounts: [(
                "prx@praxis.kim.telematik".into(),
                AccountRules { access, ..AccountRules::default() },
            )]
            .into(),
            client_modules: vec!["main".into()],
            ..Rules::default()
        };
        change(&mut rules);
        rules
    }

    fn lines(old: &Rules, new: &Rules) -> Vec<String> {
        let [a, b] = [old, new].map(|rules| Policy::compile(rules.clone()).unwrap());
        super::lines(&Changes::between((old, &a), (new, &b)), str::to_owned)
    }

    #[test]
    fn whoever_loses_or_gains_something_is_named_with_the_account() {
        const PRX: &str = "prx@praxis.kim.telematik";
        let prx = |rules: &mut Rules, change: fn(&mut AccountRules)| {
            change(rules.accounts.get_mut(PRX).unwrap());
        };
        let subject = |text: &str| text.parse::<Subject>().unwrap();
        let table: Vec<(Rules, &[&str])> = vec![
            (rules(|_| {}), &[]),
            (
                rules(|r| prx(r, |a| a.retired = true)),
                &["3 workstations lose access to prx@praxis.kim.telematik: PC1, PC2, PC3"],
            ),
            (
                rules(|r| {
                    drop(
                        r.workstations
                            .remove("PC2")
                            .map(|_| r.groups.get_mut("desk").unwrap().remove(1)),
                    )
                }),
                &["1 workstation loses access to prx@praxis.kim.telematik: PC2"],
            ),
            (
                rules(|r| prx(r, |a| a.delete.allow = vec!["workstation:PC1".parse().unwrap()])),
                &["2 workstations may no longer delete for prx@praxis.kim.telematik: PC2, PC3"],
            ),
            (
                rules(|r| prx(r, |a| a.access.allow.clear())),
                &[
                    "1 workstation may now delete, receive and send for prx@praxis.kim.telematik: PC4",
                ],
            ),
            (
                rules(|r| {
                    r.groups.get_mut("desk").unwrap().push(subject("mandant:M1"));
                    r.groups.get_mut("desk").unwrap().remove(0);
                }),
                // A login that claims the mandant gets in, from PC1 too.
                &[
                    "1 workstation may now delete, receive and send for prx@praxis.kim.telematik: PC4",
                ],
            ),
            (
                rules(|r| prx(r, |a| a.services = Some(vec!["eAU;*".into()]))),
                &["prx@praxis.kim.telematik: other senders, recipients or services are allowed"],
            ),
            (rules(|r| r.unknown_workstations = Otherwise::Allow), &[]),
            (
                rules(|r| r.unknown_accounts = Otherwise::Allow),
                &["4 workstations may now delete, receive and send for (unknown accounts): \
                   PC1, PC2, PC3, PC4"],
            ),
            (
                rules(|r| r.mode = Mode::Observe),
                &[
                    "policy.mode is \"observe\" now: refusals are written down and not carried out",
                    "5 workstations may now delete, receive and send for (unknown accounts): \
                   PC1, PC2, PC3, PC4, (unknown workstations)",
                    "2 workstations may now delete, receive and send for prx@praxis.kim.telematik: \
                   PC4, (unknown workstations)",
                ],
            ),
        ];
        for (new, expected) in table {
            assert_eq!(lines(&rules(|_| {}), &new), expected);
        }
    }

    #[test]
    fn users_by_claim_and_logins_from_a_list_are_tried() {
        let user = User { user_ids: vec!["ARZT".into()], ..User::default() };
        let with_user = rules(|r| {
            r.users.insert("mueller".into(), user);
            r.groups.get_mut("desk").unwrap().clear();
            r.groups.get_mut("desk").unwrap().push("user:mueller".parse().unwrap());
        });
        let said = lines(&rules(|_| {}), &with_user);
        assert_eq!(
            said,
            ["1 workstation may now delete, receive and send for \
            prx@praxis.kim.telematik: PC4"]
        );
        let listed = |login: &str| {
            let login = login.to_owned();
            rules(|r| r.workstations.get_mut("PC1").unwrap().logins = Some(vec![login]))
        };
        let said =
            lines(&listed("prx@praxis.kim.telematik#x.telematik:995#M#c#w"), &listed("other@x#y"));
        assert_eq!(said, ["1 workstation loses access to prx@praxis.kim.telematik: PC1"]);
    }

    #[test]
    fn long_lists_are_cut_and_too_many_accounts_are_counted() {
        let many = |count: u32| {
            rules(|r| {
                r.workstations =
                    (0..count).map(|n| (format!("PC{n:04}"), Workstation::default())).collect();
                r.groups.clear();
                r.accounts =
                    (0..50).map(|n| (format!("a{n:02}@x"), AccountRules::default())).collect();
            })
        };
        let said = lines(&many(0), &many(2000));
        assert!(
            said[0].ends_with(
                "a00@x: PC0000, PC0001, PC0002, PC0003, PC0004, PC0005, PC0006, \
            PC0007, PC0008, PC0009 and 1990 more"
            ),
            "{said:?}"
        );
        assert_eq!(said.last().unwrap(), "33 more accounts were not compared: too many");
    }
}

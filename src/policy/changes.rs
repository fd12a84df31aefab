//! What another set of rules changes, and for whom: both are asked the same questions.
//!
//! The questions are the logins that each workstation may plausibly use with each account: the ones
//! on its list, or one for each workplace, mandant and UserId that the rules know. Whoever gets
//! through with any of them has access.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::{AccountRules, Judgement, Mode, Policy, Request, Rules, Station, Subject};
use crate::kim::{Account, Login};
use crate::words::{Action, Protocol};

/// Decisions that one comparison may ask for: about a second.
const DECISIONS: usize = 300_000;
/// Mandants, and UserIds, that are tried with each workstation and account.
const CLAIMS: usize = 8;
/// Workstations that one line names.
const NAMED: usize = 10;
/// Stands for a mandant that no rule names.
const ANY_OTHER: &str = "any-other";
/// Whoever has no entry.
const UNKNOWN_WORKSTATION: &str = "(unknown workstations)";
const UNKNOWN_ACCOUNT: &str = "(unknown accounts)";

/// The difference between two sets of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    groups: BTreeMap<Group, Vec<String>>,
    /// What is not about one workstation and one account.
    others: Vec<Other>,
    /// Accounts that were not compared, because there are too many of them.
    skipped: usize,
}

/// Workstations to which the same happens with the same account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    account: String,
    gains: bool,
    /// They had nothing before, or have nothing now.
    all: bool,
    actions: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Other {
    Mode(Mode),
    /// An account, and what of it.
    Account(String, &'static str),
}

/// A configuration's accounts.
type Entries<'a> = BTreeMap<Account, &'a AccountRules>;

impl Changes {
    /// What the second rules change.
    pub fn between(old: (&Rules, &Policy), new: (&Rules, &Policy)) -> Self {
        let mut changes = Self::default();
        if old.0 == new.0 {
            return changes;
        }
        let mode = new.0.mode;
        changes.others.extend((old.0.mode != mode).then_some(Other::Mode(mode)));
        let rules = [old.0, new.0];
        let mut left = DECISIONS;
        let workstations: BTreeSet<&String> =
            rules.iter().flat_map(|rules| rules.workstations.keys()).collect();
        let (mandants, user_ids) = (mandants(rules), user_ids(rules));
        let entries: [Entries<'_>; 2] = rules.map(|rules| {
            rules.accounts.iter().map(|(address, entry)| (Account::new(address), entry)).collect()
        });
        let accounts: BTreeSet<&Account> = entries.iter().flat_map(BTreeMap::keys).collect();
        let total = accounts.len() + 1;
        let accounts = accounts.into_iter().map(Some).chain([None]);
        for (at, account) in accounts.enumerate() {
            if let Some(account) = account {
                changes.compare_lists(account, &entries);
            }
            let questions = (workstations.len() + 1) * mandants.len() * user_ids.len() * 8;
            let Some(rest) = left.checked_sub(questions) else {
                changes.skipped = total - at;
                break;
            };
            left = rest;
            for workstation in workstations.iter().copied().map(Some).chain([None]) {
                let name = workstation.map(|name| name.as_str());
                let logins = logins(rules, name, account, &mandants, &user_ids);
                let [before, after] =
                    [old, new].map(|(rules, policy)| may(policy, &station(rules, name), &logins));
                changes.note(account, name, &before, &after);
            }
        }
        changes
    }

    /// Whether nobody notices.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others.is_empty() && self.skipped == 0
    }

    /// One line for each; `account` says how an address is shown.
    pub fn lines(&self, account: impl Fn(&str) -> String) -> Vec<String> {
        let others = self.others.iter().map(|other| match other {
            Other::Mode(Mode::Observe) => {
                "policy.mode is \"observe\" now: refusals are written down and not carried out"
                    .into()
            }
            Other::Mode(Mode::Enforce) => {
                "policy.mode is \"enforce\" now: refusals are carried out".into()
            }
            Other::Account(address, what) => format!("{}: {what}", account(address)),
        });
        let groups = self.groups.iter().map(|(group, names)| group.line(names, &account));
        let skipped = (self.skipped > 0)
            .then(|| format!("{} more accounts were not compared: too many", self.skipped));
        others.chain(groups).chain(skipped).collect()
    }

    /// What does not depend on the workstation.
    fn compare_lists(&mut self, account: &Account, entries: &[Entries<'_>; 2]) {
        let [Some(old), Some(new)] = entries.each_ref().map(|all| all.get(account)) else { return };
        let lists = |rules: &AccountRules| {
            (rules.services.clone(), rules.recipients.clone(), rules.senders.clone())
        };
        let address = account.as_str().to_owned();
        if lists(old) != lists(new) {
            let what = "other senders, recipients or services are allowed";
            self.others.push(Other::Account(address.clone(), what));
        }
        if old.client_module != new.client_module {
            let what = "another client module serves it";
            self.others.push(Other::Account(address, what));
        }
    }

    fn note(
        &mut self,
        account: Option<&Account>,
        workstation: Option<&str>,
        before: &BTreeSet<&'static str>,
        after: &BTreeSet<&'static str>,
    ) {
        for (gains, one, other) in [(false, before, after), (true, after, before)] {
            let actions: Vec<_> = one.difference(other).copied().collect();
            if actions.is_empty() {
                continue;
            }
            let account = account.map_or(UNKNOWN_ACCOUNT, Account::as_str).to_owned();
            let all = other.is_empty();
            // Who keeps nothing need not be told what it was.
            let actions = if all && !gains { Vec::new() } else { actions };
            let group = Group { account, gains, all, actions };
            let name = workstation.unwrap_or(UNKNOWN_WORKSTATION).to_owned();
            self.groups.entry(group).or_default().push(name);
        }
    }
}

impl Group {
    fn line(&self, names: &[String], account: impl Fn(&str) -> String) -> String {
        let account = match self.account.as_str() {
            UNKNOWN_ACCOUNT => UNKNOWN_ACCOUNT.to_owned(),
            address => account(address),
        };
        let (count, one) = (names.len(), names.len() == 1);
        let workstations = if one { "workstation" } else { "workstations" };
        let actions = match &self.actions[..] {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        };
        let mut line = match (self.gains, self.all) {
            (false, true) if one => format!("1 workstation loses access to {account}"),
            (false, true) => format!("{count} workstations lose access to {account}"),
            (false, false) => {
                format!("{count} {workstations} may no longer {actions} for {account}")
            }
            (true, _) => format!("{count} {workstations} may now {actions} for {account}"),
        };
        let _ = write!(line, ": {}", names[..count.min(NAMED)].join(", "));
        if let Some(more @ 1..) = count.checked_sub(NAMED) {
            let _ = write!(line, " and {more} more");
        }
        line
    }
}

/// What gets through with any of these logins.
fn may(policy: &Policy, station: &Station, logins: &[Login]) -> BTreeSet<&'static str> {
    let mut actions = BTreeSet::new();
    for login in logins {
        let ask = |protocol| policy.decide(&Request { station, login, protocol });
        if !actions.contains("send") && ask(Protocol::Smtp).is_ok() {
            actions.insert(Action::Send.as_str());
        }
        if !actions.contains("delete")
            && let Ok(permit) = ask(Protocol::Pop3)
        {
            actions.insert(Action::Receive.as_str());
            if !matches!(permit.judge_delete(), Judgement::Refuse(_)) {
                actions.insert(Action::Delete.as_str());
            }
        }
        if actions.len() == 3 {
            break;
        }
    }
    actions
}

/// Somebody at this workstation, with its own certificate in hand.
fn station(rules: &Rules, name: Option<&str>) -> Station {
    let entry = name.and_then(|name| rules.workstations.get_key_value(name));
    Station {
        name: entry.map(|(name, _)| Arc::from(name.as_str())),
        certificate_names: entry
            .map(|(_, entry)| entry.certificates.clone())
            .unwrap_or_default()
            .into(),
    }
}

fn logins(
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
                let login = format!("{address}#mail:995#{mandant}#cs#{workplace}#{user_id}");
                logins.push(Login::parse(login.as_bytes()));
            }
        }
    }
    logins
}

/// Mandants that any rule names, and one that none does.
fn mandants(rules: [&Rules; 2]) -> BTreeSet<&str> {
    fn subjects(rules: &AccountRules) -> impl Iterator<Item = &Vec<Subject>> {
        let lists = [&rules.access, &rules.receive, &rules.delete, &rules.send];
        lists.into_iter().flat_map(|lists| [&lists.allow, &lists.deny])
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

/// UserIds that any rule names, and none at all.
fn user_ids(rules: [&Rules; 2]) -> BTreeSet<&str> {
    let users = rules.into_iter().flat_map(|rules| rules.users.values());
    let mut ids: BTreeSet<&str> =
        users.flat_map(|user| &user.user_ids).map(String::as_str).collect();
    while ids.len() > CLAIMS {
        ids.pop_last();
    }
    ids.insert("");
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{AccessRules, Otherwise, User, Workstation};

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
        Changes::between((old, &a), (new, &b)).lines(str::to_owned)
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
                // Whoever claims the mandant gets in, from PC1 as well.
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
        let said = lines(&listed("prx@praxis.kim.telematik#x:995#M#c#w"), &listed("other@x#y"));
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

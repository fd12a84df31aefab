//! What another set of rules changes, and for which workstation. Both sets are asked the same
//! questions, and the answers are compared.
//!
//! The questions are the logins that each workstation may plausibly use with each account. A
//! workstation has access if one of them gets through.

mod questions;

use std::collections::{BTreeMap, BTreeSet};

use super::{AccountRules, Mode, Policy, Rules};
use crate::kim::Account;
use crate::words::Action;
use questions::{logins, mandants, may, station, user_ids};

/// Decisions that one comparison may ask for. They take about a second.
const DECISIONS: usize = 300_000;

/// The difference between two sets of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new mode, if it is another one.
    pub mode: Option<Mode>,
    /// What is different about an account at every workstation.
    pub accounts: Vec<AccountChange>,
    /// What is different for some workstations, one entry for each account and effect.
    pub access: Vec<AccessChange>,
    /// How many accounts were not compared, because there are too many.
    pub skipped_accounts: usize,
}

/// What is different about an account at every workstation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The account.
    pub account: Account,
    /// What is different.
    pub what: AccountAspect,
}

/// What can be different about an account at every workstation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountAspect {
    /// The senders, recipients or services that are allowed.
    Lists,
    /// The client module that serves it.
    ClientModule,
}

/// Some workstations that may do more or less with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// The account. `None`: accounts without an entry.
    pub account: Option<Account>,
    /// What they gain or lose.
    pub effect: Effect,
    /// The names of the workstations. `None`: workstations without an entry.
    pub workstations: Vec<Option<String>>,
}

/// What a workstation gains or loses with an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It may do nothing now.
    LosesAccess,
    /// It may not do this any more, but something else.
    Loses(Vec<Action>),
    /// It may do this now.
    Gains(Vec<Action>),
}

/// A configuration's accounts.
type Entries<'a> = BTreeMap<Account, &'a AccountRules>;

/// Workstations by account and effect, so that equal ones are one entry.
type Access = BTreeMap<(Option<Account>, Effect), Vec<Option<String>>>;

impl Changes {
    /// What the second rules change. Each policy is the one that its rules compile to.
    pub fn between(old: (&Rules, &Policy), new: (&Rules, &Policy)) -> Self {
        let mut changes = Self::default();
        if old.0 == new.0 {
            return changes;
        }
        let mode = new.0.mode;
        changes.mode = (old.0.mode != mode).then_some(mode);
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
        let mut access = Access::new();
        for (at, account) in accounts.enumerate() {
            if let Some(account) = account {
                changes.accounts.extend(compare_lists(account, &entries));
            }
            let questions = (workstations.len() + 1) * mandants.len() * user_ids.len() * 8;
            let Some(rest) = left.checked_sub(questions) else {
                changes.skipped_accounts = total - at;
                break;
            };
            left = rest;
            for workstation in workstations.iter().copied().map(Some).chain([None]) {
                let name = workstation.map(|name| name.as_str());
                let logins = logins(rules, name, account, &mandants, &user_ids);
                let [before, after] =
                    [old, new].map(|(rules, policy)| may(policy, &station(rules, name), &logins));
                for effect in effects(&before, &after) {
                    let group = access.entry((account.cloned(), effect)).or_default();
                    group.push(workstation.cloned());
                }
            }
        }
        let access = access.into_iter().map(|((account, effect), workstations)| AccessChange {
            account,
            effect,
            workstations,
        });
        changes.access = access.collect();
        changes
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What does not depend on the workstation.
fn compare_lists(account: &Account, entries: &[Entries<'_>; 2]) -> Vec<AccountChange> {
    let [Some(old), Some(new)] = entries.each_ref().map(|all| all.get(account)) else {
        return Vec::new();
    };
    let lists = |rules: &AccountRules| {
        (rules.services.clone(), rules.recipients.clone(), rules.senders.clone(), rules.from)
    };
    let lists_differ = (lists(old) != lists(new)).then_some(AccountAspect::Lists);
    let module_differs =
        (old.client_module != new.client_module).then_some(AccountAspect::ClientModule);
    let different = lists_differ.into_iter().chain(module_differs);
    different.map(|what| AccountChange { account: account.clone(), what }).collect()
}

/// What a workstation loses, and what it gains.
fn effects(before: &BTreeSet<Action>, after: &BTreeSet<Action>) -> Vec<Effect> {
    let lost: Vec<Action> = before.difference(after).copied().collect();
    let gained: Vec<Action> = after.difference(before).copied().collect();
    let loses = (!lost.is_empty()).then_some(match after.is_empty() {
        true => Effect::LosesAccess,
        false => Effect::Loses(lost),
    });
    let gains = (!gained.is_empty()).then_some(Effect::Gains(gained));
    loses.into_iter().chain(gains).collect()
}

//! The configuration with rules that admit what was seen. What an operator has written stays: lists
//! that are there grow by what they would have refused, lists that are not there are written with
//! what was seen, and a `deny` or `retired` is never taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value};
use wildmatch::WildMatch;

use super::seen::{Seen, SeenLogin};
use crate::kim::Account;
use crate::policy::{
    AccessRules, AccountRules, Otherwise, Policy, Request, Rules, Station, Subject, Wish,
};
use crate::words::Protocol;

/// The present rules, and the document that they stand in.
pub(super) struct Proposal<'a> {
    rules: &'a Rules,
    policy: &'a Policy,
    document: DocumentMut,
    /// Workstations that are to be written, by address.
    new: BTreeMap<IpAddr, String>,
}

/// What was seen of an account: who logged in, and as whom.
#[derive(Default)]
struct Use<'a> {
    fetched: BTreeMap<String, &'a SeenLogin>,
    sent: BTreeMap<String, &'a SeenLogin>,
    deleted: BTreeMap<String, &'a SeenLogin>,
}

/// The WorkplaceIds that a workstation put into its logins.
#[derive(Default)]
struct Workplaces {
    names: BTreeSet<String>,
    /// A login had none, and a list would refuse it.
    lacking: bool,
}

impl<'a> Proposal<'a> {
    pub(super) fn new(rules: &'a Rules, policy: &'a Policy, document: DocumentMut) -> Self {
        Self { rules, policy, document, new: BTreeMap::new() }
    }

    /// The document that admits it.
    pub(super) fn admit(mut self, seen: &Seen) -> String {
        let mut workplaces: BTreeMap<String, Workplaces> = BTreeMap::new();
        let mut accounts: BTreeMap<&str, Use<'_>> = BTreeMap::new();
        for login in &seen.logins {
            let name = self.name(login);
            let used = workplaces.entry(name.clone()).or_default();
            match login.workplace_id.as_str() {
                "" => used.lacking = true,
                id => drop(used.names.insert(id.to_owned())),
            }
            let account = accounts.entry(&login.account).or_default();
            match login.protocol {
                Protocol::Pop3 => account.fetched.insert(name, login),
                Protocol::Smtp => account.sent.insert(name, login),
            };
        }
        for deletion in &seen.deletions {
            let name = self.name(deletion);
            accounts.entry(&deletion.account).or_default().deleted.insert(name, deletion);
        }
        for (name, workplaces) in &workplaces {
            self.workstation(name, workplaces);
        }
        for (account, used) in &accounts {
            self.account(account, used, seen);
        }
        self.close("unknown_workstations", self.rules.unknown_workstations);
        self.close("unknown_accounts", self.rules.unknown_accounts);
        self.document.to_string()
    }

    /// The workstation's name in the present rules, else a new one.
    fn name(&mut self, login: &SeenLogin) -> String {
        let known = |name: &&String| self.rules.workstations.contains_key(*name);
        if let Some(name) = login.workstation.as_ref().filter(known) {
            return name.clone();
        }
        if let Some(name) = self.policy.station(login.peer, &[]).name() {
            return name.to_owned();
        }
        let taken = |name: &String| self.rules.workstations.contains_key(name);
        let name = self.new.entry(login.peer).or_insert_with(|| {
            let mut name = format!("pc-{}", login.peer).replace(['.', ':'], "-");
            while taken(&name) {
                name.push('x');
            }
            name
        });
        name.clone()
    }

    fn workstation(&mut self, name: &str, workplaces: &Workplaces) {
        let written = self.rules.workstations.get(name);
        let present = written.and_then(|rules| rules.workplaces.clone()).unwrap_or_default();
        let address = self.new.iter().find(|(_, new)| *new == name).map(|(peer, _)| *peer);
        let Some(table) = table(&mut self.document, &["workstations", name]) else { return };
        if let Some(address) = address {
            extend(table, "addresses", [address.to_string()]);
        }
        if !workplaces.lacking || !present.is_empty() {
            let missing = workplaces.names.iter().filter(|name| !present.contains(name));
            extend(table, "workplaces", missing.cloned());
        }
    }

    fn account(&mut self, address: &str, used: &Use<'_>, seen: &Seen) {
        let none = BTreeSet::new();
        let services = seen.services.get(address).unwrap_or(&none);
        let account = Account::new(address);
        let written = self.rules.accounts.iter().find(|(written, _)| account.is(written));
        let rules = written.map(|(_, rules)| rules.clone()).unwrap_or_default();
        let key = written.map_or(address, |(written, _)| written).to_owned();
        let everybody: BTreeMap<String, &SeenLogin> =
            used.fetched.iter().chain(&used.sent).map(|(k, v)| (k.clone(), *v)).collect();
        let newcomers = self.newcomers(&rules.access, &everybody);
        self.access(&[&key], &rules.access, &everybody, None);
        for (action, access, used, among) in [
            ("receive", &rules.receive, &used.fetched, &everybody),
            ("delete", &rules.delete, &used.deleted, &used.fetched),
            ("send", &rules.send, &used.sent, &everybody),
        ] {
            if rules.access.allow.is_empty() || !access.allow.is_empty() {
                self.access(&[&key, action], access, used, Some(among));
            } else {
                // Listed subjects keep what they may do; a new one may do what it did.
                let idle = |name: &&String| among.contains_key(*name) && !used.contains_key(*name);
                let idle = newcomers.iter().filter(idle).cloned().map(workstation);
                self.deny(&[&key, action], idle.collect());
            }
        }
        self.only(&key, &rules, address, seen);
        let listed = rules.services.unwrap_or_default();
        let matches = |service: &str| {
            listed.iter().any(|pattern| WildMatch::new_case_insensitive(pattern).matches(service))
        };
        let missing: Vec<String> =
            services.iter().filter(|service| !matches(service)).cloned().collect();
        if !missing.is_empty()
            && let Some(table) = table(&mut self.document, &["accounts", &key, "send"])
        {
            extend(table, "services", missing);
        }
    }

    /// Extends the lists of who alone may send a service by those who sent it.
    fn only(&mut self, key: &str, rules: &AccountRules, address: &str, seen: &Seen) {
        for (pattern, listed) in &rules.only {
            let wild = WildMatch::new_case_insensitive(pattern);
            let mut missing = BTreeSet::new();
            for (login, services) in &seen.sent {
                let reserved = services.iter().any(|service| wild.matches(service));
                if login.account == address && reserved && !self.is_admitted(login, listed) {
                    missing.insert(workstation(self.name(login)));
                }
            }
            if !missing.is_empty()
                && let Some(table) = table(&mut self.document, &["accounts", key, "send", "only"])
            {
                extend(table, pattern, missing);
            }
        }
    }

    /// Writes or extends a list of who may; `among` are those whom the account itself admits.
    fn access(
        &mut self,
        keys: &[&str],
        rules: &AccessRules,
        used: &BTreeMap<String, &SeenLogin>,
        among: Option<&BTreeMap<String, &SeenLogin>>,
    ) {
        let path = [&["accounts"], keys].concat();
        if rules.allow.is_empty() && among.is_some_and(|among| among.keys().eq(used.keys())) {
            return; // the account's own list says as much
        }
        if used.is_empty() {
            // It was never done. An empty list would admit everybody.
            if rules.allow.is_empty() && rules.deny.is_empty() {
                self.deny(keys, vec![Subject::Any.to_string()]);
            }
            return;
        }
        let missing = self.newcomers(rules, used).into_iter().map(workstation);
        let missing: Vec<String> = missing.collect();
        if let Some(table) = table(&mut self.document, &path) {
            extend(table, "allow", missing);
        }
    }

    /// Those whom the list does not admit.
    fn newcomers(&self, rules: &AccessRules, used: &BTreeMap<String, &SeenLogin>) -> Vec<String> {
        let is_new = |(_, login): &(&String, &&SeenLogin)| !self.is_admitted(login, &rules.allow);
        used.iter().filter(is_new).map(|(name, _)| name.clone()).collect()
    }

    fn deny(&mut self, keys: &[&str], subjects: Vec<String>) {
        if !subjects.is_empty()
            && let Some(table) = table(&mut self.document, &[&["accounts"], keys].concat())
        {
            extend(table, "deny", subjects);
        }
    }

    fn is_admitted(&self, login: &SeenLogin, allow: &[Subject]) -> bool {
        let parsed = login.as_kim(self.rules);
        let station = login.station(self.rules, self.policy);
        let request = Request { station: &station, login: &parsed, protocol: login.protocol };
        let subjects = self.policy.explain(&request, &Wish::default()).subjects;
        allow.iter().any(|subject| *subject == Subject::Any || subjects.contains(subject))
    }

    /// What was seen is known from now on, so the unknown need not pass any more.
    fn close(&mut self, key: &str, present: Otherwise) {
        if present == Otherwise::Allow
            && let Some(table) = table(&mut self.document, &["policy"])
            && let Some(value) = table.get_mut(key).and_then(Item::as_value_mut)
        {
            let decor = value.decor().clone();
            *value = Value::from("deny");
            *value.decor_mut() = decor;
        }
    }
}

impl SeenLogin {
    /// The login as far as the audit knows it. A user that was found by a UserId has that one.
    pub(super) fn as_kim(&self, rules: &Rules) -> crate::kim::Login {
        let user_id = self.users.iter().find_map(|name| rules.users.get(name)?.user_ids.first());
        let user_id = user_id.map(String::as_str).unwrap_or_default();
        let fields = [&self.mandant_id, &self.clientsystem_id, &self.workplace_id];
        let text = match fields.iter().all(|field| field.is_empty()) && user_id.is_empty() {
            true => self.account.clone(),
            false => {
                let [mandant, clientsystem, workplace] = fields;
                format!("{}#*#{mandant}#{clientsystem}#{workplace}#{user_id}", self.account)
            }
        };
        crate::kim::Login::parse(text.as_bytes())
    }

    /// The workstation as it was found at that time, by its certificate where its address is not it.
    pub(super) fn station(&self, rules: &Rules, policy: &Policy) -> Station {
        let by_address = policy.station(self.peer, &[]);
        let named = self.workstation.as_ref().filter(|name| by_address.name() != Some(name));
        match named.and_then(|name| rules.workstations.get(name)) {
            Some(workstation) => policy.station(self.peer, &workstation.certificates),
            None => by_address,
        }
    }
}

fn workstation(name: String) -> String {
    Subject::Workstation(name).to_string()
}

/// The table at this path; what is missing of it is made.
fn table<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, key) in path.iter().enumerate() {
        if !table.contains_key(key) {
            let mut new = Table::new();
            new.set_implicit(depth + 1 < path.len());
            new.decor_mut().set_prefix("\n");
            table.insert(key, Item::Table(new));
        }
        table = table.get_mut(key)?.as_table_like_mut()?;
    }
    Some(table)
}

/// Adds entries to a list, which is made where there is none, in the way in which it is written.
fn extend(table: &mut dyn TableLike, key: &str, entries: impl IntoIterator<Item = String>) {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        return;
    }
    if !table.contains_key(key) {
        table.insert(key, toml_edit::value(Array::new()));
    }
    let Some(array) = table.get_mut(key).and_then(Item::as_array_mut) else { return };
    for entry in entries {
        let like = array.iter().last().map(|value| value.decor().clone());
        array.push(entry);
        let last = array.len() - 1;
        if let (Some(decor), Some(value)) = (like, array.get_mut(last))
            && last > 0
        {
            let first = decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
            value.decor_mut().set_prefix(if first.is_empty() { " " } else { first });
        }
    }
}

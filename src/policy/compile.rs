//! Turns rules as written into tables that answer fast, or into a list of every problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{Access, AccountTable, Only};
use super::decide::{Policy, WorkstationTable};
use super::error::Problems;
use super::login_servers::LoginServers;
use super::membership::{Id, Membership, SubjectList};
use super::networks::canonical;
use super::pattern::Patterns;
use super::rules::{AccessRules, AccountRules, Rules, User, Workstation};
use super::{Problem, RuleError, Subject};
use crate::kim::Account;

/// How the null sender is written in `senders`.
const NULL_SENDER: &str = "<>";

impl Policy {
    /// Turns the rules into tables.
    ///
    /// # Errors
    ///
    /// Every problem of the rules, each with its key.
    pub fn compile(rules: Rules) -> Result<Policy, Vec<RuleError>> {
        let mut compiler = Compiler { problems: Problems::default(), rules: &rules };
        let login_servers =
            compiler.entries(&["policy", "login_servers"], &rules.login_servers, None);
        let mut membership = compiler.membership();
        let mut policy = Policy {
            mode: rules.mode,
            unknown_workstations: rules.unknown_workstations,
            unknown_accounts: rules.unknown_accounts,
            logins_without_context: rules.logins_without_context,
            login_servers: LoginServers::new(login_servers),
            unknown_account: Arc::new(AccountTable::of_unknown(compiler.default_client_module())),
            ..Policy::default()
        };
        for (name, workstation) in &rules.workstations {
            compiler.workstation(name, workstation, &mut membership, &mut policy);
        }
        for (name, user) in &rules.users {
            compiler.user(name, user, &mut membership, &mut policy);
        }
        let mut spellings = BTreeMap::new();
        for (written, account) in &rules.accounts {
            let key = compiler.account_key(written, &mut spellings);
            let default = Arc::clone(&policy.unknown_account.client_module);
            let table = compiler.account(written, account, default, &mut membership);
            policy.accounts.insert(key.as_str().into(), Arc::new(table));
        }
        policy.membership = membership.finish();
        compiler.problems.none_or(policy)
    }
}

struct Compiler<'a> {
    problems: Problems,
    rules: &'a Rules,
}

impl<'a> Compiler<'a> {
    fn membership(&mut self) -> Membership {
        let rules = self.rules;
        let workstations = rules.workstations.keys().cloned().map(Subject::Workstation);
        let users = rules.users.keys().cloned().map(Subject::User);
        let groups = rules.groups.iter().map(|(k, v)| (Subject::Group(k.clone()), &v[..]));
        let departments =
            rules.departments.iter().map(|(k, v)| (Subject::Department(k.clone()), &v[..]));
        let (membership, unknown, cycles) =
            Membership::new(workstations.chain(users), groups.chain(departments));
        for (container, member) in unknown {
            self.unknown_subject(&members_key(&container), &member);
        }
        for steps in cycles {
            let first = steps.first().cloned().unwrap_or(Subject::Any);
            self.problems.add(&members_key(&first), Problem::Cycle { steps });
        }
        membership
    }

    /// The only client module, else `main`, else the first.
    fn default_client_module(&mut self) -> Arc<str> {
        let names = &self.rules.client_modules;
        let main = names.iter().find(|name| *name == "main");
        match main.or(names.first()) {
            Some(name) => name.as_str().into(),
            None => {
                self.problems.add(&["client_modules"], Problem::NoClientModule);
                "".into()
            }
        }
    }

    fn workstation(
        &mut self,
        name: &str,
        workstation: &Workstation,
        membership: &mut Membership,
        policy: &mut Policy,
    ) {
        let key = |list| ["workstations", name, list];
        let id = membership.id(&Subject::Workstation(name.to_owned())).unwrap_or_default();
        let name: Arc<str> = name.into();
        for network in &workstation.addresses {
            let network = canonical(*network);
            if let Err(other) = policy.networks.add(network, &name) {
                let other = other.as_ref().to_owned();
                self.problems.add(&key("addresses"), Problem::SameNetwork { network, other });
            }
        }
        for certificate in self.entries(&key("certificates"), &workstation.certificates, None) {
            let holder = policy.stations_by_certificate.entry(certificate.to_ascii_lowercase());
            let holder = holder.or_insert_with(|| Arc::clone(&name));
            if *holder != name {
                let (name, other) = (certificate.clone(), holder.as_ref().to_owned());
                self.problems.add(&key("certificates"), Problem::SameCertificate { name, other });
            }
        }
        let meant = Some("to admit logins without a WorkplaceId, leave the list out");
        let workplaces = self.narrow(&key("workplaces"), &workstation.workplaces, meant);
        let logins = self.narrow(&key("logins"), &workstation.logins, None);
        let table = WorkstationTable {
            id,
            workplaces: workplaces.map(|list| list.iter().map(|text| text[..].into()).collect()),
            logins: logins.map(|list| list.iter().map(|text| text.as_bytes().into()).collect()),
            users: Vec::new(),
        };
        policy.workstations.insert(name, table);
    }

    fn user(&mut self, name: &str, user: &User, membership: &mut Membership, policy: &mut Policy) {
        let key = |list| ["users", name, list];
        let id = membership.id(&Subject::User(name.to_owned())).unwrap_or_default();
        policy.user_names.insert(id, name.into());
        for certificate in self.entries(&key("certificates"), &user.certificates, None) {
            policy
                .users_by_certificate
                .entry(certificate.to_ascii_lowercase())
                .or_default()
                .push(id);
        }
        for workstation in &user.workstations {
            match policy.workstations.get_mut(workstation.as_str()) {
                Some(table) => table.users.push(id),
                None => {
                    let subject = Subject::Workstation(workstation.clone());
                    self.unknown_subject(&key("workstations"), &subject);
                }
            }
        }
        for user_id in self.entries(&key("user_ids"), &user.user_ids, None) {
            policy.users_by_user_id.entry(user_id.clone()).or_default().push(id);
        }
    }

    /// The account's name; `spellings` has the earlier accounts as they were written.
    fn account_key(
        &mut self,
        written: &'a str,
        spellings: &mut BTreeMap<Account, &'a str>,
    ) -> Account {
        let unclean = written.trim() != written || written.contains(|c: char| c.is_control());
        if written.is_empty() || written.contains('#') || unclean {
            self.problems.add(&["accounts", written], Problem::NotAnAccount);
        }
        let account = Account::new(written);
        if let Some(other) = spellings.insert(account.clone(), written) {
            let other = other.to_owned();
            self.problems.add(&["accounts", written], Problem::SameAccount { other });
        }
        account
    }

    fn account(
        &mut self,
        written: &str,
        rules: &AccountRules,
        default_client_module: Arc<str>,
        membership: &mut Membership,
    ) -> AccountTable {
        let client_module = match &rules.client_module {
            Some(name) if self.rules.client_modules.contains(name) => name.as_str().into(),
            Some(name) => {
                let nearest = nearest(name, self.rules.client_modules.iter());
                let problem = Problem::UnknownClientModule { name: name.clone(), nearest };
                self.problems.add(&["accounts", written, "client_module"], problem);
                default_client_module
            }
            None => default_client_module,
        };
        let key = |list| ["accounts", written, "send", list];
        let meant = Some("the null sender is written \"<>\"");
        let senders = self.entries(&key("senders"), &rules.senders, meant);
        let services = self.narrow(&key("services"), &rules.services, None);
        let recipients = self.narrow(&key("recipients"), &rules.recipients, None);
        let only = rules.only.iter().map(|(pattern, subjects)| {
            let key = ["accounts", written, "send", "only", pattern];
            if pattern.is_empty() {
                self.problems.add(&key, Problem::EmptyEntry { meant: None });
            }
            Only {
                written: pattern.clone(),
                pattern: Patterns::new(std::slice::from_ref(pattern)),
                may: self.subjects(&key, subjects, membership),
            }
        });
        let only: Vec<Only> = only.collect();
        let mut access = |action: &[&str], rules: &AccessRules| {
            let key = |list| [&["accounts", written], action, &[list]].concat();
            Access {
                allow: self.subjects(&key("allow"), &rules.allow, membership),
                deny: self.subjects(&key("deny"), &rules.deny, membership),
            }
        };
        AccountTable {
            written: Some(written.to_owned()),
            client_module,
            retired: rules.retired,
            access: access(&[], &rules.access),
            receive: access(&["receive"], &rules.receive),
            delete: access(&["delete"], &rules.delete),
            send: access(&["send"], &rules.send),
            services: services.map(Patterns::new),
            only,
            recipients: recipients.map(Patterns::new),
            null_sender: senders.iter().any(|sender| sender == NULL_SENDER),
            senders: Patterns::new(senders),
            from: rules.from,
        }
    }

    fn subjects(
        &mut self,
        key: &[&str],
        list: &[Subject],
        membership: &mut Membership,
    ) -> SubjectList {
        let mut ids: Vec<Id> = Vec::with_capacity(list.len());
        for subject in list {
            match membership.id(subject) {
                Some(id) => ids.push(id),
                None => self.unknown_subject(key, subject),
            }
        }
        Membership::list(ids)
    }

    /// A list that restricts something; `None` where it is empty or absent and restricts nothing.
    fn narrow<'b>(
        &mut self,
        key: &[&str],
        list: &'b Option<Vec<String>>,
        meant: Option<&'static str>,
    ) -> Option<&'b [String]> {
        let list = list.as_ref().filter(|list| !list.is_empty())?;
        Some(self.entries(key, list, meant))
    }

    /// The list; an empty entry in it is a problem.
    fn entries<'b>(
        &mut self,
        key: &[&str],
        list: &'b [String],
        meant: Option<&'static str>,
    ) -> &'b [String] {
        if list.iter().any(String::is_empty) {
            self.problems.add(key, Problem::EmptyEntry { meant });
        }
        list
    }

    fn unknown_subject(&mut self, key: &[&str], subject: &Subject) {
        let rules = self.rules;
        let nearest = match subject {
            _ if self.problems.are_many() => None,
            Subject::Any | Subject::Mandant(_) => None,
            Subject::Workstation(name) => nearest(name, rules.workstations.keys()),
            Subject::User(name) => nearest(name, rules.users.keys()),
            Subject::Group(name) => nearest(name, rules.groups.keys()),
            Subject::Department(name) => nearest(name, rules.departments.keys()),
        };
        let problem = Problem::UnknownSubject { subject: subject.clone(), nearest };
        self.problems.add(key, problem);
    }
}

/// The key of the members of a group or department.
fn members_key(container: &Subject) -> Vec<&str> {
    match container {
        Subject::Group(name) => vec!["groups", name, "members"],
        Subject::Department(name) => vec!["departments", name, "members"],
        Subject::Any | Subject::Workstation(_) | Subject::User(_) | Subject::Mandant(_) => vec![],
    }
}

/// The most similar name, if one is similar enough.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let name = name.to_lowercase();
    let likeness = |other: &String| strsim::jaro_winkler(&name, &other.to_lowercase());
    let (likeness, nearest) = names
        .map(|other| (likeness(other), other))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness > 0.8).then(|| nearest.clone())
}

//! What the tables know about a request, before any question is asked.

use std::sync::Arc;

use super::Rule;
use super::account::AccountTable;
use super::decide::{Policy, Request, WorkstationTable};
use super::membership::{EVERYBODY, Id};
use crate::kim::Login;
use crate::words::{Action, Protocol};

/// What the tables know about a request.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) login: &'a Login,
    /// Receive or send.
    pub(super) action: Action,
    pub(super) workstation: Option<(&'a Arc<str>, &'a WorkstationTable)>,
    /// The account's rules; those for unknown accounts where the login is malformed.
    pub(super) account: &'a Arc<AccountTable>,
    /// Sorted.
    pub(super) users: Vec<Id>,
    /// `*`, workstation, mandant and users, and all groups that they are part of; sorted.
    pub(super) who: Vec<Id>,
    /// Every mandant, where the login names none; sorted.
    pub(super) maybe: &'a [Id],
}

impl Facts<'_> {
    /// The name as these rules have it; the station may have been found by older rules.
    pub(super) fn workstation_name(&self) -> Option<Arc<str>> {
        self.workstation.map(|(name, _)| Arc::clone(name))
    }

    /// The narrowest `allow` list there is, else the account itself.
    pub(super) fn admitting_rule(&self) -> Rule {
        let narrowest = [self.action, Action::Login]
            .into_iter()
            .find(|action| !self.account.access(*action).allow.is_empty());
        match narrowest {
            Some(action) => self.account.access_rule(action, "allow"),
            None => self.account.rule(&[]),
        }
    }
}

impl Policy {
    /// Looks up everything that the questions need.
    pub(super) fn facts<'a>(&'a self, request: &Request<'a>) -> Facts<'a> {
        let login = request.login;
        let entry = self.accounts.get(login.account().as_str());
        let entry = entry.filter(|_| login.is_well_formed());
        let workstation = request.station.name().and_then(|n| self.workstations.get_key_value(n));
        let users = self.users(request, workstation.map(|(_, table)| table));
        let mandant = self.membership.mandant(login.mandant_id());
        let who = [EVERYBODY].into_iter().chain(workstation.map(|(_, table)| table.id));
        let who = self.membership.circle(who.chain(mandant).chain(users.iter().copied()));
        let lacks_mandant = login.mandant_id().is_empty();
        Facts {
            login,
            action: match request.protocol {
                Protocol::Pop3 => Action::Receive,
                Protocol::Smtp => Action::Send,
            },
            workstation,
            account: entry.unwrap_or(&self.unknown_account),
            users,
            who,
            maybe: if lacks_mandant { self.membership.any_mandant() } else { &[] },
        }
    }

    /// Every user that any rule matches, sorted.
    fn users(&self, request: &Request<'_>, workstation: Option<&WorkstationTable>) -> Vec<Id> {
        let mut users: Vec<Id> = workstation.map(|table| table.users.clone()).unwrap_or_default();
        for name in request.station.certificate_names() {
            users.extend(
                self.users_by_certificate.get(&name.to_ascii_lowercase()).into_iter().flatten(),
            );
        }
        for user_id in request.login.user_ids(request.protocol) {
            users.extend(self.users_by_user_id.get(user_id).into_iter().flatten());
        }
        users.sort_unstable();
        users.dedup();
        users
    }

    pub(super) fn names(&self, users: &[Id]) -> Vec<Arc<str>> {
        users.iter().filter_map(|id| self.user_names.get(id).cloned()).collect()
    }
}

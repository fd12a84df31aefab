//! One account's rules, compiled for fast answers.

use std::sync::Arc;

use super::membership::{Id, SubjectList};
use super::pattern::Patterns;
use super::rules::{Authors, WITHOUT_SERVICE};
use super::{Outcome, Rule};
use crate::kim::Account;
use crate::words::{Action, Reason};

/// The rules of one account, or those for all accounts without an entry.
#[derive(Debug, Default)]
pub(super) struct AccountTable {
    /// The key as it was written; `None` for the accounts without an entry.
    pub(super) written: Option<String>,
    pub(super) client_module: Arc<str>,
    pub(super) retired: bool,
    pub(super) access: Access,
    pub(super) receive: Access,
    pub(super) delete: Access,
    pub(super) send: Access,
    pub(super) services: Option<Patterns>,
    pub(super) recipients: Option<Patterns>,
    pub(super) senders: Patterns,
    pub(super) null_sender: bool,
    pub(super) from: Authors,
}

/// Who may and who may not.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) allow: SubjectList,
    pub(super) deny: SubjectList,
}

impl AccountTable {
    /// The rules for accounts without an entry: every known workstation may do everything.
    pub(super) fn of_unknown(client_module: Arc<str>) -> Self {
        Self { client_module, ..Self::default() }
    }

    /// The rule under these keys of the account's section.
    pub(super) fn rule(&self, keys: &[&str]) -> Rule {
        match &self.written {
            Some(written) => Rule::under(&[&["accounts", written], keys].concat()),
            None => Rule::under(&["policy", "unknown_accounts"]),
        }
    }

    /// The lists for one action; for logging in they are the account's own.
    pub(super) fn access(&self, action: Action) -> &Access {
        match action {
            Action::Login => &self.access,
            Action::Send => &self.send,
            Action::Receive => &self.receive,
            Action::Delete => &self.delete,
        }
    }

    /// The rule for one list of an action.
    pub(super) fn access_rule(&self, action: Action, list: &str) -> Rule {
        match action {
            Action::Login => self.rule(&[list]),
            Action::Send | Action::Receive | Action::Delete => self.rule(&[action.as_str(), list]),
        }
    }

    pub(super) fn sender(&self, account: &Account, address: &str) -> Outcome {
        let pass = match address {
            "" => self.null_sender,
            _ => account.is(address) || self.senders.matches(address),
        };
        if pass { Outcome::Pass } else { Outcome::Refuse(Reason::SenderNotAllowed) }
    }

    /// Judges From or Sender; `None`: it does not name exactly one address.
    pub(super) fn author(&self, account: &Account, address: Option<&str>) -> Outcome {
        let is_own = |address| account.is(address) || self.senders.matches(address);
        match (self.from, address) {
            (Authors::Any, _) => Outcome::NoRule,
            (Authors::Account, Some(address)) if is_own(address) => Outcome::Pass,
            (Authors::Account, _) => Outcome::Refuse(Reason::SenderNotAllowed),
        }
    }

    /// Whether a rule is about the service.
    pub(super) fn judges_service(&self) -> bool {
        self.services.is_some()
    }

    pub(super) fn recipient(&self, address: &str) -> Outcome {
        listed(self.recipients.as_ref(), address, Reason::RecipientNotAllowed)
    }

    pub(super) fn service<'a>(&self, service: Option<&'a str>) -> Outcome {
        // Some mail libraries trim control characters too, and find the service behind them.
        let trimmed = |text: &'a str| text.trim_matches(|c: char| c <= ' ' || c.is_whitespace());
        let service = service.map(trimmed).filter(|s| !s.is_empty()).unwrap_or(WITHOUT_SERVICE);
        listed(self.services.as_ref(), service, Reason::ServiceNotAllowed)
    }
}

impl Access {
    /// Whether `deny` refuses a session that is one of `who`, or may be one of `maybe`.
    ///
    /// `maybe` is every mandant where the login names none. A rule about a field that the login
    /// lacks refuses it, so that leaving the MandantId out does not get past a `deny`.
    pub(super) fn denies(&self, who: &[Id], maybe: &[Id]) -> bool {
        self.deny.names_one_of(who) || self.deny.names_one_of(maybe)
    }

    /// Whether `allow` admits a session that is one of `who`.
    pub(super) fn allows(&self, who: &[Id]) -> bool {
        self.allow.is_empty() || self.allow.names_one_of(who)
    }
}

fn listed(list: Option<&Patterns>, text: &str, reason: Reason) -> Outcome {
    match list {
        None => Outcome::NoRule,
        Some(list) if list.matches(text) => Outcome::Pass,
        Some(_) => Outcome::Refuse(reason),
    }
}

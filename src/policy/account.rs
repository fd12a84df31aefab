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
    pub(super) only: Vec<Only>,
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

/// Who may send the services that a pattern matches.
#[derive(Debug)]
pub(super) struct Only {
    /// As it was written: the last key of the rule.
    pub(super) written: String,
    pub(super) pattern: Patterns,
    pub(super) may: SubjectList,
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
        self.services.is_some() || !self.only.is_empty()
    }

    pub(super) fn recipient(&self, address: &str) -> Outcome {
        listed(self.recipients.as_ref(), address, Reason::RecipientNotAllowed)
    }

    /// A service that is read in several ways may be one that is not listed (`KIM-Mail;x, eAU;y`), so
    /// that only a list for all services has it.
    pub(super) fn service(&self, service: Option<&str>) -> Outcome {
        let service = named(service);
        match &self.services {
            Some(list) if !is_plain(service) && !list.matches_all() => {
                Outcome::Refuse(Reason::ServiceNotAllowed)
            }
            list => listed(list.as_ref(), service, Reason::ServiceNotAllowed),
        }
    }

    /// The `only` rules that a session does not pass, by their place in [`only`](Self::only).
    pub(super) fn shut(&self, who: &[Id]) -> Box<[usize]> {
        let is_shut = |(_, only): &(usize, &Only)| !only.may.names_one_of(who);
        self.only.iter().enumerate().filter(is_shut).map(|(at, _)| at).collect()
    }

    /// The answer of the `only` rules to a service, and the rule that gives it: the first one that
    /// is `shut` to the session, else the first one that matches.
    pub(super) fn service_only(&self, service: Option<&str>, shut: &[usize]) -> (Outcome, Rule) {
        let service = named(service);
        let mut matching = self
            .only
            .iter()
            .enumerate()
            .filter(|(_, only)| !is_plain(service) || only.pattern.matches(service))
            .peekable();
        let first = matching.peek().map(|(_, only)| *only);
        let refusing = matching.find(|(at, _)| shut.contains(at)).map(|(_, only)| only);
        let outcome = match (refusing, first) {
            (Some(_), _) => Outcome::Refuse(Reason::ServiceNotAllowed),
            (None, Some(_)) => Outcome::Pass,
            (None, None) => Outcome::NoRule,
        };
        let rule = match refusing.or(first) {
            Some(only) => self.rule(&["send", "only", &only.written]),
            None => self.rule(&["send", "only"]),
        };
        (outcome, rule)
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

/// The service that a message counts as. Some mail libraries trim control characters too, and find the
/// service between them.
fn named(service: Option<&str>) -> &str {
    let is_trimmed = |c: char| c <= ' ' || c.is_whitespace();
    let trimmed = service.map(|text| text.trim_matches(is_trimmed));
    trimmed.filter(|text| !text.is_empty()).unwrap_or(WITHOUT_SERVICE)
}

/// Whether every reader takes the service for the same text. Blanks, quotes, comments and encoded
/// words (`=?utf-8?Q?eAU?=`) could be another service to the one who gets the message, so that the
/// service counts for every pattern of `only` and for no pattern of `services`.
fn is_plain(service: &str) -> bool {
    service.len() <= 256
        && service.bytes().all(|b| b.is_ascii_alphanumeric() || b";.-_+/:".contains(&b))
}

fn listed(list: Option<&Patterns>, text: &str, reason: Reason) -> Outcome {
    match list {
        None => Outcome::NoRule,
        Some(list) if list.matches(text) => Outcome::Pass,
        Some(_) => Outcome::Refuse(reason),
    }
}

//! What a decision gives: a permit with the rest of the account's rules, or a denial.

use std::sync::Arc;

use super::account::AccountTable;
use super::rules::Authors;
use super::{Mode, Outcome, Rule};
use crate::kim::Account;
use crate::words::{Action, Reason};

/// Proof that a login may go upstream; only [`Policy::decide`](super::Policy::decide) makes one.
///
/// It also judges what the session does: senders, recipients, services, deletions.
#[derive(Debug)]
pub struct Permit {
    pub(super) account: Account,
    pub(super) table: Arc<AccountTable>,
    pub(super) mode: Mode,
    pub(super) users: Vec<Arc<str>>,
    pub(super) rule: Rule,
    pub(super) would_deny: Option<Denial>,
    pub(super) delete: Option<Denial>,
}

/// What a permit says about one sender, recipient, service or deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It passes.
    Pass,
    /// It passes because refusals are only recorded; this is the refusal.
    Observe(Denial),
    /// It is refused.
    Refuse(Denial),
}

/// A refusal: its reason, its rule and what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why, for reply, audit line and metric label.
    pub reason: Reason,
    /// The key of the configuration that decided.
    pub rule: Rule,
    /// What was asked for.
    pub action: Action,
}

impl Permit {
    /// The account that the login names.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The client module that serves the account.
    pub fn client_module(&self) -> &str {
        &self.table.client_module
    }

    /// The names of all users that the session matches, sorted.
    pub fn users(&self) -> &[Arc<str>] {
        &self.users
    }

    /// The rule that let the login pass.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// What would have refused the login, had refusals been carried out.
    pub fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }

    /// Whether the account is in the configuration, and so may stand in metric labels.
    pub fn known_account(&self) -> bool {
        self.table.written.is_some()
    }

    /// Whether the service of a message matters, so that its header has to be read.
    pub fn needs_service(&self) -> bool {
        self.table.judges_service()
    }

    /// Judges MAIL FROM; the empty address is the null sender.
    pub fn judge_sender(&self, address: &str) -> Judgement {
        self.judgement(self.table.sender(&self.account, address), "senders")
    }

    /// Judges RCPT TO.
    pub fn judge_recipient(&self, address: &str) -> Judgement {
        self.judgement(self.table.recipient(address), "recipients")
    }

    /// Judges X-KIM-Dienstkennung. A message without it, or with an empty one, counts as
    /// [`WITHOUT_SERVICE`](super::WITHOUT_SERVICE).
    pub fn judge_service(&self, service: Option<&str>) -> Judgement {
        self.judgement(self.table.service(service), "services")
    }

    /// Judges a message whose header block was not read as a whole, so that it may name any service.
    pub fn judge_unread_service(&self) -> Judgement {
        let outcome = match self.table.judges_service() {
            true => Outcome::Refuse(Reason::ServiceNotAllowed),
            false => Outcome::NoRule,
        };
        self.judgement(outcome, "services")
    }

    /// Judges a message with a header line that is no field: the client module may find a service or an
    /// author in it that kimgate does not find.
    pub fn judge_malformed_header(&self) -> Judgement {
        let refused = Outcome::Refuse(Reason::HeaderMalformed);
        match (self.table.judges_service(), self.table.from) {
            (true, _) => self.judgement(refused, "services"),
            (false, Authors::Account) => self.judgement(refused, "from"),
            (false, Authors::Any) => Judgement::Pass,
        }
    }

    /// Judges From or Sender of a message; `None`: the field does not name exactly one address.
    pub fn judge_author(&self, address: Option<&str>) -> Judgement {
        self.judgement(self.table.author(&self.account, address), "from")
    }

    /// Judges DELE.
    pub fn judge_delete(&self) -> Judgement {
        match &self.delete {
            None => Judgement::Pass,
            Some(denial) => self.refusal(denial.clone()),
        }
    }

    fn judgement(&self, outcome: Outcome, list: &str) -> Judgement {
        match outcome {
            Outcome::Pass | Outcome::NoRule => Judgement::Pass,
            Outcome::Refuse(reason) => {
                let rule = self.table.rule(&["send", list]);
                self.refusal(Denial { reason, rule, action: Action::Send })
            }
        }
    }

    fn refusal(&self, denial: Denial) -> Judgement {
        match self.mode {
            Mode::Enforce => Judgement::Refuse(denial),
            Mode::Observe => Judgement::Observe(denial),
        }
    }
}

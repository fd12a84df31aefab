//! The same walk as a decision, with every step written down.

use std::sync::Arc;

use super::decide::{Policy, Request};
use super::{Denial, Mode, Rule};
use crate::words::{Action, Reason};

/// What else is asked about, besides the login.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `Send` asks about an SMTP session and `Receive` and `Delete` about a POP3 session, whatever
    /// the request says; `Login`, as nothing, leaves the request's protocol.
    pub action: Option<Action>,
    /// A MAIL FROM; empty is the null sender.
    pub sender: Option<&'a str>,
    /// A RCPT TO.
    pub recipient: Option<&'a str>,
    /// An X-KIM-Dienstkennung; empty asks about a message without one.
    pub service: Option<&'a str>,
}

/// A decision and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Every step up to and with the first refusal.
    pub steps: Vec<Step>,
    /// The first refusal, also where it is only recorded.
    pub denial: Option<Denial>,
    /// The rule that decided: the refusal's, else the one that let it pass.
    pub rule: Rule,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// The workstation.
    pub workstation: Option<Arc<str>>,
    /// All users that the session matches, sorted.
    pub users: Vec<Arc<str>>,
    /// The client module that would be dialled.
    pub client_module: Arc<str>,
}

impl Explanation {
    /// What `run` would do: false only where a refusal is carried out.
    pub fn allowed(&self) -> bool {
        self.denial.is_none() || self.mode == Mode::Observe
    }
}

/// One question on the way to a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The question.
    pub name: StepName,
    /// The answer.
    pub outcome: Outcome,
    /// Where the rule stands, or would stand.
    pub rule: Rule,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A rule was looked at, and it lets the session pass.
    Pass,
    /// There is no such rule.
    NoRule,
    /// The session is refused.
    Refuse(Reason),
}

/// The questions, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepName {
    /// Is the workstation known?
    Workstation,
    /// Is the login well-formed?
    LoginForm,
    /// Is the account known?
    Account,
    /// Is the account still in use?
    Retired,
    /// May a login be only an address?
    LoginContext,
    /// May the workstation use this login?
    WorkstationLogins,
    /// May the workstation use this WorkplaceId?
    WorkstationWorkplaces,
    /// Does the account's `deny` match?
    AccountDeny,
    /// Does the account's `allow` match?
    AccountAllow,
    /// Does the `deny` for this action match?
    ActionDeny(Action),
    /// Does the `allow` for this action match?
    ActionAllow(Action),
    /// May this sender stand in MAIL FROM?
    Sender,
    /// May this recipient get mail?
    Recipient,
    /// May messages of this service be sent?
    Service,
}

impl Policy {
    /// Takes the walk of [`decide`](Self::decide), then answers the wish.
    pub fn explain(&self, request: &Request<'_>, wish: &Wish<'_>) -> Explanation {
        let _ = (request, wish);
        todo!()
    }
}

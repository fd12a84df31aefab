//! The same questions as a decision, with every step kept.

use std::sync::Arc;

use super::decide::{Policy, Request, judge_delete};
use super::facts::Facts;
use super::membership::Id;
use super::trace::Trace;
use super::{Denial, Mode, Rule, Subject};
use crate::words::{Action, Protocol, Reason};

/// What else is asked about, besides the login.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `Send` asks about an SMTP session, `Receive` and `Delete` about a POP3 session, whatever the
    /// request says. `Login` and `None` keep the request's protocol.
    pub action: Option<Action>,
    /// A MAIL FROM; empty is the null sender.
    pub sender: Option<&'a str>,
    /// A RCPT TO.
    pub recipient: Option<&'a str>,
    /// The address in From or Sender of a message.
    pub author: Option<&'a str>,
    /// An X-KIM-Dienstkennung; empty asks about a message without one.
    pub service: Option<&'a str>,
}

/// A decision and its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Every step up to and including the first refusal.
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
    /// Everything that a list could name to mean this session, by the order of [`Subject`]. A
    /// MandantId that no list names is left out.
    pub subjects: Vec<Subject>,
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
    /// May the login's host:port name this host?
    LoginServer,
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
    /// May this session send messages of this service?
    ServiceOnly,
    /// May this address stand in From and Sender of a message?
    Author,
}

impl StepName {
    /// The word for a program that reads the explanation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workstation => "workstation",
            Self::LoginForm => "login-form",
            Self::LoginServer => "login-server",
            Self::Account => "account",
            Self::Retired => "retired",
            Self::LoginContext => "login-context",
            Self::WorkstationLogins => "logins",
            Self::WorkstationWorkplaces => "workplaces",
            Self::AccountDeny | Self::ActionDeny(Action::Login) => "deny",
            Self::AccountAllow | Self::ActionAllow(Action::Login) => "allow",
            Self::ActionDeny(Action::Send) => "send-deny",
            Self::ActionAllow(Action::Send) => "send-allow",
            Self::ActionDeny(Action::Receive) => "receive-deny",
            Self::ActionAllow(Action::Receive) => "receive-allow",
            Self::ActionDeny(Action::Delete) => "delete-deny",
            Self::ActionAllow(Action::Delete) => "delete-allow",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Service => "service",
            Self::ServiceOnly => "service-only",
            Self::Author => "author",
        }
    }
}

impl Policy {
    /// Asks the questions of [`decide`](Self::decide), then those that `wish` adds.
    pub fn explain(&self, request: &Request<'_>, wish: &Wish<'_>) -> Explanation {
        let protocol = match wish.action {
            Some(Action::Send) => Protocol::Smtp,
            Some(Action::Receive | Action::Delete) => Protocol::Pop3,
            Some(Action::Login) | None => request.protocol,
        };
        let facts = self.facts(&Request { protocol, ..*request });
        let mut steps = Vec::new();
        let verdict = self
            .judge_login(&facts, &mut steps)
            .and_then(|rule| judge_wish(&facts, wish, &mut steps).map(|()| rule));
        let (rule, denial) = match verdict {
            Ok(rule) => (rule, None),
            Err(denial) => (denial.rule.clone(), Some(denial)),
        };
        Explanation {
            steps,
            denial,
            rule,
            mode: self.mode,
            workstation: facts.workstation_name(),
            users: self.names(&facts.users),
            subjects: self.subjects(&facts.who),
            client_module: Arc::clone(&facts.account.client_module),
        }
    }

    fn subjects(&self, who: &[Id]) -> Vec<Subject> {
        let mut subjects = self.membership.subjects(who);
        subjects.sort();
        subjects
    }
}

/// The questions that come after the login, as a [`Permit`](super::Permit) answers them.
fn judge_wish(facts: &Facts<'_>, wish: &Wish<'_>, steps: &mut Vec<Step>) -> Result<(), Denial> {
    let (account, table) = (facts.login.account(), facts.account);
    if wish.action == Some(Action::Delete) {
        judge_delete(facts, steps)?;
    }
    let envelope = [
        (StepName::Sender, "senders", wish.sender.map(|text| table.sender(account, text))),
        (StepName::Recipient, "recipients", wish.recipient.map(|text| table.recipient(text))),
        (StepName::Service, "services", wish.service.map(|text| table.service(Some(text)))),
    ];
    for (name, list, outcome) in envelope {
        if let Some(outcome) = outcome {
            steps.answer(name, outcome, Action::Send, || table.rule(&["send", list]))?;
        }
    }
    if let Some(service) = wish.service {
        let (outcome, rule) = table.service_only(Some(service), &table.shut(&facts.who));
        steps.answer(StepName::ServiceOnly, outcome, Action::Send, || rule.clone())?;
    }
    if let Some(author) = wish.author {
        let outcome = table.author(account, Some(author));
        steps.answer(StepName::Author, outcome, Action::Send, || table.rule(&["send", "from"]))?;
    }
    Ok(())
}

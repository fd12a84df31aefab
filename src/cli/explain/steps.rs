//! Each step of a decision as a sentence.

use super::Case;
use crate::policy::{Outcome, Step, StepName, WITHOUT_SERVICE};
use crate::printable::printable;
use crate::words::Action;

impl Case<'_> {
    /// The question of a step and its answer, in one sentence.
    pub(super) fn sentence(&self, step: &Step) -> String {
        match step.name {
            StepName::Workstation => self.about_the_workstation(step.outcome),
            StepName::LoginForm => said(
                step.outcome,
                "the login is well-formed",
                "the login is empty or holds control characters",
            ),
            StepName::LoginServer => match (step.outcome, self.login.server_host().flatten()) {
                (Outcome::NoRule, _) => "the login names no server".into(),
                (Outcome::Pass, Some(host)) => format!("the login may name server {host}"),
                (Outcome::Pass, None) => "the login may name any server".into(),
                (Outcome::Refuse(_), Some(host)) => format!("the login may not name server {host}"),
                (Outcome::Refuse(_), None) => {
                    "what the login has for its server is no single host with a port".into()
                }
            },
            StepName::Account => self.about_the_account(step.outcome),
            StepName::Retired => match step.outcome {
                Outcome::NoRule => "an account without an entry is never retired".into(),
                Outcome::Pass => "the account is in use".into(),
                Outcome::Refuse(_) => "the account is retired".into(),
            },
            StepName::LoginContext => self.about_the_context(step.outcome),
            StepName::WorkstationLogins => match step.outcome {
                Outcome::NoRule => format!("{} may use any login", self.station()),
                Outcome::Pass => format!("{} may use this login", self.station()),
                Outcome::Refuse(_) => format!("{} may not use this login", self.station()),
            },
            StepName::WorkstationWorkplaces => self.about_the_workplace(step.outcome),
            StepName::AccountDeny => denied(step.outcome, "the account"),
            StepName::AccountAllow => allowed(step.outcome, "the account"),
            StepName::ActionDeny(action) => denied(step.outcome, what(action)),
            StepName::ActionAllow(action) => allowed(step.outcome, what(action)),
            StepName::Sender => {
                let sender = match self.asked.sender.as_deref() {
                    None | Some("") => "the null sender".into(),
                    Some(sender) => format!("sender {}", printable(sender)),
                };
                listed(step.outcome, &sender, "any sender may stand in MAIL FROM")
            }
            StepName::Recipient => {
                let recipient = self.asked.recipient.as_deref().unwrap_or_default();
                let recipient = format!("recipient {}", printable(recipient));
                listed(step.outcome, &recipient, "any recipient may get mail")
            }
            StepName::Service => {
                let service = match self.asked.service.as_deref() {
                    None | Some("") => {
                        format!("a message without a service, which counts as {WITHOUT_SERVICE},")
                    }
                    Some(service) => format!("service {}", printable(service)),
                };
                listed(step.outcome, &service, "messages of any service may be sent")
            }
            StepName::ServiceOnly => match step.outcome {
                Outcome::NoRule => "the service is not reserved for some".into(),
                Outcome::Pass => "the service is reserved, and this session may send it".into(),
                Outcome::Refuse(_) => "the service is reserved for others".into(),
            },
            StepName::Author => {
                let author = self.asked.author.as_deref().unwrap_or_default();
                let author = format!("author {}", printable(author));
                match step.outcome {
                    Outcome::NoRule => "any author may stand in From and Sender".into(),
                    Outcome::Pass => format!("{author} is the account or one of its senders"),
                    Outcome::Refuse(_) => {
                        format!("{author} is neither the account nor one of its senders")
                    }
                }
            }
        }
    }

    /// The workstation's name, or what to call one that has none.
    pub(super) fn station(&self) -> &str {
        self.explanation.workstation.as_deref().unwrap_or("an unknown workstation")
    }

    fn about_the_workstation(&self, outcome: Outcome) -> String {
        let from = self.from;
        match (&self.explanation.workstation, outcome) {
            (Some(name), _) => match self.certificate_of(name) {
                Some(shown) => format!("{name} is known by its certificate {}", printable(shown)),
                None => format!("{name} is known by its address {from}"),
            },
            (None, Outcome::Refuse(_)) => format!("no workstation has the address {from}"),
            (None, Outcome::Pass | Outcome::NoRule) => {
                format!("no workstation has the address {from}, and unknown ones may pass")
            }
        }
    }

    /// The name in the certificate that this workstation was found by.
    fn certificate_of(&self, workstation: &str) -> Option<&str> {
        let rules = self.loaded.config.rules.workstations.get(workstation)?;
        let is_its_own = |shown: &&String| {
            let shown = shown.to_ascii_lowercase();
            rules.certificates.iter().any(|name| name.to_ascii_lowercase() == shown)
        };
        self.station.certificate_names().iter().find(is_its_own).map(String::as_str)
    }

    fn about_the_account(&self, outcome: Outcome) -> String {
        let account = self.account();
        match outcome {
            Outcome::Refuse(_) => format!("account {account} is not in the configuration"),
            Outcome::Pass | Outcome::NoRule if self.is_known() => {
                format!("account {account} is known")
            }
            Outcome::Pass | Outcome::NoRule => {
                format!("account {account} is unknown, and unknown ones may pass")
            }
        }
    }

    fn is_known(&self) -> bool {
        let account = self.login.account();
        self.loaded.config.rules.accounts.keys().any(|address| account.is(address))
    }

    fn about_the_context(&self, outcome: Outcome) -> String {
        let fields = [
            ("MandantId", self.login.mandant_id()),
            ("ClientsystemId", self.login.clientsystem_id()),
            ("WorkplaceId", self.login.workplace_id()),
        ];
        let named: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name} {}", printable(value)))
            .collect();
        match (outcome, named.is_empty()) {
            (Outcome::Refuse(_), _) => "the login is only an address, without a context".into(),
            (Outcome::Pass | Outcome::NoRule, true) => {
                "the login is only an address, which may be".into()
            }
            (Outcome::Pass | Outcome::NoRule, false) => {
                format!("the login names {}", named.join(", "))
            }
        }
    }

    fn about_the_workplace(&self, outcome: Outcome) -> String {
        let station = self.station();
        match (outcome, self.login.workplace_id()) {
            (Outcome::NoRule, _) => format!("{station} may use any WorkplaceId"),
            (Outcome::Pass, id) => format!("{station} may use WorkplaceId {}", printable(id)),
            (Outcome::Refuse(_), "") => {
                format!("{station} needs a WorkplaceId, and the login has none")
            }
            (Outcome::Refuse(_), id) => {
                format!("{station} may not use WorkplaceId {}", printable(id))
            }
        }
    }
}

fn what(action: Action) -> &'static str {
    match action {
        Action::Login => "the account",
        Action::Send => "sending",
        Action::Receive => "fetching",
        Action::Delete => "deleting",
    }
}

fn denied(outcome: Outcome, what: &str) -> String {
    match outcome {
        Outcome::NoRule => format!("{what} is denied to nobody"),
        Outcome::Pass => format!("{what} is denied to others only"),
        Outcome::Refuse(_) => format!("{what} is denied to this session"),
    }
}

fn allowed(outcome: Outcome, what: &str) -> String {
    match outcome {
        Outcome::NoRule => format!("{what} is allowed to everyone known"),
        Outcome::Pass => format!("{what} is allowed to this session"),
        Outcome::Refuse(_) => format!("{what} is allowed to others only"),
    }
}

fn listed(outcome: Outcome, what: &str, any: &str) -> String {
    match outcome {
        Outcome::NoRule => any.into(),
        Outcome::Pass => format!("{what} is admitted"),
        Outcome::Refuse(_) => format!("{what} is not admitted"),
    }
}

fn said(outcome: Outcome, yes: &str, no: &str) -> String {
    match outcome {
        Outcome::Pass | Outcome::NoRule => yes.into(),
        Outcome::Refuse(_) => no.into(),
    }
}

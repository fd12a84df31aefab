//! What would have to change for a refusal to become a yes.

use super::Case;
use crate::policy::{AccessRules, AccountRules, Denial, Rule, Subject};
use crate::printable::printable;
use crate::words::{Action, Reason};

impl Case<'_> {
    /// What would have to change in the configuration, or at the workstation.
    ///
    /// It removes this refusal only; another one may follow.
    pub(super) fn remedy(&self, denial: &Denial) -> String {
        let rule = &denial.rule;
        match denial.reason {
            Reason::UnknownWorkstation => format!(
                "write [workstations.NAME] with addresses = [\"{}\"], or set \
                 policy.unknown_workstations = \"allow\"",
                self.from.to_canonical()
            ),
            Reason::LoginMalformed => "copy the login again from the client module".into(),
            Reason::LoginServerNotAllowed => match self.login.server_host().flatten() {
                Some(host) => format!(
                    "copy the login again from the client module, or add \"{host}\" to {rule}"
                ),
                None => "copy the login again from the client module".into(),
            },
            Reason::AccountUnknown => format!(
                "write [accounts.\"{}\"], or correct the login, or set \
                 policy.unknown_accounts = \"allow\"",
                self.account()
            ),
            Reason::AccountRetired => format!("set {rule} = false"),
            Reason::LoginNotAssigned => {
                format!("add this login to {rule}, or use one that is listed there")
            }
            // Each workstation needs a WorkplaceId of its own (TIP1-A_4960), so adding comes last.
            Reason::WorkplaceNotAssigned => match self.login.workplace_id() {
                "" => format!("use a login with WorkplaceId {}", self.workplaces()),
                id => format!(
                    "use a login with WorkplaceId {}, or add \"{}\" to {rule}",
                    self.workplaces(),
                    printable(id)
                ),
            },
            Reason::Denied if self.is_about_context(denial) => {
                format!("use a login with its context, or set {rule} = \"allow\"")
            }
            Reason::Denied => self.leave_deny(denial),
            Reason::NotAllowed => self.join_allow(denial),
            Reason::DeleteNotAllowed if rule.path().last().is_some_and(|key| key == "deny") => {
                self.leave_deny(denial)
            }
            Reason::DeleteNotAllowed => self.join_allow(denial),
            Reason::SenderNotAllowed if rule.path().last().is_some_and(|key| key == "from") => {
                let author = printable(self.asked.author.as_deref().unwrap_or_default());
                let send = rule.as_str().strip_suffix("from").unwrap_or_default();
                format!("add \"{author}\" to {send}senders, or write \"any\" for {rule}")
            }
            Reason::SenderNotAllowed => match self.asked.sender.as_deref().unwrap_or_default() {
                "" => format!("add \"<>\" to {rule}"),
                sender => format!(
                    "add \"{}\" to {rule}, or send as {}",
                    printable(sender),
                    self.account()
                ),
            },
            Reason::RecipientNotAllowed => {
                let recipient = self.asked.recipient.as_deref().unwrap_or_default();
                format!(
                    "add \"{}\", or a pattern such as \"*.kim.telematik\", to {rule}",
                    printable(recipient)
                )
            }
            Reason::ServiceNotAllowed if rule.path().iter().any(|key| key == "only") => {
                self.join(&denial.rule, self.only(&denial.rule))
            }
            Reason::ServiceNotAllowed => {
                let service = self.asked.service.as_deref().unwrap_or_default().trim();
                let name = match service.split(';').next() {
                    None | Some("") => "KIM-Mail".into(),
                    Some(name) => printable(name),
                };
                format!("add \"{name};*\" to {rule}")
            }
            Reason::HeaderMalformed
            | Reason::DeleteHeld
            | Reason::TooManyConnections
            | Reason::ContextInUse
            | Reason::LoginPaused
            | Reason::ShuttingDown
            | Reason::MailboxInUse
            | Reason::ClientModuleUnreachable
            | Reason::ClientModuleUntrusted
            | Reason::ClientModuleProtocolError
            | Reason::RejectedByClientModule
            | Reason::MessageTooLarge
            | Reason::LineTooLong
            | Reason::BadCommand
            | Reason::BadCredentialsEncoding
            | Reason::AmbiguousLineEnding
            | Reason::Timeout
            | Reason::TlsFailed => format!("look at {rule}"),
        }
    }

    fn is_about_context(&self, denial: &Denial) -> bool {
        denial.rule.path().last().is_some_and(|key| key == "logins_without_context")
    }

    fn workplaces(&self) -> String {
        let rules = self.loaded.config.rules.workstations.get(self.station());
        let listed = rules.and_then(|rules| rules.workplaces.clone()).unwrap_or_default();
        listed.join(" or ")
    }

    /// The entries of a `deny` list that this session is one of.
    fn leave_deny(&self, denial: &Denial) -> String {
        let mine = &self.explanation.subjects;
        let matching: Vec<String> = self
            .lists(denial.action)
            .map(|lists| lists.deny.as_slice())
            .unwrap_or_default()
            .iter()
            .filter(|subject| **subject == Subject::Any || mine.contains(subject))
            .map(|subject| format!("\"{subject}\""))
            .collect();
        match matching.as_slice() {
            // Which mandant it is cannot be known, so each that is denied might be meant.
            [] => format!(
                "use a login that names its MandantId, or take the mandant out of {}",
                denial.rule
            ),
            [one] => format!("take {one} out of {}", denial.rule),
            [..] => format!("take {} out of {}", matching.join(" and "), denial.rule),
        }
    }

    fn join_allow(&self, denial: &Denial) -> String {
        let listed = self.lists(denial.action).map(|lists| lists.allow.as_slice());
        self.join(&denial.rule, listed.unwrap_or_default())
    }

    /// The subjects that this `only` rule lists.
    fn only(&self, rule: &Rule) -> &[Subject] {
        let pattern = rule.path().pop().unwrap_or_default();
        let list = self.account_rules().and_then(|rules| rules.only.get(&pattern));
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// How this session gets on a list of subjects.
    fn join(&self, rule: &Rule, listed: &[Subject]) -> String {
        let groups: Vec<String> = listed
            .iter()
            .filter(|subject| matches!(subject, Subject::Group(_) | Subject::Department(_)))
            .map(|subject| format!("\"{subject}\""))
            .collect();
        let mine: Vec<String> =
            self.explanation.subjects.iter().map(|subject| format!("\"{subject}\"")).collect();
        if mine.is_empty() {
            return format!("make this workstation known, then add it to {rule}");
        }
        let one_of = if mine.len() == 1 { "" } else { "one of " };
        let join = format!("add {one_of}{} to {rule}", mine.join(", "));
        match groups.as_slice() {
            [] => join,
            [..] => format!("{join}, or make it a member of {}", groups.join(" or ")),
        }
    }

    /// The lists that decided, as they were written.
    fn lists(&self, action: Action) -> Option<&AccessRules> {
        let rules = self.account_rules()?;
        Some(match action {
            Action::Login => &rules.access,
            Action::Send => &rules.send,
            Action::Receive => &rules.receive,
            Action::Delete => &rules.delete,
        })
    }

    fn account_rules(&self) -> Option<&AccountRules> {
        let accounts = &self.loaded.config.rules.accounts;
        let account = self.login.account();
        accounts.iter().find(|(address, _)| account.is(address)).map(|(_, rules)| rules)
    }
}

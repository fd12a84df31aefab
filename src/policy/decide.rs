//! The decision: the questions are asked in order, and the first refusal decides.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::account::AccountTable;
use super::explain::{Outcome, StepName};
use super::facts::Facts;
use super::login_servers::LoginServers;
use super::membership::{Id, Membership};
use super::networks::Networks;
use super::rules::{Mode, Otherwise};
use super::trace::{NoTrace, Trace};
use super::{Denial, Permit, Rule};
use crate::kim::{Account, Login};
use crate::words::{Action, Protocol, Reason};

/// Compiled permissions; read-only and cheap to ask.
#[derive(Debug, Default)]
pub struct Policy {
    pub(super) mode: Mode,
    pub(super) unknown_workstations: Otherwise,
    pub(super) unknown_accounts: Otherwise,
    pub(super) logins_without_context: Otherwise,
    pub(super) login_servers: LoginServers,
    pub(super) networks: Networks,
    /// By name in lower case.
    pub(super) stations_by_certificate: HashMap<String, Arc<str>>,
    pub(super) workstations: HashMap<Arc<str>, WorkstationTable>,
    /// Numbers go up with names.
    pub(super) user_names: HashMap<Id, Arc<str>>,
    /// By name in lower case.
    pub(super) users_by_certificate: HashMap<String, Vec<Id>>,
    pub(super) users_by_user_id: HashMap<String, Vec<Id>>,
    pub(super) membership: Membership,
    /// By address in lower case.
    pub(super) accounts: HashMap<Box<str>, Arc<AccountTable>>,
    /// The rules for all other accounts.
    pub(super) unknown_account: Arc<AccountTable>,
}

/// What one workstation may put into a login, and which users it stands for.
#[derive(Debug)]
pub(super) struct WorkstationTable {
    pub(super) id: Id,
    pub(super) workplaces: Option<HashSet<Box<str>>>,
    pub(super) logins: Option<HashSet<Box<[u8]>>>,
    pub(super) users: Vec<Id>,
}

/// The other end of a connection, as far as address and certificate identify it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    pub(super) name: Option<Arc<str>>,
    pub(super) certificate_names: Arc<[String]>,
}

impl Station {
    /// The workstation's name, if it is known.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The names of the verified certificate that it showed.
    pub fn certificate_names(&self) -> &[String] {
        &self.certificate_names
    }
}

/// A login that asks to go upstream.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The workstation, as [`Policy::station`] found it.
    pub station: &'a Station,
    /// What was sent as the user name.
    pub login: &'a Login,
    /// POP3 asks to receive, SMTP asks to send.
    pub protocol: Protocol,
}

impl Policy {
    /// Finds the workstation: by certificate where one names it, else by address, the most specific
    /// network first. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn station(&self, peer: IpAddr, certificate_names: &[String]) -> Station {
        let by_certificate = certificate_names
            .iter()
            .find_map(|name| self.stations_by_certificate.get(&name.to_ascii_lowercase()));
        let name = by_certificate.or_else(|| self.networks.owner(peer)).cloned();
        Station { name, certificate_names: certificate_names.into() }
    }

    /// The account as the configuration spells it, if it is there.
    pub fn configured(&self, account: &Account) -> Option<&str> {
        self.accounts.get(account.as_str())?.written.as_deref()
    }

    /// Whether a workstation that no entry describes can get a permit.
    pub fn lets_strangers_in(&self) -> bool {
        self.unknown_workstations == Otherwise::Allow || self.mode == Mode::Observe
    }

    /// Whether a certificate can name a workstation.
    pub fn knows_certificates(&self) -> bool {
        !self.stations_by_certificate.is_empty()
    }

    /// The first question about every login of this workstation, for before there is one.
    ///
    /// # Errors
    ///
    /// No entry describes it, and no login of such a workstation can get a permit.
    pub fn admit_station(&self, station: &Station) -> Result<(), Denial> {
        if self.lets_strangers_in() {
            return Ok(());
        }
        self.judge_workstation(station.name(), &mut NoTrace)
    }

    /// Decides about a login. In [`Mode::Observe`] the answer is always a permit, and
    /// [`Permit::would_deny`] has the refusal.
    ///
    /// # Errors
    ///
    /// The first rule that refuses the login.
    pub fn decide(&self, request: &Request<'_>) -> Result<Permit, Denial> {
        let facts = self.facts(request);
        match (self.judge_login(&facts, &mut NoTrace), self.mode) {
            (Ok(rule), _) => Ok(self.permit(facts, rule, None)),
            (Err(denial), Mode::Enforce) => Err(denial),
            (Err(denial), Mode::Observe) => {
                Ok(self.permit(facts, Rule::under(&["policy", "mode"]), Some(denial)))
            }
        }
    }

    fn permit(&self, facts: Facts<'_>, rule: Rule, would_deny: Option<Denial>) -> Permit {
        Permit {
            account: facts.login.account().clone(),
            table: Arc::clone(facts.account),
            mode: self.mode,
            users: self.names(&facts.users),
            rule,
            would_deny,
            shut: facts.account.shut(&facts.who),
            delete: judge_delete(&facts, &mut NoTrace).err(),
        }
    }

    /// Asks the questions about a login in their order. Returns the rule that admits it.
    pub(super) fn judge_login(
        &self,
        facts: &Facts<'_>,
        trace: &mut impl Trace,
    ) -> Result<Rule, Denial> {
        self.judge_workstation(facts.workstation.map(|(name, _)| &**name), trace)?;
        self.judge_account(facts, trace)?;
        self.judge_assignment(facts, trace)?;
        judge_access(facts, Action::Login, trace)?;
        judge_access(facts, facts.action, trace)?;
        Ok(facts.admitting_rule())
    }

    fn judge_workstation(
        &self,
        workstation: Option<&str>,
        trace: &mut impl Trace,
    ) -> Result<(), Denial> {
        let outcome = match (workstation, self.unknown_workstations) {
            (None, Otherwise::Deny) => Outcome::Refuse(Reason::UnknownWorkstation),
            (None, Otherwise::Allow) | (Some(_), _) => Outcome::Pass,
        };
        trace.answer(StepName::Workstation, outcome, Action::Login, || match workstation {
            Some(name) => Rule::under(&["workstations", name]),
            None => Rule::under(&["policy", "unknown_workstations"]),
        })
    }

    fn judge_account(&self, facts: &Facts<'_>, trace: &mut impl Trace) -> Result<(), Denial> {
        let form = refuse_if(!facts.login.is_well_formed(), Reason::LoginMalformed);
        trace.answer(StepName::LoginForm, form, Action::Login, Rule::built_in)?;

        let server = match self.login_servers.admit(facts.login) {
            None => Outcome::NoRule,
            Some(may) => refuse_if(!may, Reason::LoginServerNotAllowed),
        };
        let rule = || Rule::under(&["policy", "login_servers"]);
        trace.answer(StepName::LoginServer, server, Action::Login, rule)?;

        let unknown = facts.account.written.is_none();
        let refused = unknown && self.unknown_accounts == Otherwise::Deny;
        let known = refuse_if(refused, Reason::AccountUnknown);
        trace.answer(StepName::Account, known, Action::Login, || facts.account.rule(&[]))?;

        let retired = match (unknown, facts.account.retired) {
            (true, _) => Outcome::NoRule,
            (false, retired) => refuse_if(retired, Reason::AccountRetired),
        };
        trace.answer(StepName::Retired, retired, Action::Login, || facts.account.rule(&["retired"]))
    }

    fn judge_assignment(&self, facts: &Facts<'_>, trace: &mut impl Trace) -> Result<(), Denial> {
        let refused = lacks_context(facts.login) && self.logins_without_context == Otherwise::Deny;
        let context = refuse_if(refused, Reason::Denied);
        let rule = || Rule::under(&["policy", "logins_without_context"]);
        trace.answer(StepName::LoginContext, context, Action::Login, rule)?;

        let rule = |list| match facts.workstation {
            Some((name, _)) => Rule::under(&["workstations", name, list]),
            None => Rule::under(&["policy", "unknown_workstations"]),
        };
        let table = facts.workstation.map(|(_, table)| table);
        let logins = match table.and_then(|table| table.logins.as_ref()) {
            None => Outcome::NoRule,
            Some(list) => {
                refuse_if(!list.contains(facts.login.as_bytes()), Reason::LoginNotAssigned)
            }
        };
        trace.answer(StepName::WorkstationLogins, logins, Action::Login, || rule("logins"))?;

        let workplace = facts.login.workplace_id(); // empty if absent, and no list has that
        let shifted = facts.login.workplace_id_without_server();
        let workplaces = match table.and_then(|table| table.workplaces.as_ref()) {
            None => Outcome::NoRule,
            Some(list) => {
                let in_both = list.contains(workplace) && shifted.is_none_or(|w| list.contains(w));
                refuse_if(!in_both, Reason::WorkplaceNotAssigned)
            }
        };
        trace.answer(StepName::WorkstationWorkplaces, workplaces, Action::Login, || {
            rule("workplaces")
        })
    }
}

/// The lists for deleting, which come on top of those for fetching.
pub(super) fn judge_delete(facts: &Facts<'_>, trace: &mut impl Trace) -> Result<(), Denial> {
    judge_access(facts, Action::Delete, trace)
}

/// The `deny` and then the `allow` list for one action; for logging in, the account's own.
fn judge_access(facts: &Facts<'_>, action: Action, trace: &mut impl Trace) -> Result<(), Denial> {
    let (account, access) = (facts.account, facts.account.access(action));
    let (deny_step, allow_step) = match action {
        Action::Login => (StepName::AccountDeny, StepName::AccountAllow),
        Action::Send | Action::Receive | Action::Delete => {
            (StepName::ActionDeny(action), StepName::ActionAllow(action))
        }
    };
    let (denied, not_allowed) = match action {
        Action::Delete => (Reason::DeleteNotAllowed, Reason::DeleteNotAllowed),
        Action::Login | Action::Send | Action::Receive => (Reason::Denied, Reason::NotAllowed),
    };
    let deny = match access.deny.is_empty() {
        true => Outcome::NoRule,
        false => refuse_if(access.denies(&facts.who, facts.maybe), denied),
    };
    trace.answer(deny_step, deny, action, || account.access_rule(action, "deny"))?;
    let allow = match access.allow.is_empty() {
        true => Outcome::NoRule,
        false => refuse_if(!access.allows(&facts.who), not_allowed),
    };
    trace.answer(allow_step, allow, action, || account.access_rule(action, "allow"))
}

/// Whether the login has nothing after host:port. This asks more than
/// [`Login::is_only_an_address`], so that `#` after an address does not get past the rule.
fn lacks_context(login: &Login) -> bool {
    let fields = [login.mandant_id(), login.clientsystem_id(), login.workplace_id()];
    let further = login.optional_fields(None).map(|(_, value)| value);
    fields.iter().chain(&further).all(|field| field.is_empty())
}

fn refuse_if(refused: bool, reason: Reason) -> Outcome {
    if refused { Outcome::Refuse(reason) } else { Outcome::Pass }
}

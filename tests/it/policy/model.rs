//! The decision a second time, slow and obvious, straight from the text of the contract
//! (`interface.md` section 3). It shares the rules' plain data with kimgate and no code.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use kimgate::policy::{AccountRules, Otherwise, Outcome, Rules, StepName, Subject, Workstation};
use kimgate::words::{Action, Protocol, Reason};

/// A step of a decision: the question, its answer, the rule's name.
pub(crate) type Told = (StepName, Outcome, String);

/// One question to the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) peer: IpAddr,
    pub(crate) certificates: Vec<String>,
    pub(crate) login: String,
    pub(crate) protocol: Protocol,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) service: String,
}

/// A question before the rules.
pub(crate) struct Model<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) asked: &'a Asked,
    login: Typed<'a>,
    pub(crate) workstation: Option<&'a String>,
    pub(crate) account: Option<(&'a String, &'a AccountRules)>,
    pub(crate) users: BTreeSet<String>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(rules: &'a Rules, asked: &'a Asked) -> Self {
        let login = Typed::read(&asked.login, asked.protocol);
        let shows = |names: &[String]| {
            names.iter().any(|n| asked.certificates.iter().any(|c| c.eq_ignore_ascii_case(n)))
        };
        let by_certificate = asked.certificates.iter().find_map(|shown| {
            let has =
                |w: &Workstation| w.certificates.iter().any(|n| n.eq_ignore_ascii_case(shown));
            rules.workstations.iter().find(|(_, w)| has(w)).map(|(name, _)| name)
        });
        let workstation = by_certificate.or_else(|| by_address(rules, asked.peer));
        let mut users = BTreeSet::new();
        for (name, user) in &rules.users {
            let here = workstation.is_some_and(|w| user.workstations.contains(w));
            let claims =
                user.user_ids.iter().any(|id| !id.is_empty() && login.user_ids.contains(&&**id));
            if shows(&user.certificates) || here || claims {
                users.insert(name.clone());
            }
        }
        let is = |written: &str| written.eq_ignore_ascii_case(login.address);
        let account = rules.accounts.iter().find(|(written, _)| is(written));
        let account = account.filter(|_| login.is_well_formed());
        Self { rules, asked, login, workstation, account, users }
    }

    /// Whether the subject is, or in doubt may be, the session.
    fn is(&self, subject: &Subject, in_doubt: bool) -> bool {
        match subject {
            Subject::Any => true,
            Subject::Workstation(name) => self.workstation == Some(name),
            Subject::User(name) => self.users.contains(name),
            Subject::Group(name) => self.has(&self.rules.groups[name], in_doubt),
            Subject::Department(name) => self.has(&self.rules.departments[name], in_doubt),
            Subject::Mandant(_) if self.login.mandant_id.is_empty() => in_doubt,
            Subject::Mandant(name) => self.login.mandant_id == name,
        }
    }

    fn has(&self, members: &[Subject], in_doubt: bool) -> bool {
        members.iter().any(|member| self.is(member, in_doubt))
    }

    /// "Order of decisions, first refusal wins".
    pub(crate) fn login_steps(&self) -> Vec<Told> {
        let action = match self.asked.protocol {
            Protocol::Pop3 => Action::Receive,
            Protocol::Smtp => Action::Send,
        };
        let mut steps = vec![
            self.workstation_known(),
            step(
                StepName::LoginForm,
                Some(!self.login.is_well_formed()),
                Reason::LoginMalformed,
                "built-in".into(),
            ),
            self.server(),
            step(
                StepName::Account,
                Some(self.account.is_none() && self.rules.unknown_accounts == Otherwise::Deny),
                Reason::AccountUnknown,
                self.account_key(""),
            ),
            step(
                StepName::Retired,
                self.account.map(|(_, account)| account.retired),
                Reason::AccountRetired,
                self.account_key(".retired"),
            ),
        ];
        steps.extend(self.assignment());
        steps.extend(self.lists(Action::Login));
        steps.extend(self.lists(action));
        steps
    }

    /// "a login whose host:port names another host is refused"
    fn server(&self) -> Told {
        let host = self.login.server.trim_end_matches(|c: char| c.is_ascii_digit());
        let names = host.len() < self.login.server.len() && host.ends_with([':', ';']);
        let refused = names.then(|| {
            let host = &host[..host.len() - 1];
            let patterns = &self.rules.login_servers;
            let is_one = host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
            !patterns.iter().any(|p| p == "*" || is_one && like(p, host))
        });
        let rule = "policy.login_servers".into();
        step(StepName::LoginServer, refused, Reason::LoginServerNotAllowed, rule)
    }

    /// "a login whose second field has no server is read both ways"
    fn workplaces(&self) -> Vec<&str> {
        let server = self.login.server;
        let names = server.ends_with(|c: char| c.is_ascii_digit()) && server.contains([':', ';']);
        match server.is_empty() || names {
            true => vec![self.login.workplace_id],
            false => vec![self.login.workplace_id, self.login.clientsystem_id],
        }
    }

    fn workstation_known(&self) -> Told {
        let unknown = self.workstation.is_none();
        let rule = match self.workstation {
            Some(name) => format!("workstations.{name}"),
            None => "policy.unknown_workstations".into(),
        };
        let refused = unknown && self.rules.unknown_workstations == Otherwise::Deny;
        step(StepName::Workstation, Some(refused), Reason::UnknownWorkstation, rule)
    }

    fn assignment(&self) -> [Told; 3] {
        let workstation = self.workstation.map(|name| &self.rules.workstations[name]);
        let rule = |list: &str| match self.workstation {
            Some(name) => format!("workstations.{name}.{list}"),
            None => "policy.unknown_workstations".into(),
        };
        let bare = self.login.mandant_id.is_empty()
            && self.login.clientsystem_id.is_empty()
            && self.login.workplace_id.is_empty()
            && self.login.further.iter().all(|field| field.is_empty());
        let off_list = |list: Option<&Vec<String>>, text: &str| {
            let list = list.filter(|list| !list.is_empty())?;
            Some(!list.iter().any(|entry| !entry.is_empty() && entry == text))
        };
        [
            step(
                StepName::LoginContext,
                Some(bare && self.rules.logins_without_context == Otherwise::Deny),
                Reason::Denied,
                "policy.logins_without_context".into(),
            ),
            step(
                StepName::WorkstationLogins,
                off_list(workstation.and_then(|w| w.logins.as_ref()), &self.asked.login),
                Reason::LoginNotAssigned,
                rule("logins"),
            ),
            step(
                StepName::WorkstationWorkplaces,
                self.workplaces().iter().fold(None, |refused, id| {
                    let list = workstation.and_then(|w| w.workplaces.as_ref());
                    Some(off_list(list, id)? || refused.unwrap_or(false))
                }),
                Reason::WorkplaceNotAssigned,
                rule("workplaces"),
            ),
        ]
    }

    pub(crate) fn lists(&self, action: Action) -> [Told; 2] {
        let (key, deny_step, allow_step, denied, not_allowed) = match action {
            Action::Login => (
                String::new(),
                StepName::AccountDeny,
                StepName::AccountAllow,
                Reason::Denied,
                Reason::NotAllowed,
            ),
            Action::Send | Action::Receive => (
                format!(".{}", action.as_str()),
                StepName::ActionDeny(action),
                StepName::ActionAllow(action),
                Reason::Denied,
                Reason::NotAllowed,
            ),
            Action::Delete => (
                ".delete".into(),
                StepName::ActionDeny(action),
                StepName::ActionAllow(action),
                Reason::DeleteNotAllowed,
                Reason::DeleteNotAllowed,
            ),
        };
        let access = self.account.map(|(_, account)| match action {
            Action::Login => &account.access,
            Action::Send => &account.send,
            Action::Receive => &account.receive,
            Action::Delete => &account.delete,
        });
        let deny = access.map(|access| &access.deny).filter(|list| !list.is_empty());
        let allow = access.map(|access| &access.allow).filter(|list| !list.is_empty());
        [
            step(
                deny_step,
                deny.map(|list| self.has(list, true)),
                denied,
                self.account_key(&format!("{key}.deny")),
            ),
            step(
                allow_step,
                allow.map(|list| !self.has(list, false)),
                not_allowed,
                self.account_key(&format!("{key}.allow")),
            ),
        ]
    }

    pub(crate) fn message_steps(&self) -> [Told; 4] {
        let account = self.account.map(|(_, account)| account);
        let sender = &self.asked.sender;
        let listed = account.is_some_and(|account| match sender.as_str() {
            "" => account.senders.contains(&"<>".into()),
            _ => account.senders.iter().any(|pattern| like(pattern, sender)),
        });
        let own = !sender.is_empty() && sender.eq_ignore_ascii_case(self.login.address);
        let off_list = |list: Option<&Vec<String>>, text: &str| {
            let list = list.filter(|list| !list.is_empty())?;
            Some(!list.iter().any(|pattern| like(pattern, text)))
        };
        let service = match self.asked.service.as_str() {
            "" => "KIM-Mail;Default;V1.0",
            service => service,
        };
        [
            step(
                StepName::Sender,
                Some(!own && !listed),
                Reason::SenderNotAllowed,
                self.account_key(".send.senders"),
            ),
            step(
                StepName::Recipient,
                off_list(account.and_then(|a| a.recipients.as_ref()), &self.asked.recipient),
                Reason::RecipientNotAllowed,
                self.account_key(".send.recipients"),
            ),
            step(
                StepName::Service,
                // "a service that is read in several ways is on no list but that of all services"
                off_list(account.and_then(|a| a.services.as_ref()), service).map(|off| {
                    let lists_all = account
                        .and_then(|a| a.services.as_ref())
                        .is_some_and(|list| list.iter().any(|pattern| pattern == "*"));
                    off || is_odd(service) && !lists_all
                }),
                Reason::ServiceNotAllowed,
                self.account_key(".send.services"),
            ),
            self.only(service),
        ]
    }

    /// "a service must pass every `only` pattern that matches it"; one that is read in several
    /// ways matches all.
    fn only(&self, service: &str) -> Told {
        let only = self.account.iter().flat_map(|(_, account)| &account.only);
        let matching: Vec<_> = only.filter(|(p, _)| is_odd(service) || like(p, service)).collect();
        let refusing = matching.iter().find(|(_, subjects)| !self.has(subjects, false));
        let rule = match refusing.or(matching.first()) {
            Some((pattern, _)) => self.account_key(&format!(".send.only.{pattern:?}")),
            None => self.account_key(".send.only"),
        };
        let refused = (!matching.is_empty()).then_some(refusing.is_some());
        step(StepName::ServiceOnly, refused, Reason::ServiceNotAllowed, rule)
    }

    fn account_key(&self, rest: &str) -> String {
        match self.account {
            Some((written, _)) => format!("accounts.\"{written}\"{rest}"),
            None => "policy.unknown_accounts".into(),
        }
    }

    pub(crate) fn client_module(&self) -> &str {
        self.account.and_then(|(_, account)| account.client_module.as_deref()).unwrap_or("main")
    }
}

/// A login as the contract reads it: fields between `#`, absent ones and `*` empty.
struct Typed<'a> {
    text: &'a str,
    address: &'a str,
    server: &'a str,
    mandant_id: &'a str,
    clientsystem_id: &'a str,
    workplace_id: &'a str,
    further: [&'a str; 2],
    /// In SMTP the UserId may stand at either place.
    user_ids: Vec<&'a str>,
}

impl<'a> Typed<'a> {
    fn read(text: &'a str, protocol: Protocol) -> Self {
        let fields: Vec<&str> = text.split('#').collect();
        let field = |at: usize| match fields.get(at) {
            None | Some(&"*") => "",
            Some(field) => field,
        };
        Self {
            text,
            address: fields[0],
            server: field(1),
            mandant_id: field(2),
            clientsystem_id: field(3),
            workplace_id: field(4),
            further: [field(5), field(6)],
            user_ids: match protocol {
                Protocol::Pop3 => vec![field(5)],
                Protocol::Smtp => vec![field(5), field(6)],
            },
        }
    }

    fn is_well_formed(&self) -> bool {
        !self.text.is_empty() && !self.text.chars().any(char::is_control)
    }
}

/// The longest network that holds the address; IPv4 in IPv6 is IPv4.
fn by_address(rules: &Rules, peer: IpAddr) -> Option<&String> {
    let peer = peer.to_canonical();
    let mut best: Option<(u8, &String)> = None;
    for (name, workstation) in &rules.workstations {
        for network in &workstation.addresses {
            let (address, length) = match network.addr().to_canonical() {
                address @ IpAddr::V4(_) if network.addr().is_ipv6() => {
                    (address, network.prefix_len() - 96)
                }
                address @ (IpAddr::V4(_) | IpAddr::V6(_)) => (address, network.prefix_len()),
            };
            let holds = IpNet::new(address, length).unwrap().contains(&peer);
            if holds && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, name));
            }
        }
    }
    best.map(|(_, name)| name)
}

fn step(name: StepName, refused: Option<bool>, reason: Reason, rule: String) -> Told {
    let outcome = match refused {
        None => Outcome::NoRule,
        Some(false) => Outcome::Pass,
        Some(true) => Outcome::Refuse(reason),
    };
    (name, outcome, rule)
}

/// Whether a service is one that the tests know to be read in several ways.
fn is_odd(service: &str) -> bool {
    service.contains(['=', ' ', '\u{2026}'])
}

/// Wildcards by trying everything.
fn like(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let (pattern, rest) = (&pattern[first.len_utf8()..], text.chars().next());
    let tail = rest.map(|c| &text[c.len_utf8()..]);
    match first {
        '*' => like(pattern, text) || tail.is_some_and(|t| like(&format!("*{pattern}"), t)),
        '?' => tail.is_some_and(|t| like(pattern, t)),
        c => rest.is_some_and(|r| r.eq_ignore_ascii_case(&c)) && like(pattern, tail.unwrap()),
    }
}

/// Everything up to and with the first refusal.
pub(crate) fn up_to_refusal(steps: impl IntoIterator<Item = Told>) -> Vec<Told> {
    let mut walked = Vec::new();
    for step in steps {
        walked.push(step);
        if refusal(&walked).is_some() {
            break;
        }
    }
    walked
}

pub(crate) fn refusal(steps: &[Told]) -> Option<(Reason, String)> {
    match steps.last()? {
        (_, Outcome::Refuse(reason), rule) => Some((*reason, rule.clone())),
        (_, Outcome::Pass | Outcome::NoRule, _) => None,
    }
}

/// Whether members lead back to the group that they are members of.
pub(crate) fn is_cyclic(rules: &Rules) -> bool {
    let members = |subject: &Subject| match subject {
        Subject::Group(name) => rules.groups[name].clone(),
        Subject::Department(name) => rules.departments[name].clone(),
        Subject::Any | Subject::Workstation(_) | Subject::User(_) | Subject::Mandant(_) => vec![],
    };
    let groups = rules.groups.keys().cloned().map(Subject::Group);
    groups.chain(rules.departments.keys().cloned().map(Subject::Department)).any(|start| {
        let (mut seen, mut open) = (BTreeSet::new(), members(&start));
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(members(&next));
            }
        }
        seen.contains(&start)
    })
}

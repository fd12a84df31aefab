//! The decision a second time, slow and obvious, straight from the contract's text; random small
//! configurations must get the same answers from both.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::kim::Login;
use crate::words::{Action, Protocol, Reason};

type Told = (StepName, Outcome, String);

/// One question to the gateway.
#[derive(Clone, Debug)]
struct Asked {
    peer: IpAddr,
    certificates: Vec<String>,
    login: String,
    protocol: Protocol,
    sender: String,
    recipient: String,
    service: String,
}

struct Model<'a> {
    rules: &'a Rules,
    asked: &'a Asked,
    login: Login,
    workstation: Option<&'a String>,
    account: Option<(&'a String, &'a AccountRules)>,
    users: BTreeSet<String>,
}

impl<'a> Model<'a> {
    fn new(rules: &'a Rules, asked: &'a Asked) -> Self {
        let login = Login::parse(asked.login.as_bytes());
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
            let claims = user.user_ids.iter().any(|id| !id.is_empty() && id == login.user_id());
            if shows(&user.certificates) || here || claims {
                users.insert(name.clone());
            }
        }
        let is = |written: &str| written.eq_ignore_ascii_case(login.address());
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
            Subject::Mandant(_) if self.login.mandant_id().is_empty() => in_doubt,
            Subject::Mandant(name) => self.login.mandant_id() == name,
        }
    }

    fn has(&self, members: &[Subject], in_doubt: bool) -> bool {
        members.iter().any(|member| self.is(member, in_doubt))
    }

    /// "Order of decisions, first refusal wins".
    fn login_steps(&self) -> Vec<Told> {
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
        let bare = self.login.mandant_id().is_empty()
            && self.login.clientsystem_id().is_empty()
            && self.login.workplace_id().is_empty()
            && self.login.user_id().is_empty()
            && self.login.konnektor_id().is_empty();
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
                off_list(
                    workstation.and_then(|w| w.workplaces.as_ref()),
                    self.login.workplace_id(),
                ),
                Reason::WorkplaceNotAssigned,
                rule("workplaces"),
            ),
        ]
    }

    fn lists(&self, action: Action) -> [Told; 2] {
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

    fn message_steps(&self) -> [Told; 3] {
        let account = self.account.map(|(_, account)| account);
        let sender = &self.asked.sender;
        let listed = account.is_some_and(|account| match sender.as_str() {
            "" => account.senders.contains(&"<>".into()),
            _ => account.senders.iter().any(|pattern| like(pattern, sender)),
        });
        let own = !sender.is_empty() && sender.eq_ignore_ascii_case(self.login.address());
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
                off_list(account.and_then(|a| a.services.as_ref()), service),
                Reason::ServiceNotAllowed,
                self.account_key(".send.services"),
            ),
        ]
    }

    fn account_key(&self, rest: &str) -> String {
        match self.account {
            Some((written, _)) => format!("accounts.\"{written}\"{rest}"),
            None => "policy.unknown_accounts".into(),
        }
    }

    fn client_module(&self) -> &str {
        self.account.and_then(|(_, account)| account.client_module.as_deref()).unwrap_or("main")
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
fn up_to_refusal(steps: impl IntoIterator<Item = Told>) -> Vec<Told> {
    let mut walked = Vec::new();
    for step in steps {
        walked.push(step);
        if refusal(&walked).is_some() {
            break;
        }
    }
    walked
}

fn refusal(steps: &[Told]) -> Option<(Reason, String)> {
    match steps.last()? {
        (_, Outcome::Refuse(reason), rule) => Some((*reason, rule.clone())),
        (_, Outcome::Pass | Outcome::NoRule, _) => None,
    }
}

fn facts_of(denial: &Denial) -> (Reason, String) {
    (denial.reason, denial.rule.to_string())
}

fn judged(mode: Mode, judgement: Judgement) -> Option<(Reason, String)> {
    match (mode, judgement) {
        (_, Judgement::Pass) => None,
        (Mode::Enforce, Judgement::Refuse(denial))
        | (Mode::Observe, Judgement::Observe(denial)) => Some(facts_of(&denial)),
        (mode, judgement) => panic!("{judgement:?} in {mode:?}"),
    }
}

fn compare_decisions(policy: &Policy, model: &Model<'_>) {
    let (rules, asked) = (model.rules, model.asked);
    let station = policy.station(asked.peer, &asked.certificates);
    assert_eq!(station.name(), model.workstation.map(String::as_str));
    let request = Request { station: &station, login: &model.login, protocol: asked.protocol };

    let expected = refusal(&up_to_refusal(model.login_steps()));
    let permit = match policy.decide(&request) {
        Err(denial) => {
            assert_eq!(rules.mode, Mode::Enforce);
            return assert_eq!(Some(facts_of(&denial)), expected);
        }
        Ok(permit) => permit,
    };
    assert_eq!(permit.would_deny().map(facts_of), expected);
    assert!(permit.would_deny().is_none() || rules.mode == Mode::Observe);
    assert!(permit.users().iter().map(AsRef::as_ref).eq(model.users.iter()));
    assert_eq!(permit.client_module(), model.client_module());
    assert_eq!(permit.known_account(), model.account.is_some());
    let [sender, recipient, service] = model.message_steps();
    assert_eq!(judged(rules.mode, permit.judge_sender(&asked.sender)), refusal(&[sender]));
    assert_eq!(judged(rules.mode, permit.judge_recipient(&asked.recipient)), refusal(&[recipient]));
    assert_eq!(permit.needs_service(), service.1 != Outcome::NoRule);
    let given = Some(asked.service.as_str()).filter(|service| !service.is_empty());
    assert_eq!(judged(rules.mode, permit.judge_service(given)), refusal(&[service]));
    let delete = up_to_refusal(model.lists(Action::Delete));
    assert_eq!(judged(rules.mode, permit.judge_delete()), refusal(&delete));
}

fn compare_explanations(policy: &Policy, model: &Model<'_>) {
    let asked = model.asked;
    let station = policy.station(asked.peer, &asked.certificates);
    let request = Request { station: &station, login: &model.login, protocol: asked.protocol };
    let sending = Wish {
        action: None,
        sender: Some(&asked.sender),
        recipient: Some(&asked.recipient),
        service: Some(&asked.service),
    };
    let deleting = Wish { action: Some(Action::Delete), ..Wish::default() };
    let further: [(Wish<'_>, Vec<Told>); 3] = [
        (Wish::default(), vec![]),
        (sending, model.message_steps().to_vec()),
        (deleting, model.lists(Action::Delete).to_vec()),
    ];
    for (wish, further) in further {
        if wish.action == Some(Action::Delete) && asked.protocol != Protocol::Pop3 {
            continue;
        }
        let expected = up_to_refusal(model.login_steps().into_iter().chain(further));
        let explanation = policy.explain(&request, &wish);
        let told: Vec<Told> =
            explanation.steps.iter().map(|s| (s.name, s.outcome, s.rule.to_string())).collect();
        assert_eq!(told, expected);
        assert_eq!(explanation.denial.as_ref().map(facts_of), refusal(&expected));
        let passes = refusal(&expected).is_none() || model.rules.mode == Mode::Observe;
        assert_eq!(explanation.allowed(), passes);
        assert_eq!(&*explanation.client_module, model.client_module());
        assert_eq!(explanation.workstation.as_deref(), model.workstation.map(String::as_str));
        assert!(explanation.users.iter().map(AsRef::as_ref).eq(model.users.iter()));
    }
}

/// Whether members lead back to the group that they are members of.
fn is_cyclic(rules: &Rules) -> bool {
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

fn texts(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(pool, 0..=most.min(pool.len()))
        .prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn subjects(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<Subject>> {
    vec(select(pool), 0..=most).prop_map(|l| l.iter().map(|s| s.parse().unwrap()).collect())
}

const WORKSTATIONS: [&str; 3] = ["PC1", "PC2", "PC3"];
const NETWORKS: [&str; 6] = [
    "10.0.0.1/32",
    "10.0.0.77/24",
    "10.0.0.0/8",
    "fd00::/8",
    "::ffff:10.0.0.2/128",
    "::ffff:10.0.1.0/120",
];
const EVERYBODY: &[&str] = &[
    "*",
    "workstation:PC1",
    "workstation:PC2",
    "workstation:PC3",
    "user:anna",
    "user:bert",
    "mandant:M1",
    "mandant:M2",
    "group:g1",
    "group:g2",
    "group:g3",
    "department:d1",
    "department:d2",
];
const LOGINS: &[&str] = &["a@x", "A@X#h:1#M1#C#W1#U1", "b@x#h:1#M2##W2", "a@x#h:1#M1#C#W1"];

prop_compose! {
    fn some_workstations()(
        networks in vec(option::of(0..3usize), NETWORKS.len()),
        certificates in vec(option::of(0..3usize), 2),
        workplaces in vec(option::of(texts(&["W1", "W2"], 2)), 3),
        logins in vec(option::weighted(0.2, texts(LOGINS, 3)), 3),
    ) -> Vec<Workstation> {
        let owned = |owners: &[Option<usize>], at| {
            (0..owners.len()).filter(|&n| owners[n] == Some(at)).collect::<Vec<_>>()
        };
        (0..3).map(|at| Workstation {
            addresses: owned(&networks, at).iter().map(|&n| NETWORKS[n].parse().unwrap()).collect(),
            certificates: owned(&certificates, at).iter().map(|n| format!("C{n}")).collect(),
            workplaces: workplaces[at].clone(),
            logins: logins[at].clone(),
        }).collect()
    }
}

prop_compose! {
    fn a_user()(
        certificates in texts(&["c0", "C1", "person"], 1),
        workstations in texts(&WORKSTATIONS, 1),
        user_ids in texts(&["U1", "U2"], 1),
    ) -> User {
        User { certificates, workstations, user_ids }
    }
}

prop_compose! {
    fn an_access(most: usize)(
        allow in subjects(EVERYBODY, most),
        deny in subjects(EVERYBODY, 1),
    ) -> AccessRules {
        AccessRules { allow, deny }
    }
}

prop_compose! {
    fn an_account()(
        client_module in option::of(select(&["main", "other"][..])),
        retired in prop::bool::weighted(0.1),
        access in an_access(3),
        receive in an_access(1),
        delete in an_access(1),
        send in an_access(1),
        services in option::of(texts(&["eAU;*", "KIM-Mail;*"], 2)),
        recipients in option::of(texts(&["*.kim", "r?@y"], 2)),
        senders in texts(&["s@*", "<>", "b?x"], 2),
    ) -> AccountRules {
        let client_module = client_module.map(str::to_owned);
        AccountRules {
            client_module, retired, access, receive, delete, send, services, recipients, senders,
        }
    }
}

fn otherwise() -> impl Strategy<Value = Otherwise> {
    select(&[Otherwise::Allow, Otherwise::Deny][..])
}

prop_compose! {
    fn some_rules()(
        mode in select(&[Mode::Enforce, Mode::Enforce, Mode::Observe][..]),
        switches in [otherwise(), otherwise(), otherwise()],
        workstations in some_workstations(),
        users in vec(a_user(), 2),
        groups in vec(subjects(EVERYBODY, 2), 3),
        departments in vec(subjects(EVERYBODY, 2), 2),
        accounts in btree_map(select(&["A@x", "b@x"][..]), an_account(), 0..=2),
    ) -> Rules {
        let named = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        Rules {
            mode,
            unknown_workstations: switches[0],
            unknown_accounts: switches[1],
            logins_without_context: switches[2],
            workstations: named(&WORKSTATIONS).into_iter().zip(workstations).collect(),
            users: named(&["anna", "bert"]).into_iter().zip(users).collect(),
            groups: named(&["g1", "g2", "g3"]).into_iter().zip(groups).collect(),
            departments: named(&["d1", "d2"]).into_iter().zip(departments).collect(),
            accounts: accounts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            client_modules: named(&["aaa", "main", "other"]),
        }
    }
}

fn some_login() -> impl Strategy<Value = String> {
    let address = select(&["a@x", "A@X", "a@x", "b@x", "c@x", ""][..]);
    let tail = select(
        &["", "#", "#h:1", "#h:1#M1", "#h:1##C#W1", "#h:1#M1#C#W1", "#h#M3#C#W2#*", "#\t#M1"][..],
    );
    let user = select(&["", "", "#U1", "#U2"][..]);
    let made = (address, tail, user).prop_map(|(address, tail, user)| {
        format!("{address}{tail}{}", if tail.len() > 8 { user } else { "" })
    });
    prop_oneof![3 => made, 1 => select(LOGINS).prop_map(str::to_owned)]
}

prop_compose! {
    fn a_question()(
        peer in select(&[
            "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "10.9.9.9",
            "fd00::1", "192.168.0.1",
        ][..]),
        certificates in texts(&["c1", "C0", "Person", "nobody"], 2),
        login in some_login(),
        protocol in select(&[Protocol::Pop3, Protocol::Smtp][..]),
        sender in select(&["", "a@X", "s@y", "b@x", "s"][..]),
        recipient in select(&["R1@y", "r@y", "q@z.kim", "q@z.kim.de"][..]),
        service in select(&["", "EAU;Lieferung;V1.2", "KIM-Mail;x", "Foo"][..]),
    ) -> Asked {
        let (sender, recipient, service) = (sender.into(), recipient.into(), service.into());
        let peer = peer.parse().unwrap();
        Asked { peer, certificates, login, protocol, sender, recipient, service }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None, // the model tells a failure from its printed input
        ..ProptestConfig::default()
    })]

    #[test]
    fn decide_and_explain_answer_as_the_text_of_the_contract(
        rules in some_rules(),
        questions in vec(a_question(), 6),
    ) {
        match Policy::compile(rules.clone()) {
            Err(errors) => {
                let cycles_only = errors.iter().all(|e| matches!(e.problem, Problem::Cycle { .. }));
                prop_assert!(cycles_only && is_cyclic(&rules), "{errors:?}");
            }
            Ok(policy) => {
                prop_assert!(!is_cyclic(&rules));
                for asked in &questions {
                    let model = Model::new(&rules, asked);
                    compare_decisions(&policy, &model);
                    compare_explanations(&policy, &model);
                }
            }
        }
    }
}

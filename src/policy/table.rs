//! Each rule with its reason, each rule error, and a practice of ten thousand of everything.

use std::collections::BTreeMap;

use super::*;
use crate::kim::Login;
use crate::words::{Action, Protocol, Reason};

const LOGIN: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1#ARZT";
const KEY: &str = "accounts.\"Prx@praxis.kim.telematik\"";

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

fn subjects(list: &[&str]) -> Vec<Subject> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// A practice where everything that the tests ask for is allowed until they change something.
fn practice() -> Rules {
    let workstation = |address: &str, certificate: &str| Workstation {
        addresses: vec![format!("{address}/32").parse().unwrap()],
        certificates: texts(&[certificate]),
        ..Workstation::default()
    };
    Rules {
        workstations: BTreeMap::from([
            ("PC1".into(), workstation("192.168.0.31", "pc1.praxis.local")),
            ("PC2".into(), workstation("192.168.0.32", "pc2.praxis.local")),
        ]),
        users: BTreeMap::from([
            ("anna".into(), User { workstations: texts(&["PC2"]), ..User::default() }),
            ("dr.mueller".into(), User { user_ids: texts(&["ARZT"]), ..User::default() }),
        ]),
        groups: BTreeMap::from([("rezeption".into(), subjects(&["user:anna"]))]),
        departments: BTreeMap::from([("kfo".into(), subjects(&["group:rezeption"]))]),
        accounts: BTreeMap::from([("Prx@praxis.kim.telematik".into(), AccountRules::default())]),
        client_modules: texts(&["main"]),
        ..Rules::default()
    }
}

fn account(rules: &mut Rules) -> &mut AccountRules {
    rules.accounts.get_mut("Prx@praxis.kim.telematik").unwrap()
}

fn pc1(rules: &mut Rules) -> &mut Workstation {
    rules.workstations.get_mut("PC1").unwrap()
}

fn decide(rules: Rules, from: &str, login: &str, protocol: Protocol) -> Result<Permit, Denial> {
    let policy = Policy::compile(rules).unwrap();
    let station = policy.station(from.parse().unwrap(), &[]);
    let login = Login::parse(login.as_bytes());
    policy.decide(&Request { station: &station, login: &login, protocol })
}

fn from_pc1(rules: Rules, protocol: Protocol) -> Result<Permit, Denial> {
    decide(rules, "192.168.0.31", LOGIN, protocol)
}

#[test]
fn a_known_workstation_may_use_a_known_account() {
    let permit = from_pc1(practice(), Protocol::Pop3).unwrap();
    assert_eq!(permit.account().as_str(), "prx@praxis.kim.telematik");
    assert_eq!(permit.client_module(), "main");
    assert_eq!(permit.users(), ["dr.mueller".into()]);
    assert_eq!(permit.rule().as_str(), KEY);
    assert!(permit.known_account() && !permit.needs_service());
    assert_eq!(permit.would_deny(), None);
    assert_eq!(permit.judge_delete(), Judgement::Pass);
}

type Change = fn(&mut Rules);

#[test]
fn every_rule_refuses_with_its_reason_and_its_key() {
    let pop3: [(Change, Reason, Action, &str); 14] = [
        (
            |r| pc1(r).addresses.clear(),
            Reason::UnknownWorkstation,
            Action::Login,
            "policy.unknown_workstations",
        ),
        (|r| r.accounts.clear(), Reason::AccountUnknown, Action::Login, "policy.unknown_accounts"),
        (
            |r| account(r).retired = true,
            Reason::AccountRetired,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".retired",
        ),
        (
            |r| pc1(r).logins = Some(texts(&[&LOGIN.to_uppercase()])),
            Reason::LoginNotAssigned,
            Action::Login,
            "workstations.PC1.logins",
        ),
        (
            |r| pc1(r).workplaces = Some(texts(&["pc1", "PC2"])),
            Reason::WorkplaceNotAssigned,
            Action::Login,
            "workstations.PC1.workplaces",
        ),
        (
            |r| account(r).access.deny = subjects(&["workstation:PC1"]),
            Reason::Denied,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".deny",
        ),
        (
            |r| account(r).access.deny = subjects(&["*"]),
            Reason::Denied,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".deny",
        ),
        (
            |r| account(r).access.deny = subjects(&["mandant:Mandant1"]),
            Reason::Denied,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".deny",
        ),
        (
            |r| account(r).access.allow = subjects(&["department:kfo"]),
            Reason::NotAllowed,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".allow",
        ),
        (
            |r| account(r).access.allow = subjects(&["mandant:mandant1"]),
            Reason::NotAllowed,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".allow",
        ),
        (
            |r| account(r).receive.deny = subjects(&["user:dr.mueller"]),
            Reason::Denied,
            Action::Receive,
            "accounts.\"Prx@praxis.kim.telematik\".receive.deny",
        ),
        (
            |r| account(r).receive.allow = subjects(&["user:anna"]),
            Reason::NotAllowed,
            Action::Receive,
            "accounts.\"Prx@praxis.kim.telematik\".receive.allow",
        ),
        (
            |r| {
                account(r).access.allow = subjects(&["*"]);
                account(r).access.deny = subjects(&["user:dr.mueller"]);
            },
            Reason::Denied,
            Action::Login,
            "accounts.\"Prx@praxis.kim.telematik\".deny",
        ),
        (
            |r| {
                r.groups.insert("inner".into(), subjects(&["workstation:PC1"]));
                r.groups.insert("outer".into(), subjects(&["group:inner"]));
                r.departments.insert("all".into(), subjects(&["group:outer"]));
                account(r).receive.deny = subjects(&["department:all"]);
            },
            Reason::Denied,
            Action::Receive,
            "accounts.\"Prx@praxis.kim.telematik\".receive.deny",
        ),
    ];
    for (at, (change, reason, action, rule)) in pop3.into_iter().enumerate() {
        let mut rules = practice();
        change(&mut rules);
        let denial = from_pc1(rules.clone(), Protocol::Pop3).unwrap_err();
        assert_eq!((denial.reason, denial.action), (reason, action), "row {at}");
        assert_eq!(denial.rule.as_str(), rule, "row {at}");
        if action == Action::Receive {
            assert!(from_pc1(rules.clone(), Protocol::Smtp).is_ok(), "row {at} sends");
        }
        rules.mode = Mode::Observe;
        let permit = from_pc1(rules, Protocol::Pop3).unwrap();
        assert_eq!(permit.would_deny(), Some(&denial), "row {at}");
        assert_eq!(permit.rule().as_str(), "policy.mode", "row {at}");
    }
    let mut rules = practice();
    account(&mut rules).send.deny = subjects(&["workstation:PC1"]);
    assert!(from_pc1(rules.clone(), Protocol::Pop3).is_ok());
    let denial = from_pc1(rules, Protocol::Smtp).unwrap_err();
    assert_eq!(denial.rule.as_str(), format!("{KEY}.send.deny"));
    assert_eq!((denial.reason, denial.action), (Reason::Denied, Action::Send));
}

#[test]
fn what_admits_is_the_narrowest_allow_list() {
    let mut rules = practice();
    account(&mut rules).access.allow = subjects(&["user:anna", "workstation:PC1"]);
    let permit = from_pc1(rules.clone(), Protocol::Pop3).unwrap();
    assert_eq!(permit.rule().as_str(), format!("{KEY}.allow"));
    account(&mut rules).receive.allow = subjects(&["mandant:Mandant1"]);
    let permit = from_pc1(rules.clone(), Protocol::Pop3).unwrap();
    assert_eq!(permit.rule().as_str(), format!("{KEY}.receive.allow"));
    let permit = from_pc1(rules, Protocol::Smtp).unwrap();
    assert_eq!(permit.rule().as_str(), format!("{KEY}.allow"));
}

#[test]
fn a_field_that_the_login_lacks_does_not_help_past_a_rule() {
    let short = "prx@praxis.kim.telematik";
    let ask = |change: Change, login: &str| {
        let mut rules = practice();
        change(&mut rules);
        decide(rules, "192.168.0.31", login, Protocol::Pop3).map_err(|denial| denial.reason)
    };
    let table: [(Change, &str, Option<Reason>); 10] = [
        (|_| (), short, None),
        (|r| r.logins_without_context = Otherwise::Deny, short, Some(Reason::Denied)),
        (|r| r.logins_without_context = Otherwise::Deny, "prx@praxis.kim.telematik#", {
            Some(Reason::Denied)
        }),
        (|r| r.logins_without_context = Otherwise::Deny, LOGIN, None),
        (|r| pc1(r).workplaces = Some(texts(&["PC1"])), short, Some(Reason::WorkplaceNotAssigned)),
        (
            |r| account(r).access.allow = subjects(&["mandant:Mandant1"]),
            short,
            Some(Reason::NotAllowed),
        ),
        (|r| account(r).access.deny = subjects(&["mandant:M9"]), short, Some(Reason::Denied)),
        (|r| account(r).access.deny = subjects(&["mandant:M9"]), LOGIN, None),
        (|r| account(r).access.deny = subjects(&["user:dr.mueller"]), short, None),
        (|r| pc1(r).workplaces = Some(vec![]), short, None),
    ];
    for (at, (change, login, reason)) in table.into_iter().enumerate() {
        assert_eq!(ask(change, login).err(), reason, "row {at}");
    }
}

#[test]
fn a_malformed_login_is_refused_and_while_observing_goes_to_the_default() {
    let mut rules = practice();
    rules.client_modules = texts(&["aaa", "main", "other"]);
    account(&mut rules).client_module = Some("other".into());
    for login in ["", "prx@praxis.kim.telematik#a\tb"] {
        rules.mode = Mode::Enforce;
        let denial = decide(rules.clone(), "192.168.0.31", login, Protocol::Smtp).unwrap_err();
        assert_eq!(denial.reason, Reason::LoginMalformed);
        assert_eq!(denial.rule.as_str(), "built-in");
        rules.mode = Mode::Observe;
        let permit = decide(rules.clone(), "192.168.0.31", login, Protocol::Smtp).unwrap();
        assert_eq!(permit.client_module(), "main");
        assert_eq!(permit.would_deny(), Some(&denial));
        assert!(!permit.known_account());
    }
}

#[test]
fn what_is_unknown_may_be_let_in() {
    let mut rules = practice();
    rules.unknown_workstations = Otherwise::Allow;
    rules.unknown_accounts = Otherwise::Allow;
    let permit = decide(rules.clone(), "10.9.9.9", "New@x.kim.telematik", Protocol::Smtp).unwrap();
    assert!(!permit.known_account() && !permit.needs_service());
    assert_eq!(permit.rule().as_str(), "policy.unknown_accounts");
    assert_eq!(permit.judge_recipient("anyone@anywhere"), Judgement::Pass);
    assert_eq!(permit.judge_service(None), Judgement::Pass);
    assert_eq!(permit.judge_sender("new@X.kim.telematik"), Judgement::Pass);
    let Judgement::Refuse(denial) = permit.judge_sender("other@x.kim.telematik") else { panic!() };
    assert_eq!(denial.rule.as_str(), "policy.unknown_accounts");

    account(&mut rules).access.allow = subjects(&["workstation:PC1"]);
    let denial = decide(rules, "10.9.9.9", LOGIN, Protocol::Smtp).unwrap_err();
    assert_eq!(denial.reason, Reason::NotAllowed);
}

#[test]
fn senders_recipients_services_and_deletions_are_judged_one_by_one() {
    let mut rules = practice();
    let prx = account(&mut rules);
    prx.senders = texts(&["info@*.kim.telematik"]);
    prx.recipients = Some(texts(&["*.kim.telematik"]));
    prx.services = Some(texts(&["KIM-Mail;*", "EAU;*"]));
    prx.delete.allow = subjects(&["user:anna"]);
    let permit = from_pc1(rules.clone(), Protocol::Smtp).unwrap();
    assert!(permit.needs_service());
    let table = [
        (permit.judge_sender("PRX@praxis.kim.telematik"), None),
        (permit.judge_sender("info@x.KIM.telematik"), None),
        (permit.judge_sender("anna@x.kim.telematik"), Some(Reason::SenderNotAllowed)),
        (permit.judge_sender(""), Some(Reason::SenderNotAllowed)),
        (permit.judge_recipient("a@b.KIM.telematik"), None),
        (permit.judge_recipient("a@b.example"), Some(Reason::RecipientNotAllowed)),
        (permit.judge_recipient(""), Some(Reason::RecipientNotAllowed)),
        (permit.judge_service(None), None),
        (permit.judge_service(Some(" \t")), None),
        (permit.judge_service(Some(" eAU;Lieferung;V1.2\t")), None),
        (permit.judge_service(Some("eEB;Anfrage;V1.0")), Some(Reason::ServiceNotAllowed)),
        (permit.judge_delete(), Some(Reason::DeleteNotAllowed)),
    ];
    for (at, (judgement, expected)) in table.into_iter().enumerate() {
        let reason = match judgement {
            Judgement::Refuse(denial) => Some(denial.reason),
            Judgement::Pass => None,
            Judgement::Observe(_) => panic!("row {at}"),
        };
        assert_eq!(reason, expected, "row {at}");
    }
    let by_anna = decide(rules.clone(), "192.168.0.32", LOGIN, Protocol::Pop3).unwrap();
    assert_eq!(by_anna.judge_delete(), Judgement::Pass);

    rules.mode = Mode::Observe;
    account(&mut rules).senders = texts(&["<>", "*"]);
    let permit = from_pc1(rules, Protocol::Smtp).unwrap();
    assert_eq!(permit.judge_sender(""), Judgement::Pass);
    let Judgement::Observe(denial) = permit.judge_delete() else { panic!() };
    assert_eq!(denial.rule.as_str(), format!("{KEY}.delete.allow"));
    assert_eq!(denial.action, Action::Delete);
}

#[test]
fn a_star_among_the_senders_is_not_the_null_sender() {
    let mut rules = practice();
    account(&mut rules).senders = texts(&["*"]);
    let permit = from_pc1(rules, Protocol::Smtp).unwrap();
    assert!(matches!(permit.judge_sender(""), Judgement::Refuse(_)));
    assert_eq!(permit.judge_sender("anyone"), Judgement::Pass);
}

#[test]
fn a_certificate_beats_the_address_where_it_names_a_workstation() {
    let policy = Policy::compile(practice()).unwrap();
    let table: [(&str, &[&str], Option<&str>); 6] = [
        ("192.168.0.31", &[], Some("PC1")),
        ("::ffff:192.168.0.31", &[], Some("PC1")),
        ("192.168.0.31", &["PC2.Praxis.Local"], Some("PC2")),
        ("192.168.0.31", &["dr.mueller"], Some("PC1")),
        ("10.9.9.9", &["someone", "pc1.praxis.local"], Some("PC1")),
        ("10.9.9.9", &["someone"], None),
    ];
    for (peer, certificates, expected) in table {
        let station = policy.station(peer.parse().unwrap(), &texts(certificates));
        assert_eq!(station.name(), expected, "{peer} {certificates:?}");
    }
}

#[test]
fn a_station_from_older_rules_is_unknown_once_its_workstation_is_gone() {
    let old = Policy::compile(practice()).unwrap();
    let station = old.station("192.168.0.31".parse().unwrap(), &[]);
    let mut rules = practice();
    rules.workstations.remove("PC1");
    let new = Policy::compile(rules).unwrap();
    let login = Login::parse(LOGIN.as_bytes());
    let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
    assert_eq!(new.decide(&request).unwrap_err().reason, Reason::UnknownWorkstation);
    assert_eq!(new.explain(&request, &Wish::default()).workstation, None);
}

#[test]
fn the_default_client_module_is_the_only_one_or_main_or_the_first() {
    for (names, expected) in [(&["x"][..], "x"), (&["a", "main", "z"], "main"), (&["a", "b"], "a")]
    {
        let rules = Rules { client_modules: texts(names), ..practice() };
        let permit = from_pc1(rules, Protocol::Pop3).unwrap();
        assert_eq!(permit.client_module(), expected);
    }
}

#[test]
fn an_explanation_ends_with_the_refusal() {
    let mut rules = practice();
    account(&mut rules).delete.deny = subjects(&["workstation:PC1"]);
    let policy = Policy::compile(rules).unwrap();
    let station = policy.station("192.168.0.31".parse().unwrap(), &[]);
    let login = Login::parse(LOGIN.as_bytes());
    let request = Request { station: &station, login: &login, protocol: Protocol::Smtp };
    let wish = Wish { action: Some(Action::Delete), ..Wish::default() };
    let explanation = policy.explain(&request, &wish);
    assert!(!explanation.allowed());
    assert_eq!(explanation.rule.as_str(), format!("{KEY}.delete.deny"));
    let last = explanation.steps.last().unwrap();
    assert_eq!(last.name, StepName::ActionDeny(Action::Delete));
    assert_eq!(last.outcome, Outcome::Refuse(Reason::DeleteNotAllowed));
    assert!(explanation.steps.iter().any(|s| s.name == StepName::ActionAllow(Action::Receive)));
    assert!(policy.explain(&request, &Wish::default()).allowed());
}

#[test]
fn every_problem_is_named_at_once_with_its_key() {
    let mut rules = practice();
    rules.client_modules = texts(&["haupt"]);
    let pc2 = rules.workstations.get_mut("PC2").unwrap();
    pc2.addresses.push("::ffff:192.168.0.31/128".parse().unwrap());
    pc2.certificates.push("PC1.praxis.local".into());
    pc2.workplaces = Some(texts(&[""]));
    rules.users.get_mut("anna").unwrap().workstations.push("PC9".into());
    rules.users.get_mut("anna").unwrap().user_ids.push(String::new());
    rules.groups.insert("a".into(), subjects(&["department:b", "user:ana"]));
    rules.departments.insert("b".into(), subjects(&["group:a"]));
    let prx = account(&mut rules);
    prx.client_module = Some("hauptt".into());
    prx.receive.allow = subjects(&["group:rezepton", "department:zzz"]);
    prx.senders = texts(&[""]);
    rules.accounts.insert("prx@PRAXIS.kim.telematik".into(), AccountRules::default());
    rules.accounts.insert("x@y#1".into(), AccountRules::default());
    let told: Vec<String> =
        Policy::compile(rules).unwrap_err().iter().map(RuleError::to_string).collect();
    let expected = [
        "groups.a.members: nobody is called \"user:ana\"; did you mean \"anna\"?",
        "groups.a.members: its members lead back to itself: group:a > department:b > group:a; \
         take one of these steps out",
        "workstations.PC2.addresses: 192.168.0.31/32 belongs to workstation \"PC1\" already; \
         one of the two must change",
        "workstations.PC2.certificates: certificate \"PC1.praxis.local\" belongs to workstation \
         \"PC1\" already; one must change",
        "workstations.PC2.workplaces: an empty entry matches nothing; take it out; to admit logins \
         without a WorkplaceId, leave the list out",
        "users.anna.workstations: nobody is called \"workstation:PC9\"; did you mean \"PC2\"?",
        "users.anna.user_ids: an empty entry matches nothing; take it out",
        "accounts.\"Prx@praxis.kim.telematik\".client_module: there is no client module \
         \"hauptt\"; did you mean \"haupt\"?",
        "accounts.\"Prx@praxis.kim.telematik\".send.senders: an empty entry matches nothing; take \
         it out; the null sender is written \"<>\"",
        "accounts.\"Prx@praxis.kim.telematik\".receive.allow: nobody is called \"group:rezepton\"; \
         did you mean \"rezeption\"?",
        "accounts.\"Prx@praxis.kim.telematik\".receive.allow: nobody is called \
         \"department:zzz\"; correct the name, or add a table with it",
        "accounts.\"prx@PRAXIS.kim.telematik\": this is the same account as \
         \"Prx@praxis.kim.telematik\": case does not count; merge the two",
        "accounts.\"x@y#1\": no login can name this account; write the mail address alone, \
         without \"#\", blanks around it or control characters",
    ];
    assert_eq!(told, expected);
    let errors = Policy::compile(Rules::default()).unwrap_err();
    assert_eq!(errors[0].problem, Problem::NoClientModule);
    assert_eq!(errors[0].key, ["client_modules"]);
}

/// Ten thousand workstations, users and accounts, a thousand groups, nested five deep.
fn large_practice() -> Rules {
    let mut rules = practice();
    for n in 0..10_000u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        rules.workstations.insert(
            format!("W{n}"),
            Workstation {
                addresses: vec![format!("{address}/32").parse().unwrap()],
                certificates: vec![format!("w{n}.local")],
                workplaces: Some(vec![format!("P{n}")]),
                logins: None,
            },
        );
        rules.users.insert(
            format!("u{n}"),
            User { workstations: vec![format!("W{n}")], ..User::default() },
        );
        rules.accounts.insert(
            format!("a{n}@x.kim.telematik"),
            AccountRules {
                access: AccessRules {
                    allow: vec![Subject::Group(format!("g{}", 800 + n % 200))],
                    deny: vec![Subject::Workstation(format!("W{}", (n + 1) % 10_000))],
                },
                ..AccountRules::default()
            },
        );
    }
    for n in 0..1_000 {
        let members = match n {
            0..200 => (0..50).map(|k| Subject::User(format!("u{}", n + 200 * k))).collect(),
            _ => vec![Subject::Group(format!("g{}", n - 200))],
        };
        rules.groups.insert(format!("g{n}"), members);
    }
    rules
}

#[test]
fn ten_thousand_of_everything_get_the_right_answer() {
    let policy = Policy::compile(large_practice()).unwrap();
    let ask = |workstation: u32, account: u32| {
        let peer = std::net::Ipv4Addr::from(0x0a00_0000 + workstation);
        let station = policy.station(peer.into(), &[]);
        let login = format!("a{account}@x.kim.telematik#h:1#M#C#P{workstation}");
        let login = Login::parse(login.as_bytes());
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        policy.decide(&request).map(|_| ()).map_err(|denial| denial.reason)
    };
    for n in (0..10_000).step_by(7) {
        assert_eq!(ask(n, n), Ok(()), "{n}");
        assert_eq!(ask(n, (n + 200) % 10_000), Ok(()), "{n}");
        assert_eq!(ask(n, (n + 1) % 200), Err(Reason::NotAllowed), "{n}");
        assert_eq!(ask((n + 1) % 10_000, n), Err(Reason::Denied), "{n}");
    }
}

#[test]
fn every_step_has_a_word_of_its_own() {
    let policy = Policy::compile(practice()).unwrap();
    let station = policy.station("192.168.0.31".parse().unwrap(), &[]);
    let login = Login::parse(LOGIN.as_bytes());
    let request = Request { station: &station, login: &login, protocol: Protocol::Smtp };
    let wish = Wish {
        action: Some(Action::Send),
        sender: Some("prx@praxis.kim.telematik"),
        recipient: Some("a@b"),
        service: Some(""),
    };
    let steps = policy.explain(&request, &wish).steps;
    let words: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let expected = [
        "workstation",
        "login-form",
        "account",
        "retired",
        "login-context",
        "logins",
        "workplaces",
        "deny",
        "allow",
        "send-deny",
        "send-allow",
        "sender",
        "recipient",
        "service",
    ];
    assert_eq!(words, expected);
}

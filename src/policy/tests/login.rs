//! Who is refused at login, and who gets a permit.

use super::*;

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

/// The Kelvin sign is a K in lower case by Unicode's rules, and another letter in a certificate.
#[test]
fn a_certificate_of_another_letter_is_another_name() {
    let mut rules = practice();
    pc1(&mut rules).certificates = texts(&["Kim-PC1"]);
    rules.users.insert("kai".into(), User { certificates: texts(&["kai"]), ..User::default() });
    let policy = Policy::compile(rules).unwrap();
    let peer = "10.9.9.9".parse().unwrap();
    let name = |certificate| policy.station(peer, &texts(&[certificate])).name().map(str::to_owned);
    assert_eq!(name("kIM-pc1").as_deref(), Some("PC1"));
    assert_eq!(name("\u{212a}im-PC1"), None);
    let users = |certificate| {
        let station = policy.station("192.168.0.31".parse().unwrap(), &texts(&[certificate]));
        let login = Login::parse(LOGIN.as_bytes());
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        policy.decide(&request).unwrap().users().iter().any(|user| **user == *"kai")
    };
    assert!(users("KAI") && !users("\u{212a}AI"));
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
fn a_login_that_names_another_host_is_refused() {
    let ask = |servers: &[&str], server: &str| {
        let rules = Rules { login_servers: texts(servers), ..practice() };
        let login = format!("prx@praxis.kim.telematik#{server}#Mandant1#pvs#PC1");
        let denial = decide(rules, "192.168.0.31", &login, Protocol::Pop3).err()?;
        assert_eq!(denial.rule.as_str(), "policy.login_servers", "{server}");
        Some(denial.reason)
    };
    let defaults = &crate::policy::LOGIN_SERVERS[..];
    for good in [
        "mail.kim.telematik:995",
        "MAIL.KIM.Telematik:995",
        "mail.kim.telematik.:995",
        "mail.kim.telematik;995",
        "mail.kim.telematik-test:995",
        "",
        "*",
        "Mandant-1",
    ] {
        assert_eq!(ask(defaults, good), None, "{good}");
    }
    for bad in [
        "127.0.0.1:22",
        "evil.example:995",
        "evil.example;995",
        "evil.example 995",
        "[::1]:22",
        "localhost:25",
        "mail.kim.telematik.evil.example:995",
        "evil:995@mail.kim.telematik:995",
        "mail.kim.telematik:995@evil:995",
        "evil.example:22 mail.kim.telematik:995",
        "evil.example:99999999",
        "telematik:995",
    ] {
        assert_eq!(ask(defaults, bad), Some(Reason::LoginServerNotAllowed), "{bad}");
        assert_eq!(ask(&["*"], bad), None, "{bad}");
    }
    assert_eq!(ask(&["::1", "10.0.0.?"], "[::1]:995"), None);
    assert_eq!(ask(&["::1", "10.0.0.?"], "10.0.0.7:995"), None);
    assert_eq!(ask(&[], "mail.kim.telematik:995"), Some(Reason::LoginServerNotAllowed));
}

#[test]
fn a_login_without_a_server_must_pass_workplaces_in_both_readings() {
    let ask = |workplaces: &[&str], tail: &str| {
        let mut rules = practice();
        pc1(&mut rules).workplaces = Some(texts(workplaces));
        let login = format!("prx@praxis.kim.telematik#{tail}");
        decide(rules, "192.168.0.31", &login, Protocol::Pop3).err().map(|denial| denial.reason)
    };
    let refused = Some(Reason::WorkplaceNotAssigned);
    // Without host:port, the third field is the WorkplaceId: this login uses PC2's card session.
    assert_eq!(ask(&["PC1"], "Mandant1#pvs#PC2#PC1"), refused);
    assert_eq!(ask(&["PC1"], "Mandant1#pvs#PC1#PC2"), refused);
    assert_eq!(ask(&["PC1"], "Mandant1#pvs#PC1"), refused);
    assert_eq!(ask(&["PC1"], "Mandant1#pvs#PC1#PC1"), None);
    assert_eq!(ask(&["PC1"], "mail.kim.telematik:995#Mandant1#pvs#PC1"), None);
    assert_eq!(ask(&["PC1"], "*#Mandant1#pvs#PC1"), None);
}

#[test]
fn a_user_is_found_by_the_user_id_of_an_smtp_login_in_either_order() {
    let users = |tail: &str, protocol| {
        let login = format!("prx@praxis.kim.telematik#*#Mandant1#pvs#PC1{tail}");
        let permit = decide(practice(), "192.168.0.31", &login, protocol).unwrap();
        permit.users().iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    for tail in ["#ARZT", "#ARZT#Konn_1", "#Konn_1#ARZT", "#*#ARZT"] {
        assert_eq!(users(tail, Protocol::Smtp), ["dr.mueller"], "{tail}");
    }
    assert_eq!(users("#ARZT#Konn_1", Protocol::Pop3), ["dr.mueller"]);
    for tail in ["#Konn_1#ARZT", "#*#ARZT", "#*#Konn_1"] {
        assert!(users(tail, Protocol::Pop3).is_empty(), "POP3 has one order: {tail}");
    }
}

//! What a permit says about senders, recipients, services and deletions.

use super::*;

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
        (permit.judge_service(Some("\u{1}eAU;Lieferung;V1.2 \0")), None),
        (permit.judge_service(Some("\u{1}")), None),
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

/// What is refused where kimgate cannot know what the header block says, and by which rule.
#[test]
fn a_header_that_cannot_be_judged_is_refused_where_a_rule_asks_for_it() {
    let any: fn(&mut AccountRules) = |_| ();
    let services: fn(&mut AccountRules) = |account| account.services = Some(texts(&["*"]));
    let from: fn(&mut AccountRules) = |account| account.from = Authors::Account;
    for mode in [Mode::Enforce, Mode::Observe] {
        for (change, malformed, unread, author) in [
            (any, None, None, None),
            (services, Some("services"), Some("services"), None),
            (from, Some("from"), None, Some("from")),
        ] {
            let mut rules = practice();
            rules.mode = mode;
            change(account(&mut rules));
            let permit = from_pc1(rules, Protocol::Smtp).unwrap();
            for (judgement, reason, key) in [
                (permit.judge_malformed_header(), Reason::HeaderMalformed, malformed),
                (permit.judge_unread_service(), Reason::ServiceNotAllowed, unread),
                (permit.judge_author(None), Reason::SenderNotAllowed, author),
                (permit.judge_author(Some("other@b")), Reason::SenderNotAllowed, author),
                (permit.judge_author(Some("PRX@praxis.kim.telematik")), Reason::TlsFailed, None),
            ] {
                let said = match (judgement, mode) {
                    (Judgement::Pass, _) => None,
                    (Judgement::Refuse(denial), Mode::Enforce)
                    | (Judgement::Observe(denial), Mode::Observe) => {
                        assert_eq!((denial.reason, denial.action), (reason, Action::Send));
                        Some(denial.rule.to_string())
                    }
                    (other, _) => panic!("{other:?}"),
                };
                assert_eq!(said, key.map(|key| format!("{KEY}.send.{key}")));
            }
        }
    }
}

#[test]
fn a_star_among_the_senders_is_not_the_null_sender() {
    let mut rules = practice();
    account(&mut rules).senders = texts(&["*"]);
    let permit = from_pc1(rules, Protocol::Smtp).unwrap();
    assert!(matches!(permit.judge_sender(""), Judgement::Refuse(_)));
    assert_eq!(permit.judge_sender("anyone"), Judgement::Pass);
}

/// `KIM-Mail;Default;V1.0, eAU;Lieferung;V1.0` matched `KIM-Mail;*`.
#[test]
fn a_service_that_is_read_in_several_ways_is_on_no_list() {
    let mut rules = practice();
    account(&mut rules).services = Some(texts(&["KIM-Mail;*"]));
    let listed = from_pc1(rules.clone(), Protocol::Smtp).unwrap();
    account(&mut rules).services = Some(texts(&["*"]));
    let any = from_pc1(rules, Protocol::Smtp).unwrap();
    assert_eq!(listed.judge_service(Some("KIM-Mail;Default;V1.0")), Judgement::Pass);
    for service in [
        "KIM-Mail;Default;V1.0, eAU;Lieferung;V1.0",
        "KIM-Mail;Default;V1.0 eAU;Lieferung;V1.0",
        "KIM-Mail;=?utf-8?Q?x?=",
        "KIM-Mail;(x)",
        "KIM-Mail;\0eAU;Lieferung;V1.0",
        "KIM-Mail;x\u{2028}eAU;Lieferung;V1.0",
    ] {
        assert!(matches!(listed.judge_service(Some(service)), Judgement::Refuse(_)), "{service}");
        assert_eq!(any.judge_service(Some(service)), Judgement::Pass, "{service}");
    }
}

#[test]
fn only_these_sessions_may_send_a_service_that_is_reserved() {
    let mut rules = practice();
    let prx = account(&mut rules);
    prx.services = Some(texts(&["eAU;*", "KIM-Mail;*"]));
    prx.only.insert("eAU;*".into(), subjects(&["group:rezeption"]));
    prx.only.insert("*;Storno;*".into(), subjects(&["user:dr.mueller"]));
    prx.only.insert("eDMP;*".into(), vec![]);
    let doctor = from_pc1(rules.clone(), Protocol::Smtp).unwrap();
    let anna = decide(
        rules.clone(),
        "192.168.0.32",
        "prx@praxis.kim.telematik#mail.kim.telematik:465#M#C#PC2",
        Protocol::Smtp,
    )
    .unwrap();
    let eau = format!("{KEY}.send.only.\"eAU;*\"");
    let storno = format!("{KEY}.send.only.\"*;Storno;*\"");
    let services = format!("{KEY}.send.services");
    let table: [(&Permit, Option<&str>, Option<&str>); 11] = [
        (&anna, Some("eau;Lieferung;V1.2"), None),
        (&doctor, Some("EAU;Lieferung;V1.2"), Some(&eau)),
        (&doctor, Some("KIM-Mail;Default;V1.0"), None),
        (&doctor, None, None),
        // Every pattern that matches has to be passed.
        (&anna, Some("eAU;Storno;V1.2"), Some(&storno)),
        (&doctor, Some("eAU;Storno;V1.2"), Some(&eau)),
        (&anna, Some("KIM-Mail;Storno;V1.0"), Some(&storno)),
        (&doctor, Some("KIM-Mail;Storno;V1.0"), None),
        // Neither list takes back what the other one refuses.
        (&anna, Some("eEB;Anfrage;V1.0"), Some(&services)),
        (&doctor, Some("eDMP;x"), Some(&services)),
        (&doctor, Some("\u{2026}"), Some(&services)),
    ];
    for (at, (permit, service, expected)) in table.into_iter().enumerate() {
        let rule = match permit.judge_service(service) {
            Judgement::Refuse(denial) => {
                assert_eq!(denial.reason, Reason::ServiceNotAllowed);
                Some(denial.rule.to_string())
            }
            Judgement::Pass => None,
            Judgement::Observe(_) => panic!("row {at}"),
        };
        assert_eq!(rule.as_deref(), expected, "row {at}");
    }
    account(&mut rules).services = None;
    let everybody = from_pc1(rules, Protocol::Smtp).unwrap();
    assert!(everybody.needs_service());
    // Nobody may send what an empty list reserves, and nobody what only a recipient can read.
    let hidden = "=?utf-8?Q?eAU=3BLieferung?=";
    for service in
        ["eDMP;x", hidden, "(a) eAU;x", "e\u{30}\u{301}AU", "\u{2026}", &"x".repeat(2000)]
    {
        assert!(
            matches!(everybody.judge_service(Some(service)), Judgement::Refuse(_)),
            "{service}"
        );
    }
}

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

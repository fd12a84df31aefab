//! The steps of a decision.

use super::*;

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
        author: Some("prx@praxis.kim.telematik"),
    };
    let steps = policy.explain(&request, &wish).steps;
    let words: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let expected = [
        "workstation",
        "login-form",
        "login-server",
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
        "service-only",
        "author",
    ];
    assert_eq!(words, expected);
}

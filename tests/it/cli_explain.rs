//! `kimgate explain` as it is typed.

use crate::support::cli::{Ran, in_repository, kimgate, text, write};

const PRACTICE: &str = "config/practice.toml";

fn login(account: &str, workplace: &str) -> String {
    format!("{account}@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#{workplace}")
}

fn explain(config: &str, from: &str, login: &str, more: &[&str]) -> Ran {
    let asked = ["explain", "--config", config, "--from", from, "--login", login];
    kimgate(&[&asked, more].concat())
}

/// The number of the first line with this text, from 1.
fn line_of(config: &str, wanted: &str, after: &str) -> usize {
    let text = std::fs::read_to_string(config).unwrap();
    let start = text.lines().position(|line| line == after).unwrap();
    start + 1 + text.lines().skip(start).position(|line| line.starts_with(wanted)).unwrap()
}

#[test]
fn what_is_allowed_is_shown_step_by_step_and_ends_with_0() {
    let config = in_repository(PRACTICE);
    let kfo = login("kfo", "KFO1");
    let more = ["--action", "send", "--service", "eAU;Lieferung;V1.2", "--recipient", "a@b.c"];
    let said = explain(&config, "192.168.0.41", &kfo, &more).expect(0);
    let section = "[accounts.\"kfo@praxis.kim.telematik\"]";
    let line = line_of(&config, "allow", section);
    for wanted in [
        "KFO1 (192.168.0.41) wants to send as kfo@praxis.kim.telematik",
        "counts as workstation:KFO1, department:kieferorthopaedie",
        "✓ KFO1 may use WorkplaceId KFO1",
        "✓ service eAU;Lieferung;V1.2 is admitted",
        "✓ any recipient may get mail",
        &format!("kfo@praxis.kim.telematik\".allow, {config}:{line}"),
        "client module main",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    assert!(!said.contains('✗'), "{said}");
}

/// Address, account, WorkplaceId, further arguments; reason, and what the remedy says.
type Refusal =
    (&'static str, &'static str, &'static str, &'static [&'static str], &'static str, &'static str);

#[test]
fn a_refusal_names_the_rule_its_line_and_what_would_have_to_change() {
    let config = in_repository(PRACTICE);
    let table: [Refusal; 10] = [
        (
            "192.168.0.99",
            "kfo",
            "KFO1",
            &[],
            "unknown-workstation",
            "addresses = [\"192.168.0.99\"]",
        ),
        ("192.168.0.42", "kfo", "KFO1", &[], "workplace-not-assigned", "WorkplaceId KFO2"),
        ("192.168.0.41", "fremd", "KFO1", &[], "account-unknown", "[accounts.\"fremd@"),
        (
            "192.168.0.31",
            "kfo",
            "ZIMMER1",
            &[],
            "not-allowed",
            "member of \"department:kieferortho",
        ),
        ("192.168.0.11", "abrechnung", "EMPFANG1", &[], "denied", "take \"group:empfang\" out of"),
        (
            "192.168.0.41",
            "praxis",
            "KFO1",
            &["--action", "delete"],
            "delete-not-allowed",
            "\"group:empfang\"",
        ),
        ("192.168.0.41", "kfo", "KFO1", &["--sender", "x@y"], "sender-not-allowed", "add \"x@y\""),
        (
            "192.168.0.21",
            "abrechnung",
            "BUERO1",
            &["--recipient", "x@gmx.de"],
            "recipient-not-allowed",
            "\"x@gmx.de\"",
        ),
        (
            "192.168.0.41",
            "praxis",
            "KFO1",
            &["--service", "eAU;Lieferung;V1.2"],
            "service-not-allowed",
            "add \"eAU;*\"",
        ),
        (
            "192.168.0.42",
            "kfo",
            "KFO2",
            &["--service", "eAU;Lieferung;V1.2"],
            "service-not-allowed",
            "to accounts.\"kfo@praxis.kim.telematik\".send.only.\"eAU;*\"",
        ),
    ];
    for (from, account, workplace, more, reason, change) in table {
        let said = explain(&config, from, &login(account, workplace), more).expect(1);
        let denied = said.lines().find(|line| line.starts_with("denied")).unwrap();
        assert!(denied.contains(reason), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("change") && last.contains(change), "{said}");
        assert_eq!(said.matches('✗').count(), 1, "{said}");
    }
}

#[test]
fn a_login_that_names_another_server_is_explained() {
    let config = in_repository(PRACTICE);
    for (server, change) in [
        ("127.0.0.1:22", "or add \"127.0.0.1\" to policy.login_servers"),
        ("mail.kim.telematik:995@evil:995", "copy the login again from the client module"),
    ] {
        let login = login("kfo", "KFO1").replace("mail.kim.telematik:995", server);
        let said = explain(&config, "192.168.0.41", &login, &[]).expect(1);
        assert!(said.contains("login-server-not-allowed, by policy.login_servers"), "{said}");
        assert!(said.lines().last().unwrap().ends_with(change), "{said}");
    }
}

#[test]
fn a_program_gets_the_same_as_json() {
    let config = in_repository(PRACTICE);
    let ran = explain(&config, "192.168.0.31", &login("kfo", "ZIMMER1"), &["--json"]);
    assert_eq!(ran.code, 1);
    let json = ran.json();
    assert_eq!(json["allowed"], false);
    assert_eq!(json["reason"], "not-allowed");
    assert_eq!(json["rule"], "accounts.\"kfo@praxis.kim.telematik\".allow");
    assert_eq!(json["line"], line_of(&config, "allow", "[accounts.\"kfo@praxis.kim.telematik\"]"));
    assert_eq!(json["workstation"], "ZIMMER1");
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(steps.first().unwrap()["step"], "workstation");
    assert_eq!(steps.last().unwrap()["outcome"], "refuse");
}

#[test]
fn observe_mode_is_said_and_lets_it_pass() {
    let folder = tempfile::tempdir().unwrap();
    let practice = std::fs::read_to_string(in_repository(PRACTICE)).unwrap();
    let config =
        text(&write(folder.path(), "a.toml", &(practice + "[policy]\nmode = \"observe\"\n")));
    let said = explain(&config, "192.168.0.99", &login("kfo", "KFO1"), &[]).expect(0);
    assert!(said.contains("because policy.mode is \"observe\""), "{said}");
    assert!(said.contains("unknown-workstation"), "{said}");
}

#[test]
fn an_author_is_judged_by_send_from() {
    let folder = tempfile::tempdir().unwrap();
    let practice = std::fs::read_to_string(in_repository(PRACTICE)).unwrap();
    let ask = |config: &str, author: &str| {
        explain(config, "192.168.0.41", &login("kfo", "KFO1"), &["--author", author])
    };
    let any = in_repository(PRACTICE);
    let said = ask(&any, "x@y.kim.telematik").expect(0);
    assert!(said.contains("any author may stand in From and Sender"), "{said}");
    let key = "accounts.\"kfo@praxis.kim.telematik\".send";
    let only = practice.replace(&format!("[{key}]"), &format!("[{key}]\nfrom = \"account\""));
    let config = text(&write(folder.path(), "account.toml", &only));
    ask(&config, "KFO@praxis.kim.telematik").expect(0);
    let said = ask(&config, "x@y.kim.telematik").expect(1);
    assert!(said.contains("sender-not-allowed") && said.contains(&format!("{key}.from")), "{said}");
    assert!(said.contains(&format!("add \"x@y.kim.telematik\" to {key}.senders")), "{said}");
}

#[test]
fn certificates_count_as_far_as_the_gateway_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let practice = std::fs::read_to_string(in_repository(PRACTICE)).unwrap();
    let known = practice.replace(
        "addresses = [\"192.168.0.41\"]",
        "addresses = [\"192.168.0.41\"]\ncertificates = [\"kfo1.praxis\"]",
    );
    let config = text(&write(folder.path(), "off.toml", &known));
    let ask = |config: &str| {
        explain(config, "10.0.0.1", &login("kfo", "KFO1"), &["--certificate", "KFO1.praxis"])
    };
    let said = ask(&config).expect(1);
    assert!(said.contains("tls.client_certificates is \"off\""), "{said}");
    let dir = text(folder.path());
    kimgate(&["certs", "ca", "--dir", &dir]).expect(0);
    let tls = "[tls]\nclient_certificates = \"optional\"\nclient_ca = \"ca.pem\"\n";
    let config = text(&write(folder.path(), "on.toml", &(known + tls)));
    let said = ask(&config).expect(0);
    assert!(said.contains("KFO1 is known by its certificate KFO1.praxis"), "{said}");
}

#[test]
fn a_login_that_looks_wrong_is_noted_and_decided_as_it_is() {
    let config = in_repository(PRACTICE);
    let odd = login("kfo", "KFO1").replace("kfo@", "KFO@") + "#ARZT";
    let said = explain(&config, "192.168.0.41", &odd, &["--protocol", "smtp"]).expect(0);
    for doubt in ["has the port of POP3", "with another case"] {
        assert!(said.contains(doubt), "{said}");
    }
    let ran = explain(&config, "192.168.0.41", &odd, &["--protocol", "smtp", "--json"]);
    assert_eq!(ran.json()["notes"].as_array().unwrap().len(), 2, "{ran:?}");
}

#[test]
fn the_fields_of_a_login_have_gematik_s_names_by_protocol_and_both_where_the_order_differs() {
    let config = in_repository(PRACTICE);
    for (protocol, port, named) in [
        ("pop3", ":995", ["UserId Konn_1", "KonnektorId ARZT"]),
        ("smtp", ":465", ["KonnektorId or UserId Konn_1", "UserId or KonnektorId ARZT"]),
        ("smtp", ";465", ["KonnektorId or UserId Konn_1", "UserId or KonnektorId ARZT"]),
    ] {
        let login = login("kfo", "KFO1").replace(":995", port) + "#Konn_1#ARZT";
        let said = explain(&config, "192.168.0.41", &login, &["--protocol", protocol]).expect(0);
        assert!(said.contains(&format!("WorkplaceId KFO1, {}", named.join(", "))), "{said}");
        assert!(!said.contains("the login has"), "a UserId in SMTP is no mistake: {said}");
        let ran = explain(&config, "192.168.0.41", &login, &["--protocol", protocol, "--json"]);
        let fields = ran.json()["login_fields"].as_array().unwrap().clone();
        assert_eq!(fields.len(), 5);
        let last = |at: usize| format!("{} {}", fields[at]["name"], fields[at]["value"]);
        assert_eq!([last(3), last(4)].map(|text| text.replace('"', "")), named);
    }
}

#[test]
fn questions_that_contradict_themselves_end_with_2() {
    let config = in_repository(PRACTICE);
    for more in [
        &["--action", "delete", "--service", "x"][..],
        &["--action", "send", "--protocol", "pop3"],
        &["--protocol", "pop3", "--sender", "a@b"],
    ] {
        let ran = explain(&config, "192.168.0.41", "a@b", more);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{more:?}");
        assert!(ran.stderr.starts_with("kimgate: "), "{ran:?}");
    }
    assert_eq!(kimgate(&["explain", "--from", "x", "--login", "y"]).code, 2);
}

#[test]
fn nothing_that_was_typed_moves_the_cursor() {
    let config = in_repository(PRACTICE);
    let said = explain(&config, "192.168.0.41", "\u{1b}[2J@x#h#M\u{9b}", &[]).expect(1);
    assert!(!said.contains('\u{1b}') && !said.contains('\u{9b}'), "{said:?}");
    assert!(said.contains("login-malformed"), "{said}");
}

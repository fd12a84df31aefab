//! `kimgate trust`, in front of the simulator and of certificates that openssl made.

use crate::support::cli::{Running, kimgate, text, write};
use crate::support::pki::{Pki, Server, openssl_is_here};

fn simulate(more: &[&str]) -> Running {
    let ports = ["simulate", "--pop3", "127.0.0.1:0", "--smtp", "127.0.0.1:0"];
    Running::start(&[&ports, more].concat(), "Ctrl-C")
}

/// The policies that accept, in their order: nothing, self-signed, name, both, pin.
fn accepted(json: &serde_json::Value) -> Vec<bool> {
    let policies = json["policies"].as_array().unwrap();
    policies.iter().map(|policy| policy["accepted"].as_bool().unwrap()).collect()
}

#[test]
fn each_certificate_of_the_simulator_is_judged_as_the_table_of_the_contract_says() {
    let table = [
        ("self-signed", "self-signed", [false, true, false, true, true]),
        ("self-signed-ca", "self-signed", [false, true, false, true, true]),
        (
            "self-signed-wrong-name",
            "self-signed-and-name-mismatch",
            [false, false, false, true, true],
        ),
        ("private-ca", "unknown-issuer", [false, false, false, false, true]),
        ("wrong-name", "unknown-issuer", [false, false, false, false, true]),
        ("own-pki", "unknown-issuer", [false, false, false, false, true]),
        ("expired", "expired", [false, false, false, false, false]),
    ];
    for (certificate, class, expected) in table {
        let sim = simulate(&["--certificate", certificate]);
        let ran = kimgate(&["trust", sim.value("POP3"), "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let json = ran.json();
        assert_eq!(json["verdict"], class, "{json}");
        assert_eq!(accepted(&json), expected, "{certificate}");
        let pin = format!("pins = [\"{}\"]", json["certificate"]["fingerprint"].as_str().unwrap());
        assert_eq!(pin, sim.value("certificate"));
        let lines = json["accepting_lines"].as_array().unwrap();
        assert_eq!(lines.first().map(|line| line == &pin), expected[4].then_some(true), "{json}");
    }
}

#[test]
fn starttls_is_asked_for_in_both_protocols() {
    let sim = simulate(&["--tls", "starttls"]);
    for (port, protocol) in [("POP3", "pop3"), ("SMTP", "smtp")] {
        let said = kimgate(&["trust", sim.value(port), "--starttls", protocol]).expect(0);
        assert!(said.contains(sim.value("certificate")), "{said}");
        assert!(said.contains("handshake    TLS 1.3"), "{said}");
    }
    let without = kimgate(&["trust", sim.value("SMTP")]);
    assert_eq!((without.code, without.stdout.as_str()), (1, ""));
    assert!(without.stderr.contains("add --starttls"), "{without:?}");
}

#[test]
fn the_lines_that_it_prints_are_a_configuration() {
    let sim = simulate(&[]);
    let said = kimgate(&["trust", sim.value("POP3")]).expect(0);
    let start = said.find("[client_modules").unwrap();
    let document: toml_edit::DocumentMut = said[start..].parse().unwrap();
    let pins = document["client_modules"]["NAME"]["trust"]["pins"].as_array().unwrap();
    assert!(sim.value("certificate").contains(pins.get(0).unwrap().as_str().unwrap()));
}

/// As gematik's draft of 2026 describes it: its own PKI, and a name of its own.
#[test]
fn the_usual_certificate_of_a_client_module_leads_to_a_pin_in_one_step() {
    let sim = simulate(&["--certificate", "own-pki"]);
    let target = sim.value("POP3").to_owned();
    let port = target.rsplit_once(':').unwrap().1;
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[listeners.l]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [client_modules.\"kim rechner\"]\nhost = \"127.0.0.1\"\npop3_port = {port}\n"
    );
    let file = text(&write(folder.path(), "kimgate.toml", &config));
    let said = kimgate(&["trust", &target, "--config", &file]).expect(0);
    for part in [
        "both are usual with KIM client modules [unknown-issuer]",
        "`ignore` does not help here",
        &format!("kimgate trust localhost:{port}\n"),
        &format!("openssl s_client -connect localhost:{port} </dev/null"),
        "another machine answers here",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(
        !said.contains("ca = ["),
        "with its issuer alone it would be refused for its name: {said}"
    );
    // Pasted as it stands, it is all that is needed.
    let lines = &said[said.find("[client_modules").unwrap()..];
    assert!(
        lines.starts_with("[client_modules.\"kim rechner\".trust]\npins = [\"sha256:"),
        "{said}"
    );
    write(folder.path(), "kimgate.toml", &(config + lines));
    let said = kimgate(&["doctor", "--config", &file]);
    assert!(said.stdout.contains("[pinned]"), "{said:?}");
}

#[test]
fn the_openssl_command_that_it_names_shows_the_same_fingerprint() {
    if !openssl_is_here() {
        return;
    }
    for tls in ["implicit", "starttls"] {
        let sim = simulate(&["--certificate", "own-pki", "--tls", tls]);
        let target = sim.value("POP3").to_owned();
        let more: &[&str] = if tls == "starttls" { &["--starttls", "pop3"] } else { &[] };
        let said = kimgate(&[&["trust", &target], more].concat()).expect(0);
        let command = said.lines().find(|line| line.trim().starts_with("openssl")).unwrap();
        // The simulator is at 127.0.0.1 alone.
        let command = command.replace("localhost", "127.0.0.1");
        let ran = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout).to_lowercase();
        let (_, shown) = shown.trim().split_once("fingerprint=").unwrap();
        let pin = format!("sha256:{}", shown.replace(':', ""));
        assert!(sim.value("certificate").contains(&pin), "{pin}: {command}");
    }
}

#[test]
fn an_authority_that_is_named_is_judged_by() {
    if !openssl_is_here() {
        return;
    }
    let mut pki = Pki::new();
    pki.make("ca", &"cn=Praxis-CA san=none ca=CA:TRUE key=p256.ca".parse().unwrap());
    let recipe = "by=ca cn=kim san=IP:127.0.0.1 send=ca";
    let server = Server::start(pki.make("leaf", &recipe.parse().unwrap()), &[]).unwrap();
    let target = server.address.to_string();
    let said = kimgate(&["trust", &target]).expect(0);
    assert!(said.contains("sent with it CN=Praxis-CA"), "{said}");
    assert!(said.contains("[unknown-issuer]"), "{said}");
    let ca = text(&pki.get("ca").certificate);
    let said = kimgate(&["trust", &target, "--ca", &ca]).expect(0);
    assert!(said.contains("The certificate is in order [ok]"), "{said}");
    assert!(said.contains(&format!("ca = [\"{ca}\"]")), "{said}");
}

#[cfg(feature = "brainpool")]
#[test]
fn a_brainpool_certificate_as_openkim_makes_it_is_shown_and_spoken_to() {
    if !openssl_is_here() {
        return;
    }
    let mut pki = Pki::new();
    let made = pki.make("bp", &"key=bp256 cn=openKIM san=none ca=CA:TRUE".parse().unwrap());
    let server = Server::start(made, &["-tls1_2"]).unwrap();
    let said = kimgate(&["trust", &server.address.to_string()]).expect(0);
    for wanted in
        ["EC brainpoolP256r1", "none (no subjectAltName)", "TLS 1.2, ECDHE_ECDSA", "✓ pins"]
    {
        assert!(said.contains(wanted), "no {wanted} in {said}");
    }
}

#[test]
fn a_server_that_is_not_there_and_a_target_that_is_none_are_told_apart() {
    let unanswered = kimgate(&["trust", "127.0.0.1:1"]);
    assert_eq!((unanswered.code, unanswered.stdout.as_str()), (1, ""));
    assert!(unanswered.stderr.starts_with("kimgate: 127.0.0.1:1: "), "{unanswered:?}");
    assert_eq!(kimgate(&["trust", "127.0.0.1"]).code, 2);
}

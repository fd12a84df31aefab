//! `kimgate doctor` in front of a simulated client module that tells what it saw.

use crate::support::cli::{Ran, command, run, text, write};
use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Capabilities, Fault, Seen, Sim, SimCertificate, SimConfig};
use kimgate::words::{Protocol, Security};
use serde_json::Value;

use crate::support::pki;

const POP3: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1";
const SMTP: &str = "prx@praxis.kim.telematik#mail.kim.telematik:465#Mandant1#pvs#PC1";
const PASSWORD: &str = "Geheim-1234";

async fn start(config: SimConfig) -> Sim {
    let password = Some(Secret::new(PASSWORD.to_owned()));
    let accounts = Accounts::AnyLogin { password };
    Sim::start(SimConfig { accounts, record: true, ..config }).await.unwrap()
}

fn with_fault(fault: &str) -> SimConfig {
    let fault: Fault = fault.parse().unwrap();
    SimConfig { faults: fault.into(), ..SimConfig::default() }
}

/// A configuration in front of this simulator.
fn configuration(sim: &Sim, module: &str) -> String {
    configuration_at(sim.pop3_addr().port(), sim.smtp_addr().port(), module)
}

pub(crate) fn configuration_at(pop3: u16, smtp: u16, module: &str) -> String {
    format!(
        "gateway.language = \"en\"\n\
         [listeners.pop3s]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n\
         [listeners.smtps]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n\
         [client_modules.main]\nhost = \"127.0.0.1\"\npop3_port = {pop3}\nsmtp_port = {smtp}\n{module}\n\
         [workstations.PC1]\naddresses = [\"192.168.0.31\"]\n\
         [accounts.\"prx@praxis.kim.telematik\"]\n",
    )
}

fn pinned(sim: &Sim) -> String {
    format!("trust.pins = [\"{}\"]", sim.fingerprint())
}

/// Asks the doctor while the simulator goes on.
pub(crate) async fn doctor(config: String, args: &[&str], password: Option<&str>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let config = text(&write(folder.path(), "gateway.toml", &config));
    let args = [&["doctor", "--config", &config], args].concat();
    let mut command = command(&args);
    if let Some(password) = password {
        command.env("KIMGATE_PASSWORD", password);
    }
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// The steps of a client module by one protocol, as `step:outcome`.
fn steps(json: &Value, protocol: &str) -> Vec<String> {
    let all = json["client_modules"].as_array().unwrap();
    let one = all.iter().find(|one| one["protocol"] == protocol).unwrap();
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = one["steps"].as_array().unwrap().iter();
    steps.map(|step| format!("{}:{}", word(step, "step"), word(step, "outcome"))).collect()
}

fn logins(sim: &Sim) -> Vec<(Protocol, bool)> {
    let login = |seen: &Seen| {
        let Seen::Login { protocol, accepted, .. } = seen else { return None };
        Some((*protocol, *accepted))
    };
    sim.seen().iter().filter_map(login).collect()
}

fn commands(sim: &Sim) -> Vec<String> {
    let line = |seen: &Seen| {
        let Seen::Command { line, .. } = seen else { return None };
        Some(line.split(' ').next().unwrap_or_default().to_ascii_uppercase())
    };
    sim.seen().iter().filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_way_is_shown_in_order_and_nothing_is_done_but_logging_in_once() {
    for security in [Security::Implicit, Security::StartTls] {
        let sim = start(SimConfig { security, ..SimConfig::default() }).await;
        let tls = if security == Security::StartTls { "tls = \"starttls\"\n" } else { "" };
        let config = configuration(&sim, &format!("{tls}{}", pinned(&sim)));
        let args = ["--login", POP3, "--smtp-login", SMTP, "--json"];
        let ran = doctor(config, &args, Some(PASSWORD)).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let json = ran.json();
        for protocol in ["pop3", "smtp"] {
            let mut expected = ["resolve", "connect", "tls", "certificate", "greeting"].to_vec();
            if security == Security::StartTls {
                expected.rotate_right(1);
                expected[..3].rotate_left(1);
            }
            expected.extend(["capabilities", "login"]);
            let expected: Vec<String> = expected.iter().map(|s| format!("{s}:good")).collect();
            assert_eq!(steps(&json, protocol), expected);
        }
        assert_eq!(logins(&sim), [(Protocol::Pop3, true), (Protocol::Smtp, true)]);
        for command in commands(&sim) {
            let harmless =
                ["EHLO", "CAPA", "USER", "PASS", "AUTH", "NOOP", "STLS", "STARTTLS", "QUIT"];
            assert!(harmless.contains(&command.as_str()), "{command}");
        }
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!told.contains(PASSWORD) && !told.contains("Mandant1"), "{told}");
        sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_not_by_the_other_protocol() {
    let sim = start(SimConfig::default()).await;
    let config = configuration(&sim, &pinned(&sim));
    let args = ["--login", POP3, "--smtp-login", SMTP];
    let ran = doctor(config, &args, Some("falsch-1234")).await;
    let said = ran.expect(1);
    assert!(said.contains("✗ login"), "{said}");
    assert!(said.contains("too many tries lock the account"), "{said}");
    assert!(!said.contains("falsch-1234"), "{said}");
    assert_eq!(logins(&sim), [(Protocol::Pop3, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_to_the_protocol_whose_port_it_names() {
    for (login, protocol) in [(POP3, Protocol::Pop3), (SMTP, Protocol::Smtp)] {
        let sim = start(SimConfig::default()).await;
        let config = configuration(&sim, &pinned(&sim));
        let said = doctor(config, &["--login", login], Some(PASSWORD)).await.expect(0);
        assert!(said.contains("not tried: the login names port"), "{said}");
        assert_eq!(logins(&sim), [(protocol, true)]);
    }
    let sim = start(SimConfig::default()).await;
    let config = configuration(&sim, &pinned(&sim));
    let address = ["--login", "prx@praxis.kim.telematik"];
    doctor(config, &address, Some(PASSWORD)).await.expect(0);
    assert_eq!(logins(&sim).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_stops_at_its_step_and_says_what_to_do() {
    let table: [(SimConfig, &str, &str, &str); 6] = [
        (SimConfig::default(), "trust.pins = []", "certificate", "[client_modules.main.trust]"),
        (
            SimConfig { certificate: SimCertificate::Expired, ..SimConfig::default() },
            "trust.ignore = [\"self-signed\"]",
            "certificate",
            "Issue a new certificate",
        ),
        (
            SimConfig { security: Security::StartTls, ..SimConfig::default() },
            "",
            "tls",
            "tls = \"starttls\"",
        ),
        (with_fault("handshake-drop"), "", "tls", "Try again"),
        (with_fault("greeting-refuse=421 4.3.2 Wartung"), "PIN", "greeting", "its log says why"),
        (with_fault("hello-endless"), "PIN", "greeting", "pop3_port and smtp_port"),
    ];
    for (config, module, step, advice) in table {
        let sim = start(config).await;
        let module = if module == "PIN" { pinned(&sim) } else { module.to_owned() };
        let ran = doctor(configuration(&sim, &module), &["--json"], None).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let json = ran.json();
        let last = steps(&json, "smtp").pop().unwrap();
        assert_eq!(last, format!("{step}:failed"), "{json}");
        assert!(
            ran.stdout.contains(&advice.replace('"', "\\\"")),
            "no {advice:?} in {}",
            ran.stdout
        );
        assert!(logins(&sim).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handshake_shows_is_told_in_both_languages() {
    if !pki::openssl_is_here() {
        return;
    }
    let mut pki = pki::Pki::new();
    pki.make("rsa", &"key=rsa2048".parse().unwrap());
    let old = &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    for (options, class, en, de) in [
        (&old[..], "protocol-too-old", "Update the KIM client module", "aktualisieren"),
        (&["-tls1_2", "-cipher", "AES256-GCM-SHA384"], "no-common-cipher", "ECDHE", "erlauben"),
    ] {
        let server = pki::Server::start(pki.get("rsa"), options).unwrap();
        let port = server.address.port();
        for (language, wanted) in [("en", en), ("de", de)] {
            let config = configuration_at(port, port, "");
            let language = format!("language = \"{language}\"");
            let config = config.replace("language = \"en\"", &language);
            let said = doctor(config, &[], None).await.expect(1);
            assert!(said.contains(&format!("[{class}]")) && said.contains(wanted), "{said}");
        }
    }
    // A port that answers a greeting in clear with a TLS alert.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut tcp, b"\x15\x03\x03\x00\x02\x02\x28");
        }
    });
    let config = configuration_at(port, port, "tls = \"starttls\"\n");
    let said = doctor(config, &[], None).await.expect(1);
    assert!(said.contains("[tls-on-plaintext-port]"), "{said}");
    assert!(said.contains("tls = \"implicit\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_gateway_has_not_met_is_told_of() {
    let sim = start(SimConfig::default()).await;
    let state = tempfile::tempdir().unwrap();
    let old = format!("sha256:{}", "ab".repeat(32));
    let known = |fingerprint: &str| {
        let entry = serde_json::json!({
            "fingerprint": fingerprint, "subject": "CN=kim", "not_after": 1_900_000_000,
            "since": 1_700_000_000,
        });
        let place = sim.pop3_addr().to_string();
        let text = serde_json::json!({ place: entry }).to_string();
        std::fs::write(state.path().join("known-certificates.json"), text).unwrap();
    };
    let config =
        format!("gateway.state_dir = {:?}\n{}", state.path(), configuration(&sim, &pinned(&sim)));
    let file = text(&write(state.path(), "gateway.toml", &config));
    let target = sim.pop3_addr().to_string();
    let trust = || {
        let mut command = command(&["trust", &target, "--config", &file]);
        tokio::task::spawn_blocking(move || run(&mut command))
    };
    known(&old);
    let said = doctor(config.clone(), &[], None).await.expect(0);
    let port = sim.pop3_addr().port();
    for part in [
        format!("when it was {old}, subject CN=kim, valid until 2030-03-17."),
        format!("kimgate trust localhost:{port} shows its certificate"),
        "else another machine answers here".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let said = trust().await.unwrap().expect(0);
    assert!(
        said.contains(&format!("CHANGED: the gateway has met {old} since 2023-11-14")),
        "{said}"
    );
    known(&sim.fingerprint());
    let said = doctor(config, &[], None).await.expect(0);
    assert!(!said.contains("has changed"), "{said}");
    assert!(trust().await.unwrap().expect(0).contains("the gateway has met it since 2023-11-14"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_a_login_are_read_by_their_code() {
    let table = [
        ("454 4.7.0 Konnektor nicht erreichbar", "Konnektor connected to the TI"),
        ("501 5.5.4 Benutzername", "character by character"),
        ("535 5.7.8 nein", "Password or address are wrong"),
        ("550 5.0.0 nein", "The reason is not told"),
    ];
    for (reply, advice) in table {
        let sim = start(with_fault(&format!("login-refuse={reply}"))).await;
        let config = configuration(&sim, &pinned(&sim));
        let said = doctor(config, &["--smtp-login", SMTP], Some(PASSWORD)).await.expect(1);
        assert!(said.contains(reply) && said.contains(advice), "{reply}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_module_lacks_is_told_with_what_it_means() {
    let capabilities = Capabilities {
        smtp: ["SIZE 1000", "AUTH LOGIN", "8BITMIME"].map(String::from).to_vec(),
        pop3: ["USER"].map(String::from).to_vec(),
    };
    let sim = start(SimConfig { capabilities, ..SimConfig::default() }).await;
    let config = configuration(&sim, &pinned(&sim));
    // AUTH LOGIN is used where PLAIN is missing.
    let said = doctor(config, &["--smtp-login", SMTP], Some(PASSWORD)).await.expect(0);
    for wanted in ["SIZE 1000 is less", "DSN is missing", "TOP is missing", "UIDL is missing"] {
        assert!(said.contains(wanted), "no {wanted} in {said}");
    }
    assert_eq!(logins(&sim), [(Protocol::Smtp, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_german_where_the_gateway_does() {
    let sim = start(SimConfig::default()).await;
    let config =
        configuration(&sim, &pinned(&sim)).replace("language = \"en\"", "language = \"de\"");
    let said = doctor(config, &[], None).await.expect(0);
    assert!(said.contains("KIM-Clientmodul main: Abholen mit POP3"), "{said}");
    assert!(said.ends_with("Alles in Ordnung.\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_end_with_2_before_anything_is_dialled() {
    let sim = start(SimConfig::default()).await;
    let config = || configuration(&sim, &pinned(&sim));
    let two_accounts = ["--login", POP3, "--account", "other@praxis.kim.telematik"];
    for (args, password) in [
        (&["--login", POP3][..], Some("")),
        (&["--login", ""], Some(PASSWORD)),
        (&two_accounts, Some(PASSWORD)),
    ] {
        let ran = doctor(config(), args, password).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?} {ran:?}");
    }
    assert!(sim.seen().is_empty());
}

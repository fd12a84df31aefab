//! Who recognises whom: workstations by certificate, the client module by its own, and nobody's
//! login in clear.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use kimgate::sim::{Sim, SimConfig};
use kimgate::trust::{Authority, Issued};
use kimgate::words::{Protocol, Security};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use support::dialogue::{Client, End, PASSWORD, auth_plain};
use support::transcript::Listener;
use support::world::{LOGIN, PC1, World, count, only};

const UNTRUSTED: &str = r#"client_modules.main.trust.pins = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]"#;
/// The login that PC2 may use, see `tests/transcripts/practice.toml`.
const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";

#[tokio::test]
async fn a_certificate_says_which_workstation_it_is_and_beats_the_address() {
    let (folder, authority) = authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    for demand in ["required", "optional"] {
        let demand = format!("tls.client_certificates = \"{demand}\"");
        let world =
            World::start(&[&demand, &ca, r#"workstations.PC2.certificates = ["pc2"]"#]).await;
        let mut client = shown(&world, Some(authority.client("pc2").unwrap())).await;
        client.expect("+OK <any>").await;
        client.pop3_login(AT_PC2).await;
        client.ask("QUIT", "+OK<any>").await;
        assert_eq!(only(&world.audit().await, "login")["workstation"], "PC2");
    }
}

#[tokio::test]
async fn without_a_certificate_that_is_required_there_is_no_dialogue() {
    let (folder, _authority) = authority();
    let (_, stranger) = self::authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    let world = World::start(&[r#"tls.client_certificates = "required""#, &ca]).await;
    for identity in [None, Some(stranger.client("pc2").unwrap())] {
        // Under TLS 1.3 the client's side of the handshake is over before it is refused.
        let (rest, end) = shown(&world, identity).await.rest().await;
        assert_eq!((rest, end), (Vec::new(), End::Cut));
    }
    let audit = world.audit().await;
    let closed: Vec<&Value> = audit.iter().filter(|line| line["event"] == "closed").collect();
    assert!(closed.len() == 2 && closed.iter().all(|line| line["reason"] == "tls-failed"));
}

#[tokio::test]
async fn a_mail_program_in_clear_on_a_tls_port_is_told_what_to_set() {
    let world = World::start(&[]).await;
    for (protocol, says, hears) in [
        (Protocol::Pop3, "CAPA", "-ERR KIM-Gateway: <any>SSL/TLS (tls-failed)"),
        (Protocol::Smtp, "EHLO pc", "421 4.7.0 KIM-Gateway: <any>SSL/TLS (tls-failed)"),
    ] {
        let tcp = world.tcp(protocol, Listener::Implicit, PC1).await;
        let mut client = Client::new(Box::new(tcp));
        client.ask(says, hears).await;
        assert_eq!(client.end().await, End::Clean, "a reset could take the words away");
    }
}

#[tokio::test]
async fn a_client_module_that_is_not_trusted_never_sees_a_login() {
    let world = World::start(&[UNTRUSTED]).await;
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    let refused = client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/TEMP] <any>").await;
    assert!(refused.ends_with("(client-module-untrusted)"), "{refused}");
    let mut smtp = world.client(Protocol::Smtp).await;
    smtp.expect("220 <any>").await;
    smtp.send("EHLO pc").await;
    smtp.expect_until("250 <any>").await;
    let refused = smtp.ask(auth_plain(LOGIN, PASSWORD), "454 4.7.0 <any>").await;
    assert!(refused.ends_with("(client-module-untrusted)"), "{refused}");
    assert!(!world.upstream_now().iter().any(|fact| fact.starts_with("login")));
    let verdicts =
        r#"kimgate_certificate_verdicts_total{client_module="main",verdict="self-signed"}"#;
    assert!(world.metric(verdicts) >= 2.0);
    let audit = world.audit_when(|lines| count(lines, "denied") == 2).await;
    assert_eq!(only(&audit, "certificate")["accepted"], false);
    // The operator adds the pin, and the workstation tries again on the same connection.
    world.reload(&[]).unwrap();
    client.pop3_login(LOGIN).await;
}

#[tokio::test]
async fn a_login_waits_for_starttls_at_the_client_module_as_well() {
    let starttls = r#"client_modules.main.tls = "starttls""#;
    let world = World::with(&[starttls], |sim| sim.security = Security::StartTls).await;
    world.pop3().await.ask("QUIT", "+OK<any>").await;
    world.smtp().await.ask("QUIT", "221 <any>").await;
    let seen = world.upstream().await;
    assert_eq!(seen.iter().filter(|fact| *fact == "secured").count(), 2, "{seen:?}");
    let at = |fact: &str| seen.iter().position(|seen| seen == fact).unwrap();
    assert!(at("secured") < at(&format!("login {LOGIN}")), "{seen:?}");
}

#[tokio::test]
async fn what_comes_in_clear_behind_starttls_is_nobodys_answer() {
    let starttls = r#"client_modules.main.tls = "starttls""#;
    let world = World::with(&[starttls], |sim| sim.security = Security::StartTls).await;
    world.faults(&["starttls-unasked"]);
    assert_refused(&world, "client-module-protocol-error").await;
}

#[tokio::test]
async fn a_client_module_without_tls_gets_no_login_where_tls_is_wanted() {
    for wanted in ["starttls", "implicit"] {
        let line = format!("client_modules.main.tls = \"{wanted}\"");
        let world = World::with(&[&line], |sim| sim.security = Security::None).await;
        let reason = match wanted {
            "starttls" => "client-module-protocol-error",
            _ => "client-module-untrusted",
        };
        assert_refused(&world, reason).await;
    }
}

/// A second client module, and the lines that make it the standby of the first.
async fn standby() -> (Sim, [String; 5]) {
    let standby = Sim::start(SimConfig { record: true, ..SimConfig::default() }).await.unwrap();
    let lines = [
        r#"client_modules.second.host = "127.0.0.1""#.to_owned(),
        format!("client_modules.second.pop3_port = {}", standby.pop3_addr().port()),
        format!("client_modules.second.smtp_port = {}", standby.smtp_addr().port()),
        format!("client_modules.second.trust.pins = [\"{}\"]", standby.fingerprint()),
        r#"client_modules.main.standby = "second""#.to_owned(),
    ];
    (standby, lines)
}

#[tokio::test]
async fn a_session_stays_at_the_standby_and_new_ones_go_back_to_the_first() {
    let (_standby, lines) = standby().await;
    let world = World::start(&lines.each_ref().map(String::as_str)).await;
    world.faults(&["greeting-drop"]);
    let mut client = world.pop3().await;
    client.ask("QUIT", "+OK<any>").await;
    assert_eq!(world.metric("kimgate_failovers_total{client_module=\"main\"}"), 1.0);
    let is_up = || {
        let status = world.observer.status();
        let main = status.client_modules.into_iter().find(|module| module.name == "main");
        main.unwrap().pop3.unwrap().up
    };
    assert!(!is_up());
    // A session stays where it is, and the next one goes back as soon as the first answers again.
    let mut stays = world.pop3().await;
    world.faults(&[""; 0]);
    while !is_up() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.pop3().await.ask("QUIT", "+OK<any>").await;
    stays.ask("STAT", "+OK<any>").await;
    stays.ask("QUIT", "+OK<any>").await;
    let audit = world.audit().await;
    let logins = audit.iter().filter(|line| line["event"] == "login");
    let modules: Vec<_> = logins.map(|line| line["client_module"].as_str().unwrap()).collect();
    assert_eq!(modules, ["second", "second", "main"]);
}

#[tokio::test]
async fn the_standby_is_dialled_where_the_first_one_does_not_answer() {
    let (standby, second) = standby().await;
    let mut lines: Vec<&str> = second.iter().map(String::as_str).collect();
    let world = World::start(&lines).await;
    world.faults(&["greeting-drop"]);
    let mut client = world.pop3().await;
    client.ask("QUIT", "+OK<any>").await;
    let audit = world.audit().await;
    assert_eq!(only(&audit, "login")["client_module"], "second");
    // One that is there and not trusted is no reason to go elsewhere.
    lines.push(UNTRUSTED);
    world.faults(&[""; 0]);
    world.reload(&lines).unwrap();
    assert_refused(&world, "client-module-untrusted").await;
    // Neither is a login that it refuses.
    world.reload(&lines[..lines.len() - 1]).unwrap();
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    client.ask("PASS falsch", "-ERR<any>").await;
    let logins = standby.seen().iter().filter(|seen| format!("{seen:?}").contains("Login")).count();
    assert_eq!(logins, 1);
}

/// A POP3 and an SMTP login fail for this reason, and the client module sees neither.
async fn assert_refused(world: &World, reason: &str) {
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    let refused = client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/TEMP] <any>").await;
    assert!(refused.ends_with(&format!("({reason})")), "{refused}");
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    let refused = client.ask(auth_plain(LOGIN, PASSWORD), "454 4.7.0 <any>").await;
    assert!(refused.ends_with(&format!("({reason})")), "{refused}");
    let seen = world.upstream_now();
    assert!(!seen.iter().any(|fact| fact.starts_with("login")), "{seen:?}");
}

/// A POP3 connection from PC1's address that shows this certificate.
async fn shown(world: &World, issued: Option<Issued>) -> Client {
    let identity = issued.map(|issued| {
        let chain = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.private_key.expose().as_bytes()).unwrap();
        (vec![chain], key)
    });
    let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, PC1).await;
    Client::new(Box::new(world.handshake(tcp, identity).await.unwrap()))
}

/// An authority, whose certificate is in `ca.pem`.
fn authority() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Praxis").unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    (folder, authority)
}

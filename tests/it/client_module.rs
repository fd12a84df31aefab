//! Client modules that answer and do not serve, that say a line too many, or that take a login in
//! another way than it was sent.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kimgate::sim::{Mechanism, Seen, Sim, SimConfig};
use kimgate::trust::Authority;
use kimgate::words::Protocol::{self, Pop3, Smtp};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cli_doctor::{configuration_at, doctor};
use crate::support::dialogue::{ADDRESS, Client, PASSWORD, auth_plain};
use crate::support::world::{LOGIN, World, only};

/// A second client module, and the lines that make it the standby of the first.
pub(crate) async fn standby() -> (Sim, [String; 5]) {
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

/// Logs in, and gives the answer.
async fn log_in(world: &World, protocol: Protocol, password: &str) -> (Client, String) {
    let mut client = world.client(protocol).await;
    let answer = match protocol {
        Pop3 => {
            client.expect("+OK <any>").await;
            client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
            client.ask(format!("PASS {password}"), "<any>").await
        }
        Smtp => {
            client.expect("220 <any>").await;
            client.send("EHLO pc").await;
            client.expect_until("250 <any>").await;
            client.ask(auth_plain(LOGIN, password), "<any>").await
        }
    };
    (client, answer)
}

/// What answers and does not serve: it turns everybody away, or it is something else.
const OUT_OF_SERVICE: &[(Protocol, &str, &str)] = &[
    (Pop3, "greeting-refuse=-ERR zu viele Verbindungen", "client-module-unreachable"),
    (Pop3, "greeting-refuse=HTTP/1.1 400 Bad Request", "client-module-protocol-error"),
    (Pop3, "greeting-refuse=SSH-2.0-OpenSSH_9.6", "client-module-protocol-error"),
    (Pop3, "handshake-refuse", "client-module-untrusted"),
    (Smtp, "greeting-refuse=421 4.3.2 Wartung", "client-module-unreachable"),
    (Smtp, "greeting-refuse=554 5.3.2 Nein", "client-module-unreachable"),
    (Smtp, "hello-refuse=502 5.5.1 Nein", "client-module-unreachable"),
    (Smtp, "hello-refuse=421 4.3.2 Wartung", "client-module-unreachable"),
    (Smtp, "greeting-refuse=HTTP/1.1 400 Bad Request", "client-module-protocol-error"),
    (Smtp, "greeting-refuse=SSH-2.0-OpenSSH_9.6", "client-module-protocol-error"),
    (Smtp, "handshake-refuse", "client-module-untrusted"),
];

#[tokio::test]
async fn a_client_module_that_does_not_serve_is_down_and_never_answers_a_login() {
    for (protocol, fault, reason) in OUT_OF_SERVICE {
        let world = World::start(&[]).await;
        assert!(world.observer.readiness().ready);
        world.faults(&[fault]);
        let (_client, answer) = log_in(&world, *protocol, PASSWORD).await;
        let code = if *protocol == Pop3 { "-ERR [SYS/TEMP] " } else { "454 4.7.0 " };
        assert!(answer.starts_with(code), "{fault}: {answer}");
        assert!(answer.ends_with(&format!("({reason})")), "{fault}: {answer}");
        if *reason == "client-module-unreachable" {
            let (_, words) = fault.split_once('=').unwrap();
            assert!(answer.contains(&format!("it turns everybody away: \"{words}\"")), "{answer}");
        }
        assert!(!world.observer.readiness().ready, "{fault}");
        let seen = world.upstream_now();
        assert!(!seen.iter().any(|fact| fact.starts_with("login")), "{fault}: {seen:?}");
        // As often as it is tried: it says nothing about the password.
        for _ in 0..3 {
            let (_client, answer) = log_in(&world, *protocol, PASSWORD).await;
            assert!(answer.ends_with(&format!("({reason})")), "{fault}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_standby_serves_where_the_first_one_answers_and_does_not_serve() {
    let (standby, lines) = standby().await;
    for (protocol, fault, _) in OUT_OF_SERVICE {
        let world = World::start(&lines.each_ref().map(String::as_str)).await;
        world.faults(&[fault]);
        let (mut client, answer) = log_in(&world, *protocol, PASSWORD).await;
        let accepted = if *protocol == Pop3 { "+OK" } else { "235 " };
        assert!(answer.starts_with(accepted), "{fault}: {answer}");
        client.ask("QUIT", "<any>").await;
        let audit = world.audit().await;
        assert_eq!(only(&audit, "login")["client_module"], "second", "{fault}");
        let status = world.observer.status().client_modules;
        let main = status.into_iter().find(|module| module.name == "main").unwrap();
        let side = if *protocol == Pop3 { main.pop3 } else { main.smtp };
        assert!(!side.unwrap().up, "{fault}");
    }
    let logins = standby.seen().iter().filter(|seen| matches!(seen, Seen::Login { .. })).count();
    assert_eq!(logins, OUT_OF_SERVICE.len());
}

/// No card is asked before a login, so nothing there may take as long as one.
#[tokio::test]
async fn a_client_module_that_says_nothing_gives_way_to_its_standby_within_ten_seconds() {
    let tries = ["handshake-stall", "greeting-stall", "hello-stall"].map(|fault| async move {
        let (_standby, lines) = standby().await;
        let world = World::start(&lines.each_ref().map(String::as_str)).await;
        world.faults(&[fault]);
        let started = Instant::now();
        let (pop3, smtp) =
            tokio::join!(log_in(&world, Pop3, PASSWORD), log_in(&world, Smtp, PASSWORD));
        assert!(pop3.1.starts_with("+OK"), "{fault}: {}", pop3.1);
        assert!(smtp.1.starts_with("235 "), "{fault}: {}", smtp.1);
        let took = started.elapsed();
        let within = Duration::from_secs(9)..Duration::from_secs(15);
        assert!(within.contains(&took), "{fault}: {took:?}");
    });
    let [handshake, greeting, hello] = tries;
    tokio::join!(handshake, greeting, hello);
}

/// It says each line in a packet of its own, so long after the answer before it. Where its next answers
/// are slow, an extra line has been taken for one of them before they come.
#[tokio::test]
async fn an_extra_line_never_turns_a_refused_password_into_an_accepted_one() {
    let points = ["greeting", "hello", "prompt", "login"];
    for gap in ["0ms", "2ms", "50ms"] {
        let every = points.map(|point| format!("{point}-extra={gap}")).join(", ");
        let one = points.map(|point| format!("{point}-extra={gap}"));
        let yes = points.map(|point| format!("smtp:{point}-extra={gap} 235 2.7.0 ungefragt"));
        for faults in one.into_iter().chain(yes).chain([every]) {
            for slow in ["", ", hello-delay=10ms, prompt-delay=10ms, login-delay=10ms"] {
                let world = World::start(&[]).await;
                let faults = format!("{faults}{slow}");
                world.faults(&faults.split(", ").collect::<Vec<_>>());
                for protocol in [Pop3, Smtp] {
                    let (_client, answer) = log_in(&world, protocol, "falsch").await;
                    let is_accepted = answer.starts_with("+OK") || answer.starts_with('2');
                    assert!(!is_accepted, "{faults}: {protocol} was told {answer}");
                    let accepted = format!(
                        "kimgate_logins_total{{protocol=\"{protocol}\",result=\"accepted\"}}"
                    );
                    assert_eq!(world.metric(&accepted), 0.0, "{faults}");
                }
            }
        }
    }
}

/// What the client module got of logins.
fn logins(world: &World) -> Vec<(Mechanism, Vec<String>)> {
    let login = |seen: &Seen| {
        let Seen::Login { mechanism, lines, .. } = seen else { return None };
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        Some((*mechanism, lines.iter().map(|line| text(line.expose())).collect()))
    };
    world.sim.seen().iter().filter_map(login).collect()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn auth_login_by_pop3_goes_on_octet_for_octet_where_the_client_module_offers_it() {
    let offer = |line: &str| {
        let pop3 = ["TOP", "USER", line, "UIDL"].map(String::from).to_vec();
        move |sim: &mut SimConfig| sim.capabilities.pop3 = pop3
    };
    let world = World::with(&[], offer("SASL PLAIN LOGIN")).await;
    let (user, password) = (base64(LOGIN), base64(PASSWORD));
    let mut client = world.client(Pop3).await;
    client.expect("+OK <any>").await;
    client.send("CAPA").await;
    client.expect_until("SASL PLAIN LOGIN").await;
    client.expect_until(".").await;
    client.ask("AUTH LOGIN", "+ VXNlcm5hbWU6").await;
    client.ask(&user, "+ UGFzc3dvcmQ6").await;
    client.ask(&password, "+OK<any>").await;
    client.ask("STAT", "+OK<any>").await;
    let mut client = world.client(Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("AUTH LOGIN {user}"), "+ UGFzc3dvcmQ6").await;
    client.ask(base64("falsch"), "-ERR<any>").await;
    let expected = [
        (Mechanism::LoginPrompted, vec!["AUTH LOGIN".to_owned(), user.clone(), password]),
        (Mechanism::LoginInitial, vec![format!("AUTH LOGIN {user}"), base64("falsch")]),
    ];
    assert_eq!(logins(&world), expected);

    let world = World::with(&[], offer("SASL PLAIN")).await;
    let mut client = world.client(Pop3).await;
    client.expect("+OK <any>").await;
    client.ask("AUTH LOGIN", "-ERR<any>(bad-command)").await;
    assert!(logins(&world).is_empty());
}

#[tokio::test]
async fn a_client_module_that_ignores_the_initial_response_gets_the_same_octets() {
    let offer = |sim: &mut SimConfig| {
        sim.capabilities.pop3 = ["TOP", "SASL PLAIN LOGIN"].map(String::from).to_vec();
    };
    let world = World::with(&[], offer).await;
    world.faults(&["ignore-initial"]);
    // Without padding, as some programs send it.
    let plain = base64(&format!("\0{LOGIN}\0{PASSWORD}")).trim_end_matches('=').to_owned();
    let (user, password) = (base64(LOGIN), base64(PASSWORD));
    for (protocol, accepted) in [(Pop3, "+OK<any>"), (Smtp, "235 <any>")] {
        for by_login in [false, true] {
            let mut client = world.client(protocol).await;
            client.expect("<any>").await;
            if protocol == Smtp {
                client.send("EHLO pc").await;
                client.expect_until("250 <any>").await;
            }
            if by_login {
                client.ask(format!("AUTH LOGIN {user}"), "<any>UGFzc3dvcmQ6").await;
                client.ask(&password, accepted).await;
            } else {
                client.ask(format!("AUTH PLAIN {plain}"), accepted).await;
            }
            client.ask("NOOP", "<any>").await;
        }
    }
    let by_plain = vec![format!("AUTH PLAIN {plain}"), plain];
    let by_login = vec![format!("AUTH LOGIN {user}"), user, password];
    let lines: Vec<_> = logins(&world).into_iter().map(|(_, lines)| lines).collect();
    assert_eq!(lines, [&by_plain, &by_login, &by_plain, &by_login].map(Clone::clone));
}

#[tokio::test]
async fn an_old_program_logs_in_after_helo_and_sends() {
    let world = World::start(&[]).await;
    let mut client = world.client(Smtp).await;
    client.expect("220 <any>").await;
    client.ask("HELO pc", "250 <any>").await;
    client.ask("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
    client.ask(base64(LOGIN), "334 UGFzc3dvcmQ6").await;
    client.ask(base64(PASSWORD), "235 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    client.ask("RCPT TO:<kasse@ext.kim.telematik>", "250 <any>").await;
    client.ask("DATA", "354 <any>").await;
    client.send("Subject: a\r\n\r\nEins.").await;
    client.ask(".", "250 <any>").await;
    client.ask("QUIT", "221 <any>").await;
    assert_eq!(world.sim.maildrop("kasse@ext.kim.telematik").len(), 1);
}

const WANTS_A_CERTIFICATE: &str = "asks for a client certificate or refuses the one shown";

/// A server that wants a client certificate: its port, and the fingerprint of its own.
async fn wants_a_certificate(version: &'static SupportedProtocolVersion) -> (u16, String) {
    let authority = Authority::new("Clientmodul").unwrap();
    let own = authority.server(&["127.0.0.1"]).unwrap();
    let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(parse(authority.certificate())).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(own.private_key.expose().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![parse(&own.certificate)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(tcp).await.is_ok() });
        }
    });
    let facts = kimgate::trust::CertificateFacts::read(&parse(&own.certificate)).unwrap();
    (port, facts.fingerprint)
}

/// With TLS 1.3 the refusal comes after the handshake, where a greeting is expected.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_module_that_wants_a_client_certificate_is_named_as_such() {
    let (_standby, second) = standby().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (port, fingerprint) = wants_a_certificate(version).await;
        let lines = [
            "gateway.language = \"en\"".to_owned(),
            format!("client_modules.main.pop3_port = {port}"),
            format!("client_modules.main.smtp_port = {port}"),
            format!("client_modules.main.trust.pins = [\"{fingerprint}\"]"),
        ];
        let world = World::start(&[]).await;
        world.reload(&lines.each_ref().map(String::as_str)).unwrap();
        for protocol in [Pop3, Smtp] {
            let (_client, answer) = log_in(&world, protocol, PASSWORD).await;
            assert!(answer.contains(WANTS_A_CERTIFICATE), "{version:?}: {answer}");
        }
        let config = configuration_at(port, port, &format!("trust.pins = [\"{fingerprint}\"]"));
        let said = doctor(config, &[], None).await.expect(1);
        assert_eq!(said.matches(WANTS_A_CERTIFICATE).count(), 2, "{version:?}: {said}");
        assert!(said.contains("client_certificate and client_key"), "{version:?}: {said}");
        let with_standby: Vec<&str> = lines.iter().chain(&second).map(String::as_str).collect();
        world.reload(&with_standby).unwrap();
        let (_client, answer) = log_in(&world, Pop3, PASSWORD).await;
        assert!(answer.starts_with("+OK"), "{version:?}: {answer}");
    }
}

//! Who recognises whom: workstations by certificate, the client module by its own, and no login in
//! plain text.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use crate::client_module::standby;
use crate::support::dialogue::{Client, End, PASSWORD, auth_plain};
use crate::support::tools;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, World, count, only};
use kimgate::secret::Secret;
use kimgate::trust::{Authority, Issued};
use kimgate::words::{Protocol, Security};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const UNTRUSTED: &str = r#"client_modules.main.trust.pins = ["sha256:2222222222222222222222222222222222222222222222222222222222222222"]"#;
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
    let stranger = Authority::new("Fremd").unwrap();
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
    let said = |word: &str| closed.iter().any(|l| l["sentence"].as_str().unwrap().contains(word));
    assert!(said("[no-certificate]") && said("[unknown-issuer]: Inhaber CN=pc2;"), "{closed:?}");
}

#[tokio::test]
async fn a_certificate_names_workstation_and_user_by_common_name_or_dns_name() {
    let (folder, authority) = authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    let world = World::start(&[
        r#"tls.client_certificates = "required""#,
        &ca,
        r#"workstations.PC2.certificates = ["pc2.praxis.local"]"#,
        r#"users."fr.weber".certificates = ["Sabine Weber"]"#,
    ])
    .await;
    let issued = signed(&authority, "Sabine Weber", "pc2.praxis.local");
    let mut client = shown(&world, Some(issued)).await;
    client.expect("+OK <any>").await;
    client.pop3_login(AT_PC2).await;
    client.ask("QUIT", "+OK<any>").await;
    let audit = world.audit().await;
    let login = only(&audit, "login");
    assert_eq!(login["workstation"], "PC2");
    assert_eq!(login["users"], serde_json::json!(["fr.weber"]));
}

/// A client certificate with a common name and a DNS name.
fn signed(authority: &Authority, common_name: &str, dns: &str) -> Issued {
    let signer = rcgen::KeyPair::from_pem(authority.private_key().expose()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.certificate(), signer).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![dns.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Issued { certificate, private_key: Secret::new(key.serialize_pem()) }
}

/// rustls looks for an extension of TLS 1.2 before it looks at the version, so clients of TLS 1.0 and 1.1
/// were told that there is no common cipher.
#[tokio::test]
async fn a_client_of_an_old_tls_version_is_told_so() {
    for listener in [Listener::Implicit, Listener::StartTls] {
        let world = World::start(&[r#"gateway.language = "en""#]).await;
        let old = [0, 1, 2].map(|minor| hello(minor, &[]));
        for hello in &old {
            let mut tcp = world.tcp(Protocol::Pop3, listener, PC1).await;
            if listener == Listener::StartTls {
                tcp.write_all(b"STLS\r\n").await.unwrap();
                while !answer(&mut tcp).await.contains("ready for TLS") {}
            }
            tcp.write_all(hello).await.unwrap();
            let mut said = Vec::new();
            tcp.read_to_end(&mut said).await.unwrap();
            assert_eq!(said, [0x15, 3, 1, 0, 2, 2, 70], "protocol_version");
        }
        let audit = world.audit_when(|lines| count(lines, "closed") == old.len()).await;
        for closed in audit.iter().filter(|line| line["event"] == "closed") {
            assert_eq!(closed["reason"], "tls-failed");
            let sentence = closed["sentence"].as_str().unwrap();
            assert!(sentence.contains("[protocol-too-old]"), "{sentence}");
        }
    }
}

/// A client whose key exchange is not offered here has no group in common; its ciphers are in order.
#[tokio::test]
async fn a_client_without_a_common_group_is_told_of_groups() {
    let world = World::start(&[r#"gateway.language = "en""#]).await;
    // Signatures with P-256; of the groups, only secp521r1.
    let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 25, 0, 11, 0, 2, 1, 0];
    let mut tcp = world.tcp(Protocol::Pop3, Listener::Implicit, PC1).await;
    tcp.write_all(&hello(3, &extensions)).await.unwrap();
    let mut said = Vec::new();
    tcp.read_to_end(&mut said).await.unwrap();
    assert_eq!(said.last(), Some(&40), "handshake_failure");
    let audit = world.audit_when(|lines| count(lines, "closed") == 1).await;
    let sentence = only(&audit, "closed")["sentence"].as_str().unwrap();
    assert!(sentence.contains("no group for the key exchange"), "{sentence}");
    assert!(sentence.contains("[no-common-group]"), "{sentence}");
}

/// The first message of a client whose newest version is TLS 1.x (RFC 5246 section 7.4.1.2).
fn hello(minor: u8, extensions: &[u8]) -> Vec<u8> {
    // Its random, no session, and ECDHE with AES-GCM, ECDSA and RSA.
    let mut body = [&[3, minor][..], &[7; 32], &[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]].concat();
    if !extensions.is_empty() {
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
    }
    let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [&[0x16, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

/// What has come from there.
async fn answer(tcp: &mut tokio::net::TcpStream) -> String {
    let mut bytes = [0; 512];
    let read = tcp.read(&mut bytes).await.unwrap();
    assert!(read > 0, "the end");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn a_mail_program_in_clear_on_a_tls_port_is_told_what_to_set() {
    let german =
        "Dieser Port spricht TLS vom ersten Byte an; bitte SSL/TLS einstellen (tls-failed)";
    let english = "this port speaks TLS from the first byte; please set SSL/TLS (tls-failed)";
    for (language, text) in [("de", german), ("en", english)] {
        let world = World::start(&[&format!("gateway.language = {language:?}")]).await;
        for (protocol, says, code) in
            [(Protocol::Pop3, "CAPA", "-ERR"), (Protocol::Smtp, "EHLO pc", "421 4.7.0")]
        {
            let tcp = world.tcp(protocol, Listener::Implicit, PC1).await;
            let mut client = Client::new(Box::new(tcp));
            client.ask(says, &format!("{code} KIM-Gateway: {text}")).await;
            assert_eq!(client.end().await, End::Clean, "a reset could take the words away");
        }
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
async fn plain_text_after_starttls_is_not_taken_for_an_answer() {
    let starttls = r#"client_modules.main.tls = "starttls""#;
    let world = World::with(&[starttls], |sim| sim.security = Security::StartTls).await;
    world.faults(&["starttls-unasked"]);
    assert_refused(&world, "client-module-protocol-error").await;
}

#[tokio::test]
async fn another_certificate_than_last_time_is_told_with_both_fingerprints() {
    let world = World::start(&[]).await;
    let old = format!("sha256:{}", "ab".repeat(32));
    let state = world.folder.path().join("other");
    std::fs::create_dir(&state).unwrap();
    let place = world.sim.pop3_addr().to_string();
    let entry = serde_json::json!({
        "fingerprint": old, "subject": "CN=kim", "not_after": 1_900_000_000, "since": 1_700_000_000,
    });
    let known = serde_json::json!({ place: entry }).to_string();
    std::fs::write(state.join("known-certificates.json"), known).unwrap();
    world.reload(&[r#"gateway.state_dir = "other""#]).unwrap();
    let mut client = world.client_from(Protocol::Pop3, Listener::Plain, PC1).await;
    client.expect("+OK <any>").await;
    client.pop3_login(LOGIN).await;
    client.ask("QUIT", "+OK<any>").await;
    let told = |lines: &Vec<Value>| lines.iter().any(|line| line["replaces"] == old.as_str());
    let audit = world.audit_when(told).await;
    let line = audit.iter().find(|line| line["replaces"] == old.as_str()).unwrap();
    let sentence = line["sentence"].as_str().unwrap();
    assert!(sentence.contains(&old) && sentence.contains(&world.sim.fingerprint()), "{sentence}");
    assert_eq!((&line["event"], &line["accepted"]), (&"certificate".into(), &true.into()));
    let kept = std::fs::read_to_string(state.join("known-certificates.json")).unwrap();
    assert!(kept.contains(&world.sim.fingerprint()) && !kept.contains(&old), "{kept}");
}

/// What the research "NO STARTTLS" (Poddebniak and others, 2021) found in mail programs and servers,
/// done to kimgate by an attacker between it and the client module.
#[tokio::test]
async fn nothing_said_in_clear_by_the_client_module_counts_after_starttls() {
    const HELLO: &str = "250-kim\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n";
    const GO: &str = "220 go\r\n";
    let protocol_error = "client-module-protocol-error";
    // Greeting, answer to EHLO, answer to STLS or STARTTLS, and what comes of it.
    let variants = [
        // An answer before the question.
        (Protocol::Pop3, "+OK hi\r\n+OK go\r\n", "", "+OK go\r\n", protocol_error),
        (Protocol::Smtp, "220 kim\r\n220 go\r\n", HELLO, GO, protocol_error),
        (Protocol::Smtp, "220 kim\r\n", "250 STARTTLS\r\n220 go\r\n", GO, protocol_error),
        // More after the answer: whole lines, half a line, a login's answer.
        (Protocol::Pop3, "+OK hi\r\n", "", "+OK go\r\n+OK\r\n+OK in\r\n", protocol_error),
        (Protocol::Pop3, "+OK hi\r\n", "", "+OK go\r\n+O", protocol_error),
        (Protocol::Smtp, "220 kim\r\n", HELLO, "220 go\r\n250 evil\r\n", protocol_error),
        (Protocol::Smtp, "220 kim\r\n", HELLO, "220 go\r\n2", protocol_error),
        (Protocol::Smtp, "220 kim\r\n", HELLO, "220 go\r\n235 2.7.0 in\r\n", protocol_error),
        // A refusal, or no offer, is no reason to go on in clear.
        (Protocol::Pop3, "+OK hi\r\n", "", "-ERR no\r\n", protocol_error),
        (Protocol::Smtp, "220 kim\r\n", HELLO, "454 4.7.0 no\r\n", protocol_error),
        (Protocol::Smtp, "220 kim\r\n", "250 AUTH PLAIN\r\n", GO, protocol_error),
        // As IMAP's PREAUTH: a greeting that claims to be further on.
        (Protocol::Smtp, "235 2.7.0 in\r\n", HELLO, GO, protocol_error),
        (Protocol::Smtp, "250 kim\r\n", HELLO, GO, protocol_error),
        // It agrees, and goes on in clear.
        (Protocol::Pop3, "+OK hi\r\n", "", "+OK go\r\n", "client-module-untrusted"),
        (Protocol::Smtp, "220 kim\r\n", HELLO, GO, "client-module-untrusted"),
    ];
    let world = World::start(&[]).await;
    for (protocol, greeting, hello, go, reason) in variants {
        let (port, heard) = in_clear(greeting, hello, go).await;
        world
            .reload(&[
                r#"client_modules.main.tls = "starttls""#,
                &format!("client_modules.main.pop3_port = {port}"),
                &format!("client_modules.main.smtp_port = {port}"),
            ])
            .unwrap();
        let mut client = world.client(protocol).await;
        let refused = match protocol {
            Protocol::Pop3 => {
                client.expect("+OK <any>").await;
                client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
                client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/TEMP] <any>").await
            }
            Protocol::Smtp => {
                client.expect("220 <any>").await;
                client.send("EHLO pc").await;
                client.expect_until("250 <any>").await;
                client.ask(auth_plain(LOGIN, PASSWORD), "454 4.7.0 <any>").await
            }
        };
        assert!(refused.ends_with(&format!("({reason})")), "{greeting:?} {go:?}: {refused}");
        let heard = String::from_utf8_lossy(&heard.lock().unwrap()).to_uppercase();
        assert!(!["USER", "PASS", "AUTH"].iter().any(|verb| heard.contains(verb)), "{heard}");
    }
}

/// A server in clear that says this, and what it hears.
async fn in_clear(
    greeting: &'static str,
    hello: &'static str,
    go: &'static str,
) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let all = all.clone();
            tokio::spawn(async move {
                let mut answer = greeting;
                let mut bytes = [0; 4096];
                while tcp.write_all(answer.as_bytes()).await.is_ok() {
                    let read = tcp.read(&mut bytes).await.unwrap_or(0);
                    all.lock().unwrap().extend_from_slice(&bytes[..read]);
                    answer = match &bytes[..read] {
                        [] => return,
                        [b'E', ..] => hello,
                        [b'S', ..] => go,
                        // A ClientHello, or a goodbye.
                        [_, ..] => "+OK evil\r\n",
                    };
                }
            });
        }
    });
    (port, heard)
}

/// The same from the workstation's side.
#[tokio::test]
async fn nothing_said_in_clear_by_a_workstation_counts_after_starttls() {
    let world = World::start(&[]).await;
    for (protocol, before, attempts) in [
        (
            Protocol::Pop3,
            &["+OK <any>"][..],
            &["STLS\r\nU", "STLS\r\n\r\n", "STLS\r\nCAPA\r\n", "STLS\r\n\x16\x03\x01"][..],
        ),
        (
            Protocol::Smtp,
            &["220 <any>"],
            &["STARTTLS\r\nE", "STARTTLS\r\n\r\n", "STARTTLS\r\nNOOP\r\n", "STARTTLS\r\n\x16\x03"],
        ),
    ] {
        for attempt in attempts {
            let mut client = world.client_from(protocol, Listener::StartTls, PC1).await;
            for line in before {
                client.expect(line).await;
            }
            client.send_bytes(attempt.as_bytes()).await;
            let (said, _) = client.rest().await;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.trim_end().ends_with("(bad-command)"), "{attempt:?}: {said}");
        }
        // It agrees on TLS, and goes on in clear.
        let mut client = world.client_from(protocol, Listener::StartTls, PC1).await;
        client.expect(before[0]).await;
        let verb = if protocol == Protocol::Pop3 { "STLS" } else { "STARTTLS" };
        client.send(verb).await;
        client.expect(if protocol == Protocol::Pop3 { "+OK<any>" } else { "220 <any>" }).await;
        client.send(format!("USER {LOGIN}")).await;
        let (said, _) = client.rest().await;
        assert!(!String::from_utf8_lossy(&said).contains("+OK"), "{}", said.escape_ascii());
    }
    assert!(world.upstream_now().is_empty(), "{:?}", world.upstream_now());
}

#[tokio::test]
async fn sslscan_finds_nothing_weak() {
    if !tools::have(&["sslscan"]) {
        return;
    }
    let world = World::start(&[]).await;
    for (protocol, listener, how) in [
        (Protocol::Pop3, Listener::Implicit, None),
        (Protocol::Smtp, Listener::Implicit, None),
        (Protocol::Pop3, Listener::StartTls, Some("--starttls-pop3")),
        (Protocol::Smtp, Listener::StartTls, Some("--starttls-smtp")),
    ] {
        let mut command = tools::command("sslscan");
        command.args(["--xml=-", "--no-colour"]).args(how);
        let target = world.address(protocol, listener).to_string();
        let done = tools::run(command.arg(target), b"").await;
        let said = &done.said;
        assert!(done.ok, "{said}");
        let attributes = |element: &str| {
            let lines = said.lines().map(str::trim);
            lines.filter(|l| l.starts_with(&format!("<{element} "))).collect::<Vec<_>>()
        };
        let spoken = attributes("protocol").into_iter().filter(|l| l.contains(r#"enabled="1""#));
        let spoken: Vec<_> = spoken.collect();
        let modern = |l: &&str| l.contains(r#"version="1.2""#) || l.contains(r#"version="1.3""#);
        assert!(spoken.len() == 2 && spoken.iter().all(modern), "{spoken:?}");
        let ciphers = attributes("cipher");
        let secret_forward = |l: &&str| {
            // Those of TLS 1.3 are "acceptable" to it.
            let is_strong = ["strong", "acceptable"].iter().any(|s| l.contains(s));
            is_strong && (l.contains(r#"cipher="TLS_"#) || l.contains(r#"cipher="ECDHE-"#))
        };
        assert!(ciphers.len() >= 6 && ciphers.iter().all(secret_forward), "{ciphers:#?}");
        for absent in [
            r#"<renegotiation supported="1""#,
            r#"<compression supported="1""#,
            r#"vulnerable="1""#,
        ] {
            assert!(!said.contains(absent), "{absent} in {said}");
        }
    }
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

#[tokio::test]
async fn the_standby_is_dialled_where_the_first_one_breaks_off_the_handshake() {
    let (_standby, lines) = standby().await;
    let world = World::start(&lines.each_ref().map(String::as_str)).await;
    world.faults(&["handshake-reset"]);
    let mut client = world.smtp().await;
    client.ask("QUIT", "221 <any>").await;
    assert_eq!(only(&world.audit().await, "login")["client_module"], "second");
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

//! Dialogue and headers as gematik's draft of April 2026 prints them, through the whole gateway.

use crate::support::cli::{kimgate, text, write};
use crate::support::dialogue::{ADDRESS, PASSWORD, auth_plain};
use crate::support::world::{LOGIN, World, only};
use kimgate::sim::{Fault, SimCertificate, SimConfig};
use kimgate::words::Protocol;

/// What practice software has to write, all of it.
const SENT: &str = "From: prx@praxis.kim.telematik\r\nMessage-ID: <1@praxis>\r\n\
    X-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\nX-KIM-Sendersystem: Praxis;1.0\r\n\
    X-KIM-Support: hilfe@hersteller.example\r\nX-TI-User-Agent: Firma-Produkt/2.0.0\r\n\r\nText\r\n";

/// A client module of 2026: a certificate of its own PKI, its dialogue, its headers, and its checks.
fn of_2026(sim: &mut SimConfig) {
    let manners = ["kim-2026", "strict-headers"];
    sim.faults = manners.map(|name| name.parse::<Fault>().unwrap()).into();
    sim.certificate = SimCertificate::OwnPki;
}

#[tokio::test]
async fn a_message_is_sent_through_a_client_module_of_2026() {
    let world = World::with(&[r#"headers.middleware = "add""#], of_2026).await;
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    let offered = client.expect_until("250 <any>").await;
    let wanted = ["SIZE 734003200", "AUTH LOGIN PLAIN", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"];
    for line in wanted {
        assert!(offered.iter().any(|offer| offer[4..] == *line), "{line}: {offered:?}");
    }
    let login = format!("{}#Konn_1#ARZT", LOGIN.replace(":995", ":465"));
    client.ask(auth_plain(&login, PASSWORD), "235 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}> SIZE=734003200"), "250 <any>").await;
    client.ask(format!("RCPT TO:<{ADDRESS}>"), "250 <any>").await;
    client.ask("DATA", "354 <any>").await;
    client.send_bytes(format!("{SENT}.\r\n").as_bytes()).await;
    client.expect("250 <any>").await;
    for (odd, answer) in [
        (SENT.to_owned(), "554 5.6.0 Message-ID ist schon verwendet"),
        (SENT.replace("X-TI-User-Agent", "X-Other"), "554 5.6.0 X-TI-User-Agent fehlt"),
    ] {
        client.begin_message().await;
        client.send_bytes(format!("{odd}.\r\n").as_bytes()).await;
        client.expect(answer).await;
    }
    client.ask("QUIT", "221 <any>").await;
    let line = world.audit().await;
    let accepted = line.iter().find(|line| line["event"] == "login").unwrap();
    let fields = serde_json::json!(["KonnektorId or UserId", "UserId or KonnektorId"]);
    assert_eq!(accepted["optional_fields"], fields);
    assert!(!accepted.to_string().contains("ARZT"), "{accepted}");
}

#[tokio::test]
async fn a_message_with_the_headers_of_2026_is_fetched_as_it_is() {
    let world = World::with(&[], of_2026).await;
    world.sim.deliver(ADDRESS, SENT.as_bytes());
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.send("CAPA").await;
    let capabilities = client.expect_until(".").await;
    for line in ["TOP", "USER", "SASL PLAIN", "UIDL"] {
        assert!(capabilities.iter().any(|offer| offer == line), "{line}: {capabilities:?}");
    }
    client.ask(auth_plain(LOGIN, PASSWORD), "+OK<any>").await;
    client.send("UIDL").await;
    client.expect_until(".").await;
    client.ask("TOP 1 0", "+OK<any>").await;
    let outer = String::from_utf8(client.until_dot().await).unwrap();
    assert!(outer.contains("Subject: KOM-LE-Nachricht\r\n"), "{outer}");
    assert!(outer.contains("X-KIM-KAS-EncSize: ") && !outer.contains("X-KIM-Auth"), "{outer}");
    client.ask("RETR 1", "+OK<any>").await;
    let inner = String::from_utf8(client.until_dot().await).unwrap();
    assert!(inner.ends_with(SENT) && inner.starts_with("X-KIM-Auth: "), "{inner}");
    assert!(inner.len() > 8_000 && inner.matches("\r\nX-KIM-Fehlermeldung: X").count() == 2);
    client.ask("QUIT", "+OK<any>").await;
    let audit = world.audit().await;
    assert_eq!(only(&audit, "message-received")["service"], "eAU;Lieferung;V1.2");
}

#[tokio::test]
async fn a_large_header_block_is_read_to_its_end_and_does_not_hold_its_message() {
    let world = World::start(&[]).await;
    let lines = format!("X-KIM-Neu: {}\r\n", "x".repeat(900)).repeat(240);
    let message = format!("{lines}X-KIM-DecryptionResult: 00\r\n\r\nText\r\n");
    assert!(message.len() > 200 << 10);
    world.sim.deliver(ADDRESS, message.as_bytes());
    let mut client = world.pop3().await;
    client.ask("RETR 1", "+OK<any>").await;
    assert_eq!(client.until_dot().await, message.as_bytes());
    client.ask("DELE 1", "+OK<any>").await;
    client.ask("QUIT", "+OK<any>").await;
    assert_eq!(only(&world.audit().await, "message-received")["decryption"][0], "00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_module_that_wants_a_certificate_gets_the_configured_one() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(folder.path());
    kimgate(&["certs", "ca", "--dir", &dir]).expect(0);
    kimgate(&["certs", "client", "kimgate", "--dir", &dir]).expect(0);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let lines = [
        format!("client_modules.main.client_certificate = {:?}", file("kimgate.pem")),
        format!("client_modules.main.client_key = {:?}", file("kimgate.key")),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let world = World::with(&lines, |sim| {
        of_2026(sim);
        sim.client_ca = Some(file("ca.pem").into());
    })
    .await;
    let mut client = world.pop3().await;
    client.ask("QUIT", "+OK<any>").await;
    let bare = world.sim.pop3_addr().port();
    let config = format!(
        "[listeners.l]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [client_modules.main]\nhost = \"127.0.0.1\"\npop3_port = {bare}\n\
         [client_modules.main.trust]\npins = [\"{}\"]\n[gateway]\nlanguage = \"en\"\n",
        world.sim.fingerprint()
    );
    let config = text(&write(folder.path(), "without.toml", &config));
    let without = kimgate(&["doctor", "--config", &config]).expect(1);
    assert!(without.contains("client_certificate and client_key"), "{without}");
}

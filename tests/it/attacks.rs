//! What a hostile or a broken peer may try, byte by byte: the test itself is the workstation and the
//! client module, and the gateway stands between the two.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kimgate::gateway::{
    ClientModuleConfig, Config, ContextRules, Gateway, Handle, Limits, Listener, Protection,
};
use kimgate::observe::{AuditConfig, ObserveConfig, Observer};
use kimgate::policy::{AccountRules, Authors, Otherwise, Policy, Rules};
use kimgate::sim::{Sim, SimConfig};
use kimgate::trust::{ClientCertificates, ClientModuleTrust, ListenerTlsConfig, MinVersion};
use kimgate::words::{Language, Protocol, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::dialogue::{ADDRESS, auth_plain, stuffed};
use crate::support::kimgate::{Kimgate, client_module};
use crate::support::transcript;
use crate::support::world::{LOGIN, World as Practice};

const ACCOUNT: &str = "prx@praxis.kim.telematik";
/// `\0prx@praxis.kim.telematik#h:1#M#C#PC1\0geheim`
const PLAIN: &str = "AUTH PLAIN AHByeEBwcmF4aXMua2ltLnRlbGVtYXRpayNoOjEjTSNDI1BDMQBnZWhlaW0=";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service is judged before the client module sees DATA, wherever its field stands.
async fn is_refused(message: &str) {
    let mut world = World::smtp(|account| account.services = Some(vec!["KIM-Mail;*".into()])).await;
    let (mut client, mut module) = world.begin_message().await;
    client.send(message).await;
    let next = module.line().await;
    assert_eq!(next, "RSET", "{message:?}");
    module.send("250 ok\r\n").await;
    let reply = client.line().await;
    assert!(reply.contains("(service-not-allowed)"), "{message:?} got {reply:?}");
}

#[tokio::test]
async fn a_message_without_a_body_does_not_hide_its_last_header_field() {
    is_refused("Subject: x\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n.\r\n").await;
    is_refused("X-KIM-Dienstkennung: eAU;\r\n Lieferung;V1.0\r\n.\r\n").await;
}

#[tokio::test]
async fn a_blank_line_of_bare_line_feeds_does_not_hide_the_fields_after_it() {
    let field = "X-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n";
    for blank in ["Subject: x\n\n\r\n", "Subject: x\n\r\n", "Subject: x\r\n\n"] {
        is_refused(&format!("{blank}{field}\r\nbody\r\n.\r\n")).await;
    }
}

#[tokio::test]
async fn a_first_header_line_after_a_blank_is_still_a_field() {
    is_refused(" X-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\nbody\r\n.\r\n").await;
}

#[tokio::test]
async fn a_header_too_long_to_be_read_hides_no_service_and_is_audited() {
    let filler = format!("X-Filler: {}\r\n", "x".repeat(500)).repeat(600);
    let field = "X-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n";
    let message = format!("{filler}{field}\r\nbody\r\n.\r\n");
    let mut world = World::smtp(|account| account.services = Some(vec!["KIM-Mail;*".into()])).await;
    let (mut client, mut module) = world.begin_message().await;
    client.send(&message).await;
    module.expect("RSET").await;
    module.send("250 ok\r\n").await;
    let reply = client.line().await;
    assert!(reply.contains("(service-not-allowed)"), "{reply:?}");
    let line = world.audited("service-not-allowed").await;
    assert!(line.contains("\"event\":\"denied\""), "{line}");
}

/// Header blocks that hid their service from kimgate, and not from a mail library in wide use.
fn hidden_services() -> Vec<String> {
    let service = "eAU;Lieferung;V1.0";
    let mut names: Vec<String> = (0..0x20_u8)
        .filter(|b| !b"\t\n\r".contains(b))
        .map(char::from)
        .flat_map(|octet| {
            let name = "X-KIM-Dienstkennung";
            [format!("{octet}{name}"), format!("{name}{octet}"), format!("{name} {octet} ")]
        })
        .collect();
    names.extend(["X-KIM-Dien\u{17f}tkennung", "X-\u{212a}IM-Dienstkennung"].map(String::from));
    names.extend(["X-KIM-D\u{131}enstkennung", "X-KIM-Dienstkennung\u{a0}"].map(String::from));
    for blank in [" ", "\t"] {
        names.extend([58, 76, 3_000].map(|n| format!("X-KIM-Dienstkennung{}", blank.repeat(n))));
    }
    let mut blocks: Vec<String> =
        names.iter().map(|name| format!("{name}: {service}\r\n")).collect();
    for line in ["\u{1}", "\u{0}\u{1f}", "\u{7}\u{7}\u{7}"] {
        blocks.push(format!("{line}\r\n X-KIM-Dienstkennung: {service}\r\n"));
        blocks.push(format!("{line}\r\n\tX-KIM-Dienstkennung: {service}\r\n"));
    }
    blocks
}

#[tokio::test]
async fn no_header_line_hides_a_service_from_a_rule() {
    let mut world = World::smtp(|account| account.services = Some(vec!["KIM-Mail;*".into()])).await;
    for block in hidden_services() {
        let (mut client, mut module) = world.begin_message().await;
        client.send(&format!("Subject: x\r\n{block}\r\nbody\r\n.\r\n")).await;
        assert_eq!(module.line().await, "RSET", "{block:?}");
        module.send("250 ok\r\n").await;
        let reply = client.line().await;
        let is_refused = reply.starts_with("550 5.7.1 ") && reply.ends_with("(header-malformed)");
        assert!(is_refused, "{block:?} got {reply:?}");
    }
    let line = world.audited("header-malformed").await;
    assert!(line.contains("\"event\":\"denied\"") && line.contains(".send.services"), "{line}");
}

#[tokio::test]
async fn a_header_line_that_is_no_field_passes_where_no_rule_asks_for_services() {
    let mut world = World::smtp(|_| ()).await;
    for block in hidden_services() {
        let (mut client, mut module) = world.begin_message().await;
        client.send(&format!("{block}\r\nbody\r\n.\r\n")).await;
        module.expect("DATA").await;
        module.send("354 go\r\n").await;
        let mut came = String::new();
        while !came.ends_with("body\r\n.\r\n") {
            came.extend([module.line().await, "\r\n".into()]);
        }
        assert_eq!(came, format!("{block}\r\nbody\r\n.\r\n"));
        module.send("250 sent\r\n").await;
        client.expect("250 sent").await;
    }
}

/// The service named first may be sent, and what was not read may name another one.
#[tokio::test]
async fn a_service_behind_a_limit_is_not_sent_where_a_rule_asks_for_it() {
    let allowed = "X-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n";
    let long = format!("{}: x\r\n", "x".repeat(77));
    for services in ["KIM-Mail;*", "*"] {
        let change = |account: &mut AccountRules| account.services = Some(vec![services.into()]);
        let mut world = World::smtp(change).await;
        let filler = format!("X-Filler: {}\r\n", "x".repeat(500)).repeat(600);
        for (block, word) in [
            (allowed.repeat(17), "(service-not-allowed)"),
            (format!("{allowed}{filler}"), "(service-not-allowed)"),
            (format!("{allowed}{long}"), "(header-malformed)"),
        ] {
            let (mut client, mut module) = world.begin_message().await;
            client.send(&format!("{block}\r\nbody\r\n.\r\n")).await;
            module.expect("RSET").await;
            module.send("250 ok\r\n").await;
            let reply = client.line().await;
            assert!(reply.ends_with(word), "{word}: {reply:?}");
        }
    }
}

/// The error that the client module reports may stand where kimgate does not read any more.
#[tokio::test]
async fn a_fetched_message_whose_header_cannot_be_read_is_not_deleted() {
    let filler = format!("X-Filler: {}\r\n", "x".repeat(500)).repeat(600);
    let long = format!("{}: x\r\n", "x".repeat(77));
    for block in [filler, long, "X-KIM-DecryptionResult: 00\r\n".repeat(17)] {
        let mut world = World::pop3(|_| ()).await;
        let (mut client, mut module) = world.log_in().await;
        client.send("RETR 1\r\n").await;
        module.expect("RETR 1").await;
        module
            .send(&format!("+OK\r\n{block}X-KIM-DecryptionResult: 01\r\n\r\nbody\r\n.\r\n"))
            .await;
        module.expect("UIDL 1").await;
        module.send("+OK 1 a\r\n").await;
        while client.line().await != "." {}
        let reply = client.ask("DELE 1", "-ERR").await;
        assert!(reply.ends_with("(delete-held)"), "{reply}");
    }
}

#[tokio::test]
async fn a_sender_and_a_recipient_have_one_meaning() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.log_in().await;
    let refused = [
        "MAIL FROM:<prx@praxis.kim.telematik> <chef@praxis.kim.telematik>",
        "MAIL FROM:<prx@praxis.kim.telematik> FROM:<chef@praxis.kim.telematik>",
        "MAIL FROM:<prx@praxis.kim.telematik> BODY=BINARYMIME",
        "MAIL FROM:<prx@praxis.kim.telematik> SIZE=1 SIZE=999999999",
        "MAIL FROM:<\"prx\"@praxis.kim.telematik>",
        "MAIL FROM:<\"prx@praxis.kim.telematik> <chef\"@praxis.kim.telematik>",
    ];
    for line in refused {
        client.ask(line, "501 5.5.4 ").await;
    }
    client.send("MAIL FROM:<prx@praxis.kim.telematik> SIZE=10 BODY=8BITMIME\r\n").await;
    module.expect("MAIL FROM:<prx@praxis.kim.telematik> SIZE=10 BODY=8BITMIME").await;
    module.send("250 ok\r\n").await;
    client.expect("250").await;
    let refused = [
        "RCPT TO:<a@b.kim.telematik> <c@d.example>",
        "RCPT TO:<a@b.kim.telematik> TO:<c@d.example>",
        "RCPT TO:<a@b.kim.telematik> NOTIFY=NEVER NOTIFY=SUCCESS",
        "RCPT TO:<\"a@b.kim.telematik\"@d.example>",
        "RCPT TO:<\"a\"@b.kim.telematik>",
    ];
    for line in refused {
        client.ask(line, "501 5.5.4 ").await;
    }
    client.send("NOOP\r\n").await;
    assert_eq!(module.line().await, "NOOP");
}

#[tokio::test]
async fn recipient_and_message_need_a_sender_that_the_client_module_accepted() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.log_in().await;
    client.ask("RCPT TO:<a@b.kim.telematik>", "503 5.5.1 KIM-Gateway: need MAIL first").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.send("MAIL FROM:<prx@praxis.kim.telematik>\r\n").await;
    module.expect("MAIL").await;
    module.send("451 later\r\n").await;
    client.expect("451 later").await;
    client.ask("RCPT TO:<a@b.kim.telematik>", "503 5.5.1 ").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.send("NOOP\r\n").await;
    assert_eq!(module.line().await, "NOOP");
}

#[tokio::test]
async fn another_account_in_from_or_sender_is_refused_where_the_rule_says_so() {
    let own = format!("From: Praxis <{ACCOUNT}>\r\n");
    let refused = [
        "From: chef@praxis.kim.telematik\r\n".to_owned(),
        format!("{own}From: chef@praxis.kim.telematik\r\n"),
        format!("{own}Sender: chef@praxis.kim.telematik\r\n"),
        format!("{own}Sender: {ACCOUNT}\r\nSender: {ACCOUNT}\r\n"),
        format!("From: {ACCOUNT}, chef@praxis.kim.telematik\r\n"),
        format!("From: praxis: {ACCOUNT};\r\n"),
        format!("From: {ACCOUNT} (chef@praxis.kim.telematik)\r\n"),
        format!("From: \"chef@praxis.kim.telematik\" <{ACCOUNT}>\r\n"),
        format!("From: <{ACCOUNT}>,\r\n <chef@praxis.kim.telematik>\r\n"),
        "From:\r\n".to_owned(),
        "Subject: no author\r\n".to_owned(),
    ];
    let passes = [
        own.clone(),
        format!("From: \"Praxis\"\r\n <{}>\r\nSender: {ACCOUNT}\r\n", ACCOUNT.to_uppercase()),
        "From: Vertretung <info@praxis.kim.telematik>\r\n".to_owned(),
    ];
    let mut world = World::smtp(|account| {
        account.from = Authors::Account;
        account.senders = vec!["info@praxis.kim.telematik".into()];
    })
    .await;
    for block in refused {
        let (mut client, mut module) = world.begin_message().await;
        client.send(&format!("{block}\r\nbody\r\n.\r\n")).await;
        assert_eq!(module.line().await, "RSET", "{block:?}");
        module.send("250 ok\r\n").await;
        let reply = client.line().await;
        assert!(reply.ends_with("(sender-not-allowed)"), "{block:?} got {reply:?}");
    }
    for block in passes {
        let (mut client, mut module) = world.begin_message().await;
        client.send(&format!("{block}\r\nbody\r\n.\r\n")).await;
        assert_eq!(module.line().await, "DATA", "{block:?}");
    }
    let (mut client, mut module) = world.begin_message().await;
    client.send(&format!("\u{1}From: chef@praxis.kim.telematik\r\n{own}\r\nbody\r\n.\r\n")).await;
    module.expect("RSET").await;
    module.send("250 ok\r\n").await;
    assert!(client.line().await.ends_with("(header-malformed)"));
    let line = world.audited("sender-not-allowed").await;
    assert!(line.contains(".send.from") && !line.contains("chef"), "{line}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_message_acknowledges_nothing() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.begin_message().await;
    client.send("Subject: x\r\n\r\n").await;
    module.expect("DATA").await;
    module.send("354 go\r\n").await;
    module.expect("Subject").await;
    module.send("250 queued already\r\n").await;
    settle().await;
    client.send("body\r\n.\r\n").await;
    let reply = client.line().await;
    assert!(reply.contains("(client-module-protocol-error)"), "{reply:?}");
    assert!(!module.rest().await.contains("\r\n.\r\n"), "the message is not completed");
}

#[tokio::test]
async fn what_comes_before_data_is_no_answer_to_it() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.begin_message().await;
    module.send("354 too early\r\n").await;
    settle().await;
    client.send("Subject: x\r\n\r\nbody\r\n.\r\n").await;
    let reply = client.line().await;
    assert!(reply.contains("(client-module-protocol-error)"), "{reply:?}");
    assert_eq!(module.rest().await, "");
}

#[tokio::test]
async fn recipients_of_a_refused_message_do_not_get_the_next_one() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.begin_message().await;
    client.send("Subject: x\r\n\r\nbody\r\n.\r\n").await;
    module.expect("DATA").await;
    module.send("451 4.3.0 not now\r\n").await;
    module.expect("RSET").await;
    module.send("250 ok\r\n").await;
    client.expect("451 4.3.0 not now").await;
}

#[tokio::test]
async fn a_reply_that_fills_the_buffer_without_an_end_does_not_keep_a_thread() {
    let mut world = World::smtp(|_| ()).await;
    let (mut client, mut module) = world.log_in().await;
    client.send("NOOP\r\n").await;
    module.expect("NOOP").await;
    let line = format!("250-{}\r\n", "x".repeat(8_000));
    // The gateway stops reading it, so not all of it can be sent.
    let _ = module.stream.write_all(line.repeat(20).as_bytes()).await;
    let reply = client.line().await;
    assert!(reply.contains("(client-module-protocol-error)"), "{reply:?}");
}

#[tokio::test]
async fn quit_is_carried_out_for_a_workstation_that_does_not_wait_for_its_answer() {
    let mut world = World::pop3(|_| ()).await;
    let (mut client, mut module) = world.log_in().await;
    client.send("DELE 1\r\n").await;
    module.expect("DELE 1").await;
    module.send("+OK\r\n").await;
    client.expect("+OK").await;
    client.send("QUIT\r\n").await;
    module.expect("QUIT").await;
    client.reset();
    settle().await;
    // The client module deletes now; a reset would tell it to stop.
    module.send("+OK bye\r\n").await;
    let mut end = [0; 1];
    assert_eq!(module.stream.read(&mut end).await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_sent_while_a_login_was_refused_is_answered() {
    let mut world = World::pop3(|_| ()).await;
    world.hold_refusals();
    let mut client = world.connect().await;
    client.ask(&format!("USER {ACCOUNT}#h:1#M#C#PC1"), "+OK").await;
    client.send("PASS falsch\r\n").await;
    settle().await;
    client.send("QUIT\r\n").await;
    settle().await;
    world.release_refusals();
    client.expect("-ERR").await;
    client.expect("+OK").await;
}

#[tokio::test]
async fn a_command_line_that_no_buffer_holds_is_too_long_whatever_the_limit() {
    let limits = Limits { command_line: 1 << 20, ..Limits::default() };
    let mut world = World::start(Protocol::Pop3, |_| (), |config| config.limits = limits).await;
    let (mut client, _module) = world.log_in().await;
    client.send(&"x".repeat(100_000)).await;
    let reply = client.line().await;
    assert!(reply.contains("(line-too-long)"), "{reply:?}");
}

#[tokio::test]
async fn a_command_that_comes_byte_by_byte_runs_into_a_limit() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() };
    let mut world = World::start(Protocol::Pop3, |_| (), |config| config.limits = limits).await;
    let (mut client, _module) = world.log_in().await;
    let (mut reading, mut writing) = client.stream.split();
    let dribble = async {
        while writing.write_all(b"N").await.is_ok() {
            settle().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = reading.read_buf(&mut client.unread) => drop(read.unwrap()),
        () = dribble => {}
    }
    let reply = client.line().await;
    assert!(reply.contains("(timeout)"), "{reply:?}");
}

#[tokio::test]
async fn connections_that_only_open_do_not_take_the_places_of_all() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(
        Protocol::Pop3,
        |_| (),
        |config| {
            config.listeners[0].security = Security::Implicit;
            config.limits.connections_per_workstation = 2;
            config.tls = Some(ListenerTlsConfig {
                certificate: None,
                min_version: MinVersion::default(),
                client_certificates: ClientCertificates::Off,
                client_ca: None,
                client_crl: Vec::new(),
                gateway_name: "gw".into(),
                state_dir: state.path().to_owned(),
            });
        },
    )
    .await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(Peer::new(TcpStream::connect(world.address).await.unwrap()));
        settle().await;
    }
    let mut third = Peer::new(TcpStream::connect(world.address).await.unwrap());
    assert_eq!(third.rest().await, "", "it is sent away");
    silent.clear();
    settle().await;
    let mut fourth = Peer::new(TcpStream::connect(world.address).await.unwrap());
    fourth.send("USER x\r\n").await;
    fourth.expect("-ERR KIM-Gateway: this port speaks TLS").await;
}

#[tokio::test]
async fn a_login_leaves_nothing_of_itself_on_the_next_one() {
    let world = World::pop3(|_| ()).await;
    let mut client = world.connect().await;
    client.ask(&format!("USER {ACCOUNT}"), "+OK").await;
    client.ask("PASS falsch", "-ERR no").await;
    let reply = client.ask("USER stranger@praxis.kim.telematik", "-ERR").await;
    assert!(reply.contains("(account-unknown)"), "{reply:?}");
    let line = world.audited("account-unknown").await;
    assert!(!line.contains("\"client_module\":\"main\""), "{line}");
}

/// A line of `tests/attacks/end-of-data.txt`: whether it passes, and the bytes.
fn ends_of_data() -> Vec<(bool, Vec<u8>)> {
    let lines = include_str!("../attacks/end-of-data.txt").lines();
    let vectors = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let (verdict, bytes) = line.split_once(' ').unwrap();
        assert!(verdict == "passes" || verdict == "refused", "{line}");
        (verdict == "passes", transcript::bytes(bytes.trim_start()).unwrap())
    };
    vectors.map(read).collect()
}

const SMUGGLED: &str = "MAIL FROM:<prx@praxis.kim.telematik>\r\nRCPT TO:<boese@ext.kim.telematik>\r\n\
    DATA\r\nSubject: smuggled\r\n\r\nsmuggled";

#[tokio::test]
async fn no_end_of_data_is_one_for_the_client_module_and_none_for_kimgate() {
    let vectors = ends_of_data();
    assert!(vectors.len() >= 60, "{} vectors", vectors.len());
    let practice = Practice::start(&[]).await;
    practice.faults(&["lenient-dot"]);
    for (passes, vector) in &vectors {
        let shown = vector.escape_ascii().to_string();
        let before = practice.sim.seen().len();
        let message = [b"Subject: x\r\n\r\nfirst", vector.as_slice(), SMUGGLED.as_bytes()].concat();
        let mut client = practice.smtp().await;
        client.begin_message().await;
        client.send_bytes(&message).await;
        client.send_bytes(b"\r\n.\r\n").await;
        if *passes {
            client.expect("250 <any>").await;
            client.ask("QUIT", "221 <any>").await;
        } else {
            client.expect("5<any>(ambiguous-line-ending)").await;
        }
        client.rest().await;
        practice.upstream().await;
        let seen = practice.sim.seen()[before..].to_vec();
        let facts = crate::support::facts::facts(&seen).join("\n");
        assert!(!facts.contains("boese@"), "{shown}: {facts}");
        assert_eq!(facts.contains("message complete"), *passes, "{shown}: {facts}");
    }
}

#[tokio::test]
async fn no_end_of_data_cuts_a_message_short_that_is_fetched() {
    let practice = Practice::start(&[]).await;
    let vectors = ends_of_data();
    for (_, vector) in &vectors {
        let message = [b"Subject: x\r\n\r\nfirst", vector.as_slice(), b"second\r\n"].concat();
        practice.sim.deliver(ADDRESS, &message);
    }
    let mut client = practice.pop3().await;
    for (at, (_, vector)) in vectors.iter().enumerate() {
        let shown = vector.escape_ascii().to_string();
        let message = [b"Subject: x\r\n\r\nfirst", vector.as_slice(), b"second\r\n"].concat();
        client.ask(format!("RETR {}", at + 1), "+OK<any>").await;
        let body = client.until_dot().await;
        assert_eq!(body.escape_ascii().to_string(), message.escape_ascii().to_string(), "{shown}");
        client.ask("NOOP", "+OK<any>").await;
    }
}

/// Messages that something on the way might want to improve.
fn nasty() -> Vec<(&'static str, Vec<u8>)> {
    let head = b"Subject: x\r\n\r\n";
    let with = |body: &[u8]| [head, body, b"\r\n"].concat();
    let pattern = |seed: u32, octets: usize| -> Vec<u8> {
        let mut state = seed;
        let next = move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..octets).map(next).collect()
    };
    let base64: Vec<u8> = pattern(1, 60_000).iter().map(|byte| b'A' + byte % 26).collect();
    let base64: Vec<u8> = base64.chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect();
    let smime = [&b"Content-Type: application/pkcs7-mime\r\n\r\n"[..], &base64].concat();
    // Everything but what could stand around a lone dot.
    let octets: Vec<u8> = pattern(2, 100_000).into_iter().filter(|byte| *byte != b'.').collect();
    vec![
        ("empty", Vec::new()),
        ("a blank line", b"\r\n".to_vec()),
        ("no header", b"\r\nbody\r\n".to_vec()),
        ("no body", b"Subject: x\r\n".to_vec()),
        ("8 bit", with("Gr\u{fc}\u{df}e \u{202e}".as_bytes())),
        ("no UTF-8", with(b"Gr\xfc\xdfe \xff\xfe\xc3")),
        ("NUL", with(b"a\0b\0\0\r\n\0\r\nc")),
        ("bare line feeds", with(b"a\nb\n\nc\n\r\nd")),
        ("bare carriage returns", with(b"a\rb\r\rc\r\r\nd")),
        ("blanks at line ends", with(b"a \t\r\n \r\n\t\r\nb ")),
        ("999 bytes in a line", with(&[b'x'; 999])),
        ("1 MiB in a line", with(&vec![b'x'; 1 << 20])),
        ("dots", with(b".a\r\n..\r\n...\r\n.. .\r\na.\r\n....")),
        ("a dot alone in every second line", with(&b".\r\na\r\n".repeat(2_000))),
        ("nothing but line ends", b"\r\n".repeat(5_000)),
        ("10,000 headers", [b"X-Filler: y\r\n".repeat(10_000), b"\r\nz\r\n".to_vec()].concat()),
        ("a header of 1 MiB", [b"X-Filler: ", &vec![b'y'; 1 << 20][..], b"\r\n\r\nz\r\n"].concat()),
        ("100 services", [b"X-KIM-Dienstkennung: a\r\n".repeat(100), b"\r\n".to_vec()].concat()),
        ("S/MIME", smime),
        ("any bytes", with(&octets)),
        ("From at a line start", with(b"From me\r\n>From you")),
        (
            "a message in a message",
            with(b"MAIL FROM:<x@y>\r\nQUIT\r\nRETR 1\r\n+OK\r\n-ERR\r\n250 OK"),
        ),
    ]
}

#[tokio::test]
async fn nasty_messages_arrive_byte_for_byte_in_both_directions() {
    let practice = Practice::with(&[], |sim| sim.raw_delivery = true).await;
    let messages = nasty();
    let mut sending = practice.smtp().await;
    let pieces = [usize::MAX, 4_096, 1_021];
    for (at, (name, message)) in messages.iter().enumerate() {
        sending.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
        sending.ask(format!("RCPT TO:<{ADDRESS}>"), "250 <any>").await;
        sending.ask("DATA", "354 <any>").await;
        let wire = [&stuffed(message)[..], b".\r\n"].concat();
        for piece in wire.chunks(pieces[at % pieces.len()]) {
            sending.send_bytes(piece).await;
        }
        let reply = sending.heard().await.unwrap();
        assert!(reply.starts_with("250"), "{name}: {reply}");
    }
    sending.ask("QUIT", "221 <any>").await;
    let arrived = practice.sim.maildrop(ADDRESS);
    let mut fetching = practice.pop3().await;
    for (at, (name, message)) in messages.iter().enumerate() {
        assert!(arrived[at] == *message, "{name} was changed on its way out");
        fetching.ask(format!("RETR {}", at + 1), "+OK<any>").await;
        assert!(fetching.until_dot().await == *message, "{name} was changed on its way in");
    }
    fetching.ask("QUIT", "+OK<any>").await;
}

/// Short ones cut at every byte, and every byte by itself.
#[tokio::test]
async fn nasty_messages_arrive_however_they_are_cut() {
    let practice = Practice::with(&[], |sim| sim.raw_delivery = true).await;
    let mut sending = practice.smtp().await;
    let mut sent = Vec::new();
    for (name, message) in nasty().into_iter().filter(|(_, message)| message.len() < 60) {
        let wire = [&stuffed(&message)[..], b".\r\n"].concat();
        let halves = (1..wire.len()).map(|cut| vec![&wire[..cut], &wire[cut..]]);
        for pieces in halves.chain([wire.chunks(1).collect()]) {
            sending.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
            sending.ask(format!("RCPT TO:<{ADDRESS}>"), "250 <any>").await;
            sending.ask("DATA", "354 <any>").await;
            for piece in pieces {
                sending.send_bytes(piece).await;
                tokio::task::yield_now().await;
            }
            let reply = sending.heard().await.unwrap();
            assert!(reply.starts_with("250"), "{name}: {reply}");
            sent.push(message.clone());
        }
    }
    let arrived = practice.sim.maildrop(ADDRESS);
    assert!(arrived == sent, "{} of {} arrived", arrived.len(), sent.len());
}

/// What an attacker types who wants to forge lines of the log.
const FORGED: &str =
    "x\u{1b}[2J\u{202e}\u{7f}\u{85}\u{2028}\"}\\n{\"event\":\"login\",\"accepted\":true";

#[tokio::test]
async fn hostile_text_forges_no_line_of_the_audit_and_no_label() {
    let practice = Practice::start(&["policy.unknown_accounts = \"allow\""]).await;
    let login = format!("{FORGED}@praxis.kim.telematik#h:1#{FORGED}#{FORGED}#{FORGED}#{FORGED}");
    let mut fetching = practice.client(Protocol::Pop3).await;
    fetching.expect("+OK <any>").await;
    fetching.send(format!("USER {login}")).await;
    fetching.heard().await;
    fetching.send("PASS geheim").await;
    fetching.heard().await;
    fetching.send("QUIT").await;
    fetching.rest().await;
    let mut sending = practice.client(Protocol::Smtp).await;
    sending.expect("220 <any>").await;
    sending.send(format!("EHLO {FORGED}")).await;
    while !sending.heard().await.unwrap().starts_with("250 ") {}
    sending
        .send(crate::support::dialogue::auth_plain(LOGIN, crate::support::dialogue::PASSWORD))
        .await;
    sending.expect("235 <any>").await;
    for command in [
        format!("MAIL FROM:<{FORGED}@x>"),
        format!("MAIL FROM:<{ADDRESS}> X={FORGED}"),
        format!("RSET{FORGED}"),
        "RSET".to_owned(),
        format!("MAIL FROM:<{ADDRESS}>"),
        format!("RCPT TO:<{FORGED}@ext.kim.telematik>"),
        "RCPT TO:<a@ext.kim.telematik>".to_owned(),
    ] {
        sending.send(command).await;
        sending.heard().await.unwrap();
    }
    sending.ask("DATA", "354 <any>").await;
    sending.send(format!("X-KIM-Dienstkennung: {FORGED}\r\nSubject: {FORGED}\r\n\r\n.")).await;
    sending.heard().await.unwrap();
    sending.send("QUIT").await;
    sending.rest().await;
    // Every line of the audit was read as JSON here.
    let audit = practice.audit().await;
    let logins = audit.iter().filter(|line| line["event"] == "login").count();
    assert!(logins <= 2, "{audit:#?}");
    let (_, status) = practice.get("/status").await;
    let text = std::fs::read_to_string(practice.folder.path().join("audit.jsonl")).unwrap();
    for (name, text) in
        [("audit", text), ("metrics", practice.observer.encode()), ("status", status)]
    {
        for forbidden in ['\u{1b}', '\u{202e}', '\u{7f}', '\u{85}', '\u{2028}'] {
            assert!(!text.contains(forbidden), "{forbidden:?} in {name}:\n{text}");
        }
    }
}

/// The log as a person reads it, and as a program does: each line is one of kimgate's own.
#[tokio::test]
async fn hostile_text_forges_no_line_of_the_log() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    for format in ["text", "json"] {
        let more = format!(
            "{}[policy]\nunknown_accounts = \"allow\"\n[log]\nformat = \"{format}\"\nlevel = \"debug\"\n",
            client_module("main", &sim, Security::Implicit)
        );
        let kimgate = Kimgate::start(&[Protocol::Smtp], &more).await.ready().await;
        let address = (Ipv4Addr::LOCALHOST, kimgate.port(Protocol::Smtp, Security::None));
        for login in [format!("{FORGED}@praxis.kim.telematik#h:1#{FORGED}"), FORGED.into()] {
            let mut client = Peer::new(TcpStream::connect(address).await.unwrap());
            client.expect("220").await;
            client.send(&format!("EHLO {FORGED}\r\n")).await;
            while !client.expect("2").await.starts_with("250 ") {}
            client.send(&format!("{}\r\n", auth_plain(&login, "geheim"))).await;
            client.line().await;
            client.send(&format!("MAIL FROM:<{FORGED}@x>\r\n{FORGED}\r\nQUIT\r\n")).await;
            client.rest().await;
        }
        let log = kimgate.stop().await.log;
        assert!(log.lines().count() > 4, "{log}");
        for line in log.lines() {
            let is_own = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line).is_ok(),
                _ => line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T'),
            };
            assert!(is_own, "{line:?} in\n{log}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}

#[tokio::test]
async fn thousands_of_recipients_are_answered_one_by_one() {
    // 100,000 for a closing note; few by default.
    let wanted = std::env::var("KIMGATE_RECIPIENTS").ok().and_then(|wanted| wanted.parse().ok());
    let recipients: usize = wanted.unwrap_or(3_000);
    let practice = Practice::start(&[]).await;
    let mut client = practice.smtp().await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    let mut taken = 0;
    for _ in 0..recipients / 1_000 {
        client.send_bytes(&b"RCPT TO:<a@ext.kim.telematik>\r\n".repeat(1_000)).await;
        for _ in 0..1_000 {
            taken += usize::from(client.heard().await.unwrap().starts_with("250"));
        }
    }
    // The simulator's own limit.
    assert_eq!(taken, 1_000);
    client.ask("RSET", "250 <any>").await;
}

/// Until what was sent has arrived: what is sent later over the same loopback has been there and
/// back, and the gateway, which runs in the same thread, has had its turns.
async fn settle() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut here, mut there) = (here.unwrap(), there.unwrap().0);
    for _ in 0..20 {
        here.write_u8(0).await.unwrap();
        there.read_u8().await.unwrap();
        there.write_u8(0).await.unwrap();
        here.read_u8().await.unwrap();
    }
}

/// One side of a connection.
struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // Nothing waits for the acknowledgement of what was sent before.
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The next line, without its CRLF; empty at the end.
    async fn line(&mut self) -> String {
        let line = async {
            loop {
                if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.unread.drain(..=at).collect();
                    return String::from_utf8_lossy(&line).trim_end().to_owned();
                }
                let mut more = [0; 4096];
                match self.stream.read(&mut more).await {
                    Ok(0) | Err(_) => return String::new(),
                    Ok(n) => self.unread.extend_from_slice(&more[..n]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, line).await.expect("nothing came")
    }

    async fn expect(&mut self, beginning: &str) -> String {
        let line = self.line().await;
        assert!(line.starts_with(beginning), "{line:?} instead of {beginning:?}");
        line
    }

    async fn ask(&mut self, line: &str, answer: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.expect(answer).await
    }

    /// Leaves without a word.
    fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Everything until the end.
    async fn rest(&mut self) -> String {
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut self.unread)).await;
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }
}

/// A gateway in clear, and a client module that the test plays itself after the login.
struct World {
    protocol: Protocol,
    address: SocketAddr,
    modules: mpsc::UnboundedReceiver<Peer>,
    _handle: Handle,
    stop: CancellationToken,
    observer: Observer,
    state: tempfile::TempDir,
    /// Taken while the client module is to hold refusals back.
    refusals: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl World {
    async fn smtp(change: impl FnOnce(&mut AccountRules)) -> Self {
        Self::start(Protocol::Smtp, change, |_| ()).await
    }

    async fn pop3(change: impl FnOnce(&mut AccountRules)) -> Self {
        Self::start(Protocol::Pop3, change, |_| ()).await
    }

    async fn start(
        protocol: Protocol,
        change_account: impl FnOnce(&mut AccountRules),
        change_config: impl FnOnce(&mut Config),
    ) -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(loopback).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ready, modules) = mpsc::unbounded_channel();
        let refusals = Arc::new(Semaphore::new(1));
        let gate = refusals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (ready, gate) = (ready.clone(), gate.clone());
                tokio::spawn(up_to_the_login(protocol, Peer::new(stream), ready, gate));
            }
        });
        let module = ClientModuleConfig {
            host: "127.0.0.1".into(),
            pop3_port: port,
            smtp_port: port,
            security: Security::None,
            trust: ClientModuleTrust::default(),
            standby: None,
        };
        let audit = tempfile::tempdir().unwrap();
        let mut config = Config {
            name: "gw".into(),
            language: Language::En,
            contact: String::new(),
            refuse_sending_at_mail: false,
            public: false,
            state_dir: audit.path().to_owned(),
            listeners: vec![Listener {
                name: "test".into(),
                protocol,
                address: loopback,
                security: Security::None,
                proxy_protocol_from: Vec::new(),
            }],
            tls: None,
            client_modules: BTreeMap::from([("main".into(), module)]),
            limits: Limits::default(),
            contexts: ContextRules::default(),
            mailbox_wait: Duration::from_secs(20),
            protection: Protection::default(),
            middleware_header: false,
            delivery_receipts: false,
            read_receipts: false,
        };
        change_config(&mut config);
        let mut account = AccountRules::default();
        change_account(&mut account);
        let policy = Policy::compile(Rules {
            unknown_workstations: Otherwise::Allow,
            login_servers: vec!["*".into()],
            accounts: BTreeMap::from([(ACCOUNT.into(), account)]),
            client_modules: vec!["main".into()],
            ..Rules::default()
        });
        let observer = Observer::new(ObserveConfig {
            audit: AuditConfig {
                file: Some(audit.path().join("audit.jsonl")),
                state_dir: audit.path().to_owned(),
                ..AuditConfig::default()
            },
            ..ObserveConfig::default()
        });
        let observer = observer.unwrap();
        let gateway = Gateway::bind(config, policy.unwrap(), observer.clone()).unwrap();
        let address = gateway.addresses()["test"];
        let handle = gateway.handle();
        let stop = CancellationToken::new();
        tokio::spawn(gateway.serve(stop.clone()));
        Self {
            protocol,
            address,
            modules,
            _handle: handle,
            stop,
            observer,
            state: audit,
            refusals,
            held: None,
        }
    }

    /// The first line of the audit with this word in it.
    async fn audited(&self, word: &str) -> String {
        let observer = self.observer.clone();
        tokio::task::spawn_blocking(move || observer.flush()).await.unwrap();
        let audit = std::fs::read_to_string(self.state.path().join("audit.jsonl")).unwrap();
        audit.lines().find(|line| line.contains(word)).expect("no such line").to_owned()
    }

    fn hold_refusals(&mut self) {
        self.held = Some(self.refusals.clone().try_acquire_owned().unwrap());
    }

    fn release_refusals(&mut self) {
        self.held = None;
    }

    async fn connect(&self) -> Peer {
        let mut client = Peer::new(TcpStream::connect(self.address).await.unwrap());
        match self.protocol {
            Protocol::Pop3 => client.expect("+OK").await,
            Protocol::Smtp => client.expect("220").await,
        };
        client
    }

    /// A workstation after its login, and the client module's side of its session.
    async fn log_in(&mut self) -> (Peer, Peer) {
        let mut client = self.connect().await;
        match self.protocol {
            Protocol::Pop3 => {
                client.ask(&format!("USER {ACCOUNT}#h:1#M#C#PC1"), "+OK").await;
                client.ask("PASS geheim", "+OK").await;
            }
            Protocol::Smtp => {
                client.send("EHLO pc\r\n").await;
                while !client.expect("250").await.starts_with("250 ") {}
                client.ask(PLAIN, "235").await;
            }
        }
        let module = self.modules.recv().await.unwrap();
        (client, module)
    }

    /// The same with an envelope and the go-ahead for the message.
    async fn begin_message(&mut self) -> (Peer, Peer) {
        let (mut client, mut module) = self.log_in().await;
        for command in [format!("MAIL FROM:<{ACCOUNT}>"), "RCPT TO:<a@b.kim.telematik>".into()] {
            client.send(&format!("{command}\r\n")).await;
            module.expect(&command).await;
            module.send("250 ok\r\n").await;
            client.expect("250").await;
        }
        client.ask("DATA", "354").await;
        (client, module)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Greets and answers; hands the connection on when a login was accepted, so not those that only
/// ask what is offered.
async fn up_to_the_login(
    protocol: Protocol,
    mut module: Peer,
    ready: mpsc::UnboundedSender<Peer>,
    refusals: Arc<Semaphore>,
) {
    module.send(if protocol == Protocol::Pop3 { "+OK\r\n" } else { "220 m\r\n" }).await;
    loop {
        let line = module.line().await;
        // The question after a login, whose answer shows that the login's was its own, is the last.
        let (answer, is_over) = match line.split(' ').next().unwrap() {
            "EHLO" => ("250-m\r\n250 AUTH PLAIN LOGIN\r\n", false),
            "AUTH" => ("235 ok\r\n", false),
            "NOOP" => ("250 ok\r\n", true),
            "CAPA" => ("-ERR\r\n", false),
            "USER" => ("+OK\r\n", false),
            "PASS" if line.ends_with("falsch") => {
                drop(refusals.acquire().await);
                ("-ERR no\r\n", false)
            }
            "PASS" => ("+OK\r\n", false),
            "STAT" => ("+OK 0 0\r\n", true),
            _ => return,
        };
        module.send(answer).await;
        if is_over {
            let _ = ready.send(module);
            return;
        }
    }
}

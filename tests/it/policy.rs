//! Decisions that need more than one dialogue: reloads, turns, limits, addresses that a proxy tells,
//! and thousands of random ones (`policy/agreement.rs`).

mod agreement;
mod contexts;
mod learning;
mod model;
mod random;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use base64::Engine;

use crate::support::dialogue::{ADDRESS, Client, End, PASSWORD, auth_plain};
use crate::support::tools;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World, count, only};
use kimgate::words::Protocol;

const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";
const PC1_DENIED: &str = r#"accounts."prx@praxis.kim.telematik".deny = ["workstation:PC1"]"#;
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

#[tokio::test]
async fn a_reload_ends_a_session_that_no_longer_passes_at_its_next_command() {
    let world = World::start(&[]).await;
    let (mut pop3, mut smtp) = (world.pop3().await, world.smtp().await);
    world.reload(&[PC1_DENIED]).unwrap();
    pop3.ask("STAT", "-ERR [SYS/PERM] <any>(denied)").await;
    assert_eq!(pop3.end().await, End::Clean);
    smtp.ask(format!("MAIL FROM:<{ADDRESS}>"), "421 4.7.0 <any>(denied)").await;
    assert_eq!(smtp.end().await, End::Clean);
    let seen = world.upstream().await;
    assert!(!seen.iter().any(|fact| fact == "STAT" || fact.starts_with("MAIL")), "{seen:?}");
    let audit = world.audit().await;
    assert_eq!(count(&audit, "denied"), 2);
    let ended = audit.iter().filter(|l| l["event"] == "closed" && l["reason"] == "denied");
    assert_eq!(ended.count(), 2);
    // A new login is judged by the new rules, on a connection that was there before as well.
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "-ERR [SYS/PERM] <any>(denied)").await;
    world.reload(&[]).unwrap();
    client.pop3_login(LOGIN).await;
}

#[tokio::test]
async fn a_login_that_is_refused_when_it_is_named_is_reported_once_and_gives_no_password_away() {
    let world = World::start(&[PC1_DENIED]).await;
    let mut pop3 = world.client(Protocol::Pop3).await;
    pop3.expect("+OK <any>").await;
    // Sent at once, as some programs do, and a second time. Each PASS has an answer of its own.
    let pipelined = format!("USER {LOGIN}\r\nPASS {PASSWORD}\r\nPASS {PASSWORD}\r\nNOOP\r\n");
    pop3.send_bytes(pipelined.as_bytes()).await;
    let told = pop3.expect("-ERR [SYS/PERM] <any>(denied)").await;
    for _ in 0..2 {
        assert_eq!(pop3.expect("-ERR<any>").await, told);
    }
    pop3.expect("-ERR<any>(bad-command)").await;
    pop3.ask("QUIT", "+OK<any>").await;
    let mut smtp = world.client(Protocol::Smtp).await;
    smtp.expect("220 <any>").await;
    smtp.send("EHLO pc").await;
    smtp.expect_until("250 <any>").await;
    smtp.ask("AUTH LOGIN", "334 <any>").await;
    let name = base64::engine::general_purpose::STANDARD.encode(LOGIN);
    smtp.ask(name, "550 5.7.1 <any>(denied)").await;
    smtp.ask("QUIT", "221 <any>").await;
    let audit = world.audit().await;
    assert_eq!((count(&audit, "denied"), count(&audit, "login")), (2, 0), "{audit:?}");
    for protocol in ["pop3", "smtp"] {
        let series = format!("kimgate_logins_total{{protocol=\"{protocol}\",result=\"denied\"}}");
        assert_eq!(world.metric(&series), 1.0, "{protocol}");
    }
    assert!(world.upstream().await.is_empty());
}

#[tokio::test]
async fn a_reload_between_name_and_password_is_heard() {
    let world = World::start(&[]).await;
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    world.reload(&[PC1_DENIED]).unwrap();
    client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/PERM] <any>(denied)").await;
    client.ask(format!("USER {LOGIN}"), "-ERR [SYS/PERM] <any>(denied)").await;
    world.reload(&[]).unwrap();
    // The answer to USER stands until another USER asks again.
    client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/PERM] <any>(denied)").await;
    client.pop3_login(LOGIN).await;
}

#[tokio::test]
async fn a_login_that_is_only_observed_is_asked_for_its_password() {
    let world = World::start(&[PC1_DENIED, r#"policy.mode = "observe""#]).await;
    world.pop3().await;
    let mut smtp = world.client(Protocol::Smtp).await;
    smtp.expect("220 <any>").await;
    smtp.send("EHLO pc").await;
    smtp.expect_until("250 <any>").await;
    smtp.ask("AUTH LOGIN", "334 <any>").await;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    smtp.ask(encoded(LOGIN), "334 <any>").await;
    smtp.ask(encoded(PASSWORD), "235 <any>").await;
    assert_eq!(world.metric("kimgate_would_deny_total{reason=\"denied\"}"), 2.0);
}

#[tokio::test]
async fn a_login_that_is_refused_at_mail_sends_nothing_and_asks_the_client_module_nothing() {
    let world = World::start(&[PC1_DENIED, r#"policy.refuse_sending = "at-mail""#]).await;
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client.ask(auth_plain(LOGIN, "any password at all"), "235 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "550 5.7.1 <any>(denied)").await;
    client.ask("RCPT TO:<arzt@praxis.kim.telematik>", "550 5.7.1 <any>(denied)").await;
    client.ask("DATA", "550 5.7.1 <any>(denied)").await;
    client.ask("VRFY x", "502 <any>").await;
    // The same with the name in a line of its own.
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    client.ask("AUTH LOGIN", "334 <any>").await;
    client.ask(encoded(LOGIN), "334 <any>").await;
    client.ask(encoded(PASSWORD), "235 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "550 5.7.1 <any>(denied)").await;
    // On the same connection, a login that passes is a real one.
    world.reload(&[r#"policy.refuse_sending = "at-mail""#]).unwrap();
    client.ask(auth_plain(LOGIN, "falsch"), "535 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "530 <any>").await;
    client.ask(auth_plain(LOGIN, PASSWORD), "235 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    let logins = world.upstream().await.iter().filter(|fact| fact.starts_with("login ")).count();
    assert_eq!(logins, 2);
    let audit = world.audit().await;
    assert!(audit.iter().filter(|l| l["event"] == "denied").all(|l| l["reply"] == "550 5.7.1"));
    assert_eq!(count(&audit, "denied"), 2);
}

#[tokio::test]
async fn a_reload_lets_messages_in_flight_finish() {
    let world = World::start(&[]).await;
    world.sim.deliver_synthetic(ADDRESS, 3_000_000);
    let (mut pop3, mut smtp) = (world.pop3().await, world.smtp().await);
    smtp.begin_message().await;
    smtp.send_bytes(b"Subject: x\r\n\r\nfirst half, ").await;
    world.upstream_saw("DATA").await;
    pop3.ask("RETR 1", "+OK<any>").await;
    world.reload(&[PC1_DENIED]).unwrap();
    smtp.send_bytes(b"second half\r\n.\r\n").await;
    smtp.expect("250 <any>").await;
    smtp.ask("NOOP", "421 4.7.0 <any>(denied)").await;
    let lines = pop3.expect_until(".").await;
    assert!(lines.len() > 1_000);
    pop3.ask("DELE 1", "-ERR [SYS/PERM] <any>(denied)").await;
    let seen = world.upstream().await;
    assert!(
        seen.contains(&"message complete".to_owned()) && seen.contains(&"fetched 1".to_owned())
    );
    assert!(!seen.iter().any(|fact| fact.starts_with("deleted")), "{seen:?}");
}

#[tokio::test]
async fn a_session_that_still_passes_goes_on_under_the_new_rules() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, b"Subject: x\r\n\r\n");
    let mut client = world.pop3().await;
    world
        .reload(&[r#"accounts."prx@praxis.kim.telematik".delete.deny = ["workstation:PC1"]"#])
        .unwrap();
    client.ask("DELE 1", "-ERR [SYS/PERM] <any>(delete-not-allowed)").await;
    client.ask("QUIT", "+OK<any>").await;
}

#[tokio::test]
async fn a_reload_changes_how_many_wrong_passwords_there_may_be() {
    let world = World::start(&[]).await;
    world.reload(&["protection.login_failures = 1"]).unwrap();
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    for answer in ["-ERR<any>", "-ERR [SYS/TEMP] <any>(login-paused)"] {
        client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
        client.ask("PASS falsch", answer).await;
    }
}

#[tokio::test]
async fn a_wrong_password_counts_although_its_workstation_did_not_wait_for_the_answer() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    world.faults(&["login-delay=300ms"]);
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client.send(auth_plain(LOGIN, "falsch")).await;
    world.upstream_saw("login <any>").await;
    drop(client);
    // One blank more is no other login. This try waits for the answer to the first one, and a password
    // that was called wrong is not sent again.
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    let again = auth_plain(&format!("{LOGIN} "), "falsch");
    client.ask(again, "454 4.7.0 <any>(login-paused)").await;
    let logins = world.upstream().await.iter().filter(|fact| fact.starts_with("login ")).count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn other_tails_of_a_login_do_not_help_to_guess_on() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    let tried = |world: &World| {
        world.upstream_now().iter().filter(|fact| fact.starts_with("login ")).count()
    };
    for n in 0..5 {
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.ask(format!("USER {LOGIN}#{n}"), "+OK<any>").await;
        client.ask(format!("PASS falsch{n}"), "-ERR<any>").await;
    }
    assert_eq!(tried(&world), 3, "{:?}", world.upstream_now());
    // Another workstation is not held up, and neither is another account at this one.
    let mut client = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    client.expect("+OK <any>").await;
    client.pop3_login(AT_PC2).await;
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.pop3_login(&LOGIN.replace("prx@", "arzt@")).await;
}

#[tokio::test]
async fn a_bad_configuration_never_replaces_a_good_one() {
    let world = World::start(&[]).await;
    let mut client = world.pop3().await;
    for bad in [
        r#"policy.mode = "perhaps""#,
        r#"groups.rezeption.members = ["group:rezeption"]"#,
        r#"tls.certificate = "absent.pem""#,
    ] {
        let problems = world.reload(&[PC1_DENIED, bad]).unwrap_err();
        assert!(!problems.is_empty(), "{bad}");
        client.ask("NOOP", "+OK<any>").await;
    }
    assert_eq!(world.metric(r#"kimgate_config_reloads_total{result="rejected"}"#), 3.0);
    assert_eq!(world.metric(r#"kimgate_config_reloads_total{result="accepted"}"#), 0.0);
    client.ask("QUIT", "+OK<any>").await;
    let audit = world.audit().await;
    let rejected = |line: &&serde_json::Value| line["accepted"] == false;
    assert_eq!(audit.iter().filter(rejected).count(), 3);
}

#[tokio::test]
async fn a_context_goes_to_the_second_workstation_when_the_first_one_is_done() {
    let world = World::start(&[
        r#"contexts.mode = "enforce""#,
        r#"contexts.wait = "60s""#,
        r#"contexts.linger = "0s""#,
        r#"accounts."arzt@praxis.kim.telematik".allow = []"#,
        "workstations.PC2.workplaces = []",
    ])
    .await;
    let mut first = world.pop3().await;
    // The same workstation's own sessions share it.
    world.smtp().await.ask("QUIT", "221 <any>").await;
    assert_eq!(world.metric("kimgate_contexts_active"), 1.0);
    let other = LOGIN.replace("prx@", "arzt@");
    let mut second = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    second.expect("+OK <any>").await;
    second.ask(format!("USER {other}"), "+OK<any>").await;
    second.send(format!("PASS {PASSWORD}")).await;
    world.phase("waiting").await;
    assert!(!world.upstream_now().iter().any(|fact| *fact == format!("login {other}")));
    first.ask("QUIT", "+OK<any>").await;
    second.expect("+OK<any>").await;
    second.ask("QUIT", "+OK<any>").await;
}

#[tokio::test]
async fn a_workstation_that_waits_in_vain_is_told_who_has_its_context() {
    let world = World::start(&[
        r#"contexts.mode = "enforce""#,
        r#"contexts.wait = "100ms""#,
        "workstations.PC2.workplaces = []",
    ])
    .await;
    let _first = world.pop3().await;
    let mut second = world.client_from(Protocol::Smtp, Listener::Implicit, PC2).await;
    second.expect("220 <any>").await;
    second.send("EHLO pc").await;
    second.expect_until("250 <any>").await;
    let refused = second.ask(auth_plain(LOGIN, PASSWORD), "454 4.7.0 <any>(context-in-use)").await;
    assert!(refused.contains("PC1"), "{refused}");
    assert_eq!(world.metric(r#"kimgate_context_conflicts_total{mode="enforce"}"#), 1.0);
    let refused = r#"kimgate_logins_total{protocol="smtp",result="context-in-use"}"#;
    assert_eq!(world.metric(refused), 1.0);
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_a_reply_and_finds_room_when_another_closes() {
    let world = World::start(&["limits.connections = 1"]).await;
    let mut first = world.client(Protocol::Pop3).await;
    first.expect("+OK <any>").await;
    let mut second = world.client(Protocol::Smtp).await;
    second.expect("421 4.7.0 <any>(too-many-connections)").await;
    assert_eq!(second.end().await, End::Clean);
    let refused = r#"kimgate_sessions_total{protocol="smtp",reason="too-many-connections"}"#;
    world.audit_when(|lines| count(lines, "closed") == 1).await;
    assert_eq!(world.metric(refused), 1.0);
    first.ask("QUIT", "+OK<any>").await;
    first.end().await;
    world.audit().await;
    world.client(Protocol::Smtp).await.expect("220 <any>").await;
}

#[tokio::test]
async fn a_proxy_that_is_trusted_says_where_the_workstation_is() {
    let world = World::start(&[
        r#"listeners.pop3-implicit.proxy_protocol_from = ["127.0.0.5"]"#,
        r#"listeners.pop3-plain.proxy_protocol_from = ["127.0.0.5"]"#,
    ])
    .await;
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        &[127, 0, 0, 2, 127, 0, 0, 1, 0x30, 0x39, 0x03, 0xe3],
    ]
    .concat();
    // Load balancers on IPv6 sockets write IPv4 addresses so.
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 2];
    let mapped_v2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24"[..], &mapped, &mapped, &[0x30, 0x39, 0x03, 0xe3]]
            .concat();
    let mapped_v1 = b"PROXY TCP6 ::ffff:127.0.0.2 ::ffff:127.0.0.1 12345 995\r\n";
    let v1 = b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 995\r\n";
    for header in [&v1[..], &v2, mapped_v1, &mapped_v2] {
        for listener in [Listener::Implicit, Listener::Plain] {
            let mut client = behind_proxy(&world, listener, header).await;
            client.expect("+OK <any>").await;
            client.pop3_login(AT_PC2).await;
            client.ask("QUIT", "+OK<any>").await;
        }
    }
    let audit = world.audit().await;
    let logins: Vec<_> = audit.iter().filter(|line| line["event"] == "login").collect();
    assert_eq!(logins.len(), 8);
    for login in logins {
        assert_eq!(
            (&login["workstation"], &login["peer"]),
            (&"PC2".into(), &"127.0.0.2:12345".into())
        );
    }
}

#[tokio::test]
async fn a_header_from_any_other_address_is_not_believed() {
    let world =
        World::start(&[r#"listeners.pop3-plain.proxy_protocol_from = ["127.0.0.5"]"#]).await;
    let mut client = world.client_from(Protocol::Pop3, Listener::Plain, PC1).await;
    client.expect("+OK <any>").await;
    client.ask("PROXY TCP4 127.0.0.2 127.0.0.1 12345 995", "-ERR<any>").await;
    client.pop3_login(LOGIN).await;
    client.ask("QUIT", "+OK<any>").await;
    assert_eq!(only(&world.audit().await, "login")["workstation"], "PC1");
    // From the proxy itself nothing else than a header is understood.
    let mut client = behind_proxy(&world, Listener::Plain, b"USER somebody#x\r\n").await;
    let (rest, _) = client.rest().await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    let refused = r#"kimgate_connections_refused_total{reason="bad-command"}"#;
    assert_eq!(world.metric(refused), 1.0);
}

#[tokio::test]
async fn a_login_that_looks_wrong_is_said_once_and_goes_on_as_it_came() {
    // Whether a log line is wanted is kept for the whole process, and other tests log it without listening.
    let name = "policy::a_login_that_looks_wrong_is_said_once_and_goes_on_as_it_came";
    if tools::run_alone(name).is_some() {
        return;
    }
    let log = Log::default();
    let _listening = log.listen();
    let world = World::start(&[]).await;
    let of_smtp = LOGIN.replace(":995", ":465") + " ";
    let shouted = LOGIN.replace("prx@", "PRX@");
    for login in [&of_smtp, &of_smtp, LOGIN, LOGIN, &shouted, &shouted] {
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.pop3_login(login).await;
        client.ask("QUIT", "+OK<any>").await;
        world.upstream_saw(&format!("login {login}")).await;
    }
    let said = log.text();
    for doubt in [
        "has the port of SMTP",
        "has blanks around it,",
        "writes its address with another case",
        "differs only in case",
    ] {
        assert_eq!(said.matches(doubt).count(), 1, "{doubt}: {said}");
    }
    assert!(said.contains("workstation=\"PC1\"") && !said.contains("#M1#"), "{said}");
}

/// The log of everything that happens on this thread, where a test's gateway runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(lines.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A v2 header with this command and family, and so many bytes after the addresses.
fn v2(command: u8, family: u8, addresses: &[u8], extensions: usize) -> Vec<u8> {
    // One extension of an unknown type.
    let value = extensions.saturating_sub(3);
    let mut rest = addresses.to_vec();
    if extensions > 0 {
        rest.extend([0xe0, (value >> 8) as u8, value as u8]);
        rest.resize(addresses.len() + extensions, b'x');
    }
    let length = (rest.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, &rest].concat()
}

const FROM_PC2: &[u8] = &[127, 0, 0, 2, 127, 0, 0, 1, 0x30, 0x39, 0x03, 0xe3];

#[tokio::test]
async fn a_header_without_an_address_makes_the_proxy_the_workstation() {
    let world =
        World::start(&[r#"listeners.pop3-plain.proxy_protocol_from = ["127.0.0.5"]"#]).await;
    let local = v2(0, 0x11, FROM_PC2, 0);
    let udp_of_unix = v2(1, 0x31, &[0; 216], 0);
    for header in [b"PROXY UNKNOWN 127.0.0.2 127.0.0.1 1 2\r\n", &local[..], &udp_of_unix] {
        let mut client = behind_proxy(&world, Listener::Plain, header).await;
        client.expect("-ERR [SYS/PERM] <any>(unknown-workstation)").await;
    }
    // Extensions of any kind are read over; the header may come in pieces.
    let header = v2(1, 0x11, FROM_PC2, 2000);
    let mut client = behind_proxy(&world, Listener::Plain, &header[..20]).await;
    for piece in header[20..].chunks(7) {
        client.send_bytes(piece).await;
    }
    client.expect("+OK <any>").await;
    client.pop3_login(AT_PC2).await;
}

#[tokio::test]
async fn malformed_headers_end_the_connection_without_a_reply() {
    let world =
        World::start(&[r#"listeners.pop3-plain.proxy_protocol_from = ["127.0.0.5"]"#]).await;
    let mut version_3 = v2(1, 0x11, FROM_PC2, 0);
    version_3[12] = 0x31;
    let mut endless = v2(1, 0x11, FROM_PC2, 0);
    endless[14..16].copy_from_slice(&[0xff, 0xff]);
    let table = [
        b"PROXY TCP4 127.0.0.2 127.0.0.1 12345\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 995 \r\n".to_vec(),
        b"PROXY TCP4 127.0.0.002 127.0.0.1 12345 995\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 12345 995\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 99999\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 995\nUSER x\r\n".to_vec(),
        b"proxy TCP4 127.0.0.2 127.0.0.1 12345 995\r\n".to_vec(),
        [b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
        version_3,
        v2(7, 0x11, FROM_PC2, 0),
        v2(1, 0x11, &FROM_PC2[..11], 0),
        v2(1, 0x21, FROM_PC2, 0),
        // Nobody needs so much, and it is not even waited for.
        endless,
    ];
    for (at, header) in table.iter().enumerate() {
        let mut client = behind_proxy(&world, Listener::Plain, header).await;
        let (rest, _) = client.rest().await;
        assert!(rest.is_empty(), "{}: {}", header.escape_ascii(), rest.escape_ascii());
        let refused = r#"kimgate_connections_refused_total{reason="bad-command"}"#;
        assert_eq!(world.metric(refused), (at + 1) as f64, "{}", header.escape_ascii());
    }
    // From everybody else a header of the second version is no command either.
    let mut client = world.client_from(Protocol::Pop3, Listener::Plain, PC1).await;
    client.expect("+OK <any>").await;
    client.send_bytes(&v2(1, 0x11, FROM_PC2, 0)).await;
    // The rest of it has no line end of its own.
    client.send_bytes(b"\r\nQUIT\r\n").await;
    let (rest, _) = client.rest().await;
    let text = String::from_utf8_lossy(&rest).into_owned();
    assert!(text.starts_with("-ERR"), "{text}");
    let audit = world.audit_when(|lines| count(lines, "closed") == 1).await;
    assert!(audit.iter().all(|line| line["peer"] != "127.0.0.2:12345"));
}

async fn behind_proxy(world: &World, listener: Listener, header: &[u8]) -> Client {
    let mut tcp = world.tcp(Protocol::Pop3, listener, PROXY).await;
    tokio::io::AsyncWriteExt::write_all(&mut tcp, header).await.unwrap();
    match listener {
        Listener::Implicit => Client::new(world.secure(Box::new(tcp)).await),
        Listener::StartTls | Listener::Plain => Client::new(Box::new(tcp)),
    }
}

//! What the admin address says about a gateway that has done something.

use crate::support::dialogue::{ADDRESS, PASSWORD, auth_plain};
use crate::support::world::{LOGIN, World};
use kimgate::words::Protocol;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const MESSAGE: &[u8] =
    b"Subject: Geheimer Befund\r\nX-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n\r\nhello\r\n";

#[tokio::test]
async fn a_gateway_that_can_carry_mail_is_ready() {
    let mut world = World::start(&[]).await;
    assert_eq!(world.get("/live").await, (200, "live\n".to_owned()));
    assert_eq!(world.get("/ready").await.0, 200);
    world.faults(&["smtp:greeting-drop"]);
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client.ask(auth_plain(LOGIN, PASSWORD), "454 <any>(client-module-unreachable)").await;
    let (status, missing) = world.get("/ready").await;
    assert_eq!(status, 503, "{missing}");
    assert!(missing.contains("SMTP") && !missing.contains("POP3"), "{missing}");
    assert_eq!(world.get("/live").await.0, 200);
    let up = r#"kimgate_client_module_up{client_module="main",protocol="smtp"}"#;
    assert_eq!(world.metric(up), 0.0);
    // It comes back with the first login that finds it.
    world.faults(&[""; 0]);
    client.ask(auth_plain(LOGIN, PASSWORD), "235 <any>").await;
    assert_eq!(world.get("/ready").await.0, 200);
    client.ask("QUIT", "221 <any>").await;
    drop(client);
    world.shut_down();
    world.stopped().await;
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let world = World::start(&[]).await;
    let mut smtp = world.smtp().await;
    for answer in ["250 <any>", "451 <any>"] {
        smtp.begin_message().await;
        smtp.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
        smtp.expect(answer).await;
        world.faults(&["end-of-data-refuse"]);
    }
    smtp.ask("QUIT", "221 <any>").await;
    world.faults(&[""; 0]);
    world.sim.deliver(ADDRESS, MESSAGE);
    let mut pop3 = world.client(Protocol::Pop3).await;
    pop3.expect("+OK <any>").await;
    pop3.ask("USER fremd@praxis.kim.telematik", "-ERR <any>(account-unknown)").await;
    pop3.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    pop3.ask("PASS falsch", "-ERR<any>").await;
    pop3.pop3_login(LOGIN).await;
    pop3.ask("RETR 1", "+OK<any>").await;
    pop3.expect_until(".").await;
    pop3.ask("QUIT", "+OK<any>").await;
    world.audit().await;
    let octets = MESSAGE.len() as f64;
    for (series, value) in [
        (r#"kimgate_logins_total{protocol="smtp",result="accepted"}"#, 1.0),
        (r#"kimgate_logins_total{protocol="pop3",result="accepted"}"#, 1.0),
        (r#"kimgate_logins_total{protocol="pop3",result="account-unknown"}"#, 1.0),
        (r#"kimgate_logins_total{protocol="pop3",result="rejected-by-client-module"}"#, 1.0),
        (r#"kimgate_login_seconds_count{protocol="pop3"}"#, 3.0),
        (r#"kimgate_sessions_total{protocol="smtp",reason="ok"}"#, 1.0),
        (r#"kimgate_sessions_total{protocol="pop3",reason="ok"}"#, 1.0),
        (r#"kimgate_sessions_active{protocol="smtp"}"#, 0.0),
        (r#"kimgate_messages_total{direction="sent",service="KIM-Mail;Default"}"#, 1.0),
        (r#"kimgate_messages_total{direction="received",service="KIM-Mail;Default"}"#, 1.0),
        (r#"kimgate_message_bytes_total{direction="sent"}"#, octets),
        (r#"kimgate_message_bytes_total{direction="received"}"#, octets),
        ("kimgate_end_of_data_seconds_count", 2.0),
        ("kimgate_retrieve_wait_seconds_count", 1.0),
        ("kimgate_audit_lost_total", 0.0),
        ("kimgate_panics_total", 0.0),
    ] {
        assert_eq!(world.metric(series), value, "{series}");
    }
    let relayed = r#"kimgate_relay_bytes_total{direction="to-client-module",protocol="smtp"}"#;
    assert!(world.metric(relayed) > 2.0 * octets);
    let fetched = r#"kimgate_mailbox_last_fetch_seconds{account="prx@praxis.kim.telematik"}"#;
    assert!(world.metric(fetched) > 1.0e9);
    let (status, metrics) = world.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("kimgate_build_info"), "{metrics}");
}

#[tokio::test]
async fn the_status_shows_who_is_there_and_says_no_secret() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    let mut pop3 = world.pop3().await;
    pop3.ask("RETR 1", "+OK<any>").await;
    pop3.expect_until(".").await;
    let mut smtp = world.smtp().await;
    smtp.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    smtp.ask("RCPT TO:<patient@example.org>", "550 <any>").await;
    let (code, text) = world.get("/status").await;
    assert_eq!(code, 200);
    let status: Value = serde_json::from_str(&text).unwrap();
    let sessions = status["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        assert_eq!(
            (&session["workstation"], &session["account"]),
            (&"PC1".into(), &ADDRESS.into())
        );
    }
    assert_eq!(status["refusals"][0]["reason"], "recipient-not-allowed");
    pop3.ask("QUIT", "+OK<any>").await;
    smtp.ask("QUIT", "221 <any>").await;
    let audit = Value::from(world.audit().await).to_string();
    for output in [text, audit, world.observer.encode()] {
        for secret in [PASSWORD, LOGIN, "Befund", "patient@example.org", "hello"] {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
    }
}

/// A reverse proxy that keeps the browser's name in `Host`.
#[tokio::test]
async fn a_reload_adds_a_name_for_the_pages() {
    let world = World::start(&[]).await;
    let (code, said) = world.get_from("kimgate.praxis.de", "/status").await;
    assert!(code == 403 && said.contains("admin.hosts"), "{code} {said}");
    let said = world.reload(&["admin.hosts = [\"kimgate.praxis.de\"]"]).unwrap();
    assert_eq!(said, ["admin.hosts: applied"]);
    assert_eq!(world.get_from("kimgate.praxis.de", "/status").await.0, 200);
    assert_eq!(world.get_from("evil.example", "/status").await.0, 403);
}

#[tokio::test]
async fn the_status_names_what_is_held_awaited_and_paused() {
    let lines = [
        "contexts.mode = \"enforce\"",
        "mailboxes.wait = \"60s\"",
        "protection.login_failures = 1",
        "protection.login_pause = \"10m\"",
    ];
    let world = World::start(&lines).await;
    let mut wrong = world.client(Protocol::Pop3).await;
    wrong.expect("+OK <any>").await;
    wrong.ask("USER arzt@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC1", "+OK<any>").await;
    wrong.ask("PASS falsch", "-ERR<any>").await;
    let _first = world.pop3().await;
    let mut second = world.client(Protocol::Pop3).await;
    second.expect("+OK <any>").await;
    second.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    second.send(format!("PASS {PASSWORD}")).await;
    world.phase("waiting").await;
    let status: Value = serde_json::from_str(&world.get("/status").await.1).unwrap();
    let context = &status["contexts"][0];
    assert_eq!((&context["workstation"], &context["workplace_id"]), (&"PC1".into(), &"PC1".into()));
    let mailbox = &status["mailboxes"][0];
    assert_eq!((&mailbox["account"], &mailbox["waiting"]), (&ADDRESS.into(), &1.into()));
    let paused = &status["paused_logins"][0];
    assert_eq!(
        (&paused["workstation"], &paused["account"]),
        (&"PC1".into(), &"arzt@praxis.kim.telematik".into())
    );
    assert!((1..=600).contains(&paused["seconds"].as_u64().unwrap()), "{paused}");
    for table in ["contexts", "mailboxes", "paused_logins"] {
        assert_eq!(status[table].as_array().unwrap().len(), 1, "{table}: {status:#}");
    }
}

#[tokio::test]
async fn a_workstation_gets_its_own_logins_and_sees_nothing_else() {
    let off = World::start(&[r#"admin.allow = ["127.0.0.9/32"]"#]).await;
    assert_eq!(get_from(&off, 3, "/mail/config-v1.1.xml").await.0, 403);
    let lines = [r#"admin.allow = ["127.0.0.9/32"]"#, "admin.autoconfig = true"];
    let world = World::start(&lines).await;
    for path in ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"] {
        let question = format!("{path}?emailaddress=prx%40praxis.kim.telematik");
        let (status, file) = get_from(&world, 3, &question).await;
        assert_eq!(status, 200, "{file}");
        for login in ["mail.kim.telematik:995#M1#cs#PC3<", "mail.kim.telematik:465#M1#cs#PC3<"] {
            assert!(file.contains(login), "no {login} in {file}");
        }
        // A workstation without a list, the same and no other page, a stranger, an administrator.
        assert_eq!(get_from(&world, 2, &question).await.0, 404);
        for page in ["/", "/status", "/metrics", "/live", "/mail/"] {
            assert_eq!(get_from(&world, 3, page).await.0, 403, "{page}");
        }
        assert_eq!(get_from(&world, 66, &question).await.0, 403);
        assert_eq!(get_from(&world, 9, &question).await.0, 404);
        assert_eq!(get_from(&world, 9, "/live").await.0, 200);
    }
    // And it ends with the switch.
    world.reload(&lines[..1]).unwrap();
    assert_eq!(get_from(&world, 3, "/mail/config-v1.1.xml").await.0, 403);
}

/// What the admin address answers to 127.0.0.`from`.
async fn get_from(world: &World, from: u8, path: &str) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, from], 0).into()).unwrap();
    let mut tcp = socket.connect(world.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", world.admin);
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn capabilities_of_the_client_module_are_shown_as_it_said_them() {
    let world = World::start(&[]).await;
    let (_, text) = world.get("/status").await;
    let status: Value = serde_json::from_str(&text).unwrap();
    let smtp = &status["client_modules"][0]["smtp"];
    assert_eq!(smtp["up"], true, "{status:#}");
    let shown = smtp["capabilities"].as_array().unwrap();
    assert!(shown.contains(&"SIZE 35882577".into()), "{shown:?}");
}

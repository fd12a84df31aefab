//! Fetching through the whole gateway, as far as a transcript cannot say it: who vanishes when, who
//! speaks out of turn, and what a mailbox is left with afterwards.

use std::time::Duration;

use crate::support::dialogue::{ADDRESS, Client, End, PASSWORD, stuffed};
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World, count, only};
use kimgate::config::Config;
use kimgate::words::Protocol;

const MESSAGE: &[u8] =
    b"Subject: Befund\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\nhello\r\n.dot\r\n";
/// The login of the same mailbox at PC2.
const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";

#[tokio::test]
async fn a_workstation_that_has_said_all_it_has_to_say_still_gets_its_answers() {
    for listener in [Listener::Implicit, Listener::Plain] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, MESSAGE);
        let mut client = world.client_from(Protocol::Pop3, listener, PC1).await;
        client.expect("+OK <any>").await;
        let all = format!("USER {LOGIN}\r\nPASS {PASSWORD}\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n");
        client.send_bytes(all.as_bytes()).await;
        client.half_close().await;
        let (rest, end) = client.rest().await;
        let text = String::from_utf8(rest).unwrap();
        assert!(text.contains("hello\r\n..dot\r\n.\r\n+OK"), "{text}");
        assert_eq!((text.matches("+OK").count(), end), (5, End::Clean), "{text}");
        assert!(world.upstream().await.contains(&"deleted 1".to_owned()));
        assert_eq!(only(&world.audit().await, "closed")["reason"], "ok");
    }
}

#[tokio::test]
async fn one_that_ends_without_quit_deletes_nothing_however_it_ends() {
    for listener in [Listener::Implicit, Listener::Plain] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, MESSAGE);
        let mut client = world.client_from(Protocol::Pop3, listener, PC1).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN).await;
        client.ask("DELE 1", "+OK<any>").await;
        client.half_close().await;
        assert_eq!(client.end().await, End::Clean);
        assert_nothing_deleted(&world).await;
    }
}

#[tokio::test]
async fn one_that_vanishes_while_the_client_module_decrypts_ends_the_session_there_at_once() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["in-retr-stall@0"]);
    let mut client = world.pop3().await;
    client.ask("DELE 1", "+OK<any>").await;
    client.send("RSET\r\nRETR 1").await;
    world.upstream_saw("RETR 1").await;
    drop(client);
    assert_nothing_deleted(&world).await;
    assert_eq!(only(&world.audit().await, "closed")["reason"], "client-left");
    assert_eq!(count(&world.audit().await, "message-received"), 0);
}

#[tokio::test]
async fn a_workstation_that_vanishes_during_its_login_leaves_no_session() {
    let world = World::start(&["limits.login_timeout = \"5s\""]).await;
    world.faults(&["login-stall"]);
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    client.send(format!("PASS {PASSWORD}")).await;
    world.upstream_saw("login <any>").await;
    drop(client);
    assert_nothing_deleted(&world).await;
    let audit = world.audit().await;
    assert_eq!(only(&audit, "closed")["reason"], "client-left");
    // The client module knew the password, so the outcome is waited for and written down.
    assert_eq!((count(&audit, "login"), count(&audit, "denied")), (0, 1));
    assert_eq!(only(&audit, "denied")["reason"], "client-module-unreachable");
}

#[tokio::test]
async fn half_a_message_never_looks_whole() {
    for fault in ["in-retr-close@50", "in-retr-drop@50", "in-retr-reset@50"] {
        for listener in [Listener::Implicit, Listener::Plain] {
            let world = World::start(&[]).await;
            world.sim.deliver_synthetic(ADDRESS, 300_000);
            world.faults(&[fault]);
            let mut client = world.client_from(Protocol::Pop3, listener, PC1).await;
            client.expect("+OK <any>").await;
            client.pop3_login(LOGIN).await;
            client.send("RETR 1").await;
            let (rest, end) = client.rest().await;
            assert!(!rest.ends_with(b"\r\n.\r\n"), "{fault}");
            assert_eq!(end, End::Cut, "{fault} {listener:?} after {} bytes", rest.len());
            let audit = world.audit().await;
            assert_eq!(only(&audit, "closed")["reason"], "client-module-unreachable", "{fault}");
            let received = only(&audit, "message-received");
            assert_eq!(received["complete"], false, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_client_module_that_goes_between_two_commands_is_reported_in_words() {
    for fault in ["idle-close", "idle-drop", "idle-reset"] {
        let world = World::start(&[]).await;
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN).await;
        world.faults(&[fault]);
        client.expect("-ERR [SYS/TEMP] KIM-Gateway: <any>(client-module-unreachable)").await;
        assert_eq!(client.end().await, End::Clean, "{fault}");
    }
}

/// What the client module says without being asked is never taken for the answer to what is asked
/// next: every such word ends the session, or the login, with its reason.
#[tokio::test]
async fn unsolicited_lines_are_not_taken_for_answers() {
    let refused = "-ERR [SYS/TEMP] KIM-Gateway: <any>(client-module-protocol-error)";
    for fault in ["greeting-double", "greeting-unasked", "login-double", "login-unasked"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
        client.ask(format!("PASS {PASSWORD}"), refused).await;
        let audit = world.audit_when(|lines| count(lines, "denied") == 1).await;
        assert_eq!(only(&audit, "denied")["reason"], "client-module-protocol-error", "{fault}");
    }
    for (fault, command, answer) in [
        ("dele-double", "DELE 1", "+OK"),
        ("dele-unasked", "DELE 1", "+OK"),
        ("quit-unasked", "QUIT", "+OK"),
    ] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, MESSAGE);
        world.faults(&[fault]);
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN).await;
        client.send(command).await;
        let (rest, _) = client.rest().await;
        let text = String::from_utf8(rest).unwrap();
        assert!(text.starts_with(answer), "{fault}: {text}");
        let audit = world.audit().await;
        let reason = &only(&audit, "closed")["reason"];
        assert_eq!(reason, "client-module-protocol-error", "{fault}: {text}");
    }
}

/// A goodbye takes nothing of the answer before it back: the deletion is told, and made true.
#[tokio::test]
async fn an_answer_that_a_goodbye_follows_counts() {
    for (fault, command, close, deleted) in [
        ("dele-goodbye", "DELE 1", "client-module-unreachable", 0),
        ("after-retr-goodbye", "RETR 1", "client-module-unreachable", 0),
        ("quit-goodbye", "DELE 1\r\nQUIT", "ok", 1),
    ] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, MESSAGE);
        world.faults(&[fault]);
        let mut client = world.pop3().await;
        client.send(command).await;
        let (rest, end) = client.rest().await;
        let text = String::from_utf8(rest).unwrap();
        assert!(text.starts_with("+OK") && !text.contains("protocol-error"), "{fault}: {text}");
        assert_eq!(end, End::Clean, "{fault}");
        let audit = world.audit().await;
        assert_eq!(only(&audit, "closed")["reason"], close, "{fault}: {text}");
        let gone = world.upstream().await.iter().filter(|l| l.starts_with("deleted ")).count();
        assert_eq!(gone, deleted, "{fault}");
    }
}

#[tokio::test]
async fn lines_right_after_the_login_end_it_whether_they_come_with_its_answer_or_later() {
    let world = World::start(&[]).await;
    world.faults(&["idle-unasked"]);
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    let answer = client.ask(format!("PASS {PASSWORD}"), "<any>").await;
    let last = if answer.starts_with("+OK") { client.expect("<any>").await } else { answer };
    assert!(last.starts_with("-ERR [SYS/TEMP] KIM-Gateway: "), "{last}");
    assert!(last.ends_with("(client-module-protocol-error)"), "{last}");
}

#[tokio::test]
async fn answers_without_an_end_end_the_login_and_not_the_memory() {
    for fault in ["greeting-long-line", "greeting-garbage", "login-long-line", "greeting-endless"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
        let refused = client.ask(format!("PASS {PASSWORD}"), "<any>").await;
        assert!(refused.ends_with("(client-module-protocol-error)"), "{fault}: {refused}");
    }
}

#[tokio::test]
async fn refusals_of_the_client_module_come_back_word_for_word() {
    let words = "-ERR [SYS/TEMP] Karte nicht gesteckt; Code 4011";
    for (fault, command) in [("retr-refuse", "RETR 1"), ("dele-refuse", "DELE 1")] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, MESSAGE);
        world.faults(&[format!("{fault}={words}")]);
        let mut client = world.pop3().await;
        client.ask(command, words).await;
        client.ask("NOOP", "+OK<any>").await;
        client.ask("QUIT", "+OK<any>").await;
        let audit = world.audit().await;
        let said = count(&audit, "message-received") + count(&audit, "message-deleted");
        assert_eq!(said, 0, "{fault}");
    }
}

#[tokio::test]
async fn a_message_comes_byte_for_byte_however_the_client_module_cuts_it() {
    let mut message = b"Subject: x\r\n\r\n".to_vec();
    for n in 0..40_u32 {
        message
            .extend_from_slice(&[b"..\r\n.\r\n", &[b'.'; 9][..], b"\n\r.\r\n\0\xff\xfe"].concat());
        message.extend(std::iter::repeat_n(n.to_le_bytes()[0], 997));
        message.extend_from_slice(b"\r\n");
    }
    for manner in ["line-by-line", "split-crlf", "packed", "one-byte"] {
        let world = World::start(&[]).await;
        world.sim.deliver(ADDRESS, &message);
        world.faults(&[manner]);
        let mut client = world.pop3().await;
        client.send("RETR 1").await;
        client.expect("+OK<any>").await;
        let stuffed = stuffed(&message);
        assert!(client.bytes(stuffed.len()).await == stuffed, "{manner}");
        client.expect(".").await;
        client.ask("QUIT", "+OK<any>").await;
        let audit = world.audit().await;
        assert_eq!(only(&audit, "message-received")["bytes"], stuffed.len(), "{manner}");
    }
}

#[tokio::test]
async fn only_the_message_that_came_undecrypted_is_held() {
    let world = World::start(&[]).await;
    for _ in 0..2 {
        world.sim.deliver(ADDRESS, MESSAGE);
    }
    let mut client = world.pop3().await;
    world.faults(&["undecryptable"]);
    fetch(&mut client, 1).await;
    world.faults(&[""; 0]);
    fetch(&mut client, 2).await;
    client.ask("DELE 1", "-ERR [SYS/PERM] <any>(delete-held)").await;
    client.ask("DELE 2", "+OK<any>").await;
    client.ask("RSET", "+OK<any>").await;
    client.ask("DELE 1", "-ERR [SYS/PERM] <any>(delete-held)").await;
    client.ask("QUIT", "+OK<any>").await;
    assert!(!world.upstream().await.iter().any(|fact| fact.starts_with("deleted")));
    assert_eq!(world.metric("kimgate_deletes_held_total"), 2.0);
    assert_eq!(count(&world.audit().await, "delete-held"), 2);
}

/// A command that came together with RETR is not the fetching of a message.
#[tokio::test]
async fn a_session_is_idle_again_after_a_message_although_the_next_command_is_there() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["in-retr-delay@0=200ms", "dele-stall"]);
    let mut client = world.pop3().await;
    client.send("RETR 1\r\nDELE 1").await;
    world.phase("retr").await;
    world.upstream_saw("DELE 1").await;
    world.phase("idle").await;
}

#[tokio::test]
async fn a_second_session_for_a_mailbox_waits_for_the_first_to_end() {
    let world = World::start(&[r#"mailboxes.wait = "60s""#]).await;
    let mut first = world.pop3().await;
    let mut second = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    second.expect("+OK <any>").await;
    second.ask(format!("USER {AT_PC2}"), "+OK<any>").await;
    second.send(format!("PASS {PASSWORD}")).await;
    world.phase("waiting").await;
    assert!(!world.upstream_now().iter().any(|fact| fact.ends_with("#PC2")), "it came too early");
    first.ask("QUIT", "+OK<any>").await;
    second.expect("+OK<any>").await;
    second.ask("QUIT", "+OK<any>").await;
    assert_eq!(world.metric("kimgate_mailbox_wait_seconds_count"), 2.0);
}

#[tokio::test]
async fn a_workstation_that_gives_up_waiting_for_its_mailbox_takes_no_turn() {
    let world = World::start(&[r#"mailboxes.wait = "60s""#]).await;
    let mut first = world.pop3().await;
    let mut second = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    second.expect("+OK <any>").await;
    second.ask(format!("USER {AT_PC2}"), "+OK<any>").await;
    second.send(format!("PASS {PASSWORD}")).await;
    world.phase("waiting").await;
    drop(second);
    let audit = world.audit_when(|lines| count(lines, "closed") == 1).await;
    assert_eq!(only(&audit, "closed")["reason"], "client-left");
    first.ask("QUIT", "+OK<any>").await;
    world.pop3().await.ask("QUIT", "+OK<any>").await;
}

async fn fetch(client: &mut Client, number: u32) {
    client.ask(format!("RETR {number}"), "+OK<any>").await;
    client.expect_until(".").await;
}

async fn assert_nothing_deleted(world: &World) {
    let seen = world.upstream().await;
    assert!(seen.contains(&"closed without quit".to_owned()), "{seen:?}");
    assert!(!seen.iter().any(|fact| fact == "quit" || fact.starts_with("deleted")), "{seen:?}");
}

/// Every byte of a message that a workstation gets leaves a line, however the session ends.
#[tokio::test]
async fn a_fetch_that_broke_off_leaves_a_line_with_the_bytes_that_were_passed_on() {
    for way in ["close", "reset", "stall", "workstation left", "killed"] {
        let short = |config: &mut Config| {
            config.gateway.limits.transfer_stall_timeout = Duration::from_millis(300);
        };
        let world = match way {
            "stall" => World::tuned(&[], |_| {}, short).await,
            _ => World::start(&[]).await,
        };
        world.sim.deliver_synthetic(ADDRESS, 300_000);
        world.faults(&[match way {
            "close" | "reset" => format!("in-retr-{way}@50"),
            _ => "in-retr-stall@50".into(),
        }]);
        let mut client = world.pop3().await;
        client.send("RETR 1").await;
        client.expect("+OK<any>").await;
        let passed_on = match way {
            "close" | "reset" | "stall" => client.rest().await.0.len(),
            _ => client.bytes(100_000).await.len(),
        };
        match way {
            "killed" => world.kill(),
            _ => drop(client),
        }
        let audit = world.audit().await;
        let line = only(&audit, "message-received");
        assert_eq!((&line["complete"], line.get("top")), (&false.into(), None), "{way}");
        // The workstation may not have got the last of them.
        let bytes = usize::try_from(line["bytes"].as_u64().unwrap()).unwrap();
        assert!((passed_on..=160_000).contains(&bytes), "{way}: {bytes} of {passed_on}");
        let counted = world.metric("kimgate_message_bytes_total{direction=\"received\"}");
        assert_eq!(counted, bytes as f64, "{way}");
    }
}

#[tokio::test]
async fn a_preview_that_shows_content_leaves_a_line_and_one_of_the_header_leaves_none() {
    let header = "Subject: x\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\n";
    for (answer, bytes, is_complete) in [
        (format!("+OK\r\n{header}.\r\n"), None, true),
        (format!("+OK\r\n{header}hello\r\n.\r\n"), Some(7), true),
        (format!("+OK\r\n{header}hello\r\nthere"), Some(12), false),
    ] {
        let world = World::start(&[]).await;
        let module = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = module.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = module.accept().await {
                tokio::spawn(previewing(stream, answer.clone()));
            }
        });
        let lines = ["tls = \"none\"".to_owned(), format!("pop3_port = {port}")];
        let lines = lines.map(|line| format!("client_modules.main.{line}"));
        world.reload(&lines.each_ref().map(String::as_str)).unwrap();
        let mut client = world.pop3().await;
        // A client module may send more than it was asked for, so what counts is what it sent.
        client.ask("TOP 1 0", "+OK<any>").await;
        match is_complete {
            true => {
                client.expect_until(".").await;
                client.ask("QUIT", "+OK<any>").await;
            }
            false => drop(client.rest().await),
        }
        let audit = world.audit().await;
        assert_eq!(count(&audit, "message-received"), usize::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            let line = only(&audit, "message-received");
            assert_eq!((&line["top"], &line["bytes"]), (&true.into(), &bytes.into()));
            assert_eq!(line["complete"] == false, !is_complete);
            assert_eq!(line["service"], "eAU;Lieferung;V1.0");
        }
        let counted = world.metric("kimgate_message_bytes_total{direction=\"received\"}");
        assert_eq!(counted, f64::from(bytes.unwrap_or_default()));
    }
}

/// A client module that gives this answer to TOP, and closes after one that does not end.
async fn previewing(stream: tokio::net::TcpStream, answer: String) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.write_all(b"+OK ready\r\n").await.unwrap();
    while matches!(stream.read_line(&mut line).await, Ok(1..)) {
        let said = match line.split_whitespace().next() {
            Some("CAPA") => "+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\n.\r\n",
            Some("TOP") => &answer,
            _ => "+OK\r\n",
        };
        if stream.write_all(said.as_bytes()).await.is_err() || !said.ends_with('\n') {
            return;
        }
        line.clear();
    }
}

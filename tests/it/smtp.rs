//! Sending through the whole gateway, as far as a transcript cannot say it: who vanishes when, who
//! speaks out of turn, and which bytes arrive.

use std::time::Duration;

use crate::support::cli::kimgate;
use crate::support::dialogue::{ADDRESS, End, PASSWORD, auth_plain};
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, World, count, only};
use kimgate::sim::{Seen, Sim};
use kimgate::words::Protocol;
use serde_json::{Value, json};

const MESSAGE: &[u8] =
    b"Subject: Befund\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\nGr\xc3\xbc\xdfe\r\n";
const RECIPIENT: &str = "kasse@ext.kim.telematik";

#[tokio::test]
async fn a_workstation_is_offered_what_the_client_module_offers() {
    let world = World::start(&[]).await;
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    let offered = client.expect_until("250 <any>").await;
    assert!(offered.iter().any(|line| line[4..] == *"SIZE 35882577"), "{offered:?}");
    assert!(offered.iter().any(|line| line[4..] == *"DSN"), "{offered:?}");
}

#[tokio::test]
async fn a_workstation_that_has_said_all_it_has_to_say_still_gets_its_answers() {
    for listener in [Listener::Implicit, Listener::Plain] {
        let world = World::start(&[]).await;
        let mut client = world.client_from(Protocol::Smtp, listener, PC1).await;
        let login = auth_plain(LOGIN, PASSWORD);
        let envelope = format!("MAIL FROM:<{ADDRESS}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n");
        let all = format!("EHLO pc\r\n{login}\r\n{envelope}Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n");
        client.send_bytes(all.as_bytes()).await;
        client.half_close().await;
        let (rest, end) = client.rest().await;
        let text = String::from_utf8(rest).unwrap();
        let codes: Vec<&str> = text.lines().map(|line| &line[..4]).collect();
        let last = ["235 ", "250 ", "250 ", "354 ", "250 ", "221 "];
        assert!(codes.ends_with(&last), "{text}");
        assert_eq!(end, End::Clean);
        assert!(world.upstream().await.contains(&"message complete".to_owned()));
    }
}

#[tokio::test]
async fn one_that_goes_in_the_middle_of_a_message_sends_none_however_it_goes() {
    for (listener, how) in [
        (Listener::Implicit, "gone"),
        (Listener::Implicit, "half-closed"),
        (Listener::Plain, "gone"),
        (Listener::Plain, "half-closed"),
    ] {
        let world = World::start(&[]).await;
        let mut client = world.client_from(Protocol::Smtp, listener, PC1).await;
        client.expect("220 <any>").await;
        client.smtp_login(LOGIN).await;
        client.begin_message().await;
        client.send_bytes(b"Subject: x\r\n\r\nfirst half").await;
        world.upstream_saw("DATA").await;
        // The last bytes and the end may well be read together.
        client.send_bytes(b" and a bit").await;
        match how {
            "gone" => drop(client),
            _ => client.half_close().await,
        }
        let seen = world.upstream().await;
        assert!(seen.contains(&"message incomplete".to_owned()), "{listener:?} {how}: {seen:?}");
        let whole = seen.iter().any(|fact| fact == "message complete" || fact == "quit");
        assert!(!whole, "{listener:?} {how}: {seen:?}");
        let audit = world.audit().await;
        assert_eq!(only(&audit, "closed")["reason"], "client-left", "{listener:?} {how}");
        assert_eq!(count(&audit, "message-sent"), 0, "{listener:?} {how}");
    }
}

#[tokio::test]
async fn one_that_leaves_before_the_answer_changes_nothing_about_the_messages_fate() {
    let world = World::start(&[]).await;
    world.faults(&["end-of-data-delay=100ms"]);
    let message = [b"Message-ID: <1@PC1.praxis.local>\r\n", MESSAGE, b".\r\n"].concat();
    let mut client = world.smtp().await;
    client.begin_message().await;
    client.send_bytes(&message).await;
    world.upstream_saw("message complete").await;
    drop(client);
    let audit = world.audit().await;
    let sent = only(&audit, "message-sent");
    assert_eq!(sent["accepted"], true, "what became of it is known");
    let [waited, answered] = ["left_after", "seconds"].map(|key| sent[key].as_f64().unwrap());
    assert!(waited <= answered, "{sent}");
    assert_eq!(world.metric("kimgate_messages_accepted_after_client_left_total"), 1.0);
    // Its program sends the same message again; who compares the hashes sees that.
    world.faults(&[""; 0]);
    let mut again = world.smtp().await;
    again.begin_message().await;
    again.send_bytes(&message).await;
    again.expect("250 <any>").await;
    again.ask("QUIT", "221 <any>").await;
    let audit = world.audit().await;
    let sent: Vec<_> = audit.iter().filter(|line| line["event"] == "message-sent").collect();
    let hash = sent[0]["message_id"].as_str().unwrap();
    assert!(hash.starts_with("hmac:") && sent[1]["message_id"] == hash, "{sent:?}");
    assert!(sent[1].get("left_after").is_none(), "{sent:?}");
    assert_eq!(world.metric("kimgate_messages_accepted_after_client_left_total"), 1.0);
}

#[tokio::test]
async fn a_client_module_lost_after_the_final_dot_leaves_a_line_that_says_so() {
    for (fault, reason) in [
        ("end-of-data-close", "client-module-unreachable"),
        ("end-of-data-reset", "client-module-unreachable"),
        ("end-of-data-double", "client-module-protocol-error"),
    ] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
        client.expect(&format!("421 4.7.0 <any>({reason})")).await;
        let audit = world.audit().await;
        let sent = only(&audit, "message-sent");
        assert_eq!(sent["reason"], reason, "{fault}");
        assert!(sent.get("accepted").is_none() && sent.get("reply").is_none(), "{sent}");
        assert_eq!(world.metric("kimgate_messages_unanswered_total"), 1.0, "{fault}");
        assert_eq!(world.metric("kimgate_messages_rejected_total"), 0.0, "{fault}");
    }
}

#[tokio::test]
async fn a_client_module_that_goes_in_the_middle_of_a_message_has_not_taken_it() {
    let large = [MESSAGE, &b"0123456789abcdef\r\n".repeat(20_000), b".\r\n"].concat();
    for fault in ["in-data-close@1000", "in-data-drop@1000", "in-data-reset@1000"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send_bytes(&large).await;
        client.expect("421 4.7.0 <any>(client-module-unreachable)").await;
        assert_eq!(client.end().await, End::Clean, "{fault}");
        let audit = world.audit().await;
        assert_eq!(only(&audit, "closed")["reason"], "client-module-unreachable", "{fault}");
        // Where the end was on its way already, kimgate cannot know that the reset came before it.
        let sent = audit.iter().find(|line| line["event"] == "message-sent");
        assert!(sent.is_none_or(|line| line.get("accepted").is_none()), "{fault}: {sent:?}");
    }
    for fault in ["end-of-data-close", "end-of-data-reset", "after-data-close"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
        if fault.starts_with("after") {
            client.expect("250 <any>").await;
        }
        client.expect("421 4.7.0 <any>(client-module-unreachable)").await;
        assert_eq!(client.end().await, End::Clean, "{fault}");
    }
}

#[tokio::test]
async fn unsolicited_lines_are_not_taken_for_answers() {
    for fault in ["greeting-double", "hello-double", "login-double", "login-unasked"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.client(Protocol::Smtp).await;
        client.expect("220 <any>").await;
        client.send("EHLO pc").await;
        client.expect_until("250 <any>").await;
        let refused = "454 4.7.0 KIM-Gateway: <any>(client-module-protocol-error)";
        client.ask(auth_plain(LOGIN, PASSWORD), refused).await;
        client.ask("QUIT", "221 <any>").await;
    }
    // None of these may make a message look accepted that is not.
    for fault in [
        "mail-double",
        "rcpt-double",
        "data-double",
        "data-unasked",
        "in-data-unasked@1000",
        "end-of-data-double",
        "after-data-unasked",
    ] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        let large = "0123456789abcdef\r\n".repeat(20_000);
        let envelope = format!("MAIL FROM:<{ADDRESS}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n");
        client.send_bytes(format!("{envelope}Subject: x\r\n\r\n{large}.\r\n").as_bytes()).await;
        let (rest, _) = client.rest().await;
        let text = String::from_utf8(rest).unwrap();
        assert!(text.ends_with("(client-module-protocol-error)\r\n"), "{fault}: {text}");
        let audit = world.audit().await;
        let reason = &only(&audit, "closed")["reason"];
        assert_eq!(reason, "client-module-protocol-error", "{fault}");
        let accepted = text.lines().filter(|line| line.starts_with("250 ")).count();
        let whole = world.upstream().await.contains(&"message complete".to_owned());
        assert!(accepted < 3 || whole, "{fault}: {text}");
        let sent = audit.iter().any(|l| l["event"] == "message-sent" && l["accepted"] == true);
        assert_eq!(accepted == 3, sent, "{fault}: {text}");
    }
}

/// The client module had said 250 and 421 in one packet. The 250 was thrown away, and the workstation was
/// told to send again: the practice's second eAU.
#[tokio::test]
async fn a_message_that_is_acknowledged_with_a_goodbye_is_not_sent_again() {
    for fault in ["end-of-data-goodbye", "after-data-goodbye"] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
        client.expect("250 <any>").await;
        client.expect("421 4.7.0 <any>(client-module-unreachable)").await;
        assert_eq!(client.end().await, End::Clean, "{fault}");
        let audit = world.audit().await;
        assert_eq!(only(&audit, "message-sent")["accepted"], true, "{fault}");
        assert_eq!(only(&audit, "closed")["reason"], "client-module-unreachable", "{fault}");
    }
    // So it is with each other answer, a refusal too.
    for (fault, answer) in [("mail-goodbye", "250 <any>"), ("quit-goodbye", "221 <any>")] {
        let world = World::start(&[]).await;
        world.faults(&[fault]);
        let mut client = world.smtp().await;
        let command =
            if fault == "quit-goodbye" { "QUIT".into() } else { format!("MAIL FROM:<{ADDRESS}>") };
        client.ask(command, answer).await;
        if fault != "quit-goodbye" {
            client.expect("421 4.7.0 <any>(client-module-unreachable)").await;
        }
        assert_eq!(client.end().await, End::Clean, "{fault}");
    }
}

/// kimgate's own RSET follows a message that is refused here. What the client module says while the
/// message comes is no answer to it.
#[tokio::test]
async fn what_the_client_module_says_while_a_refused_message_comes_is_no_answer_to_a_reset() {
    for (fault, reason) in [
        ("idle-unasked", "client-module-protocol-error"),
        ("idle-refuse=421 4.4.2 too long", "client-module-unreachable"),
        ("idle-close", "client-module-unreachable"),
    ] {
        let services = format!("accounts.{ADDRESS:?}.send.services = [\"eAU;*\"]");
        let world = World::start(&[&services]).await;
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send("Subject: x\r\n").await;
        world.faults(&[fault]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send("body\r\n.").await;
        client.expect(&format!("421 4.7.0 <any>({reason})")).await;
        assert_eq!(client.end().await, End::Clean, "{fault}");
        assert!(!world.upstream().await.contains(&"RSET".to_owned()), "{fault}");
        assert_eq!(only(&world.audit().await, "closed")["reason"], reason, "{fault}");
    }
}

#[tokio::test]
async fn refusals_of_the_client_module_come_back_word_for_word() {
    for (fault, at) in [("mail", 0), ("rcpt", 1), ("data", 2), ("end-of-data", 3)] {
        let world = World::start(&[]).await;
        world.faults(&[format!("{fault}-refuse=552 5.2.2 Zu viel des Guten")]);
        let mut client = world.smtp().await;
        let words = "552 5.2.2 Zu viel des Guten";
        let or = |here: usize, otherwise: &'static str| if here == at { words } else { otherwise };
        client.ask(format!("MAIL FROM:<{ADDRESS}>"), or(0, "250 <any>")).await;
        if at > 0 {
            client.ask(format!("RCPT TO:<{RECIPIENT}>"), or(1, "250 <any>")).await;
        }
        if at > 1 {
            // kimgate invites the message itself, to read its header before the client module.
            client.ask("DATA", "354 <any>").await;
            client.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
            client.expect(words).await;
        }
        client.ask("QUIT", "221 <any>").await;
        let audit = world.audit().await;
        assert!(!audit.iter().any(|l| l["event"] == "message-sent" && l["accepted"] == true));
    }
}

#[tokio::test]
async fn a_message_arrives_byte_for_byte_however_it_is_cut() {
    let mut message = b"Subject: x\r\nX-Long: ".to_vec();
    message.extend(std::iter::repeat_n(b'a', 3_000));
    message.extend_from_slice(b"\r\n\r\n");
    for n in 0..200_u32 {
        message.extend_from_slice(b"...\r\n..\r\n a\n.b\r.c\r\r\n\xff\xfe\0\x80");
        message.extend(std::iter::repeat_n(n.to_le_bytes()[0] | 0x80, 1_009));
        message.extend_from_slice(b"\r\n");
    }
    for piece in [1, 7, 16_384, usize::MAX] {
        let message = if piece == 1 { &message[..6_000] } else { &message[..] };
        let message = [message, b"\r\n"].concat();
        let world = World::with(&[], |sim| sim.raw_delivery = true).await;
        let mut client = world.smtp().await;
        client.begin_message().await;
        for piece in [&message[..], b".\r\n"].concat().chunks(piece.min(message.len() + 3)) {
            client.send_bytes(piece).await;
        }
        client.expect("250 <any>").await;
        client.ask("QUIT", "221 <any>").await;
        assert!(delivered(&world.sim) == unstuffed(&message), "cut into {piece}");
        assert_eq!(only(&world.audit().await, "message-sent")["bytes"], message.len());
    }
}

/// The client module here takes LF alone for a line end around the dot, as servers do that smuggling
/// works with; so whatever reaches it of such a dot ends the message for it.
#[tokio::test]
async fn nothing_is_smuggled_in_the_middle_of_a_message_wherever_it_is_cut() {
    let world = World::start(&["limits.connections_per_workstation = 1000"]).await;
    world.faults(&["lenient-dot"]);
    let smuggled = format!("MAIL FROM:<{ADDRESS}>\r\nRCPT TO:<x@example.org>\r\nDATA\r\nx\r\n");
    for lone in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\r\n.\r\n", "\r\n.\0\r\n"] {
        for cut in 0..=lone.len() {
            let mut client = world.smtp().await;
            client.begin_message().await;
            client.send_bytes(b"Subject: x\r\n\r\nfirst").await;
            let (before, after) = lone.split_at(cut);
            client.send_bytes(before.as_bytes()).await;
            client.send_bytes(format!("{after}{smuggled}").as_bytes()).await;
            if !(lone.ends_with("\r\n.\r\n")) {
                client.send_bytes(b".\r\n").await;
            }
            let (rest, _) = client.rest().await;
            let text = String::from_utf8(rest).unwrap();
            let told = text.starts_with("554 5.6.0 ") && text.lines().count() == 1;
            assert!(told, "{lone:?} cut at {cut}: {text}");
        }
    }
    let seen = world.upstream().await;
    assert!(!seen.iter().any(|fact| fact == "message complete"), "{seen:?}");
    assert!(!seen.iter().any(|fact| fact.contains("example.org")), "{seen:?}");
}

#[tokio::test]
async fn the_switches_add_their_lines_and_change_nothing_else() {
    let version = env!("CARGO_PKG_VERSION");
    let middleware = format!("X-KIM-Middleware: kimgate;{version}\r\n");
    let read = format!("Disposition-Notification-To: <{ADDRESS}>\r\n");
    let wished = b"Disposition-Notification-To: <chef@praxis.kim.telematik>\r\n";
    let switches = [r#"headers.middleware = "add""#, r#"receipts.read = "always""#];
    let table: [(&[&str], &[u8], String); 5] = [
        (&[], MESSAGE, String::new()),
        (&switches[..1], MESSAGE, middleware.clone()),
        (&switches[1..], MESSAGE, read.clone()),
        (&switches, MESSAGE, format!("{middleware}{read}")),
        (&switches[1..], &[&wished[..], MESSAGE].concat(), String::new()),
    ];
    for (lines, message, added) in table {
        let world = World::with(lines, |sim| sim.raw_delivery = true).await;
        let mut client = world.smtp().await;
        client.begin_message().await;
        client.send_bytes(&[message, b".\r\n"].concat()).await;
        client.expect("250 <any>").await;
        client.ask("QUIT", "221 <any>").await;
        let expected = [added.as_bytes(), message].concat();
        assert_eq!(delivered(&world.sim), expected, "{lines:?}");
    }
}

#[tokio::test]
async fn our_middleware_line_follows_those_that_are_there_already() {
    let ours = format!("X-KIM-Middleware: kimgate;{}\r\n", env!("CARGO_PKG_VERSION"));
    let other = "x-kim-middleware: Virenscanner;\r\n 4.2\r\n";
    let table = [
        (format!("{other}Subject: a\r\n"), "\r\nText\r\n"),
        (format!("Subject: a\r\n{other}{other}"), "\r\nX-KIM-Middleware: in;the body\r\n"),
        (format!("Subject: a\r\n{other}"), "\r\n"),
        (format!("Subject: a\r\n{other}"), ""),
    ];
    for (header, body) in table {
        for cut in [0, 1, header.len() / 2, header.len() - 1, header.len(), header.len() + 1] {
            let world = World::with(&[r#"headers.middleware = "add""#], |sim| {
                sim.raw_delivery = true;
            })
            .await;
            let mut client = world.smtp().await;
            client.begin_message().await;
            let message = format!("{header}{body}.\r\n");
            let (first, rest) = message.split_at(cut.min(message.len()));
            client.send_bytes(first.as_bytes()).await;
            client.send_bytes(rest.as_bytes()).await;
            client.expect("250 <any>").await;
            client.ask("QUIT", "221 <any>").await;
            let got = String::from_utf8(delivered(&world.sim)).unwrap();
            assert_eq!(got, format!("{header}{ours}{body}"), "cut at {cut}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_lacking_what_gematik_demands_is_counted_by_workstation_and_not_changed() {
    let world = World::with(&[], |sim| sim.raw_delivery = true).await;
    let mut client = world.smtp().await;
    let all = "Message-ID: <1@praxis>\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n\
        X-KIM-Sendersystem: Praxis;1.0\r\nX-KIM-Support:\r\n hilfe@hersteller.example\r\n\
        x-ti-user-agent : Firma-Produkt/2.0.0\r\n";
    let messages = [
        // All is there.
        format!("{all}\r\nText\r\n"),
        // The same again: the same Message-ID.
        format!("{all}\r\nText\r\n"),
        // One is there without a value, and one is in the body.
        format!("{}X-KIM-Support: \r\n\r\nX-TI-User-Agent: a\r\n", "Message-ID: <2@praxis>\r\n"),
        // A line that is no field may hide one.
        "Message-ID\u{a0}: <3@praxis>\r\n\r\nText\r\n".to_owned(),
    ];
    for message in &messages {
        client.begin_message().await;
        client.send_bytes(format!("{message}.\r\n").as_bytes()).await;
        client.expect("250 <any>").await;
    }
    client.ask("QUIT", "221 <any>").await;
    let kept = world.sim.maildrop(RECIPIENT);
    let got: Vec<_> = kept.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    assert_eq!(got, messages, "nothing was changed");
    for (field, count) in [
        ("Message-ID", 0.0),
        ("X-KIM-Dienstkennung", 1.0),
        ("X-KIM-Sendersystem", 1.0),
        ("X-KIM-Support", 1.0),
        ("X-TI-User-Agent", 1.0),
    ] {
        let series = format!("kimgate_header_fields_missing_total{{field=\"{field}\"}}");
        assert_eq!(world.metric(&series), count, "{field}");
    }
    assert_eq!(world.metric("kimgate_message_ids_reused_total"), 1.0);
    let status: Value = serde_json::from_str(&world.get("/status").await.1).unwrap();
    let rows = status["sent_headers"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["messages"], &rows[0]["reused_message_ids"]), (&json!(4), &json!(1)));
    assert_eq!(rows[0]["missing"]["X-TI-User-Agent"], 1);
    assert!(!status.to_string().contains("@praxis>"), "{status}");
    let admin = world.admin.to_string();
    let said = tokio::task::spawn_blocking(move || kimgate(&["status", "--address", &admin]));
    let said = said.await.unwrap().stdout;
    let row = said.lines().find(|line| line.contains("X-TI-User-Agent 1")).unwrap();
    assert!(row.contains("PC1") && row.contains("Message-ID used again 1"), "{said}");
}

#[tokio::test]
async fn delivery_receipts_are_requested_where_the_workstation_said_nothing_about_them() {
    let world = World::start(&[r#"receipts.delivery = "always""#]).await;
    let mut client = world.smtp().await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    client.ask("RCPT TO:<a@ext.kim.telematik> ORCPT=rfc822;x", "250 <any>").await;
    client.ask("RCPT TO:<b@ext.kim.telematik> NOTIFY=NEVER", "250 <any>").await;
    client.ask("DATA", "354 <any>").await;
    client.ask("Subject: x\r\n\r\nhello\r\n.", "250 <any>").await;
    client.ask("QUIT", "221 <any>").await;
    assert_eq!(only(&world.audit().await, "message-sent")["added"], json!(["NOTIFY"]));
    let seen = world.upstream().await;
    let wished = "RCPT TO:<a@ext.kim.telematik> ORCPT=rfc822;x NOTIFY=SUCCESS,FAILURE,DELAY";
    assert!(seen.contains(&wished.to_owned()), "{seen:?}");
    assert!(seen.contains(&"RCPT TO:<b@ext.kim.telematik> NOTIFY=NEVER".to_owned()), "{seen:?}");
    // A client module without DSN would refuse the recipient.
    let world = World::with(&[r#"receipts.delivery = "always""#], |sim| {
        sim.capabilities.smtp.retain(|line| line != "DSN");
    });
    let world = world.await;
    let mut client = world.smtp().await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    client.ask("RCPT TO:<a@ext.kim.telematik>", "250 <any>").await;
    client.ask("QUIT", "221 <any>").await;
    assert!(world.upstream().await.contains(&"RCPT TO:<a@ext.kim.telematik>".to_owned()));
}

#[tokio::test]
async fn ehlo_after_the_login_ends_the_transaction_and_keeps_the_login() {
    let world = World::start(&[]).await;
    let mut client = world.smtp().await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    client.send("EHLO pc").await;
    let offered = client.expect_until("250 <any>").await;
    assert!(!offered.iter().any(|line| line[4..].starts_with("AUTH")), "{offered:?}");
    assert!(offered.iter().any(|line| line[4..].starts_with("SIZE")), "{offered:?}");
    client.ask(format!("RCPT TO:<{RECIPIENT}>"), "503 <any>").await;
    client.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    client.ask("QUIT", "221 <any>").await;
    let seen = world.upstream().await;
    assert_eq!(seen.iter().filter(|fact| fact.starts_with("EHLO")).count(), 1, "{seen:?}");
    assert!(seen.contains(&"RSET".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_before_it_is_whole() {
    let world = World::start(&[r#"limits.message = "64KiB""#]).await;
    let mut client = world.smtp().await;
    client.ask(format!("MAIL FROM:<{ADDRESS}> SIZE=65537"), "552 <any>(message-too-large)").await;
    client.begin_message().await;
    client.send_bytes(&b"0123456789abcdef\r\n".repeat(4_000)).await;
    client.send(".").await;
    client.expect("552 5.3.4 <any>(message-too-large)").await;
    client.end().await;
    let seen = world.upstream().await;
    assert!(seen.contains(&"message incomplete".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"message complete".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn too_many_wrong_passwords_are_answered_here_and_the_right_login_elsewhere_is_not() {
    let world = World::start(&["protection.login_failures = 2"]).await;
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    for password in ["falsch", "wieder falsch"] {
        client.ask(auth_plain(LOGIN, password), "535 <any>").await;
    }
    let paused = client.ask(auth_plain(LOGIN, "falsch"), "454 4.7.0 <any>(login-paused)").await;
    assert!(paused.contains("535"), "the client module's words are in it: {paused}");
    assert!(paused.contains(" ruht noch 60 Minuten; "), "{paused}");
    client.ask("QUIT", "221 <any>").await;
    let other = LOGIN.replace("#PC1", "#PC9");
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.smtp_login(&other).await;
    client.ask("QUIT", "221 <any>").await;
    let logins = world.upstream().await.iter().filter(|fact| fact.starts_with("login ")).count();
    assert_eq!(logins, 3, "the paused one did not go there");
    let paused = r#"kimgate_logins_total{protocol="smtp",result="login-paused"}"#;
    assert_eq!(world.metric(paused), 1.0);
    // What is refused because a card is locked is no wrong password.
    let world = World::start(&["protection.login_failures = 1"]).await;
    world.faults(&["2*login-refuse=454 4.7.0 Konnektor nicht erreichbar"]);
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    for _ in 0..2 {
        client.ask(auth_plain(LOGIN, PASSWORD), "454 4.7.0 Konnektor nicht erreichbar").await;
    }
    client.ask(auth_plain(LOGIN, PASSWORD), "235 <any>").await;
}

/// The one message that arrived.
fn delivered(sim: &Sim) -> Vec<u8> {
    let whole = |seen: &&Seen| matches!(seen, Seen::Received { complete: true, .. });
    assert_eq!(sim.seen().iter().filter(whole).count(), 1);
    sim.maildrop(RECIPIENT).remove(0)
}

/// As RFC 5321 section 4.5.2 says.
fn unstuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in message.iter().enumerate() {
        let at_line_start = at == 0 || message[..at].ends_with(b"\r\n");
        if !(*byte == b'.' && at_line_start) {
            out.push(*byte);
        }
    }
    out
}

//! How the gateway stops: no message is cut off in the middle, and no session is left waiting.

use crate::support::dialogue::{ADDRESS, End, PASSWORD};
use crate::support::ports::nobody_answers;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World, only};
use kimgate::words::Protocol;

const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";

#[tokio::test]
async fn a_workstation_between_two_commands_is_told_goodbye() {
    let mut world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, b"Subject: x\r\n\r\n");
    let (mut pop3, mut smtp) = (world.pop3().await, world.smtp().await);
    pop3.ask("DELE 1", "+OK<any>").await;
    let mut new = world.client(Protocol::Smtp).await;
    new.expect("220 <any>").await;
    world.shut_down();
    pop3.expect("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    smtp.expect("421 4.7.0 <any>(shutting-down)").await;
    new.expect("421 4.7.0 <any>(shutting-down)").await;
    for mut client in [pop3, smtp, new] {
        assert_eq!(client.end().await, End::Clean);
    }
    world.stopped().await;
    let seen = world.upstream().await;
    assert!(!seen.iter().any(|fact| fact == "quit" || fact.starts_with("deleted")), "{seen:?}");
    assert!(nobody_answers(world.address(Protocol::Pop3, Listener::Implicit)).await);
}

#[tokio::test]
async fn the_goodbye_is_in_the_language_of_the_gateway() {
    for (language, words) in [
        ("de", "Das Gateway wird gerade beendet; bitte in einer Minute erneut versuchen"),
        ("en", "the gateway is stopping; please try again in a minute"),
    ] {
        let mut world = World::start(&[&format!("gateway.language = {language:?}")]).await;
        let (mut pop3, mut smtp) = (world.pop3().await, world.smtp().await);
        world.shut_down();
        pop3.expect(&format!("-ERR [SYS/TEMP] KIM-Gateway: {words} (shutting-down)")).await;
        smtp.expect(&format!("421 4.7.0 KIM-Gateway: {words} (shutting-down)")).await;
        world.stopped().await;
    }
}

#[tokio::test]
async fn messages_in_flight_finish() {
    let mut world = World::start(&[]).await;
    world.sim.deliver_synthetic(ADDRESS, 3_000_000);
    let (mut pop3, mut smtp) = (world.pop3().await, world.smtp().await);
    smtp.begin_message().await;
    smtp.send_bytes(b"Subject: x\r\n\r\nfirst half, ").await;
    world.upstream_saw("DATA").await;
    pop3.ask("RETR 1", "+OK<any>").await;
    world.shut_down();
    world.not_ready().await;
    smtp.send_bytes(b"second half\r\n.\r\n").await;
    smtp.expect("250 <any>").await;
    smtp.expect("421 4.7.0 <any>(shutting-down)").await;
    pop3.expect_until(".").await;
    pop3.expect("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    world.stopped().await;
    let seen = world.upstream().await;
    assert!(
        seen.contains(&"message complete".to_owned()) && seen.contains(&"fetched 1".to_owned())
    );
}

#[tokio::test]
async fn a_login_that_waits_for_its_turn_is_told_and_does_not_hold_up_the_end() {
    let mut world = World::start(&[r#"mailboxes.wait = "60s""#]).await;
    let mut first = world.pop3().await;
    let mut second = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    second.expect("+OK <any>").await;
    second.ask(format!("USER {AT_PC2}"), "+OK<any>").await;
    second.send(format!("PASS {PASSWORD}")).await;
    world.phase("waiting").await;
    world.shut_down();
    first.expect("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    // Once for the login, once for the connection.
    second.expect("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    second.expect("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    assert_eq!(second.end().await, End::Clean);
    world.stopped().await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_ended_and_never_completed() {
    let mut world = World::start(&[r#"limits.drain = "100ms""#]).await;
    let mut smtp = world.smtp().await;
    smtp.begin_message().await;
    smtp.send_bytes(b"Subject: x\r\n\r\nfirst half").await;
    world.upstream_saw("DATA").await;
    world.shut_down();
    world.stopped().await;
    let (rest, _) = smtp.rest().await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(only(&world.audit().await, "closed")["reason"], "shutting-down");
    let seen = world.upstream().await;
    assert!(seen.contains(&"message incomplete".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"message complete".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn half_a_message_does_not_look_whole_when_time_is_up() {
    for listener in [Listener::Implicit, Listener::Plain] {
        let mut world = World::start(&[r#"limits.drain = "100ms""#]).await;
        world.sim.deliver_synthetic(ADDRESS, 300_000);
        world.faults(&["in-retr-stall@50"]);
        let mut client = world.client_from(Protocol::Pop3, listener, PC1).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN).await;
        client.ask("RETR 1", "+OK<any>").await;
        world.shut_down();
        world.stopped().await;
        assert_eq!(client.rest().await.1, End::Cut, "{listener:?}");
    }
}

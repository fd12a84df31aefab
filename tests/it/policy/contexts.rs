//! A card context is given back however a session ends, and turns at a mailbox come in order.

use std::time::Duration;

use kimgate::words::Protocol;

use super::PC1_DENIED;
use crate::support::dialogue::{ADDRESS, Client, End, PASSWORD, auth_plain};
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World};

/// One context at two workstations, which is what `contexts` is about.
const ENFORCED: [&str; 4] = [
    r#"contexts.mode = "enforce""#,
    r#"contexts.wait = "60s""#,
    r#"contexts.linger = "0s""#,
    "workstations.PC2.workplaces = []",
];

#[tokio::test]
async fn every_way_to_end_a_session_gives_its_context_back() {
    let world = World::with(&ENFORCED, |sim| sim.mailbox_in_use = None).await;
    world.sim.deliver_synthetic(ADDRESS, 3_000_000);

    at_pc1(&world).await.ask("QUIT", "+OK<any>").await;
    pc2_has_it(&world, "QUIT").await;

    drop(at_pc1(&world).await);
    pc2_has_it(&world, "the workstation closes").await;

    let mut client = at_pc1(&world).await;
    client.half_close().await;
    assert_eq!(client.end().await, End::Clean);
    pc2_has_it(&world, "it closes its sending half").await;

    drop(reset_by_drop(&world).await);
    pc2_has_it(&world, "it resets the connection").await;

    let mut client = reset_by_drop(&world).await;
    client.ask("RETR 1", "+OK<any>").await;
    drop(client);
    pc2_has_it(&world, "it resets in the middle of a message").await;

    let mut client = at_pc1(&world).await;
    for _ in 0..=20 {
        client.send("XYZZY").await;
    }
    client.rest().await;
    pc2_has_it(&world, "too many bad commands").await;

    let mut client = greeted(&world).await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    client.ask("PASS falsch", "-ERR<any>").await;
    pc2_has_it(&world, "the client module refuses the login").await;
    drop(client);

    for fault in ["login-drop", "login-garbage", "greeting-refuse"] {
        world.faults(&[fault]);
        let mut client = greeted(&world).await;
        client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
        client.ask(format!("PASS {PASSWORD}"), "-ERR <any>").await;
        world.faults(&[] as &[&str]);
        pc2_has_it(&world, fault).await;
    }

    let mut client = at_pc1(&world).await;
    world.faults(&["in-retr-drop@50"]);
    client.send("RETR 1").await;
    assert_eq!(client.rest().await.1, End::Cut);
    world.faults(&[] as &[&str]);
    pc2_has_it(&world, "the client module is lost in a message").await;

    let mut client = at_pc1(&world).await;
    world.reload(&[&ENFORCED[..], &[PC1_DENIED]].concat()).unwrap();
    client.ask("NOOP", "-ERR [SYS/PERM] <any>(denied)").await;
    world.reload(&ENFORCED).unwrap();
    pc2_has_it(&world, "a reload does not let it go on").await;
    assert_eq!(world.metric("kimgate_contexts_active"), 0.0);
}

#[tokio::test]
async fn a_kill_and_a_drain_give_contexts_back() {
    for killed in [true, false] {
        let mut world = World::start(&ENFORCED).await;
        let mut client = at_pc1(&world).await;
        assert_eq!(world.metric("kimgate_contexts_active"), 1.0);
        if killed {
            world.kill();
        }
        world.shut_down();
        client.rest().await;
        world.stopped().await;
        assert_eq!(world.metric("kimgate_contexts_active"), 0.0, "killed: {killed}");
    }
}

#[tokio::test]
async fn a_login_without_host_and_port_is_a_context_as_a_whole() {
    let world = World::start(&[&ENFORCED[..], &[r#"contexts.wait = "0s""#]].concat()).await;
    let _first = at_pc1(&world).await;
    let mut second = world.client_from(Protocol::Smtp, Listener::Implicit, PC2).await;
    second.expect("220 <any>").await;
    second.send("EHLO pc").await;
    second.expect_until("250 <any>").await;
    // The same fields without host:port, as KIM 1.5.4 allows, are the same context; others are not.
    let bare = format!("{ADDRESS}#M1#cs#PC1");
    second.ask(auth_plain(&bare, PASSWORD), "454 4.7.0 <any>(context-in-use)").await;
    let other = format!("{ADDRESS}#M2#cs#PC1");
    second.ask(auth_plain(&other, PASSWORD), "235 <any>").await;
}

#[tokio::test]
async fn waiting_sessions_reach_a_mailbox_in_the_order_in_which_they_came() {
    let world = World::start(&[r#"mailboxes.wait = "60s""#]).await;
    let first = at_pc1(&world).await;
    let mut waiting = Vec::new();
    for turn in 1..=4 {
        let mut client = greeted(&world).await;
        client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
        client.send(format!("PASS {PASSWORD}")).await;
        world.waiting(turn).await;
        waiting.push(client);
    }
    let mut holder = first;
    for mut next in waiting {
        assert_eq!(
            logins(&world),
            1 + world.upstream_now().iter().filter(|f| *f == "quit").count()
        );
        holder.ask("QUIT", "+OK<any>").await;
        next.expect("+OK<any>").await;
        holder = next;
    }
    holder.ask("QUIT", "+OK<any>").await;
}

fn logins(world: &World) -> usize {
    world.upstream_now().iter().filter(|fact| fact.starts_with("login ")).count()
}

async fn greeted(world: &World) -> Client {
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client
}

async fn at_pc1(world: &World) -> Client {
    world.pop3().await
}

/// A session of PC1 that ends with a reset when it is dropped.
async fn reset_by_drop(world: &World) -> Client {
    let tcp = world.tcp(Protocol::Pop3, Listener::Plain, PC1).await;
    socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    let mut client = Client::new(Box::new(tcp));
    client.expect("+OK <any>").await;
    client.pop3_login(LOGIN).await;
    client
}

/// PC2 logs in with PC1's context: it waits for it if it has to, and gets it.
async fn pc2_has_it(world: &World, how: &str) {
    let mut client = world.client_from(Protocol::Smtp, Listener::Plain, PC2).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    let reply = client.ask(auth_plain(LOGIN, PASSWORD), "<any>").await;
    assert!(reply.starts_with("235 "), "{how}: {reply}");
    client.ask("QUIT", "221 <any>").await;
}

//! Sending through the whole gateway, as far as a transcript cannot say it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use kimgate::words::Protocol;
use support::world::World;

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

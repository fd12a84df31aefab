//! Peers that say too little: nothing at all, a byte now and then, a connection that closes at once. Each
//! phase of a session has a time limit that they cannot put off, and no other session waits for them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::support::dialogue::{ADDRESS, PATIENCE, within};
use crate::support::kimgate::{Kimgate, client_module};
use crate::support::transcript::Listener::{self, Implicit, Plain, StartTls};
use crate::support::world::{LOGIN, PC1, PC2, World};
use kimgate::sim::{Seen, Sim, SimConfig};
use kimgate::words::Protocol::{self, Pop3, Smtp};
use kimgate::words::Security;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long kimgate waits here, for anything.
const SHORT: Duration = Duration::from_secs(2);
/// Between two bytes of a slow peer.
const PACE: Duration = Duration::from_millis(20);
/// The beginning of a ClientHello of 16 KiB; zeros follow.
const HELLO: &[u8] = b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03";

async fn impatient() -> World {
    World::tuned(
        &["gateway.language = \"en\""],
        |_| {},
        |config| {
            let limits = &mut config.gateway.limits;
            limits.login_timeout = SHORT;
            limits.idle_timeout = SHORT;
            limits.transfer_stall_timeout = SHORT;
        },
    )
    .await
}

/// How a phase begins, in words and on the wire, and what then comes byte by byte.
type Phase = (&'static str, Protocol, Listener, &'static [&'static str], &'static [u8]);

const PHASES: &[Phase] = &[
    ("a handshake", Pop3, Implicit, &[], HELLO),
    ("a handshake", Smtp, Implicit, &[], HELLO),
    ("a handshake after STLS", Pop3, StartTls, &["STLS"], HELLO),
    ("a handshake after STARTTLS", Smtp, StartTls, &["EHLO pc", "STARTTLS"], HELLO),
    ("a first command", Pop3, Plain, &[], b"USER prx"),
    ("a first command", Smtp, Plain, &[], b"EHLO pc"),
    ("commands that are no login", Pop3, Plain, &[], b"CAPA\r\nCAPA\r\nCAPA\r\nCAPA\r\nCAPA\r\n"),
    ("commands that are no login", Smtp, Plain, &["EHLO pc"], b"NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n"),
    ("a password", Pop3, Plain, &["USER prx@praxis.kim.telematik#h:1"], b"PASS geh"),
    ("a response to AUTH", Smtp, Plain, &["EHLO pc", "AUTH LOGIN"], b"cHJ4"),
    ("a response to AUTH", Pop3, Plain, &["AUTH PLAIN"], b"AHBy"),
];

#[tokio::test]
async fn no_phase_before_the_login_waits_forever_for_a_silent_or_slow_peer() {
    let world = Arc::new(impatient().await);
    let mut phases = JoinSet::new();
    for (phase, dribbles) in PHASES.iter().flat_map(|phase| [(phase, false), (phase, true)]) {
        let world = world.clone();
        phases.spawn(async move {
            let stream = begin(&world, phase).await;
            let ended = tokio::time::timeout(PATIENCE, last_words(stream, phase.4, dribbles));
            let said = ended.await.unwrap_or_else(|_| panic!("{phase:?} has no end"));
            // Before TLS there is no place for words.
            let has_words = !phase.0.contains("handshake");
            assert_eq!(said.contains("(timeout)"), has_words, "{phase:?} ended with {said:?}");
        });
    }
    phases.join_all().await;
    // All of it is over, and has a name.
    let lines = world.audit().await;
    let closed = lines.iter().filter(|line| line["event"] == "closed");
    let reasons: Vec<_> = closed.map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, vec!["timeout"; 2 * PHASES.len()]);
}

/// Says all that is said before the phase, and hears the answers.
async fn begin(world: &World, phase: &Phase) -> TcpStream {
    let (_, protocol, listener, commands, _) = *phase;
    let mut tcp = world.tcp(protocol, listener, PC1).await;
    let mut heard = [0; 4096];
    if listener != Implicit {
        assert!(tcp.read(&mut heard).await.unwrap() > 0);
    }
    for command in commands {
        tcp.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        assert!(tcp.read(&mut heard).await.unwrap() > 0);
    }
    tcp
}

/// What the gateway says before it hangs up.
async fn last_words(mut stream: TcpStream, octets: &[u8], dribbles: bool) -> String {
    let (mut reading, mut writing) = stream.split();
    let mut said = Vec::new();
    let slowly = async {
        for octet in octets.iter().chain(std::iter::repeat(&0)) {
            if !dribbles || writing.write_all(&[*octet]).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::select! {
        // A reset ends it as well.
        _ = reading.read_to_end(&mut said) => {}
        () = slowly => {}
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn no_phase_after_the_login_waits_forever_for_a_silent_peer() {
    let world = impatient().await;
    world
        .sim
        .deliver(ADDRESS, &[b"Subject: x\r\n\r\n", &b"x".repeat(16 << 20)[..], b"\r\n"].concat());
    let mut idle = world.pop3().await;
    let mut in_header = world.smtp().await;
    in_header.begin_message().await;
    in_header.send_bytes(b"Subject: ").await;
    let mut in_body = world.smtp().await;
    in_body.begin_message().await;
    in_body.send_bytes(b"Subject: x\r\n\r\nhalf of it").await;
    idle.expect("-ERR <any>(timeout)").await;
    idle.rest().await;
    for mut sending in [in_header, in_body] {
        let (said, _) = sending.rest().await;
        assert!(said.is_empty(), "this could be taken for an answer: {}", said.escape_ascii());
    }
    let whole = |seen: &Seen| matches!(seen, Seen::Received { complete: true, .. });
    assert!(!world.sim.seen().iter().any(whole), "half a message was sent");
    // Who does not read what he asked for.
    let mut fetching = world.pop3().await;
    fetching.send("RETR 1").await;
    world.nobody_left().await;
    drop(fetching);
}

#[tokio::test]
async fn a_slow_peer_delays_no_other_session() {
    let world = World::start(&[]).await;
    let mut slow = Vec::new();
    for phase in PHASES.iter().cycle().take(60) {
        slow.push(begin(&world, phase).await);
    }
    let mut quick = Vec::new();
    for _ in 0..20 {
        let mut client = world.client_from(Pop3, Implicit, PC2).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN.replace("PC1", "PC2").as_str()).await;
        quick.push(client);
        quick.last_mut().unwrap().ask("QUIT", "+OK<any>").await;
    }
    assert_eq!(slow.len(), 60);
}

/// Connections that are gone before anybody can greet them: closed, reset, in the middle of a
/// handshake or a line. kimgate is a process of its own here, so that all its descriptors are its own.
#[tokio::test]
async fn connections_that_come_and_vanish_leave_nothing() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let module = client_module("main", &sim, Security::Implicit);
    let kimgate = Kimgate::start_open(&[Pop3, Smtp], &module).await.ready().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", kimgate.pid())).unwrap().count();
    let before = descriptors();
    let places = [(Pop3, Security::Implicit), (Smtp, Security::StartTls), (Pop3, Security::None)];
    for (round, (protocol, security)) in (0..300).flat_map(|round| places.map(|at| (round, at))) {
        let port = kimgate.port(protocol, security);
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let begun: &[u8] = [&b""[..], HELLO, b"CAPA"][round % 3];
        // One too many at a time is sent away, which is all the same here.
        let _ = tcp.write_all(begun).await;
        if round % 2 == 0 {
            socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (_, answer) = kimgate.get("/status").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: serde_json::Value = serde_json::from_str(body).unwrap();
        let sessions = status["sessions"].as_array().unwrap().len();
        if sessions == 0 && descriptors() <= before {
            break;
        }
        let now = descriptors();
        assert!(
            tokio::time::Instant::now() < deadline,
            "{sessions} sessions stay, {before} descriptors became {now}"
        );
        tokio::time::sleep(PACE).await;
    }
}

/// Whatever comes in place of a handshake ends that connection, in bounded time, and no other.
#[tokio::test]
async fn garbage_on_a_tls_port_is_hung_up_on() {
    let world = World::start(&[]).await;
    let mut state = 0x2026_1125_u32;
    let mut random = move || {
        // Numerical Recipes' generator: the same garbage each time.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for round in 0..200 {
        let mut garbage: Vec<u8> = (0..usize::from(random()) * 8 + 8).map(|_| random()).collect();
        // Half of it looks like a record, and some of that like a handshake message.
        if round % 2 == 0 {
            garbage[..5].copy_from_slice(&[
                0x14 + random() % 4,
                3,
                random() % 5,
                0,
                3 + random() % 200,
            ]);
        }
        if round % 4 == 0 {
            garbage[5] = 1;
        }
        let mut tcp = world.tcp(if round % 3 == 0 { Smtp } else { Pop3 }, Implicit, PC1).await;
        // It may hang up before all of it is there.
        let _ = tcp.write_all(&garbage).await;
        let _ = tcp.shutdown().await;
        let _ = within(tcp.read_to_end(&mut Vec::new())).await;
    }
    world.nobody_left().await;
    let mut client = world.pop3().await;
    client.ask("QUIT", "+OK<any>").await;
}

//! Who gets no greeting: sources that connect too fast, and workstations that no rule names.

use std::net::{IpAddr, Ipv4Addr};

use kimgate::trust::{Authority, Issued};
use kimgate::words::Protocol;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::support::dialogue::{Client, End};
use crate::support::transcript::Listener;
use crate::support::world::{PC1, PC2, World, count};

const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
/// One a second, ten at once.
const SLOW: &str = "limits.connection_rate = 1";
const PROXIED: &str = r#"listeners.pop3-plain.proxy_protocol_from = ["127.0.0.5"]"#;
const PROXIED_STARTTLS: &str = r#"listeners.pop3-starttls.proxy_protocol_from = ["127.0.0.5"]"#;
const REFUSED: &str = r#"kimgate_connections_refused_total{reason="too-many-connections"}"#;

/// What a POP3 connection hears first.
async fn hello(world: &World, from: IpAddr) -> String {
    world.client_from(Protocol::Pop3, Listener::Plain, from).await.heard().await.unwrap()
}

/// The same through the load balancer, from this address.
async fn hello_through(world: &World, from: &str) -> String {
    let mut client = through(world, Listener::Plain, from).await;
    client.heard().await.unwrap()
}

async fn through(world: &World, listener: Listener, from: &str) -> Client {
    let (family, here) = if from.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    let mut tcp = world.tcp(Protocol::Pop3, listener, BALANCER).await;
    let header = format!("PROXY {family} {from} {here} 999 995\r\n");
    tcp.write_all(header.as_bytes()).await.unwrap();
    Client::new(Box::new(tcp))
}

/// 30 of these; how many were greeted. All others were told why not.
async fn greeted(hello: impl AsyncFn(usize) -> String) -> usize {
    let mut greeted = 0;
    for at in 0..30 {
        let hello = hello(at).await;
        if hello.starts_with("+OK") {
            greeted += 1;
        } else {
            assert!(hello.starts_with("-ERR [SYS/TEMP] KIM-Gateway: "), "{hello}");
            assert!(hello.ends_with("(too-many-connections)"), "{hello}");
        }
    }
    assert!((10..30).contains(&greeted), "{greeted} were greeted");
    greeted
}

#[tokio::test]
async fn a_flood_of_connections_is_closed_at_the_door_and_is_one_line_of_the_audit() {
    let world = World::start(&[SLOW]).await;
    let inside = greeted(async |_| hello(&world, PC1).await).await;
    assert_eq!(world.metric(REFUSED), (30 - inside) as f64);
    // On a port with TLS nothing is said, and no handshake begins.
    loop {
        let tcp = world.tcp(Protocol::Smtp, Listener::Implicit, PC1).await;
        let before = world.metric(REFUSED);
        let mut client = Client::new(Box::new(tcp));
        client.send_bytes(&[0x16]).await;
        let (said, _) = client.rest().await;
        assert_eq!(said, b"");
        if world.metric(REFUSED) > before || before > (30 - inside) as f64 {
            break;
        }
    }
    assert!(hello(&world, PC2).await.starts_with("+OK"), "PC2 has its own rate");
    world.nobody_left().await;
    // The test ends before the minute does, so the second line is written when it asks for it.
    let audit = world.audit_when(|lines| count(lines, "denied") > 1).await;
    let denied: Vec<_> = audit.iter().filter(|line| line["event"] == "denied").collect();
    let [first, others] = denied[..] else { panic!("{denied:#?}") };
    for line in [first, others] {
        assert_eq!(line["rule"], "limits.connection_rate");
        assert_eq!(line["reason"], "too-many-connections");
    }
    assert_eq!(others["count"].as_f64().unwrap() + 1.0, world.metric(REFUSED));
}

#[tokio::test]
async fn behind_a_proxy_the_rate_is_that_of_the_address_in_the_header_and_of_its_64() {
    let ipv6 = r#"workstations.PC6.addresses = ["2001:db8::/32"]"#;
    let world = World::start(&[SLOW, PROXIED, ipv6]).await;
    greeted(async |_| hello_through(&world, "127.0.0.1").await).await;
    assert!(hello_through(&world, "127.0.0.2").await.starts_with("+OK"));
    assert!(hello(&world, PC2).await.starts_with("+OK"), "the same source");
    // One machine chooses the second half of its address as it likes.
    greeted(async |at| hello_through(&world, &format!("2001:db8::{at:x}:1")).await).await;
    assert!(hello_through(&world, "2001:db8:0:1::1").await.starts_with("+OK"));
}

#[tokio::test]
async fn a_loop_of_refused_logins_ends_at_the_rate_of_connections() {
    let world = World::start(&[SLOW]).await;
    for _ in 0..5 {
        assert!(hello(&world, PC1).await.starts_with("+OK"));
    }
    let mut client = world.client_from(Protocol::Pop3, Listener::Plain, PC1).await;
    client.expect("+OK <any>").await;
    let mut tried = 0;
    loop {
        client.send("USER fremd@praxis.kim.telematik").await;
        let Some(said) = client.heard().await else { break };
        assert!(said.starts_with("-ERR ") && said.contains("(account-unknown)"), "{said}");
        tried += 1;
    }
    // Each connection may try ten times, as long as its source is below the rate.
    assert!((5..10).contains(&tried), "{tried} logins");
    let closed = r#"kimgate_sessions_total{protocol="pop3",reason="too-many-connections"}"#;
    assert!(world.metric(closed) >= 1.0, "a connection ends with the refusal that is too many");
}

/// All log in at the same moment, and again after lunch.
#[tokio::test]
async fn fifty_people_on_a_terminal_server_do_not_feel_the_rate() {
    let world = World::start(&[
        r#"policy.unknown_accounts = "allow""#,
        "limits.connections_per_workstation = 200",
    ])
    .await;
    let world = std::sync::Arc::new(world);
    for _ in 0..2 {
        let mut people = JoinSet::new();
        for at in 0..50 {
            let world = world.clone();
            people.spawn(async move {
                let login = format!("p{at}@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#{at}");
                for protocol in [Protocol::Pop3, Protocol::Smtp] {
                    let mut client = world.client(protocol).await;
                    match protocol {
                        Protocol::Pop3 => {
                            client.expect("+OK <any>").await;
                            client.pop3_login(&login).await;
                        }
                        Protocol::Smtp => {
                            client.expect("220 <any>").await;
                            client.smtp_login(&login.replace("995", "465")).await;
                        }
                    }
                    client.ask("QUIT", "<any>").await;
                }
            });
        }
        people.join_all().await;
    }
    assert_eq!(world.metric(REFUSED), 0.0);
}

/// Whom a certificate could still name is greeted.
#[tokio::test]
async fn a_stranger_that_no_certificate_can_name_is_told_so_instead_of_greeted() {
    let (folder, _) = authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    let named = r#"workstations.PC7.certificates = ["pc7"]"#;
    let asking = [r#"tls.client_certificates = "optional""#, &ca];
    let all = [Listener::Plain, Listener::StartTls, Listener::Implicit];
    let but_starttls = [Listener::Plain, Listener::Implicit];
    for (lines, refused) in [
        (vec![], &all[..]),
        (asking.to_vec(), &all[..]),
        (vec![named], &all[..]),
        ([&asking[..], &[named]].concat(), &but_starttls[..]),
        (vec![r#"policy.mode = "observe""#], &[]),
        (vec![r#"policy.unknown_workstations = "allow""#], &[]),
    ] {
        let world = World::start(&lines).await;
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            for listener in all {
                let mut client = world.client_from(protocol, listener, STRANGER).await;
                let (greeting, refusal) = match protocol {
                    Protocol::Pop3 => ("+OK", "-ERR [SYS/PERM] KIM-Gateway: "),
                    Protocol::Smtp => ("220", "554 5.7.1 KIM-Gateway: "),
                };
                let said = client.heard().await.unwrap();
                if refused.contains(&listener) {
                    assert!(said.starts_with(refusal), "{said} to {listener:?} under {lines:?}");
                    assert!(said.contains("127.0.0.77") && said.ends_with("(unknown-workstation)"));
                    assert_eq!(client.end().await, End::Clean);
                } else {
                    assert!(said.starts_with(greeting), "{said} to {listener:?} under {lines:?}");
                    client.ask("QUIT", "<any>").await;
                }
            }
        }
        world.nobody_left().await;
        let denied = r#"kimgate_denied_total{action="login",reason="unknown-workstation"}"#;
        let times = refused.len() * 2;
        if times > 0 {
            assert_eq!(world.metric(denied), times as f64);
            let audit = world.audit_when(|lines| count(lines, "denied") > 0).await;
            let line = audit.iter().find(|line| line["event"] == "denied").unwrap();
            assert_eq!(line["rule"], "policy.unknown_workstations");
            assert_eq!(line["reason"], "unknown-workstation");
        }
    }
}

#[tokio::test]
async fn a_certificate_ends_the_stay_in_the_strangers_corner() {
    let (folder, authority) = authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    let world = World::start(&[
        r#"tls.client_certificates = "optional""#,
        &ca,
        r#"workstations.PC7.certificates = ["pc7"]"#,
        "limits.unknown_connections = 1",
    ])
    .await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, STRANGER).await;
        let identity = identity(&authority.client("pc7").unwrap());
        let stream = world.handshake(tcp, Some(identity)).await.unwrap();
        let mut client = Client::new(Box::new(stream));
        client.expect("+OK <any>").await;
        inside.push(client);
    }
}

#[tokio::test]
async fn behind_a_proxy_the_corner_is_for_those_whose_address_in_the_header_is_strange() {
    let (folder, _) = authority();
    let ca = format!("tls.client_ca = {:?}", folder.path().join("ca.pem"));
    let world = World::start(&[
        PROXIED_STARTTLS,
        r#"tls.client_certificates = "optional""#,
        &ca,
        r#"workstations.PC7.certificates = ["pc7"]"#,
        "limits.unknown_connections = 1",
    ])
    .await;
    let hello = async |from: &str| {
        let mut client = through(&world, Listener::StartTls, from).await;
        let said = client.heard().await.unwrap();
        (client, said)
    };
    let (_stays, said) = hello("127.0.0.77").await;
    assert!(said.starts_with("+OK"), "{said}");
    for _ in 0..3 {
        let (_, said) = hello("2001:db8::77").await;
        assert!(said.ends_with("(too-many-connections)"), "{said}");
        let (_, said) = hello("127.0.0.1").await;
        assert!(said.starts_with("+OK"), "{said}");
    }
}

/// An authority for workstations' certificates, and the folder with its `ca.pem`.
fn authority() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Praxis").unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    (folder, authority)
}

fn identity(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.private_key.expose().as_bytes()).unwrap();
    (chain.collect::<Result<_, _>>().unwrap(), key)
}

//! What is scarce or broken around kimgate: a bug in one session, a user without rights, too few file
//! descriptors, a full disk, far too many connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

#[allow(dead_code, reason = "this program uses a part of it")]
#[path = "it/support/mod.rs"]
mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kimgate::sim::{Capabilities, Sim, SimConfig};
use kimgate::trust::Authority;
use kimgate::words::{Protocol, Security};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use support::daemon::{give_to, running_as_root};
use support::dialogue::{Client, PATIENCE};
use support::kimgate::{ADDRESS, Kimgate, client_module};
use support::tools;
use support::transcript::Listener;
use support::world::{World, secure_to};

const SECRET: &str = "Befund Erika Mustermann";

/// A log that panics where a session says this: the only place where a test can put a bug into the
/// middle of a session without one being there.
struct Bug(&'static str);

impl<S: tracing::Subscriber> Layer<S> for Bug {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        assert!(!text.0.contains(self.0), "{SECRET}");
    }
}

#[derive(Default)]
struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_session_and_gives_back_what_it_held() {
    let lines =
        ["contexts.mode = \"enforce\"", "contexts.linger = \"0s\"", "mailboxes.wait = \"20s\""];
    let world = World::start(&lines).await;
    world.sim.deliver(support::dialogue::ADDRESS, format!("Subject: {SECRET}\r\n\r\n").as_bytes());
    let mut other = world.smtp().await;
    other.begin_message().await;
    other.send_bytes(b"Subject: x\r\n\r\none half, ").await;

    let mut victim = world.pop3().await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let subscriber = tracing_subscriber::registry().with(Bug("message received"));
    let bug = tracing::subscriber::set_default(subscriber);
    victim.send("RETR 1").await;
    victim.rest().await;
    drop(bug);

    other.send_bytes(b"the other half\r\n").await;
    other.ask(".", "250 <any>").await;
    other.ask("QUIT", "221 <any>").await;
    // The mailbox and the context are free, so the next session gets them without waiting.
    let mut next = world.pop3().await;
    next.ask("RETR 1", "+OK<any>").await;
    next.until_dot().await;
    next.ask("QUIT", "+OK<any>").await;

    let audit = world.audit().await;
    let reasons: Vec<&str> = audit
        .iter()
        .filter(|line| line["event"] == "closed")
        .filter_map(|line| line["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["internal-error", "ok", "ok"]);
    assert!(!serde_json::to_string(&audit).unwrap().contains("Mustermann"));
    assert_eq!(world.metric("kimgate_panics_total"), 1.0);
    let ended = "kimgate_sessions_total{protocol=\"pop3\",reason=\"internal-error\"}";
    assert_eq!(world.metric(ended), 1.0);
    assert_eq!(world.observer.status().sessions.len(), 0);
    assert_eq!(world.metric("kimgate_contexts_active"), 0.0);
    let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(left <= tasks, "{left} tasks after {tasks}");
}

/// The binary as `nobody`, in a folder where only `state` and the audit are its own.
#[tokio::test]
async fn it_runs_without_any_right_but_to_write_its_state_and_its_audit() {
    if !running_as_root() {
        tools::skip("only root can become another user");
        return;
    }
    let sim = Sim::start(SimConfig { record: true, ..SimConfig::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("kimgate");
    fs::copy(env!("CARGO_BIN_EXE_kimgate"), &binary).unwrap();
    open(folder.path());
    let more = client_module("main", &sim, Security::Implicit);
    let kimgate = Kimgate::start_by(&[Protocol::Pop3, Protocol::Smtp], &more, |folder, _| {
        for name in ["state", "audit.jsonl"] {
            let path = folder.join(name);
            if name == "state" { fs::create_dir(&path) } else { fs::write(&path, "") }.unwrap();
            give_to("65534:65534", &[path]);
        }
        let mut command = Command::new(&binary);
        command.uid(65534).gid(65534);
        command
    })
    .await
    .ready()
    .await;
    let status = fs::read_to_string(format!("/proc/{}/status", kimgate.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let mut client = pop3(&kimgate).await;
    client.ask("NOOP", "+OK<any>").await;
    client.ask("QUIT", "+OK<any>").await;
    let left = kimgate.stop().await;
    assert!(left.ok, "{}", left.log);
    assert_eq!(left.events("login").len(), 1, "{}", left.audit);
}

#[tokio::test]
async fn out_of_file_descriptors_it_waits_and_goes_on() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let more = client_module("main", &sim, Security::Implicit);
    let kimgate = Kimgate::start_by(&[Protocol::Pop3], &more, |_, binary| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]).arg(binary);
        command
    })
    .await
    .ready()
    .await;
    let mut before = pop3(&kimgate).await;
    let mut greedy = Vec::new();
    let address = (Ipv4Addr::LOCALHOST, kimgate.port(Protocol::Pop3, Security::None));
    for _ in 0..60 {
        greedy.push(TcpStream::connect(address).await.unwrap());
    }
    // It says so, and whom it has it keeps.
    until(|| kimgate.log().contains("cannot accept connections")).await;
    before.ask("NOOP", "+OK<any>").await;
    drop(greedy);
    until(|| kimgate.log().contains("accepts connections again")).await;
    before.ask("QUIT", "+OK<any>").await;
    let mut after = pop3(&kimgate).await;
    after.ask("NOOP", "+OK<any>").await;
    let (_, metrics) = kimgate.get("/metrics").await;
    let errors = metrics.lines().find_map(|line| line.strip_prefix("kimgate_accept_errors_total "));
    assert!(errors.unwrap().parse::<f64>().unwrap() >= 1.0);
    let said = kimgate.log().matches("cannot accept connections").count();
    assert!(said <= 5, "said {said} times");
}

/// A disk without room, as `ulimit -f 0` makes one, while the certificate is to be written.
#[test]
fn a_full_disk_at_the_first_start_is_named_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kimgate.toml");
    fs::write(
        &file,
        "[listeners.pop3s]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n\
         [client_modules.main]\nhost = \"127.0.0.1\"\n[admin]\naddress = \"off\"\n",
    )
    .unwrap();
    let run = |before: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} exec timeout 2 \"$0\" run --config \"$1\"")]);
        command.arg(env!("CARGO_BIN_EXE_kimgate")).arg(&file);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // A shell that ignores the signal hands that down, and writing fails as on a full disk.
    let (code, said) = run("trap '' XFSZ; ulimit -f 0;");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("state"), "{said}");
    let left = fs::read_dir(folder.path().join("state")).map_or(0, |files| files.count());
    println!("{said}{left} files left");
    // It runs until `timeout` ends it.
    let (code, said) = run("");
    assert_eq!(code, Some(124), "{said}");
}

/// `KIMGATE_HOSTILE=2000` for the figure of the closing note; few by default.
#[tokio::test]
async fn hostile_connections_take_bounded_memory_and_leave_room_for_others() {
    let wanted = std::env::var("KIMGATE_HOSTILE").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let more = format!(
        "{}[limits]\nconnections = {}\nconnections_per_workstation = 50\n\
         [policy]\nunknown_workstations = \"allow\"\n",
        client_module("main", &sim, Security::Implicit),
        wanted + 50,
    );
    let kimgate = Kimgate::start(&[Protocol::Pop3, Protocol::Smtp], &more).await.ready().await;
    let before = memory(&kimgate);
    let mut hostile = Vec::new();
    for at in 0..wanted {
        // Fifty from each address, half of them on a port with TLS.
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + at / 50);
        let protocol = if at % 2 == 0 { Protocol::Pop3 } else { Protocol::Smtp };
        let security = if at % 4 < 2 { Security::Implicit } else { Security::None };
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let port = kimgate.port(protocol, security);
        let mut tcp = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap();
        let bytes = match (security, at % 8) {
            (Security::Implicit, 0 | 1) => Vec::new(),
            // The beginning of a ClientHello of 16 KiB.
            (Security::Implicit, _) => [&b"\x16\x03\x01\x3f\xff\x01"[..], &[0; 8000]].concat(),
            // As much of a login as there may be, and no end of it.
            _ => [&b"USER "[..], &[b'x'; 16_000]].concat(),
        };
        // It may be cut off, which is a way to be bounded.
        let _ = tcp.write_all(&bytes).await;
        hostile.push(tcp);
    }
    let mut client = pop3(&kimgate).await;
    client.ask("NOOP", "+OK<any>").await;
    let during = memory(&kimgate);
    client.ask("QUIT", "+OK<any>").await;
    let (_, metrics) = kimgate.get("/metrics").await;
    let sessions: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("kimgate_sessions_active"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    println!(
        "{wanted} hostile connections, {sessions} of them open: {before} KiB before, {during} KiB with them"
    );
    // 64 KiB is what one side of a session may buffer; none of these may have more than that.
    let allowed = before + u64::from(wanted) * 64 + 8 * 1024;
    assert!(during <= allowed, "{during} KiB where {allowed} are allowed");
    drop(hostile);
}

/// Without their own limit, the first 20 strangers would have every place.
#[tokio::test]
async fn a_thousand_strangers_share_a_corner_and_a_practices_pc_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, Authority::new("Praxis").unwrap().certificate()).unwrap();
    // A certificate could still name them, so they are let in as far as there is room.
    let world = World::start(&[
        "limits.connections = 20",
        "limits.unknown_connections = 5",
        r#"tls.client_certificates = "optional""#,
        &format!("tls.client_ca = {ca:?}"),
        r#"workstations.PC7.certificates = ["pc7"]"#,
    ])
    .await;
    let mut inside = Vec::new();
    for at in 0..1000 {
        let mut client = world.client_from(Protocol::Pop3, Listener::StartTls, stranger(at)).await;
        let greeting = client.heard().await.unwrap();
        if greeting.starts_with("+OK") {
            inside.push(client);
        } else {
            assert!(greeting.contains("(too-many-connections)"), "{greeting}");
        }
    }
    assert_eq!(inside.len(), 5);
    // On a port with TLS they are closed before the handshake.
    let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, stranger(0)).await;
    assert_eq!(Client::new(Box::new(tcp)).rest().await.0, b"");
    let mut client = world.pop3().await;
    client.ask("NOOP", "+OK<any>").await;
    client.ask("QUIT", "+OK<any>").await;
    // The place of one who left is another's.
    drop(inside.pop());
    loop {
        let mut client = world.client_from(Protocol::Pop3, Listener::StartTls, stranger(0)).await;
        if client.heard().await.unwrap().starts_with("+OK") {
            break;
        }
    }
}

/// They keep their connections open as long as they can.
#[tokio::test]
async fn a_thousand_strangers_that_nothing_can_name_are_told_so_and_hold_no_place() {
    let world = World::start(&["limits.connections = 20", "limits.unknown_connections = 5"]).await;
    let mut held = Vec::new();
    for at in 0..1000 {
        let listener = if at % 50 == 0 { Listener::Implicit } else { Listener::Plain };
        let mut client = world.client_from(Protocol::Pop3, listener, stranger(at)).await;
        let said = client.heard().await.unwrap();
        assert!(said.contains("(unknown-workstation)"), "{said}");
        held.push(client);
    }
    world.nobody_left().await;
    let mut client = world.pop3().await;
    client.ask("NOOP", "+OK<any>").await;
    client.ask("QUIT", "+OK<any>").await;
}

fn stranger(at: u32) -> std::net::IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 66, 0, 0)) + at).into()
}

/// A practice's work beside each kind of stranger, in figures. `KIMGATE_BINARY` names another binary.
#[tokio::test]
#[ignore = "prints figures"]
async fn a_practice_works_beside_floods() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let hostile = Arc::new(hostile_identity(&ca));
    let sim = Sim::start(SimConfig { mailbox_in_use: None, ..SimConfig::default() }).await.unwrap();
    for attack in [
        Attack::None,
        Attack::Connections,
        Attack::Handshakes,
        Attack::Refusals,
        Attack::Strangers,
        Attack::Chains(6),
        Attack::Chains(40),
    ] {
        let asks = if matches!(attack, Attack::Chains(_)) { "optional" } else { "off" };
        let more = format!(
            "{}[tls]\nclient_certificates = {asks:?}\nclient_ca = {ca:?}\n\
             [workstations.PRACTICE]\naddresses = [\"127.0.1.0/24\"]\n\
             [workstations.PC8]\naddresses = [\"127.0.8.8\"]\ncertificates = [\"pc8\"]\n\
             [policy]\nunknown_accounts = \"allow\"\n",
            client_module("main", &sim, Security::Implicit),
        );
        let kimgate = Kimgate::start(&[Protocol::Pop3, Protocol::Smtp], &more).await.ready().await;
        let kimgate = Arc::new(kimgate);
        // They are other machines, so they must take no time from what is measured.
        let others = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(give_way)
            .build()
            .unwrap();
        let attackers = {
            let _guard = others.enter();
            attack.begin(&kimgate, &hostile)
        };
        let end = Instant::now() + Duration::from_secs(10);
        let mut practice = JoinSet::new();
        for pc in 1..=5 {
            practice.spawn(work(kimgate.clone(), Ipv4Addr::new(127, 0, 1, pc), end));
        }
        let (mut logins, mut noops) = (Vec::new(), Vec::new());
        for (login, noop) in practice.join_all().await {
            logins.extend(login);
            noops.extend(noop);
        }
        let cpu = cpu_seconds(&kimgate);
        drop(attackers);
        others.shutdown_background();
        println!(
            "{attack:?}: {} attacks; login {}; NOOP {}; {cpu:.1} s of CPU; audit {} lines",
            ATTACKS.swap(0, Ordering::Relaxed),
            quantiles(&mut logins),
            quantiles(&mut noops),
            audit_lines(&kimgate),
        );
    }
}

/// The thread gets time that nobody else wants.
fn give_way() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let id = thread.file_name().unwrap().to_owned();
    Command::new("renice").args(["-n", "19", "-p"]).arg(id).output().unwrap();
}

/// Attacks that came to an end.
static ATTACKS: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy, Debug)]
enum Attack {
    None,
    /// One source connects without TLS, as fast as it can.
    Connections,
    /// One source begins handshakes, as fast as it can.
    Handshakes,
    /// One known workstation tries an unknown account, as fast as it can.
    Refusals,
    /// 1,000 sources in no rule keep connections as long as they may.
    Strangers,
    /// So many at a time show chains that are expensive to check.
    Chains(u32),
}

impl Attack {
    fn begin(self, kimgate: &Arc<Kimgate>, hostile: &Arc<Identity>) -> JoinSet<()> {
        let mut attackers = JoinSet::new();
        let at_once = match self {
            Self::None => 0,
            Self::Connections | Self::Handshakes | Self::Refusals => 8,
            Self::Strangers => 1000,
            Self::Chains(at_once) => at_once,
        };
        for at in 0..at_once {
            let (kimgate, hostile) = (kimgate.clone(), hostile.clone());
            attackers.spawn(async move {
                loop {
                    let _ = self.once(&kimgate, &hostile, at).await;
                    ATTACKS.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        attackers
    }

    async fn once(self, kimgate: &Kimgate, hostile: &Identity, at: u32) -> std::io::Result<()> {
        let stranger = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 66, 0, 0)) + at);
        match self {
            Self::None => Ok(()),
            Self::Connections => {
                let from = Ipv4Addr::new(127, 66, 0, 0);
                let tcp = connect(kimgate, Protocol::Pop3, Security::None, from).await?;
                Client::new(Box::new(tcp)).heard().await;
                Ok(())
            }
            Self::Handshakes => {
                let from = Ipv4Addr::new(127, 66, 0, 0);
                let tcp = connect(kimgate, Protocol::Pop3, Security::Implicit, from).await?;
                secure_to(&kimgate.certificate(), "localhost", tcp, None).await?;
                Ok(())
            }
            Self::Refusals => {
                let from = Ipv4Addr::new(127, 0, 8, 8);
                let tcp = connect(kimgate, Protocol::Pop3, Security::None, from).await?;
                let mut client = Client::new(Box::new(tcp));
                client.heard().await;
                for _ in 0..9 {
                    client.send("USER x@y.de#127.0.0.1:22#M#C#W").await;
                    client.send("PASS geheim").await;
                    if client.heard().await.is_none() || client.heard().await.is_none() {
                        break;
                    }
                }
                Ok(())
            }
            Self::Strangers => {
                let security = [Security::None, Security::Implicit][at as usize % 2];
                let mut tcp = connect(kimgate, Protocol::Pop3, security, stranger).await?;
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut Vec::new()).await;
                Ok(())
            }
            Self::Chains(_) => {
                let from = Ipv4Addr::from(u32::from(stranger) + at);
                let tcp = connect(kimgate, Protocol::Pop3, Security::Implicit, from).await?;
                let (chain, key) = hostile;
                let identity = Some((chain.clone(), key.clone_key()));
                let tls = secure_to(&kimgate.certificate(), "localhost", tcp, identity).await?;
                Client::new(Box::new(tls)).heard().await;
                Ok(())
            }
        }
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The largest chain that is looked at: a leaf and three authorities of the name of the authority in
/// this file, so that every order of them is tried.
fn hostile_identity(ca: &Path) -> Identity {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Praxis");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    fs::write(ca, params.self_signed(&key()).unwrap().pem()).unwrap();
    let other = key();
    let issuer = Issuer::from_params(&params, &other);
    let leaf_key = KeyPair::generate().unwrap();
    let names = (0..1000).map(|n| format!("{n}.praxis.local")).collect::<Vec<_>>();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let above = (0..3).map(|_| params.clone().signed_by(&key(), &issuer).unwrap().into());
    let chain = std::iter::once(leaf.into()).chain(above).collect();
    (chain, PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap())
}

async fn connect(
    kimgate: &Kimgate,
    protocol: Protocol,
    security: Security,
    from: Ipv4Addr,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((from, 0).into())?;
    socket.connect((Ipv4Addr::LOCALHOST, kimgate.port(protocol, security)).into()).await
}

/// A PC that polls: it logs in, asks twenty times whether the connection is there, and leaves. How long
/// logins and questions took.
async fn work(
    kimgate: Arc<Kimgate>,
    from: Ipv4Addr,
    end: Instant,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut logins, mut noops) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        let start = Instant::now();
        let tcp = connect(&kimgate, Protocol::Pop3, Security::Implicit, from).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = secure_to(&kimgate.certificate(), "localhost", tcp, None).await.unwrap();
        let mut client = Client::new(Box::new(tls));
        client.expect("+OK <any>").await;
        client.pop3_login(&format!("{from}@x.telematik#mail.tm.kim.telematik:995#M#C#PC1")).await;
        logins.push(start.elapsed());
        for _ in 0..20 {
            let start = Instant::now();
            client.ask("NOOP", "+OK<any>").await;
            noops.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.ask("QUIT", "+OK<any>").await;
    }
    (logins, noops)
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("p50 {:?} p99 {:?} ({})", at(50), at(99), times.len())
}

fn audit_lines(kimgate: &Kimgate) -> usize {
    fs::read_to_string(kimgate.folder().join("audit.jsonl")).unwrap().lines().count()
}

/// User and system time of the process.
fn cpu_seconds(kimgate: &Kimgate) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", kimgate.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// 64 MiB without a line end: as a command, as a login, as a message.
#[tokio::test]
async fn a_line_without_an_end_takes_no_memory() {
    const OCTETS: usize = 64 << 20;
    let config = SimConfig { capabilities: without_size(), ..SimConfig::default() };
    let sim = Sim::start(config).await.unwrap();
    let protocols = [Protocol::Pop3, Protocol::Smtp];
    let more = client_module("main", &sim, Security::Implicit);
    let kimgate = Kimgate::start(&protocols, &more).await.ready().await;
    let piece = vec![b'x'; 1 << 20];
    let before = memory(&kimgate);
    for protocol in protocols {
        let address = (Ipv4Addr::LOCALHOST, kimgate.port(protocol, Security::None));
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let mut sent = 0;
        while sent < OCTETS && tcp.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        assert!(sent < OCTETS, "{protocol} has read all of it");
    }
    let mut client = smtp(&kimgate).await;
    client.begin_message_from(ADDRESS).await;
    for _ in 0..OCTETS / piece.len() {
        client.send_bytes(&piece).await;
    }
    let during = memory(&kimgate);
    client.send_bytes(b"\r\n.\r\n").await;
    let reply = client.heard().await.unwrap();
    println!("{before} KiB before, {during} KiB with 64 MiB of one line under way: {reply}");
    assert!(reply.starts_with("250"), "{reply}");
    assert!(during < before + 8 * 1024, "{before} KiB became {during} KiB");
}

fn without_size() -> Capabilities {
    Capabilities { smtp: vec!["AUTH PLAIN".to_owned()], ..Capabilities::default() }
}

/// An SMTP session through the listener without TLS.
async fn smtp(kimgate: &Kimgate) -> Client {
    let address = (Ipv4Addr::LOCALHOST, kimgate.port(Protocol::Smtp, Security::None));
    let mut client = Client::new(Box::new(TcpStream::connect(address).await.unwrap()));
    client.expect("220 <any>").await;
    client.smtp_login(&format!("{ADDRESS}#mail.tm.kim.telematik:465#M#C#PC1")).await;
    client
}

/// A POP3 session through the listener without TLS.
async fn pop3(kimgate: &Kimgate) -> Client {
    let address = (Ipv4Addr::LOCALHOST, kimgate.port(Protocol::Pop3, Security::None));
    let mut client = Client::new(Box::new(TcpStream::connect(address).await.unwrap()));
    client.expect("+OK <any>").await;
    client.pop3_login(&format!("{ADDRESS}#mail.tm.kim.telematik:995#M#C#PC1")).await;
    client
}

/// Resident memory of the process in KiB.
fn memory(kimgate: &Kimgate) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", kimgate.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

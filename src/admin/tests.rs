//! The admin address as a client meets it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Access, HeldMessages, Pages, Reloaded, Unlock, Unlocked, Workstations, serve};
use crate::observe::{
    AuditConfig, ClientModuleState, HeldList, HeldStatus, KnownNames, ListenerStatus,
    ObserveConfig, Observer, SessionFacts, Status,
};
use crate::words::{Protocol, Security};

struct NoWorkstations;

impl Workstations for NoWorkstations {
    fn knows(&self, _: IpAddr) -> bool {
        false
    }

    fn autoconfig(&self, _: IpAddr, _: &str, _: Option<&str>) -> Option<String> {
        None
    }
}

struct OneHeld;

impl HeldMessages for OneHeld {
    fn list(&self) -> HeldList {
        let one = HeldStatus { id: "0123456789ab".into(), ..HeldStatus::default() };
        HeldList { messages: vec![one], ..HeldList::default() }
    }

    fn release(&self, id: &str) -> Result<HeldStatus, String> {
        let one = self.list().messages.into_iter().find(|message| message.id == id);
        one.ok_or_else(|| "no message with this ID is held".into())
    }
}

struct World {
    address: SocketAddr,
    observer: Observer,
    reloads: Arc<AtomicUsize>,
    unlocks: Arc<Mutex<Vec<(Unlock, IpAddr)>>>,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl World {
    async fn start(allow: &str) -> Self {
        Self::at("127.0.0.1", allow).await
    }

    async fn at(ip: &str, allow: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let audit = AuditConfig { off: true, ..AuditConfig::default() };
        let names = KnownNames { client_modules: vec!["main".into()], ..KnownNames::default() };
        let observer = Observer::new(ObserveConfig { audit, names }).unwrap();
        let shutdown = CancellationToken::new();
        let reloads = Arc::new(AtomicUsize::new(0));
        let count = reloads.clone();
        let reload = Arc::new(move || {
            let accepted = count.fetch_add(1, Ordering::Relaxed) == 0;
            Reloaded { accepted, lines: vec!["x".into()] }
        });
        let hosts = vec!["kim.praxis.local".to_owned()];
        let unlocks = Arc::new(Mutex::new(Vec::new()));
        let asked = unlocks.clone();
        let unlock = Arc::new(move |these: &Unlock, peer| {
            asked.lock().unwrap().push((these.clone(), peer));
            Unlocked { ended: 2 }
        });
        let access = Access { allow: vec![allow.parse().unwrap()], hosts };
        let access = Arc::new(ArcSwap::from_pointee(access));
        let workstations = Arc::new(NoWorkstations);
        let held = Arc::new(OneHeld);
        let observer_of_pages = observer.clone();
        let pages =
            Pages { observer: observer_of_pages, access, workstations, reload, unlock, held };
        let server = tokio::spawn(serve(listener, pages, shutdown.clone()));
        Self { address, observer, reloads, unlocks, shutdown, server }
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)).await
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn every_path_answers_in_its_type() {
    let world = World::start("127.0.0.0/8").await;
    let table = [
        ("/", "text/html", "<!doctype html>"),
        ("/metrics", "text/plain; version=0.0.4", "# HELP "),
        ("/status", "application/json", "{\"version\""),
        ("/live", "text/plain", "live"),
    ];
    for (path, kind, start) in table {
        let answer = world.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
        assert!(body(&answer).starts_with(start), "{path}: {answer}");
    }
    assert!(world.get("/nothing").await.starts_with("HTTP/1.1 404 "));
    let changed = world.ask("POST /status HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(changed.starts_with("HTTP/1.1 405 "), "{changed}");
}

#[tokio::test]
async fn ready_says_what_is_missing_until_nothing_is() {
    let world = World::start("127.0.0.1/32").await;
    let answer = world.get("/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("listeners:"), "{answer}");
    let (name, protocol, security) = ("pop3s".into(), Protocol::Pop3, Security::Implicit);
    let listener = ListenerStatus { name, protocol, address: world.address, security };
    world.observer.listeners(vec![listener]);
    world.observer.ready(true);
    let answer = world.get("/ready").await;
    assert!(answer.contains("POP3") && !answer.contains("listeners:"), "{answer}");
    let up = ClientModuleState { up: true, ..ClientModuleState::default() };
    world.observer.client_module_state("main", Protocol::Pop3, up);
    assert!(world.get("/ready").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_status_shows_live_sessions() {
    let world = World::start("127.0.0.1/32").await;
    let facts = SessionFacts::new(Protocol::Smtp, "smtps".into(), world.address);
    let _live = world.observer.track(&facts);
    let status: Status = serde_json::from_str(body(&world.get("/status").await)).unwrap();
    assert_eq!(status.sessions[0].id, facts.id.to_string());
}

#[tokio::test]
async fn who_is_not_allowed_sees_nothing() {
    let world = World::start("10.0.0.0/8").await;
    for path in ["/", "/metrics", "/status", "/live", "/ready"] {
        let answer = world.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        assert!(!answer.contains("kimgate_"), "{path}: {answer}");
    }
}

/// A page on evil.example, whose name was made to resolve to the admin address; the address is not
/// a loopback address. A reverse proxy that keeps `Host` learns what to write.
#[tokio::test]
async fn a_rebound_name_reads_no_page_at_any_address() {
    for ip in ["127.0.0.1", "0.0.0.0"] {
        let world = World::at(ip, "127.0.0.1/32").await;
        for path in ["/", "/status", "/metrics", "/live", "/ready"] {
            let ask = async |host: &str| {
                world.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
            };
            let answer = ask("evil.example:9465").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{ip}{path}: {answer}");
            assert!(body(&answer).contains("admin.hosts"), "{ip}{path}: {answer}");
            for own in ["kim.praxis.local:9465", "127.0.0.1", "localhost:9465", "[::1]:9465"] {
                let answer = ask(own).await;
                assert!(!answer.starts_with("HTTP/1.1 403 "), "{ip}{path} {own}: {answer}");
            }
        }
        let post = "POST /reload HTTP/1.1\r\nHost: evil.example\r\nkimgate-command: reload\r\n\r\n";
        assert!(world.ask(post).await.starts_with("HTTP/1.1 403 "), "{ip}");
        assert_eq!(world.reloads.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn a_message_is_released_by_the_command_and_not_by_a_page_in_a_browser() {
    let world = World::start("127.0.0.1/32").await;
    let post = async |headers: &str, id: &str| {
        let (host, length) = (world.address, id.len());
        let head = format!("POST /held/release HTTP/1.1\r\nHost: {host}\r\n");
        world.ask(&format!("{head}Content-Length: {length}\r\n{headers}\r\n{id}")).await
    };
    let (command, id) = ("kimgate-command: held release\r\n", "0123456789ab");
    for (headers, id, code) in [
        ("", id, 403),
        ("kimgate-command: reload\r\n", id, 403),
        (&format!("{command}Origin: null\r\n"), id, 403),
        (&format!("{command}Sec-Fetch-Site: same-origin\r\n"), id, 403),
        (command, "", 422),
        (command, "ba9876543210", 422),
        (command, id, 200),
    ] {
        let answer = post(headers, id).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{headers}{id}: {answer}");
    }
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
    let list = world.ask(&get("/held")).await;
    assert!(list.starts_with("HTTP/1.1 200 ") && list.contains(id), "{list}");
    assert!(world.ask(&get("/held/release")).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn a_reload_is_for_the_command_and_not_for_a_page_in_a_browser() {
    let world = World::start("127.0.0.1/32").await;
    let ask = async |method: &str, headers: &str| {
        let host = world.address;
        let request = format!("{method} /reload HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        world.ask(&request).await
    };
    let command = "kimgate-command: reload\r\n";
    for (method, headers, code) in [
        ("GET", command.to_owned(), 405),
        ("POST", String::new(), 403),
        ("POST", "kimgate-command: status\r\n".into(), 403),
        ("POST", format!("{command}Origin: http://evil.example\r\n"), 403),
        ("POST", format!("{command}Origin: null\r\n"), 403),
        ("POST", format!("{command}Sec-Fetch-Site: same-origin\r\n"), 403),
        ("OPTIONS", "Access-Control-Request-Headers: kimgate-command\r\n".into(), 405),
    ] {
        let answer = ask(method, &headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{headers}: {answer}");
        assert!(!answer.to_lowercase().contains("access-control-allow"), "{answer}");
    }
    assert_eq!(world.reloads.load(Ordering::Relaxed), 0);
    let answer = ask("POST", command).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(body(&answer), "{\"accepted\":true,\"lines\":[\"x\"]}");
    assert!(ask("POST", command).await.starts_with("HTTP/1.1 422 "));
    assert_eq!(world.reloads.load(Ordering::Relaxed), 2);
    let stranger = World::start("10.0.0.0/8").await;
    let request = format!("POST /reload HTTP/1.1\r\nHost: localhost\r\n{command}\r\n");
    assert!(stranger.ask(&request).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(stranger.reloads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn pauses_are_ended_by_the_command_and_by_nothing_else() {
    let world = World::start("127.0.0.1/32").await;
    let ask = async |world: &World, headers: &str, body: &str| {
        let (host, length) = (world.address, body.len());
        let request = format!(
            "POST /unlock HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        world.ask(&request).await
    };
    let command = "kimgate-command: unlock\r\n";
    let long = format!("{{\"account\":\"{}\"}}", "x".repeat(513));
    let endless = format!("{{\"account\":\"{}\"}}", "x".repeat(5000));
    for (headers, body, code) in [
        ("", "{}", 403),
        ("kimgate-command: reload\r\n", "{}", 403),
        ("kimgate-command: unlock\r\nOrigin: http://evil.example\r\n", "{}", 403),
        ("kimgate-command: unlock\r\nSec-Fetch-Site: same-origin\r\n", "{}", 403),
        (command, "", 400),
        (command, "[]", 400),
        (command, "{\"acount\":\"a@b.de\"}", 400),
        (command, "{\"account\":\"\"}", 400),
        (command, "{\"account\":7}", 400),
        (command, &long, 400),
        (command, &endless, 413),
    ] {
        let answer = ask(&world, headers, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{headers}{body}: {answer}");
    }
    let get = format!("GET /unlock HTTP/1.1\r\nHost: {}\r\n{command}\r\n", world.address);
    assert!(world.ask(&get).await.starts_with("HTTP/1.1 405 "));
    let rebound = format!("POST /unlock HTTP/1.1\r\nHost: evil.example\r\n{command}\r\n");
    assert!(world.ask(&rebound).await.starts_with("HTTP/1.1 403 "));
    assert!(world.unlocks.lock().unwrap().is_empty());
    let answer = ask(&world, command, "{\"account\":\"a@b.de\",\"workstation\":\"PC1\"}").await;
    assert_eq!(body(&answer), "{\"ended\":2}", "{answer}");
    assert_eq!(body(&ask(&world, command, "{}").await), "{\"ended\":2}");
    let named = Unlock { account: Some("a@b.de".into()), workstation: Some("PC1".into()) };
    let peer = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(*world.unlocks.lock().unwrap(), [(named, peer), (Unlock::default(), peer)]);
    let stranger = World::start("10.0.0.0/8").await;
    assert!(ask(&stranger, command, "{}").await.starts_with("HTTP/1.1 403 "));
    assert!(stranger.unlocks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nonsense_and_idlers_do_not_hold_anybody_up() {
    let world = World::start("127.0.0.1/32").await;
    let mut idlers = Vec::new();
    for _ in 0..20 {
        idlers.push(TcpStream::connect(world.address).await.unwrap());
    }
    assert!(world.ask("\r\n\0 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert!(world.get("/live").await.starts_with("HTTP/1.1 200 "));
    // More than there are places for: the rest is closed at once, and the listener lives on.
    for _ in 0..60 {
        idlers.push(TcpStream::connect(world.address).await.unwrap());
    }
    drop(idlers);
    let mut answered = false;
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let mut answer = String::new();
        let _ = stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let _ = stream.read_to_string(&mut answer).await;
        answered = answer.starts_with("HTTP/1.1 200 ");
        if answered {
            break;
        }
    }
    assert!(answered);
}

#[tokio::test]
async fn shutdown_ends_it() {
    let world = World::start("127.0.0.1/32").await;
    let _idler = TcpStream::connect(world.address).await.unwrap();
    world.get("/live").await;
    world.shutdown.cancel();
    world.server.await.unwrap().unwrap();
    assert!(TcpStream::connect(world.address).await.is_err());
}

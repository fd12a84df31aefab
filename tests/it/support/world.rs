//! A practice in one process: the real gateway, started from a TOML file as `kimgate run` does,
//! before a simulated client module that remembers what it saw.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kimgate::app::{App, Reloader};
use kimgate::config::{Finding, load};
use kimgate::observe::Observer;
use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Fault, Seen, Sim, SimConfig};
use kimgate::words::Protocol;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::dialogue::{Client, PASSWORD, PATIENCE, within};
use super::facts::facts;
use super::player::{self, Stream};
use super::practice::{configured, over};
use super::transcript::{Listener, Pattern};

/// Its login at PC1.
pub(crate) const LOGIN: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC1";
/// The workstation PC1, see `tests/transcripts/practice.toml`.
pub(crate) const PC1: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The workstation PC2.
pub(crate) const PC2: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Between two looks at something that does not announce its changes.
const LOOK: Duration = Duration::from_millis(5);

/// The gateway that runs, and the client module behind it.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) observer: Observer,
    /// Of the configuration, and of what the gateway writes.
    pub(crate) folder: TempDir,
    pub(crate) admin: SocketAddr,
    addresses: std::collections::BTreeMap<String, SocketAddr>,
    reloader: Reloader,
    certificate: PathBuf,
    own_lines: Vec<String>,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
    /// What the gateway's own questions to the client module left in its memory.
    asked: usize,
    connections: AtomicUsize,
}

impl World {
    /// A practice with these lines of TOML over `tests/transcripts/practice.toml`.
    pub(crate) async fn start(lines: &[&str]) -> Self {
        Self::with(lines, |_| {}).await
    }

    /// The same with another client module.
    pub(crate) async fn with(lines: &[&str], change: impl FnOnce(&mut SimConfig)) -> Self {
        Self::tuned(lines, change, |_| {}).await
    }

    /// The same with values that the file must not have, such as very short patience.
    pub(crate) async fn tuned(
        lines: &[&str],
        change: impl FnOnce(&mut SimConfig),
        tune: impl FnOnce(&mut kimgate::config::Config),
    ) -> Self {
        let mut config = SimConfig {
            record: true,
            accounts: Accounts::AnyLogin { password: Some(Secret::new(PASSWORD.to_owned())) },
            ..SimConfig::default()
        };
        change(&mut config);
        let sim = Sim::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let own_lines = own_lines(&sim);
        let file = folder.path().join("kimgate.toml");
        std::fs::write(&file, laid_over(&own_lines, lines)).unwrap();
        let loaded = load(&file, std::iter::empty()).unwrap_or_else(|all| panic!("{}", said(&all)));
        let mut config = loaded.config;
        tune(&mut config);
        let app = App::bind(config).await.unwrap();
        let mut world = Self {
            observer: app.observer().clone(),
            admin: app.admin_address().unwrap(),
            addresses: app.gateway().addresses().clone(),
            reloader: app.reloader(),
            certificate: app.gateway().certificate_file().unwrap(),
            shutdown: CancellationToken::new(),
            serving: None,
            asked: 0,
            connections: AtomicUsize::new(0),
            sim,
            folder,
            own_lines,
        };
        world.serving = Some(tokio::spawn(app.serve(world.shutdown.clone())));
        // The gateway asks for capabilities over both protocols, and only then knows what to offer.
        let asked = world.sim.wait_for(|seen| closed(seen) >= 2 && closed(seen) == opened(seen));
        assert!(asked.await, "the gateway has not asked its client module: {:?}", world.sim.seen());
        world.asked = world.sim.seen().len();
        world
    }

    /// From now on these go wrong at the client module.
    pub(crate) fn faults(&self, names: &[impl AsRef<str>]) {
        let fault = |name: &str| name.parse::<Fault>().unwrap_or_else(|e| panic!("{name}: {e}"));
        let faults: Vec<Fault> = names.iter().map(|name| fault(name.as_ref())).collect();
        self.sim.set_faults(faults);
    }

    /// Where this listener is.
    pub(crate) fn address(&self, protocol: Protocol, listener: Listener) -> SocketAddr {
        self.addresses[&name(protocol, listener)]
    }

    /// A connection from PC1 to the listener with TLS from the first byte.
    pub(crate) async fn client(&self, protocol: Protocol) -> Client {
        self.client_from(protocol, Listener::Implicit, PC1).await
    }

    /// A connection from anywhere to any listener.
    pub(crate) async fn client_from(
        &self,
        protocol: Protocol,
        listener: Listener,
        from: IpAddr,
    ) -> Client {
        let tcp = self.tcp(protocol, listener, from).await;
        let stream: Box<dyn Stream> = match listener {
            Listener::Implicit => self.secure(Box::new(tcp)).await,
            Listener::StartTls | Listener::Plain => Box::new(tcp),
        };
        Client::new(stream)
    }

    /// A connection without anything on it.
    pub(crate) async fn tcp(
        &self,
        protocol: Protocol,
        listener: Listener,
        from: IpAddr,
    ) -> TcpStream {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let tcp = socket.connect(self.address(protocol, listener)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// A handshake in which the client trusts what the gateway made and nothing else.
    pub(crate) async fn secure(&self, stream: Box<dyn Stream>) -> Box<dyn Stream> {
        Box::new(self.handshake(stream, None).await.unwrap())
    }

    /// A handshake, with a client certificate if there is one.
    pub(crate) async fn handshake<S: Stream>(
        &self,
        stream: S,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
        secure_to(&self.certificate, "127.0.0.1", stream, identity).await
    }

    /// A POP3 session from PC1 that is logged in.
    pub(crate) async fn pop3(&self) -> Client {
        let mut client = self.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.pop3_login(LOGIN).await;
        client
    }

    /// An SMTP session from PC1 that is logged in.
    pub(crate) async fn smtp(&self) -> Client {
        let mut client = self.client(Protocol::Smtp).await;
        client.expect("220 <any>").await;
        client.smtp_login(LOGIN).await;
        client
    }

    /// Puts these lines in force, in place of those that the world was started with.
    pub(crate) fn reload(&self, lines: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let file = self.folder.path().join("kimgate.toml");
        std::fs::write(file, laid_over(&self.own_lines, lines)).unwrap();
        self.reloader.reload()
    }

    /// Puts a whole configuration in force, but for what the world itself has to say.
    pub(crate) fn put_in_force(&self, toml: &str) -> Result<(), Vec<String>> {
        std::fs::write(self.file(), [&self.own_lines.join("\n"), toml].join("\n")).unwrap();
        self.reloader.reload().map(drop)
    }

    /// Where the configuration stands.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("kimgate.toml")
    }

    /// Puts in force what was changed in the file.
    pub(crate) fn reload_file(&self) -> Result<(), Vec<String>> {
        self.reloader.reload().map(drop)
    }

    /// Ends every session now, as a second SIGTERM does.
    pub(crate) fn kill(&self) {
        self.reloader.kill();
    }

    /// Waits until so many sessions wait for a context or a mailbox.
    pub(crate) async fn waiting(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let waiting = || {
            let sessions = self.observer.status().sessions;
            sessions.iter().filter(|session| session.phase == "waiting").count()
        };
        while waiting() < count {
            assert!(tokio::time::Instant::now() < deadline, "only {} sessions wait", waiting());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// From now on changed files are noticed, as by `kimgate run`.
    pub(crate) fn watch(&self) {
        tokio::spawn(kimgate::app::watch::follow(self.reloader.clone()));
    }

    /// Writes more lines over the configuration file, as an editor does, without a signal to kimgate.
    pub(crate) fn change(&self, lines: &[String]) {
        let file = self.folder.path().join("kimgate.toml");
        let text = over(&std::fs::read_to_string(&file).unwrap(), lines).unwrap();
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }

    /// Waits until the configuration was read again so often, `accepted` or `rejected`.
    pub(crate) async fn reloads(&self, result: &str, times: f64) {
        let series = format!("kimgate_config_reloads_total{{result=\"{result}\"}}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.metric(&series) < times {
            assert!(tokio::time::Instant::now() < deadline, "not {result} {times} times");
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(self.metric(&series), times, "{result}");
    }

    /// Tells the gateway to stop, as SIGTERM does.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the gateway has stopped.
    pub(crate) async fn stopped(&mut self) {
        let serving = self.serving.take().unwrap();
        within(serving).await.unwrap();
    }

    /// The value of a series as `/metrics` names it, with its labels in their order.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.observer.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// Waits until no session is left.
    pub(crate) async fn nobody_left(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.observer.status().sessions.is_empty() {
            let left = self.observer.status().sessions;
            assert!(tokio::time::Instant::now() < deadline, "{} sessions stay", left.len());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The audit's lines, once every connection that was made here is over.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        let made = self.connections.load(Ordering::Relaxed);
        let all_over = |lines: &Vec<Value>| count(lines, "closed") >= made;
        self.audit_when(all_over).await
    }

    /// The audit's lines, once they are like this.
    pub(crate) async fn audit_when(&self, enough: impl Fn(&Vec<Value>) -> bool) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.observer.flush();
            let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
            let lines: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if enough(&lines) || tokio::time::Instant::now() > deadline {
                return lines;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the client module saw of the sessions, once they are over.
    pub(crate) async fn upstream(&self) -> Vec<String> {
        self.sim.wait_for(|seen| closed(seen) == opened(seen)).await;
        self.upstream_now()
    }

    /// What it saw so far.
    pub(crate) fn upstream_now(&self) -> Vec<String> {
        facts(&self.sim.seen()[self.asked..])
    }

    /// Waits until the client module saw this.
    pub(crate) async fn upstream_saw(&self, pattern: &str) {
        let asked = self.asked;
        let wanted = Pattern::new(pattern).unwrap();
        let seen = |seen: &[Seen]| {
            facts(&seen[asked..]).iter().any(|fact| wanted.matches(fact.as_bytes()))
        };
        assert!(self.sim.wait_for(seen).await, "no {pattern}: {:#?}", self.upstream_now());
    }

    /// Waits until a session is in this phase of `/status`.
    pub(crate) async fn phase(&self, phase: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.observer.status().sessions.iter().any(|session| session.phase == phase) {
            assert!(tokio::time::Instant::now() < deadline, "no session is {phase}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the gateway has noticed that it is to stop.
    pub(crate) async fn not_ready(&self) {
        while self.observer.readiness().ready {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What a web browser gets from the admin address: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_from(&self.admin.to_string(), path).await
    }

    /// The same by this name.
    pub(crate) async fn get_from(&self, host: &str, path: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        within(tcp.read_to_string(&mut response)).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The world as a transcript of this protocol sees it.
    pub(crate) fn speaking(&self, protocol: Protocol) -> Speaking<'_> {
        Speaking { world: self, protocol }
    }
}

/// A handshake with a server of this name, in which its certificate and nothing else is trusted.
pub(crate) async fn secure_to<S: Stream>(
    certificate: &Path,
    name: &'static str,
    stream: S,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(certificate).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A world for a player of one protocol.
pub(crate) struct Speaking<'a> {
    world: &'a World,
    protocol: Protocol,
}

impl player::World for Speaking<'_> {
    async fn connect(&self, listener: Listener, from: IpAddr) -> Box<dyn Stream> {
        self.world.client_from(self.protocol, listener, from).await.into_stream()
    }

    async fn start_tls(&self, stream: Box<dyn Stream>) -> Box<dyn Stream> {
        self.world.secure(stream).await
    }

    async fn audit(&self) -> Vec<Value> {
        self.world.audit().await
    }

    async fn upstream(&self) -> Vec<String> {
        self.world.upstream().await
    }
}

/// How many audit lines are of this event.
pub(crate) fn count(lines: &[Value], event: &str) -> usize {
    lines.iter().filter(|line| line["event"] == event).count()
}

/// The one audit line of this event.
pub(crate) fn only<'a>(lines: &'a [Value], event: &str) -> &'a Value {
    let mut of_event = lines.iter().filter(|line| line["event"] == event);
    let line = of_event.next().unwrap_or_else(|| panic!("no {event} in {lines:#?}"));
    assert!(of_event.next().is_none(), "more than one {event} in {lines:#?}");
    line
}

/// Three listeners for each protocol, and the client module, whose certificate is pinned.
fn own_lines(sim: &Sim) -> Vec<String> {
    let mut lines = vec![
        r#"client_modules.main.host = "127.0.0.1""#.to_owned(),
        format!("client_modules.main.pop3_port = {}", sim.pop3_addr().port()),
        format!("client_modules.main.smtp_port = {}", sim.smtp_addr().port()),
        format!("client_modules.main.trust.pins = [\"{}\"]", sim.fingerprint()),
        r#"audit.file = "audit.jsonl""#.to_owned(),
        r#"admin.address = "127.0.0.1:0""#.to_owned(),
    ];
    for protocol in [Protocol::Pop3, Protocol::Smtp] {
        for listener in [Listener::Implicit, Listener::StartTls, Listener::Plain] {
            let table = format!("listeners.{}", name(protocol, listener));
            let tls = match listener {
                Listener::Implicit => "implicit",
                Listener::StartTls => "starttls",
                Listener::Plain => "none",
            };
            lines.push(format!("{table}.protocol = \"{protocol}\""));
            lines.push(format!("{table}.address = \"127.0.0.1:0\""));
            lines.push(format!("{table}.tls = \"{tls}\""));
        }
    }
    lines
}

/// A listener's name in the configuration.
fn name(protocol: Protocol, listener: Listener) -> String {
    let kind = match listener {
        Listener::Implicit => "implicit",
        Listener::StartTls => "starttls",
        Listener::Plain => "plain",
    };
    format!("{protocol}-{kind}")
}

fn laid_over(own: &[String], lines: &[&str]) -> String {
    let all: Vec<String> =
        own.iter().cloned().chain(lines.iter().map(|line| (*line).to_owned())).collect();
    configured(&all).unwrap()
}

fn said(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn opened(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Opened { .. })).count()
}

fn closed(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Closed { .. })).count()
}

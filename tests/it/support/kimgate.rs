//! kimgate as a practice runs it: the binary, a configuration file, a folder for what it keeps.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kimgate::sim::Sim;
use kimgate::words::{Protocol, Security};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clients::{Endpoint, Tls};
use super::daemon::Daemon;

/// The KIM address that every configuration here knows.
pub(crate) const ADDRESS: &str = "prx@praxis.tm.kim.telematik";

/// Longer than kimgate takes to find its client module, and shorter than patience.
const READY: Duration = Duration::from_secs(20);

/// Between two looks whether it has.
const PACE: Duration = Duration::from_millis(10);

/// A running `kimgate run`.
pub(crate) struct Kimgate {
    daemon: Daemon,
    protocols: Vec<Protocol>,
}

/// What is left when it has ended.
pub(crate) struct Left {
    /// Whether it ended with exit code 0.
    pub(crate) ok: bool,
    /// Standard output and standard error: the log, where the audit has its file.
    pub(crate) log: String,
    /// The audit file as it is.
    pub(crate) audit: String,
}

impl Kimgate {
    /// Starts it with one listener for each protocol and security, this machine as workstation PC1,
    /// and [`ADDRESS`] as account; `more` brings the client modules and whatever else a test wants.
    pub(crate) async fn start(protocols: &[Protocol], more: &str) -> Kimgate {
        Self::start_by(protocols, more, |_, binary| Command::new(binary)).await
    }

    /// The same where the test looks into the process, as at its descriptors in `/proc`. A process
    /// without core dumps shows them to root only.
    pub(crate) async fn start_open(protocols: &[Protocol], more: &str) -> Kimgate {
        Self::start_by(protocols, more, |_, binary| {
            let mut command = Command::new(binary);
            command.env("KIMGATE_GATEWAY__SANDBOX", "false");
            command
        })
        .await
    }

    /// The same by a command that `by` makes of its folder and the binary; the arguments follow.
    pub(crate) async fn start_by(
        protocols: &[Protocol],
        more: &str,
        by: impl Fn(&Path, &Path) -> Command,
    ) -> Kimgate {
        let count = protocols.len() * SECURITIES.len() + 1;
        let daemon = Daemon::start(count, async |folder, ports| {
            let file = folder.join("kimgate.toml");
            fs::write(&file, configuration(protocols, ports, more)).unwrap();
            let mut command = by(folder, &binary());
            command.args(["run", "--config"]).arg(file);
            command
        })
        .await;
        Kimgate { daemon, protocols: protocols.to_vec() }
    }

    /// Waits until `/ready` says that mail can go through.
    pub(crate) async fn ready(self) -> Kimgate {
        let start = Instant::now();
        let mut pace = tokio::time::interval(PACE);
        loop {
            let (status, said) = self.get("/ready").await;
            if status == 200 {
                return self;
            }
            assert!(start.elapsed() < READY, "{said}{}", self.log());
            pace.tick().await;
        }
    }

    /// Where mail programs connect. They trust the certificate that kimgate made for itself.
    pub(crate) fn endpoint(&self, protocol: Protocol, tls: Tls) -> Endpoint {
        Endpoint {
            host: "localhost".into(),
            port: self.port(protocol, tls.security()),
            tls,
            ca: self.certificate(),
        }
    }

    /// The certificate that it made for itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("state/gateway-self-signed.pem")
    }

    /// The port of a listener.
    pub(crate) fn port(&self, protocol: Protocol, security: Security) -> u16 {
        let listeners = listeners(&self.protocols);
        let at = listeners.iter().position(|known| *known == (protocol, security)).unwrap();
        self.daemon.ports[at]
    }

    /// A page of the admin address: status code, and head and body together.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let port = *self.daemon.ports.last().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or(0), answer)
    }

    /// Its admin address.
    pub(crate) fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.daemon.ports.last().unwrap())
    }

    /// The configuration file, `state` and `audit.jsonl` are in here.
    pub(crate) fn folder(&self) -> &Path {
        self.daemon.folder()
    }

    /// Its configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder().join("kimgate.toml")
    }

    /// Puts this configuration file in the place of its own, has it read, and waits until it was,
    /// with whatever result.
    pub(crate) async fn reload(&self, text: &str) {
        let before = self.reloads().await;
        fs::write(self.configuration(), text).unwrap();
        self.daemon.signal("HUP");
        let start = Instant::now();
        let mut pace = tokio::time::interval(PACE);
        while self.reloads().await == before {
            assert!(start.elapsed() < READY, "not reloaded:\n{}", self.log());
            pace.tick().await;
        }
    }

    async fn reloads(&self) -> f64 {
        let (_, metrics) = self.get("/metrics").await;
        let counts =
            metrics.lines().filter(|line| line.starts_with("kimgate_config_reloads_total"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends it as a loss of power would: nothing of it runs any more when this returns.
    pub(crate) async fn kill(mut self) {
        self.daemon.signal("KILL");
        self.daemon.ended().await;
    }

    /// Asks it to stop, as systemd does, and waits until it has.
    pub(crate) async fn stop(mut self) -> Left {
        self.daemon.signal("TERM");
        let ok = self.daemon.ended().await;
        let audit = fs::read_to_string(self.folder().join("audit.jsonl")).unwrap_or_default();
        Left { ok, log: self.log(), audit }
    }
}

impl Left {
    /// The audit lines of one kind.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == name).collect()
    }
}

/// What cargo built for this test; `KIMGATE_BINARY` names another one, such as the release build.
fn binary() -> PathBuf {
    let named = std::env::var_os("KIMGATE_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_kimgate").into())
}

/// A client module in the configuration, trusted by its pin.
pub(crate) fn client_module(name: &str, sim: &Sim, security: Security) -> String {
    let trust = format!("pins = [\"{}\"]", sim.fingerprint());
    module_at(name, sim.pop3_addr().port(), sim.smtp_addr().port(), security, &trust)
}

/// A client module on this machine in the configuration.
pub(crate) fn module_at(
    name: &str,
    pop3_port: u16,
    smtp_port: u16,
    security: Security,
    trust: &str,
) -> String {
    let tls = word(security);
    format!(
        "[client_modules.{name}]\nhost = \"127.0.0.1\"\ntls = \"{tls}\"\n\
         pop3_port = {pop3_port}\nsmtp_port = {smtp_port}\n\
         [client_modules.{name}.trust]\n{trust}\n"
    )
}

const SECURITIES: [Security; 3] = [Security::Implicit, Security::StartTls, Security::None];

/// As in `tls = "..."`.
fn word(security: Security) -> &'static str {
    match security {
        Security::Implicit => "implicit",
        Security::StartTls => "starttls",
        Security::None => "none",
    }
}

/// In the order of their ports.
fn listeners(protocols: &[Protocol]) -> Vec<(Protocol, Security)> {
    let each = |protocol: &Protocol| SECURITIES.map(|security| (*protocol, security));
    protocols.iter().flat_map(each).collect()
}

fn configuration(protocols: &[Protocol], ports: &[u16], more: &str) -> String {
    let mut text = String::from("[gateway]\nname = \"localhost\"\nstate_dir = \"state\"\n");
    for ((protocol, security), port) in listeners(protocols).into_iter().zip(ports) {
        let (protocol, tls) = (protocol.as_str(), word(security));
        text.push_str(&format!(
            "[listeners.{protocol}-{tls}]\nprotocol = \"{protocol}\"\ntls = \"{tls}\"\n\
             address = \"127.0.0.1:{port}\"\n"
        ));
    }
    text.push_str(&format!(
        "[admin]\naddress = \"127.0.0.1:{}\"\n\
         [audit]\nfile = \"audit.jsonl\"\n\
         [workstations.PC1]\naddresses = [\"127.0.0.1\"]\n\
         [accounts.\"{ADDRESS}\"]\n",
        ports.last().unwrap()
    ));
    text + more
}

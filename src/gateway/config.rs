//! What the gateway needs to know; `config` fills it from what the operator wrote.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::trust::{ClientModuleTrust, ListenerTlsConfig};
use crate::words::{Language, Protocol, Security};

/// Everything but the permissions, which are `policy`'s.
#[derive(Clone, Debug)]
pub struct Config {
    /// In greetings and in EHLO, both ways.
    pub name: String,
    /// Of the texts that a mail client's user may see.
    pub language: Language,
    /// Addresses that the internet reaches may be opened.
    pub public: bool,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// What survives a restart; here the certificates that client modules are known by.
    pub state_dir: PathBuf,
    /// What workstations see; `None` where every listener is plain.
    pub tls: Option<ListenerTlsConfig>,
    /// By name; at least one.
    pub client_modules: BTreeMap<String, ClientModuleConfig>,
    /// Bounds on connections, lines and time.
    pub limits: Limits,
    /// Card contexts at two workstations at once.
    pub contexts: Contexts,
    /// How long a second POP3 session for one account waits for the first to end; zero: it does not.
    pub mailbox_wait: Duration,
    /// Protection against lost mail and locked accounts.
    pub protection: Protection,
    /// X-KIM-Middleware is added to sent messages.
    pub middleware_header: bool,
    /// A delivery receipt is asked for where the sender asked for none and the client module offers DSN.
    pub delivery_receipts: bool,
    /// A read receipt is asked for where the sender asked for none.
    pub read_receipts: bool,
}

/// One address on which workstations connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As in `[listeners.NAME]`.
    pub name: Arc<str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it binds; port 0 takes a free one.
    pub address: SocketAddr,
    /// `None` on loopback only.
    pub security: Security,
    /// Networks whose connections start with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
}

/// One KIM client module.
#[derive(Clone, Debug)]
pub struct ClientModuleConfig {
    /// Name or address. A name is resolved each minute, and anew where none of its addresses answers.
    pub host: String,
    /// Its POP3 port.
    pub pop3_port: u16,
    /// Its SMTP port.
    pub smtp_port: u16,
    /// `None` on loopback only.
    pub security: Security,
    /// How its certificate is judged.
    pub trust: ClientModuleTrust,
    /// Dialled when this one does not answer, before any login is sent.
    pub standby: Option<String>,
}

impl ClientModuleConfig {
    /// The port for this protocol.
    pub fn port(&self, protocol: Protocol) -> u16 {
        match protocol {
            Protocol::Pop3 => self.pop3_port,
            Protocol::Smtp => self.smtp_port,
        }
    }

    /// Where it is dialled for this protocol, as `host:port` or `[address]:port`.
    pub fn place(&self, protocol: Protocol) -> String {
        place(&self.host, self.port(protocol))
    }
}

/// A host and a port, as `host:port` or `[address]:port`.
pub fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Bounds, as in `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections from workstations, all together.
    pub connections: usize,
    /// Connections from one workstation, or from one address where the workstation is unknown.
    pub connections_per_workstation: usize,
    /// Octets of a line with credentials, CRLF included.
    pub login_line: usize,
    /// Octets of any other command line, CRLF included.
    pub command_line: usize,
    /// Octets of a message's header block.
    pub header: usize,
    /// Octets of a sent message; zero: what the client module announces.
    pub message: u64,
    /// From accept to login, and from the login to the client module's answer.
    pub login_timeout: Duration,
    /// Without a command.
    pub idle_timeout: Duration,
    /// Without a byte in either direction while something is under way.
    pub transfer_stall_timeout: Duration,
    /// For messages in flight when kimgate stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_workstation: 50,
            login_line: 16 << 10,
            command_line: 4 << 10,
            header: 256 << 10,
            message: 0,
            login_timeout: Duration::from_secs(180),
            idle_timeout: Duration::from_secs(900),
            transfer_stall_timeout: Duration::from_secs(900),
            drain: Duration::from_secs(60),
        }
    }
}

/// As in `[contexts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// What happens when a second workstation comes.
    pub mode: ContextMode,
    /// How long it waits before it is refused.
    pub wait: Duration,
    /// How long a context stays taken after its last session.
    pub linger: Duration,
}

impl Default for Contexts {
    fn default() -> Self {
        Self {
            mode: ContextMode::Observe,
            wait: Duration::from_secs(10),
            linger: Duration::from_secs(5),
        }
    }
}

/// What kimgate does about one card context at two workstations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextMode {
    /// Does not look.
    Off,
    /// Counts and reports.
    Observe,
    /// Lets the second one wait, then refuses it.
    Enforce,
}

/// As in `[protection]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// DELE of a message that came undecrypted in this session is refused.
    pub hold_delete_on_failed_decryption: bool,
    /// Refusals by the client module after which a login from one workstation is paused; zero: never.
    pub login_failures: u32,
    /// How long it is answered here.
    pub login_pause: Duration,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            hold_delete_on_failed_decryption: true,
            login_failures: 3,
            login_pause: Duration::from_secs(300),
        }
    }
}

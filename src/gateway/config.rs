//! What the gateway needs to know; `config` fills it from what the operator wrote.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::reply::Wording;
use crate::trust::{ClientModuleTrust, ListenerTlsConfig};
use crate::words::{Language, Protocol, Security};

/// Everything but the permissions, which are `policy`'s.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name in greetings and in EHLO, towards workstations and client modules.
    pub name: String,
    /// The language of texts that a mail program's user may see.
    pub language: Language,
    /// Whom they name to ask; may be empty.
    pub contact: String,
    /// An SMTP login that kimgate refuses is told so at MAIL and not at AUTH.
    pub refuse_sending_at_mail: bool,
    /// Listeners may use addresses that can be reached from the internet.
    pub public: bool,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// The folder for what survives a restart: the certificates that client modules have shown.
    pub state_dir: PathBuf,
    /// The certificate that workstations see. `None` if no listener has TLS.
    pub tls: Option<ListenerTlsConfig>,
    /// By name; at least one.
    pub client_modules: BTreeMap<String, ClientModuleConfig>,
    /// Bounds on connections, lines and time.
    pub limits: Limits,
    /// What happens when two workstations use one card context.
    pub contexts: ContextRules,
    /// How long a second POP3 session for one account waits for the first to end. Zero: it does not wait.
    pub mailbox_wait: Duration,
    /// Protection against lost mail and locked accounts.
    pub protection: Protection,
    /// Adds X-KIM-Middleware to sent messages.
    pub middleware_header: bool,
    /// Asks for a delivery receipt if the sender did not and the client module offers DSN.
    pub delivery_receipts: bool,
    /// Asks for a read receipt if the sender did not.
    pub read_receipts: bool,
}

impl Config {
    /// How refusals are worded.
    pub(super) fn wording(&self) -> Wording<'_> {
        Wording { language: self.language, contact: &self.contact }
    }
}

/// One address on which workstations connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As in `[listeners.NAME]`.
    pub name: Arc<str>,
    /// The protocol that it speaks.
    pub protocol: Protocol,
    /// The address that it binds. With port 0 the system chooses a free port.
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
    /// Connections of all sources in no rule together, where the rules deny unknown workstations.
    pub unknown_connections: usize,
    /// Connections and refused logins a second from one source. Zero: no limit.
    pub connection_rate: u32,
    /// Bytes of a line with credentials, CRLF included.
    pub login_line: usize,
    /// Bytes of any other command line, CRLF included.
    pub command_line: usize,
    /// Bytes of a message's header block.
    pub header: usize,
    /// Bytes of a sent message. Zero: the limit that the client module announces.
    pub message: u64,
    /// The limit from accept to login, and again from the login to the client module's answer.
    pub login_timeout: Duration,
    /// A session that sends no command for this long is closed.
    pub idle_timeout: Duration,
    /// A command or message is given up after this long without a byte in either direction.
    pub transfer_stall_timeout: Duration,
    /// How long messages in flight may take to finish when kimgate stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_workstation: 50,
            unknown_connections: 200,
            connection_rate: 20,
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
pub struct ContextRules {
    /// What happens when a second workstation wants a context that is taken.
    pub mode: ContextMode,
    /// How long it waits before it is refused.
    pub wait: Duration,
    /// How long a context stays taken after its last session.
    pub linger: Duration,
}

impl Default for ContextRules {
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
    /// Nothing; contexts are not counted.
    Off,
    /// Counts and reports.
    Observe,
    /// Lets the second workstation wait, then refuses it.
    Enforce,
}

/// As in `[protection]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Refuses DELE for a message that came undecrypted.
    pub hold_delete_on_failed_decryption: bool,
    /// For how long, over sessions, workstations and restarts. Zero: in the session that fetched it.
    pub hold_undecrypted: Duration,
    /// A login at one workstation is paused after this many refusals by the client module. Zero: never.
    pub login_failures: u32,
    /// How long the pause is. Meanwhile kimgate refuses the login itself.
    pub login_pause: Duration,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            hold_delete_on_failed_decryption: true,
            hold_undecrypted: Duration::from_secs(30 * 86_400),
            login_failures: 3,
            login_pause: Duration::from_secs(300),
        }
    }
}

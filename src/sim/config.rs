//! What a simulated client module is told before it starts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::secret::Secret;
use crate::words::Security;

use super::certificate::SimCertificate;
use super::fault::Faults;

/// Everything a [`super::Sim`] needs to know. The default serves tests and the demo: loopback, free
/// ports, implicit TLS, any login, no faults.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Where POP3 is served; port 0 takes a free one.
    pub pop3: SocketAddr,
    /// Where SMTP is served; port 0 takes a free one.
    pub smtp: SocketAddr,
    /// How both are secured.
    pub security: Security,
    /// What is shown in the handshake.
    pub certificate: SimCertificate,
    /// DNS names and addresses in a certificate that is made at start.
    pub names: Vec<String>,
    /// A PEM file with the authority whose certificate a client has to show; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Whose password is right.
    pub accounts: Accounts,
    /// What EHLO and CAPA announce.
    pub capabilities: Capabilities,
    /// Whether a login without `#host:port` is answered as the specification demands
    /// (gemSpec_CM_KOMLE Tab_SMTP_Verbindung): `501 5.5.4` or `-ERR`, then the end.
    pub strict_logins: bool,
    /// Whether a sent message is delivered as it came. Otherwise the `X-KIM-` lines of a receiving
    /// client module stand before it; what follows them is still what came, byte for byte.
    pub raw_delivery: bool,
    /// The answer to a second session on one mailbox; `None` lets it in.
    pub mailbox_in_use: Option<String>,
    /// What goes wrong from the start on.
    pub faults: Faults,
    /// Bytes that one maildrop keeps; a larger message leaves a short stand-in.
    pub maildrop_limit: usize,
    /// Bytes that all maildrops and all messages on their way keep together.
    pub total_limit: usize,
    /// Whether [`super::Sim::seen`] has something to tell.
    pub record: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            pop3: free_port,
            smtp: free_port,
            security: Security::Implicit,
            certificate: SimCertificate::SelfSigned,
            names: ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec(),
            client_ca: None,
            accounts: Accounts::AnyLogin { password: None },
            capabilities: Capabilities::default(),
            strict_logins: false,
            raw_delivery: false,
            mailbox_in_use: Some("-ERR [IN-USE] Das Postfach ist gesperrt".to_owned()),
            faults: Faults::default(),
            maildrop_limit: 64 << 20,
            total_limit: 256 << 20,
            record: false,
        }
    }
}

/// Whose password is right.
#[derive(Clone, Debug)]
pub enum Accounts {
    /// Every login is known, and every address has a maildrop.
    AnyLogin {
        /// The password of all of them; `None` takes any.
        password: Option<Secret<String>>,
    },
    /// The exact bytes of each login and their passwords. Mail to an address that heads none of
    /// these logins comes back to its sender.
    Known(BTreeMap<Vec<u8>, Secret<String>>),
}

impl Accounts {
    /// Whether this pair opens a mailbox.
    pub(crate) fn accept(&self, login: &[u8], password: &[u8]) -> bool {
        match self {
            Self::AnyLogin { password: None } => true,
            Self::AnyLogin { password: Some(right) } => right.expose().as_bytes() == password,
            Self::Known(logins) => {
                logins.get(login).is_some_and(|right| right.expose().as_bytes() == password)
            }
        }
    }

    /// Whether mail to this address, in lower case, has a maildrop to go to.
    pub(crate) fn has_maildrop(&self, address: &str) -> bool {
        match self {
            Self::AnyLogin { .. } => true,
            Self::Known(logins) => logins.keys().any(|login| maildrop_of(login) == address),
        }
    }
}

/// The maildrop that a login opens: its text before the first `#`, in lower case.
pub(crate) fn maildrop_of(login: &[u8]) -> String {
    let address = login.split(|byte| *byte == b'#').next().unwrap_or_default();
    String::from_utf8_lossy(address).to_ascii_lowercase()
}

/// What is announced; STARTTLS and STLS join by themselves where they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The EHLO keywords, each with its parameters.
    pub smtp: Vec<String>,
    /// The CAPA lines.
    pub pop3: Vec<String>,
}

impl Default for Capabilities {
    /// The lists of gemSpec_CM_KOMLE, with its spelling.
    fn default() -> Self {
        let smtp = ["SIZE 35882577", "AUTH LOGIN PLAIN", "8BITMIME", "ENCHANCEDSTATUSCODES", "DSN"];
        Self {
            smtp: smtp.map(String::from).to_vec(),
            pop3: ["TOP", "USER", "SASL PLAIN", "UIDL"].map(String::from).to_vec(),
        }
    }
}

//! The simulated client module: POP3 and SMTP as gemSpec_CM_KOMLE describes them, with a witness's
//! memory and faults on demand.
//!
//! It serves the demo and the tests. It reads its peers with code of its own, not with `proto`'s, so
//! that a mistake there cannot hide here a second time.

mod certificate;
mod config;
mod digest;
mod fault;
mod fault_text;
mod journal;
mod message;
mod store;

pub use certificate::SimCertificate;
pub use config::{Accounts, Capabilities, SimConfig};
pub use fault::{Effect, Fault, FaultError, Faults, Manner, Point, What};
pub use journal::{Ending, Mechanism, Seen};

use std::io;
use std::net::SocketAddr;

/// A running simulated client module; it stops when it is dropped.
pub struct Sim {
    world: std::sync::Arc<()>,
}

impl Sim {
    /// Binds both ports and serves them.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        todo!()
    }

    /// Where POP3 is served.
    pub fn pop3_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Where SMTP is served.
    pub fn smtp_addr(&self) -> SocketAddr {
        todo!()
    }

    /// The root that a client must trust: the certificate itself, or its authority, as PEM.
    pub fn ca_pem(&self) -> &str {
        todo!()
    }

    /// `sha256:<hex>` of the certificate.
    pub fn fingerprint(&self) -> &str {
        todo!()
    }

    /// Puts exactly these bytes into a maildrop.
    pub fn deliver(&self, address: &str, message: &[u8]) {
        todo!()
    }

    /// Puts a message of so many bytes (64 at least) into a maildrop, which is made while it is
    /// fetched and takes no memory.
    pub fn deliver_synthetic(&self, address: &str, octets: u64) {
        todo!()
    }

    /// The messages of a maildrop as RETR gives them, without dot-stuffing. Synthetic ones are left
    /// out.
    pub fn maildrop(&self, address: &str) -> Vec<Vec<u8>> {
        todo!()
    }

    /// What happened so far, if the configuration says `record`.
    pub fn seen(&self) -> Vec<Seen> {
        todo!()
    }

    /// Waits until what happened satisfies the predicate; false after ten seconds.
    pub async fn wait_for(&self, predicate: impl Fn(&[Seen]) -> bool) -> bool {
        todo!()
    }

    /// From now on these go wrong, and nothing else, on open connections as well.
    pub fn set_faults(&self, faults: impl Into<Faults>) {
        todo!()
    }

    /// From now on these are announced.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        todo!()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        todo!()
    }

    /// Ends all connections and closes both ports.
    pub async fn stop(self) {
        todo!()
    }
}

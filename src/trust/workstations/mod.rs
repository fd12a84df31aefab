//! TLS towards workstations: what kimgate shows them, how their certificates are checked, and what
//! is said when a handshake with one fails.

mod authorities;
mod faults;
mod listener;
mod phrases;
mod revocation;
mod verifier;

pub use faults::HandshakeFault;
pub use listener::{ListenerTls, client_expires_at, client_names};

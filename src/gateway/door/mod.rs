//! The door: listening sockets, the PROXY header, and how many connections there may be, in all and a
//! second.

mod acceptor;
pub(crate) mod connections;
pub(crate) mod exposure;
mod listener;
mod listeners;
pub(crate) mod proxy;
pub(crate) mod rate;

pub use exposure::{ExposedError, Exposure, exposure, own_addresses};
pub use listeners::Sockets;
pub use proxy::proxied_address;

pub(crate) use acceptor::{Accepted, Acceptor};
pub(crate) use listeners::Listeners;

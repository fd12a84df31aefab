//! Why a gateway does not start, or does not take another configuration.

use std::io;
use std::net::SocketAddr;

use super::door::exposure::ExposedError;
use crate::trust::MaterialError;

/// Why a gateway does not start, or a reload is refused.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A listener's address cannot be bound.
    #[error("listener {name} cannot use {address}: {error}")]
    Bind {
        /// As in `[listeners.NAME]`.
        name: String,
        /// The address in the configuration.
        address: SocketAddr,
        /// The operating system's error.
        error: io::Error,
    },
    /// A listener without TLS was given a socket that other machines can reach.
    #[error(
        "listener {name} has tls = \"none\", but its socket is {address}, which is not loopback"
    )]
    Plain {
        /// As in `[listeners.NAME]`.
        name: String,
        /// The socket's address.
        address: SocketAddr,
    },
    /// An address can be reached from outside the practice's network.
    #[error(transparent)]
    Exposed(#[from] ExposedError),
    /// The service manager passed a socket under a name that no listener has.
    #[error("the service manager passed a socket for {name:?}, but there is no [listeners.{name}]")]
    UnknownSocket {
        /// The name in the socket unit.
        name: String,
    },
}

impl StartError {
    /// What the operator can do about it, as a sentence without a capital letter and a full stop.
    /// `None` where the error says it all, or the cause is outside kimgate.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Exposed(_) => Some(ExposedError::REMEDY),
            Self::UnknownSocket { .. } => Some(
                "FileDescriptorName= in the socket unit must be a listener's name, or \"admin\"",
            ),
            Self::Plain { .. } => Some("give the listener TLS, or a socket on 127.0.0.1 or ::1"),
            Self::Material(_) | Self::Bind { .. } => None,
        }
    }
}

//! TLS towards workstations.

use rustls::ServerConnection;
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use super::config::ListenerTlsConfig;
use super::material::{MaterialError, MaterialWarning};

/// TLS towards workstations.
#[derive(Clone, Debug)]
pub struct ListenerTls {}

impl ListenerTls {
    /// Reads the files, or makes a certificate where none is named.
    pub fn load(config: &ListenerTlsConfig) -> Result<Self, MaterialError> {
        let _ = config;
        todo!()
    }

    /// Takes workstations' handshakes.
    pub fn acceptor(&self) -> TlsAcceptor {
        todo!()
    }

    /// The last moment of the certificate that workstations see.
    pub fn not_after(&self) -> OffsetDateTime {
        todo!()
    }

    /// Its fingerprint, as `sha256:<hex>`.
    pub fn fingerprint(&self) -> &str {
        todo!()
    }

    /// Legal but unwise things about the files.
    pub fn warnings(&self) -> &[MaterialWarning] {
        todo!()
    }
}

/// Common name and DNS names of the client certificate that was verified in this connection; none
/// where there was none.
pub fn client_names(connection: &ServerConnection) -> Vec<String> {
    let _ = connection;
    todo!()
}

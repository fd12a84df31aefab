//! TLS towards one client module.

use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::config::ClientModuleTrust;
use super::material::{MaterialError, MaterialWarning};
use super::verdict::Verdict;

/// TLS towards one client module: one rustls configuration, so that sessions resume, and the
/// policy that judges its certificate. A new policy takes a new value, which forgets sessions.
#[derive(Clone, Debug)]
pub struct UpstreamTls {}

impl UpstreamTls {
    /// Reads the files; `host` is what is dialled and what the certificate has to name.
    pub fn load(config: &ClientModuleTrust, host: &str) -> Result<Self, MaterialError> {
        let _ = (config, host);
        todo!()
    }

    /// For [`TlsConnector::connect`] with [`UpstreamTls::server_name`].
    pub fn connector(&self) -> TlsConnector {
        todo!()
    }

    /// The name that the certificate has to carry.
    pub fn server_name(&self) -> ServerName<'static> {
        todo!()
    }

    /// Legal but unwise things about the files.
    pub fn warnings(&self) -> &[MaterialWarning] {
        todo!()
    }

    /// What was found in a handshake that succeeded. A resumed one shows no certificate again, so
    /// this looks at the dates anew: the caller hangs up unless `accepted`.
    pub fn verdict(&self, connection: &ClientConnection) -> Verdict {
        let _ = connection;
        todo!()
    }

    /// Judges a chain, leaf first, as a handshake would.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let _ = (chain, now);
        todo!()
    }
}

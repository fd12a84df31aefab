//! TLS towards one client module.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use time::OffsetDateTime;
use tokio_rustls::TlsConnector;

use super::config::ClientModuleTrust;
use super::facts::soonest;
use super::judge::Judge;
use super::material::{self, MaterialError, MaterialProblem, MaterialWarning};
use super::provider::for_client_modules;
use super::system_roots;
use super::tickets::Tickets;
use super::verdict::Verdict;
use super::verifier::Verifier;

/// TLS towards one port of a client module: one rustls configuration, so that sessions resume, and
/// the policy that judges its certificate. A new policy takes a new value, which forgets sessions.
#[derive(Clone)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    warnings: Arc<[MaterialWarning]>,
    ends: Arc<[(&'static str, OffsetDateTime)]>,
}

impl UpstreamTls {
    /// Reads the files; `host` is what is dialled and what the certificate has to name.
    pub fn load(config: &ClientModuleTrust, host: &str) -> Result<Self, MaterialError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| MaterialProblem::Host.of(PathBuf::from(host)))?;
        let mut warnings = vec![];
        let (roots, listed) = roots(config, &mut warnings)?;
        let mut ends: Vec<_> = soonest(&listed).map(|end| ("ca", end)).into_iter().collect();
        let provider = for_client_modules();
        let judge = Judge {
            roots,
            listed,
            pins: config.pins.clone(),
            ignore_self_signed: config.ignore_self_signed,
            ignore_name_mismatch: config.ignore_name_mismatch,
            algorithms: provider.signature_verification_algorithms,
        };
        let verifier = Arc::new(Verifier::new(judge, name));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| MaterialProblem::Tls(error).of(PathBuf::from(host)))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = material::identity(identity, &mut warnings)?;
                ends.extend(soonest(&chain).map(|end| ("client-certificate", end)));
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| material::key_error(identity, error))?
            }
        };
        config.resumption = Tickets::resumption();
        let (warnings, ends) = (warnings.into(), ends.into());
        Ok(Self { config: Arc::new(config), verifier, warnings, ends })
    }

    /// The same for another port of the same host, which resumes sessions of its own.
    #[must_use]
    pub fn for_another_port(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Tickets::resumption();
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// For [`TlsConnector::connect`] with [`UpstreamTls::server_name`].
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.clone())
    }

    /// The name that the certificate has to carry.
    pub fn server_name(&self) -> ServerName<'static> {
        self.verifier.name().clone()
    }

    /// Legal but unwise things about the files.
    pub fn warnings(&self) -> &[MaterialWarning] {
        &self.warnings
    }

    /// When the certificates of the files end, the soonest of each role: authorities, and the one
    /// that is shown to the client module.
    pub fn ends(&self) -> &[(&'static str, OffsetDateTime)] {
        &self.ends
    }

    /// What was found in a handshake that succeeded. A resumed one shows no certificate again, so
    /// this looks at the dates anew: the caller hangs up unless `accepted`.
    pub fn verdict(&self, connection: &ClientConnection) -> Arc<Verdict> {
        self.verifier.judge(connection.peer_certificates().unwrap_or_default(), UnixTime::now())
    }

    /// Judges a chain, leaf first, as a handshake would.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        Arc::unwrap_or_clone(self.verifier.judge(chain, now))
    }
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTls").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// The roots, and beside them the certificates of `ca` as they are.
fn roots(
    config: &ClientModuleTrust,
    warnings: &mut Vec<MaterialWarning>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), MaterialError> {
    let mut roots = RootCertStore::empty();
    let mut listed = vec![];
    for path in &config.ca {
        for certificate in material::certificates(path)? {
            material::warn_about_dates(path, &certificate, OffsetDateTime::now_utc(), warnings);
            roots
                .add(certificate.clone())
                .map_err(|_| MaterialProblem::NotACertificate.of(path.clone()))?;
            listed.push(certificate);
        }
    }
    if config.system_roots {
        roots.add_parsable_certificates(system_roots::load()?);
    }
    Ok((roots, listed))
}

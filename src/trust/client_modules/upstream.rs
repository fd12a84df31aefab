//! TLS towards one client module.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;

use super::judge::Judge;
use super::system_roots;
use super::tickets::Tickets;
use super::verdict::Verdict;
use super::verifier::JudgingVerifier;
use crate::trust::config::ClientModuleTrust;
use crate::trust::facts::first_expiry;
use crate::trust::material;
use crate::trust::problem::{MaterialError, MaterialProblem, MaterialWarning};
use crate::trust::provider::for_client_modules;

/// TLS towards one port of a client module: a rustls configuration and what judges the certificate.
///
/// It is kept between connections, so that their sessions can be resumed. Another trust policy
/// needs a new value, and the new value has no sessions.
#[derive(Clone)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    verifier: Arc<JudgingVerifier>,
    warnings: Arc<[MaterialWarning]>,
    expiries: Arc<[(&'static str, OffsetDateTime)]>,
}

impl UpstreamTls {
    /// Reads the files. `host` is what is dialled and what the certificate has to name, without
    /// port.
    ///
    /// # Errors
    ///
    /// A file that is missing, cannot be read or does not fit the others, or a `host` that no
    /// certificate can name; the error names the file or the host.
    pub fn load(config: &ClientModuleTrust, host: &str) -> Result<Self, MaterialError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| MaterialProblem::Host.of(PathBuf::from(host)))?;
        let mut warnings = vec![];
        let (roots, listed) = roots(config, &mut warnings)?;
        let mut expiries: Vec<_> = first_expiry(&listed).map(|at| ("ca", at)).into_iter().collect();
        let provider = for_client_modules();
        let judge = Judge {
            roots,
            listed,
            pins: config.pins.clone(),
            ignore_self_signed: config.ignore_self_signed,
            ignore_name_mismatch: config.ignore_name_mismatch,
            algorithms: provider.signature_verification_algorithms,
        };
        let verifier = Arc::new(JudgingVerifier::new(judge, name));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| MaterialProblem::Tls(error).of(PathBuf::from(host)))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = material::identity(identity, &mut warnings)?;
                expiries.extend(first_expiry(&chain).map(|at| ("client-certificate", at)));
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| material::key_error(identity, error))?
            }
        };
        config.resumption = Tickets::resumption();
        let (warnings, expiries) = (warnings.into(), expiries.into());
        Ok(Self { config: Arc::new(config), verifier, warnings, expiries })
    }

    /// The same for another port of the same host; that port has its own sessions.
    #[must_use]
    pub fn for_another_port(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Tickets::resumption();
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// The configuration for handshakes, to be used with [`UpstreamTls::server_name`].
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The name that the certificate has to carry.
    pub fn server_name(&self) -> ServerName<'static> {
        self.verifier.name().clone()
    }

    /// Legal but unwise things about the files.
    pub fn warnings(&self) -> &[MaterialWarning] {
        &self.warnings
    }

    /// When the certificates of the files expire, the soonest of each role: `ca` are the authorities,
    /// `client-certificate` is the one that the client module sees.
    pub fn expiries(&self) -> &[(&'static str, OffsetDateTime)] {
        &self.expiries
    }

    /// The verdict after a handshake that succeeded; `chain` is what the client module showed, leaf
    /// first. The caller must hang up unless it is `accepted`: a resumed session does not show its
    /// certificate again, so its dates have to be checked here.
    pub fn verdict(&self, chain: &[CertificateDer<'_>]) -> Arc<Verdict> {
        self.verifier.judge(chain, UnixTime::now())
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

/// The roots, and the certificates of `ca` as they stand in their files.
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

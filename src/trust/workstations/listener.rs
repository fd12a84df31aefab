//! TLS towards workstations.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use time::OffsetDateTime;

use super::authorities::Authorities;
use crate::trust::config::{ListenerTlsConfig, MinVersion};
use crate::trust::facts::{CertificateFacts, common_names, dns_names, first_expiry};
use crate::trust::material;
use crate::trust::problem::{MaterialError, MaterialProblem, MaterialWarning};
use crate::trust::provider::for_workstations;
use crate::trust::self_made;
use crate::trust::x509::{Certificate, digest_of};

/// TLS towards workstations: TLS 1.2 with forward secrecy, or TLS 1.3.
#[derive(Clone)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    certificate: Arc<CertificateFacts>,
    file: Arc<Path>,
    expiries: Arc<[(&'static str, OffsetDateTime)]>,
    /// A digest of everything that `config` was made from.
    material: [u8; 32],
    warnings: Arc<[MaterialWarning]>,
}

impl ListenerTls {
    /// Reads the files, or makes a self-signed certificate where the configuration names none.
    ///
    /// # Errors
    ///
    /// A file that is missing, cannot be read or does not fit the others; the error names the file.
    pub fn load(config: &ListenerTlsConfig) -> Result<Self, MaterialError> {
        let mut warnings = vec![];
        let identity = match &config.certificate {
            Some(identity) => identity.clone(),
            None => {
                self_made::keep(&config.state_dir, &config.gateway_name, OffsetDateTime::now_utc())?
            }
        };
        let (chain, key) = material::identity(&identity, &mut warnings)?;
        let certificate = chain
            .first()
            .and_then(|leaf| CertificateFacts::read(leaf))
            .ok_or_else(|| MaterialProblem::NotACertificate.of(identity.certificate.clone()))?;
        let provider = for_workstations();
        let authorities = Authorities::load(config, &mut warnings)?;
        let material = material(config, &chain, &key, authorities.as_ref());
        let mut expiries = vec![("listener", certificate.not_after)];
        expiries.extend(authorities.iter().flat_map(Authorities::expiries));
        let clients = client_verifier(config, authorities, &provider)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| MaterialProblem::Tls(error).of(identity.certificate.clone()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|error| material::key_error(&identity, error))?;
        // Our order of ciphers decides: the order of an old mail program may be poor.
        server.ignore_client_order = true;
        // Each resumption brings a new ticket, so a second one would never be used. Tickets are
        // sealed and kept by the workstation: a table here would cost memory, and sessions would
        // push each other out of it.
        server.send_tls13_tickets = 1;
        server.ticketer = Ticketer::new()
            .map_err(|error| MaterialProblem::Tls(error).of(identity.certificate.clone()))?;
        Ok(Self {
            config: Arc::new(server),
            certificate: Arc::new(certificate),
            file: identity.certificate.into(),
            expiries: expiries.into(),
            material,
            warnings: warnings.into(),
        })
    }

    /// Checks what [`ListenerTls::load`] would read and writes no file: where no certificate is
    /// named, one is made and dropped. Returns what is legal but unwise.
    ///
    /// # Errors
    ///
    /// The same as [`ListenerTls::load`], except that nothing is written.
    pub fn check(config: &ListenerTlsConfig) -> Result<Vec<MaterialWarning>, MaterialError> {
        if config.certificate.is_some() {
            return Ok(Self::load(config)?.warnings.to_vec());
        }
        self_made::could_be_made(&config.gateway_name)?;
        let mut warnings = vec![];
        let authorities = Authorities::load(config, &mut warnings)?;
        client_verifier(config, authorities, &for_workstations())?;
        Ok(warnings)
    }

    /// The PEM file of the certificate that workstations see: the one that is named, or the one
    /// that kimgate makes at its first start.
    pub fn file_of(config: &ListenerTlsConfig) -> PathBuf {
        match &config.certificate {
            Some(identity) => identity.certificate.clone(),
            None => self_made::files(&config.state_dir).certificate,
        }
    }

    /// Keeps the TLS sessions of `before`, so that workstations can resume them after a reload, if
    /// both were made from the same certificate, key, authorities and settings.
    ///
    /// Otherwise the sessions are forgotten: a resumed session does not show its client certificate
    /// again, so a certificate that would be refused now must not find an old session.
    pub fn inherit(&mut self, before: &Self) {
        if self.material == before.material {
            self.config = before.config.clone();
        }
    }

    /// The configuration for handshakes with workstations.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// When the certificates in use expire, the soonest of each role: `listener` is the certificate
    /// that workstations see, `client-ca` the authorities of theirs, and `client-crl` the time by
    /// which a revocation list has to be replaced.
    pub fn expiries(&self) -> &[(&'static str, OffsetDateTime)] {
        &self.expiries
    }

    /// The fingerprint of the certificate that workstations see, as `sha256:<hex>`.
    pub fn fingerprint(&self) -> &str {
        &self.certificate.fingerprint
    }

    /// What that certificate says.
    pub fn certificate(&self) -> &CertificateFacts {
        &self.certificate
    }

    /// The PEM file that the chain was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Legal but unwise things about the files.
    pub fn warnings(&self) -> &[MaterialWarning] {
        &self.warnings
    }
}

impl std::fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerTls")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Common names and DNS names of a workstation's verified certificate; `chain` is what it showed,
/// leaf first. Empty where it showed none.
///
/// A name is left out when it is empty, longer than 255 bytes or has a control character.
pub fn client_names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    chain.first().map_or(vec![], names_in)
}

/// When a workstation's verified certificate expires; `chain` is what it showed, leaf first. `None`
/// where it showed none.
pub fn client_expires_at(chain: &[CertificateDer<'_>]) -> Option<OffsetDateTime> {
    first_expiry(chain.get(..1)?)
}

/// Names that a rule can be written for. An authority may sign any name; control characters in one
/// would attack the log or terminal that prints it.
fn names_in(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Some(certificate) = Certificate::parse(leaf) else { return vec![] };
    // A certificate of 32 KiB has room for thousands of names.
    let mut known = HashSet::new();
    let names = common_names(&certificate).chain(dns_names(&certificate));
    let usable =
        |name: &str| !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control);
    names.filter(|name| usable(name) && known.insert(*name)).map(str::to_owned).collect()
}

/// A digest of everything that tells two configurations apart.
fn material(
    config: &ListenerTlsConfig,
    chain: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
    authorities: Option<&Authorities>,
) -> [u8; 32] {
    let settings = format!("{:?} {:?}", config.min_version, config.client_certificates);
    let count = chain.len().to_be_bytes();
    let mut parts = vec![settings.as_bytes(), key.secret_der(), &count];
    parts.extend(chain.iter().map(|certificate| &**certificate));
    if let Some(Authorities { roots, lists, .. }) = authorities {
        parts.extend(roots.iter().map(|certificate| &**certificate));
        parts.extend(lists.iter().map(|list| &*list.der));
    }
    digest_of(parts)
}

fn versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        MinVersion::Tls12 => &BOTH,
        MinVersion::Tls13 => &BOTH[..1],
    }
}

fn client_verifier(
    config: &ListenerTlsConfig,
    authorities: Option<Authorities>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
    match authorities {
        None => Ok(WebPkiClientVerifier::no_client_auth()),
        Some(authorities) => authorities.verifier(config.client_certificates, provider),
    }
}

//! TLS towards workstations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use super::config::{ListenerTlsConfig, MinVersion};
use super::facts::{CertificateFacts, common_names, dns_names, soonest};
use super::material::{self, MaterialError, MaterialProblem, MaterialWarning};
use super::provider::for_workstations;
use super::self_made;
use super::workstation::Authorities;
use super::x509::{Certificate, digest_of};

/// TLS towards workstations: TLS 1.2 with forward secrecy, or TLS 1.3.
#[derive(Clone)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    certificate: Arc<CertificateFacts>,
    file: Arc<Path>,
    ends: Arc<[(&'static str, OffsetDateTime)]>,
    /// Of everything that `config` was made from.
    material: [u8; 32],
    warnings: Arc<[MaterialWarning]>,
}

impl ListenerTls {
    /// Reads the files, or makes a certificate where none is named.
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
        let mut ends = vec![("listener", certificate.not_after)];
        ends.extend(authorities.iter().flat_map(Authorities::ends));
        let clients = client_verifier(config, authorities, &provider)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| MaterialProblem::Tls(error).of(identity.certificate.clone()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|error| material::key_error(&identity, error))?;
        // Our order of ciphers counts: some mail programs are old, and so is theirs.
        server.ignore_client_order = true;
        // Each resumption brings a new ticket, so a second one would never be used. Sealed tickets
        // instead of a table: no workstation's session costs memory or crowds out another's.
        server.send_tls13_tickets = 1;
        server.ticketer = Ticketer::new()
            .map_err(|error| MaterialProblem::Tls(error).of(identity.certificate.clone()))?;
        Ok(Self {
            config: Arc::new(server),
            certificate: Arc::new(certificate),
            file: identity.certificate.into(),
            ends: ends.into(),
            material,
            warnings: warnings.into(),
        })
    }

    /// Does what [`ListenerTls::load`] would do, and leaves no file behind: where no certificate is
    /// named, one is made and thrown away. Gives what is legal and unwise.
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

    /// The PEM file of the certificate that this configuration shows: the one named, or the one that
    /// is made at the first start.
    pub fn file_of(config: &ListenerTlsConfig) -> PathBuf {
        match &config.certificate {
            Some(identity) => identity.certificate.clone(),
            None => self_made::files(&config.state_dir).certificate,
        }
    }

    /// Keeps the TLS sessions of the one before this, so that workstations may resume them, if it
    /// was made from the same certificate, key and authorities: a resumed session shows no client
    /// certificate again, so one that would be refused now must not find an old session.
    pub fn inherit(&mut self, before: &Self) {
        if self.material == before.material {
            self.config = before.config.clone();
        }
    }

    /// Takes workstations' handshakes.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// When the certificates end that this depends on, the soonest of each role: the one that
    /// workstations see, the authorities of theirs, and when a revocation list is to be replaced.
    pub fn ends(&self) -> &[(&'static str, OffsetDateTime)] {
        &self.ends
    }

    /// Its fingerprint, as `sha256:<hex>`.
    pub fn fingerprint(&self) -> &str {
        &self.certificate.fingerprint
    }

    /// Everything else about it.
    pub fn certificate(&self) -> &CertificateFacts {
        &self.certificate
    }

    /// The PEM file that its chain was read from.
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

/// Common names and DNS names of the client certificate that was verified in this connection;
/// none where there was none.
pub fn client_names(connection: &ServerConnection) -> Vec<String> {
    connection.peer_certificates().and_then(|chain| chain.first()).map_or(vec![], names_in)
}

/// When the client certificate ends that was verified in this connection.
pub fn client_not_after(connection: &ServerConnection) -> Option<OffsetDateTime> {
    soonest(connection.peer_certificates()?.first().map(std::slice::from_ref)?)
}

/// Names that a rule can be written for: an authority may sign what it likes, but control
/// characters in a name are an attack on whoever prints it.
fn names_in(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Some(certificate) = Certificate::parse(leaf) else { return vec![] };
    let mut names: Vec<String> = vec![];
    for name in common_names(&certificate).chain(dns_names(&certificate)) {
        let usable = !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control);
        if usable && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What tells two configurations apart.
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

//! The authorities whose client certificates are accepted, and their revocation lists.
//!
//! A certificate has to be signed by one of the authorities and must not be on a revocation list.
//! An overdue list stays in use: what it revokes stays revoked, and mail keeps flowing when no one
//! has fetched the new list. kimgate warns about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use time::OffsetDateTime;

use super::revocation::RevocationList;
use super::verifier::NamingVerifier;
use crate::trust::config::{ClientCertificates, ListenerTlsConfig};
use crate::trust::facts::{CertificateFacts, first_expiry};
use crate::trust::material;
use crate::trust::problem::{MaterialError, MaterialProblem, MaterialWarning};

/// What workstations' certificates are checked against.
pub(super) struct Authorities {
    /// Who may sign them.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// What they have revoked.
    pub(super) lists: Vec<RevocationList>,
    /// The file of `roots`, for errors.
    path: PathBuf,
}

impl Authorities {
    /// Reads the files; `None` where workstations are not asked for a certificate.
    pub(super) fn load(
        config: &ListenerTlsConfig,
        warnings: &mut Vec<MaterialWarning>,
    ) -> Result<Option<Self>, MaterialError> {
        if config.client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        let path = config
            .client_ca
            .as_deref()
            .ok_or_else(|| MaterialProblem::NoClientCa.of("tls.client_ca".into()))?;
        let roots = material::certificates(path)?;
        let now = OffsetDateTime::now_utc();
        for certificate in &roots {
            material::warn_about_dates(path, certificate, now, warnings);
        }
        let mut lists = vec![];
        for path in &config.client_crl {
            lists.extend(RevocationList::load(path, now, warnings)?);
        }
        let authorities = Self { roots, lists, path: path.to_owned() };
        authorities.warn_about_gaps(path, warnings);
        Ok(Some(authorities))
    }

    /// As soon as there is one list, a certificate whose issuer has no list is refused.
    fn warn_about_gaps(&self, path: &Path, warnings: &mut Vec<MaterialWarning>) {
        if self.lists.is_empty() {
            return;
        }
        let authorities = self.roots.iter().filter_map(|der| CertificateFacts::read(der));
        for authority in authorities {
            if !self.lists.iter().any(|list| list.issuer == authority.subject) {
                let problem = format!(
                    "no list in client_crl is by {}, so every certificate that it signed is refused",
                    authority.subject
                );
                let remedy = "add its revocation list to client_crl".into();
                warnings.push(MaterialWarning { path: path.to_owned(), problem, remedy });
            }
        }
    }

    /// The soonest expiry of each role.
    pub(super) fn expiries(&self) -> Vec<(&'static str, OffsetDateTime)> {
        let due = self.lists.iter().filter_map(|list| list.next_update).min();
        let expiries = [("client-ca", first_expiry(&self.roots)), ("client-crl", due)];
        expiries.into_iter().filter_map(|(role, expiry)| Some((role, expiry?))).collect()
    }

    /// The verifier for handshakes.
    pub(super) fn verifier(
        self,
        demand: ClientCertificates,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
        let Self { roots: certificates, lists, path } = self;
        let unreadable = || MaterialProblem::NotACertificate.of(path.clone());
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|_| unreadable())?;
        }
        let paths: Vec<PathBuf> = lists.iter().map(|list| list.path.clone()).collect();
        let lists: Vec<CertificateRevocationListDer<'static>> =
            lists.into_iter().map(|list| list.der).collect();
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .with_crls(lists);
        let builder = match demand {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Required | ClientCertificates::Off => builder,
        };
        match builder.build() {
            Ok(verifier) => Ok(Arc::new(NamingVerifier(verifier))),
            Err(VerifierBuilderError::InvalidCrl(error)) => {
                let path = paths.into_iter().next().unwrap_or(path);
                Err(MaterialProblem::RevocationList(format!("{error:?}")).of(path))
            }
            Err(_) => Err(unreadable()),
        }
    }
}

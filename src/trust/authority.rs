//! A local certificate authority: the gateway's certificate and one for every workstation.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use crate::secret::Secret;

use super::x509::Certificate;

/// An authority's own life.
const AUTHORITY_LIFE: Duration = Duration::days(3650);

/// The longest life that Apple's mail client accepts, the strictest of those in use.
const LIFE: Duration = Duration::days(825);

/// Validity starts this much earlier, for workstations whose clock is behind.
const SKEW: Duration = Duration::hours(1);

/// A local certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate in PEM, leaf only.
    pub certificate: String,
    /// PKCS#8 in PEM.
    pub private_key: Secret<String>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate is not an authority's.
    #[error("this is not the certificate of an authority: CA flag and keyCertSign are wanted")]
    NotAnAuthority,
    /// The key is another one's.
    #[error("the key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The authority's life is over.
    #[error("the authority's certificate has expired; make a new one and give it to everybody")]
    Expired,
    /// No usable name.
    #[error("{0:?} is neither a DNS name nor an address")]
    Name(String),
    /// The PEM text or the key cannot be used.
    #[error("cannot be used: {0}")]
    Material(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a new authority under this common name, for ten years, with a P-256 key.
    pub fn new(name: &str) -> Result<Self, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let key = KeyPair::generate()?;
        let mut params = params(name, &[], now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        let not_after = params.not_after;
        Ok(Self { certificate, issuer: Issuer::new(params, key), not_after })
    }

    /// Takes an authority from its PEM files.
    pub fn from_pem(
        certificate: &str,
        private_key: &Secret<String>,
    ) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| AuthorityError::NotAnAuthority)?;
        let parsed = Certificate::parse(&der).ok_or(AuthorityError::NotAnAuthority)?;
        let x509 = &parsed.x509;
        let may_sign = x509.key_usage().is_ok_and(|usage| {
            usage.is_none_or(|usage| usage.value.key_cert_sign()) //
        });
        if !(x509.is_ca() && may_sign) {
            return Err(AuthorityError::NotAnAuthority);
        }
        let key = KeyPair::from_pem(private_key.expose())?;
        if key.public_key_raw() != x509.public_key().subject_public_key.data.as_ref() {
            return Err(AuthorityError::KeyMismatch);
        }
        let not_after = parsed.not_after();
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { certificate: certificate.to_owned(), issuer, not_after })
    }

    /// The authority's own certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's key, PKCS#8 in PEM.
    pub fn private_key(&self) -> Secret<String> {
        Secret::new(self.issuer.key().serialize_pem())
    }

    /// A certificate for a TLS server under these DNS names and addresses, for 825 days.
    pub fn server(&self, names: &[&str]) -> Result<Issued, AuthorityError> {
        let first = names.first().ok_or_else(|| AuthorityError::Name(String::new()))?;
        self.issue(first, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a TLS client under this common name, for 825 days.
    pub fn client(&self, common_name: &str) -> Result<Issued, AuthorityError> {
        let usable = (1..=64).contains(&common_name.chars().count());
        if !usable || common_name.contains(char::is_control) {
            return Err(AuthorityError::Name(common_name.to_owned()));
        }
        self.issue(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        common_name: &str,
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        if now >= self.not_after {
            return Err(AuthorityError::Expired);
        }
        let key = KeyPair::generate()?;
        let mut params = leaf(common_name, names, now, purpose)?;
        // A leaf that outlives its authority would look valid and not be.
        params.not_after = params.not_after.min(self.not_after);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(issued(certificate, &key))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A certificate that signs itself, for a TLS server under these names.
pub(super) fn self_signed(names: &[String], now: OffsetDateTime) -> Result<Issued, AuthorityError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = names.first().ok_or_else(|| AuthorityError::Name(String::new()))?;
    let key = KeyPair::generate()?;
    let params = leaf(first, &names, now, ExtendedKeyUsagePurpose::ServerAuth)?;
    Ok(issued(params.self_signed(&key)?.pem(), &key))
}

fn leaf(
    common_name: &str,
    names: &[&str],
    now: OffsetDateTime,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(common_name, names, now, LIFE)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    Ok(params)
}

fn params(
    common_name: &str,
    names: &[&str],
    now: OffsetDateTime,
    life: Duration,
) -> Result<CertificateParams, AuthorityError> {
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return Err(AuthorityError::Name((*bad).to_owned()));
    }
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, short(common_name));
    params.not_before = now - SKEW;
    params.not_after = params.not_before + life;
    Ok(params)
}

/// RFC 5280 appendix A.1 limits a common name to 64 characters; the full name stands in
/// subjectAltName.
fn short(common_name: &str) -> String {
    common_name.chars().take(64).collect()
}

fn is_name(name: &str) -> bool {
    rustls::pki_types::ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

fn issued(certificate: String, key: &KeyPair) -> Issued {
    Issued { certificate, private_key: Secret::new(key.serialize_pem()) }
}

//! A local certificate authority: the gateway's certificate and one for every workstation.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use time::{Duration, OffsetDateTime};

use crate::secret::Secret;

use x509_parser::der_parser::asn1_rs::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::x509::Certificate;

/// How long an authority's own certificate is valid.
const AUTHORITY_LIFE: Duration = Duration::days(3650);

/// How long a certificate is valid: the most that Apple's mail client accepts, the strictest in
/// use.
const LIFE: Duration = Duration::days(825);

/// How long a revocation list is good; then it has to be made anew, even with nothing new in it.
const LIST_LIFE: Duration = Duration::days(365);

/// Validity starts this much earlier, for workstations with a slow clock.
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
    #[error("this is not the certificate of an authority: it needs the CA flag and keyCertSign")]
    NotAnAuthority,
    /// The key of another certificate.
    #[error("the key does not belong to the authority's certificate")]
    KeyMismatch,
    /// A certificate that another authority signed.
    #[error("{0} was not signed by this authority, which cannot revoke it")]
    NotSignedHere(String),
    /// The list of earlier revocations cannot be read.
    #[error("the revocation list is not one of this authority")]
    List,
    /// The authority's certificate has expired.
    #[error(
        "the authority's certificate has expired; make a new one and install it on every workstation"
    )]
    Expired,
    /// No usable name.
    #[error("{0:?} is neither a DNS name nor an address")]
    Name(String),
    /// The PEM text or the key cannot be used.
    #[error("cannot be used: {0}")]
    Material(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a new authority with this common name and a P-256 key, valid for ten years.
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

    /// Reads an authority from the text of its PEM files.
    ///
    /// # Errors
    ///
    /// The certificate is not an authority's, or the key is not the certificate's.
    pub fn from_pem(
        certificate: &str,
        private_key: &Secret<String>,
    ) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| AuthorityError::NotAnAuthority)?;
        let parsed = Certificate::parse(&der).ok_or(AuthorityError::NotAnAuthority)?;
        let x509 = &parsed.x509;
        let may_sign = x509
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
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

    /// A certificate for a TLS server with these DNS names and addresses, valid for 825 days.
    pub fn server(&self, names: &[&str]) -> Result<Issued, AuthorityError> {
        let first = names.first().ok_or_else(|| AuthorityError::Name(String::new()))?;
        self.issue(first, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a TLS client with this common name of 1 to 64 characters, valid for 825
    /// days.
    pub fn client(&self, common_name: &str) -> Result<Issued, AuthorityError> {
        let usable = (1..=64).contains(&common_name.chars().count());
        if !usable || common_name.contains(char::is_control) {
            return Err(AuthorityError::Name(common_name.to_owned()));
        }
        self.issue(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A revocation list in PEM: the entries of `before` and, from now on, these certificates in
    /// PEM.
    ///
    /// # Errors
    ///
    /// `before` is not a list of this authority, or it did not sign one of the certificates.
    pub fn revoke(
        &self,
        before: Option<&str>,
        certificates: &[String],
    ) -> Result<String, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let own = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|_| AuthorityError::NotAnAuthority)?;
        let own = Certificate::parse(&own).ok_or(AuthorityError::NotAnAuthority)?;
        let own = own.x509.subject().as_raw();
        let mut revoked = before.map_or(Ok(vec![]), |list| revoked_in(list, own))?;
        for pem in certificates {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            let certificate = der.as_ref().ok().and_then(|der| Certificate::parse(der));
            let signed_here = certificate.filter(|found| found.x509.issuer().as_raw() == own);
            let x509 = signed_here
                .ok_or_else(|| {
                    let facts = super::CertificateFacts::from_pem(pem);
                    let name = facts.map_or("a file without certificate".into(), |f| f.subject);
                    AuthorityError::NotSignedHere(name)
                })?
                .x509;
            let serial = SerialNumber::from_slice(x509.raw_serial());
            if !revoked.iter().any(|known| known.serial_number == serial) {
                revoked.push(revoked_since(serial, now));
            }
        }
        let list = CertificateRevocationListParams {
            this_update: now - SKEW,
            next_update: now + LIST_LIFE,
            crl_number: SerialNumber::from(u64::try_from(now.unix_timestamp()).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
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

/// A self-signed certificate for a TLS server with these names.
pub(super) fn self_signed(names: &[String], now: OffsetDateTime) -> Result<Issued, AuthorityError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = names.first().ok_or_else(|| AuthorityError::Name(String::new()))?;
    let key = KeyPair::generate()?;
    let params = leaf(first, &names, now, ExtendedKeyUsagePurpose::ServerAuth)?;
    Ok(issued(params.self_signed(&key)?.pem(), &key))
}

/// The entries of an earlier list by the authority with this name.
fn revoked_in(pem: &str, own: &[u8]) -> Result<Vec<RevokedCertParams>, AuthorityError> {
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| AuthorityError::List)?;
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| AuthorityError::List)?;
    if list.issuer().as_raw() != own {
        return Err(AuthorityError::List);
    }
    let entries = list.iter_revoked_certificates();
    Ok(entries
        .map(|entry| {
            let serial = SerialNumber::from_slice(entry.raw_serial());
            revoked_since(serial, entry.revocation_date.to_datetime())
        })
        .collect())
}

fn revoked_since(
    serial_number: SerialNumber,
    revocation_time: OffsetDateTime,
) -> RevokedCertParams {
    RevokedCertParams { serial_number, revocation_time, reason_code: None, invalidity_date: None }
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

#[cfg(test)]
mod tests {
    use super::super::CertificateFacts;
    use super::*;

    fn facts(pem: &str) -> CertificateFacts {
        CertificateFacts::read(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn an_authority_that_was_written_down_signs_as_before() {
        let first = Authority::new("Praxis Müller").unwrap();
        let again = Authority::from_pem(first.certificate(), &first.private_key()).unwrap();
        let issued = [again.server(&["kim.praxis.local", "192.0.2.1"]), again.client("PC1")];
        for issued in issued {
            let facts = facts(&issued.unwrap().certificate);
            assert_eq!(facts.issuer, "CN=Praxis Müller");
            assert_eq!(facts.not_after - facts.not_before, LIFE);
        }
    }

    #[test]
    fn names_stand_where_clients_look_for_them() {
        let authority = Authority::new("CA").unwrap();
        let server = facts(&authority.server(&["kim.test", "192.0.2.1"]).unwrap().certificate);
        assert_eq!(server.names, ["kim.test", "192.0.2.1"]);
        assert_eq!(server.common_name.as_deref(), Some("kim.test"));
        let client = facts(&authority.client("Empfang 1").unwrap().certificate);
        assert_eq!(client.common_name.as_deref(), Some("Empfang 1"));
        for bad in [&[][..], &[""], &["a b"], &["https://kim"], &["kim.test", "a\nb"]] {
            assert!(matches!(authority.server(bad), Err(AuthorityError::Name(_))), "{bad:?}");
        }
        for bad in ["", "a\r\nb", &"x".repeat(65)] {
            assert!(matches!(authority.client(bad), Err(AuthorityError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_authority_cannot_sign() {
        let authority = Authority::new("CA").unwrap();
        let leaf = authority.server(&["kim.test"]).unwrap();
        let other = Authority::new("CA").unwrap();
        for (certificate, key) in [
            (leaf.certificate.as_str(), &leaf.private_key),
            ("", &leaf.private_key),
            (authority.certificate(), &other.private_key()),
            (authority.certificate(), &Secret::new(String::new())),
        ] {
            let error = Authority::from_pem(certificate, key).unwrap_err();
            assert!(!error.to_string().contains("PRIVATE"), "{error}");
        }
    }

    #[test]
    fn a_list_of_what_was_revoked_grows_and_holds_its_own_certificates_alone() {
        let authority = Authority::new("Praxis").unwrap();
        let issue = |name| authority.client(name).unwrap().certificate;
        let first = authority.revoke(None, &[issue("PC1")]).unwrap();
        let twice = issue("PC2");
        let second = authority.revoke(Some(&first), &[twice.clone(), twice]).unwrap();
        let der = CertificateRevocationListDer::from_pem_slice(second.as_bytes()).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        assert_eq!(list.iter_revoked_certificates().count(), 2);
        let other = Authority::new("Other").unwrap();
        let foreign = other.client("PC1").unwrap().certificate;
        let error = authority.revoke(None, &[foreign]).unwrap_err().to_string();
        assert!(error.starts_with("CN=PC1 was not signed"), "{error}");
        for list in ["", &other.revoke(None, &[]).unwrap()] {
            assert!(matches!(authority.revoke(Some(list), &[]), Err(AuthorityError::List)));
        }
    }

    #[test]
    fn nothing_prints_a_key() {
        let authority = Authority::new("CA").unwrap();
        let issued = authority.client("PC1").unwrap();
        let printed = format!("{authority:?} {issued:?}");
        assert!(!printed.contains("PRIVATE KEY") && printed.contains("[secret]"), "{printed}");
    }
}

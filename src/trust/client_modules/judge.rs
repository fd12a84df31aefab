//! Whether a client module's certificate is accepted: a pure function of chain, name and time.
//!
//! webpki checks in the order version and extensions, dates, CA flag, usage, path and signatures,
//! and reports the first failure only. A CA flag thus hides every later fault, and an unknown
//! issuer hides a weak key. So the leaf's own properties are checked here first, and the path last.
//! An error that this code does not know can be neither pinned nor tolerated.

use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::x509::X509Version;

use super::class::Class;
use super::verdict::{Asked, Stands, Verdict};
use crate::trust::chain;
use crate::trust::config::Pin;
use crate::trust::facts::{CertificateFacts, common_names, dns_names};
use crate::trust::x509::{Certificate, Key, fingerprint};

/// RSA keys with fewer bits are refused.
const RSA_BITS: usize = 2048;

/// What is trusted, and which of two faults is tolerated.
#[derive(Debug)]
pub(super) struct Judge {
    /// All roots: those of `ca` and, if configured, the system's.
    pub(super) roots: RootCertStore,
    /// The certificates of `ca` themselves.
    pub(super) listed: Vec<CertificateDer<'static>>,
    pub(super) pins: Vec<Pin>,
    pub(super) ignore_self_signed: bool,
    pub(super) ignore_name_mismatch: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    /// Judges a chain, leaf first.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        let Some((leaf, above)) = chain.split_first() else {
            return Verdict::of_handshake(Class::Malformed);
        };
        let Some(certificate) = Certificate::parse(leaf) else {
            return Verdict::of_handshake(Class::Malformed);
        };
        let pin = Pin(fingerprint(leaf));
        let mut facts = CertificateFacts::of(&certificate, pin);
        let found = self.examine(leaf, &certificate, above, name, now);
        let (class, issuer_at_fault) = match found {
            Ok(class) => (class, false),
            Err(Fault::Leaf(class)) => (class, false),
            Err(Fault::Above(class)) => (class, true),
        };
        facts.issuer_at_fault = issuer_at_fault;
        facts.name_differs_too = class == Class::UnknownIssuer && !is_for(leaf, name);
        // A pin vouches for the leaf: its issuer and the issuer's faults do not matter then. A
        // fault of the leaf itself still does.
        let pinned = self.pins.contains(&pin) && (issuer_at_fault || is_tolerable(class));
        let (class, accepted) =
            if pinned { (Class::Pinned, true) } else { (class, self.accepts(class)) };
        let is_misnamed = matches!(class, Class::NameMismatch | Class::SelfSignedAndNameMismatch)
            || class == Class::UnknownIssuer && facts.name_differs_too;
        let asked = is_misnamed.then(|| asked(name, &certificate));
        Verdict { class, accepted, certificate: Some(facts), replaces: None, asked }
    }

    fn accepts(&self, class: Class) -> bool {
        match class {
            Class::Ok | Class::Pinned => true,
            Class::SelfSigned => self.ignore_self_signed,
            Class::NameMismatch => self.ignore_name_mismatch,
            Class::SelfSignedAndNameMismatch => {
                self.ignore_self_signed && self.ignore_name_mismatch
            }
            Class::Expired
            | Class::NotYetValid
            | Class::UnknownIssuer
            | Class::ChainTooLong
            | Class::BadSignature
            | Class::WeakKey
            | Class::WeakSignature
            | Class::WrongUsage
            | Class::Malformed
            | Class::Version1
            | Class::Brainpool
            | Class::ProtocolTooOld
            | Class::NoCommonCipher
            | Class::PlaintextOnTlsPort
            | Class::TlsOnPlaintextPort
            | Class::OwnCertificateRefused
            | Class::Reset => false,
        }
    }

    /// Checks the leaf's own properties first, then the path above it, then the name.
    fn examine(
        &self,
        leaf: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Class, Fault> {
        if certificate.x509.version() != X509Version::V3 {
            return Err(Fault::Leaf(Class::Version1));
        }
        let end_entity =
            EndEntityCert::try_from(leaf).map_err(|_| Fault::Leaf(Class::Malformed))?;
        check_dates(certificate, now)?;
        self.check_strength(certificate)?;
        check_usage(certificate)?;
        if chain::is_too_long(leaf, above) {
            return Err(Fault::Above(Class::ChainTooLong));
        }
        let self_signed = self.check_path(leaf, certificate, &end_entity, above, now)?;
        let named = end_entity.verify_is_valid_for_subject_name(name).is_ok();
        Ok(match (self_signed, named) {
            (false, true) => Class::Ok,
            (false, false) => Class::NameMismatch,
            (true, true) => Class::SelfSigned,
            (true, false) => Class::SelfSignedAndNameMismatch,
        })
    }

    /// Checks that the provider knows the kinds of key and signature, and that an RSA key is long
    /// enough.
    fn check_strength(&self, certificate: &Certificate<'_>) -> Result<(), Fault> {
        if let Some(class) = self.weakness(certificate) {
            return Err(Fault::Leaf(class));
        }
        let signature = certificate.signature_algorithm;
        if self.algorithms.all.iter().any(|known| known.signature_alg_id().as_ref() == signature) {
            Ok(())
        } else {
            Err(Fault::Leaf(Class::WeakSignature))
        }
    }

    fn weakness(&self, certificate: &Certificate<'_>) -> Option<Class> {
        let key = certificate.key();
        let id = certificate.key_algorithm;
        if matches!(key, Key::Rsa(bits) if bits < RSA_BITS) {
            Some(Class::WeakKey)
        } else if self.algorithms.all.iter().any(|known| known.public_key_alg_id().as_ref() == id) {
            None
        } else if key.is_brainpool() {
            Some(Class::Brainpool)
        } else {
            Some(Class::WeakKey)
        }
    }

    /// Whether the path leads to a root (`false`) or the leaf signed itself (`true`).
    fn check_path(
        &self,
        leaf: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        end_entity: &EndEntityCert<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, Fault> {
        let error = match end_entity.verify_for_usage(
            self.algorithms.all,
            &self.roots.roots,
            above,
            now,
            KeyUsage::server_auth(),
            None,
            None,
        ) {
            Ok(_) => return Ok(false),
            Err(error) => error,
        };
        // webpki reports a bad signature where a root has the same subject, and the CA flag where
        // there is one. So a self-signed leaf is found by checking its signature with its own key.
        if certificate.is_self_issued() {
            if !self.signed_itself(certificate, end_entity) {
                return Err(Fault::Leaf(Class::BadSignature));
            }
            // A leaf that is listed byte for byte is a root, whatever its CA flag says.
            return Ok(!self.listed.contains(leaf));
        }
        Err(self.fault(error, certificate, above))
    }

    fn signed_itself(&self, certificate: &Certificate<'_>, end_entity: &EndEntityCert<'_>) -> bool {
        let signature = &certificate.x509.signature_value.data;
        self.algorithms.all.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == certificate.signature_algorithm
                && algorithm.public_key_alg_id().as_ref() == certificate.key_algorithm
                && end_entity
                    .verify_signature(*algorithm, certificate.signed_part, signature)
                    .is_ok()
        })
    }

    /// What webpki's error means once the leaf's own properties are known to be in order.
    #[expect(clippy::wildcard_enum_match_arm, reason = "an unknown error is never tolerated")]
    fn fault(
        &self,
        error: Error,
        certificate: &Certificate<'_>,
        above: &[CertificateDer<'_>],
    ) -> Fault {
        match error {
            Error::UnknownIssuer
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumSignatureChecksExceeded => Fault::Leaf(Class::UnknownIssuer),
            // The leaf has a CA flag; whether its issuer is known cannot be seen from this error.
            Error::CaUsedAsEndEntity => Fault::Leaf(Class::WrongUsage),
            Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self
                .weak_issuer(certificate, above)
                .map_or(Fault::Leaf(Class::BadSignature), Fault::Above),
            Error::UnsupportedSignatureAlgorithmContext(_) => Fault::Above(Class::WeakSignature),
            Error::CertExpired { .. } | Error::InvalidCertValidity => Fault::Above(Class::Expired),
            Error::CertNotValidYet { .. } => Fault::Above(Class::NotYetValid),
            Error::UnsupportedCertVersion => Fault::Above(Class::Version1),
            Error::EndEntityUsedAsCa
            | Error::PathLenConstraintViolated
            | Error::NameConstraintViolation
            | Error::RequiredEkuNotFoundContext(_) => Fault::Above(Class::WrongUsage),
            _ => Fault::Leaf(Class::Malformed),
        }
    }

    /// webpki reports the signature of a weak or unknown key as a bad signature; this finds the
    /// key.
    fn weak_issuer(
        &self,
        certificate: &Certificate<'_>,
        above: &[CertificateDer<'_>],
    ) -> Option<Class> {
        let shown = above.iter().filter_map(|der| Certificate::parse(der));
        let listed = self.listed.iter().filter_map(|der| Certificate::parse(der));
        let issuer = certificate.x509.issuer().as_raw();
        shown
            .chain(listed)
            .filter(|above| above.x509.subject().as_raw() == issuer)
            .find_map(|above| self.weakness(&above))
    }
}

fn is_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let named =
        EndEntityCert::try_from(leaf).and_then(|leaf| leaf.verify_is_valid_for_subject_name(name));
    named.is_ok()
}

/// What a certificate without this name was asked for.
fn asked(name: &ServerName<'_>, certificate: &Certificate<'_>) -> Asked {
    let is_address = matches!(name, ServerName::IpAddress(_));
    let name = name.to_str().into_owned();
    let is_it = |shown: &&str| shown.eq_ignore_ascii_case(&name);
    let stands = if dns_names(certificate).iter().any(is_it) {
        Some(Stands::AsDnsName)
    } else {
        common_names(certificate).any(|shown| is_it(&shown)).then_some(Stands::InSubject)
    };
    Asked { is_address, stands, name }
}

/// Where a fault lies. A pin outweighs every fault above the leaf.
enum Fault {
    Leaf(Class),
    Above(Class),
}

/// Whether a pin can outweigh this fault of the leaf.
fn is_tolerable(class: Class) -> bool {
    matches!(
        class,
        Class::Ok
            | Class::SelfSigned
            | Class::NameMismatch
            | Class::SelfSignedAndNameMismatch
            | Class::UnknownIssuer
    )
}

fn check_dates(certificate: &Certificate<'_>, now: UnixTime) -> Result<(), Fault> {
    let now = unix_seconds(now);
    if now < certificate.not_before().unix_timestamp() {
        Err(Fault::Leaf(Class::NotYetValid))
    } else if now > certificate.not_after().unix_timestamp() {
        Err(Fault::Leaf(Class::Expired))
    } else {
        Ok(())
    }
}

/// Seconds since 1970, the unit in which dates are compared.
pub(super) fn unix_seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// RFC 5280 section 4.2.1.3 and 4.2.1.12: an absent extension allows every use. One key usage that
/// TLS can use is enough, as with openssl: many certificates list only keyEncipherment, from the
/// days of RSA key exchange.
fn check_usage(certificate: &Certificate<'_>) -> Result<(), Fault> {
    let malformed = |_| Fault::Leaf(Class::Malformed);
    if let Some(usage) = certificate.x509.key_usage().map_err(malformed)? {
        let usage = usage.value;
        if !(usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()) {
            return Err(Fault::Leaf(Class::WrongUsage));
        }
    }
    if let Some(usage) = certificate.x509.extended_key_usage().map_err(malformed)?
        && !usage.value.server_auth
    {
        return Err(Fault::Leaf(Class::WrongUsage));
    }
    Ok(())
}

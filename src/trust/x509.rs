//! A parsed certificate, with the parts that webpki keeps private and that judging and showing
//! need.

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, FromDer};
use x509_parser::oid_registry::{OID_PKCS1_RSAENCRYPTION, Oid};
use x509_parser::public_key::PublicKey;

/// A parsed certificate, with the raw parts that signatures and names are compared by.
pub(super) struct Certificate<'a> {
    pub(super) x509: X509Certificate<'a>,
    /// What the signature is over.
    pub(super) signed_part: &'a [u8],
    /// Contents of the outer AlgorithmIdentifier.
    pub(super) signature_algorithm: &'a [u8],
    /// Contents of the key's AlgorithmIdentifier.
    pub(super) key_algorithm: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses it; `None` if it is not exactly one certificate in DER, with nothing after it.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (_, outer) = Any::from_der(der).ok()?;
        let (after, _) = Any::from_der(outer.data).ok()?;
        let signed_part = outer.data.get(..outer.data.len() - after.len())?;
        let (_, algorithm) = Any::from_der(after).ok()?;
        let (_, key) = Any::from_der(x509.tbs_certificate.subject_pki.raw).ok()?;
        let (_, key_algorithm) = Any::from_der(key.data).ok()?;
        Some(Self {
            signed_part,
            signature_algorithm: algorithm.data,
            key_algorithm: key_algorithm.data,
            x509,
        })
    }

    /// Issuer and subject are the same bytes.
    pub(super) fn is_self_issued(&self) -> bool {
        self.x509.issuer().as_raw() == self.x509.subject().as_raw()
    }

    pub(super) fn not_before(&self) -> OffsetDateTime {
        self.x509.validity().not_before.to_datetime()
    }

    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.x509.validity().not_after.to_datetime()
    }

    pub(super) fn key(&self) -> Key {
        let info = self.x509.public_key();
        match info.parsed() {
            Ok(PublicKey::RSA(key)) => Key::Rsa(key.key_size()),
            Ok(PublicKey::EC(_)) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
                Key::Ec(curve.map_or("with explicit parameters", |oid| curve_name(&oid)))
            }
            // An RSA key that cannot be read has no bits to speak of.
            _ if info.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION => Key::Rsa(0),
            _ => Key::Other(info.algorithm.algorithm.to_id_string()),
        }
    }
}

/// Kind and size of a public key.
pub(super) enum Key {
    /// Bits of the modulus.
    Rsa(usize),
    /// Name of the curve.
    Ec(&'static str),
    /// Object identifier of the algorithm.
    Other(String),
}

impl Key {
    pub(super) fn is_brainpool(&self) -> bool {
        matches!(self, Self::Ec(curve) if curve.starts_with("brainpool"))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ec(curve) => write!(f, "EC {curve}"),
            Self::Other(oid) => f.write_str(match oid.as_str() {
                "1.3.101.112" => "Ed25519",
                "1.3.101.113" => "Ed448",
                "1.2.840.113549.1.1.10" => "RSA-PSS",
                "1.2.840.10040.4.1" => "DSA",
                other => other,
            }),
        }
    }
}

/// SHA-256 over the whole certificate.
pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    to_array(&digest(&SHA256, der))
}

/// SHA-256 over parts. Each part's length goes first, so that different lists of parts never become
/// the same bytes.
pub(super) fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut all = Context::new(&SHA256);
    for part in parts {
        all.update(&part.len().to_be_bytes());
        all.update(part);
    }
    to_array(&all.finish())
}

fn to_array(digest: &Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// The names in use for curves; RFC 5480, RFC 5639.
fn curve_name(oid: &Oid<'_>) -> &'static str {
    match oid.to_id_string().as_str() {
        "1.2.840.10045.3.1.1" => "P-192",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.5" => "brainpoolP224r1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.8" => "brainpoolP256t1",
        "1.3.36.3.3.2.8.1.1.9" => "brainpoolP320r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.12" => "brainpoolP384t1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        "1.3.36.3.3.2.8.1.1.14" => "brainpoolP512t1",
        _ => "on an unknown curve",
    }
}

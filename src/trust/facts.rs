//! What a certificate says about itself, as text that is safe to print.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Name;

use super::config::Pin;
use super::printable::{hex, printable};
use super::x509::{Certificate, fingerprint};

/// The most names that are kept.
const MOST_NAMES: usize = 50;
/// The most parts of a subject or an issuer that are shown. A certificate of 32 KiB has room for 2,300,
/// and to write them all took 15 ms.
const MOST_PARTS: usize = 20;

/// What a certificate says. Its maker chose the texts, so control characters are escaped and long
/// texts are cut at 200 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Distinguished name, as in `CN=kim.praxis.local, O=Praxis`.
    pub subject: String,
    /// The distinguished name of the authority that signed it.
    pub issuer: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// DNS names and addresses of subjectAltName.
    pub names: Vec<String>,
    /// First moment of its validity.
    pub not_before: OffsetDateTime,
    /// Last moment of its validity.
    pub not_after: OffsetDateTime,
    /// Kind and size, as in `RSA 2048` or `EC brainpoolP256r1`.
    pub key: String,
    /// The signature algorithm, as in `ecdsa-with-SHA256`.
    pub signature: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// `sha256:` and 64 hexadecimal digits: what a pin is compared with.
    pub fingerprint: String,
    /// Whether the verdict is about a certificate above this one in the chain.
    pub issuer_at_fault: bool,
    /// Whether its issuer is unknown and it is for another name as well, as client modules'
    /// certificates usually are.
    pub name_differs_too: bool,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` if it cannot be read.
    pub fn read(der: &[u8]) -> Option<Self> {
        Some(Self::of(&Certificate::parse(der)?, Pin(fingerprint(der))))
    }

    /// Reads the first certificate of a PEM text; `None` if there is none.
    pub fn from_pem(pem: &str) -> Option<Self> {
        Self::read(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
    }

    pub(super) fn of(certificate: &Certificate<'_>, pin: Pin) -> Self {
        let x509 = &certificate.x509;
        Self {
            subject: name(x509.subject()),
            issuer: name(x509.issuer()),
            common_name: common_names(certificate).next().map(printable),
            names: alternative_names(certificate),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            key: certificate.key().to_string(),
            signature: signature_name(&x509.signature_algorithm.algorithm.to_id_string()),
            serial: printable(&hex(x509.raw_serial())),
            fingerprint: pin.to_string(),
            issuer_at_fault: false,
            name_differs_too: false,
        }
    }
}

/// When the first of these certificates expires.
pub(super) fn first_expiry(certificates: &[CertificateDer<'_>]) -> Option<OffsetDateTime> {
    let read = certificates.iter().filter_map(|der| Certificate::parse(der));
    read.map(|certificate| certificate.not_after()).min()
}

/// The subject's common names, as they stand there.
pub(super) fn common_names<'a>(certificate: &'a Certificate<'_>) -> impl Iterator<Item = &'a str> {
    certificate.x509.subject().iter_common_name().filter_map(|value| value.as_str().ok())
}

/// The DNS names of subjectAltName, as they stand there.
pub(super) fn dns_names<'a>(certificate: &'a Certificate<'_>) -> Vec<&'a str> {
    let Ok(Some(extension)) = certificate.x509.subject_alternative_name() else { return vec![] };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None })
        .collect()
}

fn alternative_names(certificate: &Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.x509.subject_alternative_name() else { return vec![] };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| {
            if let GeneralName::DNSName(dns) = name {
                Some(printable(dns))
            } else if let GeneralName::IPAddress(bytes) = name {
                address(bytes).map(|ip| ip.to_string())
            } else {
                None
            }
        })
        .take(MOST_NAMES)
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn name(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().take(MOST_PARTS).cloned().collect();
    printable(&X509Name::new(parts, name.as_raw()).to_string())
}

/// The usual name of a signature algorithm, else its object identifier.
fn signature_name(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "Ed25519",
        other => other,
    }
    .to_owned()
}

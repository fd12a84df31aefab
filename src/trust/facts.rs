//! What a certificate says about itself, readable and harmless to print.

use time::OffsetDateTime;

/// What a certificate says. Texts hold no control characters and have a limited length, since
/// whoever made the certificate chose them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Distinguished name, as in `CN=kim.praxis.local, O=Praxis`.
    pub subject: String,
    /// The distinguished name of whoever signed it.
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
    /// How it was signed, as in `ecdsa-with-SHA256`.
    pub signature: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// `sha256:` and 64 hexadecimal digits: what a pin is compared with.
    pub fingerprint: String,
    /// The verdict is not about this certificate but about one above it in the chain.
    pub issuer_at_fault: bool,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let _ = der;
        todo!()
    }
}

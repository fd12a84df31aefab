//! Everything that can be found about a client module's TLS; each word is a metric label.

use std::fmt;

/// What a handshake with a client module showed.
///
/// The classes of certificates come first, then those of handshakes that ended before a
/// certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Chain, dates, usage and name are in order.
    Ok,
    /// Not in order by itself, but its fingerprint is listed in `pins`.
    Pinned,
    /// It is its own issuer, and its signature is right for its own key.
    SelfSigned,
    /// In order except for the name.
    NameMismatch,
    /// Signed by itself and for another name.
    SelfSignedAndNameMismatch,
    /// It has expired, or a certificate above it has.
    Expired,
    /// It is not valid yet, or a certificate above it is not.
    NotYetValid,
    /// No path to a root that is trusted here.
    UnknownIssuer,
    /// More certificates, or more bytes of them, than are checked.
    ChainTooLong,
    /// A signature in the chain, or that of the handshake, is wrong.
    BadSignature,
    /// RSA below 2048 bits, or a kind of key that is not used for TLS.
    WeakKey,
    /// Signed over SHA-1, MD5 or the like.
    WeakSignature,
    /// Its usages do not include that of a TLS server.
    WrongUsage,
    /// Not DER, or with a critical extension that kimgate does not know.
    Malformed,
    /// X.509 version 1, which has no extensions and cannot be checked.
    Version1,
    /// A brainpool key that this build cannot check.
    Brainpool,
    /// Nothing newer than TLS 1.1 is spoken.
    ProtocolTooOld,
    /// No cipher suite, key exchange or signature scheme in common.
    NoCommonCipher,
    /// The port answers in clear where TLS was expected.
    PlaintextOnTlsPort,
    /// The port speaks TLS where a greeting in clear was expected.
    TlsOnPlaintextPort,
    /// The client module refused kimgate's own certificate, or wants one.
    OwnCertificateRefused,
    /// The connection broke off during the handshake.
    Reset,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 22] = [
        Self::Ok,
        Self::Pinned,
        Self::SelfSigned,
        Self::NameMismatch,
        Self::SelfSignedAndNameMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::ChainTooLong,
        Self::BadSignature,
        Self::WeakKey,
        Self::WeakSignature,
        Self::WrongUsage,
        Self::Malformed,
        Self::Version1,
        Self::Brainpool,
        Self::ProtocolTooOld,
        Self::NoCommonCipher,
        Self::PlaintextOnTlsPort,
        Self::TlsOnPlaintextPort,
        Self::OwnCertificateRefused,
        Self::Reset,
    ];

    /// The word in metric labels, audit lines and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pinned => "pinned",
            Self::SelfSigned => "self-signed",
            Self::NameMismatch => "name-mismatch",
            Self::SelfSignedAndNameMismatch => "self-signed-and-name-mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::UnknownIssuer => "unknown-issuer",
            Self::ChainTooLong => "chain-too-long",
            Self::BadSignature => "bad-signature",
            Self::WeakKey => "weak-key",
            Self::WeakSignature => "weak-signature",
            Self::WrongUsage => "wrong-usage",
            Self::Malformed => "malformed",
            Self::Version1 => "version1",
            Self::Brainpool => "brainpool",
            Self::ProtocolTooOld => "protocol-too-old",
            Self::NoCommonCipher => "no-common-cipher",
            Self::PlaintextOnTlsPort => "plaintext-on-tls-port",
            Self::TlsOnPlaintextPort => "tls-on-plaintext-port",
            Self::OwnCertificateRefused => "own-certificate-refused",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Class::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(words.len(), Class::ALL.len());
    }
}

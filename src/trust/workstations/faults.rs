//! Why a handshake with a workstation failed.

use std::io::ErrorKind;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use time::OffsetDateTime;

use super::phrases;
use super::verifier::RefusedWorkstation;
use crate::trust::facts::CertificateFacts;
use crate::trust::tls_error;
use crate::words::Language;

/// Why a handshake with a workstation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFault {
    class: FaultClass,
    /// The workstation's certificate, where it showed one.
    certificate: Option<CertificateFacts>,
}

impl HandshakeFault {
    /// The fault of a handshake whose certificate the verifier refused with `error`.
    pub(super) fn of_certificate(error: &Error, certificate: Option<CertificateFacts>) -> Self {
        Self { class: class_of(error), certificate }
    }

    /// The fault of a chain that is longer than what is checked.
    pub(super) fn too_long() -> Self {
        Self { class: FaultClass::TooLong, certificate: None }
    }

    /// The fault of a client that offers nothing newer than TLS 1.1.
    pub fn too_old() -> Self {
        Self { class: FaultClass::TooOld, certificate: None }
    }

    /// Its class as a word, such as `expired`.
    pub(super) fn word(&self) -> &'static str {
        self.class.as_str()
    }

    /// The fault behind the I/O error of a failed handshake.
    pub fn of(io: &std::io::Error) -> Self {
        let error = tls_error(io);
        if let Some(Error::InvalidCertificate(CertificateError::Other(other))) = error
            && let Some(RefusedWorkstation(fault)) = other.0.downcast_ref()
        {
            return fault.clone();
        }
        // An error that is not from rustls is the connection's, or ours about bytes that are no
        // TLS.
        let class = match (error, io.kind()) {
            (Some(error), _) => class_of(error),
            (None, ErrorKind::InvalidData | ErrorKind::InvalidInput) => FaultClass::NotTls,
            (None, _) => FaultClass::Gone,
        };
        Self { class, certificate: None }
    }

    /// The fault of a resumed session whose client certificate has expired since the first
    /// handshake; `chain` is the peer's, leaf first. `None` where it is empty or still valid.
    pub fn of_resumed(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let certificate = CertificateFacts::read(chain.first()?)?;
        let expired = certificate.not_after < OffsetDateTime::now_utc();
        expired.then_some(Self { class: FaultClass::Expired, certificate: Some(certificate) })
    }

    /// One line for the log: what was wrong, whose certificate it was, and what to do.
    pub fn sentence(&self, language: Language) -> String {
        let (found, advice) = phrases::texts(self.class, language);
        let Some(CertificateFacts { subject, issuer, serial, not_after, .. }) = &self.certificate
        else {
            return format!("{found} [{}]. {advice}", self.class.as_str());
        };
        let (word, end) = (self.class.as_str(), not_after.date());
        match language {
            Language::De => format!(
                "{found} [{word}]: Inhaber {subject}; Aussteller {issuer}; Seriennummer {serial}; \
                 gültig bis {end}. {advice}"
            ),
            Language::En => format!(
                "{found} [{word}]: subject {subject}; issuer {issuer}; serial number {serial}; \
                 valid until {end}. {advice}"
            ),
        }
    }
}

/// Everything that can go wrong in a handshake with a workstation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultClass {
    NoCertificate,
    Revoked,
    NoList,
    UnknownIssuer,
    Expired,
    NotYetValid,
    WrongUsage,
    BadSignature,
    BadList,
    TooLong,
    Unusable,
    NotTrusted,
    TooOld,
    NoCommonCipher,
    NoCommonGroup,
    NoCommonSignature,
    NotTls,
    Gone,
}

impl FaultClass {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Revoked => "revoked",
            Self::NoList => "no-revocation-list",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongUsage => "wrong-usage",
            Self::BadSignature => "bad-signature",
            Self::BadList => "bad-revocation-list",
            Self::TooLong => "chain-too-long",
            Self::Unusable => "unusable",
            Self::NotTrusted => "gateway-not-trusted",
            Self::TooOld => "protocol-too-old",
            Self::NoCommonCipher => "no-common-cipher",
            Self::NoCommonGroup => "no-common-group",
            Self::NoCommonSignature => "no-common-signature",
            Self::NotTls => "not-tls",
            Self::Gone => "reset",
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
fn class_of(error: &Error) -> FaultClass {
    match error {
        Error::NoCertificatesPresented => FaultClass::NoCertificate,
        Error::InvalidCertificate(error) => class_of_certificate(error),
        Error::InvalidCertRevocationList(_) => FaultClass::BadList,
        Error::AlertReceived(alert) => class_of_alert(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            // TLS 1.2 brought this extension (RFC 5246 section 7.4.1.4.1), and rustls looks for it
            // before it looks at the version.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => FaultClass::TooOld,
        Error::PeerIncompatible(
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired
            | PeerIncompatible::EcPointsExtensionRequired
            | PeerIncompatible::NoEcPointFormatsInCommon
            | PeerIncompatible::UncompressedEcPointsRequired,
        ) => FaultClass::NoCommonGroup,
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            FaultClass::NoCommonSignature
        }
        Error::PeerIncompatible(_) => FaultClass::NoCommonCipher,
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => FaultClass::NotTls,
        _ => FaultClass::Gone,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
fn class_of_certificate(error: &CertificateError) -> FaultClass {
    match error {
        CertificateError::Revoked => FaultClass::Revoked,
        CertificateError::UnknownRevocationStatus => FaultClass::NoList,
        CertificateError::UnknownIssuer => FaultClass::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => FaultClass::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            FaultClass::NotYetValid
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            FaultClass::WrongUsage
        }
        CertificateError::BadSignature => FaultClass::BadSignature,
        _ => FaultClass::Unusable,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds alerts at will")]
fn class_of_alert(alert: AlertDescription) -> FaultClass {
    match alert {
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => FaultClass::NotTrusted,
        AlertDescription::ProtocolVersion => FaultClass::TooOld,
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::IllegalParameter => FaultClass::NoCommonCipher,
        _ => FaultClass::Gone,
    }
}

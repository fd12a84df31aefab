//! What a failed handshake with a client module means, from its alert or its broken connection.

use std::io::ErrorKind;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::class::Class;
use super::verdict::Verdict;
use super::verifier::RefusedChain;
use crate::trust::tls_error;

/// The verdict on a failed handshake: the verdict on the certificate if that was refused, else what
/// the error itself shows. `None` where the error has nothing to do with TLS, such as a timeout.
pub fn verdict_of(error: &std::io::Error) -> Option<Verdict> {
    if let Some(refused) = refused(error) {
        return Some(refused.verdict.clone());
    }
    let class = match tls_error(error) {
        Some(error) => class_of(error),
        None => class_of_io(error.kind())?,
    };
    Some(Verdict::of_handshake(class))
}

/// The chain that was refused, leaf first, if the handshake failed because of the certificate.
pub fn refused_chain(error: &std::io::Error) -> Option<&[CertificateDer<'static>]> {
    refused(error).map(|refused| refused.chain.as_slice())
}

/// Whether an answer with these first bytes is TLS; for a port where a greeting in clear is
/// expected.
pub fn looks_like_tls(first: &[u8]) -> bool {
    matches!(first, [0x14..=0x17, 0x03, 0x00..=0x04, ..])
}

fn refused(error: &std::io::Error) -> Option<&RefusedChain> {
    if let Error::InvalidCertificate(CertificateError::Other(other)) = tls_error(error)? {
        other.0.downcast_ref()
    } else {
        None
    }
}

fn class_of_io(kind: ErrorKind) -> Option<Class> {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
    .then_some(Class::Reset)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
fn class_of(error: &Error) -> Class {
    match error {
        // "+OK" and "220" are no record types.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Class::PlaintextOnTlsPort,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Class::ProtocolTooOld,
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => Class::ProtocolTooOld,
        Error::PeerIncompatible(_) => Class::NoCommonCipher,
        Error::AlertReceived(alert) => class_of_alert(*alert),
        // The certificate was accepted, but the other side does not own its key.
        Error::InvalidCertificate(_) => Class::BadSignature,
        _ => Class::Reset,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds alerts at will")]
fn class_of_alert(alert: AlertDescription) -> Class {
    match alert {
        AlertDescription::ProtocolVersion => Class::ProtocolTooOld,
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::IllegalParameter => Class::NoCommonCipher,
        AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateRequired => Class::OwnCertificateRefused,
        _ => Class::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(error: impl Into<Error>) -> Class {
        let error = std::io::Error::new(ErrorKind::InvalidData, error.into());
        verdict_of(&error).unwrap().class
    }

    #[test]
    fn alerts_and_errors_become_classes() {
        use AlertDescription as Alert;
        for (error, expected) in [
            (Error::AlertReceived(Alert::ProtocolVersion), Class::ProtocolTooOld),
            (Error::AlertReceived(Alert::HandshakeFailure), Class::NoCommonCipher),
            (Error::AlertReceived(Alert::CertificateRequired), Class::OwnCertificateRefused),
            (Error::AlertReceived(Alert::InternalError), Class::Reset),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), Class::NoCommonCipher),
            (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), Class::ProtocolTooOld),
            (InvalidMessage::InvalidContentType.into(), Class::PlaintextOnTlsPort),
            (CertificateError::BadSignature.into(), Class::BadSignature),
        ] {
            assert_eq!(class(error.clone()), expected, "{error:?}");
        }
    }

    #[test]
    fn broken_connections_have_a_class_and_timeouts_none() {
        let of = |kind: ErrorKind| verdict_of(&kind.into()).map(|verdict| verdict.class);
        assert_eq!(of(ErrorKind::ConnectionReset), Some(Class::Reset));
        assert_eq!(of(ErrorKind::UnexpectedEof), Some(Class::Reset));
        assert_eq!(of(ErrorKind::TimedOut), None);
        assert_eq!(of(ErrorKind::ConnectionRefused), None);
    }

    #[test]
    fn a_tls_record_is_told_from_a_greeting() {
        assert!(looks_like_tls(&[0x15, 0x03, 0x01, 0x00, 0x02]));
        for greeting in ["+OK ready", "220 kim", "", "\x15"] {
            assert!(!looks_like_tls(greeting.as_bytes()), "{greeting}");
        }
    }
}

//! What a failed handshake means: alerts and broken connections say little by themselves.

use rustls::pki_types::CertificateDer;

use super::verdict::Verdict;

/// The verdict on a failed handshake: that on the certificate, or what the handshake itself
/// shows; `None` where the error has nothing to do with TLS, as a timeout.
pub fn verdict_of(error: &std::io::Error) -> Option<Verdict> {
    let _ = error;
    todo!()
}

/// The chain that was refused, leaf first, if it was for its certificate that the handshake
/// failed.
pub fn refused_chain(error: &std::io::Error) -> Option<&[CertificateDer<'static>]> {
    let _ = error;
    todo!()
}

/// Whether these first bytes of an answer are TLS where a greeting in clear was expected.
pub fn looks_like_tls(first: &[u8]) -> bool {
    matches!(first, [0x14..=0x17, 0x03, 0x00..=0x04, ..])
}

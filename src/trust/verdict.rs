//! What a handshake with a client module showed, as one sentence for a person.

use crate::words::Language;

use super::class::Class;
use super::facts::CertificateFacts;

/// What was found about a client module's TLS, and whether the configuration accepts it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is wrong, or that nothing is.
    pub class: Class,
    /// Whether the configuration lets this pass.
    pub accepted: bool,
    /// The certificate that was shown; `None` where the handshake never got to one, or where it
    /// cannot be read.
    pub certificate: Option<CertificateFacts>,
}

impl Verdict {
    /// The verdict on a handshake that failed before a certificate could be judged.
    pub fn of_handshake(class: Class) -> Self {
        Self { class, accepted: false, certificate: None }
    }

    /// Class, certificate and what to do, in one line of ASCII.
    pub fn sentence(&self, language: Language) -> String {
        let _ = language;
        todo!()
    }

    /// The lines for `[client_modules.NAME.trust]` that would accept exactly this, best one
    /// first; none where no line may.
    pub fn accepting_lines(&self) -> Vec<String> {
        todo!()
    }
}

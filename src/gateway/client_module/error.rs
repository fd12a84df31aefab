//! Why a client module cannot be used.

use crate::words::Reason;

/// Why a client module cannot be used now.
#[derive(Debug)]
pub(crate) struct DialError {
    /// Unreachable, untrusted, or a protocol error.
    pub(crate) reason: Reason,
    /// One line for a person; it holds nothing of a login.
    pub(crate) detail: String,
    /// It showed a certificate that the configuration does not accept.
    certificate_refused: bool,
}

impl DialError {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), certificate_refused: false }
    }

    pub(super) fn untrusted_certificate(detail: impl Into<String>) -> Self {
        let certificate_refused = true;
        Self { certificate_refused, ..Self::new(Reason::ClientModuleUntrusted, detail) }
    }

    /// What the workstation is told of it. A certificate's description is for log and `doctor`.
    pub(crate) fn told(&self) -> &str {
        if self.certificate_refused { "" } else { &self.detail }
    }

    /// Whether the client module does not serve, so that its standby is asked: it does not answer, turns
    /// everybody away, or speaks another protocol. One whose certificate is not accepted may be a
    /// stranger in its place, which the operator has to see.
    pub(super) fn is_out_of_service(&self) -> bool {
        !self.certificate_refused
    }
}

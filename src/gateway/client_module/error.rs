//! Why a client module cannot be used.

use crate::words::Reason;

/// Why a client module cannot be used now.
#[derive(Debug)]
pub(crate) struct DialError {
    /// Unreachable, untrusted, or a protocol error.
    pub(crate) reason: Reason,
    /// One line for a person; it holds nothing of a login.
    pub(crate) detail: String,
}

impl DialError {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

//! A KIM mail address as a name for an account.

use std::fmt;
use std::sync::Arc;

/// An account: a mail address, compared without case and therefore kept in lower case.
///
/// KIM addresses are ASCII (gematik FAQ: `A-Z a-z 0-9 . - _` before the `@`), so ASCII case is all
/// that is folded; any other byte stands for itself. The address on the wire keeps its own case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account(Arc<str>);

impl Account {
    /// The account of this address.
    pub fn new(address: &str) -> Self {
        Self(address.to_ascii_lowercase().into())
    }

    /// The address in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `address` names this account.
    pub fn is(&self, address: &str) -> bool {
        self.0.eq_ignore_ascii_case(address)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

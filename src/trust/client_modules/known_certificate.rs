//! What is kept of a certificate, so that another one is noticed and can be told from it.

use serde::{Deserialize, Serialize};

/// A certificate that was shown in a good connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCertificate {
    /// `sha256:` and 64 hexadecimal digits.
    pub fingerprint: String,
    /// Its distinguished name.
    pub subject: String,
    /// When it expires, in Unix seconds.
    pub not_after: i64,
    /// When it was first seen, in Unix seconds.
    pub since: i64,
}

//! What the console shows.

use serde::{Deserialize, Serialize};

/// Whether mail can go through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Nothing is missing.
    pub ready: bool,
    /// What is, one sentence each.
    pub missing: Vec<String>,
}

/// One look at a running gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Whether mail can go through.
    pub readiness: Readiness,
}

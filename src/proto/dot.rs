//! Where a dot-ended message ends; changes no byte.

/// stub
#[derive(Clone, Debug)]
pub struct DotScan {}

/// What one scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Octets that an earlier scan held back and that are harmless: forward them first.
    pub release: &'static [u8],
    /// Then forward so many of these octets.
    pub safe: usize,
    /// The message, with its final line, ends after so many of these octets.
    pub end: Option<usize>,
    /// Latched: two servers could disagree about where the message ends.
    pub ambiguous: bool,
}

/// The line that ends a message. A strict scan never lets it through: whoever decides that the
/// message may be completed writes it.
pub const END: &[u8] = b".\r\n";

impl DotScan {
    /// stub
    pub fn strict() -> Self {
        Self {}
    }

    /// stub
    pub fn lenient() -> Self {
        Self {}
    }

    /// stub
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        Scanned { release: b"", safe: bytes.len(), end: None, ambiguous: false }
    }
}

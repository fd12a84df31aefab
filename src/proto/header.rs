//! Reads wanted fields of a header block that streams by.

/// stub
#[derive(Clone, Debug)]
pub struct HeaderReader {}

impl HeaderReader {
    /// stub
    pub fn new(_wanted: &'static [&'static str], _limit: usize) -> Self {
        Self {}
    }

    /// Reads on. `Some(n)`: the header block, with its empty line, ends after n of these octets.
    pub fn feed(&mut self, _bytes: &[u8]) -> Option<usize> {
        None
    }

    /// stub
    pub fn is_done(&self) -> bool {
        false
    }

    /// stub
    pub fn is_over_limit(&self) -> bool {
        false
    }

    /// stub
    pub fn values<'a>(&'a self, _name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::empty()
    }

    /// stub
    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }
}

//! The server side up to the login.

use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::front;
pub use crate::proto::front::{Stage, Step};

/// What this front needs to know.
pub type Setup = front::Setup<SmtpCapabilities>;

/// stub
pub struct Front {}

impl Front {
    /// stub
    pub fn new(_setup: Setup, _greet: bool) -> Self {
        Self {}
    }

    /// stub
    pub fn feed(&mut self, _bytes: &[u8]) {}

    /// stub
    pub fn step(&mut self) -> Step {
        Step::NeedInput
    }

    /// stub
    pub fn refuse(&mut self, _reply: &[u8]) {}

    /// stub
    pub fn accept(self) -> Vec<u8> {
        Vec::new()
    }

    /// The name of EHLO.
    pub fn ehlo_name(&self) -> Option<&str> {
        None
    }
}

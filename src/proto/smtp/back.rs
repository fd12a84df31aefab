//! The client side towards the client module.

use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::sasl::Credentials;

/// stub
pub struct Back {
    capabilities: SmtpCapabilities,
}

impl Back {
    /// stub
    pub fn new(_name: &str, _start_tls: bool) -> Self {
        Self { capabilities: SmtpCapabilities::conservative() }
    }

    /// stub
    pub fn feed(&mut self, _bytes: &[u8]) {}

    /// stub
    pub fn step(&mut self) -> Result<BackStep, ProtocolError> {
        Ok(BackStep::NeedInput)
    }

    /// stub
    pub fn secured(&mut self) {}

    /// stub
    pub fn log_in(&mut self, _credentials: &Credentials) {}

    /// stub
    pub fn capabilities(&self) -> &SmtpCapabilities {
        &self.capabilities
    }

    /// Says goodbye; [`BackStep::Done`] comes when it is answered.
    pub fn quit(&mut self) {}
}

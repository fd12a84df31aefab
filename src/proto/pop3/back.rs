//! The client side towards the client module.

use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::sasl::Credentials;

/// stub
pub struct Back {
    capabilities: Pop3Capabilities,
}

impl Back {
    /// stub
    pub fn new(_start_tls: bool) -> Self {
        Self { capabilities: Pop3Capabilities::conservative() }
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

    /// Sends CAPA; [`BackStep::Ready`] comes again when it is answered.
    pub fn ask_capabilities(&mut self) {}

    /// stub
    pub fn capabilities(&self) -> &Pop3Capabilities {
        &self.capabilities
    }

    /// Says goodbye; [`BackStep::Done`] comes when it is answered.
    pub fn quit(&mut self) {}
}

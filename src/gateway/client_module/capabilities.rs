//! What client modules offer.

use crate::proto::capabilities::{Offer, Pop3Capabilities, SmtpCapabilities};
use crate::words::Protocol;

/// What client modules offer in both protocols, limited to what kimgate can carry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capabilities {
    pub(crate) pop3: Pop3Capabilities,
    pub(crate) smtp: SmtpCapabilities,
}

impl Capabilities {
    /// What is assumed until a client module has answered for the first time.
    pub(crate) fn conservative() -> Self {
        Self { pop3: Pop3Capabilities::conservative(), smtp: SmtpCapabilities::conservative() }
    }

    /// The same with what it offers in one protocol now.
    pub(crate) fn with(self, offer: Offer) -> Self {
        match offer {
            Offer::Pop3(pop3) => Self { pop3, ..self },
            Offer::Smtp(smtp) => Self { smtp, ..self },
        }
    }

    /// The lines of one protocol, as the client module sent them.
    pub(crate) fn lines(&self, protocol: Protocol) -> &[String] {
        match protocol {
            Protocol::Pop3 => self.pop3.lines(),
            Protocol::Smtp => self.smtp.lines(),
        }
    }

    /// What both offer.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        Self { pop3: self.pop3.intersect(&other.pop3), smtp: self.smtp.intersect(&other.smtp) }
    }
}

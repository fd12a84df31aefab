//! The front of the listener's protocol, and the loop that drives it.

use crate::gateway::client_module::Capabilities;
use crate::gateway::reply::{Wording, hinted};
use crate::gateway::wire::{Filled, Wire};
use crate::proto::front::{Front, FrontStep, Setup};
use crate::proto::sasl::Credentials;
use crate::proto::{pop3, smtp};
use crate::secret::Secret;
use crate::words::{CloseReason, Protocol};

/// The front of this protocol.
pub(crate) fn new(
    protocol: Protocol,
    setup: Setup,
    capabilities: Capabilities,
    greet: bool,
) -> Box<dyn Front> {
    match protocol {
        Protocol::Pop3 => Box::new(pop3::Front::new(setup, capabilities.pop3, greet)),
        Protocol::Smtp => Box::new(smtp::Front::new(setup, capabilities.smtp, greet)),
    }
}

/// What a workstation wants that a front cannot do itself.
pub(crate) enum FrontEvent {
    StartTls,
    /// A login is named, and its password is still to come.
    Named(Secret<Vec<u8>>),
    Login(Credentials),
    Quit,
}

/// Answers the workstation, refusals in this `wording`, until it wants something that the front cannot do
/// itself.
pub(crate) async fn drive(
    front: &mut dyn Front,
    client: &mut Wire,
    protocol: Protocol,
    wording: Wording<'_>,
) -> Result<FrontEvent, CloseReason> {
    loop {
        match front.step() {
            FrontStep::Send(reply) => {
                client.send(&reply).await.map_err(|_| CloseReason::ClientLeft)?
            }
            FrontStep::NeedInput => {
                // More may have come while the last login was decided.
                if client.bytes().is_empty()
                    && let Filled::Ended(_) = client.fill().await
                {
                    return Err(CloseReason::ClientLeft);
                }
                front.feed(client.bytes());
                client.consume_and_wipe();
            }
            FrontStep::StartTls => return Ok(FrontEvent::StartTls),
            FrontStep::Named(login) => return Ok(FrontEvent::Named(login)),
            FrontStep::Login(credentials) => return Ok(FrontEvent::Login(credentials)),
            FrontStep::Quit => return Ok(FrontEvent::Quit),
            FrontStep::Refuse(hint) => {
                let reply = hinted(protocol, wording, hint);
                client.send(&reply).await.map_err(|_| CloseReason::ClientLeft)?;
            }
            FrontStep::Close(hint) => {
                let reply = hinted(protocol, wording, hint);
                client.send(&reply).await.map_err(|_| CloseReason::ClientLeft)?;
                return Err(hint.reason().into());
            }
        }
    }
}

//! The front machines of both protocols as one type, and the loop that drives them.

use crate::gateway::client_module::Capabilities;
use crate::gateway::reply::hinted;
use crate::gateway::wire::{Filled, Wire};
use crate::proto::front::{FrontStep, Setup};
use crate::proto::sasl::Credentials;
use crate::proto::{pop3, smtp};
use crate::words::{CloseReason, Language, Protocol};

/// The server's side of a dialogue up to the login.
pub(crate) enum Front {
    Pop3(pop3::Front),
    Smtp(smtp::Front),
}

/// What a workstation wants that a front cannot do itself.
pub(crate) enum FrontEvent {
    StartTls,
    Login(Credentials),
    Quit,
}

impl Front {
    pub(crate) fn new(protocol: Protocol, setup: Setup<Capabilities>, greet: bool) -> Self {
        let Setup { name, stage, capabilities, login_line, command_line } = setup;
        match protocol {
            Protocol::Pop3 => {
                let capabilities = capabilities.pop3;
                let setup = Setup { name, stage, capabilities, login_line, command_line };
                Self::Pop3(pop3::Front::new(setup, greet))
            }
            Protocol::Smtp => {
                let capabilities = capabilities.smtp;
                let setup = Setup { name, stage, capabilities, login_line, command_line };
                Self::Smtp(smtp::Front::new(setup, greet))
            }
        }
    }

    /// Answers the workstation, refusals in `language`, until it wants something that the front
    /// cannot do itself.
    pub(crate) async fn drive(
        &mut self,
        client: &mut Wire,
        language: Language,
    ) -> Result<FrontEvent, CloseReason> {
        let protocol = self.protocol();
        loop {
            match self.step() {
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
                    self.feed(client.bytes());
                    client.consume_and_wipe();
                }
                FrontStep::StartTls => return Ok(FrontEvent::StartTls),
                FrontStep::Login(credentials) => return Ok(FrontEvent::Login(credentials)),
                FrontStep::Quit => return Ok(FrontEvent::Quit),
                FrontStep::Refuse(hint) => {
                    let reply = hinted(protocol, language, hint);
                    client.send(&reply).await.map_err(|_| CloseReason::ClientLeft)?;
                }
                FrontStep::Close(hint) => {
                    let reply = hinted(protocol, language, hint);
                    client.send(&reply).await.map_err(|_| CloseReason::ClientLeft)?;
                    return Err(hint.reason().into());
                }
            }
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Pop3(_) => Protocol::Pop3,
            Self::Smtp(_) => Protocol::Smtp,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Pop3(front) => front.feed(bytes),
            Self::Smtp(front) => front.feed(bytes),
        }
    }

    fn step(&mut self) -> FrontStep {
        match self {
            Self::Pop3(front) => front.step(),
            Self::Smtp(front) => front.step(),
        }
    }

    /// The login was refused with this reply, and the workstation may try again.
    pub(crate) fn refuse(&mut self, reply: &[u8]) {
        match self {
            Self::Pop3(front) => front.refuse(reply),
            Self::Smtp(front) => front.refuse(reply),
        }
    }

    /// The login was accepted. Returns the bytes that the workstation sent after it.
    pub(crate) fn accept(self) -> Vec<u8> {
        match self {
            Self::Pop3(front) => front.accept(),
            Self::Smtp(front) => front.accept(),
        }
    }
}

//! The back machines of both protocols as one type, and the loop that drives them.

use std::io;

use crate::gateway::wire::{Filled, Wire};
use crate::proto::back::BackStep;
use crate::proto::sasl::Credentials;
use crate::proto::{ProtocolError, pop3, smtp};
use crate::trust::UpstreamTls;
use crate::words::Protocol;

/// The client's side of a dialogue with a client module.
pub(crate) enum Back {
    Pop3(pop3::Back),
    Smtp(smtp::Back),
}

/// Why a client module did not get to the next step.
#[derive(Debug)]
pub(crate) enum BackError {
    /// It closed the connection.
    Gone,
    /// It sent something that the protocol does not allow there.
    Protocol(ProtocolError),
    /// The TLS handshake failed, possibly because its certificate was refused.
    Tls(io::Error),
}

impl From<ProtocolError> for BackError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl Back {
    pub(crate) fn new(protocol: Protocol, name: &str, start_tls: bool) -> Self {
        match protocol {
            Protocol::Pop3 => Self::Pop3(pop3::Back::new(start_tls)),
            Protocol::Smtp => Self::Smtp(smtp::Back::new(name, start_tls)),
        }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Pop3(_) => Protocol::Pop3,
            Self::Smtp(_) => Protocol::Smtp,
        }
    }

    /// Exchanges lines until the client module waits for a login or has answered one, or has
    /// answered QUIT. `tls` is for STARTTLS and STLS.
    pub(crate) async fn drive(
        &mut self,
        module: &mut Wire,
        tls: Option<&UpstreamTls>,
    ) -> Result<BackStep, BackError> {
        loop {
            match self.step()? {
                BackStep::Send(bytes) => {
                    module.send(bytes.expose()).await.map_err(|_| BackError::Gone)?;
                }
                BackStep::NeedInput => match module.fill().await {
                    Filled::More => {
                        self.feed(module.bytes());
                        module.consume_and_wipe();
                    }
                    Filled::Ended(_) => return Err(BackError::Gone),
                },
                BackStep::StartTls => {
                    let tls = tls.ok_or(ProtocolError::OutOfOrder("STARTTLS"))?;
                    module.connect_tls(tls).await.map_err(BackError::Tls)?;
                    self.secured();
                }
                step @ (BackStep::Ready
                | BackStep::LoggedIn(_)
                | BackStep::Refused(_)
                | BackStep::Done) => return Ok(step),
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Pop3(back) => back.feed(bytes),
            Self::Smtp(back) => back.feed(bytes),
        }
    }

    fn step(&mut self) -> Result<BackStep, ProtocolError> {
        match self {
            Self::Pop3(back) => back.step(),
            Self::Smtp(back) => back.step(),
        }
    }

    fn secured(&mut self) {
        match self {
            Self::Pop3(back) => back.secured(),
            Self::Smtp(back) => back.secured(),
        }
    }

    pub(crate) fn log_in(&mut self, credentials: &Credentials) {
        match self {
            Self::Pop3(back) => back.log_in(credentials),
            Self::Smtp(back) => back.log_in(credentials),
        }
    }

    pub(crate) fn quit(&mut self) {
        match self {
            Self::Pop3(back) => back.quit(),
            Self::Smtp(back) => back.quit(),
        }
    }

    /// Asks a POP3 server what it offers. An SMTP server has already sent that in its answer to EHLO.
    /// Returns whether there is an answer to wait for.
    pub(crate) fn ask_capabilities(&mut self) -> bool {
        match self {
            Self::Pop3(back) => {
                back.ask_capabilities();
                true
            }
            Self::Smtp(_) => false,
        }
    }
}

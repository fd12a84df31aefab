//! The two protocols' login machines behind one face, and the loop that drives each.

use std::io;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::reply::hinted;
use super::stream::Stream;
use super::wire::{Filled, Wire};
use crate::proto::back::BackStep;
use crate::proto::capabilities::{Pop3Capabilities, SmtpCapabilities};
use crate::proto::front::{FrontStep, Setup};
use crate::proto::sasl::Credentials;
use crate::proto::{ProtocolError, pop3, smtp};
use crate::words::{Close, Language, Protocol};

/// What client modules offer and kimgate can carry, for both protocols.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capabilities {
    pub(crate) pop3: Pop3Capabilities,
    pub(crate) smtp: SmtpCapabilities,
}

impl Capabilities {
    /// Until a client module has answered for the first time.
    pub(crate) fn conservative() -> Self {
        Self { pop3: Pop3Capabilities::conservative(), smtp: SmtpCapabilities::conservative() }
    }

    /// The protocol's own, as they were announced.
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

/// The server's side of a dialogue up to the login.
pub(crate) enum Front {
    Pop3(pop3::Front),
    Smtp(smtp::Front),
}

/// What a workstation wants, up to the login.
pub(crate) enum Wish {
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

    /// Answers the workstation until it wants something that is not the front's to give.
    /// Refusals are written in `language`.
    pub(crate) async fn drive(
        &mut self,
        client: &mut Wire,
        language: Language,
    ) -> Result<Wish, Close> {
        let protocol = self.protocol();
        loop {
            match self.step() {
                FrontStep::Send(reply) => {
                    client.send(&reply).await.map_err(|_| Close::ClientLeft)?
                }
                FrontStep::NeedInput => {
                    // While the last login was being decided, more may have come already.
                    if client.bytes().is_empty()
                        && let Filled::Ended(_) = client.fill().await
                    {
                        return Err(Close::ClientLeft);
                    }
                    self.feed(client.bytes());
                    client.consume_and_wipe();
                }
                FrontStep::StartTls => return Ok(Wish::StartTls),
                FrontStep::Login(credentials) => return Ok(Wish::Login(credentials)),
                FrontStep::Quit => return Ok(Wish::Quit),
                FrontStep::Refuse(hint) => {
                    let reply = hinted(protocol, language, hint);
                    client.send(&reply).await.map_err(|_| Close::ClientLeft)?;
                }
                FrontStep::Close(hint) => {
                    let reply = hinted(protocol, language, hint);
                    client.send(&reply).await.map_err(|_| Close::ClientLeft)?;
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

    /// The login was refused with this reply; another try is welcome.
    pub(crate) fn refuse(&mut self, reply: &[u8]) {
        match self {
            Self::Pop3(front) => front.refuse(reply),
            Self::Smtp(front) => front.refuse(reply),
        }
    }

    /// The login was accepted; gives what the workstation sent after it.
    pub(crate) fn accept(self) -> Vec<u8> {
        match self {
            Self::Pop3(front) => front.accept(),
            Self::Smtp(front) => front.accept(),
        }
    }
}

/// The client's side of a dialogue with a client module.
pub(crate) enum Back {
    Pop3(pop3::Back),
    Smtp(smtp::Back),
}

/// TLS to use where the client module offers STARTTLS or STLS.
pub(crate) struct StartTls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

/// Why a client module did not get to the next step.
#[derive(Debug)]
pub(crate) enum BackError {
    /// It closed the connection.
    Gone,
    /// It said something that does not belong there.
    Protocol(ProtocolError),
    /// Its TLS failed, its certificate among other things.
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

    /// Talks until the client module waits for us, or has answered the login.
    pub(crate) async fn drive(
        &mut self,
        module: &mut Wire,
        start_tls: Option<&StartTls>,
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
                    let tls = start_tls.ok_or(ProtocolError::OutOfOrder("STARTTLS"))?;
                    secure(module, tls).await.map_err(BackError::Tls)?;
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

    /// Asks a POP3 server what it offers; an SMTP server has said so in its answer to EHLO. Says
    /// whether an answer will come.
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

/// Shakes hands as the client.
pub(crate) async fn secure(module: &mut Wire, tls: &StartTls) -> io::Result<()> {
    module
        .upgrade(async |tcp| {
            let secured = tls.connector.connect(tls.server_name.clone(), tcp).await?;
            Ok(Stream::ClientModule(Box::new(secured)))
        })
        .await
}

//! The back of a client module's protocol, and the loop that drives it.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::task::unconstrained;

use crate::gateway::wire::{Filled, Wire};
use crate::proto::back::{self, Back, BackStep};
use crate::proto::{ProtocolError, pop3, smtp};
use crate::trust::{Class, UpstreamTls, verdict_of};
use crate::words::Protocol;

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

/// The back of this protocol. `name` is the argument of EHLO; `start_tls`: TLS comes before the login.
pub(super) fn new(protocol: Protocol, name: &str, start_tls: bool) -> Box<dyn Back> {
    match protocol {
        Protocol::Pop3 => Box::new(pop3::Back::new(start_tls)),
        Protocol::Smtp => Box::new(smtp::Back::new(name, start_tls)),
    }
}

/// Exchanges lines until the client module waits for a login or has answered one, or has answered
/// QUIT. `tls` is for STARTTLS and STLS.
pub(super) async fn drive(
    back: &mut dyn Back,
    module: &mut Wire,
    tls: Option<&UpstreamTls>,
) -> Result<BackStep, BackError> {
    loop {
        match back.step()? {
            BackStep::Send(bytes) => {
                expect_silence(module).await?;
                module.send(bytes.expose()).await.map_err(|_| BackError::Gone)?;
            }
            BackStep::NeedInput => match module.fill().await {
                Filled::More => {
                    back.feed(module.bytes());
                    module.consume_and_wipe();
                }
                Filled::Ended(_) => return Err(ended(module)),
            },
            BackStep::StartTls => {
                let tls = tls.ok_or(ProtocolError::OutOfOrder("STARTTLS"))?;
                module.connect_tls(tls).await.map_err(BackError::Tls)?;
                back.secured();
            }
            step @ (BackStep::Ready
            | BackStep::LoggedIn(_)
            | BackStep::Refused(_)
            | BackStep::Done) => return Ok(step),
        }
    }
}

/// An error if the client module has said something although nothing was asked: it would be taken for
/// the answer to what is asked next.
async fn expect_silence(module: &mut Wire) -> Result<(), BackError> {
    // Outside of tokio's budget: a task that has used up its turn would be told that there is nothing.
    unconstrained(poll_fn(|cx| Poll::Ready(module.poll_fill(cx).is_ready()))).await;
    match module.bytes() {
        [] => Ok(()),
        bytes => Err(back::unasked(bytes).into()),
    }
}

/// What it means that nothing more will come. With TLS 1.3 a server refuses the client's certificate
/// after the handshake.
fn ended(module: &mut Wire) -> BackError {
    let refuses_ours = |error: &io::Error| {
        verdict_of(error).is_some_and(|verdict| verdict.class == Class::OwnCertificateRefused)
    };
    module.take_read_error().filter(refuses_ours).map_or(BackError::Gone, BackError::Tls)
}

//! What both server sides up to the login have in common.

use super::sasl::Credentials;
use crate::words::Reason;

/// What a front needs to know.
#[derive(Clone, Debug)]
pub struct Setup<C> {
    /// Of the gateway, for greetings.
    pub name: String,
    /// Whether a login may be sent.
    pub stage: Stage,
    /// What is announced.
    pub capabilities: C,
    /// Octets of a line with credentials, CRLF included.
    pub login_line: usize,
    /// Octets of any other line, CRLF included.
    pub command_line: usize,
}

/// How far the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TLS is up, or the listener is a plain one on loopback.
    Open,
    /// Before the handshake of a STARTTLS or STLS listener: no login here, and none announced.
    BeforeTls,
}

/// What the owner of a front has to do next.
#[derive(Debug)]
pub enum Step {
    /// Read, and feed what came.
    NeedInput,
    /// Write this.
    Send(Vec<u8>),
    /// Shake hands now; the positive answer was sent.
    StartTls,
    /// Decide, and then `refuse` or `accept`.
    Login(Credentials),
    /// The workstation said goodbye, and so did the front.
    Quit,
    /// End the connection; the reply, if there is one, was sent.
    Close(Reason),
}

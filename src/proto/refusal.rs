//! What is wrong with a command or a line that kimgate refuses itself, before policy is asked.
//!
//! The machines give a [`Hint`]; `gateway::reply` turns it into a reply with code and text.

use super::line::Fault;
use super::sasl::Invalid;
use crate::words::Reason;

/// What exactly is wrong, where the [`Reason`] alone would say too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The command is unknown, or kimgate does not forward it.
    NotCarried,
    /// A login or TLS is asked for in a session that is logged in.
    LoggedIn,
    /// The command is known, but its arguments cannot be read.
    Malformed,
    /// The address of MAIL or RCPT stands without its angle brackets.
    NeedBrackets,
    /// DATA came before MAIL and RCPT.
    NeedTransaction,
    /// RCPT came before MAIL.
    NeedSender,
    /// EHLO or HELO came without a name.
    NeedName,
    /// The command came without its argument.
    NeedArgument,
    /// The command came with an argument and takes none.
    NoArgument,
    /// The command needs a login first.
    NeedLogin,
    /// A login needs STARTTLS or STLS first.
    NeedTls,
    /// AUTH needs EHLO first.
    NeedEhlo,
    /// PASS needs USER first.
    NeedUser,
    /// AUTH came without a mechanism.
    NeedMechanism,
    /// AUTH names a mechanism that is not offered.
    UnknownMechanism,
    /// The workstation cancelled its login.
    Cancelled,
    /// The credentials cannot be read.
    Credentials(Invalid),
    /// STARTTLS or STLS came where it is not offered.
    TlsNotOffered,
    /// More bytes came in one piece with STARTTLS or STLS.
    BytesAfterStartTls,
    /// TLS begins at once on a port where STARTTLS or STLS comes first.
    TlsTooEarly,
    /// TLS begins on a port without TLS.
    PortWithoutTls,
    /// Plain text came on a port where TLS begins at once.
    PortWithTls,
    /// HTTP came on a mail port.
    WebPage,
    /// The line ends in LF without CR.
    LineEnd,
    /// There is a CR or a NUL inside the line.
    StrayByte,
    /// The line is longer than its limit.
    LineTooLong,
    /// The connection ends after too many bad commands.
    TooManyBadCommands,
}

impl Hint {
    /// The reason under which it is refused: the last word of the reply.
    pub fn reason(self) -> Reason {
        match self {
            Self::Credentials(_) => Reason::BadCredentialsEncoding,
            Self::PortWithTls => Reason::TlsFailed,
            Self::LineTooLong => Reason::LineTooLong,
            Self::NotCarried
            | Self::LoggedIn
            | Self::Malformed
            | Self::NeedBrackets
            | Self::NeedTransaction
            | Self::NeedSender
            | Self::NeedName
            | Self::NeedArgument
            | Self::NoArgument
            | Self::NeedLogin
            | Self::NeedTls
            | Self::NeedEhlo
            | Self::NeedUser
            | Self::NeedMechanism
            | Self::UnknownMechanism
            | Self::Cancelled
            | Self::TlsNotOffered
            | Self::BytesAfterStartTls
            | Self::TlsTooEarly
            | Self::PortWithoutTls
            | Self::WebPage
            | Self::LineEnd
            | Self::StrayByte
            | Self::TooManyBadCommands => Reason::BadCommand,
        }
    }
}

impl From<Fault> for Hint {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BareLineFeed => Self::LineEnd,
            Fault::BareCarriageReturn | Fault::Nul => Self::StrayByte,
        }
    }
}

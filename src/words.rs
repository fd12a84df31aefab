//! The closed lists of words that users see: the same word in reply, audit line and metric label.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why kimgate refused something or ended a session before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No workstation has this certificate or address.
    UnknownWorkstation,
    /// The account is not in the configuration.
    AccountUnknown,
    /// The account is marked `retired`.
    AccountRetired,
    /// The workstation has a list of logins, and this one is not on it.
    LoginNotAssigned,
    /// The workstation has a list of WorkplaceIds, and the login's is not on it.
    WorkplaceNotAssigned,
    /// A `deny` rule matched.
    Denied,
    /// There is an `allow` list, and nobody on it matched.
    NotAllowed,
    /// The login is empty or holds control characters.
    LoginMalformed,
    /// The login's host:port names a host that `policy.login_servers` does not list.
    LoginServerNotAllowed,
    /// MAIL FROM is neither the account nor a listed sender.
    SenderNotAllowed,
    /// RCPT TO is outside the account's recipients.
    RecipientNotAllowed,
    /// X-KIM-Dienstkennung is outside the account's services.
    ServiceNotAllowed,
    /// A line of the header block is no header field, so a service or a sender may be hidden from
    /// kimgate.
    HeaderMalformed,
    /// The delete rules do not admit this session.
    DeleteNotAllowed,
    /// The message came undecrypted in this session, so its only copy stays.
    DeleteHeld,
    /// A limit on connections is reached.
    TooManyConnections,
    /// Another workstation uses the same card context.
    ContextInUse,
    /// The client module refused this login too often; it is answered here for a while.
    LoginPaused,
    /// kimgate is stopping.
    ShuttingDown,
    /// Another session has the mailbox.
    MailboxInUse,
    /// No TCP connection, or no answer in time.
    ClientModuleUnreachable,
    /// Its certificate is not what the configuration accepts.
    ClientModuleUntrusted,
    /// It said something that the protocol does not allow at that point.
    ClientModuleProtocolError,
    /// Its own refusal, passed on word for word.
    RejectedByClientModule,
    /// The message is larger than `limits.message`.
    MessageTooLarge,
    /// A line or header block beyond its limit.
    LineTooLong,
    /// A command that is unknown, out of order or not carried.
    BadCommand,
    /// Credentials that are not base64 or hold CR, LF, or NUL where none belongs.
    BadCredentialsEncoding,
    /// Line endings around a dot that two servers could read differently.
    AmbiguousLineEnding,
    /// Nothing came for longer than the configured limit.
    Timeout,
    /// The TLS handshake with the workstation failed.
    TlsFailed,
}

impl Reason {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 31] = [
        Self::UnknownWorkstation,
        Self::AccountUnknown,
        Self::AccountRetired,
        Self::LoginNotAssigned,
        Self::WorkplaceNotAssigned,
        Self::Denied,
        Self::NotAllowed,
        Self::LoginMalformed,
        Self::LoginServerNotAllowed,
        Self::SenderNotAllowed,
        Self::RecipientNotAllowed,
        Self::ServiceNotAllowed,
        Self::HeaderMalformed,
        Self::DeleteNotAllowed,
        Self::DeleteHeld,
        Self::TooManyConnections,
        Self::ContextInUse,
        Self::LoginPaused,
        Self::ShuttingDown,
        Self::MailboxInUse,
        Self::ClientModuleUnreachable,
        Self::ClientModuleUntrusted,
        Self::ClientModuleProtocolError,
        Self::RejectedByClientModule,
        Self::MessageTooLarge,
        Self::LineTooLong,
        Self::BadCommand,
        Self::BadCredentialsEncoding,
        Self::AmbiguousLineEnding,
        Self::Timeout,
        Self::TlsFailed,
    ];

    /// The word that stands in replies, audit lines and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownWorkstation => "unknown-workstation",
            Self::AccountUnknown => "account-unknown",
            Self::AccountRetired => "account-retired",
            Self::LoginNotAssigned => "login-not-assigned",
            Self::WorkplaceNotAssigned => "workplace-not-assigned",
            Self::Denied => "denied",
            Self::NotAllowed => "not-allowed",
            Self::LoginMalformed => "login-malformed",
            Self::LoginServerNotAllowed => "login-server-not-allowed",
            Self::SenderNotAllowed => "sender-not-allowed",
            Self::RecipientNotAllowed => "recipient-not-allowed",
            Self::ServiceNotAllowed => "service-not-allowed",
            Self::HeaderMalformed => "header-malformed",
            Self::DeleteNotAllowed => "delete-not-allowed",
            Self::DeleteHeld => "delete-held",
            Self::TooManyConnections => "too-many-connections",
            Self::ContextInUse => "context-in-use",
            Self::LoginPaused => "login-paused",
            Self::ShuttingDown => "shutting-down",
            Self::MailboxInUse => "mailbox-in-use",
            Self::ClientModuleUnreachable => "client-module-unreachable",
            Self::ClientModuleUntrusted => "client-module-untrusted",
            Self::ClientModuleProtocolError => "client-module-protocol-error",
            Self::RejectedByClientModule => "rejected-by-client-module",
            Self::MessageTooLarge => "message-too-large",
            Self::LineTooLong => "line-too-long",
            Self::BadCommand => "bad-command",
            Self::BadCredentialsEncoding => "bad-credentials-encoding",
            Self::AmbiguousLineEnding => "ambiguous-line-ending",
            Self::Timeout => "timeout",
            Self::TlsFailed => "tls-failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// QUIT, or the workstation closed the connection between two commands.
    Ok,
    /// The workstation went away in the middle of something.
    ClientLeft,
    /// A fault of kimgate's own; a bug.
    Internal,
    /// A refusal or a fault with a name.
    Because(Reason),
}

impl CloseReason {
    /// The word for audit line and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientLeft => "client-left",
            Self::Internal => "internal-error",
            Self::Because(reason) => reason.as_str(),
        }
    }
}

impl From<Reason> for CloseReason {
    fn from(reason: Reason) -> Self {
        Self::Because(reason)
    }
}

/// What a listener and its sessions speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Fetching: RFC 1939.
    Pop3,
    /// Sending: RFC 5321.
    Smtp,
}

impl Protocol {
    /// `pop3` or `smtp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody wants to do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Log in at all.
    Login,
    /// Send over SMTP.
    Send,
    /// Fetch over POP3.
    Receive,
    /// Delete over POP3.
    Delete,
}

impl Action {
    /// `login`, `send`, `receive` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Delete => "delete",
        }
    }
}

/// The language of texts that a mail client's user may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// German.
    #[default]
    De,
    /// English.
    En,
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS from the first byte.
    Implicit,
    /// TLS after STARTTLS or STLS, required before any login.
    StartTls,
    /// No TLS; loopback only.
    None,
}

/// A header field that practice software has to write into each message that it sends (gematik
/// `docs/Primaersystem.adoc`, draft of April 2026), as far as a client module does not need it to send
/// the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequiredField {
    /// Tells messages apart; unique, and never used again.
    MessageId,
    /// The service.
    Service,
    /// The software that is responsible for the content.
    SenderSystem,
    /// The address of its makers' support.
    Support,
    /// The registered product.
    UserAgent,
}

impl RequiredField {
    /// Every field.
    pub const ALL: [Self; 5] =
        [Self::MessageId, Self::Service, Self::SenderSystem, Self::Support, Self::UserAgent];

    /// Its name in the message, in metric labels and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageId => "Message-ID",
            Self::Service => "X-KIM-Dienstkennung",
            Self::SenderSystem => "X-KIM-Sendersystem",
            Self::Support => "X-KIM-Support",
            Self::UserAgent => "X-TI-User-Agent",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}

//! The reply codes of refusals.
//!
//! A code for a wrong password (`[AUTH]`, 535) is not among them: a mail program would ask its user
//! for a new password although the password is right.

use crate::proto::Hint;
use crate::words::Reason;

/// The POP3 code, with the response code where RFC 2449 section 8 or RFC 3206 has one that fits.
pub(super) fn pop3(reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownWorkstation
        | Reason::AccountUnknown
        | Reason::AccountRetired
        | Reason::LoginNotAssigned
        | Reason::WorkplaceNotAssigned
        | Reason::Denied
        | Reason::NotAllowed
        | Reason::LoginMalformed
        | Reason::LoginServerNotAllowed
        | Reason::SenderNotAllowed
        | Reason::RecipientNotAllowed
        | Reason::ServiceNotAllowed
        | Reason::HeaderMalformed
        | Reason::DeleteNotAllowed
        | Reason::DeleteHeld => "-ERR [SYS/PERM]",
        Reason::TooManyConnections
        | Reason::ContextInUse
        | Reason::LoginPaused
        | Reason::ShuttingDown
        | Reason::ClientModuleUnreachable
        | Reason::ClientModuleUntrusted
        | Reason::ClientModuleProtocolError
        | Reason::Timeout => "-ERR [SYS/TEMP]",
        Reason::MailboxInUse => "-ERR [IN-USE]",
        Reason::RejectedByClientModule
        | Reason::MessageTooLarge
        | Reason::LineTooLong
        | Reason::BadCommand
        | Reason::BadCredentialsEncoding
        | Reason::AmbiguousLineEnding
        | Reason::TlsFailed => "-ERR",
    }
}

/// The SMTP code instead of a greeting: 554 where it is no use to come again (RFC 5321 section 3.1).
pub(super) fn smtp_greeting(reason: Reason) -> &'static str {
    match smtp(reason) {
        "550 5.7.1" => "554 5.7.1",
        _ => "421 4.7.0",
    }
}

/// The SMTP code with its enhanced status (RFC 3463).
pub(super) fn smtp(reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownWorkstation
        | Reason::AccountUnknown
        | Reason::AccountRetired
        | Reason::LoginNotAssigned
        | Reason::WorkplaceNotAssigned
        | Reason::Denied
        | Reason::NotAllowed
        | Reason::LoginMalformed
        | Reason::LoginServerNotAllowed
        | Reason::SenderNotAllowed
        | Reason::RecipientNotAllowed
        | Reason::ServiceNotAllowed
        | Reason::HeaderMalformed
        | Reason::DeleteNotAllowed
        | Reason::DeleteHeld => "550 5.7.1",
        Reason::TooManyConnections
        | Reason::ContextInUse
        | Reason::LoginPaused
        | Reason::ShuttingDown
        | Reason::MailboxInUse
        | Reason::ClientModuleUnreachable
        | Reason::ClientModuleUntrusted
        | Reason::ClientModuleProtocolError
        | Reason::RejectedByClientModule => "454 4.7.0",
        Reason::MessageTooLarge => "552 5.3.4",
        Reason::LineTooLong => "500 5.5.2",
        Reason::BadCommand => "503 5.5.1",
        Reason::BadCredentialsEncoding => "501 5.5.2",
        Reason::AmbiguousLineEnding => "554 5.6.0",
        Reason::Timeout | Reason::TlsFailed => "421 4.7.0",
    }
}

/// The SMTP code for a command or line that is refused (RFC 5321 section 4.2, RFC 4954 section 4).
pub(super) fn smtp_of_hint(hint: Hint) -> &'static str {
    match hint {
        Hint::TlsTooEarly
        | Hint::PortWithoutTls
        | Hint::WebPage
        | Hint::LineEnd
        | Hint::StrayByte
        | Hint::LineTooLong => "500 5.5.2",
        Hint::Credentials(_) => "501 5.5.2",
        Hint::Malformed
        | Hint::NeedBrackets
        | Hint::NeedName
        | Hint::NeedArgument
        | Hint::NoArgument
        | Hint::NeedMechanism
        | Hint::BytesAfterStartTls => "501 5.5.4",
        Hint::Cancelled => "501 5.7.0",
        Hint::NotCarried | Hint::TlsNotOffered => "502 5.5.1",
        Hint::LoggedIn
        | Hint::NeedTransaction
        | Hint::NeedSender
        | Hint::NeedEhlo
        | Hint::NeedUser => "503 5.5.1",
        Hint::UnknownMechanism => "504 5.7.4",
        Hint::NeedLogin | Hint::NeedTls => "530 5.7.0",
        Hint::PortWithTls | Hint::TooManyBadCommands => "421 4.7.0",
    }
}

//! Refusals in English.

use std::time::Duration;

use super::time_left::TimeLeft;
use super::{About, in_brackets, or_nothing, start_tls};
use crate::proto::Hint;
use crate::proto::sasl::Invalid;
use crate::words::{Action, Protocol, Reason};

/// Why a login or a command is refused.
pub(super) fn reason(reason: Reason, about: About<'_>) -> String {
    let About { workstation, account, action, detail, remaining } = about;
    let verb = match action {
        None | Some(Action::Login) => "use",
        Some(Action::Send) => "send from",
        Some(Action::Receive) => "fetch from",
        Some(Action::Delete) => "delete in",
    };
    match reason {
        Reason::UnknownWorkstation => {
            format!(
                "this workstation ({workstation}) is not in the configuration; please have it added"
            )
        }
        Reason::AccountUnknown => {
            format!("account {account} is not in the configuration; please check the address")
        }
        Reason::AccountRetired => {
            format!("account {account} is retired; please remove it from the mail program")
        }
        Reason::LoginNotAssigned => {
            format!(
                "this login is not assigned to workstation {workstation}; please check the user name"
            )
        }
        Reason::WorkplaceNotAssigned => {
            format!(
                "the WorkplaceId of this login is not assigned to workstation {workstation}; \
                 please check the user name"
            )
        }
        Reason::Denied | Reason::NotAllowed => {
            format!("workstation {workstation} may not {verb} account {account}")
        }
        Reason::LoginMalformed => {
            "the user name is empty or holds control characters; please type it again".into()
        }
        Reason::LoginServerNotAllowed => {
            "the server in the user name is not allowed here; please check the user name".into()
        }
        Reason::SenderNotAllowed => format!("account {account} may not send as {detail}"),
        Reason::RecipientNotAllowed => format!("account {account} may not send to {detail}"),
        Reason::ServiceNotAllowed => {
            format!("workstation {workstation} may not send the service {detail} as {account}")
        }
        Reason::HeaderMalformed => "a header line of the message has no valid field name; \
             please have the program checked that wrote it"
            .into(),
        Reason::DeleteNotAllowed => format!(
            "workstation {workstation} may not delete in account {account}; \
             please set \"leave messages on server\""
        ),
        Reason::DeleteHeld => "this message came undecrypted and therefore stays on the server; \
             please unlock the card (SMC-B or HBA) and fetch again"
            .into(),
        Reason::TooManyConnections => "too many connections, please try again later".into(),
        Reason::ContextInUse => format!(
            "this card context is in use by workstation {detail}; \
             every workstation needs a WorkplaceId of its own"
        ),
        Reason::LoginPaused => format!(
            "this login was refused too often and is paused for another {}{}",
            time(remaining),
            or_nothing("; the client module's last answer: ", detail)
        ),
        Reason::ShuttingDown => "the gateway is stopping; please try again in a minute".into(),
        Reason::MailboxInUse => {
            format!("mailbox {account} is in use by another session; please fetch again later")
        }
        Reason::ClientModuleUnreachable => {
            format!(
                "the KIM client module cannot be reached; please check whether it runs{}",
                in_brackets(detail)
            )
        }
        Reason::ClientModuleUntrusted if !detail.is_empty() => detail.into(),
        Reason::ClientModuleUntrusted => "the KIM client module is not trusted: \
             its certificate is not accepted here; please ask \"kimgate doctor\""
            .into(),
        Reason::ClientModuleProtocolError => {
            format!(
                "the KIM client module gave an unintelligible answer; please have it checked{}",
                in_brackets(detail)
            )
        }
        Reason::RejectedByClientModule => "the KIM client module refused".into(),
        Reason::MessageTooLarge => "the message is too large; please attach less".into(),
        Reason::LineTooLong => "a line or the message header is too long".into(),
        Reason::BadCommand => "this command is not allowed here".into(),
        Reason::BadCredentialsEncoding => "the credentials are not encoded properly".into(),
        Reason::AmbiguousLineEnding => {
            "the message has a dot between ambiguous line endings".into()
        }
        Reason::Timeout => "no answer for too long".into(),
        Reason::TlsFailed => "the TLS handshake failed".into(),
    }
}

fn time(left: Duration) -> String {
    match TimeLeft::of(left) {
        TimeLeft::Seconds(1) => "second".into(),
        TimeLeft::Seconds(count) => format!("{count} seconds"),
        TimeLeft::Minutes(1) => "minute".into(),
        TimeLeft::Minutes(count) => format!("{count} minutes"),
        TimeLeft::Hours(count) => format!("{count} hours"),
        TimeLeft::Days(count) => format!("{count} days"),
    }
}

/// What is wrong with a command or a line.
pub(super) fn hint(protocol: Protocol, hint: Hint) -> String {
    let start_tls = start_tls(protocol);
    match hint {
        Hint::NotCarried => "this command is not supported".into(),
        Hint::LoggedIn => "this session is logged in already".into(),
        Hint::Malformed => "this command is not well formed".into(),
        Hint::NeedBrackets => "the address needs its brackets, as in <name@domain>".into(),
        Hint::NeedTransaction => "need MAIL and RCPT first".into(),
        Hint::NeedSender => "need MAIL first".into(),
        Hint::NeedName => "this needs a name".into(),
        Hint::NeedArgument => "this needs an argument".into(),
        Hint::NoArgument => "this takes no argument".into(),
        Hint::NeedLogin => "log in first".into(),
        Hint::NeedTls => format!("no login before {start_tls}"),
        Hint::NeedEhlo => "send EHLO first".into(),
        Hint::NeedUser => "send USER first".into(),
        Hint::NeedMechanism => "AUTH needs a mechanism".into(),
        Hint::UnknownMechanism => match protocol {
            Protocol::Pop3 => "PLAIN is the mechanism here".into(),
            Protocol::Smtp => "PLAIN and LOGIN are known".into(),
        },
        Hint::Cancelled => "login cancelled".into(),
        Hint::Credentials(Invalid::NotBase64) => "not base64".into(),
        Hint::Credentials(Invalid::NotPlain) => "not a PLAIN message".into(),
        Hint::Credentials(Invalid::ActsForAnother) => {
            "authorization identity differs from the login".into()
        }
        Hint::Credentials(Invalid::ControlCharacters) => {
            "control characters in login or password".into()
        }
        Hint::TlsNotOffered => format!("{start_tls} is not offered"),
        Hint::BytesAfterStartTls => format!("nothing may follow {start_tls}"),
        Hint::TlsTooEarly => format!("TLS begins with {start_tls} here"),
        Hint::PortWithoutTls => "this port is without TLS".into(),
        Hint::PortWithTls => "this port speaks TLS from the first byte; please set SSL/TLS".into(),
        Hint::WebPage => match protocol {
            Protocol::Pop3 => "this is a POP3 port, not a web server".into(),
            Protocol::Smtp => "this is an SMTP port, not a web server".into(),
        },
        Hint::LineEnd => "lines end in CR LF".into(),
        Hint::StrayByte => "stray CR or NUL in the line".into(),
        Hint::LineTooLong => "this line is too long".into(),
        Hint::TooManyBadCommands => "too many bad commands".into(),
    }
}

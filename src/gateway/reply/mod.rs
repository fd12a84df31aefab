//! What a refusal says on the wire: code, who refused, what, and the reason's word.
//!
//! A wrong-password code (`[AUTH]`, 535) never stands here: mail clients would ask their user for a
//! new password, and the password is not what is wrong.

use crate::proto::Hint;
use crate::proto::sasl::Invalid;
use crate::words::{Action, Language, Protocol, Reason};

/// Octets of a reply's text. RFC 5321 4.5.3.1.5 allows 512 for the whole line.
const TEXT: usize = 480;

/// Who is refused, and whatever else a text may name.
#[derive(Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// The workstation's name, or its address where it has none.
    pub(crate) workstation: &'a str,
    /// The account as a mail address; empty before the login.
    pub(crate) account: &'a str,
    /// What was wanted, where the reason alone does not say it.
    pub(crate) action: Option<Action>,
    /// One more fact: the holder of a context, a verdict, the client module's name.
    pub(crate) detail: &'a str,
}

/// The refusal of a command; the connection stays open.
pub(crate) fn refusal(
    protocol: Protocol,
    language: Language,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => pop3_code(reason),
        Protocol::Smtp => smtp_code(reason),
    };
    line(code, &sentence(language, reason, about), reason)
}

/// The refusal that ends the connection.
pub(crate) fn goodbye(
    protocol: Protocol,
    language: Language,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => pop3_code(reason),
        Protocol::Smtp => "421 4.7.0",
    };
    line(code, &sentence(language, reason, about), reason)
}

/// The refusal of a command or a line that policy is not asked about.
pub(crate) fn hinted(protocol: Protocol, language: Language, hint: Hint) -> Vec<u8> {
    let reason = hint.reason();
    let code = match protocol {
        Protocol::Pop3 => pop3_code(reason),
        Protocol::Smtp => smtp_hint_code(hint),
    };
    let text = match language {
        Language::De => german_hint(protocol, hint),
        Language::En => english_hint(protocol, hint),
    };
    line(code, text, reason)
}

/// The part of a reply that may be logged: codes of a closed form, never free text. A client module
/// may repeat the login in its words, between brackets and in digits too.
pub(crate) fn code_of(reply: &[u8]) -> &str {
    let line = reply.split(|b| *b == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return "" };
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    if matches!(first, "+OK" | "-ERR") {
        let code = POP3_CODES.iter().find(|code| rest.starts_with(**code));
        return &line[..first.len() + code.map_or(0, |code| 1 + code.len())];
    }
    let (code, more) = line.split_at_checked(3).unwrap_or_default();
    if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return "";
    }
    match (more.as_bytes().first(), rest.split(' ').next()) {
        (Some(b' '), Some(status)) if is_enhanced_status(status) => &line[..4 + status.len()],
        (Some(b' ' | b'-') | None, _) => code,
        (Some(_), _) => "",
    }
}

/// RFC 2449 section 8, RFC 3206.
const POP3_CODES: [&str; 5] = ["[IN-USE]", "[LOGIN-DELAY]", "[SYS/TEMP]", "[SYS/PERM]", "[AUTH]"];

/// RFC 3463 section 2: `4.7.0`, each number of three digits at the most.
fn is_enhanced_status(word: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    word.split('.').count() == 3 && word.split('.').all(is_number)
}

fn line(code: &str, text: &str, reason: Reason) -> Vec<u8> {
    let mut text = ascii(text);
    text.truncate(TEXT - reason.as_str().len());
    format!("{code} KIM-Gateway: {text} ({reason})\r\n").into_bytes()
}

fn pop3_code(reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownWorkstation
        | Reason::AccountUnknown
        | Reason::AccountRetired
        | Reason::LoginNotAssigned
        | Reason::WorkplaceNotAssigned
        | Reason::Denied
        | Reason::NotAllowed
        | Reason::LoginMalformed
        | Reason::SenderNotAllowed
        | Reason::RecipientNotAllowed
        | Reason::ServiceNotAllowed
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

fn smtp_code(reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownWorkstation
        | Reason::AccountUnknown
        | Reason::AccountRetired
        | Reason::LoginNotAssigned
        | Reason::WorkplaceNotAssigned
        | Reason::Denied
        | Reason::NotAllowed
        | Reason::LoginMalformed
        | Reason::SenderNotAllowed
        | Reason::RecipientNotAllowed
        | Reason::ServiceNotAllowed
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

fn sentence(language: Language, reason: Reason, about: About<'_>) -> String {
    match language {
        Language::De => german(reason, about),
        Language::En => english(reason, about),
    }
}

fn german(reason: Reason, about: About<'_>) -> String {
    let About { workstation, account, action, detail } = about;
    let verb = match action {
        None | Some(Action::Login) => "nicht benutzen",
        Some(Action::Send) => "nicht zum Senden benutzen",
        Some(Action::Receive) => "nicht abrufen",
        Some(Action::Delete) => "nicht leeren",
    };
    match reason {
        Reason::UnknownWorkstation => {
            format!("Dieser Arbeitsplatz ({workstation}) ist hier nicht eingetragen")
        }
        Reason::AccountUnknown => format!("Das Konto {account} ist hier nicht eingetragen"),
        Reason::AccountRetired => format!("Das Konto {account} ist stillgelegt"),
        Reason::LoginNotAssigned => {
            format!("Diese Anmeldung ist dem Arbeitsplatz {workstation} nicht zugeordnet")
        }
        Reason::WorkplaceNotAssigned => format!(
            "Die WorkplaceId dieser Anmeldung ist dem Arbeitsplatz {workstation} nicht zugeordnet"
        ),
        Reason::Denied | Reason::NotAllowed => {
            format!("Arbeitsplatz {workstation} darf das Konto {account} {verb}")
        }
        Reason::LoginMalformed => "Der Benutzername ist leer oder enthaelt Steuerzeichen".into(),
        Reason::SenderNotAllowed => {
            format!("Das Konto {account} darf nicht mit dem Absender {detail} senden")
        }
        Reason::RecipientNotAllowed => {
            format!("Das Konto {account} darf nicht an {detail} senden")
        }
        Reason::ServiceNotAllowed => {
            format!("Das Konto {account} darf die Dienstkennung {detail} nicht senden")
        }
        Reason::DeleteNotAllowed => format!(
            "Arbeitsplatz {workstation} darf im Konto {account} nichts loeschen; \
             bitte \"Nachrichten auf dem Server belassen\" einstellen"
        ),
        Reason::DeleteHeld => "Diese Nachricht kam unentschluesselt an und bleibt deshalb auf dem \
             Server; bitte die Karte (SMC-B oder HBA) freischalten und neu abrufen"
            .into(),
        Reason::TooManyConnections => {
            "Zu viele Verbindungen; bitte spaeter erneut versuchen".into()
        }
        Reason::ContextInUse => format!(
            "Dieser Kartenkontext wird gerade vom Arbeitsplatz {detail} benutzt; \
             jeder Arbeitsplatz braucht eine eigene WorkplaceId"
        ),
        Reason::LoginPaused => format!(
            "Diese Anmeldung wurde zu oft abgelehnt und ruht; letzte Antwort des Clientmoduls: {detail}"
        ),
        Reason::ShuttingDown => "Das Gateway wird gerade beendet".into(),
        Reason::MailboxInUse => {
            format!("Das Postfach {account} wird gerade von einer anderen Sitzung benutzt")
        }
        Reason::ClientModuleUnreachable => {
            format!("Das KIM-Clientmodul ist nicht erreichbar{}", in_brackets(detail))
        }
        Reason::ClientModuleUntrusted => {
            format!("Dem KIM-Clientmodul wird nicht vertraut: {detail}")
        }
        Reason::ClientModuleProtocolError => {
            format!("Das KIM-Clientmodul hat unverstaendlich geantwortet{}", in_brackets(detail))
        }
        Reason::RejectedByClientModule => "Das KIM-Clientmodul hat abgelehnt".into(),
        Reason::MessageTooLarge => "Die Nachricht ist zu gross".into(),
        Reason::LineTooLong => "Eine Zeile oder der Nachrichtenkopf ist zu lang".into(),
        Reason::BadCommand => "Dieser Befehl passt hier nicht".into(),
        Reason::BadCredentialsEncoding => "Die Anmeldedaten sind falsch kodiert".into(),
        Reason::AmbiguousLineEnding => {
            "Die Nachricht enthaelt einen Punkt zwischen mehrdeutigen Zeilenenden".into()
        }
        Reason::Timeout => "Zu lange keine Antwort".into(),
        Reason::TlsFailed => "Die Verschluesselung kam nicht zustande".into(),
    }
}

fn english(reason: Reason, about: About<'_>) -> String {
    let About { workstation, account, action, detail } = about;
    let verb = match action {
        None | Some(Action::Login) => "use",
        Some(Action::Send) => "send from",
        Some(Action::Receive) => "fetch from",
        Some(Action::Delete) => "delete in",
    };
    match reason {
        Reason::UnknownWorkstation => {
            format!("this workstation ({workstation}) is not in the configuration")
        }
        Reason::AccountUnknown => format!("account {account} is not in the configuration"),
        Reason::AccountRetired => format!("account {account} is retired"),
        Reason::LoginNotAssigned => {
            format!("this login is not assigned to workstation {workstation}")
        }
        Reason::WorkplaceNotAssigned => {
            format!("the WorkplaceId of this login is not assigned to workstation {workstation}")
        }
        Reason::Denied | Reason::NotAllowed => {
            format!("workstation {workstation} may not {verb} account {account}")
        }
        Reason::LoginMalformed => "the user name is empty or holds control characters".into(),
        Reason::SenderNotAllowed => format!("account {account} may not send as {detail}"),
        Reason::RecipientNotAllowed => format!("account {account} may not send to {detail}"),
        Reason::ServiceNotAllowed => {
            format!("account {account} may not send the service {detail}")
        }
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
            "this login was refused too often and is paused; the client module's last answer: {detail}"
        ),
        Reason::ShuttingDown => "the gateway is stopping".into(),
        Reason::MailboxInUse => format!("mailbox {account} is in use by another session"),
        Reason::ClientModuleUnreachable => {
            format!("the KIM client module cannot be reached{}", in_brackets(detail))
        }
        Reason::ClientModuleUntrusted => format!("the KIM client module is not trusted: {detail}"),
        Reason::ClientModuleProtocolError => {
            format!("the KIM client module gave an unintelligible answer{}", in_brackets(detail))
        }
        Reason::RejectedByClientModule => "the KIM client module refused".into(),
        Reason::MessageTooLarge => "the message is too large".into(),
        Reason::LineTooLong => "a line or the message header is too long".into(),
        Reason::BadCommand => "this command does not fit here".into(),
        Reason::BadCredentialsEncoding => "the credentials are not encoded properly".into(),
        Reason::AmbiguousLineEnding => {
            "the message has a dot between ambiguous line endings".into()
        }
        Reason::Timeout => "no answer for too long".into(),
        Reason::TlsFailed => "the TLS handshake failed".into(),
    }
}

/// RFC 5321 section 4.2, RFC 4954 section 6.
fn smtp_hint_code(hint: Hint) -> &'static str {
    match hint {
        Hint::TlsTooEarly
        | Hint::PortWithoutTls
        | Hint::WebPage
        | Hint::LineEnd
        | Hint::StrayByte
        | Hint::LineTooLong => "500 5.5.2",
        Hint::Credentials(_) => "501 5.5.2",
        Hint::Malformed
        | Hint::NeedName
        | Hint::NeedArgument
        | Hint::NoArgument
        | Hint::NeedMechanism
        | Hint::BytesAfterStartTls => "501 5.5.4",
        Hint::Cancelled => "501 5.7.0",
        Hint::NotCarried | Hint::TlsNotOffered => "502 5.5.1",
        Hint::LoggedIn | Hint::NeedTransaction | Hint::NeedEhlo | Hint::NeedUser => "503 5.5.1",
        Hint::UnknownMechanism => "504 5.7.4",
        Hint::NeedLogin | Hint::NeedTls => "530 5.7.0",
        Hint::PortWithTls | Hint::TooManyBadCommands => "421 4.7.0",
    }
}

fn german_hint(protocol: Protocol, hint: Hint) -> &'static str {
    use Protocol::{Pop3, Smtp};
    match (hint, protocol) {
        (Hint::NotCarried, _) => "Dieser Befehl wird nicht weitergeleitet",
        (Hint::LoggedIn, _) => "Diese Sitzung ist bereits angemeldet",
        (Hint::Malformed, _) => "Dieser Befehl ist nicht richtig geschrieben",
        (Hint::NeedTransaction, _) => "Zuerst werden MAIL und RCPT gebraucht",
        (Hint::NeedName, _) => "Hier fehlt ein Name",
        (Hint::NeedArgument, _) => "Hier fehlt ein Argument",
        (Hint::NoArgument, _) => "Dieser Befehl hat kein Argument",
        (Hint::NeedLogin, _) => "Bitte zuerst anmelden",
        (Hint::NeedTls, Pop3) => "Keine Anmeldung vor STLS",
        (Hint::NeedTls, Smtp) => "Keine Anmeldung vor STARTTLS",
        (Hint::NeedEhlo, _) => "Zuerst wird EHLO gebraucht",
        (Hint::NeedUser, _) => "Zuerst wird USER gebraucht",
        (Hint::NeedMechanism, _) => "AUTH braucht ein Verfahren",
        (Hint::UnknownMechanism, Pop3) => "Hier gibt es nur das Verfahren PLAIN",
        (Hint::UnknownMechanism, Smtp) => "Hier gibt es nur die Verfahren PLAIN und LOGIN",
        (Hint::Cancelled, _) => "Die Anmeldung wurde abgebrochen",
        (Hint::Credentials(Invalid::NotBase64), _) => "Die Anmeldedaten sind kein Base64",
        (Hint::Credentials(Invalid::NotPlain), _) => {
            "Die Anmeldedaten haben nicht die Form von PLAIN"
        }
        (Hint::Credentials(Invalid::ActsForAnother), _) => {
            "Die Anmeldung nennt als Auftraggeber einen anderen Benutzernamen"
        }
        (Hint::Credentials(Invalid::ControlCharacters), _) => {
            "Benutzername oder Passwort enthält Steuerzeichen"
        }
        (Hint::TlsNotOffered, Pop3) => "STLS wird hier nicht angeboten",
        (Hint::TlsNotOffered, Smtp) => "STARTTLS wird hier nicht angeboten",
        (Hint::BytesAfterStartTls, Pop3) => "Auf STLS darf nichts folgen",
        (Hint::BytesAfterStartTls, Smtp) => "Auf STARTTLS darf nichts folgen",
        (Hint::TlsTooEarly, Pop3) => "TLS beginnt hier mit STLS",
        (Hint::TlsTooEarly, Smtp) => "TLS beginnt hier mit STARTTLS",
        (Hint::PortWithoutTls, _) => "Dieser Port ist ohne TLS",
        (Hint::PortWithTls, _) => {
            "Dieser Port spricht TLS vom ersten Byte an; bitte SSL/TLS einstellen"
        }
        (Hint::WebPage, Pop3) => "Dieser Port ist für POP3 und keine Webseite",
        (Hint::WebPage, Smtp) => "Dieser Port ist für SMTP und keine Webseite",
        (Hint::LineEnd, _) => "Zeilen enden mit CR LF",
        (Hint::StrayByte, _) => "In der Zeile steht ein einzelnes CR oder ein NUL",
        (Hint::LineTooLong, _) => "Diese Zeile ist zu lang",
        (Hint::TooManyBadCommands, _) => "Zu viele falsche Befehle",
    }
}

fn english_hint(protocol: Protocol, hint: Hint) -> &'static str {
    use Protocol::{Pop3, Smtp};
    match (hint, protocol) {
        (Hint::NotCarried, _) => "this command is not carried",
        (Hint::LoggedIn, _) => "this session is logged in already",
        (Hint::Malformed, _) => "this command is not well formed",
        (Hint::NeedTransaction, _) => "need MAIL and RCPT first",
        (Hint::NeedName, _) => "this needs a name",
        (Hint::NeedArgument, _) => "this needs an argument",
        (Hint::NoArgument, _) => "this takes no argument",
        (Hint::NeedLogin, _) => "log in first",
        (Hint::NeedTls, Pop3) => "no login before STLS",
        (Hint::NeedTls, Smtp) => "no login before STARTTLS",
        (Hint::NeedEhlo, _) => "send EHLO first",
        (Hint::NeedUser, _) => "send USER first",
        (Hint::NeedMechanism, _) => "AUTH needs a mechanism",
        (Hint::UnknownMechanism, Pop3) => "PLAIN is the mechanism here",
        (Hint::UnknownMechanism, Smtp) => "PLAIN and LOGIN are known",
        (Hint::Cancelled, _) => "login cancelled",
        (Hint::Credentials(Invalid::NotBase64), _) => "not base64",
        (Hint::Credentials(Invalid::NotPlain), _) => "not a PLAIN message",
        (Hint::Credentials(Invalid::ActsForAnother), _) => {
            "authorization identity differs from the login"
        }
        (Hint::Credentials(Invalid::ControlCharacters), _) => {
            "control characters in login or password"
        }
        (Hint::TlsNotOffered, Pop3) => "STLS is not offered",
        (Hint::TlsNotOffered, Smtp) => "STARTTLS is not offered",
        (Hint::BytesAfterStartTls, Pop3) => "nothing may follow STLS",
        (Hint::BytesAfterStartTls, Smtp) => "nothing may follow STARTTLS",
        (Hint::TlsTooEarly, Pop3) => "TLS begins with STLS here",
        (Hint::TlsTooEarly, Smtp) => "TLS begins with STARTTLS here",
        (Hint::PortWithoutTls, _) => "this port is without TLS",
        (Hint::PortWithTls, _) => "this port speaks TLS from the first byte; please set SSL/TLS",
        (Hint::WebPage, Pop3) => "this port is for POP3 and no web page",
        (Hint::WebPage, Smtp) => "this port is for SMTP and no web page",
        (Hint::LineEnd, _) => "lines end in CR LF",
        (Hint::StrayByte, _) => "stray CR or NUL in the line",
        (Hint::LineTooLong, _) => "this line is too long",
        (Hint::TooManyBadCommands, _) => "too many bad commands",
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" [{detail}]") }
}

/// Mail replies are ASCII (RFC 5321 2.4, RFC 1939 3), and one line: whatever a name or a detail
/// holds, it cannot start a line of its own.
fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ä' => ascii.push_str("ae"),
            'ö' => ascii.push_str("oe"),
            'ü' => ascii.push_str("ue"),
            'Ä' => ascii.push_str("Ae"),
            'Ö' => ascii.push_str("Oe"),
            'Ü' => ascii.push_str("Ue"),
            'ß' => ascii.push_str("ss"),
            ' '..='~' => ascii.push(c),
            _ => ascii.push('?'),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: Vec<u8>) -> String {
        String::from_utf8(reply).unwrap()
    }

    #[test]
    fn the_contracts_example_reads_as_written_there() {
        let about = About {
            workstation: "PC9",
            account: "prx@praxis.kim.telematik",
            action: Some(Action::Receive),
            ..About::default()
        };
        assert_eq!(
            text(refusal(Protocol::Pop3, Language::De, Reason::NotAllowed, about)),
            "-ERR [SYS/PERM] KIM-Gateway: Arbeitsplatz PC9 darf das Konto \
             prx@praxis.kim.telematik nicht abrufen (not-allowed)\r\n"
        );
    }

    #[test]
    fn every_refusal_is_one_ascii_line_within_the_limit_and_names_its_reason() {
        let long = "ä\r\n\u{202e}".repeat(400);
        let about =
            About { workstation: &long, account: &long, action: Some(Action::Send), detail: &long };
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            for language in [Language::De, Language::En] {
                for reason in Reason::ALL {
                    for reply in [
                        text(refusal(protocol, language, reason, about)),
                        text(goodbye(protocol, language, reason, about)),
                    ] {
                        let line = reply.strip_suffix("\r\n").unwrap();
                        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
                        assert!(line.len() < 530, "{} {line}", line.len());
                        assert!(line.ends_with(&format!("({reason})")), "{line}");
                        assert!(!line.contains("[AUTH]") && !line.starts_with("535"), "{line}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_codes_are_left_for_the_log() {
        for (reply, code) in [
            ("235 2.7.0 Authentication successful\r\n", "235 2.7.0"),
            ("535-5.7.8 one\r\n535 5.7.8 two\r\n", "535"),
            ("535 5.7.8\r\n", "535 5.7.8"),
            ("535 20251123\r\n", "535"),
            ("535 5.7.8.9 no\r\n", "535"),
            ("250\r\n", "250"),
            ("12345678\r\n", ""),
            ("-ERR [prx@praxis.kim.telematik#h:995#M#C#W] no\r\n", "-ERR"),
            ("-ERR [GEHEIM] no\r\n", "-ERR"),
            ("+geheim\r\n", ""),
            ("250 ok 123\r\n", "250"),
            ("+OK geheim\r\n", "+OK"),
            ("-ERR [IN-USE] busy\r\n", "-ERR [IN-USE]"),
            ("-ERR [IN-USE busy\r\n", "-ERR"),
            ("-ERR\r\n", "-ERR"),
            ("garbage\r\n", ""),
            ("\u{fffd}\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(code_of(reply.as_bytes()), code, "{reply:?}");
        }
    }
}

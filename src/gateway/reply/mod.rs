//! Every refusal that goes out on a mail connection, in both languages.
//!
//! A refusal is one line: the code, `KIM-Gateway:`, the text, and the reason's word in brackets. The
//! text says in the configured language (`gateway.language`) what is refused and, where it helps, what
//! to do. It is not about the password: see [`codes`].

mod codes;
mod english;
mod german;
mod log;
mod time_left;

pub(crate) use log::code_of;

use std::time::Duration;

use crate::proto::Hint;
use crate::words::{Action, Language, Protocol, Reason};

/// Bytes of a reply line, its CRLF included (RFC 5321 section 4.5.3.1.5, RFC 1939 section 3).
const LINE: usize = 512;

/// Who is refused, and whatever else a text may name.
#[derive(Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// The workstation's name, or its address where it has none.
    pub(crate) workstation: &'a str,
    /// The account as a mail address; empty before the login.
    pub(crate) account: &'a str,
    /// What the workstation wanted to do; `None` where the reason says it already.
    pub(crate) action: Option<Action>,
    /// One more fact, by reason: the sender, the holder of a context, a verdict.
    pub(crate) detail: &'a str,
    /// For how much longer, where the reason has an end.
    pub(crate) remaining: Duration,
}

/// The refusal of a login or a command. The connection stays open.
pub(crate) fn refusal(
    protocol: Protocol,
    language: Language,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => codes::smtp(reason),
    };
    line(code, &text(language, reason, about), reason)
}

/// The refusal that a connection gets instead of a greeting, and that ends it.
pub(crate) fn no_greeting(
    protocol: Protocol,
    language: Language,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => codes::smtp_greeting(reason),
    };
    line(code, &text(language, reason, about), reason)
}

/// The refusal that ends the connection.
pub(crate) fn goodbye(
    protocol: Protocol,
    language: Language,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => "421 4.7.0",
    };
    line(code, &text(language, reason, about), reason)
}

/// The refusal of a command or a line that cannot be read or does not fit, and that policy is not
/// asked about. The hint decides whether the connection stays open; the reply is the same.
pub(crate) fn hinted(protocol: Protocol, language: Language, hint: Hint) -> Vec<u8> {
    let reason = hint.reason();
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => codes::smtp_of_hint(hint),
    };
    let text = match language {
        Language::De => german::hint(protocol, hint),
        Language::En => english::hint(protocol, hint),
    };
    line(code, &text, reason)
}

fn text(language: Language, reason: Reason, about: About<'_>) -> String {
    match language {
        Language::De => german::reason(reason, about),
        Language::En => english::reason(reason, about),
    }
}

/// One line of at most [`LINE`] bytes. A text that is too long is cut; code and reason stay.
fn line(code: &str, text: &str, reason: Reason) -> Vec<u8> {
    let head = format!("{code} KIM-Gateway: ");
    let tail = format!(" ({reason})\r\n");
    let mut text = ascii(text);
    text.truncate(LINE - head.len() - tail.len());
    [head, text, tail].concat().into_bytes()
}

/// The command that begins TLS (RFC 2595 section 4, RFC 3207).
fn start_tls(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Pop3 => "STLS",
        Protocol::Smtp => "STARTTLS",
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" [{detail}]") }
}

/// Mail replies are ASCII (RFC 5321 section 2.4, RFC 1939 section 3), so umlauts are spelled out. Every
/// other character becomes `?`, line ends too: a name or a detail cannot begin a line of its own.
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
    use crate::proto::sasl::Invalid;

    fn shown(reply: Vec<u8>) -> String {
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
            shown(refusal(Protocol::Pop3, Language::De, Reason::NotAllowed, about)),
            "-ERR [SYS/PERM] KIM-Gateway: Arbeitsplatz PC9 darf das Konto \
             prx@praxis.kim.telematik nicht abrufen (not-allowed)\r\n"
        );
    }

    #[test]
    fn a_paused_login_is_told_for_how_long() {
        for (millis, german, english) in [
            (1, "noch 1 Sekunde", "for another second"),
            (59_001, "noch 1 Minute", "for another minute"),
            (58_001, "noch 59 Sekunden", "for another 59 seconds"),
            (60_001, "noch 2 Minuten", "for another 2 minutes"),
            (240_000, "noch 4 Minuten", "for another 4 minutes"),
            (3_600_000, "noch 60 Minuten", "for another 60 minutes"),
            (7_200_001, "noch 3 Stunden", "for another 3 hours"),
            (172_800_001, "noch 3 Tage", "for another 3 days"),
        ] {
            let remaining = Duration::from_millis(millis);
            let about = About { detail: "-ERR no", remaining, ..About::default() };
            for (language, wanted) in [(Language::De, german), (Language::En, english)] {
                let reply = refusal(Protocol::Pop3, language, Reason::LoginPaused, about);
                let reply = shown(reply);
                assert!(reply.contains(&format!(" {wanted}; ")), "{wanted}: {reply}");
            }
        }
    }

    #[test]
    fn every_refusal_is_one_ascii_line_within_the_limit_and_names_its_reason() {
        let long = "ä\r\n\u{202e}".repeat(400);
        let about = About {
            workstation: &long,
            account: &long,
            action: Some(Action::Send),
            detail: &long,
            remaining: Duration::MAX,
        };
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            for language in [Language::De, Language::En] {
                for reason in Reason::ALL {
                    for reply in [
                        shown(refusal(protocol, language, reason, about)),
                        shown(goodbye(protocol, language, reason, about)),
                        shown(no_greeting(protocol, language, reason, about)),
                    ] {
                        check(&reply, reason);
                    }
                }
            }
        }
    }
    /// One line of ASCII with the reason at its end, and nothing about a wrong password.
    fn check(reply: &str, reason: Reason) {
        assert!(reply.len() <= 512, "{} {reply}", reply.len());
        let line = reply.strip_suffix("\r\n").unwrap();
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
        assert!(line.ends_with(&format!(" ({reason})")), "{line}");
        assert!(line.contains(" KIM-Gateway: "), "{line}");
        assert!(!line.contains("[AUTH]") && !line.starts_with("535"), "{line}");
    }

    /// Every hint with its SMTP code and its English text.
    const HINTS: [(Hint, &str, &str); 30] = [
        (Hint::NotCarried, "502 5.5.1", "this command is not supported"),
        (Hint::LoggedIn, "503 5.5.1", "this session is logged in already"),
        (Hint::Malformed, "501 5.5.4", "this command is not well formed"),
        (Hint::NeedBrackets, "501 5.5.4", "the address needs its brackets, as in <name@domain>"),
        (Hint::NeedTransaction, "503 5.5.1", "need MAIL and RCPT first"),
        (Hint::NeedSender, "503 5.5.1", "need MAIL first"),
        (Hint::NeedName, "501 5.5.4", "this needs a name"),
        (Hint::NeedArgument, "501 5.5.4", "this needs an argument"),
        (Hint::NoArgument, "501 5.5.4", "this takes no argument"),
        (Hint::NeedLogin, "530 5.7.0", "log in first"),
        (Hint::NeedTls, "530 5.7.0", "no login before STARTTLS"),
        (Hint::NeedEhlo, "503 5.5.1", "send EHLO first"),
        (Hint::NeedUser, "503 5.5.1", "send USER first"),
        (Hint::NeedMechanism, "501 5.5.4", "AUTH needs a mechanism"),
        (Hint::UnknownMechanism, "504 5.7.4", "PLAIN and LOGIN are known"),
        (Hint::Cancelled, "501 5.7.0", "login cancelled"),
        (Hint::Credentials(Invalid::NotBase64), "501 5.5.2", "not base64"),
        (Hint::Credentials(Invalid::NotPlain), "501 5.5.2", "not a PLAIN message"),
        (
            Hint::Credentials(Invalid::ActsForAnother),
            "501 5.5.2",
            "authorization identity differs from the login",
        ),
        (
            Hint::Credentials(Invalid::ControlCharacters),
            "501 5.5.2",
            "control characters in login or password",
        ),
        (Hint::TlsNotOffered, "502 5.5.1", "STARTTLS is not offered"),
        (Hint::BytesAfterStartTls, "501 5.5.4", "nothing may follow STARTTLS"),
        (Hint::TlsTooEarly, "500 5.5.2", "TLS begins with STARTTLS here"),
        (Hint::PortWithoutTls, "500 5.5.2", "this port is without TLS"),
        (
            Hint::PortWithTls,
            "421 4.7.0",
            "this port speaks TLS from the first byte; please set SSL/TLS",
        ),
        (Hint::WebPage, "500 5.5.2", "this is an SMTP port, not a web server"),
        (Hint::LineEnd, "500 5.5.2", "lines end in CR LF"),
        (Hint::StrayByte, "500 5.5.2", "stray CR or NUL in the line"),
        (Hint::LineTooLong, "500 5.5.2", "this line is too long"),
        (Hint::TooManyBadCommands, "421 4.7.0", "too many bad commands"),
    ];

    #[test]
    fn every_hint_has_its_code_and_its_text_in_both_languages() {
        for (hint, code, text) in HINTS {
            let reason = hint.reason();
            let smtp = shown(hinted(Protocol::Smtp, Language::En, hint));
            assert_eq!(smtp, format!("{code} KIM-Gateway: {text} ({reason})\r\n"));
            let pop3 = shown(hinted(Protocol::Pop3, Language::En, hint));
            let german = shown(hinted(Protocol::Smtp, Language::De, hint));
            assert!(german.starts_with(&format!("{code} KIM-Gateway: ")), "{german}");
            assert!(pop3.starts_with("-ERR KIM-Gateway: "), "{pop3}");
            assert_ne!(german, smtp);
            check(&smtp, reason);
            check(&pop3, reason);
            check(&german, reason);
            check(&shown(hinted(Protocol::Pop3, Language::De, hint)), reason);
            assert!(!pop3.contains("SMTP") && !pop3.contains("STARTTLS"), "{pop3}");
        }
    }
}

//! Every refusal that goes out on a mail connection, in both languages.
//!
//! A refusal is one line: the code, `KIM-Gateway:`, one sentence in the configured language that says
//! who is refused, what, and where it helps what to do, the reason's word in brackets, and whom to ask
//! (`gateway.contact`). It is not about the password: see [`codes`].

mod codes;
mod english;
mod german;
mod log;
mod short;
mod time_left;

pub(crate) use log::code_of;
pub use short::on_the_wire;

use std::time::Duration;

use crate::proto::Hint;
use crate::words::{Action, Language, Protocol, Reason};

/// Characters that a person gets to read, so everything after the code. Mail programs show it in a
/// small window. It also keeps the line well below 512 bytes (RFC 5321 section 4.5.3.1.5, RFC 1939
/// section 3).
const TEXT: usize = 200;
const SENDER: &str = "KIM-Gateway: ";

/// Characters that `gateway.contact` may have on the wire.
pub const CONTACT: usize = 40;

/// How refusals are worded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wording<'a> {
    pub(crate) language: Language,
    /// Whom to ask; may be empty.
    pub(crate) contact: &'a str,
}

/// Who is refused, and whatever else a text may name.
#[derive(Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// The workstation's name, or its address where it has none.
    pub(crate) workstation: &'a str,
    /// The account as a mail address; empty before the login.
    pub(crate) account: &'a str,
    /// What the workstation wanted to do; `None` where the reason says it already.
    pub(crate) action: Option<Action>,
    /// One more fact, by reason: the sender, the holder of a context, a fault.
    pub(crate) detail: &'a str,
    /// For how much longer, where the reason has an end.
    pub(crate) remaining: Duration,
}

/// The refusal of a login or a command. The connection stays open.
pub(crate) fn refusal(
    protocol: Protocol,
    wording: Wording<'_>,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    about_reason(protocol, codes::smtp(reason), wording, reason, about)
}

/// The refusal that a connection gets instead of a greeting, and that ends it.
pub(crate) fn no_greeting(
    protocol: Protocol,
    wording: Wording<'_>,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    about_reason(protocol, codes::smtp_greeting(reason), wording, reason, about)
}

/// The refusal that ends the connection.
pub(crate) fn goodbye(
    protocol: Protocol,
    wording: Wording<'_>,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    about_reason(protocol, "421 4.7.0", wording, reason, about)
}

/// The refusal of a command or a line that cannot be read or does not fit, and that policy is not
/// asked about. The hint decides whether the connection stays open; the reply is the same.
pub(crate) fn hinted(protocol: Protocol, wording: Wording<'_>, hint: Hint) -> Vec<u8> {
    let reason = hint.reason();
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => codes::smtp_of_hint(hint),
    };
    let text = match wording.language {
        Language::De => german::hint(protocol, hint),
        Language::En => english::hint(protocol, hint),
    };
    line(code, &on_the_wire(&text), &ending(reason, wording))
}

/// In SMTP the code depends on the place too, in POP3 on the reason alone.
fn about_reason(
    protocol: Protocol,
    smtp: &str,
    wording: Wording<'_>,
    reason: Reason,
    about: About<'_>,
) -> Vec<u8> {
    let code = match protocol {
        Protocol::Pop3 => codes::pop3(reason),
        Protocol::Smtp => smtp,
    };
    let ending = ending(reason, wording);
    let room = TEXT - SENDER.len() - ending.len();
    line(code, &short::fitting(wording.language, reason, about, room), &ending)
}

/// What stands after the sentence.
fn ending(reason: Reason, wording: Wording<'_>) -> String {
    let mut contact = on_the_wire(wording.contact);
    contact.truncate(CONTACT);
    if contact.is_empty() { format!(" ({reason})") } else { format!(" ({reason}); {contact}") }
}

fn line(code: &str, sentence: &str, ending: &str) -> Vec<u8> {
    format!("{code} {SENDER}{sentence}{ending}\r\n").into_bytes()
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

/// The detail after its introduction, or neither.
fn or_nothing(introduction: &str, detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!("{introduction}{detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sasl::Invalid;

    fn shown(reply: Vec<u8>) -> String {
        String::from_utf8(reply).unwrap()
    }

    fn plain(language: Language) -> Wording<'static> {
        Wording { language, contact: "" }
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
            shown(refusal(Protocol::Pop3, plain(Language::De), Reason::NotAllowed, about)),
            "-ERR [SYS/PERM] KIM-Gateway: Arbeitsplatz PC9 darf das Konto \
             prx@praxis.kim.telematik nicht abrufen (not-allowed)\r\n"
        );
    }

    /// The longest of everything: a card context's or a workstation's name, an address, a verdict.
    const NAMES: [&str; 5] = [
        "PC9",
        "Empfang Erdgeschoß links, Praxis Dr. Müller-Lüdenscheidt und Kollegen, Chemnitz-Süd",
        "praxis.dr.mueller-luedenscheidt.und.kollegen@gemeinschaftspraxis-chemnitz.kim.telematik",
        "ä\r\n\u{202e}",
        "",
    ];

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
                let reply = refusal(Protocol::Pop3, plain(language), Reason::LoginPaused, about);
                let reply = shown(reply);
                assert!(reply.contains(&format!(" {wanted}; ")), "{wanted}: {reply}");
            }
        }
    }

    #[test]
    fn every_text_is_one_whole_sentence_of_200_characters_at_the_most() {
        let contact = "IT-Service Müller: 0371 123456 (7-18 h)";
        let long = NAMES[3].repeat(400);
        for name in NAMES.into_iter().chain([long.as_str()]) {
            for detail in [name, "main: the connection was closed before the greeting came, twice"]
            {
                for action in [Action::Login, Action::Send, Action::Receive, Action::Delete] {
                    let action = Some(action);
                    let about = About {
                        workstation: name,
                        account: name,
                        action,
                        detail,
                        remaining: Duration::MAX,
                    };
                    for (language, contact) in [Language::De, Language::En]
                        .into_iter()
                        .flat_map(|l| [(l, ""), (l, contact)])
                    {
                        let wording = Wording { language, contact };
                        for reason in Reason::ALL {
                            for protocol in [Protocol::Pop3, Protocol::Smtp] {
                                for reply in [
                                    refusal(protocol, wording, reason, about),
                                    no_greeting(protocol, wording, reason, about),
                                    goodbye(protocol, wording, reason, about),
                                ] {
                                    check(&shown(reply), reason, contact);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// One line of ASCII with the reason and then the contact at its end, short enough to be shown, and
    /// nothing about a wrong password.
    fn check(reply: &str, reason: Reason, contact: &str) {
        let line = reply.strip_suffix("\r\n").unwrap();
        let (code, text) = line.split_once(SENDER).unwrap();
        assert!(SENDER.len() + text.len() <= TEXT, "{} {text}", text.len());
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
        let contact = on_the_wire(contact);
        let ending = match contact.as_str() {
            "" => format!(" ({reason})"),
            contact => format!(" ({reason}); {contact}"),
        };
        assert!(line.ends_with(&ending), "{line}");
        assert!(!code.contains("[AUTH]") && !code.starts_with("535"), "{line}");
    }

    #[test]
    fn what_only_explains_is_left_out_whole_and_names_are_shortened_at_a_sensible_place() {
        let refused = |reason, workstation, detail| {
            let account = NAMES[2];
            let action = Some(Action::Receive);
            let about = About { workstation, account, action, detail, ..About::default() };
            let wording = Wording { language: Language::De, contact: "IT: 0371 1234" };
            shown(refusal(Protocol::Pop3, wording, reason, about))
        };
        assert_eq!(
            refused(Reason::NotAllowed, NAMES[1], ""),
            "-ERR [SYS/PERM] KIM-Gateway: Arbeitsplatz Empfang Erdgeschoss links, Praxis Dr. Mueller-Luedenscheidt und... \
             darf das Konto praxis.dr.mueller-luedenscheidt.und.kollegen... nicht abrufen \
             (not-allowed); IT: 0371 1234\r\n"
        );
        let untrusted = |detail| refused(Reason::ClientModuleUntrusted, "PC9", detail);
        let wanted =
            "Das KIM-Clientmodul verlangt ein Client-Zertifikat. ".to_owned() + &"x".repeat(150);
        assert!(untrusted(&wanted).contains(" verlangt ein Client-Zertifikat (client-module-"));
        assert!(untrusted("").contains("sein Zertifikat ist nicht zugelassen; bitte"));
        let unreachable = |detail| refused(Reason::ClientModuleUnreachable, "PC9", detail);
        assert!(unreachable("main: refused").contains("laeuft [main: refused] ("));
        assert!(unreachable(&"main: refused ".repeat(20)).contains("laeuft (client-"));
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
        let contact = "IT".repeat(CONTACT / 2);
        for (hint, code, text) in HINTS {
            let reason = hint.reason();
            let smtp = shown(hinted(Protocol::Smtp, plain(Language::En), hint));
            assert_eq!(smtp, format!("{code} KIM-Gateway: {text} ({reason})\r\n"));
            let pop3 = shown(hinted(Protocol::Pop3, plain(Language::En), hint));
            let german = shown(hinted(Protocol::Smtp, plain(Language::De), hint));
            assert!(german.starts_with(&format!("{code} KIM-Gateway: ")), "{german}");
            assert!(pop3.starts_with("-ERR KIM-Gateway: "), "{pop3}");
            assert_ne!(german, smtp);
            assert!(!pop3.contains("SMTP") && !pop3.contains("STARTTLS"), "{pop3}");
            for protocol in [Protocol::Pop3, Protocol::Smtp] {
                for language in [Language::De, Language::En] {
                    for contact in ["", contact.as_str()] {
                        let wording = Wording { language, contact };
                        check(&shown(hinted(protocol, wording, hint)), reason, contact);
                    }
                }
            }
        }
    }
}

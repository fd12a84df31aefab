//! SMTP commands after the login.

use std::borrow::Cow;

use crate::proto::Hint;

/// What the workstation wants. The line itself is forwarded as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A greeting. It ends a transaction like RSET (RFC 5321 section 4.1.4).
    Ehlo,
    /// The old greeting.
    Helo,
    /// The sender. A transaction begins.
    Mail {
        /// The address between the angle brackets; empty for `<>`.
        sender: Cow<'a, str>,
        /// The SIZE parameter in bytes (RFC 1870), where it is a number.
        size: Option<u64>,
    },
    /// One recipient.
    Rcpt {
        /// The address between the angle brackets.
        recipient: Cow<'a, str>,
        /// There is a NOTIFY parameter: the sender says which receipts it wants (RFC 3461).
        has_notify: bool,
    },
    /// The message follows.
    Data,
    /// The transaction ends without a message.
    Rset,
    /// Nothing, and an answer.
    Noop,
    /// Whether an address exists.
    Vrfy,
    /// A text about the commands.
    Help,
    /// The end of the session.
    Quit,
}

/// Reads a line without its CRLF. Commands that kimgate cannot follow (BDAT, XCLIENT, ETRN, unknown
/// ones) are refused and never reach the client module.
///
/// # Errors
///
/// [`Hint::NotCarried`], [`Hint::LoggedIn`], [`Hint::NeedBrackets`] or [`Hint::Malformed`].
pub fn parse(line: &[u8]) -> Result<Command<'_>, Hint> {
    let text = std::str::from_utf8(line).map_err(|_| Hint::Malformed)?;
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(Hint::Malformed);
    }
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let alone = |command| {
        if rest.trim_matches(' ').is_empty() { Ok(command) } else { Err(Hint::Malformed) }
    };
    let greeting = |command| {
        if rest.trim_matches(' ').is_empty() { Err(Hint::Malformed) } else { Ok(command) }
    };
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => greeting(Command::Ehlo),
        "HELO" => greeting(Command::Helo),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => alone(Command::Data),
        "RSET" => alone(Command::Rset),
        "QUIT" => alone(Command::Quit),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" => greeting(Command::Vrfy),
        "AUTH" => Err(Hint::LoggedIn),
        _ => Err(Hint::NotCarried),
    }
}

fn mail(rest: &str) -> Result<Command<'_>, Hint> {
    let (sender, parameters) = path(rest, "FROM:")?;
    let parameters = Parameters::read(parameters)?;
    // BINARYMIME is an extension that client modules do not offer (RFC 3030).
    let is_known = |body: &str| ["7BIT", "8BITMIME"].iter().any(|b| b.eq_ignore_ascii_case(body));
    if parameters.get("BODY").is_some_and(|body| !is_known(body)) {
        return Err(Hint::Malformed);
    }
    let size = parameters.get("SIZE").and_then(|value| value.parse().ok());
    Ok(Command::Mail { sender: Cow::Borrowed(sender), size })
}

fn rcpt(rest: &str) -> Result<Command<'_>, Hint> {
    let (recipient, parameters) = path(rest, "TO:")?;
    if recipient.is_empty() {
        return Err(Hint::Malformed);
    }
    let has_notify = Parameters::read(parameters)?.get("NOTIFY").is_some();
    Ok(Command::Rcpt { recipient: Cow::Borrowed(recipient), has_notify })
}

/// The path between its brackets, and what follows it.
fn path<'a>(rest: &'a str, word: &str) -> Result<(&'a str, &'a str), Hint> {
    let (head, rest) = rest.split_at_checked(word.len()).ok_or(Hint::Malformed)?;
    if !head.eq_ignore_ascii_case(word) {
        return Err(Hint::Malformed);
    }
    let rest = rest.trim_start_matches(' ');
    if !rest.is_empty() && !rest.contains(['<', '>']) {
        return Err(Hint::NeedBrackets);
    }
    let rest = rest.strip_prefix('<').ok_or(Hint::Malformed)?;
    let end = closing_bracket(rest).ok_or(Hint::Malformed)?;
    let (path, parameters) = (&rest[..end], &rest[end + 1..]);
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(Hint::Malformed);
    }
    Ok((path, parameters))
}

/// Where a mailbox ends that every server reads in the same way: it has no character that a parser may
/// treat in its own way. A source route (`@relay:user@host`) names one host at its beginning and another
/// at its end, so it is refused. So is a quoted local part, which KIM addresses do not have.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut has_at = false;
    let mut in_literal = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'>' => return (!text[..at].ends_with('@') && !in_literal).then_some(at),
            b'@' if at > 0 && !has_at => has_at = true,
            b'[' if text[..at].ends_with('@') => in_literal = true,
            b']' if in_literal && text[at + 1..].starts_with('>') => in_literal = false,
            b':' if in_literal => {}
            b'@' | b' ' | b'<' | b'"' | b'(' | b')' | b',' | b':' | b';' | b'\\' | b'[' | b']' => {
                return None;
            }
            _ => {}
        }
    }
    None
}

/// The parameters of MAIL or RCPT, `Mail-parameters` in RFC 5321 section 4.1.2.
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    /// Reads what follows a path. What is no parameter may be a second path for another server, and of
    /// two parameters of one name each server may take another one.
    fn read(text: &'a str) -> Result<Self, Hint> {
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        for parameter in text.split(' ').filter(|text| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, "-"));
            let is_twice = parameters.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
            if !is_keyword(name) || !is_value(value) || is_twice {
                return Err(Hint::Malformed);
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The value of this parameter; `-` where it has none.
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut all = self.0.iter();
        all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// `esmtp-keyword`: letters, digits and hyphens; the first is no hyphen.
fn is_keyword(text: &str) -> bool {
    let is_inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.starts_with('-') && !text.is_empty() && text.bytes().all(is_inside)
}

/// `esmtp-value`: printable ASCII without a blank and without `=`.
fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 33..=60 | 62..=126))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verbs_go_by_list() {
        let table: [(&str, Result<Command<'_>, Hint>); 26] = [
            ("EHLO pc", Ok(Command::Ehlo)),
            ("ehlo [192.168.0.31]", Ok(Command::Ehlo)),
            ("EHLO", Err(Hint::Malformed)),
            ("HELO pc", Ok(Command::Helo)),
            ("DATA", Ok(Command::Data)),
            ("Data ", Ok(Command::Data)),
            ("DATA x", Err(Hint::Malformed)),
            ("RSET", Ok(Command::Rset)),
            ("RSET ", Ok(Command::Rset)),
            ("RSET x", Err(Hint::Malformed)),
            ("NOOP", Ok(Command::Noop)),
            ("NOOP x y", Ok(Command::Noop)),
            ("NOOP \u{1b}[2J", Err(Hint::Malformed)),
            ("VRFY a", Ok(Command::Vrfy)),
            ("HELP", Ok(Command::Help)),
            ("QUIT", Ok(Command::Quit)),
            ("QUIT now", Err(Hint::Malformed)),
            ("AUTH PLAIN AHUAcA==", Err(Hint::LoggedIn)),
            ("STARTTLS", Err(Hint::NotCarried)),
            ("BDAT 100 LAST", Err(Hint::NotCarried)),
            ("XCLIENT ADDR=1.2.3.4", Err(Hint::NotCarried)),
            ("XFORWARD NAME=x", Err(Hint::NotCarried)),
            ("BURL imap://x LAST", Err(Hint::NotCarried)),
            ("ETRN x", Err(Hint::NotCarried)),
            ("", Err(Hint::NotCarried)),
            (" DATA", Err(Hint::NotCarried)),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(parse(b"NOOP \xff"), Err(Hint::Malformed));
    }

    #[test]
    fn senders_are_read_in_one_way_only() {
        let good = [
            ("MAIL FROM:<>", "", None),
            ("MAIL FROM:<a@b>", "a@b", None),
            ("mail from: <A@b>", "A@b", None),
            ("MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME", "a@b", Some(100)),
            ("MAIL FROM:<a@b>  size=7", "a@b", Some(7)),
            ("MAIL FROM:<a@b> SIZE=x RET=HDRS", "a@b", None),
            ("MAIL FROM:<a@b> NOTIFY", "a@b", None),
            ("MAIL FROM:<a@b> ", "a@b", None),
            ("MAIL FROM:<a@b> AUTH=<> BODY=7bit ENVID=QQ+2B", "a@b", None),
            ("MAIL FROM:<M\u{fc}ller@b>", "M\u{fc}ller@b", None),
            ("MAIL FROM:<a@[IPv6:::1]>", "a@[IPv6:::1]", None),
        ];
        for (line, sender, size) in good {
            let expected = Command::Mail { sender: sender.into(), size };
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
        }
        for bad in [
            "MAIL",
            "MAIL ",
            "MAIL FROM",
            "MAIL FROM:",
            "MAIL FROM <a@b>",
            "MAIL FROM :<a@b>",
            "MAIL  FROM:<a@b>",
            "MAIL TO:<a@b>",
            "MAIL FROM:<a@b",
            "MAIL FROM:<a@b>SIZE=1",
            "MAIL FROM:<a@b>.c",
            "MAIL FROM:<a@b><c@d>",
            "MAIL FROM:<a@b> <c@d>",
            "MAIL FROM:<a@b> FROM:<c@d>",
            "MAIL FROM:<a@b> c@d",
            "MAIL FROM:<a@b> SIZE=1 <c@d>",
            "MAIL FROM:<a@b> BODY=BINARYMIME",
            "MAIL FROM:<a@b> body=binarymime",
            "MAIL FROM:<a@b> BODY",
            "MAIL FROM:<a@b> BODY=",
            "MAIL FROM:<a@b> BODY=8BITMIME BODY=7BIT",
            "MAIL FROM:<a@b> SIZE=1 size=9",
            "MAIL FROM:<a@b> =1",
            "MAIL FROM:<a@b> -X=1",
            "MAIL FROM:<a@b> X_Y=1",
            "MAIL FROM:<a@b> X=1=2",
            "MAIL FROM:<a@b> X=\u{e4}",
            "MAIL FROM:<a@b> \u{17f}ize=1",
            "MAIL FROM:<\"a\"@b>",
            "MAIL FROM:<\"a b>\\\"@c\"@d>",
            "MAIL FROM:<@r:a@b>",
            "MAIL FROM:<@r,@s:a@b>",
            "MAIL FROM:<a@b@c>",
            "MAIL FROM:<a b@c>",
            "MAIL FROM:<a@>",
            "MAIL FROM:<@b>",
            "MAIL FROM:<\"a@b>",
            "MAIL FROM:<\"a\"x@b>",
            "MAIL FROM:<x\"a\"@b>",
            "MAIL FROM:<\"a\">",
            "MAIL FROM:<a,b@c>",
            "MAIL FROM:<a;b@c>",
            "MAIL FROM:<a(b)@c>",
            "MAIL FROM:<a\\@b>",
            "MAIL FROM:<<a@b>>",
            "MAIL FROM:<a@[1.2.3.4>",
            "MAIL FROM:<a@[1]x>",
            "MAIL FROM:\u{e4}<a@b>",
            "MAIL FRO\u{e4}<a@b>",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Hint::Malformed), "{bad}");
        }
    }

    /// Other servers take it (Exchange, Postfix), so programs send it, and "not well formed" told nobody
    /// what to mend.
    #[test]
    fn an_address_without_brackets_is_refused_with_that_reason() {
        for bare in ["MAIL FROM:a@b", "MAIL FROM: a@b SIZE=1", "RCPT TO:a@b", "rcpt to: a@b"] {
            assert_eq!(parse(bare.as_bytes()), Err(Hint::NeedBrackets), "{bare}");
        }
    }

    #[test]
    fn recipients_tell_whether_a_receipt_was_asked_for() {
        let good = [
            ("RCPT TO:<a@b>", "a@b", false),
            ("rcpt to: <a@b> notify=NEVER", "a@b", true),
            ("RCPT TO:<a@b> ORCPT=rfc822;a@b NOTIFY=SUCCESS,DELAY", "a@b", true),
            ("RCPT TO:<a@b> XNOTIFY=x", "a@b", false),
            ("RCPT TO:<postmaster>", "postmaster", false),
        ];
        for (line, recipient, has_notify) in good {
            let expected = Command::Rcpt { recipient: recipient.into(), has_notify };
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
        }
        for bad in [
            "RCPT TO:<>",
            "RCPT FROM:<a@b>",
            "RCPT TO:",
            "RCPT TO:<@a:b@c>",
            "RCPT TO:<a@b> <c@d>",
            "RCPT TO:<a@b> TO:<c@d>",
            "RCPT TO:<a@b>, <c@d>",
            "RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=SUCCESS",
            "RCPT TO:<a@b> ORCPT=rfc822;a@b orcpt=rfc822;c@d",
            "RCPT TO:<\"a\"@b>",
            "RCPT TO:<\"a@b> <c\"@d>",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Hint::Malformed), "{bad}");
        }
    }

    proptest! {
        /// A mailbox that was read stands between brackets in the line, and its end is the line's.
        #[test]
        fn any_path_that_is_read_is_there_word_for_word(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "<", ">", "@", "\"", "\\", "a", "b.c", " ", "[", "]", ":", "\u{e4}", "\t", ",",
                ]),
                0..12,
            ),
        ) {
            let line = format!("RCPT TO:{}", words.concat());
            if let Ok(Command::Rcpt { recipient, .. }) = parse(line.as_bytes()) {
                let rest = line.split_once(&format!("<{recipient}>")).unwrap().1;
                prop_assert!(rest.is_empty() || rest.starts_with(' '));
                prop_assert!(!recipient.contains('"') && recipient.matches('@').count() < 2);
            }
        }

        #[test]
        fn no_line_is_too_odd_to_be_answered(line in prop::collection::vec(any::<u8>(), 0..40)) {
            for verb in ["MAIL FROM:<", "RCPT TO:<", ""] {
                let _ = parse(&[verb.as_bytes(), &line].concat());
            }
        }
    }
}

//! What a client module offers and kimgate can forward.
//!
//! Only capabilities on a list are announced. An unknown one may change what later bytes mean, as
//! CHUNKING does (messages outside DATA) or STARTTLS (a new beginning).

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// `ENCHANCEDSTATUSCODES` is the spelling of the client module specification (gemSpec_CM_KOMLE).
const SMTP: [&str; 10] = [
    "SIZE",
    "8BITMIME",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "ENCHANCEDSTATUSCODES",
    "SMTPUTF8",
    "PIPELINING",
    "DELIVERBY",
    "HELP",
    "VRFY",
];
const SMTP_MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

const POP3: [&str; 9] = [
    "TOP",
    "USER",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "EXPIRE",
    "LOGIN-DELAY",
    "IMPLEMENTATION",
    "PIPELINING",
];
const POP3_MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

/// What a client module offers in one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// In its answer to CAPA.
    Pop3(Pop3Capabilities),
    /// In its answer to EHLO.
    Smtp(SmtpCapabilities),
}

/// What an SMTP server offers, without the line of its name. Clones share one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpCapabilities {
    lines: Arc<[String]>,
}

impl SmtpCapabilities {
    /// What is announced before a client module has been asked.
    pub fn conservative() -> Self {
        static KNOWN: LazyLock<SmtpCapabilities> =
            LazyLock::new(|| SmtpCapabilities::from_lines(["8BITMIME", "AUTH PLAIN LOGIN"]));
        KNOWN.clone()
    }

    /// From the lines of an EHLO reply, without their code and without the first line.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self { lines: known(lines, &SMTP, "AUTH", &SMTP_MECHANISMS) }
    }

    /// From a whole EHLO reply.
    pub fn from_reply(reply: &[u8]) -> Self {
        let text = String::from_utf8_lossy(reply);
        Self::from_lines(text.lines().skip(1).filter_map(|line| line.get(4..)))
    }

    /// Whether this keyword is among them.
    pub fn offers(&self, word: &str) -> bool {
        find(&self.lines, word).is_some()
    }

    /// How many bytes a message may have (RFC 1870); `None` where no limit is named.
    pub fn size(&self) -> Option<u64> {
        let size = find(&self.lines, "SIZE")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        (size > 0).then_some(size)
    }

    /// The lines for an EHLO reply, in the order of the client module.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What both offer, with the smaller SIZE.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let size = self.size().into_iter().chain(other.size()).min();
        let lines = self.lines.iter().filter_map(|line| {
            let word = keyword(line);
            let theirs = find(&other.lines, word)?;
            if word.eq_ignore_ascii_case("AUTH") {
                return common(line, theirs);
            }
            match size {
                Some(size) if word.eq_ignore_ascii_case("SIZE") => Some(format!("SIZE {size}")),
                Some(_) | None => Some(line.clone()),
            }
        });
        Self { lines: lines.collect() }
    }
}

/// What a POP3 server offers. Clones share one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pop3Capabilities {
    lines: Arc<[String]>,
}

impl Pop3Capabilities {
    /// What is announced before a client module has been asked: every one has it (KOM-LE-A_2031).
    pub fn conservative() -> Self {
        static KNOWN: LazyLock<Pop3Capabilities> =
            LazyLock::new(|| Pop3Capabilities::from_lines(["TOP", "USER", "UIDL", "SASL PLAIN"]));
        KNOWN.clone()
    }

    /// From the lines of a CAPA answer, without its status and its final dot.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self { lines: known(lines, &POP3, "SASL", &POP3_MECHANISMS) }
    }

    /// Whether this keyword is among them.
    pub fn offers(&self, word: &str) -> bool {
        find(&self.lines, word).is_some()
    }

    /// Whether this SASL mechanism is among them.
    pub fn offers_mechanism(&self, name: &str) -> bool {
        let mechanisms = find(&self.lines, "SASL").unwrap_or_default();
        mechanisms.split_ascii_whitespace().skip(1).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The lines for a CAPA answer, in the order of the client module.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What both offer. A line with a parameter (a name, a delay) stays only if both say the same.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let lines = self.lines.iter().filter_map(|line| {
            let theirs = find(&other.lines, keyword(line))?;
            if keyword(line).eq_ignore_ascii_case("SASL") {
                return common(line, theirs);
            }
            line.eq_ignore_ascii_case(theirs).then(|| line.clone())
        });
        Self { lines: lines.collect() }
    }
}

/// The lines whose keyword is on the list, each keyword once. All lines of `auth` become one, at the
/// place of the first, with the mechanisms that kimgate can read. Servers for very old mail programs
/// repeat that line as `AUTH=LOGIN`.
fn known<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    words: &[&str],
    auth: &str,
    mechanisms: &[&str],
) -> Arc<[String]> {
    let mut kept: Vec<String> = Vec::new();
    for line in lines {
        let line = line.trim_ascii();
        let word = keyword(line);
        let is_plain = line.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !is_plain || line.len() > 256 {
            continue;
        }
        if let Some(offered) = after_keyword(line, auth) {
            let before = kept.iter().position(|line| keyword(line) == auth);
            let so_far = before.map(|at| kept[at].clone()).unwrap_or_else(|| String::from(auth));
            let merged = with_mechanisms(&so_far, offered, |name| {
                mechanisms.iter().any(|known| known.eq_ignore_ascii_case(name))
            });
            match (merged, before) {
                (Some(merged), Some(at)) => kept[at] = merged,
                (Some(merged), None) => kept.push(merged),
                (None, _) => {}
            }
        } else if find(&kept, word).is_some() {
            continue;
        } else if words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            kept.push(String::from(line));
        }
    }
    kept.into()
}

fn common(line: &str, theirs: &str) -> Option<String> {
    let word = keyword(line);
    with_mechanisms(word, line.get(word.len()..).unwrap_or_default(), |name| {
        theirs.split_ascii_whitespace().skip(1).any(|other| other.eq_ignore_ascii_case(name))
    })
}

/// The line with these mechanisms added that are to be kept and are not there yet; `None` where there
/// are none.
fn with_mechanisms(line: &str, offered: &str, keep: impl Fn(&str) -> bool) -> Option<String> {
    let mut longer = String::from(line);
    for name in offered.split_ascii_whitespace().filter(|name| keep(name)) {
        if !longer.split(' ').skip(1).any(|known| known.eq_ignore_ascii_case(name)) {
            let _ = write!(longer, " {name}");
        }
    }
    (longer.len() > line.len()).then_some(longer)
}

/// What follows this keyword and a blank or an equals sign; `None` for another keyword.
fn after_keyword<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = line.split_at_checked(word.len())?;
    let is_it =
        start.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.starts_with([' ', '=']));
    is_it.then(|| rest.get(1..).unwrap_or_default())
}

fn find<'a>(lines: &'a [String], word: &str) -> Option<&'a str> {
    lines.iter().map(String::as_str).find(|line| keyword(line).eq_ignore_ascii_case(word))
}

fn keyword(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kimgate_carries_is_taken_over() {
        let reply =
            b"250-KOM-LE-Clientmodul])\r\n250-SIZE 35882577\r\n250-auth LOGIN CRAM-MD5 PLAIN\r\n\
            250-AUTH=LOGIN\r\n250-STARTTLS\r\n250-CHUNKING\r\n250-size 1\r\n250-XCLIENT NAME\r\n\
            250-8bitmime\r\n250-ENCHANCEDSTATUSCODES\r\n250-D\xc3\xbc\r\n250 DSN\r\n";
        let offer = SmtpCapabilities::from_reply(reply);
        assert_eq!(
            offer.lines(),
            ["SIZE 35882577", "AUTH LOGIN PLAIN", "8bitmime", "ENCHANCEDSTATUSCODES", "DSN"]
        );
        assert_eq!(offer.size(), Some(35_882_577));
        assert!(offer.offers("8BITMIME") && offer.offers("dsn") && !offer.offers("STARTTLS"));
        let offer = Pop3Capabilities::from_lines([
            "TOP",
            "USER",
            "SASL CRAM-MD5 PLAIN",
            "STLS",
            "UTF8",
            "EXPIRE 60 USER",
            "",
            "UIDL",
        ]);
        assert_eq!(offer.lines(), ["TOP", "USER", "SASL PLAIN", "EXPIRE 60 USER", "UIDL"]);
    }

    #[test]
    fn auth_without_a_mechanism_of_ours_is_not_announced() {
        assert!(SmtpCapabilities::from_lines(["AUTH CRAM-MD5", "AUTH"]).lines().is_empty());
        assert!(Pop3Capabilities::from_lines(["SASL", "SASL NTLM"]).lines().is_empty());
    }

    #[test]
    fn two_lines_with_mechanisms_become_one() {
        for (lines, merged) in [
            (&["AUTH PLAIN", "SIZE 5", "AUTH LOGIN"][..], &["AUTH PLAIN LOGIN", "SIZE 5"][..]),
            (
                &["AUTH CRAM-MD5", "SIZE 5", "auth login", "AUTH PLAIN"],
                &["SIZE 5", "AUTH login PLAIN"],
            ),
            (&["AUTH LOGIN", "AUTH=LOGIN PLAIN"], &["AUTH LOGIN PLAIN"]),
            (&["AUTH=LOGIN"], &["AUTH LOGIN"]),
            (&["AUTH PLAIN", "AUTH"], &["AUTH PLAIN"]),
            (&["AUTHX PLAIN", "XAUTH LOGIN"], &[]),
        ] {
            assert_eq!(SmtpCapabilities::from_lines(lines.iter().copied()).lines(), merged);
        }
        let offer = Pop3Capabilities::from_lines(["SASL PLAIN", "TOP", "SASL LOGIN CRAM-MD5"]);
        assert_eq!(offer.lines(), ["SASL PLAIN LOGIN", "TOP"]);
        assert!(offer.offers_mechanism("login") && !offer.offers_mechanism("CRAM-MD5"));
        assert!(!Pop3Capabilities::conservative().offers_mechanism("LOGIN"));
    }

    #[test]
    fn a_size_without_a_limit_is_none() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999"] {
            assert_eq!(SmtpCapabilities::from_lines([line]).size(), None, "{line}");
        }
    }

    #[test]
    fn several_client_modules_offer_what_all_of_them_offer() {
        let one = SmtpCapabilities::from_lines(["SIZE 20", "DSN", "8BITMIME", "AUTH LOGIN PLAIN"]);
        let two = SmtpCapabilities::from_lines(["AUTH PLAIN", "8bitmime", "SIZE 10"]);
        assert_eq!(one.intersect(&two).lines(), ["SIZE 10", "8BITMIME", "AUTH PLAIN"]);
        assert_eq!(two.intersect(&one).lines(), ["AUTH PLAIN", "8bitmime", "SIZE 10"]);
        let unlimited = SmtpCapabilities::from_lines(["SIZE"]);
        assert_eq!(unlimited.intersect(&two).lines(), ["SIZE 10"]);
        assert_eq!(unlimited.intersect(&unlimited).lines(), ["SIZE"]);

        let one = Pop3Capabilities::from_lines(["TOP", "UIDL", "IMPLEMENTATION A", "SASL PLAIN"]);
        let two = Pop3Capabilities::from_lines(["SASL PLAIN", "TOP", "IMPLEMENTATION B"]);
        assert_eq!(one.intersect(&two).lines(), ["TOP", "SASL PLAIN"]);
    }
}

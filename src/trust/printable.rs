//! Makes text that a stranger chose safe for logs, terminals and the mail wire.

use std::fmt::Write;

use crate::printable::printable_within;

/// Longest text taken over from a certificate, in characters.
const LIMIT: usize = 200;

/// The text escaped, and cut after 200 characters.
pub(super) fn printable(text: &str) -> String {
    printable_within(LIMIT, text).into_owned()
}

/// The same text in ASCII, as POP3 and SMTP replies need it.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'ä' => out.push_str("ae"),
            'ö' => out.push_str("oe"),
            'ü' => out.push_str("ue"),
            'Ä' => out.push_str("Ae"),
            'Ö' => out.push_str("Oe"),
            'Ü' => out.push_str("Ue"),
            'ß' => out.push_str("ss"),
            c if c.is_ascii() && !c.is_ascii_control() => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// Hexadecimal digits of these bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // a String takes everything
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_invisible_characters_are_escaped_and_long_text_is_cut() {
        assert_eq!(printable("CN=a\r\nERROR b\u{202e}"), r"CN=a\u{d}\u{a}ERROR b\u{202e}");
        assert_eq!(printable("O=Müller & Söhne"), "O=Müller & Söhne");
        assert_eq!(printable(&"x".repeat(LIMIT)).len(), LIMIT);
        assert_eq!(printable(&"x".repeat(LIMIT + 1)), format!("{}...", "x".repeat(LIMIT)));
    }

    #[test]
    fn the_wire_sees_ascii_only() {
        assert_eq!(ascii("Müller, Straße €\n"), r"Mueller, Strasse \u{20ac}\u{a}");
    }
}

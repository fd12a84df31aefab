//! Makes text that a stranger chose safe for logs, terminals and the mail wire.

use std::fmt::Write;

/// Longest text taken over from a certificate, in characters.
const LIMIT: usize = 200;

/// Escapes what could break a log line or turn a terminal's text around, and cuts what is long.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LIMIT {
            out.push_str("...");
            break;
        }
        if is_harmless(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    out
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

/// Neither control character nor one of the invisible ones that reorder or hide text (bidirectional
/// overrides, zero-width characters, tags).
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
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

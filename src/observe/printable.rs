//! Text from outside, made safe for a terminal, a log line and a web page.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of one text that are shown.
const SHOWN: usize = 256;
/// Characters of a sentence of kimgate's own, which may quote several texts.
const SENTENCE: usize = 1500;

/// The text with everything escaped that could end a line, move a cursor, change a colour, reorder
/// what a reader sees or stand there unseen; cut after 256 characters.
///
/// A reader who trusts what stands in the log is the target of such text: a forged second line, an
/// address that is shown backwards (Unicode TR 36, section 2.6; CVE-2021-42574).
pub fn printable(text: &str) -> Cow<'_, str> {
    printable_up_to(SHOWN, text)
}

/// The same for a sentence of kimgate's own.
pub(super) fn printable_sentence(text: &str) -> Cow<'_, str> {
    printable_up_to(SENTENCE, text)
}

fn printable_up_to(most: usize, text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(most).map(|(at, _)| at);
    let shown = &text[..end.unwrap_or(text.len())];
    if end.is_none() && !shown.chars().any(is_unsafe) {
        return Cow::Borrowed(shown);
    }
    let mut safe = String::with_capacity(shown.len() + 16);
    for char in shown.chars() {
        if is_unsafe(char) {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(char));
        } else {
            safe.push(char);
        }
    }
    if end.is_some() {
        safe.push_str("...");
    }
    Cow::Owned(safe)
}

fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'                    // soft hyphen
            | '\u{61c}'                 // Arabic letter mark
            | '\u{180e}'                // Mongolian vowel separator
            | '\u{200b}'..='\u{200f}'   // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'   // line and paragraph ends, embeddings, overrides
            | '\u{2060}'..='\u{206f}'   // word joiner, isolates, deprecated format characters
            | '\u{feff}'                // byte order mark
            | '\u{fff9}'..='\u{fffb}'   // interlinear annotation
            | '\u{e0000}'..='\u{e007f}' // tags, invisible
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_stays_and_what_is_not_is_escaped() {
        let table = [
            ("PC1", "PC1"),
            ("Praxis Dr. Müller", "Praxis Dr. Müller"),
            ("a\r\nb", "a\\u{d}\\u{a}b"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gro", "\\u{202e}gro"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("two\u{2028}lines", "two\\u{2028}lines"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let whole = "ü".repeat(256);
        assert_eq!(printable(&whole), whole);
        assert_eq!(printable(&"ü".repeat(257)), format!("{whole}..."));
    }
}

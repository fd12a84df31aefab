//! Text from outside, made safe for a terminal, a log line and a web page. The only escaper of
//! kimgate: whatever is printed goes through it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that [`printable`] keeps of one text.
const SHOWN: usize = 256;
/// Bytes of the longest escape, `\u{e0fff}`.
const ESCAPE: usize = 9;

/// The text escaped as by [`escaped`] and cut after 256 characters. Three dots mark the cut.
pub fn printable(text: &str) -> Cow<'_, str> {
    printable_within(SHOWN, text)
}

/// The same, cut after `most` characters of `text`.
pub fn printable_within(most: usize, text: &str) -> Cow<'_, str> {
    let shown = cut(text, most);
    match shown.len() == text.len() {
        true => escaped(text),
        false => Cow::Owned(escaped(shown).into_owned() + "..."),
    }
}

/// The text with every [unsafe](is_unsafe) character as `\u{hex}`. It borrows what has none.
///
/// A reader who trusts the log is the target of such text: a forged second line, or an address that
/// is shown backwards (Unicode TR 36, section 2.6; CVE-2021-42574).
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_by(text, is_unsafe, escape)
}

/// Lines of kimgate's own output: as [`escaped`], but line ends stay.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_by(text, is_unsafe_in_lines, escape)
}

/// Text in which the caller has dealt with ASCII control characters: only others are escaped.
pub fn escaped_beside_ascii(text: &str) -> Cow<'_, str> {
    escaped_by(text, |c| !c.is_ascii() && is_unsafe(c), escape)
}

/// A JSON document with every unsafe character as JSON escapes it; a reader of JSON gets the same
/// values. Line ends stay: inside a string JSON has none.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    escaped_by(json, is_unsafe_in_lines, |out, c| {
        // Between values these are blanks, and a string cannot hold them.
        if matches!(c, '\t' | '\r') {
            return out.push(' ');
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// The text's first `most` characters; fewer where the cut would fall into an escape that is already
/// in the text, since half an escape reads like something else.
pub fn cut(text: &str, most: usize) -> &str {
    // A text of so few bytes has no more characters than that.
    if text.len() <= most {
        return text;
    }
    let Some((end, _)) = text.char_indices().nth(most) else { return text };
    let shown = &text[..end];
    match shown.rfind('\\') {
        Some(start) if is_begun_escape(&shown[start..]) && ends_escape(&text[end..]) => {
            &shown[..start]
        }
        Some(_) | None => shown,
    }
}

/// Whether this is `\`, `\u`, `\u{` or `\u{` with some digits, and no more.
fn is_begun_escape(text: &str) -> bool {
    text.len() < ESCAPE
        && match text.strip_prefix("\\u{") {
            Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
            None => text == "\\" || text == "\\u",
        }
}

/// Whether an escape that was begun goes on, and ends, in this rest.
fn ends_escape(rest: &str) -> bool {
    let rest = rest.trim_start_matches('u').trim_start_matches('{');
    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    digits < ESCAPE && rest.as_bytes().get(digits) == Some(&b'}')
}

fn escaped_by(
    text: &str,
    is_unsafe: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_unsafe) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_unsafe(c) { escape(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn escape(out: &mut String, c: char) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(c)); // a String takes everything
}

fn is_unsafe_in_lines(c: char) -> bool {
    c != '\n' && is_unsafe(c)
}

/// Whether a character can end a line, move a cursor, change a colour, reorder what a reader sees or
/// stand there unseen.
///
/// These are the control characters, the line and paragraph separators, everything that Unicode
/// 17 lists as a format character (category Cf) or as `Default_Ignorable_Code_Point`, and the
/// noncharacters of the first plane.
pub fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        c,
        '\u{80}'..='\u{9f}'             // C1 controls
        | '\u{ad}'                      // soft hyphen
        | '\u{34f}'                     // combining grapheme joiner
        | '\u{600}'..='\u{605}'         // Arabic number signs
        | '\u{61c}'                     // Arabic letter mark
        | '\u{6dd}' | '\u{70f}'         // Arabic end of ayah, Syriac abbreviation mark
        | '\u{890}'..='\u{891}' | '\u{8e2}' // Arabic currency and verse marks
        | '\u{115f}'..='\u{1160}'       // Hangul fillers
        | '\u{17b4}'..='\u{17b5}'       // Khmer inherent vowels
        | '\u{180b}'..='\u{180f}'       // Mongolian variation selectors, vowel separator
        | '\u{200b}'..='\u{200f}'       // zero width, left-to-right and right-to-left marks
        | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings, overrides
        | '\u{2060}'..='\u{206f}'       // word joiner, isolates, deprecated format characters
        | '\u{3164}'                    // Hangul filler
        | '\u{fdd0}'..='\u{fdef}'       // noncharacters
        | '\u{fe00}'..='\u{fe0f}'       // variation selectors
        | '\u{feff}'                    // byte order mark
        | '\u{ffa0}'                    // half-width Hangul filler
        | '\u{fff0}'..='\u{fffb}'       // ignorable, interlinear annotation
        | '\u{fffe}'..='\u{ffff}'       // noncharacters; the first is a byte order mark reversed
        | '\u{110bd}' | '\u{110cd}'     // Kaithi number signs
        | '\u{13430}'..='\u{1343f}'     // Egyptian hieroglyph format controls
        | '\u{1bca0}'..='\u{1bca3}'     // shorthand format controls
        | '\u{1d173}'..='\u{1d17a}'     // musical format controls
        | '\u{e0000}'..='\u{e0fff}'     // tags, variation selectors
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_harmless_stays_and_what_is_not_is_escaped() {
        let table = [
            ("PC1", "PC1"),
            ("Praxis Dr. Müller", "Praxis Dr. Müller"),
            ("✓ – 日本 🏥", "✓ – 日本 🏥"),
            ("a\r\nb", "a\\u{d}\\u{a}b"),
            ("a\tb\0\u{7f}", "a\\u{9}b\\u{0}\\u{7f}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202a}\u{202e}gro", "\\u{202a}\\u{202e}gro"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}"),
            ("zero\u{200b}width\u{200c}\u{200d}", "zero\\u{200b}width\\u{200c}\\u{200d}"),
            ("two\u{2028}lines\u{2029}", "two\\u{2028}lines\\u{2029}"),
            ("\u{feff}mark\u{2060}", "\\u{feff}mark\\u{2060}"),
            ("\u{ad}\u{34f}\u{180e}\u{3164}", "\\u{ad}\\u{34f}\\u{180e}\\u{3164}"),
            ("\u{fe0f}\u{fff9}\u{fffb}", "\\u{fe0f}\\u{fff9}\\u{fffb}"),
            ("tag\u{e0000}\u{e0001}\u{e007f}", "tag\\u{e0000}\\u{e0001}\\u{e007f}"),
            ("\u{e0100}\u{1d173}\u{ffff}", "\\u{e0100}\\u{1d173}\\u{ffff}"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text), shown);
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let whole = "ü".repeat(256);
        assert_eq!(printable(&whole), whole);
        assert_eq!(printable(&"ü".repeat(257)), format!("{whole}..."));
    }

    #[test]
    fn no_escape_is_cut_in_two() {
        let text = escaped("ab\u{202e}cd");
        for (most, shown) in [
            (2, "ab"),
            (3, "ab"),
            (5, "ab"),
            (9, "ab"),
            (10, "ab\\u{202e}"),
            (11, "ab\\u{202e}c"),
            (12, "ab\\u{202e}cd"),
        ] {
            assert_eq!(cut(&text, most), shown, "{most}");
        }
        assert_eq!(cut("C:\\users", 4), "C:\\u", "no escape, only the look of one");
    }

    #[test]
    fn json_stays_the_same_document() {
        let document = "{\n\t\r\"a\": \"\u{202e}x\u{e0001}\u{85}\"\n}";
        let shown = escaped_json(document);
        assert_eq!(shown, "{\n  \"a\": \"\\u202ex\\udb40\\udc01\\u0085\"\n}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(document));
    }

    #[test]
    fn what_borrows_needs_no_escape() {
        assert!(matches!(printable("prx@praxis.kim.telematik"), Cow::Borrowed(_)));
        assert!(matches!(escaped_lines("two\nlines"), Cow::Borrowed("two\nlines")));
    }

    proptest! {
        #[test]
        fn nothing_printed_holds_an_unsafe_character(text: String, most in 0usize..40) {
            prop_assert!(!printable(&text).contains(is_unsafe));
            prop_assert!(!printable_within(most, &text).contains(is_unsafe));
            prop_assert!(!escaped_lines(&text).contains(is_unsafe_in_lines));
        }

        #[test]
        fn nothing_unsafe_is_left_of_any_character(c: char) {
            prop_assert_eq!(escaped(&c.to_string()).chars().count() > 1, is_unsafe(c));
        }

        #[test]
        fn a_cut_text_is_its_beginning_and_ends_no_escape(
            text in "[a-c\u{202e}\u{1b}\u{e0001}]{0,12}", most in 0usize..60,
        ) {
            let whole = escaped(&text);
            let shown = cut(&whole, most);
            prop_assert!(whole.starts_with(shown) && shown.chars().count() <= most);
            let opened = shown.matches("\\").count();
            prop_assert_eq!(opened, shown.matches('}').count());
        }
    }
}

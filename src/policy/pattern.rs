//! Lists of wildcard patterns for addresses and services.

use wildmatch::WildMatch;

/// A longer text matches nothing, in bytes. An address has at most 256 octets (RFC 5321 4.5.3.1.3)
/// and a header line 998 (RFC 5322 2.1.1); matching takes time in proportion to the lengths of text
/// and pattern multiplied.
const LONGEST: usize = 998;

/// Patterns with `*` and `?`, compared without case with a whole text.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<WildMatch>);

impl Patterns {
    pub(super) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|text| WildMatch::new_case_insensitive(text)).collect())
    }

    /// Whether one of them is `*`.
    pub(super) fn matches_all(&self) -> bool {
        self.0.iter().any(|pattern| pattern.pattern() == "*")
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        text.len() <= LONGEST && self.0.iter().any(|pattern| pattern.matches(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_whole_text_without_case() {
        let table = [
            ("*.kim.telematik", "a@b.KIM.telematik", true),
            ("*.kim.telematik", "a@kim.telematik", false),
            ("*.kim.telematik", "a@b.kim.telematik.example", false),
            ("?@b", "A@B", true),
            ("?@b", "aa@b", false),
            ("eAU;*", "EAU;Lieferung;V1.0", true),
            ("eAU;*", "xeAU;Lieferung;V1.0", false),
            ("*", "", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(
                Patterns::new(&[pattern.into()]).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(!Patterns::new(&[]).matches("a"));
    }

    #[test]
    fn an_endless_text_matches_nothing_and_takes_no_time() {
        let patterns = Patterns::new(&["*a*a*a*a*b".into(), "*".into()]);
        assert!(!patterns.matches(&"a".repeat(10 << 20)));
    }
}

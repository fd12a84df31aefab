//! Words in the forms in which they leak: as they are, and as a careless line of code shows them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Where a text holds the word, whatever the case: plain, in base64, as bytes in Rust's `Debug`, or
/// hexadecimal; with what stands around it.
pub(crate) fn find(word: &str, text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let bytes = format!("{:?}", word.as_bytes());
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let plain = [word, bytes.trim_matches(['[', ']']), &hex].map(|form| lower.find(form));
    // Base64 depends on what stands before, but for the characters that are the word's alone.
    let encoded = [0, 1, 2].map(|before| {
        let form = STANDARD.encode([&b"xx"[..before], word.as_bytes()].concat());
        let own = form.trim_end_matches('=');
        text.find(&own[[0, 2, 3][before]..own.len() - 1])
    });
    let at = plain.into_iter().chain(encoded).flatten().next()?;
    let start = (0..=at.saturating_sub(200)).rev().find(|at| text.is_char_boundary(*at))?;
    Some(text[start..].chars().take(500).collect())
}

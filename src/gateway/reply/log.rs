//! What may be logged of a reply.

/// The codes at the beginning of a reply, for log and audit; empty where there are none.
///
/// Only codes of a known form are taken, never free text: a client module may repeat the login in its
/// text, also in brackets or as digits.
pub(crate) fn code_of(reply: &[u8]) -> &str {
    let line = reply.split(|b| *b == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return "" };
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    if matches!(first, "+OK" | "-ERR") {
        let code = POP3_CODES.iter().find(|code| rest.starts_with(**code));
        return &line[..first.len() + code.map_or(0, |code| 1 + code.len())];
    }
    let (code, more) = line.split_at_checked(3).unwrap_or_default();
    if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return "";
    }
    match (more.as_bytes().first(), rest.split(' ').next()) {
        (Some(b' '), Some(status)) if is_enhanced_status(status) => &line[..4 + status.len()],
        (Some(b' ' | b'-') | None, _) => code,
        (Some(_), _) => "",
    }
}

/// RFC 2449 section 8, RFC 3206.
const POP3_CODES: [&str; 5] = ["[IN-USE]", "[LOGIN-DELAY]", "[SYS/TEMP]", "[SYS/PERM]", "[AUTH]"];

/// RFC 3463 section 2: `4.7.0`, each number of three digits at the most.
fn is_enhanced_status(word: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    word.split('.').count() == 3 && word.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_are_left_for_the_log() {
        for (reply, code) in [
            ("235 2.7.0 Authentication successful\r\n", "235 2.7.0"),
            ("535-5.7.8 one\r\n535 5.7.8 two\r\n", "535"),
            ("535 5.7.8\r\n", "535 5.7.8"),
            ("535 20251123\r\n", "535"),
            ("535 5.7.8.9 no\r\n", "535"),
            ("250\r\n", "250"),
            ("12345678\r\n", ""),
            ("-ERR [prx@praxis.kim.telematik#h:995#M#C#W] no\r\n", "-ERR"),
            ("-ERR [GEHEIM] no\r\n", "-ERR"),
            ("+geheim\r\n", ""),
            ("250 ok 123\r\n", "250"),
            ("+OK geheim\r\n", "+OK"),
            ("-ERR [IN-USE] busy\r\n", "-ERR [IN-USE]"),
            ("-ERR [IN-USE busy\r\n", "-ERR"),
            ("-ERR\r\n", "-ERR"),
            ("garbage\r\n", ""),
            ("\u{fffd}\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(code_of(reply.as_bytes()), code, "{reply:?}");
        }
    }
}

//! What gematik's draft of April 2026 (gematik/api-kim, `docs/Primaersystem.adoc`) says of dialogue and
//! headers, as a client module writes it and as it may check it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::message::header;

/// What EHLO announces.
pub(crate) const SMTP: [&str; 5] =
    ["SIZE 734003200", "AUTH LOGIN PLAIN", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"];

/// What practice software must write into each message.
const DEMANDED: [&str; 5] =
    ["Message-ID", "X-KIM-Dienstkennung", "X-KIM-Sendersystem", "X-KIM-Support", "X-TI-User-Agent"];

/// The bytes of each certificate in X-KIM-Auth.
const CERTIFICATE: usize = 1_500;
/// RFC 5322 allows 998 bytes in a line.
const FOLDED: usize = 900;

/// A message as RETR gives it: the client module's lines with the sender's certificate and a vendor's
/// codes, then what came.
pub(crate) fn fetched(message: &[u8]) -> Vec<u8> {
    let lines = format!(
        "X-KIM-Auth: {}\r\n\
         X-KIM-KAS-EncSize: 734003200\r\n\
         X-KIM-Fehlermeldung: X99\r\n\
         X-KIM-Fehlermeldung: X12\r\n\
         X-KIM-Neu: was es noch nicht gibt\r\n",
        folded(&token())
    );
    [lines.as_bytes(), message].concat()
}

/// The header as TOP gives it: that of the encrypted message, with another subject and other fields
/// than the one that RETR gives.
pub(crate) fn outer(message: &[u8]) -> Vec<u8> {
    let mut text = String::from(
        "X-KOM-LE-Version: 1.5\r\n\
         X-KIM-KAS-EncSize: 734003200\r\n\
         Expires: Fri, 01 Jan 2027 00:00:00 +0000\r\n\
         Subject: KOM-LE-Nachricht\r\n",
    );
    for name in ["Date", "From", "To", "Cc"].into_iter().chain(DEMANDED) {
        if let Some(value) = header(message, name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// What a message lacks; `None` where it has all that the draft demands.
pub(crate) fn complaint(message: &[u8]) -> Option<String> {
    let is_pair = |value: &String| {
        value.split_once(';').is_some_and(|(name, version)| !name.is_empty() && !version.is_empty())
    };
    for name in DEMANDED {
        let Some(value) = header(message, name).filter(|value| !value.is_empty()) else {
            return Some(format!("554 5.6.0 {name} fehlt"));
        };
        if name == "X-KIM-Sendersystem" && !is_pair(&value) {
            return Some(format!("554 5.6.0 {name} ist nicht Name;Version"));
        }
    }
    let middleware = header(message, "X-KIM-Middleware");
    let is_odd = middleware.is_some_and(|value| !is_pair(&value));
    is_odd.then(|| "554 5.6.0 X-KIM-Middleware ist nicht Name;Version".to_owned())
}

/// The Message-ID of a message.
pub(crate) fn message_id(message: &[u8]) -> Option<String> {
    header(message, "Message-ID")
}

/// Looks like a JWT with a chain of certificates in it. Nobody has to be able to verify it.
fn token() -> String {
    let certificate = |seed: usize| {
        let bytes: Vec<u8> = (0..CERTIFICATE).map(|at| (at * 31 + seed) as u8).collect();
        format!("\"{}\"", STANDARD.encode(bytes))
    };
    let chain: Vec<String> = (1..=3).map(certificate).collect();
    let header = format!(r#"{{"alg":"BP256R1","typ":"JWT","x5c":[{}]}}"#, chain.join(","));
    let parts = [header.as_str(), r#"{"sub":"simulator","iat":1775001600}"#, "signature"];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn folded(value: &str) -> String {
    let lines: Vec<_> = value.as_bytes().chunks(FOLDED).map(String::from_utf8_lossy).collect();
    lines.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Message-ID: <1@x>\r\nX-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n\
        X-KIM-Sendersystem: Praxis;1.0\r\nX-KIM-Support: hilfe@hersteller.example\r\n\
        X-TI-User-Agent: Firma-Produkt/2.0.0\r\n\r\nText\r\n";

    #[test]
    fn a_fetched_message_has_several_kilobytes_of_header_in_lines_of_legal_length() {
        let whole = fetched(GOOD.as_bytes());
        assert!(whole.ends_with(GOOD.as_bytes()));
        let text = String::from_utf8(whole).unwrap();
        assert!(text.len() > 8_000 && text.lines().all(|line| line.len() <= 998));
        assert_eq!(text.matches("X-KIM-Fehlermeldung: X").count(), 2);
        let outer = String::from_utf8(outer(text.as_bytes())).unwrap();
        assert!(outer.contains("Subject: KOM-LE-Nachricht\r\n"), "{outer}");
        assert!(
            outer.contains("Message-ID: <1@x>\r\n") && !outer.contains("X-KIM-Auth"),
            "{outer}"
        );
    }

    #[test]
    fn a_message_is_refused_for_each_field_that_it_lacks() {
        assert_eq!(complaint(GOOD.as_bytes()), None);
        for name in DEMANDED {
            let without = GOOD.replace(&format!("{name}:"), "X-Other:");
            assert_eq!(complaint(without.as_bytes()), Some(format!("554 5.6.0 {name} fehlt")));
        }
        for odd in ["X-KIM-Sendersystem: Praxis\r\n", "X-KIM-Sendersystem: ;1\r\n"] {
            let odd = GOOD.replace("X-KIM-Sendersystem: Praxis;1.0\r\n", odd);
            assert!(complaint(odd.as_bytes()).unwrap().contains("Name;Version"), "{odd}");
        }
        let odd = format!("X-KIM-Middleware: kimgate\r\n{GOOD}");
        assert!(complaint(odd.as_bytes()).unwrap().contains("X-KIM-Middleware"));
        let good = format!("X-KIM-Middleware: kimgate;0.1.0\r\n{GOOD}");
        assert_eq!(complaint(good.as_bytes()), None);
    }
}

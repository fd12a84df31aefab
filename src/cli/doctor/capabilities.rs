//! What a client module offers, beside what gemSpec_CM_KOMLE 3.3.2 and 3.4.2 prescribe.

use crate::words::Protocol;

/// What SIZE has to be at least (KOM-LE-A_2007 and the sizes of KIM 1.0).
const LEAST_SIZE: u64 = 35_882_577;

/// Something prescribed that is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// AUTH, or both of its mechanisms.
    Auth,
    /// SIZE, or one that is too small.
    Size(Option<u64>),
    EightBit,
    StatusCodes,
    Dsn,
    Top,
    User,
    Uidl,
    SaslPlain,
}

/// The lines of an EHLO reply or of a CAPA answer, without the first one.
pub(super) fn offered(protocol: Protocol, answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.lines().map(str::trim_end);
    match protocol {
        Protocol::Pop3 if !text.starts_with("+OK") => Vec::new(),
        Protocol::Pop3 => lines.skip(1).take_while(|line| *line != ".").map(String::from).collect(),
        Protocol::Smtp => {
            lines.skip(1).filter_map(|line| line.get(4..)).map(String::from).collect()
        }
    }
}

/// What is prescribed and missing, in the order of the specification.
pub(super) fn missing(protocol: Protocol, offered: &[String]) -> Vec<Missing> {
    let has = |word: &str| parameters(offered, word).is_some();
    let mut missing = Vec::new();
    let mut expect = |there: bool, what: Missing| {
        if !there {
            missing.push(what);
        }
    };
    match protocol {
        Protocol::Pop3 => {
            expect(has("TOP"), Missing::Top);
            expect(has("USER"), Missing::User);
            expect(has_mechanism(offered, "PLAIN"), Missing::SaslPlain);
            expect(has("UIDL"), Missing::Uidl);
        }
        Protocol::Smtp => {
            let size = parameters(offered, "SIZE").map(|size| size.trim().parse::<u64>());
            match size {
                // Zero, or no number at all, is no limit (RFC 1870 section 3).
                Some(Ok(0) | Err(_)) => {}
                Some(Ok(size)) => expect(size >= LEAST_SIZE, Missing::Size(Some(size))),
                None => expect(false, Missing::Size(None)),
            }
            let auth = ["PLAIN", "LOGIN"].iter().any(|name| has_mechanism(offered, name));
            expect(auth, Missing::Auth);
            expect(has("8BITMIME"), Missing::EightBit);
            // The specification's own spelling, and the right one.
            let codes = has("ENCHANCEDSTATUSCODES") || has("ENHANCEDSTATUSCODES");
            expect(codes, Missing::StatusCodes);
            expect(has("DSN"), Missing::Dsn);
        }
    }
    missing
}

/// Whether a SASL mechanism is offered.
pub(super) fn has_mechanism(offered: &[String], name: &str) -> bool {
    ["AUTH", "SASL"].iter().filter_map(|word| parameters(offered, word)).any(|mechanisms| {
        mechanisms.split_ascii_whitespace().any(|other| other.eq_ignore_ascii_case(name))
    })
}

/// What follows a keyword, if the keyword is there.
fn parameters<'a>(offered: &'a [String], word: &str) -> Option<&'a str> {
    offered.iter().find_map(|line| {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        keyword.eq_ignore_ascii_case(word).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_specification_prescribes_is_looked_for() {
        let table: [(Protocol, &[u8], &[Missing]); 7] = [
            (
                Protocol::Smtp,
                b"250-KOM-LE\r\n250-SIZE 35882577\r\n250-AUTH LOGIN PLAIN\r\n250-8BITMIME\r\n\
                  250-ENCHANCEDSTATUSCODES\r\n250 DSN\r\n",
                &[],
            ),
            (
                Protocol::Smtp,
                b"250-x\r\n250-size\r\n250-auth login\r\n250-8bitmime\r\n250-EnhancedStatusCodes\r\n\
                  250 dsn\r\n",
                &[],
            ),
            (
                Protocol::Smtp,
                b"250-x\r\n250-SIZE 1000\r\n250 AUTH CRAM-MD5\r\n",
                &[
                    Missing::Size(Some(1000)),
                    Missing::Auth,
                    Missing::EightBit,
                    Missing::StatusCodes,
                    Missing::Dsn,
                ],
            ),
            (
                Protocol::Smtp,
                b"250 x\r\n",
                &[
                    Missing::Size(None),
                    Missing::Auth,
                    Missing::EightBit,
                    Missing::StatusCodes,
                    Missing::Dsn,
                ],
            ),
            (Protocol::Pop3, b"+OK\r\nTOP\r\nUSER\r\nSASL PLAIN\r\nUIDL\r\n.\r\n", &[]),
            (Protocol::Pop3, b"+OK\r\nUSER\r\nSASL NTLM\r\n.\r\nTOP\r\n", &[
                Missing::Top,
                Missing::SaslPlain,
                Missing::Uidl,
            ]),
            (Protocol::Pop3, b"-ERR TOP\r\n", &[
                Missing::Top,
                Missing::User,
                Missing::SaslPlain,
                Missing::Uidl,
            ]),
        ];
        for (protocol, answer, expected) in table {
            let found = missing(protocol, &offered(protocol, answer));
            assert_eq!(found, expected, "{}", answer.escape_ascii());
        }
    }
}

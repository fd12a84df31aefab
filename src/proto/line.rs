//! CRLF lines with a limit.

use std::fmt;

use memchr::{memchr, memchr2};

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A line, without its CRLF; it used up its length and two octets more.
    Line(&'a [u8]),
    /// No line end yet, and still room for one.
    Incomplete,
    /// No line end within the limit.
    TooLong,
    /// A line that two readers could understand differently; never to be executed.
    Faulty {
        /// Octets up to and with the LF that ended it.
        consumed: usize,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// Why a line is not read as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends in LF without CR.
    BareLineFeed,
    /// There is a CR inside.
    BareCarriageReturn,
    /// There is a NUL inside, where some readers stop.
    Nul,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineFeed => "a line feed without its carriage return",
            Self::BareCarriageReturn => "a carriage return without its line feed",
            Self::Nul => "a NUL",
        })
    }
}

/// The first line of `bytes`, at most `limit` octets with its CRLF.
///
/// The answer for a line depends on the line alone and not on how much of it has arrived: nothing
/// but its length is judged before its LF is here.
pub fn next_line(bytes: &[u8], limit: usize) -> Framed<'_> {
    let window = &bytes[..bytes.len().min(limit)];
    let Some(feed) = memchr(b'\n', window) else {
        return if bytes.len() >= limit { Framed::TooLong } else { Framed::Incomplete };
    };
    let consumed = feed + 1;
    if memchr(0, &window[..feed]).is_some() {
        return Framed::Faulty { consumed, fault: Fault::Nul };
    }
    let Some(line) = window[..feed].strip_suffix(b"\r") else {
        return Framed::Faulty { consumed, fault: Fault::BareLineFeed };
    };
    match memchr2(b'\r', b'\n', line) {
        Some(_) => Framed::Faulty { consumed, fault: Fault::BareCarriageReturn },
        None => Framed::Line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_and_faults_are_named() {
        let faulty = |consumed, fault| Framed::Faulty { consumed, fault };
        let table: [(&[u8], Framed<'_>); 14] = [
            (b"", Framed::Incomplete),
            (b"abc", Framed::Incomplete),
            (b"abc\r", Framed::Incomplete),
            (b"ab\0c", Framed::Incomplete),
            (b"\r\n", Framed::Line(b"")),
            (b"abc\r\ndef\r\n", Framed::Line(b"abc")),
            (b"a\xffb \r\n", Framed::Line(b"a\xffb ")),
            (b"abc\ndef\r\n", faulty(4, Fault::BareLineFeed)),
            (b"\n", faulty(1, Fault::BareLineFeed)),
            (b"a\rb\r\n", faulty(5, Fault::BareCarriageReturn)),
            (b"a\r\r\n", faulty(4, Fault::BareCarriageReturn)),
            (b"a\0b\r\n", faulty(5, Fault::Nul)),
            (b"a\r\0\n", faulty(4, Fault::Nul)),
            (b"12345678901234567890", Framed::TooLong),
        ];
        for (bytes, expected) in table {
            assert_eq!(next_line(bytes, 16), expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        assert_eq!(next_line(b"abc\r\n", 5), Framed::Line(b"abc"));
        assert_eq!(next_line(b"abcd\r\n", 5), Framed::TooLong);
        assert_eq!(next_line(b"abcd", 5), Framed::Incomplete);
        assert_eq!(next_line(b"abcd\r", 5), Framed::TooLong);
    }

    #[test]
    fn a_line_is_judged_the_same_however_it_arrives() {
        for whole in [&b"a\r\0b\r\n"[..], b"a\rb\n", b"ok\r\nx", b"\r\r\n", b"0123456789abcdef\r\n"]
        {
            let expected = next_line(whole, 16);
            let first = (0..=whole.len())
                .map(|cut| next_line(&whole[..cut], 16))
                .find(|framed| *framed != Framed::Incomplete);
            assert_eq!(first, Some(expected), "{:?}", whole.escape_ascii().to_string());
        }
    }
}

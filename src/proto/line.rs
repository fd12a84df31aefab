//! Lines that end in CRLF, up to a limit.

use std::fmt;

use memchr::{memchr, memchr2};

/// What was found at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A line.
    Line(Line<'a>),
    /// No line end yet, and still room for one.
    Incomplete,
    /// No line end within the limit.
    TooLong,
    /// A line that two readers could read differently. It must not be executed.
    Faulty {
        /// How many bytes it takes on the wire, its LF included.
        consumed: usize,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// A line and its length on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line without its CRLF. It holds no CR, LF or NUL.
    pub text: &'a [u8],
    /// How many bytes the line takes on the wire, its CRLF included.
    pub wire: usize,
}

/// Why a line must not be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends in LF without CR.
    BareLineFeed,
    /// There is a CR inside.
    BareCarriageReturn,
    /// There is a NUL inside. Some readers stop there.
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

/// The first line of `bytes`. It may take `limit` bytes on the wire, its CRLF included.
///
/// A line gives the same result in whatever pieces it arrives: before its LF is there, only its
/// length is judged.
pub fn next_line(bytes: &[u8], limit: usize) -> Framed<'_> {
    let window = &bytes[..bytes.len().min(limit)];
    let Some(feed) = memchr(b'\n', window) else {
        return if bytes.len() >= limit { Framed::TooLong } else { Framed::Incomplete };
    };
    let consumed = feed + 1;
    if memchr(0, &window[..feed]).is_some() {
        return Framed::Faulty { consumed, fault: Fault::Nul };
    }
    let Some(text) = window[..feed].strip_suffix(b"\r") else {
        return Framed::Faulty { consumed, fault: Fault::BareLineFeed };
    };
    match memchr2(b'\r', b'\n', text) {
        Some(_) => Framed::Faulty { consumed, fault: Fault::BareCarriageReturn },
        None => Framed::Line(Line { text, wire: consumed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], wire: usize) -> Framed<'_> {
        Framed::Line(Line { text, wire })
    }

    #[test]
    fn lines_are_found_and_faults_are_named() {
        let faulty = |consumed, fault| Framed::Faulty { consumed, fault };
        let table: [(&[u8], Framed<'_>); 14] = [
            (b"", Framed::Incomplete),
            (b"abc", Framed::Incomplete),
            (b"abc\r", Framed::Incomplete),
            (b"ab\0c", Framed::Incomplete),
            (b"\r\n", line(b"", 2)),
            (b"abc\r\ndef\r\n", line(b"abc", 5)),
            (b"a\xffb \r\n", line(b"a\xffb ", 6)),
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
        assert_eq!(next_line(b"abc\r\n", 5), line(b"abc", 5));
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

//! Replies of an SMTP server: one code, one line or several.

use crate::proto::ProtocolError;
use crate::proto::error::Excerpt;
use crate::proto::line::{Framed, next_line};

/// How many bytes a reply line may have; RFC 5321 section 4.5.3.1.5 allows a server 512.
const LINE: usize = 8 << 10;
/// How many lines a reply may have.
const LINES: usize = 128;
/// How many bytes a reply may have. It is read from its beginning each time more of it comes.
const BYTES: usize = 64 << 10;

/// A complete reply at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// How many bytes all its lines take, their CRLF included.
    pub len: usize,
}

impl Reply {
    /// Whether the command was carried out (2yz).
    pub fn is_positive(self) -> bool {
        self.code / 100 == 2
    }
}

/// The reply at the beginning of `bytes`, which are all that came since its first byte; `None` while it
/// is not complete.
///
/// # Errors
///
/// The bytes are not an SMTP reply, or too many.
pub fn scan_reply(bytes: &[u8]) -> Result<Option<Reply>, ProtocolError> {
    let mut len = 0;
    let mut first = None;
    for _ in 0..LINES {
        let line = match next_line(&bytes[len..], LINE) {
            Framed::Line(line) => line,
            Framed::Incomplete if bytes.len() >= BYTES => {
                return Err(ProtocolError::AnswerTooLong);
            }
            Framed::Incomplete => return Ok(None),
            Framed::TooLong => return Err(ProtocolError::LineTooLong(LINE)),
            Framed::Faulty { fault, .. } => return Err(ProtocolError::Faulty(fault)),
        };
        len += line.wire;
        if len > BYTES {
            return Err(ProtocolError::AnswerTooLong);
        }
        let code =
            code(line.text).ok_or_else(|| ProtocolError::NotAnAnswer(Excerpt::of(line.text)))?;
        if *first.get_or_insert(code) != code {
            return Err(ProtocolError::CodesDiffer);
        }
        if line.text.get(3) != Some(&b'-') {
            return Ok(Some(Reply { code, len }));
        }
    }
    Err(ProtocolError::AnswerTooLong)
}

/// The code at the beginning of a reply line.
pub(in crate::proto) fn code(line: &[u8]) -> Option<u16> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let is_code = matches!(digits[0], b'2'..=b'5') && digits.iter().all(u8::is_ascii_digit);
    let is_ended = matches!(rest.first(), None | Some(b' ' | b'-' | b'\r'));
    (is_code && is_ended).then(|| digits.iter().fold(0, |code, d| code * 10 + u16::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::line::Fault;

    #[test]
    fn the_end_of_a_reply_is_found() {
        type Found = Result<Option<Reply>, ProtocolError>;
        let reply = |code, len| Ok(Some(Reply { code, len }));
        let table: [(&[u8], Found); 12] = [
            (b"", Ok(None)),
            (b"250", Ok(None)),
            (b"250-a\r\n250-b\r\n", Ok(None)),
            (b"250\r\n", reply(250, 5)),
            (b"250 \r\n250 x\r\n", reply(250, 6)),
            (b"220-KOM-LE\r\n220 ESMTP \xfc\r\n", reply(220, 25)),
            (b"250-a\r\n250\r\n", reply(250, 12)),
            (b"250-a\r\n550 b\r\n", Err(ProtocolError::CodesDiffer)),
            (b"250 a\n", Err(ProtocolError::Faulty(Fault::BareLineFeed))),
            (b"250 a\rb\r\n", Err(ProtocolError::Faulty(Fault::BareCarriageReturn))),
            (b"250 a\0\r\n", Err(ProtocolError::Faulty(Fault::Nul))),
            (b"+OK\r\n", Err(ProtocolError::NotAnAnswer(Excerpt::of(b"+OK")))),
        ];
        for (bytes, expected) in table {
            assert_eq!(scan_reply(bytes), expected, "{}", bytes.escape_ascii());
        }
        for odd in ["2500 a", "25 a", "150 a", "650 a", "25x a", "", "250_a"] {
            let line = format!("{odd}\r\n");
            assert!(scan_reply(line.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_reply_that_does_not_end_is_an_error_and_not_a_wait() {
        let line = vec![b'2'; LINE];
        assert_eq!(scan_reply(&line), Err(ProtocolError::LineTooLong(LINE)));
        assert_eq!(scan_reply(&b"250-x\r\n".repeat(LINES)), Err(ProtocolError::AnswerTooLong));
        // A full buffer reads no more, so this would wait for ever.
        let full = [b"250-".as_slice(), &[b'x'; 8000], b"\r\n"].concat().repeat(9);
        assert_eq!(scan_reply(&full[..BYTES]), Err(ProtocolError::AnswerTooLong));
        let wide = [b"250-".as_slice(), &[b'x'; 2000], b"\r\n"].concat().repeat(100);
        assert_eq!(scan_reply(&wide), Err(ProtocolError::AnswerTooLong));
    }
}

//! What a client module may say wrong.

use std::fmt;

use super::line::Fault;

/// The client module said something that the protocol does not allow at that point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than any server has reason to write.
    #[error("a line of its answer is longer than {0} octets")]
    LineTooLong(usize),
    /// More lines, or more octets in all, than any server has reason to write.
    #[error("its answer does not end")]
    AnswerTooLong,
    /// Line ends or NUL where none belongs.
    #[error("a line of its answer holds {0}")]
    Faulty(Fault),
    /// No reply code, no `+OK` or `-ERR`.
    #[error("its answer is none of this protocol: {0}")]
    NotAnAnswer(Excerpt),
    /// A multi-line reply whose lines carry different codes.
    #[error("the lines of its reply carry different codes")]
    CodesDiffer,
    /// Bytes behind a complete answer, or before any question. Two replies in one packet are the
    /// mark of response injection, on STARTTLS above all.
    #[error("it sent what nobody asked for: {0}")]
    Unasked(Excerpt),
    /// TLS is configured, and the client module does not announce it.
    #[error("it does not offer {0}")]
    NotOffered(&'static str),
    /// TLS is configured, and the client module does not want it.
    #[error("it refused {command}: {answer}")]
    TlsRefused {
        /// `STARTTLS` or `STLS`.
        command: &'static str,
        /// Its words.
        answer: Excerpt,
    },
    /// A success that cannot be one.
    #[error("it accepted the login before it had all credentials")]
    AcceptedTooEarly,
    /// A challenge after everything was sent.
    #[error("it asked for more than the credentials")]
    AskedForMore,
    /// A method of this crate was called in the wrong state; a bug here, not there.
    #[error("{0} out of order")]
    OutOfOrder(&'static str),
}

impl ProtocolError {
    /// The same error without the peer's words: a peer may echo what it got, and while a login is
    /// under way that is the password.
    #[must_use]
    pub fn without_excerpt(self) -> Self {
        match self {
            Self::NotAnAnswer(_) => Self::NotAnAnswer(Excerpt::hidden()),
            Self::Unasked(_) => Self::Unasked(Excerpt::hidden()),
            Self::TlsRefused { command, .. } => {
                Self::TlsRefused { command, answer: Excerpt::hidden() }
            }
            other @ (Self::LineTooLong(_)
            | Self::AnswerTooLong
            | Self::Faulty(_)
            | Self::CodesDiffer
            | Self::NotOffered(_)
            | Self::AcceptedTooEarly
            | Self::AskedForMore
            | Self::OutOfOrder(_)) => other,
        }
    }
}

/// A few bytes of the peer in a form that no log can misread: escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    const BYTES: usize = 40;

    /// The first bytes, escaped.
    pub fn of(bytes: &[u8]) -> Self {
        let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = &line[..line.len().min(Self::BYTES)];
        let dots = if shown.len() < line.len() { "..." } else { "" };
        Self(format!("\"{}{dots}\"", shown.escape_ascii()))
    }

    /// In place of words that may be secret.
    pub fn hidden() -> Self {
        Self(String::from("[not shown]"))
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_of_plain_ascii() {
        let table: [(&[u8], &str); 4] = [
            (b"220 hello\r\n", "\"220 hello\""),
            (b"", "\"\""),
            (b"\x1b[31m\xff\"\n250 second", "\"\\x1b[31m\\xff\\\"\""),
            (&[b'a'; 100], "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\""),
        ];
        for (bytes, expected) in table {
            assert_eq!(Excerpt::of(bytes).to_string(), expected);
        }
    }

    #[test]
    fn an_error_can_be_told_without_the_words_of_the_peer() {
        let error = ProtocolError::Unasked(Excerpt::of(b"geheim")).without_excerpt();
        assert_eq!(error.to_string(), "it sent what nobody asked for: [not shown]");
    }
}

//! How a client module can break the protocol.

use std::fmt;

use super::line::Fault;

/// The client module sent something that the protocol does not allow at that point. The texts are for
/// log, audit and the reply to the workstation; the client module is "it".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line is longer than this many bytes, which is more than a server needs.
    #[error("a line of its answer is longer than {0} bytes")]
    LineTooLong(usize),
    /// The answer has more lines or more bytes than a server needs.
    #[error("its answer does not end")]
    AnswerTooLong,
    /// A line has a NUL inside, or CR and LF that are not a line end together.
    #[error("a line of its answer holds {0}")]
    Faulty(Fault),
    /// The answer begins neither with a reply code nor with `+OK` or `-ERR`, or this answer does not
    /// fit the command.
    #[error("its answer does not follow the protocol: {0}")]
    NotAnAnswer(Excerpt),
    /// A multi-line reply whose lines carry different codes.
    #[error("the lines of its reply carry different codes")]
    CodesDiffer,
    /// Bytes came after a complete answer, or while no command was open. Two replies in one packet are
    /// the mark of response injection, above all after STARTTLS.
    #[error("it sent something unasked: {0}")]
    Unasked(Excerpt),
    /// TLS is configured, but the client module does not announce it.
    #[error("it does not offer {0}")]
    NotOffered(&'static str),
    /// TLS is configured, but the client module refused to start it.
    #[error("it refused {command}: {answer}")]
    TlsRefused {
        /// `STARTTLS` or `STLS`.
        command: &'static str,
        /// Its answer.
        answer: Excerpt,
    },
    /// An answer does not fit its question, and would fit another one. After a login nobody knows then
    /// whether it was accepted.
    #[error("one of its answers was too many: its answers do not fit the questions")]
    OutOfStep,
    /// It accepted the login too early to know all of it.
    #[error("it accepted the login before it had all credentials")]
    AcceptedTooEarly,
    /// It sent a challenge after all credentials were sent.
    #[error("it asked for more than the credentials")]
    AskedForMore,
    /// A method was called in the wrong state. This is a bug of kimgate, not of the client module.
    #[error("{0} out of order")]
    OutOfOrder(&'static str),
}

impl ProtocolError {
    /// The same error without the excerpt: a peer may echo what it got, and during a login that is the
    /// password.
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
            | Self::OutOfStep
            | Self::AcceptedTooEarly
            | Self::AskedForMore
            | Self::OutOfOrder(_)) => other,
        }
    }
}

/// The beginning of what the peer sent, escaped so that a log stays one line of ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    const BYTES: usize = 40;

    /// The first line, at most 40 bytes of it.
    pub fn of(bytes: &[u8]) -> Self {
        let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = &line[..line.len().min(Self::BYTES)];
        let dots = if shown.len() < line.len() { "..." } else { "" };
        Self(format!("\"{}{dots}\"", shown.escape_ascii()))
    }

    /// A placeholder for text that may be secret.
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
    fn an_error_can_be_shown_without_the_excerpt() {
        let error = ProtocolError::Unasked(Excerpt::of(b"geheim")).without_excerpt();
        assert_eq!(error.to_string(), "it sent something unasked: [not shown]");
    }
}

//! What both client sides towards the client module have in common.

use crate::secret::Secret;

/// What the owner of a back has to do next.
#[derive(Debug)]
pub enum BackStep {
    /// Read, and feed what came.
    NeedInput,
    /// Write this; it may hold the password.
    Send(Secret<Vec<u8>>),
    /// Shake hands now, and then call `secured`.
    StartTls,
    /// The client module waits for a login.
    Ready,
    /// The login was accepted with these words.
    LoggedIn(Answer),
    /// The connection, or the login, was refused with these words.
    Refused(Answer),
    /// QUIT was answered.
    Done,
}

/// An answer of the client module, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// All its lines, each with its CRLF.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The first line without its CRLF, as far as it is UTF-8.
    pub fn first_line(&self) -> &str {
        let line = self.bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    /// The reply code of an SMTP answer; zero for a POP3 answer, which has none.
    pub fn code(&self) -> u16 {
        super::smtp::reply::code(&self.bytes).unwrap_or(0)
    }
}

impl std::fmt::Debug for Answer {
    /// Nothing of the text: a client module may repeat the login in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("octets", &self.bytes.len()).finish()
    }
}

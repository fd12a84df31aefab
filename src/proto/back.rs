//! What the client sides of both protocols have in common, up to the login at the client module.

use std::collections::VecDeque;

use super::ProtocolError;
use super::error::Excerpt;
use super::inbox::Inbox;
use crate::secret::Secret;

/// What the owner of a back has to do next.
#[derive(Debug)]
pub enum BackStep {
    /// Read, and feed what came.
    NeedInput,
    /// Write this; it may hold the password.
    Send(Secret<Vec<u8>>),
    /// Do the TLS handshake, and then call `secured`.
    StartTls,
    /// The client module waits for a login.
    Ready,
    /// The login was accepted with this answer.
    LoggedIn(Answer),
    /// The connection or the login was refused with this answer.
    Refused(Answer),
    /// QUIT was answered.
    Done,
}

/// An answer of the client module, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// All its lines, each with its CRLF.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The first line without its CRLF, up to the first byte that is not UTF-8.
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
    /// Shows the length and no text, because a client module may repeat the login in its text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("bytes", &self.bytes.len()).finish()
    }
}

/// The answers that come in and the steps that are due, for either protocol.
///
/// One command is open at a time: KIM client modules refuse pipelined commands, and each answer must
/// belong to one command.
#[derive(Default)]
pub(super) struct BackLines {
    inbox: Inbox,
    due: VecDeque<BackStep>,
    error: Option<ProtocolError>,
    /// The client module knows the password from here on, and its answers may repeat it.
    is_secret: bool,
}

impl BackLines {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// The step that is due before more is read.
    pub(super) fn due(&mut self) -> Result<Option<BackStep>, ProtocolError> {
        match self.error.take() {
            Some(error) => Err(self.without_secrets(error)),
            None => Ok(self.due.pop_front()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.inbox.bytes()
    }

    /// Takes the answer to the open command, `len` bytes. An error where more than that came.
    pub(super) fn take_answer(&mut self, len: usize) -> Result<Answer, ProtocolError> {
        let bytes = self.inbox.bytes()[..len].to_vec();
        self.inbox.consume(len);
        self.expect_silence()?;
        Ok(Answer { bytes })
    }

    /// An error where anything came, because no command is open.
    pub(super) fn expect_silence(&self) -> Result<(), ProtocolError> {
        match self.inbox.bytes() {
            [] => Ok(()),
            bytes => Err(ProtocolError::Unasked(Excerpt::of(bytes))),
        }
    }

    pub(super) fn say(&mut self, line: Secret<Vec<u8>>) {
        self.due.push_back(BackStep::Send(line));
    }

    pub(super) fn then(&mut self, step: BackStep) {
        self.due.push_back(step);
    }

    pub(super) fn fail(&mut self, error: ProtocolError) {
        self.error.get_or_insert(error);
    }

    pub(super) fn begin_secret(&mut self) {
        self.is_secret = true;
    }

    /// The error as it may be logged.
    pub(super) fn without_secrets(&self, error: ProtocolError) -> ProtocolError {
        if self.is_secret { error.without_excerpt() } else { error }
    }
}

/// A line of these parts with its CRLF. Its buffer has its final size from the start: one that grows
/// would leave copies of a password in memory.
pub(super) fn line(parts: &[&[u8]]) -> Secret<Vec<u8>> {
    let mut line = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 2);
    for part in parts {
        line.extend_from_slice(part);
    }
    line.extend_from_slice(b"\r\n");
    Secret::new(line)
}

/// The lines of AUTH in their order. First comes the command, with the first response in it if the
/// workstation sent it that way (`initial`). Then come the responses, one for each challenge.
pub(super) fn auth_lines(
    mechanism: &[u8],
    initial: bool,
    wire: &[Secret<Vec<u8>>],
) -> VecDeque<Secret<Vec<u8>>> {
    let (command, responses) = match wire.split_first() {
        Some((first, rest)) if initial => {
            (line(&[b"AUTH ", mechanism, b" ", first.expose()]), rest)
        }
        _ => (line(&[b"AUTH ", mechanism]), wire),
    };
    let responses = responses.iter().map(|response| line(&[response.expose()]));
    std::iter::once(command).chain(responses).collect()
}

/// Feeds a client module's answers to a back and writes down its steps.
#[cfg(test)]
pub(super) mod testing {
    use super::{BackStep, ProtocolError};
    use crate::proto::sasl::Credentials;

    pub(in crate::proto) trait Machine {
        fn feed(&mut self, bytes: &[u8]);
        fn step(&mut self) -> Result<BackStep, ProtocolError>;
        fn secured(&mut self);
        fn log_in(&mut self, credentials: &Credentials);
        fn quit(&mut self);
    }

    /// What it sends, and in angle brackets what it tells its owner. The owner logs in as soon as the
    /// back is ready, or quits if there are no credentials.
    fn play<'a>(
        machine: &mut impl Machine,
        credentials: Option<&Credentials>,
        answers: impl IntoIterator<Item = &'a [u8]>,
    ) -> String {
        let mut seen = String::new();
        let mut answers = answers.into_iter();
        loop {
            let step = match machine.step() {
                Ok(step) => step,
                Err(error) => return format!("{seen}<error: {error}>"),
            };
            match step {
                BackStep::Send(bytes) => {
                    seen.push_str(&String::from_utf8_lossy(bytes.expose()));
                }
                BackStep::StartTls => {
                    seen.push_str("<starttls>");
                    machine.secured();
                }
                BackStep::Ready => {
                    seen.push_str("<ready>");
                    match credentials {
                        Some(credentials) => machine.log_in(credentials),
                        None => machine.quit(),
                    }
                }
                BackStep::LoggedIn(answer) => {
                    seen.push_str(&format!("<in {}>", answer.first_line()));
                }
                BackStep::Refused(answer) => {
                    seen.push_str(&format!("<refused {}>", answer.first_line()));
                }
                BackStep::Done => seen.push_str("<done>"),
                BackStep::NeedInput => match answers.next() {
                    Some(answer) => machine.feed(answer),
                    None => return seen,
                },
            }
        }
    }

    /// Feeds the answers one after the other: whole, byte by byte, and cut in two at every place.
    pub(in crate::proto) fn play_however_cut<M: Machine>(
        machine: impl Fn() -> M,
        credentials: Option<&Credentials>,
        answers: &[&str],
    ) -> String {
        let whole = answers.iter().map(|answer| answer.as_bytes());
        let seen = play(&mut machine(), credentials, whole.clone());
        let bytes = whole.clone().flat_map(|answer| answer.chunks(1));
        assert_eq!(play(&mut machine(), credentials, bytes), seen, "{answers:?}");
        for cut in 0..80 {
            let parts = whole.clone().flat_map(|answer| {
                let (first, second) = answer.split_at(cut.min(answer.len()));
                [first, second]
            });
            assert_eq!(play(&mut machine(), credentials, parts), seen, "{answers:?} at {cut}");
        }
        seen
    }

    /// The same without the cuts, for answers that are wrong because they come in one piece.
    pub(in crate::proto) fn play_once(
        machine: &mut impl Machine,
        credentials: Option<&Credentials>,
        answers: &[&str],
    ) -> String {
        play(machine, credentials, answers.iter().map(|answer| answer.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_shows_its_first_line_and_its_code() {
        let answer = |bytes: &[u8]| Answer { bytes: bytes.to_vec() };
        let table: [(&[u8], &str, u16); 5] = [
            (b"535 5.7.8 no\r\n", "535 5.7.8 no", 535),
            (b"454-a\r\n454 b\r\n", "454-a", 454),
            (b"-ERR no\r\n", "-ERR no", 0),
            (b"-ERR Nutzer \xfc\r\n", "-ERR Nutzer ", 0),
            (b"", "", 0),
        ];
        for (bytes, line, code) in table {
            assert_eq!((answer(bytes).first_line(), answer(bytes).code()), (line, code));
        }
        assert!(!format!("{:?}", answer(b"535 geheim\r\n")).contains("geheim"));
    }
}

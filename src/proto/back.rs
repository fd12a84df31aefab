//! What the client sides of both protocols have in common, up to the login at the client module.

use std::collections::VecDeque;

use super::ProtocolError;
use super::capabilities::Offer;
use super::error::Excerpt;
use super::inbox::Inbox;
use super::sasl::{Credentials, Mechanism};
use crate::secret::Secret;

/// The client side of a dialogue: reads the greeting, asks what is offered, asks for TLS where it is
/// configured, and logs in with the workstation's bytes.
///
/// An answer belongs to one question. A client module that says a line too many would shift all
/// answers by one, and a refused login would be taken for an accepted one. So a login counts only if
/// the answer to the next question fits it: POP3's CAPA (a list) or STAT (two numbers), SMTP's NOOP
/// (250, which no login is answered with).
pub trait Back: Send {
    /// Takes in what came. Call it after [`BackStep::NeedInput`].
    fn feed(&mut self, bytes: &[u8]);

    /// What to do next.
    ///
    /// # Errors
    ///
    /// The client module broke the protocol, or a method was called in the wrong state. The
    /// connection must be closed.
    fn step(&mut self) -> Result<BackStep, ProtocolError>;

    /// The handshake that [`BackStep::StartTls`] asked for is done.
    fn secured(&mut self);

    /// Sends the login. Call it after [`BackStep::Ready`], or after a login was refused.
    fn log_in(&mut self, credentials: &Credentials);

    /// What the client module offers. Known after [`BackStep::Ready`].
    fn offer(&self) -> Offer;

    /// Sends QUIT. [`BackStep::Done`] comes after its answer.
    fn quit(&mut self);
}

/// What the owner of a back has to do next.
#[derive(Debug)]
pub enum BackStep {
    /// Read, and feed what came.
    NeedInput,
    /// Write this; it may hold the password. The client module must have been silent: if there is
    /// anything to read, the dialogue has failed with [`unasked`].
    Send(Secret<Vec<u8>>),
    /// Do the TLS handshake, and then call `secured`.
    StartTls,
    /// The client module waits for a login.
    Ready,
    /// The login was accepted with this answer, and the next answer fitted its question.
    LoggedIn(Answer),
    /// The login was refused with this answer. Before [`BackStep::Ready`]: the client module does not
    /// serve.
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

    /// Its beginning, for a log. Not for an answer that may repeat a login.
    pub fn excerpt(&self) -> Excerpt {
        Excerpt::of(&self.bytes)
    }

    /// The reply code of an SMTP answer; zero for a POP3 answer, which has none.
    pub fn code(&self) -> u16 {
        super::smtp::reply::code(&self.bytes).unwrap_or(0)
    }
}

/// Bytes that came while the client module had nothing to answer.
pub fn unasked(bytes: &[u8]) -> ProtocolError {
    ProtocolError::Unasked(Excerpt::of(bytes))
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
            bytes => Err(unasked(bytes)),
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

/// AUTH: the lines that are not sent yet. First the command, with the first response in it if the
/// workstation sent it that way. Then the responses, one for each challenge.
pub(super) struct Exchange {
    unsent: VecDeque<Secret<Vec<u8>>>,
    /// The response that went with the command, as long as the client module may ask for it again.
    initial: Option<Secret<Vec<u8>>>,
    /// The first challenge may be one for the user name or one for the password.
    has_two_responses: bool,
}

impl Exchange {
    /// `None`: these credentials are not for AUTH.
    pub(super) fn new(credentials: &Credentials) -> Option<Self> {
        let (name, is_initial): (&[u8], _) = match credentials.mechanism {
            Mechanism::Plain { initial } => (b"PLAIN", initial),
            Mechanism::Login { initial } => (b"LOGIN", initial),
            Mechanism::UserPass => return None,
        };
        let wire = credentials.wire();
        let (command, initial, responses) = match wire.split_first() {
            Some((first, rest)) if is_initial => {
                let command = line(&[b"AUTH ", name, b" ", first.expose()]);
                // Only there an equals sign is the empty response (RFC 4954 section 4).
                let alone = if first.expose() == b"=" { b"" } else { first.expose().as_slice() };
                (command, Some(line(&[alone])), rest)
            }
            _ => (line(&[b"AUTH ", name]), None, wire),
        };
        let responses = responses.iter().map(|response| line(&[response.expose()]));
        let unsent = std::iter::once(command).chain(responses).collect();
        Some(Self { unsent, initial, has_two_responses: wire.len() > 1 })
    }

    /// The next line; `challenge` is the text that the client module asks with, if it does.
    ///
    /// A client module may ignore the response that went with the command, and ask for it. It gets
    /// the same response then, once. LOGIN's two challenges are told apart by their text: whoever is
    /// asked for a user name must not answer with the password.
    pub(super) fn next(&mut self, challenge: Option<&[u8]>) -> Option<Secret<Vec<u8>>> {
        let initial = self.initial.take_if(|_| challenge.is_some());
        match (initial, challenge) {
            (Some(initial), Some(text)) if !self.has_two_responses || asks_for_name(text) => {
                Some(initial)
            }
            _ => self.unsent.pop_front(),
        }
    }

    /// Whether every line is sent.
    pub(super) fn is_complete(&self) -> bool {
        self.unsent.is_empty()
    }
}

/// Whether a challenge of LOGIN is `Username:` or `User Name`, in base64.
fn asks_for_name(challenge: &[u8]) -> bool {
    let text = super::sasl::challenge(challenge.trim_ascii());
    text.is_some_and(|text| text.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"user")))
}

/// Feeds a client module's answers to a back and writes down its steps.
#[cfg(test)]
pub(super) mod testing {
    use super::{Answer, Back, BackStep};
    use crate::proto::sasl::Credentials;

    /// What it sends, and in angle brackets what it tells its owner. The owner logs in as soon as the
    /// back is ready, or quits if there are no credentials.
    fn play<'a>(
        machine: &mut impl Back,
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
    pub(in crate::proto) fn play_however_cut<M: Back>(
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
        machine: &mut impl Back,
        credentials: Option<&Credentials>,
        answers: &[&str],
    ) -> String {
        play(machine, credentials, answers.iter().map(|answer| answer.as_bytes()))
    }

    /// A client module that answers each line of ours with some lines, in order.
    pub(in crate::proto) struct Server<'a> {
        pub(in crate::proto) greeting: &'a str,
        pub(in crate::proto) answer: &'a mut dyn FnMut(&str) -> Vec<String>,
    }

    /// Logs in at a server that says `extra` after some of its lines: after those where `comes` says
    /// so. `pieces` says how many lines arrive at once. Gives the verdict; `None` where there was none.
    pub(in crate::proto) fn log_in_among_extra_lines(
        mut machine: impl Back,
        credentials: &Credentials,
        server: Server<'_>,
        (extra, comes, pieces): (&str, &[bool], &[usize]),
    ) -> Option<Result<Answer, Answer>> {
        let Server { greeting, answer } = server;
        let mut comes = comes.iter().copied();
        let mut pieces = pieces.iter().copied();
        let mut under_way = Vec::new();
        let mut say = |under_way: &mut Vec<String>, lines: Vec<String>| {
            for line in lines {
                under_way.push(line + "\r\n");
                if comes.next().unwrap_or(false) {
                    under_way.push(format!("{extra}\r\n"));
                }
            }
        };
        say(&mut under_way, vec![greeting.to_owned()]);
        loop {
            match machine.step() {
                Err(_) => return None,
                Ok(BackStep::Send(line)) => {
                    let line = String::from_utf8_lossy(line.expose()).into_owned();
                    say(&mut under_way, answer(line.trim_end_matches("\r\n")));
                }
                Ok(BackStep::Ready) => machine.log_in(credentials),
                Ok(BackStep::LoggedIn(answer)) => return Some(Ok(answer)),
                Ok(BackStep::Refused(answer)) => return Some(Err(answer)),
                Ok(BackStep::StartTls | BackStep::Done) => return None,
                Ok(BackStep::NeedInput) if under_way.is_empty() => return None,
                Ok(BackStep::NeedInput) => {
                    let arrive = pieces.next().unwrap_or(1).clamp(1, under_way.len());
                    machine.feed(under_way.drain(..arrive).collect::<String>().as_bytes());
                }
            }
        }
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

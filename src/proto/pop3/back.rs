//! The client side of POP3 towards the client module, up to the login.

use std::collections::VecDeque;

use super::answer::is_ok;
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{Talk, auth_lines, line};
use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::error::Excerpt;
use crate::proto::line::{Framed, next_line};
use crate::proto::sasl::{Credentials, Mechanism};
use crate::secret::Secret;

/// Octets of one line of an answer.
const LINE: usize = 8 << 10;
/// Lines of an answer.
const LINES: usize = 128;
/// Octets of an answer; it is read from its beginning each time more of it comes.
const OCTETS: usize = 64 << 10;

/// Reads the greeting, asks for TLS where it is configured, and logs in with the workstation's
/// bytes.
pub struct Back {
    start_tls: bool,
    talk: Talk,
    state: State,
    capabilities: Pop3Capabilities,
}

/// The question that is open, or what the owner is to do.
enum State {
    Greeting,
    StartTls,
    /// The owner shakes hands.
    Handshake,
    /// No question is open.
    Ready,
    Capa,
    /// These lines are still to be sent, one for each answer.
    LogIn {
        lines: VecDeque<Secret<Vec<u8>>>,
        /// AUTH, whose challenges begin with a lone plus.
        is_sasl: bool,
    },
    LoggedIn,
    Quit,
    Over,
}

/// How an answer begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Err,
    /// `+ `, of AUTH (RFC 5034 section 4).
    Challenge,
}

impl Back {
    /// A machine that waits for the greeting.
    pub fn new(start_tls: bool) -> Self {
        Self {
            start_tls,
            talk: Talk::default(),
            state: State::Greeting,
            capabilities: Pop3Capabilities::conservative(),
        }
    }

    /// Takes in what came; call it after [`BackStep::NeedInput`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.talk.feed(bytes);
    }

    /// What is to be done next. After an error the connection is of no use any more.
    pub fn step(&mut self) -> Result<BackStep, ProtocolError> {
        if let Some(step) = self.talk.due()? {
            return Ok(step);
        }
        self.read().map_err(|error| self.talk.told(error))?;
        Ok(self.talk.due()?.unwrap_or(BackStep::NeedInput))
    }

    /// The handshake that [`BackStep::StartTls`] asked for is done; [`BackStep::Ready`] follows.
    pub fn secured(&mut self) {
        if !matches!(self.state, State::Handshake) {
            return self.talk.fail(ProtocolError::OutOfOrder("secured"));
        }
        match self.talk.expect_silence() {
            Ok(()) => self.enter(State::Ready, BackStep::Ready),
            Err(error) => self.talk.fail(error),
        }
    }

    /// Sends the login, after [`BackStep::Ready`] or after a login that was refused.
    pub fn log_in(&mut self, credentials: &Credentials) {
        let lines = match (&self.state, credentials.mechanism, credentials.wire()) {
            (State::Ready, Mechanism::Plain { initial }, wire) => {
                auth_lines(b"PLAIN", initial, wire)
            }
            (State::Ready, Mechanism::UserPass, [user, password]) => VecDeque::from([
                line(&[b"USER ", user.expose()]),
                line(&[b"PASS ", password.expose()]),
            ]),
            _ => return self.talk.fail(ProtocolError::OutOfOrder("log_in")),
        };
        self.talk.begin_secret();
        let is_sasl = credentials.mechanism != Mechanism::UserPass;
        self.state = State::LogIn { lines, is_sasl };
        self.send_login_line();
    }

    /// Sends CAPA, after [`BackStep::Ready`], which comes once more when it is answered.
    pub fn ask_capabilities(&mut self) {
        if !matches!(self.state, State::Ready) {
            return self.talk.fail(ProtocolError::OutOfOrder("ask_capabilities"));
        }
        self.talk.say(line(&[b"CAPA"]));
        self.state = State::Capa;
    }

    /// What the client module offers, after [`Back::ask_capabilities`]; before, and where it does
    /// not know CAPA, what every client module has.
    pub fn capabilities(&self) -> &Pop3Capabilities {
        &self.capabilities
    }

    /// Says goodbye; [`BackStep::Done`] comes when it is answered.
    pub fn quit(&mut self) {
        if !matches!(self.state, State::Ready | State::LoggedIn) {
            return self.talk.fail(ProtocolError::OutOfOrder("quit"));
        }
        self.talk.say(line(&[b"QUIT"]));
        self.state = State::Quit;
    }

    fn read(&mut self) -> Result<(), ProtocolError> {
        if let State::Handshake | State::Ready | State::LoggedIn | State::Over = self.state {
            return self.talk.expect_silence();
        }
        let is_capa = matches!(self.state, State::Capa);
        let Some((status, len)) = scan(self.talk.bytes(), is_capa)? else {
            return Ok(());
        };
        let answer = self.talk.take_answer(len)?;
        self.answered(status, answer)
    }

    fn answered(&mut self, status: Status, answer: Answer) -> Result<(), ProtocolError> {
        match (&mut self.state, status) {
            (State::Quit, _) => self.enter(State::Over, BackStep::Done),
            (State::Greeting, Status::Err) => self.enter(State::Over, BackStep::Refused(answer)),
            (State::LogIn { .. }, Status::Err) => {
                self.enter(State::Ready, BackStep::Refused(answer))
            }
            (State::Greeting, Status::Ok) if self.start_tls => {
                self.talk.say(line(&[b"STLS"]));
                self.state = State::StartTls;
            }
            (State::Greeting, Status::Ok) => self.enter(State::Ready, BackStep::Ready),
            (State::StartTls, Status::Ok) => self.enter(State::Handshake, BackStep::StartTls),
            (State::StartTls, _) => {
                let answer = Excerpt::of(&answer.bytes);
                return Err(ProtocolError::TlsRefused { command: "STLS", answer });
            }
            (State::Capa, Status::Ok | Status::Err) => {
                if status == Status::Ok {
                    let text = String::from_utf8_lossy(&answer.bytes);
                    let lines = text.lines().skip(1);
                    self.capabilities = Pop3Capabilities::from_lines(lines);
                }
                self.enter(State::Ready, BackStep::Ready)
            }
            (State::LogIn { is_sasl: true, lines }, Status::Challenge) if lines.is_empty() => {
                return Err(ProtocolError::AskedForMore);
            }
            (State::LogIn { is_sasl: true, .. }, Status::Challenge) => {
                self.send_login_line();
            }
            // After USER as RFC 1939 has it; after AUTH PLAIN as openKIM has it, which answers
            // "+OK Continue authentication" where a lone plus belongs.
            (State::LogIn { lines, .. }, Status::Ok) if !lines.is_empty() => {
                self.send_login_line();
            }
            (State::LogIn { .. }, Status::Ok) => {
                self.enter(State::LoggedIn, BackStep::LoggedIn(answer))
            }
            _ => return Err(ProtocolError::NotAnAnswer(Excerpt::of(&answer.bytes))),
        }
        Ok(())
    }

    fn send_login_line(&mut self) {
        if let State::LogIn { lines, .. } = &mut self.state
            && let Some(line) = lines.pop_front()
        {
            self.talk.say(line);
        }
    }

    fn enter(&mut self, state: State, step: BackStep) {
        self.state = state;
        self.talk.then(step);
    }
}

/// Status and octets of the answer at the beginning of `bytes`; `None` while it is not complete.
fn scan(bytes: &[u8], is_multi_line: bool) -> Result<Option<(Status, usize)>, ProtocolError> {
    let Some(first) = whole_line(bytes)? else { return Ok(None) };
    let status = match (is_ok(first), first) {
        (Some(true), _) => Status::Ok,
        (Some(false), _) => Status::Err,
        (None, b"+" | [b'+', b' ', ..]) => Status::Challenge,
        (None, _) => return Err(ProtocolError::NotAnAnswer(Excerpt::of(first))),
    };
    let mut len = first.len() + 2;
    if !is_multi_line || status != Status::Ok {
        return Ok(Some((status, len)));
    }
    for _ in 0..LINES {
        if len > OCTETS {
            break;
        }
        let Some(line) = whole_line(&bytes[len..])? else { return Ok(None) };
        len += line.len() + 2;
        if line == b"." {
            return Ok(Some((status, len)));
        }
    }
    Err(ProtocolError::AnswerTooLong)
}

fn whole_line(bytes: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    match next_line(bytes, LINE) {
        Framed::Line(line) => Ok(Some(line)),
        Framed::Incomplete => Ok(None),
        Framed::TooLong => Err(ProtocolError::LineTooLong(LINE)),
        Framed::Faulty { fault, .. } => Err(ProtocolError::Faulty(fault)),
    }
}

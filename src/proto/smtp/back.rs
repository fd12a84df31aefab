//! The client side of SMTP towards the client module, up to the login.

use std::collections::VecDeque;

use super::reply::{ReplyScan, code};
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{Talk, auth_lines, line};
use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::error::Excerpt;
use crate::proto::sasl::{Credentials, Mechanism};
use crate::secret::Secret;

/// Greets back, asks for TLS where it is configured, and logs in with the workstation's bytes.
pub struct Back {
    name: String,
    start_tls: bool,
    talk: Talk,
    state: State,
    capabilities: SmtpCapabilities,
}

/// The question that is open, or what the owner is to do.
enum State {
    Greeting,
    Hello,
    StartTls,
    /// The owner shakes hands.
    Handshake,
    /// No question is open.
    Ready,
    /// These lines are still to be sent, one for each challenge.
    LogIn(VecDeque<Secret<Vec<u8>>>),
    LoggedIn,
    Quit,
    Over,
}

impl Back {
    /// `name` is the argument of EHLO.
    pub fn new(name: &str, start_tls: bool) -> Self {
        Self {
            name: String::from(name),
            start_tls,
            talk: Talk::default(),
            state: State::Greeting,
            capabilities: SmtpCapabilities::conservative(),
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

    /// The handshake that [`BackStep::StartTls`] asked for is done.
    pub fn secured(&mut self) {
        if !matches!(self.state, State::Handshake) {
            return self.talk.fail(ProtocolError::OutOfOrder("secured"));
        }
        match self.talk.expect_silence() {
            Ok(()) => {
                self.start_tls = false;
                self.say_hello();
            }
            Err(error) => self.talk.fail(error),
        }
    }

    /// Sends the login, after [`BackStep::Ready`] or after a login that was refused.
    pub fn log_in(&mut self, credentials: &Credentials) {
        let wire = credentials.wire();
        let lines = match (&self.state, credentials.mechanism) {
            (State::Ready, Mechanism::Plain { initial }) => auth_lines(b"PLAIN", initial, wire),
            (State::Ready, Mechanism::Login { initial }) => auth_lines(b"LOGIN", initial, wire),
            _ => return self.talk.fail(ProtocolError::OutOfOrder("log_in")),
        };
        self.talk.begin_secret();
        self.state = State::LogIn(lines);
        self.send_login_line();
    }

    /// What the client module offers, after [`BackStep::Ready`].
    pub fn capabilities(&self) -> &SmtpCapabilities {
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
        let Some(reply) = ReplyScan::new().scan(self.talk.bytes())? else {
            return Ok(());
        };
        let answer = self.talk.take_answer(reply.len)?;
        self.answered(reply.code, answer)
    }

    fn answered(&mut self, code: u16, answer: Answer) -> Result<(), ProtocolError> {
        match (&mut self.state, code) {
            (State::Quit, _) => self.enter(State::Over, BackStep::Done),
            (State::StartTls, 220) => self.enter(State::Handshake, BackStep::StartTls),
            (State::StartTls, _) => {
                let answer = Excerpt::of(&answer.bytes);
                return Err(ProtocolError::TlsRefused { command: "STARTTLS", answer });
            }
            (State::Greeting | State::Hello, 400..) => {
                self.enter(State::Over, BackStep::Refused(answer))
            }
            (State::LogIn(_), 400..) => self.enter(State::Ready, BackStep::Refused(answer)),
            (State::Greeting, 220) => {
                self.say_hello();
            }
            (State::Hello, 250) => return self.greeted(&answer),
            (State::LogIn(lines), 334) if lines.is_empty() => {
                return Err(ProtocolError::AskedForMore);
            }
            (State::LogIn(_), 334) => {
                self.send_login_line();
            }
            (State::LogIn(lines), 200..300) if !lines.is_empty() => {
                return Err(ProtocolError::AcceptedTooEarly);
            }
            (State::LogIn(_), 200..300) => self.enter(State::LoggedIn, BackStep::LoggedIn(answer)),
            _ => return Err(ProtocolError::NotAnAnswer(Excerpt::of(&answer.bytes))),
        }
        Ok(())
    }

    fn greeted(&mut self, answer: &Answer) -> Result<(), ProtocolError> {
        self.capabilities = SmtpCapabilities::from_reply(&answer.bytes);
        if !self.start_tls {
            self.enter(State::Ready, BackStep::Ready);
            return Ok(());
        }
        if !offers_start_tls(&answer.bytes) {
            return Err(ProtocolError::NotOffered("STARTTLS"));
        }
        self.talk.say(line(&[b"STARTTLS"]));
        self.state = State::StartTls;
        Ok(())
    }

    fn say_hello(&mut self) {
        self.talk.say(line(&[b"EHLO ", self.name.as_bytes()]));
        self.state = State::Hello;
    }

    fn send_login_line(&mut self) {
        if let State::LogIn(lines) = &mut self.state
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

fn offers_start_tls(reply: &[u8]) -> bool {
    reply.split(|&b| b == b'\n').skip(1).any(|line| {
        let word = line.trim_ascii_end().get(4..).filter(|_| code(line).is_some());
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"STARTTLS"))
    })
}

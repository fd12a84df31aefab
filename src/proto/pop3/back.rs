//! The client side of POP3 towards the client module, up to the login.

use std::collections::VecDeque;

use super::answer::is_ok;
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{Talk, auth_lines, line};
use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::error::Excerpt;
use crate::proto::line::{Framed, Line, next_line};
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
    let status = match (is_ok(first.text), first.text) {
        (Some(true), _) => Status::Ok,
        (Some(false), _) => Status::Err,
        (None, b"+" | [b'+', b' ', ..]) => Status::Challenge,
        (None, _) => return Err(ProtocolError::NotAnAnswer(Excerpt::of(first.text))),
    };
    let mut len = first.wire;
    if !is_multi_line || status != Status::Ok {
        return Ok(Some((status, len)));
    }
    for _ in 0..LINES {
        if len > OCTETS {
            break;
        }
        let Some(line) = whole_line(&bytes[len..])? else { return Ok(None) };
        len += line.wire;
        if line.text == b"." {
            return Ok(Some((status, len)));
        }
    }
    Err(ProtocolError::AnswerTooLong)
}

fn whole_line(bytes: &[u8]) -> Result<Option<Line<'_>>, ProtocolError> {
    match next_line(bytes, LINE) {
        Framed::Line(line) => Ok(Some(line)),
        Framed::Incomplete => Ok(None),
        Framed::TooLong => Err(ProtocolError::LineTooLong(LINE)),
        Framed::Faulty { fault, .. } => Err(ProtocolError::Faulty(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::back::testing::{Machine, play_however_cut, play_once};

    impl Machine for Back {
        fn feed(&mut self, bytes: &[u8]) {
            self.feed(bytes);
        }

        fn step(&mut self) -> Result<BackStep, ProtocolError> {
            self.step()
        }

        fn secured(&mut self) {
            self.secured();
        }

        fn log_in(&mut self, credentials: &Credentials) {
            self.log_in(credentials);
        }

        fn quit(&mut self) {
            self.quit();
        }
    }

    const GREETING: &str = "+OK KOM-LE Clientmodul POP3\r\n";

    fn user_pass() -> Credentials {
        Credentials::user_pass(b"a b ", b" p").unwrap()
    }

    fn plain(initial: bool) -> Credentials {
        Credentials::plain(b"AHUAcA", initial).unwrap()
    }

    fn after_greeting(credentials: &Credentials, answers: &[&str]) -> String {
        let answers = [&[GREETING], answers].concat();
        let seen = play_however_cut(|| Back::new(false), Some(credentials), &answers);
        String::from(seen.strip_prefix("<ready>").unwrap())
    }

    #[test]
    fn the_login_goes_on_in_its_own_mechanism_and_bytes() {
        let table: [(Credentials, &[&str], &str); 5] = [
            (user_pass(), &["+OK\r\n", "+OK hi\r\n"], "USER a b \r\nPASS  p\r\n<in +OK hi>"),
            (plain(true), &["+OK hi\r\n"], "AUTH PLAIN AHUAcA\r\n<in +OK hi>"),
            (plain(false), &["+ \r\n", "+OK\r\n"], "AUTH PLAIN\r\nAHUAcA\r\n<in +OK>"),
            (plain(false), &["+\r\n", "+OK\r\n"], "AUTH PLAIN\r\nAHUAcA\r\n<in +OK>"),
            (
                plain(false),
                &["+OK Continue authentication\r\n", "+OK\r\n"],
                "AUTH PLAIN\r\nAHUAcA\r\n<in +OK>",
            ),
        ];
        for (credentials, answers, expected) in table {
            assert_eq!(after_greeting(&credentials, answers), expected);
        }
    }

    #[test]
    fn a_refusal_is_the_verdict_at_any_step() {
        let no = "-ERR [AUTH] no\r\n";
        let expected = "<refused -ERR [AUTH] no>";
        assert!(after_greeting(&user_pass(), &[no]).ends_with(expected));
        assert!(after_greeting(&user_pass(), &["+OK\r\n", no]).ends_with(expected));
        assert!(after_greeting(&plain(true), &[no]).ends_with(expected));
        assert!(after_greeting(&plain(false), &["+ \r\n", no]).ends_with(expected));
        assert_eq!(play_however_cut(|| Back::new(true), None, &[no]), expected);
    }

    #[test]
    fn a_wrong_answer_to_a_login_is_an_error_that_does_not_repeat_it() {
        let table: [(Credentials, &[&str], &str); 5] = [
            (user_pass(), &["+ \r\n"], "its answer is none of this protocol: [not shown]"),
            (
                user_pass(),
                &["+OK\r\n", "p\r\n"],
                "its answer is none of this protocol: [not shown]",
            ),
            (plain(true), &["+ AHUAcA\r\n"], "it asked for more than the credentials"),
            (plain(true), &["+OK\0\r\n"], "a line of its answer holds a NUL"),
            (plain(true), &["+ok\r\n"], "its answer is none of this protocol: [not shown]"),
        ];
        for (credentials, answers, expected) in table {
            let seen = after_greeting(&credentials, answers);
            assert!(seen.ends_with(&format!("<error: {expected}>")), "{seen}");
        }
        let long = "+OK ".repeat(LINE);
        let seen = play_once(&mut Back::new(false), None, &[&long]);
        assert_eq!(seen, "<error: a line of its answer is longer than 8192 octets>");
    }

    #[test]
    fn tls_comes_before_the_login() {
        let answers = [GREETING, "+OK go\r\n", "+OK hi\r\n"];
        assert_eq!(
            play_however_cut(|| Back::new(true), Some(&plain(true)), &answers),
            "STLS\r\n<starttls><ready>AUTH PLAIN AHUAcA\r\n<in +OK hi>"
        );
        assert_eq!(
            play_however_cut(|| Back::new(true), None, &[GREETING, "-ERR no\r\n"]),
            "STLS\r\n<error: it refused STLS: \"-ERR no\">"
        );
    }

    #[test]
    fn every_answer_belongs_to_one_question() {
        let table: [&[&str]; 3] = [
            &["+OK a\r\n+OK b\r\n"],
            &[GREETING, "+OK go\r\n+OK injected\r\n"],
            &[GREETING, "+OK go\r\n\x16\x03"],
        ];
        for answers in table {
            let seen = play_once(&mut Back::new(true), None, answers);
            assert!(seen.contains("<error: it sent what nobody asked for: "), "{seen}");
            assert!(!seen.contains("<starttls>"), "{seen}");
        }
        let mut back = Back::new(false);
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Ready)));
        back.feed(b"+OK unasked\r\n");
        assert!(matches!(back.step(), Err(ProtocolError::Unasked(_))));
    }

    /// Asks for the capabilities, and hands the answer over octet by octet.
    fn capabilities(answer: &str) -> Result<Pop3Capabilities, ProtocolError> {
        let mut back = Back::new(false);
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Ready)));
        back.ask_capabilities();
        assert!(matches!(back.step(), Ok(BackStep::Send(line)) if line.expose() == b"CAPA\r\n"));
        for byte in answer.bytes() {
            back.feed(&[byte]);
            let step = back.step()?;
            assert!(matches!(step, BackStep::NeedInput | BackStep::Ready), "{step:?}");
        }
        back.log_in(&user_pass());
        assert!(matches!(back.step(), Ok(BackStep::Send(_))), "it is ready for a login");
        Ok(back.capabilities().clone())
    }

    #[test]
    fn capabilities_are_asked_for_by_a_probe() {
        let offer = capabilities("+OK\r\nTOP\r\nSTLS\r\nSASL PLAIN LOGIN\r\n.\r\n").unwrap();
        assert_eq!(offer.lines(), ["TOP", "SASL PLAIN"]);
        assert_eq!(capabilities("-ERR what\r\n").unwrap(), Pop3Capabilities::conservative());
        let endless = format!("+OK\r\n{}", "X\r\n".repeat(LINES + 1));
        assert_eq!(capabilities(&endless), Err(ProtocolError::AnswerTooLong));
    }

    #[test]
    fn a_probe_says_goodbye() {
        assert_eq!(
            play_however_cut(|| Back::new(false), None, &[GREETING, "+OK bye\r\n"]),
            "<ready>QUIT\r\n<done>"
        );
    }

    #[test]
    fn methods_out_of_order_are_told_and_do_nothing() {
        let mut back = Back::new(false);
        back.quit();
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("quit"));
        back.ask_capabilities();
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("ask_capabilities"));
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Ready)));
        back.log_in(&Credentials::two_lines(b"", b"", false).unwrap());
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("log_in"));
    }
}

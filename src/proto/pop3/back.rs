//! The client side of POP3 towards the client module, up to the login.

use std::collections::VecDeque;

use super::answer::is_ok;
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{BackLines, auth_lines, line};
use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::error::Excerpt;
use crate::proto::line::{Framed, Line, next_line};
use crate::proto::sasl::{Credentials, Mechanism};
use crate::secret::Secret;

/// How many bytes one line of an answer may have.
const LINE: usize = 8 << 10;
/// How many lines an answer may have.
const LINES: usize = 128;
/// How many bytes an answer may have. It is read from its beginning each time more of it comes.
const BYTES: usize = 64 << 10;

/// Reads the greeting, asks for TLS where it is configured, and logs in with the workstation's
/// bytes.
pub struct Back {
    start_tls: bool,
    lines: BackLines,
    state: State,
    capabilities: Pop3Capabilities,
}

/// Which answer is expected, or what the owner has to do.
enum State {
    Greeting,
    StartTls,
    /// The owner does the TLS handshake.
    Handshake,
    /// No command is open.
    Ready,
    Capa,
    LogIn {
        /// The lines that are not sent yet, one for each answer.
        unsent: VecDeque<Secret<Vec<u8>>>,
        /// It is AUTH, whose challenges begin with `+`.
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
    /// Waits for the greeting. `start_tls`: TLS comes before the login.
    pub fn new(start_tls: bool) -> Self {
        Self {
            start_tls,
            lines: BackLines::default(),
            state: State::Greeting,
            capabilities: Pop3Capabilities::conservative(),
        }
    }

    /// Takes in what came. Call it after [`BackStep::NeedInput`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes);
    }

    /// What to do next.
    ///
    /// # Errors
    ///
    /// The client module broke the protocol, or a method was called in the wrong state. The
    /// connection must be closed.
    pub fn step(&mut self) -> Result<BackStep, ProtocolError> {
        if let Some(step) = self.lines.due()? {
            return Ok(step);
        }
        self.read().map_err(|error| self.lines.without_secrets(error))?;
        Ok(self.lines.due()?.unwrap_or(BackStep::NeedInput))
    }

    /// The handshake that [`BackStep::StartTls`] asked for is done. [`BackStep::Ready`] follows.
    pub fn secured(&mut self) {
        if !matches!(self.state, State::Handshake) {
            return self.lines.fail(ProtocolError::OutOfOrder("secured"));
        }
        match self.lines.expect_silence() {
            Ok(()) => self.enter(State::Ready, BackStep::Ready),
            Err(error) => self.lines.fail(error),
        }
    }

    /// Sends the login. Call it after [`BackStep::Ready`], or after a login was refused.
    pub fn log_in(&mut self, credentials: &Credentials) {
        let unsent = match (&self.state, credentials.mechanism, credentials.wire()) {
            (State::Ready, Mechanism::Plain { initial }, wire) => {
                auth_lines(b"PLAIN", initial, wire)
            }
            (State::Ready, Mechanism::UserPass, [user, password]) => VecDeque::from([
                line(&[b"USER ", user.expose()]),
                line(&[b"PASS ", password.expose()]),
            ]),
            _ => return self.lines.fail(ProtocolError::OutOfOrder("log_in")),
        };
        self.lines.begin_secret();
        let is_sasl = credentials.mechanism != Mechanism::UserPass;
        self.state = State::LogIn { unsent, is_sasl };
        self.send_login_line();
    }

    /// Sends CAPA. Call it after [`BackStep::Ready`], which comes again after the answer.
    pub fn ask_capabilities(&mut self) {
        if !matches!(self.state, State::Ready) {
            return self.lines.fail(ProtocolError::OutOfOrder("ask_capabilities"));
        }
        self.lines.say(line(&[b"CAPA"]));
        self.state = State::Capa;
    }

    /// What the client module offers, after [`Back::ask_capabilities`]. Before that, and if it does not
    /// know CAPA, what every client module has.
    pub fn capabilities(&self) -> &Pop3Capabilities {
        &self.capabilities
    }

    /// Sends QUIT. [`BackStep::Done`] comes after its answer.
    pub fn quit(&mut self) {
        if !matches!(self.state, State::Ready | State::LoggedIn) {
            return self.lines.fail(ProtocolError::OutOfOrder("quit"));
        }
        self.lines.say(line(&[b"QUIT"]));
        self.state = State::Quit;
    }

    fn read(&mut self) -> Result<(), ProtocolError> {
        if let State::Handshake | State::Ready | State::LoggedIn | State::Over = self.state {
            return self.lines.expect_silence();
        }
        let is_capa = matches!(self.state, State::Capa);
        let Some((status, len)) = scan(self.lines.bytes(), is_capa)? else {
            return Ok(());
        };
        let answer = self.lines.take_answer(len)?;
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
                self.lines.say(line(&[b"STLS"]));
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
            (State::LogIn { is_sasl: true, unsent }, Status::Challenge) if unsent.is_empty() => {
                return Err(ProtocolError::AskedForMore);
            }
            (State::LogIn { is_sasl: true, .. }, Status::Challenge) => {
                self.send_login_line();
            }
            // To USER, as in RFC 1939. To AUTH PLAIN as well: openKIM answers "+OK Continue
            // authentication" instead of a lone plus.
            (State::LogIn { unsent, .. }, Status::Ok) if !unsent.is_empty() => {
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
        if let State::LogIn { unsent, .. } = &mut self.state
            && let Some(line) = unsent.pop_front()
        {
            self.lines.say(line);
        }
    }

    fn enter(&mut self, state: State, step: BackStep) {
        self.state = state;
        self.lines.then(step);
    }
}

/// Status and length in bytes of the answer at the beginning of `bytes`; `None` while it is not
/// complete.
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
        if len > BYTES {
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
            (user_pass(), &["+ \r\n"], "its answer does not follow the protocol: [not shown]"),
            (
                user_pass(),
                &["+OK\r\n", "p\r\n"],
                "its answer does not follow the protocol: [not shown]",
            ),
            (plain(true), &["+ AHUAcA\r\n"], "it asked for more than the credentials"),
            (plain(true), &["+OK\0\r\n"], "a line of its answer holds a NUL"),
            (plain(true), &["+ok\r\n"], "its answer does not follow the protocol: [not shown]"),
        ];
        for (credentials, answers, expected) in table {
            let seen = after_greeting(&credentials, answers);
            assert!(seen.ends_with(&format!("<error: {expected}>")), "{seen}");
        }
        let long = "+OK ".repeat(LINE);
        let seen = play_once(&mut Back::new(false), None, &[&long]);
        assert_eq!(seen, "<error: a line of its answer is longer than 8192 bytes>");
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
            assert!(seen.contains("<error: it sent something unasked: "), "{seen}");
            assert!(!seen.contains("<starttls>"), "{seen}");
        }
        let mut back = Back::new(false);
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Ready)));
        back.feed(b"+OK unasked\r\n");
        assert!(matches!(back.step(), Err(ProtocolError::Unasked(_))));
    }

    /// Asks for the capabilities and feeds the answer byte by byte.
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

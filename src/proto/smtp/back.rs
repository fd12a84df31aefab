//! The client side of SMTP towards the client module, up to the login.

use std::collections::VecDeque;

use super::reply::{code, scan_reply};
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{BackLines, auth_lines, line};
use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::error::Excerpt;
use crate::proto::sasl::{Credentials, Mechanism};
use crate::secret::Secret;

/// Sends EHLO, starts TLS where it is configured, and logs in with the workstation's bytes.
pub struct Back {
    name: String,
    start_tls: bool,
    lines: BackLines,
    state: State,
    capabilities: SmtpCapabilities,
}

/// Which answer is expected, or what the owner has to do.
enum State {
    Greeting,
    Hello,
    StartTls,
    /// The owner does the TLS handshake.
    Handshake,
    /// No command is open.
    Ready,
    /// The lines that are not sent yet, one for each challenge.
    LogIn(VecDeque<Secret<Vec<u8>>>),
    LoggedIn,
    Quit,
    Over,
}

impl Back {
    /// Waits for the greeting. `name` is the argument of EHLO; `start_tls`: TLS comes before the login.
    pub fn new(name: &str, start_tls: bool) -> Self {
        Self {
            name: String::from(name),
            start_tls,
            lines: BackLines::default(),
            state: State::Greeting,
            capabilities: SmtpCapabilities::conservative(),
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

    /// The handshake that [`BackStep::StartTls`] asked for is done. EHLO is sent again, because what
    /// came before the handshake was not protected.
    pub fn secured(&mut self) {
        if !matches!(self.state, State::Handshake) {
            return self.lines.fail(ProtocolError::OutOfOrder("secured"));
        }
        match self.lines.expect_silence() {
            Ok(()) => {
                self.start_tls = false;
                self.say_hello();
            }
            Err(error) => self.lines.fail(error),
        }
    }

    /// Sends the login. Call it after [`BackStep::Ready`], or after a login was refused.
    pub fn log_in(&mut self, credentials: &Credentials) {
        let wire = credentials.wire();
        let lines = match (&self.state, credentials.mechanism) {
            (State::Ready, Mechanism::Plain { initial }) => auth_lines(b"PLAIN", initial, wire),
            (State::Ready, Mechanism::Login { initial }) => auth_lines(b"LOGIN", initial, wire),
            _ => return self.lines.fail(ProtocolError::OutOfOrder("log_in")),
        };
        self.lines.begin_secret();
        self.state = State::LogIn(lines);
        self.send_login_line();
    }

    /// What the client module offers. Known after [`BackStep::Ready`].
    pub fn capabilities(&self) -> &SmtpCapabilities {
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
        let Some(reply) = scan_reply(self.lines.bytes())? else {
            return Ok(());
        };
        let answer = self.lines.take_answer(reply.len)?;
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
            (State::LogIn(unsent), 334) if unsent.is_empty() => {
                return Err(ProtocolError::AskedForMore);
            }
            (State::LogIn(_), 334) => {
                self.send_login_line();
            }
            (State::LogIn(unsent), 200..300) if !unsent.is_empty() => {
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
        self.lines.say(line(&[b"STARTTLS"]));
        self.state = State::StartTls;
        Ok(())
    }

    fn say_hello(&mut self) {
        self.lines.say(line(&[b"EHLO ", self.name.as_bytes()]));
        self.state = State::Hello;
    }

    fn send_login_line(&mut self) {
        if let State::LogIn(unsent) = &mut self.state
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

fn offers_start_tls(reply: &[u8]) -> bool {
    reply.split(|&b| b == b'\n').skip(1).any(|line| {
        let word = line.trim_ascii_end().get(4..).filter(|_| code(line).is_some());
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"STARTTLS"))
    })
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

    const GREETING: &str = "220-KOM-LE\r\n220 KOM-LE-Clientmodul ESMTP\r\n";
    const OFFER: &str = "250-cm\r\n250-SIZE 35882577\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN\r\n";

    fn plain(initial: bool) -> Credentials {
        Credentials::plain(b"AHUAcA", initial).unwrap()
    }

    fn login(initial: bool) -> Credentials {
        Credentials::two_lines(b"dQ==", b"cA", initial).unwrap()
    }

    /// Behind greeting and EHLO, without TLS.
    fn after_hello(credentials: &Credentials, answers: &[&str]) -> String {
        let answers = [&[GREETING, OFFER], answers].concat();
        let seen = play_however_cut(|| Back::new("gw", false), Some(credentials), &answers);
        String::from(seen.strip_prefix("EHLO gw\r\n<ready>").unwrap())
    }

    #[test]
    fn the_login_goes_on_in_its_own_mechanism_and_bytes() {
        let table: [(Credentials, &[&str], &str); 4] = [
            (plain(true), &["235 2.7.0 ok\r\n"], "AUTH PLAIN AHUAcA\r\n<in 235 2.7.0 ok>"),
            (plain(false), &["334 \r\n", "235 ok\r\n"], "AUTH PLAIN\r\nAHUAcA\r\n<in 235 ok>"),
            (
                login(true),
                &["334 UGFzc3dvcmQ6\r\n", "235 ok\r\n"],
                "AUTH LOGIN dQ==\r\ncA\r\n<in 235 ok>",
            ),
            (
                login(false),
                &["334 VXNlcm5hbWU6\r\n", "334\r\n", "235-a\r\n235 b\r\n"],
                "AUTH LOGIN\r\ndQ==\r\ncA\r\n<in 235-a>",
            ),
        ];
        for (credentials, answers, expected) in table {
            assert_eq!(after_hello(&credentials, answers), expected);
        }
    }

    #[test]
    fn a_refusal_is_the_verdict_at_any_step() {
        for no in ["535 5.7.8 no\r\n", "454 4.7.0 no\r\n", "501 5.5.4 no\r\n", "421 bye\r\n"] {
            let expected = format!("<refused {}>", no.trim_end());
            assert!(after_hello(&plain(true), &[no]).ends_with(&expected));
            assert!(after_hello(&plain(false), &["334 \r\n", no]).ends_with(&expected));
            assert!(after_hello(&login(false), &["334 \r\n", no]).ends_with(&expected));
        }
        let refused = |answers: &[&str]| play_however_cut(|| Back::new("gw", true), None, answers);
        assert_eq!(refused(&["554 no\r\n"]), "<refused 554 no>");
        assert_eq!(refused(&[GREETING, "550 no\r\n"]), "EHLO gw\r\n<refused 550 no>");
    }

    #[test]
    fn a_wrong_answer_to_a_login_is_an_error_that_does_not_repeat_it() {
        let table: [(Credentials, &[&str], &str); 6] = [
            (plain(false), &["235 ok\r\n"], "it accepted the login before it had all credentials"),
            (
                login(false),
                &["334 \r\n", "235 ok\r\n"],
                "it accepted the login before it had all credentials",
            ),
            (plain(true), &["334 \r\n"], "it asked for more than the credentials"),
            (
                plain(true),
                &["354 AHUAcA\r\n"],
                "its answer does not follow the protocol: [not shown]",
            ),
            (plain(true), &["AHUAcA\r\n"], "its answer does not follow the protocol: [not shown]"),
            (
                plain(true),
                &["235 ok\n"],
                "a line of its answer holds a line feed without its carriage return",
            ),
        ];
        for (credentials, answers, expected) in table {
            let seen = after_hello(&credentials, answers);
            assert!(seen.ends_with(&format!("<error: {expected}>")), "{seen}");
        }
    }

    #[test]
    fn tls_comes_before_the_login_and_capabilities_are_asked_anew() {
        let inner = "250-cm\r\n250 AUTH PLAIN\r\n";
        let answers = [GREETING, OFFER, "220 go\r\n", inner, "235 ok\r\n"];
        assert_eq!(
            play_however_cut(|| Back::new("gw", true), Some(&plain(true)), &answers),
            "EHLO gw\r\nSTARTTLS\r\n<starttls>EHLO gw\r\n<ready>AUTH PLAIN AHUAcA\r\n<in 235 ok>"
        );
        let mut back = Back::new("gw", true);
        play_once(&mut back, Some(&plain(true)), &answers);
        assert_eq!(back.capabilities().lines(), ["AUTH PLAIN"]);
        let failed = |answers: &[&str]| play_however_cut(|| Back::new("gw", true), None, answers);
        assert_eq!(
            failed(&[GREETING, "250-STARTTLS\r\n250 XSTARTTLS\r\n"]),
            "EHLO gw\r\n<error: it does not offer STARTTLS>"
        );
        assert_eq!(
            failed(&[GREETING, OFFER, "454 no\r\n"]),
            "EHLO gw\r\nSTARTTLS\r\n<error: it refused STARTTLS: \"454 no\">"
        );
    }

    #[test]
    fn every_answer_belongs_to_one_question() {
        let table: [&[&str]; 5] = [
            &["220 a\r\n220 b\r\n"],
            &["220 a\r\n2"],
            &[GREETING, "250 a\r\n250 b\r\n"],
            &[GREETING, OFFER, "220 go\r\n250 injected\r\n"],
            &[GREETING, OFFER, "220 go\r\n\x16\x03"],
        ];
        for answers in table {
            let seen = play_once(&mut Back::new("gw", true), None, answers);
            assert!(seen.contains("<error: it sent something unasked: "), "{seen}");
            assert!(!seen.contains("<starttls>"), "{seen}");
        }
        let seen = play_once(
            &mut Back::new("gw", false),
            Some(&plain(true)),
            &[GREETING, OFFER, "235 ok\r\n250 AHUAcA\r\n"],
        );
        assert!(seen.ends_with("<error: it sent something unasked: [not shown]>"), "{seen}");
    }

    #[test]
    fn a_probe_says_goodbye() {
        let answers = [GREETING, OFFER, "221 bye\r\n"];
        assert_eq!(
            play_however_cut(|| Back::new("gw", false), None, &answers),
            "EHLO gw\r\n<ready>QUIT\r\n<done>"
        );
    }

    #[test]
    fn methods_out_of_order_are_told_and_do_nothing() {
        let mut back = Back::new("gw", false);
        back.log_in(&plain(true));
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("log_in"));
        back.secured();
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("secured"));
        assert!(matches!(back.step(), Ok(BackStep::NeedInput)));
    }

    #[test]
    fn a_refused_login_may_be_followed_by_another() {
        let mut back = Back::new("gw", false);
        let seen = play_once(&mut back, Some(&plain(true)), &[GREETING, OFFER, "535 no\r\n"]);
        assert!(seen.ends_with("<refused 535 no>"), "{seen}");
        back.log_in(&login(true));
        let seen = play_once(&mut back, None, &["334 \r\n", "235 ok\r\n"]);
        assert_eq!(seen, "AUTH LOGIN dQ==\r\ncA\r\n<in 235 ok>");
    }
}

//! The client side of SMTP towards the client module, up to the login.

use super::reply::{code, scan_reply};
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{BackLines, Exchange, line};
use crate::proto::capabilities::{Offer, SmtpCapabilities};
use crate::proto::error::Excerpt;
use crate::proto::sasl::Credentials;

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
    LogIn(Exchange),
    /// The login was answered with this 235, and NOOP was asked.
    Confirm(Answer),
    LoggedIn,
    Quit,
    Over,
}

impl crate::proto::back::Back for Back {
    fn feed(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes);
    }

    fn step(&mut self) -> Result<BackStep, ProtocolError> {
        if let Some(step) = self.lines.due()? {
            return Ok(step);
        }
        self.read().map_err(|error| self.lines.without_secrets(error))?;
        Ok(self.lines.due()?.unwrap_or(BackStep::NeedInput))
    }

    /// EHLO is sent again, because what came before the handshake was not protected.
    fn secured(&mut self) {
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

    fn log_in(&mut self, credentials: &Credentials) {
        let (State::Ready, Some(exchange)) = (&self.state, Exchange::new(credentials)) else {
            return self.lines.fail(ProtocolError::OutOfOrder("log_in"));
        };
        self.lines.begin_secret();
        self.state = State::LogIn(exchange);
        if let Err(error) = self.send_login_line(None) {
            self.lines.fail(error);
        }
    }

    fn offer(&self) -> Offer {
        Offer::Smtp(self.capabilities.clone())
    }

    fn quit(&mut self) {
        if !matches!(self.state, State::Ready | State::LoggedIn) {
            return self.lines.fail(ProtocolError::OutOfOrder("quit"));
        }
        self.lines.say(line(&[b"QUIT"]));
        self.state = State::Quit;
    }
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
            (State::Greeting, 220) => self.say_hello(),
            (State::Hello, 250) => return self.greeted(&answer),
            (State::LogIn(_), 334) => return self.send_login_line(answer.bytes.get(4..)),
            (State::LogIn(exchange), 235) if !exchange.is_complete() => {
                return Err(ProtocolError::AcceptedTooEarly);
            }
            // The one answer that accepts a login (RFC 4954 section 4). A 250 answers something else.
            (State::LogIn(_), 235) => {
                self.lines.say(line(&[b"NOOP"]));
                self.state = State::Confirm(answer);
            }
            (State::Confirm(accepted), 250) => {
                let accepted = accepted.clone();
                self.enter(State::LoggedIn, BackStep::LoggedIn(accepted));
            }
            (State::Confirm(_), _) => return Err(ProtocolError::OutOfStep),
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

    fn send_login_line(&mut self, challenge: Option<&[u8]>) -> Result<(), ProtocolError> {
        if let State::LogIn(exchange) = &mut self.state {
            let line = exchange.next(challenge).ok_or(ProtocolError::AskedForMore)?;
            self.lines.say(line);
        }
        Ok(())
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
    use crate::proto::sasl::Mechanism;
    use proptest::prelude::*;

    use crate::proto::back::Back as _;
    use crate::proto::back::testing::{
        Server, log_in_among_extra_lines, play_however_cut, play_once,
    };

    const OUT_OF_STEP: &str =
        "one of its answers was too many: its answers do not fit the questions";
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
        let table: [(Credentials, &[&str], &str, &str); 4] = [
            (plain(true), &[], "235 2.7.0 ok\r\n", "AUTH PLAIN AHUAcA\r\n"),
            (plain(false), &["334 \r\n"], "235 ok\r\n", "AUTH PLAIN\r\nAHUAcA\r\n"),
            (login(true), &["334 UGFzc3dvcmQ6\r\n"], "235 ok\r\n", "AUTH LOGIN dQ==\r\ncA\r\n"),
            (
                login(false),
                &["334 VXNlcm5hbWU6\r\n", "334\r\n"],
                "235-a\r\n235 b\r\n",
                "AUTH LOGIN\r\ndQ==\r\ncA\r\n",
            ),
        ];
        for (credentials, challenges, accepted, sent) in table {
            let answers = [challenges, &[accepted, "250 ok\r\n"]].concat();
            let first = accepted.lines().next().unwrap();
            let expected = format!("{sent}NOOP\r\n<in {first}>");
            assert_eq!(after_hello(&credentials, &answers), expected);
        }
    }

    #[test]
    fn a_response_that_went_with_auth_is_sent_again_if_it_was_ignored() {
        let table: [(Credentials, &[&str], &str); 6] = [
            (plain(true), &["334 \r\n"], "AUTH PLAIN AHUAcA\r\nAHUAcA\r\n"),
            (
                login(true),
                &["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"],
                "AUTH LOGIN dQ==\r\ndQ==\r\ncA\r\n",
            ),
            (
                login(true),
                &["334 VXNlciBOYW1lAA==\r\n", "334 UGFzc3dvcmQA\r\n"],
                "AUTH LOGIN dQ==\r\ndQ==\r\ncA\r\n",
            ),
            // An equals sign is the empty response beside the command only.
            (
                Credentials::two_lines(b"=", b"cA", true).unwrap(),
                &["334 dXNlcm5hbWU=\r\n", "334 \r\n"],
                "AUTH LOGIN =\r\n\r\ncA\r\n",
            ),
            // It is asked for once more, and no password may answer that.
            (
                login(true),
                &["334 VXNlcm5hbWU6\r\n", "334 \r\n", "334 VXNlcm5hbWU6\r\n"],
                "AUTH LOGIN dQ==\r\ndQ==\r\ncA\r\n<error: it asked for more than the credentials>",
            ),
            (
                plain(true),
                &["334 \r\n", "334 \r\n"],
                "AUTH PLAIN AHUAcA\r\nAHUAcA\r\n<error: it asked for more than the credentials>",
            ),
        ];
        for (credentials, challenges, sent) in table {
            let accepted = ["235 ok\r\n", "250 ok\r\n"];
            let answers = [challenges, &accepted].concat();
            let end = if sent.ends_with('>') { "" } else { "NOOP\r\n<in 235 ok>" };
            assert_eq!(after_hello(&credentials, &answers), format!("{sent}{end}"));
        }
    }

    #[test]
    fn a_login_counts_if_it_is_235_and_the_next_answer_fits() {
        for (answers, expected) in [
            (
                &["250 2.0.0 ungefragt\r\n"][..],
                "its answer does not follow the protocol: [not shown]",
            ),
            (&["220 hello\r\n"], "its answer does not follow the protocol: [not shown]"),
            (&["235 ok\r\n", "535 5.7.8 no\r\n"], OUT_OF_STEP),
            (&["235 ok\r\n", "235 ok\r\n"], OUT_OF_STEP),
            (&["235 ok\r\n", "421 bye\r\n"], OUT_OF_STEP),
        ] {
            let seen = after_hello(&plain(true), answers);
            assert!(seen.ends_with(&format!("<error: {expected}>")), "{seen}");
            assert!(!seen.contains("<in"), "{seen}");
        }
    }

    proptest! {
        /// Whatever line a client module says too many, and wherever: no refused login is an accepted
        /// one, and an accepted one is answered with its own answer.
        #[test]
        fn no_extra_line_makes_a_refused_login_an_accepted_one(
            extra in prop::sample::select(vec![
                "250 2.0.0 ungefragt", "235 ungefragt", "334 ", "334 VXNlcm5hbWU6", "220 kim",
                "535 5.7.8 no", "421 bye", "250-ungefragt", "",
            ]),
            comes in prop::collection::vec(any::<bool>(), 0..12),
            pieces in prop::collection::vec(1_usize..4, 0..12),
            credentials in prop::sample::select(vec![
                plain(true), plain(false), login(true), login(false),
            ]),
            accepts in any::<bool>(),
        ) {
            let mut prompts = match credentials.mechanism {
                Mechanism::Plain { initial: true } | Mechanism::UserPass => 0,
                Mechanism::Plain { initial: false } | Mechanism::Login { initial: true } => 1,
                Mechanism::Login { initial: false } => 2,
            };
            let mut in_auth = false;
            let verdict = if accepts { "235 2.7.0 in" } else { "535 5.7.8 nein" };
            let mut answer = |line: &str| {
                let lines: &[&str] = match line {
                    "EHLO gw" => &["250-cm", "250-8BITMIME", "250 AUTH LOGIN PLAIN"],
                    "NOOP" if !in_auth => &["250 2.0.0 OK"],
                    _ if !in_auth && !line.starts_with("AUTH ") => &["500 5.5.2 what"],
                    _ if prompts > 0 => {
                        (in_auth, prompts) = (true, prompts - 1);
                        &["334 "]
                    }
                    _ => {
                        in_auth = false;
                        &[verdict]
                    }
                };
                lines.iter().map(|line| (*line).to_owned()).collect()
            };
            let server = Server { greeting: "220 kim", answer: &mut answer };
            let extras = (extra, comes.as_slice(), pieces.as_slice());
            let told = log_in_among_extra_lines(Back::new("gw", false), &credentials, server, extras);
            if let Some(Ok(answer)) = &told {
                prop_assert!(accepts && answer.first_line() == "235 2.7.0 in", "{:?}", answer.first_line());
            }
            if !comes.contains(&true) {
                prop_assert_eq!(told.map(|told| told.is_ok()), Some(accepts));
            }
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
        let table: [(Credentials, &[&str], &str); 5] = [
            (plain(false), &["235 ok\r\n"], "it accepted the login before it had all credentials"),
            (
                login(false),
                &["334 \r\n", "235 ok\r\n"],
                "it accepted the login before it had all credentials",
            ),
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
        let answers = [GREETING, OFFER, "220 go\r\n", inner, "235 ok\r\n", "250 ok\r\n"];
        assert_eq!(
            play_however_cut(|| Back::new("gw", true), Some(&plain(true)), &answers),
            "EHLO gw\r\nSTARTTLS\r\n<starttls>EHLO gw\r\n<ready>AUTH PLAIN AHUAcA\r\n\
             NOOP\r\n<in 235 ok>"
        );
        let mut back = Back::new("gw", true);
        play_once(&mut back, Some(&plain(true)), &answers);
        assert_eq!(back.offer(), Offer::Smtp(SmtpCapabilities::from_lines(["AUTH PLAIN"])));
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
        let seen = play_once(&mut back, None, &["334 \r\n", "235 ok\r\n", "250 ok\r\n"]);
        assert_eq!(seen, "AUTH LOGIN dQ==\r\ncA\r\nNOOP\r\n<in 235 ok>");
    }
}

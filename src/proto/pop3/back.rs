//! The client side of POP3 towards the client module, up to the login.

use super::answer::is_ok;
use crate::proto::ProtocolError;
pub use crate::proto::back::{Answer, BackStep};
use crate::proto::back::{BackLines, Exchange, line};
use crate::proto::capabilities::{Offer, Pop3Capabilities};
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

/// Reads the greeting, asks for TLS where it is configured, asks what is offered, and logs in with
/// the workstation's bytes.
pub struct Back {
    start_tls: bool,
    lines: BackLines,
    state: State,
    capabilities: Pop3Capabilities,
    /// It has answered CAPA with a list.
    knows_capa: bool,
}

/// Which answer is expected, or what the owner has to do.
enum State {
    Greeting,
    StartTls,
    /// The owner does the TLS handshake.
    Handshake,
    Capa,
    /// No command is open.
    Ready,
    /// PASS's line is not sent yet.
    User(Secret<Vec<u8>>),
    Pass,
    Auth(Exchange),
    /// The login was answered with this `+OK`, and this was asked.
    Confirm(Answer, Question),
    LoggedIn,
    Quit,
    Over,
}

/// A command after the login whose answer no other command has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// A list.
    Capa,
    /// `+OK` and two numbers, and never a refusal (RFC 1939 section 5).
    Stat,
}

/// How an answer begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Err,
    /// `+ `, of AUTH (RFC 5034 section 4).
    Challenge,
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

    fn secured(&mut self) {
        if !matches!(self.state, State::Handshake) {
            return self.lines.fail(ProtocolError::OutOfOrder("secured"));
        }
        match self.lines.expect_silence() {
            Ok(()) => self.say(State::Capa, line(&[b"CAPA"])),
            Err(error) => self.lines.fail(error),
        }
    }

    fn log_in(&mut self, credentials: &Credentials) {
        let first = match (&self.state, credentials.mechanism, credentials.wire()) {
            (State::Ready, Mechanism::UserPass, [user, password]) => {
                let password = line(&[b"PASS ", password.expose()]);
                Some((State::User(password), line(&[b"USER ", user.expose()])))
            }
            (State::Ready, Mechanism::Plain { .. } | Mechanism::Login { .. }, _) => {
                Exchange::new(credentials).and_then(|mut exchange| {
                    let command = exchange.next(None)?;
                    Some((State::Auth(exchange), command))
                })
            }
            _ => None,
        };
        let Some((state, command)) = first else {
            return self.lines.fail(ProtocolError::OutOfOrder("log_in"));
        };
        self.lines.begin_secret();
        self.say(state, command);
    }

    /// If it does not know CAPA, what every client module has.
    fn offer(&self) -> Offer {
        Offer::Pop3(self.capabilities.clone())
    }

    fn quit(&mut self) {
        if !matches!(self.state, State::Ready | State::LoggedIn) {
            return self.lines.fail(ProtocolError::OutOfOrder("quit"));
        }
        self.say(State::Quit, line(&[b"QUIT"]));
    }
}

impl Back {
    /// Waits for the greeting. `start_tls`: TLS comes before the login.
    pub fn new(start_tls: bool) -> Self {
        Self {
            start_tls,
            lines: BackLines::default(),
            state: State::Greeting,
            capabilities: Pop3Capabilities::conservative(),
            knows_capa: false,
        }
    }

    fn read(&mut self) -> Result<(), ProtocolError> {
        if let State::Handshake | State::Ready | State::LoggedIn | State::Over = self.state {
            return self.lines.expect_silence();
        }
        let is_list = matches!(self.state, State::Capa | State::Confirm(_, Question::Capa));
        let Some((status, len)) = scan(self.lines.bytes(), is_list)? else {
            return Ok(());
        };
        let answer = self.lines.take_answer(len)?;
        self.answered(status, answer)
    }

    fn answered(&mut self, status: Status, answer: Answer) -> Result<(), ProtocolError> {
        let wrong = |answer: &Answer| Err(ProtocolError::NotAnAnswer(Excerpt::of(&answer.bytes)));
        match (std::mem::replace(&mut self.state, State::Over), status) {
            (State::Quit, _) => self.enter(State::Over, BackStep::Done),
            (State::Greeting, Status::Err) => self.enter(State::Over, BackStep::Refused(answer)),
            (State::Greeting, Status::Ok) if self.start_tls => {
                self.say(State::StartTls, line(&[b"STLS"]));
            }
            (State::Greeting, Status::Ok) => self.say(State::Capa, line(&[b"CAPA"])),
            (State::StartTls, Status::Ok) => self.enter(State::Handshake, BackStep::StartTls),
            (State::StartTls, _) => {
                let answer = Excerpt::of(&answer.bytes);
                return Err(ProtocolError::TlsRefused { command: "STLS", answer });
            }
            (State::Capa, Status::Ok) => {
                let text = String::from_utf8_lossy(&answer.bytes);
                self.capabilities = Pop3Capabilities::from_lines(text.lines().skip(1));
                self.knows_capa = true;
                self.enter(State::Ready, BackStep::Ready);
            }
            (State::Capa, Status::Err) => self.enter(State::Ready, BackStep::Ready),
            (State::User(_) | State::Pass | State::Auth(_), Status::Err) => {
                self.enter(State::Ready, BackStep::Refused(answer));
            }
            (State::User(password), Status::Ok) => self.say(State::Pass, password),
            (State::Auth(mut exchange), Status::Challenge) => {
                let challenge = answer.bytes.get(2..);
                let line = exchange.next(challenge).ok_or(ProtocolError::AskedForMore)?;
                self.say(State::Auth(exchange), line);
            }
            // openKIM answers AUTH PLAIN with "+OK Continue authentication" instead of a lone plus.
            (State::Auth(mut exchange), Status::Ok) => match exchange.next(None) {
                Some(line) => self.say(State::Auth(exchange), line),
                None => self.confirm(answer),
            },
            (State::Pass, Status::Ok) => self.confirm(answer),
            (State::Confirm(accepted, Question::Capa), Status::Ok) => {
                self.enter(State::LoggedIn, BackStep::LoggedIn(accepted));
            }
            // Some servers know CAPA before the login only. If this refuses the login, the next
            // answer shows it.
            (State::Confirm(accepted, Question::Capa), Status::Err) => {
                self.say(State::Confirm(accepted, Question::Stat), line(&[b"STAT"]));
            }
            (State::Confirm(accepted, Question::Stat), Status::Ok) if is_stat(&answer) => {
                self.enter(State::LoggedIn, BackStep::LoggedIn(accepted));
            }
            (State::Confirm(..), _) => return Err(ProtocolError::OutOfStep),
            (
                State::Greeting
                | State::Capa
                | State::User(_)
                | State::Pass
                | State::Handshake
                | State::Ready
                | State::LoggedIn
                | State::Over,
                _,
            ) => return wrong(&answer),
        }
        Ok(())
    }

    /// The login was answered with yes. It counts if the next answer fits its question.
    fn confirm(&mut self, accepted: Answer) {
        let (question, command) = match self.knows_capa {
            true => (Question::Capa, b"CAPA"),
            false => (Question::Stat, b"STAT"),
        };
        self.say(State::Confirm(accepted, question), line(&[command]));
    }

    fn say(&mut self, state: State, command: Secret<Vec<u8>>) {
        self.state = state;
        self.lines.say(command);
    }

    fn enter(&mut self, state: State, step: BackStep) {
        self.state = state;
        self.lines.then(step);
    }
}

/// Whether this is an answer to STAT: `+OK`, the number of messages and their size.
fn is_stat(answer: &Answer) -> bool {
    let is_number = |word: Option<&str>| {
        word.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut words = answer.first_line().split(' ').skip(1);
    is_number(words.next()) && is_number(words.next())
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
        // Two answers in one: a line too many came before this one.
        if is_ok(line.text).is_some() {
            return Err(ProtocolError::OutOfStep);
        }
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
    use proptest::prelude::*;

    use crate::proto::back::Back as _;
    use crate::proto::back::testing::{
        Server, log_in_among_extra_lines, play_however_cut, play_once,
    };

    const LIST: &str = "+OK Capability list follows\r\nTOP\r\nSASL PLAIN LOGIN\r\n.\r\n";
    const OUT_OF_STEP: &str =
        "one of its answers was too many: its answers do not fit the questions";
    const GREETING: &str = "+OK KOM-LE Clientmodul POP3\r\n";

    fn user_pass() -> Credentials {
        Credentials::user_pass(b"a b ", b" p").unwrap()
    }

    fn plain(initial: bool) -> Credentials {
        Credentials::plain(b"AHUAcA", initial).unwrap()
    }

    fn login(initial: bool) -> Credentials {
        Credentials::two_lines(b"dQ==", b"cA", initial).unwrap()
    }

    /// After greeting and CAPA.
    fn after_greeting(credentials: &Credentials, answers: &[&str]) -> String {
        let answers = [&[GREETING, LIST], answers].concat();
        let seen = play_however_cut(|| Back::new(false), Some(credentials), &answers);
        String::from(seen.strip_prefix("CAPA\r\n<ready>").unwrap())
    }

    #[test]
    fn the_login_goes_on_in_its_own_mechanism_and_bytes() {
        let table: [(Credentials, &[&str], &str); 8] = [
            (user_pass(), &["+OK\r\n", "+OK hi\r\n"], "USER a b \r\nPASS  p\r\n"),
            (plain(true), &["+OK hi\r\n"], "AUTH PLAIN AHUAcA\r\n"),
            (plain(false), &["+ \r\n", "+OK hi\r\n"], "AUTH PLAIN\r\nAHUAcA\r\n"),
            (plain(false), &["+\r\n", "+OK hi\r\n"], "AUTH PLAIN\r\nAHUAcA\r\n"),
            (
                plain(false),
                &["+OK Continue authentication\r\n", "+OK hi\r\n"],
                "AUTH PLAIN\r\nAHUAcA\r\n",
            ),
            (
                login(false),
                &["+ VXNlcm5hbWU6\r\n", "+ UGFzc3dvcmQ6\r\n", "+OK hi\r\n"],
                "AUTH LOGIN\r\ndQ==\r\ncA\r\n",
            ),
            (login(true), &["+ UGFzc3dvcmQ6\r\n", "+OK hi\r\n"], "AUTH LOGIN dQ==\r\ncA\r\n"),
            // The response that went with the command was ignored.
            (plain(true), &["+ \r\n", "+OK hi\r\n"], "AUTH PLAIN AHUAcA\r\nAHUAcA\r\n"),
        ];
        for (credentials, answers, sent) in table {
            let answers = [answers, &[LIST]].concat();
            let expected = format!("{sent}CAPA\r\n<in +OK hi>");
            assert_eq!(after_greeting(&credentials, &answers), expected);
        }
    }

    #[test]
    fn a_login_counts_if_the_next_answer_fits_its_question() {
        let capa = |answers: &[&str]| {
            let answers = [&["+OK\r\n", "+OK hi\r\n"], answers].concat();
            let seen = after_greeting(&user_pass(), &answers);
            String::from(seen.strip_prefix("USER a b \r\nPASS  p\r\nCAPA\r\n").unwrap())
        };
        assert_eq!(capa(&[LIST]), "<in +OK hi>");
        let failed = format!("<error: {OUT_OF_STEP}>");
        assert_eq!(capa(&["+OK\r\n+OK list\r\nTOP\r\n.\r\n"]), failed);
        assert_eq!(capa(&["+OK\r\n-ERR no\r\n"]), failed);
        // CAPA is refused, or the refusal is the login's.
        assert_eq!(capa(&["-ERR what\r\n", "+OK 2 320\r\n"]), "STAT\r\n<in +OK hi>");
        for no in ["-ERR what\r\n", "+OK\r\n", "+OK 2\r\n", "+OK x 1\r\n", "+OK 1  2\r\n"] {
            assert_eq!(capa(&["-ERR no\r\n", no]), format!("STAT\r\n{failed}"), "{no}");
        }
        // It does not know CAPA at all.
        let without = |answers: &[&str]| {
            let answers = [&[GREETING, "-ERR what\r\n"], answers].concat();
            play_however_cut(|| Back::new(false), Some(&plain(true)), &answers)
        };
        let sent = "CAPA\r\n<ready>AUTH PLAIN AHUAcA\r\nSTAT\r\n";
        let seen = without(&["+OK hi\r\n", "+OK 0 0 octets\r\n"]);
        assert_eq!(seen, format!("{sent}<in +OK hi>"));
        assert_eq!(without(&["+OK\r\n", "-ERR no\r\n"]), format!("{sent}{failed}"));
    }

    proptest! {
        /// Whatever line a client module says too many, and wherever: no refused login is an accepted
        /// one, and an accepted one is answered with its own answer.
        #[test]
        fn no_extra_line_makes_a_refused_login_an_accepted_one(
            extra in prop::sample::select(vec![
                "+OK", "+OK ungefragt", "-ERR ungefragt", "+ ", "+ VXNlcm5hbWU6", ".", "TOP", "",
                "+OK 3 120",
            ]),
            comes in prop::collection::vec(any::<bool>(), 0..16),
            pieces in prop::collection::vec(1_usize..4, 0..16),
            credentials in prop::sample::select(vec![
                user_pass(), plain(true), plain(false), login(true), login(false),
            ]),
            knows_capa in any::<bool>(),
            accepts in any::<bool>(),
        ) {
            // Without CAPA, two lines of that form are taken for the login's answer and for STAT's.
            prop_assume!(knows_capa || extra != "+OK 3 120");
            let mut prompts = match credentials.mechanism {
                Mechanism::UserPass | Mechanism::Plain { initial: true } => 0,
                Mechanism::Plain { initial: false } | Mechanism::Login { initial: true } => 1,
                Mechanism::Login { initial: false } => 2,
            };
            let (mut in_auth, mut logged_in) = (false, false);
            let verdict = if accepts { "+OK in" } else { "-ERR nein" };
            let mut answer = |line: &str| {
                let lines: &[&str] = match line {
                    _ if in_auth || line.starts_with("AUTH ") || line.starts_with("PASS ") => {
                        in_auth = prompts > 0 && !line.starts_with("PASS ");
                        if in_auth {
                            prompts -= 1;
                            &["+ "]
                        } else {
                            logged_in = accepts;
                            &[verdict]
                        }
                    }
                    "CAPA" if knows_capa => &["+OK list", "TOP", "USER", "SASL PLAIN", "."],
                    "STAT" if logged_in => &["+OK 2 320"],
                    _ if line.starts_with("USER ") => &["+OK"],
                    _ => &["-ERR what"],
                };
                lines.iter().map(|line| (*line).to_owned()).collect()
            };
            let server = Server { greeting: "+OK kim", answer: &mut answer };
            let extras = (extra, comes.as_slice(), pieces.as_slice());
            let told = log_in_among_extra_lines(Back::new(false), &credentials, server, extras);
            if let Some(Ok(answer)) = &told {
                prop_assert!(accepts && answer.first_line() == "+OK in", "{:?}", answer.first_line());
            }
            if !comes.contains(&true) {
                prop_assert_eq!(told.map(|told| told.is_ok()), Some(accepts));
            }
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
            (plain(false), &["+ \r\n", "+ \r\n"], "it asked for more than the credentials"),
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
        let answers = [GREETING, "+OK go\r\n", LIST, "+OK hi\r\n", LIST];
        assert_eq!(
            play_however_cut(|| Back::new(true), Some(&plain(true)), &answers),
            "STLS\r\n<starttls>CAPA\r\n<ready>AUTH PLAIN AHUAcA\r\nCAPA\r\n<in +OK hi>"
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
        let seen = play_once(&mut back, Some(&user_pass()), &[GREETING, LIST]);
        assert_eq!(seen, "CAPA\r\n<ready>USER a b \r\n");
        let mut back = Back::new(false);
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Send(_))));
        back.feed(LIST.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Ready)));
        back.feed(b"+OK unasked\r\n");
        assert!(matches!(back.step(), Err(ProtocolError::Unasked(_))));
    }

    /// Feeds the answer to CAPA byte by byte.
    fn capabilities(answer: &str) -> Result<Offer, ProtocolError> {
        let mut back = Back::new(false);
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Send(line)) if line.expose() == b"CAPA\r\n"));
        for byte in answer.bytes() {
            back.feed(&[byte]);
            let step = back.step()?;
            assert!(matches!(step, BackStep::NeedInput | BackStep::Ready), "{step:?}");
        }
        back.log_in(&user_pass());
        assert!(matches!(back.step(), Ok(BackStep::Send(_))), "it is ready for a login");
        Ok(back.offer())
    }

    #[test]
    fn capabilities_are_asked_for_before_the_login() {
        let offer = capabilities("+OK\r\nTOP\r\nSTLS\r\nSASL PLAIN LOGIN\r\n.\r\n").unwrap();
        let lines = ["TOP", "SASL PLAIN LOGIN"];
        assert_eq!(offer, Offer::Pop3(Pop3Capabilities::from_lines(lines)));
        let conservative = Offer::Pop3(Pop3Capabilities::conservative());
        assert_eq!(capabilities("-ERR what\r\n").unwrap(), conservative);
        let endless = format!("+OK\r\n{}", "X\r\n".repeat(LINES + 1));
        assert_eq!(capabilities(&endless), Err(ProtocolError::AnswerTooLong));
        assert_eq!(capabilities("+OK\r\nTOP\r\n+OK\r\n.\r\n"), Err(ProtocolError::OutOfStep));
    }

    #[test]
    fn a_probe_says_goodbye() {
        assert_eq!(
            play_however_cut(|| Back::new(false), None, &[GREETING, LIST, "+OK bye\r\n"]),
            "CAPA\r\n<ready>QUIT\r\n<done>"
        );
    }

    #[test]
    fn methods_out_of_order_are_told_and_do_nothing() {
        let mut back = Back::new(false);
        back.quit();
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("quit"));
        back.secured();
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("secured"));
        back.feed(GREETING.as_bytes());
        assert!(matches!(back.step(), Ok(BackStep::Send(_))));
        back.log_in(&user_pass());
        assert_eq!(back.step().unwrap_err(), ProtocolError::OutOfOrder("log_in"));
    }
}

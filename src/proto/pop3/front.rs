//! The server side of POP3 up to the login.

use zeroize::Zeroizing;

use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::front::{self, Incoming, Talk, is_http, split_verb};
pub use crate::proto::front::{Stage, Step};
use crate::proto::line::Fault;
use crate::proto::sasl::{Credentials, Invalid};
use crate::words::Reason;

/// What this front needs to know.
pub type Setup = front::Setup<Pop3Capabilities>;

/// Greets, answers what needs no client module, and collects a login.
pub struct Front {
    setup: Setup,
    talk: Talk,
    exchange: Exchange,
}

/// Where the login is.
#[derive(Default)]
enum Exchange {
    #[default]
    None,
    /// USER came, and PASS is due.
    Named(Zeroizing<Vec<u8>>),
    /// AUTH PLAIN came, and the next line belongs to it.
    Plain,
}

impl Front {
    /// `greet` is false after STLS, where the server does not speak first.
    ///
    /// The greeting has no timestamp in angle brackets: that would offer APOP, whose digest no
    /// client module can use (it needs the password itself).
    pub fn new(setup: Setup, greet: bool) -> Self {
        let mut talk = Talk::new(&setup);
        if greet {
            talk.say(format!("+OK {} KIM-Gateway\r\n", setup.name));
        }
        Self { setup, talk, exchange: Exchange::None }
    }

    /// Takes in what came; call it after [`Step::NeedInput`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.talk.feed(bytes);
    }

    /// What is to be done next. After [`Step::Login`], [`Step::StartTls`] and the two that end the
    /// connection there is nothing more to do here but `refuse` or `accept`.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(step) = self.talk.due() {
                return step;
            }
            match self.talk.next(matches!(self.exchange, Exchange::Plain)) {
                None => return Step::NeedInput,
                Some(incoming) => self.take(incoming),
            }
        }
    }

    /// The login was refused with this reply; another try is welcome.
    pub fn refuse(&mut self, reply: &[u8]) {
        self.talk.say(reply);
        self.talk.resume();
    }

    /// The login was accepted, and its reply is the owner's to send. What the workstation sent
    /// behind it is the beginning of the session.
    pub fn accept(self) -> Vec<u8> {
        self.talk.into_rest()
    }

    fn take(&mut self, incoming: Incoming) {
        let exchange = std::mem::take(&mut self.exchange);
        match incoming {
            Incoming::Line(line) => match exchange {
                Exchange::Plain if *line == b"*" => {
                    self.talk.say("-ERR KIM-Gateway: login cancelled\r\n");
                }
                Exchange::Plain => self.log_in(Credentials::plain(&line, false)),
                Exchange::None => self.command(None, &line),
                Exchange::Named(user) => self.command(Some(user), &line),
            },
            Incoming::Faulty(Fault::BareLineFeed) => {
                self.complain("-ERR KIM-Gateway: lines end in CR LF (bad-command)\r\n");
            }
            Incoming::Faulty(Fault::BareCarriageReturn | Fault::Nul) => {
                self.complain("-ERR KIM-Gateway: stray CR or NUL in the line (bad-command)\r\n");
            }
            Incoming::TooLong => self.talk.close(
                "-ERR KIM-Gateway: this line is too long (line-too-long)\r\n",
                Reason::LineTooLong,
            ),
            Incoming::ClientHello => self.talk.close(
                match self.setup.stage {
                    Stage::BeforeTls => {
                        "-ERR KIM-Gateway: TLS begins with STLS here (bad-command)\r\n"
                    }
                    Stage::Open => "-ERR KIM-Gateway: this port is without TLS (bad-command)\r\n",
                },
                Reason::BadCommand,
            ),
        }
    }

    fn command(&mut self, named: Option<Zeroizing<Vec<u8>>>, line: &[u8]) {
        let (verb, argument) = split_verb(line);
        match (verb.as_slice(), argument) {
            (b"USER" | b"PASS" | b"AUTH", _) if self.setup.stage == Stage::BeforeTls => {
                self.complain("-ERR KIM-Gateway: no login before STLS (bad-command)\r\n");
            }
            // Everything behind the first blank is the name, blanks included: a MandantId may be
            // "Praxis Dr. Mustermann".
            (b"USER", Some(user)) if !user.is_empty() => {
                self.exchange = Exchange::Named(Zeroizing::new(user.to_vec()));
                self.talk.say("+OK\r\n");
            }
            (b"PASS", Some(password)) => match named {
                Some(user) => self.log_in(Credentials::user_pass(&user, password)),
                None => self.complain("-ERR KIM-Gateway: send USER first (bad-command)\r\n"),
            },
            (b"USER" | b"PASS", _) => {
                self.complain("-ERR KIM-Gateway: this needs an argument (bad-command)\r\n");
            }
            (b"AUTH", argument) => self.auth(argument.unwrap_or_default()),
            (b"CAPA", None) => self.capa(),
            (b"STLS", None) => self.start_tls(),
            (b"QUIT", None) => {
                self.talk.say(format!("+OK {} KIM-Gateway\r\n", self.setup.name));
                self.talk.halt(Step::Quit);
            }
            (verb, _) if is_http(verb) => self.talk.close(
                "-ERR KIM-Gateway: this port is for POP3 and no web page (bad-command)\r\n",
                Reason::BadCommand,
            ),
            _ => self.complain("-ERR KIM-Gateway: not before the login (bad-command)\r\n"),
        }
    }

    /// RFC 5034 section 4; without an argument, the older habit of listing the mechanisms.
    fn auth(&mut self, argument: &[u8]) {
        let (mechanism, response) = split_verb(argument);
        let response = response.filter(|response| !response.is_empty());
        match (mechanism.as_slice(), response) {
            (b"", _) => self.talk.say("+OK\r\nPLAIN\r\n.\r\n"),
            (b"PLAIN", Some(line)) => self.log_in(Credentials::plain(line, true)),
            (b"PLAIN", None) => {
                self.exchange = Exchange::Plain;
                self.talk.say("+ \r\n");
            }
            _ => self.complain("-ERR KIM-Gateway: PLAIN is the mechanism here (bad-command)\r\n"),
        }
    }

    /// RFC 2449. RESP-CODES is always there, because kimgate's own refusals use them.
    fn capa(&mut self) {
        let is_open = self.setup.stage == Stage::Open;
        let mut reply = String::from("+OK\r\n");
        let is_login = |line: &str| line == "USER" || line.starts_with("SASL ");
        for line in self.setup.capabilities.lines() {
            if is_open || !is_login(line) {
                reply.push_str(line);
                reply.push_str("\r\n");
            }
        }
        if !self.setup.capabilities.offers("RESP-CODES") {
            reply.push_str("RESP-CODES\r\n");
        }
        if !is_open {
            reply.push_str("STLS\r\n");
        }
        reply.push_str(".\r\n");
        self.talk.say(reply);
    }

    /// RFC 2595 section 4. What came with the command came in clear and would act after the
    /// handshake, where everybody believes it to be the workstation's (CVE-2011-0411).
    fn start_tls(&mut self) {
        match self.setup.stage {
            Stage::Open => {
                self.complain("-ERR KIM-Gateway: STLS is not offered (bad-command)\r\n");
            }
            Stage::BeforeTls if self.talk.has_more() => self.talk.close(
                "-ERR KIM-Gateway: nothing may follow STLS (bad-command)\r\n",
                Reason::BadCommand,
            ),
            Stage::BeforeTls => {
                self.talk.say("+OK KIM-Gateway: ready for TLS\r\n");
                self.talk.halt(Step::StartTls);
            }
        }
    }

    fn log_in(&mut self, credentials: Result<Credentials, Invalid>) {
        match credentials {
            Ok(credentials) => self.talk.halt(Step::Login(credentials)),
            Err(invalid) => self.complain(&format!(
                "-ERR KIM-Gateway: {invalid} ({})\r\n",
                Reason::BadCredentialsEncoding
            )),
        }
    }

    fn complain(&mut self, reply: &str) {
        self.talk.complain(reply, "-ERR KIM-Gateway: too many bad commands (bad-command)\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::front::testing::{Machine, play, play_however_cut};

    impl Machine for Front {
        fn feed(&mut self, bytes: &[u8]) {
            self.feed(bytes);
        }

        fn step(&mut self) -> Step {
            self.step()
        }

        fn refuse(&mut self, reply: &[u8]) {
            self.refuse(reply);
        }
    }

    fn front(stage: Stage) -> Front {
        let capabilities = Pop3Capabilities::conservative();
        let name = String::from("gw");
        Front::new(Setup { name, stage, capabilities, login_line: 200, command_line: 60 }, false)
    }

    fn open(input: &[u8]) -> String {
        play_however_cut(|| front(Stage::Open), input)
    }

    #[test]
    fn a_login_is_collected_in_each_mechanism() {
        let table: [(&[u8], &str); 8] = [
            (b"USER u\r\nPASS p\r\n", "+OK\r\n<UserPass u|p = u|p>"),
            (
                b"user a@b#h:1#M M#C#W\r\npass  p p \r\n",
                "+OK\r\n<UserPass a@b#h:1#M M#C#W| p p  = a@b#h:1#M M#C#W| p p >",
            ),
            (
                b"USER \xc3\xa4\xff\r\nPASS \r\n",
                "+OK\r\n<UserPass \\xc3\\xa4\\xff| = \\xc3\\xa4\\xff|>",
            ),
            (b"USER a\r\nUSER b\r\nPASS p\r\n", "+OK\r\n+OK\r\n<UserPass b|p = b|p>"),
            (b"AUTH PLAIN AHUAcA==\r\n", "<Plain { initial: true } u|p = AHUAcA==>"),
            (b"auth plain\r\nAHUAcA\r\n", "+ \r\n<Plain { initial: false } u|p = AHUAcA>"),
            (
                b"AUTH PLAIN\r\n*\r\nUSER u\r\nPASS p\r\n",
                "+ \r\n-ERR KIM-Gateway: login cancelled\r\n+OK\r\n<UserPass u|p = u|p>",
            ),
            (
                b"USER u\r\nAUTH PLAIN AHUAcA==\r\n",
                "+OK\r\n<Plain { initial: true } u|p = AHUAcA==>",
            ),
        ];
        for (input, expected) in table {
            assert_eq!(open(input), format!("{expected}<refused>"), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_name_is_good_for_one_password() {
        let seen = open(b"USER u\r\nPASS p\r\nPASS q\r\nUSER u\r\nCAPA\r\nPASS q\r\n");
        assert_eq!(seen.matches("<UserPass").count(), 1, "{seen}");
        assert_eq!(seen.matches("-ERR KIM-Gateway: send USER first").count(), 2, "{seen}");
    }

    #[test]
    fn commands_are_answered_here_before_the_login() {
        let table: [(&[u8], &str); 18] = [
            (b"CAPA", "+OK\r\nTOP\r\nUSER\r\nUIDL\r\nSASL PLAIN\r\nRESP-CODES\r\n.\r\n"),
            (b"AUTH", "+OK\r\nPLAIN\r\n.\r\n"),
            (b"AUTH CRAM-MD5", "-ERR"),
            (b"AUTH PLAIN !", "-ERR KIM-Gateway: not base64 (bad-credentials-encoding)\r\n"),
            (b"AUTH PLAIN\r\nx y", "+ \r\n-ERR KIM-Gateway: not base64"),
            (b"NOOP", "-ERR"),
            (b"STAT", "-ERR"),
            (b"RETR 1", "-ERR"),
            (b"STLS", "-ERR"),
            (b"APOP u 0123456789abcdef0123456789abcdef", "-ERR"),
            (b"USER", "-ERR"),
            (b"USER ", "-ERR"),
            (b"PASS p", "-ERR"),
            (b"USER u\r\nPASS", "+OK\r\n-ERR"),
            (b"", "-ERR"),
            (b"USER u\n", "-ERR KIM-Gateway: lines end in CR LF"),
            (b"USER u\rx", "-ERR KIM-Gateway: stray CR"),
            (b"USER u\0x", "-ERR KIM-Gateway: stray CR or NUL"),
        ];
        for (input, expected) in table {
            let seen = open(&[input, b"\r\n"].concat());
            assert!(seen.starts_with(expected), "{} got {seen:?}", input.escape_ascii());
            assert!(!seen.contains('<'), "{} got {seen:?}", input.escape_ascii());
        }
        assert_eq!(open(b"QUIT\r\nUSER u\r\n"), "+OK gw KIM-Gateway\r\n<quit>");
    }

    #[test]
    fn before_tls_no_login_is_announced_or_taken() {
        let before = || front(Stage::BeforeTls);
        assert_eq!(
            play_however_cut(before, b"CAPA\r\n"),
            "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nSTLS\r\n.\r\n"
        );
        for input in ["USER u\r\n", "PASS p\r\n", "AUTH\r\n", "AUTH PLAIN AHUAcA==\r\n"] {
            let seen = play_however_cut(before, input.as_bytes());
            assert_eq!(seen, "-ERR KIM-Gateway: no login before STLS (bad-command)\r\n");
        }
        assert_eq!(
            play_however_cut(before, b"STLS\r\n"),
            "+OK KIM-Gateway: ready for TLS\r\n<starttls>"
        );
    }

    #[test]
    fn nothing_may_follow_stls() {
        for input in [&b"STLS\r\n\n"[..], b"STLS\r\nUSER u\r\n", b"STLS\r\n\x16\x03\x01"] {
            let seen = play(&mut front(Stage::BeforeTls), [input]);
            assert!(seen.starts_with("-ERR") && seen.ends_with("<close bad-command>"), "{seen}");
        }
    }

    #[test]
    fn other_protocols_are_told_what_this_port_is() {
        for (input, word) in [
            (&b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "web"),
            (b"\x16\x03\x03\x00\x10\r\n\r\n", "TLS"),
        ] {
            let seen = open(input);
            assert!(seen.contains(word) && seen.ends_with("<close bad-command>"), "{seen}");
            assert_eq!(seen.matches("\r\n").count(), 1, "{seen}");
        }
    }

    #[test]
    fn lines_and_bad_commands_have_a_limit() {
        let long = "x".repeat(70);
        assert!(open(format!("STAT {long}\r\n").as_bytes()).ends_with("<close line-too-long>"));
        assert_eq!(open(format!("USER {long}\r\n").as_bytes()), "+OK\r\n");
        let login = "x".repeat(210);
        for verb in ["USER ", "PASS ", "AUTH PLAIN ", "AUTH PLAIN\r\n"] {
            let seen = open(format!("{verb}{login}").as_bytes());
            assert!(seen.ends_with("<close line-too-long>"), "{verb} got {seen}");
        }
        let seen = open(&b"XYZ\r\n".repeat(11));
        assert!(seen.ends_with("too many bad commands (bad-command)\r\n<close bad-command>"));
    }

    #[test]
    fn what_follows_the_login_belongs_to_the_session() {
        let mut front = front(Stage::Open);
        front.feed(b"USER u\r\nPASS p\r\nSTAT\r\n");
        assert!(matches!(front.step(), Step::Send(_)));
        assert!(matches!(front.step(), Step::Login(_)));
        assert!(matches!(front.step(), Step::NeedInput), "nothing is read before the verdict");
        assert_eq!(front.accept(), b"STAT\r\n");
    }

    #[test]
    fn the_greeting_has_no_timestamp() {
        let mut front = Front::new(front(Stage::Open).setup, true);
        assert_eq!(play(&mut front, [&b""[..]]), "+OK gw KIM-Gateway\r\n");
    }

    proptest! {
        #[test]
        fn any_input_is_answered_the_same_however_it_is_cut(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "USER u\r\n", "PASS p\r\n", "AUTH PLAIN", " ", "AHUAcA==", "\r\n", "\n", "\r",
                    "*", "=", "QUIT\r\n", "CAPA\r\n", "STAT", "\0", "x", "\u{16}\u{3}",
                ]),
                0..24,
            ),
        ) {
            open(words.concat().as_bytes());
        }
    }
}

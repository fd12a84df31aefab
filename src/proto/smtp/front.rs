//! The server side of SMTP up to the login.

use zeroize::Zeroizing;

use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::front::{self, Incoming, Talk, is_http, split_verb};
pub use crate::proto::front::{Stage, Step};
use crate::proto::line::Fault;
use crate::proto::sasl::{self, Credentials, Invalid};
use crate::words::Reason;

/// What this front needs to know.
pub type Setup = front::Setup<SmtpCapabilities>;

/// Greets, answers what needs no client module, and collects a login.
pub struct Front {
    setup: Setup,
    talk: Talk,
    hello: Option<Hello>,
    exchange: Exchange,
}

struct Hello {
    name: String,
    is_extended: bool,
}

/// Where AUTH is; the next line belongs to it.
#[derive(Default)]
enum Exchange {
    #[default]
    None,
    Plain,
    LoginName,
    LoginPassword {
        user: Zeroizing<Vec<u8>>,
        initial: bool,
    },
}

impl Front {
    /// `greet` is false after STARTTLS, where the server does not speak first.
    pub fn new(setup: Setup, greet: bool) -> Self {
        let mut talk = Talk::new(&setup);
        if greet {
            talk.say(format!("220 {} ESMTP KIM-Gateway\r\n", setup.name));
        }
        Self { setup, talk, hello: None, exchange: Exchange::None }
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
            let expects_credentials = !matches!(self.exchange, Exchange::None);
            match self.talk.next(expects_credentials) {
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

    /// How the workstation named itself, as it typed it.
    pub fn ehlo_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| hello.name.as_str())
    }

    fn take(&mut self, incoming: Incoming) {
        let exchange = std::mem::take(&mut self.exchange);
        match incoming {
            Incoming::Line(line) => match exchange {
                Exchange::None => self.command(&line),
                Exchange::Plain | Exchange::LoginName | Exchange::LoginPassword { .. } => {
                    self.response(exchange, &line);
                }
            },
            Incoming::Faulty(Fault::BareLineFeed) => {
                self.complain("500 5.5.2 KIM-Gateway: lines end in CR LF (bad-command)\r\n");
            }
            Incoming::Faulty(Fault::BareCarriageReturn | Fault::Nul) => {
                self.complain(
                    "500 5.5.2 KIM-Gateway: stray CR or NUL in the line (bad-command)\r\n",
                );
            }
            Incoming::TooLong => self.talk.close(
                "500 5.5.2 KIM-Gateway: this line is too long (line-too-long)\r\n",
                Reason::LineTooLong,
            ),
            Incoming::ClientHello => self.talk.close(
                match self.setup.stage {
                    Stage::BeforeTls => {
                        "500 5.5.2 KIM-Gateway: TLS begins with STARTTLS here (bad-command)\r\n"
                    }
                    Stage::Open => {
                        "500 5.5.2 KIM-Gateway: this port is without TLS (bad-command)\r\n"
                    }
                },
                Reason::BadCommand,
            ),
        }
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, argument) = split_verb(line);
        let argument = argument.unwrap_or_default();
        let is_alone = argument.trim_ascii().is_empty();
        match verb.as_slice() {
            b"EHLO" | b"HELO" if is_alone => {
                self.complain("501 5.5.4 KIM-Gateway: this needs a name (bad-command)\r\n");
            }
            b"EHLO" => self.hello(argument, true),
            b"HELO" => self.hello(argument, false),
            b"RSET" | b"QUIT" | b"DATA" | b"STARTTLS" if !is_alone => {
                self.complain("501 5.5.4 KIM-Gateway: this takes no argument (bad-command)\r\n");
            }
            b"STARTTLS" => self.start_tls(),
            b"AUTH" => self.auth(argument),
            b"NOOP" | b"RSET" => self.talk.say("250 2.0.0 OK\r\n"),
            b"HELP" => self.talk.say("214 2.0.0 KIM-Gateway: log in with your KIM login name\r\n"),
            b"QUIT" => {
                self.talk.say(format!("221 2.0.0 {} KIM-Gateway\r\n", self.setup.name));
                self.talk.halt(Step::Quit);
            }
            b"MAIL" | b"RCPT" | b"DATA" => self.not_yet("530 5.7.0 KIM-Gateway: log in first"),
            verb if is_http(verb) => self.talk.close(
                "500 5.5.2 KIM-Gateway: this port is for SMTP and no web page (bad-command)\r\n",
                Reason::BadCommand,
            ),
            _ => self
                .complain("502 5.5.1 KIM-Gateway: this command is not carried (bad-command)\r\n"),
        }
    }

    fn hello(&mut self, name: &[u8], is_extended: bool) {
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        self.hello = Some(Hello { name, is_extended });
        let mut lines = vec![self.setup.name.as_str()];
        if is_extended {
            let is_open = self.setup.stage == Stage::Open;
            let offered = self.setup.capabilities.lines().iter().map(String::as_str);
            lines.extend(offered.filter(|line| is_open || !line.starts_with("AUTH ")));
            if !is_open {
                lines.push("STARTTLS");
            }
        }
        let last = lines.len() - 1;
        let mut reply = String::new();
        for (at, line) in lines.into_iter().enumerate() {
            reply.push_str(if at < last { "250-" } else { "250 " });
            reply.push_str(line);
            reply.push_str("\r\n");
        }
        self.talk.say(reply);
    }

    /// RFC 3207. What came with the command came in clear and would act after the handshake, where
    /// everybody believes it to be the workstation's (CVE-2011-0411).
    fn start_tls(&mut self) {
        match self.setup.stage {
            Stage::Open => {
                self.complain("502 5.5.1 KIM-Gateway: STARTTLS is not offered (bad-command)\r\n");
            }
            Stage::BeforeTls if self.talk.has_more() => self.talk.close(
                "501 5.5.4 KIM-Gateway: nothing may follow STARTTLS (bad-command)\r\n",
                Reason::BadCommand,
            ),
            Stage::BeforeTls => {
                self.talk.say("220 2.0.0 KIM-Gateway: ready for TLS\r\n");
                self.talk.halt(Step::StartTls);
            }
        }
    }

    /// RFC 4954 section 4.
    fn auth(&mut self, argument: &[u8]) {
        if self.setup.stage == Stage::BeforeTls {
            return self.not_yet("530 5.7.0 KIM-Gateway: no login before STARTTLS");
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.is_extended) {
            return self.complain("503 5.5.1 KIM-Gateway: send EHLO first (bad-command)\r\n");
        }
        let (mechanism, response) = split_verb(argument);
        let response = response.filter(|response| !response.is_empty());
        match (mechanism.as_slice(), response) {
            (b"PLAIN", Some(line)) => self.log_in(Credentials::plain(line, true)),
            (b"PLAIN", None) => self.challenge(Exchange::Plain, "334 \r\n"),
            (b"LOGIN", Some(line)) => self.login_name(line, true),
            (b"LOGIN", None) => self.challenge(Exchange::LoginName, "334 VXNlcm5hbWU6\r\n"),
            (b"", _) => {
                self.complain("501 5.5.4 KIM-Gateway: AUTH needs a mechanism (bad-command)\r\n");
            }
            _ => {
                self.complain("504 5.7.4 KIM-Gateway: PLAIN and LOGIN are known (bad-command)\r\n")
            }
        }
    }

    fn response(&mut self, exchange: Exchange, line: &[u8]) {
        if line == b"*" {
            return self.talk.say("501 5.7.0 KIM-Gateway: login cancelled\r\n");
        }
        match exchange {
            Exchange::None => {}
            Exchange::Plain => self.log_in(Credentials::plain(line, false)),
            Exchange::LoginName => self.login_name(line, false),
            Exchange::LoginPassword { user, initial } => {
                self.log_in(Credentials::two_lines(&user, line, initial));
            }
        }
    }

    fn login_name(&mut self, line: &[u8], initial: bool) {
        if let Err(invalid) = sasl::login_name(line, initial) {
            return self.log_in(Err(invalid));
        }
        let user = Zeroizing::new(line.to_vec());
        self.challenge(Exchange::LoginPassword { user, initial }, "334 UGFzc3dvcmQ6\r\n");
    }

    fn challenge(&mut self, exchange: Exchange, reply: &str) {
        self.exchange = exchange;
        self.talk.say(reply);
    }

    fn log_in(&mut self, credentials: Result<Credentials, Invalid>) {
        match credentials {
            Ok(credentials) => self.talk.halt(Step::Login(credentials)),
            Err(invalid) => self.complain(&format!(
                "501 5.5.2 KIM-Gateway: {invalid} ({})\r\n",
                Reason::BadCredentialsEncoding
            )),
        }
    }

    fn not_yet(&mut self, words: &str) {
        self.complain(&format!("{words} ({})\r\n", Reason::BadCommand));
    }

    fn complain(&mut self, reply: &str) {
        self.talk.complain(reply, "421 4.7.0 KIM-Gateway: too many bad commands (bad-command)\r\n");
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
        let capabilities = SmtpCapabilities::from_lines(["SIZE 100", "AUTH PLAIN LOGIN", "DSN"]);
        let name = String::from("gw");
        Front::new(Setup { name, stage, capabilities, login_line: 200, command_line: 60 }, false)
    }

    fn open(input: &str) -> String {
        play_however_cut(|| front(Stage::Open), input.as_bytes())
    }

    const EHLO: &str = "250-gw\r\n250-SIZE 100\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n";
    const AGAIN: &str = "<refused>";

    #[test]
    fn a_login_is_collected_in_each_mechanism() {
        let table = [
            ("AUTH PLAIN AHUAcA==\r\n", "<Plain { initial: true } u|p = AHUAcA==>"),
            ("auth plain AHUAcA\r\n", "<Plain { initial: true } u|p = AHUAcA>"),
            ("AUTH PLAIN\r\nAHUAcA==\r\n", "334 \r\n<Plain { initial: false } u|p = AHUAcA==>"),
            ("AUTH PLAIN \r\nAHUAcA==\r\n", "334 \r\n<Plain { initial: false } u|p = AHUAcA==>"),
            (
                "AUTH LOGIN\r\ndQ==\r\ncA==\r\n",
                "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n<Login { initial: false } u|p = dQ==|cA==>",
            ),
            (
                "AUTH LOGIN dQ\r\ncA\r\n",
                "334 UGFzc3dvcmQ6\r\n<Login { initial: true } u|p = dQ|cA>",
            ),
            ("AUTH LOGIN =\r\n\r\n", "334 UGFzc3dvcmQ6\r\n<Login { initial: true } | = =|>"),
        ];
        for (input, expected) in table {
            assert_eq!(open(&format!("EHLO pc\r\n{input}")), [EHLO, expected, AGAIN].concat());
        }
    }

    #[test]
    fn after_a_refusal_another_try_is_welcome() {
        let one = "<Plain { initial: true } u|p = AHUAcA==>";
        assert_eq!(
            open("EHLO pc\r\nAUTH PLAIN AHUAcA==\r\nAUTH PLAIN AHUAcA==\r\nQUIT\r\n"),
            [EHLO, one, AGAIN, one, AGAIN, "221 2.0.0 gw KIM-Gateway\r\n<quit>"].concat()
        );
    }

    #[test]
    fn a_login_that_cannot_be_read_is_told_so_and_the_connection_stays() {
        for bad in [
            "AUTH PLAIN !!!!\r\n",
            "AUTH PLAIN =\r\n",
            "AUTH PLAIN AHUAcA== x\r\n",
            "AUTH PLAIN dQBvAHA=\r\n",
            "AUTH LOGIN !\r\n",
        ] {
            let seen = open(&format!("EHLO pc\r\n{bad}NOOP\r\n"));
            assert!(seen.contains("501 5.5.2 KIM-Gateway: "), "{seen}");
            assert!(seen.ends_with("(bad-credentials-encoding)\r\n250 2.0.0 OK\r\n"), "{seen}");
        }
        let seen = open("EHLO pc\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN\r\nAHUA\ncA==\r\nNOOP\r\n");
        assert!(
            seen.contains("501 5.7.0 KIM-Gateway: login cancelled\r\n334 \r\n500 5.5.2"),
            "{seen}"
        );
    }

    #[test]
    fn commands_are_answered_here_before_the_login() {
        let table = [
            ("EHLO pc", EHLO),
            ("HELO pc", "250 gw\r\n"),
            ("EHLO", "501 5.5.4"),
            ("NOOP x", "250 2.0.0"),
            ("RSET", "250 2.0.0"),
            ("HELP", "214 2.0.0"),
            ("AUTH PLAIN AHUAcA==", "503 5.5.1"),
            ("MAIL FROM:<a@b>", "530 5.7.0"),
            ("RCPT TO:<a@b>", "530 5.7.0"),
            ("DATA", "530 5.7.0"),
            ("STARTTLS", "502 5.5.1"),
            ("VRFY a", "502 5.5.1"),
            ("BDAT 1 LAST", "502 5.5.1"),
            ("", "502 5.5.1"),
            ("NOOP\rQUIT", "500 5.5.2"),
            ("NOOP\0", "500 5.5.2"),
            ("NOOP\nNOOP", "500 5.5.2 KIM-Gateway: lines end in CR LF (bad-command)\r\n250 2.0.0"),
            ("\u{16}\u{4}", "502 5.5.1"),
            ("HELO pc\r\nAUTH PLAIN AHUAcA==", "250 gw\r\n503 5.5.1"),
            ("EHLO pc\r\nAUTH CRAM-MD5", &[EHLO, "504 5.7.4"].concat()),
            ("EHLO pc\r\nAUTH", &[EHLO, "501 5.5.4"].concat()),
        ];
        for (input, expected) in table {
            let seen = open(&format!("{input}\r\n"));
            assert!(seen.starts_with(expected), "{input:?} got {seen:?}");
            assert!(!seen.contains('<'), "{input:?} got {seen:?}");
        }
    }

    #[test]
    fn before_tls_no_login_is_announced_or_taken() {
        let before = || front(Stage::BeforeTls);
        assert_eq!(
            play_however_cut(before, b"EHLO pc\r\n"),
            "250-gw\r\n250-SIZE 100\r\n250-DSN\r\n250 STARTTLS\r\n"
        );
        let seen = play_however_cut(before, b"EHLO pc\r\nAUTH PLAIN AHUAcA==\r\n");
        assert!(
            seen.ends_with("530 5.7.0 KIM-Gateway: no login before STARTTLS (bad-command)\r\n")
        );
        assert_eq!(
            play_however_cut(before, b"STARTTLS\r\n"),
            "220 2.0.0 KIM-Gateway: ready for TLS\r\n<starttls>"
        );
        assert!(play_however_cut(before, b"STARTTLS x\r\n").starts_with("501 "));
    }

    #[test]
    fn nothing_may_follow_starttls() {
        for rest in ["\n", "EHLO pc\r\n", "\u{16}\u{3}\u{1}"] {
            let input = format!("STARTTLS\r\n{rest}");
            let seen = play(&mut front(Stage::BeforeTls), [input.as_bytes()]);
            assert!(seen.starts_with("501 ") && seen.ends_with("<close bad-command>"), "{seen}");
            assert!(!seen.contains("starttls>"), "{seen}");
        }
    }

    #[test]
    fn other_protocols_are_told_what_this_port_is() {
        for (input, word) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "web"),
            (b"POST /x HTTP/1.1\r\nMAIL FROM:<a@b>\r\n", "web"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\n", "TLS"),
        ] {
            let seen = play_however_cut(|| front(Stage::Open), input);
            assert!(seen.contains(word) && seen.ends_with("<close bad-command>"), "{seen}");
            assert_eq!(seen.matches("\r\n").count(), 1, "{seen}");
        }
    }

    #[test]
    fn lines_and_bad_commands_have_a_limit() {
        let long = "x".repeat(70);
        assert_eq!(
            open(&format!("NOOP {long}\r\nNOOP\r\n")),
            "500 5.5.2 KIM-Gateway: this line is too long (line-too-long)\r\n<close line-too-long>"
        );
        assert!(open(&format!("AUTH PLAIN {long}\r\n")).starts_with("503 "));
        let login = "x".repeat(210);
        assert!(open(&format!("AUTH PLAIN {login}")).ends_with("<close line-too-long>"));
        assert!(
            open(&format!("EHLO pc\r\nAUTH PLAIN\r\n{login}")).contains("<close line-too-long>")
        );
        let seen = open(&"XYZ\r\n".repeat(11));
        assert_eq!(seen.matches("502 5.5.1").count(), 10);
        assert!(seen.ends_with(
            "421 4.7.0 KIM-Gateway: too many bad commands (bad-command)\r\n<close bad-command>"
        ));
    }

    #[test]
    fn what_follows_the_login_belongs_to_the_session() {
        let mut front = front(Stage::Open);
        front.feed(b"EHLO  pc.local \r\nAUTH PLAIN AHUAcA==\r\nMAIL FROM:<a@b>\r\n");
        assert!(matches!(front.step(), Step::Send(_)));
        assert!(matches!(front.step(), Step::Login(_)));
        assert!(matches!(front.step(), Step::NeedInput), "nothing is read before the verdict");
        assert_eq!(front.ehlo_name(), Some("pc.local"));
        assert_eq!(front.accept(), b"MAIL FROM:<a@b>\r\n");
    }

    #[test]
    fn the_greeting_names_gateway_and_protocol() {
        let mut front = Front::new(front(Stage::Open).setup, true);
        assert_eq!(play(&mut front, [&b""[..]]), "220 gw ESMTP KIM-Gateway\r\n");
    }

    proptest! {
        #[test]
        fn any_input_is_answered_the_same_however_it_is_cut(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "EHLO pc\r\n", "AUTH PLAIN", "AUTH LOGIN", " ", "AHUAcA==", "\r\n", "\n", "\r",
                    "*", "=", "QUIT\r\n", "MAIL FROM:<a@b>\r\n", "NOOP", "\0", "x", "\u{16}\u{3}",
                ]),
                0..24,
            ),
        ) {
            open(&words.concat());
        }
    }
}

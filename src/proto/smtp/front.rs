//! The server side of SMTP up to the login.

use zeroize::Zeroizing;

use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::front::{Dialogue, FrontLines, is_http, split_verb};
pub use crate::proto::front::{FrontStep, Setup, Stage};
use crate::proto::refusal::Hint;
use crate::proto::sasl::{self, Credentials};

/// Greets, answers what needs no client module, and collects a login.
pub struct Front {
    setup: Setup,
    capabilities: SmtpCapabilities,
    lines: FrontLines,
    /// EHLO or HELO came. Old programs say HELO and log in all the same, and the client module is
    /// greeted with EHLO in any case.
    is_greeted: bool,
    exchange: Exchange,
    /// The reply to MAIL after a login that was refused and answered positively.
    refusal: Option<Vec<u8>>,
}

/// How far AUTH is. While it is open, the next line is its answer.
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
    /// `greet` is false after STARTTLS, where the server sends no second greeting.
    pub fn new(setup: Setup, capabilities: SmtpCapabilities, greet: bool) -> Self {
        let mut lines = FrontLines::new(&setup);
        if greet {
            lines.say(format!("220 {} ESMTP KIM-Gateway\r\n", setup.name));
        }
        let exchange = Exchange::None;
        Self { setup, capabilities, lines, is_greeted: false, exchange, refusal: None }
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, argument) = split_verb(line);
        let argument = argument.unwrap_or_default();
        let is_alone = argument.trim_ascii().is_empty();
        match verb.as_slice() {
            b"EHLO" | b"HELO" if is_alone => self.lines.refuse_bad_command(Hint::NeedName),
            b"EHLO" => self.hello(true),
            b"HELO" => self.hello(false),
            b"RSET" | b"QUIT" | b"DATA" | b"STARTTLS" if !is_alone => {
                self.lines.refuse_bad_command(Hint::NoArgument);
            }
            b"STARTTLS" => self.lines.start_tls("220 2.0.0 KIM-Gateway: ready for TLS\r\n"),
            b"AUTH" => self.auth(argument),
            b"NOOP" | b"RSET" => self.lines.say("250 2.0.0 OK\r\n"),
            b"HELP" => self.lines.say("214 2.0.0 KIM-Gateway: log in with your KIM login name\r\n"),
            b"QUIT" => {
                self.lines.say(format!("221 2.0.0 {} KIM-Gateway\r\n", self.setup.name));
                self.lines.halt(FrontStep::Quit);
            }
            b"MAIL" | b"RCPT" | b"DATA" if let Some(refusal) = &self.refusal => {
                self.lines.say(refusal.as_slice());
            }
            b"MAIL" | b"RCPT" | b"DATA" => self.lines.refuse_bad_command(Hint::NeedLogin),
            verb if is_http(verb) => self.lines.close(Hint::WebPage),
            _ => self.lines.refuse_bad_command(Hint::NotCarried),
        }
    }

    fn hello(&mut self, is_extended: bool) {
        self.is_greeted = true;
        let mut offer = vec![self.setup.name.as_str()];
        if is_extended {
            let is_open = self.setup.stage == Stage::Open;
            let capabilities = self.capabilities.lines().iter().map(String::as_str);
            offer.extend(capabilities.filter(|line| is_open || !line.starts_with("AUTH ")));
            if !is_open {
                offer.push("STARTTLS");
            }
        }
        let last = offer.len() - 1;
        let mut reply = String::new();
        for (at, line) in offer.into_iter().enumerate() {
            reply.push_str(if at < last { "250-" } else { "250 " });
            reply.push_str(line);
            reply.push_str("\r\n");
        }
        self.lines.say(reply);
    }

    /// RFC 4954 section 4.
    fn auth(&mut self, argument: &[u8]) {
        if self.setup.stage == Stage::BeforeTls {
            return self.lines.refuse_bad_command(Hint::NeedTls);
        }
        if !self.is_greeted {
            return self.lines.refuse_bad_command(Hint::NeedEhlo);
        }
        self.refusal = None;
        let (mechanism, response) = split_verb(argument);
        let response = response.filter(|response| !response.is_empty());
        match (mechanism.as_slice(), response) {
            (b"PLAIN", Some(line)) => self.lines.log_in(Credentials::plain(line, true)),
            (b"PLAIN", None) => self.challenge(Exchange::Plain, "334 \r\n"),
            (b"LOGIN", Some(line)) => self.login_name(line, true),
            (b"LOGIN", None) => self.challenge(Exchange::LoginName, "334 VXNlcm5hbWU6\r\n"),
            (b"", _) => self.lines.refuse_bad_command(Hint::NeedMechanism),
            _ => self.lines.refuse_bad_command(Hint::UnknownMechanism),
        }
    }

    fn response(&mut self, exchange: Exchange, line: &[u8]) {
        if line == b"*" {
            return self.lines.refuse(Hint::Cancelled);
        }
        match exchange {
            Exchange::None => {}
            Exchange::Plain => self.lines.log_in(Credentials::plain(line, false)),
            Exchange::LoginName => self.login_name(line, false),
            Exchange::LoginPassword { user, initial } => {
                self.lines.log_in(Credentials::two_lines(&user, line, initial));
            }
        }
    }

    /// The password is asked for only if the owner says so.
    fn login_name(&mut self, line: &[u8], initial: bool) {
        match sasl::login_name(line, initial) {
            Ok(name) => {
                self.exchange =
                    Exchange::LoginPassword { user: Zeroizing::new(line.to_vec()), initial };
                self.lines.ask_about(name);
            }
            Err(invalid) => self.lines.log_in(Err(invalid)),
        }
    }

    fn challenge(&mut self, exchange: Exchange, reply: &str) {
        self.exchange = exchange;
        self.lines.say(reply);
    }
}

impl Dialogue for Front {
    fn lines(&mut self) -> &mut FrontLines {
        &mut self.lines
    }

    fn expects_credentials(&self) -> bool {
        !matches!(self.exchange, Exchange::None)
    }

    fn take(&mut self, line: &[u8]) {
        match std::mem::take(&mut self.exchange) {
            Exchange::None => self.command(line),
            exchange @ (Exchange::Plain | Exchange::LoginName | Exchange::LoginPassword { .. }) => {
                self.response(exchange, line);
            }
        }
    }

    fn forget_login(&mut self) {
        self.exchange = Exchange::None;
    }

    fn ask_password(&mut self) {
        self.lines.say("334 UGFzc3dvcmQ6\r\n");
    }

    fn refused(&mut self, _reply: &[u8]) {
        self.exchange = Exchange::None;
    }

    fn refused_later(&mut self, reply: &[u8]) {
        self.refusal = Some(reply.to_vec());
        self.lines.say("235 2.7.0 OK\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::front::Front as _;
    use crate::proto::front::testing::{play, play_however_cut};

    fn front(stage: Stage) -> Front {
        let capabilities = SmtpCapabilities::from_lines(["SIZE 100", "AUTH PLAIN LOGIN", "DSN"]);
        let name = String::from("gw");
        let setup = Setup { name, stage, login_line: 200, command_line: 60 };
        Front::new(setup, capabilities, false)
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
    fn a_login_may_follow_helo() {
        assert_eq!(
            open("HELO pc\r\nAUTH LOGIN\r\ndQ==\r\ncA==\r\n"),
            "250 gw\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n\
             <Login { initial: false } u|p = dQ==|cA==><refused>"
        );
    }

    #[test]
    fn a_name_that_is_refused_asks_for_no_password() {
        for (input, challenge) in [
            ("AUTH LOGIN\r\ndW53YW50ZWQ=\r\n", "334 VXNlcm5hbWU6\r\n"),
            ("AUTH LOGIN dW53YW50ZWQ=\r\n", ""),
        ] {
            let seen = open(&format!("EHLO pc\r\n{input}AUTH PLAIN AHUAcA==\r\n"));
            let next = "<Plain { initial: true } u|p = AHUAcA==>";
            assert_eq!(seen, [EHLO, challenge, AGAIN, next, AGAIN].concat());
            // A password that comes all the same is no command, and is not repeated.
            let seen = open(&format!("EHLO pc\r\n{input}Z2VoZWlt\r\n"));
            assert_eq!(seen, [EHLO, challenge, AGAIN, "[NotCarried]"].concat());
        }
    }

    #[test]
    fn a_refusal_that_is_told_later_is_the_reply_to_every_mail() {
        let mut front = front(Stage::Open);
        let seen = play(&mut front, [&b"EHLO pc\r\nAUTH PLAIN AHUAcA==\r\n"[..]]);
        assert!(seen.ends_with(AGAIN), "{seen}");
        front.feed(b"AUTH PLAIN AHUAcA==\r\n");
        assert!(matches!(front.step(), FrontStep::Login(_)));
        front.refuse_later(b"550 no\r\n");
        let input = &b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nRSET\r\nMAIL FROM:<a@b>\r\n"[..];
        let refused = "235 2.7.0 OK\r\n550 no\r\n550 no\r\n550 no\r\n250 2.0.0 OK\r\n550 no\r\n";
        assert_eq!(play(&mut front, [input]), refused);
        // A new login is a new decision.
        let again = &b"AUTH PLAIN\r\n*\r\nMAIL FROM:<a@b>\r\n"[..];
        assert_eq!(play(&mut front, [again]), "334 \r\n[Cancelled][NeedLogin]");
    }

    #[test]
    fn after_a_refusal_the_workstation_may_try_again() {
        let one = "<Plain { initial: true } u|p = AHUAcA==>";
        assert_eq!(
            open("EHLO pc\r\nAUTH PLAIN AHUAcA==\r\nAUTH PLAIN AHUAcA==\r\nQUIT\r\n"),
            [EHLO, one, AGAIN, one, AGAIN, "221 2.0.0 gw KIM-Gateway\r\n<quit>"].concat()
        );
    }

    #[test]
    fn a_login_that_cannot_be_read_is_refused_and_the_connection_stays() {
        for (bad, hint) in [
            ("AUTH PLAIN !!!!\r\n", "NotBase64"),
            ("AUTH PLAIN =\r\n", "NotPlain"),
            ("AUTH PLAIN AHUAcA== x\r\n", "NotBase64"),
            ("AUTH PLAIN dQBvAHA=\r\n", "ActsForAnother"),
            ("AUTH PLAIN AHUKAHA=\r\n", "ControlCharacters"),
            ("AUTH LOGIN !\r\n", "NotBase64"),
        ] {
            let seen = open(&format!("EHLO pc\r\n{bad}NOOP\r\n"));
            assert_eq!(seen, format!("{EHLO}[Credentials({hint})]250 2.0.0 OK\r\n"), "{bad}");
        }
        let seen = open("EHLO pc\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN\r\nAHUA\ncA==\r\nNOOP\r\n");
        let cancelled = "334 VXNlcm5hbWU6\r\n[Cancelled]334 \r\n[LineEnd]";
        assert_eq!(seen, format!("{EHLO}{cancelled}[NotCarried]250 2.0.0 OK\r\n"));
    }

    #[test]
    fn a_cancelled_login_is_no_bad_command() {
        let seen = open(&format!("EHLO pc\r\n{}", "AUTH PLAIN\r\n*\r\n".repeat(12)));
        assert_eq!(seen.matches("[Cancelled]").count(), 12, "{seen}");
    }

    #[test]
    fn commands_are_answered_here_before_the_login() {
        let table = [
            ("EHLO pc", EHLO),
            ("HELO pc", "250 gw\r\n"),
            ("EHLO", "[NeedName]"),
            ("HELO ", "[NeedName]"),
            ("RSET x", "[NoArgument]"),
            ("NOOP x", "250 2.0.0"),
            ("RSET", "250 2.0.0"),
            ("HELP", "214 2.0.0"),
            ("AUTH PLAIN AHUAcA==", "[NeedEhlo]"),
            ("MAIL FROM:<a@b>", "[NeedLogin]"),
            ("RCPT TO:<a@b>", "[NeedLogin]"),
            ("DATA", "[NeedLogin]"),
            ("STARTTLS", "[TlsNotOffered]"),
            ("VRFY a", "[NotCarried]"),
            ("BDAT 1 LAST", "[NotCarried]"),
            ("", "[NotCarried]"),
            ("NOOP\rQUIT", "[StrayByte]"),
            ("NOOP\0", "[StrayByte]"),
            ("NOOP\nNOOP", "[LineEnd]250 2.0.0"),
            ("\u{16}\u{4}", "[NotCarried]"),
            ("EHLO pc\r\nAUTH CRAM-MD5", &[EHLO, "[UnknownMechanism]"].concat()),
            ("EHLO pc\r\nAUTH", &[EHLO, "[NeedMechanism]"].concat()),
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
        assert!(seen.ends_with("\r\n[NeedTls]"), "{seen}");
        assert_eq!(
            play_however_cut(before, b"STARTTLS\r\n"),
            "220 2.0.0 KIM-Gateway: ready for TLS\r\n<starttls>"
        );
        assert_eq!(play_however_cut(before, b"STARTTLS x\r\n"), "[NoArgument]");
    }

    #[test]
    fn nothing_may_follow_starttls() {
        for rest in ["\n", "EHLO pc\r\n", "\u{16}\u{3}\u{1}"] {
            let input = format!("STARTTLS\r\n{rest}");
            let seen = play(&mut front(Stage::BeforeTls), [input.as_bytes()]);
            assert_eq!(seen, "<close BytesAfterStartTls>");
        }
    }

    #[test]
    fn other_protocols_are_told_what_this_port_is() {
        let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\n";
        for (stage, input, expected) in [
            (Stage::Open, &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "<close WebPage>"),
            (Stage::Open, b"POST /x HTTP/1.1\r\nMAIL FROM:<a@b>\r\n", "<close WebPage>"),
            (Stage::Open, tls, "<close PortWithoutTls>"),
            (Stage::BeforeTls, tls, "<close TlsTooEarly>"),
        ] {
            assert_eq!(play_however_cut(|| front(stage), input), expected);
        }
    }

    #[test]
    fn lines_and_bad_commands_have_a_limit() {
        let long = "x".repeat(70);
        assert_eq!(open(&format!("NOOP {long}\r\nNOOP\r\n")), "<close LineTooLong>");
        assert_eq!(open(&format!("AUTH PLAIN {long}\r\n")), "[NeedEhlo]");
        let login = "x".repeat(210);
        assert_eq!(open(&format!("AUTH PLAIN {login}")), "<close LineTooLong>");
        let seen = open(&format!("EHLO pc\r\nAUTH PLAIN\r\n{login}"));
        assert_eq!(seen, format!("{EHLO}334 \r\n<close LineTooLong>"));
        let seen = open(&"XYZ\r\n".repeat(11));
        assert_eq!(seen, format!("{}<close TooManyBadCommands>", "[NotCarried]".repeat(10)));
    }

    #[test]
    fn what_follows_the_login_belongs_to_the_session() {
        let mut front = Box::new(front(Stage::Open));
        front.feed(b"EHLO  pc.local \r\nAUTH PLAIN AHUAcA==\r\nMAIL FROM:<a@b>\r\n");
        assert!(matches!(front.step(), FrontStep::Send(_)));
        assert!(matches!(front.step(), FrontStep::Login(_)));
        assert!(matches!(front.step(), FrontStep::NeedInput), "nothing is read before the verdict");
        assert_eq!(front.accept(), b"MAIL FROM:<a@b>\r\n");
    }

    #[test]
    fn the_greeting_names_gateway_and_protocol() {
        let Front { setup, capabilities, .. } = front(Stage::Open);
        let mut front = Front::new(setup, capabilities, true);
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

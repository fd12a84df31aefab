//! The server side of POP3 up to the login.

use zeroize::Zeroizing;

use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::front::{Dialogue, FrontLines, is_http, split_verb};
pub use crate::proto::front::{FrontStep, Setup, Stage};
use crate::proto::refusal::Hint;
use crate::proto::sasl::{self, Credentials};
use crate::secret::Secret;

/// Greets, answers what needs no client module, and collects a login.
pub struct Front {
    setup: Setup,
    capabilities: Pop3Capabilities,
    lines: FrontLines,
    exchange: Exchange,
}

/// Where the login is.
#[derive(Default)]
enum Exchange {
    #[default]
    None,
    /// USER came, and the owner is asked about it.
    Asked(Name),
    /// USER was answered positively, and PASS is due.
    Named(Name),
    /// USER was refused with this reply, and so is PASS: it may have been sent together with USER.
    Refused(Vec<u8>),
    /// AUTH PLAIN came, and the next line is its answer.
    Plain,
    /// AUTH LOGIN came, and the next line is the login.
    LoginName,
    LoginPassword {
        user: Zeroizing<Vec<u8>>,
        initial: bool,
    },
}

type Name = Zeroizing<Vec<u8>>;

impl Front {
    /// `greet` is false after STLS, where the server sends no second greeting.
    ///
    /// The greeting has no timestamp in angle brackets: a timestamp offers APOP, and its digest is
    /// of no use to a client module, which needs the password itself.
    pub fn new(setup: Setup, capabilities: Pop3Capabilities, greet: bool) -> Self {
        let mut lines = FrontLines::new(&setup);
        if greet {
            lines.say(format!("+OK {} KIM-Gateway\r\n", setup.name));
        }
        Self { setup, capabilities, lines, exchange: Exchange::None }
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, argument) = split_verb(line);
        match (verb.as_slice(), argument) {
            (b"USER" | b"PASS" | b"AUTH", _) if self.setup.stage == Stage::BeforeTls => {
                self.lines.refuse_bad_command(Hint::NeedTls);
            }
            (b"USER", user) => self.user(user.unwrap_or_default()),
            (b"PASS", Some(password)) => self.pass(password),
            (b"PASS", None) => self.lines.refuse_bad_command(Hint::NeedArgument),
            (b"AUTH", argument) => self.auth(argument.unwrap_or_default()),
            (b"CAPA", argument) if is_blank(argument) => self.capa(),
            (b"STLS", argument) if is_blank(argument) => {
                self.lines.start_tls("+OK KIM-Gateway: ready for TLS\r\n")
            }
            (b"QUIT", argument) if is_blank(argument) => {
                self.lines.say(format!("+OK {} KIM-Gateway\r\n", self.setup.name));
                self.lines.halt(FrontStep::Quit);
            }
            (verb, _) if is_http(verb) => self.lines.close(Hint::WebPage),
            _ => self.lines.refuse_bad_command(Hint::NeedLogin),
        }
    }

    /// A name holds until another USER, an AUTH with a mechanism, or STLS. Mail programs send CAPA,
    /// NOOP and more between USER and PASS.
    ///
    /// Everything after the first blank is the name, further blanks included: a MandantId may be
    /// "Praxis Dr. Mustermann".
    fn user(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.exchange = Exchange::None;
            return self.lines.refuse_bad_command(Hint::NeedArgument);
        }
        self.exchange = Exchange::Asked(Zeroizing::new(name.to_vec()));
        self.lines.ask_about(Secret::new(name.to_vec()));
    }

    fn pass(&mut self, password: &[u8]) {
        match &self.exchange {
            Exchange::Named(user) => self.lines.log_in(Credentials::user_pass(user, password)),
            Exchange::Refused(reply) => self.lines.say(reply.as_slice()),
            Exchange::None
            | Exchange::Asked(_)
            | Exchange::Plain
            | Exchange::LoginName
            | Exchange::LoginPassword { .. } => self.lines.refuse_bad_command(Hint::NeedUser),
        }
    }

    /// RFC 5034 section 4. Without an argument it lists the mechanisms, as servers did before that RFC.
    fn auth(&mut self, argument: &[u8]) {
        let (mechanism, response) = split_verb(argument);
        if !mechanism.is_empty() {
            self.exchange = Exchange::None;
        }
        let response = response.filter(|response| !response.is_empty());
        // The login goes on in its own mechanism, so LOGIN is of use where the client module knows it.
        let has_login = self.capabilities.offers_mechanism("LOGIN");
        match (mechanism.as_slice(), response) {
            (b"", _) if has_login => self.lines.say("+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"),
            (b"", _) => self.lines.say("+OK\r\nPLAIN\r\n.\r\n"),
            (b"PLAIN", Some(line)) => self.lines.log_in(Credentials::plain(line, true)),
            (b"PLAIN", None) => self.challenge(Exchange::Plain, "+ \r\n"),
            (b"LOGIN", Some(line)) if has_login => self.login_name(line, true),
            (b"LOGIN", None) if has_login => {
                self.challenge(Exchange::LoginName, "+ VXNlcm5hbWU6\r\n");
            }
            _ => self.lines.refuse_bad_command(Hint::UnknownMechanism),
        }
    }

    fn response(&mut self, exchange: Exchange, line: &[u8]) {
        match exchange {
            _ if line == b"*" => self.lines.refuse(Hint::Cancelled),
            Exchange::Plain => self.lines.log_in(Credentials::plain(line, false)),
            Exchange::LoginName => self.login_name(line, false),
            Exchange::LoginPassword { user, initial } => {
                self.lines.log_in(Credentials::two_lines(&user, line, initial));
            }
            Exchange::None | Exchange::Asked(_) | Exchange::Named(_) | Exchange::Refused(_) => {}
        }
    }

    /// The password is asked for only if the owner says so.
    fn login_name(&mut self, line: &[u8], initial: bool) {
        match sasl::login_name(line, initial) {
            Ok(name) => {
                let user = Zeroizing::new(line.to_vec());
                self.exchange = Exchange::LoginPassword { user, initial };
                self.lines.ask_about(name);
            }
            Err(invalid) => self.lines.log_in(Err(invalid)),
        }
    }

    fn challenge(&mut self, exchange: Exchange, reply: &str) {
        self.exchange = exchange;
        self.lines.say(reply);
    }

    /// RFC 2449. RESP-CODES is always announced, because kimgate's own refusals use them.
    fn capa(&mut self) {
        let is_open = self.setup.stage == Stage::Open;
        let mut reply = String::from("+OK\r\n");
        let is_login = |line: &str| line.eq_ignore_ascii_case("USER") || line.starts_with("SASL ");
        for line in self.capabilities.lines() {
            if is_open || !is_login(line) {
                reply.push_str(line);
                reply.push_str("\r\n");
            }
        }
        if !self.capabilities.offers("RESP-CODES") {
            reply.push_str("RESP-CODES\r\n");
        }
        if !is_open {
            reply.push_str("STLS\r\n");
        }
        reply.push_str(".\r\n");
        self.lines.say(reply);
    }
}

/// Whether no argument follows a command, only blanks.
fn is_blank(argument: Option<&[u8]>) -> bool {
    argument.is_none_or(|argument| argument.trim_ascii().is_empty())
}

impl Dialogue for Front {
    fn lines(&mut self) -> &mut FrontLines {
        &mut self.lines
    }

    fn expects_credentials(&self) -> bool {
        match self.exchange {
            Exchange::None | Exchange::Asked(_) | Exchange::Named(_) | Exchange::Refused(_) => {
                false
            }
            Exchange::Plain | Exchange::LoginName | Exchange::LoginPassword { .. } => true,
        }
    }

    fn take(&mut self, line: &[u8]) {
        if !self.expects_credentials() {
            return self.command(line);
        }
        let exchange = std::mem::take(&mut self.exchange);
        self.response(exchange, line);
    }

    fn forget_login(&mut self) {
        self.exchange = Exchange::None;
    }

    fn ask_password(&mut self) {
        if let Exchange::LoginPassword { .. } = self.exchange {
            return self.lines.say("+ UGFzc3dvcmQ6\r\n");
        }
        if let Exchange::Asked(name) = std::mem::take(&mut self.exchange) {
            self.exchange = Exchange::Named(name);
        }
        self.lines.say("+OK\r\n");
    }

    fn refused(&mut self, reply: &[u8]) {
        match self.exchange {
            Exchange::Asked(_) => self.exchange = Exchange::Refused(reply.to_vec()),
            // PASS was refused, and its name still holds.
            Exchange::Named(_) => {}
            Exchange::None
            | Exchange::Refused(_)
            | Exchange::Plain
            | Exchange::LoginName
            | Exchange::LoginPassword { .. } => self.exchange = Exchange::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::front::Front as _;
    use crate::proto::front::testing::{play, play_however_cut};

    fn front(stage: Stage) -> Front {
        let capabilities = Pop3Capabilities::conservative();
        let name = String::from("gw");
        let setup = Setup { name, stage, login_line: 200, command_line: 60 };
        Front::new(setup, capabilities, false)
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
                "+ \r\n[Cancelled]+OK\r\n<UserPass u|p = u|p>",
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
    fn auth_login_is_taken_where_the_client_module_offers_it() {
        let front = |offer: &str| {
            let capabilities = Pop3Capabilities::from_lines(["TOP", offer]);
            let name = String::from("gw");
            let setup = Setup { name, stage: Stage::Open, login_line: 200, command_line: 60 };
            Front::new(setup, capabilities, false)
        };
        let (name, password) = ("+ VXNlcm5hbWU6\r\n", "+ UGFzc3dvcmQ6\r\n");
        for (input, expected) in [
            ("CAPA\r\n", "+OK\r\nTOP\r\nSASL LOGIN PLAIN\r\nRESP-CODES\r\n.\r\n".to_owned()),
            ("AUTH\r\n", "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n".to_owned()),
            (
                "AUTH LOGIN\r\ndQ==\r\ncA==\r\n",
                format!("{name}{password}<Login {{ initial: false }} u|p = dQ==|cA==><refused>"),
            ),
            (
                "auth login dQ\r\ncA\r\n",
                format!("{password}<Login {{ initial: true }} u|p = dQ|cA><refused>"),
            ),
            ("AUTH LOGIN\r\n*\r\n", format!("{name}[Cancelled]")),
            ("AUTH LOGIN dQ\r\n*\r\n", format!("{password}[Cancelled]")),
            ("AUTH LOGIN !\r\n", "[Credentials(NotBase64)]".to_owned()),
            ("AUTH LOGIN\r\ndW53YW50ZWQ=\r\nPASS p\r\n", format!("{name}<refused>[NeedUser]")),
            ("AUTH LOGIN dW53YW50ZWQ=\r\n", "<refused>".to_owned()),
        ] {
            let front = || front("SASL LOGIN PLAIN");
            assert_eq!(play_however_cut(front, input.as_bytes()), expected, "{input}");
        }
        let seen = play_however_cut(|| front("SASL PLAIN"), b"AUTH LOGIN\r\nAUTH LOGIN dQ\r\n");
        assert_eq!(seen, "[UnknownMechanism][UnknownMechanism]");
    }

    #[test]
    fn a_name_is_forgotten_only_by_another_user_an_auth_or_a_line_that_cannot_be_read() {
        let login = "<UserPass u|p = u|p>";
        for (between, keeps) in [
            ("CAPA\r\n", true),
            ("NOOP\r\n", true),
            ("XYZZY 1\r\n", true),
            ("\r\n", true),
            ("STAT\r\nLIST\r\nRSET\r\n", true),
            ("AUTH\r\n", true),
            ("STLS\r\n", true), // not offered, so it changes nothing
            ("PASS\r\n", true),
            ("PASS wrong\r\n", true),
            ("USER\r\n", false),
            ("USER \r\n", false),
            ("USER other\r\n", false),
            ("USER unwanted\r\n", false),
            ("AUTH PLAIN\r\n*\r\n", false),
            ("AUTH PLAIN !\r\n", false),
            ("AUTH CRAM-MD5\r\n", false),
            ("CAPA\n\r\n", false),
        ] {
            let seen = open(format!("USER u\r\n{between}PASS p\r\n").as_bytes());
            assert_eq!(
                seen.ends_with(&format!("{login}<refused>")),
                keeps,
                "{between:?} got {seen}"
            );
        }
    }

    #[test]
    fn a_name_that_is_refused_asks_for_no_password() {
        let pipelined = open(b"USER unwanted\r\nPASS p\r\nNOOP\r\nPASS p\r\n");
        assert_eq!(
            pipelined, "<refused><refused>[NeedLogin]<refused>",
            "no login reaches the owner"
        );
        let again = open(b"USER unwanted\r\nUSER u\r\nPASS p\r\n");
        assert_eq!(again, "<refused>+OK\r\n<UserPass u|p = u|p><refused>");
        let plain = open(b"USER unwanted\r\nAUTH PLAIN AHUAcA==\r\nPASS p\r\n");
        assert_eq!(plain, "<refused><Plain { initial: true } u|p = AHUAcA==><refused>[NeedUser]");
    }

    #[test]
    fn commands_are_answered_here_before_the_login() {
        let table: [(&[u8], &str); 21] = [
            (b"CAPA", "+OK\r\nTOP\r\nUSER\r\nUIDL\r\nSASL PLAIN\r\nRESP-CODES\r\n.\r\n"),
            (b"AUTH", "+OK\r\nPLAIN\r\n.\r\n"),
            (b"AUTH CRAM-MD5", "[UnknownMechanism]"),
            (b"CAPA ", "+OK\r\nTOP\r\n"),
            (b"CAPA  \t", "+OK\r\nTOP\r\n"),
            (b"STLS  ", "[TlsNotOffered]"),
            (b"AUTH PLAIN !", "[Credentials(NotBase64)]"),
            (b"AUTH PLAIN\r\nx y", "+ \r\n[Credentials(NotBase64)]"),
            (b"NOOP", "[NeedLogin]"),
            (b"STAT", "[NeedLogin]"),
            (b"RETR 1", "[NeedLogin]"),
            (b"STLS", "[TlsNotOffered]"),
            (b"APOP u 0123456789abcdef0123456789abcdef", "[NeedLogin]"),
            (b"USER", "[NeedArgument]"),
            (b"USER ", "[NeedArgument]"),
            (b"PASS p", "[NeedUser]"),
            (b"USER u\r\nPASS", "+OK\r\n[NeedArgument]"),
            (b"", "[NeedLogin]"),
            (b"USER u\n", "[LineEnd]"),
            (b"USER u\rx", "[StrayByte]"),
            (b"USER u\0x", "[StrayByte]"),
        ];
        for (input, expected) in table {
            let seen = open(&[input, b"\r\n"].concat());
            assert!(seen.starts_with(expected), "{} got {seen:?}", input.escape_ascii());
            assert!(!seen.contains('<'), "{} got {seen:?}", input.escape_ascii());
        }
        for quit in ["QUIT", "QUIT ", "quit  "] {
            let seen = open(format!("{quit}\r\nUSER u\r\n").as_bytes());
            assert_eq!(seen, "+OK gw KIM-Gateway\r\n<quit>", "{quit:?}");
        }
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
            assert_eq!(seen, "[NeedTls]");
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
            assert_eq!(seen, "<close BytesAfterStartTls>");
        }
    }

    #[test]
    fn other_protocols_are_told_what_this_port_is() {
        let tls = b"\x16\x03\x03\x00\x10\r\n\r\n";
        for (stage, input, expected) in [
            (Stage::Open, &b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "<close WebPage>"),
            (Stage::Open, tls, "<close PortWithoutTls>"),
            (Stage::BeforeTls, tls, "<close TlsTooEarly>"),
        ] {
            assert_eq!(play_however_cut(|| front(stage), input), expected);
        }
    }

    #[test]
    fn lines_and_bad_commands_have_a_limit() {
        let long = "x".repeat(70);
        assert_eq!(open(format!("STAT {long}\r\n").as_bytes()), "<close LineTooLong>");
        assert_eq!(open(format!("USER {long}\r\n").as_bytes()), "+OK\r\n");
        let login = "x".repeat(210);
        for verb in ["USER ", "PASS ", "AUTH PLAIN ", "AUTH PLAIN\r\n"] {
            let seen = open(format!("{verb}{login}").as_bytes());
            assert!(seen.ends_with("<close LineTooLong>"), "{verb} got {seen}");
        }
        let seen = open(&b"XYZ\r\n".repeat(11));
        assert_eq!(seen, format!("{}<close TooManyBadCommands>", "[NeedLogin]".repeat(10)));
    }

    #[test]
    fn what_follows_the_login_belongs_to_the_session() {
        let mut front = Box::new(front(Stage::Open));
        front.feed(b"USER u\r\nPASS p\r\nSTAT\r\n");
        assert!(matches!(front.step(), FrontStep::Named(_)));
        assert!(matches!(front.step(), FrontStep::NeedInput), "nothing is read before the verdict");
        crate::proto::front::Front::ask_password(&mut *front);
        assert!(matches!(front.step(), FrontStep::Send(_)));
        assert!(matches!(front.step(), FrontStep::Login(_)));
        assert!(matches!(front.step(), FrontStep::NeedInput), "nothing is read before the verdict");
        assert_eq!(front.accept(), b"STAT\r\n");
    }

    #[test]
    fn the_greeting_has_no_timestamp() {
        let Front { setup, capabilities, .. } = front(Stage::Open);
        let mut front = Front::new(setup, capabilities, true);
        assert_eq!(play(&mut front, [&b""[..]]), "+OK gw KIM-Gateway\r\n");
    }

    proptest! {
        #[test]
        fn any_input_is_answered_the_same_however_it_is_cut(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "USER u\r\n", "USER unwanted\r\n", "PASS p\r\n", "AUTH PLAIN", " ", "AHUAcA==", "\r\n", "\n", "\r",
                    "*", "=", "QUIT\r\n", "CAPA\r\n", "STAT", "\0", "x", "\u{16}\u{3}",
                ]),
                0..24,
            ),
        ) {
            open(words.concat().as_bytes());
        }
    }
}

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
                    Stage::Open => "-ERR KIM-Gateway: no TLS inside this (bad-command)\r\n",
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

//! What the server sides of both protocols have in common, up to the login.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::inbox::Inbox;
use super::line::{Fault, Framed, Line, next_line};
use super::refusal::Hint;
use super::sasl::{Credentials, Invalid};
use crate::secret::Secret;

/// How many bad commands are answered; the next one ends the connection. A mail program does not
/// send so many. A scanner does, and so does a web page that posts to a mail port.
const BAD_COMMANDS: u32 = 10;
/// The beginnings of lines with credentials.
const LOGIN_VERBS: [&[u8]; 3] = [b"AUTH ", b"USER ", b"PASS "];
const HTTP_VERBS: [&[u8]; 9] =
    [b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE"];

/// The server side of a dialogue: greets, answers what needs no client module, and collects a login.
pub trait Front: Send {
    /// Takes in what came; call it after [`FrontStep::NeedInput`].
    fn feed(&mut self, bytes: &[u8]);

    /// What to do next.
    ///
    /// After [`FrontStep::Named`] call `ask_password` or `refuse`, after [`FrontStep::Login`] `accept`
    /// or `refuse`. After [`FrontStep::StartTls`], [`FrontStep::Quit`] and [`FrontStep::Close`] this
    /// front is no longer of use.
    fn step(&mut self) -> FrontStep;

    /// The login that was named may go on.
    fn ask_password(&mut self);

    /// The login was refused. Sends this reply, and the workstation may try again.
    fn refuse(&mut self, reply: &[u8]);

    /// As `refuse`, but an SMTP front answers the login positively, and this is its reply to MAIL. A
    /// mail program may show that and not the other. Nobody is logged in.
    fn refuse_later(&mut self, reply: &[u8]);

    /// The login was accepted; the owner sends the reply. Gives the bytes that the workstation sent
    /// after its login: the session begins with them.
    fn accept(self: Box<Self>) -> Vec<u8>;
}

/// What a front needs to know, beside the capabilities that it announces.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The gateway's name, for greetings.
    pub name: String,
    /// Whether a login is accepted yet.
    pub stage: Stage,
    /// How many bytes a line with credentials may have, its CRLF included.
    pub login_line: usize,
    /// How many bytes any other line may have, its CRLF included.
    pub command_line: usize,
}

/// How far the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TLS is up, or the listener is a plain one on loopback.
    Open,
    /// Before the handshake on a STARTTLS or STLS listener. A login is not announced and refused.
    BeforeTls,
}

/// What the owner of a front has to do next.
#[derive(Debug)]
pub enum FrontStep {
    /// Read, and feed what came.
    NeedInput,
    /// Write this.
    Send(Vec<u8>),
    /// Write the refusal that this hint stands for. The dialogue goes on.
    Refuse(Hint),
    /// Write the refusal that this hint stands for, and end the connection.
    Close(Hint),
    /// Do the TLS handshake. The positive answer was sent before.
    StartTls,
    /// Decide whether this login, as far as it is named, may go on; its password comes next. Then call
    /// `ask_password` or `refuse`. A mail program that is refused here shows the reply. After the
    /// password it would take any refusal for a wrong password.
    Named(Secret<Vec<u8>>),
    /// Decide about the login, and then call `refuse` or `accept`.
    Login(Credentials),
    /// End the connection. QUIT was answered before.
    Quit,
}

/// What one protocol adds to the lines that both have in common.
pub(super) trait Dialogue: Send {
    fn lines(&mut self) -> &mut FrontLines;

    /// Whether the next line answers a challenge, so it may be as long as a line with credentials.
    fn expects_credentials(&self) -> bool;

    /// Executes a line without its CRLF.
    fn take(&mut self, line: &[u8]);

    /// Forgets a login that has begun.
    fn forget_login(&mut self);

    /// Answers [`FrontStep::Named`]: the password may come.
    fn ask_password(&mut self);

    /// A login was refused with this reply.
    fn refused(&mut self, reply: &[u8]);

    /// A login was refused; answers it, and uses this reply later where that is possible.
    fn refused_later(&mut self, reply: &[u8]) {
        self.refused(reply);
        self.lines().say(reply);
    }
}

impl<D: Dialogue> Front for D {
    fn feed(&mut self, bytes: &[u8]) {
        self.lines().inbox.push(bytes);
    }

    fn step(&mut self) -> FrontStep {
        loop {
            if let Some(step) = self.lines().due() {
                return step;
            }
            let expects_credentials = self.expects_credentials();
            match self.lines().next(expects_credentials) {
                None => return FrontStep::NeedInput,
                Some(Incoming::Line(line)) => self.take(&line),
                Some(Incoming::Faulty(fault)) => {
                    self.forget_login();
                    self.lines().refuse_bad_command(fault.into());
                }
                Some(Incoming::TooLong) => self.lines().close(Hint::LineTooLong),
                Some(Incoming::ClientHello) => {
                    let hint = match self.lines().stage {
                        Stage::BeforeTls => Hint::TlsTooEarly,
                        Stage::Open => Hint::PortWithoutTls,
                    };
                    self.lines().close(hint);
                }
            }
        }
    }

    fn ask_password(&mut self) {
        Dialogue::ask_password(self);
        self.lines().is_halted = false;
    }

    fn refuse(&mut self, reply: &[u8]) {
        self.refused(reply);
        self.lines().say(reply);
        self.lines().is_halted = false;
    }

    fn refuse_later(&mut self, reply: &[u8]) {
        self.refused_later(reply);
        self.lines().is_halted = false;
    }

    fn accept(mut self: Box<Self>) -> Vec<u8> {
        self.lines().inbox.take()
    }
}

/// The lines that come in and the steps that are due, for either protocol.
pub(super) struct FrontLines {
    inbox: Inbox,
    due: VecDeque<FrontStep>,
    stage: Stage,
    login_line: usize,
    command_line: usize,
    /// Nothing was read yet, so the bytes may be of another protocol.
    is_first: bool,
    /// A verdict, a handshake or the end comes next. Until then no line is read.
    is_halted: bool,
    bad_commands: u32,
}

/// What came in.
enum Incoming {
    /// A line without its CRLF. It may hold a password.
    Line(Zeroizing<Vec<u8>>),
    /// A line that must not be executed.
    Faulty(Fault),
    /// The limit has passed without a line end, so it is not known where the next line begins.
    TooLong,
    /// The workstation begins with TLS.
    ClientHello,
}

impl FrontLines {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            inbox: Inbox::default(),
            due: VecDeque::new(),
            stage: setup.stage,
            login_line: setup.login_line,
            command_line: setup.command_line,
            is_first: true,
            is_halted: false,
            bad_commands: 0,
        }
    }

    /// The step that is due before the next line is read.
    fn due(&mut self) -> Option<FrontStep> {
        self.due.pop_front().or(self.is_halted.then_some(FrontStep::NeedInput))
    }

    /// The next line. `expects_credentials`: it answers a challenge, so it may be as long as a
    /// line with credentials.
    fn next(&mut self, expects_credentials: bool) -> Option<Incoming> {
        let bytes = self.inbox.bytes();
        // A TLS record of type handshake (RFC 8446 section 5.1); no command begins like this.
        if self.is_first && bytes.starts_with(&[0x16, 0x03]) {
            return Some(Incoming::ClientHello);
        }
        let has_credentials = expects_credentials || LOGIN_VERBS.iter().any(|v| begins(bytes, v));
        let limit = if has_credentials { self.login_line } else { self.command_line };
        let (consumed, incoming) = match next_line(bytes, limit) {
            Framed::Incomplete => return None,
            Framed::TooLong => return Some(Incoming::TooLong),
            Framed::Faulty { consumed, fault } => (consumed, Incoming::Faulty(fault)),
            Framed::Line(Line { text, wire }) => {
                (wire, Incoming::Line(Zeroizing::new(text.to_vec())))
            }
        };
        self.inbox.consume(consumed);
        self.is_first = false;
        Some(incoming)
    }

    pub(super) fn say(&mut self, reply: impl Into<Vec<u8>>) {
        self.due.push_back(FrontStep::Send(reply.into()));
    }

    /// Refuses something that is not a bad command and is not counted as one.
    pub(super) fn refuse(&mut self, hint: Hint) {
        self.due.push_back(FrontStep::Refuse(hint));
    }

    /// Refuses a bad command. After too many of them the connection ends.
    pub(super) fn refuse_bad_command(&mut self, hint: Hint) {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS {
            self.close(Hint::TooManyBadCommands);
        } else {
            self.refuse(hint);
        }
    }

    pub(super) fn close(&mut self, hint: Hint) {
        self.halt(FrontStep::Close(hint));
    }

    /// Answers STARTTLS (RFC 3207) or STLS (RFC 2595 section 4), positively with this reply.
    ///
    /// Bytes that came with the command came in plain text. After the handshake they would be
    /// executed as if the workstation had sent them through TLS (CVE-2011-0411).
    pub(super) fn start_tls(&mut self, reply: &str) {
        match self.stage {
            Stage::Open => self.refuse_bad_command(Hint::TlsNotOffered),
            Stage::BeforeTls if !self.inbox.bytes().is_empty() => {
                self.close(Hint::BytesAfterStartTls);
            }
            Stage::BeforeTls => {
                self.say(reply);
                self.halt(FrontStep::StartTls);
            }
        }
    }

    /// Asks the owner about a login that was named.
    pub(super) fn ask_about(&mut self, name: Secret<Vec<u8>>) {
        self.halt(FrontStep::Named(name));
    }

    /// Hands a login to the owner, or refuses one that cannot be read.
    pub(super) fn log_in(&mut self, credentials: Result<Credentials, Invalid>) {
        match credentials {
            Ok(credentials) => self.halt(FrontStep::Login(credentials)),
            Err(invalid) => self.refuse_bad_command(Hint::Credentials(invalid)),
        }
    }

    /// After this step no line is read until the owner has answered.
    pub(super) fn halt(&mut self, step: FrontStep) {
        self.due.push_back(step);
        self.is_halted = true;
    }
}

/// The first word in capitals, and what follows the first blank.
pub(super) fn split_verb(line: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    match memchr::memchr(b' ', line) {
        Some(at) => (line[..at].to_ascii_uppercase(), Some(&line[at + 1..])),
        None => (line.to_ascii_uppercase(), None),
    }
}

/// Whether this is a verb of HTTP. A web page can make a browser send text to any port, and its
/// lines must not be executed as commands.
pub(super) fn is_http(verb: &[u8]) -> bool {
    HTTP_VERBS.contains(&verb)
}

fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// Feeds lines to a front and writes down its steps.
#[cfg(test)]
pub(super) mod testing {
    use super::{Front, FrontStep};

    /// A login that is refused as soon as it is named.
    pub(in crate::proto) const UNWANTED: &[u8] = b"unwanted";

    /// What it answers, in square brackets what it refuses, and in angle brackets what it asks its
    /// owner to do. Logins are refused, [`UNWANTED`] before its password.
    pub(in crate::proto) fn play<'a>(
        machine: &mut impl Front,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> String {
        let mut seen = String::new();
        let mut pieces = pieces.into_iter();
        loop {
            match machine.step() {
                FrontStep::Send(bytes) => seen.push_str(&String::from_utf8(bytes).unwrap()),
                FrontStep::Refuse(hint) => seen.push_str(&format!("[{hint:?}]")),
                FrontStep::StartTls => seen.push_str("<starttls>"),
                FrontStep::Quit => seen.push_str("<quit>"),
                FrontStep::Close(hint) => seen.push_str(&format!("<close {hint:?}>")),
                FrontStep::Named(name) if name.expose() == UNWANTED => machine.refuse(b"<refused>"),
                FrontStep::Named(_) => machine.ask_password(),
                FrontStep::Login(credentials) => {
                    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
                    let wire: Vec<_> =
                        credentials.wire().iter().map(|line| shown(line.expose())).collect();
                    seen.push_str(&format!(
                        "<{:?} {}|{} = {}>",
                        credentials.mechanism,
                        shown(credentials.login()),
                        shown(credentials.password().expose()),
                        wire.join("|"),
                    ));
                    machine.refuse(b"<refused>");
                }
                FrontStep::NeedInput => match pieces.next() {
                    Some(piece) => machine.feed(piece),
                    None => return seen,
                },
            }
        }
    }

    /// The same, for the whole input and for every cut of it.
    pub(in crate::proto) fn play_however_cut<M: Front>(
        machine: impl Fn() -> M,
        input: &[u8],
    ) -> String {
        let whole = play(&mut machine(), [input]);
        for cut in 0..=input.len() {
            let parts = play(&mut machine(), [&input[..cut], &input[cut..]]);
            assert_eq!(parts, whole, "{} cut at {cut}", input.escape_ascii());
        }
        assert_eq!(play(&mut machine(), input.chunks(1)), whole, "{}", input.escape_ascii());
        whole
    }
}

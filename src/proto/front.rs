//! What both server sides up to the login have in common.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::inbox::Inbox;
use super::line::{Fault, Framed, next_line};
use super::sasl::Credentials;
use crate::words::Reason;

/// Bad commands that are answered; the next one ends the connection. A mail program has no reason
/// for so many, a scanner and a web page that posts to a mail port have.
const BAD_COMMANDS: u32 = 10;
/// The words that begin a line with credentials in it.
const LOGIN_VERBS: [&[u8]; 3] = [b"AUTH ", b"USER ", b"PASS "];
const HTTP_VERBS: [&[u8]; 9] =
    [b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE"];

/// What a front needs to know.
#[derive(Clone, Debug)]
pub struct Setup<C> {
    /// Of the gateway, for greetings.
    pub name: String,
    /// Whether a login may be sent.
    pub stage: Stage,
    /// What is announced.
    pub capabilities: C,
    /// Octets of a line with credentials, CRLF included.
    pub login_line: usize,
    /// Octets of any other line, CRLF included.
    pub command_line: usize,
}

/// How far the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TLS is up, or the listener is a plain one on loopback.
    Open,
    /// Before the handshake of a STARTTLS or STLS listener: no login here, and none announced.
    BeforeTls,
}

/// What the owner of a front has to do next.
#[derive(Debug)]
pub enum Step {
    /// Read, and feed what came.
    NeedInput,
    /// Write this.
    Send(Vec<u8>),
    /// Shake hands now; the positive answer was sent.
    StartTls,
    /// Decide, and then `refuse` or `accept`.
    Login(Credentials),
    /// The workstation said goodbye, and so did the front.
    Quit,
    /// End the connection; the reply, if there is one, was sent.
    Close(Reason),
}

/// The lines that come and the steps that are due, for either protocol.
pub(super) struct Talk {
    inbox: Inbox,
    due: VecDeque<Step>,
    login_line: usize,
    command_line: usize,
    /// Nothing was read yet, so this may still be another protocol altogether.
    is_first: bool,
    /// A verdict, a handshake or the end is due, and no line is read before.
    is_halted: bool,
    bad_commands: u32,
}

/// What came.
pub(super) enum Incoming {
    /// Without its CRLF; perhaps with a password in it.
    Line(Zeroizing<Vec<u8>>),
    /// A line that is not to be executed.
    Faulty(Fault),
    /// The limit is passed, so nobody knows where the next line begins.
    TooLong,
    /// The workstation begins with TLS.
    ClientHello,
}

impl Talk {
    pub(super) fn new<C>(setup: &Setup<C>) -> Self {
        Self {
            inbox: Inbox::default(),
            due: VecDeque::new(),
            login_line: setup.login_line,
            command_line: setup.command_line,
            is_first: true,
            is_halted: false,
            bad_commands: 0,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// The step that is due before anything else is read.
    pub(super) fn due(&mut self) -> Option<Step> {
        self.due.pop_front().or(self.is_halted.then_some(Step::NeedInput))
    }

    /// The next line; `expects_credentials` where a challenge is open.
    pub(super) fn next(&mut self, expects_credentials: bool) -> Option<Incoming> {
        let bytes = self.inbox.bytes();
        // A TLS record of type handshake (RFC 8446 section 5.1); no command begins so.
        if self.is_first && bytes.starts_with(&[0x16, 0x03]) {
            return Some(Incoming::ClientHello);
        }
        let has_credentials = expects_credentials || LOGIN_VERBS.iter().any(|v| begins(bytes, v));
        let limit = if has_credentials { self.login_line } else { self.command_line };
        let (consumed, incoming) = match next_line(bytes, limit) {
            Framed::Incomplete => return None,
            Framed::TooLong => return Some(Incoming::TooLong),
            Framed::Faulty { consumed, fault } => (consumed, Incoming::Faulty(fault)),
            Framed::Line(line) => (line.len() + 2, Incoming::Line(Zeroizing::new(line.to_vec()))),
        };
        self.inbox.consume(consumed);
        self.is_first = false;
        Some(incoming)
    }

    /// Whether bytes are waiting that came with the last line.
    pub(super) fn has_more(&self) -> bool {
        !self.inbox.bytes().is_empty()
    }

    pub(super) fn say(&mut self, reply: impl Into<Vec<u8>>) {
        self.due.push_back(Step::Send(reply.into()));
    }

    /// Says this once more, or `last` and ends the connection.
    pub(super) fn complain(&mut self, reply: &str, last: &str) {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS {
            self.close(last, Reason::BadCommand);
        } else {
            self.say(reply);
        }
    }

    pub(super) fn close(&mut self, reply: &str, reason: Reason) {
        self.say(reply);
        self.halt(Step::Close(reason));
    }

    /// After this step, nothing is read until `resume`.
    pub(super) fn halt(&mut self, step: Step) {
        self.due.push_back(step);
        self.is_halted = true;
    }

    pub(super) fn resume(&mut self) {
        self.is_halted = false;
    }

    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.inbox.take()
    }
}

/// The first word in capitals, and what follows its blank.
pub(super) fn split_verb(line: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    match memchr::memchr(b' ', line) {
        Some(at) => (line[..at].to_ascii_uppercase(), Some(&line[at + 1..])),
        None => (line.to_ascii_uppercase(), None),
    }
}

/// A web page can make a browser send its bytes to any port; they must not be tried as commands.
pub(super) fn is_http(verb: &[u8]) -> bool {
    HTTP_VERBS.contains(&verb)
}

fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// Plays lines to a front and writes down what it does.
#[cfg(test)]
pub(super) mod testing {
    use super::Step;

    pub(in crate::proto) trait Machine {
        fn feed(&mut self, bytes: &[u8]);
        fn step(&mut self) -> Step;
        fn refuse(&mut self, reply: &[u8]);
    }

    /// What it answers, and in angle brackets what it asks its owner to do. Logins are refused.
    pub(in crate::proto) fn play<'a>(
        machine: &mut impl Machine,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> String {
        let mut seen = String::new();
        let mut pieces = pieces.into_iter();
        loop {
            match machine.step() {
                Step::Send(bytes) => seen.push_str(&String::from_utf8(bytes).unwrap()),
                Step::StartTls => seen.push_str("<starttls>"),
                Step::Quit => seen.push_str("<quit>"),
                Step::Close(reason) => seen.push_str(&format!("<close {reason}>")),
                Step::Login(credentials) => {
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
                Step::NeedInput => match pieces.next() {
                    Some(piece) => machine.feed(piece),
                    None => return seen,
                },
            }
        }
    }

    /// The same, and held against every cut of the input.
    pub(in crate::proto) fn play_however_cut<M: Machine>(
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

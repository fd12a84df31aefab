//! What both relay machines have in common: after the login, the owner of both connections shows
//! the machine what is unread, and does what the machine says.
//!
//! A machine never sees a socket, a clock or a rule. Bytes that go on are named by number and stay
//! where they were read. A question about a rule goes out as a value, and so its answer comes back.

mod next_command;

pub(in crate::proto) use next_command::{Next, NextCommand, broken_silence, is_goodbye};

use super::header::HeaderReader;
use super::refusal::Hint;
use crate::words::{CloseReason, Reason};

/// A session after its login, one command at a time.
///
/// The owner calls `step` again and again. It carries out each step completely before it asks for
/// the next one, and reports what came of it.
pub trait Relay {
    /// What is to be done next.
    fn step(&mut self, seen: Seen<'_>, report: StepReport) -> Step<'_>;

    /// What was passed on of an answer that never became complete. The owner asks once, when the session
    /// is over, for whatever reason.
    fn unfinished(&self) -> Option<Fact<'_>> {
        None
    }
}

/// What came of the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepReport {
    /// It was carried out. Also before the first step.
    Done,
    /// The answer to [`Step::Ask`].
    Verdict(Verdict),
    /// The answer to [`Question::Fetched`] or [`Question::Delete`] takes the message's UID: ask the client
    /// module for it, and then the owner once more.
    NeedUid(UidDue),
    /// The answer to [`Step::AskOffer`]: the capabilities that a listener announces now, a line each.
    Offer(Vec<String>),
    /// The limit of a [`Step::Wait`] has passed.
    Late,
    /// What the step wanted to send to this side, or an earlier step, cannot be sent: the side has
    /// gone, or it took nothing for too long, or it spoke where it had to listen.
    Unwritable(Side),
}

impl StepReport {
    pub(in crate::proto) fn verdict(&self) -> Option<Verdict> {
        if let Self::Verdict(verdict) = self { Some(*verdict) } else { None }
    }

    pub(in crate::proto) fn offer(&self) -> Option<&[String]> {
        if let Self::Offer(lines) = self { Some(lines) } else { None }
    }
}

/// What the machine is shown at each step.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What the session was configured to do. A reload may change it between two commands.
    pub settings: &'a Settings,
    /// Everything that the workstation has sent and that was neither forwarded nor skipped yet.
    pub workstation: Unread<'a>,
    /// The same of the client module.
    pub client_module: Unread<'a>,
}

/// The two sides of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The mail program.
    Workstation,
    /// The server.
    ClientModule,
}

/// How a side stopped sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEof {
    /// It closed its sending half: FIN, under TLS announced by close_notify. It may still read.
    Clean,
    /// It vanished: a reset, or under TLS an end without close_notify.
    Cut,
}

/// What a side has sent and the machine has not used yet.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'a> {
    /// All of it, from the first unused byte on.
    pub bytes: &'a [u8],
    /// Whether nothing will follow.
    pub eof: Option<PeerEof>,
}

/// What the owner has to do next.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Wait until a side has sent more or has ended, or until the limit passes. Everything that was
    /// said or forwarded has to be on its way before.
    Wait {
        /// What is expected of the workstation.
        workstation: Attention,
        /// What is expected of the client module.
        client_module: Attention,
        /// How long.
        limit: Limit,
    },
    /// Take in what the client module has sent up to now, without waiting.
    Poll,
    /// Pass on the first unread bytes of that side, as they are.
    Forward {
        /// Whose bytes.
        from: Side,
        /// How many.
        bytes: usize,
    },
    /// Drop the first unread bytes of that side.
    Skip {
        /// Whose bytes.
        from: Side,
        /// How many.
        bytes: usize,
    },
    /// Send this to that side.
    Say {
        /// To whom.
        to: Side,
        /// Whole lines.
        words: &'a [u8],
    },
    /// Refuse the command. The owner words the reply, in the configured language.
    Refuse(Refusal<'a>),
    /// Decide, and report the verdict.
    Ask(Question<'a>),
    /// StepReport what a listener announces now.
    AskOffer,
    /// Something happened that the owner records.
    Note(Fact<'a>),
    /// The session is over.
    End(Teardown),
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// It is no command that kimgate could carry out.
    Command(Hint),
    /// A rule or a limit is against it.
    Rule {
        /// Which.
        reason: Reason,
        /// The address or service that was refused; empty where there is none.
        about: &'a str,
    },
}

/// How closely a wait listens to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Not at all: it may send as much as its connection holds.
    Ignore,
    /// Read as far as there is room, and notice when it ends.
    Watch,
    /// More is needed to go on, so make room for it. The machine's limits bound how much.
    Need,
}

/// Which of the owner's time limits holds for a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Between two commands: from the first of these waits in a row to the whole command line.
    Idle,
    /// Each byte from either side starts it anew.
    Stall,
    /// Each byte from the client module starts it anew. The workstation does not have to be there.
    Answer,
}

/// What the machine cannot decide.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// A whole command is here: may the session still go on? Refused, it ends with that reason.
    Command,
    /// May it send with this sender? Empty: the null sender.
    Sender(&'a str),
    /// May it send to this recipient?
    Recipient(&'a str),
    /// May it send this service? Asked for each service that the header block names, and first of all
    /// where the header block may name others that kimgate does not find.
    Service(Service<'a>),
    /// May the header block name this author? Asked for From, and for Sender where there is one.
    Author(Author<'a>),
    /// May it delete this message?
    Delete {
        /// Its number in this session.
        number: u32,
        /// What the client module calls it.
        uid: Uid<'a>,
    },
    /// A message is here, and its end was not passed on yet. No is no answer to it: the owner takes
    /// note of how the message came.
    Fetched {
        /// Its number in this session.
        number: u32,
        /// It was asked for with RETR.
        is_whole: bool,
        /// The [fields](super::pop3::answer::HEADER_FIELDS) of its header block.
        header: &'a HeaderReader,
        /// What the client module calls it.
        uid: Uid<'a>,
    },
}

/// What a client module calls a message, in every session (RFC 1939 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uid<'a> {
    /// It was not asked.
    Unasked,
    /// It was asked and did not say.
    Unknown,
    /// This.
    Is(&'a str),
}

/// When a UID has to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UidDue {
    /// Before anything else goes on.
    Now,
    /// When the answer that is under way was passed on.
    AfterAnswer,
}

/// A value of X-KIM-Dienstkennung in a message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service<'a> {
    /// As it stands in the header block.
    Named(&'a str),
    /// The header block names none.
    Missing,
    /// A limit kept the header block from being read as a whole, so it may name any.
    Unread,
    /// The header block has a line that is no header field. Another reader may take it for any.
    Malformed,
}

/// Who a message that is sent says it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author<'a> {
    /// `From` or `Sender`.
    pub field: &'static str,
    /// Its address; `None`: it does not name exactly one.
    pub address: Option<&'a str>,
}

/// The answer to a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Pass,
    /// It may not.
    Refuse(Reason),
}

/// What happened, without any content.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// POP3: RETR or TOP goes to the client module next.
    RetrieveAsked,
    /// POP3: the first bytes of the message have come.
    RetrieveBegan,
    /// POP3: a message was passed on, or a part of it before the session broke off.
    Received {
        /// Its number in this session.
        number: u32,
        /// Bytes on the wire, without the line that ends it.
        bytes: u64,
        /// The whole message was passed on.
        is_complete: bool,
        /// The [fields](super::pop3::answer::HEADER_FIELDS) of its header block.
        header: &'a HeaderReader,
    },
    /// POP3: the answer to TOP was passed on, or a part of it before the session broke off.
    Previewed {
        /// The message's number in this session.
        number: u32,
        /// Bytes on the wire that came after the empty line of the header block, without the line that
        /// ends the answer.
        bytes: u64,
        /// The whole answer was passed on.
        is_complete: bool,
        /// As in [`Fact::Received`].
        header: &'a HeaderReader,
    },
    /// POP3: the client module accepted a DELE.
    Deleted {
        /// The message's number in this session.
        number: u32,
    },
    /// SMTP: the workstation asked to send a message.
    SendBegan,
    /// SMTP: the line that ends the message goes to the client module next.
    SendEnded,
    /// SMTP: the client module answered the whole message, or was lost before it did.
    Sent {
        /// Bytes of the message on the wire, without the line that ends it.
        bytes: u64,
        /// Its header block as far as it was read.
        header: &'a HeaderReader,
        /// How many the client module had accepted.
        recipients: u32,
        /// Whether the answer was a 2yz; `Err`: there was none, so the message's fate is unknown.
        accepted: Result<bool, Reason>,
        /// So many unread bytes of the client module are its answer.
        reply: usize,
        /// Names of what kimgate added to header block and envelope.
        added: &'a [&'static str],
    },
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Teardown {
    /// Why, which also says how each connection is closed.
    pub why: Why,
    /// So many unread bytes of the client module are its last answer. They go out in one packet
    /// with the end of the workstation's connection.
    pub farewell: usize,
    /// The client module has a part of a message and must not take it for a whole one, so its
    /// connection is reset.
    pub is_unfinished: bool,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// QUIT was answered. Both connections are closed properly.
    Quit,
    /// The workstation closed its connection between two commands. The client module gets no QUIT,
    /// so it commits no deletion (RFC 1939 section 6).
    Left,
    /// The workstation vanished in the middle of something. Both connections are reset.
    Vanished,
    /// kimgate ends the session, and tells the workstation why.
    Refused(Reason),
    /// kimgate ends the session, and the workstation has its reply already.
    Replied(Reason),
    /// It ends in the middle of an answer or a message. Both connections are reset, so neither side
    /// takes what it has for complete.
    Broken(Reason),
}

impl Teardown {
    /// An end for this reason, with nothing left to send.
    pub fn new(why: Why) -> Self {
        Self { why, farewell: 0, is_unfinished: false }
    }

    /// kimgate ends the session and says why.
    pub fn refused(reason: Reason) -> Self {
        Self::new(Why::Refused(reason))
    }

    /// The word for audit line and metric.
    pub fn close(&self) -> CloseReason {
        match self.why {
            Why::Quit | Why::Left => CloseReason::Ok,
            Why::Vanished => CloseReason::ClientLeft,
            Why::Refused(reason) | Why::Replied(reason) | Why::Broken(reason) => reason.into(),
        }
    }
}

/// What a session was configured to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The gateway's name, for the answer to EHLO.
    pub name: String,
    /// Bytes of a command line, CRLF included.
    pub command_line: usize,
    /// Bytes of a message's header block that are read.
    pub header: usize,
    /// Bytes of a message that is sent; 0: no limit.
    pub message: u64,
    /// X-KIM-Middleware is added to messages that are sent.
    pub middleware_header: bool,
    /// NOTIFY is added to recipients that come without, where the client module offers DSN.
    pub delivery_receipts: bool,
    /// Disposition-Notification-To is added where the sender set none.
    pub read_receipts: bool,
}

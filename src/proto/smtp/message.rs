//! A message on its way to the client module. Its header block is judged before the client module
//! sees DATA. Then it is passed on, byte for byte, up to an end that no server can read differently.

use super::relay::{GOODBYE, Transaction, is_no_answer, reply};
use super::reply::Reply;
use crate::proto::dot::{DotScan, END};
use crate::proto::header::HeaderReader;
use crate::proto::mailbox::only_address;
use crate::proto::relay::{
    Attention, Author, Fact, Limit, PeerEof, Question, Refusal, Seen, Service, Side, Step,
    StepReport, Teardown, Verdict, Why, broken_silence,
};
use crate::words::Reason;

const EMPTY_LINE: &[u8] = b"\r\n";
const GO_AHEAD: &[u8] = b"354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n";

const SERVICE: &str = "X-KIM-Dienstkennung";
const READ_RECEIPT: &str = "Disposition-Notification-To";
const MESSAGE_ID: &str = "Message-ID";
const FROM: &str = "From";
const SENDER: &str = "Sender";
const MIDDLEWARE: &str = "X-KIM-Middleware";

/// What is read of a message that is sent.
const HEADER_FIELDS: &[&str] = &[SERVICE, READ_RECEIPT, MESSAGE_ID, FROM, SENDER];
/// What no rule asks about. These may repeat without end.
const NOTICED_FIELDS: &[&str] =
    &[MIDDLEWARE, "X-KIM-Sendersystem", "X-KIM-Support", "X-TI-User-Agent"];

/// From DATA to the answer.
pub(super) struct Message {
    state: State,
    transaction: Transaction,
    account: String,
    intake: Intake,
    /// Header lines that kimgate adds.
    lines: Vec<u8>,
    /// Names of what kimgate adds.
    added: Vec<&'static str>,
    /// The client module has accepted DATA and has not got the final line.
    is_unfinished: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// The workstation is told to send.
    GoAhead,
    /// More of the header block is needed.
    Header,
    /// The owner was asked the question of this number.
    Judge(usize),
    /// The header block may be sent. The client module was polled.
    BeforeData,
    /// The client module has DATA.
    AwaitDataReply,
    /// The client module accepted DATA.
    AddHeader,
    /// The header block was passed on up to the place where kimgate's lines stand.
    SayHeader,
    /// The message is passed on.
    Body,
    /// All but the final line was passed on. The client module was polled.
    BeforeFinalLine,
    /// The final line goes to the client module.
    FinalLine,
    /// The client module has the whole message.
    AwaitReply,
    /// This reply to the whole message was noted.
    Answered(Reply),
    /// The message is read to its true end, so that nothing of it is taken for a command.
    Discard(AfterDiscard),
    Over(Over),
}

/// [`Outcome`], with the refused service by its number.
#[derive(Clone, Copy)]
enum Over {
    Done,
    Reset,
    Refused(usize, Reason),
    End(Teardown),
}

/// What follows a message that was read and not passed on.
#[derive(Clone, Copy)]
enum AfterDiscard {
    /// The answer to the question of this number is no.
    Judged(usize, Reason),
    /// The message is refused, and the session ends: a mail program that sends such a message has
    /// no other that is wanted.
    Refuse(Reason),
    /// The client module did not listen to the end.
    Fail(Reason),
    /// The client module answered DATA with this reply instead of 354.
    DataRefused(Reply),
}

/// How the session goes on after the message.
#[derive(Clone)]
pub(super) enum Outcome {
    /// With the next command.
    Done,
    /// With a RSET of kimgate's own.
    Reset,
    /// With a RSET of kimgate's own, and then with the refusal of what the message names: a service or
    /// an author.
    Refused { about: String, reason: Reason },
    /// Not at all.
    End(Teardown),
}

impl Message {
    /// A message of this transaction. So many bytes of its header block are read. `account` is asked
    /// for read receipts.
    pub(super) fn new(transaction: Transaction, header_limit: usize, account: &str) -> Self {
        Self {
            state: State::GoAhead,
            transaction,
            account: account.into(),
            intake: Intake::new(header_limit),
            lines: Vec::new(),
            added: Vec::new(),
            is_unfinished: false,
        }
    }

    /// What follows, as soon as there is nothing left to do for the message.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if let State::Over(over) = self.state {
            Some(match over {
                Over::Done => Outcome::Done,
                Over::Reset => Outcome::Reset,
                Over::Refused(number, reason) => {
                    Outcome::Refused { about: self.about(number), reason }
                }
                Over::End(teardown) => Outcome::End(teardown),
            })
        } else {
            None
        }
    }

    /// What the question of this number is about, as a text for the workstation's user.
    fn about(&self, number: usize) -> String {
        if let Some(Question::Author(Author { field, address })) = self.question(number) {
            return format!("{field}: {}", address.unwrap_or("?"));
        }
        match self.service(number) {
            Some(Service::Named(name)) => name.into(),
            // What a client module writes in (gemSpec_CM_KOMLE A_19488).
            Some(Service::Missing) | None => "KIM-Mail;Default;V1.0".into(),
            Some(Service::Unread | Service::Malformed) => "\u{2026}".into(),
        }
    }

    /// What is to be done next. Not to be called once there is an outcome.
    pub(super) fn step(&mut self, seen: Seen<'_>, report: &StepReport) -> Step<'_> {
        if let StepReport::Unwritable(side) = report {
            return self.unwritable(*side, seen);
        }
        if *report == StepReport::Late {
            return self.late();
        }
        match self.state {
            State::GoAhead => {
                self.state = State::Header;
                Step::Say { to: Side::Workstation, words: GO_AHEAD }
            }
            State::Header => self.read_header(seen),
            State::Judge(number) => match report.verdict() {
                None => self.judge(number),
                Some(Verdict::Pass) => self.judge(number + 1),
                Some(Verdict::Refuse(reason)) => {
                    self.discard(AfterDiscard::Judged(number, reason), seen)
                }
            },
            State::BeforeData => match broken_silence(GOODBYE, seen.client_module) {
                Some(reason) => self.end(Why::Refused(reason)),
                None => {
                    self.state = State::AwaitDataReply;
                    Step::Say { to: Side::ClientModule, words: b"DATA\r\n" }
                }
            },
            State::AwaitDataReply => self.await_data_reply(seen),
            State::AddHeader => self.add_header(seen),
            State::SayHeader => {
                self.state = State::Body;
                Step::Say { to: Side::ClientModule, words: &self.lines }
            }
            State::Body => self.pass_on(seen),
            State::BeforeFinalLine => match broken_silence(GOODBYE, seen.client_module) {
                Some(reason) => self.fail(seen, reason),
                None => {
                    self.state = State::FinalLine;
                    Step::Note(Fact::SendEnded)
                }
            },
            State::FinalLine => {
                (self.state, self.is_unfinished) = (State::AwaitReply, false);
                Step::Forward { from: Side::Workstation, bytes: self.intake.take_rest() }
            }
            State::AwaitReply => self.await_reply(seen),
            State::Answered(reply) => self.answer(reply),
            State::Discard(after) => self.discard(after, seen),
            State::Over(Over::End(teardown)) => Step::End(teardown),
            State::Over(Over::Done | Over::Reset | Over::Refused(..)) => Step::Poll,
        }
    }

    fn late(&mut self) -> Step<'_> {
        if matches!(self.state, State::AwaitReply) {
            return self.no_reply(Reason::ClientModuleUnreachable);
        }
        let is_asked = matches!(self.state, State::AwaitDataReply);
        self.end(match is_asked {
            true => Why::Refused(Reason::ClientModuleUnreachable),
            false => Why::Broken(Reason::Timeout),
        })
    }

    fn unwritable(&mut self, side: Side, seen: Seen<'_>) -> Step<'_> {
        if side == Side::Workstation {
            return self.end(Why::Vanished);
        }
        if matches!(self.state, State::AwaitReply) {
            return self.no_reply(Reason::ClientModuleUnreachable);
        }
        if !matches!(self.state, State::Body) {
            return self.end(Why::Refused(Reason::ClientModuleUnreachable));
        }
        // What the client module sends before the message has ended is not its answer.
        let spoke = broken_silence(GOODBYE, seen.client_module);
        self.fail(seen, spoke.unwrap_or(Reason::ClientModuleUnreachable))
    }

    fn read_header(&mut self, seen: Seen<'_>) -> Step<'_> {
        self.intake.read_header(seen.workstation.bytes);
        if !self.intake.is_header_known() {
            return self.wait_for_workstation(Attention::Ignore, seen);
        }
        if self.intake.is_ambiguous {
            return self.discard(AfterDiscard::Refuse(Reason::AmbiguousLineEnding), seen);
        }
        self.judge(0)
    }

    /// Asks one question after the other.
    fn judge(&mut self, number: usize) -> Step<'_> {
        // The header block may have taken its time. What the client module said meanwhile is no
        // answer to DATA.
        let next =
            if self.question(number).is_some() { State::Judge(number) } else { State::BeforeData };
        self.state = next;
        self.question(number).map_or(Step::Poll, Step::Ask)
    }

    /// The question of this number: about every service that the message names, as it is unknown which
    /// one the next server goes by, and then about its authors.
    fn question(&self, number: usize) -> Option<Question<'_>> {
        if let Some(service) = self.service(number) {
            return Some(Question::Service(service));
        }
        let services = (0..).take_while(|number| self.service(*number).is_some()).count();
        match number - services {
            0 => Some(Question::Author(self.author(FROM))),
            1 if self.intake.header.has(SENDER) => Some(Question::Author(self.author(SENDER))),
            _ => None,
        }
    }

    fn service(&self, number: usize) -> Option<Service<'_>> {
        let header = &self.intake.header;
        let number = match (header.is_malformed(), number) {
            (true, 0) => return Some(Service::Malformed),
            (is_malformed, number) => number - usize::from(is_malformed),
        };
        let named = header.values(SERVICE).count();
        match header.values(SERVICE).nth(number) {
            Some(name) => Some(Service::Named(name)),
            None if number > named => None,
            None if header.is_over_limit() => Some(Service::Unread),
            None => (number == 0).then_some(Service::Missing),
        }
    }

    /// Of several fields, the next server may go by any. Of a header block that was not read as a whole,
    /// it may go by one that kimgate has not seen.
    fn author(&self, field: &'static str) -> Author<'_> {
        let header = &self.intake.header;
        let mut values = header.values(field);
        let address = match (values.next(), values.next()) {
            (Some(value), None) if !header.is_over_limit() => only_address(value),
            (_, _) => None,
        };
        Author { field, address }
    }

    fn await_data_reply(&mut self, seen: Seen<'_>) -> Step<'_> {
        match reply(seen.client_module) {
            Ok(Some(reply)) if reply.code == 354 && reply.len < seen.client_module.bytes.len() => {
                // It says goodbye before it has anything of the message.
                self.end(Why::Refused(Reason::ClientModuleUnreachable))
            }
            Ok(Some(reply)) if reply.code == 354 => {
                self.state = State::AddHeader;
                Step::Skip { from: Side::ClientModule, bytes: reply.len }
            }
            Ok(Some(reply)) => self.discard(AfterDiscard::DataRefused(reply), seen),
            Ok(None) if seen.workstation.eof == Some(PeerEof::Cut) => self.end(Why::Vanished),
            Ok(None) => Step::Wait {
                workstation: Attention::Watch,
                client_module: Attention::Need,
                limit: Limit::Stall,
            },
            Err(reason) => self.end(Why::Refused(reason)),
        }
    }

    /// Adds the header lines that the configuration asks for: at the top, or where other middleware
    /// has left a line, after all of the header block. Each gateway's line then follows those of the
    /// ones before it.
    fn add_header(&mut self, seen: Seen<'_>) -> Step<'_> {
        (self.state, self.is_unfinished) = (State::Body, true);
        let Self { lines, added, account, .. } = self;
        if seen.settings.middleware_header {
            lines.extend_from_slice(MIDDLEWARE.as_bytes());
            lines.extend_from_slice(
                concat!(": kimgate;", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes(),
            );
            added.push(MIDDLEWARE);
        }
        let header = &self.intake.header;
        let is_header_whole = header.is_done() && !header.is_over_limit();
        if seen.settings.read_receipts && is_header_whole && !header.has(READ_RECEIPT) {
            lines.extend_from_slice(format!("{READ_RECEIPT}: <{account}>\r\n").as_bytes());
            added.push(READ_RECEIPT);
        }
        added.extend(self.transaction.has_receipts.then_some("NOTIFY"));
        if self.lines.is_empty() {
            return self.pass_on(seen);
        }
        let follows_other = added.contains(&MIDDLEWARE) && header.says(MIDDLEWARE);
        match self.intake.header_end.filter(|_| follows_other) {
            None => Step::Say { to: Side::ClientModule, words: &self.lines },
            Some(end) => {
                self.state = State::SayHeader;
                Step::Forward { from: Side::Workstation, bytes: self.intake.take(end) }
            }
        }
    }

    fn pass_on(&mut self, seen: Seen<'_>) -> Step<'_> {
        self.intake.read(seen.workstation.bytes);
        let bytes = self.intake.take_cleared();
        if bytes > 0 {
            return Step::Forward { from: Side::Workstation, bytes };
        }
        if self.intake.is_ambiguous {
            return self.discard(AfterDiscard::Refuse(Reason::AmbiguousLineEnding), seen);
        }
        if seen.settings.message > 0 && self.intake.bytes > seen.settings.message {
            return self.discard(AfterDiscard::Refuse(Reason::MessageTooLarge), seen);
        }
        if self.intake.has_ended {
            // An answer to the message cannot be there before its end.
            self.state = State::BeforeFinalLine;
            return Step::Poll;
        }
        match broken_silence(GOODBYE, seen.client_module) {
            None => self.wait_for_workstation(Attention::Watch, seen),
            Some(_) if seen.workstation.eof.is_some() => self.end(Why::Vanished),
            Some(reason) => self.fail(seen, reason),
        }
    }

    /// The answer to a whole message is waited for whether the workstation does so or not: only then
    /// is it known what became of the message.
    fn await_reply(&mut self, seen: Seen<'_>) -> Step<'_> {
        match reply(seen.client_module) {
            Ok(Some(reply)) => {
                self.state = State::Answered(reply);
                self.sent(Ok(reply.is_positive()), reply.len)
            }
            Ok(None) => Step::Wait {
                workstation: Attention::Watch,
                client_module: Attention::Need,
                limit: Limit::Answer,
            },
            Err(reason) => self.no_reply(reason),
        }
    }

    /// No answer to the message will come.
    fn no_reply(&mut self, reason: Reason) -> Step<'_> {
        self.state = self.over(Why::Refused(reason));
        self.sent(Err(reason), 0)
    }

    fn sent(&self, accepted: Result<bool, Reason>, reply: usize) -> Step<'_> {
        Step::Note(Fact::Sent {
            bytes: self.intake.bytes,
            header: &self.intake.header,
            recipients: self.transaction.recipients,
            accepted,
            reply,
            added: &self.added,
        })
    }

    fn answer(&mut self, reply: Reply) -> Step<'_> {
        if is_no_answer(reply) {
            return self.end(Why::Refused(Reason::ClientModuleProtocolError));
        }
        self.state = match reply.code {
            421 => self.over(Why::Replied(Reason::RejectedByClientModule)),
            _ => State::Over(Over::Done),
        };
        Step::Forward { from: Side::ClientModule, bytes: reply.len }
    }

    fn fail(&mut self, seen: Seen<'_>, reason: Reason) -> Step<'_> {
        self.discard(AfterDiscard::Fail(reason), seen)
    }

    fn discard(&mut self, after: AfterDiscard, seen: Seen<'_>) -> Step<'_> {
        self.state = State::Discard(after);
        self.intake.read(seen.workstation.bytes);
        let bytes = self.intake.take_rest();
        if bytes > 0 {
            return Step::Skip { from: Side::Workstation, bytes };
        }
        if !self.intake.has_ended {
            return self.wait_for_workstation(Attention::Ignore, seen);
        }
        match after {
            AfterDiscard::Judged(number, reason) => {
                self.state = State::Over(Over::Refused(number, reason));
                Step::Poll
            }
            AfterDiscard::Refuse(reason) => {
                self.state = self.over(Why::Replied(reason));
                Step::Refuse(Refusal::Rule { reason, about: "" })
            }
            AfterDiscard::Fail(reason) => self.end(Why::Refused(reason)),
            AfterDiscard::DataRefused(reply) => self.refused_data(reply),
        }
    }

    /// Passes on the refusal of DATA. The workstation gets it after its message, where a transaction
    /// is over whatever the answer. The client module refused a command and keeps its recipients.
    fn refused_data(&mut self, reply: Reply) -> Step<'_> {
        self.state = match (reply.code, reply.code / 100) {
            (421, _) => self.over(Why::Replied(Reason::RejectedByClientModule)),
            (_, 4 | 5) => State::Over(Over::Reset),
            (_, _) => return self.end(Why::Refused(Reason::ClientModuleProtocolError)),
        };
        Step::Forward { from: Side::ClientModule, bytes: reply.len }
    }

    /// All that the workstation has sent was used.
    fn wait_for_workstation(&mut self, client_module: Attention, seen: Seen<'_>) -> Step<'_> {
        if seen.workstation.eof.is_some() {
            return self.end(Why::Vanished);
        }
        Step::Wait { workstation: Attention::Need, client_module, limit: Limit::Stall }
    }

    fn over(&self, why: Why) -> State {
        State::Over(Over::End(self.teardown(why)))
    }

    fn teardown(&self, why: Why) -> Teardown {
        Teardown { is_unfinished: self.is_unfinished, ..Teardown::new(why) }
    }

    fn end(&mut self, why: Why) -> Step<'_> {
        let teardown = self.teardown(why);
        self.state = State::Over(Over::End(teardown));
        Step::End(teardown)
    }
}

/// What the workstation has sent of a message. Places count from its first unread byte.
struct Intake {
    dots: DotScan,
    header: HeaderReader,
    /// So far the message was scanned.
    scanned: usize,
    /// So far it may be passed on. The rest is a dot whose meaning the next bytes decide, or the
    /// final line.
    cleared: usize,
    /// The place before the empty line that ends the header block, once that was read; nothing is used
    /// up before.
    header_end: Option<usize>,
    /// Bytes of the message that were cleared, the final line not among them.
    bytes: u64,
    has_ended: bool,
    is_ambiguous: bool,
}

impl Intake {
    fn new(header_limit: usize) -> Self {
        Self {
            dots: DotScan::strict(),
            header: HeaderReader::new(HEADER_FIELDS, header_limit).noticing(NOTICED_FIELDS),
            scanned: 0,
            cleared: 0,
            header_end: None,
            bytes: 0,
            has_ended: false,
            is_ambiguous: false,
        }
    }

    fn is_header_known(&self) -> bool {
        self.header.has_ended() || self.has_ended || self.is_ambiguous
    }

    /// Scans what was not scanned yet, and reads the header block.
    fn read_header(&mut self, unread: &[u8]) {
        let before = self.cleared;
        self.read(unread);
        let was_done = self.header.is_done();
        let end = self.header.feed(&unread[before..self.cleared]);
        if let (false, Some(end)) = (was_done, end) {
            self.header_end = Some(before + end - EMPTY_LINE.len());
        }
        if self.has_ended && !self.header.is_done() {
            // The final line is not cleared, and it ends the last field of a message without a body.
            self.header.feed(END);
            self.header_end = self.header.is_done().then_some(self.cleared);
        }
    }

    /// Scans what was not scanned yet.
    fn read(&mut self, unread: &[u8]) {
        let new = &unread[self.scanned..];
        if self.has_ended || new.is_empty() {
            return;
        }
        let found = self.dots.scan(new);
        let cleared = found.release.len() + found.safe;
        self.cleared += cleared;
        self.bytes += cleared as u64;
        self.scanned += found.end.unwrap_or(new.len());
        self.has_ended = found.end.is_some();
        self.is_ambiguous |= found.ambiguous;
    }

    /// So many of the bytes that may be passed on, which are then used up.
    fn take(&mut self, bytes: usize) -> usize {
        self.cleared -= bytes;
        self.scanned -= bytes;
        bytes
    }

    /// What may be passed on, which is then used up.
    fn take_cleared(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.cleared);
        self.scanned -= bytes;
        bytes
    }

    /// Everything that was scanned, which is then used up.
    fn take_rest(&mut self) -> usize {
        self.cleared = 0;
        std::mem::take(&mut self.scanned)
    }
}

//! A POP3 session after its login: one command at a time goes to the client module, and its answer
//! comes back as it is.

use super::AnswerScan;
use super::command::{Command, parse};
use super::uid::UidQuestion;
use crate::proto::dot::END;
use crate::proto::refusal::Hint;
use crate::proto::relay::{
    self, Attention, Fact, Limit, Next, NextCommand, PeerEof, Question, Refusal, Seen, Side, Step,
    StepReport, Teardown, Uid, UidDue, Unread, Verdict, Why, broken_silence, is_goodbye,
};
use crate::words::Reason;

/// How a client module begins a goodbye that was not asked for.
const GOODBYE: &[u8] = b"-ERR";

/// The machine. LIFECYCLE.md beside this file shows its states as a table.
#[derive(Default)]
pub struct Relay {
    state: State,
    next: NextCommand,
    /// Bytes of the command line that is carried out, with its CRLF.
    line: usize,
    /// The answer that is passed on, and after that what is noted about it.
    answer: Option<Box<Answer>>,
    /// What the client module calls a message: what kimgate asks it itself.
    uid: Option<Box<UidTurn>>,
    /// The list of capabilities that is said next.
    list: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// The workstation's next command is due.
    #[default]
    Command,
    /// CAPA: the owner was asked what it lists.
    AskOffer,
    /// DELE: the owner was asked whether it may go on.
    AskDelete(u32),
    /// RETR or TOP was noted and goes to the client module.
    Send(Command),
    /// The client module has the command.
    AwaitAnswer,
    /// A message is here, and the owner was asked before its end is passed on.
    AskFetched,
    /// kimgate asks what the client module calls a message.
    AskUid,
    /// The command line was dropped, and kimgate answers it.
    OwnReply(OwnReply),
    Over(Teardown),
}

#[derive(Clone, Copy)]
enum OwnReply {
    Command(Hint),
    Rule(Reason),
    /// What is in `list`.
    List,
}

/// A command of kimgate's own: UIDL, whose answer the workstation does not see.
struct UidTurn {
    number: u32,
    purpose: Purpose,
    stage: UidStage,
    question: UidQuestion,
}

/// What a UID is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A message, before its end is passed on.
    Message,
    /// A message that was passed on.
    MessagePassedOn,
    /// A DELE that is not decided yet.
    Delete,
}

#[derive(Clone, Copy)]
enum UidStage {
    /// Is the client module silent?
    Silence,
    Say,
    Await,
    /// So many bytes are its answer. The owner was asked once more.
    Ask(usize),
    /// The rest of the message was passed on, and the answer is dropped next.
    Drop(usize, Verdict),
    Done(Verdict),
}

/// An answer on its way to the workstation.
struct Answer {
    command: Command,
    scan: AnswerScan,
    /// Bytes at its end that are not passed on before the owner has taken note of the message.
    kept: usize,
    is_complete: bool,
    /// Some of it was passed on, so an end now must not look like the end of the answer.
    is_begun: bool,
    is_begin_noted: bool,
    /// All of it was passed on, and what it means was noted.
    is_answered: bool,
}

impl relay::Relay for Relay {
    fn step(&mut self, seen: Seen<'_>, report: StepReport) -> Step<'_> {
        if let StepReport::Unwritable(side) = report {
            return self.unwritable(side);
        }
        if report == StepReport::Late {
            return self.late();
        }
        match self.state {
            State::Command => self.next_command(seen, &report),
            State::AskOffer => match report.offer() {
                None => Step::AskOffer,
                Some(lines) => {
                    self.list = capability_list(lines).into_bytes();
                    self.reply(OwnReply::List)
                }
            },
            State::AskDelete(number) => match report {
                StepReport::Verdict(verdict) => self.delete(number, verdict, seen),
                StepReport::NeedUid(_) => self.begin_uid(number, Purpose::Delete),
                StepReport::Done
                | StepReport::Offer(_)
                | StepReport::Late
                | StepReport::Unwritable(_) => {
                    Step::Ask(Question::Delete { number, uid: Uid::Unasked })
                }
            },
            State::Send(command) => self.send(command, seen),
            State::AwaitAnswer => self.pass_on(seen),
            State::AskFetched => self.fetched(report),
            State::AskUid => self.ask_uid(seen, &report),
            State::OwnReply(reply) => {
                self.state = State::Command;
                match reply {
                    OwnReply::Command(hint) => Step::Refuse(Refusal::Command(hint)),
                    OwnReply::Rule(reason) => Step::Refuse(Refusal::Rule { reason, about: "" }),
                    OwnReply::List => Step::Say { to: Side::Workstation, words: &self.list },
                }
            }
            State::Over(teardown) => Step::End(teardown),
        }
    }

    fn unfinished(&self) -> Option<Fact<'_>> {
        self.answer.as_ref().and_then(|answer| answer.part())
    }
}

impl Relay {
    fn next_command(&mut self, seen: Seen<'_>, report: &StepReport) -> Step<'_> {
        self.answer = None;
        let line = match self.next.next(GOODBYE, seen, report) {
            Next::Step(step) => return step,
            Next::Line(line) => line,
        };
        self.line = line.wire;
        match parse(line.text) {
            // The client module's own list may name what kimgate does not carry.
            Ok(Command::Capa) => {
                self.state = State::AskOffer;
                Step::AskOffer
            }
            Ok(Command::Dele(number)) => {
                self.state = State::AskDelete(number);
                Step::Ask(Question::Delete { number, uid: Uid::Unasked })
            }
            Ok(command @ (Command::Retr(_) | Command::Top(..))) => {
                self.state = State::Send(command);
                Step::Note(Fact::RetrieveAsked)
            }
            Ok(
                command @ (Command::Stat
                | Command::List(_)
                | Command::Uidl(_)
                | Command::Rset
                | Command::Noop
                | Command::Quit),
            ) => self.send(command, seen),
            Err(hint) => match self.next.count_bad_line() {
                Some(teardown) => self.end(teardown),
                None => self.reply(OwnReply::Command(hint)),
            },
        }
    }

    /// Drops the command line, to answer it here.
    fn reply(&mut self, reply: OwnReply) -> Step<'_> {
        self.state = State::OwnReply(reply);
        Step::Skip { from: Side::Workstation, bytes: self.line }
    }

    fn delete(&mut self, number: u32, verdict: Verdict, seen: Seen<'_>) -> Step<'_> {
        match verdict {
            Verdict::Pass => self.send(Command::Dele(number), seen),
            Verdict::Refuse(reason) => self.reply(OwnReply::Rule(reason)),
        }
    }

    fn send(&mut self, command: Command, seen: Seen<'_>) -> Step<'_> {
        self.answer = Some(Box::new(Answer {
            command,
            scan: AnswerScan::new(&command, seen.settings.header),
            kept: 0,
            is_complete: false,
            is_begun: false,
            is_begin_noted: false,
            is_answered: false,
        }));
        self.state = State::AwaitAnswer;
        Step::Forward { from: Side::Workstation, bytes: self.line }
    }

    /// Passes on what has come of the answer.
    fn pass_on(&mut self, seen: Seen<'_>) -> Step<'_> {
        let Some(answer) = &mut self.answer else {
            return self.next_command(seen, &StepReport::Done);
        };
        if answer.must_note_begin() {
            answer.is_begin_noted = true;
            return Step::Note(Fact::RetrieveBegan);
        }
        if answer.is_complete {
            return self.answered(seen);
        }
        let bytes = seen.client_module.bytes;
        let Ok(scanned) = answer.scan.scan(bytes) else {
            let teardown = answer.lost(Reason::ClientModuleProtocolError);
            return self.end(teardown);
        };
        if scanned.done && answer.command == Command::Quit {
            let why = match is_goodbye(GOODBYE, &bytes[scanned.forward..]) {
                true => Why::Quit,
                false => UNASKED,
            };
            return self.end(Teardown { farewell: scanned.forward, ..Teardown::new(why) });
        }
        if scanned.forward == 0 {
            return self.wait(seen);
        }
        if scanned.done && answer.is_message() && answer.scan.is_ok() == Some(true) {
            answer.kept = scanned.forward;
            self.state = State::AskFetched;
            if answer.must_note_begin() {
                answer.is_begin_noted = true;
                return Step::Note(Fact::RetrieveBegan);
            }
            return self.ask_fetched();
        }
        answer.is_complete = scanned.done;
        answer.is_begun = true;
        Step::Forward { from: Side::ClientModule, bytes: scanned.forward }
    }

    /// The owner takes note of a message.
    fn ask_fetched(&self) -> Step<'_> {
        let uid = self.uid.as_ref().map_or(Uid::Unasked, |turn| turn.question.uid());
        let question = self.answer.as_ref().and_then(|answer| answer.fetched(uid));
        // There is a message, so nothing is polled.
        question.map_or(Step::Poll, Step::Ask)
    }

    /// The owner has taken note of a message, or wants to know its UID before that.
    fn fetched(&mut self, report: StepReport) -> Step<'_> {
        let number = self.answer.as_ref().and_then(|answer| answer.message()).unwrap_or_default();
        match report {
            StepReport::NeedUid(UidDue::Now) => return self.begin_uid(number, Purpose::Message),
            StepReport::NeedUid(UidDue::AfterAnswer) => {
                self.uid = Some(UidTurn::new(number, Purpose::MessagePassedOn));
            }
            StepReport::Verdict(_) => {}
            StepReport::Done
            | StepReport::Offer(_)
            | StepReport::Late
            | StepReport::Unwritable(_) => return self.ask_fetched(),
        }
        self.state = State::AwaitAnswer;
        self.pass_on_kept()
    }

    /// Passes on the end of a message.
    fn pass_on_kept(&mut self) -> Step<'_> {
        let Some(answer) = &mut self.answer else { return Step::Poll };
        (answer.is_complete, answer.is_begun) = (true, true);
        Step::Forward { from: Side::ClientModule, bytes: std::mem::take(&mut answer.kept) }
    }

    fn begin_uid(&mut self, number: u32, purpose: Purpose) -> Step<'_> {
        let mut turn = UidTurn::new(number, purpose);
        turn.stage = UidStage::Say;
        (self.uid, self.state) = (Some(turn), State::AskUid);
        Step::Poll
    }

    /// One step of UIDL, from its command to what was wanted to know its answer for.
    fn ask_uid(&mut self, seen: Seen<'_>, report: &StepReport) -> Step<'_> {
        let kept = self.answer.as_ref().map_or(0, |answer| answer.kept);
        let said = Unread { bytes: &seen.client_module.bytes[kept..], ..seen.client_module };
        let Some(turn) = &mut self.uid else { return self.next_command(seen, report) };
        match turn.stage {
            UidStage::Silence => {
                turn.stage = UidStage::Say;
                return Step::Poll;
            }
            UidStage::Say => {
                if let Some(reason) = broken_silence(GOODBYE, said) {
                    let teardown = self.lost(reason);
                    return self.end(teardown);
                }
                turn.stage = UidStage::Await;
            }
            UidStage::Await => match turn.question.read(said.bytes) {
                Ok(Some(bytes)) if bytes == said.bytes.len() => turn.stage = UidStage::Ask(bytes),
                Ok(None) if said.eof.is_none() => {
                    // Whether the workstation waits or not, what was begun is noted.
                    return Step::Wait {
                        workstation: Attention::Ignore,
                        client_module: Attention::Need,
                        limit: Limit::Stall,
                    };
                }
                Ok(None) => {
                    let teardown = self.lost(Reason::ClientModuleUnreachable);
                    return self.end(teardown);
                }
                Ok(Some(_)) | Err(_) => {
                    let teardown = self.lost(Reason::ClientModuleProtocolError);
                    return self.end(teardown);
                }
            },
            UidStage::Ask(bytes) => {
                if let Some(verdict) = report.verdict() {
                    turn.stage = UidStage::Drop(bytes, verdict);
                    if kept > 0 {
                        return self.pass_on_kept();
                    }
                    return self.ask_uid(seen, &StepReport::Done);
                }
            }
            UidStage::Drop(bytes, verdict) => {
                turn.stage = UidStage::Done(verdict);
                return Step::Skip { from: Side::ClientModule, bytes };
            }
            UidStage::Done(verdict) => {
                let (number, purpose) = (turn.number, turn.purpose);
                self.uid = None;
                return match purpose {
                    Purpose::Delete => self.delete(number, verdict, seen),
                    Purpose::Message => {
                        self.state = State::AwaitAnswer;
                        self.pass_on(seen)
                    }
                    Purpose::MessagePassedOn => {
                        self.state = State::Command;
                        self.next_command(seen, &StepReport::Done)
                    }
                };
            }
        }
        self.say_or_ask()
    }

    /// Says the command, or asks the owner about its answer.
    fn say_or_ask(&self) -> Step<'_> {
        match &self.uid {
            Some(turn) if matches!(turn.stage, UidStage::Await) => {
                Step::Say { to: Side::ClientModule, words: turn.question.words() }
            }
            Some(turn) if turn.purpose == Purpose::Delete => {
                Step::Ask(Question::Delete { number: turn.number, uid: turn.question.uid() })
            }
            Some(_) | None => self.ask_fetched(),
        }
    }

    /// Waits for more of the answer.
    fn wait(&mut self, seen: Seen<'_>) -> Step<'_> {
        let is_quit = self.has_quit();
        if seen.client_module.eof.is_some() {
            let teardown = self.lost(Reason::ClientModuleUnreachable);
            return self.end(teardown);
        }
        if !is_quit && seen.workstation.eof == Some(PeerEof::Cut) {
            return self.end(Teardown::new(Why::Vanished));
        }
        Step::Wait {
            workstation: Attention::Watch,
            client_module: Attention::Need,
            limit: if is_quit { Limit::Answer } else { Limit::Stall },
        }
    }

    /// The whole answer was passed on.
    fn answered(&mut self, seen: Seen<'_>) -> Step<'_> {
        // Bytes right after the answer were not asked for.
        let after = Unread { eof: None, ..seen.client_module };
        let teardown = broken_silence(GOODBYE, after).map(Teardown::refused);
        let next = if self.uid.is_some() { State::AskUid } else { State::Command };
        self.state = teardown.map_or(next, State::Over);
        if let Some(answer) = &mut self.answer {
            answer.is_answered = true;
        }
        if self.answer.as_ref().is_none_or(|answer| answer.fact().is_none()) {
            return match teardown {
                Some(teardown) => Step::End(teardown),
                None => self.next_command(seen, &StepReport::Done),
            };
        }
        // There is a fact, so nothing is polled.
        self.answer.as_ref().and_then(|answer| answer.fact()).map_or(Step::Poll, Step::Note)
    }

    fn has_quit(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.command == Command::Quit)
    }

    fn lost(&self, reason: Reason) -> Teardown {
        match &self.answer {
            Some(answer) => answer.lost(reason),
            None => Teardown::refused(reason),
        }
    }

    fn late(&mut self) -> Step<'_> {
        let reason = match (&self.answer, &self.uid) {
            (Some(_), _) | (_, Some(_)) => Reason::ClientModuleUnreachable,
            (None, None) => Reason::Timeout,
        };
        let teardown = self.lost(reason);
        self.end(teardown)
    }

    fn unwritable(&mut self, side: Side) -> Step<'_> {
        let teardown = match side {
            Side::ClientModule => self.lost(Reason::ClientModuleUnreachable),
            // Many workstations leave without waiting for QUIT's answer. The deletions that QUIT
            // commits are wanted all the same.
            Side::Workstation if self.has_quit() => Teardown::new(Why::Quit),
            Side::Workstation => Teardown::new(Why::Vanished),
        };
        self.end(teardown)
    }

    fn end(&mut self, teardown: Teardown) -> Step<'_> {
        self.state = State::Over(teardown);
        Step::End(teardown)
    }
}

/// The client module said more than it was asked.
const UNASKED: Why = Why::Refused(Reason::ClientModuleProtocolError);

impl UidTurn {
    fn new(number: u32, purpose: Purpose) -> Box<Self> {
        let question = UidQuestion::new(number);
        Box::new(Self { number, purpose, stage: UidStage::Silence, question })
    }
}

impl Answer {
    fn must_note_begin(&self) -> bool {
        self.is_message() && self.scan.body_started() && !self.is_begin_noted
    }

    fn is_message(&self) -> bool {
        self.message().is_some()
    }

    /// The number of the message that it is.
    fn message(&self) -> Option<u32> {
        if let Command::Retr(number) | Command::Top(number, _) = self.command {
            return Some(number);
        }
        None
    }

    /// Asks the owner to take note of the message.
    fn fetched<'a>(&'a self, uid: Uid<'a>) -> Option<Question<'a>> {
        let (number, header) = (self.message()?, self.scan.header()?);
        let is_whole = matches!(self.command, Command::Retr(_));
        Some(Question::Fetched { number, is_whole, header, uid })
    }

    /// How many of these bytes of the message were passed on.
    fn passed_on(&self, bytes: u64) -> u64 {
        match self.kept as u64 {
            0 => bytes,
            kept => (bytes + END.len() as u64).saturating_sub(kept),
        }
    }

    /// What was passed on of a message that is not complete.
    fn part(&self) -> Option<Fact<'_>> {
        let is_started = self.scan.body_started() && (self.kept == 0 || self.is_begun);
        let is_part = self.is_message() && is_started && !self.is_answered;
        if is_part { self.fact() } else { None }
    }

    /// What the answer means, where it is recorded.
    fn fact(&self) -> Option<Fact<'_>> {
        if self.scan.is_ok() != Some(true) {
            return None;
        }
        match (self.command, self.scan.header()) {
            (Command::Retr(number), Some(header)) => {
                let bytes = self.passed_on(self.scan.body_bytes());
                Some(Fact::Received { number, bytes, is_complete: self.is_answered, header })
            }
            (Command::Top(number, _), Some(header)) => {
                let bytes = self.passed_on(self.scan.bytes_after_header());
                Some(Fact::Previewed { number, bytes, is_complete: self.is_answered, header })
            }
            (Command::Dele(number), _) => Some(Fact::Deleted { number }),
            (_, _) => None,
        }
    }

    /// How the session ends when this answer cannot be passed on as a whole.
    fn lost(&self, reason: Reason) -> Teardown {
        let is_part = self.is_begun && !self.is_answered;
        Teardown::new(if is_part { Why::Broken(reason) } else { Why::Refused(reason) })
    }
}

/// The answer to CAPA after the login: what was announced before it, without SASL. kimgate's own
/// refusals carry response codes (RFC 2449 section 6.4).
fn capability_list(lines: &[String]) -> String {
    let offered = lines.iter().map(String::as_str).filter(|line| !line.starts_with("SASL"));
    let mut list = String::from("+OK\r\n");
    for line in offered {
        list.extend([line, "\r\n"]);
    }
    if !lines.iter().any(|line| line.eq_ignore_ascii_case("RESP-CODES")) {
        list.push_str("RESP-CODES\r\n");
    }
    list.push_str(".\r\n");
    list
}

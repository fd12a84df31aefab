//! A POP3 session after its login: one command at a time goes to the client module, and its answer
//! comes back as it is.

use super::AnswerScan;
use super::command::{Command, parse};
use crate::proto::refusal::Hint;
use crate::proto::relay::{
    self, Attention, Fact, Limit, Next, NextCommand, PeerEof, Question, Refusal, Seen, Side, Step,
    StepReport, Teardown, Unread, Verdict, Why, broken_silence, is_goodbye,
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

/// An answer on its way to the workstation.
struct Answer {
    command: Command,
    scan: AnswerScan,
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
            State::AskDelete(number) => match report.verdict() {
                None => Step::Ask(Question::Delete(number)),
                Some(Verdict::Pass) => self.send(Command::Dele(number), seen),
                Some(Verdict::Refuse(reason)) => self.reply(OwnReply::Rule(reason)),
            },
            State::Send(command) => self.send(command, seen),
            State::AwaitAnswer => self.pass_on(seen),
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
                Step::Ask(Question::Delete(number))
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

    fn send(&mut self, command: Command, seen: Seen<'_>) -> Step<'_> {
        self.answer = Some(Box::new(Answer {
            command,
            scan: AnswerScan::new(&command, seen.settings.header),
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
        answer.is_complete = scanned.done;
        answer.is_begun = true;
        Step::Forward { from: Side::ClientModule, bytes: scanned.forward }
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
        self.state = teardown.map_or(State::Command, State::Over);
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
        let reason = match self.answer {
            Some(_) => Reason::ClientModuleUnreachable,
            None => Reason::Timeout,
        };
        let teardown = self.lost(reason);
        self.end(teardown)
    }

    fn unwritable(&mut self, side: Side) -> Step<'_> {
        self.end(Teardown::new(match side {
            Side::ClientModule => Why::Refused(Reason::ClientModuleUnreachable),
            // Many workstations leave without waiting for QUIT's answer. The deletions that QUIT
            // commits are wanted all the same.
            Side::Workstation if self.has_quit() => Why::Quit,
            Side::Workstation => Why::Vanished,
        }))
    }

    fn end(&mut self, teardown: Teardown) -> Step<'_> {
        self.state = State::Over(teardown);
        Step::End(teardown)
    }
}

/// The client module said more than it was asked.
const UNASKED: Why = Why::Refused(Reason::ClientModuleProtocolError);

impl Answer {
    fn must_note_begin(&self) -> bool {
        self.is_message() && self.scan.body_started() && !self.is_begin_noted
    }

    fn is_message(&self) -> bool {
        matches!(self.command, Command::Retr(_) | Command::Top(..))
    }

    /// What was passed on of a message that is not complete.
    fn part(&self) -> Option<Fact<'_>> {
        let is_part = self.is_message() && self.scan.body_started() && !self.is_answered;
        if is_part { self.fact() } else { None }
    }

    /// What the answer means, where it is recorded.
    fn fact(&self) -> Option<Fact<'_>> {
        if self.scan.is_ok() != Some(true) {
            return None;
        }
        match (self.command, self.scan.header()) {
            (Command::Retr(number), Some(header)) => {
                let bytes = self.scan.body_bytes();
                Some(Fact::Received { number, bytes, is_complete: self.is_answered, header })
            }
            (Command::Top(number, _), Some(header)) => {
                let bytes = self.scan.bytes_after_header();
                Some(Fact::Previewed { number, bytes, is_complete: self.is_answered, header })
            }
            (Command::Dele(number), _) => Some(Fact::Deleted { number }),
            (_, _) => None,
        }
    }

    /// How the session ends when this answer cannot be passed on as a whole.
    fn lost(&self, reason: Reason) -> Teardown {
        Teardown::new(if self.is_begun { Why::Broken(reason) } else { Why::Refused(reason) })
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

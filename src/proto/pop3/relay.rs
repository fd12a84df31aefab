//! A POP3 session after its login: one command at a time goes to the client module, and its answer
//! comes back as it is.

use super::AnswerScan;
use super::command::{Command, parse};
use crate::proto::refusal::Hint;
use crate::proto::relay::{
    self, Attention, Fact, Limit, Next, NextCommand, PeerEof, Question, Refusal, Seen, Side, Step,
    Teardown, Verdict, Why,
};
use crate::words::Reason;

/// How a client module begins a goodbye that was not asked for.
const GOODBYE: &[u8] = b"-ERR";

/// The machine. LIFECYCLE.md beside this file shows its states as a table.
#[derive(Default)]
pub struct Relay {
    state: State,
    next: NextCommand,
    /// The answer that was passed on last, for what is noted about it.
    passed: Option<Box<Answer>>,
    /// The answer that the session broke off in.
    broken: Option<Box<Answer>>,
    /// The list of capabilities that is said next.
    list: Vec<u8>,
}

#[derive(Default)]
enum State {
    /// The workstation's next command is due.
    #[default]
    Command,
    /// CAPA, a line of so many bytes: the owner was asked what it lists.
    Offer(usize),
    /// DELE, a line of so many bytes: the owner was asked whether it may go on.
    Delete {
        number: u32,
        len: usize,
    },
    /// A command is answered here. Its line, of so many bytes, is dropped first.
    Reply(usize, Reply),
    /// A command line, of so many bytes, goes to the client module.
    Send(Command, usize),
    /// The client module has the command.
    Answer(Box<Answer>),
    Over(Teardown),
}

/// An answer of kimgate's own.
enum Reply {
    Command(Hint),
    Rule(Reason),
    /// The list of capabilities.
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
}

impl relay::Relay for Relay {
    fn step(&mut self, seen: Seen<'_>) -> Step<'_> {
        self.passed = None;
        match std::mem::take(&mut self.state) {
            State::Command => self.next_command(seen),
            State::Offer(len) => {
                self.state = State::Offer(len);
                Step::Ask(Question::Offer)
            }
            State::Delete { number, len } => {
                self.state = State::Delete { number, len };
                Step::Ask(Question::Delete(number))
            }
            State::Reply(0, Reply::Command(hint)) => Step::Refuse(Refusal::Command(hint)),
            State::Reply(0, Reply::Rule(reason)) => {
                Step::Refuse(Refusal::Rule { reason, about: "" })
            }
            State::Reply(0, Reply::List) => Step::Say { to: Side::Workstation, words: &self.list },
            State::Reply(len, reply) => {
                self.state = State::Reply(0, reply);
                Step::Skip { from: Side::Workstation, bytes: len }
            }
            State::Send(command, len) => self.send(command, len, seen),
            State::Answer(answer) => self.pass_on(answer, seen),
            State::Over(teardown) => self.end(teardown),
        }
    }

    fn verdict(&mut self, verdict: Verdict) {
        match (&self.state, verdict) {
            (State::Command, Verdict::Pass) => self.next.permit(),
            (&State::Delete { number, len }, Verdict::Pass) => {
                self.state = State::Send(Command::Dele(number), len);
            }
            (&State::Delete { len, .. }, Verdict::Refuse(reason)) => {
                self.state = State::Reply(len, Reply::Rule(reason));
            }
            (_, Verdict::Pass | Verdict::Refuse(_)) => {}
        }
    }

    fn offer(&mut self, lines: &[String]) {
        if let State::Offer(len) = self.state {
            self.list = capability_list(lines).into_bytes();
            self.state = State::Reply(len, Reply::List);
        }
    }

    fn late(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Answer(answer) => {
                State::Over(self.give_up(answer, Reason::ClientModuleUnreachable))
            }
            State::Command
            | State::Offer(_)
            | State::Delete { .. }
            | State::Reply(..)
            | State::Send(..)
            | State::Over(_) => State::Over(Teardown::refused(Reason::Timeout)),
        };
    }

    fn unwritable(&mut self, side: Side) {
        let why = match (side, &self.state) {
            (Side::ClientModule, _) => Why::Refused(Reason::ClientModuleUnreachable),
            // Many workstations leave without waiting for QUIT's answer. The deletions that QUIT
            // commits are wanted all the same.
            (Side::Workstation, State::Answer(answer)) if answer.command == Command::Quit => {
                Why::Quit
            }
            (Side::Workstation, _) => Why::Vanished,
        };
        let over = State::Over(Teardown::new(why));
        if let State::Answer(answer) = std::mem::replace(&mut self.state, over) {
            self.broken = Some(answer);
        }
    }

    fn unfinished(&self) -> Option<Fact<'_>> {
        match &self.state {
            State::Answer(answer) => answer.part(),
            State::Command
            | State::Offer(_)
            | State::Delete { .. }
            | State::Reply(..)
            | State::Send(..)
            | State::Over(_) => self.broken.as_ref()?.part(),
        }
    }
}

impl Relay {
    fn next_command(&mut self, seen: Seen<'_>) -> Step<'_> {
        let line = match self.next.next(GOODBYE, seen) {
            Next::Step(step) => return step,
            Next::Line(line) => line,
        };
        let len = line.wire;
        match parse(line.text) {
            // The client module's own list may name what kimgate does not carry.
            Ok(Command::Capa) => {
                self.state = State::Offer(len);
                Step::Ask(Question::Offer)
            }
            Ok(Command::Dele(number)) => {
                self.state = State::Delete { number, len };
                Step::Ask(Question::Delete(number))
            }
            Ok(command @ (Command::Retr(_) | Command::Top(..))) => {
                self.state = State::Send(command, len);
                Step::Note(Fact::RetrieveAsked)
            }
            Ok(
                command @ (Command::Stat
                | Command::List(_)
                | Command::Uidl(_)
                | Command::Rset
                | Command::Noop
                | Command::Quit),
            ) => self.send(command, len, seen),
            Err(hint) => match self.next.count_bad_line() {
                Some(teardown) => self.end(teardown),
                None => {
                    self.state = State::Reply(0, Reply::Command(hint));
                    Step::Skip { from: Side::Workstation, bytes: len }
                }
            },
        }
    }

    fn send(&mut self, command: Command, len: usize, seen: Seen<'_>) -> Step<'_> {
        self.state = State::Answer(Box::new(Answer {
            command,
            scan: AnswerScan::new(&command, seen.settings.header),
            is_complete: false,
            is_begun: false,
            is_begin_noted: false,
        }));
        Step::Forward { from: Side::Workstation, bytes: len }
    }

    /// Passes on what has come of an answer.
    fn pass_on(&mut self, mut answer: Box<Answer>, seen: Seen<'_>) -> Step<'_> {
        let is_message = matches!(answer.command, Command::Retr(_) | Command::Top(..));
        if is_message && answer.scan.body_started() && !answer.is_begin_noted {
            answer.is_begin_noted = true;
            self.state = State::Answer(answer);
            return Step::Note(Fact::RetrieveBegan);
        }
        if answer.is_complete {
            return self.answered(answer, seen);
        }
        if seen.client_module.bytes.is_empty() {
            return self.wait(answer, seen);
        }
        let Ok(scanned) = answer.scan.scan(seen.client_module.bytes) else {
            let teardown = self.give_up(answer, Reason::ClientModuleProtocolError);
            return self.end(teardown);
        };
        if scanned.done && answer.command == Command::Quit {
            let is_alone = scanned.forward == seen.client_module.bytes.len();
            let why = if is_alone { Why::Quit } else { UNASKED };
            return self.end(Teardown { farewell: scanned.forward, ..Teardown::new(why) });
        }
        if scanned.forward == 0 {
            return self.wait(answer, seen);
        }
        answer.is_complete = scanned.done;
        answer.is_begun = true;
        self.state = State::Answer(answer);
        Step::Forward { from: Side::ClientModule, bytes: scanned.forward }
    }

    fn wait(&mut self, answer: Box<Answer>, seen: Seen<'_>) -> Step<'_> {
        if seen.client_module.eof.is_some() {
            let teardown = self.give_up(answer, Reason::ClientModuleUnreachable);
            return self.end(teardown);
        }
        let is_quit = answer.command == Command::Quit;
        if !is_quit && seen.workstation.eof == Some(PeerEof::Cut) {
            self.broken = Some(answer);
            return self.end(Teardown::new(Why::Vanished));
        }
        self.state = State::Answer(answer);
        Step::Wait {
            workstation: Attention::Watch,
            client_module: Attention::Need,
            limit: if is_quit { Limit::Answer } else { Limit::Stall },
        }
    }

    /// The whole answer was passed on.
    fn answered(&mut self, answer: Box<Answer>, seen: Seen<'_>) -> Step<'_> {
        // What follows an answer in the same breath was not asked for.
        let is_alone = seen.client_module.bytes.is_empty();
        match (answer.fact(true).is_some(), is_alone) {
            (false, true) => return self.next_command(seen),
            (false, false) => return self.end(Teardown::new(UNASKED)),
            (true, true) => {}
            (true, false) => self.state = State::Over(Teardown::new(UNASKED)),
        }
        self.passed.insert(answer).fact(true).map_or(Step::Poll, Step::Note)
    }

    /// This answer cannot be passed on as a whole.
    fn give_up(&mut self, answer: Box<Answer>, reason: Reason) -> Teardown {
        let why = if answer.is_begun { Why::Broken(reason) } else { Why::Refused(reason) };
        self.broken = Some(answer);
        Teardown::new(why)
    }

    fn end(&mut self, teardown: Teardown) -> Step<'_> {
        self.state = State::Over(teardown);
        Step::End(teardown)
    }
}

/// The client module said more than it was asked.
const UNASKED: Why = Why::Refused(Reason::ClientModuleProtocolError);

impl Answer {
    /// What the answer means, where somebody may want to know it.
    fn fact(&self, is_complete: bool) -> Option<Fact<'_>> {
        if self.scan.is_ok() != Some(true) {
            return None;
        }
        match (self.command, self.scan.header()) {
            (Command::Retr(number), Some(header)) => {
                let bytes = self.scan.body_bytes();
                Some(Fact::Received { number, bytes, is_complete, header })
            }
            (Command::Top(number, _), Some(header)) => {
                let bytes = self.scan.bytes_after_header();
                Some(Fact::Previewed { number, bytes, is_complete, header })
            }
            (Command::Dele(number), _) => Some(Fact::Deleted { number }),
            (_, _) => None,
        }
    }

    /// What was passed on of a message that is not complete.
    fn part(&self) -> Option<Fact<'_>> {
        let is_message = matches!(self.command, Command::Retr(_) | Command::Top(..));
        if is_message && self.scan.body_started() { self.fact(false) } else { None }
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

//! An SMTP session after its login: one command at a time goes to the client module. Sender and
//! recipients are judged on the way; what DATA begins is in `message`.

use super::command::{Command, parse};
use super::message::{Message, Outcome};
use super::reply::{Reply, ReplyScan};
use crate::proto::refusal::Hint;
use crate::proto::relay::{
    self, Attention, Fact, Limit, Next, NextCommand, PeerEof, Question, Refusal, Seen, Side, Step,
    Teardown, Unread, Verdict, Why,
};
use crate::words::Reason;

/// How a client module begins a goodbye that was not asked for.
pub(super) const GOODBYE: &[u8] = b"421";

/// A client module that forgets the login over a RSET answers so, as openKIM does.
const NOT_LOGGED_IN: u16 = 530;

/// The machine. LIFECYCLE.md beside this file shows its states as a table.
pub struct Relay {
    state: State,
    next: NextCommand,
    /// The account as a mail address, for the read receipts that are asked for.
    account: String,
    transaction: Transaction,
    /// What is judged: an address, a service, an author.
    about: String,
    /// Lines that the machine says itself.
    words: Vec<u8>,
}

/// What the client module has accepted since the last MAIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    /// MAIL.
    pub(super) is_open: bool,
    /// So many RCPT.
    pub(super) recipients: u32,
    /// For one of them kimgate asked for delivery receipts.
    pub(super) has_receipts: bool,
}

#[derive(Default)]
enum State {
    /// The workstation's next command is due.
    #[default]
    Command,
    /// The owner was asked whether MAIL, a line of so many bytes, may go on.
    Sender(usize),
    /// The owner was asked whether RCPT, a line of so many bytes, may go on.
    Recipient {
        len: usize,
        has_notify: bool,
    },
    /// RCPT, a line of so many bytes and without NOTIFY, may go on.
    Receipts(usize),
    /// The same, where the owner was asked whether a client module offers DSN.
    ReceiptsOffer(usize),
    /// A command line, of so many bytes, goes to the client module.
    Send(Carried, usize),
    /// RCPT, a line of so many bytes, goes to the client module with NOTIFY added.
    SendNotify(usize),
    /// The line was dropped, and `words` go to the client module in its place.
    SendWords(Carried),
    /// The client module has the command.
    Reply(Carried),
    /// RSET goes to the client module, without the workstation seeing it.
    Reset(AfterReset),
    /// The client module has that RSET.
    ResetReply(AfterReset),
    /// A command is answered here. Its line, of so many bytes, is dropped first.
    Answer(usize, Answer),
    /// DATA, a line of so many bytes, is carried out.
    Data(usize),
    Message(Box<Message>),
    Over(Teardown),
}

/// A command that goes to the client module.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    Mail,
    Rcpt {
        has_receipts: bool,
    },
    Rset,
    /// NOOP, VRFY, HELP: nothing of them is remembered.
    Other,
    Quit,
}

/// What follows a RSET of kimgate's own.
#[derive(Clone, Copy)]
enum AfterReset {
    /// This answer to a command whose line was dropped already.
    Answer(Answer),
    /// The next command: the workstation has its answer.
    Command,
}

/// An answer of kimgate's own.
#[derive(Clone, Copy)]
enum Answer {
    Hint(Hint),
    /// For what is in `about`.
    Rule(Reason),
    TooLarge,
    /// What is announced, as the answer to EHLO. `is_known`: `words` hold the list.
    Ehlo {
        is_known: bool,
    },
    /// The answer to HELO.
    Helo,
}

impl relay::Relay for Relay {
    fn step(&mut self, seen: Seen<'_>) -> Step<'_> {
        match std::mem::take(&mut self.state) {
            State::Command => self.next_command(seen),
            State::Sender(len) => {
                self.state = State::Sender(len);
                Step::Ask(Question::Sender(&self.about))
            }
            State::Recipient { len, has_notify } => {
                self.state = State::Recipient { len, has_notify };
                Step::Ask(Question::Recipient(&self.about))
            }
            State::Receipts(len) if seen.settings.delivery_receipts => {
                self.state = State::ReceiptsOffer(len);
                Step::Ask(Question::Offer)
            }
            State::Receipts(len) => self.send(Carried::Rcpt { has_receipts: false }, len),
            State::ReceiptsOffer(len) => {
                self.state = State::ReceiptsOffer(len);
                Step::Ask(Question::Offer)
            }
            State::Send(command, len) => self.send(command, len),
            State::SendNotify(len) => {
                self.words = with_notify(&seen.workstation.bytes[..len - CRLF.len()]);
                self.state = State::SendWords(Carried::Rcpt { has_receipts: true });
                Step::Skip { from: Side::Workstation, bytes: len }
            }
            State::SendWords(command) => {
                self.state = State::Reply(command);
                Step::Say { to: Side::ClientModule, words: &self.words }
            }
            State::Reply(command) => self.reply(command, seen),
            State::Reset(after) => {
                self.state = State::ResetReply(after);
                Step::Say { to: Side::ClientModule, words: b"RSET\r\n" }
            }
            State::ResetReply(after) => self.reset_reply(after, seen),
            State::Answer(0, answer) => self.answer(answer, seen),
            State::Answer(len, answer) => {
                self.state = State::Answer(0, answer);
                Step::Skip { from: Side::Workstation, bytes: len }
            }
            State::Data(len) => self.data(len, seen),
            State::Message(message) => self.message(message, seen),
            State::Over(teardown) => self.end(teardown),
        }
    }

    fn verdict(&mut self, verdict: Verdict) {
        match (&mut self.state, verdict) {
            (State::Command, Verdict::Pass) => self.next.permit(),
            (State::Message(message), _) => message.verdict(verdict),
            (&mut State::Sender(len), Verdict::Pass) => {
                self.state = State::Send(Carried::Mail, len);
            }
            (&mut State::Recipient { len, has_notify: false }, Verdict::Pass) => {
                self.state = State::Receipts(len);
            }
            (&mut State::Recipient { len, has_notify: true }, Verdict::Pass) => {
                self.state = State::Send(Carried::Rcpt { has_receipts: false }, len);
            }
            (&mut (State::Sender(len) | State::Recipient { len, .. }), Verdict::Refuse(reason)) => {
                self.about = format!("<{}>", self.about);
                self.state = State::Answer(len, Answer::Rule(reason));
            }
            (_, Verdict::Pass | Verdict::Refuse(_)) => {}
        }
    }

    fn offer(&mut self, lines: &[String]) {
        if let State::Answer(0, Answer::Ehlo { .. }) = self.state {
            self.words = offered_after_login(lines).into_bytes();
            self.state = State::Answer(0, Answer::Ehlo { is_known: true });
        } else if let State::ReceiptsOffer(len) = self.state {
            let has_dsn = lines.iter().any(|line| line.eq_ignore_ascii_case("DSN"));
            self.state = match has_dsn {
                true => State::SendNotify(len),
                false => State::Send(Carried::Rcpt { has_receipts: false }, len),
            };
        }
    }

    fn late(&mut self) {
        if let State::Message(message) = &mut self.state {
            return message.late();
        }
        let is_asked = matches!(self.state, State::Reply(_) | State::ResetReply(_));
        let reason = if is_asked { Reason::ClientModuleUnreachable } else { Reason::Timeout };
        self.state = State::Over(Teardown::refused(reason));
    }

    fn unwritable(&mut self, side: Side) {
        if let State::Message(message) = &mut self.state {
            return message.unwritable(side);
        }
        self.state = State::Over(Teardown::new(match side {
            Side::Workstation => Why::Vanished,
            Side::ClientModule => Why::Refused(Reason::ClientModuleUnreachable),
        }));
    }
}

impl Relay {
    /// For a session of this account, a mail address.
    pub fn new(account: &str) -> Self {
        Self {
            state: State::Command,
            next: NextCommand::default(),
            account: account.into(),
            transaction: Transaction::default(),
            about: String::new(),
            words: Vec::new(),
        }
    }

    fn next_command(&mut self, seen: Seen<'_>) -> Step<'_> {
        let line = match self.next.next(GOODBYE, seen) {
            Next::Step(step) => return step,
            Next::Line(line) => line,
        };
        let len = line.wire;
        let command = match parse(line.text) {
            Ok(command) => command,
            Err(hint) => {
                return match self.next.count_bad_line() {
                    Some(teardown) => self.end(teardown),
                    None => self.answer_here(len, Answer::Hint(hint)),
                };
            }
        };
        match command {
            Command::Mail { sender, size } => {
                let limit = seen.settings.message;
                if limit > 0 && size.is_some_and(|size| size > limit) {
                    return self.answer_here(len, Answer::TooLarge);
                }
                self.about = sender.into_owned();
                self.state = State::Sender(len);
                Step::Ask(Question::Sender(&self.about))
            }
            Command::Rcpt { .. } if !self.transaction.is_open => {
                self.answer_here(len, Answer::Hint(Hint::NeedSender))
            }
            Command::Rcpt { recipient, has_notify } => {
                self.about = recipient.into_owned();
                self.state = State::Recipient { len, has_notify };
                Step::Ask(Question::Recipient(&self.about))
            }
            Command::Data => {
                self.state = State::Data(len);
                Step::Note(Fact::SendBegan)
            }
            Command::Ehlo => self.greet(len, Answer::Ehlo { is_known: false }),
            Command::Helo => self.greet(len, Answer::Helo),
            Command::Rset => self.send(Carried::Rset, len),
            Command::Noop | Command::Vrfy | Command::Help => self.send(Carried::Other, len),
            Command::Quit => self.send(Carried::Quit, len),
        }
    }

    fn send(&mut self, command: Carried, len: usize) -> Step<'_> {
        self.state = State::Reply(command);
        Step::Forward { from: Side::Workstation, bytes: len }
    }

    fn answer_here(&mut self, len: usize, answer: Answer) -> Step<'_> {
        self.state = State::Answer(0, answer);
        Step::Skip { from: Side::Workstation, bytes: len }
    }

    /// EHLO and HELO are like RSET (RFC 5321 section 4.1.4). Without a transaction there is nothing
    /// to reset.
    fn greet(&mut self, len: usize, answer: Answer) -> Step<'_> {
        let is_open = std::mem::take(&mut self.transaction).is_open;
        self.state = match is_open {
            true => State::Reset(AfterReset::Answer(answer)),
            false => State::Answer(0, answer),
        };
        Step::Skip { from: Side::Workstation, bytes: len }
    }

    fn data(&mut self, len: usize, seen: Seen<'_>) -> Step<'_> {
        let transaction = std::mem::take(&mut self.transaction);
        let none = Answer::Hint(Hint::NeedTransaction);
        self.state = match transaction {
            Transaction { recipients: 1.., .. } => {
                State::Message(Box::new(Message::new(transaction, seen.settings.header)))
            }
            // Nothing is asked of the client module that it could only refuse.
            Transaction { is_open: true, .. } => State::Reset(AfterReset::Answer(none)),
            Transaction { is_open: false, .. } => State::Answer(0, none),
        };
        Step::Skip { from: Side::Workstation, bytes: len }
    }

    fn message(&mut self, message: Box<Message>, seen: Seen<'_>) -> Step<'_> {
        let after = match message.outcome() {
            None => {
                self.state = State::Message(message);
                let State::Message(message) = &mut self.state else { return Step::Poll };
                return message.step(seen, &self.account);
            }
            Some(Outcome::Done) => return self.next_command(seen),
            Some(Outcome::End(teardown)) => return self.end(teardown),
            Some(Outcome::Reset) => AfterReset::Command,
            Some(Outcome::Refused(question, reason)) => {
                self.about = message.about(question);
                AfterReset::Answer(Answer::Rule(reason))
            }
        };
        self.state = State::ResetReply(after);
        Step::Say { to: Side::ClientModule, words: b"RSET\r\n" }
    }

    /// Waits for the reply to a command of the workstation, and passes it on word for word.
    fn reply(&mut self, command: Carried, seen: Seen<'_>) -> Step<'_> {
        let reply = match reply(seen.client_module) {
            Ok(Some(reply)) => reply,
            Ok(None) => return self.wait(State::Reply(command), seen),
            Err(reason) => return self.end(Teardown::refused(reason)),
        };
        if is_no_answer(reply) {
            return self.end(Teardown::refused(Reason::ClientModuleProtocolError));
        }
        // 421 announces that the client module closes the connection (RFC 5321 section 3.8).
        let goodbye = (reply.code == 421).then_some(Why::Replied(Reason::RejectedByClientModule));
        if command == Carried::Quit {
            let why = goodbye.unwrap_or(Why::Quit);
            return self.end(Teardown { farewell: reply.len, ..Teardown::new(why) });
        }
        if reply.is_positive() {
            self.transaction.accept(command);
        }
        self.state = goodbye.map_or(State::Command, |why| State::Over(Teardown::new(why)));
        Step::Forward { from: Side::ClientModule, bytes: reply.len }
    }

    fn reset_reply(&mut self, after: AfterReset, seen: Seen<'_>) -> Step<'_> {
        let reply = match reply(seen.client_module) {
            Ok(Some(reply)) => reply,
            Ok(None) => return self.wait(State::ResetReply(after), seen),
            Err(reason) => return self.end(Teardown::refused(reason)),
        };
        self.state = match (reply.is_positive(), after) {
            (true, AfterReset::Answer(answer)) => State::Answer(0, answer),
            (true, AfterReset::Command) => State::Command,
            (false, _) => State::Over(Teardown::refused(Reason::ClientModuleProtocolError)),
        };
        Step::Skip { from: Side::ClientModule, bytes: reply.len }
    }

    /// Waits for the client module. When the workstation vanishes, what is under way is not wanted
    /// any more.
    fn wait(&mut self, state: State, seen: Seen<'_>) -> Step<'_> {
        if seen.workstation.eof == Some(PeerEof::Cut) {
            return self.end(Teardown::new(Why::Vanished));
        }
        self.state = state;
        Step::Wait {
            workstation: Attention::Watch,
            client_module: Attention::Need,
            limit: Limit::Stall,
        }
    }

    fn answer(&mut self, answer: Answer, seen: Seen<'_>) -> Step<'_> {
        match answer {
            Answer::Hint(hint) => return Step::Refuse(Refusal::Command(hint)),
            Answer::Rule(reason) => {
                return Step::Refuse(Refusal::Rule { reason, about: &self.about });
            }
            Answer::TooLarge => {
                let reason = Reason::MessageTooLarge;
                return Step::Refuse(Refusal::Rule { reason, about: "" });
            }
            Answer::Ehlo { is_known: false } => {
                self.state = State::Answer(0, answer);
                return Step::Ask(Question::Offer);
            }
            Answer::Ehlo { is_known: true } => {
                let sign = if self.words.is_empty() { ' ' } else { '-' };
                let first = format!("250{sign}{}\r\n", seen.settings.name);
                self.words.splice(0..0, first.into_bytes());
            }
            Answer::Helo => self.words = format!("250 {}\r\n", seen.settings.name).into_bytes(),
        }
        Step::Say { to: Side::Workstation, words: &self.words }
    }

    fn end(&mut self, teardown: Teardown) -> Step<'_> {
        self.state = State::Over(teardown);
        Step::End(teardown)
    }
}

impl Transaction {
    /// The client module accepted this command.
    fn accept(&mut self, command: Carried) {
        match command {
            Carried::Mail => *self = Self { is_open: true, ..Self::default() },
            Carried::Rcpt { has_receipts } => {
                self.recipients += 1;
                self.has_receipts |= has_receipts;
            }
            Carried::Rset => *self = Self::default(),
            Carried::Other | Carried::Quit => {}
        }
    }
}

const CRLF: &[u8] = b"\r\n";

/// The reply that a client module has sent, if it is complete. Bytes after a reply answer nothing.
pub(super) fn reply(client_module: Unread<'_>) -> Result<Option<Reply>, Reason> {
    let Unread { bytes, eof } = client_module;
    match ReplyScan::new().scan(bytes) {
        Ok(Some(reply)) if reply.len == bytes.len() => Ok(Some(reply)),
        Ok(None) if eof.is_some() => Err(Reason::ClientModuleUnreachable),
        Ok(None) => Ok(None),
        Ok(Some(_)) | Err(_) => Err(Reason::ClientModuleProtocolError),
    }
}

/// What cannot be the answer to a command. An intermediate reply (3yz) answers DATA alone. 530 comes
/// after a RSET from a client module that has forgotten the login; the workstation would ask its
/// user for a password. It connects again instead, and logs in again.
pub(super) fn is_no_answer(reply: Reply) -> bool {
    reply.code / 100 == 3 || reply.code == NOT_LOGGED_IN
}

/// The line with a wish for delivery receipts (RFC 3461 section 4.1).
fn with_notify(line: &[u8]) -> Vec<u8> {
    [line, b" NOTIFY=SUCCESS,FAILURE,DELAY\r\n"].concat()
}

/// What is announced after the login, as lines of a reply without its first one. The login is done,
/// so AUTH is not among them (RFC 4954 section 4).
fn offered_after_login(lines: &[String]) -> String {
    let offered: Vec<&String> = lines.iter().filter(|line| !line.starts_with("AUTH")).collect();
    let sign = |at| if at + 1 < offered.len() { '-' } else { ' ' };
    offered.iter().enumerate().map(|(at, line)| format!("250{}{line}\r\n", sign(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_receipts_changes_nothing_else_in_the_line() {
        assert_eq!(
            with_notify(b"RCPT TO:<a@b> ORCPT=rfc822;a@b"),
            b"RCPT TO:<a@b> ORCPT=rfc822;a@b NOTIFY=SUCCESS,FAILURE,DELAY\r\n"
        );
    }

    #[test]
    fn ehlo_after_the_login_offers_no_login() {
        let offered = |lines: &[&str]| {
            offered_after_login(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            offered(&["SIZE 100", "AUTH LOGIN PLAIN", "DSN"]),
            "250-SIZE 100\r\n250 DSN\r\n"
        );
        assert_eq!(offered(&["AUTH PLAIN"]), "");
    }
}

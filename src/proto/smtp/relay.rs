//! An SMTP session after its login: one command at a time goes to the client module. Sender and
//! recipients are judged on the way; what DATA begins is in `message`.

use super::command::{Command, parse};
use super::message::{Message, Outcome};
use super::reply::{Reply, scan_reply};
use crate::proto::refusal::Hint;
use crate::proto::relay::{
    self, Attention, Fact, Limit, Next, NextCommand, PeerEof, Question, Refusal, Seen, Side, Step,
    StepReport, Teardown, Unread, Verdict, Why, broken_silence, is_goodbye,
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
    /// Bytes of the command line that is carried out, with its CRLF.
    line: usize,
    /// The account as a mail address, for the read receipts that are asked for.
    account: String,
    transaction: Transaction,
    /// The message that is sent.
    message: Option<Box<Message>>,
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

#[derive(Clone, Copy)]
enum State {
    /// The workstation's next command is due.
    Command,
    /// The owner was asked whether MAIL may go on, with the sender in `about`.
    AskSender,
    /// The owner was asked whether RCPT may go on, with the recipient in `about`.
    AskRecipient {
        has_notify: bool,
    },
    /// RCPT may go on, and the owner was asked whether client modules offer DSN.
    AskReceipts,
    /// RCPT was dropped, and `words` go to the client module in its place.
    SendWords,
    /// The client module has the command.
    AwaitReply(Carried),
    /// The client module was polled before a RSET of kimgate's own.
    BeforeReset(AfterReset),
    /// The client module has that RSET.
    AwaitResetReply(AfterReset),
    /// The command line was dropped, and kimgate answers it.
    OwnReply(OwnReply),
    /// EHLO was dropped, and the owner was asked what is announced.
    AskOffer,
    /// DATA was noted.
    Data,
    /// DATA was dropped, and `message` goes on with it.
    Message,
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
    OwnReply(OwnReply),
    /// The next command: the workstation has its answer.
    Command,
}

/// An answer of kimgate's own.
#[derive(Clone, Copy)]
enum OwnReply {
    Command(Hint),
    /// For what is in `about`.
    Rule(Reason),
    TooLarge,
    Ehlo,
    Helo,
    /// What is in `words`.
    Words,
}

impl relay::Relay for Relay {
    fn step(&mut self, seen: Seen<'_>, report: StepReport) -> Step<'_> {
        if matches!(self.state, State::Message) {
            return self.message(seen, report);
        }
        if let StepReport::Unwritable(side) = report {
            return self.unwritable(side);
        }
        if report == StepReport::Late {
            return self.late();
        }
        match self.state {
            State::Command => self.next_command(seen, &report),
            State::AskSender => match report.verdict() {
                None => Step::Ask(Question::Sender(&self.about)),
                Some(Verdict::Pass) => self.send(Carried::Mail),
                Some(Verdict::Refuse(reason)) => self.refuse_address(reason),
            },
            State::AskRecipient { has_notify } => match report.verdict() {
                None => Step::Ask(Question::Recipient(&self.about)),
                Some(Verdict::Pass) if !has_notify && seen.settings.delivery_receipts => {
                    self.state = State::AskReceipts;
                    Step::AskOffer
                }
                Some(Verdict::Pass) => self.send(Carried::Rcpt { has_receipts: false }),
                Some(Verdict::Refuse(reason)) => self.refuse_address(reason),
            },
            State::AskReceipts => match report.offer() {
                None => Step::AskOffer,
                Some(lines) if lines.iter().any(|line| line.eq_ignore_ascii_case("DSN")) => {
                    let line = &seen.workstation.bytes[..self.line - CRLF.len()];
                    self.words = with_notify(line);
                    self.state = State::SendWords;
                    Step::Skip { from: Side::Workstation, bytes: self.line }
                }
                Some(_) => self.send(Carried::Rcpt { has_receipts: false }),
            },
            State::SendWords => {
                self.state = State::AwaitReply(Carried::Rcpt { has_receipts: true });
                Step::Say { to: Side::ClientModule, words: &self.words }
            }
            State::AwaitReply(command) => self.await_reply(command, seen),
            State::BeforeReset(after) => self.reset(after, seen),
            State::AwaitResetReply(after) => self.await_reset_reply(after, seen),
            State::OwnReply(reply) => self.own_reply(reply, seen),
            State::AskOffer => match report.offer() {
                None => Step::AskOffer,
                Some(lines) => {
                    self.words = ehlo(&seen.settings.name, lines).into_bytes();
                    self.own_reply(OwnReply::Words, seen)
                }
            },
            State::Data => self.data(seen),
            State::Message => self.message(seen, report),
            State::Over(teardown) => Step::End(teardown),
        }
    }
}

impl Relay {
    /// For a session of this account, a mail address.
    pub fn new(account: &str) -> Self {
        Self {
            state: State::Command,
            next: NextCommand::default(),
            line: 0,
            account: account.into(),
            transaction: Transaction::default(),
            message: None,
            about: String::new(),
            words: Vec::new(),
        }
    }

    fn next_command(&mut self, seen: Seen<'_>, report: &StepReport) -> Step<'_> {
        let line = match self.next.next(GOODBYE, seen, report) {
            Next::Step(step) => return step,
            Next::Line(line) => line,
        };
        self.line = line.wire;
        let command = match parse(line.text) {
            Ok(command) => command,
            Err(hint) => {
                return match self.next.count_bad_line() {
                    Some(teardown) => self.end(teardown),
                    None => self.drop_line(State::OwnReply(OwnReply::Command(hint))),
                };
            }
        };
        match command {
            Command::Mail { sender, size } => {
                let limit = seen.settings.message;
                if limit > 0 && size.is_some_and(|size| size > limit) {
                    return self.drop_line(State::OwnReply(OwnReply::TooLarge));
                }
                self.about = sender.into_owned();
                self.state = State::AskSender;
                Step::Ask(Question::Sender(&self.about))
            }
            Command::Rcpt { .. } if !self.transaction.is_open => {
                self.drop_line(State::OwnReply(OwnReply::Command(Hint::NeedSender)))
            }
            Command::Rcpt { recipient, has_notify } => {
                self.about = recipient.into_owned();
                self.state = State::AskRecipient { has_notify };
                Step::Ask(Question::Recipient(&self.about))
            }
            Command::Data => {
                self.state = State::Data;
                Step::Note(Fact::SendBegan)
            }
            Command::Ehlo => self.greet(OwnReply::Ehlo),
            Command::Helo => self.greet(OwnReply::Helo),
            Command::Rset => self.send(Carried::Rset),
            Command::Noop | Command::Vrfy | Command::Help => self.send(Carried::Other),
            Command::Quit => self.send(Carried::Quit),
        }
    }

    fn send(&mut self, command: Carried) -> Step<'_> {
        self.state = State::AwaitReply(command);
        Step::Forward { from: Side::Workstation, bytes: self.line }
    }

    fn drop_line(&mut self, next: State) -> Step<'_> {
        self.state = next;
        Step::Skip { from: Side::Workstation, bytes: self.line }
    }

    fn refuse_address(&mut self, reason: Reason) -> Step<'_> {
        self.about = format!("<{}>", self.about);
        self.drop_line(State::OwnReply(OwnReply::Rule(reason)))
    }

    /// EHLO and HELO are like RSET (RFC 5321 section 4.1.4). Without a transaction there is nothing
    /// to reset.
    fn greet(&mut self, reply: OwnReply) -> Step<'_> {
        let is_open = std::mem::take(&mut self.transaction).is_open;
        self.drop_line(match is_open {
            true => State::BeforeReset(AfterReset::OwnReply(reply)),
            false => State::OwnReply(reply),
        })
    }

    fn data(&mut self, seen: Seen<'_>) -> Step<'_> {
        let transaction = std::mem::take(&mut self.transaction);
        let refusal = OwnReply::Command(Hint::NeedTransaction);
        if transaction.recipients > 0 {
            let message = Message::new(transaction, seen.settings.header, &self.account);
            self.message = Some(Box::new(message));
            return self.drop_line(State::Message);
        }
        // DATA is not sent, because the client module could only refuse it.
        self.drop_line(match transaction.is_open {
            true => State::BeforeReset(AfterReset::OwnReply(refusal)),
            false => State::OwnReply(refusal),
        })
    }

    fn message(&mut self, seen: Seen<'_>, report: StepReport) -> Step<'_> {
        let outcome = match &self.message {
            Some(message) => message.outcome(),
            None => Some(Outcome::Done),
        };
        let after = match outcome {
            None => {
                let message = self.message.as_mut();
                return message.map_or(Step::Poll, |message| message.step(seen, &report));
            }
            Some(Outcome::Done) => None,
            Some(Outcome::End(teardown)) => return self.end(teardown),
            Some(Outcome::Reset) => Some(AfterReset::Command),
            Some(Outcome::Refused { about, reason }) => {
                self.about = about;
                Some(AfterReset::OwnReply(OwnReply::Rule(reason)))
            }
        };
        self.message = None;
        if let StepReport::Unwritable(side) = report {
            return self.unwritable(side);
        }
        match after {
            None => {
                self.state = State::Command;
                self.next_command(seen, &report)
            }
            Some(after) => {
                self.state = State::BeforeReset(after);
                Step::Poll
            }
        }
    }

    /// Waits for the reply to a command of the workstation, and passes it on word for word.
    fn await_reply(&mut self, command: Carried, seen: Seen<'_>) -> Step<'_> {
        let reply = match reply(seen.client_module) {
            Ok(Some(reply)) => reply,
            Ok(None) => return self.wait(seen),
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

    /// Sends RSET, unseen by the workstation. What the client module said before is no answer to it:
    /// a message that was read and dropped may have taken its time.
    fn reset(&mut self, after: AfterReset, seen: Seen<'_>) -> Step<'_> {
        match broken_silence(GOODBYE, seen.client_module) {
            Some(reason) => self.end(Teardown::refused(reason)),
            None => {
                self.state = State::AwaitResetReply(after);
                Step::Say { to: Side::ClientModule, words: b"RSET\r\n" }
            }
        }
    }

    fn await_reset_reply(&mut self, after: AfterReset, seen: Seen<'_>) -> Step<'_> {
        let reply = match reply(seen.client_module) {
            Ok(Some(reply)) => reply,
            Ok(None) => return self.wait(seen),
            Err(reason) => return self.end(Teardown::refused(reason)),
        };
        self.state = match (reply.is_positive(), after) {
            (true, AfterReset::OwnReply(reply)) => State::OwnReply(reply),
            (true, AfterReset::Command) => State::Command,
            (false, _) => State::Over(Teardown::refused(Reason::ClientModuleProtocolError)),
        };
        Step::Skip { from: Side::ClientModule, bytes: reply.len }
    }

    /// Waits for the client module. When the workstation vanishes, what is under way is not wanted
    /// any more.
    fn wait(&mut self, seen: Seen<'_>) -> Step<'_> {
        if seen.workstation.eof == Some(PeerEof::Cut) {
            return self.end(Teardown::new(Why::Vanished));
        }
        Step::Wait {
            workstation: Attention::Watch,
            client_module: Attention::Need,
            limit: Limit::Stall,
        }
    }

    fn own_reply(&mut self, reply: OwnReply, seen: Seen<'_>) -> Step<'_> {
        self.state = State::Command;
        match reply {
            OwnReply::Command(hint) => return Step::Refuse(Refusal::Command(hint)),
            OwnReply::Rule(reason) => {
                return Step::Refuse(Refusal::Rule { reason, about: &self.about });
            }
            OwnReply::TooLarge => {
                let reason = Reason::MessageTooLarge;
                return Step::Refuse(Refusal::Rule { reason, about: "" });
            }
            OwnReply::Ehlo => {
                self.state = State::AskOffer;
                return Step::AskOffer;
            }
            OwnReply::Helo => self.words = format!("250 {}\r\n", seen.settings.name).into_bytes(),
            OwnReply::Words => {}
        }
        Step::Say { to: Side::Workstation, words: &self.words }
    }

    fn late(&mut self) -> Step<'_> {
        let is_asked = matches!(self.state, State::AwaitReply(_) | State::AwaitResetReply(_));
        let reason = if is_asked { Reason::ClientModuleUnreachable } else { Reason::Timeout };
        self.end(Teardown::refused(reason))
    }

    fn unwritable(&mut self, side: Side) -> Step<'_> {
        self.end(Teardown::new(match side {
            Side::Workstation => Why::Vanished,
            Side::ClientModule => Why::Refused(Reason::ClientModuleUnreachable),
        }))
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

/// The reply that a client module has sent, if it is complete. A goodbye after it takes nothing of it
/// back, and ends the session at the next command. Other bytes after a reply answer nothing, so the
/// reply may be a late one and the answer may be among them.
pub(super) fn reply(client_module: Unread<'_>) -> Result<Option<Reply>, Reason> {
    let Unread { bytes, eof } = client_module;
    match scan_reply(bytes) {
        Ok(Some(reply)) if is_goodbye(GOODBYE, &bytes[reply.len..]) => Ok(Some(reply)),
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

/// The answer to EHLO. The login is done, so AUTH is not offered (RFC 4954 section 4).
fn ehlo(name: &str, lines: &[String]) -> String {
    let offered = lines.iter().map(String::as_str).filter(|line| !line.starts_with("AUTH"));
    let lines: Vec<&str> = std::iter::once(name).chain(offered).collect();
    let sign = |at| if at + 1 < lines.len() { '-' } else { ' ' };
    lines.iter().enumerate().map(|(at, line)| format!("250{}{line}\r\n", sign(at))).collect()
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
        let ehlo = |lines: &[&str]| {
            ehlo("gw", &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            ehlo(&["SIZE 100", "AUTH LOGIN PLAIN", "DSN"]),
            "250-gw\r\n250-SIZE 100\r\n250 DSN\r\n"
        );
        assert_eq!(ehlo(&["AUTH PLAIN"]), "250 gw\r\n");
    }
}

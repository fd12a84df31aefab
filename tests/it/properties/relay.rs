//! An owner of relay machines that has no sockets. It shows them what both peers have sent, in
//! pieces, does what they say, and checks each step against what no machine may do.

use std::collections::VecDeque;

use kimgate::proto::dot::DotScan;
use kimgate::proto::relay::{
    Attention, Fact, Limit, PeerEof, Question, Refusal, Relay, Seen, Service, Settings, Side, Step,
    Teardown, Unread, Verdict, Why,
};
use kimgate::words::Reason;

/// Bytes of a command line and of a header block that the machines read here.
pub(crate) const COMMAND_LINE: usize = 64;
pub(crate) const HEADER: usize = 256;
/// Bytes of the longest piece that a peer may send here.
const PIECE: usize = 4096;

/// What a peer does when it is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Send(Vec<u8>),
    End(PeerEof),
    /// It reads nothing any more.
    StopReading,
    /// Nothing, until the limit passes.
    Sleep,
}

/// Both peers, the rules, and the configuration.
pub(crate) struct World {
    pub(crate) workstation: VecDeque<Act>,
    /// What the client module does whatever it gets.
    pub(crate) client_module: VecDeque<Act>,
    /// What it says to each command and to each message, in pieces.
    pub(crate) answers: VecDeque<Vec<Vec<u8>>>,
    /// Whether a question is answered with no, one after the other and then again from the first.
    pub(crate) refusals: Vec<bool>,
    /// Where both peers could act: small numbers let the client module act.
    pub(crate) dice: Vec<u8>,
    pub(crate) offers: Vec<String>,
    pub(crate) settings: Settings,
}

/// What came of a session. It does not depend on how the peers' bytes were cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) to_workstation: Vec<u8>,
    pub(crate) to_client_module: Vec<u8>,
    /// Refusals, questions and facts, in their order.
    pub(crate) log: Vec<String>,
    pub(crate) end: Option<Teardown>,
}

impl World {
    /// A client module that answers each command and each message as it should.
    pub(crate) fn dutiful(workstation: VecDeque<Act>, answers: VecDeque<Vec<Vec<u8>>>) -> Self {
        Self {
            workstation,
            client_module: VecDeque::new(),
            answers,
            refusals: Vec::new(),
            dice: vec![0],
            offers: ["SIZE 100", "AUTH PLAIN", "DSN"].map(String::from).into(),
            settings: Settings {
                name: "gw".into(),
                command_line: COMMAND_LINE,
                header: HEADER,
                message: 0,
                middleware_header: false,
                delivery_receipts: false,
                read_receipts: false,
            },
        }
    }

    /// Drives a machine to the end of its session.
    pub(crate) fn drive(self, relay: &mut dyn Relay) -> Outcome {
        let mut owner = Owner {
            world: self,
            workstation: Connection::default(),
            client_module: Connection::default(),
            at_client_module: Place::Commands { is_open: false },
            has_quit: false,
            is_final_line_next: false,
            asked: 0,
            outcome: Outcome::default(),
        };
        for _ in 0..200_000 {
            if owner.step(relay) {
                return owner.outcome;
            }
        }
        panic!("no end after 200,000 steps");
    }
}

struct Owner {
    world: World,
    workstation: Connection,
    client_module: Connection,
    at_client_module: Place,
    /// The workstation's QUIT was passed on.
    has_quit: bool,
    is_final_line_next: bool,
    asked: usize,
    outcome: Outcome,
}

/// What a peer has sent, and whether it still listens.
#[derive(Default)]
struct Connection {
    unread: Vec<u8>,
    eof: Option<PeerEof>,
    is_deaf: bool,
}

/// How the client module understands what it gets next.
enum Place {
    /// As a command, which it may get when the one before is answered.
    Commands { is_open: bool },
    /// As a part of a message.
    Message(DotScan),
}

impl Connection {
    fn seen(&self) -> Unread<'_> {
        Unread { bytes: &self.unread, eof: self.eof }
    }

    /// Whether this brought something.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Send(bytes) => self.unread.extend(bytes),
            Act::End(eof) => self.eof = Some(eof),
            Act::StopReading => self.is_deaf = true,
            Act::Sleep => return false,
        }
        true
    }
}

impl Owner {
    /// Does one step; says whether it was the last one.
    fn step(&mut self, relay: &mut dyn Relay) -> bool {
        let step = relay.step(Seen {
            settings: &self.world.settings,
            workstation: self.workstation.seen(),
            client_module: self.client_module.seen(),
        });
        match step {
            Step::Wait { workstation, client_module, limit } => {
                if !self.wait(workstation, client_module, limit) {
                    self.outcome.log.push(format!("{limit:?} has passed"));
                    relay.late();
                }
            }
            Step::Poll => {
                if self.world.dice() < 2
                    && let Some(act) = self.world.client_module.pop_front()
                {
                    self.client_module.act(act);
                }
            }
            Step::Forward { from: Side::Workstation, bytes } => {
                let piece = take(&mut self.workstation, bytes);
                if !self.give_client_module(&piece, false) {
                    relay.unwritable(Side::ClientModule);
                }
            }
            Step::Forward { from: Side::ClientModule, bytes } => {
                let piece = take(&mut self.client_module, bytes);
                self.answered();
                if !self.give_workstation(&piece) {
                    relay.unwritable(Side::Workstation);
                }
            }
            Step::Skip { from: Side::Workstation, bytes } => {
                take(&mut self.workstation, bytes);
            }
            Step::Skip { from: Side::ClientModule, bytes } => {
                self.answered();
                if take(&mut self.client_module, bytes).starts_with(b"354") {
                    self.at_client_module = Place::Message(DotScan::lenient());
                }
            }
            Step::Say { to: Side::ClientModule, words } => {
                let words = words.to_vec();
                if !self.give_client_module(&words, true) {
                    relay.unwritable(Side::ClientModule);
                }
            }
            Step::Say { to: Side::Workstation, words } => {
                assert!(words.ends_with(b"\r\n"));
                let words = words.to_vec();
                if !self.give_workstation(&words) {
                    relay.unwritable(Side::Workstation);
                }
            }
            Step::Refuse(refusal) => {
                let line = match refusal {
                    Refusal::Command(hint) => format!("<{hint:?}>\r\n"),
                    Refusal::Rule { reason, about } => format!("<{reason} {about}>\r\n"),
                };
                if !self.give_workstation(line.as_bytes()) {
                    relay.unwritable(Side::Workstation);
                }
            }
            Step::Ask(Question::Offer) => relay.offer(&self.world.offers),
            Step::Ask(Question::Command) => relay.verdict(Verdict::Pass),
            Step::Ask(question) => {
                let question = shown(question);
                relay.verdict(self.judge(&question));
            }
            Step::Note(fact) => {
                let line = told(&fact, &self.client_module.unread);
                self.is_final_line_next |= matches!(fact, Fact::SendEnded);
                self.outcome.log.push(line);
            }
            Step::End(teardown) => {
                let farewell = take(&mut self.client_module, teardown.farewell);
                self.give_workstation(&farewell);
                assert!(teardown.why != Why::Quit || self.has_quit, "a proper end without QUIT");
                self.outcome.end = Some(Teardown { farewell: 0, ..teardown });
                return true;
            }
        }
        false
    }

    /// Lets a peer act; says whether one did.
    fn wait(&mut self, workstation: Attention, client_module: Attention, limit: Limit) -> bool {
        if workstation == Attention::Need {
            let most = COMMAND_LINE.max(HEADER) + PIECE;
            assert!(self.workstation.unread.len() <= most, "keeps more than its limits allow");
        }
        // A client module mostly keeps silent where it should.
        let rarely = limit == Limit::Idle || client_module == Attention::Watch;
        let dice = self.world.dice();
        let may_act = client_module != Attention::Ignore && self.client_module.eof.is_none();
        let has_turn = may_act && (dice < 200 && !rarely || dice < 8);
        if has_turn && let Some(act) = self.world.client_module.pop_front() {
            return self.client_module.act(act);
        }
        if workstation != Attention::Ignore
            && self.workstation.eof.is_none()
            && let Some(act) = self.world.workstation.pop_front()
        {
            return self.workstation.act(act);
        }
        may_act
            && self.world.client_module.pop_front().is_some_and(|act| self.client_module.act(act))
    }

    fn judge(&mut self, question: &str) -> Verdict {
        let refusals = &self.world.refusals;
        let is_refused =
            refusals.get(self.asked % refusals.len().max(1)).copied().unwrap_or_default();
        self.asked += 1;
        self.outcome.log.push(format!("{question}: {}", if is_refused { "no" } else { "yes" }));
        if is_refused { Verdict::Refuse(Reason::NotAllowed) } else { Verdict::Pass }
    }

    fn give_workstation(&mut self, bytes: &[u8]) -> bool {
        self.outcome.to_workstation.extend(bytes);
        !self.workstation.is_deaf
    }

    /// Hands bytes to the client module, and checks that they have their place there.
    fn give_client_module(&mut self, bytes: &[u8], is_said: bool) -> bool {
        if self.client_module.is_deaf {
            return false;
        }
        let is_final_line = std::mem::take(&mut self.is_final_line_next);
        let is_whole = match &mut self.at_client_module {
            Place::Message(scan) => {
                let is_added = bytes.starts_with(b"X-KIM-Middleware: ")
                    || bytes.starts_with(b"Disposition-Notification-To: ");
                assert!(is_added || !is_said, "{}", bytes.escape_ascii());
                let has_ended = scan.scan(bytes).end.is_some();
                assert_eq!(has_ended, is_final_line, "only its final line ends a message");
                assert!(!is_final_line || bytes == b".\r\n" && !is_said);
                has_ended
            }
            Place::Commands { is_open } => {
                assert!(!*is_open, "two commands at once");
                let is_ours = [&b"RSET\r\n"[..], b"DATA\r\n"].contains(&bytes)
                    || bytes.ends_with(b" NOTIFY=SUCCESS,FAILURE,DELAY\r\n");
                assert!(is_ours || !is_said, "{}", bytes.escape_ascii());
                assert!(bytes.ends_with(b"\r\n"));
                assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
                self.has_quit |= bytes.to_ascii_uppercase().starts_with(b"QUIT");
                true
            }
        };
        if is_whole {
            self.at_client_module = Place::Commands { is_open: true };
            let answer = self.world.answers.pop_front().unwrap_or_default();
            self.world.client_module.extend(answer.into_iter().map(Act::Send));
        }
        self.outcome.to_client_module.extend(bytes);
        true
    }

    /// Something of the client module was used, so its command was answered.
    fn answered(&mut self) {
        if let Place::Commands { is_open } = &mut self.at_client_module {
            *is_open = false;
        }
    }
}

impl World {
    fn dice(&mut self) -> u8 {
        let first = self.dice.first().copied().unwrap_or_default();
        if !self.dice.is_empty() {
            self.dice.rotate_left(1);
        }
        first
    }
}

/// Uses up bytes that a peer has sent.
fn take(from: &mut Connection, bytes: usize) -> Vec<u8> {
    assert!(bytes <= from.unread.len(), "{bytes} of {} bytes", from.unread.len());
    from.unread.drain(..bytes).collect()
}

fn shown(question: Question<'_>) -> String {
    match question {
        Question::Sender(address) => format!("sender {address}"),
        Question::Recipient(address) => format!("recipient {address}"),
        Question::Service(Service::Named(name)) => format!("service {name}"),
        Question::Service(service) => format!("service {service:?}"),
        Question::Delete(number) => format!("delete {number}"),
        Question::Command | Question::Offer => String::new(),
    }
}

fn told(fact: &Fact<'_>, client_module: &[u8]) -> String {
    match fact {
        Fact::Received { number, bytes, is_complete, header } => {
            let services: Vec<&str> = header.values("X-KIM-Dienstkennung").collect();
            let part = if *is_complete { "" } else { " so far" };
            format!("received {number}, {bytes} bytes{part}, {services:?}")
        }
        Fact::Previewed { number, bytes, is_complete, header } => {
            let services: Vec<&str> = header.values("X-KIM-Dienstkennung").collect();
            let part = if *is_complete { "" } else { " so far" };
            format!("previewed {number}, {bytes} bytes of content{part}, {services:?}")
        }
        Fact::Sent { bytes, service, recipients, accepted, reply, added, .. } => {
            let reply = client_module[..*reply].escape_ascii();
            let accepted = accepted.map_err(Reason::as_str);
            format!("sent {bytes} bytes, {service:?}, {recipients}, {accepted:?} {reply}{added:?}")
        }
        Fact::RetrieveAsked
        | Fact::RetrieveBegan
        | Fact::Deleted { .. }
        | Fact::SendBegan
        | Fact::SendEnded => format!("{fact:?}"),
    }
}

//! An owner of relay machines that has no sockets. It shows them what both peers have sent, in
//! pieces, does what they say, and checks each step against what no machine may do.

use std::collections::{HashSet, VecDeque};

use kimgate::proto::dot::DotScan;
use kimgate::proto::relay::{
    Attention, Fact, Limit, PeerEof, Question, Refusal, Relay, Seen, Service, Settings, Side, Step,
    StepReport, Teardown, Uid, UidDue, Unread, Verdict, Why,
};
use kimgate::words::{Protocol, Reason};

/// Bytes of a command line and of a header block that the machines read here.
pub(crate) const COMMAND_LINE: usize = 64;
pub(crate) const HEADER: usize = 256;
/// Bytes of the longest piece that a peer may send here.
const PIECE: usize = 4096;
/// What a client module answers to RETR.
const MESSAGE: &[u8] =
    b"+OK\r\nX-KIM-Dienstkennung: eAU\r\nX-KIM-DecryptionResult: 00\r\n\r\n..\r\nhi\r\n.\r\n";

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
    /// When these have run out, it mostly answers as a client module of this protocol should.
    pub(crate) answers_as: Option<Protocol>,
    /// Whether a question is answered with no, one after the other and then again from the first.
    pub(crate) refusals: Vec<bool>,
    /// When the UID of a fetched message is wanted. Where it is, that of a deleted one is too.
    pub(crate) uid_due: Option<UidDue>,
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
            answers_as: None,
            refusals: Vec::new(),
            uid_due: None,
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
            has_data: false,
            is_final_line_next: false,
            has_final_line: false,
            has_gap: false,
            granted: HashSet::new(),
            kept: 0,
            is_owed: false,
            asked: 0,
            owed: None,
            report: StepReport::Done,
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
    /// DATA is the last command that was sent.
    has_data: bool,
    is_final_line_next: bool,
    /// The line that ends the message was sent, whether or not it arrived.
    has_final_line: bool,
    /// A part of the message that the client module has begun to get was dropped.
    has_gap: bool,
    /// What was answered with yes, each until it is made use of.
    granted: HashSet<Granted>,
    /// So many unread bytes are the end of a message that was answered.
    kept: usize,
    /// The message must be noted before its end is passed on.
    is_owed: bool,
    asked: usize,
    /// So many bytes are the answer to a message, which the workstation gets next.
    owed: Option<usize>,
    /// What came of the last step.
    report: StepReport,
    outcome: Outcome,
}

/// What takes a yes for each time.
#[derive(PartialEq, Eq, Hash)]
enum Granted {
    Command,
    /// The command that begins with these letters.
    This(&'static [u8]),
}

/// What a peer has sent, and whether it still listens.
#[derive(Default)]
struct Connection {
    unread: Vec<u8>,
    eof: Option<PeerEof>,
    is_deaf: bool,
    /// Something was written to it that may be on its way still.
    is_due: bool,
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
        let seen = Seen {
            settings: &self.world.settings,
            workstation: self.workstation.seen(),
            client_module: self.client_module.seen(),
        };
        let step = relay.step(seen, std::mem::replace(&mut self.report, StepReport::Done));
        match step {
            Step::Wait { workstation, client_module, limit } => {
                if let Some(side) = self.unflushed() {
                    self.report = StepReport::Unwritable(side);
                } else if !self.wait(workstation, client_module, limit) {
                    self.outcome.log.push(format!("{limit:?} has passed"));
                    self.report = StepReport::Late;
                }
            }
            Step::Poll => {
                if let Some(side) = self.unflushed() {
                    self.report = StepReport::Unwritable(side);
                } else if self.world.dice() < 2
                    && let Some(act) = self.world.client_module.pop_front()
                {
                    self.client_module.act(act);
                }
            }
            Step::Forward { from: Side::Workstation, bytes } => {
                let piece = take(&mut self.workstation, bytes);
                if !self.give_client_module(&piece, false) {
                    self.report = StepReport::Unwritable(Side::ClientModule);
                }
            }
            Step::Forward { from: Side::ClientModule, bytes } => {
                assert!(!self.is_owed, "the end of a message before its note");
                self.kept = 0;
                let piece = take(&mut self.client_module, bytes);
                assert_eq!(self.owed.take().unwrap_or(bytes), bytes, "a part of an answer");
                self.answered();
                if !self.give_workstation(&piece) {
                    self.report = StepReport::Unwritable(Side::Workstation);
                }
            }
            Step::Skip { from: Side::Workstation, bytes } => {
                take(&mut self.workstation, bytes);
                self.has_gap = matches!(self.at_client_module, Place::Message(_));
            }
            Step::Skip { from: Side::ClientModule, bytes } => {
                self.answered();
                if take(&mut self.client_module, bytes).starts_with(b"354") && self.has_data {
                    self.at_client_module = Place::Message(DotScan::lenient());
                    (self.has_gap, self.has_final_line) = (false, false);
                }
            }
            Step::Say { to: Side::ClientModule, words } => {
                let words = words.to_vec();
                if !self.give_client_module(&words, true) {
                    self.report = StepReport::Unwritable(Side::ClientModule);
                }
            }
            Step::Say { to: Side::Workstation, words } => {
                assert!(words.ends_with(b"\r\n"));
                let words = words.to_vec();
                if !self.give_workstation(&words) {
                    self.report = StepReport::Unwritable(Side::Workstation);
                }
            }
            Step::Refuse(refusal) => {
                let line = match refusal {
                    Refusal::Command(hint) => format!("<{hint:?}>\r\n"),
                    Refusal::Rule { reason, about } => format!("<{reason} {about}>\r\n"),
                };
                if !self.give_workstation(line.as_bytes()) {
                    self.report = StepReport::Unwritable(Side::Workstation);
                }
            }
            Step::AskOffer => self.report = StepReport::Offer(self.world.offers.clone()),
            Step::Ask(Question::Command) => {
                self.granted.insert(Granted::Command);
                self.report = StepReport::Verdict(Verdict::Pass);
            }
            Step::Ask(Question::Fetched { number, uid, .. }) => self.fetched(number, uid),
            Step::Ask(Question::Delete { uid: Uid::Unasked, .. })
                if self.world.uid_due.is_some() =>
            {
                self.report = StepReport::NeedUid(UidDue::Now);
            }
            Step::Ask(question) => {
                let (verb, question) = (judged(question), shown(question));
                self.report = StepReport::Verdict(self.judge(verb, &question));
            }
            Step::Note(fact) => {
                let line = told(&fact, &self.client_module.unread);
                self.is_final_line_next |= matches!(fact, Fact::SendEnded);
                if let Fact::Sent { accepted: Ok(true), reply, .. } = fact {
                    self.owed = Some(reply);
                }
                self.outcome.log.push(line);
            }
            Step::End(teardown) => {
                let farewell = take(&mut self.client_module, teardown.farewell);
                self.give_workstation(&farewell);
                assert!(teardown.why != Why::Quit || self.has_quit, "a proper end without QUIT");
                self.check_end(teardown);
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
            && !rarely
            && self.world.client_module.pop_front().is_some_and(|act| self.client_module.act(act))
    }

    /// Sees off what was written. Gives the side that does not take it.
    fn unflushed(&mut self) -> Option<Side> {
        let sides = [
            (Side::Workstation, &mut self.workstation),
            (Side::ClientModule, &mut self.client_module),
        ];
        sides.into_iter().find_map(|(side, peer)| {
            (std::mem::take(&mut peer.is_due) && peer.is_deaf).then_some(side)
        })
    }

    /// What the client module was given of a message that has no end must not look whole, and what became
    /// of each whole message is told.
    fn check_end(&self, teardown: Teardown) {
        let is_in_message = matches!(self.at_client_module, Place::Message(_));
        let looks_broken = matches!(teardown.why, Why::Vanished | Why::Broken(_));
        let told =
            |word: &str| self.outcome.log.iter().filter(|line| line.starts_with(word)).count();
        assert_eq!(told("sent "), told("SendEnded"), "what became of a message is told once");
        assert_eq!(self.owed, None, "an answer to a message that is noted and kept back");
        assert!(
            !is_in_message || teardown.is_unfinished || looks_broken || self.has_final_line,
            "a message without an end that looks whole"
        );
    }

    /// A message is here. Without its UID, it may have to be asked for.
    fn fetched(&mut self, number: u32, uid: Uid<'_>) {
        self.is_owed = false;
        self.report = StepReport::Verdict(Verdict::Pass);
        match (uid, self.world.uid_due) {
            (Uid::Unasked, None) => self.answered(),
            (Uid::Unasked, Some(due)) => {
                self.answered();
                self.is_owed = due == UidDue::Now;
                self.kept = if self.is_owed { self.client_module.unread.len() } else { 0 };
                self.report = StepReport::NeedUid(due);
            }
            (Uid::Unknown | Uid::Is(_), _) => {
                self.outcome.log.push(format!("fetched {number} {uid:?}"));
            }
        }
    }

    fn judge(&mut self, verb: &'static [u8], question: &str) -> Verdict {
        let refusals = &self.world.refusals;
        let is_refused =
            refusals.get(self.asked % refusals.len().max(1)).copied().unwrap_or_default();
        self.asked += 1;
        self.outcome.log.push(format!("{question}: {}", if is_refused { "no" } else { "yes" }));
        if is_refused {
            self.granted.remove(&Granted::This(verb));
            return Verdict::Refuse(Reason::NotAllowed);
        }
        self.granted.insert(Granted::This(verb));
        Verdict::Pass
    }

    fn give_workstation(&mut self, bytes: &[u8]) -> bool {
        self.outcome.to_workstation.extend(bytes);
        let is_kept = self.workstation.is_deaf && !self.world.dice().is_multiple_of(2);
        self.workstation.is_due = true;
        !self.workstation.is_deaf || is_kept
    }

    /// Hands bytes to the client module, and checks that they have their place there.
    fn give_client_module(&mut self, bytes: &[u8], is_said: bool) -> bool {
        self.client_module.is_due = true;
        let is_final_line = std::mem::take(&mut self.is_final_line_next);
        self.has_final_line |= is_final_line;
        if self.client_module.is_deaf && self.world.dice().is_multiple_of(2) {
            return false;
        }
        // It speaks where it has to listen, and takes nothing more.
        if self.world.answers_as.is_some()
            && self.client_module.eof.is_none()
            && self.world.dice() < 3
            && let Some(act) = self.world.client_module.pop_front()
        {
            self.client_module.act(act);
            return false;
        }
        let is_whole = match &mut self.at_client_module {
            Place::Message(scan) => {
                let is_added = bytes.starts_with(b"X-KIM-Middleware: ")
                    || bytes.starts_with(b"Disposition-Notification-To: ");
                assert!(is_added || !is_said, "{}", bytes.escape_ascii());
                assert!(!self.has_gap, "a message that goes on after a gap");
                let has_ended = scan.scan(bytes).end.is_some();
                assert_eq!(has_ended, is_final_line, "only its final line ends a message");
                assert!(!is_final_line || bytes == b".\r\n" && !is_said);
                has_ended
            }
            Place::Commands { is_open } => {
                assert!(!*is_open, "two commands at once");
                let is_uidl = is_said && bytes.starts_with(b"UIDL ");
                let is_ours = [&b"RSET\r\n"[..], b"DATA\r\n"].contains(&bytes)
                    || is_uidl
                    || bytes.ends_with(b" NOTIFY=SUCCESS,FAILURE,DELAY\r\n");
                assert!(is_ours || !is_said, "{}", bytes.escape_ascii());
                assert!(bytes.ends_with(b"\r\n"));
                assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
                let kept = if is_uidl { self.kept } else { 0 };
                assert_eq!(self.client_module.unread.len(), kept, "an answer before its command");
                assert!(kept == 0 || self.client_module.unread.ends_with(b"\n"));
                let command = bytes.to_ascii_uppercase();
                if !is_said || command.starts_with(b"RCPT") {
                    assert!(self.granted.remove(&Granted::Command), "a command without permission");
                }
                for verb in JUDGED.iter().filter(|verb| command.starts_with(verb)) {
                    assert!(self.granted.remove(&Granted::This(verb)), "what was not granted");
                }
                self.has_quit |= command.starts_with(b"QUIT");
                self.has_data = command.starts_with(b"DATA");
                true
            }
        };
        if is_whole {
            self.at_client_module = Place::Commands { is_open: true };
            match self.world.answers.pop_front() {
                Some(answer) => self.world.client_module.extend(answer.into_iter().map(Act::Send)),
                None => self.world.answer_properly(bytes),
            }
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
    /// Answers a command, or a message, as mostly is done.
    fn answer_properly(&mut self, asked: &[u8]) {
        let Some(protocol) = self.answers_as else { return };
        let is_improper = self.dice() >= 220;
        let cut = usize::from(self.dice());
        if is_improper {
            return;
        }
        let word = asked.to_ascii_uppercase();
        let answer: &[u8] = match (protocol, word.get(..4).unwrap_or(&word)) {
            (Protocol::Smtp, b"DATA") => b"354 go\r\n",
            (Protocol::Smtp, b"QUIT") => b"221 bye\r\n",
            (Protocol::Smtp, _) => b"250-a\r\n250 ok\r\n",
            (Protocol::Pop3, b"RETR" | b"TOP ") => MESSAGE,
            (Protocol::Pop3, b"LIST" | b"UIDL") if !word.contains(&b' ') => b"+OK\r\n1 9\r\n.\r\n",
            (Protocol::Pop3, _) => b"+OK 1 9\r\n",
        };
        let (first, more) = answer.split_at(cut.min(answer.len()));
        for piece in [more, first].into_iter().filter(|piece| !piece.is_empty()) {
            self.client_module.push_front(Act::Send(piece.to_vec()));
        }
    }

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

/// What a yes allows to send to the client module.
fn judged(question: Question<'_>) -> &'static [u8] {
    match question {
        Question::Sender(_) => b"MAIL",
        Question::Recipient(_) => b"RCPT",
        Question::Service(_) | Question::Author(_) => b"DATA",
        Question::Delete { .. } => b"DELE",
        Question::Command | Question::Fetched { .. } => b"",
    }
}

const JUDGED: [&[u8]; 4] = [b"MAIL", b"RCPT", b"DATA", b"DELE"];

fn shown(question: Question<'_>) -> String {
    match question {
        Question::Sender(address) => format!("sender {address}"),
        Question::Recipient(address) => format!("recipient {address}"),
        Question::Service(Service::Named(name)) => format!("service {name}"),
        Question::Service(service) => format!("service {service:?}"),
        Question::Author(author) => format!("{} {:?}", author.field, author.address),
        Question::Delete { number, uid: Uid::Unasked } => format!("delete {number}"),
        Question::Delete { number, uid } => format!("delete {number} {uid:?}"),
        Question::Command | Question::Fetched { .. } => String::new(),
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
        Fact::Sent { bytes, header, recipients, accepted, reply, added } => {
            let service = header.values("X-KIM-Dienstkennung").next();
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

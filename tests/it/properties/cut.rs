//! Dialogues through the relay machines, cut at every byte on both sides: the machines answer the same.

use std::collections::VecDeque;

use kimgate::proto::relay::{
    Attention, Fact, Limit, PeerEof, Question, Relay, Seen, Service, Side, Step, StepReport,
    Teardown, UidDue, Why,
};
use kimgate::proto::{pop3, smtp};
use kimgate::words::Reason;

use super::holds::relay::{Act, Outcome, World};

/// A session: what each side says, and what has to come of it.
#[derive(Clone, Copy)]
struct Dialogue<'a> {
    name: &'static str,
    /// All that the workstation says.
    workstation: &'static str,
    /// What the client module answers to each command and to each message.
    answers: &'a [&'static str],
    /// The answers to questions, `n` for no; then again from the first.
    verdicts: &'static str,
    to_workstation: &'static str,
    to_client_module: &'static str,
    log: &'static [&'static str],
    why: Why,
}

#[test]
fn a_pop3_session_is_the_same_however_it_is_cut() {
    for dialogue in POP3 {
        check(dialogue, &|| Box::new(pop3::Relay::default()));
    }
}

#[test]
fn an_smtp_session_is_the_same_however_it_is_cut() {
    for dialogue in SMTP {
        check(dialogue, &|| Box::new(smtp::Relay::new("a@b")));
    }
}

fn check(dialogue: &Dialogue<'_>, relay: &dyn Fn() -> Box<dyn Relay>) {
    let said = dialogue.workstation.as_bytes();
    let answered: usize = dialogue.answers.iter().map(|answer| answer.len()).sum();
    let whole = play(dialogue, &mut *relay(), &[said.len()], &[answered]);
    let name = dialogue.name;
    assert_eq!(text(&whole.to_workstation), dialogue.to_workstation, "{name}");
    assert_eq!(text(&whole.to_client_module), dialogue.to_client_module, "{name}");
    assert_eq!(whole.log, dialogue.log, "{name}");
    assert_eq!(whole.end.map(|end| end.why), Some(dialogue.why), "{name}");
    for cut in 1..said.len() {
        let cut_said = play(dialogue, &mut *relay(), &[cut, said.len()], &[answered]);
        assert_eq!(cut_said, whole, "{name}: the workstation cut at {cut}");
    }
    for cut in 1..answered {
        let cut_answer = play(dialogue, &mut *relay(), &[said.len()], &[cut, answered]);
        assert_eq!(cut_answer, whole, "{name}: the client module cut at {cut}");
    }
    let each = |length: usize| (1..=length).collect::<Vec<_>>();
    let by_bytes = play(dialogue, &mut *relay(), &each(said.len()), &each(answered));
    assert_eq!(by_bytes, whole, "{name}: byte by byte");
}

/// Where such a dot comes with the header block, the client module sees nothing of the message; where it
/// comes later, it has a part of it, and no end.
#[test]
fn an_ambiguous_dot_in_a_body_is_refused_however_it_is_cut() {
    let dialogue = Dialogue {
        name: "an ambiguous dot in a body",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\nhi\n.\r\nNOOP\r\n.\r\nNOOP\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "354 go\r\n"],
        verdicts: "",
        to_workstation: "",
        to_client_module: "",
        log: &[],
        why: Why::Replied(Reason::AmbiguousLineEnding),
    };
    for cut in 1..dialogue.workstation.len() {
        let cuts = [cut, dialogue.workstation.len()];
        let outcome = play(&dialogue, &mut smtp::Relay::new("a@b"), &cuts, &[usize::MAX]);
        let end = outcome.end.unwrap();
        let has_begun = text(&outcome.to_client_module).contains("DATA");
        assert_eq!((end.why, end.is_unfinished), (dialogue.why, has_begun), "cut at {cut}");
        assert!(!text(&outcome.to_client_module).contains("\n."), "cut at {cut}");
        assert!(text(&outcome.to_workstation).ends_with("<ambiguous-line-ending >\r\n"));
    }
}

/// Whatever of it was passed on, the workstation does not take it for a message that it has.
#[test]
fn a_message_that_could_not_be_noted_never_gets_its_end() {
    let dialogue = Dialogue {
        name: "noted before its end",
        workstation: "RETR 1\r\nQUIT\r\n",
        answers: &["+OK\r\na: b\r\n\r\nhi\r\n.\r\n", "250 what\r\n"],
        verdicts: "",
        to_workstation: "",
        to_client_module: "RETR 1\r\nUIDL 1\r\n",
        log: &[],
        why: UNASKED,
    };
    let (said, answer) = (dialogue.workstation.len(), dialogue.answers[0].len());
    for second in ["250 what\r\n", "", "+OK 1 a\r\n+OK\r\n"] {
        for cut in 1..=answer {
            let answers = [dialogue.answers[0], second];
            let dialogue = Dialogue { answers: &answers, ..dialogue };
            let cuts = [cut, answer + second.len()];
            let outcome = play(&dialogue, &mut pop3::Relay::default(), &[said], &cuts);
            let heard = text(&outcome.to_workstation);
            assert!(!heard.contains("\n.\r\n"), "{second:?} cut at {cut}: {heard:?}");
            let why = outcome.end.unwrap().why;
            let is_part = !heard.is_empty();
            let looks_broken = matches!(why, Why::Broken(_));
            assert_eq!(looks_broken, is_part, "{second:?} cut at {cut}: {heard:?}, {why:?}");
            assert!(matches!(why, Why::Broken(_) | Why::Refused(_)), "{second:?} cut at {cut}");
            assert_eq!(text(&outcome.to_client_module), dialogue.to_client_module);
        }
    }
}

/// A message that is read and dropped may take its time, and what the client module says meanwhile was
/// taken for the reply to the RSET after it.
#[test]
fn what_came_before_a_reset_is_not_its_reply() {
    for (unasked, reason) in [
        ("421 idle\r\n", Reason::ClientModuleUnreachable),
        ("250 late\r\n", Reason::ClientModuleProtocolError),
    ] {
        let said = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\n.\r\n";
        let answers = [vec![b"250 ok\r\n".to_vec()], vec![b"250 ok\r\n".to_vec(), unasked.into()]];
        let mut world = World::dutiful([Act::Send(said.into())].into(), VecDeque::from(answers));
        world.refusals = vec![false, false, true];
        // It speaks at the seventh look, after the message was dropped.
        world.dice = vec![255, 255, 255, 255, 255, 255, 0];
        let outcome = world.drive(&mut smtp::Relay::new("a@b"));
        assert_eq!(outcome.end.map(|end| end.why), Some(Why::Refused(reason)), "{unasked}");
        let heard = text(&outcome.to_client_module);
        assert_eq!(heard, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", "{unasked}");
    }
}

/// Only a goodbye leaves an answer its worth. Other words in the same piece may be the answer, and the
/// first one a late one; a goodbye in place of the message's beginning leaves nothing to acknowledge.
#[test]
fn what_else_comes_with_an_answer_takes_its_worth() {
    let said = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\n.\r\nNOOP\r\n";
    for (to_data, to_message, why, sent) in [
        ("354 go\r\n", "250 sent\r\n250 late\r\n", UNASKED, true),
        ("354 go\r\n", "250 sent\r\n550 no\r\n", UNASKED, true),
        ("354 go\r\n", "250 sent\r\n42x\r\n", UNASKED, true),
        ("354 go\r\n421 bye\r\n", "", GONE, false),
        ("354 go\r\n250 late\r\n", "", UNASKED, false),
    ] {
        let answers = ["250 ok\r\n", "250 ok\r\n", to_data, to_message];
        let answers = answers.map(|answer| vec![answer.as_bytes().to_vec()]);
        let world = World::dutiful([Act::Send(said.into())].into(), answers.into());
        let outcome = world.drive(&mut smtp::Relay::new("a@b"));
        assert_eq!(outcome.end.map(|end| end.why), Some(why), "{to_data}{to_message}");
        assert!(!text(&outcome.to_workstation).contains("sent"), "{to_data}{to_message}");
        let heard = text(&outcome.to_client_module);
        assert_eq!(heard.ends_with("\r\n.\r\n"), sent, "{heard}");
    }
}

/// A machine that takes these steps, whatever it is shown.
struct Planted(VecDeque<Step<'static>>);

impl Relay for Planted {
    fn step(&mut self, _: Seen<'_>, _: StepReport) -> Step<'_> {
        self.0.pop_front().unwrap_or(Step::End(Teardown::new(Why::Left)))
    }
}

#[test]
fn a_step_that_must_not_be_is_found() {
    let wait = |client_module| Step::Wait {
        workstation: Attention::Need,
        client_module,
        limit: Limit::Stall,
    };
    let hear = wait(Attention::Ignore);
    let may = Step::Ask(Question::Command);
    let forward = |bytes| Step::Forward { from: Side::Workstation, bytes };
    let skip = |from, bytes| Step::Skip { from, bytes };
    let say = |words| Step::Say { to: Side::ClientModule, words };
    let begun = [
        hear,
        Step::Ask(Question::Service(Service::Missing)),
        say(b"DATA\r\n"),
        wait(Attention::Need),
        skip(Side::ClientModule, 8),
    ];
    let in_message = |steps: &[Step<'static>]| [&begun[..], steps].concat();
    let end = |why| Step::End(Teardown::new(why));
    let refused = end(Why::Refused(Reason::Timeout));
    let planted: [(&str, Vec<Step<'static>>); 14] = [
        ("99 of 15 bytes", vec![hear, may, forward(99)]),
        ("QUIT", vec![say(b"QUIT\r\n")]),
        ("two commands at once", vec![hear, may, forward(6), may, forward(6)]),
        ("ends_with", vec![hear, may, forward(5)]),
        ("without permission", vec![hear, forward(6)]),
        ("not granted", vec![hear, say(b"DATA\r\n")]),
        ("before its command", vec![hear, wait(Attention::Need), may, forward(6)]),
        (".\\r\\n", in_message(&[say(b".\r\n")])),
        ("only its final line", in_message(&[forward(12), forward(3)])),
        ("after a gap", in_message(&[skip(Side::Workstation, 6), forward(6)])),
        ("that looks whole", in_message(&[refused])),
        ("is told once", in_message(&[Step::Note(Fact::SendEnded), refused])),
        ("a proper end without QUIT", vec![end(Why::Quit)]),
        ("no end", vec![Step::Poll; 300_000]),
    ];
    for (fault, steps) in planted {
        let found = std::panic::catch_unwind(|| {
            let said = Act::Send(b"NOOP\r\nNOOP\r\n.\r\n".to_vec());
            let mut world = World::dutiful([said].into(), VecDeque::new());
            world.client_module.push_back(Act::Send(b"354 go\r\n".to_vec()));
            world.drive(&mut Planted(steps.into()))
        });
        let said = found.unwrap_err();
        let said =
            said.downcast_ref::<String>().map(String::as_str).or(said.downcast_ref().copied());
        assert!(said.is_some_and(|said| said.contains(fault)), "{fault}: {said:?}");
    }
}

/// Plays a dialogue whose bytes are cut in these places, counted over all that a side says.
fn play(
    dialogue: &Dialogue<'_>,
    relay: &mut dyn Relay,
    said: &[usize],
    answered: &[usize],
) -> Outcome {
    let mut workstation: VecDeque<Act> =
        pieces(dialogue.workstation.as_bytes(), 0, said).into_iter().map(Act::Send).collect();
    workstation.push_back(Act::End(PeerEof::Clean));
    let mut start = 0;
    let answers = dialogue.answers.iter().map(|answer| {
        let pieces = pieces(answer.as_bytes(), start, answered);
        start += answer.len();
        pieces
    });
    let mut world = World::dutiful(workstation, answers.collect());
    world.refusals = dialogue.verdicts.chars().map(|verdict| verdict == 'n').collect();
    world.uid_due = match dialogue.name {
        name if name.contains("noted before") => Some(UidDue::Now),
        name if name.contains("noted after") => Some(UidDue::AfterAnswer),
        _ => None,
    };
    world.settings.middleware_header = dialogue.name.contains("middleware");
    world.settings.delivery_receipts = dialogue.name.contains("receipts");
    world.settings.read_receipts = dialogue.name.contains("receipts");
    world.settings.message = if dialogue.name.contains("too large") { 8 } else { 0 };
    world.drive(relay)
}

/// Bytes that begin at `start` of a side's bytes, cut in these places.
fn pieces(bytes: &[u8], start: usize, cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().map(|cut| cut.saturating_sub(start).min(bytes.len())) {
        if cut > from {
            pieces.push(bytes[from..cut].to_vec());
            from = cut;
        }
    }
    pieces.push(bytes[from..].to_vec());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const REJECTED: Why = Why::Replied(Reason::RejectedByClientModule);
const UNASKED: Why = Why::Refused(Reason::ClientModuleProtocolError);
const GONE: Why = Why::Refused(Reason::ClientModuleUnreachable);

const POP3: &[Dialogue<'static>] = &[
    Dialogue {
        name: "fetching and deleting",
        workstation: "STAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n",
        answers: &[
            "+OK 1 9\r\n",
            "+OK\r\nX-KIM-Dienstkennung: eAU\r\n\r\nhi\r\n.\r\n",
            "+OK\r\n",
            "+OK bye\r\n",
        ],
        verdicts: "",
        to_workstation: "+OK 1 9\r\n+OK\r\nX-KIM-Dienstkennung: eAU\r\n\r\nhi\r\n.\r\n+OK\r\n+OK bye\r\n",
        to_client_module: "STAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n",
        log: &[
            "RetrieveAsked",
            "RetrieveBegan",
            "received 1, 32 bytes, [\"eAU\"]",
            "delete 1: yes",
            "Deleted { number: 1 }",
        ],
        why: Why::Quit,
    },
    Dialogue {
        name: "a deletion that is refused, a list, and what is not carried",
        workstation: "DELE 7\r\nCAPA\r\nUTF8\r\nLIST\r\nTOP 1 0\r\nPASS x\r\nNOOP\n",
        answers: &["+OK\r\n1 9\r\n.\r\n", "-ERR no\r\n"],
        verdicts: "n",
        to_workstation: "<not-allowed >\r\n+OK\r\nSIZE 100\r\nAUTH PLAIN\r\nDSN\r\nRESP-CODES\r\n.\r\n\
            <NotCarried>\r\n+OK\r\n1 9\r\n.\r\n-ERR no\r\n<LoggedIn>\r\n<LineEnd>\r\n",
        to_client_module: "LIST\r\nTOP 1 0\r\n",
        log: &["delete 7: no", "RetrieveAsked"],
        why: Why::Left,
    },
    Dialogue {
        name: "a message that breaks off at the workstation's end",
        workstation: "RETR 1\r\nQUIT\r\n",
        answers: &["+OK\r\na: b\r\n\r\n", ""],
        verdicts: "",
        to_workstation: "+OK\r\na: b\r\n\r\n",
        to_client_module: "RETR 1\r\n",
        log: &["RetrieveAsked", "RetrieveBegan", "Stall has passed"],
        why: Why::Broken(Reason::ClientModuleUnreachable),
    },
    Dialogue {
        name: "a goodbye after an answer",
        workstation: "DELE 1\r\nNOOP\r\n",
        answers: &["+OK\r\n-ERR bye\r\n"],
        verdicts: "",
        to_workstation: "+OK\r\n",
        to_client_module: "DELE 1\r\n",
        log: &["delete 1: yes", "Deleted { number: 1 }"],
        why: GONE,
    },
    Dialogue {
        name: "a message that is noted before its end, and a deletion by its UID",
        workstation: "RETR 1\r\nDELE 1\r\nQUIT\r\n",
        answers: &[
            "+OK\r\nX-KIM-Dienstkennung: eAU\r\n\r\nhi\r\n.\r\n",
            "+OK 1 u\r\n",
            "+OK 1 u\r\n",
            "+OK\r\n",
            "+OK bye\r\n",
        ],
        verdicts: "",
        to_workstation: "+OK\r\nX-KIM-Dienstkennung: eAU\r\n\r\nhi\r\n.\r\n+OK\r\n+OK bye\r\n",
        to_client_module: "RETR 1\r\nUIDL 1\r\nUIDL 1\r\nDELE 1\r\nQUIT\r\n",
        log: &[
            "RetrieveAsked",
            "RetrieveBegan",
            "fetched 1 Is(\"u\")",
            "received 1, 32 bytes, [\"eAU\"]",
            "delete 1 Is(\"u\"): yes",
            "Deleted { number: 1 }",
        ],
        why: Why::Quit,
    },
    Dialogue {
        name: "a preview that is noted after it was passed on, of a message without a UID",
        workstation: "TOP 1 0\r\nDELE 1\r\nNOOP\r\n",
        answers: &["+OK\r\na: b\r\n\r\n.\r\n", "-ERR no\r\n", "+OK 2 u\r\n", "+OK\r\n"],
        verdicts: "n",
        to_workstation: "+OK\r\na: b\r\n\r\n.\r\n<not-allowed >\r\n+OK\r\n",
        to_client_module: "TOP 1 0\r\nUIDL 1\r\nUIDL 1\r\nNOOP\r\n",
        log: &[
            "RetrieveAsked",
            "RetrieveBegan",
            "previewed 1, 0 bytes of content, []",
            "fetched 1 Unknown",
            "delete 1 Unknown: no",
        ],
        why: Why::Left,
    },
    Dialogue {
        name: "an answer that is none",
        workstation: "NOOP\r\n",
        answers: &["250 ok\r\n"],
        verdicts: "",
        to_workstation: "",
        to_client_module: "NOOP\r\n",
        log: &[],
        why: UNASKED,
    },
];

const SMTP: &[Dialogue<'static>] = &[
    Dialogue {
        name: "sending",
        workstation: "EHLO pc\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nX-KIM-Dienstkennung: eAU\r\n\r\n\
            ..\r\n.x\r\n.\r\nNOOP\r\nQUIT\r\n",
        answers: &[
            "250 ok\r\n",
            "250-c\r\n250 ok\r\n",
            "354 go\r\n",
            "250 sent\r\n",
            "250 ok\r\n",
            "221 bye\r\n",
        ],
        verdicts: "",
        to_workstation: "250-gw\r\n250-SIZE 100\r\n250 DSN\r\n250 ok\r\n250-c\r\n250 ok\r\n\
            354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n250 sent\r\n250 ok\r\n221 bye\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nX-KIM-Dienstkennung: eAU\r\n\r\n\
            ..\r\n.x\r\n.\r\nNOOP\r\nQUIT\r\n",
        log: &[
            "sender a@b: yes",
            "recipient c@d: yes",
            "SendBegan",
            "service eAU: yes",
            "From None: yes",
            "SendEnded",
            "sent 36 bytes, Some(\"eAU\"), 1, Ok(true) 250 sent\\r\\n[]",
        ],
        why: Why::Quit,
    },
    Dialogue {
        name: "receipts and middleware are added",
        workstation: "MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f> NOTIFY=NEVER\r\nDATA\r\na: b\r\n\r\n.\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "550 no\r\n", "354 go\r\n", "451 no\r\n"],
        verdicts: "",
        to_workstation: "250 ok\r\n250 ok\r\n550 no\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n451 no\r\n",
        to_client_module: concat!(
            "MAIL FROM:<>\r\nRCPT TO:<c@d> NOTIFY=SUCCESS,FAILURE,DELAY\r\nRCPT TO:<e@f> NOTIFY=NEVER\r\n",
            "DATA\r\nX-KIM-Middleware: kimgate;",
            env!("CARGO_PKG_VERSION"),
            "\r\nDisposition-Notification-To: <a@b>\r\na: b\r\n\r\n.\r\n",
        ),
        log: &[
            "sender : yes",
            "recipient c@d: yes",
            "recipient e@f: yes",
            "SendBegan",
            "service Missing: yes",
            "From None: yes",
            "SendEnded",
            "sent 8 bytes, None, 1, Ok(false) 451 no\\r\\n[\"X-KIM-Middleware\", \
             \"Disposition-Notification-To\", \"NOTIFY\"]",
        ],
        why: Why::Left,
    },
    Dialogue {
        name: "a service that is refused, and a transaction that is over then",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nX-KIM-Dienstkennung: x\r\n\
            X-KIM-Dienstkennung: y\r\n\r\n.\r\nDATA\r\nMAIL FROM:<a@b>\r\nDATA\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "250 reset\r\n", "250 ok\r\n", "250 reset\r\n"],
        verdicts: "yyyny",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n\
            <not-allowed y>\r\n<NeedTransaction>\r\n250 ok\r\n<NeedTransaction>\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRSET\r\n",
        log: &[
            "sender a@b: yes",
            "recipient c@d: yes",
            "SendBegan",
            "service x: yes",
            "service y: no",
            "SendBegan",
            "sender a@b: yes",
            "SendBegan",
        ],
        why: Why::Left,
    },
    Dialogue {
        name: "a recipient without a sender, and a message without both",
        workstation: "RCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\nRCPT TO:<c@d>\r\n",
        answers: &["550 no\r\n", "250 ok\r\n"],
        verdicts: "",
        to_workstation: "<NeedSender>\r\n<NeedTransaction>\r\n550 no\r\n<NeedSender>\r\n250 ok\r\n<NeedSender>\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRSET\r\n",
        log: &["SendBegan", "sender a@b: yes"],
        why: Why::Left,
    },
    Dialogue {
        name: "a header line that is no field",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\u{1}X-KIM-Dienstkennung: eAU\r\n\r\n.\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "250 reset\r\n"],
        verdicts: "yyn",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n\
            <not-allowed \u{2026}>\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n",
        log: &["sender a@b: yes", "recipient c@d: yes", "SendBegan", "service Malformed: no"],
        why: Why::Left,
    },
    Dialogue {
        name: "authors who are asked about, and one who is refused",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nFrom: A <a@b>\r\nSender: x@y\r\n\r\n.\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "250 reset\r\n"],
        verdicts: "yyyyn",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n\
            <not-allowed Sender: x@y>\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n",
        log: &[
            "sender a@b: yes",
            "recipient c@d: yes",
            "SendBegan",
            "service Missing: yes",
            "From Some(\"a@b\"): yes",
            "Sender Some(\"x@y\"): no",
        ],
        why: Why::Left,
    },
    Dialogue {
        name: "DATA is refused by the client module",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\nhi\r\n.\r\nNOOP\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "451 card\r\n", "250 reset\r\n", "250 ok\r\n"],
        verdicts: "",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n451 card\r\n250 ok\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nRSET\r\nNOOP\r\n",
        log: &[
            "sender a@b: yes",
            "recipient c@d: yes",
            "SendBegan",
            "service Missing: yes",
            "From None: yes",
        ],
        why: Why::Left,
    },
    Dialogue {
        name: "a dot between ambiguous line ends",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\n.\r\nNOOP\r\n.\r\nNOOP\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n"],
        verdicts: "",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n<ambiguous-line-ending >\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
        log: &["sender a@b: yes", "recipient c@d: yes", "SendBegan"],
        why: Why::Replied(Reason::AmbiguousLineEnding),
    },
    Dialogue {
        name: "a client module that says goodbye to a command",
        workstation: "NOOP\r\nNOOP\r\n",
        answers: &["421 bye\r\n"],
        verdicts: "",
        to_workstation: "421 bye\r\n",
        to_client_module: "NOOP\r\n",
        log: &[],
        why: REJECTED,
    },
    Dialogue {
        name: "a goodbye after a refusal",
        workstation: "MAIL FROM:<a@b>\r\nNOOP\r\n",
        answers: &["550 no\r\n421 bye\r\n"],
        verdicts: "",
        to_workstation: "550 no\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\n",
        log: &["sender a@b: yes"],
        why: GONE,
    },
    Dialogue {
        name: "a goodbye after the answer to a message",
        workstation: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\n.\r\nNOOP\r\n",
        answers: &["250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250-a\r\n250 sent\r\n421 bye\r\n"],
        verdicts: "",
        to_workstation: "250 ok\r\n250 ok\r\n354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n250-a\r\n250 sent\r\n",
        to_client_module: "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na: b\r\n\r\n.\r\n",
        log: &[
            "sender a@b: yes",
            "recipient c@d: yes",
            "SendBegan",
            "service Missing: yes",
            "From None: yes",
            "SendEnded",
            "sent 8 bytes, None, 1, Ok(true) 250-a\\r\\n250 sent\\r\\n[]",
        ],
        why: GONE,
    },
    Dialogue {
        name: "a goodbye after the answer to QUIT",
        workstation: "QUIT\r\n",
        answers: &["221 bye\r\n421 bye\r\n"],
        verdicts: "",
        to_workstation: "221 bye\r\n",
        to_client_module: "QUIT\r\n",
        log: &[],
        why: Why::Quit,
    },
    Dialogue {
        name: "a client module that has forgotten the login",
        workstation: "RSET\r\n",
        answers: &["530 login first\r\n"],
        verdicts: "",
        to_workstation: "",
        to_client_module: "RSET\r\n",
        log: &[],
        why: UNASKED,
    },
];

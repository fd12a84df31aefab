//! What holds for any bytes: framers against slow and obvious models and against Python's, parsers that
//! are given anything. `PROPTEST_CASES` says how many cases a property gets; `just properties` gives a
//! million.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod support;

use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kimgate::config;
use kimgate::kim::Login;
use kimgate::proto::back::BackStep;
use kimgate::proto::capabilities::{Pop3Capabilities, SmtpCapabilities};
use kimgate::proto::front::{Setup, Stage, Step};
use kimgate::proto::line::{Fault, Framed, next_line};
use kimgate::proto::pop3::{self, AnswerScan};
use kimgate::proto::sasl::Credentials;
use kimgate::proto::smtp::{self, ReplyScan};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use support::tools;

/// Texts of these words.
fn of(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(select(words), 0..most).prop_map(|words| words.concat().into_bytes())
}

const LINE_WORDS: &[&str] = &["a", "bc", " ", ".", "\r", "\n", "\r\n", "\0", "\u{fc}"];
const REPLY_WORDS: &[&str] = &[
    "250",
    "250-",
    "250 ",
    "354 ",
    "421-",
    "550",
    "2",
    "5",
    "x",
    "OK",
    "-",
    " ",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "\0",
    "\u{fc}",
    "250-a\r\n",
    "250 b\r\n",
];
const ANSWER_WORDS: &[&str] = &[
    "+OK",
    "-ERR",
    "+OK 3\r\n",
    "-ERR no\r\n",
    "\r\n",
    "\r\n.\r\n",
    ".",
    "..",
    "\n",
    "\r",
    "\0",
    "a: b",
    "x",
    "\r\n\r\n",
    "X-KIM-Dienstkennung: a\r\n",
    " ",
    "+OK\r\n+OK\r\n",
    ".\r\n",
];

const FRONT_WORDS: &[&str] = &[
    "EHLO pc\r\n",
    "HELO pc\r\n",
    "AUTH PLAIN ",
    "AUTH LOGIN\r\n",
    "AHUAcA==",
    "dQ==\r\n",
    "*\r\n",
    "=\r\n",
    "USER u#h:1#M\r\n",
    "PASS p\r\n",
    "CAPA\r\n",
    "STLS\r\n",
    "STARTTLS\r\n",
    "MAIL FROM:<a@b>\r\n",
    "QUIT\r\n",
    "\r\n",
    "\r",
    "\n",
    "\0",
    " ",
    "x",
    "\u{fc}",
];

/// A line, its fault, or what is missing.
fn line_by_hand(bytes: &[u8], limit: usize) -> (Option<Vec<u8>>, Option<Fault>, usize) {
    for end in 0..bytes.len().min(limit) {
        if bytes[end] != b'\n' {
            continue;
        }
        let before = &bytes[..end];
        let faulty = |fault| (None, Some(fault), end + 1);
        if before.contains(&0) {
            return faulty(Fault::Nul);
        }
        if before.last() != Some(&b'\r') {
            return faulty(Fault::BareLineFeed);
        }
        let line = &before[..end - 1];
        if line.contains(&b'\r') {
            return faulty(Fault::BareCarriageReturn);
        }
        return (Some(line.to_vec()), None, end + 1);
    }
    (None, None, 0)
}

/// How much of an answer belongs to it, and whether it is complete: over all its bytes at once.
fn answer_by_hand(bytes: &[u8], is_multi_line: bool) -> Option<(usize, bool)> {
    let (line, fault, status) = line_by_hand(bytes, 8 << 10);
    let Some(line) = line else { return fault.is_none().then_some((bytes.len(), false)) };
    let word = line.split(|byte| *byte == b' ').next().unwrap();
    match word {
        b"-ERR" => Some((status, true)),
        b"+OK" if !is_multi_line => Some((status, true)),
        b"+OK" => {
            // From the line end of the status on, so that an empty list ends at once.
            let dot = (status - 2..bytes.len()).find(|at| bytes[*at..].starts_with(b"\r\n.\r\n"));
            Some(dot.map_or((bytes.len(), false), |dot| (dot + 5, true)))
        }
        _ => None,
    }
}

/// Pieces of these lengths, one after the other and again from the first.
fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// Answers a workstation as a gateway would that lets nobody in; gives all that it is told, and fails
/// where that is not made of whole lines.
macro_rules! talk_to {
    ($front:expr, $pieces:expr, $refusal:expr) => {{
        let mut front = $front;
        let mut told = Vec::new();
        'talk: for piece in $pieces {
            front.feed(piece);
            loop {
                match front.step() {
                    Step::NeedInput => break,
                    Step::Send(reply) => {
                        prop_assert!(reply.ends_with(b"\r\n"), "{}", reply.escape_ascii());
                        told.extend(reply);
                    }
                    Step::Login(_) => front.refuse($refusal),
                    Step::StartTls | Step::Quit | Step::Close(_) => break 'talk,
                }
            }
        }
        told
    }};
}

/// Logs in at a client module that answers so.
macro_rules! log_in_at {
    ($back:expr, $answers:expr, $credentials:expr) => {{
        let mut back = $back;
        let mut answers = $answers.iter();
        for _ in 0..100 {
            match back.step() {
                Err(_) | Ok(BackStep::LoggedIn(_) | BackStep::Refused(_) | BackStep::Done) => break,
                Ok(BackStep::Send(bytes)) => prop_assert!(bytes.expose().ends_with(b"\r\n")),
                Ok(BackStep::StartTls) => back.secured(),
                Ok(BackStep::Ready) => back.log_in(&$credentials),
                Ok(BackStep::NeedInput) => match answers.next() {
                    Some(answer) => back.feed(answer),
                    None => break,
                },
            }
        }
    }};
}

fn setup<C>(capabilities: C, before_tls: bool) -> Setup<C> {
    let stage = if before_tls { Stage::BeforeTls } else { Stage::Open };
    Setup { name: "gw".into(), stage, capabilities, login_line: 64, command_line: 40 }
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    vec(1_usize..9, 1..6)
}

proptest! {
    #[test]
    fn a_line_is_what_a_slow_reader_finds(bytes in of(LINE_WORDS, 20), limit in 0_usize..30) {
        let (line, fault, consumed) = line_by_hand(&bytes, limit);
        let expected = match (&line, fault) {
            (Some(line), _) => Framed::Line(line),
            (None, Some(fault)) => Framed::Faulty { consumed, fault },
            (None, None) if bytes.len() >= limit => Framed::TooLong,
            (None, None) => Framed::Incomplete,
        };
        prop_assert_eq!(next_line(&bytes, limit), expected);
    }

    #[test]
    fn a_pop3_answer_ends_where_a_slow_reader_ends_it(
        bytes in of(ANSWER_WORDS, 16),
        lengths in lengths(),
        command in select(&[
            pop3::Command::Retr(1),
            pop3::Command::List(None),
            pop3::Command::Stat,
            pop3::Command::Dele(1),
        ][..]),
    ) {
        let expected = answer_by_hand(&bytes, command.is_multi_line());
        let mut scan = AnswerScan::new(&command, 256);
        let (mut forwarded, mut done, mut failed) = (0, false, false);
        for piece in cut(&bytes, &lengths) {
            match scan.scan(piece) {
                Ok(found) => (forwarded, done) = (forwarded + found.forward, found.done),
                Err(_) => failed = true,
            }
            if done || failed {
                break;
            }
        }
        match expected {
            None => prop_assert!(failed, "{}", bytes.escape_ascii()),
            Some(expected) => prop_assert_eq!((forwarded, done, failed), (expected.0, expected.1, false)),
        }
    }

    #[test]
    fn an_smtp_reply_is_whole_lines_of_one_code_and_what_follows_changes_nothing(
        bytes in of(REPLY_WORDS, 16),
        more in of(REPLY_WORDS, 4),
    ) {
        let Ok(Some(reply)) = ReplyScan::new().scan(&bytes) else { return Ok(()) };
        let whole = &bytes[..reply.len];
        let text = String::from_utf8_lossy(whole).into_owned();
        let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        let (last, before) = lines.split_last().unwrap();
        let code = reply.code.to_string();
        prop_assert!(lines.iter().all(|line| line.starts_with(&code) && !line.contains(['\r', '\n', '\0'])));
        prop_assert!(before.iter().all(|line| line.as_bytes().get(3) == Some(&b'-')));
        prop_assert!(last.as_bytes().get(3) != Some(&b'-'));
        for end in 0..reply.len {
            prop_assert_eq!(ReplyScan::new().scan(&bytes[..end]), Ok(None), "{}", end);
        }
        let longer = [&bytes[..reply.len], &more[..]].concat();
        prop_assert_eq!(ReplyScan::new().scan(&longer), Ok(Some(reply)));
    }

    #[test]
    fn no_workstation_confuses_the_fronts_wherever_its_bytes_are_cut(
        bytes in of(FRONT_WORDS, 40).prop_filter("nothing", |bytes| !bytes.is_empty()),
        lengths in lengths(),
        before_tls: bool,
    ) {
        let smtp = || smtp::Front::new(setup(SmtpCapabilities::conservative(), before_tls), true);
        let pop3 = || pop3::Front::new(setup(Pop3Capabilities::conservative(), before_tls), true);
        // Bytes behind STARTTLS, and a first line that is no command at all, are judged by what came
        // together; everything else is answered the same however it was cut.
        let is_cut_the_same = !bytes.windows(2).any(|two| two.eq_ignore_ascii_case(b"TL"));
        let pieces = cut(&bytes, &lengths);
        let whole = [&bytes[..]];
        let (one, other) = (
            talk_to!(smtp(), pieces.iter(), b"550 no\r\n"),
            talk_to!(smtp(), whole.iter(), b"550 no\r\n"),
        );
        prop_assert!(!is_cut_the_same || one == other, "{} {}", one.escape_ascii(), other.escape_ascii());
        let (one, other) = (
            talk_to!(pop3(), pieces.iter(), b"-ERR no\r\n"),
            talk_to!(pop3(), whole.iter(), b"-ERR no\r\n"),
        );
        prop_assert!(!is_cut_the_same || one == other, "{} {}", one.escape_ascii(), other.escape_ascii());
    }

    #[test]
    fn no_client_module_confuses_the_smtp_back(answers in vec(of(REPLY_WORDS, 6), 0..8), start_tls: bool) {
        log_in_at!(smtp::Back::new("gw", start_tls), answers, Credentials::plain(b"AHUAcA==", true).unwrap());
    }

    #[test]
    fn no_client_module_confuses_the_pop3_back(answers in vec(of(ANSWER_WORDS, 6), 0..8), start_tls: bool) {
        log_in_at!(pop3::Back::new(start_tls), answers, Credentials::user_pass(b"u", b"p").unwrap());
    }

    #[test]
    fn credentials_that_are_taken_go_on_as_they_came_and_have_one_reading(
        message in vec(select(&[0_u8, b'a', b'b', b'#', b'\r', b'\n', 0xff, b'='][..]), 0..16),
        padding in 0_usize..4,
        initial: bool,
    ) {
        let mut line = BASE64_STANDARD.encode(&message).trim_end_matches('=').to_owned();
        line.push_str(&"=".repeat(padding));
        let Ok(credentials) = Credentials::plain(line.as_bytes(), initial) else { return Ok(()) };
        prop_assert_eq!(credentials.wire()[0].expose(), line.as_bytes());
        let parts: Vec<&[u8]> = message.split(|byte| *byte == 0).collect();
        prop_assert_eq!(parts.len(), 3, "{:?}", message);
        prop_assert!(parts[0].is_empty() || parts[0] == parts[1]);
        prop_assert_eq!(credentials.login(), parts[1]);
        prop_assert_eq!(credentials.password().expose().as_slice(), parts[2]);
        prop_assert!(!message.contains(&b'\r') && !message.contains(&b'\n'));
    }

    #[test]
    fn any_login_has_an_account_and_keeps_its_bytes(bytes in vec(any::<u8>(), 0..80)) {
        let login = Login::parse(&bytes);
        prop_assert_eq!(login.as_bytes(), &bytes[..]);
        let address = bytes.split(|byte| *byte == b'#').next().unwrap();
        if let Ok(address) = std::str::from_utf8(address)
            && login.is_well_formed()
        {
            // KIM addresses are ASCII (gematik FAQ); nothing else has a case to compare without.
            prop_assert_eq!(login.account().as_str(), address.to_ascii_lowercase());
        }
    }

    #[test]
    fn any_pop3_and_smtp_command_is_read_or_refused(line in of(LINE_WORDS, 8), verb in select(&[
        "RETR ", "TOP ", "DELE ", "LIST ", "MAIL FROM:", "RCPT TO:", "MAIL FROM:<", "DATA", "AUTH ", "STLS",
    ][..])) {
        let line = [verb.as_bytes(), &line].concat();
        let _ = pop3::command::parse(&line);
        let _ = smtp::command::parse(&line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Lines taken out, doubled, cut and replaced: it is read, or every finding has its words.
    #[test]
    fn any_configuration_is_read_or_explained(changes in vec((0_usize..400, 0_u8..5), 1..12)) {
        let full = include_str!("../config/full.toml");
        let mut lines: Vec<String> = full.lines().map(str::to_owned).collect();
        for (at, change) in changes {
            let at = at % lines.len();
            match change {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => {
                    let half = lines[at].len() / 2;
                    let half = lines[at].floor_char_boundary(half);
                    lines[at].truncate(half);
                }
                3 => lines[at] = lines[at].replace('=', "= -"),
                _ => lines[at] = lines[at].replace('"', "\"\\u202e\u{1b}"),
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kimgate.toml");
        std::fs::write(&file, lines.join("\n")).unwrap();
        if let Err(findings) = config::load(&file, std::iter::empty()) {
            prop_assert!(!findings.is_empty());
            for finding in findings {
                let said = finding.to_string();
                prop_assert!(!said.is_empty() && !said.contains(['\u{1b}', '\u{202e}']), "{:?}", said);
            }
        }
    }
}

/// Reads every case as smtplib and poplib do; gives code and octets used, or minus one.
const PYTHON: &str = r#"
import io, poplib, smtplib, sys
for case in sys.stdin:
    kind, data = case.split()
    data = io.BytesIO(bytes.fromhex(data))
    try:
        if kind == "smtp":
            s = smtplib.SMTP()
            s.file = data
            s.sock = object()
            s.close = lambda: None
            print(s.getreply()[0], data.tell())
        else:
            p = poplib.POP3.__new__(poplib.POP3)
            p.file, p._debugging = data, 0
            p._getlongresp()
            print(0, data.tell())
    except Exception:
        print(-1, 0)
"#;

/// Where kimgate finds a whole reply, Python's clients find the same one.
#[test]
fn replies_end_where_pythons_mail_programs_end_them() {
    if !tools::have(&["python3"]) {
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut cases: Vec<(&str, Vec<u8>, (i64, usize))> = Vec::new();
    while cases.len() < 400 {
        let bytes = of(REPLY_WORDS, 10).new_tree(&mut runner).unwrap().current();
        if let Ok(Some(reply)) = ReplyScan::new().scan(&bytes) {
            cases.push(("smtp", bytes, (reply.code.into(), reply.len)));
        }
    }
    while cases.len() < 800 {
        let body = of(ANSWER_WORDS, 10).new_tree(&mut runner).unwrap().current();
        let bytes = [b"+OK\r\n", &body[..]].concat();
        // poplib takes a line feed alone for a line end, which only matters where a dot is near.
        let is_plain = !bytes.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r')
            && !bytes.contains(&b'\0');
        if let (Some((len, true)), true) = (answer_by_hand(&bytes, true), is_plain) {
            cases.push(("pop3", bytes, (0, len)));
        }
    }
    let mut python = Process::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    let text: String = cases
        .iter()
        .map(|(kind, bytes, _)| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{kind} {hex}\n")
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let found: Vec<(i64, usize)> = said
        .lines()
        .map(|line| {
            let (code, len) = line.split_once(' ').unwrap();
            (code.parse().unwrap(), len.parse().unwrap())
        })
        .collect();
    assert_eq!(found.len(), cases.len());
    for ((kind, bytes, expected), found) in cases.iter().zip(found) {
        assert_eq!(found, *expected, "{kind} {}", bytes.escape_ascii());
    }
    println!("{} replies read alike", cases.len());
}

//! What holds for any bytes: framers against slow and obvious models and against Python's, parsers that
//! are given anything. `PROPTEST_CASES` says how many cases a property gets; `just properties` gives a
//! million. `just fuzz` looks for cases with the coverage in mind; those worth keeping are tried here
//! again.

mod cut;
mod holds;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use crate::support::tools;
use holds::{answer_by_hand, dot_holds, forwarded};
use kimgate::proto::dot::DotScan;
use kimgate::proto::smtp::scan_reply;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

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

const DOT_WORDS: &[&str] = &[".", ".", "\r", "\r", "\n", "\n", "\0", "a", "b"];
const HEADER_WORDS: &[&str] = &[
    "Subject",
    ":",
    " ",
    "\r\n",
    "\n",
    "\r",
    ".",
    "x",
    "\t",
    "X-KIM-DecryptionResult: 00",
    "X-KIM-DecryptionResult: 01",
    "X-KIM-Fehlermeldung: 4009",
    "Subject: =?utf-8?q?=C3=BC?=",
    "X-KIM-Dienstkennung",
    "X-KIM-Dienstkennung: eAU\r\n",
    "\u{1}",
    "\0",
    "\u{1f}",
    "X-KIM-D",
    "\u{131}",
    "i",
    "enstkennung: eAU\r\n",
];
const COMMAND_WORDS: &[&str] = &[
    "RETR ",
    "TOP ",
    "DELE ",
    "LIST ",
    "MAIL FROM:",
    "RCPT TO:",
    "MAIL FROM:<",
    "DATA",
    "AUTH ",
    "STLS",
    "1",
    "a@b>",
    " SIZE=",
    "\u{fc}",
    "\0",
    "\r",
];

/// How a peer's bytes are cut, and what it does besides (see `holds`).
const ACTS: &[&[u8]] = &[b"\xfe", b"\xfdc\xfe", b"\xfdx\xfe", b"\xfdd\xfe", b"\xfds\xfe"];

const POP3_WORDS: &[&[u8]] = &[
    b"STAT\r\n",
    b"RETR 1\r\n",
    b"TOP 1 0\r\n",
    b"DELE 1\r\n",
    b"LIST\r\n",
    b"CAPA\r\n",
    b"QUIT\r\n",
    b"NOOP\r\n",
    b"RSET\r\n",
    b"DATA\r\n",
    b"\r\n",
    b"\n",
    b"\0",
    b"text ",
];

const SMTP_WORDS: &[&[u8]] = &[
    b"EHLO pc\r\n",
    b"HELO pc\r\n",
    b"MAIL FROM:<a@b>\r\n",
    b"MAIL FROM:<a@b> SIZE=99\r\n",
    b"RCPT TO:<c@d>\r\n",
    b"RCPT TO:<c@d> NOTIFY=NEVER\r\n",
    b"DATA\r\n",
    ENVELOPE,
    ENVELOPE,
    ENVELOPE,
    ENVELOPE,
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"RETR 1\r\n",
    b"X-KIM-Dienstkennung: eAU\r\n",
    b"X-KIM-Dienstkennung: x\r\n",
    b"a: b\r\n",
    LONG,
    b"\r\n",
    b"\r\n",
    b"\r\n.\r\n",
    b"\r\n.\r\n",
    b"\r\n.\r\n",
    b"a: b\r\n\r\ntext\r\n.\r\n",
    b".\r\n",
    b".",
    b"\r",
    b"\n",
    b"\n.\n",
    b"\0",
    b"text ",
];

const ENVELOPE: &[u8] = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
/// Nearly as long as a command line may be, and longer than some messages.
const LONG: &[u8] = b"b: text that is nearly as long as a line of a command\r\n";

const CLIENT_MODULE_WORDS: &[&[u8]] = &[
    b"250 ok\r\n",
    b"250 ok\r\n\xfe",
    b"354 go\r\n\xfe",
    b"250-a\r\n",
    b"550 no\r\n\xfe",
    b"451 later\r\n\xfe",
    b"530 login\r\n\xfe",
    b"421 bye\r\n\xfe",
    b"250 ok\r\n421 bye\r\n\xfe",
    b"+OK\r\n-ERR bye\r\n\xfe",
    b"+OK\r\n\xfe",
    b"+OK 1\r\n",
    b"-ERR no\r\n\xfe",
    b"a: b\r\n\r\n",
    b".\r\n",
    b"\r\n.\r\n\xfe",
    b"\n",
    b"text ",
];

/// Both peers of a relay machine, of which the workstation says these words, and chance.
fn peers(own: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let of = |words: &'static [&'static [u8]], most| {
        let word = prop_oneof![3 => select(words), 1 => Just(&b"\xfe"[..]), 1 => select(ACTS)];
        vec(word, 0..most).prop_map(|words| words.concat())
    };
    let chance = vec(any::<u8>(), 0..40);
    (any::<[u8; 4]>(), of(own, 24), of(CLIENT_MODULE_WORDS, 12), chance).prop_map(
        |(choices, one, other, chance)| {
            [&choices[..], &one, b"\xff", &other, b"\xff", &chance].concat()
        },
    )
}

/// What a case does with its bytes (see `holds`), and the bytes.
fn case(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let lengths = [0_u8..9, 0_u8..9, 0_u8..9];
    (any::<u8>(), lengths, of(words, most))
        .prop_map(|(choice, lengths, bytes)| [&[choice], &lengths[..], &bytes].concat())
}

/// The property of this name.
fn property(name: &str) -> holds::Property {
    holds::ALL.iter().find(|(known, _)| *known == name).unwrap().1
}

proptest! {
    #[test]
    fn no_peers_make_a_pop3_relay_take_a_step_that_must_not_be(case in peers(POP3_WORDS)) {
        property("relay-pop3")(&case);
    }

    #[test]
    fn no_peers_make_an_smtp_relay_take_a_step_that_must_not_be(case in peers(SMTP_WORDS)) {
        property("relay-smtp")(&case);
    }

    #[test]
    fn a_line_is_what_a_slow_reader_finds(case in case(LINE_WORDS, 20)) {
        property("line")(&case);
    }

    #[test]
    fn a_pop3_answer_ends_where_a_slow_reader_ends_it(case in case(ANSWER_WORDS, 16)) {
        property("answer")(&case);
    }

    #[test]
    fn an_smtp_reply_is_whole_lines_of_one_code_and_what_follows_changes_nothing(
        bytes in of(REPLY_WORDS, 16),
    ) {
        property("reply")(&bytes);
    }

    #[test]
    fn a_message_ends_where_a_slow_reader_ends_it(case in case(DOT_WORDS, 60)) {
        property("dot")(&case);
    }

    #[test]
    fn a_header_is_read_the_same_however_it_is_cut(case in case(HEADER_WORDS, 30)) {
        property("header")(&case);
    }

    #[test]
    fn no_workstation_confuses_the_fronts_wherever_its_bytes_are_cut(case in case(FRONT_WORDS, 40)) {
        property("front-smtp")(&case);
        property("front-pop3")(&case);
    }

    #[test]
    fn no_client_module_confuses_the_backs(
        to_smtp in case(REPLY_WORDS, 30),
        to_pop3 in case(ANSWER_WORDS, 30),
    ) {
        property("back-smtp")(&to_smtp);
        property("back-pop3")(&to_pop3);
    }

    #[test]
    fn credentials_that_are_taken_go_on_as_they_came_and_have_one_reading(
        case in vec(select(&[0_u8, b'a', b'b', b'#', b'\r', b'\n', 0xff, b'='][..]), 0..16),
    ) {
        property("credentials")(&case);
    }

    #[test]
    fn any_login_has_an_account_and_keeps_its_bytes(bytes in vec(any::<u8>(), 0..80)) {
        property("login")(&bytes);
    }

    #[test]
    fn any_pop3_and_smtp_command_is_read_or_refused(line in of(COMMAND_WORDS, 8)) {
        property("command")(&line);
    }

    #[test]
    fn any_proxy_header_is_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
        property("proxy")(&bytes);
        property("proxy")(&[&b"\r\n\r\n\0\r\nQUIT\n"[..], &bytes].concat());
    }

    #[test]
    fn any_text_is_shown_on_one_line(text: String) {
        property("text")(text.as_bytes());
    }
}

#[test]
fn the_end_is_found_and_ambiguous_ends_are_told() {
    let table: [(&[u8], Option<usize>, bool); 34] = [
        (b".\r\n", Some(3), false),
        (b".\r\nQUIT\r\n", Some(3), false),
        (b"a\r\n.\r\n", Some(6), false),
        (b"a\r\n\r\n.\r\n.\r\n", Some(8), false),
        (b"a\r\n..\r\n.b\r\nc.\r\n.\r\n", Some(18), false),
        (b"a\n\r\n.\r\n", Some(7), false),
        (b"a\n\rb\r\n.\r\n", Some(9), false),
        (b"a\nb\rc\0d\r\n.\r\n", Some(12), false),
        (b"\n.x\r.y\0.z\n..\r\n.\r\n", Some(17), false),
        (b"a\r\n.\r", None, false),
        (b"a\r\n.", None, false),
        (b"a.\r\n", None, false),
        // What is known as SMTP smuggling.
        (b"a\n.\n", None, true),
        (b"a\n.\r\n", None, true),
        (b"a\r\n.\n", None, true),
        (b"a\r.\r", None, true),
        (b"a\r.\r\n", None, true),
        (b"a\r\n.\rb", None, true),
        (b"a\r.\n", None, true),
        (b"a\n.\r", None, true),
        (b"a\r\r\n.\r\n", Some(7), true),
        (b"a\r\n.\r\r\n", None, true),
        (b"a\n\n.\n\n", None, true),
        (b"\n.\r\n.\r\n", Some(7), true),
        (b"a\r\n.\n.\r\n", None, true),
        (b".\n", None, true),
        (b".\rx", None, true),
        (b"a\0\r\n.\r\n", Some(7), true),
        (b"a\r\0\n.\r\n", None, true),
        (b"a\r\n\0.\r\n", None, true),
        (b"a\r\n.\0\r\n", None, true),
        (b"a\r\n.\r\0\n", None, true),
        (b"\0.\0", None, true),
        (b"a\r.\r\nMAIL\r\n.\r\n", Some(14), true),
    ];
    for (message, end, ambiguous) in table {
        let (_, found, is_ambiguous) = forwarded(DotScan::strict(), &[message]);
        assert_eq!((found, is_ambiguous), (end, ambiguous), "{}", message.escape_ascii());
        // Beside the table: as the rules say, in both modes and wherever it is cut.
        dot_holds(message, &[message]);
        for cut in 0..=message.len() {
            dot_holds(message, &[&message[..cut], &message[cut..]]);
        }
        dot_holds(message, &message.chunks(1).collect::<Vec<_>>());
    }
}

#[test]
fn neither_the_final_line_nor_an_ambiguous_one_is_safe() {
    assert_eq!(forwarded(DotScan::strict(), &[b"ab\r\n.\r\nNOOP"]).0, b"ab\r\n");
    assert_eq!(forwarded(DotScan::strict(), &[b"ab\n.\ncd\r\nef"]).0, b"ab\n");
    let mut scan = DotScan::strict();
    assert_eq!(scan.scan(b"ab\r\n.").safe, 4);
    let next = scan.scan(b".c");
    assert_eq!((next.release, next.safe), (&b"."[..], 2));
}

/// Every message of seven bytes out of the five that matter.
#[test]
fn every_short_message_is_read_as_the_rules_say() {
    let alphabet = b".\r\n\0a";
    for number in 0..5_usize.pow(7) {
        let mut rest = number;
        let message: [u8; 7] = std::array::from_fn(|_| {
            let byte = alphabet[rest % 5];
            rest /= 5;
            byte
        });
        let cut = number % 8;
        dot_holds(&message, &[&message]);
        dot_holds(&message, &[&message[..cut], &message[cut..]]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Lines taken out, doubled, cut and replaced.
    #[test]
    fn any_configuration_is_read_or_explained(changes in vec((0_usize..400, 0_u8..5), 1..12)) {
        let full = include_str!("../../config/full.toml");
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
        property("configuration")(lines.join("\n").as_bytes());
    }
}

/// Each property has cases that a fuzzer found to reach a new place, or that were a fault once.
#[test]
fn what_a_fuzzer_kept_still_holds() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/kept");
    let mut count = 0;
    for (name, holds) in holds::ALL {
        let mut of_this = 0;
        for file in std::fs::read_dir(kept.join(name)).unwrap() {
            let path = file.unwrap().path();
            println!("{}", path.display());
            holds(&std::fs::read(path).unwrap());
            of_this += 1;
        }
        assert!(of_this > 0, "no case is kept for {name}");
        count += of_this;
    }
    println!("{count} kept cases hold");
}

/// Reads every case as smtplib and poplib do; gives code and bytes used, or minus one.
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
        if let Ok(Some(reply)) = scan_reply(&bytes) {
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

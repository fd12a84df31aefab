//! What holds for any bytes. Every function here takes the bytes of one case and fails by a panic:
//! `tests/it/properties.rs` gives it random and kept cases, `tests/fuzz` those that a fuzzer finds.

#[path = "relay.rs"]
pub(crate) mod relay;

use std::collections::VecDeque;
use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kimgate::config;
use kimgate::gateway::proxied_address;
use kimgate::kim::{Account, Evidence, Login, LoginWarning};
use kimgate::printable::printable;
use kimgate::proto::back::{Back as _, BackStep};
use kimgate::proto::capabilities::{Pop3Capabilities, SmtpCapabilities};
use kimgate::proto::dot::DotScan;
use kimgate::proto::front::{Front, FrontStep, Setup, Stage};
use kimgate::proto::header::HeaderReader;
use kimgate::proto::line::{Fault, Framed, Line, next_line};
use kimgate::proto::pop3::{self, AnswerScan};
use kimgate::proto::relay::{PeerEof, UidDue};
use kimgate::proto::sasl::Credentials;
use kimgate::proto::smtp::{self, scan_reply};
use kimgate::trust::{CertificateFacts, ClientModuleTrust, UpstreamTls};
use kimgate::words::{Language, Protocol};
use rustls::pki_types::{CertificateDer, UnixTime};

use relay::{Act, World};

/// What is to hold for the bytes of a case.
pub(crate) type Property = fn(&[u8]);

/// Every property by its name.
pub(crate) const ALL: &[(&str, Property)] = &[
    ("answer", answer),
    ("back-pop3", back_pop3),
    ("back-smtp", back_smtp),
    ("certificate", certificate),
    ("command", command),
    ("configuration", configuration),
    ("credentials", credentials),
    ("dot", dot),
    ("front-pop3", front_pop3),
    ("front-smtp", front_smtp),
    ("header", header),
    ("line", line),
    ("login", login),
    ("proxy", proxy_header),
    ("relay-pop3", relay_pop3),
    ("relay-smtp", relay_smtp),
    ("reply", reply),
    ("text", text),
];

/// The first bytes of a case say what is done with the others.
struct Case<'a> {
    choice: u8,
    lengths: [u8; 3],
    bytes: &'a [u8],
}

impl<'a> Case<'a> {
    fn of(case: &'a [u8]) -> Self {
        let (&[choice, ref lengths @ ..], bytes) =
            case.split_first_chunk::<4>().unwrap_or((&[0; 4], case));
        Self { choice, lengths: *lengths, bytes }
    }

    /// The bytes in pieces of these lengths, one after the other and again from the first.
    fn pieces(&self) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = self.bytes;
        for length in self.lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at(usize::from(length % 64 + 1).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces
    }
}

fn line(case: &[u8]) {
    let Case { choice, bytes, .. } = Case::of(case);
    let limit = usize::from(choice) / 4;
    let (line, fault, consumed) = line_by_hand(bytes, limit);
    let expected = match (&line, fault) {
        (Some(text), _) => Framed::Line(Line { text, wire: consumed }),
        (None, Some(fault)) => Framed::Faulty { consumed, fault },
        (None, None) if bytes.len() >= limit => Framed::TooLong,
        (None, None) => Framed::Incomplete,
    };
    assert_eq!(next_line(bytes, limit), expected);
}

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

fn answer(case: &[u8]) {
    let case = Case::of(case);
    let commands = [
        pop3::Command::Retr(1),
        pop3::Command::List(None),
        pop3::Command::Stat,
        pop3::Command::Dele(1),
    ];
    let command = &commands[usize::from(case.choice) % commands.len()];
    let mut scan = AnswerScan::new(command, 256);
    let (mut forwarded, mut done, mut failed) = (0, false, false);
    let mut unread = Vec::new();
    for piece in case.pieces() {
        unread.extend_from_slice(piece);
        match scan.scan(&unread) {
            Ok(found) => {
                unread.drain(..found.forward);
                (forwarded, done) = (forwarded + found.forward, found.done);
            }
            Err(_) => failed = true,
        }
        if done || failed {
            break;
        }
    }
    match answer_by_hand(case.bytes, command.is_multi_line()) {
        // An over-long line fails once it is too long, however it would have gone on.
        None => assert!(failed || case.bytes.len() >= STATUS),
        Some(expected) => assert_eq!((forwarded, done, failed), (expected.0, expected.1, false)),
    }
}

/// Longer than a status line may be.
const STATUS: usize = 8 << 10;

/// How much of an answer belongs to it, and whether it is complete: over all its bytes at once.
pub(crate) fn answer_by_hand(bytes: &[u8], is_multi_line: bool) -> Option<(usize, bool)> {
    let (line, fault, status) = line_by_hand(bytes, STATUS);
    let Some(line) = line else { return fault.is_none().then_some((0, false)) };
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

/// A reply is whole lines of one code, and what follows changes nothing.
fn reply(case: &[u8]) {
    let Ok(Some(reply)) = scan_reply(case) else { return };
    let whole = &case[..reply.len];
    let text = String::from_utf8_lossy(whole).into_owned();
    let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    let (last, before) = lines.split_last().unwrap();
    let code = reply.code.to_string();
    assert!(lines.iter().all(|line| line.starts_with(&code) && !line.contains(['\r', '\n', '\0'])));
    assert!(before.iter().all(|line| line.as_bytes().get(3) == Some(&b'-')));
    assert!(last.as_bytes().get(3) != Some(&b'-'));
    for end in 0..reply.len {
        assert_eq!(scan_reply(&case[..end]), Ok(None), "{end}");
    }
    assert_eq!(scan_reply(whole), Ok(Some(reply)));
}

/// Answers a workstation as a gateway would that refuses every login; gives all that it is told, and fails
/// where that is not made of whole lines.
macro_rules! talk_to {
    ($front:expr, $pieces:expr, $refusal:expr) => {{
        let mut front = $front;
        let mut told = Vec::new();
        'talk: for piece in $pieces {
            front.feed(piece);
            loop {
                match front.step() {
                    FrontStep::NeedInput => break,
                    FrontStep::Send(reply) => {
                        assert!(reply.ends_with(b"\r\n"), "{}", reply.escape_ascii());
                        told.extend(reply);
                    }
                    FrontStep::Refuse(hint) => told.extend(format!("{hint:?}\r\n").into_bytes()),
                    FrontStep::Close(hint) => {
                        told.extend(format!("{hint:?}\r\n").into_bytes());
                        break 'talk;
                    }
                    FrontStep::Named(name) => match name.expose().len() % 3 {
                        0 => front.refuse($refusal),
                        _ => front.ask_password(),
                    },
                    FrontStep::Login(_) => front.refuse($refusal),
                    FrontStep::StartTls | FrontStep::Quit => break 'talk,
                }
            }
        }
        told
    }};
}

/// No workstation confuses a front, wherever its bytes are cut.
macro_rules! front {
    ($case:expr, $front:expr, $refusal:expr) => {{
        let case = Case::of($case);
        if case.bytes.is_empty() {
            return; // Nothing came, not even nothing.
        }
        let cut = talk_to!($front(case.choice % 2 == 1), case.pieces(), $refusal);
        let whole = talk_to!($front(case.choice % 2 == 1), [case.bytes], $refusal);
        // Bytes after STARTTLS, and a first line that is no command at all, are judged by what came
        // together; everything else is answered the same however it was cut.
        let is_cut_the_same = !case.bytes.windows(2).any(|two| two.eq_ignore_ascii_case(b"TL"));
        assert!(
            !is_cut_the_same || cut == whole,
            "{} {}",
            cut.escape_ascii(),
            whole.escape_ascii()
        );
    }};
}

fn front_smtp(case: &[u8]) {
    let front =
        |before_tls| smtp::Front::new(setup(before_tls), SmtpCapabilities::conservative(), true);
    front!(case, front, b"550 no\r\n");
}

fn front_pop3(case: &[u8]) {
    let front =
        |before_tls| pop3::Front::new(setup(before_tls), Pop3Capabilities::conservative(), true);
    front!(case, front, b"-ERR no\r\n");
}

fn setup(before_tls: bool) -> Setup {
    let stage = if before_tls { Stage::BeforeTls } else { Stage::Open };
    Setup { name: "gw".into(), stage, login_line: 64, command_line: 40 }
}

/// No client module confuses the login at it: whatever it answers, only whole lines go there, and
/// the talk ends.
macro_rules! log_in_at {
    ($back:expr, $answers:expr, $credentials:expr) => {{
        let mut back = $back;
        let mut answers = $answers.into_iter();
        let mut ended = false;
        for _ in 0..10_000 {
            match back.step() {
                Err(_) | Ok(BackStep::LoggedIn(_) | BackStep::Refused(_) | BackStep::Done) => {
                    ended = true;
                }
                Ok(BackStep::Send(bytes)) => assert!(bytes.expose().ends_with(b"\r\n")),
                Ok(BackStep::StartTls) => back.secured(),
                Ok(BackStep::Ready) => back.log_in(&$credentials),
                Ok(BackStep::NeedInput) => match answers.next() {
                    Some(answer) => back.feed(answer),
                    None => ended = true,
                },
            }
            if ended {
                break;
            }
        }
        assert!(ended);
    }};
}

fn back_smtp(case: &[u8]) {
    let case = Case::of(case);
    let back = smtp::Back::new("gw", case.choice % 2 == 1);
    log_in_at!(back, case.pieces(), Credentials::plain(b"AHUAcA==", true).unwrap());
}

fn back_pop3(case: &[u8]) {
    let case = Case::of(case);
    let back = pop3::Back::new(case.choice % 2 == 1);
    log_in_at!(back, case.pieces(), Credentials::user_pass(b"u", b"p").unwrap());
}

/// Credentials that are taken go on as they came and have one reading.
fn credentials(case: &[u8]) {
    let Some((&[choice], message)) = case.split_first_chunk::<1>() else { return };
    let mut line = BASE64_STANDARD.encode(message).trim_end_matches('=').to_owned();
    line.push_str(&"=".repeat(usize::from(choice / 2 % 4)));
    let Ok(credentials) = Credentials::plain(line.as_bytes(), choice % 2 == 1) else { return };
    assert_eq!(credentials.wire()[0].expose(), line.as_bytes());
    let parts: Vec<&[u8]> = message.split(|byte| *byte == 0).collect();
    assert_eq!(parts.len(), 3, "{message:?}");
    assert!(parts[0].is_empty() || parts[0] == parts[1]);
    assert_eq!(credentials.login(), parts[1]);
    assert_eq!(credentials.password().expose().as_slice(), parts[2]);
    assert!(!message.contains(&b'\r') && !message.contains(&b'\n'));
}

/// Any login has an account and keeps its bytes; whatever is odd about it can be said.
fn login(case: &[u8]) {
    let login = Login::parse(case);
    assert_eq!(login.as_bytes(), case);
    let address = case.split(|byte| *byte == b'#').next().unwrap();
    if let Ok(address) = std::str::from_utf8(address)
        && login.is_well_formed()
    {
        // KIM addresses are ASCII (gematik FAQ); nothing else has a case to compare without.
        assert_eq!(login.account().as_str(), address.to_ascii_lowercase());
        assert!(login.account().is(address) && Account::new(address) == *login.account());
    }
    for warning in LoginWarning::all(&login, None, None) {
        assert!(!warning.problem().is_empty());
    }
}

/// Whatever both peers do, a session ends, and no step of it is one that must not be.
fn relay_pop3(case: &[u8]) {
    random_world(case, Protocol::Pop3).drive(&mut pop3::Relay::default());
}

fn relay_smtp(case: &[u8]) {
    random_world(case, Protocol::Smtp).drive(&mut smtp::Relay::new("a@b"));
}

/// Peers that do what a case says. Its bytes are the workstation's up to a byte 0xff, the client
/// module's up to another one, and then what chance decides. In both peers' bytes 0xfe begins another
/// piece, and 0xfd with a letter after it is another act. Most commands are answered as they should be; to
/// the others the client module answers with its next act.
fn random_world(case: &[u8], protocol: Protocol) -> World {
    let Case { choice, lengths, bytes } = Case::of(case);
    let mut parts = bytes.splitn(3, |byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let mut world = World::dutiful(acts(part()), VecDeque::new());
    world.client_module = acts(part());
    world.dice = [&lengths[..], part()].concat();
    world.answers_as = Some(protocol);
    world.refusals = (0..5).map(|bit| choice & lengths[2] & (1 << bit) != 0).collect();
    world.uid_due =
        [None, Some(UidDue::Now), Some(UidDue::AfterAnswer)][usize::from(lengths[1]) % 3];
    world.settings.message = if choice & 1 == 0 { 0 } else { 40 };
    world.settings.middleware_header = choice & 2 != 0;
    world.settings.delivery_receipts = choice & 4 != 0;
    world.settings.read_receipts = choice & 8 != 0;
    world
}

fn acts(bytes: &[u8]) -> VecDeque<Act> {
    let piece = |piece: &[u8]| match piece {
        [0xfd, b'c', ..] => Act::End(PeerEof::Clean),
        [0xfd, b'x', ..] => Act::End(PeerEof::Cut),
        [0xfd, b'd', ..] => Act::StopReading,
        [0xfd, ..] => Act::Sleep,
        bytes => Act::Send(bytes[..bytes.len().min(4096)].to_vec()),
    };
    bytes.split(|byte| *byte == 0xfe).map(piece).collect()
}

/// Any command is read or refused.
fn command(case: &[u8]) {
    let _ = pop3::command::parse(case);
    let _ = smtp::command::parse(case);
}

/// The end of a message, and what may be forwarded of it, is what the rules say of all its bytes at
/// once.
fn dot(case: &[u8]) {
    let case = Case::of(case);
    dot_holds(case.bytes, &case.pieces());
}

/// The same for these pieces.
pub(crate) fn dot_holds(message: &[u8], pieces: &[&[u8]]) {
    for (scan, is_strict) in [(DotScan::strict(), true), (DotScan::lenient(), false)] {
        let found = forwarded(scan, pieces);
        let shown = || format!("{} cut to {pieces:?}", message.escape_ascii());
        assert_eq!(found, forwarded_by_hand(message, is_strict), "{}", shown());
    }
}

/// What is forwarded, where the end is, and whether anything is ambiguous.
pub(crate) fn forwarded(mut scan: DotScan, pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>, bool) {
    let mut forwarded = Vec::new();
    let mut offered = 0;
    let mut ambiguous = false;
    for piece in pieces {
        let scanned = scan.scan(piece);
        assert!(!ambiguous || scanned.ambiguous, "the finding is latched");
        ambiguous = scanned.ambiguous;
        forwarded.extend_from_slice(scanned.release);
        forwarded.extend_from_slice(&piece[..scanned.safe]);
        if let Some(end) = scanned.end {
            return (forwarded, Some(offered + end), ambiguous);
        }
        offered += piece.len();
    }
    (forwarded, None, ambiguous)
}

/// The rules of `proto::dot`, word by word.
fn forwarded_by_hand(message: &[u8], is_strict: bool) -> (Vec<u8>, Option<usize>, bool) {
    let is_edge = |byte: Option<&u8>| matches!(byte, Some(b'\r' | b'\n' | 0));
    let framed = [b" \r\n", message].concat();
    let mut first_unsafe = None;
    let mut ambiguous = false;
    let mut end = None;
    for dot in 3..framed.len() {
        if framed[dot] != b'.' || !is_edge(framed.get(dot - 1)) {
            continue;
        }
        let after = &framed[dot + 1..];
        let is_end = framed[..dot].ends_with(b"\r\n") && after.starts_with(b"\r\n");
        let is_doubtful = !is_end || is_edge(framed.get(dot - 3)) && framed[dot - 3] != b'\n';
        let is_open = after.is_empty() || after == b"\r" && framed[..dot].ends_with(b"\r\n");
        if is_open || is_edge(after.first()) {
            first_unsafe.get_or_insert(dot - 3);
        }
        ambiguous |= !is_open && is_edge(after.first()) && is_doubtful;
        if is_end {
            end = Some(dot);
            break;
        }
    }
    let stop = if is_strict { first_unsafe } else { end };
    (message[..stop.unwrap_or(message.len())].to_vec(), end, ambiguous && is_strict)
}

/// A header is read the same however it is cut, in bounded memory; what it says of a fetched message
/// can be judged.
fn header(case: &[u8]) {
    const WANTED: [&str; 3] = ["Subject", "X-KIM-DecryptionResult", "X-KIM-Fehlermeldung"];
    let case = Case::of(case);
    let read = |pieces: &[&[u8]]| {
        let mut reader = HeaderReader::new(&WANTED, usize::from(case.choice) * 16);
        let (mut end, mut offered) = (None, 0);
        for piece in pieces {
            end = end.or(reader.feed(piece).map(|n| offered + n));
            offered += piece.len();
        }
        let values = WANTED.map(|name| reader.values(name).map(String::from).collect::<Vec<_>>());
        (end, values, reader.is_over_limit())
    };
    no_service_is_hidden(case.bytes);
    let (end, values, is_over) = read(&case.pieces());
    assert_eq!((end, values.clone(), is_over), read(&[case.bytes]));
    assert!(values.iter().flatten().all(|value| value.len() <= 1 << 10));
    let [subjects, decryption, errors] =
        values.each_ref().map(|field| field.iter().map(String::as_str).collect::<Vec<_>>());
    let evidence = Evidence { decryption: &decryption, errors: &errors, subjects: &subjects };
    assert!(evidence.cause().is_some() || decryption.iter().all(|code| matches!(*code, "" | "00")));
}

/// Each service that the loosest known reader finds is found, or the header block counts as malformed.
fn no_service_is_hidden(message: &[u8]) {
    const WANTED: [&str; 1] = ["X-KIM-Dienstkennung"];
    let mut reader = HeaderReader::new(&WANTED, usize::MAX);
    reader.feed(message);
    // Ends what is open.
    reader.feed(b"\r\nX: \r\n");
    // The rules trim values like this.
    let trimmed = |value| str::trim_matches(value, |c| c <= ' ');
    let found: Vec<&str> = reader.values(WANTED[0]).map(trimmed).collect();
    let is_judged = |value: &String| found.contains(&value.as_str());
    let by_loosest = services_by_the_loosest_reader(message);
    let may_hide = reader.is_malformed() || reader.is_over_limit();
    assert!(
        may_hide || by_loosest.iter().all(is_judged),
        "{:?} instead of {by_loosest:?} in {}",
        found,
        message.escape_ascii()
    );
}

/// Reads as a mail library in wide use does, and looser where it can: CR, LF and CRLF end a line, folded
/// lines are joined before the colon is looked for, everything up to the blank is trimmed from both ends
/// of a name, and names are compared by Unicode's rules for upper and lower case.
fn services_by_the_loosest_reader(message: &[u8]) -> Vec<String> {
    let framed = [b"\r\n", message].concat();
    let is_end = |at: &usize| {
        let rest = &framed[*at..];
        rest.starts_with(b"\r\n\r\n") || rest.starts_with(b"\r\n.\r\n")
    };
    let end = (0..framed.len()).find(is_end).unwrap_or(framed.len());
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in framed[..end].split(|byte| matches!(byte, b'\r' | b'\n')) {
        let line = line.strip_prefix(b".").unwrap_or(line);
        match (line.first(), fields.last_mut()) {
            (None, _) => {}
            (Some(b' ' | b'\t'), Some(field)) => field.extend(line),
            // Blanks before the first field are dropped.
            (Some(b' ' | b'\t'), None) => match line.trim_ascii_start() {
                [] => {}
                line => fields.push(line.to_vec()),
            },
            (Some(_), _) => fields.push(line.to_vec()),
        }
    }
    let trimmed = |text: &str| text.trim_matches(|c| c <= ' ').to_owned();
    let folded = |text: &str| {
        text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>()
    };
    let fields = fields.iter().map(|field| String::from_utf8_lossy(field).into_owned());
    let services = fields.filter_map(|field| {
        let (name, value) = field.split_once(':')?;
        (folded(&trimmed(name)) == "x-kim-dienstkennung").then(|| trimmed(value))
    });
    services.filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic())).collect()
}

#[test]
fn the_loosest_reader_finds_what_hides_from_others() {
    for name in [
        "X-KIM-Dienstkennung",
        "x-kim-dienstkennung \t ",
        "\u{1}X-KIM-Dienstkennung\u{1f}\0",
        "X-KIM-D\u{131}enstkennung",
        "X-\u{212a}IM-Dienstkennung",
        "X-KIM-Dien\u{17f}tkennung",
        "\u{1}\r\n X-KIM-Dienstkennung",
        "X-KIM-Dienstkennung\r\n ",
    ] {
        for blanks in [0, 58, 3000] {
            let message = format!("A: b\r\n{name}{}: eAU\r\n\r\n", " ".repeat(blanks));
            assert_eq!(services_by_the_loosest_reader(message.as_bytes()), ["eAU"], "{name:?}");
            no_service_is_hidden(message.as_bytes());
        }
    }
}

/// A PROXY header gives an address, none, or an error.
fn proxy_header(case: &[u8]) {
    if let Ok(Some(SocketAddr::V6(address))) = proxied_address(case) {
        assert!(case.starts_with(b"PROXY TCP6") || case.len() >= 16 + 36, "{address}");
    }
}

/// Text from outside shows nothing of its own making: one line, nothing unseen, bounded.
fn text(case: &[u8]) {
    let text = String::from_utf8_lossy(case);
    let shown = printable(&text);
    assert!(!shown.chars().any(char::is_control));
    assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{feff}', '\u{200b}', '\u{2028}']));
    assert!(shown.chars().count() <= 256 * 9 + 3);
}

/// Any certificate is judged, in words that can be shown, and never taken without a reason.
fn certificate(case: &[u8]) {
    let _ = CertificateFacts::read(case);
    let trust = |ignore| ClientModuleTrust {
        ca: Vec::new(),
        system_roots: false,
        pins: Vec::new(),
        ignore_self_signed: ignore,
        ignore_name_mismatch: ignore,
        identity: None,
        language: Language::De,
    };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    for ignore in [false, true] {
        let tls = UpstreamTls::load(&trust(ignore), "kim.praxis.local").unwrap();
        let verdict = tls.judge(&[CertificateDer::from(case)], now);
        assert!(ignore || !verdict.accepted, "no root is known, so no certificate is trusted");
        for language in [Language::De, Language::En] {
            let sentence = verdict.sentence(language);
            assert!(!sentence.is_empty() && !sentence.chars().any(char::is_control));
        }
    }
}

/// Any configuration is read, or every finding has its words.
fn configuration(case: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kimgate.toml");
    std::fs::write(&file, case).unwrap();
    let Err(findings) = config::load(&file, std::iter::empty()) else { return };
    assert!(!findings.is_empty());
    for finding in findings {
        let said = finding.to_string();
        assert!(!said.is_empty() && !said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    }
}

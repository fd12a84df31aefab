//! Dialogues as text: what is sent, what must come back, what must be known of it afterwards.
//!
//! ```text
//! # the first line says in a sentence what this shows
//! config: policy.mode = "observe"      one line of TOML over tests/transcripts/practice.toml
//! listener: starttls                   implicit (as if absent), starttls or plain
//! from: 127.0.0.2                      source address; `from2:` of the second connection
//! maildrop: Subject: x\r\n\r\nhello    a message that waits for prx@praxis.kim.telematik
//! fault: NAME                          what the simulated client module does wrong
//!
//! S: +OK <any>                         this line comes; `<any>` stands for any text
//! S* 250 <any>                         lines come until this one does
//! S| hel                               these bytes come, and no line end is waited for
//! C: USER <x*300>                      this line goes; `<x*300>` is 300 times x
//! C: AUTH PLAIN <b64:\0login\0pw>      `\0 \r \n \t \\ \xNN` in any text
//! C| no line end
//! C! tls                               the handshake now; `C! close`: the connection is dropped
//! S de: -ERR <any>                      this line comes where the gateway speaks German; with such a
//! S en: -ERR <any>                      line the dialogue is played in both languages
//! S! closed                            the other side ends the connection
//! C2: NOOP                             a second connection, opened when it is first named
//!
//! audit: denied not-allowed action=send    an audit line with this event, reason and fields
//! audit: no message-sent                   none with this event
//! upstream: no connection                  what the client module saw, see `World::upstream`
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;

/// How the listener under test secures its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listener {
    #[default]
    Implicit,
    StartTls,
    Plain,
}

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
    pub(crate) audit: Vec<Expectation>,
    pub(crate) upstream: Vec<Expectation>,
}

/// The world that a dialogue happens in.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Single lines of TOML, each over the practice's configuration.
    pub(crate) config: Vec<String>,
    pub(crate) listener: Listener,
    /// Source addresses by connection; 127.0.0.1 where none is named.
    pub(crate) from: BTreeMap<usize, IpAddr>,
    pub(crate) maildrop: Vec<Vec<u8>>,
    pub(crate) faults: Vec<String>,
}

impl Setup {
    /// Where this connection comes from.
    pub(crate) fn source(&self, connection: usize) -> IpAddr {
        self.from.get(&connection).copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

/// One line of the dialogue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// In the file, for a test that failed.
    pub(crate) line: usize,
    pub(crate) connection: usize,
    pub(crate) act: Act,
}

/// What happens there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Send(Vec<u8>),
    StartTls,
    Drop,
    /// A line that matches.
    Expect(Pattern),
    /// Lines up to one that matches.
    ExpectUntil(Pattern),
    ExpectBytes(Vec<u8>),
    ExpectClosed,
}

/// What must, or must not, be among the facts afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) line: usize,
    pub(crate) present: bool,
    pub(crate) text: String,
}

/// A text with `<any>` in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Vec<u8>>);

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        text.split("<any>").map(bytes).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the whole of `line` is this text.
    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        let [first, rest @ ..] = &self.0[..] else { return false };
        let Some(mut left) = line.strip_prefix(&first[..]) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            let Some(at) = find(left, part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

/// Reads a file; says at which line it stopped making sense.
pub(crate) fn parse(text: &str) -> Result<Transcript, String> {
    let mut transcript = Transcript::default();
    if !text.starts_with("# ") {
        return Err("line 1: the first line says what this shows".into());
    }
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        let read = match line {
            "" => Ok(()),
            comment if comment.starts_with('#') => Ok(()),
            step if step.starts_with(['C', 'S']) => {
                read_step(step, number).map(|step| transcript.steps.push(step))
            }
            _ => read_header(line, number, &mut transcript),
        };
        read.map_err(|fault| format!("line {number}: {fault}: {line}"))?;
    }
    if transcript.steps.is_empty() {
        return Err("nothing happens".into());
    }
    Ok(transcript)
}

fn read_header(line: &str, number: usize, into: &mut Transcript) -> Result<(), String> {
    let (name, value) = line.split_once(": ").ok_or("neither a step nor `name: value`")?;
    let setup = &mut into.setup;
    match name {
        "config" => setup.config.push(value.to_owned()),
        "listener" => setup.listener = listener(value)?,
        "maildrop" => setup.maildrop.push(bytes(value)?),
        "fault" => setup.faults.push(value.to_owned()),
        "audit" => into.audit.push(expectation(value, number)),
        "upstream" => into.upstream.push(expectation(value, number)),
        _ => {
            let connection = name.strip_prefix("from").ok_or("unknown header")?;
            let connection = connection_number(connection)?;
            let address = value.parse().map_err(|_| "not an address")?;
            setup.from.insert(connection, address);
        }
    }
    Ok(())
}

fn read_step(line: &str, number: usize) -> Result<Step, String> {
    let mark = line.find([':', '|', '*', '!']).ok_or("no mark")?;
    let (who, rest) = line.split_at(mark);
    let (kind, rest) = rest.split_at(1);
    let text = if rest.is_empty() { rest } else { rest.strip_prefix(' ').ok_or("no blank")? };
    let act = match (&who[..1], kind) {
        ("C", ":") => Act::Send([bytes(text)?, b"\r\n".to_vec()].concat()),
        ("C", "|") => Act::Send(bytes(text)?),
        ("C", "!") if text == "tls" => Act::StartTls,
        ("C", "!") if text == "close" => Act::Drop,
        ("S", ":") => Act::Expect(Pattern::new(text)?),
        ("S", "*") => Act::ExpectUntil(Pattern::new(text)?),
        ("S", "|") => Act::ExpectBytes(bytes(text)?),
        ("S", "!") if text == "closed" => Act::ExpectClosed,
        _ => return Err("unknown step".into()),
    };
    Ok(Step { line: number, connection: connection_number(&who[1..])?, act })
}

fn listener(text: &str) -> Result<Listener, String> {
    match text {
        "implicit" => Ok(Listener::Implicit),
        "starttls" => Ok(Listener::StartTls),
        "plain" => Ok(Listener::Plain),
        _ => Err("a listener is implicit, starttls or plain".into()),
    }
}

fn expectation(text: &str, line: usize) -> Expectation {
    match text.strip_prefix("no ") {
        Some(text) => Expectation { line, present: false, text: text.to_owned() },
        None => Expectation { line, present: true, text: text.to_owned() },
    }
}

fn connection_number(digits: &str) -> Result<usize, String> {
    if digits.is_empty() { Ok(1) } else { digits.parse().map_err(|_| "not a connection".into()) }
}

/// The bytes that a text stands for: escapes, `<x*300>` and `<b64:…>`.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let Some((before, rest)) = text.split_once('<') else { return unescaped(text) };
    let mut out = unescaped(before)?;
    let special = rest.split_once('>').and_then(|(inside, after)| Some((expanded(inside)?, after)));
    match special {
        Some((expansion, after)) => {
            out.extend(expansion?);
            out.extend(bytes(after)?);
        }
        None => {
            out.push(b'<');
            out.extend(bytes(rest)?);
        }
    }
    Ok(out)
}

/// What `<inside>` stands for, if it is not just text in angle brackets.
fn expanded(inside: &str) -> Option<Result<Vec<u8>, String>> {
    if let Some(text) = inside.strip_prefix("b64:") {
        let encode = |bytes| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
        return Some(unescaped(text).map(encode));
    }
    let (text, count) = inside.rsplit_once('*')?;
    let count = count.parse().ok()?;
    Some(unescaped(text).map(|text| text.repeat(count)))
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let (byte, taken) = match after.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', ..] => {
                let digits = after.get(1..3).ok_or("\\x wants two digits")?;
                (u8::from_str_radix(digits, 16).map_err(|_| "\\x wants two digits")?, 3)
            }
            _ => return Err("unknown escape".into()),
        };
        out.push(byte);
        rest = &after[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    (0..=haystack.len().checked_sub(needle.len())?).find(|&at| haystack[at..].starts_with(needle))
}

//! Dialogues at the wire, one a file in `tests/transcripts/`; `support/transcript.rs` says how they
//! are written.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::support::dialogue::ADDRESS;
use crate::support::player::{Stream, World, play};
use crate::support::practice::configured;
use crate::support::transcript::{Listener, Pattern, bytes, parse};
use crate::support::world;
use kimgate::words::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn every_transcript_makes_sense() {
    for file in files() {
        for text in in_its_languages(&fs::read_to_string(&file).unwrap()) {
            let configured = parse(&text).and_then(|read| configured(&read.setup.config));
            assert!(configured.is_ok(), "{}: {}", file.display(), configured.unwrap_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialogue_goes_as_written() {
    // One alone while it is looked into: TRANSCRIPT=pop3/stls cargo test --test it transcripts::
    let wanted = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut faults = String::new();
    for file in files() {
        let shown = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
        if !shown.contains(&wanted) {
            continue;
        }
        if let Err(fault) = perform(&file).await {
            faults.push_str(&format!("{shown}: {fault}\n"));
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Plays a file in a practice of its own.
async fn perform(file: &Path) -> Result<(), String> {
    let protocol = match file.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("pop3") => Protocol::Pop3,
        _ => Protocol::Smtp,
    };
    for text in in_its_languages(&fs::read_to_string(file).unwrap()) {
        play_one(&text, protocol).await?;
    }
    Ok(())
}

/// The text once, or once in German and once in English where a line is marked with a language. Lines
/// keep their numbers.
fn in_its_languages(text: &str) -> Vec<String> {
    let marked = |line: &str, language: &str| line.starts_with('S') && line.contains(language);
    if !text.lines().any(|line| marked(line, " de: ")) {
        return vec![text.to_owned()];
    }
    let in_language = |(own, other): (&str, &str)| {
        let lines = text.lines().map(|line| match (marked(line, own), marked(line, other)) {
            (true, _) => line.replacen(own, ": ", 1),
            (false, true) => String::new(),
            (false, false) => line.to_owned(),
        });
        let config = format!("config: gateway.language = {:?}", own.trim_matches([' ', ':']));
        lines.chain([config]).collect::<Vec<_>>().join("\n")
    };
    [(" de: ", " en: "), (" en: ", " de: ")].map(in_language).to_vec()
}

async fn play_one(text: &str, protocol: Protocol) -> Result<(), String> {
    let transcript = parse(text)?;
    let lines: Vec<&str> = transcript.setup.config.iter().map(String::as_str).collect();
    let world = world::World::start(&lines).await;
    for message in &transcript.setup.maildrop {
        world.sim.deliver(ADDRESS, message);
    }
    world.faults(&transcript.setup.faults);
    play(&transcript, &world.speaking(protocol)).await
}

#[test]
fn a_line_of_configuration_changes_its_key_and_nothing_beside_it() {
    let account = r#"accounts."prx@praxis.kim.telematik""#;
    let lines =
        [r#"policy.mode = "observe""#.into(), format!("{account}.send.services = [\"eAU;*\"]")];
    let text = configured(&lines).unwrap();
    let read: toml_edit::DocumentMut = text.parse().unwrap();
    let send = &read["accounts"]["prx@praxis.kim.telematik"]["send"];
    assert_eq!(read["policy"]["mode"].as_str(), Some("observe"), "{text}");
    assert_eq!(send["services"][0].as_str(), Some("eAU;*"), "{text}");
    assert_eq!(send["recipients"][0].as_str(), Some("*.kim.telematik"), "{text}");
}

#[tokio::test]
async fn a_dialogue_that_goes_another_way_is_noticed() {
    let right = "# t\nS: 220 <any>\nC: HELO x\nS: 250 x\nS! closed\n";
    let table = [
        (right, None),
        ("# t\nS: 221 <any>\n", Some("line 2: came \"220 fake\"")),
        ("# t\nS: 220\n", Some("line 2")),
        ("# t\nS: 220 fake\nC: HELO x\nS: 250 x\nS: 250 y\n", Some("line 5: closed after \"\"")),
        ("# t\nS: 220 fake\nC: HELO x\nS! closed\n", Some("line 4: before the end came")),
        ("# t\nS* 250 x\nC: HELO x\n", Some("line 2: nothing came")),
        ("# t\nS: 220 fake\naudit: closed ok\nupstream: no connection\n", None),
        ("# t\nS: 220 fake\naudit: closed ok bytes=7\n", None),
        ("# t\nS: 220 fake\naudit: closed ok bytes=8\n", Some("line 3: missing")),
        ("# t\nS: 220 fake\naudit: no closed\n", Some("line 3: not expected")),
        ("# t\nS: 220 fake\nupstream: connection\n", Some("line 3: missing")),
    ];
    tokio::time::pause();
    for (text, expected) in table {
        let played = play(&parse(text).unwrap(), &Fake).await;
        match (expected, played) {
            (None, played) => assert_eq!(played, Ok(()), "{text}"),
            (Some(expected), Err(fault)) => assert!(fault.contains(expected), "{text}: {fault}"),
            (Some(_), Ok(())) => panic!("not noticed: {text}"),
        }
    }
}

#[test]
fn texts_stand_for_bytes() {
    let table: [(&str, &[u8]); 7] = [
        ("USER a b", b"USER a b"),
        (r"a\r\n\0\x7f\\", b"a\r\n\0\x7f\\"),
        ("<x*3>y", b"xxxy"),
        (r"<b64:\0a\0b>", b"AGEAYg=="),
        ("MAIL FROM:<a@b> SIZE=1", b"MAIL FROM:<a@b> SIZE=1"),
        ("<>", b"<>"),
        ("a<b", b"a<b"),
    ];
    for (text, expected) in table {
        assert_eq!(bytes(text).as_deref(), Ok(expected), "{text}");
    }
    assert!(bytes(r"\q").is_err() && bytes(r"\x1").is_err());
}

#[test]
fn patterns_match_whole_lines_and_nothing_else() {
    let table = [
        ("+OK", "+OK", true),
        ("+OK", "+OK ", false),
        ("+OK <any>", "+OK ", true),
        ("+OK <any>", "+OK", false),
        ("<any>(denied)", "-ERR x (denied)", true),
        ("<any>(denied)", "-ERR x (denied) y", false),
        ("-ERR <any> KIM <any>)", "-ERR a KIM b)", true),
        ("-ERR <any> KIM <any>)", "-ERR KIM b)", false),
    ];
    for (pattern, line, expected) in table {
        let matches = Pattern::new(pattern).unwrap().matches(line.as_bytes());
        assert_eq!(matches, expected, "{pattern} / {line}");
    }
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    for (text, line) in [
        ("C: x", "line 1"),
        ("# t\nX: y", "line 2"),
        ("# t\nC? y", "line 2"),
        ("# t\n\nS! open", "line 3"),
        ("# t\nlistener: tls", "line 2"),
        ("# t\nfrom: here", "line 2"),
        ("# t\nC: \\q", "line 2"),
        ("# t\n", "nothing"),
    ] {
        let fault = parse(text).unwrap_err();
        assert!(fault.contains(line), "{text}: {fault}");
    }
}

/// A server that greets, answers one line, and ends.
struct Fake;

impl World for Fake {
    async fn connect(&self, _: Listener, _: IpAddr) -> Box<dyn Stream> {
        let (client, mut server) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            server.write_all(b"220 fake\r\n").await.unwrap();
            if server.read(&mut [0; 100]).await.unwrap() > 0 {
                let _ = server.write_all(b"250 x\r\n").await;
            }
        });
        Box::new(client)
    }

    async fn start_tls(&self, stream: Box<dyn Stream>) -> Box<dyn Stream> {
        stream
    }

    async fn audit(&self) -> Vec<Value> {
        vec![json!({ "event": "closed", "reason": "ok", "bytes": 7 })]
    }

    async fn upstream(&self) -> Vec<String> {
        Vec::new()
    }
}

/// All of them; a walk that finds none proves nothing.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = ["smtp", "pop3"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} transcripts", files.len());
    files
}

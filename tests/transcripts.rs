//! Dialogues at the wire, one a file in `tests/transcripts/`; `support/transcript.rs` says how they
//! are written.

mod support;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::player::{Stream, World, play};
use support::transcript::{Listener, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn every_transcript_makes_sense() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let parsed = parse(&text);
        assert!(parsed.is_ok(), "{}: {}", file.display(), parsed.unwrap_err());
    }
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

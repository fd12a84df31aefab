//! Messages too large to keep in memory, through `kimgate run`.
//!
//! 256 MiB each, so that it takes seconds; `KIMGATE_LARGE=1` makes it 1 GiB, and `.ci/run` does that
//! with the release build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

#[allow(dead_code, reason = "this program uses a part of it")]
#[path = "it/support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use kimgate::sim::{Capabilities, Seen, Sim, SimConfig};
use kimgate::words::{Protocol, Security};
use support::kimgate::{ADDRESS, Kimgate, client_module};
use support::talk::Talk;

const MIB: u64 = 1 << 20;

/// What the gateway's process may ever have had in memory.
const PEAK: u64 = 64 * MIB;

/// The least that a message has to have for its size to show in the peak.
const LEAST: u64 = 4 * PEAK;

const RECIPIENT: &str = "arzt@praxis.tm.kim.telematik";

const LOGIN: &str = "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#M#C#PC1";

#[tokio::test]
async fn a_message_of_any_size_passes_both_ways_in_constant_memory() {
    let octets = if std::env::var_os("KIMGATE_LARGE").is_some() { 1024 * MIB } else { LEAST };
    let sim = Sim::start(SimConfig {
        capabilities: Capabilities {
            smtp: ["SIZE 4294967296", "AUTH PLAIN LOGIN", "8BITMIME"].map(String::from).into(),
            ..Capabilities::default()
        },
        // It counts and hashes; the memory of this process is not what is measured.
        maildrop_limit: MIB as usize,
        record: true,
        ..SimConfig::default()
    })
    .await
    .unwrap();
    let module = client_module("main", &sim, Security::Implicit);
    let protocols = [Protocol::Pop3, Protocol::Smtp];
    let lab = Lab { kimgate: Kimgate::start(&protocols, &module).await.ready().await, sim };
    println!("{:>4} MiB peak when ready", peak(&lab.kimgate) / MIB);
    for security in [Security::None, Security::Implicit] {
        for (direction, protocol) in [("fetched", Protocol::Pop3), ("sent", Protocol::Smtp)] {
            let begun = Instant::now();
            match protocol {
                Protocol::Pop3 => lab.fetch(security, octets).await,
                Protocol::Smtp => lab.send(security, octets).await,
            }
            let (seconds, peak) = (begun.elapsed().as_secs_f64(), peak(&lab.kimgate));
            println!(
                "{:>4} MiB peak after {} MiB {direction}, workstation's security {security:?}: \
                 {seconds:.1} s, {:.0} MiB/s",
                peak / MIB,
                octets / MIB,
                (octets / MIB) as f64 / seconds,
            );
            assert!(peak < PEAK, "{} KiB", peak / 1024);
        }
    }
    let left = lab.kimgate.stop().await;
    assert!(left.ok, "{}", left.log);
    for event in ["message-received", "message-sent"] {
        let lines = left.events(event);
        // What is counted is what went over the wire, the doubled dots included.
        assert!(lines.iter().all(|line| line["bytes"].as_u64().unwrap() > octets), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}

struct Lab {
    sim: Sim,
    kimgate: Kimgate,
}

impl Lab {
    async fn fetch(&self, security: Security, octets: u64) {
        self.sim.deliver_synthetic(ADDRESS, octets);
        let mut talk = self.connect(Protocol::Pop3, security).await;
        talk.answer().await.unwrap();
        talk.ask(&format!("USER {LOGIN}")).await.unwrap();
        expect("+OK", talk.ask("PASS geheim").await.unwrap());
        expect("+OK", talk.ask("RETR 1").await.unwrap());
        let (mut digest, mut came) = (Context::new(&SHA256), 0);
        let text = talk.text(|piece| {
            digest.update(piece);
            came += piece.len() as u64;
        });
        text.await.unwrap();
        expect("+OK", talk.ask("DELE 1").await.unwrap());
        expect("+OK", talk.ask("QUIT").await.unwrap());
        let mut fetched = None;
        for seen in self.sim.seen() {
            if let Seen::Fetched { bytes, sha256, complete: true, .. } = seen {
                fetched = Some((bytes, sha256));
            }
        }
        assert_eq!(fetched, Some((came, hex(digest))));
        assert_eq!(came, octets);
    }

    async fn send(&self, security: Security, octets: u64) {
        let mut talk = self.connect(Protocol::Smtp, security).await;
        talk.answer().await.unwrap();
        expect("250", talk.ask("EHLO client.test").await.unwrap());
        let plain = format!("\0{LOGIN}\0geheim");
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        expect("235", talk.ask(&format!("AUTH PLAIN {plain}")).await.unwrap());
        expect("250", talk.ask(&format!("MAIL FROM:<{ADDRESS}> SIZE={octets}")).await.unwrap());
        expect("250", talk.ask(&format!("RCPT TO:<{RECIPIENT}>")).await.unwrap());
        expect("354", talk.ask("DATA").await.unwrap());
        let mut digest = Context::new(&SHA256);
        let header = b"Subject: gross\r\n\r\n";
        digest.update(header);
        talk.send(header).await.unwrap();
        let (block, stuffed) = blocks();
        let mut left = octets - header.len() as u64;
        while left >= block.len() as u64 {
            digest.update(&block);
            talk.send(&stuffed).await.unwrap();
            left -= block.len() as u64;
        }
        // The last line is as long as it has to be.
        let mut rest = "x".repeat(left as usize - 2).into_bytes();
        rest.extend_from_slice(b"\r\n");
        digest.update(&rest);
        talk.send(&rest).await.unwrap();
        expect("250", talk.ask(".").await.unwrap());
        expect("221", talk.ask("QUIT").await.unwrap());
        let mut received = None;
        for seen in self.sim.seen() {
            if let Seen::Received { bytes, sha256, complete: true, .. } = seen {
                received = Some((bytes, sha256));
            }
        }
        assert_eq!(received, Some((octets, hex(digest))));
    }

    async fn connect(&self, protocol: Protocol, security: Security) -> Talk {
        let port = self.kimgate.port(protocol, security);
        match security {
            Security::None => Talk::plain(port).await.unwrap(),
            Security::Implicit | Security::StartTls => {
                Talk::tls(port, &self.kimgate.certificate()).await.unwrap()
            }
        }
    }
}

/// 64 KiB of lines, some of which start with a dot, and the same as it goes over the wire.
fn blocks() -> (Vec<u8>, Vec<u8>) {
    let line = "Sehr geehrter Kollege, anbei das Roentgenbild, wie besprochen.\r\n";
    let paragraph = line.repeat(60) + ".ein Punkt\r\n..\r\n.\r\n\r\n";
    let block = paragraph.repeat((64 << 10) / paragraph.len());
    let stuffed = block.replace("\r\n.", "\r\n..");
    (block.into_bytes(), stuffed.into_bytes())
}

/// The most memory that the process ever had, in bytes.
fn peak(kimgate: &Kimgate) -> u64 {
    let status = PathBuf::from(format!("/proc/{}/status", kimgate.pid()));
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn hex(digest: Context) -> String {
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn expect(code: &str, answer: String) {
    assert!(answer.starts_with(code), "{answer}");
}

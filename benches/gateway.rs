//! What kimgate costs from end to end. The binary runs with the simulated client module, with TLS on
//! both sides, rules and audit on. The benchmark prints the CPU time of kimgate's process for each unit
//! of work, and the memory for each idle session.
//!
//! `cargo bench --bench gateway`. CPU time is the user and system time of the process, from `/proc`. It
//! depends on the machine, so compare two builds on one machine, one after the other. `benches/lab` is
//! for the comparison with other proxies.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints what it measures"
)]

#[allow(dead_code, reason = "this program uses a part of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::time::Instant;

use base64::Engine;
use kimgate::sim::{Capabilities, Sim, SimConfig};
use kimgate::words::{Protocol, Security};
use support::kimgate::{ADDRESS, Kimgate, client_module};
use support::talk::Talk;

const LOGIN: &str = "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#M#C#PC1";
const LOGINS: u32 = 1000;
const IDLE: u32 = 500;
const LARGE: u64 = 256 << 20;
const SMALL: u64 = 10 << 10;
/// Ticks a second of the times in `/proc/PID/stat`, on every Linux that Rust runs on
/// (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() {
    let bench = Bench::start().await;
    bench.idle().await;
    for protocol in [Protocol::Pop3, Protocol::Smtp] {
        let name = format!("login by {}, whole session", protocol.as_str());
        bench.per_session(&name, async || bench.log_in(protocol).await.quit().await).await;
    }
    bench
        .per_session("session that sends 10 kB", async || {
            let mut session = bench.log_in(Protocol::Smtp).await;
            session.send(SMALL).await;
            session.quit().await;
        })
        .await;
    bench.per_gigabyte("fetched", async || bench.fetch().await).await;
    bench
        .per_gigabyte("sent", async || {
            let mut session = bench.log_in(Protocol::Smtp).await;
            session.send(LARGE).await;
            session.quit().await;
        })
        .await;
}

struct Bench {
    sim: Sim,
    kimgate: Kimgate,
}

struct Session(Talk);

impl Bench {
    async fn start() -> Self {
        let sim = Sim::start(SimConfig {
            capabilities: Capabilities {
                smtp: ["SIZE 4294967296", "AUTH PLAIN LOGIN"].map(String::from).into(),
                ..Capabilities::default()
            },
            // Room for all the small messages. A large message is replaced by a short stand-in.
            maildrop_limit: 16 << 20,
            ..SimConfig::default()
        })
        .await
        .unwrap();
        let more = format!(
            "{}[limits]\nconnections_per_workstation = 2000\n[log]\nlevel = \"warn\"\n",
            client_module("main", &sim, Security::Implicit)
        );
        let kimgate =
            Kimgate::start_open(&[Protocol::Pop3, Protocol::Smtp], &more).await.ready().await;
        Self { sim, kimgate }
    }

    async fn log_in(&self, protocol: Protocol) -> Session {
        let port = self.kimgate.port(protocol, Security::Implicit);
        let mut talk = Talk::tls(port, &self.kimgate.certificate()).await.unwrap();
        talk.answer().await.unwrap();
        let (greeting, login) = match protocol {
            Protocol::Pop3 => (format!("USER {LOGIN}"), "PASS geheim".to_owned()),
            Protocol::Smtp => {
                let plain = format!("\0{LOGIN}\0geheim");
                let plain = base64::engine::general_purpose::STANDARD.encode(plain);
                ("EHLO bench.test".to_owned(), format!("AUTH PLAIN {plain}"))
            }
        };
        talk.ask(&greeting).await.unwrap();
        let answer = talk.ask(&login).await.unwrap();
        assert!(answer.starts_with("+OK") || answer.starts_with("235"), "{answer}");
        Session(talk)
    }

    async fn fetch(&self) {
        self.sim.deliver_synthetic(ADDRESS, LARGE);
        let mut session = self.log_in(Protocol::Pop3).await;
        session.0.ask("RETR 1").await.unwrap();
        session.0.text(|_| {}).await.unwrap();
        session.0.ask("DELE 1").await.unwrap();
        session.quit().await;
    }

    async fn per_session(&self, name: &str, session: impl AsyncFn()) {
        session().await;
        let before = self.cpu_seconds();
        for _ in 0..LOGINS {
            session().await;
        }
        let each = (self.cpu_seconds() - before) / f64::from(LOGINS);
        println!("{name:<32} {:>8.0} us of CPU", each * 1e6);
    }

    async fn per_gigabyte(&self, name: &str, transfer: impl AsyncFn()) {
        let (before, started) = (self.cpu_seconds(), Instant::now());
        transfer().await;
        let gigabytes = LARGE as f64 / 1e9;
        let each = (self.cpu_seconds() - before) / gigabytes;
        let pace = gigabytes * 1e3 / started.elapsed().as_secs_f64();
        println!("{:<32} {each:>8.2} s of CPU, {pace:.0} MB/s", format!("1 GB {name}"));
    }

    async fn idle(&self) {
        let before = self.memory();
        let mut sessions = Vec::new();
        for _ in 0..IDLE {
            sessions.push(self.log_in(Protocol::Smtp).await);
        }
        let each = (self.memory() - before) / u64::from(IDLE);
        println!("{:<32} {each:>8} bytes", "idle session");
    }

    /// User and system time of the process so far, in seconds.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.kimgate.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        // Fields 14 and 15 of proc(5), counted from the field after the name.
        (ticks(11) + ticks(12)) / TICKS
    }

    /// The proportional set size of the process, in bytes.
    fn memory(&self) -> u64 {
        let file = format!("/proc/{}/smaps_rollup", self.kimgate.pid());
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Session {
    async fn send(&mut self, bytes: u64) {
        let talk = &mut self.0;
        talk.ask(&format!("MAIL FROM:<{ADDRESS}>")).await.unwrap();
        talk.ask("RCPT TO:<arzt@praxis.tm.kim.telematik>").await.unwrap();
        talk.ask("DATA").await.unwrap();
        talk.send(b"Subject: bench\r\n\r\n").await.unwrap();
        let block = "Sehr geehrter Kollege, anbei der Befund, wie besprochen.\r\n".repeat(1100);
        let mut left = bytes as usize;
        while left > block.len() {
            talk.send(block.as_bytes()).await.unwrap();
            left -= block.len();
        }
        talk.send(&block.as_bytes()[block.len() - left.max(2)..]).await.unwrap();
        let answer = talk.ask(".").await.unwrap();
        assert!(answer.starts_with("250"), "{answer}");
    }

    async fn quit(mut self) {
        self.0.ask("QUIT").await.unwrap();
    }
}

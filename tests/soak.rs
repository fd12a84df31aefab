//! Hours of a practice in a few minutes: mixed mail programs at `kimgate run`, while the client module
//! fails at random, its certificate is renewed and the configuration read again. At the end every
//! message is accounted for, and the process is what it was at the beginning.
//!
//! `KIMGATE_SOAK=SECONDS` says how long (ten by default), `KIMGATE_SOAK_SEED` repeats a run as far as
//! chance comes from here. `just soak` takes twenty minutes.

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

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Fault, Sim, SimConfig};
use kimgate::words::{Protocol, Security};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use support::dialogue::{Client, PASSWORD, auth_plain};
use support::kimgate::{Kimgate, client_module};
use support::world::secure_to;

const ACCOUNTS: usize = 4;
const SENDERS: usize = 3;

/// One of these strikes one session at a time. None says 250 for a message that the client module then
/// refuses: such an answer is believed, because nothing tells it from a true one (SECURITY.md).
const FAULTS: [&str; 39] = [
    "1*handshake-reset",
    "1*greeting-reset",
    "1*greeting-double",
    "1*greeting-refuse=421 4.3.2 Wartung",
    "1*hello-endless",
    "1*login-reset",
    "1*login-delay=200ms",
    "1*login-garbage",
    "1*login-unasked",
    "1*pop3:login-refuse=-ERR [IN-USE] Nein",
    "1*smtp:login-refuse=454 4.7.0 Nein",
    "1*login-close",
    "1*idle-reset",
    "1*idle-unasked",
    "1*mail-refuse",
    "1*mail-reset",
    "1*rcpt-refuse=550 5.1.1 Nein",
    "1*rcpt-long-line=70000",
    "1*data-refuse",
    "1*data-reset",
    "1*in-data-reset@100",
    "1*in-data-drop@5000",
    "1*end-of-data-delay=200ms",
    "1*end-of-data-refuse=554 5.6.0 Nein",
    "1*end-of-data-refuse=421 4.3.0 Nein",
    "1*end-of-data-reset",
    "1*end-of-data-close",
    "1*after-data-reset",
    "1*after-data-unasked",
    "1*retr-refuse",
    "1*retr-reset",
    "1*in-retr-reset@50",
    "1*in-retr-drop@99",
    "1*retr-end-reset",
    "1*after-retr-reset",
    "1*dele-refuse",
    "1*quit-reset",
    "one-byte",
    "split-crlf",
];

/// What became of a message, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Accepted,
    Refused,
    /// The connection broke after the final dot, or kimgate said that it does not know.
    Unknown,
    /// There was no final dot.
    NotSent,
}

/// What everybody knows at the end.
#[derive(Default)]
struct Books {
    sent: BTreeMap<u64, Fate>,
    /// Fetched whole, and deleted with an answer to QUIT.
    taken: BTreeMap<u64, usize>,
    /// The same without an answer to QUIT.
    perhaps_taken: BTreeSet<u64>,
    sessions: u64,
    broken: u64,
    strikes: u64,
    reloads: u64,
}

type Shared = Rc<RefCell<Books>>;

#[tokio::test]
async fn every_message_is_accounted_for_and_nothing_stays_behind() {
    let seconds = number("KIMGATE_SOAK").unwrap_or(10);
    let seed = number("KIMGATE_SOAK_SEED").unwrap_or_else(rand::random);
    println!("{seconds} s, KIMGATE_SOAK_SEED={seed}");
    let practice = Practice::start().await;

    // Everything has been used once, so that what is kept for later is there.
    practice.live(Duration::from_secs(3), seed).await;
    practice.quiet().await;
    let before = practice.state();
    practice.live(Duration::from_secs(seconds), seed.wrapping_add(1)).await;
    practice.quiet().await;
    let after = practice.state_at_rest(&before).await;

    println!("{before}\n{after}");
    let books = practice.books.take();
    let count = |fate| books.sent.values().filter(|known| **known == fate).count();
    println!(
        "{} messages: {} accepted, {} refused, {} unknown, {} not sent; {} taken; {} sessions, \
         {} of them broken off; {} faults, {} renewals and reloads",
        books.sent.len(),
        count(Fate::Accepted),
        count(Fate::Refused),
        count(Fate::Unknown),
        count(Fate::NotSent),
        books.taken.len(),
        books.sessions,
        books.broken,
        books.strikes,
        books.reloads,
    );
    let wrong = practice.wrong(&books);
    assert!(wrong.is_empty(), "KIMGATE_SOAK_SEED={seed}\n{wrong}");
    assert!(count(Fate::Accepted) > 0 && !books.taken.is_empty(), "nothing happened");
    assert!(after.files <= before.files, "{before}\n{after}");
    assert!(after.threads <= before.threads, "{before}\n{after}");
    // What the allocator keeps; a leak of a kilobyte a session would be more.
    let allowed = before.memory + 16 * 1024;
    assert!(after.memory <= allowed, "{before}\n{after}");
    practice.check_metrics(count(Fate::Accepted), count(Fate::Unknown)).await;
    let kimgate = Rc::into_inner(practice.kimgate).unwrap();
    let left = kimgate.stop().await;
    assert!(left.ok, "{}", left.log);
}

struct Practice {
    sim: Rc<Sim>,
    kimgate: Rc<Kimgate>,
    books: Shared,
}

/// What must be as it was.
struct State {
    memory: u64,
    files: usize,
    threads: usize,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, files, threads } = self;
        write!(f, "{memory} KiB resident, {files} files and sockets, {threads} threads")
    }
}

impl Practice {
    async fn start() -> Self {
        let config = SimConfig {
            accounts: Accounts::AnyLogin { password: Some(Secret::new(PASSWORD.to_owned())) },
            ..SimConfig::default()
        };
        let sim = Sim::start(config).await.unwrap();
        let mut whole = String::from(
            "[limits]\nlogin_timeout = \"10s\"\ntransfer_stall_timeout = \"30s\"\n\
             connections_per_workstation = 200\n[protection]\nlogin_failures = 0\n\
             [contexts]\nmode = \"enforce\"\nlinger = \"0s\"\n[log]\nlevel = \"error\"\n",
        );
        for at in 0..ACCOUNTS {
            let account = account(at);
            writeln!(whole, "[accounts.\"{account}\"]").unwrap();
        }
        whole += &client_module("main", &sim, Security::Implicit);
        let protocols = [Protocol::Pop3, Protocol::Smtp];
        let kimgate = Kimgate::start_open(&protocols, &whole).await.ready().await;
        Self { sim: Rc::new(sim), kimgate: Rc::new(kimgate), books: Shared::default() }
    }

    /// Everybody does what they do for so long.
    async fn live(&self, long: Duration, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        let until = Instant::now() + long;
        let tasks = LocalSet::new();
        for at in 0..SENDERS + ACCOUNTS + 1 {
            let mut person = Person {
                kimgate: self.kimgate.clone(),
                chance: StdRng::seed_from_u64(chance.random()),
                books: self.books.clone(),
                number: at,
            };
            tasks.spawn_local(async move {
                while Instant::now() < until {
                    match at {
                        0 => person.disturb().await,
                        1..=SENDERS => person.send().await,
                        _ => person.fetch(at - SENDERS - 1).await,
                    }
                }
            });
        }
        let (sim, books) = (self.sim.clone(), self.books.clone());
        tasks.spawn_local(async move {
            while Instant::now() < until {
                let strikes = chance.random_range(0..3);
                let faults: Vec<Fault> = FAULTS
                    .choose_multiple(&mut chance, strikes)
                    .map(|f| f.parse().unwrap())
                    .collect();
                sim.set_faults(faults);
                books.borrow_mut().strikes += strikes as u64;
                tokio::time::sleep(Duration::from_millis(chance.random_range(5..150))).await;
            }
            sim.set_faults(Vec::new());
        });
        tasks.spawn_local(renew(self.sim.clone(), self.kimgate.clone(), until, self.books.clone()));
        tasks.await;
    }

    /// Nobody is there any more.
    async fn quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (_, metrics) = self.kimgate.get("/metrics").await;
            let open: f64 = values(&metrics, "kimgate_sessions_active").sum();
            let contexts: f64 = values(&metrics, "kimgate_contexts_active").sum();
            if open == 0.0 && contexts == 0.0 && self.sim.connections() == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{open} sessions and {contexts} contexts stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The connections of the last questions are closed on both sides.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Practice {
    /// The state when that has gone as well which goes by itself: a thread for blocking work leaves
    /// ten seconds after its last one.
    async fn state_at_rest(&self, before: &State) -> State {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.state();
            let at_rest = now.files <= before.files && now.threads <= before.threads;
            if at_rest || Instant::now() >= deadline {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn state(&self) -> State {
        let pid = self.kimgate.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        State {
            memory: number("VmRSS:"),
            files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            threads: number("Threads:") as usize,
        }
    }

    /// Every message that is not where it must be, one a line.
    fn wrong(&self, books: &Books) -> String {
        let mut there: BTreeMap<u64, usize> = BTreeMap::new();
        let mut wrong = String::new();
        for at in 0..ACCOUNTS {
            for message in self.sim.maildrop(&account(at)) {
                match read(&message) {
                    Some(id) => *there.entry(id).or_default() += 1,
                    None => writeln!(wrong, "a message that was never sent").unwrap(),
                }
            }
        }
        for (id, fate) in &books.sent {
            let there = there.get(id).copied().unwrap_or(0);
            let taken = books.taken.get(id).copied().unwrap_or(0);
            let perhaps = books.perhaps_taken.contains(id);
            let (least, most) = match fate {
                Fate::Accepted => (1, 1),
                Fate::Refused | Fate::NotSent => (0, 0),
                Fate::Unknown => (0, 1),
            };
            let least = if perhaps { 0 } else { least };
            if !(least..=most).contains(&(there + taken)) {
                writeln!(wrong, "{id} {fate:?}: {there} there, {taken} taken, perhaps {perhaps}")
                    .unwrap();
            }
        }
        let known = |id: &&u64| !books.sent.contains_key(*id);
        for id in there.keys().chain(books.taken.keys()).filter(known) {
            writeln!(wrong, "{id} was never sent").unwrap();
        }
        wrong
    }

    /// What kimgate counted is what its workstations saw.
    async fn check_metrics(&self, accepted: usize, unknown: usize) {
        let (_, metrics) = self.kimgate.get("/metrics").await;
        let sum = |series: &str| values(&metrics, series).sum::<f64>();
        let sent = sum("kimgate_messages_total{direction=\"sent\"");
        let (least, most) = (accepted as f64, (accepted + unknown) as f64);
        assert!((least..=most).contains(&sent), "{sent} counted, {least} to {most} seen");
        assert_eq!(sum("kimgate_panics_total"), 0.0);
        assert_eq!(sum("kimgate_audit_lost_total"), 0.0);
        assert_eq!(sum("kimgate_sessions_total{protocol=\"pop3\",reason=\"internal-error\""), 0.0);
    }
}

/// Renews the client module's certificate again and again, and tells the gateway so.
async fn renew(sim: Rc<Sim>, kimgate: Rc<Kimgate>, until: Instant, books: Shared) {
    let text = fs::read_to_string(kimgate.configuration()).unwrap();
    let (before, rest) = text.split_once("pins = [").unwrap();
    let (_, behind) = rest.split_once(']').unwrap();
    while Instant::now() + Duration::from_secs(2) < until {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let old = sim.fingerprint();
        sim.renew_certificate().unwrap();
        let new = sim.fingerprint();
        kimgate.reload(&format!("{before}pins = [\"{old}\", \"{new}\"]{behind}")).await;
        books.borrow_mut().reloads += 1;
    }
}

/// A workstation's user.
struct Person {
    kimgate: Rc<Kimgate>,
    chance: StdRng,
    books: Shared,
    number: usize,
}

impl Person {
    /// A connection in clear, or as often under TLS.
    async fn connect(&mut self, protocol: Protocol) -> Option<Client> {
        self.books.borrow_mut().sessions += 1;
        let secure = self.chance.random_bool(0.5);
        let security = if secure { Security::Implicit } else { Security::None };
        let port = self.kimgate.port(protocol, security);
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if !secure {
            return Some(Client::new(Box::new(tcp)));
        }
        let stream = secure_to(&self.kimgate.certificate(), "localhost", tcp, None).await.ok()?;
        Some(Client::new(Box::new(stream)))
    }

    fn login(&self, account: &str) -> String {
        format!("{account}#mail.kim.telematik:995#M1#cs#PC{}", self.number)
    }

    /// Sends a few messages in one session.
    async fn send(&mut self) {
        if self.try_to_send().await.is_none() {
            self.books.borrow_mut().broken += 1;
        }
    }

    async fn try_to_send(&mut self) -> Option<()> {
        let sender = account(self.chance.random_range(0..ACCOUNTS));
        let mut client = self.connect(Protocol::Smtp).await?;
        client.heard().await?;
        client.send("EHLO pc").await;
        while !client.heard().await?.starts_with("250 ") {}
        client.send(auth_plain(&self.login(&sender), PASSWORD)).await;
        if !client.heard().await?.starts_with("235") {
            return Some(());
        }
        for _ in 0..self.chance.random_range(1..5) {
            let id = self.chance.random();
            self.books.borrow_mut().sent.insert(id, Fate::NotSent);
            let fate = self.send_one(&mut client, &sender, id).await;
            self.books.borrow_mut().sent.insert(id, fate.unwrap_or(Fate::NotSent));
            if !matches!(fate, Some(Fate::Accepted | Fate::Refused)) {
                return None;
            }
        }
        client.send("QUIT").await;
        client.heard().await.map(drop)
    }

    /// `None`: it came to no final dot, and the connection is of no use.
    async fn send_one(&mut self, client: &mut Client, sender: &str, id: u64) -> Option<Fate> {
        let recipient = account(self.chance.random_range(0..ACCOUNTS));
        let envelope =
            [format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{recipient}>"), "DATA".into()];
        for command in envelope {
            client.send(command).await;
            let reply = client.heard().await?;
            if reply.starts_with("421") {
                return None;
            }
            if !reply.starts_with(['2', '3']) {
                client.send("RSET").await;
                return client.heard().await?.starts_with('2').then_some(Fate::Refused);
            }
        }
        let message = write(id);
        let end = if self.chance.random_bool(0.05) {
            self.chance.random_range(0..message.len())
        } else {
            message.len()
        };
        for piece in message[..end].chunks(self.chance.random_range(500..40_000)) {
            client.send_bytes(piece).await;
        }
        if end < message.len() {
            return None;
        }
        client.send_bytes(b".\r\n").await;
        let Some(reply) = client.heard().await else { return Some(Fate::Unknown) };
        Some(match reply.as_bytes().first() {
            Some(b'2') => Fate::Accepted,
            _ if reply.starts_with("421") => Fate::Unknown,
            _ => Fate::Refused,
        })
    }

    /// Fetches what there is in one session, and deletes it.
    async fn fetch(&mut self, at: usize) {
        if self.try_to_fetch(at).await.is_none() {
            self.books.borrow_mut().broken += 1;
        }
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..100))).await;
    }

    async fn try_to_fetch(&mut self, at: usize) -> Option<()> {
        let login = self.login(&account(at));
        let mut client = self.connect(Protocol::Pop3).await?;
        client.heard().await?;
        client.send(format!("USER {login}")).await;
        client.heard().await?;
        client.send(format!("PASS {PASSWORD}")).await;
        if !client.heard().await?.starts_with("+OK") {
            return Some(());
        }
        client.send("STAT").await;
        let stat = client.heard().await?;
        let waiting: usize = stat.split(' ').nth(1)?.parse().ok()?;
        let mut deleted = Vec::new();
        for number in 1..=waiting.min(50) {
            client.send(format!("RETR {number}")).await;
            if !client.heard().await?.starts_with("+OK") {
                continue;
            }
            let message = client.heard_until_dot().await?;
            let id = read(&message).unwrap_or_else(|| panic!("{}", message.escape_ascii()));
            client.send(format!("DELE {number}")).await;
            if client.heard().await?.starts_with("+OK") {
                deleted.push(id);
            }
        }
        if self.chance.random_bool(0.1) {
            // Gone without QUIT: nothing is deleted.
            return None;
        }
        client.send("QUIT").await;
        let answered = client.heard().await.is_some_and(|answer| answer.starts_with("+OK"));
        let mut books = self.books.borrow_mut();
        for id in deleted {
            if answered {
                *books.taken.entry(id).or_default() += 1;
            } else {
                books.perhaps_taken.insert(id);
            }
        }
        Some(())
    }

    /// What a network brings that is no mail program.
    async fn disturb(&mut self) {
        let protocol = if self.chance.random_bool(0.5) { Protocol::Pop3 } else { Protocol::Smtp };
        let security =
            if self.chance.random_bool(0.5) { Security::Implicit } else { Security::None };
        let port = self.kimgate.port(protocol, security);
        let mut client =
            Client::new(Box::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()));
        let noise: Vec<u8> = match self.chance.random_range(0..5) {
            0 => Vec::new(),
            1 => (0..self.chance.random_range(1..2_000)).map(|_| self.chance.random()).collect(),
            2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            3 => b"USER fremd@praxis.kim.telematik\r\nPASS x\r\nQUIT\r\n".to_vec(),
            _ => b"EHLO x\r\nMAIL FROM:<a@b>\r\n.\r\nQUIT\r\n".to_vec(),
        };
        self.books.borrow_mut().sessions += 1;
        client.send_bytes(&noise).await;
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..80))).await;
    }
}

fn account(at: usize) -> String {
    format!("a{at}@praxis.kim.telematik")
}

/// The message of this number as it goes over the wire, without the line that ends it: of a size and
/// a content that follow from the number.
fn write(id: u64) -> Vec<u8> {
    let mut chance = StdRng::seed_from_u64(id);
    let size = match chance.random_range(0..100) {
        0 => 1_000_000,
        1..10 => chance.random_range(20_000..200_000),
        _ => chance.random_range(0..5_000),
    };
    let mut message = format!("X-Soak: {id:016x}\r\nSubject: soak\r\n\r\n").into_bytes();
    let end = message.len() + size;
    while message.len() < end {
        let line: Vec<u8> = match chance.random_range(0..6) {
            0 => b"..\r\n".to_vec(),
            1 => b"..with a dot\r\n".to_vec(),
            2 => vec![chance.random_range(128..=255); chance.random_range(1..2_000)],
            3 => b"\r\n".to_vec(),
            _ => [&vec![b'x'; chance.random_range(1..80)][..], b"\r\n"].concat(),
        };
        message.extend(line);
    }
    message.extend(b"\r\n");
    message
}

/// The number of a message that is whole, below the lines that a client module writes above it.
fn read(message: &[u8]) -> Option<u64> {
    let at = message.windows(8).position(|window| window == b"X-Soak: ")?;
    let digits = std::str::from_utf8(message.get(at + 8..at + 24)?).ok()?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    let mut sent = Vec::new();
    for line in write(id).split_inclusive(|byte| *byte == b'\n') {
        sent.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    (message[at..] == sent).then_some(id)
}

/// The values of all series that begin like this.
fn values<'a>(metrics: &'a str, series: &'a str) -> impl Iterator<Item = f64> + use<'a> {
    let lines = metrics.lines().filter(move |line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

//! Everything that a client module can do wrong, at every place of a session, through the real
//! gateway. The table is tests/fault_matrix.txt; `just fault-matrix` prints what was found.
//!
//! Whatever the table says about a cell, these hold in every one: no deletion is committed, a message
//! is acknowledged only if the client module has all of it, the session's task, sockets, context and
//! turn are given back, the audit and the metrics name the same reason, and the next session is served
//! as if nothing had been.

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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use kimgate::sim::{Capabilities, Ending, Seen};
use kimgate::words::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use support::dialogue::{ADDRESS, End, PASSWORD, PATIENCE, auth_plain, within};
use support::player::Stream;
use support::tools;
use support::transcript::Listener;
use support::world::{PC1, World, count};

const TABLE: &str = include_str!("fault_matrix.txt");

/// What a client module may do wrong, as the table's headings name it.
const FAULTS: [&str; 26] = [
    "refused",
    "reset",
    "half-close",
    "silence",
    "one byte a second",
    "every byte its own packet",
    "CRLF split",
    "bare LF",
    "over-long line",
    "endless reply",
    "NUL and 8-bit",
    "greeting wrong or doubled",
    "unasked lines",
    "an extra line in its own packet",
    "replies packed together",
    "several lines where one is due",
    "+OK, then reset",
    "reset within a message",
    "reset around the final dot",
    "421",
    "login refused",
    "[IN-USE]",
    "[AUTH]",
    "slow",
    "another certificate",
    "other capabilities",
];

const PLACES: [&str; 4] = ["before", "login", "transfer", "idle"];

/// The messages that wait for who fetches, and the one that is sent.
const MESSAGES: [&str; 2] = ["Subject: a\r\n\r\nEins.\r\n", "Subject: b\r\n\r\nZwei.\r\n"];
const SENT: &str = "Subject: c\r\n\r\n..Drei.\r\n";
/// More than this of one answer is endless.
const ENDLESS: usize = 1 << 20;

/// One cell of the matrix, or the reason why there is none.
#[derive(Clone, Debug)]
struct Row {
    heading: &'static str,
    protocol: Protocol,
    place: &'static str,
    /// Faults of the simulator, or one of this test's own; `None`: no such cell.
    faults: Option<&'static str>,
    /// What is expected, or why there is no cell.
    expected: &'static str,
}

#[test]
fn every_fault_ends_as_the_table_says_and_leaves_nothing_behind() {
    let rows = read();
    // The first runtime of a process makes a pair of sockets for signals, which stays.
    runtime();
    let before = sockets();
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for group in groups(&rows) {
            scope.spawn(|| walk(group, &found));
        }
    });
    let found = found.into_inner().unwrap();
    let (mut differences, mut cells) = (String::new(), 0);
    let mut heading = "";
    for (at, row) in rows.iter().enumerate() {
        if heading != row.heading {
            heading = row.heading;
            println!("\n== {heading}");
        }
        let shown = found.get(&at).map_or(row.expected, String::as_str);
        println!("{} {:<8} {} => {shown}", row.protocol, row.place, row.faults.unwrap_or("-"));
        if let Some(found) = found.get(&at) {
            cells += 1;
            if found != row.expected {
                writeln!(differences, "{row:?}\n   found {found}").unwrap();
            }
        }
    }
    println!("\n{cells} cells, {} without sense", rows.len() - cells);
    assert!(differences.is_empty(), "\n{differences}");
    match (before, sockets()) {
        (Some(before), Some(after)) => {
            assert!(after <= before, "{before} sockets before and {after} after");
        }
        unknown => {
            tools::skip(&format!("the system does not list open sockets: {unknown:?}"));
        }
    }
}

#[test]
fn the_table_has_every_cell_or_says_why_not() {
    let rows = read();
    for heading in FAULTS {
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            for place in PLACES {
                let is_cell = |row: &&Row| {
                    (row.heading, row.protocol, row.place) == (heading, protocol, place)
                };
                assert!(rows.iter().any(|row| is_cell(&row)), "{heading}: {protocol} {place}");
            }
        }
    }
}

fn read() -> Vec<Row> {
    let mut heading = "";
    let mut rows = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(next) = line.strip_prefix("== ") {
            assert!(FAULTS.contains(&next), "{next} is no heading");
            heading = next;
            continue;
        }
        let (cell, expected) = line.split_once(" => ").unwrap();
        let (protocol, rest) = cell.split_once(' ').unwrap();
        let (place, faults) = rest.trim_start().split_once(' ').unwrap();
        assert!(PLACES.contains(&place), "{line}");
        rows.push(Row {
            heading,
            protocol: if protocol == "pop3" { Protocol::Pop3 } else { Protocol::Smtp },
            place,
            faults: Some(faults.trim()).filter(|faults| *faults != "-"),
            expected,
        });
    }
    rows
}

/// Cells with their place in the table.
type Group = Vec<(usize, Row)>;

/// Cells that share a world, one after the other. What waits for silence to end has a world of its
/// own, so that all of it waits at once.
fn groups(rows: &[Row]) -> Vec<Group> {
    let mut groups: BTreeMap<(String, &str, &str), Group> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(faults) = row.faults else { continue };
        let alone = if is_impatient(row) || is_final(row) { faults } else { "" };
        let key = (row.protocol.to_string(), row.place, alone);
        groups.entry(key).or_default().push((at, row.clone()));
    }
    groups.into_values().collect()
}

/// Whether the client module is of no use after the cell.
fn is_final(row: &Row) -> bool {
    matches!(row.faults, Some("refuse-connections" | "another-certificate"))
}

/// Whether the cell is about the end of kimgate's patience, which is short there.
fn is_impatient(row: &Row) -> bool {
    row.faults.is_some_and(|faults| faults.contains("stall"))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn walk(group: Group, found: &Mutex<BTreeMap<usize, String>>) {
    runtime().block_on(async {
        let lines = ["contexts.mode = \"enforce\"", "mailboxes.wait = \"20s\""];
        let impatient = group.iter().any(|(_, row)| is_impatient(row));
        let is_over = group.iter().any(|(_, row)| is_final(row));
        let mut world = World::tuned(
            &lines,
            |_| {},
            |config| {
                // Every cell looks for its own refusals.
                config.observe.audit.repeats = true;
                if impatient {
                    let limits = &mut config.gateway.limits;
                    limits.login_timeout = Duration::from_secs(3);
                    limits.transfer_stall_timeout = Duration::from_secs(3);
                }
            },
        )
        .await;
        for message in MESSAGES {
            world.sim.deliver(ADDRESS, message.as_bytes());
        }
        let mut books = Books::default();
        for (at, row) in group {
            let cell = Cell { world: &mut world, row: &row, login: login(at) };
            let result = cell.run(&mut books).await;
            found.lock().unwrap().insert(at, result);
        }
        // Whatever went before, the next ones are served.
        if !is_over {
            let mut fetching = world.pop3().await;
            fetching.ask("RETR 1", "+OK<any>").await;
            assert_eq!(fetching.until_dot().await, MESSAGES[0].as_bytes());
            fetching.ask("QUIT", "+OK<any>").await;
            let mut sending = world.smtp().await;
            sending.begin_message().await;
            sending.send_bytes(SENT.as_bytes()).await;
            sending.ask(".", "250 <any>").await;
            sending.ask("QUIT", "221 <any>").await;
        }
    });
}

/// Every cell logs in with another login, so that no cell pauses another one's login.
fn login(cell: usize) -> String {
    format!("{ADDRESS}#mail.kim.telematik:995#M1#cs#PC1#U{cell}")
}

/// What earlier cells of a world left in its books.
#[derive(Default)]
struct Books {
    connections: usize,
    audit: usize,
    seen: usize,
    messages: usize,
}

struct Cell<'a> {
    world: &'a mut World,
    row: &'a Row,
    login: String,
}

impl Cell<'_> {
    /// Gives what happened, in the table's words.
    async fn run(mut self, books: &mut Books) -> String {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let counted = self.world.observer.encode();
        let seen_before = self.world.sim.seen().len();
        if self.row.place == "before" || self.row.place == "login" {
            self.strike().await;
        }
        let mut station = Station::new(self.world, self.row.protocol).await;
        books.connections += 1;
        match self.row.protocol {
            Protocol::Pop3 => self.fetch(&mut station).await,
            Protocol::Smtp => self.send(&mut station).await,
        }
        let (told, acknowledged) = (station.told.join("; "), station.acknowledged);
        drop(station);
        self.calm();
        let connections = books.connections;
        let over = |lines: &Vec<_>| count(lines, "closed") >= connections;
        let audit = self.world.audit_when(over).await;
        self.wait_until_nothing_is_left(tasks).await;
        let seen = self.world.sim.seen()[seen_before..].to_vec();
        self.check_messages(&seen, acknowledged, books);
        let ended = self.check_books(&audit[books.audit..], &counted);
        books.audit = audit.len();
        books.seen = seen_before;
        format!("{told} | {} | {ended}", deeds(&seen))
    }

    /// Lets the faults begin.
    async fn strike(&mut self) {
        match self.row.faults.unwrap() {
            "refuse-connections" => self.world.sim.refuse_connections().await,
            "another-certificate" => self.world.sim.renew_certificate().unwrap(),
            "no-plain" => {
                self.world.sim.set_capabilities(Capabilities {
                    smtp: vec!["AUTH LOGIN".to_owned()],
                    pop3: vec!["SASL PLAIN".to_owned()],
                });
                self.world
                    .faults(&["smtp:login-refuse=504 5.5.4 Nein", "pop3:login-refuse=-ERR Nein"]);
            }
            faults => self.world.faults(&faults.split(", ").collect::<Vec<_>>()),
        }
    }

    /// Everything is right again.
    fn calm(&mut self) {
        self.world.faults(&[] as &[&str]);
        self.world.sim.set_capabilities(Capabilities::default());
    }

    async fn fetch(&mut self, station: &mut Station) {
        station.line().await;
        station.told.clear();
        if !station.log_in_pop3(&self.login).await {
            self.calm();
            station.again(Protocol::Pop3, &self.login).await;
            return;
        }
        match self.row.place {
            "transfer" => {
                station.told.clear();
                station.quietly("DELE 2").await;
                self.strike().await;
                station.fetch("RETR 1", MESSAGES[0]).await;
            }
            "idle" => {
                station.told.clear();
                station.quietly("DELE 2").await;
                self.strike().await;
                settle().await;
            }
            _ => {}
        }
        station.ask("NOOP").await;
    }

    async fn send(&mut self, station: &mut Station) {
        station.line().await;
        station.quietly("EHLO pc").await;
        station.told.clear();
        if !station.ask(&auth_plain(&self.login, PASSWORD)).await.starts_with("235") {
            self.calm();
            station.again(Protocol::Smtp, &self.login).await;
            return;
        }
        match self.row.place {
            "transfer" => {
                station.told.clear();
                self.strike().await;
                station.send_message().await;
            }
            "idle" => {
                station.told.clear();
                station.quietly(&format!("MAIL FROM:<{ADDRESS}>")).await;
                station.quietly("RCPT TO:<kasse@ext.kim.telematik>").await;
                self.strike().await;
                settle().await;
            }
            _ => {}
        }
        station.ask("NOOP").await;
    }

    /// Nothing of the session is left: neither in the table nor a task, a socket, a context, a turn.
    async fn wait_until_nothing_is_left(&mut self, tasks: usize) {
        let row = self.row;
        let metrics = tokio::runtime::Handle::current().metrics();
        let mut left = String::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let sessions = self.world.observer.status().sessions.len();
            let upstream = self.world.sim.connections();
            let contexts = self.world.metric("kimgate_contexts_active");
            let alive = metrics.num_alive_tasks();
            if sessions == 0 && upstream == 0 && contexts == 0.0 && alive <= tasks {
                return;
            }
            left = format!(
                "{sessions} sessions, {upstream} connections, {contexts} contexts, {alive} tasks instead of {tasks}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{row:?} leaves {left}");
    }

    /// Nothing was deleted, and a message is at the client module exactly if it was acknowledged, or
    /// if the client module had it whole and did not say so.
    fn check_messages(&self, seen: &[Seen], acknowledged: bool, books: &mut Books) {
        let row = self.row;
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Deleted { .. })), "{row:?}: {seen:?}");
        assert_eq!(self.world.sim.maildrop(ADDRESS).len(), MESSAGES.len(), "{row:?}");
        let whole =
            seen.iter().filter(|s| matches!(s, Seen::Received { complete: true, .. })).count();
        let kept = self.world.sim.maildrop("kasse@ext.kim.telematik");
        let new = kept.len() - books.messages;
        books.messages = kept.len();
        assert!(new <= whole && whole <= 1, "{row:?}: {new} messages from {whole}");
        assert!(!acknowledged || new == 1, "{row:?}: acknowledged, and not there");
        for message in &kept {
            assert!(message.ends_with(unstuffed(SENT).as_bytes()), "{row:?}: half a message");
        }
    }

    /// How the session ended in the audit, and that the metrics say the same.
    fn check_books(&self, audit: &[serde_json::Value], counted: &str) -> String {
        let row = self.row;
        let word = |line: &serde_json::Value| line["reason"].as_str().unwrap_or("-").to_owned();
        let of = |event: &'static str| audit.iter().filter(move |line| line["event"] == event);
        let logins: Vec<String> = audit
            .iter()
            .filter(|line| line["event"] == "login" || line["event"] == "denied")
            .map(|line| if line["accepted"] == true { "accepted".to_owned() } else { word(line) })
            .collect();
        let closes: Vec<String> = of("closed").map(word).collect();
        assert_eq!(closes.len(), 1, "{row:?}: {audit:?}");
        let now = self.world.observer.encode();
        let grown = |series: &str| value(&now, series) - value(counted, series);
        let protocol = row.protocol;
        let closed =
            format!("kimgate_sessions_total{{protocol=\"{protocol}\",reason=\"{}\"}}", closes[0]);
        assert_eq!(grown(&closed), 1.0, "{row:?}: {closed}");
        for result in logins.iter().collect::<BTreeSet<_>>() {
            let series =
                format!("kimgate_logins_total{{protocol=\"{protocol}\",result=\"{result}\"}}");
            let times = logins.iter().filter(|login| *login == result).count();
            assert_eq!(grown(&series), times as f64, "{row:?}: {series}");
        }
        assert_eq!(grown("kimgate_panics_total"), 0.0, "{row:?}");
        let sent = of("message-sent").map(|line| match line["reply"].as_str() {
            Some(reply) => format!(" sent {reply}"),
            None => String::from(" sent, fate unknown"),
        });
        let received = of("message-received").filter(|line| line["complete"] != false);
        let received = received.map(|_| " received".to_owned());
        let messages: String = sent.chain(received).collect();
        format!("{}{messages}; {}", logins.join(", "), closes[0])
    }
}

/// Until what was sent has arrived, and what came of it as well: a cell has a thread of its own for
/// workstation, gateway and client module, and what goes over the same loopback later has been there
/// and back many times.
async fn settle() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut here, mut there) = (here.unwrap(), there.unwrap().0);
    for _ in 0..300 {
        here.write_u8(0).await.unwrap();
        there.read_u8().await.unwrap();
        there.write_u8(0).await.unwrap();
        here.read_u8().await.unwrap();
    }
}

/// What the client module did, as far as it matters here.
fn deeds(seen: &[Seen]) -> String {
    let login = |seen: &Seen| match seen {
        Seen::Login { connection, .. } => Some(*connection),
        Seen::Opened { .. }
        | Seen::Secured { .. }
        | Seen::Command { .. }
        | Seen::Received { .. }
        | Seen::Fetched { .. }
        | Seen::Deleted { .. }
        | Seen::Closed { .. } => None,
    };
    let logged_in: BTreeSet<u64> = seen.iter().filter_map(login).collect();
    // Where a dial failed, a probe asks at once whether the client module is back. It takes leave
    // without a login, which no session does.
    let of_sessions = |seen: &&Seen| {
        !matches!(seen, Seen::Closed { connection, ending: Ending::Quit, .. }
            if !logged_in.contains(connection))
    };
    let seen: Vec<Seen> = seen.iter().filter(of_sessions).cloned().collect();
    let facts = support::facts::facts(&seen);
    let mut deeds: Vec<&str> = Vec::new();
    for fact in &facts {
        let matters = ["message ", "fetched ", "deleted ", "quit", "closed "];
        if matters.iter().any(|word| fact.starts_with(word)) {
            deeds.push(fact);
        }
    }
    if deeds.is_empty() { "no connection".to_owned() } else { deeds.join(", ") }
}

fn value(metrics: &str, series: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

fn unstuffed(message: &str) -> String {
    message.replace("\r\n..", "\r\n.")
}

/// Sockets of this process; `None` where the system does not list them.
fn sockets() -> Option<usize> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?;
    let targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    Some(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

/// A workstation that notes what it is told, whatever that is.
struct Station {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    end: Option<End>,
    told: Vec<String>,
    /// The message that it sent was acknowledged.
    acknowledged: bool,
    /// How a faultless answer begins.
    good: &'static str,
}

impl Station {
    async fn new(world: &World, protocol: Protocol) -> Self {
        let tcp = world.tcp(protocol, Listener::Implicit, PC1).await;
        let stream = world.secure(Box::new(tcp)).await;
        let good = match protocol {
            Protocol::Pop3 => "+OK",
            Protocol::Smtp => "2",
        };
        Self { stream, unread: Vec::new(), end: None, told: Vec::new(), acknowledged: false, good }
    }

    /// Sends a line and notes the answer; nothing is sent after the end.
    async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.line().await
    }

    /// The same where only the faultless answer is expected, which is not noted.
    async fn quietly(&mut self, line: &str) {
        let told = self.told.len();
        let answer = self.ask(line).await;
        assert!(answer.starts_with(self.good), "{line}: {answer}");
        self.told.truncate(told);
    }

    async fn log_in_pop3(&mut self, login: &str) -> bool {
        self.quietly(&format!("USER {login}")).await;
        self.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK")
    }

    /// Another try on the same connection, now that nothing goes wrong.
    async fn again(&mut self, protocol: Protocol, login: &str) {
        if self.end.is_some() {
            return;
        }
        self.told.push("again".to_owned());
        match protocol {
            Protocol::Pop3 => {
                if self.ask(&format!("USER {login}")).await.starts_with("+OK") {
                    self.told.pop();
                    self.ask(&format!("PASS {PASSWORD}")).await;
                }
            }
            Protocol::Smtp => {
                self.ask(&auth_plain(login, PASSWORD)).await;
            }
        }
    }

    /// Fetches a message and notes how much of it came.
    async fn fetch(&mut self, command: &str, message: &str) {
        if !self.ask(command).await.starts_with("+OK") {
            return;
        }
        let whole = format!("{message}.\r\n");
        let end = loop {
            let dot = self.unread.windows(5).position(|window| window == b"\r\n.\r\n");
            if self.end.is_some() || self.unread.len() >= ENDLESS || dot.is_some() {
                break dot.map_or(self.unread.len(), |dot| dot + 5);
            }
            self.more().await;
        };
        let came: Vec<u8> = self.unread.drain(..end).collect();
        self.told.push(match came.len() {
            ENDLESS.. => "without end".to_owned(),
            _ if came == whole.as_bytes() => "whole".to_owned(),
            0 => "nothing".to_owned(),
            _ if whole.as_bytes().starts_with(&came) => "in part".to_owned(),
            _ => shown(&came),
        });
        if came.len() >= ENDLESS {
            self.leave();
        }
        if self.unread.is_empty() && !came.ends_with(b"\r\n.\r\n") {
            self.note_end();
        }
    }

    /// Wants no more.
    fn leave(&mut self) {
        self.unread.clear();
        self.end = Some(End::Cut);
    }

    async fn send_message(&mut self) {
        for command in [
            format!("MAIL FROM:<{ADDRESS}>"),
            "RCPT TO:<kasse@ext.kim.telematik>".to_owned(),
            "DATA".to_owned(),
        ] {
            let answer = self.ask(&command).await;
            if !answer.starts_with(['2', '3']) {
                return;
            }
            self.told.pop();
        }
        // Two pieces, so that something can go wrong between them.
        self.send_bytes(SENT.as_bytes()).await;
        settle().await;
        self.send_bytes(b".\r\n").await;
        self.acknowledged = self.line().await.starts_with('2');
    }

    async fn say(&mut self, line: &str) {
        self.send_bytes(format!("{line}\r\n").as_bytes()).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        // Where it cannot be sent, reading tells the end.
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// Notes a reply, the last line of it, and gives it; empty after the end.
    async fn line(&mut self) -> String {
        if self.end.is_some() && self.unread.is_empty() {
            return String::new();
        }
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                if line.get(3) == Some(&b'-') && line[..3].iter().all(u8::is_ascii_digit) {
                    continue;
                }
                self.told.push(shown(&line));
                return String::from_utf8_lossy(&line).into_owned();
            }
            if self.end.is_some() {
                if !self.unread.is_empty() {
                    let rest = std::mem::take(&mut self.unread);
                    self.told.push(format!("{} ...", shown(&rest)));
                }
                self.note_end();
                return String::new();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let mut buffer = [0; 16 << 10];
        match within(self.stream.read(&mut buffer)).await {
            Ok(0) => self.end = Some(End::Clean),
            Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
            Err(_) => self.end = Some(End::Cut),
        }
    }

    fn note_end(&mut self) {
        match self.end {
            Some(End::Clean) => self.told.push("end".to_owned()),
            Some(End::Cut) => self.told.push("cut".to_owned()),
            None => {}
        }
    }
}

/// A line as the table shows it: kimgate's own as its code and its reason.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches("\r\n");
    if let Some((code, rest)) = text.split_once("KIM-Gateway") {
        let reason = rest.rsplit_once('(').map_or(rest, |(_, reason)| reason);
        return format!("{code}({reason}");
    }
    let escaped = text.as_bytes().escape_ascii().to_string();
    match escaped.char_indices().nth(44) {
        Some((at, _)) => format!("{}...", &escaped[..at]),
        None => escaped,
    }
}

//! Fetching: one command at a time goes to the client module, and its answer comes back as it is.

use std::collections::HashSet;

use tokio::time::Instant;

use super::pair::{Pair, Stop, seconds, stalled};
use super::reply::hinted;
use super::wire::Filled;
use crate::kim::Evidence;
use crate::observe::{Event, Phase};
use crate::proto::capabilities::Pop3Capabilities;
use crate::proto::header::HeaderReader;
use crate::proto::pop3::AnswerScan;
use crate::proto::pop3::command::{Command, parse};
use crate::words::Reason;

/// Numbers of undecrypted messages that a session remembers; no mailbox is that full.
const REMEMBERED: usize = 100_000;

/// What a POP3 session remembers from one command to the next.
#[derive(Default)]
struct Session {
    undecrypted: HashSet<u32>,
}

/// Serves the workstation until one side ends.
pub(crate) async fn serve(pair: &mut Pair) -> Stop {
    let mut session = Session::default();
    loop {
        if let Err(stop) = session.command(pair).await {
            return stop;
        }
    }
}

impl Session {
    async fn command(&mut self, pair: &mut Pair) -> Result<(), Stop> {
        let len = pair.next_command().await?;
        let command = match parse(&pair.client.bytes()[..len]) {
            Ok(command) => command,
            Err(hint) => {
                pair.client.consume(len + 2);
                pair.count_bad_line()?;
                let reply = hinted(pair.facts.protocol, pair.live.config.language, hint);
                return pair.reply(&reply).await;
            }
        };
        match command {
            Command::Capa => {
                pair.client.consume(len + 2);
                let list = capa(&pair.live.capabilities().pop3);
                pair.reply(list.as_bytes()).await
            }
            Command::Dele(number) => self.delete(pair, len, number).await,
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Rset
            | Command::Noop
            | Command::Quit => self.carry(pair, len, command).await,
        }
    }

    async fn delete(&mut self, pair: &mut Pair, len: usize, number: u32) -> Result<(), Stop> {
        if let Some(denial) = pair.judged(pair.permit.judge_delete()) {
            pair.client.consume(len + 2);
            return pair.refuse(denial.reason, "").await;
        }
        if self.undecrypted.contains(&number) {
            pair.client.consume(len + 2);
            pair.shared.observer.emit(Event::DeleteHeld { session: &pair.facts, number });
            return pair.refuse(Reason::DeleteHeld, "").await;
        }
        self.carry(pair, len, Command::Dele(number)).await
    }

    /// Sends the command line on and brings the answer back.
    async fn carry(&mut self, pair: &mut Pair, len: usize, command: Command) -> Result<(), Stop> {
        let asked = Instant::now();
        let line = &pair.client.bytes()[..len + 2];
        let sent = stalled(pair.live.config.limits.transfer_stall_timeout, pair.module.send(line));
        sent.await.ok_or(Stop::Say(Reason::ClientModuleUnreachable))?;
        pair.client.consume(len + 2);
        if matches!(command, Command::Retr(_)) {
            pair.tracked.phase(Phase::Retrieving);
        }
        let (scan, wait) = match bring_answer(pair, &command, asked).await {
            Err(Stop::ClientLeft) if command == Command::Quit => return Err(Stop::Quit),
            brought => brought?,
        };
        self.note(pair, command, &scan, asked, wait);
        // Whatever follows the answer in the same breath was not asked for.
        if !pair.module.bytes().is_empty() {
            return Err(Stop::Say(Reason::ClientModuleProtocolError));
        }
        if command == Command::Quit { Err(Stop::Quit) } else { Ok(()) }
    }

    fn note(
        &mut self,
        pair: &Pair,
        command: Command,
        scan: &AnswerScan,
        asked: Instant,
        wait: f64,
    ) {
        if scan.is_ok() != Some(true) {
            return;
        }
        let observer = &pair.shared.observer;
        match command {
            Command::Retr(number) => {
                let values = |name| -> Vec<String> {
                    let header = scan.header().into_iter();
                    header.flat_map(|header| header.values(name)).map(str::to_owned).collect()
                };
                observer.emit(Event::MessageReceived {
                    session: &pair.facts,
                    bytes: scan.body_bytes(),
                    seconds: seconds(asked),
                    wait,
                    service: values("X-KIM-Dienstkennung").first().map(String::as_str),
                    decryption: &values("X-KIM-DecryptionResult"),
                    integrity: &values("X-KIM-IntegrityCheckResult"),
                });
                self.learn(pair, number, scan);
            }
            Command::Top(number, _) => self.learn(pair, number, scan),
            Command::Dele(number) => {
                observer.emit(Event::MessageDeleted { session: &pair.facts, number });
            }
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Rset
            | Command::Noop
            | Command::Quit
            | Command::Capa => {}
        }
    }

    /// A message that once came undecrypted in this session stays held: what was fetched then may
    /// be all that the workstation has.
    fn learn(&mut self, pair: &Pair, number: u32, scan: &AnswerScan) {
        let hold = pair.live.config.protection.hold_delete_on_failed_decryption;
        if hold && self.undecrypted.len() < REMEMBERED && scan.header().is_some_and(is_undecrypted)
        {
            self.undecrypted.insert(number);
        }
    }
}

/// Forwards the answer as it comes; gives the time until its body began.
async fn bring_answer(
    pair: &mut Pair,
    command: &Command,
    asked: Instant,
) -> Result<(AnswerScan, f64), Stop> {
    let mut scan = AnswerScan::new(command, pair.live.config.limits.header);
    let mut wait = None;
    let mut forwarded = false;
    let broken = |forwarded, reason| {
        if forwarded { Stop::Broken(reason) } else { Stop::Say(reason) }
    };
    loop {
        if !pair.module.bytes().is_empty() {
            let scanned = scan
                .scan(pair.module.bytes())
                .map_err(|_| broken(forwarded, Reason::ClientModuleProtocolError))?;
            if scanned.done && *command == Command::Quit {
                pair.keep_farewell(scanned.forward);
                return Ok((scan, seconds(asked)));
            }
            let ready = &pair.module.bytes()[..scanned.forward];
            let stall = pair.live.config.limits.transfer_stall_timeout;
            stalled(stall, pair.client.write(ready)).await.ok_or(Stop::ClientLeft)?;
            pair.module.consume(scanned.forward);
            pair.give_way(scanned.forward).await;
            forwarded |= scanned.forward > 0;
            if wait.is_none() && scan.body_started() {
                wait = Some(seconds(asked));
            }
            if scanned.done {
                stalled(stall, pair.client.flush()).await.ok_or(Stop::ClientLeft)?;
                return Ok((scan, wait.unwrap_or_else(|| seconds(asked))));
            }
            pair.report_traffic();
            stalled(stall, pair.client.flush()).await.ok_or(Stop::ClientLeft)?;
        }
        // QUIT is the workstation's last wish: many close without waiting for the answer, and the
        // deletions that it commits are wanted all the same.
        let filled = if *command == Command::Quit {
            pair.wait_for_module_alone().await
        } else {
            pair.wait_for_module().await?
        };
        if let Filled::Ended(_) = filled {
            return Err(broken(forwarded, Reason::ClientModuleUnreachable));
        }
    }
}

/// Whether the header says that the message could not be opened.
fn is_undecrypted(header: &HeaderReader) -> bool {
    let values = |name| header.values(name).collect::<Vec<_>>();
    let evidence = Evidence {
        decryption: &values("X-KIM-DecryptionResult"),
        errors: &values("X-KIM-Fehlermeldung"),
        subjects: &values("Subject"),
    };
    evidence.is_undecrypted()
}

/// CAPA behind the login: the client module's own list may name what kimgate does not carry.
fn capa(capabilities: &Pop3Capabilities) -> String {
    let mut answer = String::from("+OK\r\n");
    for line in capabilities.lines() {
        if !line.starts_with("SASL") {
            answer.push_str(line);
            answer.push_str("\r\n");
        }
    }
    if !capabilities.offers("RESP-CODES") {
        answer.push_str("RESP-CODES\r\n");
    }
    answer.push_str(".\r\n");
    answer
}

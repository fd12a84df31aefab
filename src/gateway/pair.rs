//! A workstation and its client module after the login, and what both protocols need between them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::task::{unconstrained, yield_now};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::door::connections::OriginPlace;
use super::loaded::Loaded;
use super::reply::{About, goodbye, refusal};
use super::session::Ended;
use super::shared::Shared;
use super::turns::{ContextLease, MailboxLease};
use super::wire::{End, Filled, Wire};
use crate::observe::{Direction, Event, LiveSession, Phase, SessionFacts};
use crate::policy::{Denial, Judgement, Permit, Request};
use crate::proto::line::{Framed, next_line};
use crate::words::{Action, Close, Protocol, Reason};

/// How many unusable lines a workstation may send before the session ends.
const BAD_LINES: u32 = 20;

/// Octets of a transfer after which the other sessions have their turn: less than half a
/// millisecond's work, so that a short command never waits long behind large messages.
const SHARE: usize = 256 << 10;

/// A session that is logged in on both sides.
pub(crate) struct Pair {
    pub(crate) client: Wire,
    pub(crate) module: Wire,
    pub(crate) permit: Permit,
    pub(crate) facts: SessionFacts,
    pub(crate) live: Arc<Loaded>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tracked: Arc<LiveSession>,
    /// Names in the workstation's certificate, for finding it again after a reload.
    pub(crate) certificate_names: Vec<String>,
    pub(crate) bad_lines: u32,
    /// When the workstation went away while the client module was still working.
    pub(crate) left: Option<Instant>,
    /// Octets of transfers since the last time that others had their turn.
    pub(crate) moved: usize,
    pub(crate) told: Told,
    pub(crate) alarms: Alarms,
    /// The client module's answer to QUIT.
    pub(crate) farewell: Vec<u8>,
    /// Given back when the session ends, however it does.
    pub(crate) held: Held,
}

/// What a session holds while it lives.
pub(crate) struct Held {
    pub(crate) _place: OriginPlace,
    pub(crate) _context: Option<ContextLease>,
    pub(crate) _turn: Option<MailboxLease>,
}

/// What ends a wait. Kept from one wait to the next: a mail dialogue is made of short ones, and to
/// arm a timer takes longer than to put off one that runs.
pub(crate) struct Alarms {
    timer: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Alarms {
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now())),
            stop: Box::pin(stop.clone().cancelled_owned()),
        }
    }
}

/// How much traffic was already reported.
#[derive(Default)]
pub(crate) struct Told {
    to_client: u64,
    to_module: u64,
}

/// Why a session does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// QUIT was answered.
    Quit,
    /// The workstation closed the connection between two commands.
    Done,
    /// The workstation vanished in the middle of something.
    ClientLeft,
    /// kimgate ends it, and says why.
    Say(Reason),
    /// It ends, and the workstation has its reply already.
    Said(Reason),
    /// It ends in the middle of an answer: the workstation must not take it for a whole one.
    Broken(Reason),
}

impl Pair {
    /// Waits for a whole command line; gives its length without CRLF. Whatever the client module
    /// says meanwhile was not asked for.
    pub(crate) async fn next_command(&mut self) -> Result<usize, Stop> {
        self.tracked.phase(Phase::Idle);
        self.report_traffic();
        // For the whole command: who sends it octet by octet is idle all the same.
        let deadline = Instant::now() + self.live.config.limits.idle_timeout;
        loop {
            match next_line(self.client.bytes(), self.live.config.limits.command_line) {
                Framed::Line(line) => {
                    let len = line.len();
                    self.check_silence().await?;
                    self.check_permission()?;
                    return Ok(len);
                }
                Framed::TooLong => return Err(Stop::Say(Reason::LineTooLong)),
                Framed::Faulty { consumed, .. } => {
                    self.client.consume(consumed);
                    self.refuse_line().await?;
                }
                Framed::Incomplete if self.client.end().is_some() => return Err(Stop::Done),
                Framed::Incomplete if !self.client.has_room() => {
                    return Err(Stop::Say(Reason::LineTooLong));
                }
                Framed::Incomplete => self.wait_for_client(deadline).await?,
            }
        }
    }

    async fn wait_for_client(&mut self, deadline: Instant) -> Result<(), Stop> {
        self.alarms.timer.as_mut().reset(deadline);
        let heard = tokio::select! {
            biased;
            heard = fill_either(&mut self.module, &mut self.client) => heard,
            () = self.alarms.timer.as_mut() => return Err(Stop::Say(Reason::Timeout)),
            () = self.alarms.stop.as_mut() => return Err(Stop::Say(Reason::ShuttingDown)),
        };
        match heard {
            Side::Module(Filled::More) => Err(Stop::Say(self.unasked())),
            Side::Module(Filled::Ended(_)) => Err(Stop::Say(Reason::ClientModuleUnreachable)),
            Side::Client(Filled::More) => Ok(()),
            Side::Client(Filled::Ended(_)) => Err(Stop::Done),
        }
    }

    /// An answer belongs to one command: bytes that came before it was sent are nobody's answer.
    pub(crate) async fn check_silence(&mut self) -> Result<(), Stop> {
        // A task that has used up its turn would be told that there is nothing, whatever there is.
        let silent =
            unconstrained(poll_fn(|cx| Poll::Ready(self.module.poll_fill(cx).is_pending()))).await;
        match (silent, self.module.bytes().is_empty()) {
            (true, true) => Ok(()),
            (_, false) => Err(Stop::Say(self.unasked())),
            (false, true) => Err(Stop::Say(Reason::ClientModuleUnreachable)),
        }
    }

    /// What it means that the client module speaks unasked. A goodbye is no fault: servers say it
    /// when a session was idle for longer than they like, and close (RFC 5321 section 3.8).
    fn unasked(&self) -> Reason {
        let goodbye: &[u8] = match self.facts.protocol {
            Protocol::Pop3 => b"-ERR",
            Protocol::Smtp => b"421",
        };
        match self.module.bytes().starts_with(goodbye) {
            true => Reason::ClientModuleUnreachable,
            false => Reason::ClientModuleProtocolError,
        }
    }

    /// After a reload the session goes on only if it would be let in now.
    fn check_permission(&mut self) -> Result<(), Stop> {
        let current = self.shared.loaded.load();
        if Arc::ptr_eq(&self.live, &current) {
            return Ok(());
        }
        let current = current.clone();
        let Some(login) = &self.facts.login else { return Ok(()) };
        // The address may belong to another workstation now, or to none.
        let station = current.policy.station(self.facts.peer.ip(), &self.certificate_names);
        let request = Request { station: &station, login, protocol: self.facts.protocol };
        match current.policy.decide(&request) {
            Ok(permit) => {
                (self.permit, self.live) = (permit, current);
                Ok(())
            }
            Err(denial) => {
                self.denied(&denial, true);
                Err(Stop::Say(denial.reason))
            }
        }
    }

    /// Answers a line that is no command of this protocol.
    pub(crate) async fn refuse_line(&mut self) -> Result<(), Stop> {
        self.count_bad_line()?;
        self.refuse(Reason::BadCommand, "").await
    }

    /// Too many commands that cannot be carried out are no mail program's work.
    pub(crate) fn count_bad_line(&mut self) -> Result<(), Stop> {
        self.bad_lines += 1;
        if self.bad_lines > BAD_LINES { Err(Stop::Say(Reason::BadCommand)) } else { Ok(()) }
    }

    /// Answers a command with a refusal of kimgate's own.
    pub(crate) async fn refuse(&mut self, reason: Reason, detail: &str) -> Result<(), Stop> {
        let reply = self.refusal(reason, detail);
        self.reply(&reply).await
    }

    pub(crate) fn refusal(&self, reason: Reason, detail: &str) -> Vec<u8> {
        self.with_about(detail, |about| {
            refusal(self.facts.protocol, self.live.config.language, reason, about)
        })
    }

    fn with_about<T>(&self, detail: &str, then: impl FnOnce(About<'_>) -> T) -> T {
        let workstation = workstation_of(&self.facts);
        let account = self.permit.account().as_str();
        let action = match self.facts.protocol {
            Protocol::Pop3 => Action::Receive,
            Protocol::Smtp => Action::Send,
        };
        then(About { workstation: &workstation, account, action: Some(action), detail })
    }

    /// Sends a reply to the workstation.
    pub(crate) async fn reply(&mut self, reply: &[u8]) -> Result<(), Stop> {
        stalled(self.stall(), self.client.send(reply)).await.ok_or(Stop::ClientLeft)
    }

    /// Reports a judgement and gives the refusal that has to be carried out, if there is one.
    pub(crate) fn judged(&self, judgement: Judgement) -> Option<Denial> {
        match judgement {
            Judgement::Pass => None,
            Judgement::Observe(denial) => {
                self.denied(&denial, false);
                None
            }
            Judgement::Refuse(denial) => {
                self.denied(&denial, true);
                Some(denial)
            }
        }
    }

    fn denied(&self, denial: &Denial, enforced: bool) {
        self.shared.observer.emit(Event::Denied {
            session: &self.facts,
            action: denial.action,
            reason: denial.reason,
            rule: Some(denial.rule.as_str()),
            enforced,
        });
    }

    /// Waits for more from the client module. The workstation may go on sending meanwhile, as far
    /// as its buffer has room; if it vanishes, nothing of what is under way is wanted any more.
    pub(crate) async fn wait_for_module(&mut self) -> Result<Filled, Stop> {
        while self.client.end() != Some(End::Cut) {
            match self.hear(Instant::now() + self.stall()).await {
                None => return Ok(Filled::Ended(End::Cut)),
                Some(Side::Module(filled)) => return Ok(filled),
                // A workstation that closed its sending half properly still wants its answer.
                Some(Side::Client(_)) => {}
            }
        }
        Err(Stop::ClientLeft)
    }

    /// The same, whether the workstation waits for it or not.
    pub(crate) async fn wait_for_module_alone(&mut self) -> Filled {
        let deadline = Instant::now() + self.stall();
        loop {
            if self.client.end().is_some() {
                self.left.get_or_insert_with(Instant::now);
            }
            match self.hear(deadline).await {
                None => return Filled::Ended(End::Cut),
                Some(Side::Module(filled)) => return filled,
                Some(Side::Client(_)) => {}
            }
        }
    }

    /// Waits for either side while a command is under way.
    pub(crate) async fn hear(&mut self, deadline: Instant) -> Option<Side> {
        self.alarms.timer.as_mut().reset(deadline);
        tokio::select! {
            biased;
            side = fill_either(&mut self.module, &mut self.client) => Some(side),
            () = self.alarms.timer.as_mut() => None,
        }
    }

    /// Counts octets of a transfer, and lets other sessions go on when it has had its share.
    pub(crate) async fn give_way(&mut self, octets: usize) {
        self.moved += octets;
        if self.moved >= SHARE {
            self.moved = 0;
            yield_now().await;
        }
    }

    /// Takes the answer to QUIT, which goes out in one packet with the end of the connection.
    pub(crate) fn keep_farewell(&mut self, len: usize) {
        self.farewell = self.module.bytes()[..len].to_vec();
        self.module.consume(len);
    }

    pub(crate) fn stall(&self) -> Duration {
        self.live.config.limits.transfer_stall_timeout
    }

    /// Says how many octets went each way since the last time.
    pub(crate) fn report_traffic(&mut self) {
        let (to_module, to_client) = (self.module.traffic().1, self.client.traffic().1);
        self.tracked.relayed(Direction::ToModule, to_module - self.told.to_module);
        self.tracked.relayed(Direction::ToClient, to_client - self.told.to_client);
        self.told = Told { to_client, to_module };
    }

    /// Ends both connections in the way that the reason asks for.
    pub(crate) async fn end(mut self, stop: Stop) -> Ended {
        self.report_traffic();
        self.tracked.relayed(Direction::ToClient, self.farewell.len() as u64);
        let Told { mut to_client, to_module } = self.told;
        to_client += self.farewell.len() as u64;
        let close = match stop {
            Stop::Quit | Stop::Done => Close::Ok,
            Stop::ClientLeft => Close::ClientLeft,
            Stop::Say(reason) | Stop::Said(reason) | Stop::Broken(reason) => reason.into(),
        };
        let mut last_words = std::mem::take(&mut self.farewell);
        if let Stop::Say(reason) = stop {
            last_words.extend(self.with_about("", |about| {
                goodbye(self.facts.protocol, self.live.config.language, reason, about)
            }));
        }
        match stop {
            Stop::Quit => self.module.close(b"").await,
            // Without QUIT no deletion is committed (RFC 1939 section 6).
            Stop::Done | Stop::Say(_) | Stop::Said(_) => drop(self.module),
            Stop::ClientLeft | Stop::Broken(_) => self.module.abort(),
        }
        // The mailbox is free from now on, however slowly the workstation says goodbye.
        drop(self.held);
        match stop {
            Stop::Quit | Stop::Done | Stop::Say(_) | Stop::Said(_) => {
                self.client.close(&last_words).await;
            }
            Stop::ClientLeft | Stop::Broken(_) => self.client.abort(),
        }
        Ended { close, to_client, to_module }
    }
}

/// The workstation's name, or its address where it has none.
pub(crate) fn workstation_of(facts: &SessionFacts) -> Arc<str> {
    match &facts.workstation {
        Some(name) => name.clone(),
        None => facts.peer.ip().to_canonical().to_string().into(),
    }
}

/// Which side brought something.
pub(crate) enum Side {
    Module(Filled),
    Client(Filled),
}

/// Waits for either side, the client module first. The workstation is left alone while its buffer
/// is full, which is the back-pressure, and when it has closed its sending half.
pub(crate) async fn fill_either(module: &mut Wire, client: &mut Wire) -> Side {
    poll_fn(|cx| {
        if let Poll::Ready(filled) = module.poll_fill(cx) {
            return Poll::Ready(Side::Module(filled));
        }
        if client.end().is_some() || !client.has_room() {
            return Poll::Pending;
        }
        Poll::Ready(Side::Client(ready!(client.poll_fill(cx))))
    })
    .await
}

/// The result of a write, where it came in time and well.
pub(crate) async fn stalled<T>(
    limit: Duration,
    write: impl Future<Output = io::Result<T>>,
) -> Option<T> {
    timeout(limit, write).await.ok()?.ok()
}

/// Seconds since then.
pub(crate) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

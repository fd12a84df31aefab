//! Does what the machine says, one step after the other.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{unconstrained, yield_now};
use tokio::time::timeout;

use super::Driver;
use super::timers::Woken;
use crate::gateway::wire::Wire;
use crate::observe::Phase;
use crate::proto::relay::{Attention, Limit, Question, Relay, Seen, Side, Step, Teardown, Verdict};
use crate::words::Reason;

/// Bytes of a transfer after which the other sessions have their turn: less than half a
/// millisecond's work, so that a short command never waits long behind large messages.
const SHARE: usize = 256 << 10;

/// The other side cannot be written to.
struct Unwritable;

impl Driver {
    pub(super) async fn drive(&mut self, mut relay: impl Relay) -> Teardown {
        let mut woken = Woken::NotAsleep;
        loop {
            let pair = &mut self.pair;
            let before = std::mem::replace(&mut woken, Woken::NotAsleep);
            let seen = Seen {
                settings: &pair.loaded.relay,
                workstation: pair.workstation.seen(),
                client_module: pair.client_module.seen(),
            };
            match relay.step(seen) {
                Step::Wait { workstation, client_module, limit } => {
                    if let Err(side) = self.flush().await {
                        relay.unwritable(side);
                        continue;
                    }
                    self.report_traffic();
                    self.timers.arm(limit, before, &self.pair.loaded.config.limits);
                    woken = self.wait(workstation, client_module, limit).await;
                    match woken {
                        Woken::Late => relay.late(),
                        Woken::Stopping => {
                            return Teardown::refused(Reason::ShuttingDown);
                        }
                        Woken::NotAsleep | Woken::Workstation | Woken::ClientModule => {}
                    }
                }
                Step::Poll => {
                    if let Err(side) = self.flush().await {
                        relay.unwritable(side);
                        continue;
                    }
                    poll_now(&mut self.pair.client_module).await;
                }
                Step::Forward { from, bytes } => {
                    if let Err(Unwritable) = self.forward(from, bytes).await {
                        relay.unwritable(other(from));
                    }
                    self.give_way(bytes).await;
                }
                Step::Skip { from: Side::Workstation, bytes } => pair.workstation.consume(bytes),
                Step::Skip { from: Side::ClientModule, bytes } => pair.client_module.consume(bytes),
                Step::Say { to, words } => {
                    if let Err(Unwritable) = self.say(to, words).await {
                        relay.unwritable(to);
                    }
                }
                Step::Refuse(refusal) => {
                    let reply = self.refusal(refusal);
                    if let Err(Unwritable) = self.say(Side::Workstation, &reply).await {
                        relay.unwritable(Side::Workstation);
                    }
                }
                Step::Ask(Question::Command) => {
                    // It may have come together with the one before, without a wait.
                    pair.tracked.phase(Phase::Idle);
                    match self.check_permission() {
                        Ok(()) => relay.verdict(Verdict::Pass),
                        Err(reason) => return Teardown::refused(reason),
                    }
                }
                Step::Ask(Question::Offer) => {
                    relay.offer(pair.loaded.capabilities().lines(pair.facts.protocol));
                }
                Step::Ask(question) => {
                    let verdict = self.judge(question);
                    relay.verdict(verdict);
                }
                Step::Note(fact) => self.note(fact),
                Step::End(teardown) => return teardown,
            }
        }
    }

    /// Passes bytes on. They are used up whether or not the other side takes them.
    async fn forward(&mut self, from: Side, bytes: usize) -> Result<(), Unwritable> {
        let stall = self.stall();
        let pair = &mut self.pair;
        match from {
            Side::Workstation => {
                let (source, target) = (&mut pair.workstation, &mut pair.client_module);
                let written = write_while_silent(stall, target, &source.bytes()[..bytes]).await;
                source.consume(bytes);
                self.is_client_module_due = true;
                written
            }
            Side::ClientModule => {
                let (source, target) = (&mut pair.client_module, &mut pair.workstation);
                let written = in_time(stall, target.write(&source.bytes()[..bytes])).await;
                source.consume(bytes);
                self.is_workstation_due = true;
                written
            }
        }
    }

    async fn say(&mut self, to: Side, words: &[u8]) -> Result<(), Unwritable> {
        let stall = self.stall();
        match to {
            Side::Workstation => {
                self.is_workstation_due = true;
                in_time(stall, self.pair.workstation.write(words)).await
            }
            Side::ClientModule => {
                self.is_client_module_due = true;
                write_while_silent(stall, &mut self.pair.client_module, words).await
            }
        }
    }

    /// Sees off what was written. Gives the side that does not take it.
    async fn flush(&mut self) -> Result<(), Side> {
        let stall = self.stall();
        if std::mem::take(&mut self.is_workstation_due) {
            let flushed = in_time(stall, self.pair.workstation.flush()).await;
            flushed.map_err(|Unwritable| Side::Workstation)?;
        }
        if std::mem::take(&mut self.is_client_module_due) {
            let flushed = in_time(stall, self.pair.client_module.flush()).await;
            flushed.map_err(|Unwritable| Side::ClientModule)?;
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        workstation: Attention,
        client_module: Attention,
        limit: Limit,
    ) -> Woken {
        match limit {
            Limit::Idle => self.pair.tracked.phase(Phase::Idle),
            Limit::Answer => self.record.see_presence(&self.pair.workstation),
            Limit::Stall => {}
        }
        let Self { pair, timers, .. } = self;
        let heard = poll_fn(|cx| {
            if poll_side(&mut pair.client_module, client_module, cx).is_ready() {
                return Poll::Ready(Woken::ClientModule);
            }
            poll_side(&mut pair.workstation, workstation, cx).map(|()| Woken::Workstation)
        });
        let woken = tokio::select! {
            biased;
            woken = heard => woken,
            () = timers.timer.as_mut() => Woken::Late,
            () = timers.stop.as_mut(), if limit == Limit::Idle => Woken::Stopping,
        };
        if limit == Limit::Answer {
            self.record.see_presence(&self.pair.workstation);
        }
        woken
    }

    /// Lets other sessions go on when this one has had its share.
    async fn give_way(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= SHARE {
            self.moved = 0;
            yield_now().await;
        }
    }

    fn stall(&self) -> Duration {
        self.pair.loaded.config.limits.transfer_stall_timeout
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Workstation => Side::ClientModule,
        Side::ClientModule => Side::Workstation,
    }
}

/// Takes in what a side sends, as far as the machine wants it. A full buffer that is only watched is
/// the back-pressure.
fn poll_side(wire: &mut Wire, attention: Attention, cx: &mut Context<'_>) -> Poll<()> {
    match attention {
        Attention::Ignore => return Poll::Pending,
        Attention::Watch if !wire.has_room() => return Poll::Pending,
        Attention::Watch => {}
        Attention::Need => wire.make_room(),
    }
    match wire.end() {
        Some(_) => Poll::Pending,
        None => wire.poll_fill(cx).map(|_| ()),
    }
}

/// Takes in what has come up to now. Outside of tokio's budget: a task that has used up its turn
/// would be told that there is nothing, whatever there is.
async fn poll_now(wire: &mut Wire) {
    unconstrained(poll_fn(|cx| Poll::Ready(wire.poll_fill(cx).is_ready()))).await;
}

async fn write_while_silent(
    limit: Duration,
    wire: &mut Wire,
    bytes: &[u8],
) -> Result<(), Unwritable> {
    match timeout(limit, wire.write_while_silent(bytes)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(_) => Err(Unwritable),
    }
}

async fn in_time(
    limit: Duration,
    write: impl Future<Output = io::Result<()>>,
) -> Result<(), Unwritable> {
    match timeout(limit, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Unwritable),
    }
}

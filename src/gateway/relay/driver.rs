//! Does what the machine says, one step after the other.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{unconstrained, yield_now};
use tokio::time::timeout;

use super::timers::Woken;
use super::{Driver, Pair};
use crate::gateway::wire::Wire;
use crate::observe::Phase;
use crate::proto::relay::{Attention, Limit, Relay, Seen, Side, Step, StepReport, Teardown};
use crate::words::Reason;

/// Bytes of a transfer after which the other sessions have their turn: less than half a
/// millisecond's work, so that a short command never waits long behind large messages.
const SHARE: usize = 256 << 10;

/// What was to be sent to this side was not accepted.
struct Unwritable(Side);

impl Driver {
    pub(super) async fn drive(&mut self, relay: &mut impl Relay) -> Teardown {
        let mut woken = Woken::NotAsleep;
        let mut report = StepReport::Done;
        loop {
            let seen = Seen {
                settings: &self.pair.loaded.relay,
                workstation: self.pair.workstation.seen(),
                client_module: self.pair.client_module.seen(),
            };
            let step = relay.step(seen, std::mem::replace(&mut report, StepReport::Done));
            let before = std::mem::replace(&mut woken, Woken::NotAsleep);
            let done = match step {
                Step::Wait { workstation, client_module, limit } => match self.flush().await {
                    Ok(()) => {
                        self.report_traffic();
                        self.timers.arm(limit, before, &self.pair.loaded.config.limits);
                        woken = self.wait(workstation, client_module, limit).await;
                        match woken {
                            Woken::Stopping => return Teardown::refused(Reason::ShuttingDown),
                            Woken::Late => report = StepReport::Late,
                            Woken::NotAsleep | Woken::Workstation | Woken::ClientModule => {}
                        }
                        Ok(())
                    }
                    unwritable => unwritable,
                },
                Step::Poll => {
                    let flushed = self.flush().await;
                    poll_now(&mut self.pair.client_module).await;
                    flushed
                }
                Step::Forward { from, bytes } => {
                    let forwarded = self.forward(from, bytes).await;
                    self.give_way(bytes).await;
                    forwarded
                }
                Step::Skip { from, bytes } => {
                    self.pair.wire(from).consume(bytes);
                    Ok(())
                }
                Step::Say { to, words } => self.say(to, words).await,
                Step::Refuse(refusal) => {
                    let reply = self.refusal(refusal);
                    self.say(Side::Workstation, &reply).await
                }
                Step::Ask(question) => {
                    report = self.answer(question).await;
                    Ok(())
                }
                Step::AskOffer => {
                    let offer = self.pair.loaded.capabilities();
                    report = StepReport::Offer(offer.lines(self.pair.facts.protocol).to_vec());
                    Ok(())
                }
                Step::Note(fact) => {
                    self.record(fact);
                    Ok(())
                }
                Step::End(teardown) => return teardown,
            };
            if let Err(Unwritable(side)) = done {
                report = StepReport::Unwritable(side);
            }
        }
    }

    /// Passes bytes on. They are used up whether or not the other side takes them.
    async fn forward(&mut self, from: Side, bytes: usize) -> Result<(), Unwritable> {
        let stall = self.stall();
        let Pair { workstation, client_module, .. } = &mut self.pair;
        let (source, target, to) = match from {
            Side::Workstation => (workstation, client_module, Side::ClientModule),
            Side::ClientModule => (client_module, workstation, Side::Workstation),
        };
        let written = write(stall, target, to, &source.bytes()[..bytes]).await;
        source.consume(bytes);
        self.unflushed.insert(to);
        written
    }

    async fn say(&mut self, to: Side, words: &[u8]) -> Result<(), Unwritable> {
        self.unflushed.insert(to);
        write(self.stall(), self.pair.wire(to), to, words).await
    }

    /// Flushes what was written.
    async fn flush(&mut self) -> Result<(), Unwritable> {
        let stall = self.stall();
        for side in [Side::Workstation, Side::ClientModule] {
            if self.unflushed.remove(side) {
                let flushed = timeout(stall, self.pair.wire(side).flush()).await;
                flushed.map_err(|_| Unwritable(side))?.map_err(|_| Unwritable(side))?;
            }
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

/// Writes to a side. A client module that speaks meanwhile may never read the rest.
async fn write(
    limit: Duration,
    wire: &mut Wire,
    side: Side,
    bytes: &[u8],
) -> Result<(), Unwritable> {
    let written = match side {
        Side::Workstation => timeout(limit, wire.write(bytes)).await.map(|w| w.map(|()| true)),
        Side::ClientModule => timeout(limit, wire.write_while_silent(bytes)).await,
    };
    match written {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(_) => Err(Unwritable(side)),
    }
}

/// The sides whose bytes may still be in TLS's hands.
#[derive(Default)]
pub(super) struct Unflushed {
    workstation: bool,
    client_module: bool,
}

impl Unflushed {
    fn of(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Workstation => &mut self.workstation,
            Side::ClientModule => &mut self.client_module,
        }
    }

    fn insert(&mut self, side: Side) {
        *self.of(side) = true;
    }

    /// Whether the side was among them.
    fn remove(&mut self, side: Side) -> bool {
        std::mem::take(self.of(side))
    }
}

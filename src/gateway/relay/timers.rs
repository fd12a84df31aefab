//! What ends a wait.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::gateway::config::Limits;
use crate::proto::relay::Limit;

/// Kept from one wait to the next. A mail dialogue is made of short waits, and arming a new timer
/// takes longer than putting off one that runs.
pub(super) struct Timers {
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There was no wait; something else was done.
    NotAsleep,
    Workstation,
    ClientModule,
    /// The limit has passed.
    Late,
    /// kimgate stops.
    Stopping,
}

impl Timers {
    pub(super) fn new(stop: &CancellationToken) -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now())),
            stop: Box::pin(stop.clone().cancelled_owned()),
        }
    }

    /// Starts the limit, unless what ended the wait before this one lets it run on.
    pub(super) fn arm(&mut self, limit: Limit, before: Woken, limits: &Limits) {
        let (patience, runs_on) = match limit {
            // For the whole command: a workstation that sends it byte by byte is idle all the same.
            Limit::Idle => {
                (limits.idle_timeout, matches!(before, Woken::Workstation | Woken::ClientModule))
            }
            Limit::Stall => (limits.transfer_stall_timeout, false),
            Limit::Answer => (limits.transfer_stall_timeout, before == Woken::Workstation),
        };
        if !runs_on {
            self.timer.as_mut().reset(Instant::now() + patience);
        }
    }
}

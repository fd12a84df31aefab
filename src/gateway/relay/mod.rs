//! A session after its login: the driver of the relay machines. It owns both connections, the
//! timers and what is observed; `proto::relay` says what is to be done.

mod driver;
mod fetched;
mod record;
mod rules;
mod teardown;
mod timers;

use std::sync::Arc;

use super::door::connections::{OriginPlace, Place};
use super::loaded::Loaded;
use super::shared::Shared;
use super::turns::{ContextLease, MailboxLease};
use super::wire::Wire;
use crate::observe::{LiveSession, SessionFacts};
use crate::policy::Permit;
use crate::proto::relay::{Relay, Side, Teardown, Why};
use crate::proto::{pop3, smtp};
use crate::words::{CloseReason, Protocol, Reason};

use driver::Unflushed;
use fetched::Fetched;
use record::Record;
use timers::Timers;

pub(crate) use teardown::Ended;

/// Both connections of a session that is logged in, and all it needs to go on.
pub(crate) struct Pair {
    pub(crate) workstation: Wire,
    pub(crate) client_module: Wire,
    pub(crate) permit: Permit,
    pub(crate) facts: SessionFacts,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tracked: Arc<LiveSession>,
    /// Names in the workstation's certificate, for finding it again after a reload.
    pub(crate) certificate_names: Vec<String>,
    /// Its place among all connections.
    pub(crate) _place: Place,
    pub(crate) held: Held,
}

impl Pair {
    fn wire(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Workstation => &mut self.workstation,
            Side::ClientModule => &mut self.client_module,
        }
    }
}

/// What a session holds while it lives. It is given back when this is dropped.
pub(crate) struct Held {
    pub(crate) _origin: OriginPlace,
    pub(crate) _context: Option<ContextLease>,
    pub(crate) _mailbox: Option<MailboxLease>,
}

/// Serves the session to its end. The driver is made before the future, which holds it once then.
pub(crate) fn run(pair: Pair) -> impl Future<Output = (SessionFacts, Ended)> {
    serve(Driver::new(pair))
}

async fn serve(mut driver: Driver) -> (SessionFacts, Ended) {
    let shared = driver.pair.shared.clone();
    let teardown = driver.talk().await;
    let facts = driver.pair.facts.clone();
    let ended = tokio::select! {
        biased;
        ended = Box::pin(driver.end(teardown)) => ended,
        () = shared.kill.cancelled() => CloseReason::from(Reason::ShuttingDown).into(),
    };
    (facts, ended)
}

/// A session that is ended while something may be under way.
const KILLED: Teardown =
    Teardown { why: Why::Broken(Reason::ShuttingDown), farewell: 0, is_unfinished: true };

/// A pair and what happens to it.
struct Driver {
    pair: Pair,
    timers: Timers,
    record: Record,
    fetched: Fetched,
    unflushed: Unflushed,
    /// Bytes that were passed on since other sessions had their turn.
    moved: usize,
}

impl Driver {
    fn new(pair: Pair) -> Self {
        Self {
            timers: Timers::new(&pair.shared.stop),
            pair,
            record: Record::default(),
            fetched: Fetched::default(),
            unflushed: Unflushed::default(),
            moved: 0,
        }
    }

    /// Serves until one side ends, or both do.
    async fn talk(&mut self) -> Teardown {
        match self.pair.facts.protocol {
            Protocol::Pop3 => self.drive_to_end(&mut pop3::Relay::default()).await,
            Protocol::Smtp => {
                let account = self.pair.permit.account().as_str().to_owned();
                self.drive_to_end(&mut smtp::Relay::new(&account)).await
            }
        }
    }

    /// However the session ends, what was passed on of a message is noted.
    async fn drive_to_end(&mut self, relay: &mut impl Relay) -> Teardown {
        let shared = self.pair.shared.clone();
        let teardown = tokio::select! {
            biased;
            () = shared.kill.cancelled() => KILLED,
            teardown = self.drive(relay) => teardown,
        };
        if let Some(fact) = relay.unfinished() {
            self.record(fact);
        }
        teardown
    }
}

//! Mailboxes and contexts against a model: sessions come, leave, give back and lose patience in random
//! order, several at a time before any of them runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::contexts::{ContextKey, ContextLease, ContextTable};
use super::mailboxes::{MailboxLease, Mailboxes};
use crate::gateway::config::{ContextMode, ContextRules};

const WORKSTATIONS: usize = 5;
const STEPS: usize = 400;
const WAIT: Duration = Duration::from_secs(20);

/// Something to wait for.
trait Resource: Clone + Send + 'static {
    type Lease: Send;
    fn take(self, workstation: Arc<str>) -> impl Future<Output = Option<Self::Lease>> + Send;
    fn accepted(lease: &mut Self::Lease);
    /// Whether several sessions of one workstation may have it.
    const SHARED: bool;
    fn is_unused(&self) -> bool;
}

impl Resource for Mailboxes {
    type Lease = MailboxLease;
    const SHARED: bool = false;

    async fn take(self, workstation: Arc<str>) -> Option<MailboxLease> {
        Mailboxes::take(&self, "main".into(), "a@x", &workstation, WAIT).await
    }

    fn accepted(_: &mut MailboxLease) {}

    fn is_unused(&self) -> bool {
        self.taken().is_empty()
    }
}

impl Resource for ContextTable {
    type Lease = ContextLease;
    const SHARED: bool = true;

    async fn take(self, workstation: Arc<str>) -> Option<ContextLease> {
        let rules = ContextRules { mode: ContextMode::Enforce, wait: WAIT, linger: Duration::ZERO };
        let key = ContextKey { client_module: "main".into(), context: "M#C#W".into() };
        ContextTable::take(&self, &key, &workstation, &rules).await.ok()
    }

    fn accepted(lease: &mut ContextLease) {
        lease.accepted();
    }

    fn is_unused(&self) -> bool {
        self.taken().is_empty()
    }
}

struct Waiting {
    workstation: usize,
    task: JoinHandle<()>,
    /// Turns that others had since it came.
    turns: usize,
}

struct Model<R: Resource> {
    resource: R,
    chance: StdRng,
    waiting: BTreeMap<u64, Waiting>,
    held: Vec<(usize, R::Lease, bool)>,
    outcomes: (mpsc::UnboundedSender<Outcome<R>>, mpsc::UnboundedReceiver<Outcome<R>>),
    arrivals: u64,
    longest: usize,
    granted: usize,
}

type Outcome<R> = (u64, Option<<R as Resource>::Lease>);

impl<R: Resource> Model<R> {
    fn new(resource: R, seed: u64) -> Self {
        Self {
            resource,
            chance: StdRng::seed_from_u64(seed),
            waiting: BTreeMap::new(),
            held: Vec::new(),
            outcomes: mpsc::unbounded_channel(),
            arrivals: 0,
            longest: 0,
            granted: 0,
        }
    }

    fn arrive(&mut self) {
        // One workstation comes as often as all others together.
        let workstation = self.chance.random_range(0..WORKSTATIONS * 2).min(WORKSTATIONS - 1);
        self.arrivals += 1;
        let (id, resource, outcome) =
            (self.arrivals, self.resource.clone(), self.outcomes.0.clone());
        let task = tokio::spawn(async move {
            let lease = resource.take(format!("PC{workstation}").into()).await;
            let _ = outcome.send((id, lease));
        });
        self.waiting.insert(id, Waiting { workstation, task, turns: 0 });
    }

    /// A session that waits is killed, also one that was woken a moment ago.
    fn leave(&mut self) {
        let ids: Vec<u64> = self.waiting.keys().copied().collect();
        if let Some(id) = ids.get(self.chance.random_range(0..ids.len().max(1))) {
            self.waiting.remove(id).unwrap().task.abort();
        }
    }

    fn release(&mut self) {
        if !self.held.is_empty() {
            let at = self.chance.random_range(0..self.held.len());
            drop(self.held.swap_remove(at));
        }
    }

    fn accept(&mut self) {
        if let Some((_, lease, accepted)) = self.held.first_mut() {
            R::accepted(lease);
            *accepted = true;
        }
    }

    /// Lets every task run until none has anything to do, and looks at what came of it.
    async fn settle(&mut self) {
        while self.step().await {}
        if self.held.is_empty() {
            assert!(self.waiting.is_empty(), "free, and {} sessions wait", self.waiting.len());
            assert!(self.resource.is_unused());
        }
        if R::SHARED && self.held.iter().any(|(_, _, accepted)| *accepted) {
            let holder = self.held[0].0;
            assert!(self.waiting.values().all(|w| w.workstation != holder), "it is not shared");
        }
    }

    /// False if nobody got anything.
    async fn step(&mut self) -> bool {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let mut happened = false;
        while let Ok((id, lease)) = self.outcomes.1.try_recv() {
            happened = true;
            let Some(Waiting { workstation, turns, .. }) = self.waiting.remove(&id) else {
                continue;
            };
            let Some(lease) = lease else { continue };
            self.granted += 1;
            self.longest = self.longest.max(turns);
            let new_holder = self.held.iter().all(|(holder, ..)| *holder != workstation);
            self.held.push((workstation, lease, false));
            assert!(self.held.iter().all(|(holder, ..)| *holder == workstation), "two holders");
            assert!(R::SHARED || self.held.len() == 1, "two sessions");
            // Of several in a row, only the oldest session of a workstation counts a turn as missed.
            let mut oldest: BTreeMap<usize, u64> = BTreeMap::new();
            for (id, waiting) in &self.waiting {
                let first = oldest.entry(waiting.workstation).or_insert(*id);
                *first = (*first).min(*id);
            }
            for (waits, id) in oldest {
                if waits != workstation && (new_holder || !R::SHARED) {
                    self.waiting.get_mut(&id).unwrap().turns += 1;
                }
            }
        }
        happened
    }

    async fn run(mut self) -> (usize, usize) {
        for _ in 0..STEPS {
            for _ in 0..self.chance.random_range(1..4) {
                match self.chance.random_range(0..100) {
                    0..45 => self.arrive(),
                    45..85 => self.release(),
                    85..92 => self.leave(),
                    92..98 => self.accept(),
                    _ => tokio::time::advance(WAIT / 2).await,
                }
            }
            self.settle().await;
        }
        while !(self.held.is_empty() && self.waiting.is_empty()) {
            self.release();
            self.settle().await;
        }
        assert!(self.resource.is_unused(), "something was left behind");
        (self.granted, self.longest)
    }
}

/// No wake-up is lost, no workstation starves, at most one has it, and nothing is left behind.
async fn holds<R: Resource>(resource: impl Fn() -> R) {
    let (mut granted, mut longest) = (0, 0);
    for seed in 0..60 {
        let run = Model::new(resource(), seed).run().await;
        (granted, longest) = (granted + run.0, longest.max(run.1));
    }
    assert!(granted > 1000, "the model hardly ran: {granted}");
    // Each of the others once, and one that took its turn just before this one came.
    assert!(longest <= WORKSTATIONS, "a workstation waited for {longest} turns of others");
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_has_one_session_at_a_time_and_no_workstation_starves() {
    holds(Mailboxes::default).await;
}

#[tokio::test(start_paused = true)]
async fn a_context_has_one_workstation_at_a_time_and_no_other_starves() {
    holds(ContextTable::default).await;
}

//! The register of held messages, as sessions use it: they wait for its disk, and not for ever.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::held::{Digest, HeldMessage, Hold, Register, ReleaseError, Terms, Undecrypted};
use crate::kim::Account;
use crate::observe::{HeldList, HeldStatus, HeldSummary};

/// How long a session waits for the disk before a message goes on that is held in memory only.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages that a list shows; the oldest are the first that somebody should look at.
const SHOWN: usize = 5000;

/// What became of a message that came undecrypted.
pub(crate) enum HoldOutcome {
    /// It is held from now on, and this is what people call it.
    Held(String),
    /// It was held already.
    Known,
    /// It was held before and may be deleted now.
    LetGo,
    /// It is held until kimgate ends.
    InMemory,
    /// The register has no room.
    Full,
}

/// The register and its clock. The clock is read from the system once: one that jumps while kimgate
/// runs must not let go what is held.
pub(crate) struct HeldMessages {
    register: Arc<Register>,
    started: (i64, Instant),
}

impl HeldMessages {
    pub(crate) fn new(register: Register) -> Self {
        let started = (OffsetDateTime::now_utc().unix_timestamp(), Instant::now());
        Self { register: Arc::new(register), started }
    }

    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    pub(crate) fn terms(&self, hold: Duration) -> Terms {
        let (unix, instant) = self.started;
        let passed = i64::try_from(instant.elapsed().as_secs()).unwrap_or(i64::MAX);
        Terms { hold, now: unix.saturating_add(passed) }
    }

    pub(crate) fn maildrop(&self, client_module: &str, account: &Account) -> Digest {
        self.register.maildrop(client_module, account.as_str())
    }

    pub(crate) fn summary(&self, hold: Duration) -> HeldSummary {
        let (messages, oldest) = self.register.held(self.terms(hold));
        HeldSummary::new(messages, oldest, self.register.trouble())
    }

    pub(crate) fn list(&self, hold: Duration) -> HeldList {
        let messages = self.register.list(self.terms(hold), SHOWN);
        let messages = messages.into_iter().map(HeldStatus::from).collect();
        HeldList { held: self.summary(hold), messages }
    }

    /// On return the disk has it, or what became of it says otherwise.
    pub(crate) async fn hold(&self, message: Undecrypted, hold: Duration) -> HoldOutcome {
        let terms = self.terms(hold);
        match self.at_leisure(move |register| register.hold(message, terms)).await {
            Some(Hold::New { id }) => HoldOutcome::Held(id),
            Some(Hold::Known) => HoldOutcome::Known,
            Some(Hold::LetGo) => HoldOutcome::LetGo,
            Some(Hold::Full) => HoldOutcome::Full,
            Some(Hold::InMemory) | None => HoldOutcome::InMemory,
        }
    }

    pub(crate) async fn came_decrypted(
        &self,
        maildrop: Digest,
        uid: &str,
        hold: Duration,
    ) -> Option<HeldMessage> {
        let (terms, uid) = (self.terms(hold), uid.to_owned());
        self.at_leisure(move |register| register.came_decrypted(&maildrop, &uid, terms))
            .await
            .flatten()
    }

    pub(crate) async fn sweep(&self, hold: Duration) -> Vec<HeldMessage> {
        let terms = self.terms(hold);
        self.at_leisure(move |register| register.sweep(terms)).await.unwrap_or_default()
    }

    /// Waits for the disk in this thread.
    pub(crate) fn release(&self, id: &str, hold: Duration) -> Result<HeldMessage, ReleaseError> {
        self.register.release(id, self.terms(hold))
    }

    /// Does something that waits for the disk, in a thread that may. `None`: it takes too long, and goes
    /// on by itself.
    async fn at_leisure<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Register) -> T + Send + 'static,
    ) -> Option<T> {
        let register = self.register.clone();
        let work = spawn_blocking(move || work(&register));
        timeout(PATIENCE, work).await.ok()?.ok()
    }
}

impl From<HeldMessage> for HeldStatus {
    fn from(message: HeldMessage) -> Self {
        let HeldMessage { id, since, account, workstation, cause } = message;
        Self::new(id, since, account, workstation, cause)
    }
}

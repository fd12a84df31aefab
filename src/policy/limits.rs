//! The budget of failed logins: a wrong password must not lock the account at the mail service.
//!
//! Mail clients poll with a stored password for as long as they run, and the mail service may lock
//! an account after a number of failures that its operator does not tell. So a login that the client
//! module has refused several times is answered here for a while. Time comes in as an argument.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes fingerprints under a key that lives and ends with this value, so that what is kept in
/// memory cannot be tried against a list of passwords.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(RandomState);

/// A keyed hash of something that is not to be kept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprints {
    /// With a new random key.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fingerprint of these parts in this order, e.g. workstation and login, or a password.
    pub fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        Fingerprint(self.0.hash_one(parts))
    }
}

/// All logins that the client module has refused of late, by workstation and login.
#[derive(Debug)]
pub struct Pauses {
    failures: u32,
    pause: Duration,
    entries: HashMap<Fingerprint, ()>,
}

/// A login is answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// For how long, as things stand.
    pub remaining: Duration,
    /// The first line of the client module's last refusal.
    pub last_reply: Arc<str>,
}

impl Pauses {
    /// Pauses after so many refusals, for so long. Zero refusals or no time: never.
    pub fn new(failures: u32, pause: Duration) -> Self {
        Self { failures, pause, entries: HashMap::new() }
    }

    /// Whether this login with this password may go to the client module.
    pub fn check(
        &self,
        key: Fingerprint,
        password: Fingerprint,
        now: Instant,
    ) -> Result<(), Paused> {
        let _ = (key, password, now, self.failures, self.pause, &self.entries);
        todo!()
    }

    /// The client module has refused it, with this first line.
    pub fn refused(&mut self, key: Fingerprint, password: Fingerprint, reply: &str, now: Instant) {
        let _ = (key, password, reply, now);
        todo!()
    }

    /// The client module has accepted it: all is forgotten.
    pub fn accepted(&mut self, key: Fingerprint) {
        let _ = key;
        todo!()
    }

    /// How many logins are answered here at this time.
    pub fn paused(&self, now: Instant) -> usize {
        let _ = now;
        todo!()
    }
}

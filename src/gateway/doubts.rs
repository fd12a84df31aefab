//! Logins that look wrong: said once for each workstation, and not at every poll.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fingerprint::Fingerprint;
use crate::kim::Doubt;

/// Logins that are remembered. Beyond it all are forgotten, and what looks wrong is said again.
const LOGINS: usize = 10_000;

/// What was said already, and how the logins were spelled that client modules accepted. Hashes with
/// a key that dies with the process, and no logins.
#[derive(Default)]
pub(crate) struct Doubts(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    said: HashSet<Fingerprint>,
    /// By the login without case.
    accepted: HashMap<Fingerprint, Fingerprint>,
}

/// A login, as it is remembered.
#[derive(Clone, Copy)]
pub(crate) struct Spelling {
    pub(crate) exact: Fingerprint,
    pub(crate) without_case: Fingerprint,
}

impl Doubts {
    /// Whether the login differs in case alone from the one that was accepted last.
    pub(crate) fn about_case(&self, login: Spelling) -> Option<Doubt> {
        let memory = self.lock();
        let accepted = memory.accepted.get(&login.without_case)?;
        (*accepted != login.exact).then_some(Doubt::CaseOfLastLogin)
    }

    /// The client module has accepted this login.
    pub(crate) fn accepted(&self, login: Spelling) {
        let mut memory = self.lock();
        if memory.accepted.len() >= LOGINS && !memory.accepted.contains_key(&login.without_case) {
            memory.accepted.clear();
        }
        memory.accepted.insert(login.without_case, login.exact);
    }

    /// Whether this is to be said: true for the first time.
    pub(crate) fn is_news(&self, doubt: Fingerprint) -> bool {
        let mut memory = self.lock();
        if memory.said.len() >= LOGINS {
            memory.said.clear();
        }
        memory.said.insert(doubt)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fingerprint::Fingerprints;

    fn spelling(prints: &Fingerprints, login: &str) -> Spelling {
        let without_case = prints.of(&[login.to_ascii_lowercase().as_bytes()]);
        Spelling { exact: prints.of(&[login.as_bytes()]), without_case }
    }

    #[test]
    fn a_login_is_held_against_the_one_that_was_accepted_last() {
        let (doubts, prints) = (Doubts::default(), Fingerprints::new());
        let (small, large) = (spelling(&prints, "a@b#h:1#m"), spelling(&prints, "a@b#h:1#M"));
        assert_eq!(doubts.about_case(large), None, "nobody knows better");
        doubts.accepted(small);
        assert_eq!(doubts.about_case(large), Some(Doubt::CaseOfLastLogin));
        assert_eq!(doubts.about_case(small), None);
        assert_eq!(doubts.about_case(spelling(&prints, "a@b#h:1#x")), None);
        doubts.accepted(large);
        assert_eq!(doubts.about_case(large), None);
    }

    #[test]
    fn what_was_said_is_not_said_again_and_memory_is_bounded() {
        let (doubts, prints) = (Doubts::default(), Fingerprints::new());
        let first = prints.of(&[b"first"]);
        assert!(doubts.is_news(first) && !doubts.is_news(first));
        for number in 0..2 * LOGINS as u64 {
            let login = number.to_string();
            assert!(doubts.is_news(prints.of(&[login.as_bytes()])));
            doubts.accepted(spelling(&prints, &login));
        }
        let memory = doubts.lock();
        assert!(memory.said.len() <= LOGINS && memory.accepted.len() <= LOGINS);
    }
}

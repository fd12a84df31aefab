//! Which warnings about logins were logged. Each is logged once for each workstation and not at
//! every poll.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gateway::fingerprint::{Fingerprint, Fingerprints};
use crate::kim::LoginWarning;

/// Logins that are remembered. At the next one all are forgotten, and their warnings are logged again.
const LOGINS: usize = 10_000;

/// Which warnings were logged, and how the logins were spelled that client modules accepted. It
/// holds no logins, but hashes of them with a key that is never stored.
#[derive(Default)]
pub(crate) struct LoginWarnings {
    fingerprints: Fingerprints,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    logged: HashSet<Fingerprint>,
    /// The login as it was accepted last, by the login in lower case.
    accepted: HashMap<Fingerprint, Fingerprint>,
}

/// How a login is spelled.
#[derive(Clone, Copy)]
pub(crate) struct Spelling {
    exact: Fingerprint,
    without_case: Fingerprint,
}

impl LoginWarnings {
    pub(crate) fn spelling(&self, login: &[u8]) -> Spelling {
        let without_case = self.fingerprints.of(&[&login.to_ascii_lowercase()]);
        Spelling { exact: self.fingerprints.of(&[login]), without_case }
    }

    /// Warns if the login differs only in case from the one that was accepted last.
    pub(crate) fn about_case(&self, login: Spelling) -> Option<LoginWarning> {
        let memory = self.lock();
        let accepted = memory.accepted.get(&login.without_case)?;
        (*accepted != login.exact).then_some(LoginWarning::CaseOfLastLogin)
    }

    /// Remembers a login that the client module has accepted.
    pub(crate) fn accepted(&self, login: Spelling) {
        let mut memory = self.lock();
        if memory.accepted.len() >= LOGINS && !memory.accepted.contains_key(&login.without_case) {
            memory.accepted.clear();
        }
        memory.accepted.insert(login.without_case, login.exact);
    }

    /// Whether this warning about a login has to be logged: true the first time that it comes from
    /// this workstation.
    pub(crate) fn is_news(&self, workstation: &str, login: &[u8], warning: LoginWarning) -> bool {
        let warning = format!("{warning:?}");
        let warning = self.fingerprints.of(&[workstation.as_bytes(), login, warning.as_bytes()]);
        let mut memory = self.lock();
        if memory.logged.len() >= LOGINS {
            memory.logged.clear();
        }
        memory.logged.insert(warning)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // No method panics while it has changed a part.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_compared_with_the_one_that_was_accepted_last() {
        let warnings = LoginWarnings::default();
        let (small, large) = (warnings.spelling(b"a@b#h:1#m"), warnings.spelling(b"a@b#h:1#M"));
        assert_eq!(warnings.about_case(large), None, "no login was accepted before");
        warnings.accepted(small);
        assert_eq!(warnings.about_case(large), Some(LoginWarning::CaseOfLastLogin));
        assert_eq!(warnings.about_case(small), None);
        assert_eq!(warnings.about_case(warnings.spelling(b"a@b#h:1#x")), None);
        warnings.accepted(large);
        assert_eq!(warnings.about_case(large), None);
    }

    #[test]
    fn a_warning_is_logged_once_and_memory_is_bounded() {
        let warnings = LoginWarnings::default();
        let is_news = |workstation, login: &str| {
            warnings.is_news(workstation, login.as_bytes(), LoginWarning::Blanks)
        };
        assert!(is_news("PC1", "first") && !is_news("PC1", "first") && is_news("PC2", "first"));
        assert!(warnings.is_news("PC1", b"first", LoginWarning::WithoutPort));
        for number in 0..2 * LOGINS as u64 {
            let login = number.to_string();
            assert!(is_news("PC1", &login));
            warnings.accepted(warnings.spelling(login.as_bytes()));
        }
        let memory = warnings.lock();
        assert!(memory.logged.len() <= LOGINS && memory.accepted.len() <= LOGINS);
    }
}

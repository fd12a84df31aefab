//! The certificate of each client module in the last good connection, kept over restarts.
//!
//! A changed certificate is reported even where it is accepted: an unannounced renewal looks just
//! like another machine that has taken the client module's place.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::known_certificate::KnownCertificate;
use super::verdict::Verdict;
use crate::trust::keep::{make_state_dir, write};

/// The file in the state folder: JSON, by `host:port`.
const FILE: &str = "known-certificates.json";

/// The longest file that is read, in bytes: a practice has only a few client modules.
const LONGEST: u64 = 1 << 20;

/// What every client module showed in its last good connection.
#[derive(Debug)]
pub struct KnownCertificates {
    file: PathBuf,
    known: Mutex<BTreeMap<String, KnownCertificate>>,
}

impl KnownCertificates {
    /// Reads what was kept in this folder. A file that cannot be read counts as empty and is
    /// reported in the log: mail must not stop because of it.
    pub fn open(state_dir: &Path) -> Self {
        let file = state_dir.join(FILE);
        let known = read(&file).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error,
                "known certificates cannot be read; changes are noticed from now on");
            BTreeMap::new()
        });
        Self { file, known: Mutex::new(known) }
    }

    /// Whether these are kept in this folder.
    pub fn is_in(&self, state_dir: &Path) -> bool {
        self.file == state_dir.join(FILE)
    }

    /// The certificate of the last good connection to this place, written `host:port`.
    pub fn of(&self, place: &str) -> Option<KnownCertificate> {
        self.known().get(place).cloned()
    }

    /// Sets [`Verdict::replaces`] where the certificate differs from that of the last good
    /// connection to `place`, written `host:port`.
    pub fn compare(&self, place: &str, verdict: &mut Verdict) {
        let Some(shown) = &verdict.certificate else { return };
        let last = self.of(place);
        verdict.replaces = last.filter(|known| known.fingerprint != shown.fingerprint);
    }

    /// As [`compare`](Self::compare), and keeps the certificate if it was accepted.
    pub fn meet(&self, place: &str, verdict: &mut Verdict) {
        self.compare(place, verdict);
        let Some(shown) = verdict.certificate.as_ref().filter(|_| verdict.accepted) else { return };
        let mut known = self.known();
        if known.get(place).is_some_and(|last| last.fingerprint == shown.fingerprint) {
            return;
        }
        let certificate = KnownCertificate {
            fingerprint: shown.fingerprint.clone(),
            subject: shown.subject.clone(),
            not_after: shown.not_after.unix_timestamp(),
            since: OffsetDateTime::now_utc().unix_timestamp(),
        };
        known.insert(place.to_owned(), certificate);
        // This happens once for each new certificate; at no other time does a session wait for the
        // disk.
        if let Err(error) = save(&self.file, &known) {
            tracing::warn!(file = %self.file.display(), %error,
                "known certificates cannot be written; a change while kimgate is stopped goes unnoticed");
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, KnownCertificate>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &Path) -> io::Result<BTreeMap<String, KnownCertificate>> {
    let length = match std::fs::metadata(file) {
        Ok(data) => data.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn save(file: &Path, known: &BTreeMap<String, KnownCertificate>) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        make_state_dir(folder)?;
    }
    write(file, serde_json::to_string_pretty(known)?.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::CertificateFacts;
    use crate::trust::Class;
    use crate::trust::authority::self_signed;
    use crate::words::Language;

    fn shown(accepted: bool) -> Verdict {
        let issued = self_signed(&["kim.test".to_owned()], OffsetDateTime::now_utc()).unwrap();
        let certificate = CertificateFacts::from_pem(&issued.certificate);
        Verdict { class: Class::SelfSigned, accepted, certificate, replaces: None, asked: None }
    }

    #[test]
    fn a_changed_certificate_is_said_so_after_a_restart_too_until_it_was_good_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let place = "192.168.0.22:995";
        let (mut first, mut bad, mut second) = (shown(true), shown(false), shown(true));
        let known = KnownCertificates::open(&state);
        known.meet(place, &mut first);
        assert_eq!(first.replaces, None, "the first one replaces nothing");
        known.meet(place, &mut first);
        assert_eq!(first.replaces, None);
        let old = first.certificate.unwrap().fingerprint;

        let known = KnownCertificates::open(&state);
        known.meet(place, &mut bad);
        let replaced = |verdict: &Verdict| verdict.replaces.clone().map(|old| old.fingerprint);
        assert_eq!(replaced(&bad).as_ref(), Some(&old));
        known.meet(place, &mut second);
        assert_eq!(replaced(&second).as_ref(), Some(&old), "a refused one was not kept");
        for (language, words) in [(Language::De, "geaendert"), (Language::En, "has changed")] {
            let sentence = second.sentence(language);
            assert!(sentence.contains(words) && sentence.contains(&old), "{sentence}");
        }
        known.meet(place, &mut second);
        assert_eq!(second.replaces, None);
        known.meet("192.168.0.22:465", &mut bad);
        assert_eq!(bad.replaces, None, "another port may have another certificate");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_like_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let known = KnownCertificates::open(folder.path());
        assert_eq!(known.of("kim:995"), None);
        let mut verdict = shown(true);
        known.meet("kim:995", &mut verdict);
        assert!(KnownCertificates::open(folder.path()).of("kim:995").is_some());
    }
}

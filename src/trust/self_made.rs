//! The gateway's self-signed certificate, for a configuration that names none. It is kept on disk:
//! mail clients remember it as an exception, so it must not change without need.

use std::io;
use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::authority::{Issued, self_signed};
use super::config::Identity;
use super::facts::CertificateFacts;
use super::keep::{make_state_dir, write};
use super::material;
use super::problem::{MaterialError, MaterialProblem};
use super::provider::for_workstations;

/// A new one is made when it expires within this time.
const RENEWAL: Duration = Duration::days(30);

const CERTIFICATE: &str = "gateway-self-signed.pem";
const PRIVATE_KEY: &str = "gateway-self-signed.key";

/// The kept certificate if it can still be used, else a new one.
pub(super) fn keep(
    state_dir: &Path,
    gateway_name: &str,
    now: OffsetDateTime,
) -> Result<Identity, MaterialError> {
    let identity = files(state_dir);
    let names = names(gateway_name);
    if is_usable(&identity, &names, now) {
        return Ok(identity);
    }
    let made = make(&names, gateway_name, now)?;
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| MaterialProblem::Io(error).of(path)
    };
    make_state_dir(state_dir).map_err(at(state_dir))?;
    // The key is written first: if kimgate stops in between, the pair does not match and is made
    // again.
    write(&identity.private_key, made.private_key.expose().as_bytes(), 0o600)
        .map_err(at(&identity.private_key))?;
    write(&identity.certificate, made.certificate.as_bytes(), 0o644)
        .map_err(at(&identity.certificate))?;
    Ok(identity)
}

/// Where the pair is kept.
pub(super) fn files(state_dir: &Path) -> Identity {
    Identity { certificate: state_dir.join(CERTIFICATE), private_key: state_dir.join(PRIVATE_KEY) }
}

/// Whether a certificate can be made for this name; nothing is written.
pub(super) fn could_be_made(gateway_name: &str) -> Result<(), MaterialError> {
    make(&names(gateway_name), gateway_name, OffsetDateTime::now_utc()).map(drop)
}

fn make(
    names: &[String],
    gateway_name: &str,
    now: OffsetDateTime,
) -> Result<Issued, MaterialError> {
    self_signed(names, now)
        .map_err(|error| MaterialProblem::CannotMake(error.to_string()).of(gateway_name.into()))
}

/// Its own name first, then those by which a mail client on the same machine reaches it.
fn names(gateway_name: &str) -> Vec<String> {
    let mut names = vec![gateway_name.to_owned()];
    for local in ["localhost", "127.0.0.1", "::1"] {
        if local != gateway_name {
            names.push(local.to_owned());
        }
    }
    names
}

/// Whether the kept pair can be read, belongs together, has the right names and does not expire
/// soon.
fn is_usable(identity: &Identity, names: &[String], now: OffsetDateTime) -> bool {
    let Ok(chain) = material::certificates(&identity.certificate) else { return false };
    let Ok(key) = material::private_key(&identity.private_key) else { return false };
    let Some(facts) = chain.first().and_then(|leaf| CertificateFacts::read(leaf)) else {
        return false;
    };
    facts.names == names
        && facts.not_before <= now
        && now + RENEWAL < facts.not_after
        && rustls::sign::CertifiedKey::from_der(chain, key, &for_workstations()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(identity: &Identity) -> String {
        std::fs::read_to_string(&identity.certificate).unwrap()
    }

    #[test]
    fn the_certificate_is_kept_until_its_name_changes_it_expires_soon_or_its_key_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let now = OffsetDateTime::now_utc();
        let first = text(&keep(&state, "kim.praxis.local", now).unwrap());
        let soon = now + Duration::days(700);
        let identity = keep(&state, "kim.praxis.local", soon).unwrap();
        assert_eq!(text(&identity), first);

        let renamed = text(&keep(&state, "192.168.0.5", now).unwrap());
        assert_ne!(renamed, first);
        let late = now + Duration::days(800);
        let renewed = text(&keep(&state, "192.168.0.5", late).unwrap());
        assert_ne!(renewed, renamed);

        std::fs::write(&identity.private_key, "").unwrap();
        assert_ne!(text(&keep(&state, "192.168.0.5", late).unwrap()), renewed);
    }

    #[test]
    fn it_names_the_gateway_and_this_machine_and_expires_after_825_days() {
        let dir = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        for (name, expected) in [
            ("kim.praxis.local", &["kim.praxis.local", "localhost", "127.0.0.1", "::1"][..]),
            ("192.168.0.5", &["192.168.0.5", "localhost", "127.0.0.1", "::1"]),
            ("localhost", &["localhost", "127.0.0.1", "::1"]),
        ] {
            let identity = keep(dir.path(), name, now).unwrap();
            let chain = material::certificates(&identity.certificate).unwrap();
            let facts = CertificateFacts::read(&chain[0]).unwrap();
            assert_eq!(facts.names, expected);
            assert!(facts.not_after - facts.not_before <= Duration::days(825));
            assert!(facts.not_after - now > Duration::days(820));
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let identity = keep(dir.path(), "kim", OffsetDateTime::now_utc()).unwrap();
        let mode = std::fs::metadata(identity.private_key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

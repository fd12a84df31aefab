//! Reads PEM files into chains, keys and roots. Every error names the file and what to do.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::config::Identity;
use super::facts::CertificateFacts;
use super::pem::{Foreign, as_pem};
use super::problem::{MaterialError, MaterialProblem, MaterialWarning};

/// The longest file that is read, in bytes; a bundle of all system roots has a quarter of it.
const LIMIT: u64 = 1 << 20;

/// Certificates that expire within this time are worth a warning.
const SOON: Duration = Duration::days(30);

/// Reads a chain and its key; warns about dates and about a key that every user can read.
pub(super) fn identity(
    identity: &Identity,
    warnings: &mut Vec<MaterialWarning>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), MaterialError> {
    let chain = certificates(&identity.certificate)?;
    if let Some(leaf) = chain.first() {
        warn_about_dates(&identity.certificate, leaf, OffsetDateTime::now_utc(), warnings);
    }
    let key = private_key(&identity.private_key)?;
    warn_about_readers(&identity.private_key, warnings);
    Ok((chain, key))
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let problem = |problem: MaterialProblem| problem.of(path.to_path_buf());
    let bytes = as_pem(read(path).map_err(problem)?);
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| problem(MaterialProblem::BrokenPem))?;
    if found.is_empty() {
        return Err(problem(nothing_found(&bytes, MaterialProblem::NoCertificate)));
    }
    if found.iter().any(|der| CertificateFacts::read(der).is_none()) {
        return Err(problem(MaterialProblem::NotACertificate));
    }
    Ok(found)
}

/// The private key of a PEM file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let problem = |problem: MaterialProblem| problem.of(path.to_path_buf());
    let bytes = as_pem(read(path).map_err(problem)?);
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(problem(MaterialProblem::EncryptedKey));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        problem(if matches!(error, pem::Error::NoItemsFound) {
            nothing_found(&bytes, MaterialProblem::NoKey)
        } else {
            MaterialProblem::BrokenPem
        })
    })
}

/// The problem behind the error of rustls about a key and its chain.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
pub(super) fn key_error(identity: &Identity, error: rustls::Error) -> MaterialError {
    let problem = match error {
        rustls::Error::InconsistentKeys(_) => {
            MaterialProblem::KeyMismatch(identity.certificate.clone())
        }
        rustls::Error::General(_) => MaterialProblem::UnusableKey,
        other => MaterialProblem::Tls(other),
    };
    problem.of(identity.private_key.clone())
}

/// Warns about a certificate that has expired, is not yet valid or expires soon.
pub(super) fn warn_about_dates(
    path: &Path,
    der: &CertificateDer<'_>,
    now: OffsetDateTime,
    warnings: &mut Vec<MaterialWarning>,
) {
    let Some(facts) = CertificateFacts::read(der) else { return };
    let (state, remedy) = if now > facts.not_after {
        (format!("expired on {}", facts.not_after.date()), "have it renewed")
    } else if now < facts.not_before {
        (
            format!("is not valid before {}", facts.not_before.date()),
            "check the clock of this machine",
        )
    } else if now + SOON > facts.not_after {
        (format!("expires on {}", facts.not_after.date()), "have it renewed")
    } else {
        return;
    };
    let problem = format!("the certificate {} {state}", facts.subject);
    warnings.push(MaterialWarning { path: path.to_path_buf(), problem, remedy: remedy.into() });
}

/// The whole file; the bytes are wiped when they are dropped, as they may be a key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, MaterialProblem> {
    // Room for the whole file at once: a buffer that grows leaves copies of a key in memory.
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LIMIT {
        return Err(MaterialProblem::TooLong);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The problem of a file where nothing was found; often it is of another kind.
fn nothing_found(bytes: &[u8], otherwise: MaterialProblem) -> MaterialProblem {
    Foreign::of(bytes).map_or(otherwise, MaterialProblem::Foreign)
}

#[cfg(unix)]
fn warn_about_readers(path: &Path, warnings: &mut Vec<MaterialWarning>) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o007 != 0) {
        warnings.push(MaterialWarning {
            path: path.to_path_buf(),
            problem: "every user can read this key".into(),
            remedy: format!("`chmod 640 {}`", path.display()),
        });
    }
}

#[cfg(not(unix))]
fn warn_about_readers(_: &Path, _: &mut Vec<MaterialWarning>) {}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::trust::{Authority, ClientModuleTrust, ListenerTls, UpstreamTls};
    use crate::trust::{ClientCertificates, ListenerTlsConfig, MinVersion};

    #[test]
    fn every_unusable_file_is_named_with_what_to_write_instead() {
        let issued = Authority::new("CA").unwrap().server(&["kim.test"]).unwrap();
        let other = Authority::new("CA").unwrap().server(&["kim.test"]).unwrap();
        let (certificate, key) = (&issued.certificate, issued.private_key.expose());
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let cut = &certificate[..certificate.len() - 30];
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let locked = key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        let long = "x".repeat(LIMIT as usize + 1);
        let pkcs12 = [&b"\x30\x82\x0a\x00\x02\x01\x03\x30"[..], &[0; 40]].concat();
        let pkcs7 = &b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n"[..];
        for (certificate, key, blamed, wanted) in [
            (certificate.as_bytes(), key.as_bytes(), "", ""),
            (b"", key.as_bytes(), "c.pem", "-----BEGIN CERTIFICATE-----"),
            (key.as_bytes(), key.as_bytes(), "c.pem", "no certificate in it"),
            (&der, key.as_bytes(), "", ""),
            (&pkcs12, key.as_bytes(), "c.pem", "this is a PKCS#12 file (.p12, .pfx); convert it"),
            (certificate.as_bytes(), &pkcs12, "k.pem", "openssl pkcs12 -in OLD -nodes"),
            (pkcs7, key.as_bytes(), "c.pem", "openssl pkcs7 -print_certs"),
            (cut.as_bytes(), key.as_bytes(), "c.pem", "broken PEM"),
            (junk.as_bytes(), key.as_bytes(), "c.pem", "cannot be read"),
            (long.as_bytes(), key.as_bytes(), "c.pem", "1 MiB"),
            (certificate.as_bytes(), b"", "k.pem", "-----BEGIN PRIVATE KEY-----"),
            (certificate.as_bytes(), certificate.as_bytes(), "k.pem", "no private key"),
            (certificate.as_bytes(), locked.as_bytes(), "k.pem", "openssl pkey"),
            (
                certificate.as_bytes(),
                other.private_key.expose().as_bytes(),
                "k.pem",
                "does not belong to the certificate in",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("c.pem"), certificate).unwrap();
            std::fs::write(dir.path().join("k.pem"), key).unwrap();
            match ListenerTls::load(&listener(dir.path())) {
                Ok(_) => assert_eq!(blamed, ""),
                Err(error) => {
                    let text = error.to_string();
                    assert!(error.path.ends_with(blamed) && !blamed.is_empty(), "{text}");
                    assert!(text.contains(wanted), "{text}");
                    assert!(!text.contains("PRIVATE KEY-----\n"), "{text}");
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let missing = ListenerTls::load(&listener(dir.path())).unwrap_err().to_string();
        assert!(missing.contains("c.pem: there is no such file"), "{missing}");
    }

    #[test]
    fn an_authority_for_clients_is_needed_where_they_are_asked() {
        let dir = tempfile::tempdir().unwrap();
        let config = ListenerTlsConfig {
            certificate: None,
            client_certificates: ClientCertificates::Optional,
            ..listener(dir.path())
        };
        let error = ListenerTls::load(&config).unwrap_err().to_string();
        assert!(error.contains("client_ca"), "{error}");
    }

    #[test]
    fn a_host_that_no_certificate_can_name_is_refused() {
        for host in ["", "kim praxis", "https://kim", "kim:995"] {
            let error = UpstreamTls::load(&ClientModuleTrust::default(), host).unwrap_err();
            assert!(matches!(error.problem, MaterialProblem::Host), "{host}");
        }
        for host in ["kim.praxis.local", "192.0.2.1", "2001:db8::1", "KIM-PC_1"] {
            assert!(UpstreamTls::load(&ClientModuleTrust::default(), host).is_ok(), "{host}");
        }
    }

    #[test]
    fn dates_near_their_end_and_keys_open_to_all_are_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("CA").unwrap();
        let der = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
        let now = OffsetDateTime::now_utc();
        for (days, part) in [
            (0, None),
            (3630, Some("expires on")),
            (3700, Some("expired on")),
            (-9, Some("not valid before")),
        ] {
            let mut warnings = vec![];
            warn_about_dates(dir.path(), &der, now + Duration::days(days), &mut warnings);
            assert_eq!(warnings.len(), usize::from(part.is_some()), "{days}");
            assert!(part.is_none_or(|part| warnings[0].problem.contains(part)), "{warnings:?}");
        }
        #[cfg(unix)]
        for (mode, count) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
            use std::os::unix::fs::PermissionsExt;
            let key = dir.path().join("k.pem");
            std::fs::write(&key, "").unwrap();
            std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
            let mut warnings = vec![];
            warn_about_readers(&key, &mut warnings);
            assert_eq!(warnings.len(), count, "{mode:o}");
        }
    }

    fn listener(dir: &Path) -> ListenerTlsConfig {
        ListenerTlsConfig {
            certificate: Some(Identity {
                certificate: dir.join("c.pem"),
                private_key: dir.join("k.pem"),
            }),
            min_version: MinVersion::Tls12,
            client_certificates: ClientCertificates::Off,
            client_ca: None,
            client_crl: vec![],
            gateway_name: "kim.test".to_owned(),
            state_dir: dir.join("state"),
        }
    }
}

//! The certificate authorities that the operating system trusts.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use crate::trust::material;
use crate::trust::problem::{MaterialError, MaterialProblem};

/// Where Linux distributions and BSDs keep them in one file: Debian, Fedora, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads the first bundle that exists; `SSL_CERT_FILE` names another, as with openssl.
pub(super) fn load() -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundle = named.or_else(|| {
        BUNDLES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_path_buf)
    });
    match bundle {
        Some(path) => material::certificates(&path),
        None => Err(MaterialProblem::NoSystemRoots.of(PathBuf::from(BUNDLES[0]))),
    }
}

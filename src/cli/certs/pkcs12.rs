//! Certificate and key in one file, as mail clients, Windows and macOS import it.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, LocalKeyId, MacAlgorithm,
    PrivateKey, PrivateKeyChain,
};
use rand::seq::IndexedRandom;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::secret::Secret;
use crate::trust::Issued;

/// Key, certificate and authority under this name (PKCS#12, RFC 7292), by AES-256 and SHA-256.
/// Systems from before 2018 know neither here and want RC2 and 3DES, which nothing should be
/// encrypted with any more; for them there are the PEM files.
pub(super) fn bundle(
    name: &str,
    issued: &Issued,
    authority: &str,
    password: &Secret<String>,
) -> Result<Vec<u8>, String> {
    let certificate = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
        Certificate::from_der(&der).map_err(|error| error.to_string())
    };
    let key = PrivatePkcs8KeyDer::from_pem_slice(issued.private_key.expose().as_bytes())
        .map_err(|error| error.to_string())?;
    let key = PrivateKey::from_der(key.secret_pkcs8_der()).map_err(|error| error.to_string())?;
    let chain = [certificate(&issued.certificate)?, certificate(authority)?];
    // It ties key and certificate together within the file; any bytes will do.
    let id = LocalKeyId(b"1".to_vec());
    let mut store = KeyStore::new();
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain)));
    store
        .writer(password.expose())
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .encryption_iterations(ITERATIONS)
        .mac_iterations(ITERATIONS)
        .write()
        .map_err(|error| error.to_string())
}

/// With a password of 95 bits no count matters; this one takes no noticeable time.
const ITERATIONS: u32 = 10_000;

/// Twenty letters and digits that are not mistaken for one another.
pub(super) fn new_password() -> Secret<String> {
    const SIGNS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut rng = rand::rng();
    let mut password = String::with_capacity(24);
    for at in 0..20 {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.extend(SIGNS.choose(&mut rng).map(|sign| char::from(*sign)));
    }
    Secret::new(password)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn passwords_are_long_and_never_the_same() {
        let made: BTreeSet<String> = (0..50).map(|_| new_password().expose().clone()).collect();
        assert_eq!(made.len(), 50);
        assert!(made.iter().all(|password| password.len() == 23), "{made:?}");
    }
}

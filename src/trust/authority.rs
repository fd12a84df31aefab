//! A local certificate authority: the gateway's certificate and one for every workstation.

use crate::secret::Secret;

/// A local certificate authority. Its key signs P-256 certificates only.
pub struct Authority {}

/// A certificate and its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate in PEM, leaf only.
    pub certificate: String,
    /// PKCS#8 in PEM.
    pub private_key: Secret<String>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The files are not an authority's.
    #[error("not a certificate authority that kimgate can sign with: {0}")]
    Unusable(String),
}

impl Authority {
    /// Makes a new authority under this common name, for ten years.
    pub fn new(name: &str) -> Result<Self, AuthorityError> {
        let _ = name;
        todo!()
    }

    /// Takes an authority from its PEM files.
    pub fn from_pem(
        certificate: &str,
        private_key: &Secret<String>,
    ) -> Result<Self, AuthorityError> {
        let _ = (certificate, private_key);
        todo!()
    }

    /// The authority's own certificate in PEM.
    pub fn certificate(&self) -> &str {
        todo!()
    }

    /// The authority's key, PKCS#8 in PEM.
    pub fn private_key(&self) -> Secret<String> {
        todo!()
    }

    /// A certificate for a TLS server under these DNS names and addresses, for 825 days.
    pub fn server(&self, names: &[&str]) -> Result<Issued, AuthorityError> {
        let _ = names;
        todo!()
    }

    /// A certificate for a TLS client under this common name, for 825 days.
    pub fn client(&self, common_name: &str) -> Result<Issued, AuthorityError> {
        let _ = common_name;
        todo!()
    }
}

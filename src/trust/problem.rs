//! What can be wrong with a file of certificates or keys, and what is unwise about one.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

use super::pem::Foreign;

/// A file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}; {}", path.display(), problem.remedy())]
pub struct MaterialError {
    /// The file, or the host or setting that is at fault where there is no file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: MaterialProblem,
}

/// What is wrong with a file; [`MaterialProblem::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MaterialProblem {
    /// The file does not exist.
    #[error("there is no such file")]
    Missing,
    /// The operating system refused.
    #[error("{0}")]
    Io(Error),
    /// Longer than any PEM file.
    #[error("longer than 1 MiB, so not a file of certificates or keys")]
    TooLong,
    /// PEM that is cut off or is not base64.
    #[error("broken PEM")]
    BrokenPem,
    /// A file of another kind.
    #[error("this is {0}")]
    Foreign(Foreign),
    /// No certificate.
    #[error("no certificate in it")]
    NoCertificate,
    /// PEM around something else.
    #[error("a certificate in it cannot be read")]
    NotACertificate,
    /// No key.
    #[error("no private key in it")]
    NoKey,
    /// A key that needs a passphrase.
    #[error("the key is encrypted")]
    EncryptedKey,
    /// The key of another certificate; the file is the certificate's.
    #[error("the key does not belong to the certificate in {}", .0.display())]
    KeyMismatch(PathBuf),
    /// A key that aws-lc-rs cannot sign with.
    #[error("a key of this kind cannot be used")]
    UnusableKey,
    /// `client_certificates` without `client_ca`.
    #[error("client_certificates needs client_ca")]
    NoClientCa,
    /// No revocation list.
    #[error("no revocation list in it")]
    NoRevocationList,
    /// A revocation list that cannot be used; the text says why.
    #[error("the revocation list cannot be used ({0})")]
    RevocationList(String),
    /// A host that no certificate can name.
    #[error("neither a host name nor an address")]
    Host,
    /// No certificate could be made for the gateway's name; the text says why.
    #[error("no certificate can be made for this name: {0}")]
    CannotMake(String),
    /// No bundle of system roots was found.
    #[error("no system roots found")]
    NoSystemRoots,
    /// rustls refuses for another reason.
    #[error("{0}")]
    Tls(rustls::Error),
}

impl MaterialProblem {
    /// What to do about it, as one sentence without a full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => "relative paths start at the configuration's folder",
            Self::Io(_) => "the account that kimgate runs under must be able to read and write it",
            Self::TooLong => "name the PEM file with the certificate or the key",
            Self::BrokenPem => "copy the file anew, with its BEGIN and END lines",
            Self::Foreign(kind) => kind.remedy(),
            Self::NoCertificate => "name a file with a line -----BEGIN CERTIFICATE-----",
            Self::NotACertificate => "have it issued anew as X.509 version 3",
            Self::NoKey => "name a file with a line -----BEGIN PRIVATE KEY-----",
            Self::EncryptedKey => {
                "kimgate cannot ask for a passphrase when it starts: decrypt the key with \
                 `openssl pkey -in OLD -out NEW` and make the file readable for kimgate alone"
            }
            Self::KeyMismatch(_) => "name the key that the certificate was issued for",
            Self::UnusableKey => "use RSA of at least 2048 bits, P-256, P-384 or Ed25519",
            Self::NoClientCa => "name the PEM file of the authority that signs them",
            Self::NoRevocationList => {
                "name a PEM file with a line -----BEGIN X509 CRL-----, or a list in DER"
            }
            Self::RevocationList(_) => "have it issued anew",
            Self::Host => "write it without scheme and port",
            Self::CannotMake(_) => "correct gateway.name, or name a certificate of your own",
            Self::NoSystemRoots => "list the authority in `ca`, or set SSL_CERT_FILE",
            Self::Tls(_) => "have the certificate and its key issued anew",
        }
    }

    pub(super) fn of(self, path: PathBuf) -> MaterialError {
        MaterialError { path, problem: self }
    }
}

impl From<Error> for MaterialProblem {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

/// Something legal but unwise about a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}; {remedy}", path.display())]
pub struct MaterialWarning {
    /// The file.
    pub path: PathBuf,
    /// What is unwise about it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

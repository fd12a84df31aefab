//! The certificate that a simulated client module shows: made new at each start, unless it is given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};
use tokio_rustls::TlsAcceptor;

use super::digest::sha256_hex;

/// What a simulated client module shows in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SimCertificate {
    /// Signed by itself, with the configured names.
    #[default]
    SelfSigned,
    /// Signed by itself, with the CA flag set, as `openssl req -x509` makes it.
    SelfSignedCa,
    /// Signed by itself, for another name.
    SelfSignedWrongName,
    /// Signed by a private authority.
    PrivateCa,
    /// Signed by a private authority, for another name.
    WrongName,
    /// Signed by an authority of the mail service's own, which nobody else knows, with a `cn` that is
    /// no host and without other names: as client modules make it at their registration.
    OwnPki,
    /// Signed by itself, with the configured names, and past its end.
    Expired,
    /// From PEM files: a chain, leaf first, and the leaf's key.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        private_key: PathBuf,
    },
}

/// A certificate with its key, ready to serve.
pub(crate) struct Material {
    pub(crate) acceptor: TlsAcceptor,
    /// What a client that trusts this server has as its root.
    pub(crate) root_pem: String,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) fingerprint: String,
}

impl Material {
    /// `client_ca`: whose certificates clients have to show.
    pub(crate) fn new(
        kind: &SimCertificate,
        names: &[String],
        client_ca: Option<&Path>,
    ) -> io::Result<Self> {
        let made = Made::new(kind, names)?;
        let acceptor = acceptor(&made, client_ca)?;
        let Made { root_pem, chain_pem, key_pem, fingerprint, .. } = made;
        Ok(Self { acceptor, root_pem, chain_pem, key_pem, fingerprint })
    }
}

/// A certificate with its key.
struct Made {
    root_pem: String,
    chain_pem: String,
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    fingerprint: String,
}

impl Made {
    fn new(kind: &SimCertificate, names: &[String]) -> io::Result<Self> {
        let other = ["another.kim.invalid".to_owned()];
        match kind {
            SimCertificate::SelfSigned => self_signed(names, IsCa::NoCa, 365),
            SimCertificate::SelfSignedCa => {
                self_signed(names, IsCa::Ca(BasicConstraints::Unconstrained), 365)
            }
            SimCertificate::SelfSignedWrongName => self_signed(&other, IsCa::NoCa, 365),
            SimCertificate::Expired => self_signed(names, IsCa::NoCa, -1),
            SimCertificate::PrivateCa => {
                signed_by_authority("Praxis-CA", names, "KOM-LE-Clientmodul")
            }
            SimCertificate::WrongName => {
                signed_by_authority("Praxis-CA", &other, "KOM-LE-Clientmodul")
            }
            SimCertificate::OwnPki => {
                signed_by_authority("KIM-Fachdienst CA", &[], "8002f1a7-KIM-CM")
            }
            SimCertificate::Files { certificate, private_key } => {
                let (chain, key) = (read(certificate)?, read(private_key)?);
                Self::of(chain.clone(), chain, key)
            }
        }
    }

    fn of(root_pem: String, chain_pem: String, key_pem: String) -> io::Result<Self> {
        let chain = certificates(&chain_pem)?;
        let leaf = chain.first().ok_or_else(|| io::Error::other("no certificate in the chain"))?;
        let fingerprint = format!("sha256:{}", sha256_hex(leaf));
        Ok(Self { root_pem, chain_pem, key_pem, chain, fingerprint })
    }
}

fn acceptor(made: &Made, client_ca: Option<&Path>) -> io::Result<TlsAcceptor> {
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(&read(file)?)? {
                roots.add(authority).map_err(io::Error::other)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(io::Error::other)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(made.chain.clone(), key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)
}

fn self_signed(names: &[String], is_ca: IsCa, days: i64) -> io::Result<Made> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = params(names, "KOM-LE-Clientmodul", days)?;
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Made::of(certificate.pem(), certificate.pem(), key.serialize_pem())
}

fn signed_by_authority(issuer: &str, names: &[String], name: &str) -> io::Result<Made> {
    let authority_key = KeyPair::generate().map_err(io::Error::other)?;
    let mut authority = params(&[], issuer, 365)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = authority.self_signed(&authority_key).map_err(io::Error::other)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let leaf = params(names, name, 365)?.signed_by(&key, &issuer).map_err(io::Error::other)?;
    Made::of(root.pem(), leaf.pem(), key.serialize_pem())
}

/// Valid from 30 days ago, until so many days from now.
fn params(names: &[String], common_name: &str, days: i64) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(30);
    params.not_after = now + Duration::days(days);
    Ok(params)
}

fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_can_be_served_and_is_new_each_time() {
        let names = ["localhost".to_owned()];
        for kind in [
            SimCertificate::SelfSigned,
            SimCertificate::SelfSignedCa,
            SimCertificate::SelfSignedWrongName,
            SimCertificate::PrivateCa,
            SimCertificate::WrongName,
            SimCertificate::OwnPki,
            SimCertificate::Expired,
        ] {
            let [one, other] = [0, 1].map(|_| Material::new(&kind, &names, None).unwrap());
            assert_ne!(one.fingerprint, other.fingerprint, "{kind:?}");
            assert_eq!(one.fingerprint.len(), "sha256:".len() + 64);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let kind =
            SimCertificate::Files { certificate: "/absent.pem".into(), private_key: "".into() };
        let error = Material::new(&kind, &[], None).err().unwrap().to_string();
        assert!(error.contains("/absent.pem"), "{error}");
    }
}

//! webpki's verifier of client certificates; its refusals name the refused certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::faults::HandshakeFault;
use crate::trust::chain;
use crate::trust::facts::CertificateFacts;

/// webpki's verifier. Where it refuses, the error carries the facts of the certificate.
#[derive(Debug)]
pub(super) struct NamingVerifier(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NamingVerifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refuse = |fault| -> Error {
            CertificateError::Other(OtherError(Arc::new(RefusedWorkstation(fault)))).into()
        };
        if chain::is_too_long(end_entity, intermediates) {
            return Err(refuse(HandshakeFault::too_long()));
        }
        self.0.verify_client_cert(end_entity, intermediates, now).map_err(|error| {
            let certificate = CertificateFacts::read(end_entity);
            refuse(HandshakeFault::of_certificate(&error, certificate))
        })
    }

    // These two make the workstation prove that it owns the certificate's key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The error that carries a refused certificate through rustls.
#[derive(Debug)]
pub(super) struct RefusedWorkstation(pub(super) HandshakeFault);

impl fmt::Display for RefusedWorkstation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.word())
    }
}

impl std::error::Error for RefusedWorkstation {}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::RootCertStore;
    use rustls::server::WebPkiClientVerifier;

    use super::*;
    use crate::trust::chain::tests::{authorities_of_one_name, expensive_chains, quickest};
    use crate::trust::provider::for_workstations;

    #[test]
    #[ignore = "prints figures"]
    fn what_chains_of_a_workstation_cost() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.distinguished_name.push(rcgen::DnType::CommonName, "Praxis");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut roots = RootCertStore::empty();
        roots.add(root.self_signed(&key).unwrap().into()).unwrap();
        let webpki =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), for_workstations());
        let ours = NamingVerifier(webpki.build().unwrap());
        for (what, chain) in expensive_chains(&root) {
            let check = || ours.verify_client_cert(&chain[0], &chain[1..], UnixTime::now());
            assert!(check().is_err());
            let took = quickest(|| drop(check()));
            let read = quickest(|| drop(crate::trust::client_names(&chain)));
            println!("{what}: {took:?}, its names read in {read:?}");
        }
    }

    #[test]
    fn a_workstation_with_12_authorities_of_one_name_is_refused_before_a_path_is_built() {
        let root = CertificateParams::new(vec![]).unwrap();
        let root = root.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.into()).unwrap();
        let roots = Arc::new(roots);
        let webpki =
            WebPkiClientVerifier::builder_with_provider(roots, for_workstations()).build().unwrap();
        let ours = NamingVerifier(webpki.clone());
        for (above, word) in [(2, "UnknownIssuer"), (3, "TooLong"), (12, "TooLong")] {
            let chain = authorities_of_one_name(above);
            let start = Instant::now();
            let _ = webpki.verify_client_cert(&chain[0], &chain[1..], UnixTime::now());
            let before = start.elapsed();
            let start = Instant::now();
            let refused = ours.verify_client_cert(&chain[0], &chain[1..], UnixTime::now());
            println!("{above} authorities: webpki alone {before:?}, kimgate {:?}", start.elapsed());
            let refused = format!("{:?}", refused.unwrap_err());
            assert!(refused.contains(word), "{above}: {refused}");
        }
    }
}

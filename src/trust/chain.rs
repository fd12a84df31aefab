//! How long a chain may be that a peer shows.
//!
//! The check comes before anything is known about the peer, so it must cost little. webpki tries
//! every order of authorities that have one name: a leaf and 12 authorities cost 200 ms of CPU. With
//! four certificates it is never more than a few signatures.

use rustls::pki_types::CertificateDer;

/// The most certificates in a chain, the leaf among them: leaf, two intermediates and the root.
const CERTIFICATES: usize = 4;
/// The most bytes of all certificates of a chain together. A usual certificate has 1,000 to 2,000.
const BYTES: usize = 32 << 10;

/// Whether the chain of this leaf is refused without a look at its path.
pub(super) fn is_too_long(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> bool {
    let bytes = above.iter().fold(leaf.len(), |sum, certificate| sum + certificate.len());
    above.len() >= CERTIFICATES || bytes > BYTES
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use super::*;
    use crate::trust::{Class, ClientModuleTrust, UpstreamTls};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    #[test]
    fn four_certificates_and_32_kib_are_the_most() {
        let certificate = |bytes: usize| CertificateDer::from(vec![0; bytes]);
        for (above, bytes, too_long) in [
            (3, 2_000, false),
            (4, 100, true),
            (0, BYTES, false),
            (0, BYTES + 1, true),
            (3, 9_000, true),
        ] {
            let chain = vec![certificate(bytes); above];
            assert_eq!(is_too_long(&certificate(bytes), &chain), too_long, "{above} of {bytes}");
        }
    }

    /// A leaf and this many authorities, all of one name.
    pub(in crate::trust) fn authorities_of_one_name(count: usize) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "One name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&params, &key);
        let leaf = CertificateParams::new(vec!["kim.local".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let above = (0..count).map(|_| {
            params.clone().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().into()
        });
        std::iter::once(leaf.into()).chain(above).collect()
    }

    #[test]
    fn a_client_module_with_12_authorities_of_one_name_is_refused_before_a_path_is_built() {
        let tls = UpstreamTls::load(&ClientModuleTrust::default(), "kim.local").unwrap();
        for (above, class) in
            [(3, Class::UnknownIssuer), (4, Class::ChainTooLong), (12, Class::ChainTooLong)]
        {
            let chain = authorities_of_one_name(above);
            let start = Instant::now();
            assert_eq!(tls.verdict(&chain).class, class, "{above}");
            println!("{above} authorities: {:?}", start.elapsed());
        }
    }
}

//! How long a chain may be that a peer shows.
//!
//! The check comes before anything is known about the peer, so it must cost little. webpki tries
//! every order of authorities that have one name, with a signature for each that could end at a root: a
//! leaf and 12 authorities cost 200 ms of CPU, and three of a root's name 16 signatures.

use rustls::pki_types::CertificateDer;

use super::x509::Certificate;

/// The most certificates in a chain, the leaf among them: leaf, two intermediates and the root.
const CERTIFICATES: usize = 4;
/// The most bytes of all certificates of a chain together. A usual certificate has 1,000 to 2,000.
const BYTES: usize = 32 << 10;
/// The most certificates above the leaf that have one name, as after a renewal, or where a server sends
/// one twice.
const OF_ONE_NAME: usize = 2;

/// Whether the chain of this leaf is refused without a look at its path.
pub(super) fn is_too_long(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> bool {
    let bytes = above.iter().fold(leaf.len(), |sum, certificate| sum + certificate.len());
    above.len() >= CERTIFICATES || bytes > BYTES || are_of_one_name(above)
}

/// Whether more of these have one name than may. One that cannot be read ends no path.
fn are_of_one_name(above: &[CertificateDer<'_>]) -> bool {
    if above.len() <= OF_ONE_NAME {
        return false;
    }
    let read: Vec<_> = above.iter().filter_map(|der| Certificate::parse(der)).collect();
    let subjects = || read.iter().map(|certificate| certificate.x509.subject().as_raw());
    subjects().any(|one| subjects().filter(|other| *other == one).count() > OF_ONE_NAME)
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

    /// A key without a private half: a hostile peer needs no signature that is right, only one that is
    /// expensive to check.
    struct Fake(&'static rcgen::SignatureAlgorithm, Vec<u8>);

    impl rcgen::PublicKeyData for Fake {
        fn der_bytes(&self) -> &[u8] {
            &self.1
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            self.0
        }
    }

    impl rcgen::SigningKey for Fake {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            // As long as the modulus, and smaller.
            Ok(vec![0x55; self.1.len() - 14])
        }
    }

    fn rsa(bits: usize) -> Fake {
        let bytes = bits / 8;
        let mut der = vec![0x30, 0x82, 0, 0, 0x02, 0x82, 0, 0, 0];
        der[2..4].copy_from_slice(&(bytes as u16 + 10).to_be_bytes());
        der[6..8].copy_from_slice(&(bytes as u16 + 1).to_be_bytes());
        der.extend(std::iter::repeat_n(0xab, bytes));
        der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
        Fake(&rcgen::PKCS_RSA_SHA256, der)
    }

    /// Chains within the limits that cost as much as their maker knows how, all of them under the name
    /// of this authority.
    pub(in crate::trust) fn expensive_chains(
        root: &CertificateParams,
    ) -> Vec<(&'static str, Vec<CertificateDer<'static>>)> {
        let named = |names: Vec<String>| {
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name = root.distinguished_name.clone();
            params
        };
        let authority = |key: &Fake| {
            let mut params = named(vec![]);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(key).unwrap().der().clone()
        };
        let leaf = |params: &CertificateParams, key: &Fake| {
            params.signed_by(key, &Issuer::from_params(&named(vec![]), key)).unwrap().der().clone()
        };
        let large = rsa(8192);
        // The authority has a key of this kind, and each signature is checked with it.
        let p521 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let other = p521();
        let p521_authority = || {
            let mut params = named(vec![]);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = named(vec![]);
            params.signed_by(&p521(), &Issuer::from_params(&issuer, &other)).unwrap().into()
        };
        let names = |count: usize| (0..count).map(|n| format!("{n:x}.de")).collect::<Vec<_>>();
        let mut many_parts = named(vec![]);
        for n in 0..2_300_u64 {
            let kind = DnType::CustomDnType(vec![2, 5, 4, 1000 + n]);
            many_parts.distinguished_name.push(kind, "x");
        }
        vec![
            ("2 authorities of one name, RSA 8192", {
                let above = [rsa(8192), rsa(8184)];
                let above = above.iter().map(authority);
                std::iter::once(leaf(&named(names(10)), &large)).chain(above).collect()
            }),
            ("one RSA 8192 that signed itself", vec![authority(&large)]),
            ("3 of the authority's name, P-521", (0..3).map(|_| p521_authority()).collect()),
            ("3,100 names", vec![leaf(&named(names(3_100)), &rsa(2048))]),
            ("2,300 parts of a subject", vec![leaf(&many_parts, &rsa(2048))]),
        ]
    }

    /// Of ten, as other programs take time as well.
    pub(in crate::trust) fn quickest(check: impl Fn()) -> std::time::Duration {
        let times = (0..10).map(|_| {
            let start = Instant::now();
            check();
            start.elapsed()
        });
        times.min().unwrap()
    }

    #[test]
    #[ignore = "prints figures"]
    fn what_chains_of_a_client_module_cost() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.distinguished_name.push(DnType::CommonName, "Praxis");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, root.self_signed(&key).unwrap().pem()).unwrap();
        let trust = ClientModuleTrust { ca: vec![ca], ..ClientModuleTrust::default() };
        let tls = UpstreamTls::load(&trust, "kim.local").unwrap();
        for (what, chain) in expensive_chains(&root) {
            let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
            let class = tls.verdict(&chain).class;
            let took = quickest(|| drop(tls.verdict(&chain)));
            println!("{what}: {bytes} bytes, {class:?}, {took:?}");
        }
    }

    #[test]
    fn a_client_module_with_12_authorities_of_one_name_is_refused_before_a_path_is_built() {
        let tls = UpstreamTls::load(&ClientModuleTrust::default(), "kim.local").unwrap();
        for (above, class) in
            [(2, Class::UnknownIssuer), (3, Class::ChainTooLong), (12, Class::ChainTooLong)]
        {
            let chain = authorities_of_one_name(above);
            let start = Instant::now();
            assert_eq!(tls.verdict(&chain).class, class, "{above}");
            println!("{above} authorities: {:?}", start.elapsed());
        }
    }
}

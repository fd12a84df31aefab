//! brainpoolP256r1 and P384r1 (RFC 5639, RFC 7027, RFC 8734): checking signatures and ephemeral
//! Diffie-Hellman, so that client modules with certificates on these curves can be reached.
//!
//! aws-lc-rs has none of it. The curves are RustCrypto's, which have had no audit, so no long-lived
//! secret passes through here. Signing, which a brainpool certificate of our own would need, is
//! left out.

use std::fmt;
use std::marker::PhantomData;

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use bp256::BrainpoolP256r1;
use bp384::BrainpoolP384r1;
use ecdsa::{EcdsaCurve, Signature, VerifyingKey, hazmat::verify_prehashed};
use elliptic_curve::point::AffineCoordinates;
use elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret, SupportedKxGroup,
    WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm as Verification, alg_id,
};
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion, SignatureScheme};
use zeroize::Zeroizing;

/// A rustls scheme and those that may verify it.
type Mapping = (SignatureScheme, &'static [&'static dyn Verification]);

/// Adds the curves at the end of what the provider has already, so that they are chosen last.
pub(in crate::trust) fn add_to(provider: &mut CryptoProvider) {
    provider.kx_groups.extend([
        &P256_TLS12 as &dyn SupportedKxGroup,
        &P256_TLS13,
        &P384_TLS12,
        &P384_TLS13,
    ]);
    provider.signature_verification_algorithms =
        extended(&provider.signature_verification_algorithms);
}

const P256_WITH_SHA256: &dyn Verification = &Ecdsa::<BrainpoolP256r1>::new(&SHA256);
const P256_WITH_SHA384: &dyn Verification = &Ecdsa::<BrainpoolP256r1>::new(&SHA384);
const P256_WITH_SHA512: &dyn Verification = &Ecdsa::<BrainpoolP256r1>::new(&SHA512);
const P384_WITH_SHA256: &dyn Verification = &Ecdsa::<BrainpoolP384r1>::new(&SHA256);
const P384_WITH_SHA384: &dyn Verification = &Ecdsa::<BrainpoolP384r1>::new(&SHA384);
const P384_WITH_SHA512: &dyn Verification = &Ecdsa::<BrainpoolP384r1>::new(&SHA512);

// RFC 7027 numbers the groups for TLS 1.2, RFC 8734 gives them new numbers for TLS 1.3.
static P256_TLS12: Group<BrainpoolP256r1> = Group::new(26, ProtocolVersion::TLSv1_2);
static P256_TLS13: Group<BrainpoolP256r1> = Group::new(31, ProtocolVersion::TLSv1_3);
static P384_TLS12: Group<BrainpoolP384r1> = Group::new(27, ProtocolVersion::TLSv1_2);
static P384_TLS13: Group<BrainpoolP384r1> = Group::new(32, ProtocolVersion::TLSv1_3);

/// The provider's algorithms and these. rustls wants them for the life of the process, and this
/// runs once in it.
fn extended(known: &WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let mut all = known.all.to_vec();
    all.extend([
        P256_WITH_SHA256,
        P256_WITH_SHA384,
        P256_WITH_SHA512,
        P384_WITH_SHA256,
        P384_WITH_SHA384,
        P384_WITH_SHA512,
    ]);
    let mut mapping: Vec<Mapping> = known.mapping.iter().map(with_brainpool).collect();
    // TLS 1.3 names the curve in the scheme (RFC 8734 section 3).
    mapping.push((SignatureScheme::Unknown(0x081a), &[P256_WITH_SHA256]));
    mapping.push((SignatureScheme::Unknown(0x081b), &[P384_WITH_SHA384]));
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
}

/// TLS 1.2 leaves the curve to the certificate, so its schemes get the new ones after those that
/// they have; TLS 1.3 looks at the first only and thus sees no change.
fn with_brainpool(&(scheme, verifiers): &Mapping) -> Mapping {
    let added: &[&'static dyn Verification] = if scheme == SignatureScheme::ECDSA_NISTP256_SHA256 {
        &[P256_WITH_SHA256, P384_WITH_SHA256]
    } else if scheme == SignatureScheme::ECDSA_NISTP384_SHA384 {
        &[P256_WITH_SHA384, P384_WITH_SHA384]
    } else if scheme == SignatureScheme::ECDSA_NISTP521_SHA512 {
        &[P256_WITH_SHA512, P384_WITH_SHA512]
    } else {
        return (scheme, verifiers);
    };
    (scheme, [verifiers, added].concat().leak())
}

/// What both uses need to know of a curve.
trait Curve: EcdsaCurve + CurveArithmetic + fmt::Debug + 'static
where
    FieldBytesSize<Self>: ModulusSize,
{
    /// id-ecPublicKey with the curve's name, as it stands in a certificate.
    const KEY_ID: AlgorithmIdentifier;
}

impl Curve for BrainpoolP256r1 {
    // 1.2.840.10045.2.1 and 1.3.36.3.3.2.8.1.1.7
    const KEY_ID: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, //
        0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07,
    ]);
}

impl Curve for BrainpoolP384r1 {
    // 1.2.840.10045.2.1 and 1.3.36.3.3.2.8.1.1.11
    const KEY_ID: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, //
        0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b,
    ]);
}

/// ECDSA on one curve with one hash.
#[derive(Debug)]
struct Ecdsa<C> {
    hash: &'static Algorithm,
    curve: PhantomData<fn() -> C>,
}

impl<C> Ecdsa<C> {
    const fn new(hash: &'static Algorithm) -> Self {
        Self { hash, curve: PhantomData }
    }
}

impl<C> Verification for Ecdsa<C>
where
    C: Curve,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    ecdsa::der::MaxSize<C>: elliptic_curve::array::ArraySize,
    <FieldBytesSize<C> as std::ops::Add>::Output:
        std::ops::Add<ecdsa::der::MaxOverhead> + elliptic_curve::array::ArraySize,
{
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::<C>::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::<C>::from_der(signature).map_err(|_| InvalidSignature)?;
        let hash = digest::digest(self.hash, message);
        // SEC 1 section 4.1.4: of a hash longer than the field its left bits count.
        verify_prehashed(&(*key.as_affine()).into(), hash.as_ref(), &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        C::KEY_ID
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        if self.hash == &SHA256 {
            alg_id::ECDSA_SHA256
        } else if self.hash == &SHA384 {
            alg_id::ECDSA_SHA384
        } else {
            alg_id::ECDSA_SHA512
        }
    }
}

/// Ephemeral Diffie-Hellman on one curve in one TLS version.
#[derive(Debug)]
struct Group<C> {
    name: NamedGroup,
    version: ProtocolVersion,
    curve: PhantomData<fn() -> C>,
}

impl<C> Group<C> {
    const fn new(number: u16, version: ProtocolVersion) -> Self {
        Self { name: NamedGroup::Unknown(number), version, curve: PhantomData }
    }
}

impl<C> SupportedKxGroup for Group<C>
where
    C: Curve,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = fresh::<C>()?;
        let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        Ok(Box::new(Exchange { name: self.name, secret, public }))
    }

    fn name(&self) -> NamedGroup {
        self.name
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == self.version
    }
}

/// A secret key from the provider's own random numbers.
fn fresh<C>() -> Result<SecretKey<C>, GetRandomFailed>
where
    C: Curve,
    FieldBytesSize<C>: ModulusSize,
{
    let mut bytes = Zeroizing::new(elliptic_curve::FieldBytes::<C>::default());
    // Numbers beyond the group's order are drawn again: about a third of them on P256r1.
    for _ in 0..128 {
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| GetRandomFailed)?;
        if let Ok(secret) = SecretKey::from_bytes(&bytes) {
            return Ok(secret);
        }
    }
    Err(GetRandomFailed)
}

struct Exchange<C: CurveArithmetic> {
    name: NamedGroup,
    secret: SecretKey<C>,
    public: Vec<u8>,
}

impl<C> ActiveKeyExchange for Exchange<C>
where
    C: Curve,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // RFC 8422 section 5.4, RFC 8446 section 4.2.8.2: uncompressed only, and on the curve;
        // reading the point checks that, and the cofactor is 1.
        let invalid = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if peer.first() != Some(&0x04) {
            return Err(invalid());
        }
        let peer = PublicKey::<C>::from_sec1_bytes(peer).map_err(|_| invalid())?;
        let product = peer.to_projective() * *self.secret.to_nonzero_scalar().as_ref();
        let x = Zeroizing::new(elliptic_curve::group::Curve::to_affine(&product).x());
        Ok(SharedSecret::from(x.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_an_exchange_agree_and_points_off_the_curve_are_refused() {
        for group in [&P256_TLS12 as &dyn SupportedKxGroup, &P256_TLS13, &P384_TLS12, &P384_TLS13] {
            let (ours, theirs) = (group.start().unwrap(), group.start().unwrap());
            let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
            let secret = ours.complete(&their_key).unwrap();
            assert_eq!(secret.secret_bytes(), theirs.complete(&our_key).unwrap().secret_bytes());

            let mut off = our_key.clone();
            *off.last_mut().unwrap() ^= 1;
            let compressed = [&[0x02], &our_key[1..=our_key.len() / 2]].concat();
            for bad in [&off[..], &compressed, &[0x00], &[], &our_key[1..]] {
                assert!(group.start().unwrap().complete(bad).is_err(), "{:?}", group.name());
            }
        }
    }

    #[test]
    fn a_group_is_offered_in_the_version_that_its_number_belongs_to() {
        assert!(P256_TLS12.usable_for_version(ProtocolVersion::TLSv1_2));
        assert!(!P256_TLS12.usable_for_version(ProtocolVersion::TLSv1_3));
        assert!(P384_TLS13.usable_for_version(ProtocolVersion::TLSv1_3));
    }
}

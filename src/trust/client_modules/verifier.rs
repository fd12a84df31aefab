//! The judge as a rustls verifier; the verdict on a refused certificate is in the handshake's
//! error.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::judge::{Judge, unix_seconds};
use super::verdict::Verdict;
use crate::trust::x509::{Certificate, digest_of};

/// The most verdicts that are kept; a client module has one certificate and gets a new one once a
/// year.
const KEPT: usize = 16;

/// Judges the certificate. The handshake's signature is always checked, whatever the policy
/// tolerates.
#[derive(Debug)]
pub(super) struct JudgingVerifier {
    judge: Judge,
    name: ServerName<'static>,
    /// By a digest of the whole chain. A verdict depends on nothing else but the time, and every
    /// login shows the same chain again.
    accepted: Mutex<HashMap<[u8; 32], Kept>>,
}

/// The verdict on an accepted chain, and the time in which every certificate of it holds, in Unix
/// seconds.
#[derive(Debug)]
struct Kept {
    verdict: Arc<Verdict>,
    holds: RangeInclusive<i64>,
}

impl JudgingVerifier {
    pub(super) fn new(judge: Judge, name: ServerName<'static>) -> Self {
        Self { judge, name, accepted: Mutex::new(HashMap::new()) }
    }

    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Judges a chain, or recalls what was found when the same one was accepted before, as long as
    /// its dates hold.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Arc<Verdict> {
        let key = digest_of(chain.iter().map(|certificate| &**certificate));
        if let Some(verdict) = self.recall(&key, now) {
            return verdict;
        }
        let verdict = Arc::new(self.judge.judge(chain, &self.name, now));
        if verdict.accepted
            && let Some(holds) = validity(chain)
        {
            let mut accepted = self.accepted();
            if accepted.len() >= KEPT {
                accepted.clear();
            }
            accepted.insert(key, Kept { verdict: verdict.clone(), holds });
        }
        verdict
    }

    fn recall(&self, key: &[u8; 32], now: UnixTime) -> Option<Arc<Verdict>> {
        let accepted = self.accepted();
        let kept = accepted.get(key)?;
        kept.holds.contains(&unix_seconds(now)).then(|| kept.verdict.clone())
    }

    fn accepted(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time in which all of them hold; `None` where one cannot be read.
fn validity(chain: &[CertificateDer<'_>]) -> Option<RangeInclusive<i64>> {
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    for der in chain {
        let certificate = Certificate::parse(der)?;
        from = from.max(certificate.not_before().unix_timestamp());
        to = to.min(certificate.not_after().unix_timestamp());
    }
    Some(from..=to)
}

impl ServerCertVerifier for JudgingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>, // ours is the one from the configuration
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let verdict = self.judge(&chain, now);
        if verdict.accepted {
            return Ok(ServerCertVerified::assertion());
        }
        let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
        let refused = RefusedChain { verdict: Verdict::clone(&verdict), chain };
        Err(CertificateError::Other(OtherError(Arc::new(refused))).into())
    }

    // These two make the other side prove that it owns the certificate's key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.judge.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.judge.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.algorithms.supported_schemes()
    }
}

/// The error that carries a refused certificate through rustls.
#[derive(Debug)]
pub(super) struct RefusedChain {
    pub(super) verdict: Verdict,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl fmt::Display for RefusedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate refused: {}", self.verdict.class)
    }
}

impl std::error::Error for RefusedChain {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};
    use rustls::RootCertStore;

    use super::*;
    use crate::trust::Class;
    use crate::trust::provider::for_client_modules;
    use crate::words::Language;

    fn verifier() -> JudgingVerifier {
        let judge = Judge {
            roots: RootCertStore::empty(),
            listed: vec![],
            pins: vec![],
            ignore_self_signed: true,
            ignore_name_mismatch: false,
            algorithms: for_client_modules().signature_verification_algorithms,
        };
        JudgingVerifier::new(judge, "kim.local".try_into().unwrap())
    }

    fn self_signed(until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["kim.local".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn at(year: i32) -> UnixTime {
        let seconds = date_time_ymd(year, 6, 1).unix_timestamp() as u64;
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn an_accepted_chain_is_judged_once_and_again_when_its_dates_have_passed() {
        let verifier = verifier();
        let chain = [self_signed(2028)];
        let first = verifier.judge(&chain, at(2026));
        assert!(first.accepted);
        assert!(Arc::ptr_eq(&first, &verifier.judge(&chain, at(2027))));
        assert_eq!(verifier.judge(&chain, at(2028)).class, Class::Expired);
        assert_eq!(verifier.judge(&chain, at(2025)).class, Class::NotYetValid);
    }

    /// RFC 9525: an address counts as iPAddress alone, a name as dNSName alone.
    #[test]
    fn a_certificate_for_another_name_says_what_it_was_asked_for() {
        let ip = || SanType::IpAddress([192, 0, 2, 1].into());
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        for (asked, names, common_name, said) in [
            (
                "192.0.2.1",
                vec![dns("192.0.2.1")],
                "x",
                "(asked for 192.0.2.1 as IP address; the certificate has it as DNS name, not as IP \
                 address, RFC 9525)",
            ),
            ("192.0.2.1", vec![dns("kim.test")], "x", "(asked for 192.0.2.1 as IP address)"),
            ("kim.test", vec![ip()], "x", "(asked for kim.test as DNS name)"),
            (
                "kim.test",
                vec![ip()],
                "KIM.test",
                "has it in its subject (CN) alone, not as DNS name",
            ),
        ] {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.distinguished_name.push(DnType::CommonName, common_name);
            let chain = [params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()];
            let judge = verifier().judge;
            let verdict = judge.judge(&chain, &asked.try_into().unwrap(), at(2026));
            assert_eq!(verdict.class, Class::SelfSignedAndNameMismatch, "{asked}");
            let sentence = verdict.sentence(Language::En);
            assert!(sentence.contains(said), "{sentence}");
            let german = verdict.sentence(Language::De);
            assert!(german.contains(&format!("gefragt war {asked} als ")), "{german}");
        }
    }

    #[test]
    fn a_chain_is_known_as_a_whole_and_expires_with_its_first_certificate() {
        let verifier = verifier();
        let (leaf, short, long) = (self_signed(2030), self_signed(2027), self_signed(2029));
        let with_short = [leaf.clone(), short];
        let first = verifier.judge(&with_short, at(2026));
        assert!(Arc::ptr_eq(&first, &verifier.judge(&with_short, at(2026))));
        assert!(!Arc::ptr_eq(&first, &verifier.judge(&with_short, at(2028))));
        assert!(!Arc::ptr_eq(&first, &verifier.judge(&[leaf, long], at(2026))));
    }
}

//! The judge as a rustls verifier: what it finds travels in the handshake's error.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::judge::{Judge, holds};
use super::verdict::Verdict;
use super::x509::fingerprint;

/// Verdicts kept; a client module has one certificate, and a new one once a year.
const KEPT: usize = 16;

/// Judges the certificate; the handshake's signature is always checked, whatever is tolerated.
#[derive(Debug)]
pub(super) struct Verifier {
    judge: Judge,
    name: ServerName<'static>,
    /// By the leaf's fingerprint, since resumed sessions ask for the same one again and again.
    accepted: Mutex<HashMap<[u8; 32], Verdict>>,
}

impl Verifier {
    pub(super) fn new(judge: Judge, name: ServerName<'static>) -> Self {
        Self { judge, name, accepted: Mutex::new(HashMap::new()) }
    }

    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let verdict = self.judge.judge(chain, &self.name, now);
        if verdict.accepted
            && let Some(leaf) = chain.first()
        {
            let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            if accepted.len() >= KEPT {
                accepted.clear();
            }
            accepted.insert(fingerprint(leaf), verdict.clone());
        }
        verdict
    }

    /// What was found when this certificate was judged, as long as its dates hold.
    pub(super) fn recall(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let kept = chain.first().and_then(|leaf| {
            let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.get(&fingerprint(leaf)).cloned()
        });
        match kept {
            Some(verdict) if verdict.certificate.as_ref().is_some_and(|c| holds(c, now)) => verdict,
            _ => self.judge(chain, now),
        }
    }
}

impl ServerCertVerifier for Verifier {
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
        let refused = Refused { verdict, chain };
        Err(CertificateError::Other(OtherError(Arc::new(refused))).into())
    }

    // Without these two the other side would not have to own the certificate's key.
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
pub(super) struct Refused {
    pub(super) verdict: Verdict,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate refused: {}", self.verdict.class)
    }
}

impl std::error::Error for Refused {}

//! Whether a client module's certificate is accepted, and what is reported about it.

use std::io;

use super::error::DialError;
use super::module::ClientModule;
use crate::gateway::wire::Wire;
use crate::observe::{Event, Observer};
use crate::trust::{Class, Verdict, verdict_of};
use crate::words::{Protocol, Reason};

impl ClientModule {
    /// Reports the verdict on a handshake that succeeded, and fails if the certificate is not
    /// accepted. A resumed handshake shows no certificate, so its dates are checked here.
    pub(super) fn judge(
        &self,
        wire: &Wire,
        protocol: Protocol,
        observer: &Observer,
    ) -> Result<(), DialError> {
        let port = self.port(protocol);
        let Some(verdict) = port.tls().and_then(|tls| wire.verdict(tls)) else { return Ok(()) };
        let is_known = port.keep_verdict(&verdict);
        if verdict.accepted && is_known {
            observer.certificate_judged_again(&self.name, verdict.class.as_str());
            return Ok(());
        }
        let sentence = self.report(Verdict::clone(&verdict), protocol, observer);
        match verdict.accepted {
            true => Ok(()),
            false => Err(DialError::untrusted_certificate(sentence)),
        }
    }

    /// What a failed handshake means.
    pub(super) fn untrusted(
        &self,
        error: &io::Error,
        protocol: Protocol,
        observer: &Observer,
    ) -> DialError {
        let Some(verdict) = verdict_of(error) else {
            let detail = format!("{}: {error}", self.name);
            return DialError::new(Reason::ClientModuleUnreachable, detail);
        };
        let (class, is_shown) = (verdict.class, verdict.certificate.is_some());
        let sentence = self.report(verdict, protocol, observer);
        if class == Class::Reset {
            // A connection that breaks says nothing about the certificate.
            DialError::new(Reason::ClientModuleUnreachable, sentence)
        } else if is_shown {
            DialError::untrusted_certificate(sentence)
        } else {
            DialError::new(Reason::ClientModuleUntrusted, sentence)
        }
    }

    /// Reports a verdict and gives its sentence.
    fn report(&self, mut verdict: Verdict, protocol: Protocol, observer: &Observer) -> String {
        self.known.meet(&self.config.place(protocol), &mut verdict);
        let sentence = verdict.sentence(self.language);
        observer.emit(Event::Certificate {
            client_module: &self.name,
            class: verdict.class.as_str(),
            accepted: verdict.accepted,
            sentence: &sentence,
            fingerprint: verdict.certificate.as_ref().map(|c| c.fingerprint.as_str()),
            not_after: verdict.certificate.as_ref().map(|c| c.not_after.unix_timestamp()),
            replaces: verdict.replaces.as_ref().map(|old| old.fingerprint.as_str()),
        });
        sentence
    }
}

//! What a handshake with a client module showed, and a sentence that says so.

use time::OffsetDateTime;

use crate::words::Language;

use super::class::Class;
use super::phrases::{accepted_advice, finding, refused_advice};
use crate::trust::facts::CertificateFacts;
use crate::trust::printable::ascii;

/// What was found about a client module's TLS, and whether the configuration accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, or that nothing is.
    pub class: Class,
    /// Whether the configuration accepts this.
    pub accepted: bool,
    /// The certificate that was shown; `None` where the handshake ended before one, or where it
    /// cannot be read.
    pub certificate: Option<CertificateFacts>,
    /// The fingerprint of the certificate in the last good connection, if that was another one.
    pub replaces: Option<String>,
}

impl Verdict {
    /// The verdict on a handshake that failed before a certificate could be judged.
    pub fn of_handshake(class: Class) -> Self {
        Self { class, accepted: false, certificate: None, replaces: None }
    }

    /// What was found, without the certificate and without advice, in ASCII.
    pub fn finding(&self, language: Language) -> String {
        let above = self.certificate.as_ref().is_some_and(|facts| facts.issuer_at_fault);
        let mut out = finding(self.class, language).to_owned();
        if above {
            out.push_str(match language {
                Language::De => " (nicht es selbst, sondern ein Zertifikat ueber ihm)",
                Language::En => " (not itself, but a certificate above it)",
            });
        }
        out.push_str(&format!(" [{}]", self.class));
        out
    }

    /// What to do about it, in ASCII.
    pub fn advice(&self, language: Language) -> String {
        ascii(&self.advised(language))
    }

    /// A sentence that the certificate has changed, with the old fingerprint, in ASCII; `None`
    /// where it has not.
    pub fn change(&self, language: Language) -> Option<String> {
        self.replaces.as_ref().map(|old| match language {
            Language::De => {
                format!(
                    "Seit der letzten guten Verbindung hat es sich geaendert; damals war es {old}."
                )
            }
            Language::En => {
                format!("It has changed since the last good connection, when it was {old}.")
            }
        })
    }

    /// Class, certificate and what to do, in one line of ASCII.
    pub fn sentence(&self, language: Language) -> String {
        let mut out = self.finding(language);
        if let Some(facts) = &self.certificate {
            out.push_str(": ");
            out.push_str(&described(facts, language));
        }
        out.push_str(". ");
        if let Some(change) = self.change(language) {
            out.push_str(&change);
            out.push(' ');
        }
        out.push_str(&self.advised(language));
        ascii(&out)
    }

    /// The lines for `[client_modules.NAME.trust]` that would each accept exactly this, the safest
    /// first; empty where no setting may accept it.
    pub fn accepting_lines(&self) -> Vec<String> {
        let Some(facts) = &self.certificate else { return vec![] };
        let second = second_line(self.class);
        if second.is_none() && !facts.issuer_at_fault {
            return vec![];
        }
        let pin = format!(r#"pins = ["{}"]"#, facts.fingerprint);
        std::iter::once(pin).chain(second.map(str::to_owned)).collect()
    }

    fn advised(&self, language: Language) -> String {
        if self.accepted {
            return accepted_advice(self.class, language).to_owned();
        }
        match (self.accepting_lines().as_slice(), language) {
            ([], _) => refused_advice(self.class, language).to_owned(),
            ([pin, rest @ ..], Language::De) => {
                let or = rest.first().map_or(String::new(), |line| format!(", sonst {line}"));
                format!(
                    "Fingerabdruck am KIM-Clientmodul vergleichen; stimmt er, dann in \
                     [client_modules.NAME.trust]: {pin}{or}."
                )
            }
            ([pin, rest @ ..], Language::En) => {
                let or = rest.first().map_or(String::new(), |line| format!(", or else {line}"));
                format!(
                    "Compare the fingerprint at the KIM client module; if it is the same, write \
                     into [client_modules.NAME.trust]: {pin}{or}."
                )
            }
        }
    }
}

fn described(facts: &CertificateFacts, language: Language) -> String {
    let names = if facts.names.is_empty() { "-".to_owned() } else { shortened(&facts.names) };
    let (from, to) = (date(facts.not_before), date(facts.not_after));
    let CertificateFacts { subject, issuer, key, fingerprint, .. } = facts;
    match language {
        Language::De => format!(
            "Inhaber {subject}; Namen {names}; Aussteller {issuer}; gueltig von {from} bis {to}; \
             Schluessel {key}; {fingerprint}"
        ),
        Language::En => format!(
            "subject {subject}; names {names}; issuer {issuer}; valid from {from} to {to}; \
             key {key}; {fingerprint}"
        ),
    }
}

/// What would accept this class besides a pin.
fn second_line(class: Class) -> Option<&'static str> {
    match class {
        Class::SelfSigned => Some(r#"ignore = ["self-signed"]"#),
        Class::NameMismatch => Some(r#"ignore = ["name-mismatch"]"#),
        Class::SelfSignedAndNameMismatch => Some(r#"ignore = ["self-signed", "name-mismatch"]"#),
        Class::UnknownIssuer => Some(r#"ca = ["FILE.pem"]"#),
        Class::Ok
        | Class::Pinned
        | Class::Expired
        | Class::NotYetValid
        | Class::ChainTooLong
        | Class::BadSignature
        | Class::WeakKey
        | Class::WeakSignature
        | Class::WrongUsage
        | Class::Malformed
        | Class::Version1
        | Class::Brainpool
        | Class::ProtocolTooOld
        | Class::NoCommonCipher
        | Class::PlaintextOnTlsPort
        | Class::TlsOnPlaintextPort
        | Class::OwnCertificateRefused
        | Class::Reset => None,
    }
}

/// A few names; the list of a stranger's certificate may be long.
fn shortened(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(4));
    format!("{}{}", shown.join(", "), if more.is_empty() { "" } else { ", ..." })
}

fn date(moment: OffsetDateTime) -> String {
    moment.date().to_string()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn facts(subject: &str) -> CertificateFacts {
        CertificateFacts {
            subject: subject.to_owned(),
            issuer: "CN=CA".to_owned(),
            common_name: None,
            names: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
            not_before: datetime!(2026-01-01 0:00 UTC),
            not_after: datetime!(2027-01-01 0:00 UTC),
            key: "RSA 2048".to_owned(),
            signature: "sha256WithRSAEncryption".to_owned(),
            serial: "01".to_owned(),
            fingerprint: "sha256:00".to_owned(),
            issuer_at_fault: false,
        }
    }

    #[test]
    fn every_class_has_a_sentence_in_both_languages_and_in_ascii() {
        for class in Class::ALL {
            for language in [Language::De, Language::En] {
                let certificate = Some(facts("CN=Müller\r\n"));
                let sentence = Verdict { class, accepted: false, certificate, replaces: None }
                    .sentence(language);
                assert!(sentence.is_ascii() && !sentence.contains(['\r', '\n']), "{sentence}");
                assert!(sentence.contains(class.as_str()), "{sentence}");
                assert!(sentence.contains("sha256:00"), "{sentence}");
                assert!(sentence.contains("CN=Mueller"), "{sentence}");
                assert!(!sentence.contains("  "), "{sentence}");
                assert!(sentence.ends_with(['.', '?']), "{sentence}");
            }
        }
    }

    #[test]
    fn the_line_that_would_accept_it_is_named_where_one_may() {
        let verdict = |class| Verdict {
            class,
            accepted: false,
            certificate: Some(facts("CN=x")),
            replaces: None,
        };
        for (class, lines) in [
            (Class::SelfSigned, &[r#"pins = ["sha256:00"]"#, r#"ignore = ["self-signed"]"#][..]),
            (Class::UnknownIssuer, &[r#"pins = ["sha256:00"]"#, r#"ca = ["FILE.pem"]"#]),
            (Class::Expired, &[]),
            (Class::BadSignature, &[]),
            (Class::Version1, &[]),
        ] {
            assert_eq!(verdict(class).accepting_lines(), lines, "{class}");
            let sentence = verdict(class).sentence(Language::En);
            assert!(lines.iter().all(|line| sentence.contains(line)), "{sentence}");
        }
    }
}

//! What a handshake with a client module showed, as one sentence for a person.

use time::OffsetDateTime;

use crate::words::Language;

use super::class::Class;
use super::facts::CertificateFacts;
use super::printable::ascii;

/// What was found about a client module's TLS, and whether the configuration accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, or that nothing is.
    pub class: Class,
    /// Whether the configuration lets this pass.
    pub accepted: bool,
    /// The certificate that was shown; `None` where the handshake never got to one, or where it
    /// cannot be read.
    pub certificate: Option<CertificateFacts>,
}

impl Verdict {
    /// The verdict on a handshake that failed before a certificate could be judged.
    pub fn of_handshake(class: Class) -> Self {
        Self { class, accepted: false, certificate: None }
    }

    /// Class, certificate and what to do, in one line of ASCII.
    pub fn sentence(&self, language: Language) -> String {
        let above = self.certificate.as_ref().is_some_and(|facts| facts.issuer_at_fault);
        let mut out = finding(self.class, language).to_owned();
        if above {
            out.push_str(match language {
                Language::De => " (nicht es selbst, sondern ein Zertifikat ueber ihm)",
                Language::En => " (not itself, but a certificate above it)",
            });
        }
        out.push_str(&format!(" [{}]", self.class));
        if let Some(facts) = &self.certificate {
            out.push_str(": ");
            out.push_str(&described(facts, language));
        }
        out.push_str(". ");
        out.push_str(&self.advice(language));
        ascii(&out)
    }

    /// The lines for `[client_modules.NAME.trust]` that would accept exactly this, best one
    /// first; none where no line may.
    pub fn accepting_lines(&self) -> Vec<String> {
        let Some(facts) = &self.certificate else { return vec![] };
        let second = second_line(self.class);
        if second.is_none() && !facts.issuer_at_fault {
            return vec![];
        }
        let pin = format!(r#"pins = ["{}"]"#, facts.fingerprint);
        std::iter::once(pin).chain(second.map(str::to_owned)).collect()
    }

    fn advice(&self, language: Language) -> String {
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

/// What was found, as the beginning of a sentence.
fn finding(class: Class, language: Language) -> &'static str {
    let (de, en) = match class {
        Class::Ok => {
            ("Das Zertifikat ist in Ordnung", "The certificate is in order") //
        }
        Class::Pinned => (
            "Das Zertifikat ist mit seinem Fingerabdruck eingetragen",
            "The certificate is listed by its fingerprint",
        ),
        Class::SelfSigned => {
            ("Das Zertifikat hat sich selbst signiert", "The certificate signed itself")
        }
        Class::NameMismatch => (
            "Das Zertifikat gilt nicht fuer den Namen, unter dem das KIM-Clientmodul \
             angesprochen wird",
            "The certificate is not for the name that the KIM client module is reached by",
        ),
        Class::SelfSignedAndNameMismatch => (
            "Das Zertifikat hat sich selbst signiert und gilt nicht fuer den Namen, unter dem \
             das KIM-Clientmodul angesprochen wird",
            "The certificate signed itself and is not for the name that the KIM client module is \
             reached by",
        ),
        Class::Expired => ("Das Zertifikat ist abgelaufen", "The certificate has expired"),
        Class::NotYetValid => {
            ("Das Zertifikat ist noch nicht gueltig", "The certificate is not valid yet")
        }
        Class::UnknownIssuer => (
            "Der Aussteller des Zertifikats ist hier nicht bekannt",
            "The issuer of the certificate is not known here",
        ),
        Class::BadSignature => (
            "Eine Signatur stimmt nicht: das Zertifikat ist veraendert, oder die Gegenstelle \
             besitzt seinen Schluessel nicht",
            "A signature does not check out: the certificate was altered, or the other side does \
             not own its key",
        ),
        Class::WeakKey => (
            "Der Schluessel des Zertifikats ist zu schwach oder von einer Art, die TLS nicht \
             benutzt",
            "The certificate's key is too weak or of a kind that TLS does not use",
        ),
        Class::WeakSignature => (
            "Das Zertifikat ist mit einem unsicheren oder unbekannten Verfahren signiert",
            "The certificate is signed by an insecure or unknown method",
        ),
        Class::WrongUsage => (
            "Das Zertifikat ist nicht fuer einen TLS-Server bestimmt",
            "The certificate is not meant for a TLS server",
        ),
        Class::Malformed => (
            "Das Zertifikat ist nicht lesbar oder enthaelt eine unbekannte kritische Erweiterung",
            "The certificate cannot be read or has an unknown critical extension",
        ),
        Class::Version1 => (
            "Das Zertifikat ist nach X.509 Version 1, die sich nicht pruefen laesst",
            "The certificate is X.509 version 1, which cannot be checked",
        ),
        Class::Brainpool => (
            "Das Zertifikat hat einen brainpool-Schluessel, den dieses Programm nicht pruefen kann",
            "The certificate has a brainpool key that this build cannot check",
        ),
        Class::ProtocolTooOld => (
            "Das KIM-Clientmodul spricht kein TLS 1.2 oder 1.3",
            "The KIM client module speaks neither TLS 1.2 nor 1.3",
        ),
        Class::NoCommonCipher => (
            "Es gibt kein TLS-Verfahren, das beide Seiten koennen",
            "There is no TLS method that both sides know",
        ),
        Class::PlaintextOnTlsPort => (
            "Der Port antwortet unverschluesselt, wo TLS erwartet wird",
            "The port answers in clear where TLS is expected",
        ),
        Class::TlsOnPlaintextPort => (
            "Der Port spricht TLS, wo eine unverschluesselte Begruessung erwartet wird",
            "The port speaks TLS where a greeting in clear is expected",
        ),
        Class::OwnCertificateRefused => (
            "Das KIM-Clientmodul verlangt ein Client-Zertifikat oder lehnt das gezeigte ab",
            "The KIM client module asks for a client certificate or refuses the one shown",
        ),
        Class::Reset => (
            "Die Verbindung ist waehrend der TLS-Aushandlung abgebrochen",
            "The connection broke off during the TLS handshake",
        ),
    };
    of(language, de, en)
}

/// What to know about an accepted certificate.
fn accepted_advice(class: Class, language: Language) -> &'static str {
    let (de, en) = if matches!(class, Class::Ok | Class::Pinned) {
        ("Nichts zu tun.", "Nothing to do.")
    } else {
        (
            "Angenommen, weil die Konfiguration es mit `ignore` erlaubt; ein Eintrag in `pins` \
             waere sicherer.",
            "Accepted because the configuration allows it by `ignore`; an entry in `pins` would \
             be safer.",
        )
    };
    of(language, de, en)
}

/// What to do where no line of the configuration may accept it.
fn refused_advice(class: Class, language: Language) -> &'static str {
    let (de, en) = match class {
        Class::Expired => (
            "Am KIM-Clientmodul ein neues Zertifikat ausstellen; stimmt dort und hier die Uhrzeit?",
            "Issue a new certificate at the KIM client module; is the time right there and here?",
        ),
        Class::NotYetValid => (
            "Uhrzeit am KIM-Clientmodul und hier pruefen.",
            "Check the time at the KIM client module and here.",
        ),
        Class::Brainpool => (
            "kimgate mit dem Feature \"brainpool\" bauen, oder am KIM-Clientmodul ein Zertifikat \
             mit RSA oder P-256 ausstellen.",
            "Build kimgate with the feature \"brainpool\", or issue a certificate with RSA or \
             P-256 at the KIM client module.",
        ),
        Class::ProtocolTooOld => (
            "Das KIM-Clientmodul aktualisieren.",
            "Update the KIM client module.", //
        ),
        Class::NoCommonCipher => (
            "Am KIM-Clientmodul ECDHE mit AES-GCM erlauben und ein Zertifikat mit RSA ab 2048 Bit \
             oder P-256 benutzen; verlangt es ein Client-Zertifikat, client_certificate und \
             client_key eintragen.",
            "At the KIM client module allow ECDHE with AES-GCM and use a certificate with RSA \
             from 2048 bits or P-256; if it asks for a client certificate, set \
             client_certificate and client_key.",
        ),
        Class::PlaintextOnTlsPort => (
            "Port pruefen, oder tls = \"starttls\" eintragen.",
            "Check the port, or write tls = \"starttls\".",
        ),
        Class::TlsOnPlaintextPort => (
            "Port pruefen, oder tls = \"implicit\" eintragen.",
            "Check the port, or write tls = \"implicit\".",
        ),
        Class::OwnCertificateRefused => (
            "client_certificate und client_key in [client_modules.NAME] pruefen und am \
             KIM-Clientmodul eintragen.",
            "Check client_certificate and client_key in [client_modules.NAME] and enter it at the \
             KIM client module.",
        ),
        Class::Reset => (
            "Noch einmal versuchen; bleibt es so, Port, Firewall und das Protokoll des \
             KIM-Clientmoduls pruefen.",
            "Try again; if it stays so, check port, firewall and the log of the KIM client module.",
        ),
        Class::Ok
        | Class::Pinned
        | Class::SelfSigned
        | Class::NameMismatch
        | Class::SelfSignedAndNameMismatch
        | Class::UnknownIssuer
        | Class::BadSignature
        | Class::WeakKey
        | Class::WeakSignature
        | Class::WrongUsage
        | Class::Malformed
        | Class::Version1 => (
            "Keine Einstellung laesst es zu; am KIM-Clientmodul ein neues Zertifikat ausstellen.",
            "No setting admits it; issue a new certificate at the KIM client module.",
        ),
    };
    of(language, de, en)
}

fn of(language: Language, de: &'static str, en: &'static str) -> &'static str {
    match language {
        Language::De => de,
        Language::En => en,
    }
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
                let sentence = Verdict { class, accepted: false, certificate }.sentence(language);
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
        let verdict = |class| Verdict { class, accepted: false, certificate: Some(facts("CN=x")) };
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

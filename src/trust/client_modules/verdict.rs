//! What a handshake with a client module showed, and a sentence that says so.

use time::OffsetDateTime;

use crate::words::Language;

use super::class::Class;
use super::known_certificate::KnownCertificate;
use super::phrases::{
    accepted_advice, and_name_differs, both_are_usual, comparing, finding, refused_advice,
    why_not_ignore,
};
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
    /// The certificate of the last good connection, if that was another one.
    pub replaces: Option<KnownCertificate>,
    /// What the certificate was asked for, where it is for another name.
    pub asked: Option<Asked>,
}

/// The name that a certificate was asked for and does not have as such (RFC 9525 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The host of the configuration.
    pub name: String,
    /// An address, which counts as iPAddress alone. Otherwise a name, which counts as dNSName alone.
    pub is_address: bool,
    /// Where the certificate has it all the same.
    pub stands: Option<Stands>,
}

/// Where a certificate has a name that does not count there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// An address among the DNS names.
    AsDnsName,
    /// In the subject's common name.
    InSubject,
}

impl Asked {
    fn text(&self, language: Language) -> String {
        let (de, en) = match self.is_address {
            true => ("IP-Adresse", "IP address"),
            false => ("DNS-Name", "DNS name"),
        };
        let (stands_de, stands_en) = match self.stands {
            None => (String::new(), String::new()),
            Some(Stands::AsDnsName) => (
                format!("; es traegt sie als DNS-Name, nicht als {de}, RFC 9525"),
                format!("; the certificate has it as DNS name, not as {en}, RFC 9525"),
            ),
            Some(Stands::InSubject) => (
                format!("; es traegt ihn nur im Inhaber (CN), nicht als {de}, RFC 9525"),
                format!(
                    "; the certificate has it in its subject (CN) alone, not as {en}, RFC 9525"
                ),
            ),
        };
        match language {
            Language::De => format!(" (gefragt war {} als {de}{stands_de})", self.name),
            Language::En => format!(" (asked for {} as {en}{stands_en})", self.name),
        }
    }
}

impl Verdict {
    /// The verdict on a handshake that failed before a certificate could be judged.
    pub fn of_handshake(class: Class) -> Self {
        Self { class, accepted: false, certificate: None, replaces: None, asked: None }
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
        let name_differs_too =
            self.certificate.as_ref().is_some_and(|facts| facts.name_differs_too);
        let is_the_usual_one = name_differs_too && self.class == Class::UnknownIssuer;
        if is_the_usual_one {
            out.push_str(and_name_differs(language));
        }
        if let Some(asked) = &self.asked {
            out.push_str(&ascii(&asked.text(language)));
        }
        if is_the_usual_one {
            out.push_str(both_are_usual(language));
        }
        out.push_str(&format!(" [{}]", self.class));
        out
    }

    /// What to do about it, in ASCII.
    pub fn advice(&self, language: Language) -> String {
        ascii(&self.advised(language))
    }

    /// That the certificate has changed, what it was before, and that the new one has to be compared
    /// as the first one was, in ASCII; `None` where it has not changed.
    pub fn change(&self, language: Language) -> Option<String> {
        let old = self.replaces.as_ref()?;
        let end = OffsetDateTime::from_unix_timestamp(old.not_after).map_or(String::new(), date);
        let (subject, fingerprint) = (&old.subject, &old.fingerprint);
        let same = self.certificate.as_ref().is_some_and(|new| new.subject == *subject);
        // An authority vouches for the new one, or its own pin is listed already.
        let is_vouched_for = matches!(self.class, Class::Ok | Class::Pinned);
        let before = match (language, same) {
            (Language::De, true) => "derselbe Inhaber".to_owned(),
            (Language::De, false) => format!("Inhaber {subject}"),
            (Language::En, true) => "the same subject".to_owned(),
            (Language::En, false) => format!("subject {subject}"),
        };
        let mut out = match language {
            Language::De => format!(
                "Seit der letzten guten Verbindung hat es sich geaendert; damals war es \
                 {fingerprint}, {before}, gueltig bis {end}."
            ),
            Language::En => format!(
                "It has changed since the last good connection, when it was {fingerprint}, \
                 {before}, valid until {end}."
            ),
        };
        if !is_vouched_for {
            out.push_str(match language {
                Language::De => " Das neue muss neu verglichen werden.",
                Language::En => " The new one has to be compared anew.",
            });
        }
        Some(ascii(&out))
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

    /// The lines for `[client_modules.NAME.trust]` that would each accept this, the safest first;
    /// empty where no setting may accept it. The first one lists a certificate that this one replaces
    /// as well, so that the client module may go back to it.
    pub fn accepting_lines(&self) -> Vec<String> {
        let Some(facts) = &self.certificate else { return vec![] };
        let second = second_line(self.class);
        if second.is_none() && !facts.issuer_at_fault {
            return vec![];
        }
        let old = self.replaces.iter().map(|old| old.fingerprint.as_str());
        let pins: Vec<String> =
            old.chain([facts.fingerprint.as_str()]).map(|pin| format!("\"{pin}\"")).collect();
        let pin = format!("pins = [{}]", pins.join(", "));
        // Its issuer as an authority would not make its name right.
        let second = second.filter(|_| !facts.name_differs_too);
        std::iter::once(pin).chain(second.map(str::to_owned)).collect()
    }

    fn advised(&self, language: Language) -> String {
        if self.accepted {
            return accepted_advice(self.class, language).to_owned();
        }
        let lines = self.accepting_lines();
        let Some(pin) = lines.first() else {
            return refused_advice(self.class, language).to_owned();
        };
        // The other lines are left out: whoever finds another fingerprint must not write them instead.
        let (compare, otherwise) = comparing(language);
        let mut out = format!("{compare}{pin}{otherwise}");
        if self.class == Class::UnknownIssuer {
            out.push(' ');
            out.push_str(why_not_ignore(language));
        }
        out
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
            name_differs_too: false,
        }
    }

    #[test]
    fn every_class_has_a_sentence_in_both_languages_and_in_ascii() {
        for class in Class::ALL {
            for language in [Language::De, Language::En] {
                let certificate = Some(facts("CN=Müller\r\n"));
                let asked = Some(Asked {
                    name: "192.0.2.1".into(),
                    is_address: true,
                    stands: Some(Stands::AsDnsName),
                });
                let verdict =
                    Verdict { class, accepted: false, certificate, replaces: None, asked };
                let sentence = verdict.sentence(language);
                assert!(sentence.is_ascii() && !sentence.contains(['\r', '\n']), "{sentence}");
                assert!(sentence.contains(class.as_str()), "{sentence}");
                assert!(sentence.contains("sha256:00"), "{sentence}");
                assert!(sentence.contains("CN=Mueller"), "{sentence}");
                assert!(!sentence.contains("  "), "{sentence}");
                assert!(sentence.ends_with(['.', '?']), "{sentence}");
            }
        }
    }

    fn verdict(class: Class, facts: CertificateFacts) -> Verdict {
        Verdict { class, accepted: false, certificate: Some(facts), replaces: None, asked: None }
    }

    #[test]
    fn the_line_that_would_accept_it_is_named_where_one_may() {
        for (class, lines) in [
            (Class::SelfSigned, &[r#"pins = ["sha256:00"]"#, r#"ignore = ["self-signed"]"#][..]),
            (Class::UnknownIssuer, &[r#"pins = ["sha256:00"]"#, r#"ca = ["FILE.pem"]"#]),
            (Class::Expired, &[]),
            (Class::BadSignature, &[]),
            (Class::Version1, &[]),
        ] {
            let verdict = verdict(class, facts("CN=x"));
            assert_eq!(verdict.accepting_lines(), lines, "{class}");
            let sentence = verdict.sentence(Language::En);
            assert!(lines.first().is_none_or(|pin| sentence.contains(pin)), "{sentence}");
        }
    }

    #[test]
    fn nobody_is_told_to_ignore_a_certificate_whose_fingerprint_is_another_one() {
        for class in Class::ALL {
            let refused = verdict(class, facts("CN=x"));
            let [de, en] = [Language::De, Language::En].map(|language| refused.sentence(language));
            assert!(!de.contains("ignore =") && !en.contains("ignore ="), "{de} {en}");
            if !refused.accepting_lines().is_empty() {
                assert!(de.contains("Ist er anders, nichts eintragen"), "{de}");
                assert!(en.contains("If it is another one, write nothing"), "{en}");
            }
        }
    }

    #[test]
    fn the_usual_certificate_of_a_client_module_leads_to_a_pin_and_to_nothing_else() {
        let usual = CertificateFacts { name_differs_too: true, ..facts("CN=x") };
        let pinned = Verdict { accepted: true, ..verdict(Class::Pinned, usual.clone()) };
        assert!(!pinned.sentence(Language::En).contains("usual"), "it is listed, and that is all");
        let verdict = verdict(Class::UnknownIssuer, usual);
        assert_eq!(verdict.accepting_lines(), [r#"pins = ["sha256:00"]"#], "no ca = would do");
        let de = verdict.sentence(Language::De);
        for part in ["Aussteller", "nicht fuer den Namen", "ueblich", "`ignore` hilft hier nicht"] {
            assert!(de.contains(part), "{part}: {de}");
        }
        let en = verdict.sentence(Language::En);
        for part in ["issuer", "not for the name", "usual", "`ignore` does not help here"] {
            assert!(en.contains(part), "{part}: {en}");
        }
    }

    #[test]
    fn a_changed_certificate_is_to_be_compared_anew_and_both_pins_are_listed() {
        let old = |subject: &str| KnownCertificate {
            fingerprint: "sha256:11".into(),
            subject: subject.into(),
            not_after: datetime!(2026-12-01 0:00 UTC).unix_timestamp(),
            since: 0,
        };
        for (subject, de, en) in [
            ("CN=x", "derselbe Inhaber", "the same subject"),
            ("CN=M\u{fc}ller", "Inhaber CN=Mueller", "subject CN=Mueller"),
        ] {
            let replaces = Some(old(subject));
            let verdict = Verdict { replaces, ..verdict(Class::SelfSigned, facts("CN=x")) };
            for (language, before, anew) in
                [(Language::De, de, "muss neu verglichen"), (Language::En, en, "compared anew")]
            {
                let said = verdict.sentence(language);
                for part in ["sha256:11", "2026-12-01", before, anew] {
                    assert!(said.contains(part), "{part}: {said}");
                }
                assert!(said.contains(r#"pins = ["sha256:11", "sha256:00"]"#), "{said}");
                assert!(said.is_ascii(), "{said}");
            }
        }
    }
}

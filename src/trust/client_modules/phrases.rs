//! What the class of a verdict means and what to do about it, in German and English.
//!
//! ASCII only, since replies to mail clients may contain it.

use crate::words::Language;

use super::class::Class;

/// What was found, as the start of a sentence.
pub(super) fn finding(class: Class, language: Language) -> &'static str {
    let (de, en) = match class {
        Class::Ok => ("Das Zertifikat ist in Ordnung", "The certificate is in order"),
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
            "A signature is wrong: the certificate was altered, or the other side does not own its \
             key",
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
        Class::ChainTooLong => (
            "Die Zertifikatskette hat mehr als vier Zertifikate, mehr als 32 KiB oder drei Aussteller eines Namens",
            "The certificate chain has more than four certificates, more than 32 KiB or three issuers of one name",
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
            "The two sides have no TLS method in common",
        ),
        Class::PlaintextOnTlsPort => (
            "Der Port antwortet unverschluesselt, wo TLS erwartet wird",
            "The port answers without TLS where TLS is expected",
        ),
        Class::TlsOnPlaintextPort => (
            "Der Port spricht TLS, wo eine unverschluesselte Begruessung erwartet wird",
            "The port speaks TLS where a greeting without TLS is expected",
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

/// What is said of an unknown issuer's certificate that is for another name too.
pub(super) fn and_name_differs(language: Language) -> &'static str {
    of(
        language,
        ", und es gilt nicht fuer den Namen, unter dem das KIM-Clientmodul angesprochen wird",
        ", and it is not for the name that the KIM client module is reached by",
    )
}

/// That neither fault of such a certificate is a sign of an attack.
pub(super) fn both_are_usual(language: Language) -> &'static str {
    of(
        language,
        "; beides ist bei KIM-Clientmodulen ueblich",
        "; both are usual with KIM client modules",
    )
}

/// How to tell whether the certificate is the client module's, and what to do if it is not.
pub(super) fn comparing(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::De => (
            "Fingerabdruck am Rechner des KIM-Clientmoduls vergleichen (dort: kimgate trust \
             localhost:PORT). Ist er gleich, in [client_modules.NAME.trust] eintragen: ",
            ". Ist er anders, nichts eintragen: dann antwortet hier ein anderer Rechner.",
        ),
        Language::En => (
            "Compare the fingerprint at the KIM client module's own PC (there: kimgate trust \
             localhost:PORT). If it is the same, write into [client_modules.NAME.trust]: ",
            ". If it is another one, write nothing: another machine answers here.",
        ),
    }
}

/// Why tolerating faults is no way to accept an unknown issuer.
pub(super) fn why_not_ignore(language: Language) -> &'static str {
    of(
        language,
        "`ignore` hilft hier nicht: es duldet \"self-signed\" und \"name-mismatch\", aber keinen \
         unbekannten Aussteller.",
        "`ignore` does not help here: it tolerates \"self-signed\" and \"name-mismatch\", and no \
         unknown issuer.",
    )
}

/// What to know about an accepted certificate.
pub(super) fn accepted_advice(class: Class, language: Language) -> &'static str {
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

/// What to do where no setting may accept it.
pub(super) fn refused_advice(class: Class, language: Language) -> &'static str {
    let (de, en) = match class {
        Class::Expired => (
            "Am KIM-Clientmodul ein neues Zertifikat ausstellen; stimmt dort und hier die Uhrzeit?",
            "Issue a new certificate at the KIM client module; is the clock right there and here?",
        ),
        Class::NotYetValid => (
            "Uhrzeit am KIM-Clientmodul und hier pruefen.",
            "Check the clock at the KIM client module and here.",
        ),
        Class::Brainpool => (
            "kimgate mit dem Feature \"brainpool\" bauen, oder am KIM-Clientmodul ein Zertifikat \
             mit RSA oder P-256 ausstellen.",
            "Build kimgate with the feature \"brainpool\", or issue a certificate with RSA or \
             P-256 at the KIM client module.",
        ),
        Class::ProtocolTooOld => {
            ("Das KIM-Clientmodul aktualisieren.", "Update the KIM client module.")
        }
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
            "Try again; if it fails again, check port, firewall and the log of the KIM client module.",
        ),
        Class::ChainTooLong => (
            "Am KIM-Clientmodul nur das Zertifikat und die Stellen darueber hinterlegen.",
            "At the KIM client module keep the certificate and the authorities above it only.",
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
            "No setting can accept it; issue a new certificate at the KIM client module.",
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

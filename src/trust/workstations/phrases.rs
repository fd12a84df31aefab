//! What a fault in a workstation's handshake means and what to do, in German and English.

use crate::words::Language;

use super::faults::FaultClass;

/// What was found, and what to do.
pub(super) fn texts(class: FaultClass, language: Language) -> (&'static str, &'static str) {
    let (de, en) = match class {
        FaultClass::NoCertificate => (
            (
                "Der Arbeitsplatz hat kein Client-Zertifikat gezeigt, und es ist Pflicht",
                "Eines ausstellen (`kimgate certs client`) und im Mailprogramm auswählen.",
            ),
            (
                "The workstation showed no client certificate, and one is required",
                "Issue one (`kimgate certs client`) and choose it in the mail program.",
            ),
        ),
        FaultClass::Revoked => (
            (
                "Das Client-Zertifikat ist widerrufen",
                "Soll dieser Arbeitsplatz wieder zugelassen werden, braucht er ein neues.",
            ),
            (
                "The client certificate has been revoked",
                "If this workstation is to be admitted again, it needs a new one.",
            ),
        ),
        FaultClass::NoList => (
            (
                "Ob das Client-Zertifikat widerrufen ist, sagt keine Liste in tls.client_crl",
                "Die Widerrufsliste seines Ausstellers dort eintragen.",
            ),
            (
                "No list in tls.client_crl says whether the client certificate is revoked",
                "Name its issuer's revocation list there.",
            ),
        ),
        FaultClass::UnknownIssuer => (
            (
                "Der Aussteller des Client-Zertifikats steht nicht in tls.client_ca",
                "Dem Arbeitsplatz ein Zertifikat dieser Stelle geben, oder seinen Aussteller \
                 eintragen.",
            ),
            (
                "The issuer of the client certificate is not in tls.client_ca",
                "Give the workstation a certificate of that authority, or list its issuer.",
            ),
        ),
        FaultClass::Expired => (
            (
                "Das Client-Zertifikat ist abgelaufen",
                "Ein neues ausstellen; stimmt die Uhrzeit hier?",
            ),
            ("The client certificate has expired", "Issue a new one; is the clock right here?"),
        ),
        FaultClass::NotYetValid => (
            ("Das Client-Zertifikat ist noch nicht gültig", "Die Uhrzeit hier prüfen."),
            ("The client certificate is not valid yet", "Check the clock here."),
        ),
        FaultClass::WrongUsage => (
            (
                "Das Client-Zertifikat ist nicht für einen TLS-Client bestimmt",
                "Eines mit dem Zweck clientAuth ausstellen (`kimgate certs client`).",
            ),
            (
                "The client certificate is not meant for a TLS client",
                "Issue one for the purpose clientAuth (`kimgate certs client`).",
            ),
        ),
        FaultClass::BadSignature => (
            (
                "Die Signatur des Client-Zertifikats stimmt nicht: Es ist verändert, oder eine \
                 andere Stelle desselben Namens hat es ausgestellt",
                "Ein neues mit der Stelle aus tls.client_ca ausstellen.",
            ),
            (
                "The client certificate's signature is wrong: it was altered, or \
                 another authority of the same name issued it",
                "Issue a new one with the authority of tls.client_ca.",
            ),
        ),
        FaultClass::BadList => (
            (
                "Die Signatur der Widerrufsliste stimmt nicht",
                "Die Liste in tls.client_crl neu ausstellen oder neu holen.",
            ),
            (
                "The revocation list's signature is wrong",
                "Issue or fetch the list in tls.client_crl anew.",
            ),
        ),
        FaultClass::TooLong => (
            (
                "Die Kette des Client-Zertifikats hat mehr als vier Zertifikate, mehr als 32 KiB oder drei Aussteller eines Namens",
                "Im Mailprogramm nur das Zertifikat und die Stellen zwischen ihm und tls.client_ca \
                 hinterlegen.",
            ),
            (
                "The client certificate's chain has more than four certificates, more than 32 KiB or three issuers of one name",
                "Give the mail program the certificate and the authorities between it and \
                 tls.client_ca only.",
            ),
        ),
        FaultClass::Unusable => (
            (
                "Das Client-Zertifikat lässt sich nicht prüfen",
                "Ein neues ausstellen, mit RSA ab 2048 Bit oder P-256.",
            ),
            (
                "The client certificate cannot be checked",
                "Issue a new one, with RSA of at least 2048 bits or P-256.",
            ),
        ),
        FaultClass::NotTrusted => (
            (
                "Das Mailprogramm nimmt das Zertifikat von kimgate nicht an",
                "Dort importieren: das Zertifikat von kimgate oder das seines Ausstellers; \
                 stimmt der Servername, den das Mailprogramm benutzt?",
            ),
            (
                "The mail program does not accept kimgate's certificate",
                "Import it there, or its issuer's; is the server name right that the mail \
                 program uses?",
            ),
        ),
        FaultClass::TooOld => (
            (
                "Das Mailprogramm spricht keine TLS-Version, die hier erlaubt ist",
                "Mailprogramm oder Betriebssystem aktualisieren; siehe auch tls.min_version.",
            ),
            (
                "The mail program speaks no TLS version that is allowed here",
                "Update the mail program or its system; see also tls.min_version.",
            ),
        ),
        FaultClass::NoCommonCipher => (
            (
                "Es gibt kein TLS-Verfahren, das beide Seiten können",
                "Mailprogramm oder Betriebssystem aktualisieren: ECDHE mit AES-GCM oder \
                 ChaCha20 wird gebraucht.",
            ),
            (
                "The two sides have no TLS method in common",
                "Update the mail program or its system: ECDHE with AES-GCM or ChaCha20 is \
                 wanted.",
            ),
        ),
        FaultClass::NoCommonGroup => (
            (
                "Es gibt keine Gruppe für den Schlüsselaustausch, die beide Seiten können",
                "Im Mailprogramm oder Betriebssystem X25519 oder P-256 erlauben.",
            ),
            (
                "The two sides have no group for the key exchange in common",
                "Allow X25519 or P-256 in the mail program or its system.",
            ),
        ),
        FaultClass::NoCommonSignature => (
            (
                "Das Mailprogramm kennt die Signatur nicht, die zum Zertifikat von kimgate gehört",
                "Mailprogramm oder Betriebssystem aktualisieren, oder kimgate ein Zertifikat mit \
                 RSA geben.",
            ),
            (
                "The mail program does not know the signature that kimgate's certificate needs",
                "Update the mail program or its system, or give kimgate a certificate with RSA.",
            ),
        ),
        FaultClass::NotTls => (
            ("Was kam, ist kein TLS", "Im Mailprogramm SSL/TLS einstellen, oder den Port prüfen."),
            (
                "The bytes that came are not TLS",
                "Choose SSL/TLS in the mail program, or check the port.",
            ),
        ),
        FaultClass::Gone => (
            (
                "Die Verbindung ist während der TLS-Aushandlung abgebrochen",
                "Geschieht es immer, nimmt das Mailprogramm wohl das Zertifikat von kimgate \
                 nicht an.",
            ),
            (
                "The connection broke off during the TLS handshake",
                "If it always does, the mail program probably does not accept kimgate's \
                 certificate.",
            ),
        ),
    };
    match language {
        Language::De => de,
        Language::En => en,
    }
}

//! How workstations' certificates are checked, and what is said when a handshake with one fails.
//!
//! An authority's word counts here, and its revocation lists. A list that should have been replaced
//! by a newer one still counts: what it revokes stays revoked, and a practice's mail does not stand
//! still because nobody fetched the new one. It is warned of.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, PeerIncompatible, RootCertStore, ServerConnection, SignatureScheme,
};
use time::OffsetDateTime;

use super::config::{ClientCertificates, ListenerTlsConfig};
use super::facts::{CertificateFacts, soonest};
use super::handshake::tls_error;
use super::material::{self, MaterialError, MaterialProblem, MaterialWarning};
use super::revocation::RevocationList;
use crate::words::Language;

/// What workstations' certificates are judged by.
pub(super) struct Authorities {
    /// Who may sign them.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// What they have taken back.
    pub(super) lists: Vec<RevocationList>,
    /// Of `roots`, for errors.
    path: PathBuf,
}

impl Authorities {
    /// Reads the files; `None` where workstations are not asked.
    pub(super) fn load(
        config: &ListenerTlsConfig,
        warnings: &mut Vec<MaterialWarning>,
    ) -> Result<Option<Self>, MaterialError> {
        if config.client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        let path = config
            .client_ca
            .as_deref()
            .ok_or_else(|| MaterialProblem::NoClientCa.of("tls.client_ca".into()))?;
        let roots = material::certificates(path)?;
        let now = OffsetDateTime::now_utc();
        for certificate in &roots {
            material::warn_about_dates(path, certificate, now, warnings);
        }
        let mut lists = vec![];
        for path in &config.client_crl {
            lists.extend(RevocationList::load(path, now, warnings)?);
        }
        let authorities = Self { roots, lists, path: path.to_owned() };
        authorities.warn_about_gaps(path, warnings);
        Ok(Some(authorities))
    }

    /// Where there are lists, a certificate that none speaks about is refused.
    fn warn_about_gaps(&self, path: &Path, warnings: &mut Vec<MaterialWarning>) {
        if self.lists.is_empty() {
            return;
        }
        let authorities = self.roots.iter().filter_map(|der| CertificateFacts::read(der));
        for authority in authorities {
            if !self.lists.iter().any(|list| list.issuer == authority.subject) {
                let text = format!(
                    "no list in client_crl is by {}, so every certificate that it signed is refused",
                    authority.subject
                );
                warnings.push(MaterialWarning { path: path.to_owned(), text });
            }
        }
    }

    /// The soonest end of each role.
    pub(super) fn ends(&self) -> Vec<(&'static str, OffsetDateTime)> {
        let due = self.lists.iter().filter_map(|list| list.next_update).min();
        let ends = [("client-ca", soonest(&self.roots)), ("client-crl", due)];
        ends.into_iter().filter_map(|(role, end)| Some((role, end?))).collect()
    }

    pub(super) fn verifier(
        self,
        demand: ClientCertificates,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
        let Self { roots: certificates, lists, path } = self;
        let unreadable = || MaterialProblem::NotACertificate.of(path.clone());
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|_| unreadable())?;
        }
        let paths: Vec<PathBuf> = lists.iter().map(|list| list.path.clone()).collect();
        let lists: Vec<CertificateRevocationListDer<'static>> =
            lists.into_iter().map(|list| list.der).collect();
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .with_crls(lists);
        let builder = match demand {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Required | ClientCertificates::Off => builder,
        };
        match builder.build() {
            Ok(verifier) => Ok(Arc::new(Verifier(verifier))),
            Err(VerifierBuilderError::InvalidCrl(error)) => {
                let path = paths.into_iter().next().unwrap_or(path);
                Err(MaterialProblem::RevocationList(format!("{error:?}")).of(path))
            }
            Err(_) => Err(unreadable()),
        }
    }
}

/// webpki's verifier, whose refusals say which certificate they are about.
#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).map_err(|error| {
            let certificate = CertificateFacts::read(end_entity);
            let refused = Refused(HandshakeFault { class: class_of(&error), certificate });
            CertificateError::Other(OtherError(Arc::new(refused))).into()
        })
    }

    // Without these two the workstation would not have to own the certificate's key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The error that carries a refused certificate through rustls.
#[derive(Debug)]
struct Refused(HandshakeFault);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.class.as_str())
    }
}

impl std::error::Error for Refused {}

/// Why a handshake with a workstation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFault {
    class: FaultClass,
    /// The workstation's certificate, where it showed one.
    certificate: Option<CertificateFacts>,
}

impl HandshakeFault {
    /// What a failed handshake means.
    pub fn of(io: &std::io::Error) -> Self {
        let error = tls_error(io);
        if let Some(Error::InvalidCertificate(CertificateError::Other(other))) = error
            && let Some(Refused(fault)) = other.0.downcast_ref()
        {
            return fault.clone();
        }
        // Other errors than rustls' are the connection's, or ours about what is no TLS at all.
        let class = match (error, io.kind()) {
            (Some(error), _) => class_of(error),
            (None, ErrorKind::InvalidData | ErrorKind::InvalidInput) => FaultClass::NotTls,
            (None, _) => FaultClass::Gone,
        };
        Self { class, certificate: None }
    }

    /// The fault of a session that resumed with a certificate whose time is over by now; `None` where
    /// it has none, or a good one.
    pub fn of_resumed(connection: &ServerConnection) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        let certificate = CertificateFacts::read(leaf)?;
        let over = certificate.not_after < OffsetDateTime::now_utc();
        over.then_some(Self { class: FaultClass::Expired, certificate: Some(certificate) })
    }

    /// What was wrong, whose certificate it was, and what to do.
    pub fn sentence(&self, language: Language) -> String {
        let (found, advice) = self.class.texts(language);
        let Some(CertificateFacts { subject, issuer, serial, not_after, .. }) = &self.certificate
        else {
            return format!("{found} [{}]. {advice}", self.class.as_str());
        };
        let (word, end) = (self.class.as_str(), not_after.date());
        match language {
            Language::De => format!(
                "{found} [{word}]: Inhaber {subject}; Aussteller {issuer}; Seriennummer {serial}; \
                 gültig bis {end}. {advice}"
            ),
            Language::En => format!(
                "{found} [{word}]: subject {subject}; issuer {issuer}; serial number {serial}; \
                 valid until {end}. {advice}"
            ),
        }
    }
}

/// The closed list of what can go wrong in a handshake with a workstation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultClass {
    NoCertificate,
    Revoked,
    NoList,
    UnknownIssuer,
    Expired,
    NotYetValid,
    WrongUsage,
    BadSignature,
    BadList,
    Unusable,
    NotTrusted,
    TooOld,
    NoCommonCipher,
    NotTls,
    Gone,
}

impl FaultClass {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Revoked => "revoked",
            Self::NoList => "no-revocation-list",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongUsage => "wrong-usage",
            Self::BadSignature => "bad-signature",
            Self::BadList => "bad-revocation-list",
            Self::Unusable => "unusable",
            Self::NotTrusted => "gateway-not-trusted",
            Self::TooOld => "protocol-too-old",
            Self::NoCommonCipher => "no-common-cipher",
            Self::NotTls => "not-tls",
            Self::Gone => "reset",
        }
    }

    /// What was found, and what to do.
    fn texts(self, language: Language) -> (&'static str, &'static str) {
        let (de, en) = match self {
            Self::NoCertificate => (
                (
                    "Der Arbeitsplatz hat kein Client-Zertifikat gezeigt, und es ist Pflicht",
                    "Eines ausstellen (`kimgate certs client`) und im Mailprogramm auswählen.",
                ),
                (
                    "The workstation showed no client certificate, and one is required",
                    "Issue one (`kimgate certs client`) and choose it in the mail program.",
                ),
            ),
            Self::Revoked => (
                (
                    "Das Client-Zertifikat ist widerrufen",
                    "Soll dieser Arbeitsplatz wieder zugelassen werden, braucht er ein neues.",
                ),
                (
                    "The client certificate has been revoked",
                    "If this workstation is to be admitted again, it needs a new one.",
                ),
            ),
            Self::NoList => (
                (
                    "Ob das Client-Zertifikat widerrufen ist, sagt keine Liste in tls.client_crl",
                    "Die Widerrufsliste seines Ausstellers dort eintragen.",
                ),
                (
                    "No list in tls.client_crl says whether the client certificate is revoked",
                    "Name its issuer's revocation list there.",
                ),
            ),
            Self::UnknownIssuer => (
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
            Self::Expired => (
                (
                    "Das Client-Zertifikat ist abgelaufen",
                    "Ein neues ausstellen; stimmt die Uhrzeit hier?",
                ),
                ("The client certificate has expired", "Issue a new one; is the time right here?"),
            ),
            Self::NotYetValid => (
                ("Das Client-Zertifikat ist noch nicht gültig", "Die Uhrzeit hier prüfen."),
                ("The client certificate is not valid yet", "Check the time here."),
            ),
            Self::WrongUsage => (
                (
                    "Das Client-Zertifikat ist nicht für einen TLS-Client bestimmt",
                    "Eines mit dem Zweck clientAuth ausstellen (`kimgate certs client`).",
                ),
                (
                    "The client certificate is not meant for a TLS client",
                    "Issue one for the purpose clientAuth (`kimgate certs client`).",
                ),
            ),
            Self::BadSignature => (
                (
                    "Die Signatur des Client-Zertifikats stimmt nicht: Es ist verändert, oder eine \
                     andere Stelle desselben Namens hat es ausgestellt",
                    "Ein neues mit der Stelle aus tls.client_ca ausstellen.",
                ),
                (
                    "The client certificate's signature does not check out: it was altered, or \
                     another authority of the same name issued it",
                    "Issue a new one with the authority of tls.client_ca.",
                ),
            ),
            Self::BadList => (
                (
                    "Die Signatur der Widerrufsliste stimmt nicht",
                    "Die Liste in tls.client_crl neu ausstellen oder neu holen.",
                ),
                (
                    "The revocation list's signature does not check out",
                    "Issue or fetch the list in tls.client_crl anew.",
                ),
            ),
            Self::Unusable => (
                (
                    "Das Client-Zertifikat lässt sich nicht prüfen",
                    "Ein neues ausstellen, mit RSA ab 2048 Bit oder P-256.",
                ),
                (
                    "The client certificate cannot be checked",
                    "Issue a new one, with RSA from 2048 bits or P-256.",
                ),
            ),
            Self::NotTrusted => (
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
            Self::TooOld => (
                (
                    "Das Mailprogramm spricht keine TLS-Version, die hier erlaubt ist",
                    "Mailprogramm oder Betriebssystem aktualisieren; siehe auch tls.min_version.",
                ),
                (
                    "The mail program speaks no TLS version that is allowed here",
                    "Update the mail program or its system; see also tls.min_version.",
                ),
            ),
            Self::NoCommonCipher => (
                (
                    "Es gibt kein TLS-Verfahren, das beide Seiten können",
                    "Mailprogramm oder Betriebssystem aktualisieren: ECDHE mit AES-GCM oder \
                     ChaCha20 wird gebraucht.",
                ),
                (
                    "There is no TLS method that both sides know",
                    "Update the mail program or its system: ECDHE with AES-GCM or ChaCha20 is \
                     wanted.",
                ),
            ),
            Self::NotTls => (
                (
                    "Was kam, ist kein TLS",
                    "Im Mailprogramm SSL/TLS einstellen, oder den Port prüfen.",
                ),
                ("What came is no TLS", "Choose SSL/TLS in the mail program, or check the port."),
            ),
            Self::Gone => (
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
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
fn class_of(error: &Error) -> FaultClass {
    match error {
        Error::NoCertificatesPresented => FaultClass::NoCertificate,
        Error::InvalidCertificate(error) => class_of_certificate(error),
        Error::InvalidCertRevocationList(_) => FaultClass::BadList,
        Error::AlertReceived(alert) => class_of_alert(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => FaultClass::TooOld,
        Error::PeerIncompatible(_) => FaultClass::NoCommonCipher,
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => FaultClass::NotTls,
        _ => FaultClass::Gone,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors at will")]
fn class_of_certificate(error: &CertificateError) -> FaultClass {
    match error {
        CertificateError::Revoked => FaultClass::Revoked,
        CertificateError::UnknownRevocationStatus => FaultClass::NoList,
        CertificateError::UnknownIssuer => FaultClass::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => FaultClass::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            FaultClass::NotYetValid
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            FaultClass::WrongUsage
        }
        CertificateError::BadSignature => FaultClass::BadSignature,
        _ => FaultClass::Unusable,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds alerts at will")]
fn class_of_alert(alert: AlertDescription) -> FaultClass {
    match alert {
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => FaultClass::NotTrusted,
        AlertDescription::ProtocolVersion => FaultClass::TooOld,
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::IllegalParameter => FaultClass::NoCommonCipher,
        _ => FaultClass::Gone,
    }
}

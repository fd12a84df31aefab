//! What the doctor says, in German and English.

use std::io;

use super::capabilities::Missing;
use crate::gateway::ClientModuleConfig;
use crate::kim::Account;
use crate::printable::printable;
use crate::proto::ProtocolError;
use crate::trust::Verdict;
use crate::words::{Language, Protocol, Security};

/// Sentences in one language.
#[derive(Clone, Copy)]
pub(super) struct Texts(pub(super) Language);

impl Texts {
    pub(super) fn label(self, step: &str) -> &'static str {
        let (de, en) = match step {
            "resolve" => ("Name auflösen", "resolve"),
            "connect" => ("Verbinden", "connect"),
            "tls" => ("TLS", "TLS"),
            "certificate" => ("Zertifikat", "certificate"),
            "greeting" => ("Begrüßung", "greeting"),
            "capabilities" => ("Fähigkeiten", "capabilities"),
            _ => ("Anmeldung", "login"),
        };
        self.of(de, en)
    }

    pub(super) fn headline(
        self,
        name: &str,
        module: &ClientModuleConfig,
        protocol: Protocol,
    ) -> String {
        let (host, port) = (&module.host, module.port(protocol));
        let tls = match module.security {
            Security::Implicit => self.of("TLS von Anfang an", "TLS at once"),
            Security::StartTls => self.of("TLS nach STARTTLS", "TLS after STARTTLS"),
            Security::None => self.of("ohne TLS", "without TLS"),
        };
        let what = match protocol {
            Protocol::Pop3 => self.of("Abholen mit POP3", "fetching by POP3"),
            Protocol::Smtp => self.of("Senden mit SMTP", "sending by SMTP"),
        };
        match self.0 {
            Language::De => {
                format!("KIM-Clientmodul {name}: {what}, {host} Port {port}, {tls}")
            }
            Language::En => {
                format!("KIM client module {name}: {what}, {host} port {port}, {tls}")
            }
        }
    }

    pub(super) fn conclusion(self, ok: bool) -> &'static str {
        match ok {
            true => self.of("Alles in Ordnung.", "All is well."),
            false => self.of(
                "Nicht in Ordnung; was zu tun ist, steht hinter dem Pfeil.",
                "Something is wrong; the arrows say what to do.",
            ),
        }
    }

    pub(super) fn password_for(self, account: &Account) -> String {
        let account = printable(account.as_str());
        match self.0 {
            Language::De => format!("Passwort für {account}: "),
            Language::En => format!("Password of {account}: "),
        }
    }

    pub(super) fn unknown_account(self, account: &str) -> String {
        match self.0 {
            Language::De => format!(
                "{account} steht nicht in der Konfiguration: hier wird es getestet, `kimgate run` \
                 entscheidet nach policy.unknown_accounts"
            ),
            Language::En => format!(
                "{account} is not in the configuration: it is tested here, `kimgate run` decides \
                 by policy.unknown_accounts"
            ),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library adds kinds at will")]
    pub(super) fn connect_error(self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => self.of("abgewiesen", "refused").into(),
            io::ErrorKind::TimedOut => self.of("keine Antwort", "no answer").into(),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                self.of("kein Weg dorthin", "no way there").into()
            }
            _ => error.to_string(),
        }
    }

    pub(super) fn advice_resolve(self, name: &str) -> String {
        match self.0 {
            Language::De => {
                format!("client_modules.{name}.host prüfen, oder dort die IP-Adresse eintragen.")
            }
            Language::En => {
                format!("Check client_modules.{name}.host, or write the IP address there.")
            }
        }
    }

    pub(super) fn advice_refused(self, protocol: Protocol, port: u16) -> String {
        let key = match protocol {
            Protocol::Pop3 => "pop3_port",
            Protocol::Smtp => "smtp_port",
        };
        match self.0 {
            Language::De => format!(
                "Der Rechner ist da, aber an Port {port} nimmt niemand an: Läuft das \
                 KIM-Clientmodul? Stimmt {key}? Nimmt es nur Verbindungen vom eigenen Rechner an?"
            ),
            Language::En => format!(
                "The machine is there, but nothing accepts connections at port {port}: does the client module \
                 run? Is {key} right? Does it accept connections from its own machine only?"
            ),
        }
    }

    pub(super) fn advice_unreachable(self, host: &str, port: u16) -> String {
        match self.0 {
            Language::De => format!(
                "Ist {host} eingeschaltet und die Adresse richtig? Lässt die Firewall dort Port \
                 {port} für diesen Rechner durch?"
            ),
            Language::En => format!(
                "Is {host} switched on, and is the address right? Does the firewall there let \
                 port {port} through for this machine?"
            ),
        }
    }

    pub(super) fn spoken(self) -> String {
        self.of("die Gegenstelle spricht TLS", "the other side speaks TLS").into()
    }

    pub(super) fn advice_tls_silent(self) -> String {
        self.of(
            "Spricht der Port TLS? Sonst tls = \"starttls\" eintragen oder den Port prüfen.",
            "Does the port speak TLS? Else write tls = \"starttls\", or check the port.",
        )
        .into()
    }

    pub(super) fn accepted_certificate(self, verdict: &Verdict) -> String {
        let end = verdict.certificate.as_ref().map(|facts| facts.not_after.date().to_string());
        let end = end.unwrap_or_default();
        match self.0 {
            Language::De => format!("{}, gültig bis {end}", verdict.finding(self.0)),
            Language::En => format!("{}, valid until {end}", verdict.finding(self.0)),
        }
    }

    pub(super) fn refused_certificate(self, verdict: &Verdict) -> String {
        let Some(facts) = &verdict.certificate else { return verdict.finding(self.0) };
        format!("{}: {}, {}", verdict.finding(self.0), facts.subject, facts.fingerprint)
    }

    pub(super) fn advice_certificate_ends(self, days: i64) -> String {
        match self.0 {
            Language::De => format!(
                "Es endet in {days} Tagen. Am KIM-Clientmodul erneuern; den neuen Fingerabdruck \
                 neben dem alten unter pins eintragen."
            ),
            Language::En => format!(
                "It ends in {days} days. Renew it at the client module, and list the new \
                 fingerprint under pins beside the old one."
            ),
        }
    }

    pub(super) fn advice_certificate_changed(self) -> &'static str {
        self.of(
            "Am Rechner des KIM-Clientmoduls zeigt kimgate trust localhost:PORT sein Zertifikat. Ist \
             es dasselbe, wurde es erneuert, und alles ist gut; sonst antwortet hier ein anderer Rechner.",
            "At the client module's own PC, kimgate trust localhost:PORT shows its certificate. If it \
             is the same, it was renewed, and all is well; else another machine answers here.",
        )
    }

    pub(super) fn greeted_with_refusal(self, words: &str) -> String {
        match self.0 {
            Language::De => format!("es weist uns ab: {words}"),
            Language::En => format!("it refuses us: {words}"),
        }
    }

    pub(super) fn advice_busy(self) -> String {
        self.of(
            "Das KIM-Clientmodul ist beschäftigt oder lässt diesen Rechner nicht zu; sein \
             Protokoll sagt, warum.",
            "The client module is busy or does not admit this machine; its log says why.",
        )
        .into()
    }

    pub(super) fn out_of_order(self) -> String {
        self.of("unerwartete Antwort", "an answer that does not belong here").into()
    }

    pub(super) fn gone(self) -> String {
        self.of("die Gegenstelle hat aufgelegt", "the other side hung up").into()
    }

    pub(super) fn advice_gone(self) -> String {
        self.of(
            "Im Protokoll des KIM-Clientmoduls nachsehen; verlangt es ein Client-Zertifikat, \
             client_certificate und client_key eintragen.",
            "Look into the client module's log; if it asks for a client certificate, write \
             client_certificate and client_key.",
        )
        .into()
    }

    pub(super) fn silent(self) -> String {
        self.of("keine Antwort", "no answer").into()
    }

    pub(super) fn advice_silent_in_clear(self) -> String {
        self.of(
            "Ein Port mit TLS von Anfang an wartet genauso: tls = \"implicit\" versuchen.",
            "A port with TLS at once waits just like this: try tls = \"implicit\".",
        )
        .into()
    }

    pub(super) fn advice_log(self) -> String {
        self.of(
            "Im Protokoll des KIM-Clientmoduls nachsehen, ob es auf Konnektor oder Fachdienst \
             wartet.",
            "Look into the client module's log whether it waits for the Konnektor or the KIM mail \
             service.",
        )
        .into()
    }

    pub(super) fn protocol_error(self, error: &ProtocolError) -> String {
        match self.0 {
            Language::De => format!("unverständliche Antwort ({error})"),
            Language::En => error.to_string(),
        }
    }

    pub(super) fn advice_protocol(self, protocol: Protocol) -> String {
        let (de, en) = match protocol {
            Protocol::Pop3 => (
                "Ist es der POP3-Port? pop3_port und smtp_port könnten vertauscht sein.",
                "Is it the POP3 port? pop3_port and smtp_port may be mixed up.",
            ),
            Protocol::Smtp => (
                "Ist es der SMTP-Port? pop3_port und smtp_port könnten vertauscht sein.",
                "Is it the SMTP port? pop3_port and smtp_port may be mixed up.",
            ),
        };
        self.of(de, en).into()
    }

    pub(super) fn advice_no_starttls(self) -> String {
        self.of(
            "STARTTLS am KIM-Clientmodul einschalten, oder tls = \"implicit\" mit dem Port dafür \
             eintragen.",
            "Switch STARTTLS on at the client module, or write tls = \"implicit\" with its port.",
        )
        .into()
    }

    pub(super) fn nothing_offered(self, protocol: Protocol) -> String {
        match (self.0, protocol) {
            (Language::De, Protocol::Pop3) => "keine Antwort auf CAPA, die etwas nennt".into(),
            (Language::De, Protocol::Smtp) => "keine".into(),
            (Language::En, Protocol::Pop3) => "CAPA brought nothing".into(),
            (Language::En, Protocol::Smtp) => "none".into(),
        }
    }

    pub(super) fn missing(self, missing: Missing) -> String {
        let (de, en) = match missing {
            Missing::Size(Some(size)) => {
                return match self.0 {
                    Language::De => format!(
                        "SIZE {size} ist kleiner als die 35882577, die KIM vorschreibt: große \
                         Anhänge werden abgewiesen."
                    ),
                    Language::En => format!(
                        "SIZE {size} is less than the 35882577 that KIM prescribes: large \
                         attachments will be refused."
                    ),
                };
            }
            Missing::Size(None) => (
                "SIZE fehlt: Mailprogramme merken erst am Ende, dass eine Nachricht zu groß ist.",
                "SIZE is missing: mail clients notice only at the end that a message is too large.",
            ),
            Missing::Auth => (
                "AUTH PLAIN und AUTH LOGIN fehlen: So kann sich niemand anmelden.",
                "AUTH PLAIN and AUTH LOGIN are missing, so no login is possible.",
            ),
            Missing::EightBit => (
                "8BITMIME fehlt: Mailprogramme müssen Umlaute umkodieren.",
                "8BITMIME is missing: mail clients have to recode umlauts.",
            ),
            Missing::StatusCodes => (
                "ENHANCEDSTATUSCODES fehlt: Fehlermeldungen sind ungenauer.",
                "ENHANCEDSTATUSCODES is missing: error messages are less exact.",
            ),
            Missing::Dsn => (
                "DSN fehlt: Zustellbestätigungen, wie die eAU sie verlangt, kommen so nicht.",
                "DSN is missing: delivery receipts, which eAU demands, will not come.",
            ),
            Missing::Top => (
                "TOP fehlt: Die Praxissoftware kann die Dienstkennung nicht vorab lesen.",
                "TOP is missing: practice software cannot read the service beforehand.",
            ),
            Missing::User => ("USER fehlt.", "USER is missing."),
            Missing::Uidl => (
                "UIDL fehlt: Nachrichten können nicht auf dem Server bleiben, ohne doppelt \
                 abgeholt zu werden.",
                "UIDL is missing: messages cannot stay on the server without being fetched twice.",
            ),
            Missing::SaslPlain => ("SASL PLAIN fehlt.", "SASL PLAIN is missing."),
        };
        self.of(de, en).into()
    }

    pub(super) fn login_of_other_protocol(self, port: &str, protocol: Protocol) -> String {
        match (self.0, protocol) {
            (Language::De, Protocol::Smtp) => format!(
                "nicht versucht: Der Benutzername nennt Port {port}; den für SMTP mit \
                 --smtp-login angeben"
            ),
            (Language::De, Protocol::Pop3) => {
                format!("nicht versucht: Der Benutzername nennt Port {port}, der zu SMTP gehört")
            }
            (Language::En, Protocol::Smtp) => format!(
                "not tried: the login names port {port}; give the one for SMTP with --smtp-login"
            ),
            (Language::En, Protocol::Pop3) => {
                format!("not tried: the login names port {port}, which is SMTP's")
            }
        }
    }

    pub(super) fn not_tried_again(self) -> String {
        self.of(
            "nicht versucht: Dasselbe Passwort hat eben nicht zum Ziel geführt, und zu viele \
             Versuche sperren das Konto",
            "not tried: the same password has just failed, and too many tries lock the account",
        )
        .into()
    }

    pub(super) fn unfit_password(self) -> String {
        self.of("Das Passwort enthält Steuerzeichen.", "The password holds control characters.")
            .into()
    }

    pub(super) fn advice_password(self) -> String {
        self.of(
            "Passwort oder Adresse stimmen nicht. Nicht zu oft versuchen: Der KIM-Fachdienst \
             sperrt das Konto.",
            "Password or address are wrong. Do not try too often: the KIM mail service locks the \
             account.",
        )
        .into()
    }

    pub(super) fn advice_context(self, has_context: bool) -> String {
        match has_context {
            true => self.of(
                "Der Konnektor kennt MandantId, ClientsystemId oder WorkplaceId nicht, oder Server \
                 und Port fehlen: Den Benutzernamen Zeichen für Zeichen vom KIM-Clientmodul abschreiben.",
                "The Konnektor does not know MandantId, ClientsystemId or WorkplaceId, or host and \
                 port are missing: copy the login from the client module, character by character.",
            ),
            false => self.of(
                "Dieses KIM-Clientmodul braucht den ganzen Benutzernamen: \
                 Adresse#Server:Port#MandantId#ClientsystemId#WorkplaceId.",
                "This client module needs the whole login: \
                 address#host:port#MandantId#ClientsystemId#WorkplaceId.",
            ),
        }
        .into()
    }

    pub(super) fn advice_mail_service(self) -> String {
        self.of(
            "Das KIM-Clientmodul erreicht den KIM-Fachdienst nicht: Ist der Konnektor mit der TI \
             verbunden? Später noch einmal versuchen.",
            "The client module does not reach the KIM mail service: is the Konnektor connected to \
             the TI? Try again later.",
        )
        .into()
    }

    pub(super) fn advice_in_use(self) -> String {
        self.of(
            "Ein anderes Programm holt gerade ab; die Anmeldung selbst kann richtig sein.",
            "Another program is fetching just now; the login itself may be right.",
        )
        .into()
    }

    pub(super) fn advice_any_login(self) -> String {
        self.of(
            "Der Grund wird nicht genannt: Benutzername und Passwort prüfen, dann die Karte \
             (SMC-B gesteckt und freigeschaltet?) und das Protokoll des KIM-Clientmoduls.",
            "The reason is not told: check login and password, then the card (SMC-B inserted and \
             unlocked?) and the client module's log.",
        )
        .into()
    }

    fn of(self, de: &'static str, en: &'static str) -> &'static str {
        match self.0 {
            Language::De => de,
            Language::En => en,
        }
    }
}

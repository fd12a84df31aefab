//! Refusals in German. Umlauts are written here as they are; `ascii` spells them out for the wire.

use std::time::Duration;

use super::time_left::TimeLeft;
use super::{About, in_brackets, or_nothing, start_tls};
use crate::proto::Hint;
use crate::proto::sasl::Invalid;
use crate::words::{Action, Protocol, Reason};

/// Why a login or a command is refused.
pub(super) fn reason(reason: Reason, about: About<'_>) -> String {
    let About { workstation, account, action, detail, remaining } = about;
    let verb = match action {
        None | Some(Action::Login) => "nicht benutzen",
        Some(Action::Send) => "nicht zum Senden benutzen",
        Some(Action::Receive) => "nicht abrufen",
        Some(Action::Delete) => "nicht leeren",
    };
    match reason {
        Reason::UnknownWorkstation => {
            format!(
                "Dieser Arbeitsplatz ({workstation}) ist hier nicht eingetragen; bitte eintragen lassen"
            )
        }
        Reason::AccountUnknown => {
            format!("Das Konto {account} ist hier nicht eingetragen; bitte die Adresse prüfen")
        }
        Reason::AccountRetired => {
            format!("Das Konto {account} ist stillgelegt; bitte aus dem Mailprogramm entfernen")
        }
        Reason::LoginNotAssigned => {
            format!(
                "Diese Anmeldung ist dem Arbeitsplatz {workstation} nicht zugeordnet; \
                 bitte den Benutzernamen prüfen"
            )
        }
        Reason::WorkplaceNotAssigned => format!(
            "Die WorkplaceId dieser Anmeldung ist dem Arbeitsplatz {workstation} nicht zugeordnet; \
             bitte den Benutzernamen prüfen"
        ),
        Reason::Denied | Reason::NotAllowed => {
            format!("Arbeitsplatz {workstation} darf das Konto {account} {verb}")
        }
        Reason::LoginMalformed => {
            "Der Benutzername ist leer oder enthält Steuerzeichen; bitte neu eingeben".into()
        }
        Reason::LoginServerNotAllowed => {
            "Der Server im Benutzernamen ist hier nicht zugelassen; bitte den Benutzernamen prüfen"
                .into()
        }
        Reason::SenderNotAllowed => {
            format!("Das Konto {account} darf nicht mit dem Absender {detail} senden")
        }
        Reason::RecipientNotAllowed => {
            format!("Das Konto {account} darf nicht an {detail} senden")
        }
        Reason::ServiceNotAllowed => {
            format!(
                "Arbeitsplatz {workstation} darf die Dienstkennung {detail} nicht als {account} senden"
            )
        }
        Reason::HeaderMalformed => "Eine Kopfzeile der Nachricht hat keinen gültigen Feldnamen; \
             bitte das Programm prüfen lassen, das sie schrieb"
            .into(),
        Reason::DeleteNotAllowed => format!(
            "Arbeitsplatz {workstation} darf im Konto {account} nichts löschen; \
             bitte \"Nachrichten auf dem Server belassen\" einstellen"
        ),
        Reason::DeleteHeld => "Diese Nachricht kam unentschlüsselt an und bleibt auf dem \
             Server; bitte die Karte (SMC-B oder HBA) freischalten und neu abrufen"
            .into(),
        Reason::TooManyConnections => "Zu viele Verbindungen; bitte später erneut versuchen".into(),
        Reason::ContextInUse => format!(
            "Dieser Kartenkontext wird gerade vom Arbeitsplatz {detail} benutzt; \
             jeder Arbeitsplatz braucht eine eigene WorkplaceId"
        ),
        Reason::LoginPaused => format!(
            "Diese Anmeldung wurde zu oft abgelehnt und ruht noch {}{}",
            time(remaining),
            or_nothing("; letzte Antwort des Clientmoduls: ", detail)
        ),
        Reason::ShuttingDown => {
            "Das Gateway wird gerade beendet; bitte in einer Minute erneut versuchen".into()
        }
        Reason::MailboxInUse => {
            format!(
                "Das Postfach {account} wird gerade von einer anderen Sitzung benutzt; \
                 bitte später erneut abrufen"
            )
        }
        Reason::ClientModuleUnreachable => {
            format!(
                "Das KIM-Clientmodul ist nicht erreichbar; bitte prüfen, ob es läuft{}",
                in_brackets(detail)
            )
        }
        Reason::ClientModuleUntrusted if !detail.is_empty() => detail.into(),
        Reason::ClientModuleUntrusted => "Dem KIM-Clientmodul wird nicht vertraut: \
             sein Zertifikat ist nicht zugelassen; bitte \"kimgate doctor\" fragen"
            .into(),
        Reason::ClientModuleProtocolError => {
            format!(
                "Das KIM-Clientmodul hat unverständlich geantwortet; bitte prüfen lassen{}",
                in_brackets(detail)
            )
        }
        Reason::RejectedByClientModule => "Das KIM-Clientmodul hat abgelehnt".into(),
        Reason::MessageTooLarge => "Die Nachricht ist zu groß; bitte weniger anhängen".into(),
        Reason::LineTooLong => "Eine Zeile oder der Nachrichtenkopf ist zu lang".into(),
        Reason::BadCommand => "Dieser Befehl passt hier nicht".into(),
        Reason::BadCredentialsEncoding => "Die Anmeldedaten sind falsch kodiert".into(),
        Reason::AmbiguousLineEnding => {
            "Die Nachricht enthält einen Punkt zwischen mehrdeutigen Zeilenenden".into()
        }
        Reason::Timeout => "Zu lange keine Antwort".into(),
        Reason::TlsFailed => "Die Verschlüsselung kam nicht zustande".into(),
    }
}

fn time(left: Duration) -> String {
    match TimeLeft::of(left) {
        TimeLeft::Seconds(1) => "1 Sekunde".into(),
        TimeLeft::Seconds(count) => format!("{count} Sekunden"),
        TimeLeft::Minutes(1) => "1 Minute".into(),
        TimeLeft::Minutes(count) => format!("{count} Minuten"),
        TimeLeft::Hours(count) => format!("{count} Stunden"),
        TimeLeft::Days(count) => format!("{count} Tage"),
    }
}

/// What is wrong with a command or a line.
pub(super) fn hint(protocol: Protocol, hint: Hint) -> String {
    let start_tls = start_tls(protocol);
    match hint {
        Hint::NotCarried => "Dieser Befehl wird hier nicht unterstützt".into(),
        Hint::LoggedIn => "Diese Sitzung ist bereits angemeldet".into(),
        Hint::Malformed => "Dieser Befehl ist falsch aufgebaut".into(),
        Hint::NeedBrackets => "Der Adresse fehlen die Klammern, wie in <name@domain>".into(),
        Hint::NeedTransaction => "Bitte zuerst MAIL und RCPT senden".into(),
        Hint::NeedSender => "Bitte zuerst MAIL senden".into(),
        Hint::NeedName => "Hier fehlt ein Name".into(),
        Hint::NeedArgument => "Hier fehlt ein Argument".into(),
        Hint::NoArgument => "Dieser Befehl hat kein Argument".into(),
        Hint::NeedLogin => "Bitte zuerst anmelden".into(),
        Hint::NeedTls => format!("Keine Anmeldung vor {start_tls}"),
        Hint::NeedEhlo => "Bitte zuerst EHLO senden".into(),
        Hint::NeedUser => "Bitte zuerst USER senden".into(),
        Hint::NeedMechanism => "AUTH braucht ein Anmeldeverfahren".into(),
        Hint::UnknownMechanism => match protocol {
            Protocol::Pop3 => "Als Anmeldeverfahren gibt es hier PLAIN".into(),
            Protocol::Smtp => "Als Anmeldeverfahren gibt es hier PLAIN und LOGIN".into(),
        },
        Hint::Cancelled => "Die Anmeldung wurde abgebrochen".into(),
        Hint::Credentials(Invalid::NotBase64) => "Die Anmeldedaten sind kein Base64".into(),
        Hint::Credentials(Invalid::NotPlain) => {
            "Die Anmeldedaten entsprechen nicht dem Verfahren PLAIN".into()
        }
        Hint::Credentials(Invalid::ActsForAnother) => {
            "Die Anmeldung soll für einen anderen Benutzernamen gelten".into()
        }
        Hint::Credentials(Invalid::ControlCharacters) => {
            "Benutzername oder Passwort enthält Steuerzeichen".into()
        }
        Hint::TlsNotOffered => format!("{start_tls} wird hier nicht angeboten"),
        Hint::BytesAfterStartTls => format!("Nach {start_tls} darf nichts folgen"),
        Hint::TlsTooEarly => format!("TLS beginnt hier mit {start_tls}"),
        Hint::PortWithoutTls => "Dieser Port spricht kein TLS".into(),
        Hint::PortWithTls => {
            "Dieser Port spricht TLS vom ersten Byte an; bitte SSL/TLS einstellen".into()
        }
        Hint::WebPage => match protocol {
            Protocol::Pop3 => "Dieser Port ist für POP3 und keine Webseite".into(),
            Protocol::Smtp => "Dieser Port ist für SMTP und keine Webseite".into(),
        },
        Hint::LineEnd => "Zeilen enden mit CR LF".into(),
        Hint::StrayByte => "Die Zeile enthält ein einzelnes CR oder ein NUL".into(),
        Hint::LineTooLong => "Diese Zeile ist zu lang".into(),
        Hint::TooManyBadCommands => "Zu viele falsche Befehle".into(),
    }
}

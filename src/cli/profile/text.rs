//! What to type, for a person.

use super::Account;
use crate::autoconfig::MailServer;
use crate::cli::{Screen, table};
use crate::words::{Language, Security};

pub(super) fn show(screen: &mut Screen, account: &Account<'_>) {
    let of = |de: &'static str, en: &'static str| match account.language {
        Language::De => de,
        Language::En => en,
    };
    let (address, workstation) = (account.address, account.workstation);
    screen.headline(&match account.language {
        Language::De => format!("KIM-Konto {address} im Mailprogramm auf {workstation}"),
        Language::En => format!("KIM account {address} in the mail client on {workstation}"),
    });
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    screen.say("");
    screen.say(of("  Posteingang: POP3", "  Incoming mail: POP3"));
    let server = |server: &MailServer<'_>| {
        let security = match server.security {
            Security::Implicit => "SSL/TLS",
            Security::StartTls => "STARTTLS",
            Security::None => of("keine (nur auf diesem Rechner)", "none (on this machine only)"),
        };
        table::lines(&[
            row("    Server", server.host.clone()),
            row("    Port", server.port.to_string()),
            row(of("    Sicherheit", "    Security"), security.into()),
            row(
                of("    Anmeldung", "    Authentication"),
                of("Passwort, normal", "normal password").into(),
            ),
            row(of("    Benutzername", "    User name"), server.login.into()),
        ])
    };
    for line in server(&account.incoming) {
        screen.say(&line);
    }
    screen.say("");
    screen.say(of("  Postausgang: SMTP", "  Outgoing mail: SMTP"));
    match &account.outgoing {
        Some(outgoing) => server(outgoing).iter().for_each(|line| screen.say(line)),
        None => screen.say(of(
            "    fehlt: den Benutzernamen zum Senden mit --smtp-login angeben",
            "    missing: give the user name for sending with --smtp-login",
        )),
    }
    screen.say("");
    let mut rows = vec![
        row(
            of("  Passwort", "  Password"),
            of(
                "das der KIM-Adresse; das Gateway kennt es nicht",
                "the KIM address's; the gateway does not know it",
            )
            .into(),
        ),
        row(
            of("  Zeitlimit", "  Time limit"),
            of("5 Minuten oder mehr: Karten sind langsam", "5 minutes or more: cards are slow")
                .into(),
        ),
        row(
            of("  Auf dem Server lassen", "  Leave on server"),
            match account.may_delete {
                true => of(
                    "ja, wenn andere dasselbe Konto abholen",
                    "yes, where others fetch the same account",
                ),
                false => of(
                    "ja: dieser Arbeitsplatz darf nicht löschen",
                    "yes: this workstation may not delete",
                ),
            }
            .into(),
        ),
    ];
    if let Some(name) = account.client_certificate {
        rows.push(row(of("  Client-Zertifikat", "  Client certificate"), name.into()));
    }
    if let Some(fingerprint) = &account.fingerprint {
        rows.push(row(
            of("  Zertifikat", "  Certificate"),
            match account.language {
                Language::De => {
                    format!("beim ersten Mal annehmen, wenn der Fingerabdruck {fingerprint} ist")
                }
                Language::En => {
                    format!("accept it the first time, if its fingerprint is {fingerprint}")
                }
            },
        ));
    }
    for line in table::lines(&rows) {
        screen.say(&line);
    }
}

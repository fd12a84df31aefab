//! What a client module's refusal of a login means: the password is wrong, something else may be wrong
//! with the login, or it has nothing to do with it and will pass.
//!
//! SMTP has codes for it. POP3 has few (RFC 2449, RFC 3206), and KIM client modules use none of them:
//! they answer `-ERR` and a sentence. So the words decide. Where they say both, as openKIM's
//! "Authentication credentials invalid or Temporary authentication failure", the refusal counts: a
//! pause is short, and an account that the mail service has locked is not.

use crate::gateway::turns::Cause;
use crate::proto::back::Answer;

/// Bytes of an answer that are looked at.
const LOOKED_AT: usize = 4096;

/// Why the login was refused; `None` if that says nothing about the login or its password.
pub(super) fn cause(answer: &Answer, login: &[u8]) -> Option<Cause> {
    let said = Words::of(&answer.bytes[..answer.bytes.len().min(LOOKED_AT)]);
    let raw = answer.first_line().to_ascii_lowercase();
    match raw.strip_prefix("-err") {
        Some(text) => pop3(text.trim_start(), &said, login),
        None => smtp(answer.code(), &raw, &said, login),
    }
}

fn pop3(text: &str, said: &Words, login: &[u8]) -> Option<Cause> {
    let response_code = text.strip_prefix('[').and_then(|rest| rest.split([']', '/']).next());
    if text.contains("[auth]") || text.split(' ').next() == Some("535") {
        return Some(Cause::WrongPassword);
    }
    if matches!(response_code, Some("in-use" | "sys" | "login-delay")) || is_transient(text) {
        return None;
    }
    said.cause(login)
}

fn smtp(code: u16, line: &str, said: &Words, login: &[u8]) -> Option<Cause> {
    match code {
        535 => Some(Cause::WrongPassword),
        // 504 is about the mechanism: the client module has not looked at a password.
        504 => None,
        500..=599 if is_transient(line) => None,
        // Its own code for a login that cannot be read, or that the Konnektor does not know.
        501 => Some(Cause::Unclear),
        500..=599 => said.cause(login),
        _ => None,
    }
}

/// Whether a line begins with an enhanced status code for what passes (RFC 3463), perhaps after
/// another code.
fn is_transient(line: &str) -> bool {
    line.split([' ', '-']).take(2).any(|word| {
        let mut numbers = word.split('.');
        let is_number =
            |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        numbers.next() == Some("4") && numbers.clone().count() == 2 && numbers.all(is_number)
    })
}

/// Beats everything below: it is about the login, or repeating it makes things worse.
const ABOUT_THE_LOGIN: &[&str] = &[
    " invalid",
    " ungültig",
    " incorrect",
    " inkorrekt",
    " wrong ",
    " falsch",
    " unknown",
    " unbekannt",
    " no such ",
    " bad password",
    " bad login",
    " bad user",
    " bad credential",
    " bad auth",
    " too many fail",
    " too many login",
    " too many attempt",
    " too many wrong",
    " too many invalid",
    " too many auth",
    " too many tries",
    " too many bad",
    " zu oft",
    " zu viele fehl",
    " zu vieler fehl",
    " zu viele versuch",
    " zu viele anmelde",
    " fehlversuch",
    " disabled",
    " deaktiviert",
    " suspended",
];

/// What these say is not about the login, although one of the words above is in it.
const ABOUT_SOMETHING_ELSE: &[&str] = &[
    " unknown host",
    " unknownhost",
    " unbekannter host",
    " unknown error",
    " unbekannter fehler",
    " unknown reason",
    " unknown issuer",
    " invalid response",
    " invalid answer",
    " ungültige antwort",
    " invalid certificate",
    " certificate invalid",
    " ungültiges zertifikat",
    " zertifikat ungültig",
    " zertifikat ist ungültig",
    " went wrong",
    " konnektorid",
    " konnektor id",
];

/// A lock is about the account or the card, and repeating the login may make it last.
const LOCKED: &[&str] = &[" locked", " gesperrt", " blocked", " blockiert"];

/// Unless it is the lock of a mailbox that another session has.
const MAILBOX: &[&str] = &[" mailbox", " maildrop", " postfach", " locked by", " already locked"];

/// It passes.
const PASSING: &[&str] = &[
    // No answer in time.
    " timeout",
    " time out",
    " timed out",
    "zeitüberschreitung",
    " zeitlimit",
    " no response",
    " no answer",
    " not respond",
    " not answer",
    " keine antwort",
    " antwortet nicht",
    " reagiert nicht",
    // Not there.
    " nicht erreichbar",
    " nicht verfügbar",
    " not available",
    " unavailable",
    " unreachable",
    " not reachable",
    " be reached",
    " offline",
    " not ready",
    " nicht bereit",
    " not running",
    " maintenance",
    " wartung",
    " out of service",
    " außer betrieb",
    " no route",
    " unknown host",
    " unknownhost",
    " konnektor",
    " connector",
    " fachdienst",
    // No connection.
    " connection refused",
    " connection reset",
    " connection fail",
    " connection error",
    " connection lost",
    " connection abort",
    " connection problem",
    " connection to ",
    " connection could not",
    " connection cannot",
    " no connection",
    " cannot connect",
    " can not connect",
    " could not connect",
    " unable to connect",
    " failed to connect",
    " keine verbindung",
    " verbindung zu",
    " verbindung konnte",
    " verbindung fehl",
    " verbindung abgebrochen",
    " verbindung unterbrochen",
    " verbindung verloren",
    " verbindung verweigert",
    " verbindung wurde abgebrochen",
    " verbindung wurde unterbrochen",
    " verbindung wurde verweigert",
    " verbindungsfehler",
    " verbindungsaufbau",
    " verbindungsproblem",
    " verbindungsabbruch",
    " network",
    " netzwerk",
    // Not now.
    " temporar",
    " temporär",
    " vorübergehend",
    " zeitweilig",
    " zeitweise",
    " momentan nicht",
    " derzeit nicht",
    " zurzeit nicht",
    " zur zeit nicht",
    " transient",
    " later ",
    " später",
    // Too much to do.
    " busy ",
    " overload",
    " überlast",
    " ausgelastet",
    " beschäftigt",
    " too many connection",
    " too many session",
    " zu viele verbindungen",
    " zu viele sitzungen",
    " in use ",
    " in benutzung",
    " in verwendung",
    " belegt ",
    " another session",
    " andere sitzung",
    " anderen sitzung",
    " locked by",
    " already locked",
];

/// It passes, unless the sentence says that the login failed: "Login failed, please try again" is what a
/// server says to a wrong password.
const AGAIN: &[&str] = &[
    " try again",
    " retry",
    " erneut versuchen",
    " versuchen sie es erneut",
    " nochmal",
    " noch einmal",
    " wiederholen",
];

const FAILED: &[&str] = &[
    " authentication fail",
    " authorization fail",
    " login fail",
    " logon fail",
    " failed login",
    " sign in fail",
    " anmeldung fehl",
    " anmeldung nicht",
    " authentifizierung fehl",
    " nicht authentifiziert",
    " not authenticated",
    " denied",
    " abgelehnt",
    " verweigert",
    " rejected",
    " password",
    " passwor",
    " kennwort",
    " credential",
];

/// A text as its words in one spelling, with a blank before, between and after them.
struct Words(String);

impl Words {
    /// In lower case; `ä`, `ae` and `a` are one, whatever the encoding. What is neither letter nor digit
    /// is between words.
    fn of(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len() + 2);
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            // In Latin-1, each byte is the character of that number.
            text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
        }
        let mut words = String::with_capacity(text.len() + 2);
        words.push(' ');
        for c in text.chars().flat_map(char::to_lowercase) {
            match c {
                'ä' => words.push('a'),
                'ö' => words.push('o'),
                'ü' => words.push('u'),
                'ß' => words.push_str("ss"),
                // The dots of a letter that is written in two parts.
                '\u{308}' => {}
                'e' if words.ends_with(['a', 'o', 'u']) => {}
                c if c.is_alphanumeric() => words.push(c),
                _ if words.ends_with(' ') => {}
                _ => words.push(' '),
            }
        }
        if !words.ends_with(' ') {
            words.push(' ');
        }
        Self(words)
    }

    fn cause(&self, login: &[u8]) -> Option<Cause> {
        // A client module may repeat the login. Nobody may choose a WorkplaceId "timeout" and then
        // guess passwords as he likes.
        let login = Self::of(login).0.replace(' ', "");
        let says = |phrase: &str| {
            let phrase = spelled(phrase);
            self.0.contains(&phrase) && !login.contains(&phrase.replace(' ', ""))
        };
        let locked = self.has(LOCKED) && !MAILBOX.iter().any(|word| says(word));
        let about_the_login = self.without(ABOUT_SOMETHING_ELSE).has(ABOUT_THE_LOGIN);
        let passes = PASSING.iter().any(|word| says(word))
            || self.is_mailbox_lock(says)
            || AGAIN.iter().any(|word| says(word)) && !self.has(FAILED);
        if passes && !locked && !about_the_login { None } else { Some(Cause::Unclear) }
    }

    fn is_mailbox_lock(&self, says: impl Fn(&str) -> bool) -> bool {
        (self.has(LOCKED) || self.has(&[" lock "])) && MAILBOX.iter().any(|word| says(word))
    }

    fn has(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.0.contains(&spelled(phrase)))
    }

    fn without(&self, phrases: &[&str]) -> Self {
        Self(
            phrases.iter().fold(self.0.clone(), |text, phrase| text.replace(&spelled(phrase), " ")),
        )
    }
}

/// A phrase in the spelling of [`Words`], with the blanks that it has at its ends.
fn spelled(phrase: &str) -> String {
    let words = Words::of(phrase.as_bytes()).0;
    let start = usize::from(!phrase.starts_with(' '));
    let end = words.len() - usize::from(!phrase.ends_with(' '));
    words[start..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &[u8] = b"prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC1";

    fn cause_of(reply: &[u8], login: &[u8]) -> Option<Cause> {
        cause(&Answer { bytes: [reply, b"\r\n"].concat() }, login)
    }

    #[test]
    fn a_code_for_wrong_passwords_is_believed_whatever_else_is_said() {
        for reply in [
            "535 5.7.8 Authentication credentials invalid",
            "535 Authentication Failed",
            "535 4.7.8 Temporary authentication failure",
            "535-5.7.8 no\r\n535 5.7.8 really",
            "-ERR [AUTH] timeout, try again later",
            "-ERR [auth] no",
            "-ERR  [AUTH] no",
            "-ERR Kennwort falsch [AUTH]",
            "-ERR 535 5.7.8 no",
        ] {
            assert_eq!(cause_of(reply.as_bytes(), LOGIN), Some(Cause::WrongPassword), "{reply}");
        }
    }

    #[test]
    fn what_may_be_about_the_login_counts() {
        for reply in [
            // gemSpec_CM_KOMLE, openKIM, and other servers' words.
            "-ERR Der Nutzer konnte nicht authentifiziert werden",
            "-ERR Authentication credentials invalid or Temporary authentication failure",
            "-ERR Invalid command arguments",
            "501 5.5.4 Benutzername muss die Adresse und die Portnummer des SMTP Servers enthalten",
            "501 5.5.4 Konnektor: Mandant unbekannt",
            "501 no",
            "550 5.7.1 no",
            "554 5.7.8 no",
            "-ERR",
            "-ERR no",
            "-ERR Authentication failed.",
            "-ERR Authentication failed, closing connection",
            "-ERR Anmeldung fehlgeschlagen, Verbindung wird beendet",
            "-ERR Login failed, please try again",
            "-ERR Login incorrect, try again later",
            "-ERR Benutzername oder Passwort falsch, bitte sp\u{e4}ter erneut versuchen",
            "-ERR Unbekannter Benutzer am Konnektor",
            "-ERR Mandant unbekannt (Konnektor 4004)",
            "-ERR too many failed attempts, try again later",
            "-ERR Zu viele Fehlversuche, Konto vor\u{fc}bergehend gesperrt",
            "-ERR account temporarily locked",
            "-ERR Karte gesperrt, sp\u{e4}ter erneut versuchen",
            "-ERR SMC-B ist nicht freigeschaltet",
            "-ERR [GEHEIM] no",
            "-ERR 401 Unauthorized",
        ] {
            assert_eq!(cause_of(reply.as_bytes(), LOGIN), Some(Cause::Unclear), "{reply}");
        }
    }

    #[test]
    fn what_passes_does_not_count() {
        for reply in [
            "-ERR timeout",
            "-ERR TIMEOUT",
            "-ERR Timeout.",
            "-ERR Read timed out",
            "-ERR [IN-USE] busy",
            "-ERR [sys/temp] later",
            "-ERR [SYS/PERM] no",
            "-ERR [LOGIN-DELAY] wait",
            "-ERR 4.7.0 no",
            "-ERR 454 4.7.0 no",
            "-ERR Zeit\u{fc}berschreitung bei der Anmeldung",
            "-ERR Zeitueberschreitung",
            "-ERR Konnektor-Timeout",
            "-ERR Der Konnektor ist nicht erreichbar",
            "-ERR Verbindung zum Konnektor fehlgeschlagen",
            "-ERR Keine Verbindung zum Fachdienst",
            "-ERR Verbindung zum Mailserver konnte nicht aufgebaut werden: Zertifikat ung\u{fc}ltig",
            "-ERR Authentication failed: connection timed out",
            "-ERR Authentifizierung nicht m\u{f6}glich, Dienst nicht verf\u{fc}gbar",
            "-ERR Connection refused: connect",
            "-ERR java.net.UnknownHostException: mail.kim.telematik",
            "-ERR Temporary authentication failure",
            "-ERR Service temporarily unavailable",
            "-ERR Dienst vor\u{fc}bergehend gest\u{f6}rt",
            "-ERR Authentication failed, please try again later",
            "-ERR Please try again",
            "-ERR Bitte versuchen Sie es erneut",
            "-ERR Bitte sp\u{e4}ter erneut versuchen",
            "-ERR Bitte spa\u{308}ter erneut versuchen",
            "-ERR server busy",
            "-ERR Too many connections",
            "-ERR maildrop already locked",
            "-ERR Unable to lock maildrop: mailbox is locked by POP server",
            "-ERR mailbox locked",
            "-ERR Postfach ist gesperrt",
            "-ERR Das Postfach ist in Benutzung",
            "-ERR something went wrong, try again later",
            "421 4.3.2 later",
            "421 timeout",
            "454 4.7.0 no",
            "451 no",
            "432 4.7.12 no",
            "504 5.5.4 unknown mechanism",
            "550 4.7.0 no",
            "554-4.3.0 no\r\n554 4.3.0 no",
            "554 5.7.0 Konnektor nicht erreichbar",
        ] {
            assert_eq!(cause_of(reply.as_bytes(), LOGIN), None, "{reply}");
        }
        assert_eq!(cause_of(b"-ERR Zeit\xfcberschreitung", LOGIN), None, "Latin-1");
    }

    /// A client module that repeats the login must not let its owner choose what the answer means.
    #[test]
    fn words_that_the_login_brings_along_are_not_believed() {
        for end in [
            "timeout",
            "Time#out",
            "bitte sp\u{e4}ter",
            "sp\u{e4}#ter",
            "busy",
            "mailbox locked",
            "4.7.0",
        ] {
            let login = format!("prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#{end}");
            for said in [&login, &login.replace('#', ""), &login.replace('#', " ")] {
                let reply = format!("-ERR {said} konnte nicht authentifiziert werden");
                let cause = cause_of(reply.as_bytes(), login.as_bytes());
                assert_eq!(cause, Some(Cause::Unclear), "{reply}");
            }
        }
        let konnektor = b"konnektor@praxis.kim.telematik";
        assert_eq!(
            cause_of(b"-ERR konnektor@praxis.kim.telematik: no", konnektor),
            Some(Cause::Unclear)
        );
        assert_eq!(cause_of(b"-ERR konnektor@praxis.kim.telematik: timeout", konnektor), None);
        let long = [b"-ERR ".as_slice(), &b"x".repeat(LOOKED_AT), b" timeout"].concat();
        assert_eq!(cause_of(&long, LOGIN), Some(Cause::Unclear));
    }
}

//! What audit lines say about mail that went through. The file may come from elsewhere: what is
//! kept is bounded, and what does not look like kimgate's own lines is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Deserializer};

use crate::observe::EventKind;
use crate::policy::WITHOUT_SERVICE;
use crate::printable::printable;
use crate::words::{Protocol, Reason};

/// Octets of a line; kimgate's own are much shorter.
const LINE: usize = 64 << 10;
/// Different logins and services that are kept.
const MOST: usize = 100_000;

/// What went through, without its repetitions.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) logins: BTreeSet<SeenLogin>,
    /// Deletions, by the login of their session without its protocol.
    pub(super) deletions: BTreeSet<SeenLogin>,
    /// Dienstkennungen by account.
    pub(super) services: BTreeMap<String, BTreeSet<String>>,
    /// Dienstkennungen by the login of the session that sent them.
    pub(super) sent: BTreeMap<SeenLogin, BTreeSet<String>>,
    pub(super) counts: LineCounts,
}

/// How many lines were read, and how many of them were of no use.
#[derive(Debug, Default)]
pub(super) struct LineCounts {
    pub(super) lines: u64,
    /// Neither JSON nor kimgate's.
    pub(super) unreadable: u64,
    /// Accounts as keyed hashes.
    pub(super) pseudonyms: u64,
    /// Values that were cut or escaped, or that no configuration can hold.
    pub(super) odd: u64,
    /// Refusals about what no audit line holds: the login, a sender, a recipient.
    pub(super) unsaid: BTreeMap<&'static str, u64>,
}

/// A login that the client module accepted, as far as the audit knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeenLogin {
    pub(super) peer: IpAddr,
    /// Its name at that time.
    pub(super) workstation: Option<String>,
    pub(super) users: Vec<String>,
    pub(super) account: String,
    pub(super) mandant_id: String,
    pub(super) clientsystem_id: String,
    pub(super) workplace_id: String,
    pub(super) protocol: Protocol,
}

/// The fields of an audit line that count here.
#[derive(Deserialize)]
struct AuditFields {
    /// `None` for a word that is none of ours.
    #[serde(deserialize_with = "kind")]
    event: Option<EventKind>,
    /// Address and port; the address alone, or a network, where lines were counted as one.
    #[serde(default)]
    peer: String,
    protocol: Option<Protocol>,
    workstation: Option<String>,
    #[serde(default)]
    users: Vec<String>,
    account: Option<String>,
    #[serde(default)]
    mandant_id: String,
    #[serde(default)]
    clientsystem_id: String,
    #[serde(default)]
    workplace_id: String,
    accepted: Option<bool>,
    would_deny: Option<String>,
    service: Option<String>,
}

impl Seen {
    /// Reads a file to its end, rotated or still written to.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader).take(LINE as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.counts.lines += 1;
            if read > LINE {
                self.counts.unreadable += 1;
                skip_line(&mut reader)?;
                continue;
            }
            match serde_json::from_slice::<AuditFields>(&line) {
                Ok(line) => self.take(line),
                // The last one may be half-written.
                Err(_) => self.counts.unreadable += 1,
            }
        }
    }

    fn take(&mut self, line: AuditFields) {
        let went_through = match line.event {
            Some(EventKind::Login | EventKind::MessageSent) => line.accepted == Some(true),
            Some(EventKind::MessageDeleted) => true,
            Some(
                EventKind::Connected
                | EventKind::Denied
                | EventKind::MessageReceived
                | EventKind::DeleteHeld
                | EventKind::MessageHeld
                | EventKind::MessageReleased
                | EventKind::ContextConflict
                | EventKind::Certificate
                | EventKind::ConfigLoaded
                | EventKind::Unlocked
                | EventKind::Closed,
            )
            | None => false,
        };
        for reason in
            [Reason::LoginNotAssigned, Reason::SenderNotAllowed, Reason::RecipientNotAllowed]
        {
            if line.would_deny.as_deref() == Some(reason.as_str()) {
                *self.counts.unsaid.entry(reason.as_str()).or_default() += 1;
            }
        }
        if !went_through {
            return;
        }
        let event = line.event;
        let service = line.service.clone();
        let Some(login) = self.login(line) else { return };
        if self.logins.len() + self.deletions.len() + self.services.len() > MOST {
            self.counts.odd += 1;
            return;
        }
        if event == Some(EventKind::Login) {
            self.logins.insert(login);
        } else if event == Some(EventKind::MessageDeleted) {
            self.deletions.insert(login);
        } else {
            self.send(login, service);
        }
    }

    fn send(&mut self, login: SeenLogin, service: Option<String>) {
        let service = service.unwrap_or_else(|| WITHOUT_SERVICE.into());
        let services = self.services.entry(login.account.clone()).or_default();
        // A pattern would admit more than was seen.
        if is_plain(&service) && !service.contains(['*', '?']) && services.len() < MOST {
            services.insert(service.clone());
            if self.sent.len() < MOST {
                self.sent.entry(login).or_default().insert(service);
            }
        } else {
            self.counts.odd += 1;
        }
    }

    fn login(&mut self, line: AuditFields) -> Option<SeenLogin> {
        let account = line.account.unwrap_or_default();
        if account.starts_with("hmac:") {
            self.counts.pseudonyms += 1;
            return None;
        }
        let fields = [&line.mandant_id, &line.clientsystem_id, &line.workplace_id];
        let fits = is_plain(&account)
            && account.trim() == account
            && account.contains('@')
            && !account.contains('#')
            && fields
                .iter()
                .all(|field| field.is_empty() || is_plain(field) && !field.contains('#'))
            && line.workstation.iter().chain(&line.users).all(|name| is_plain(name));
        let (Ok(peer), Some(protocol), true) =
            (line.peer.parse::<SocketAddr>(), line.protocol, fits)
        else {
            self.counts.odd += 1;
            return None;
        };
        Some(SeenLogin {
            peer: peer.ip().to_canonical(),
            workstation: line.workstation,
            users: line.users,
            account: account.to_ascii_lowercase(),
            mandant_id: line.mandant_id,
            clientsystem_id: line.clientsystem_id,
            workplace_id: line.workplace_id,
            protocol,
        })
    }
}

fn kind<'de, D: Deserializer<'de>>(word: D) -> Result<Option<EventKind>, D::Error> {
    String::deserialize(word).map(|word| EventKind::parse(&word))
}

/// Whether the text stands there as it was: the audit escapes what is odd and cuts what is long.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && printable(text) == text
        && !text.contains("\\u{")
        && !text.ends_with("...")
        && !text.ends_with('\u{2026}')
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = reader.fill_buf()?;
        let end = memchr::memchr(b'\n', bytes);
        let used = end.map_or(bytes.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &[u8]) -> Seen {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mut seen = Seen::default();
        seen.read(file.path()).unwrap();
        seen
    }

    fn login(account: &str, rest: &str) -> String {
        format!(
            "{{\"event\":\"login\",\"protocol\":\"pop3\",\"peer\":\"10.0.0.1:99\",\
             \"account\":{account:?},\"accepted\":true{rest}}}\n"
        )
    }

    #[test]
    fn what_went_through_is_kept_once() {
        let one = login("a@b.c", ",\"workplace_id\":\"PC1\"");
        let text = [
            one.clone(),
            one.clone(),
            one.replace("true", "false"),
            one.replace("\"login\"", "\"denied\""),
            "{\"event\":\"closed\",\"peer\":\"10.0.0.1:99\"}\n".into(),
            one.replace("login", "message-sent"),
            one.replace("login", "message-sent").replace("}", ",\"service\":\"eAU;x\"}"),
            one.replace("login", "message-deleted"),
        ];
        let seen = read(text.concat().as_bytes());
        assert_eq!((seen.logins.len(), seen.deletions.len(), seen.counts.lines), (1, 1, 8));
        let services: Vec<&str> = seen.services["a@b.c"].iter().map(String::as_str).collect();
        assert_eq!(services, [WITHOUT_SERVICE, "eAU;x"]);
    }

    #[test]
    fn lines_that_count_several_refusals_are_read_too() {
        let folded = "{\"event\":\"denied\",\"peer\":\"10.0.0.9\",\"count\":7,\
                      \"would_deny\":\"login-not-assigned\"}\n";
        let unlocked = "{\"event\":\"unlocked\",\"peer\":\"127.0.0.1\",\"ended\":1}\n";
        let seen = read([folded, unlocked, "{\"event\":\"closed\"}\n"].concat().as_bytes());
        assert_eq!((seen.counts.lines, seen.counts.unreadable, seen.counts.odd), (3, 0, 0));
        assert_eq!(seen.counts.unsaid.len(), 1);
    }

    #[test]
    fn hostile_lines_are_counted_and_left_out() {
        let long = login("a@b.c", &format!(",\"x\":\"{}\"", "y".repeat(2 * LINE)));
        let table: [(String, u64, u64, u64); 8] = [
            ("\n\n".into(), 0, 0, 0),
            ("not json\n".into(), 1, 0, 0),
            (login("a@b.c", "").chars().take(20).collect(), 1, 0, 0),
            (long, 1, 0, 0),
            (login("hmac:00", ""), 0, 1, 0),
            (login("(not an address)", ""), 0, 0, 1),
            (login("a@b.c", ",\"workplace_id\":\"P\\u001b[2J\""), 0, 0, 1),
            (login("a@b.c", ",\"workstation\":\"x\\\\u{a}\""), 0, 0, 1),
        ];
        for (text, unreadable, pseudonyms, odd) in table {
            let text = format!("{text}\n{}", login("z@b.c", ""));
            let seen = read(text.as_bytes());
            let counts = (seen.counts.unreadable, seen.counts.pseudonyms, seen.counts.odd);
            assert_eq!(counts, (unreadable, pseudonyms, odd), "{text:?}");
            assert_eq!(seen.logins.len(), 1, "the next line is read: {text:?}");
        }
        assert_eq!(read(b"\xff\xfe\n").counts.unreadable, 1);
    }
}

//! The login string:
//! `address#host:port#MandantId#ClientsystemId#WorkplaceId[#UserId][#KonnektorId]` in POP3, and in
//! SMTP the same with the last two in either order.
//!
//! Form and field names: gemSpec_CM_KOMLE 3.3.2.2 and 3.4.2.2, gematik/api-kim
//! `docs/Primaersystem.adoc`. In SMTP gematik puts the KonnektorId first, and had no UserId before
//! 2026; several client modules print both logins in the order of POP3. So an SMTP login has two
//! readings, and both count. The practice must type the string exactly as the client module prints
//! it: kimgate reads it to decide and to label, and sends on the bytes that it got.

use std::fmt;
use std::ops::Range;

use super::{Account, Field};
use crate::words::Protocol;

/// A login as it came from a workstation. Any bytes are a login; policy refuses malformed ones.
///
/// `Debug` shows the account only: the whole string is a key to the mailbox's card context.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// What was sent, decoded as UTF-8 where it is; used for labels and rules.
    text: String,
    /// What was sent, where that is not UTF-8.
    raw: Option<Vec<u8>>,
    account: Account,
    fields: [Range<usize>; 6],
    context: Range<usize>,
}

impl Login {
    /// Reads the fields. Fields that are absent, or `*`, are empty; further ones are ignored.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let raw = (text.as_bytes() != bytes).then(|| bytes.to_vec());
        let mut fields: [Range<usize>; 6] = Default::default();
        let mut ends = text.match_indices('#').map(|(at, _)| at).chain([text.len()]);
        let address = 0..ends.next().unwrap_or(text.len());
        let mut start = address.end + 1;
        for (field, end) in fields.iter_mut().zip(ends) {
            *field = if &text[start..end] == "*" { end..end } else { start..end };
            start = end + 1;
        }
        Self {
            account: Account::new(&text[address.clone()]),
            context: context(&text, address.end),
            text,
            raw,
            fields,
        }
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// The same as text, where it is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        self.raw.is_none().then_some(self.text.as_str())
    }

    /// False for an empty login and for one with control characters; everything else is a login.
    pub fn is_well_formed(&self) -> bool {
        !self.text.is_empty() && !self.text.chars().any(char::is_control)
    }

    /// Whether the login is an address alone, without a context.
    pub fn is_only_an_address(&self) -> bool {
        !self.text.contains('#')
    }

    /// The text before the first `#`; all of it where there is none.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The account's text as it was typed, case kept.
    pub fn address(&self) -> &str {
        &self.text[..self.account.as_str().len()]
    }

    /// `host:port` of the KIM mail service, which is not the client module.
    pub fn server(&self) -> &str {
        &self.text[self.fields[0].clone()]
    }

    /// Whether [`server`](Self::server) ends in a port. `:` before it is usual, and other marks are
    /// allowed where that one is taken (gemSpec_CM_KOMLE 3.3.2.2).
    pub fn names_server(&self) -> bool {
        host_before_port(self.server()).is_some()
    }

    /// The host that the client module is told to dial: what stands before the port, without the
    /// brackets of an IPv6 address and the dot at the end of a name. `None` if the login names no
    /// server; `Some(None)` if what stands there is no single host name or address with a port.
    ///
    /// A client module may skip empty fields, so the first field that is not empty counts. It may
    /// also read a port that kimgate does not (`host:995x`, `host:pop3s`, `host.name;995;`, `:995`).
    pub fn server_host(&self) -> Option<Option<&str>> {
        let mut fields = self.fields.iter().map(|field| &self.text[field.clone()]);
        let server = fields.find(|field| !field.trim().is_empty())?;
        let Some(host) = host_before_port(server) else {
            return may_be_a_server(server).then_some(None);
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if looks_like_ipv6(bare) {
            return Some(Some(bare));
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(is_host_name(host).then_some(host))
    }

    /// The WorkplaceId as a client module finds it that takes a second field without a port for
    /// the MandantId, because host:port may be left out since KIM 1.5.4. `None` where the second
    /// field is a server, empty or `*`, so that there is one reading only.
    pub fn workplace_id_without_server(&self) -> Option<&str> {
        let shifted = !self.server().is_empty() && !self.names_server();
        shifted.then(|| self.clientsystem_id())
    }

    /// The port in [`server`](Self::server), after whatever delimiter.
    pub fn server_port(&self) -> Option<&str> {
        let server = self.server().trim();
        host_before_port(server)?;
        Some(&server[server.trim_end_matches(char::is_numeric).len()..])
    }

    /// Which protocol it is for, by the port in it: 995, 10995 and 110, or 465, 8465, 587 and 25.
    /// The names for the two differ in that (gematik `docs/Primaersystem.adoc`), and the wrong one
    /// would count as a failed login at the KIM mail service. `None` for other ports and for none.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.server_port()? {
            "110" => Some(Protocol::Pop3),
            "25" | "587" => Some(Protocol::Smtp),
            port if port.ends_with("995") => Some(Protocol::Pop3),
            port if port.ends_with("465") => Some(Protocol::Smtp),
            _ => None,
        }
    }

    /// Whether it may be used for this protocol: its port is for it, or it names no server.
    pub fn serves(&self, protocol: Protocol) -> bool {
        self.server().is_empty() || self.protocol() == Some(protocol)
    }

    /// The tenant.
    pub fn mandant_id(&self) -> &str {
        &self.text[self.fields[1].clone()]
    }

    /// The practice software.
    pub fn clientsystem_id(&self) -> &str {
        &self.text[self.fields[2].clone()]
    }

    /// The place of work, which must be another one at each workstation (TIP1-A_4960).
    pub fn workplace_id(&self) -> &str {
        &self.text[self.fields[3].clone()]
    }

    /// The values after the WorkplaceId with their names. `None` for the protocol: either of them.
    pub fn optional_fields(&self, protocol: Option<Protocol>) -> [(Field, &str); 2] {
        let [first, second] = Field::optional(protocol);
        [(first, &self.text[self.fields[4].clone()]), (second, &self.text[self.fields[5].clone()])]
    }

    /// Every UserId that the login claims, read in either order where it has two.
    pub fn user_ids(&self, protocol: Protocol) -> impl Iterator<Item = &str> {
        let fields = self.optional_fields(Some(protocol)).into_iter();
        fields.filter(|(field, id)| field.may_be_user_id() && !id.is_empty()).map(|(_, id)| id)
    }

    /// The fields after host:port as they were sent. Where there is no host:port, or nothing after
    /// it, this is the text after the first `#`; empty for an address alone.
    pub fn context(&self) -> &str {
        &self.text[self.context.clone()]
    }
}

fn context(text: &str, address_end: usize) -> Range<usize> {
    let Some(rest) = text.get(address_end + 1..) else {
        return text.len()..text.len();
    };
    match rest.split_once('#') {
        Some((server, fields))
            if matches!(server, "" | "*") || host_before_port(server).is_some() =>
        {
            text.len() - fields.len()..text.len()
        }
        Some(_) | None => address_end + 1..text.len(),
    }
}

/// What stands before the port and its delimiter; `None` for what does not read as host with port.
///
/// The delimiter is one mark that is neither letter nor digit. Marks that names have in them too
/// (`Mandant-1`, `Praxis 2`) count only after a name with a dot and nothing odd in it, or after
/// more than a name. Digits are those that a client module may read as digits, and a port may be
/// too large: a login is refused for its host, whatever becomes of its port.
fn host_before_port(server: &str) -> Option<&str> {
    let server = server.trim();
    let start = server.trim_end_matches(char::is_numeric);
    let delimiter =
        start.chars().next_back().filter(|c| start != server && !c.is_alphanumeric())?;
    let host = &start[..start.len() - delimiter.len_utf8()];
    let is_sure = match delimiter {
        '-' | '_' | '.' | ' ' => {
            host.eq_ignore_ascii_case("localhost")
                || host.contains([':', '@', '['])
                || host.contains('.') && is_host_name(host)
        }
        _ => true,
    };
    (is_sure && !host.is_empty()).then_some(host)
}

/// Whether another reader may find host and port in what kimgate does not read as that: a colon, or
/// any mark between a name with a dot and a digit.
fn may_be_a_server(text: &str) -> bool {
    let text = text.trim();
    let is_in_names = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let (host, rest) = text.split_at(text.find(|c| !is_in_names(c)).unwrap_or(text.len()));
    let is_named = host.contains('.') || host.eq_ignore_ascii_case("localhost");
    text.contains(':') || is_named && rest.chars().nth(1).is_some_and(char::is_numeric)
}

/// Groups of hexadecimal digits and at least two colons. An IPv4 address is a host name here.
fn looks_like_ipv6(host: &str) -> bool {
    host.matches(':').count() >= 2
        && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
}

/// Letters, digits, hyphens and underscores between single dots.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    host.split('.').all(is_label)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str =
        "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivorisortho#PC1#PRAXIS";

    fn fields(login: &Login) -> [&str; 8] {
        let [(Field::UserId, user_id), (Field::KonnektorId, konnektor_id)] =
            login.optional_fields(Some(Protocol::Pop3))
        else {
            panic!("POP3 has one order");
        };
        [
            login.account().as_str(),
            login.server(),
            login.mandant_id(),
            login.clientsystem_id(),
            login.workplace_id(),
            user_id,
            konnektor_id,
            login.context(),
        ]
    }

    #[test]
    fn fields_are_found_by_position() {
        let table: [(&str, [&str; 8]); 11] = [
            (
                SEED,
                [
                    "prx@praxis.tm.kim.telematik",
                    "mail.tm.kim.telematik:995",
                    "Mandant1",
                    "ivorisortho",
                    "PC1",
                    "PRAXIS",
                    "",
                    "Mandant1#ivorisortho#PC1#PRAXIS",
                ],
            ),
            ("A@B", ["a@b", "", "", "", "", "", "", ""]),
            ("a@b#", ["a@b", "", "", "", "", "", "", ""]),
            ("a@b#M", ["a@b", "M", "", "", "", "", "", "M"]),
            ("a@b#h:1#M#C#W", ["a@b", "h:1", "M", "C", "W", "", "", "M#C#W"]),
            ("a@b#h:1#M#C#W#*#K", ["a@b", "h:1", "M", "C", "W", "", "K", "M#C#W#*#K"]),
            ("a@b#*#M#C#W#U#K#x#y", ["a@b", "", "M", "C", "W", "U", "K", "M#C#W#U#K#x#y"]),
            ("a@b##M##W", ["a@b", "", "M", "", "W", "", "", "M##W"]),
            // Without host:port (KIM 1.5.4) every field counts for the context.
            ("a@b#M#C#W", ["a@b", "M", "C", "W", "", "", "", "M#C#W"]),
            ("a@b#h;995#M#C#W", ["a@b", "h;995", "M", "C", "W", "", "", "M#C#W"]),
            (
                "a@b#h:1#Praxis Dr. Müller#C#W",
                ["a@b", "h:1", "Praxis Dr. Müller", "C", "W", "", "", "Praxis Dr. Müller#C#W"],
            ),
        ];
        for (login, expected) in table {
            assert_eq!(fields(&Login::parse(login.as_bytes())), expected, "{login}");
        }
    }

    #[test]
    fn the_host_is_what_stands_before_the_ports_delimiter() {
        let table: [(&str, Option<Option<&str>>); 52] = [
            ("mail.kim.telematik:995", Some(Some("mail.kim.telematik"))),
            ("mail.kim.telematik.:995", Some(Some("mail.kim.telematik"))),
            ("mail.kim.telematik;995", Some(Some("mail.kim.telematik"))),
            ("127.0.0.1:22", Some(Some("127.0.0.1"))),
            ("evil.example:99995", Some(Some("evil.example"))),
            ("evil.example:4294968291", Some(Some("evil.example"))),
            ("evil.example:\u{669}\u{669}\u{665}", Some(Some("evil.example"))),
            (" evil.example:995 ", Some(Some("evil.example"))),
            ("evil.example 995", Some(Some("evil.example"))),
            ("evil.example-995", Some(Some("evil.example"))),
            ("evil.example.995", Some(Some("evil.example"))),
            ("evil!995", Some(Some("evil"))),
            ("localhost_25", Some(Some("localhost"))),
            ("[::1]:995", Some(Some("::1"))),
            ("::1:995", Some(Some("::1"))),
            ("mail.kim.telematik:995@evil:995", Some(None)),
            ("evil:995@mail.kim.telematik:995", Some(None)),
            ("evil.example:22:mail.kim.telematik-995", Some(None)),
            ("evil.example:+995", Some(None)),
            (".telematik:995", Some(None)),
            ("h\u{e4}user.telematik:995", Some(None)),
            ("Mandant-1", None),
            ("Praxis Dr. M\u{fc}ller 2", None),
            ("839999800", None),
            ("mail.kim.telematik", None),
            ("*", None),
            // Ports that another reader may read.
            (":995", Some(None)),
            ("evil.example:", Some(None)),
            ("evil.example:995x", Some(None)),
            ("evil.example:995/", Some(None)),
            ("evil.example:995.", Some(None)),
            ("evil.example:995\u{200b}", Some(None)),
            ("evil.example:0x3e3", Some(None)),
            ("evil.example:pop3s", Some(None)),
            ("evil.example:995,mail.kim.telematik:995x", Some(None)),
            ("evil.example;995;", Some(None)),
            ("evil.example/995/", Some(None)),
            ("evil.example\"995\"", Some(None)),
            ("localhost,25x", Some(None)),
            ("Dr.Meier, Praxis 2 (Berlin)", None),
            ("Dr.Meier (2)", None),
            ("pop3://evil.example", Some(None)),
            ("pop3://evil.example:995/", Some(None)),
            // Empty fields that another reader may skip.
            ("#evil.example:995", Some(Some("evil.example"))),
            ("*#evil.example:995", Some(Some("evil.example"))),
            (" #evil.example:995", Some(Some("evil.example"))),
            ("##*##evil.example:995", Some(Some("evil.example"))),
            ("#mail.kim.telematik:995", Some(Some("mail.kim.telematik"))),
            ("#Mandant-1", None),
            ("Mandant-1#evil.example:995", None),
            ("mail.kim.telematik:995##evil.example:995", Some(Some("mail.kim.telematik"))),
            ("##", None),
        ];
        for (server, expected) in table {
            let login = format!("a@b#{server}#M#C#W");
            assert_eq!(Login::parse(login.as_bytes()).server_host(), expected, "{server}");
        }
    }

    #[test]
    fn the_port_tells_the_protocol() {
        let table = [
            ("a@b#h:995#M#C#W", Some(Protocol::Pop3)),
            ("a@b#h:10995#M", Some(Protocol::Pop3)),
            ("a@b#h:465#M", Some(Protocol::Smtp)),
            ("a@b#h:587", Some(Protocol::Smtp)),
            ("a@b#mail.kim.telematik;995#M", Some(Protocol::Pop3)),
            ("a@b#mail.kim.telematik-465#M", Some(Protocol::Smtp)),
            ("a@b#mail.kim.telematik|465 #M", Some(Protocol::Smtp)),
            ("a@b#Mandant-995#M", None),
            ("a@b#h:8888#M", None),
            ("a@b#h#M", None),
            ("a@b", None),
        ];
        for (login, expected) in table {
            assert_eq!(Login::parse(login.as_bytes()).protocol(), expected, "{login}");
        }
        let serves = |login: &str, protocol| Login::parse(login.as_bytes()).serves(protocol);
        assert!(serves("a@b", Protocol::Smtp) && serves("a@b#*#M", Protocol::Pop3));
        assert!(!serves("a@b#h:995#M", Protocol::Smtp) && !serves("a@b#h:1#M", Protocol::Pop3));
    }

    #[test]
    fn an_smtp_login_has_two_readings_of_its_last_fields_and_a_pop3_login_has_one() {
        let (pop3, smtp) = (Protocol::Pop3, Protocol::Smtp);
        let table: [(&str, Protocol, [&str; 2], &[&str]); 8] = [
            ("#ARZT#Konn_1", pop3, ["UserId ARZT", "KonnektorId Konn_1"], &["ARZT"]),
            ("#*#Konn_1", pop3, ["UserId ", "KonnektorId Konn_1"], &[]),
            (
                "#Konn_1#ARZT",
                smtp,
                ["KonnektorId or UserId Konn_1", "UserId or KonnektorId ARZT"],
                &["Konn_1", "ARZT"],
            ),
            ("#ARZT", smtp, ["KonnektorId or UserId ARZT", "UserId or KonnektorId "], &["ARZT"]),
            ("#*#ARZT", smtp, ["KonnektorId or UserId ", "UserId or KonnektorId ARZT"], &["ARZT"]),
            ("", smtp, ["KonnektorId or UserId ", "UserId or KonnektorId "], &[]),
            ("#*#*", pop3, ["UserId ", "KonnektorId "], &[]),
            ("##", smtp, ["KonnektorId or UserId ", "UserId or KonnektorId "], &[]),
        ];
        for (tail, protocol, named, users) in table {
            let login = Login::parse(format!("a@b#h:1#M#C#W{tail}").as_bytes());
            let fields = login.optional_fields(Some(protocol));
            assert_eq!(fields.map(|(field, value)| format!("{} {value}", field.as_str())), named);
            assert_eq!(login.user_ids(protocol).collect::<Vec<_>>(), users, "{tail} {protocol}");
        }
    }

    #[test]
    fn bytes_come_back_as_they_were_sent() {
        for bytes in [SEED.as_bytes(), b"a\xff\xfe#b#\xc3", b"", b" a@b # h "] {
            assert_eq!(Login::parse(bytes).as_bytes(), bytes);
        }
    }

    #[test]
    fn only_empty_and_control_characters_are_malformed() {
        for good in [SEED, "a", "#", "Dr. M\u{fc}ller@x#h#a b"] {
            assert!(Login::parse(good.as_bytes()).is_well_formed(), "{good}");
        }
        for bad in ["", "a\tb", "a\u{7f}", "a\u{85}b", "a\r\nb"] {
            assert!(!Login::parse(bad.as_bytes()).is_well_formed(), "{bad:?}");
        }
    }

    #[test]
    fn debug_output_shows_the_account_and_no_more() {
        let shown = format!("{:?}", Login::parse(SEED.as_bytes()));
        assert!(shown.contains("prx@praxis.tm.kim.telematik"), "{shown}");
        assert!(!shown.contains("Mandant1"), "{shown}");
    }
}

//! What looks wrong about a login: mistyped, cut off, meant for the other protocol.
//!
//! A doubt changes nothing. The login goes on as it came, and whoever can look at it is told once.
//! No doubt holds any of the login's text.

use std::fmt;

use super::Login;
use crate::words::Protocol;

/// What looks wrong about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// Its port is the one of the other protocol.
    PortOf(Protocol),
    /// There is something between the first two `#`, and it ends in no port.
    WithoutPort,
    /// A field that every login with a context has is absent or empty.
    Missing(Field),
    /// There are blanks before or behind it.
    Blanks,
    /// There are blanks before or behind this field.
    BlanksAround(Field),
    /// Instead of a value there is a name, a mark, or brackets to be filled in.
    Placeholder(Field),
    /// It ends in `*`, which keeps an omitted field's place before another one and nowhere else.
    StarAtTheEnd,
    /// An optional field before another one is empty, where `*` belongs.
    WithoutStar(Field),
    /// There is a sixth field in an SMTP login, where gematik knows no UserId.
    UserIdInSmtp,
    /// Its address is spelled with another case than in the configuration.
    CaseOfAccount,
    /// It differs in case alone from the login that the client module accepted last.
    CaseOfLastLogin,
}

/// The fields of a login by gematik's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Before the first `#`.
    Address,
    /// `host:port` of the KIM mail service.
    Server,
    /// The tenant.
    MandantId,
    /// The practice software.
    ClientsystemId,
    /// The place of work.
    WorkplaceId,
    /// The user, in POP3.
    UserId,
    /// The Konnektor.
    KonnektorId,
}

impl Field {
    /// As gematik spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Server => "host:port",
            Self::MandantId => "MandantId",
            Self::ClientsystemId => "ClientsystemId",
            Self::WorkplaceId => "WorkplaceId",
            Self::UserId => "UserId",
            Self::KonnektorId => "KonnektorId",
        }
    }
}

/// The three that a Konnektor needs (gemSpec_CM_KOMLE 3.3.2.2), by their place behind the address.
const NEEDED: [(usize, Field); 3] =
    [(1, Field::MandantId), (2, Field::ClientsystemId), (3, Field::WorkplaceId)];
const OPTIONAL: [(usize, Field); 2] = [(4, Field::UserId), (5, Field::KonnektorId)];

impl Doubt {
    /// What looks wrong about this login. `protocol` is the one that it is used for, where that is
    /// known; `configured` is the account as the configuration spells it, where it is there.
    ///
    /// A malformed login is no matter of doubt, and one that is only an address is somebody's wish.
    pub fn all(login: &Login, protocol: Option<Protocol>, configured: Option<&str>) -> Vec<Self> {
        let mut doubts = Vec::new();
        let Some(text) = login.as_text().filter(|_| login.is_well_formed()) else { return doubts };
        if text.trim() != text {
            doubts.push(Self::Blanks);
        }
        if login.address().trim().is_empty() {
            doubts.push(Self::Missing(Field::Address));
        }
        if configured.is_some_and(|written| written != login.address()) {
            doubts.push(Self::CaseOfAccount);
        }
        if login.is_only_an_address() {
            return doubts;
        }
        let fields: Vec<&str> = text.split('#').skip(1).collect();
        doubts.extend(about_server(login, &fields, protocol));
        doubts.extend(about_context(&fields));
        doubts.extend(about_options(&fields));
        let protocol = protocol.or_else(|| login.protocol());
        if protocol == Some(Protocol::Smtp) && !login.user_id().is_empty() {
            doubts.push(Self::UserIdInSmtp);
        }
        doubts
    }

    /// What is wrong, as the end of a sentence about the login.
    pub fn problem(self) -> String {
        match self {
            Self::PortOf(Protocol::Pop3) => "has the port of POP3 and is used for SMTP".into(),
            Self::PortOf(Protocol::Smtp) => "has the port of SMTP and is used for POP3".into(),
            Self::WithoutPort => "has no host:port behind its address".into(),
            Self::Missing(field) => format!("has no {}", field.as_str()),
            Self::Blanks => "has blanks around it, which would have to be typed too".into(),
            Self::BlanksAround(field) => format!("has blanks around its {}", field.as_str()),
            Self::Placeholder(field) => {
                format!("has a placeholder in place of its {}", field.as_str())
            }
            Self::StarAtTheEnd => "ends in *, which stands for a field before another one".into(),
            Self::WithoutStar(field) => {
                format!("has an empty {} before another field", field.as_str())
            }
            Self::UserIdInSmtp => "has a UserId, which SMTP logins do not have".into(),
            Self::CaseOfAccount => {
                "spells its address with another case than the configuration".into()
            }
            Self::CaseOfLastLogin => {
                "differs in case alone from the one that was accepted last".into()
            }
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::PortOf(_) => {
                "take the login that the client module prints for this protocol: the two differ \
                 in their port at least"
            }
            Self::WithoutPort => {
                "compare it with what the client module prints; where that has no host:port, \
                 kimgate reads the fields one place too early"
            }
            Self::Missing(Field::Address) => "begin with the mail address",
            Self::Missing(_) => "write address#host:port#MandantId#ClientsystemId#WorkplaceId",
            Self::Blanks | Self::BlanksAround(_) => "remove them",
            Self::Placeholder(_) => "write the value that the client module prints",
            Self::StarAtTheEnd => "leave it out, unless the client module prints it",
            Self::WithoutStar(_) => "write *, unless the client module prints it empty",
            Self::UserIdInSmtp => {
                "keep it if the client module prints it so; gematik has the KonnektorId there"
            }
            Self::CaseOfAccount | Self::CaseOfLastLogin => {
                "write it as the client module prints it: client modules may tell the two apart"
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem(), self.remedy())
    }
}

fn about_server(login: &Login, fields: &[&str], protocol: Option<Protocol>) -> Option<Doubt> {
    match (protocol, login.protocol()) {
        (Some(used), Some(meant)) if used != meant => return Some(Doubt::PortOf(meant)),
        _ => {}
    }
    // From KIM 1.5.4 on it may be left out.
    match fields.first().copied().unwrap_or_default() {
        "" | "*" => None,
        server if is_placeholder(server, Field::Server) => Some(Doubt::Placeholder(Field::Server)),
        server if server.trim() != server => Some(Doubt::BlanksAround(Field::Server)),
        _ if login.names_server() => None,
        _ => Some(Doubt::WithoutPort),
    }
}

fn about_context(fields: &[&str]) -> impl Iterator<Item = Doubt> {
    NEEDED.into_iter().filter_map(|(at, field)| match fields.get(at).copied() {
        None | Some("") => Some(Doubt::Missing(field)),
        Some(value) if is_placeholder(value, field) => Some(Doubt::Placeholder(field)),
        Some(value) if value.trim() != value => Some(Doubt::BlanksAround(field)),
        Some(_) => None,
    })
}

fn about_options(fields: &[&str]) -> Vec<Doubt> {
    let mut doubts: Vec<Doubt> = Vec::new();
    for (at, field) in OPTIONAL {
        let is_last = at + 1 == fields.len();
        match fields.get(at).copied() {
            None => {}
            Some("*") if is_last => doubts.push(Doubt::StarAtTheEnd),
            Some("*") => {}
            Some("") if is_last => {}
            Some("") => doubts.push(Doubt::WithoutStar(field)),
            Some(value) if is_placeholder(value, field) => doubts.push(Doubt::Placeholder(field)),
            Some(value) if value.trim() != value => doubts.push(Doubt::BlanksAround(field)),
            Some(_) => {}
        }
    }
    doubts
}

/// The field's own name, a mark alone, or something in brackets that was to be filled in.
fn is_placeholder(value: &str, field: Field) -> bool {
    let value = value.trim();
    let brackets = [('<', '>'), ('{', '}'), ('[', ']'), ('%', '%'), ('$', '$')];
    let bracketed =
        |(open, close)| value.len() > 2 && value.starts_with(open) && value.ends_with(close);
    value.eq_ignore_ascii_case(field.as_str())
        || matches!(value, "*" | "**" | "?" | "-" | "--" | "..." | "\u{2026}" | "xxx" | "XXX")
        || brackets.into_iter().any(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1";

    fn doubts(login: &str, protocol: Option<Protocol>) -> Vec<Doubt> {
        Doubt::all(&Login::parse(login.as_bytes()), protocol, None)
    }

    #[test]
    fn logins_as_client_modules_print_them_are_beyond_doubt() {
        for tail in ["", "#ARZT", "#ARZT#Konn_1", "#*#Konn_1", "#", "#ARZT#Konn_1#more"] {
            assert_eq!(doubts(&format!("{GOOD}{tail}"), Some(Protocol::Pop3)), [], "{tail}");
        }
        let smtp = GOOD.replace(":995", ":465");
        assert_eq!(doubts(&smtp, Some(Protocol::Smtp)), []);
        assert_eq!(doubts(&format!("{smtp}#*#Konn_1"), Some(Protocol::Smtp)), []);
        for server in ["", "*", "mail.kim.telematik:8995", "mail.kim.telematik;995"] {
            let login = GOOD.replace("mail.kim.telematik:995", server);
            assert_eq!(doubts(&login, Some(Protocol::Pop3)), [], "{server}");
        }
        assert_eq!(doubts("prx@praxis.kim.telematik", Some(Protocol::Smtp)), []);
        for malformed in ["", "a\tb# #"] {
            assert_eq!(doubts(malformed, None), [], "policy says it");
        }
    }

    #[test]
    fn what_looks_wrong_is_named() {
        let (pop3, smtp) = (Some(Protocol::Pop3), Some(Protocol::Smtp));
        let table: [(&str, Option<Protocol>, &[Doubt]); 22] = [
            (GOOD, smtp, &[Doubt::PortOf(Protocol::Pop3)]),
            ("a@b#h:465#M#C#W", pop3, &[Doubt::PortOf(Protocol::Smtp)]),
            ("a@b#h:465#M#C#W", None, &[]),
            ("a@b#M#C#W", pop3, &[Doubt::WithoutPort, Doubt::Missing(Field::WorkplaceId)]),
            ("a@b#h#M#C#W", pop3, &[Doubt::WithoutPort]),
            ("#h:1#M#C#W", pop3, &[Doubt::Missing(Field::Address)]),
            ("a@b#h:1##C#W", pop3, &[Doubt::Missing(Field::MandantId)]),
            ("a@b#h:1#M##W", pop3, &[Doubt::Missing(Field::ClientsystemId)]),
            ("a@b#h:1#M#C", pop3, &[Doubt::Missing(Field::WorkplaceId)]),
            ("a@b#h:1#M#C#W ", pop3, &[Doubt::Blanks, Doubt::BlanksAround(Field::WorkplaceId)]),
            (" a@b", pop3, &[Doubt::Blanks]),
            ("a@b#h:1 #M#C#W", pop3, &[Doubt::BlanksAround(Field::Server)]),
            (
                "a@b#h:1#M #C# W#U",
                pop3,
                &[Doubt::BlanksAround(Field::MandantId), Doubt::BlanksAround(Field::WorkplaceId)],
            ),
            ("a@b#h:1#*#C#W", pop3, &[Doubt::Placeholder(Field::MandantId)]),
            (
                "a@b#host:port#mandantid#C#<PC>",
                pop3,
                &[
                    Doubt::Placeholder(Field::Server),
                    Doubt::Placeholder(Field::MandantId),
                    Doubt::Placeholder(Field::WorkplaceId),
                ],
            ),
            ("a@b#h:1#M#C#W#-", pop3, &[Doubt::Placeholder(Field::UserId)]),
            ("a@b#h:1#M#C#W#*", pop3, &[Doubt::StarAtTheEnd]),
            ("a@b#h:1#M#C#W##K", pop3, &[Doubt::WithoutStar(Field::UserId)]),
            ("a@b#h:1#M#C#W#U#*", pop3, &[Doubt::StarAtTheEnd]),
            ("a@b#h:465#M#C#W#U", smtp, &[Doubt::UserIdInSmtp]),
            ("a@b#h:465#M#C#W#U", None, &[Doubt::UserIdInSmtp]),
            ("a@b#h:1#Praxis Dr. M\u{fc}ller#C#W", pop3, &[]),
        ];
        for (login, protocol, expected) in table {
            assert_eq!(doubts(login, protocol), expected, "{login}");
        }
    }

    #[test]
    fn the_configuration_s_spelling_is_the_right_one() {
        let login = Login::parse(GOOD.as_bytes());
        let all = |configured| Doubt::all(&login, None, configured);
        assert_eq!(all(Some("prx@praxis.kim.telematik")), []);
        assert_eq!(all(Some("PRX@praxis.kim.telematik")), [Doubt::CaseOfAccount]);
    }

    #[test]
    fn no_doubt_repeats_the_login() {
        let login = "kanarie@b#kanarie#<kanarie># kanarie#kanarie #kanarie#kanarie";
        let all = doubts(login, Some(Protocol::Smtp));
        assert!(all.len() > 3, "{all:?}");
        for doubt in all {
            assert!(!format!("{doubt} {doubt:?}").contains("kanarie"), "{doubt}");
        }
    }
}

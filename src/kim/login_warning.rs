//! What looks wrong about a login: mistyped, cut off, meant for the other protocol.
//!
//! A warning changes nothing: the login is still sent as it came. The log says each warning once for
//! each workstation. No warning holds any of the login's text.

use std::fmt;

use super::{Field, Login};
use crate::words::Protocol;

/// What looks wrong about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginWarning {
    /// Its port is the one of the other protocol.
    PortOf(Protocol),
    /// The text between the first two `#` does not end in a port.
    WithoutPort,
    /// A field that every login with a context has is absent or empty.
    Missing(Field),
    /// There are blanks before or after the login.
    Blanks,
    /// There are blanks before or after this field.
    BlanksAround(Field),
    /// The field holds its own name, a mark such as `?`, or brackets that were never filled in.
    Placeholder(Field),
    /// It ends in `*`. A `*` stands for an omitted field, and is needed only before another field.
    StarAtTheEnd,
    /// An optional field is empty although another field follows; `*` belongs there.
    WithoutStar(Field),
    /// The case of its address differs from the configuration.
    CaseOfAccount,
    /// It differs only in case from the login that the client module accepted last.
    CaseOfLastLogin,
}

/// The three that a Konnektor needs (gemSpec_CM_KOMLE 3.3.2.2), with their index in the fields
/// after the address.
const NEEDED: [(usize, Field); 3] =
    [(1, Field::MandantId), (2, Field::ClientsystemId), (3, Field::WorkplaceId)];
/// The index of the first field that a login may lack.
const OPTIONAL: usize = 4;

impl LoginWarning {
    /// What looks wrong about this login. `protocol` is the one that it is used for, if that is known;
    /// `configured` is the account as the configuration spells it, if the configuration has it.
    ///
    /// A malformed login gets no warnings, as policy refuses it anyway. A login that is only an
    /// address is checked for its address alone.
    pub fn all(login: &Login, protocol: Option<Protocol>, configured: Option<&str>) -> Vec<Self> {
        let mut warnings = Vec::new();
        let Some(text) = login.as_text().filter(|_| login.is_well_formed()) else {
            return warnings;
        };
        if text.trim() != text {
            warnings.push(Self::Blanks);
        }
        if login.address().trim().is_empty() {
            warnings.push(Self::Missing(Field::Address));
        }
        if configured.is_some_and(|written| written != login.address()) {
            warnings.push(Self::CaseOfAccount);
        }
        if login.is_only_an_address() {
            return warnings;
        }
        let fields: Vec<&str> = text.split('#').skip(1).collect();
        warnings.extend(about_server(login, &fields, protocol));
        warnings.extend(about_context(&fields));
        warnings.extend(about_options(&fields, protocol.or_else(|| login.protocol())));
        warnings
    }

    /// What is wrong, as the end of a sentence about the login.
    pub fn problem(self) -> String {
        match self {
            Self::PortOf(Protocol::Pop3) => "has the port of POP3 and is used for SMTP".into(),
            Self::PortOf(Protocol::Smtp) => "has the port of SMTP and is used for POP3".into(),
            Self::WithoutPort => "has no host:port after its address".into(),
            Self::Missing(field) => format!("has no {}", field.as_str()),
            Self::Blanks => "has blanks around it, which are part of the login".into(),
            Self::BlanksAround(field) => format!("has blanks around its {}", field.as_str()),
            Self::Placeholder(field) => {
                format!("has a placeholder in place of its {}", field.as_str())
            }
            Self::StarAtTheEnd => "ends in *, which is only needed before another field".into(),
            Self::WithoutStar(field) => {
                format!("has an empty {} before another field", field.as_str())
            }
            Self::CaseOfAccount => {
                "writes its address with another case than the configuration".into()
            }
            Self::CaseOfLastLogin => {
                "differs only in case from the login that was accepted last".into()
            }
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::PortOf(_) => {
                "use the login that the client module prints for this protocol; the two differ at \
                 least in their port"
            }
            Self::WithoutPort => {
                "compare it with what the client module prints; if that has no host:port either, \
                 kimgate takes each field for the one before it"
            }
            Self::Missing(Field::Address) => "begin with the mail address",
            Self::Missing(_) => "write address#host:port#MandantId#ClientsystemId#WorkplaceId",
            Self::Blanks | Self::BlanksAround(_) => "remove them",
            Self::Placeholder(_) => "write the value that the client module prints",
            Self::StarAtTheEnd => "leave it out, unless the client module prints it",
            Self::WithoutStar(_) => "write *, unless the client module prints it empty",
            Self::CaseOfAccount | Self::CaseOfLastLogin => {
                "write it as the client module prints it: client modules may tell the two apart"
            }
        }
    }
}

impl fmt::Display for LoginWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem(), self.remedy())
    }
}

fn about_server(
    login: &Login,
    fields: &[&str],
    protocol: Option<Protocol>,
) -> Option<LoginWarning> {
    match (protocol, login.protocol()) {
        (Some(used), Some(meant)) if used != meant => return Some(LoginWarning::PortOf(meant)),
        _ => {}
    }
    // From KIM 1.5.4 on it may be left out.
    match fields.first().copied().unwrap_or_default() {
        "" | "*" => None,
        server if is_placeholder(server, Field::Server) => {
            Some(LoginWarning::Placeholder(Field::Server))
        }
        server if server.trim() != server => Some(LoginWarning::BlanksAround(Field::Server)),
        _ if login.names_server() => None,
        _ => Some(LoginWarning::WithoutPort),
    }
}

fn about_context(fields: &[&str]) -> impl Iterator<Item = LoginWarning> {
    NEEDED.into_iter().filter_map(|(at, field)| match fields.get(at).copied() {
        None | Some("") => Some(LoginWarning::Missing(field)),
        Some(value) if is_placeholder(value, field) => Some(LoginWarning::Placeholder(field)),
        Some(value) if value.trim() != value => Some(LoginWarning::BlanksAround(field)),
        Some(_) => None,
    })
}

fn about_options(fields: &[&str], protocol: Option<Protocol>) -> Vec<LoginWarning> {
    let mut warnings: Vec<LoginWarning> = Vec::new();
    for (at, field) in (OPTIONAL..).zip(Field::optional(protocol)) {
        let is_last = at + 1 == fields.len();
        match fields.get(at).copied() {
            None => {}
            Some("*") if is_last => warnings.push(LoginWarning::StarAtTheEnd),
            Some("*") => {}
            Some("") if is_last => {}
            Some("") => warnings.push(LoginWarning::WithoutStar(field)),
            Some(value) if is_placeholder(value, field) => {
                warnings.push(LoginWarning::Placeholder(field))
            }
            Some(value) if value.trim() != value => {
                warnings.push(LoginWarning::BlanksAround(field))
            }
            Some(_) => {}
        }
    }
    warnings
}

/// The field's own name, a mark alone, or something in brackets that was to be filled in.
fn is_placeholder(value: &str, field: Field) -> bool {
    let value = value.trim();
    let brackets = [('<', '>'), ('{', '}'), ('[', ']'), ('%', '%'), ('$', '$')];
    let bracketed =
        |(open, close)| value.len() > 2 && value.starts_with(open) && value.ends_with(close);
    field.is_called(value)
        || matches!(value, "*" | "**" | "?" | "-" | "--" | "..." | "\u{2026}" | "xxx" | "XXX")
        || brackets.into_iter().any(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1";

    fn warnings(login: &str, protocol: Option<Protocol>) -> Vec<LoginWarning> {
        LoginWarning::all(&Login::parse(login.as_bytes()), protocol, None)
    }

    #[test]
    fn logins_as_client_modules_print_them_have_no_warnings() {
        for tail in ["", "#ARZT", "#ARZT#Konn_1", "#*#Konn_1", "#", "#ARZT#Konn_1#more"] {
            assert_eq!(warnings(&format!("{GOOD}{tail}"), Some(Protocol::Pop3)), [], "{tail}");
        }
        let smtp = GOOD.replace(":995", ":465");
        assert_eq!(warnings(&smtp, Some(Protocol::Smtp)), []);
        for tail in ["#ARZT", "#Konn_1", "#Konn_1#ARZT", "#*#ARZT", "#ARZT#Konn_1", "#*#Konn_1"] {
            let login = format!("{smtp}{tail}");
            assert_eq!(warnings(&login, Some(Protocol::Smtp)), [], "a UserId in SMTP: {tail}");
            assert_eq!(warnings(&login, None), [], "{tail}");
        }
        for server in ["", "*", "mail.kim.telematik:8995", "mail.kim.telematik;995"] {
            let login = GOOD.replace("mail.kim.telematik:995", server);
            assert_eq!(warnings(&login, Some(Protocol::Pop3)), [], "{server}");
        }
        assert_eq!(warnings("prx@praxis.kim.telematik", Some(Protocol::Smtp)), []);
        for malformed in ["", "a\tb# #"] {
            assert_eq!(warnings(malformed, None), [], "policy refuses it");
        }
    }

    #[test]
    fn what_looks_wrong_is_named() {
        let (pop3, smtp) = (Some(Protocol::Pop3), Some(Protocol::Smtp));
        let table: [(&str, Option<Protocol>, &[LoginWarning]); 25] = [
            (GOOD, smtp, &[LoginWarning::PortOf(Protocol::Pop3)]),
            ("a@b#h:465#M#C#W", pop3, &[LoginWarning::PortOf(Protocol::Smtp)]),
            ("a@b#h:465#M#C#W", None, &[]),
            (
                "a@b#M#C#W",
                pop3,
                &[LoginWarning::WithoutPort, LoginWarning::Missing(Field::WorkplaceId)],
            ),
            ("a@b#h#M#C#W", pop3, &[LoginWarning::WithoutPort]),
            ("#h:1#M#C#W", pop3, &[LoginWarning::Missing(Field::Address)]),
            ("a@b#h:1##C#W", pop3, &[LoginWarning::Missing(Field::MandantId)]),
            ("a@b#h:1#M##W", pop3, &[LoginWarning::Missing(Field::ClientsystemId)]),
            ("a@b#h:1#M#C", pop3, &[LoginWarning::Missing(Field::WorkplaceId)]),
            (
                "a@b#h:1#M#C#W ",
                pop3,
                &[LoginWarning::Blanks, LoginWarning::BlanksAround(Field::WorkplaceId)],
            ),
            (" a@b", pop3, &[LoginWarning::Blanks]),
            ("a@b#h:1 #M#C#W", pop3, &[LoginWarning::BlanksAround(Field::Server)]),
            (
                "a@b#h:1#M #C# W#U",
                pop3,
                &[
                    LoginWarning::BlanksAround(Field::MandantId),
                    LoginWarning::BlanksAround(Field::WorkplaceId),
                ],
            ),
            ("a@b#h:1#*#C#W", pop3, &[LoginWarning::Placeholder(Field::MandantId)]),
            (
                "a@b#host:port#mandantid#C#<PC>",
                pop3,
                &[
                    LoginWarning::Placeholder(Field::Server),
                    LoginWarning::Placeholder(Field::MandantId),
                    LoginWarning::Placeholder(Field::WorkplaceId),
                ],
            ),
            ("a@b#h:1#M#C#W#-", pop3, &[LoginWarning::Placeholder(Field::UserId)]),
            ("a@b#h:1#M#C#W#*", pop3, &[LoginWarning::StarAtTheEnd]),
            ("a@b#h:1#M#C#W##K", pop3, &[LoginWarning::WithoutStar(Field::UserId)]),
            ("a@b#h:1#M#C#W#U#*", pop3, &[LoginWarning::StarAtTheEnd]),
            ("a@b#mail.x.de;995#M#C#W", smtp, &[LoginWarning::PortOf(Protocol::Pop3)]),
            ("a@b#h:465#M#C#W##U", smtp, &[LoginWarning::WithoutStar(Field::KonnektorIdOrUserId)]),
            (
                "a@b#h:465#M#C#W#userid",
                None,
                &[LoginWarning::Placeholder(Field::KonnektorIdOrUserId)],
            ),
            (
                "a@b#h:1#M#C#W#K#KonnektorId",
                None,
                &[LoginWarning::Placeholder(Field::KonnektorIdOrUserId)],
            ),
            ("a@b#h:1#M#C#W#userid", pop3, &[LoginWarning::Placeholder(Field::UserId)]),
            ("a@b#h:1#Praxis Dr. M\u{fc}ller#C#W", pop3, &[]),
        ];
        for (login, protocol, expected) in table {
            assert_eq!(warnings(login, protocol), expected, "{login}");
        }
    }

    #[test]
    fn the_configuration_s_spelling_is_the_right_one() {
        let login = Login::parse(GOOD.as_bytes());
        let all = |configured| LoginWarning::all(&login, None, configured);
        assert_eq!(all(Some("prx@praxis.kim.telematik")), []);
        assert_eq!(all(Some("PRX@praxis.kim.telematik")), [LoginWarning::CaseOfAccount]);
    }

    #[test]
    fn no_warning_repeats_the_login() {
        let login = "kanarie@b#kanarie#<kanarie># kanarie#kanarie #kanarie#kanarie";
        let all = warnings(login, Some(Protocol::Smtp));
        assert!(all.len() > 3, "{all:?}");
        for warning in all {
            assert!(!format!("{warning} {warning:?}").contains("kanarie"), "{warning}");
        }
    }
}

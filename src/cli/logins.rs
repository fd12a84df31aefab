//! Which protocol a login is for.

use crate::kim::Login;
use crate::words::Protocol;

/// Which protocol a login is for, by the port in it: 995, 10995 and 110, or 465, 8465, 587 and 25.
/// The names for the two differ in that (gematik `docs/Primaersystem.adoc`), and the wrong one
/// would count as a failed login at the KIM mail service. `None` for other ports and for none.
pub(super) fn protocol_of(login: &Login) -> Option<Protocol> {
    let (_, port) = login.server().rsplit_once(':')?;
    match port {
        "110" => Some(Protocol::Pop3),
        "25" | "587" => Some(Protocol::Smtp),
        port if port.ends_with("995") => Some(Protocol::Pop3),
        port if port.ends_with("465") => Some(Protocol::Smtp),
        _ => None,
    }
}

/// Whether a login may be used for this protocol: it says so, or it says nothing of any server.
pub(super) fn serves(login: &Login, protocol: Protocol) -> bool {
    login.server().is_empty() || protocol_of(login) == Some(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_tells_the_protocol() {
        let table = [
            ("a@b#h:995#M#C#W", Some(Protocol::Pop3)),
            ("a@b#h:10995#M", Some(Protocol::Pop3)),
            ("a@b#h:465#M", Some(Protocol::Smtp)),
            ("a@b#h:587", Some(Protocol::Smtp)),
            ("a@b#h:8888#M", None),
            ("a@b#h#M", None),
            ("a@b", None),
        ];
        for (login, expected) in table {
            assert_eq!(protocol_of(&Login::parse(login.as_bytes())), expected, "{login}");
        }
        let serves =
            |login: &str, protocol| super::serves(&Login::parse(login.as_bytes()), protocol);
        assert!(serves("a@b", Protocol::Smtp) && serves("a@b#*#M", Protocol::Pop3));
        assert!(!serves("a@b#h:995#M", Protocol::Smtp) && !serves("a@b#h:1#M", Protocol::Pop3));
    }
}

//! By which names the admin address answers.
//!
//! DNS rebinding: a page from outside, open in a browser on a machine in `admin.allow`, lets its own
//! name resolve to the admin address and then reads `/status` as if it were its own. The page cannot
//! change the name that the browser puts into `Host`. So a request is answered if `Host` is an IP
//! address, which no page can rebind, or a name that belongs to this gateway.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::HOST;

/// What a browser or a program asked for: the host without its port (RFC 3986, 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// An IP address; an IPv6 address stands in brackets.
    Address(IpAddr),
    /// Everything else, as it was written.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads the value of a `Host` field.
    pub(crate) fn of(field: &'a str) -> Self {
        let host = match field.rsplit_once(':') {
            // What is left of the last colon of a bare IPv6 address is no host.
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => field,
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse().ok(),
        };
        address.map_or(Self::Name(host), Self::Address)
    }

    /// Whether this is one of the names, without regard to case, or an IP address.
    pub(crate) fn is_address_or<'n>(self, names: impl IntoIterator<Item = &'n str>) -> bool {
        match self {
            Self::Address(_) => true,
            // "kim.praxis.local." is the same name.
            Self::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                names.into_iter().any(|own| own.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Whether a request asks for this gateway: by an IP address, by `localhost`, or by one of `names`.
/// A program that sends no `Host` is no browser, and is answered.
pub(super) fn asks_for(request: &Request, names: &[String]) -> bool {
    let own = || names.iter().map(String::as_str).chain(["localhost"]);
    let mut fields = request.headers().get_all(HOST).iter();
    let in_field = match (fields.next(), fields.next()) {
        (None, _) => true,
        (Some(field), None) => {
            field.to_str().is_ok_and(|field| Host::of(field).is_address_or(own()))
        }
        // RFC 9112, 3.2: more than one is an error.
        (Some(_), Some(_)) => false,
    };
    // RFC 9112, 3.2.2: a host in the request's first line counts instead of the field.
    let in_target = request
        .uri()
        .authority()
        .is_none_or(|authority| Host::of(authority.as_str()).is_address_or(own()));
    in_field && in_target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[&str]) -> Request {
        let builder = fields
            .iter()
            .fold(Request::builder().uri(target), |request, field| request.header(HOST, *field));
        builder.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn an_address_or_an_own_name_asks_for_this_gateway_and_nothing_else_does() {
        let names = ["kim.praxis.local".to_owned(), "kimgate.praxis.de".to_owned()];
        let table = [
            ("127.0.0.1:9465", true),
            ("127.0.0.1", true),
            ("192.168.0.5:9465", true),
            ("[::1]:9465", true),
            ("[fd00::5]", true),
            ("localhost:9465", true),
            ("LOCALHOST", true),
            ("kim.praxis.local:9465", true),
            ("KIM.praxis.local.", true),
            ("kimgate.praxis.de", true),
            ("evil.example:9465", false),
            ("evil.kim.praxis.local", false),
            ("kim.praxis.local.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:80", false),
            ("evil.example:80@127.0.0.1", false),
            ("127.0.0.1@evil.example", false),
            ("[evil.example]", false),
            ("[127.0.0.1]", false),
            ("::1:9465:x", false),
            ("0x7f.1", false),
            (".", false),
            ("", false),
        ];
        for (host, expected) in table {
            assert_eq!(asks_for(&request("/status", &[host]), &names), expected, "{host}");
        }
    }

    #[test]
    fn a_second_host_and_a_host_in_the_first_line_hide_nothing() {
        let own = "127.0.0.1:9465";
        assert!(asks_for(&request("/status", &[]), &[]));
        assert!(asks_for(&request("http://127.0.0.1:9465/status", &[own]), &[]));
        assert!(!asks_for(&request("http://evil.example/status", &[own]), &[]));
        assert!(!asks_for(&request("/status", &[own, "evil.example"]), &[]));
        assert!(!asks_for(&request("/status", &["evil.example", own]), &[]));
    }
}

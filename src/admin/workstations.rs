//! What workstations may ask for: the autoconfig file of their own accounts, and nothing else.
//!
//! It holds logins, so each workstation gets only its own. The asking address says which one it is.
//! Nothing of it is logged.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

/// Knows the workstations, and what each of them may see.
pub trait Workstations: Send + Sync {
    /// Whether a workstation has this address, and workstations may ask at all.
    fn knows(&self, peer: IpAddr) -> bool;

    /// The file for the workstation with this address, which asked this host for this account, or
    /// for the one that it has.
    fn autoconfig(&self, peer: IpAddr, host: &str, account: Option<&str>) -> Option<String>;
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Where Thunderbird looks, on `autoconfig.DOMAIN` and on `DOMAIN`.
pub(super) fn routes(workstations: Arc<dyn Workstations>) -> Router {
    let autoconfig =
        async move |Extension(Peer(peer)): Extension<Peer>, headers: HeaderMap, uri: Uri| {
            answer(&*workstations, peer, &headers, &uri)
        };
    Router::new()
        .route("/mail/config-v1.1.xml", get(autoconfig.clone()))
        .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(autoconfig))
}

/// The same for a peer that may see nothing else.
pub(super) fn only(workstations: Arc<dyn Workstations>) -> Router {
    let refusal = (StatusCode::FORBIDDEN, "this address is not in admin.allow\n");
    routes(workstations).fallback(async move || refusal)
}

fn answer(
    workstations: &dyn Workstations,
    peer: IpAddr,
    headers: &HeaderMap,
    uri: &Uri,
) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let account = uri.query().and_then(|query| parameter(query, "emailaddress"));
    match workstations.autoconfig(peer, host, account.as_deref()) {
        Some(file) => ([(CONTENT_TYPE, "text/xml; charset=utf-8")], file).into_response(),
        None => {
            let nothing = "no login of this address is listed for this workstation and allowed\n";
            (StatusCode::NOT_FOUND, nothing).into_response()
        }
    }
}

/// A parameter of a query string, decoded; `None` also where it is not UTF-8.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let text = pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))?;
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_out_of_a_query() {
        let table = [
            ("emailaddress=prx%40praxis.kim.telematik", Some("prx@praxis.kim.telematik")),
            ("x=1&emailaddress=a%2Bb@c.de&emailaddress=d", Some("a+b@c.de")),
            ("emailaddress=a+b", Some("a b")),
            ("emailaddress=", Some("")),
            ("emailaddress=%4", None),
            ("emailaddress=%fg", None),
            ("emailaddress=%ff", None),
            ("xemailaddress=a", None),
            ("", None),
        ];
        for (query, address) in table {
            assert_eq!(parameter(query, "emailaddress").as_deref(), address, "{query}");
        }
    }
}

//! Resolves a client module's host name, and remembers the answer.
//!
//! Workstations poll all day long, and each question to the system's resolver takes a thread and
//! reads files. A resolver that is slow or gone must not keep mail from a client module whose
//! address was known a minute ago.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long an answer is used without asking again. This is longer than the pause between two
/// probes, which ask each time, so no login waits for the resolver while the probes succeed.
const FRESH: Duration = Duration::from_secs(120);
/// A name whose answer is younger than this is not resolved again when its addresses do not answer:
/// a client module that is off may be dialled many times a second.
const RECENT: Duration = Duration::from_secs(5);
/// How long the system's resolver may take; libc's own first timeout has this length.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host, and the addresses that the system's resolver last gave for it.
pub(crate) struct Resolver {
    host: String,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    addresses: Arc<[IpAddr]>,
}

impl Resolver {
    /// `host` is a name or an address; an address is never resolved.
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), known: Mutex::new(None) }
    }

    /// Connects to this port at the first address that answers. If none of the remembered addresses
    /// answers, the name is resolved again, since the host may have moved.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return TcpStream::connect((address, port)).await;
        }
        let Some(fresh) = self.known().filter(|known| known.at.elapsed() < FRESH) else {
            return connect(&self.ask(port).await?, port).await;
        };
        match connect(&fresh.addresses, port).await {
            Ok(tcp) => Ok(tcp),
            Err(error) if fresh.at.elapsed() < RECENT => Err(error),
            Err(error) => {
                let now = self.ask(port).await?;
                if now == fresh.addresses { Err(error) } else { connect(&now, port).await }
            }
        }
    }

    /// Asks the system's resolver. If it does not answer in time, its last answer is used.
    pub(crate) async fn ask(&self, port: u16) -> io::Result<Arc<[IpAddr]>> {
        let found = timeout(PATIENCE, lookup_host((self.host.as_str(), port))).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match found {
            Ok(found) => {
                let addresses: Arc<[IpAddr]> = found.map(|address| address.ip()).collect();
                let known = Known { at: Instant::now(), addresses: addresses.clone() };
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
                Ok(addresses)
            }
            Err(error) => self.known().map(|known| known.addresses).ok_or(error),
        }
    }

    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    fn remember(resolver: &Resolver, addresses: &[IpAddr], age: Duration) {
        let at = Instant::now().checked_sub(age).unwrap();
        let known = Known { at, addresses: addresses.into() };
        *resolver.known.lock().unwrap() = Some(known);
    }

    #[tokio::test]
    async fn a_host_that_moved_is_found_at_its_new_address() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = Resolver::new("localhost");
        // Nothing listens there.
        let gone = [Ipv4Addr::new(127, 0, 0, 77).into()];
        remember(&resolver, &gone, Duration::ZERO);
        resolver.connect(port).await.unwrap_err();
        remember(&resolver, &gone, RECENT);
        resolver.connect(port).await.unwrap();
        let known = resolver.known().unwrap();
        assert!(known.addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", known.addresses);
    }

    #[tokio::test]
    async fn a_name_that_is_not_answered_any_more_is_used_as_it_was() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // RFC 6761 section 6.4: this name never has an address.
        let resolver = Resolver::new("client-module.invalid");
        resolver.connect(port).await.unwrap_err();
        remember(&resolver, &[Ipv4Addr::LOCALHOST.into()], FRESH);
        resolver.ask(port).await.unwrap();
        resolver.connect(port).await.unwrap();
    }
}

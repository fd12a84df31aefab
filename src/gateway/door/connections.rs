//! How many connections there may be, in all and from one workstation.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

/// What a connection is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A workstation by name.
    Workstation(Arc<str>),
    /// An address that belongs to no workstation.
    Address(IpAddr),
    /// All sources in no rule together, until a certificate names the workstation.
    Strangers,
    /// An address during a TLS handshake. The certificate may show later which workstation it is.
    Handshake(IpAddr),
}

/// What connections are counted by: the address, of IPv6 its /64, which one machine has alone.
pub(crate) fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Connections over the limit that get a reply. More are closed without one.
const OVER_LIMIT: usize = 64;

/// Counts connections, and knows how many there may be. Clones count together.
#[derive(Clone)]
pub(crate) struct Connections {
    limit: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
    by_origin: Arc<DashMap<Origin, usize>>,
}

/// A connection's place in the count, until it is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

/// A connection's place in the count of its workstation or address, until it is dropped.
pub(crate) struct OriginPlace {
    by_origin: Arc<DashMap<Origin, usize>>,
    origin: Origin,
}

impl Connections {
    /// With this limit for all connections together.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = Arc::new(AtomicUsize::new(limit));
        Self { limit, all: Arc::default(), by_origin: Arc::default() }
    }

    /// Applies another limit. Connections over it stay.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A place within the limit; `None` if all are taken.
    pub(crate) fn enter(&self) -> Option<Place> {
        self.place(self.limit.load(Ordering::Relaxed))
    }

    /// A place for a connection that is over the limit and gets a reply; `None` if too many have one.
    pub(crate) fn enter_over_limit(&self) -> Option<Place> {
        self.place(self.limit.load(Ordering::Relaxed).saturating_add(OVER_LIMIT))
    }

    fn place(&self, limit: usize) -> Option<Place> {
        let place = Place(self.all.clone());
        // Counted first; if that is over the limit, the drop of `place` takes it back.
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        (before < limit).then_some(place)
    }

    /// One of the `limit` places of this workstation or address; `None` if all are taken.
    pub(crate) fn enter_from(&self, origin: Origin, limit: usize) -> Option<OriginPlace> {
        let mut count = self.by_origin.entry(origin.clone()).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(count);
        Some(OriginPlace { by_origin: self.by_origin.clone(), origin })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for OriginPlace {
    fn drop(&mut self) {
        if let Some(mut count) = self.by_origin.get_mut(&self.origin) {
            *count -= 1;
        }
        self.by_origin.remove_if(&self.origin, |_, count| *count == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let connections = Connections::new(2);
        let first = connections.enter();
        let second = connections.enter();
        assert!(first.is_some() && second.is_some());
        assert!(connections.enter().is_none());
        drop(first);
        assert!(connections.enter().is_some());
    }

    #[test]
    fn some_connections_over_the_limit_get_a_place_for_their_reply() {
        let connections = Connections::new(1);
        let _inside = connections.enter();
        let over: Vec<_> = (0..OVER_LIMIT).map(|_| connections.enter_over_limit()).collect();
        assert!(over.iter().all(Option::is_some) && connections.enter().is_none());
        assert!(connections.enter_over_limit().is_none());
        connections.set_limit(OVER_LIMIT + 2);
        assert!(connections.enter().is_some());
    }

    #[test]
    fn one_workstation_does_not_take_the_places_of_another() {
        let connections = Connections::new(2);
        let pc1 = || Origin::Workstation("PC1".into());
        let place = connections.enter_from(pc1(), 1);
        assert!(place.is_some());
        assert!(connections.enter_from(pc1(), 1).is_none());
        assert!(connections.enter_from(Origin::Workstation("PC2".into()), 1).is_some());
        drop(place);
        assert!(connections.enter_from(pc1(), 1).is_some());
        assert!(connections.by_origin.is_empty());
    }
}

//! How many connections there may be, in all and from one workstation.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

/// Whom a connection is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A workstation by name.
    Workstation(Arc<str>),
    /// An address that no workstation has.
    Address(IpAddr),
    /// An address in the midst of a TLS handshake, whose certificate may name a workstation.
    Handshake(IpAddr),
}

/// The count of connections.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    all: Arc<AtomicUsize>,
    by_origin: Arc<DashMap<Origin, usize>>,
}

/// A connection's place in the count, until it is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

/// A connection's place in its workstation's count, until it is dropped.
pub(crate) struct OriginPlace {
    by_origin: Arc<DashMap<Origin, usize>>,
    origin: Origin,
}

impl Connections {
    /// A place among `limit`; `None` where all are taken.
    pub(crate) fn enter(&self, limit: usize) -> Option<Place> {
        let place = Place(self.all.clone());
        // Counted first and given back by the drop if it was one too many.
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        (before < limit).then_some(place)
    }

    /// A place among `limit` of this workstation; `None` where all are taken.
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
        let connections = Connections::default();
        let first = connections.enter(2);
        let second = connections.enter(2);
        assert!(first.is_some() && second.is_some());
        assert!(connections.enter(2).is_none());
        drop(first);
        assert!(connections.enter(2).is_some());
    }

    #[test]
    fn one_workstation_does_not_take_the_places_of_another() {
        let connections = Connections::default();
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

//! Which workstation an address belongs to: the most specific network wins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Networks and their workstations. A lookup asks one hash table once for each prefix length in
/// use.
#[derive(Debug, Default)]
pub(super) struct Networks {
    owners: HashMap<IpNet, Arc<str>>,
    /// Prefix lengths in use, longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Networks {
    /// Gives the network, in its canonical form, to this workstation. `Err` is the workstation that
    /// has it already.
    pub(super) fn add(&mut self, network: IpNet, owner: &Arc<str>) -> Result<(), Arc<str>> {
        let holder = self.owners.entry(network).or_insert_with(|| Arc::clone(owner));
        if holder != owner {
            return Err(Arc::clone(holder));
        }
        let lengths = if network.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let place = lengths.binary_search_by(|length| network.prefix_len().cmp(length));
        if let Err(place) = place {
            lengths.insert(place, network.prefix_len());
        }
        Ok(())
    }

    /// The owner of the longest prefix that holds this address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&Arc<str>> {
        let address = address.to_canonical();
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().find_map(|&length| {
            let network = IpNet::new(address, length).ok()?;
            self.owners.get(&network.trunc())
        })
    }
}

/// Host bits cleared; a network of IPv4 addresses mapped into IPv6 is the IPv4 network, because a
/// socket for both families shows IPv4 peers in the mapped form.
pub(super) fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(v6) = network
        && let Some(address) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(address, length)
    {
        return v4.into();
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_wins_in_every_notation() {
        let mut networks = Networks::default();
        for (network, owner) in [
            ("0.0.0.0/0", "world"),
            ("10.0.0.0/8", "house"),
            ("10.1.2.99/24", "room"),
            ("10.1.2.3/32", "desk"),
            ("::ffff:10.1.3.0/120", "mapped"),
            ("fd00::/8", "six"),
            ("fd00::1/128", "host6"),
        ] {
            networks.add(canonical(network.parse().unwrap()), &owner.into()).unwrap();
        }
        let table = [
            ("10.1.2.3", Some("desk")),
            ("::ffff:10.1.2.3", Some("desk")),
            ("10.1.2.4", Some("room")),
            ("10.1.3.4", Some("mapped")),
            ("10.9.9.9", Some("house")),
            ("192.168.0.1", Some("world")),
            ("fd00::1", Some("host6")),
            ("fd00::2", Some("six")),
            ("2001:db8::1", None),
        ];
        for (address, owner) in table {
            let found = networks.owner(address.parse().unwrap());
            assert_eq!(found.map(AsRef::as_ref), owner, "{address}");
        }
    }

    #[test]
    fn all_of_ipv6_does_not_take_in_ipv4() {
        let mut networks = Networks::default();
        networks.add(canonical("::/0".parse().unwrap()), &"six".into()).unwrap();
        assert_eq!(networks.owner("::ffff:10.1.2.3".parse().unwrap()), None);
        assert_eq!(networks.owner("10.1.2.3".parse().unwrap()), None);
    }

    #[test]
    fn one_network_has_one_owner() {
        let mut networks = Networks::default();
        let (pc1, pc2): (Arc<str>, Arc<str>) = ("PC1".into(), "PC2".into());
        let add = |networks: &mut Networks, text: &str, owner| {
            networks.add(canonical(text.parse().unwrap()), owner)
        };
        assert_eq!(add(&mut networks, "10.0.0.1/24", &pc1), Ok(()));
        assert_eq!(add(&mut networks, "10.0.0.2/24", &pc1), Ok(()));
        assert_eq!(add(&mut networks, "::ffff:10.0.0.0/120", &pc2), Err(pc1));
    }
}

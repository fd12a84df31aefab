//! Refuses addresses that can be reached from outside the practice. kimgate is made for the network of
//! one practice, where an address shows which PC a connection comes from.

use std::net::{IpAddr, SocketAddr};

/// Why an address is opened only if `gateway.public` allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// It can be reached from the internet.
    Public(IpAddr),
    /// It is in no private network, and the rules let unknown workstations in.
    Strangers(IpAddr),
}

/// An address that is not opened, because it can be reached from outside the practice's network.
#[derive(Debug, thiserror::Error)]
#[error("{what} at {address} could be reached {}", from_where(.exposure))]
pub struct ExposedError {
    /// Which listener, or the admin pages.
    pub what: String,
    /// The address that was wanted.
    pub address: SocketAddr,
    /// From where it could be reached.
    pub exposure: Exposure,
}

impl ExposedError {
    /// What the operator can do about it.
    pub const REMEDY: &'static str = "use an address of the practice's own network, or write \
         gateway.public = true to allow it";

    /// The same as [`ExposedError::REMEDY`], as [`StartError`](crate::gateway::StartError) has it.
    pub fn remedy(&self) -> &'static str {
        Self::REMEDY
    }
}

fn from_where(exposure: &Exposure) -> String {
    match exposure {
        Exposure::Public(ip) => format!("from the internet, at this machine's address {ip}"),
        Exposure::Strangers(ip) => format!(
            "by strangers at {ip}, which is in no private network, and the rules let unknown \
             workstations in"
        ),
    }
}

/// Why it is dangerous to listen at `address`, on a machine with these addresses of its own. `None` if
/// it is not. An unspecified address stands for all of the machine's own.
pub fn exposure(address: SocketAddr, own: &[IpAddr], lets_strangers_in: bool) -> Option<Exposure> {
    let reached: Vec<IpAddr> = match address.ip() {
        ip if !ip.is_unspecified() => vec![ip.to_canonical()],
        // A socket for IPv6 accepts IPv4 too, unless the system is set to another default.
        IpAddr::V6(_) => own.iter().map(IpAddr::to_canonical).collect(),
        IpAddr::V4(_) => own.iter().map(IpAddr::to_canonical).filter(IpAddr::is_ipv4).collect(),
    };
    let public = reached.iter().find(|ip| !is_private(**ip) && !is_shared(**ip));
    let strange = reached.iter().find(|ip| lets_strangers_in && !is_private(**ip));
    public.map(|ip| Exposure::Public(*ip)).or(strange.map(|ip| Exposure::Strangers(*ip)))
}

/// The addresses of this machine. Empty, with a warning in the log, if the system does not list them.
pub fn own_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses, so public ones are not noticed");
            Vec::new()
        }
    }
}

/// Of the machine itself, of its link, or of a private network (RFC 1918, RFC 3927, RFC 4193).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Not reachable from the internet, but not private either: shared by the customers of one provider
/// (RFC 6598), as in the Telematikinfrastruktur, or for examples (RFC 5737, RFC 3849), as in sandboxes.
fn is_shared(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_documentation() || (first, second & 0xc0) == (100, 64)
        }
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xdb8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_strangers_reach_are_exposed() {
        let public = |ip: &str| Some(Exposure::Public(ip.parse().unwrap()));
        let strangers = |ip: &str| Some(Exposure::Strangers(ip.parse().unwrap()));
        let home = &["127.0.0.1", "192.168.0.5", "::1", "fe80::1", "fd00::5"][..];
        let dual = &["127.0.0.1", "192.168.0.5", "2a02:8071::5"][..];
        let rented = &["127.0.0.1", "80.0.0.5"][..];
        let ti = &["127.0.0.1", "100.102.3.4"][..];
        let table: Vec<(&str, &[&str], bool, Option<Exposure>)> = vec![
            ("127.0.0.1:995", rented, true, None),
            ("192.168.0.5:995", rented, true, None),
            ("[fd00::5]:995", rented, true, None),
            ("80.0.0.5:995", home, false, public("80.0.0.5")),
            ("[2a02:8071::5]:995", home, false, public("2a02:8071::5")),
            ("[::ffff:80.0.0.5]:995", home, false, public("80.0.0.5")),
            ("0.0.0.0:995", home, true, None),
            ("[::]:995", home, true, None),
            // Many practices have a public IPv6 address behind their router's firewall.
            ("0.0.0.0:995", dual, true, None),
            ("[::]:995", dual, false, public("2a02:8071::5")),
            ("0.0.0.0:995", rented, false, public("80.0.0.5")),
            ("[::]:995", rented, false, public("80.0.0.5")),
            ("0.0.0.0:995", ti, false, None),
            ("0.0.0.0:995", ti, true, strangers("100.102.3.4")),
            ("100.127.255.255:995", home, true, strangers("100.127.255.255")),
            ("100.128.0.0:995", home, false, public("100.128.0.0")),
            ("172.32.0.1:995", home, false, public("172.32.0.1")),
            ("192.0.2.5:995", home, false, None),
            ("[2001:db8::5]:995", home, true, strangers("2001:db8::5")),
            ("0.0.0.0:995", &[], true, None),
        ];
        for (address, own, lets_in, expected) in table {
            let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
            let found = exposure(address.parse().unwrap(), &own, lets_in);
            assert_eq!(found, expected, "{address} {own:?} {lets_in}");
        }
    }

    #[test]
    fn this_machine_has_an_address() {
        assert!(own_addresses().iter().any(|ip| ip.is_loopback()));
    }
}

//! Which addresses may be connected to.
//!
//! Anyone who can write to the input topic chooses URLs, so a URL must not reach what only this
//! machine can reach: its own services, its network, the cloud's metadata. Public unicast addresses
//! are allowed, everything else is refused unless `fetch.allow_addresses` names it.
//!
//! # Source
//! IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::SettingsFault;

const ACCEPTED: &str = "`address`, `network/prefix`, `address:port`, `[IPv6 address]:port`";

/// IPv4 that is not public unicast, and what it is.
const REFUSED_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8), // "this network"; 0.0.0.0 connects to loopback
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private
    (Ipv4Addr::new(100, 64, 0, 0), 10), // carrier-grade NAT; a cloud's metadata
    (Ipv4Addr::new(127, 0, 0, 0), 8), // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's wire server, in public space
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local; metadata of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, broadcast
];

/// IPv6 inside the global unicast block 2000::/3 that is not public all the same. What lies outside
/// of that block (loopback, unspecified, link-local, site-local, unique local, multicast, local
/// NAT64, discard) is refused as a whole.
const REFUSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: any IPv4 address in disguise
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// The rule for addresses.
#[derive(Debug, Clone, Default)]
pub struct AddressGuard {
    networks: Vec<IpNet>,
    sockets: Vec<SocketAddr>,
}

impl AddressGuard {
    /// A guard that also lets through what `allowed` names.
    ///
    /// # Errors
    /// One fault per entry that is none of `address`, `network/prefix`, `address:port`.
    pub fn new(allowed: &[String]) -> Result<Self, Vec<SettingsFault>> {
        let mut guard = Self::default();
        let mut faults = Vec::new();
        for entry in allowed {
            let text = entry.trim();
            if let Ok(network) = text.parse::<IpNet>() {
                guard.networks.push(network);
            } else if let Ok(address) = text.parse::<IpAddr>() {
                guard.networks.push(address.into());
            } else if let Some(socket) = text.parse::<SocketAddr>().ok().filter(|s| s.port() > 0) {
                guard.sockets.push(socket);
            } else {
                faults.push(SettingsFault {
                    key: "fetch.allow_addresses",
                    value: entry.clone(),
                    problem: "no address, network or socket".to_owned(),
                    accepted: ACCEPTED,
                });
            }
        }
        if faults.is_empty() {
            Ok(guard)
        } else {
            Err(faults)
        }
    }

    /// Whether a connection to this address and port may be made.
    #[must_use]
    pub fn allows(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical(); // ::ffff:a.b.c.d is a.b.c.d
        is_public(address)
            || self
                .networks
                .iter()
                .any(|network| network.contains(&address))
            || self
                .sockets
                .iter()
                .any(|socket| socket.ip().to_canonical() == address && socket.port() == port)
    }

    /// The ports that some `address:port` entry names.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.sockets.iter().map(SocketAddr::port)
    }
}

/// Whether an address is public unicast.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !REFUSED_V4
            .into_iter()
            .any(|(network, prefix)| Ipv4Net::new_assert(network, prefix).contains(&v4)),
        IpAddr::V6(v6) => match translated(v6) {
            Some(v4) => is_public(v4.into()),
            None => {
                v6.segments()[0] & 0xe000 == 0x2000
                    && !REFUSED_V6
                        .into_iter()
                        .any(|(network, prefix)| Ipv6Net::new_assert(network, prefix).contains(&v6))
            }
        },
    }
}

/// The IPv4 address behind the well-known NAT64 prefix 64:ff9b::/96, by which IPv6-only networks
/// reach public IPv4 hosts.
fn translated(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(entries: &[&str]) -> AddressGuard {
        AddressGuard::new(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
            .expect("entries are right")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn every_special_address_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "5f00::1",
        ] {
            assert!(!is_public(ip(text)), "{text}");
            assert!(!guard(&[]).allows(ip(text), 80), "{text}");
        }
    }

    #[test]
    fn an_allowed_network_lets_its_addresses_through_on_every_port() {
        let guard = guard(&["127.0.0.0/8", "fd00::/8", "10.9.8.7"]);
        assert!(guard.allows(ip("127.3.2.1"), 80));
        assert!(guard.allows(ip("::ffff:127.0.0.1"), 4711));
        assert!(guard.allows(ip("fd12::1"), 443));
        assert!(guard.allows(ip("10.9.8.7"), 80));
        assert!(!guard.allows(ip("10.9.8.8"), 80));
        assert!(!guard.allows(ip("::1"), 80));
    }

    #[test]
    fn an_allowed_socket_lets_only_its_port_through() {
        let guard = guard(&["10.1.2.3:8080", "[::1]:81"]);
        assert!(guard.allows(ip("10.1.2.3"), 8080));
        assert!(!guard.allows(ip("10.1.2.3"), 80));
        assert!(guard.allows(ip("::1"), 81));
        assert!(!guard.allows(ip("::1"), 82));
        assert_eq!(guard.ports().collect::<Vec<_>>(), [8080, 81]);
    }

    #[test]
    fn every_wrong_entry_is_reported() {
        let faults = AddressGuard::new(&[
            "localhost".to_owned(),
            "10.0.0.0/33".to_owned(),
            "10.0.0.1:0".to_owned(),
            "10.0.0.1".to_owned(),
        ])
        .expect_err("three are wrong");
        let values: Vec<_> = faults.iter().map(|f| f.value.as_str()).collect();
        assert_eq!(values, ["localhost", "10.0.0.0/33", "10.0.0.1:0"]);
        assert!(faults[0].to_string().contains("fetch.allow_addresses"));
    }
}

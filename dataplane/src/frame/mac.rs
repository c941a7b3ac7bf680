//! Ethernet addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl Mac {
    /// All stations.
    pub(crate) const BROADCAST: Mac = Mac([0xff; 6]);
    /// No station: the value before one is known.
    pub(crate) const NONE: Mac = Mac([0; 6]);

    /// The group address of a multicast address.
    pub(crate) const fn multicast(group: IpAddr) -> Mac {
        match group {
            IpAddr::V4(group) => Mac::of_ipv4_group(group),
            IpAddr::V6(group) => Mac::of_ipv6_group(group),
        }
    }

    /// That of an IPv4 one: its low 23 bits (RFC 1112 §6.4).
    pub(crate) const fn of_ipv4_group(group: Ipv4Addr) -> Mac {
        let [_, b, c, d] = group.octets();
        Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// That of an IPv6 one: its low 32 bits (RFC 2464 §7).
    pub(crate) const fn of_ipv6_group(group: Ipv6Addr) -> Mac {
        let [.., a, b, c, d] = group.octets();
        Mac([0x33, 0x33, a, b, c, d])
    }

    /// The link-local address of the station that has this one (RFC 4291 §2.5.6, with the interface identifier of
    /// RFC 2464 §4).
    pub(crate) const fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let high = u16::from_be_bytes([a ^ 2, b]);
        let (low, end) = (u16::from_be_bytes([0xfe, d]), u16::from_be_bytes([e, f]));
        Ipv6Addr::new(0xfe80, 0, 0, 0, high, (c as u16) << 8 | 0xff, low, end)
    }

    /// Whether this can be one station's address.
    pub(crate) fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self != Mac::NONE
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_maps_to_its_low_23_bits() {
        let mac = Mac::multicast(Ipv4Addr::new(239, 129, 2, 3).into());
        assert_eq!(mac.to_string(), "01:00:5e:01:02:03");
        assert!(!mac.is_unicast());
    }

    #[test]
    fn an_ipv6_group_maps_to_its_low_32_bits() {
        let mac = Mac::multicast("ff3e::8000:1f2".parse().unwrap());
        assert_eq!(mac.to_string(), "33:33:80:00:01:f2");
        assert!(!mac.is_unicast());
    }

    #[test]
    fn a_link_local_address_follows_from_the_ethernet_address() {
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        // The example of RFC 2464 §4.
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }
}

//! An address of a port with its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the node on a port, and the prefix that is on link with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAddress {
    /// The node's own address.
    pub address: IpAddr,
    /// Length of the prefix: 0 to 32, or to 128 in IPv6.
    pub prefix_len: u8,
}

impl PortAddress {
    /// Whether the other address is of the same prefix.
    #[must_use]
    pub fn has_on_link(&self, other: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == other.is_ipv4();
        same_family && (bits(self.address) ^ bits(other)) & self.mask() == 0
    }

    /// The prefix: its first address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        let network = bits(self.address) & self.mask();
        match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits((network >> 96) as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(network).into(),
        }
    }

    fn mask(&self) -> u128 {
        let host_bits = 128 - u32::from(self.prefix_len);
        u128::MAX.checked_shl(host_bits).unwrap_or_default()
    }
}

impl fmt::Display for PortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// The bits of an address, from the highest one down.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, prefix_len: u8) -> PortAddress {
        let address = address.parse().unwrap();
        PortAddress {
            address,
            prefix_len,
        }
    }

    #[test]
    fn what_is_on_link_has_the_same_prefix() {
        let cases = [
            ("10.0.1.1", 30, "10.0.1.2", true, "10.0.1.0"),
            ("10.0.1.1", 30, "10.0.1.4", false, "10.0.1.0"),
            ("10.0.1.1", 0, "192.0.2.1", true, "0.0.0.0"),
            ("10.0.1.1", 32, "10.0.1.2", false, "10.0.1.1"),
            ("fd00:1::1", 64, "fd00:1::ffff:2", true, "fd00:1::"),
            ("fd00:1::1", 64, "fd00:1:0:1::2", false, "fd00:1::"),
            ("fd00:1::1", 128, "fd00:1::2", false, "fd00:1::1"),
            ("fd00::1", 0, "10.0.1.2", false, "::"),
        ];
        for (address, len, other, is_on_link, network) in cases {
            let port = port(address, len);
            let other: IpAddr = other.parse().unwrap();
            assert_eq!(port.has_on_link(other), is_on_link, "{port} {other}");
            assert_eq!(port.network().to_string(), network, "{port}");
        }
    }
}

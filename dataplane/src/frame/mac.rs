//! Ethernet addresses.

use std::fmt;
use std::net::Ipv4Addr;

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

    /// The group address of an IPv4 multicast address: its low 23 bits (RFC 1112 §6.4).
    pub(crate) const fn multicast(group: Ipv4Addr) -> Mac {
        let [_, b, c, d] = group.octets();
        Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])
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
        let mac = Mac::multicast(Ipv4Addr::new(239, 129, 2, 3));
        assert_eq!(mac.to_string(), "01:00:5e:01:02:03");
        assert!(!mac.is_unicast());
    }
}

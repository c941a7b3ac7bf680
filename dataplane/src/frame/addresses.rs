//! The two addresses of an IP packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A packet's source and destination, of one family as they cannot but be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// IPv4.
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// Both together; `None` if they are not of one family.
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Option<Addresses> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Addresses::V4 {
                source,
                destination,
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Addresses::V6 {
                source,
                destination,
            }),
            _ => None,
        }
    }

    /// The source.
    #[inline]
    pub(crate) const fn source(&self) -> IpAddr {
        match *self {
            Addresses::V4 { source, .. } => IpAddr::V4(source),
            Addresses::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// The destination.
    #[inline]
    pub(crate) const fn destination(&self) -> IpAddr {
        match *self {
            Addresses::V4 { destination, .. } => IpAddr::V4(destination),
            Addresses::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// Whether the destination is a group.
    #[inline]
    pub(crate) const fn is_multicast(&self) -> bool {
        match self {
            Addresses::V4 { destination, .. } => destination.is_multicast(),
            Addresses::V6 { destination, .. } => destination.is_multicast(),
        }
    }
}

/// Whether an IPv4 address may be the source of a packet from the network (RFC 1812 §5.3.7).
#[inline]
pub(crate) const fn is_ipv4_station(address: Ipv4Addr) -> bool {
    !(address.is_multicast()
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_broadcast())
}

/// The same of an IPv6 address (RFC 4291 §2.5.2, §2.5.3, §2.5.5.2, §2.7).
#[inline]
pub(crate) const fn is_ipv6_station(address: Ipv6Addr) -> bool {
    !(address.is_multicast()
        || address.is_loopback()
        || address.is_unspecified()
        || address.to_ipv4_mapped().is_some())
}

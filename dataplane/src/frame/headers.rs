//! The headers of Ethernet, IPv4, IPv6 and UDP as they lie in a frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Mac;
use crate::checksum::{PROTOCOL_UDP, Sum};

/// Length of an Ethernet header, in bytes.
pub(crate) const ETHERNET_LEN: usize = size_of::<EthernetHeader>();
/// Length of an IPv4 header without options, in bytes.
pub(crate) const IPV4_LEN: usize = size_of::<Ipv4Header>();
/// Length of an IPv6 header without extension headers, in bytes.
pub(crate) const IPV6_LEN: usize = size_of::<Ipv6Header>();
/// Length of a UDP header, in bytes.
pub(crate) const UDP_LEN: usize = size_of::<UdpHeader>();
/// The ethertype of IPv4.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// The ethertype of IPv6.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The ethertype of ARP.
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
/// Don't fragment, in [`Ipv4Header::fragment`].
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments follow, or this is not the first, in [`Ipv4Header::fragment`].
const FRAGMENTED: u16 = 0x3fff;

/// An Ethernet header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct EthernetHeader {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) ethertype: U16,
}

/// An IPv4 header without its options (RFC 791 §3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4Header {
    pub(crate) version_ihl: u8,
    pub(crate) dscp_ecn: u8,
    pub(crate) total_len: U16,
    pub(crate) id: U16,
    pub(crate) fragment: U16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Ipv4Header {
    /// A header of 20 bytes that may not be fragmented, its lengths and checksum still 0.
    pub(crate) fn new(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Ipv4Header {
        Ipv4Header {
            version_ihl: 0x45,
            dscp_ecn: 0,
            total_len: U16::ZERO,
            id: U16::ZERO,
            fragment: U16::new(DONT_FRAGMENT),
            ttl,
            protocol: PROTOCOL_UDP,
            checksum: U16::ZERO,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    /// Length of the header with its options, in bytes, as it says itself.
    pub(crate) const fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// Whether it is of a part of a packet.
    pub(crate) const fn is_fragment(&self) -> bool {
        self.fragment.get() & FRAGMENTED != 0
    }

    /// Sets the checksum of a header without options.
    pub(crate) fn seal(&mut self) {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(Sum::of(self.as_bytes()).checksum());
    }
}

/// An IPv6 header (RFC 8200 §3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub(crate) version_class_label: U32,
    /// Bytes behind this header, extension headers included.
    pub(crate) payload_len: U16,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

impl Ipv6Header {
    /// A header with traffic class and flow label 0, its length still 0.
    pub(crate) fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: u8,
        hop_limit: u8,
    ) -> Ipv6Header {
        Ipv6Header {
            version_class_label: U32::new(6 << 28),
            payload_len: U16::ZERO,
            next_header,
            hop_limit,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    /// DSCP and ECN.
    pub(crate) const fn traffic_class(&self) -> u8 {
        (self.version_class_label.get() >> 20) as u8
    }

    /// The flow label (RFC 6437).
    pub(crate) const fn flow_label(&self) -> u32 {
        self.version_class_label.get() & 0xf_ffff
    }
}

/// A UDP header (RFC 768).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct UdpHeader {
    pub(crate) source: U16,
    pub(crate) destination: U16,
    pub(crate) len: U16,
    pub(crate) checksum: U16,
}

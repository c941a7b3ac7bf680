//! What IPv6 does otherwise, outside and inside.

use zerocopy::byteorder::big_endian::{U16, U32};

use crate::checksum::{PROTOCOL_UDP, Sum};
use crate::frame::{IPV6_LEN, Ipv6Header};

/// An outer header with its remaining fields. It has no checksum of its own.
pub(super) fn filled(mut ip: Ipv6Header, [dscp, hop_limit]: [u8; 2], udp_len: u16) -> Ipv6Header {
    ip.version_class_label = U32::new(6 << 28 | u32::from(dscp) << 20);
    ip.payload_len = U16::new(udp_len);
    ip.hop_limit = hop_limit;
    ip
}

/// DSCP of an inner header, as it stands in a traffic class.
pub(super) fn dscp(header: &[u8; IPV6_LEN]) -> u8 {
    (header[0] << 4 | header[1] >> 4) & 0xfc
}

/// The sum of a whole inner packet: its UDP header and payload are minus the pseudo header, as there is always a checksum,
/// and the addresses are in both. What is left is the rest of the headers, less length and protocol.
pub(super) fn inner_sum(header: &[u8; IPV6_LEN], options: &[u8], udp: &[u8]) -> Sum {
    let udp_len = Sum::of(udp.get(4..6).unwrap_or_default());
    Sum::of(&header[..8]) + Sum::of(options) - udp_len - Sum::word(u16::from(PROTOCOL_UDP))
}

//! The copies of IPv6 clients. Their entries are as long as those of IPv4, since they hold only what is the client's own.

use std::net::Ipv6Addr;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32};

use super::{ClientEntry, CopyHeaders};
use crate::checksum::{PROTOCOL_UDP, Sum};
use crate::frame::{
    ETHERNET_LEN, ETHERTYPE_IPV6, EthernetHeader, IPV6_LEN, InnerHeader, Ipv6Header, UDP_LEN,
    UdpHeader,
};

/// Length of the headers of a copy, in bytes.
pub(crate) const COPY_HEADERS_IPV6: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// Where in the headers of a copy the client's address and port and the checksum of UDP lie. Port and address lie side by
/// side in an entry.
const DESTINATION: usize = ETHERNET_LEN + 24;
const DESTINATION_PORT: usize = ETHERNET_LEN + IPV6_LEN + 2;
const UDP_CHECKSUM: usize = ETHERNET_LEN + IPV6_LEN + 6;
/// Where in an entry the client's port lies: behind Ethernet header and address.
const ENTRY_PORT: usize = ETHERNET_LEN + 16;

/// The headers of a copy.
pub(crate) type CopyHeadersIpv6 = [u8; COPY_HEADERS_IPV6];

/// What the headers of all copies of one packet have in common. A copy has no options, and the flow label of the packet,
/// which is the source's to choose (RFC 6437 §3).
#[derive(Clone, Debug)]
pub(crate) struct CopyTemplateIpv6 {
    headers: CopyHeadersIpv6,
    /// The source's checksum with the session's destination taken out (RFC 1624).
    udp_sum: Sum,
}

impl CopyTemplateIpv6 {
    /// Of the packet from `source` whose headers are `inner`.
    pub(super) fn new(inner: &InnerHeader, source: Ipv6Addr) -> CopyTemplateIpv6 {
        let hop_limit = inner.ttl.saturating_sub(1);
        let mut ip = Ipv6Header::new(source, Ipv6Addr::UNSPECIFIED, PROTOCOL_UDP, hop_limit);
        let class_label = u32::from(inner.dscp_ecn) << 20 | inner.flow_label;
        ip.version_class_label = U32::new(6 << 28 | class_label);
        ip.payload_len = U16::new(inner.udp_len);
        let udp = UdpHeader {
            source: U16::new(inner.source_port),
            destination: U16::ZERO,
            len: U16::new(inner.udp_len),
            checksum: U16::ZERO,
        };
        let mut headers = [0; COPY_HEADERS_IPV6];
        headers[ETHERNET_LEN..][..IPV6_LEN].copy_from_slice(ip.as_bytes());
        headers[ETHERNET_LEN + IPV6_LEN..][..UDP_LEN].copy_from_slice(udp.as_bytes());
        CopyTemplateIpv6 {
            headers,
            udp_sum: super::source_sum(inner),
        }
    }
}

/// The client's part of the headers: Ethernet, address, port.
pub(super) fn client_part(ethernet: &EthernetHeader, address: Ipv6Addr, port: u16) -> CopyHeaders {
    let mut part = [0; super::COPY_HEADERS];
    part[..ETHERNET_LEN].copy_from_slice(ethernet.as_bytes());
    part[ETHERNET_LEN..ENTRY_PORT].copy_from_slice(&address.octets());
    part[ENTRY_PORT..][..2].copy_from_slice(&port.to_be_bytes());
    part
}

impl ClientEntry {
    /// Whether the client has an IPv6 address.
    #[inline]
    pub(crate) fn is_ipv6(&self) -> bool {
        self.headers[12..ETHERNET_LEN] == ETHERTYPE_IPV6.to_be_bytes()
    }

    /// Writes the headers of this client's copy of a packet, where both are of IPv6; its payload is to follow.
    #[inline(always)]
    pub(crate) fn fill_ipv6(&self, headers: &mut CopyHeadersIpv6, packet: &CopyTemplateIpv6) {
        *headers = packet.headers;
        headers[..ETHERNET_LEN].copy_from_slice(&self.headers[..ETHERNET_LEN]);
        headers[DESTINATION..][..16].copy_from_slice(&self.headers[ETHERNET_LEN..ENTRY_PORT]);
        headers[DESTINATION_PORT..][..2].copy_from_slice(&self.headers[ENTRY_PORT..][..2]);
        let udp = (packet.udp_sum + self.udp_sum).udp_checksum();
        headers[UDP_CHECKSUM..][..2].copy_from_slice(&udp.to_be_bytes());
    }
}

//! A client of a session at its last hop, as the fan-out needs it: one cache line.

use std::net::Ipv4Addr;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::checksum::Sum;
use crate::frame::{
    DONT_FRAGMENT, ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, InnerHeader, Ipv4Header,
    Mac, PortIndex, UDP_LEN, UdpHeader,
};

/// Length of the headers of a copy, in bytes.
pub(crate) const COPY_HEADERS: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// The prepared headers of one client's copies, and what became of them. 64 bytes: one cache line for each copy made.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct ClientEntry {
    ethernet: EthernetHeader,
    ip: Ipv4Header,
    udp_destination: U16,
    /// Sum of `ip` without the fields that differ from packet to packet.
    ip_sum: Sum,
    /// Sum of the client's address and port: what a copy's UDP checksum has in place of the session's.
    udp_sum: Sum,
    /// The port that leads to the client.
    pub(crate) port: PortIndex,
    /// Copies sent.
    pub(crate) packets: u64,
    /// Copies that could not be sent.
    pub(crate) dropped: u64,
}

const _: () = assert!(size_of::<ClientEntry>() == 64);

impl ClientEntry {
    /// A client at `address` and UDP port `udp_port`, reached through `port` whose Ethernet address is `from`.
    pub(crate) fn new(address: Ipv4Addr, udp_port: u16, port: PortIndex, from: Mac) -> ClientEntry {
        let mut ip = Ipv4Header::new(Ipv4Addr::UNSPECIFIED, address, 0);
        ip.fragment = U16::ZERO;
        ClientEntry {
            ethernet: EthernetHeader {
                destination: Mac::NONE,
                source: from,
                ethertype: U16::new(ETHERTYPE_IPV4),
            },
            ip,
            udp_destination: U16::new(udp_port),
            ip_sum: Sum::of(ip.as_bytes()),
            udp_sum: Sum::address(address) + Sum::word(udp_port),
            port,
            packets: 0,
            dropped: 0,
        }
    }

    /// Sets the Ethernet address of the next hop; `None` if it is not known (any more).
    pub(crate) fn set_next_hop(&mut self, to: Option<Mac>) {
        self.ethernet.destination = to.unwrap_or(Mac::NONE);
    }

    /// Whether the Ethernet address of the next hop is known: copies must not be made before.
    pub(crate) fn is_resolved(&self) -> bool {
        self.ethernet.destination != Mac::NONE
    }

    /// Writes the headers of this client's copy of a packet whose headers are `inner`; its payload is to follow.
    ///
    /// A copy is from the source, as the packet was, one hop on. It has no IP options: a router may drop those that it
    /// does not handle (RFC 7126), and none speaks of this part of the way.
    pub(crate) fn fill(&self, headers: &mut [u8; COPY_HEADERS], inner: &InnerHeader) {
        let total_len = inner.udp_len + IPV4_LEN as u16;
        let mut ip = self.ip;
        ip.dscp_ecn = inner.dscp_ecn;
        ip.total_len = U16::new(total_len);
        ip.id = U16::new(inner.id);
        ip.fragment = U16::new(inner.fragment & DONT_FRAGMENT);
        ip.ttl = inner.ttl.saturating_sub(1);
        ip.source = inner.source.octets();
        let ip_sum = self.ip_sum
            + Sum::word(u16::from(ip.dscp_ecn))
            + Sum::word(total_len)
            + Sum::word(inner.id)
            + Sum::word(ip.fragment.get())
            + Sum::word(u16::from(ip.ttl) << 8)
            + Sum::address(inner.source);
        ip.checksum = U16::new(ip_sum.checksum());
        let udp = UdpHeader {
            source: U16::new(inner.source_port),
            destination: self.udp_destination,
            len: U16::new(inner.udp_len),
            checksum: U16::new(self.udp_checksum(inner)),
        };
        let (ethernet, rest) = headers.split_at_mut(ETHERNET_LEN);
        let (ip_area, udp_area) = rest.split_at_mut(IPV4_LEN);
        ethernet.copy_from_slice(self.ethernet.as_bytes());
        ip_area.copy_from_slice(ip.as_bytes());
        udp_area.copy_from_slice(udp.as_bytes());
    }

    /// The source's checksum with the session's destination taken out and the client's put in (RFC 1624).
    fn udp_checksum(&self, inner: &InnerHeader) -> u16 {
        if inner.udp_checksum == 0 {
            return 0;
        }
        let session = Sum::address(inner.destination) + Sum::word(inner.destination_port);
        (Sum::of_checksum(inner.udp_checksum) - session + self.udp_sum).udp_checksum()
    }
}

#[cfg(test)]
mod tests;

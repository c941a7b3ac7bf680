//! A client of a session at its last hop, as the fan-out needs it: one cache line.

use std::net::Ipv4Addr;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{Immutable, IntoBytes};

use crate::checksum::Sum;
use crate::frame::{
    DONT_FRAGMENT, ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, InnerHeader, Ipv4Header,
    Mac, PortIndex, UDP_LEN, UdpHeader,
};

/// Length of the headers of a copy, in bytes.
pub(crate) const COPY_HEADERS: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// Where in the headers of a copy the checksums of IP and UDP lie.
const IP_CHECKSUM: usize = ETHERNET_LEN + 10;
const UDP_CHECKSUM: usize = ETHERNET_LEN + IPV4_LEN + 6;

/// What is written of a copy: its headers, and what makes three vectors of it. The rest is for the payload.
pub(crate) const COPY_AREA: usize = 48;

/// The headers of a copy.
pub(crate) type CopyHeaders = [u8; COPY_HEADERS];
/// Where the headers of a copy are written.
pub(crate) type CopyArea = [u8; COPY_AREA];

/// The prepared headers of one client's copies, and what became of them. 64 bytes: one cache line for each copy made.
#[derive(Clone, Debug, IntoBytes, Immutable)]
#[repr(C, align(64))]
pub(crate) struct ClientEntry {
    /// The client's part of the headers; zero where the packet's is.
    headers: CopyHeaders,
    /// Sum of the client's part of the IP header.
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

const _: () = assert!(size_of::<ClientEntry>() == 64 && COPY_HEADERS <= COPY_AREA);

/// What the headers of all copies of one packet have in common.
///
/// A copy is from the source, as the packet was, one hop on. It has no IP options: a router may drop those that it does
/// not handle (RFC 7126), and none speaks of this part of the way.
#[derive(Clone, Debug)]
pub(crate) struct CopyTemplate {
    /// The packet's part of the headers; zero where the client's is.
    headers: CopyArea,
    ip_sum: Sum,
    /// The source's checksum with the session's destination taken out (RFC 1624); `None` if it sent none.
    udp_sum: Option<Sum>,
    /// Length of the UDP header and payload, in bytes.
    pub(crate) udp_len: u16,
}

impl CopyTemplate {
    /// Of the packet whose headers are `inner`.
    pub(crate) fn new(inner: &InnerHeader) -> CopyTemplate {
        let ip = Ipv4Header {
            version_ihl: 0,
            dscp_ecn: inner.dscp_ecn,
            total_len: U16::new(inner.udp_len + IPV4_LEN as u16),
            id: U16::new(inner.id),
            fragment: U16::new(inner.fragment & DONT_FRAGMENT),
            ttl: inner.ttl.saturating_sub(1),
            protocol: 0,
            checksum: U16::ZERO,
            source: inner.source.octets(),
            destination: [0; 4],
        };
        let udp = UdpHeader {
            source: U16::new(inner.source_port),
            destination: U16::ZERO,
            len: U16::new(inner.udp_len),
            checksum: U16::ZERO,
        };
        let session = Sum::address(inner.destination) + Sum::word(inner.destination_port);
        let source_sum = Sum::of_checksum(inner.udp_checksum) - session;
        let mut area = [0; COPY_AREA];
        area[ETHERNET_LEN..][..IPV4_LEN].copy_from_slice(ip.as_bytes());
        area[ETHERNET_LEN + IPV4_LEN..][..UDP_LEN].copy_from_slice(udp.as_bytes());
        CopyTemplate {
            headers: area,
            ip_sum: Sum::of(ip.as_bytes()),
            udp_sum: (inner.udp_checksum != 0).then_some(source_sum),
            udp_len: inner.udp_len,
        }
    }
}

/// Both parts of the headers. By value, so that the compiler may take many bytes at once.
#[inline]
fn merged(client: &CopyArea, packet: &CopyArea) -> CopyArea {
    let mut area = [0; COPY_AREA];
    let parts = client.as_chunks().0.iter().zip(packet.as_chunks().0);
    for (area, (client, packet)) in area.as_chunks_mut::<16>().0.iter_mut().zip(parts) {
        *area = (u128::from_ne_bytes(*client) | u128::from_ne_bytes(*packet)).to_ne_bytes();
    }
    area
}

/// Ethernet, IP and UDP header, one after another.
fn join([ethernet, ip, udp]: [&[u8]; 3]) -> CopyHeaders {
    let mut headers = [0; COPY_HEADERS];
    headers[..ETHERNET_LEN].copy_from_slice(ethernet);
    headers[ETHERNET_LEN..][..IPV4_LEN].copy_from_slice(ip);
    headers[ETHERNET_LEN + IPV4_LEN..].copy_from_slice(udp);
    headers
}

impl ClientEntry {
    /// A client at `address` and UDP port `udp_port`, reached through `port` whose Ethernet address is `from`.
    pub(crate) fn new(address: Ipv4Addr, udp_port: u16, port: PortIndex, from: Mac) -> ClientEntry {
        let ethernet = EthernetHeader {
            destination: Mac::NONE,
            source: from,
            ethertype: U16::new(ETHERTYPE_IPV4),
        };
        let mut ip = Ipv4Header::new(Ipv4Addr::UNSPECIFIED, address, 0);
        ip.fragment = U16::ZERO;
        let udp = UdpHeader {
            source: U16::ZERO,
            destination: U16::new(udp_port),
            len: U16::ZERO,
            checksum: U16::ZERO,
        };
        ClientEntry {
            headers: join([ethernet.as_bytes(), ip.as_bytes(), udp.as_bytes()]),
            ip_sum: Sum::of(ip.as_bytes()),
            udp_sum: Sum::address(address) + Sum::word(udp_port),
            port,
            packets: 0,
            dropped: 0,
        }
    }

    /// Sets the Ethernet address of the next hop; `None` if it is not known (any more).
    pub(crate) fn set_next_hop(&mut self, to: Option<Mac>) {
        let Mac(octets) = to.unwrap_or(Mac::NONE);
        self.headers[..octets.len()].copy_from_slice(&octets);
    }

    /// The Ethernet address of the next hop, if it is known.
    pub(crate) fn next_hop(&self) -> Option<Mac> {
        let octets = self.headers.first_chunk().copied();
        octets.map(Mac).filter(|&mac| mac != Mac::NONE)
    }

    /// Whether the Ethernet address of the next hop is known: copies must not be made before.
    #[inline]
    pub(crate) fn is_resolved(&self) -> bool {
        self.headers[..6] != Mac::NONE.0
    }

    /// Writes the headers of this client's copy of a packet; its payload is to follow, over what is in the area behind
    /// them.
    #[inline(always)]
    pub(crate) fn fill(&self, headers: &mut CopyArea, packet: &CopyTemplate) {
        // With what follows them here: nobody reads it there.
        if let Some(client) = self.as_bytes().first_chunk() {
            *headers = merged(client, &packet.headers);
        }
        let ip = (self.ip_sum + packet.ip_sum).checksum();
        headers[IP_CHECKSUM..][..2].copy_from_slice(&ip.to_be_bytes());
        if let Some(source_sum) = packet.udp_sum {
            let udp = (source_sum + self.udp_sum).udp_checksum();
            headers[UDP_CHECKSUM..][..2].copy_from_slice(&udp.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;

//! A client of a session at its last hop, as the fan-out needs it: one cache line.

mod ipv6;

use std::net::{IpAddr, Ipv4Addr};

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::checksum::Sum;
use crate::frame::{
    Addresses, DONT_FRAGMENT, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader,
    IPV4_LEN, IPV6_LEN, InnerHeader, Ipv4Header, Mac, PortIndex, UDP_LEN, UdpHeader,
};
pub(crate) use ipv6::{COPY_HEADERS_IPV6, CopyHeadersIpv6, CopyTemplateIpv6};

/// Length of the headers of a copy, in bytes.
pub(crate) const COPY_HEADERS: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// Where in the headers of a copy the checksums of IP and UDP lie.
const IP_CHECKSUM: usize = ETHERNET_LEN + 10;
const UDP_CHECKSUM: usize = ETHERNET_LEN + IPV4_LEN + 6;

/// The headers of a copy.
pub(crate) type CopyHeaders = [u8; COPY_HEADERS];

/// The prepared headers of one client's copies, and what became of them. 64 bytes: one cache line for each copy made.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct ClientEntry {
    /// The client's part of the headers; zero where the packet's is. Of an IPv6 client Ethernet header, address and port
    /// alone.
    headers: CopyHeaders,
    /// Sum of the client's part of the IPv4 header.
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

/// Where the last whole word of the headers lies: only the UDP checksum follows.
const LAST_WORD: usize = 32;

/// What the headers of all copies of one packet have in common, by its family.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    V4(CopyTemplate),
    V6(CopyTemplateIpv6),
}

impl Template {
    /// Of the packet whose headers are `inner`.
    #[inline(always)]
    pub(crate) fn new(inner: &InnerHeader) -> Template {
        match inner.addresses {
            Addresses::V4 { source, .. } => Template::V4(CopyTemplate::new(inner, source)),
            Addresses::V6 { source, .. } => Template::V6(CopyTemplateIpv6::new(inner, source)),
        }
    }

    /// Length of the IP header of a copy, in bytes.
    #[inline]
    pub(crate) const fn ip_len(&self) -> usize {
        match self {
            Template::V4(_) => IPV4_LEN,
            Template::V6(_) => IPV6_LEN,
        }
    }

    /// Whether the client takes packets of this family.
    #[inline]
    pub(crate) fn suits(&self, client: &ClientEntry) -> bool {
        matches!(self, Template::V6(_)) == client.is_ipv6()
    }
}

/// A source's checksum with the session's destination taken out.
#[inline]
fn source_sum(inner: &InnerHeader) -> Sum {
    let session = Sum::address(inner.addresses.destination()) + Sum::word(inner.destination_port);
    Sum::of_checksum(inner.udp_checksum) - session
}

/// What the headers of all copies of one IPv4 packet have in common.
///
/// A copy is from the source, as the packet was, one hop on. It has no IP options: a router may drop those that it does
/// not handle (RFC 7126), and none speaks of this part of the way.
#[derive(Clone, Debug)]
pub(crate) struct CopyTemplate {
    /// The packet's part of the headers; zero where the client's is. Words of the machine: made in registers, since what
    /// is written in pieces and read whole soon after costs a stall.
    pairs: [u128; 2],
    last: u64,
    ip_sum: Sum,
    /// The source's checksum with the session's destination taken out (RFC 1624); `None` if it sent none.
    udp_sum: Option<Sum>,
}

impl CopyTemplate {
    /// Of the packet from `source` whose headers are `inner`.
    #[inline(always)]
    fn new(inner: &InnerHeader, source: Ipv4Addr) -> CopyTemplate {
        let total_len = inner.udp_len + IPV4_LEN as u16;
        let fragment = inner.fragment & DONT_FRAGMENT;
        let ttl = inner.ttl.saturating_sub(1);
        // The headers' bytes 8 to 40, big endian: from the IP header's second byte on.
        let words = [
            0,
            u64::from(inner.dscp_ecn),
            u64::from(total_len) << 48
                | u64::from(inner.id) << 32
                | u64::from(fragment) << 16
                | u64::from(ttl) << 8,
            u64::from(source.to_bits()) << 16,
            u64::from(inner.source_port) << 32 | u64::from(inner.udp_len),
        ];
        CopyTemplate {
            pairs: [pair(words[0], words[1]), pair(words[2], words[3])],
            last: words[4].to_be(),
            // All but the ports and the length of UDP.
            ip_sum: Sum::long(words[1]) + Sum::long(words[2]) + Sum::long(words[3]),
            udp_sum: (inner.udp_checksum != 0).then(|| source_sum(inner)),
        }
    }
}

/// Two big-endian words as they lie in memory.
#[inline(always)]
const fn pair(first: u64, second: u64) -> u128 {
    ((first as u128) << 64 | second as u128).to_be()
}

/// Ethernet, IP and UDP header, one after another.
fn join([ethernet, ip, udp]: [&[u8]; 3]) -> CopyHeaders {
    let mut headers = [0; COPY_HEADERS];
    headers[..ETHERNET_LEN].copy_from_slice(ethernet);
    headers[ETHERNET_LEN..][..IPV4_LEN].copy_from_slice(ip);
    headers[ETHERNET_LEN + IPV4_LEN..].copy_from_slice(udp);
    headers
}

/// The client's part of the headers, and the sum of its IP header.
fn client_part(ethernet: &EthernetHeader, address: Ipv4Addr, udp_port: u16) -> (CopyHeaders, Sum) {
    let mut ip = Ipv4Header::new(Ipv4Addr::UNSPECIFIED, address, 0);
    ip.fragment = U16::ZERO;
    let udp = UdpHeader {
        source: U16::ZERO,
        destination: U16::new(udp_port),
        len: U16::ZERO,
        checksum: U16::ZERO,
    };
    let headers = join([ethernet.as_bytes(), ip.as_bytes(), udp.as_bytes()]);
    (headers, Sum::of(ip.as_bytes()))
}

impl ClientEntry {
    /// A client at `address` and UDP port `udp_port`, reached through `port` whose Ethernet address is `from`.
    pub(crate) fn new(address: IpAddr, udp_port: u16, port: PortIndex, from: Mac) -> ClientEntry {
        let ethernet = |ethertype| EthernetHeader {
            destination: Mac::NONE,
            source: from,
            ethertype: U16::new(ethertype),
        };
        let (headers, ip_sum) = match address {
            IpAddr::V4(address) => client_part(&ethernet(ETHERTYPE_IPV4), address, udp_port),
            IpAddr::V6(address) => {
                let ethernet = ethernet(ETHERTYPE_IPV6);
                (ipv6::client_part(&ethernet, address, udp_port), Sum::ZERO)
            }
        };
        ClientEntry {
            headers,
            ip_sum,
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

    /// The Ethernet address of the next hop, where it is known.
    pub(crate) fn next_hop(&self) -> Option<Mac> {
        let mac = *self.headers.first_chunk()?;
        (Mac(mac) != Mac::NONE).then_some(Mac(mac))
    }

    /// Whether the Ethernet address of the next hop is known: copies must not be made before.
    #[inline]
    pub(crate) fn is_resolved(&self) -> bool {
        self.headers[..6] != Mac::NONE.0
    }

    /// Writes the headers of this client's copy of a packet; its payload is to follow.
    #[inline(always)]
    pub(crate) fn fill(&self, headers: &mut CopyHeaders, packet: &CopyTemplate) {
        let pairs = headers.as_chunks_mut::<16>().0.iter_mut();
        let words = self.headers.as_chunks().0.iter().zip(&packet.pairs);
        for (area, (client, packet)) in pairs.zip(words) {
            *area = (u128::from_ne_bytes(*client) | packet).to_ne_bytes();
        }
        if let (Some(area), Some(client)) = (
            headers[LAST_WORD..].first_chunk_mut(),
            self.headers[LAST_WORD..].first_chunk(),
        ) {
            *area = (u64::from_ne_bytes(*client) | packet.last).to_ne_bytes();
        }
        let ip = (self.ip_sum + packet.ip_sum).checksum();
        headers[IP_CHECKSUM..][..2].copy_from_slice(&ip.to_be_bytes());
        let udp = packet
            .udp_sum
            .map_or(0, |source_sum| (source_sum + self.udp_sum).udp_checksum());
        headers[UDP_CHECKSUM..][..2].copy_from_slice(&udp.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;

//! The headers around a treecast packet: Ethernet, IPv4 or IPv6, UDP and treecast's own.

mod ipv6;

use std::net::IpAddr;

use overlay::wire::{HEADER_LEN, Header};
use overlay::{Seq, SessionId};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::checksum::{PROTOCOL_UDP, Sum};
use crate::drops::DropReason;
use crate::frame::{
    Addresses, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_LEN, IPV6_LEN,
    InnerHeader, Ipv4Header, Ipv6Header, MAX_INNER_HEADERS, Mac, UDP_LEN, UdpHeader,
};

/// What encapsulation in IPv4 adds to an inner IP packet, in bytes.
pub(crate) const OVERHEAD: usize = IPV4_LEN + UDP_LEN + HEADER_LEN;
/// Length of everything before the inner packet, in bytes, in IPv4 …
pub(crate) const OUTER_LEN: usize = ETHERNET_LEN + OVERHEAD;
/// … and in IPv6.
pub(crate) const OUTER_LEN_IPV6: usize = OUTER_LEN - IPV4_LEN + IPV6_LEN;
/// Where the outer UDP header lies.
const UDP_AT: usize = ETHERNET_LEN + IPV4_LEN;
/// The part of a DSCP and ECN field that is DSCP (RFC 2474, RFC 3168).
const DSCP: u8 = 0xfc;
/// Most bytes that [`Encap::packet`] writes.
pub(crate) const MAX_HEADERS: usize = OUTER_LEN_IPV6 + MAX_INNER_HEADERS;
/// TTL of overlay packets, whom the tree's does not concern: the recommended default (RFC 1700).
pub(crate) const OVERLAY_TTL: u8 = 64;

/// The addresses of treecast packets that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    /// Ethernet address of the port that they leave by.
    pub(crate) from: Mac,
    /// Ethernet address of the next hop; [`Mac::multicast`] of the group down a tree.
    pub(crate) to: Mac,
    /// IP source, the ingress down a tree or the port's own address over the overlay, and destination, the group or a
    /// neighbor.
    pub(crate) addresses: Addresses,
    /// UDP source port, see [`source_port`].
    pub(crate) source_port: u16,
    /// UDP destination port: the tree's or the overlay's.
    pub(crate) destination_port: u16,
    /// Largest IP packet that the port takes, in bytes.
    pub(crate) mtu: u16,
}

/// What encapsulation adds to an inner IP packet that goes to `group`, in bytes.
#[must_use]
pub const fn overhead(group: IpAddr) -> u16 {
    let outer_len = match group {
        IpAddr::V4(_) => OUTER_LEN,
        IpAddr::V6(_) => OUTER_LEN_IPV6,
    };
    (outer_len - ETHERNET_LEN) as u16
}

/// The UDP source port of a session's packets: one of the ephemeral ports (RFC 6335 §6), spread so that RSS and ECMP
/// tell sessions apart.
pub(crate) const fn source_port(session: SessionId) -> u16 {
    // Fibonacci hashing: the high bits of the product with 2³²/φ.
    49152 + (session.0.wrapping_mul(0x9e37_79b9) >> 18) as u16
}

/// An inner packet in its two parts, as it lies in buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InnerBytes<'a> {
    /// Its IP and UDP header, sound (see [`crate::frame::parse`] and [`crate::frame::Inner::verify`]).
    pub(crate) headers: &'a [u8],
    /// Its UDP payload.
    pub(crate) payload: &'a [u8],
}

/// The prepared outer headers of treecast packets that go one way.
#[derive(Clone, Debug)]
pub(crate) struct Encap {
    ethernet: EthernetHeader,
    ip: OuterIp,
    ports: [U16; 2],
    udp_sum: Sum,
    mtu: u16,
}

/// The IP header of either family, its length and TTL still 0.
#[derive(Clone, Debug)]
enum OuterIp {
    V4 { header: Ipv4Header, sum: Sum },
    V6(Ipv6Header),
}

impl Encap {
    /// Prepares the headers.
    pub(crate) fn new(outer: &Outer) -> Encap {
        let (ethertype, ip) = match outer.addresses {
            Addresses::V4 {
                source,
                destination,
            } => {
                let header = Ipv4Header::new(source, destination, 0);
                let sum = Sum::of(header.as_bytes());
                (ETHERTYPE_IPV4, OuterIp::V4 { header, sum })
            }
            Addresses::V6 {
                source,
                destination,
            } => {
                let header = Ipv6Header::new(source, destination, PROTOCOL_UDP, 0);
                (ETHERTYPE_IPV6, OuterIp::V6(header))
            }
        };
        Encap {
            ethernet: EthernetHeader {
                destination: outer.to,
                source: outer.from,
                ethertype: U16::new(ethertype),
            },
            ip,
            ports: [outer.source_port, outer.destination_port].map(U16::new),
            udp_sum: Sum::udp_pseudo(&outer.addresses, 0)
                + Sum::word(outer.source_port)
                + Sum::word(outer.destination_port),
            mtu: outer.mtu,
        }
    }

    /// Length of the outer headers, Ethernet's included, in bytes.
    #[inline]
    pub(crate) const fn outer_len(&self) -> usize {
        match self.ip {
            OuterIp::V4 { .. } => OUTER_LEN,
            OuterIp::V6(_) => OUTER_LEN_IPV6,
        }
    }

    /// Writes no packets beyond this MTU from now on.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
    }

    /// Writes what goes before the payload of a data or repair packet, the inner headers included, at the start of
    /// `area`, and returns its length. The payload itself is to follow.
    ///
    /// The outer checksum is that of outer pseudo header + outer UDP header + treecast header + inner IP header + inner
    /// UDP header + payload. An inner IPv4 header holds its own checksum, so it sums up to zero. Where there is an inner
    /// UDP checksum, inner pseudo header + inner UDP header + payload sum up to zero too, hence the latter two are minus
    /// the inner pseudo header. So the payload is read only where the source sent no checksum. Were an inner checksum
    /// wrong, the outer one would be so too, and the next node would drop the packet: an error is never hidden.
    ///
    /// # Errors
    /// [`DropReason::TooBig`] beyond the MTU, [`DropReason::NoHeaderBuffer`] if `area` is too short.
    #[inline]
    pub(crate) fn packet(
        &self,
        area: &mut [u8],
        ttl: u8,
        header: &Header,
        inner: InnerBytes<'_>,
    ) -> Result<usize, DropReason> {
        let InnerBytes { headers, payload } = inner;
        let (ip, udp) = headers
            .split_at_checked(headers.len().saturating_sub(UDP_LEN))
            .filter(|(ip, _)| ip.len() >= IPV4_LEN)
            .ok_or(DropReason::InnerBad)?;
        // The tree treats the packet as its source asked for: DSCP goes outside too (RFC 2983), ECN does not.
        let (inner_sum, dscp) = match ip.first_chunk::<IPV6_LEN>() {
            Some(header) if header[0] >> 4 == 6 => (
                ipv6::inner_sum(header, &ip[IPV6_LEN..], udp),
                ipv6::dscp(header),
            ),
            _ if udp[6..] == [0, 0] => (Sum::of(udp) + Sum::of(payload), ip[1] & DSCP),
            _ => {
                let pseudo = Sum::of(&ip[12..20]) + Sum::of(&[0, ip[9], udp[4], udp[5]]);
                (Sum::ZERO - pseudo, ip[1] & DSCP)
            }
        };
        let content = Content {
            first: headers,
            len: headers.len() + payload.len(),
            sum: inner_sum,
        };
        self.write(area, [dscp, ttl], header, content)
    }

    /// Writes what goes before the coded bytes of a parity packet, its own header `parity` included, at the start of
    /// `area`, and returns its length. The coded bytes are to follow; they are read for the checksum.
    ///
    /// # Errors
    /// [`DropReason::TooBig`] beyond the MTU, [`DropReason::NoHeaderBuffer`] if `area` is too short.
    pub(crate) fn parity(
        &self,
        area: &mut [u8],
        ttl: u8,
        header: &Header,
        (parity, coded): (&[u8], &[u8]),
    ) -> Result<usize, DropReason> {
        let content = Content {
            first: parity,
            len: parity.len() + coded.len(),
            sum: Sum::of(parity) + Sum::of(coded),
        };
        self.write(area, [0, ttl], header, content)
    }

    /// Writes a whole NAK, NAK confirmation, heartbeat or hello at the start of `area` and returns its length.
    ///
    /// # Errors
    /// [`DropReason::TooBig`] beyond the MTU, [`DropReason::NoHeaderBuffer`] if `area` is too short.
    pub(crate) fn control(
        &self,
        area: &mut [u8],
        ttl: u8,
        header: &Header,
        body: &[u8],
    ) -> Result<usize, DropReason> {
        self.parity(area, ttl, header, (body, &[]))
    }

    /// Writes the outer headers, and the first bytes of the content behind them; returns the length of both.
    #[inline]
    fn write(
        &self,
        area: &mut [u8],
        [dscp, ttl]: [u8; 2],
        header: &Header,
        content: Content<'_>,
    ) -> Result<usize, DropReason> {
        let outer_len = self.outer_len();
        let total_len = outer_len - ETHERNET_LEN + content.len;
        let total_len = u16::try_from(total_len)
            .ok()
            .filter(|&len| len <= self.mtu)
            .ok_or(DropReason::TooBig)?;
        let (outer, rest) = area
            .split_at_mut_checked(outer_len)
            .ok_or(DropReason::NoHeaderBuffer)?;
        rest.get_mut(..content.first.len())
            .ok_or(DropReason::NoHeaderBuffer)?
            .copy_from_slice(content.first);
        let (ethernet, rest) = outer.split_at_mut(ETHERNET_LEN);
        ethernet.copy_from_slice(self.ethernet.as_bytes());
        match self.ip {
            OuterIp::V4 { header: ip, sum } => {
                let (ip_area, rest) = rest.split_at_mut(IPV4_LEN);
                ip_area.copy_from_slice(ipv4(ip, sum, [dscp, ttl], total_len).as_bytes());
                self.write_udp(rest, header, content.sum, total_len - IPV4_LEN as u16);
            }
            OuterIp::V6(ip) => {
                let (ip_area, rest) = rest.split_at_mut(IPV6_LEN);
                let udp_len = total_len - IPV6_LEN as u16;
                ip_area.copy_from_slice(ipv6::filled(ip, [dscp, ttl], udp_len).as_bytes());
                self.write_udp(rest, header, content.sum, udp_len);
            }
        }
        Ok(outer_len + content.first.len())
    }

    /// Writes the UDP and treecast headers, which fill `area`.
    #[inline]
    fn write_udp(&self, area: &mut [u8], header: &Header, content_sum: Sum, udp_len: u16) {
        let treecast = header.emit();
        // The length counts twice: in the pseudo header and in the header.
        let udp_sum = self.udp_sum
            + Sum::word(udp_len)
            + Sum::word(udp_len)
            + Sum::of(&treecast)
            + content_sum;
        let udp = UdpHeader {
            source: self.ports[0],
            destination: self.ports[1],
            len: U16::new(udp_len),
            checksum: U16::new(udp_sum.udp_checksum()),
        };
        let (udp_area, treecast_area) = area.split_at_mut(UDP_LEN);
        udp_area.copy_from_slice(udp.as_bytes());
        treecast_area.copy_from_slice(&treecast);
    }
}

/// An IPv4 header, whose sum was `sum`, with its remaining fields.
#[inline]
fn ipv4(mut ip: Ipv4Header, sum: Sum, [dscp, ttl]: [u8; 2], total_len: u16) -> Ipv4Header {
    ip.dscp_ecn = dscp;
    ip.ttl = ttl;
    ip.total_len = U16::new(total_len);
    let sum =
        sum + Sum::word(u16::from(dscp)) + Sum::word(u16::from(ttl) << 8) + Sum::word(total_len);
    ip.checksum = U16::new(sum.checksum());
    ip
}

/// The outer headers of consecutive data packets of a session, but for what is particular to each.
pub(crate) struct Template {
    headers: [u8; OUTER_LEN],
    ip_sum: Sum,
    udp_sum: Sum,
}

impl Encap {
    /// Prepares the headers of packets from `header` on, whose inner headers are like `inner`: without options, and with a
    /// UDP checksum. `None` in IPv6.
    pub(crate) fn prepare(
        &self,
        ttl: u8,
        header: &Header,
        inner: &InnerHeader,
    ) -> Option<Template> {
        let OuterIp::V4 {
            header: mut ip,
            sum,
        } = self.ip
        else {
            return None;
        };
        ip.ttl = ttl;
        let first = Header {
            sequence: Seq(0),
            ..*header
        };
        let treecast = first.emit();
        let udp = UdpHeader {
            source: self.ports[0],
            destination: self.ports[1],
            len: U16::ZERO,
            checksum: U16::ZERO,
        };
        let mut headers = [0; OUTER_LEN];
        let (ethernet, rest) = headers.split_at_mut(ETHERNET_LEN);
        let (ip_area, rest) = rest.split_at_mut(IPV4_LEN);
        let (udp_area, treecast_area) = rest.split_at_mut(UDP_LEN);
        ethernet.copy_from_slice(self.ethernet.as_bytes());
        ip_area.copy_from_slice(ip.as_bytes());
        udp_area.copy_from_slice(udp.as_bytes());
        treecast_area.copy_from_slice(&treecast);
        Some(Template {
            headers,
            ip_sum: sum + Sum::word(u16::from(ttl) << 8),
            udp_sum: self.udp_sum + Sum::of(&treecast) - Sum::udp_pseudo(&inner.addresses, 0),
        })
    }
}

impl Template {
    /// Writes the headers of the packet `sequence`, whose inner packet has `inner_len` bytes.
    #[inline(always)]
    pub(crate) fn fill(
        &self,
        area: &mut [u8; OUTER_LEN],
        dscp_ecn: u8,
        inner_len: u16,
        sequence: Seq,
    ) {
        let dscp = dscp_ecn & DSCP;
        let total_len = inner_len + OVERHEAD as u16;
        let udp_len = total_len - IPV4_LEN as u16;
        let ip_sum = self.ip_sum + Sum::word(u16::from(dscp)) + Sum::word(total_len);
        // As in `Encap::packet`: the length counts twice, and that of the inner datagram is taken off.
        let udp_sum = self.udp_sum + Sum::word(udp_len) + Sum::word(udp_len)
            - Sum::word(inner_len - IPV4_LEN as u16)
            + Sum::long(sequence.0);
        *area = self.headers;
        area[ETHERNET_LEN + 1] = dscp;
        put(area, ETHERNET_LEN + 2, total_len.to_be_bytes());
        put(area, ETHERNET_LEN + 10, ip_sum.checksum().to_be_bytes());
        put(area, UDP_AT + 4, udp_len.to_be_bytes());
        put(area, UDP_AT + 6, udp_sum.udp_checksum().to_be_bytes());
        put(area, UDP_AT + UDP_LEN + 8, sequence.0.to_be_bytes());
    }
}

#[inline(always)]
fn put<const LEN: usize>(area: &mut [u8; OUTER_LEN], at: usize, bytes: [u8; LEN]) {
    area[at..at + LEN].copy_from_slice(&bytes);
}

/// Makes the outer headers of a tree's packet, which lie in `frame`, those of its next hop: from the station `from`, and with
/// one less to live (RFC 1624). Nothing else of them changes from hop to hop. The TTL is above 1.
#[inline(always)]
pub(crate) fn pass_on(frame: &mut [u8; OUTER_LEN], from: Mac) {
    const TTL: usize = ETHERNET_LEN + 8;
    const CHECKSUM: usize = ETHERNET_LEN + 10;
    put(frame, 6, from.0);
    frame[TTL] -= 1;
    let checksum = u16::from_be_bytes([frame[CHECKSUM], frame[CHECKSUM + 1]]);
    let sum = Sum::of_checksum(checksum) - Sum::word(1 << 8);
    put(frame, CHECKSUM, sum.checksum().to_be_bytes());
}

/// What follows the treecast header.
struct Content<'a> {
    /// Its first bytes, which are written with the headers.
    first: &'a [u8],
    /// Length of all of it.
    len: usize,
    sum: Sum,
}

#[cfg(test)]
mod tests;

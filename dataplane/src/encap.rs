//! The headers around a treecast packet: Ethernet, IPv4, UDP and treecast's own.

use std::net::Ipv4Addr;

use overlay::wire::{HEADER_LEN, Header};
use overlay::{Seq, SessionId};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{
    ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, InnerHeader, Ipv4Header,
    MAX_INNER_HEADERS, Mac, UDP_LEN, UdpHeader,
};

/// What encapsulation adds to an inner IP packet, in bytes.
pub(crate) const OVERHEAD: usize = IPV4_LEN + UDP_LEN + HEADER_LEN;
/// Length of everything before the inner packet, in bytes.
pub(crate) const OUTER_LEN: usize = ETHERNET_LEN + OVERHEAD;
/// Where the outer UDP header lies.
const UDP_AT: usize = ETHERNET_LEN + IPV4_LEN;
/// The part of a DSCP and ECN field that is DSCP (RFC 2474, RFC 3168).
const DSCP: u8 = 0xfc;
/// Most bytes that [`Encap::packet`] writes.
pub(crate) const MAX_HEADERS: usize = OUTER_LEN + MAX_INNER_HEADERS;
/// TTL of overlay packets, whom the tree's does not concern: the recommended default (RFC 1700).
pub(crate) const OVERLAY_TTL: u8 = 64;

/// The addresses of treecast packets that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    /// Ethernet address of the port that they leave by.
    pub(crate) from: Mac,
    /// Ethernet address of the next hop; [`Mac::multicast`] of the group down a tree.
    pub(crate) to: Mac,
    /// IP source: the ingress down a tree, the port's own address over the overlay.
    pub(crate) source: Ipv4Addr,
    /// IP destination: the group, or a neighbor.
    pub(crate) destination: Ipv4Addr,
    /// UDP source port, see [`source_port`].
    pub(crate) source_port: u16,
    /// UDP destination port: the tree's or the overlay's.
    pub(crate) destination_port: u16,
    /// Largest IP packet that the port takes, in bytes.
    pub(crate) mtu: u16,
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
    ip: Ipv4Header,
    ip_sum: Sum,
    ports: [U16; 2],
    udp_sum: Sum,
    mtu: u16,
}

impl Encap {
    /// Prepares the headers.
    pub(crate) fn new(outer: &Outer) -> Encap {
        let ip = Ipv4Header::new(outer.source, outer.destination, 0);
        Encap {
            ethernet: EthernetHeader {
                destination: outer.to,
                source: outer.from,
                ethertype: U16::new(ETHERTYPE_IPV4),
            },
            ip,
            ip_sum: Sum::of(ip.as_bytes()),
            ports: [outer.source_port, outer.destination_port].map(U16::new),
            udp_sum: Sum::udp_pseudo(outer.source, outer.destination, 0)
                + Sum::word(outer.source_port)
                + Sum::word(outer.destination_port),
            mtu: outer.mtu,
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
    /// UDP header + payload. The inner IP header holds its own checksum, so it sums up to zero. Where there is an inner
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
        let inner_sum = if udp[6..] == [0, 0] {
            Sum::of(udp) + Sum::of(payload)
        } else {
            Sum::ZERO - (Sum::of(&ip[12..20]) + Sum::of(&[0, ip[9], udp[4], udp[5]]))
        };
        let (outer, rest) = area
            .split_first_chunk_mut::<OUTER_LEN>()
            .ok_or(DropReason::NoHeaderBuffer)?;
        rest.get_mut(..headers.len())
            .ok_or(DropReason::NoHeaderBuffer)?
            .copy_from_slice(headers);
        // The tree treats the packet as its source asked for: DSCP goes outside too (RFC 2983), ECN does not.
        let dscp = ip[1] & DSCP;
        let content = Content {
            len: headers.len() + payload.len(),
            sum: inner_sum,
        };
        self.write(outer, [dscp, ttl], header, content)?;
        Ok(OUTER_LEN + headers.len())
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
        let (outer, rest) = area
            .split_first_chunk_mut::<OUTER_LEN>()
            .ok_or(DropReason::NoHeaderBuffer)?;
        rest.get_mut(..parity.len())
            .ok_or(DropReason::NoHeaderBuffer)?
            .copy_from_slice(parity);
        let content = Content {
            len: parity.len() + coded.len(),
            sum: Sum::of(parity) + Sum::of(coded),
        };
        self.write(outer, [0, ttl], header, content)?;
        Ok(OUTER_LEN + parity.len())
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

    #[inline]
    fn write(
        &self,
        outer: &mut [u8; OUTER_LEN],
        [dscp, ttl]: [u8; 2],
        header: &Header,
        content: Content,
    ) -> Result<(), DropReason> {
        let total_len = u16::try_from(OVERHEAD + content.len)
            .ok()
            .filter(|&len| len <= self.mtu)
            .ok_or(DropReason::TooBig)?;
        let mut ip = self.ip;
        ip.dscp_ecn = dscp;
        ip.ttl = ttl;
        ip.total_len = U16::new(total_len);
        let ip_sum = self.ip_sum
            + Sum::word(u16::from(dscp))
            + Sum::word(u16::from(ttl) << 8)
            + Sum::word(total_len);
        ip.checksum = U16::new(ip_sum.checksum());
        let treecast = header.emit();
        let udp_len = total_len - IPV4_LEN as u16;
        // The length counts twice: in the pseudo header and in the header.
        let udp_sum = self.udp_sum
            + Sum::word(udp_len)
            + Sum::word(udp_len)
            + Sum::of(&treecast)
            + content.sum;
        let udp = UdpHeader {
            source: self.ports[0],
            destination: self.ports[1],
            len: U16::new(udp_len),
            checksum: U16::new(udp_sum.udp_checksum()),
        };
        let (ethernet, rest) = outer.split_at_mut(ETHERNET_LEN);
        let (ip_area, rest) = rest.split_at_mut(IPV4_LEN);
        let (udp_area, treecast_area) = rest.split_at_mut(UDP_LEN);
        ethernet.copy_from_slice(self.ethernet.as_bytes());
        ip_area.copy_from_slice(ip.as_bytes());
        udp_area.copy_from_slice(udp.as_bytes());
        treecast_area.copy_from_slice(&treecast);
        Ok(())
    }
}

/// The outer headers of consecutive data packets of a session, but for what is particular to each.
pub(crate) struct Template {
    headers: [u8; OUTER_LEN],
    ip_sum: Sum,
    udp_sum: Sum,
}

impl Encap {
    /// Prepares the headers of packets from `header` on, whose inner headers are like `inner`: without options, and with a
    /// UDP checksum.
    pub(crate) fn prepare(&self, ttl: u8, header: &Header, inner: &InnerHeader) -> Template {
        let mut ip = self.ip;
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
        Template {
            headers,
            ip_sum: self.ip_sum + Sum::word(u16::from(ttl) << 8),
            udp_sum: self.udp_sum + Sum::of(&treecast)
                - Sum::udp_pseudo(inner.source, inner.destination, 0),
        }
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
struct Content {
    len: usize,
    sum: Sum,
}

#[cfg(test)]
mod tests;

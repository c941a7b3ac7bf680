//! Frames like one that was parsed: consecutive packets of a session differ in little, and that is checked with a few wide
//! loads. What is taken here, [`parse`](super::parse) would take with the same result, on a port that does not verify
//! payloads.

use overlay::Seq;

use super::headers::{ETHERNET_LEN, IPV4_LEN, UDP_LEN};
use crate::checksum::Wide;
use crate::encap::OUTER_LEN;

/// Inner IP header without options, and UDP header.
const INNER_LEN: usize = IPV4_LEN + UDP_LEN;
/// Headers of a packet of a source, and of one of a tree.
const FLOW_LEN: usize = ETHERNET_LEN + INNER_LEN;
const TREE_LEN: usize = OUTER_LEN + INNER_LEN;

/// Where the IP headers begin.
const OUTER_IP: usize = ETHERNET_LEN;
const INNER_IP: usize = OUTER_LEN;
/// Where the outer UDP header and the treecast header begin.
const OUTER_UDP: usize = ETHERNET_LEN + IPV4_LEN;
const TREECAST: usize = OUTER_UDP + UDP_LEN;
/// Where the inner UDP header begins.
const INNER_UDP: usize = INNER_IP + IPV4_LEN;
/// The length in a UDP header, taken as a word.
const LENGTH: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0, 0]);

/// Marks the bytes of `ranges` in a mask.
const fn mask<const LEN: usize>(ranges: &[(usize, usize)]) -> [u8; LEN] {
    let mut mask = [0; LEN];
    let mut i = 0;
    while i < ranges.len() {
        let (mut at, end) = ranges[i];
        while at < end {
            mask[at] = 0xff;
            at += 1;
        }
        i += 1;
    }
    mask
}

/// Of a source's packet: its destination on the link, that it is IPv4 without options and UDP, addresses and ports.
const FLOW_MASK: [u8; FLOW_LEN] = {
    let mut mask = mask(&[(0, 6), (12, 15), (23, 24), (26, 38)]);
    // Fragment offset and "more fragments", not "don't fragment".
    (mask[20], mask[21]) = (0x3f, 0xff);
    mask
};

/// Of a tree's packet: stations, (S,G), TTL and ports, the treecast header up to the sequence, and of the inner packet
/// what is the same of a source's.
const TREE_MASK: [u8; TREE_LEN] = {
    const I: usize = INNER_IP;
    let mut mask = mask(&[
        (0, 15),
        (22, 24),
        (26, 38),
        (TREECAST, TREECAST + 8),
        (I, I + 1),
        (I + 9, I + 10),
        (I + 12, I + 24),
    ]);
    (mask[20], mask[21]) = (0x3f, 0xff);
    (mask[I + 6], mask[I + 7]) = (0x3f, 0xff);
    mask
};

/// Eight bytes, as they lie.
#[inline(always)]
fn word<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |word| u64::from_ne_bytes(*word))
}

/// Two bytes, as a number.
#[inline(always)]
fn number<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Whether two headers agree under a mask.
#[inline(always)]
fn agree<const LEN: usize>(a: &[u8; LEN], b: &[u8; LEN], mask: &[u8; LEN]) -> bool {
    let mut difference = 0;
    let mut at = 0;
    while at + 8 <= LEN {
        difference |= (word(a, at) ^ word(b, at)) & word(mask, at);
        at += 8;
    }
    difference |= (word(a, LEN - 8) ^ word(b, LEN - 8)) & word(mask, LEN - 8);
    difference == 0
}

/// The sum of an IP header without options.
#[inline(always)]
fn ip_sum<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> Wide {
    // The last four bytes are the upper or lower half of a word; which one depends on the machine.
    let last = bytes[at + 16..]
        .first_chunk()
        .map_or(0, |half| u32::from_ne_bytes(*half));
    Wide::of(word(bytes, at)) + Wide::of(word(bytes, at + 8)) + Wide::of(last.into())
}

/// What is particular to a source's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowPacket {
    pub(crate) dscp_ecn: u8,
    /// Length of the IP packet, in bytes.
    pub(crate) len: u16,
}

/// Packets like one of a source.
#[derive(Clone, Debug)]
pub(crate) struct FlowLike {
    headers: [u8; FLOW_LEN],
}

impl FlowLike {
    /// Packets like the one in `frame`, which `parse` has taken as a flow's and [`super::Inner::verify`] has let through.
    /// `None` if it has IP options or no UDP checksum.
    #[inline]
    pub(crate) fn of(frame: &[u8]) -> Option<(FlowLike, FlowPacket)> {
        let headers = *frame.first_chunk::<FLOW_LEN>()?;
        let is_plain = headers[OUTER_IP] == 0x45;
        let like = FlowLike { headers };
        let packet = like.takes(frame)?;
        is_plain.then_some((like, packet))
    }

    /// What is particular to the packet in `frame`, if it is such a packet, sound and of this session.
    #[inline(always)]
    pub(crate) fn takes(&self, frame: &[u8]) -> Option<FlowPacket> {
        let headers = frame.first_chunk::<FLOW_LEN>()?;
        let len = number(headers, OUTER_IP + 2);
        let udp_len = number(headers, OUTER_UDP + 4);
        let ttl = headers[OUTER_IP + 8];
        let sound = agree(headers, &self.headers, &FLOW_MASK)
            && ttl > 1
            && usize::from(len) >= INNER_LEN
            && usize::from(len) + ETHERNET_LEN <= frame.len()
            && usize::from(udp_len) + IPV4_LEN == usize::from(len)
            && number(headers, OUTER_UDP + 6) != 0
            && ip_sum(headers, OUTER_IP).is_sound();
        sound.then_some(FlowPacket {
            dscp_ecn: headers[OUTER_IP + 1],
            len,
        })
    }
}

/// What is particular to a tree's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreePacket {
    pub(crate) sequence: Seq,
    pub(crate) timestamp: u64,
    /// Length of the outer IP packet, in bytes.
    pub(crate) len: u16,
}

/// Packets like one of a tree.
#[derive(Clone, Debug)]
pub(crate) struct TreeLike {
    headers: [u8; TREE_LEN],
}

impl TreeLike {
    /// Packets like the one in `frame`, which `parse` has taken as a tree's data. `None` if it has IP options, lacks one of
    /// the UDP checksums or goes no further.
    #[inline]
    pub(crate) fn of(frame: &[u8]) -> Option<(TreeLike, TreePacket)> {
        let headers = *frame.first_chunk::<TREE_LEN>()?;
        let is_plain = headers[OUTER_IP] == 0x45 && headers[INNER_IP] == 0x45;
        let like = TreeLike { headers };
        let packet = like.takes(frame)?;
        (is_plain && headers[OUTER_IP + 8] > 1).then_some((like, packet))
    }

    /// What is particular to the packet in `frame`, if it is such a packet, sound in all headers and of this session.
    #[inline(always)]
    pub(crate) fn takes(&self, frame: &[u8]) -> Option<TreePacket> {
        let headers = frame.first_chunk::<TREE_LEN>()?;
        let len = number(headers, OUTER_IP + 2);
        let inner_len = number(headers, INNER_IP + 2);
        let udp_len = number(headers, OUTER_UDP + 4);
        let inner_udp_len = number(headers, INNER_UDP + 4);
        let sequence = Seq(u64::from_be(word(headers, TREECAST + 8)));
        let inner_ttl = headers[INNER_IP + 8];
        let sound = agree(headers, &self.headers, &TREE_MASK)
            && usize::from(inner_len) >= INNER_LEN
            && usize::from(len) == usize::from(inner_len) + (OUTER_LEN - ETHERNET_LEN)
            && usize::from(len) + ETHERNET_LEN <= frame.len()
            && usize::from(udp_len) + IPV4_LEN == usize::from(len)
            && usize::from(inner_udp_len) + IPV4_LEN == usize::from(inner_len)
            && inner_ttl > 1
            && (Seq::FIRST..=Seq::MAX).contains(&sequence)
            && number(headers, OUTER_UDP + 6) != 0
            && number(headers, INNER_UDP + 6) != 0
            && ip_sum(headers, OUTER_IP).is_sound()
            && ip_sum(headers, INNER_IP).is_sound()
            && udp_sum(headers).is_sound();
        sound.then_some(TreePacket {
            sequence,
            timestamp: u64::from_be(word(headers, TREECAST + 16)),
            len,
        })
    }
}

/// The outer UDP sum, as [`super::sum_by_headers`] has it: outer addresses, UDP and treecast header, less inner addresses.
/// That both are UDP is the same on both sides, and a sound inner IP header sums up to nothing.
#[inline(always)]
fn udp_sum(headers: &[u8; TREE_LEN]) -> Wide {
    let len = word(headers, OUTER_UDP) & LENGTH;
    let inner_len = word(headers, INNER_UDP) & LENGTH;
    let mut sum = Wide::of(len) + Wide::of(!inner_len & LENGTH);
    let mut at = OUTER_IP + 12;
    while at < INNER_IP {
        sum = sum + Wide::of(word(headers, at));
        at += 8;
    }
    sum + Wide::of(!word(headers, INNER_IP + 12))
}

const _: () = assert!((INNER_IP - OUTER_IP - 12).is_multiple_of(8));

#[cfg(test)]
mod tests;

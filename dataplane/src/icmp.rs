//! ICMP: the one message that a node sends, "fragmentation needed".

use std::time::Duration;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::frame::{
    ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, Inner, Ipv4Header, Local,
    MAX_INNER_HEADERS,
};
use overlay::TokenBucket;

/// The IPv4 protocol number of ICMP.
const PROTOCOL_ICMP: u8 = 1;
/// Destination unreachable: fragmentation needed and "don't fragment" set (RFC 792).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// TTL of what the node itself sends: the recommended default (RFC 1700).
const TTL: u8 = 64;
const ICMP_LEN: usize = size_of::<IcmpHeader>();
const MAX_FRAME: usize = ETHERNET_LEN + IPV4_LEN + ICMP_LEN + MAX_INNER_HEADERS;

/// A "destination unreachable" header with the next hop's MTU (RFC 1191 §4).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IcmpHeader {
    type_code: [u8; 2],
    checksum: U16,
    unused: U16,
    mtu: U16,
}

/// A finished ICMP error, as a frame.
#[derive(Clone, Debug)]
pub(crate) struct IcmpFrame {
    bytes: [u8; MAX_FRAME],
    len: usize,
}

impl IcmpFrame {
    /// The frame's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// How often ICMP errors are sent (RFC 1812 §4.3.2.8 asks for a limit): 100 a second serve path MTU discovery of many
/// sources at once and are no traffic to speak of. Each of the node's workers has its share.
pub(crate) fn icmp_limiter(workers: usize) -> TokenBucket {
    let share = (100 / workers.max(1)).max(1);
    TokenBucket::new(share as u64, Duration::from_millis(500))
}

/// Tells the source of `inner`, which came as `frame` to the port that is `local`, that its IP packets may be `mtu`
/// bytes long. It goes back to the station that sent the frame, whether that is the source or a router.
///
/// `None` if the frame is not the one that `inner` was parsed from, or came from a group address.
pub(crate) fn fragmentation_needed(
    frame: &[u8],
    inner: &Inner,
    local: &Local,
    mtu: u16,
) -> Option<IcmpFrame> {
    let (received, _) = EthernetHeader::ref_from_prefix(frame).ok()?;
    if !received.source.is_unicast() {
        return None;
    }
    // The IP header and eight bytes (RFC 792): with UDP those are just its header.
    let quote = frame.get(inner.headers())?;
    let ethernet = EthernetHeader {
        destination: received.source,
        source: local.mac,
        ethertype: U16::new(ETHERTYPE_IPV4),
    };
    let mut ip = Ipv4Header::new(local.address, inner.header.source, TTL);
    ip.protocol = PROTOCOL_ICMP;
    ip.total_len = U16::new((IPV4_LEN + ICMP_LEN + quote.len()) as u16);
    ip.seal();
    let mut icmp = IcmpHeader {
        type_code: FRAGMENTATION_NEEDED,
        checksum: U16::ZERO,
        unused: U16::ZERO,
        mtu: U16::new(mtu),
    };
    let sum = Sum::of(icmp.as_bytes()) + Sum::of(quote);
    icmp.checksum = U16::new(sum.checksum());

    let mut reply = IcmpFrame {
        bytes: [0; MAX_FRAME],
        len: 0,
    };
    for part in [ethernet.as_bytes(), ip.as_bytes(), icmp.as_bytes(), quote] {
        let end = reply.len + part.len();
        reply.bytes.get_mut(reply.len..end)?.copy_from_slice(part);
        reply.len = end;
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::frame::{Mac, Parsed, parse};
    use etherparse::{Icmpv4Type, PacketBuilder, PacketHeaders, TransportHeader, icmpv4};

    #[test]
    fn the_source_is_told_the_mtu_in_words_that_it_understands() {
        let local = Local {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: Ipv4Addr::new(10, 0, 0, 1),
            tree_port: 7451,
            overlay_port: 7452,
            verify_payload: true,
        };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], local.mac.0)
            .ipv4([10, 7, 0, 2], [198, 51, 100, 1], 9)
            .udp(4000, 5004)
            .write(&mut frame, &[7; 1472])
            .unwrap();
        let Ok(Parsed::Flow { inner }) = parse(&frame, &local) else {
            panic!("a flow")
        };
        let reply = fragmentation_needed(&frame, &inner, &local, 1448).unwrap();
        let parsed = PacketHeaders::from_ethernet_slice(reply.as_bytes()).unwrap();
        let ethernet = parsed.link.unwrap().ethernet2().unwrap();
        assert_eq!(ethernet.destination, [2, 0, 0, 0, 0, 9]);
        let (ip, _) = parsed
            .net
            .unwrap()
            .ipv4_ref()
            .map(|(ip, _)| (ip.clone(), ()))
            .unwrap();
        assert_eq!((ip.source, ip.destination), ([10, 0, 0, 1], [10, 7, 0, 2]));
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let Some(TransportHeader::Icmpv4(icmp)) = parsed.transport else {
            panic!("ICMP")
        };
        let wanted = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1448 };
        assert_eq!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(wanted));
        let quote = &reply.as_bytes()[42..];
        assert_eq!(quote, &frame[14..42]);
        assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quote));
    }
}

//! ICMP (RFC 792) and ICMPv6 (RFC 4443): what a source is told of packets that don't go on, and answers to echo requests.
//!
//! A message is made of the packet that it is about, in its buffer: that becomes the quote, and the headers come before it.

mod echo;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use overlay::TokenBucket;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::frame::{
    Addresses, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_LEN, IPV6_LEN,
    Inner, Ipv4Header, Ipv6Header, Local, Mac, PROTOCOL_ICMPV6,
};
use crate::mbuf::Mbuf;
pub(crate) use echo::Echo;

/// The IPv4 protocol number of ICMP.
const PROTOCOL_ICMP: u8 = 1;
/// TTL of what the node itself sends: the recommended default (RFC 1700).
const TTL: u8 = 64;
/// Longest message that any host takes, its IP header included: what a message may have at most (RFC 1812 §4.3.2.3,
/// RFC 4443 §2.4 (c)).
const LEN_MAX_IPV4: usize = 576;
const LEN_MAX_IPV6: usize = 1280;

/// Why a packet does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpError {
    /// It is longer than this, in bytes, which is what the tree takes.
    TooBig(u16),
    /// Its TTL is used up.
    TimeExceeded,
}

/// The header of an error.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IcmpHeader {
    type_code: [u8; 2],
    checksum: U16,
    /// In both families the MTU stands at the end of this, where the message has one (RFC 1191 §4, RFC 4443 §3.2).
    mtu: U32,
}

const ICMP_LEN: usize = size_of::<IcmpHeader>();

/// How often ICMP errors are sent (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f) ask for a limit): 100 a second serve path MTU
/// discovery of many sources at once and are no traffic to speak of.
pub(crate) fn icmp_limiter() -> TokenBucket {
    TokenBucket::new(100, Duration::from_millis(500))
}

/// How many echo requests are answered: enough for any monitoring, and a flood of them costs little.
pub(crate) fn echo_limiter() -> TokenBucket {
    TokenBucket::new(1_000, Duration::from_millis(100))
}

impl IcmpError {
    /// Makes the message to the source of `inner`, which came as `frame` to the port that is `local`. It goes back to the
    /// station that sent the frame, whether that is the source or a router.
    ///
    /// `None` if the frame is not the one that `inner` was parsed from, came from a group address, or is of a family that
    /// the port has no address of.
    pub(crate) fn answer(self, mut frame: Mbuf, inner: &Inner, local: &Local) -> Option<Mbuf> {
        let (received, _) = EthernetHeader::ref_from_prefix(frame.data()).ok()?;
        let station = received.source;
        if !station.is_unicast() {
            return None;
        }
        frame.trim_back_to(inner.packet().end);
        frame.trim_front(inner.packet().start);
        match inner.header.addresses {
            Addresses::V4 { source, .. } => {
                self.precede_ipv4(&mut frame, (local.ipv4?, source), (local.mac, station))?;
            }
            Addresses::V6 { source, .. } => {
                let own = local.ipv6?.address;
                self.precede_ipv6(&mut frame, (own, source), (local.mac, station))?;
            }
        }
        Some(frame)
    }

    fn precede_ipv4(
        self,
        frame: &mut Mbuf,
        (own, source): (Ipv4Addr, Ipv4Addr),
        macs: (Mac, Mac),
    ) -> Option<()> {
        frame.trim_back_to(LEN_MAX_IPV4 - IPV4_LEN - ICMP_LEN);
        let (type_code, mtu) = match self {
            IcmpError::TooBig(mtu) => ([3, 4], mtu),
            IcmpError::TimeExceeded => ([11, 0], 0),
        };
        let icmp = header(type_code, mtu, Sum::ZERO, frame.data());
        let mut ip = Ipv4Header::new(own, source, TTL);
        ip.protocol = PROTOCOL_ICMP;
        ip.total_len = U16::new((IPV4_LEN + ICMP_LEN + frame.len()) as u16);
        ip.seal();
        precede(frame, macs, ETHERTYPE_IPV4, (ip.as_bytes(), &icmp))
    }

    fn precede_ipv6(
        self,
        frame: &mut Mbuf,
        (own, source): (Ipv6Addr, Ipv6Addr),
        macs: (Mac, Mac),
    ) -> Option<()> {
        frame.trim_back_to(LEN_MAX_IPV6 - IPV6_LEN - ICMP_LEN);
        let (type_code, mtu) = match self {
            IcmpError::TooBig(mtu) => ([2, 0], mtu),
            IcmpError::TimeExceeded => ([3, 0], 0),
        };
        let len = (ICMP_LEN + frame.len()) as u16;
        let addresses = Addresses::V6 {
            source: own,
            destination: source,
        };
        let pseudo = Sum::pseudo(&addresses, PROTOCOL_ICMPV6, len);
        let icmp = header(type_code, mtu, pseudo, frame.data());
        let mut ip = Ipv6Header::new(own, source, PROTOCOL_ICMPV6, TTL);
        ip.payload_len = U16::new(len);
        precede(frame, macs, ETHERTYPE_IPV6, (ip.as_bytes(), &icmp))
    }
}

fn header(type_code: [u8; 2], mtu: u16, pseudo: Sum, quote: &[u8]) -> IcmpHeader {
    let mut icmp = IcmpHeader {
        type_code,
        checksum: U16::ZERO,
        mtu: U32::new(mtu.into()),
    };
    let sum = pseudo + Sum::of(icmp.as_bytes()) + Sum::of(quote);
    icmp.checksum = U16::new(sum.checksum());
    icmp
}

/// Puts the headers before the quote.
fn precede(
    frame: &mut Mbuf,
    (from, to): (Mac, Mac),
    ethertype: u16,
    (ip, icmp): (&[u8], &IcmpHeader),
) -> Option<()> {
    let ethernet = EthernetHeader {
        destination: to,
        source: from,
        ethertype: U16::new(ethertype),
    };
    let area = frame.prepend(ETHERNET_LEN + ip.len() + ICMP_LEN)?;
    let (ethernet_area, rest) = area.split_at_mut(ETHERNET_LEN);
    let (ip_area, icmp_area) = rest.split_at_mut(ip.len());
    ethernet_area.copy_from_slice(ethernet.as_bytes());
    ip_area.copy_from_slice(ip);
    icmp_area.copy_from_slice(icmp.as_bytes());
    Some(())
}

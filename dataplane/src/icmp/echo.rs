//! Echo requests to the node's own addresses, and the answers: the request turned round in its buffer.

use std::ops::Range;

use zerocopy::FromBytes;

use super::{PROTOCOL_ICMP, TTL};
use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{
    Addresses, ETHERNET_LEN, EthernetHeader, IPV4_LEN, IPV6_LEN, Ipv4Header, Ipv6Header, Local,
    PROTOCOL_ICMPV6,
};
use crate::mbuf::Mbuf;

/// The types of requests, and of the answers.
const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const REQUEST_IPV6: u8 = 128;
const REPLY_IPV6: u8 = 129;
/// Type, code, checksum, identifier and sequence.
const HEADER_LEN: usize = 8;

/// A sound echo request to an address of the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    /// Where in the frame the message lies.
    message: Range<usize>,
}

impl Echo {
    /// Of an IPv4 packet with the header `ip`, `packet` as long as that says.
    ///
    /// # Errors
    /// [`DropReason::IpProtocolUnknown`] if it is not ICMP, [`DropReason::IcmpUnknown`] if it is another message,
    /// [`DropReason::IcmpChecksumBad`].
    #[cold]
    pub(crate) fn parse_ipv4(ip: &Ipv4Header, packet: &[u8]) -> Result<Echo, DropReason> {
        if ip.protocol != PROTOCOL_ICMP {
            return Err(DropReason::IpProtocolUnknown);
        }
        if ip.is_fragment() {
            return Err(DropReason::Fragment);
        }
        let is_plain = ip.header_len() == IPV4_LEN;
        let message = packet.get(IPV4_LEN..).filter(|_| is_plain);
        Echo::parse(message, REQUEST, IPV4_LEN, Sum::ZERO)
    }

    /// Of the ICMPv6 message `packet[start..]`.
    ///
    /// # Errors
    /// As [`Echo::parse_ipv4`].
    #[cold]
    pub(crate) fn parse_ipv6(
        addresses: &Addresses,
        packet: &[u8],
        start: usize,
    ) -> Result<Echo, DropReason> {
        let message = packet.get(start..).filter(|_| start == IPV6_LEN);
        let len = message.unwrap_or_default().len() as u16;
        let pseudo = Sum::pseudo(addresses, PROTOCOL_ICMPV6, len);
        Echo::parse(message, REQUEST_IPV6, IPV6_LEN, pseudo)
    }

    fn parse(
        message: Option<&[u8]>,
        request: u8,
        ip_len: usize,
        pseudo: Sum,
    ) -> Result<Echo, DropReason> {
        let message = message.filter(|message| message.len() >= HEADER_LEN);
        let message = message.ok_or(DropReason::IcmpUnknown)?;
        if message[..2] != [request, 0] {
            return Err(DropReason::IcmpUnknown);
        }
        if !(pseudo + Sum::of(message)).is_sound() {
            return Err(DropReason::IcmpChecksumBad);
        }
        let start = ETHERNET_LEN + ip_len;
        Ok(Echo {
            message: start..start + message.len(),
        })
    }

    /// Turns the request round; `None` if `frame` is not the one that it was parsed from, or came from a group address.
    pub(crate) fn answer(&self, mut frame: Mbuf, local: &Local) -> Option<Mbuf> {
        frame.trim_back_to(self.message.end);
        let (ethernet, packet) = EthernetHeader::mut_from_prefix(frame.data_mut()).ok()?;
        if !ethernet.source.is_unicast() {
            return None;
        }
        ethernet.destination = ethernet.source;
        ethernet.source = local.mac;
        let (ip, message) = packet.split_at_mut_checked(self.message.start - ETHERNET_LEN)?;
        // The addresses change places, which no sum minds; the type is the high byte of a word.
        let (kind, change) = if let Ok(ip) = Ipv4Header::mut_from_bytes(ip) {
            std::mem::swap(&mut ip.source, &mut ip.destination);
            ip.ttl = TTL;
            ip.seal();
            (REPLY, Sum::word(0) - Sum::word(u16::from(REQUEST) << 8))
        } else {
            let ip = Ipv6Header::mut_from_bytes(ip).ok()?;
            std::mem::swap(&mut ip.source, &mut ip.destination);
            ip.hop_limit = TTL;
            let change = u16::from(REPLY_IPV6 - REQUEST_IPV6) << 8;
            (REPLY_IPV6, Sum::word(change))
        };
        let &mut [ref mut first, _, high, low, ..] = message else {
            return None;
        };
        *first = kind;
        let sum = Sum::of_checksum(u16::from_be_bytes([high, low])) + change;
        message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        Some(frame)
    }
}

//! IPv6 as it comes: the header, the options that may stand behind it, and what the packet is.

use std::net::Ipv6Addr;

use zerocopy::FromBytes;

use super::addresses::{Addresses, is_ipv6_station};
use super::headers::{ETHERNET_LEN, EthernetHeader, IPV6_LEN, Ipv6Header, UDP_LEN};
use super::inner::{InnerHeader, MAX_INNER_HEADERS, UdpFields};
use super::{Local, Mac, Parsed, parse_udp};
use crate::checksum::PROTOCOL_UDP;
use crate::drops::DropReason;
use crate::icmp::Echo;
use crate::next_hop::NdPacket;

/// The next-header number of ICMPv6.
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;
/// The next-header numbers of hop-by-hop and destination options (RFC 8200 §4.3, §4.6).
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
/// That of a fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;

/// An IPv6 packet as far as its header and options say.
pub(super) struct Ipv6Packet<'a> {
    pub(super) header: &'a Ipv6Header,
    /// What follows: UDP, ICMPv6 …
    protocol: u8,
    /// Where that begins.
    start: usize,
}

impl<'a> Ipv6Packet<'a> {
    /// Reads the header at the start of `packet`, and passes over options of up to 16 bytes: with more, headers would not
    /// fit where those of any inner packet do.
    fn read(packet: &'a [u8]) -> Result<Ipv6Packet<'a>, DropReason> {
        let (header, _) =
            Ipv6Header::ref_from_prefix(packet).map_err(|_| DropReason::FrameTruncated)?;
        if header.version_class_label.get() >> 28 != 6 {
            return Err(DropReason::Ipv6HeaderBad);
        }
        let end = IPV6_LEN + usize::from(header.payload_len.get());
        let (mut protocol, mut start) = (header.next_header, IPV6_LEN);
        while let HOP_BY_HOP | DESTINATION_OPTIONS = protocol {
            if protocol == HOP_BY_HOP && start > IPV6_LEN {
                return Err(DropReason::Ipv6HeaderBad);
            }
            let &[next, units] = packet
                .get(start..start + 2)
                .and_then(|bytes| bytes.first_chunk())
                .ok_or(DropReason::FrameTruncated)?;
            protocol = next;
            start += 8 + 8 * usize::from(units);
            if start > MAX_INNER_HEADERS - UDP_LEN {
                return Err(DropReason::Ipv6OptionsLong);
            }
            if start > end {
                return Err(DropReason::Ipv6HeaderBad);
            }
        }
        if protocol == FRAGMENT {
            return Err(DropReason::Fragment);
        }
        if packet.len() < start {
            return Err(DropReason::FrameTruncated);
        }
        Ok(Ipv6Packet {
            header,
            protocol,
            start,
        })
    }

    /// Length as the header says it, in bytes.
    fn len(&self) -> usize {
        IPV6_LEN + usize::from(self.header.payload_len.get())
    }

    fn addresses(&self) -> Addresses {
        Addresses::V6 {
            source: self.header.source.into(),
            destination: self.header.destination.into(),
        }
    }

    /// The headers of the UDP datagram that it is.
    fn udp(&self, packet: &[u8]) -> Result<InnerHeader, DropReason> {
        if self.protocol != PROTOCOL_UDP {
            return Err(DropReason::IpProtocolUnknown);
        }
        let udp = UdpFields::read(packet, self.start, self.len())?;
        if udp.checksum == 0 {
            return Err(DropReason::UdpChecksumMissing);
        }
        Ok(InnerHeader {
            len: (self.start + UDP_LEN) as u8,
            dscp_ecn: self.header.traffic_class(),
            ttl: self.header.hop_limit,
            id: 0,
            fragment: 0,
            flow_label: self.header.flow_label(),
            addresses: self.addresses(),
            source_port: udp.source_port,
            destination_port: udp.destination_port,
            udp_len: udp.len,
            udp_checksum: udp.checksum,
        })
    }
}

/// Reads the headers of an IPv6 packet that is a UDP datagram, see [`InnerHeader::read`].
#[inline(never)]
pub(super) fn read_udp(packet: &[u8]) -> Result<InnerHeader, DropReason> {
    Ipv6Packet::read(packet)?.udp(packet)
}

/// Whether packets from that address are sent on: it is a station's, and not good on one link alone.
pub(super) const fn is_forwarded(source: Ipv6Addr) -> bool {
    is_ipv6_station(source) && !source.is_unicast_link_local()
}

/// Says what an IPv6 frame is to a port.
#[inline(never)]
pub(super) fn parse(
    frame: &[u8],
    ethernet: &EthernetHeader,
    local: &Local,
) -> Result<Parsed, DropReason> {
    let packet = &frame[ETHERNET_LEN..];
    let ip = Ipv6Packet::read(packet)?;
    let source = Ipv6Addr::from(ip.header.source);
    let destination = Ipv6Addr::from(ip.header.destination);
    let expected = if destination.is_multicast() {
        Mac::of_ipv6_group(destination)
    } else {
        local.mac
    };
    if ethernet.destination != expected {
        return Err(DropReason::NotForUs);
    }
    let packet = packet.get(..ip.len()).ok_or(DropReason::FrameTruncated)?;
    let is_own = local.has(destination.into());
    if ip.protocol == PROTOCOL_ICMPV6 {
        let message = packet.get(ip.start..).unwrap_or_default();
        let nd = NdPacket::parse(ethernet.source, ip.header, message);
        return match nd {
            Err(DropReason::IcmpUnknown) if is_own && is_ipv6_station(source) => {
                Echo::parse_ipv6(&ip.addresses(), packet, ip.start).map(Parsed::Echo)
            }
            nd => nd.map(Parsed::Nd),
        };
    }
    if !is_ipv6_station(source) {
        return Err(DropReason::Ipv6SourceBad);
    }
    let header = ip.udp(packet)?;
    if !is_own && !destination.is_multicast() && !is_forwarded(source) {
        return Err(DropReason::Ipv6SourceBad);
    }
    parse_udp((frame, ethernet), &header, local, is_own)
}

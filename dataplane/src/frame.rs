//! What a received frame is: any bytes in, a value that cannot be wrong or the name of a drop out.

mod addresses;
mod alike;
mod headers;
mod inner;
mod ipv6;
mod mac;
mod short;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use overlay::wire::{
    FLAG_HISTORY, HEADER_LEN, Header, Hello, Kind, NakRanges, ParityHeader, WireError,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) use addresses::Addresses;
pub(crate) use alike::{FlowLike, FlowPacket, TreeLike, TreePacket};
pub(crate) use headers::{
    DONT_FRAGMENT, ETHERNET_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader,
    IPV4_LEN, IPV6_LEN, Ipv4Header, Ipv6Header, UDP_LEN, UdpHeader,
};
pub(crate) use inner::{Inner, InnerHeader, MAX_INNER_HEADERS};
pub(crate) use ipv6::PROTOCOL_ICMPV6;
pub(crate) use mac::Mac;
pub(crate) use short::ShortFrame;

use crate::checksum::Sum;
use crate::config::is_link_local;
use crate::drops::DropReason;
use crate::icmp::Echo;
use crate::next_hop::{ArpPacket, NdPacket};
use addresses::is_ipv4_station;

/// The place of a port in its node's list.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, Immutable,
)]
#[repr(transparent)]
pub(crate) struct PortIndex(pub(crate) u16);

/// What a port answers to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    /// The port's Ethernet address.
    pub(crate) mac: Mac,
    /// The port's IPv4 address.
    pub(crate) ipv4: Option<Ipv4Addr>,
    /// The port's IPv6 addresses.
    pub(crate) ipv6: Option<LocalIpv6>,
    /// UDP destination port of the tree.
    pub(crate) tree_port: u16,
    /// UDP destination port of the overlay.
    pub(crate) overlay_port: u16,
    /// Whether checksums are verified over payloads too, not over headers alone.
    pub(crate) verify_payload: bool,
}

/// The IPv6 addresses of a port that has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalIpv6 {
    /// The configured one.
    pub(crate) address: Ipv6Addr,
    /// The one that every IPv6 interface has (RFC 4291 §2.8).
    pub(crate) link_local: Ipv6Addr,
}

impl Local {
    /// Whether the address is one of the port's.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4 == Some(address),
            IpAddr::V6(address) => self.ipv6.is_some_and(|own| own.has(address)),
        }
    }

    /// The port's address that speaks to `address` on its link; `None` if the port has none of that family.
    pub(crate) fn towards(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) if is_link_local(address) => Some(self.ipv6?.link_local.into()),
            IpAddr::V6(_) => Some(self.ipv6?.address.into()),
        }
    }
}

impl LocalIpv6 {
    /// Those of a port with that address.
    pub(crate) const fn new(mac: Mac, address: Ipv6Addr) -> LocalIpv6 {
        LocalIpv6 {
            address,
            link_local: mac.link_local(),
        }
    }

    fn has(&self, address: Ipv6Addr) -> bool {
        address == self.address || address == self.link_local
    }
}

/// A frame that is for this node. Places are offsets into the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// ARP, from the station that it names.
    Arp(ArpPacket),
    /// Neighbor discovery, from the station that it names.
    Nd(NdPacket),
    /// An echo request to an address of the port.
    Echo(Echo),
    /// Data that came down a tree.
    Data {
        header: Header,
        channel: Channel,
        inner: Inner,
    },
    /// A heartbeat that came down a tree.
    Heartbeat { header: Header, channel: Channel },
    /// A repair that came down a tree, since several children lack it.
    Subcast {
        header: Header,
        channel: Channel,
        inner: Inner,
    },
    /// Parity that came down a tree.
    Parity {
        header: Header,
        channel: Channel,
        parity: ParityHeader,
        /// The coded bytes, right behind the parity's own header.
        coded: Range<usize>,
    },
    /// A NAK confirmation that came down a tree; its body is one that [`NakRanges::parse`] takes.
    Confirm {
        header: Header,
        channel: Channel,
        body: Range<usize>,
    },
    /// A repair or a copy, over the overlay.
    Unicast {
        header: Header,
        source: IpAddr,
        inner: Inner,
    },
    /// A NAK, an answer to a question for history, or a hello, over the overlay; its body is one that the wire's parsers
    /// take.
    Control {
        header: Header,
        source: IpAddr,
        /// Ethernet source: the neighbor's address on this link.
        station: Mac,
        body: Range<usize>,
    },
    /// A unicast packet that a session may want: addressed to our Ethernet address, not to our overlay. It has not been
    /// verified; call [`Inner::verify`] once it is known to be wanted.
    Flow { inner: Inner },
}

/// The outer addresses of a tree packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    /// Ethernet source: the station that sent it on this link, for the RPF check.
    pub(crate) station: Mac,
    /// S and G of (S,G).
    pub(crate) addresses: Addresses,
    /// TTL of the outer packet as received.
    pub(crate) ttl: u8,
}

/// The outer UDP datagram that holds a treecast packet.
struct Datagram<'a> {
    frame: &'a [u8],
    /// Ethernet source.
    station: Mac,
    outer: &'a InnerHeader,
    /// Where the treecast packet lies in `frame`.
    body: Range<usize>,
}

/// Says what `frame`, whole and in one piece, is to a port.
///
/// # Errors
/// The reason why it is nothing.
#[inline(always)]
pub(crate) fn parse(frame: &[u8], local: &Local) -> Result<Parsed, DropReason> {
    let (ethernet, rest) =
        EthernetHeader::ref_from_prefix(frame).map_err(|_| DropReason::FrameTruncated)?;
    match ethernet.ethertype.get() {
        ETHERTYPE_ARP if [local.mac, Mac::BROADCAST].contains(&ethernet.destination) => {
            ArpPacket::parse(ethernet.source, rest).map(Parsed::Arp)
        }
        ETHERTYPE_IPV4 => parse_ipv4(frame, ethernet, local),
        ETHERTYPE_IPV6 => ipv6::parse(frame, ethernet, local),
        ETHERTYPE_ARP => Err(DropReason::NotForUs),
        _ => Err(DropReason::EthertypeUnknown),
    }
}

#[inline(always)]
fn parse_ipv4(
    frame: &[u8],
    ethernet: &EthernetHeader,
    local: &Local,
) -> Result<Parsed, DropReason> {
    let packet = &frame[ETHERNET_LEN..];
    let (ip, ip_len) = inner::read_ipv4(packet)?;
    let destination = Ipv4Addr::from(ip.destination);
    let expected = if destination.is_multicast() {
        Mac::of_ipv4_group(destination)
    } else {
        local.mac
    };
    if ethernet.destination != expected {
        return Err(DropReason::NotForUs);
    }
    if usize::from(ip.total_len.get()) > packet.len() {
        return Err(DropReason::FrameTruncated);
    }
    if !Sum::of(&packet[..ip_len]).is_sound() {
        return Err(DropReason::Ipv4ChecksumBad);
    }
    if !is_ipv4_station(Ipv4Addr::from(ip.source)) {
        return Err(DropReason::Ipv4SourceBad);
    }
    let is_own = local.ipv4 == Some(destination);
    let header = match InnerHeader::read_ipv4(packet) {
        Err(DropReason::IpProtocolUnknown) if is_own => {
            let packet = &packet[..usize::from(ip.total_len.get())];
            return Echo::parse_ipv4(ip, packet).map(Parsed::Echo);
        }
        read => read?,
    };
    parse_udp((frame, ethernet), &header, local, is_own)
}

/// A datagram that came with these headers, to an address of the port (`is_own`), a group or somebody else.
#[inline(always)]
fn parse_udp(
    (frame, ethernet): (&[u8], &EthernetHeader),
    header: &InnerHeader,
    local: &Local,
    is_own: bool,
) -> Result<Parsed, DropReason> {
    let is_overlay = is_own && header.destination_port == local.overlay_port;
    if !is_overlay && !header.addresses.is_multicast() {
        let start = ETHERNET_LEN;
        return Ok(Parsed::Flow {
            inner: Inner {
                header: *header,
                start,
            },
        });
    }
    if !is_overlay && header.destination_port != local.tree_port {
        return Err(DropReason::MulticastUnknown);
    }
    let datagram = open(frame, ethernet.source, header, local.verify_payload)?;
    if is_overlay {
        parse_overlay(&datagram)
    } else {
        parse_tree(&datagram)
    }
}

/// Verifies the outer UDP checksum, where there is one.
#[inline(always)]
fn open<'a>(
    frame: &'a [u8],
    station: Mac,
    outer: &'a InnerHeader,
    verify_payload: bool,
) -> Result<Datagram<'a>, DropReason> {
    let start = ETHERNET_LEN + usize::from(outer.len);
    let body = start..start + outer.payload_len();
    if outer.udp_checksum != 0 {
        let pseudo = Sum::udp_pseudo(&outer.addresses, outer.udp_len);
        let datagram = &frame[start - UDP_LEN..body.end];
        let by_headers = if verify_payload {
            None
        } else {
            sum_by_headers(datagram)
        };
        let sum = by_headers.unwrap_or_else(|| Sum::of(datagram));
        if !(pseudo + sum).is_sound() {
            return Err(DropReason::UdpChecksumBad);
        }
    }
    Ok(Datagram {
        frame,
        station,
        outer,
        body,
    })
}

/// The sum of a datagram that carries an inner packet with a UDP checksum, without a look at its payload: with that checksum
/// right, inner UDP header and payload sum up to minus the inner pseudo header (see [`crate::encap::Encap::packet`]). So a
/// flaw of any header shows but those of the inner UDP header, which are for the client to find, as flaws of the payload are.
#[inline(always)]
fn sum_by_headers(datagram: &[u8]) -> Option<Sum> {
    let (outer, packet) = datagram.split_at_checked(UDP_LEN + HEADER_LEN)?;
    let (header, _) = Header::parse(&outer[UDP_LEN..]).ok()?;
    let inner = InnerHeader::read(packet).ok()?;
    let carries = matches!(header.kind, Kind::Data | Kind::Repair | Kind::Copy);
    let is_whole = inner.packet_len() == packet.len();
    if !carries || !is_whole || inner.udp_checksum == 0 {
        return None;
    }
    let ip = &packet[..usize::from(inner.len) - UDP_LEN];
    let pseudo = Sum::udp_pseudo(&inner.addresses, inner.udp_len);
    Some(Sum::of(outer) + Sum::of(ip) - pseudo)
}

#[inline(always)]
fn parse_tree(datagram: &Datagram<'_>) -> Result<Parsed, DropReason> {
    let (header, body) = parse_header(datagram)?;
    let channel = Channel {
        station: datagram.station,
        addresses: datagram.outer.addresses,
        ttl: datagram.outer.ttl,
    };
    match header.kind {
        Kind::Data => Ok(Parsed::Data {
            header,
            channel,
            inner: parse_inner(datagram.frame, body)?,
        }),
        Kind::Heartbeat => Ok(Parsed::Heartbeat { header, channel }),
        Kind::Repair => Ok(Parsed::Subcast {
            header,
            channel,
            inner: parse_inner(datagram.frame, body)?,
        }),
        Kind::Parity => {
            let (parity, coded) =
                ParityHeader::parse(&datagram.frame[body.clone()]).map_err(wire_reason)?;
            if coded.is_empty() {
                return Err(DropReason::WireTruncated);
            }
            Ok(Parsed::Parity {
                header,
                channel,
                parity,
                coded: body.end - coded.len()..body.end,
            })
        }
        // An answer to a question goes to the neighbor that asked.
        Kind::NakConfirm if header.flags & FLAG_HISTORY == 0 => {
            NakRanges::parse(&datagram.frame[body.clone()]).map_err(wire_reason)?;
            Ok(Parsed::Confirm {
                header,
                channel,
                body,
            })
        }
        Kind::Nak | Kind::NakConfirm | Kind::Hello | Kind::Copy => Err(DropReason::KindMisplaced),
    }
}

fn parse_overlay(datagram: &Datagram<'_>) -> Result<Parsed, DropReason> {
    let (header, body) = parse_header(datagram)?;
    let source = datagram.outer.addresses.source();
    let bytes = &datagram.frame[body.clone()];
    match header.kind {
        Kind::Repair | Kind::Copy => {
            let inner = parse_inner(datagram.frame, body)?;
            return Ok(Parsed::Unicast {
                header,
                source,
                inner,
            });
        }
        Kind::Nak => {
            NakRanges::parse(bytes).map_err(wire_reason)?;
        }
        Kind::NakConfirm if header.flags & FLAG_HISTORY != 0 => {
            NakRanges::parse(bytes).map_err(wire_reason)?;
        }
        // A hello with a session is a request, whose body says nothing.
        Kind::Hello if header.session.0 == 0 => {
            Hello::parse(bytes).map_err(wire_reason)?;
        }
        Kind::Hello => {}
        Kind::NakConfirm | Kind::Data | Kind::Heartbeat | Kind::Parity => {
            return Err(DropReason::KindMisplaced);
        }
    }
    Ok(Parsed::Control {
        header,
        source,
        station: datagram.station,
        body,
    })
}

/// Reads the treecast header and says where the body behind it lies in the frame.
#[inline(always)]
fn parse_header(datagram: &Datagram<'_>) -> Result<(Header, Range<usize>), DropReason> {
    let body = datagram.body.clone();
    let (header, _) = Header::parse(&datagram.frame[body.clone()]).map_err(wire_reason)?;
    Ok((header, body.start + HEADER_LEN..body.end))
}

/// Whether a frame is data of a tree, without looking any closer: for counting what a bad link does to it.
pub(crate) fn is_tree_data(frame: &[u8], tree_port: u16) -> bool {
    let read = || {
        let packet = frame.get(ETHERNET_LEN..)?;
        let header = InnerHeader::read(packet).ok()?;
        let (treecast, _) = Header::parse(packet.get(usize::from(header.len)..)?).ok()?;
        let to_tree = header.addresses.is_multicast() && header.destination_port == tree_port;
        Some(to_tree && treecast.kind == Kind::Data)
    };
    read().unwrap_or(false)
}

/// Checks that `body` is one whole inner packet which its ingress could have sent.
///
/// # Errors
/// [`DropReason::InnerBad`].
#[inline(always)]
pub(crate) fn parse_inner(frame: &[u8], body: Range<usize>) -> Result<Inner, DropReason> {
    let packet = &frame[body.clone()];
    let header = InnerHeader::read(packet).map_err(|_| DropReason::InnerBad)?;
    let is_sent_on = match header.addresses {
        Addresses::V4 { source, .. } => {
            let ip_len = usize::from(header.len) - UDP_LEN;
            is_ipv4_station(source) && Sum::of(&packet[..ip_len]).is_sound()
        }
        Addresses::V6 { source, .. } => ipv6::is_forwarded(source),
    };
    if header.packet_len() != packet.len() || header.ttl <= 1 || !is_sent_on {
        return Err(DropReason::InnerBad);
    }
    Ok(Inner {
        header,
        start: body.start,
    })
}

const fn wire_reason(error: WireError) -> DropReason {
    match error {
        WireError::Truncated => DropReason::WireTruncated,
        WireError::Version => DropReason::WireVersion,
        WireError::Type => DropReason::WireType,
        WireError::Field => DropReason::WireField,
    }
}

#[cfg(test)]
mod tests;

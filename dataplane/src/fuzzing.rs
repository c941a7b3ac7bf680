//! Entry points for fuzz targets: the parsers, and what must hold of what they return.

use std::net::{Ipv4Addr, Ipv6Addr};

use overlay::Fec;
use overlay::wire::{HEADER_LEN, Hello, NakRanges};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::checksum::{PROTOCOL_UDP, Sum};
use crate::fec::{Codec, Record};
use crate::frame::{
    self, Addresses, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_LEN,
    IPV6_LEN, Inner, InnerHeader, Ipv4Header, Ipv6Header, Local, LocalIpv6, Mac, PROTOCOL_ICMPV6,
    Parsed, UDP_LEN, UdpHeader,
};
use crate::next_hop::ArpPacket;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const LOCAL: Local = Local {
    mac: MAC,
    ipv4: Some(Ipv4Addr::new(10, 0, 0, 1)),
    ipv6: Some(LocalIpv6::new(
        MAC,
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
    )),
    tree_port: 7451,
    overlay_port: 7452,
    verify_payload: false,
};
/// Longest packet of a block.
const PACKET_MAX: usize = 64;

/// Any frame, as it is and with the checksums and lengths that it should have.
///
/// # Panics
/// When what it is taken for does not hold.
pub fn frame(bytes: &[u8]) {
    check(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    check(&sealed);
}

fn check(bytes: &[u8]) {
    let is_data = frame::is_tree_data(bytes, LOCAL.tree_port);
    let Ok(parsed) = frame::parse(bytes, &LOCAL) else {
        return;
    };
    assert!(is_data || !matches!(parsed, Parsed::Data { .. }));
    match parsed {
        Parsed::Arp(packet) => arp(&packet),
        Parsed::Data { inner, .. }
        | Parsed::Subcast { inner, .. }
        | Parsed::Unicast { inner, .. }
        | Parsed::Flow { inner } => check_inner(bytes, &inner),
        Parsed::Parity { coded, .. } => assert!(!bytes[coded].is_empty()),
        Parsed::Confirm { body, .. } => assert!(NakRanges::parse(&bytes[body]).is_ok()),
        Parsed::Control { header, body, .. } => {
            let body = &bytes[body];
            let request = header.session.0 != 0;
            assert!(request || Hello::parse(body).is_ok() || NakRanges::parse(body).is_ok());
        }
        Parsed::Nd(packet) => assert!(packet.station.is_unicast() && !packet.target.is_multicast()),
        Parsed::Heartbeat { .. } | Parsed::Echo(_) => {}
    }
}

/// What is emitted is parsed as it was, from its sender.
fn arp(packet: &ArpPacket) {
    let emitted = packet.emit(LOCAL.mac);
    let parsed = ArpPacket::parse(packet.sender_mac, &emitted.as_bytes()[ETHERNET_LEN..]);
    assert_eq!(parsed, Ok(*packet));
}

fn check_inner(bytes: &[u8], inner: &Inner) {
    let packet = &bytes[inner.packet()];
    assert_eq!(InnerHeader::read(packet), Ok(inner.header));
    assert_eq!(InnerHeader::read(&bytes[inner.headers()]), Ok(inner.header));
    assert_eq!(inner.payload().end, inner.packet().end);
    let _ = inner.verify(bytes, true);
}

/// Gives an IP frame the addresses, lengths and checksums with which it gets past the first checks.
fn seal(bytes: &mut [u8]) {
    let Ok((ethernet, packet)) = EthernetHeader::mut_from_prefix(bytes) else {
        return;
    };
    ethernet.destination = match ethernet.ethertype.get() {
        ETHERTYPE_IPV4 => match Ipv4Header::ref_from_prefix(packet) {
            Ok((ip, _)) if Ipv4Addr::from(ip.destination).is_multicast() => {
                Mac::of_ipv4_group(ip.destination.into())
            }
            _ => LOCAL.mac,
        },
        ETHERTYPE_IPV6 => match Ipv6Header::ref_from_prefix(packet) {
            Ok((ip, _)) if Ipv6Addr::from(ip.destination).is_multicast() => {
                Mac::of_ipv6_group(ip.destination.into())
            }
            _ => LOCAL.mac,
        },
        _ => LOCAL.mac,
    };
    seal_packet(packet, true);
}

/// Seals a packet without options, and one inside it first, which an IPv6 one's checksum covers.
fn seal_packet(packet: &mut [u8], is_outer: bool) {
    let ip_len = match packet.first().map(|first| first >> 4) {
        Some(6) => IPV6_LEN,
        _ => IPV4_LEN,
    };
    if let Some(inner) = packet.get_mut(ip_len + UDP_LEN + HEADER_LEN..)
        && is_outer
    {
        seal_packet(inner, false);
    }
    match ip_len {
        IPV6_LEN => seal_ipv6(packet).map(drop),
        _ => seal_ipv4(packet).map(drop),
    };
}

/// Seals an IPv6 packet of UDP or ICMPv6 without options.
fn seal_ipv6(packet: &mut [u8]) -> Option<()> {
    let (ip, message) = Ipv6Header::mut_from_prefix(packet).ok()?;
    let len = u16::try_from(message.len()).ok()?;
    ip.payload_len = U16::new(len);
    let addresses = Addresses::V6 {
        source: ip.source.into(),
        destination: ip.destination.into(),
    };
    let pseudo = Sum::pseudo(&addresses, ip.next_header, len);
    let checksum = match ip.next_header {
        PROTOCOL_UDP => {
            message.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
            6..8
        }
        PROTOCOL_ICMPV6 => 2..4,
        _ => return None,
    };
    message.get_mut(checksum.clone())?.fill(0);
    let sum = (pseudo + Sum::of(message)).udp_checksum();
    message[checksum].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Seals a packet without options and returns its datagram.
fn seal_ipv4(packet: &mut [u8]) -> Option<&mut [u8]> {
    let len = u16::try_from(packet.len()).ok()?;
    let (ip, datagram) = Ipv4Header::mut_from_prefix(packet).ok()?;
    if ip.version_ihl == 0x45 {
        ip.total_len = U16::new(len);
        ip.seal();
        let (udp, _) = UdpHeader::mut_from_prefix(datagram).ok()?;
        udp.len = U16::new(len - IPV4_LEN as u16);
        udp.checksum = U16::ZERO;
    }
    Some(datagram)
}

/// A block of packets: what is lost of it is rebuilt as it was, as far as its parity goes. And any parity.
///
/// # Panics
/// When it is rebuilt as anything else.
pub fn rebuild(bytes: &[u8]) {
    let &[block, parity, first_lost, lost, ref bytes @ ..] = bytes else {
        return;
    };
    let fec = Fec {
        block: 1 + block % 16,
        parity: 1 + parity % 4,
    };
    let Some(mut codec) = Codec::new(fec, PACKET_MAX) else {
        return;
    };
    let packets: Vec<&[u8]> = cut(bytes, fec.block.into());
    let is_lost = |place: u8| place >= first_lost && place - first_lost < lost % 8;
    honest(&mut codec, fec, &packets, is_lost);
    forged(&mut codec, fec, &packets, is_lost);
}

/// Up to `count` pieces, each as long as its first byte says.
fn cut(mut bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::with_capacity(count);
    while let Some((&len, rest)) = bytes.split_first() {
        let len = usize::from(len) % (PACKET_MAX + 1);
        let (piece, rest) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        bytes = rest;
        if pieces.len() == count {
            break;
        }
    }
    pieces
}

fn record<'a>(place: u8, packet: &'a [u8]) -> (u8, Record<'a>) {
    let (first, second) = packet.split_at(packet.len() / 2);
    let timestamp = u64::from(place);
    let packet = [first, second];
    (place, Record { timestamp, packet })
}

fn honest(codec: &mut Codec, fec: Fec, packets: &[&[u8]], is_lost: impl Fn(u8) -> bool) {
    let count = packets.len() as u8;
    let records = (0..)
        .zip(packets)
        .map(|(place, packet)| record(place, packet));
    let coded = codec.encode(count, records.clone().map(|(_, record)| record));
    assert_eq!(coded.is_ok(), count > 0, "{coded:?}");
    let parity: Vec<Vec<u8>> = (0..fec.parity)
        .map_while(|index| Some(codec.parity(index)?.to_vec()))
        .collect();
    let missing = (0..count).filter(|&place| is_lost(place)).count();
    let here = records.filter(|(place, _)| !is_lost(*place));
    let coded = (0..)
        .zip(&parity)
        .map(|(index, coded)| (index, coded.as_slice()));
    let block = Fec {
        block: count,
        parity: fec.parity,
    };
    let empty = packets.iter().any(|packet| packet.is_empty());
    let mut found = 0;
    let rebuilt = codec.rebuild(block, here, coded, |place, record| {
        assert_eq!(record.packet.concat(), packets[usize::from(place)]);
        assert_eq!(record.timestamp, u64::from(place));
        assert!(is_lost(place));
        found += 1;
    });
    let possible = count > 0 && (1..=usize::from(fec.parity)).contains(&missing);
    assert!(rebuilt.is_ok() || !possible || empty, "{rebuilt:?}");
    assert_eq!(found, if rebuilt.is_ok() { missing } else { 0 });
}

/// Packets as parity: rebuilt is nothing, or whole records.
fn forged(codec: &mut Codec, fec: Fec, packets: &[&[u8]], is_lost: impl Fn(u8) -> bool) {
    let records = (0..fec.block).zip(packets);
    let here = records
        .filter(|(place, _)| !is_lost(*place))
        .map(|(place, packet)| record(place, packet));
    let coded = (0..).zip(packets.iter().rev().copied());
    let rebuilt = codec.rebuild(fec, here, coded, |place, record| {
        assert!(place < fec.block);
        assert!(!record.packet.concat().is_empty());
    });
    let _ = rebuilt;
}

//! Entry points for fuzz targets: the parsers, and what must hold of what they return.

use std::net::Ipv4Addr;

use overlay::Fec;
use overlay::wire::{HEADER_LEN, Hello, NakRanges};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U16;

use crate::arp::ArpPacket;
use crate::fec::{Codec, Record};
use crate::frame::{
    self, ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, Inner, InnerHeader, Ipv4Header,
    Local, Mac, Parsed, UDP_LEN, UdpHeader,
};
use crate::icmp;

const LOCAL: Local = Local {
    mac: Mac([2, 0, 0, 0, 0, 1]),
    address: Ipv4Addr::new(10, 0, 0, 1),
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
        Parsed::Heartbeat { .. } => {}
    }
}

/// What is emitted is parsed as it was, from its sender.
fn arp(packet: &ArpPacket) {
    let emitted = packet.emit(LOCAL.mac);
    let parsed = ArpPacket::parse(packet.sender_mac, &emitted[ETHERNET_LEN..]);
    assert_eq!(parsed, Ok(*packet));
}

fn check_inner(bytes: &[u8], inner: &Inner) {
    let packet = &bytes[inner.packet()];
    assert_eq!(InnerHeader::read(packet), Ok(inner.header));
    assert_eq!(InnerHeader::read(&bytes[inner.headers()]), Ok(inner.header));
    assert_eq!(inner.payload().end, inner.packet().end);
    let _ = inner.verify(bytes, true);
    let _ = icmp::fragmentation_needed(bytes, inner, &LOCAL, 1400);
}

/// Gives an IPv4 frame the addresses, lengths and checksums with which it gets past the first checks.
fn seal(bytes: &mut [u8]) {
    let Ok((ethernet, packet)) = EthernetHeader::mut_from_prefix(bytes) else {
        return;
    };
    if ethernet.ethertype.get() != ETHERTYPE_IPV4 {
        ethernet.destination = LOCAL.mac;
        return;
    }
    if let Ok((ip, _)) = Ipv4Header::ref_from_prefix(packet) {
        let destination = Ipv4Addr::from(ip.destination);
        ethernet.destination = if destination.is_multicast() {
            Mac::multicast(destination)
        } else {
            LOCAL.mac
        };
    }
    if let Some(datagram) = seal_ipv4(packet)
        && let Some(inner) = datagram.get_mut(UDP_LEN + HEADER_LEN..)
    {
        seal_ipv4(inner);
    }
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

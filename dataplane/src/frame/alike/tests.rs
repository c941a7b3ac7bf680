use std::net::Ipv4Addr;

use etherparse::{IpHeaders, Ipv4Header, PacketBuilder};
use overlay::wire::{Header, Kind};
use overlay::{Epoch, SessionId};
use proptest::prelude::*;

use super::*;
use crate::checksum::Sum;
use crate::frame::{Addresses, Local, Mac, Parsed, parse};

const LOCAL: Local = Local {
    mac: Mac([2, 0, 0, 0, 0, 1]),
    ipv4: Some(Ipv4Addr::new(10, 0, 0, 1)),
    ipv6: None,
    tree_port: 7451,
    overlay_port: 7452,
    verify_payload: false,
};
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 0, 1);

fn ip(source: [u8; 4], destination: [u8; 4], (dscp_ecn, ttl): (u8, u8)) -> Ipv4Header {
    Ipv4Header {
        dscp: etherparse::IpDscp::try_new(dscp_ecn >> 2).unwrap(),
        ecn: etherparse::IpEcn::try_new(dscp_ecn & 3).unwrap(),
        identification: u16::from(dscp_ecn) << 5,
        dont_fragment: ttl % 2 == 0,
        time_to_live: ttl,
        source,
        destination,
        ..Default::default()
    }
}

fn frame(to: Mac, ip: Ipv4Header, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], to.0)
        .ip(IpHeaders::Ipv4(ip, Default::default()))
        .udp(ports.0, ports.1)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// A source's packet, of which only those of one session have the same `session`.
fn flow(session: u8, dscp_ttl: (u8, u8), payload: &[u8]) -> Vec<u8> {
    let ip = ip([192, 0, 2, 5], [198, 51, 100, session], dscp_ttl);
    frame(LOCAL.mac, ip, (4000, 5004), payload)
}

fn data(session: u8, dscp_ttl: (u8, u8), sequence: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: Kind::Data,
        flags: 0,
        epoch: Epoch(3),
        session: SessionId(session.into()),
        sequence: Seq(sequence),
        timestamp: sequence << 7,
    };
    let inner = &flow(session, dscp_ttl, payload)[ETHERNET_LEN..];
    let ip = ip([10, 9, 9, 9], GROUP.octets(), (dscp_ttl.0, 16));
    let body = [&header.emit()[..], inner].concat();
    frame(Mac::of_ipv4_group(GROUP), ip, (50_000, 7451), &body)
}

/// Spoils some bytes; with `seal`, the outer IP checksum is then made right again, and the inner one where there is one.
fn spoil(frame: &mut [u8], bytes: &[(prop::sample::Index, u8)], seal: bool) {
    for (place, bits) in bytes {
        let place = place.index(frame.len().min(TREE_LEN + 4));
        frame[place] ^= bits;
    }
    let starts = [OUTER_IP, INNER_IP];
    for start in starts.into_iter().take(if seal { 2 } else { 0 }) {
        if let Some(ip) = frame.get_mut(start..start + IPV4_LEN) {
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).checksum();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

fn any_spoilt() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)
}

/// Field values, padding, and what is spoilt.
type Second = (
    (u8, u8),
    Vec<u8>,
    usize,
    Vec<(prop::sample::Index, u8)>,
    bool,
);

fn any_second() -> impl Strategy<Value = Second> {
    (
        (any::<u8>(), 0u8..=255),
        prop::collection::vec(any::<u8>(), 0..64),
        0usize..20,
        any_spoilt(),
        any::<bool>(),
    )
}

proptest! {
    #[test]
    fn a_flows_packet_is_taken_as_parse_would((dscp_ttl, payload, padding, bytes, seal) in any_second()) {
        let (like, _) = FlowLike::of(&flow(1, (0, 60), b"first")).unwrap();
        let mut second = flow(1, dscp_ttl, &payload);
        second.resize(second.len() + padding, 0xee);
        spoil(&mut second, &bytes, seal);
        let Some(packet) = like.takes(&second) else {
            // What is not spoilt, and may go further, is taken.
            let is_spoilt = bytes.iter().any(|(_, bits)| *bits != 0);
            prop_assert!(is_spoilt || dscp_ttl.1 < 2);
            return Ok(());
        };
        let Ok(Parsed::Flow { inner }) = parse(&second, &LOCAL) else {
            return Err(TestCaseError::fail("parse does not take it"));
        };
        prop_assert_eq!(inner.verify(&second, false), Ok(()));
        prop_assert_eq!(inner.start, ETHERNET_LEN);
        prop_assert_eq!(usize::from(inner.header.len), INNER_LEN);
        prop_assert_eq!(inner.header.packet_len(), usize::from(packet.len));
        prop_assert_eq!(inner.header.dscp_ecn, packet.dscp_ecn);
        let addresses = Addresses::V4 {
            source: Ipv4Addr::new(192, 0, 2, 5),
            destination: Ipv4Addr::new(198, 51, 100, 1),
        };
        prop_assert_eq!(inner.header.addresses, addresses);
        prop_assert_eq!((inner.header.source_port, inner.header.destination_port), (4000, 5004));
    }

    #[test]
    fn a_trees_packet_is_taken_as_parse_would(
        sequence in 1u64..1 << 60, (dscp_ttl, payload, padding, bytes, seal) in any_second()
    ) {
        let first = data(1, (0, 60), 7, b"first");
        let (like, _) = TreeLike::of(&first).unwrap();
        let Ok(Parsed::Data { header: first, channel: first_channel, .. }) = parse(&first, &LOCAL) else {
            return Err(TestCaseError::fail("the first is no data"));
        };
        let mut second = data(1, dscp_ttl, sequence, &payload);
        second.resize(second.len() + padding, 0xee);
        spoil(&mut second, &bytes, seal);
        let Some(packet) = like.takes(&second) else {
            let is_spoilt = bytes.iter().any(|(_, bits)| *bits != 0);
            prop_assert!(is_spoilt || dscp_ttl.1 < 2 || sequence > Seq::MAX.0);
            return Ok(());
        };
        let Ok(Parsed::Data { header, channel, inner }) = parse(&second, &LOCAL) else {
            return Err(TestCaseError::fail("parse does not take it"));
        };
        let expected = Header { sequence: packet.sequence, timestamp: packet.timestamp, ..first };
        prop_assert_eq!(header, expected);
        prop_assert_eq!(channel, first_channel);
        prop_assert_eq!(inner.headers(), INNER_IP..TREE_LEN);
        prop_assert_eq!(inner.packet().end, ETHERNET_LEN + usize::from(packet.len));
    }
}

#[test]
fn another_session_or_station_is_not_alike() {
    let (like, _) = FlowLike::of(&flow(1, (0, 60), b"first")).unwrap();
    assert!(like.takes(&flow(2, (0, 60), b"first")).is_none());
    let (like, packet) = TreeLike::of(&data(1, (0, 60), 7, b"first")).unwrap();
    assert_eq!(packet.sequence, Seq(7));
    assert!(like.takes(&data(2, (0, 60), 8, b"next")).is_none());
    let mut other = data(1, (0, 60), 8, b"next");
    assert!(like.takes(&other).is_some());
    other[11] ^= 1;
    assert!(like.takes(&other).is_none());
}

#[test]
fn what_has_no_checksum_is_looked_at_for_itself() {
    let mut frame = flow(1, (0, 60), b"first");
    frame[OUTER_UDP + 6..][..2].fill(0);
    assert!(FlowLike::of(&frame).is_none());
    let mut frame = data(1, (0, 60), 7, b"first");
    frame[OUTER_UDP + 6..][..2].fill(0);
    assert!(TreeLike::of(&frame).is_none());
}

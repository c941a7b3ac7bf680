use super::*;
use crate::frame::{Inner, InnerHeader, Local, LocalIpv6, Parsed, parse};
use etherparse::PacketBuilder;
use overlay::wire::{Kind, ParityHeader};
use overlay::{Epoch, Seq};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OUR_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Ingress and group, outside in either family.
const OUTSIDE: [Addresses; 2] = [
    Addresses::V4 {
        source: Ipv4Addr::new(10, 0, 0, 2),
        destination: Ipv4Addr::new(239, 1, 0, 1),
    },
    Addresses::V6 {
        source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
        destination: Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, 1),
    },
];
const LOCAL: Local = Local {
    mac: Mac([2, 0, 0, 0, 0, 1]),
    ipv4: Some(OURS),
    ipv6: Some(LocalIpv6::new(Mac([2, 0, 0, 0, 0, 1]), OUR_IPV6)),
    tree_port: 7451,
    overlay_port: 7452,
    verify_payload: true,
};

fn down_the_tree(addresses: Addresses, mtu: u16) -> Encap {
    Encap::new(&Outer {
        from: Mac([2, 0, 0, 0, 0, 2]),
        to: Mac::multicast(addresses.destination()),
        addresses,
        source_port: source_port(SessionId(9)),
        destination_port: 7451,
        mtu,
    })
}

fn header(kind: Kind) -> Header {
    Header {
        kind,
        flags: 0,
        epoch: Epoch(3),
        session: SessionId(9),
        sequence: Seq(77),
        timestamp: 123,
    }
}

/// An inner packet by etherparse, its checksum taken off unless `checked`.
fn inner(addresses: ([u8; 4], [u8; 4]), options: &[u8], payload: &[u8], checked: bool) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = etherparse::Ipv4Header {
        source: addresses.0,
        destination: addresses.1,
        time_to_live: 60,
        dscp: etherparse::IpDscp::try_new(46).unwrap(),
        options: options.try_into().unwrap(),
        ..Default::default()
    };
    PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
        .udp(4000, 5004)
        .write(&mut packet, payload)
        .unwrap();
    if !checked {
        let checksum = packet.len() - payload.len() - 2;
        packet[checksum..checksum + 2].fill(0);
    }
    packet
}

fn wrap(encap: &Encap, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let start = InnerHeader::read(packet).map_or(28, |inner| inner.len.into());
    let (headers, payload) = packet.split_at(start);
    let mut area = [0xaa; MAX_HEADERS];
    let bytes = InnerBytes { headers, payload };
    let len = encap.packet(&mut area, 16, &header(Kind::Data), bytes)?;
    assert_eq!(len, encap.outer_len() + headers.len());
    Ok([&area[..len], payload].concat())
}

/// An inner IPv6 packet with so many hop-by-hop options of eight bytes, made by hand: etherparse's checksum is of the
/// same pseudo header.
fn inner_ipv6(destination: [u8; 16], options: usize, flow_label: u32, payload: &[u8]) -> Vec<u8> {
    let ip = etherparse::Ipv6Header {
        traffic_class: 46 << 2,
        flow_label: flow_label.try_into().unwrap(),
        hop_limit: 60,
        source: OUR_IPV6.octets(),
        destination,
        ..Default::default()
    };
    let mut packet = Vec::new();
    PacketBuilder::ip(etherparse::IpHeaders::Ipv6(ip, Default::default()))
        .udp(4000, 5004)
        .write(&mut packet, payload)
        .unwrap();
    if options > 0 {
        let mut extension = vec![0; 8 * options];
        extension[..4].copy_from_slice(&[17, options as u8 - 1, 1, 8 * options as u8 - 4]);
        packet.splice(40..40, extension);
        packet[6] = 0;
        let len = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
    }
    packet
}

/// Wraps the packet: etherparse sees what was wrapped and computes the outer checksum the long way, and so do we.
fn check(outside: Addresses, packet: &[u8]) {
    let frame = wrap(&down_the_tree(outside, 1600), packet).unwrap();
    let seen = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
    let udp = seen.transport.as_ref().unwrap().clone().udp().unwrap();
    let payload = seen.payload.slice();
    match seen.net.as_ref().unwrap() {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert!(ip.dont_fragment);
            assert_eq!(
                (ip.time_to_live, ip.dscp.value(), ip.identification),
                (16, 46, 0)
            );
            assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap());
        }
        etherparse::NetHeaders::Ipv6(ip, _) => {
            assert_eq!((ip.hop_limit, ip.traffic_class), (16, 46 << 2));
            assert_eq!(udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap());
        }
        etherparse::NetHeaders::Arp(_) => panic!("ARP"),
    }
    let parsed = parse(&frame, &LOCAL);
    let Ok(Parsed::Data {
        header: got,
        channel,
        inner: Inner { start, .. },
    }) = parsed
    else {
        panic!("{parsed:?}")
    };
    assert_eq!(got, header(Kind::Data));
    assert_eq!((channel.addresses, channel.ttl), (outside, 16));
    assert_eq!(&frame[start..], packet);
}

proptest! {
    #[test]
    fn what_is_encapsulated_is_parsed_and_its_checksums_hold(
        source in 1u8..127, destination: [u8; 4], options in 0usize..=10, checked: bool,
        outside in prop::sample::select(&OUTSIDE),
        payload in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let packet = inner(([source, 1, 2, 3], destination), &vec![1; options * 4], &payload, checked);
        check(outside, &packet);
    }

    #[test]
    fn so_is_what_is_of_ipv6_inside(
        destination: [u8; 16], options in 0usize..=2, flow_label in 0u32..1 << 20,
        outside in prop::sample::select(&OUTSIDE),
        payload in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        check(outside, &inner_ipv6(destination, options, flow_label, &payload));
    }

    #[test]
    fn a_wrong_inner_checksum_is_never_hidden(flip in 0usize..320) {
        let mut packet = inner(([192, 0, 2, 1], [198, 51, 100, 1]), &[], &[7; 12], true);
        let bit = flip % ((packet.len() - 20) * 8);
        packet[20 + bit / 8] ^= 1 << (bit % 8);
        if let Ok(frame) = wrap(&down_the_tree(OUTSIDE[0], 1500), &packet) {
            let seen = parse(&frame, &LOCAL);
            // A checksum that became 0 by the flip means "none", and the outer one then covers what is there.
            let noticed = seen == Err(DropReason::UdpChecksumBad) || seen == Err(DropReason::InnerBad);
            prop_assert!(noticed || packet[26..28] == [0, 0], "{seen:?}");
        }
    }

    #[test]
    fn parity_is_parsed_and_its_checksums_hold(
        outside in prop::sample::select(&OUTSIDE), coded in prop::collection::vec(any::<u8>(), 1..1400)
    ) {
        let parity = ParityHeader { count: 32, parity: 2, index: 1 };
        let mut area = [0xaa; MAX_HEADERS];
        let encap = down_the_tree(outside, 1600);
        let parts = (&parity.emit()[..], &coded[..]);
        let len = encap.parity(&mut area, 16, &header(Kind::Parity), parts).unwrap();
        let frame = [&area[..len], &coded].concat();
        match parse(&frame, &LOCAL) {
            Ok(Parsed::Parity { header: got, parity: seen, coded: place, .. }) => {
                prop_assert_eq!((got, seen), (header(Kind::Parity), parity));
                prop_assert_eq!(&frame[place], coded);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn control_packets_are_whole_frames(family in 0usize..2, count in 1usize..100) {
        let range = overlay::SeqRange::new(Seq(5), 2).unwrap();
        let body = overlay::wire::emit_range(range).repeat(count);
        let ours = if family == 0 { OURS.into() } else { OUR_IPV6.into() };
        let encap = Encap::new(&Outer {
            from: Mac([2, 0, 0, 0, 0, 2]),
            to: LOCAL.mac,
            addresses: Addresses::new(OUTSIDE[family].source(), ours).unwrap(),
            source_port: source_port(SessionId(9)),
            destination_port: 7452,
            mtu: 1500,
        });
        let mut area = [0; 2000];
        let len = encap.control(&mut area, OVERLAY_TTL, &header(Kind::Nak), &body).unwrap();
        match parse(&area[..len], &LOCAL) {
            Ok(Parsed::Control { header: got, body: place, .. }) => {
                prop_assert_eq!(got, header(Kind::Nak));
                prop_assert_eq!(&area[place], body);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_packet_beyond_the_mtu_or_the_area_is_refused() {
    let packet = inner(([192, 0, 2, 1], [198, 51, 100, 1]), &[], &[7; 100], true);
    for outside in OUTSIDE {
        let exact = packet.len() as u16 + overhead(outside.destination());
        assert!(wrap(&down_the_tree(outside, exact), &packet).is_ok());
        assert_eq!(
            wrap(&down_the_tree(outside, exact - 1), &packet),
            Err(DropReason::TooBig)
        );
        let bytes = InnerBytes {
            headers: &packet[..28],
            payload: &packet[28..],
        };
        let encap = down_the_tree(outside, 1500);
        for len in 0..encap.outer_len() + 28 {
            let refused = encap.packet(&mut vec![0; len], 16, &header(Kind::Data), bytes);
            assert_eq!(refused, Err(DropReason::NoHeaderBuffer));
        }
    }
}

#[test]
fn sessions_spread_over_the_ephemeral_ports() {
    let ports: std::collections::HashSet<u16> =
        (1..=1000).map(|id| source_port(SessionId(id))).collect();
    assert!(ports.iter().all(|&port| port >= 49152));
    assert!(ports.len() > 950, "{}", ports.len());
}

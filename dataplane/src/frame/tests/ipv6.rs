//! The same over IPv6, outside, inside and both.

use super::*;
use crate::next_hop::{NdOperation, NextHops, Output};

pub(super) const OURS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEERS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, 1);
const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
const DESTINATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 1);
/// Bytes before the treecast packet, and before the inner one.
const UDP_END: usize = 14 + 40 + 8;
const INNER: usize = UDP_END + HEADER_LEN;

fn udp6(to: Mac, destination: Ipv6Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER.0, to.0)
        .ipv6(PEERS.octets(), destination.octets(), 16)
        .udp(50_000, port)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn tree6(kind: Kind, body: &[u8]) -> Vec<u8> {
    let payload = treecast(&header(kind), body);
    udp6(Mac::of_ipv6_group(GROUP), GROUP, 7451, &payload)
}

fn over6(kind: Kind, body: &[u8]) -> Vec<u8> {
    udp6(LOCAL.mac, OURS, 7452, &treecast(&header(kind), body))
}

fn inner6(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(SOURCE.octets(), DESTINATION.octets(), 60)
        .udp(4000, 5004)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

fn flow6(packet: &[u8]) -> Vec<u8> {
    [&LOCAL.mac.0[..], &PEER.0, &[0x86, 0xdd], packet].concat()
}

/// The packet with extension headers of these types before its UDP header, each of the length in units of eight bytes
/// after the first eight.
fn extended(packet: &[u8], headers: &[(u8, u8)]) -> Vec<u8> {
    let mut extended = packet[..40].to_vec();
    let nexts = headers.iter().map(|&(kind, _)| kind).chain([17]);
    let mut place = 6;
    for (next, len) in nexts.zip(headers.iter().map(|&(_, len)| Some(len)).chain([None])) {
        extended[place] = next;
        if let Some(len) = len {
            place = extended.len();
            extended.extend([0, len, 1, 4].iter().chain(&[0; 4]));
            extended.resize(extended.len() + 8 * usize::from(len), 0);
        }
    }
    extended.extend_from_slice(&packet[40..]);
    let len = extended.len() as u16 - 40;
    extended[4..6].copy_from_slice(&len.to_be_bytes());
    extended
}

/// A neighbor that asks for our address.
fn solicitation() -> Vec<u8> {
    let peer = Local {
        mac: PEER,
        ipv4: None,
        ipv6: Some(LocalIpv6::new(PEER, PEERS)),
        ..LOCAL
    };
    let mut next_hops = NextHops::new(vec![peer]);
    next_hops.want(overlay::Instant(0), PortIndex(0), OURS.into());
    match next_hops.poll(overlay::Instant(0)) {
        Some(Output::Request { frame, .. }) => frame.as_bytes().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn valid_frames6() -> Vec<Vec<u8>> {
    vec![
        tree6(Kind::Data, &inner6(b"six in six")),
        tree6(Kind::Data, &inner(b"four in six")),
        tree(Kind::Data, &inner6(b"six in four")),
        tree6(Kind::Heartbeat, &[]),
        over6(Kind::Repair, &inner6(b"odd")),
        over6(Kind::Nak, &nak_body()),
        over6(Kind::Hello, &hello_body()),
        tree6(Kind::Repair, &extended(&inner6(b"with options"), &[(0, 0)])),
        tree6(Kind::Parity, &parity_body(b"coded")),
        tree6(Kind::NakConfirm, &nak_body()),
        over6(Kind::Copy, &inner6(b"once more")),
        flow6(&inner6(b"to a session")),
        solicitation(),
        echo6(OURS),
    ]
}

fn echo6(destination: Ipv6Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER.0, LOCAL.mac.0)
        .ipv6(PEERS.octets(), destination.octets(), 64)
        .icmpv6_echo_request(7, 1)
        .write(&mut frame, b"are you there")
        .unwrap();
    frame
}

#[test]
fn each_sort_of_frame_is_known_for_what_it_is() {
    let known = [
        "data",
        "data",
        "data",
        "heartbeat",
        "repair",
        "nak",
        "hello",
        "subcast",
        "parity",
        "confirm",
        "copy",
        "flow",
        "nd",
        "echo",
    ];
    assert_eq!(sorts(&valid_frames6()), known);
}

#[test]
fn data_is_taken_apart_where_it_lies() {
    for packet in [inner(b"payload"), inner6(b"payload")] {
        let frame = tree6(Kind::Data, &packet);
        let Ok(Parsed::Data { channel, inner, .. }) = parse(&frame, &LOCAL) else {
            panic!("{:?}", parse(&frame, &LOCAL))
        };
        let expected = Channel {
            station: PEER,
            addresses: Addresses::V6 {
                source: PEERS,
                destination: GROUP,
            },
            ttl: 16,
        };
        assert_eq!(channel, expected);
        assert_eq!(&frame[inner.packet()], packet);
        assert_eq!(&frame[inner.payload()], b"payload");
        assert_eq!(InnerHeader::read(&frame[inner.headers()]), Ok(inner.header));
    }
}

#[test]
fn the_overlay_is_heard_on_both_addresses() {
    let hello = treecast(&header(Kind::Hello), &hello_body());
    for own in [OURS, LOCAL.mac.link_local()] {
        let frame = udp6(LOCAL.mac, own, 7452, &hello);
        let parsed = parse(&frame, &LOCAL);
        assert!(matches!(parsed, Ok(Parsed::Control { .. })), "{parsed:?}");
    }
}

#[test]
fn a_flow_may_carry_short_options_and_nothing_else() {
    use DropReason as D;
    let (hop_by_hop, destination, routing, fragment) = (0, 60, 43, 44);
    let cases: [(&[(u8, u8)], _); 8] = [
        (&[(hop_by_hop, 0)], Ok(())),
        (&[(hop_by_hop, 0), (destination, 0)], Ok(())),
        (&[(destination, 1)], Ok(())),
        (&[(destination, 2)], Err(D::Ipv6OptionsLong)),
        (
            &[(hop_by_hop, 0), (destination, 0), (destination, 0)],
            Err(D::Ipv6OptionsLong),
        ),
        (&[(destination, 0), (hop_by_hop, 0)], Err(D::Ipv6HeaderBad)),
        (&[(routing, 0)], Err(D::IpProtocolUnknown)),
        (&[(fragment, 0)], Err(D::Fragment)),
    ];
    for (headers, expected) in cases {
        let frame = flow6(&extended(&inner6(b"x"), headers));
        let seen = parse(&frame, &LOCAL).map(|parsed| match parsed {
            Parsed::Flow { inner } => {
                assert_eq!(&frame[inner.payload()], b"x");
                assert_eq!(inner.verify(&frame, true), Ok(()));
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(seen, expected, "{headers:?}");
    }
}

#[test]
fn what_is_not_for_us_or_not_sound_has_its_name() {
    use DropReason as D;
    let changed = |frame: &[u8], changes: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        for &(offset, value) in changes {
            frame[offset] = value;
        }
        frame
    };
    let data = tree6(Kind::Data, &inner6(b"payload"));
    let flow = flow6(&inner6(b"payload"));
    let from = |address: Ipv6Addr| {
        let mut frame = flow.clone();
        frame[22..38].copy_from_slice(&address.octets());
        frame
    };
    let body = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = inner6(b"payload");
        change(&mut packet);
        tree6(Kind::Data, &packet)
    };
    let cases = [
        (changed(&data, &[(5, 0x7f)]), D::NotForUs),
        (udp6(PEER, OURS, 7452, b""), D::NotForUs),
        (changed(&data, &[(14, 0x45)]), D::Ipv6HeaderBad),
        (changed(&data, &[(20, 6)]), D::IpProtocolUnknown),
        (changed(&data, &[(20, 59)]), D::IpProtocolUnknown),
        (changed(&data, &[(19, 200)]), D::FrameTruncated),
        (from(Ipv6Addr::UNSPECIFIED), D::Ipv6SourceBad),
        (from(Ipv6Addr::LOCALHOST), D::Ipv6SourceBad),
        (from("ff02::1".parse().unwrap()), D::Ipv6SourceBad),
        (from("::ffff:10.0.0.1".parse().unwrap()), D::Ipv6SourceBad),
        (from(PEER.link_local()), D::Ipv6SourceBad),
        (echo6(PEERS), D::IcmpUnknown),
        (changed(&echo6(OURS), &[(56, 1)]), D::IcmpChecksumBad),
        (changed(&data, &[(59, 7)]), D::UdpTruncated),
        (changed(&data, &[(59, 50)]), D::UdpSurplus),
        (changed(&data, &[(60, 0), (61, 0)]), D::UdpChecksumMissing),
        (changed(&flow, &[(60, 0), (61, 0)]), D::UdpChecksumMissing),
        (changed(&data, &[(70, 0x55)]), D::UdpChecksumBad),
        (
            udp6(Mac::of_ipv6_group(GROUP), GROUP, 5353, b""),
            D::MulticastUnknown,
        ),
        (body(&|packet| packet.push(0)), D::InnerBad),
        (body(&|packet| packet.truncate(50)), D::InnerBad),
        (body(&|packet| packet[7] = 1), D::InnerBad),
        (body(&|packet| packet[6] = 6), D::InnerBad),
        (body(&|packet| packet[46..48].fill(0)), D::InnerBad),
        (body(&|packet| packet[8] = 0xff), D::InnerBad),
        (
            body(&|packet| packet[8..10].copy_from_slice(&[0xfe, 0x80])),
            D::InnerBad,
        ),
    ];
    for (index, (frame, reason)) in cases.iter().enumerate() {
        assert_eq!(parse(frame, &LOCAL), Err(*reason), "case {index}");
    }
    let spent = changed(&flow, &[(21, 1)]);
    match parse(&spent, &LOCAL) {
        Ok(Parsed::Flow { inner }) => assert_eq!(inner.verify(&spent, true), Err(D::TtlExpired)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_solicitation_is_told_from_whom_and_for_what() {
    let frame = solicitation();
    let Ok(Parsed::Nd(packet)) = parse(&frame, &LOCAL) else {
        panic!("{:?}", parse(&frame, &LOCAL))
    };
    assert_eq!(packet.operation, NdOperation::Solicit);
    assert_eq!((packet.sender, packet.target), (PEERS, OURS));
    assert_eq!(packet.station, PEER);
}

#[test]
fn a_frame_cut_anywhere_has_a_reason() {
    for frame in valid_frames6() {
        for len in 0..frame.len() {
            let cut = parse(&frame[..len], &LOCAL);
            assert_eq!(cut, Err(DropReason::FrameTruncated), "{len}");
        }
    }
}

/// IPv6 has no checksum of its own header: its traffic class, flow label and hop limit are guarded by Ethernet's alone, so
/// a flip there makes the packet no other.
#[test]
fn a_bit_flipped_on_the_way_is_noticed_or_harmless() {
    for frame in valid_frames6() {
        let is_six_outside = frame[12..14] == [0x86, 0xdd];
        let whole = parse(&frame, &LOCAL).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let unguarded = match bit / 8 {
                6..12 => true,
                14..18 | 21 => is_six_outside,
                _ => false,
            };
            match parse(&flipped, &LOCAL) {
                Err(_) => {}
                Ok(_) if unguarded => {}
                Ok(Parsed::Flow { inner }) => {
                    let seen = inner.verify(&flipped, true);
                    assert_eq!(seen, Err(DropReason::InnerChecksumBad), "bit {bit}");
                }
                Ok(other) => panic!("bit {bit} of {whole:?} went unnoticed: {other:?}"),
            }
        }
    }
}

proptest! {
    /// Deeper than random bytes come: all lengths and fields wrong, the outer checksum right.
    #[test]
    fn any_packet_gives_a_value_within_it_or_a_reason(
        frame in prop::sample::select(valid_frames6()),
        changes in prop::collection::vec((14usize..160, any::<u8>()), 0..6),
        cut in 0usize..20,
    ) {
        let mut frame = frame;
        for (offset, value) in changes {
            if let Some(byte) = frame.get_mut(offset) {
                *byte = value;
            }
        }
        frame.truncate(frame.len() - cut);
        check_within(&frame);
        if frame.len() > INNER && frame[12..14] == [0x86, 0xdd] && frame[20] == 17 {
            let len = frame.len() as u16 - 54;
            for offset in [18, 58] {
                frame[offset..offset + 2].copy_from_slice(&len.to_be_bytes());
            }
            frame[60..62].fill(0);
            let sum = Sum::of(&frame[22..]) + Sum::word(17) + Sum::word(len);
            frame[60..62].copy_from_slice(&sum.udp_checksum().to_be_bytes());
            check_within(&frame);
        }
    }
}

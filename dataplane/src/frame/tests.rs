mod ipv6;

use super::*;
use etherparse::PacketBuilder;
use overlay::wire::{HelloState, PARITY_HEADER_LEN, emit_range};
use overlay::{Epoch, Seq, SeqRange, SessionId};
use proptest::prelude::*;

const LOCAL: Local = Local {
    mac: Mac([2, 0, 0, 0, 0, 1]),
    ipv4: Some(OURS),
    ipv6: Some(LocalIpv6::new(Mac([2, 0, 0, 0, 0, 1]), ipv6::OURS)),
    tree_port: 7451,
    overlay_port: 7452,
    verify_payload: true,
};
/// The same port where a link checks frames.
const TRUSTING: Local = Local {
    verify_payload: false,
    ..LOCAL
};
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 0, 1);
const OUTER: usize = 14 + 20 + 8 + HEADER_LEN;

/// A UDP frame from PEER, built by etherparse.
fn udp(to: Mac, destination: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER.0, to.0)
        .ipv4(PEER_ADDRESS.octets(), destination.octets(), 16)
        .udp(50_000, port)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn header(kind: Kind) -> Header {
    Header {
        kind,
        flags: 0,
        epoch: Epoch(3),
        session: SessionId(if kind == Kind::Hello { 0 } else { 9 }),
        sequence: Seq(77),
        timestamp: 123,
    }
}

fn treecast(header: &Header, body: &[u8]) -> Vec<u8> {
    [&header.emit()[..], body].concat()
}

fn tree(kind: Kind, body: &[u8]) -> Vec<u8> {
    let payload = treecast(&header(kind), body);
    udp(Mac::of_ipv4_group(GROUP), GROUP, 7451, &payload)
}

fn over(kind: Kind, body: &[u8]) -> Vec<u8> {
    let payload = treecast(&header(kind), body);
    udp(LOCAL.mac, OURS, 7452, &payload)
}

/// An inner packet from a source far away.
fn inner(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 5], [198, 51, 100, 1], 60)
        .udp(4000, 5004)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

fn flow(payload: &[u8]) -> Vec<u8> {
    let mut frame = [&LOCAL.mac.0[..], &PEER.0, &[8, 0]].concat();
    frame.extend(inner(payload));
    frame
}

fn nak_body() -> Vec<u8> {
    [(5, 2), (90, 1)]
        .iter()
        .filter_map(|&(first, count)| SeqRange::new(Seq(first), count))
        .flat_map(emit_range)
        .collect()
}

/// The answer to a question for history.
fn history(body: &[u8]) -> Vec<u8> {
    let header = Header {
        flags: FLAG_HISTORY,
        ..header(Kind::NakConfirm)
    };
    udp(LOCAL.mac, OURS, 7452, &treecast(&header, body))
}

fn parity_body(coded: &[u8]) -> Vec<u8> {
    let parity = ParityHeader {
        count: 32,
        parity: 2,
        index: 1,
    };
    [&parity.emit()[..], coded].concat()
}

fn hello_body() -> Vec<u8> {
    let hello = Hello {
        interval_us: 10_000,
        detect_mult: 3,
        state: HelloState::Up,
        echo: 1,
        held_ns: 2,
    };
    hello.emit().to_vec()
}

fn arp() -> Vec<u8> {
    let packet = ArpPacket {
        operation: crate::next_hop::ArpOperation::Request,
        sender_mac: PEER,
        sender: PEER_ADDRESS,
        target_mac: Mac::NONE,
        target: OURS,
    };
    packet.emit(Mac::BROADCAST).as_bytes().to_vec()
}

/// One valid frame of each sort.
fn valid_frames() -> Vec<Vec<u8>> {
    vec![
        tree(Kind::Data, &inner(b"some payload")),
        tree(Kind::Heartbeat, &[]),
        over(Kind::Repair, &inner(b"odd")),
        over(Kind::Nak, &nak_body()),
        history(&nak_body()),
        over(Kind::Hello, &hello_body()),
        tree(Kind::Repair, &inner(b"for several")),
        tree(Kind::Parity, &parity_body(b"coded")),
        tree(Kind::NakConfirm, &nak_body()),
        over(Kind::Copy, &inner(b"once more")),
        flow(b"to a session"),
        arp(),
        echo(OURS),
    ]
}

/// An echo request to that address.
fn echo(destination: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER.0, LOCAL.mac.0)
        .ipv4(PEER_ADDRESS.octets(), destination.octets(), 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, b"are you there")
        .unwrap();
    frame
}

#[test]
fn data_off_the_tree_is_taken_apart_where_it_lies() {
    let packet = inner(b"payload");
    let frame = tree(Kind::Data, &packet);
    let Ok(Parsed::Data {
        header: got,
        channel,
        inner,
    }) = parse(&frame, &LOCAL)
    else {
        panic!("{:?}", parse(&frame, &LOCAL))
    };
    assert_eq!(got, header(Kind::Data));
    let expected = Channel {
        station: PEER,
        addresses: Addresses::V4 {
            source: PEER_ADDRESS,
            destination: GROUP,
        },
        ttl: 16,
    };
    assert_eq!(channel, expected);
    assert_eq!(&frame[inner.packet()], packet);
    assert_eq!(&frame[inner.headers()], &packet[..28]);
    assert_eq!(&frame[inner.payload()], b"payload");
    let source = inner.header.addresses.source();
    assert_eq!(source, Ipv4Addr::new(192, 0, 2, 5));
    assert_eq!(
        (inner.header.source_port, inner.header.destination_port),
        (4000, 5004)
    );
    assert_eq!(InnerHeader::read(&frame[inner.headers()]), Ok(inner.header));
}

#[test]
fn parity_off_the_tree_is_taken_apart_where_it_lies() {
    let frame = tree(Kind::Parity, &parity_body(b"coded"));
    let Ok(Parsed::Parity { parity, coded, .. }) = parse(&frame, &LOCAL) else {
        panic!("{:?}", parse(&frame, &LOCAL))
    };
    assert_eq!((parity.count, parity.parity, parity.index), (32, 2, 1));
    assert_eq!(&frame[coded.clone()], b"coded");
    assert_eq!(
        frame[coded.start - PARITY_HEADER_LEN..coded.start],
        parity.emit()
    );
}

#[test]
fn each_sort_of_frame_is_known_for_what_it_is() {
    let known = [
        "data",
        "heartbeat",
        "repair",
        "nak",
        "history",
        "hello",
        "subcast",
        "parity",
        "confirm",
        "copy",
        "flow",
        "arp",
        "echo",
    ];
    assert_eq!(sorts(&valid_frames()), known);
}

/// What each of the frames is, in a word.
fn sorts(frames: &[Vec<u8>]) -> Vec<&'static str> {
    let sorts = frames.iter().map(|frame| match parse(frame, &LOCAL) {
        Ok(Parsed::Data { .. }) => "data",
        Ok(Parsed::Heartbeat { .. }) => "heartbeat",
        Ok(Parsed::Subcast { .. }) => "subcast",
        Ok(Parsed::Parity { .. }) => "parity",
        Ok(Parsed::Confirm { .. }) => "confirm",
        Ok(Parsed::Unicast { header, .. }) => match header.kind {
            Kind::Repair => "repair",
            _ => "copy",
        },
        Ok(Parsed::Control { header, .. }) => match header.kind {
            Kind::Nak => "nak",
            Kind::NakConfirm => "history",
            _ => "hello",
        },
        Ok(Parsed::Flow { .. }) => "flow",
        Ok(Parsed::Arp(_)) => "arp",
        Ok(Parsed::Nd(_)) => "nd",
        Ok(Parsed::Echo(_)) => "echo",
        Err(reason) => reason.name(),
    });
    sorts.collect()
}

#[test]
fn a_flow_may_carry_ip_options_and_ethernet_padding() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER.0, LOCAL.mac.0)
        .ip(etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header {
                source: [192, 0, 2, 5],
                destination: [198, 51, 100, 1],
                time_to_live: 9,
                options: [1u8; 8].into(),
                ..Default::default()
            },
            Default::default(),
        ))
        .udp(1, 2)
        .write(&mut frame, b"x")
        .unwrap();
    frame.resize(60, 0xee);
    let Ok(Parsed::Flow { inner }) = parse(&frame, &LOCAL) else {
        panic!("{:?}", parse(&frame, &LOCAL))
    };
    assert_eq!(inner.header.len, 36);
    assert_eq!(&frame[inner.payload()], b"x");
    assert_eq!(inner.verify(&frame, true), Ok(()));
}

#[test]
fn a_flow_with_a_wrong_checksum_or_a_spent_ttl_does_not_enter_a_tree() {
    let refused = |frame: &[u8]| match parse(frame, &LOCAL) {
        Ok(Parsed::Flow { inner }) => inner.verify(frame, true),
        other => panic!("{other:?}"),
    };
    let mut frame = flow(b"payload");
    assert_eq!(refused(&frame), Ok(()));
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&frame), Err(DropReason::InnerChecksumBad));
    // Without a checksum there is nothing to check.
    frame[40..42].fill(0);
    assert_eq!(refused(&frame), Ok(()));
    let mut spent = flow(b"payload");
    reseal(&mut spent, 14, |ip| ip[8] = 1);
    assert_eq!(refused(&spent), Err(DropReason::TtlExpired));
}

/// Changes the IPv4 header at `start` and sets its checksum right again.
fn reseal(bytes: &mut [u8], start: usize, change: impl FnOnce(&mut [u8])) {
    let ip = &mut bytes[start..start + 20];
    change(ip);
    ip[10..12].fill(0);
    let checksum = Sum::of(ip).checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn what_is_not_for_us_or_not_sound_has_its_name() {
    use DropReason as D;
    let data = tree(Kind::Data, &inner(b"payload"));
    let changed = |offset: usize, value: u8| {
        let mut frame = data.clone();
        frame[offset] = value;
        frame
    };
    let resealed = |change: fn(&mut [u8])| {
        let mut frame = data.clone();
        reseal(&mut frame, 14, change);
        frame
    };
    let body = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = inner(b"payload");
        change(&mut packet);
        tree(Kind::Data, &packet)
    };
    let wire = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = treecast(&header(Kind::Data), &inner(b"payload"));
        change(&mut payload);
        udp(Mac::of_ipv4_group(GROUP), GROUP, 7451, &payload)
    };
    let hello = |session| Header {
        session: SessionId(session),
        ..header(Kind::Hello)
    };
    let over_raw = |payload: &[u8]| udp(LOCAL.mac, OURS, 7452, payload);
    let cases = [
        (changed(12, 0x88), D::EthertypeUnknown),
        (changed(5, 0x7f), D::NotForUs),
        (
            udp(Mac::BROADCAST, Ipv4Addr::BROADCAST, 67, b""),
            D::NotForUs,
        ),
        (udp(PEER, OURS, 7452, b""), D::NotForUs),
        (changed(14, 0x65), D::Ipv4HeaderBad),
        (changed(14, 0x44), D::Ipv4HeaderBad),
        (changed(22, 99), D::Ipv4ChecksumBad),
        (resealed(|ip| ip[12] = 224), D::Ipv4SourceBad),
        (resealed(|ip| ip[6] = 0x20), D::Fragment),
        (resealed(|ip| ip[9] = 2), D::IpProtocolUnknown),
        (echo(PEER_ADDRESS), D::IpProtocolUnknown),
        (changed(39, 7), D::UdpTruncated),
        (changed(38, 9), D::UdpTruncated),
        (changed(39, 50), D::UdpSurplus),
        (changed(50, 0x55), D::UdpChecksumBad),
        (
            udp(Mac::of_ipv4_group(GROUP), GROUP, 5353, b""),
            D::MulticastUnknown,
        ),
        (wire(&|bytes| bytes[0] = 0x21), D::WireVersion),
        (wire(&|bytes| bytes[0] = 0x1f), D::WireType),
        (wire(&|bytes| bytes[4..8].fill(0)), D::WireField),
        (wire(&|bytes| bytes.truncate(23)), D::WireTruncated),
        (tree(Kind::Repair, &inner(b"")[..27]), D::InnerBad),
        (over(Kind::Copy, &inner(b"")[..27]), D::InnerBad),
        (tree(Kind::Copy, &inner(b"payload")), D::KindMisplaced),
        (tree(Kind::Nak, &nak_body()), D::KindMisplaced),
        (tree(Kind::NakConfirm, &nak_body()[1..]), D::WireTruncated),
        (over(Kind::NakConfirm, &nak_body()), D::KindMisplaced),
        (over(Kind::Parity, &parity_body(b"coded")), D::KindMisplaced),
        (tree(Kind::Parity, &parity_body(b"")), D::WireTruncated),
        (tree(Kind::Parity, &parity_body(b"")[1..]), D::WireTruncated),
        (tree(Kind::Parity, &[1, 1, 1, 0, 7]), D::WireField),
        (tree(Kind::Hello, &hello_body()), D::KindMisplaced),
        (over(Kind::Data, &inner(b"payload")), D::KindMisplaced),
        (over(Kind::Heartbeat, b""), D::KindMisplaced),
        (over(Kind::Nak, b""), D::WireTruncated),
        (history(&nak_body()[1..]), D::WireTruncated),
        (over_raw(&treecast(&hello(0), b"")), D::WireTruncated),
        (body(&|packet| packet.push(0)), D::InnerBad),
        (body(&|packet| packet.truncate(34)), D::InnerBad),
        (body(&|packet| packet[8] -= 1), D::InnerBad),
        (body(&|packet| packet[9] = 6), D::InnerBad),
        (
            body(&|packet| reseal(packet, 0, |ip| ip[8] = 1)),
            D::InnerBad,
        ),
        (
            body(&|packet| reseal(packet, 0, |ip| ip[12] = 127)),
            D::InnerBad,
        ),
    ];
    for (index, (frame, reason)) in cases.iter().enumerate() {
        assert_eq!(parse(frame, &LOCAL), Err(*reason), "case {index}");
    }
    let graft = over_raw(&treecast(&hello(9), b""));
    assert!(matches!(parse(&graft, &LOCAL), Ok(Parsed::Control { .. })));
}

#[test]
fn a_frame_cut_anywhere_has_a_reason() {
    for frame in valid_frames() {
        // ARP frames end in padding, which may be cut.
        let needed = if frame[12..14] == [8, 6] {
            42
        } else {
            frame.len()
        };
        for len in 0..needed {
            assert_eq!(
                parse(&frame[..len], &LOCAL),
                Err(DropReason::FrameTruncated),
                "{len} of {needed}"
            );
        }
    }
}

#[test]
fn a_bit_flipped_on_the_way_is_noticed_or_harmless() {
    for frame in valid_frames() {
        let whole = parse(&frame, &LOCAL).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match (&whole, parse(&flipped, &LOCAL)) {
                (_, Err(_)) | (Parsed::Arp(_), _) => {}
                // The Ethernet source is guarded by Ethernet's own checksum alone.
                (_, Ok(_)) if (6..12).contains(&(bit / 8)) => {}
                (_, Ok(Parsed::Flow { inner })) => {
                    assert_eq!(
                        inner.verify(&flipped, true),
                        Err(DropReason::InnerChecksumBad),
                        "bit {bit}"
                    );
                }
                (_, Ok(other)) => panic!("bit {bit} of {whole:?} went unnoticed: {other:?}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_within_them_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_within(&bytes);
    }

    /// Deeper than random bytes come: all lengths and fields wrong, all checksums right or absent.
    #[test]
    fn any_treecast_packet_gives_a_value_within_it_or_a_reason(
        frame in prop::sample::select(valid_frames()),
        changes in prop::collection::vec((14usize..120, any::<u8>()), 0..6),
        cut in 0usize..20,
    ) {
        let mut frame = frame;
        for (offset, value) in changes {
            if let Some(byte) = frame.get_mut(offset) {
                *byte = value;
            }
        }
        frame.truncate(frame.len() - cut);
        if frame.len() > 42 && frame[12..14] == [8, 0] {
            frame[40..42].fill(0);
            reseal(&mut frame, 14, |_| {});
            check_within(&frame);
            if frame.len() > OUTER + 20 {
                reseal(&mut frame, OUTER, |_| {});
            }
        }
        check_within(&frame);
    }
}

fn check_within(frame: &[u8]) {
    match parse(frame, &LOCAL) {
        Ok(
            Parsed::Data { inner, .. }
            | Parsed::Subcast { inner, .. }
            | Parsed::Unicast { inner, .. }
            | Parsed::Flow { inner },
        ) => {
            assert_eq!(
                frame[inner.headers()].len() + frame[inner.payload()].len(),
                frame[inner.packet()].len()
            );
            let _ = inner.verify(frame, true);
        }
        Ok(Parsed::Control { body, .. } | Parsed::Confirm { body, .. }) => {
            assert!(body.end <= frame.len());
        }
        Ok(Parsed::Parity { coded, .. }) => assert!(!frame[coded].is_empty()),
        Ok(Parsed::Heartbeat { .. } | Parsed::Arp(_) | Parsed::Nd(_) | Parsed::Echo(_))
        | Err(_) => {}
    }
}

#[test]
fn every_flaw_of_a_header_shows_without_a_look_at_the_payload() {
    let frames = [
        tree(Kind::Data, &inner(b"some payload")),
        tree(Kind::Repair, &inner(b"for several")),
        over(Kind::Copy, &inner(b"once more")),
    ];
    // What the client's own checksum is for: that of the inner UDP header, and the payload.
    let inner_udp = OUTER + IPV4_LEN;
    for frame in frames {
        let sound = parse(&frame, &TRUSTING);
        assert_eq!(sound, parse(&frame, &LOCAL));
        assert!(sound.is_ok());
        for (place, bit) in (0..frame.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut flawed = frame.clone();
            flawed[place] ^= 1 << bit;
            let is_station = (6..12).contains(&place);
            let taken = parse(&flawed, &TRUSTING);
            if place < inner_udp && !is_station {
                assert_ne!(taken, sound, "byte {place}, bit {bit}");
            }
            if place >= inner_udp + UDP_LEN {
                assert_eq!(taken, sound, "payload is not read");
            }
            if !is_station {
                assert_ne!(parse(&flawed, &LOCAL), sound, "byte {place}, bit {bit}");
            }
        }
    }
}

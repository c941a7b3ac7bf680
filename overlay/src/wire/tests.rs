use std::vec::Vec;

use super::*;
use proptest::prelude::*;

fn any_header() -> impl Strategy<Value = Header> {
    let kind = prop_oneof![
        Just(Kind::Data),
        Just(Kind::Repair),
        Just(Kind::Nak),
        Just(Kind::NakConfirm),
        Just(Kind::Heartbeat),
        Just(Kind::Hello)
    ];
    (
        kind,
        any::<u8>(),
        any::<u16>(),
        1u32..,
        1..=Seq::MAX.0,
        any::<u64>(),
    )
        .prop_map(
            |(kind, flags, epoch, session, sequence, timestamp)| Header {
                kind,
                flags,
                epoch: Epoch(epoch),
                session: SessionId(session),
                sequence: Seq(sequence),
                timestamp,
            },
        )
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let state = prop_oneof![
        Just(HelloState::Down),
        Just(HelloState::Init),
        Just(HelloState::Up)
    ];
    (1u32.., 1u8.., state, any::<u64>(), any::<u64>()).prop_map(
        |(interval_us, detect_mult, state, echo, held_ns)| Hello {
            interval_us,
            detect_mult,
            state,
            echo,
            held_ns,
        },
    )
}

proptest! {
    #[test]
    fn a_header_survives_the_wire(header in any_header(), rest in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = header.emit().to_vec();
        bytes.extend(&rest);
        prop_assert_eq!(Header::parse(&bytes), Ok((header, &rest[..])));
    }

    #[test]
    fn a_header_cut_anywhere_is_named_truncated(header in any_header(), len in 0..HEADER_LEN) {
        let bytes = header.emit();
        prop_assert_eq!(Header::parse(&bytes[..len]), Err(WireError::Truncated));
    }

    #[test]
    fn a_hello_survives_the_wire(hello in any_hello(), len in 0..HELLO_LEN) {
        let bytes = hello.emit();
        prop_assert_eq!(Hello::parse(&bytes), Ok(hello));
        prop_assert_eq!(Hello::parse(&bytes[..len]), Err(WireError::Truncated));
    }

    #[test]
    fn ranges_survive_the_wire(parts in prop::collection::vec((1..Seq::MAX.0 >> 1, 1u32..), 1..120)) {
        let ranges: Vec<_> = parts.iter().filter_map(|&(first, count)| SeqRange::new(Seq(first), count)).collect();
        let body: Vec<u8> = ranges.iter().flat_map(|&range| emit_range(range)).collect();
        prop_assert_eq!(NakRanges::parse(&body).unwrap().iter().collect::<Vec<_>>(), ranges);
        let cut = &body[..body.len() - 1];
        prop_assert_eq!(NakRanges::parse(cut).err(), Some(WireError::Truncated));
    }

    #[test]
    fn any_bytes_give_a_value_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        if let Ok((header, body)) = Header::parse(&bytes) {
            prop_assert_eq!(body.len() + HEADER_LEN, bytes.len());
            prop_assert!(header.kind == Kind::Hello || header.session.0 != 0);
        }
        if let Ok(ranges) = NakRanges::parse(&bytes) {
            prop_assert_eq!(ranges.iter().count() * RANGE_LEN, bytes.len());
        }
        if let Ok(hello) = Hello::parse(&bytes) {
            prop_assert!(hello.interval_us > 0 && hello.detect_mult > 0);
        }
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let header = Header {
        kind: Kind::Repair,
        flags: 0x80,
        epoch: Epoch(0x0102),
        session: SessionId(0x0304_0506),
        sequence: Seq(0x0708_090a_0b0c_0d0e),
        timestamp: 0x1112_1314_1516_1718,
    };
    let bytes = [
        0x12, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0x11, 0x12, 0x13, 0x14, 0x15,
        0x16, 0x17, 0x18,
    ];
    assert_eq!(header.emit(), bytes);
}

#[test]
fn impossible_fields_are_named() {
    let mut bytes = [0u8; HEADER_LEN];
    bytes[0] = 0x21;
    assert_eq!(Header::parse(&bytes), Err(WireError::Version));
    bytes[0] = 0x1f;
    assert_eq!(Header::parse(&bytes), Err(WireError::Type));
    bytes[0] = 0x11;
    assert_eq!(Header::parse(&bytes), Err(WireError::Field));
    bytes[7] = 1;
    bytes[8..16].fill(0xff);
    assert_eq!(Header::parse(&bytes), Err(WireError::Field));
}

#[test]
fn a_sequence_that_nobody_can_have_reached_is_impossible() {
    for kind in [Kind::Data, Kind::Repair, Kind::Heartbeat] {
        let mut header = Header {
            kind,
            flags: 0,
            epoch: Epoch(1),
            session: SessionId(1),
            sequence: Seq::MAX,
            timestamp: 0,
        };
        assert!(Header::parse(&header.emit()).is_ok());
        header.sequence = Seq::MAX.next();
        assert_eq!(
            Header::parse(&header.emit()).err(),
            Some(WireError::Field),
            "{kind:?}"
        );
    }
}

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

type Packet = (u64, Vec<u8>);

const PACKET_MAX: usize = 300;

fn fec(block: u8, parity: u8) -> Fec {
    Fec { block, parity }
}

/// In two parts, as they lie in buffers.
fn record((timestamp, bytes): &Packet) -> Record<'_> {
    let (first, second) = bytes.split_at(bytes.len().min(28));
    Record {
        timestamp: *timestamp,
        packet: [first, second],
    }
}

fn coded(codec: &mut Codec, packets: &[Packet]) -> Vec<Vec<u8>> {
    codec
        .encode(packets.len() as u8, packets.iter().map(record))
        .unwrap();
    let parity = (0..=u8::MAX).map_while(|index| codec.parity(index));
    parity.map(<[u8]>::to_vec).collect()
}

/// What is rebuilt of a block of which the packets at `lost` are missing, from the parity packets at `used`.
fn rebuilt(
    codec: &mut Codec,
    packets: &[Packet],
    lost: &[usize],
    parity: &[(u8, &[u8])],
) -> Result<Vec<(usize, Packet)>, FecError> {
    let mut found = Vec::new();
    let held = packets.iter().enumerate();
    let held = held.filter(|(place, _)| !lost.contains(place));
    let block = Fec {
        block: packets.len() as u8,
        parity: codec.fec.parity,
    };
    codec.rebuild(
        block,
        held.map(|(place, packet)| (place as u8, record(packet))),
        parity.iter().copied(),
        |place, record| {
            let packet = (record.timestamp, record.packet.concat());
            found.push((usize::from(place), packet));
        },
    )?;
    found.sort();
    Ok(found)
}

fn any_packets(
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Packet>> {
    let bytes = prop::collection::vec(any::<u8>(), 1..=PACKET_MAX);
    prop::collection::vec((any::<u64>(), bytes), count)
}

/// A different place of `among` for each pick.
fn choose(among: usize, picks: &[Index]) -> Vec<usize> {
    let mut places = Vec::from_iter(0..among);
    let pick = |pick: &Index| places.swap_remove(pick.index(places.len()));
    let mut chosen: Vec<_> = picks.iter().map(pick).collect();
    chosen.sort_unstable();
    chosen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Blocks of all sizes, the short ones of a source that pauses too, through one codec each.
    #[test]
    fn as_many_losses_as_there_is_parity_are_rebuilt_exactly(
        block in 1..=FEC_BLOCK_MAX,
        parity in prop_oneof![Just(1), 1..=FEC_PARITY_MAX],
        blocks in prop::collection::vec((any_packets(1..=128), prop::collection::vec(any::<Index>(), 64)), 1..4),
    ) {
        let mut codec = Codec::new(fec(block, parity), PACKET_MAX).unwrap();
        for (mut packets, picks) in blocks {
            packets.truncate(block.into());
            let coded = coded(&mut codec, &packets);
            prop_assert_eq!(coded.len(), usize::from(parity));
            let most = usize::from(parity).min(packets.len());
            let count = picks[0].index(most) + 1;
            let lost = choose(packets.len(), &picks[1..=count]);
            let used = choose(coded.len(), &picks[32..32 + count]);
            let used = Vec::from_iter(used.iter().map(|&index| (index as u8, &coded[index][..])));
            let expected = Vec::from_iter(lost.iter().map(|&place| (place, packets[place].clone())));
            prop_assert_eq!(rebuilt(&mut codec, &packets, &lost, &used), Ok(expected));
        }
    }

    #[test]
    fn any_parity_bytes_are_rebuilt_from_or_refused(
        parity in 1_u8..4,
        packets in any_packets(8),
        bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2 * PACKET_MAX), 0..5),
        indexes in prop::collection::vec(any::<u8>(), 5),
        lost in prop::collection::vec(0..8_usize, 0..4),
    ) {
        let mut codec = Codec::new(fec(8, parity), PACKET_MAX).unwrap();
        let parity = Vec::from_iter(indexes.into_iter().zip(bytes.iter().map(Vec::as_slice)));
        let _ = rebuilt(&mut codec, &packets, &lost, &parity);
        // It is as good as new.
        let coded = coded(&mut codec, &packets);
        let expected = vec![(3, packets[3].clone())];
        prop_assert_eq!(rebuilt(&mut codec, &packets, &[3], &[(0, &coded[0])]), Ok(expected));
    }

    #[test]
    fn a_length_that_lies_is_refused(len in any::<u16>()) {
        let mut shard = vec![0; RECORD_HEADER + 20];
        shard[8..10].copy_from_slice(&len.to_be_bytes());
        let read = Record::read(&shard).map(|record| record.packet[0].len());
        let expected = if (1..=20).contains(&len) { Ok(len.into()) } else { Err(FecError::Record) };
        prop_assert_eq!(read, expected);
    }
}

#[test]
fn a_record_cut_short_is_refused_at_every_length() {
    let packet = (7, vec![1, 2, 3]);
    let mut shard = vec![0; RECORD_HEADER + 3];
    record(&packet).write(&mut shard).unwrap();
    for len in 0..shard.len() {
        assert_eq!(Record::read(&shard[..len]), Err(FecError::Record));
    }
    assert_eq!(Record::read(&shard), Ok(record(&packet)));
    shard.push(1);
    assert_eq!(Record::read(&shard), Err(FecError::Record), "no padding");
}

fn block_of(count: usize) -> Vec<Packet> {
    let packet = |i| (i as u64, vec![i as u8; 20 + i]);
    (0..count).map(packet).collect()
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    for parity in [1, 2] {
        let mut codec = Codec::new(fec(4, parity), PACKET_MAX).unwrap();
        let packets = block_of(4);
        let coded = coded(&mut codec, &packets);
        let all = Vec::from_iter(coded.iter().enumerate().map(|(i, c)| (i as u8, &c[..])));
        let lost = Vec::from_iter(0..all.len() + 1);
        let refused = |codec: &mut Codec, lost: &[usize], parity: &[(u8, &[u8])]| {
            rebuilt(codec, &packets, lost, parity).unwrap_err()
        };
        assert_eq!(refused(&mut codec, &lost, &all), FecError::Count, "too few");
        assert_eq!(refused(&mut codec, &[0], &[]), FecError::Count, "none");
        let long = vec![0; 2 * PACKET_MAX];
        assert_eq!(refused(&mut codec, &[0], &[(0, &long)]), FecError::TooLong);
        let short = &coded[0][..RECORD_HEADER];
        assert_eq!(refused(&mut codec, &[0], &[(0, short)]), FecError::TooLong);
        let shorter = &coded[0][..RECORD_HEADER - 2];
        assert_eq!(
            refused(&mut codec, &[0], &[(0, shorter)]),
            FecError::Lengths
        );
        let other = fec(4, parity + 1);
        let none = std::iter::empty();
        let refused = codec.rebuild(other, none, all.iter().copied(), |_, _| {});
        assert_eq!(refused, Err(FecError::Block), "of other parity");
        let larger = block_of(5);
        let refused = codec.encode(5, larger.iter().map(record)).unwrap_err();
        assert_eq!(refused, FecError::Block);
        assert_eq!(codec.parity(0), None, "of a block that was refused");
        let refused = rebuilt(&mut codec, &larger, &[0], &all).unwrap_err();
        assert_eq!(refused, FecError::Block);
        let refused = codec.encode(4, larger[..3].iter().map(record));
        assert_eq!(refused, Err(FecError::Count));
        let packet = [(0, vec![0; PACKET_MAX + 2])];
        let refused = codec.encode(1, packet.iter().map(record)).unwrap_err();
        assert_eq!(refused, FecError::TooLong);
    }
    let mut codec = Codec::new(fec(4, 2), PACKET_MAX).unwrap();
    let packets = block_of(4);
    let coded = coded(&mut codec, &packets);
    let shorter = &coded[1][..coded[1].len() - 2];
    let parity = [(0, &coded[0][..]), (1, shorter)];
    let refused = rebuilt(&mut codec, &packets, &[0, 1], &parity).unwrap_err();
    assert_eq!(refused, FecError::Lengths);
    let odd = &coded[0][..coded[0].len() - 1];
    let refused = rebuilt(&mut codec, &packets, &[0], &[(0, odd)]).unwrap_err();
    assert_eq!(refused, FecError::Lengths);
}

#[test]
fn parity_of_another_block_gives_no_packet_twice_its_length() {
    let mut codec = Codec::new(fec(4, 1), PACKET_MAX).unwrap();
    let coded = coded(&mut codec, &block_of(4));
    let mut other = block_of(4);
    other[1].1.truncate(3);
    // 21 bytes ^ 3 in the length of what is rebuilt.
    let rebuilt = rebuilt(&mut codec, &other, &[0], &[(0, &coded[0])]);
    assert_eq!(rebuilt, Err(FecError::Record));
}

#[test]
fn impossible_settings_make_no_codec() {
    for (block, parity) in [(0, 1), (129, 1), (1, 0), (1, 33)] {
        assert!(Codec::new(fec(block, parity), PACKET_MAX).is_none());
    }
}

#[test]
fn parity_of_the_longest_packets_fits_the_room_that_they_were_measured_by() {
    for (parity, room, expected) in [
        (1, 1448, 1434),
        (2, 1448, 1434),
        (1, 1447, 1433),
        (2, 1447, 1432),
    ] {
        let fec = fec(2, parity);
        let longest = packet_max(fec, room);
        assert_eq!(longest, expected);
        let mut codec = Codec::new(fec, longest).unwrap();
        let packets = [(1, vec![1; longest]), (2, vec![2; longest])];
        let coded = coded(&mut codec, &packets);
        assert!(PARITY_HEADER_LEN + coded[0].len() <= room);
    }
    assert_eq!(packet_max(fec(2, 2), 3), 0);
}

use super::*;
use crate::SessionId;
use crate::neighbor::Neighbor;
use crate::seq::SeqRange;
use crate::wire::{self, Header, Kind, NakRanges};
use alloc::boxed::Box;
use std::vec;

mod catch_up;
mod confirm;
mod copies;
mod parity;

const MS: Duration = Duration::from_millis(1);
const START: Instant = Instant(1_000_000_000);
const PARENT: NeighborId = NeighborId(0);
const CHILD: NeighborId = NeighborId(1);
const RTT: Duration = Duration::from_micros(200);

/// A session that holds 64 packets in a window of 128.
fn config(delivery: Option<Order>) -> SessionConfig {
    SessionConfig {
        id: SessionId(7),
        upstream: vec![PARENT],
        downstream: vec![CHILD],
        delivery,
        deadline: MS * 100,
        retention: MS * 100,
        reorder_delay: Duration::ZERO,
        max_rate_pps: 1,
        ..SessionConfig::default()
    }
}

fn receiver(delivery: Option<Order>) -> Box<Session<u64>> {
    Box::new(Session::new(START, config(delivery), Epoch(0)))
}

fn header(kind: Kind, epoch: u16, seq: u64) -> Header {
    Header {
        kind,
        flags: 0,
        epoch: Epoch(epoch),
        session: SessionId(7),
        sequence: Seq(seq),
        timestamp: 0,
    }
}

fn data(session: &mut Session<u64>, now: Instant, seq: u64) {
    let _ = session.handle_data(now, &header(Kind::Data, 1, seq), seq);
}

fn nak(session: &mut Session<u64>, now: Instant, ranges: &[(u64, u32)]) {
    nak_of(session, now, CHILD, &body_of(ranges));
}

fn nak_of(session: &mut Session<u64>, now: Instant, child: NeighborId, body: &[u8]) {
    let ranges = NakRanges::parse(body).unwrap();
    session.handle_nak(now, (child, RTT), ranges).unwrap();
}

/// Neighbors that may be sent as much as they like.
fn neighbors(count: usize) -> Vec<Option<Neighbor>> {
    let config = crate::NeighborConfig {
        hello_interval: MS * 10,
        detect_mult: 3,
        repair_rate_pps: 1_000_000,
    };
    vec![Some(Neighbor::new(START, config)); count]
}

fn body_of(ranges: &[(u64, u32)]) -> Vec<u8> {
    let ranges = ranges
        .iter()
        .map(|&(first, count)| SeqRange::new(Seq(first), count).unwrap());
    ranges.flat_map(wire::emit_range).collect()
}

fn pairs(ranges: &[SeqRange]) -> Vec<(u64, u32)> {
    ranges
        .iter()
        .map(|range| (range.first().0, range.count()))
        .collect()
}

/// The ranges of the NAK that is due.
fn asked(session: &mut Session<u64>, now: Instant) -> Vec<(u64, u32)> {
    let nak = session.poll_nak(now, &neighbors(2));
    nak.map_or(Vec::new(), |(_, ranges)| pairs(ranges))
}

/// The ranges of the NAK confirmation that is due, and for how long it holds.
fn confirmed(session: &mut Session<u64>, now: Instant) -> Option<(Vec<(u64, u32)>, Duration)> {
    let hold = session.poll_confirm(now)?;
    Some((pairs(session.ranges()), hold))
}

#[test]
fn a_nak_for_the_last_sequences_there_are_asks_for_nothing() {
    let mut session = receiver(None);
    data(&mut session, START, 5);
    nak(&mut session, START, &[(Seq::MAX.0 - 2, 3)]);
    assert_eq!(session.window.trail(), Seq(5));
}

#[test]
fn what_is_unanswerable_is_what_was_asked_for() {
    let mut session = receiver(None);
    data(&mut session, START, 1 << 40);
    nak(&mut session, START, &[(1, 3)]);
    assert_eq!(session.stats.naks_unanswerable, 3);
}

#[test]
fn a_gap_is_given_up_in_time_after_an_older_one_went_for_lack_of_room() {
    let mut session = receiver(None);
    for seq in [1].into_iter().chain(3..=66).chain([69]) {
        data(&mut session, START, seq);
    }
    assert_eq!(session.stats.unrecovered, 1, "2 went with the trail");
    session.handle_timeout(START + MS * 100);
    assert_eq!((session.stats.unrecovered, session.stats.in_flight), (3, 0));
}

#[test]
fn a_childs_older_gap_does_not_prolong_the_deadline_of_ours() {
    let mut session = receiver(Some(Order::Ordered));
    data(&mut session, START, 100);
    data(&mut session, START, 102);
    let late = START + MS * 99;
    nak(&mut session, late, &[(50, 1)]);
    assert!(session.window.is_missing(Seq(50)));
    session.handle_timeout(START + MS * 100);
    assert_eq!((session.stats.unrecovered, session.stats.in_flight), (1, 0));
    assert!(session.window.is_missing(Seq(50)));
    assert!(
        session.poll_nak(late + MS * 100, &[]).is_none(),
        "asked for what is given up"
    );
    assert!(!session.window.is_missing(Seq(50)));
}

fn delivered(session: &mut Session<u64>, now: Instant) -> Vec<u64> {
    core::iter::from_fn(|| session.poll_deliver(now))
        .map(|seq| seq.0)
        .collect()
}

#[test]
fn a_change_of_order_delivers_each_packet_once() {
    let mut session = receiver(Some(Order::Immediate));
    for seq in [1, 3, 4] {
        data(&mut session, START, seq);
    }
    assert_eq!(delivered(&mut session, START), [1, 3, 4]);
    session.reconfigure(START, config(Some(Order::Ordered)));
    for seq in [6, 2, 7] {
        data(&mut session, START, seq);
    }
    assert_eq!(delivered(&mut session, START), [2], "5 is awaited");
    session.reconfigure(START, config(Some(Order::Immediate)));
    assert_eq!(delivered(&mut session, START), [6, 7]);
    data(&mut session, START, 5);
    assert_eq!(delivered(&mut session, START), [5]);
}

#[test]
fn what_can_not_be_delivered_is_counted_and_takes_no_more_memory() {
    let mut session = receiver(Some(Order::Immediate));
    for seq in 1..=10_000 {
        data(&mut session, START, seq);
    }
    session.check();
    let _ = session.handle_data(START, &header(Kind::Data, 2, 1), 1);
    assert_eq!(session.stats.undelivered, 10_000);
    assert_eq!(delivered(&mut session, START), [1]);
}

#[test]
fn the_work_for_one_nak_is_bounded() {
    let large = SessionConfig {
        max_rate_pps: 200_000,
        ..config(None)
    };
    let mut session: Session<u64> = Session::new(START, large, Epoch(0));
    data(&mut session, START, 100_000);
    nak(
        &mut session,
        START,
        &[(80_000, 4096), (85_000, 4096), (90_000, 4096)],
    );
    let opened = (1..100_000).filter(|&seq| session.window.is_missing(Seq(seq)));
    assert_eq!(opened.count(), 4096);
}

#[test]
fn an_epoch_that_compares_as_older_is_followed_after_a_second_and_from_its_start() {
    let mut session = receiver(Some(Order::Ordered));
    data(&mut session, START, 5);
    let older = |seq| header(Kind::Data, 0x8002, seq);
    let soon = START + MS * 900;
    assert!(session.handle_data(soon, &older(1), 1).is_err());
    let later = START + MS * 1000;
    assert!(session.handle_data(later, &older(2), 2).is_ok());
    assert_eq!((session.lead(), session.stats.in_flight), (Seq(2), 1));
}

#[test]
fn jumps_across_all_sequences_keep_the_balance() {
    let mut session = receiver(None);
    for epoch in 1..4 {
        for seq in [1, u64::MAX - 9, u64::MAX - 7, u64::MAX - 5, u64::MAX - 3] {
            let _ = session.handle_data(START, &header(Kind::Data, epoch, seq), seq);
        }
    }
    let stats = session.stats();
    let sum = stats.tree + stats.in_flight;
    assert_eq!(stats.sent, stats.unrecovered.wrapping_add(sum));
}

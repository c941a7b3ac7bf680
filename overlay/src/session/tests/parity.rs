//! Parity: what the ingress makes it of, and what a receiver does with it.

use super::*;
use crate::Fec;
use crate::wire::ParityHeader;

const FEC: Fec = Fec {
    block: 4,
    parity: 2,
};

fn session(upstream: &[NeighborId]) -> Session<u64> {
    let config = SessionConfig {
        fec: Some(FEC),
        upstream: upstream.to_vec(),
        ..config(Some(Order::Ordered))
    };
    Session::new(START, config, Epoch(1))
}

fn parity_of(first: u64, count: u8, index: u8) -> (Header, ParityHeader) {
    let parity = ParityHeader {
        count,
        parity: FEC.parity,
        index,
    };
    (header(Kind::Parity, 1, first), parity)
}

fn take_parity(session: &mut Session<u64>, now: Instant, first: u64, index: u8) {
    let (header, parity) = parity_of(first, 4, index);
    session.handle_parity(now, &header, parity, 0).unwrap();
}

fn made(session: &mut Session<u64>, now: Instant) -> Vec<(u64, u8, u8)> {
    core::iter::from_fn(|| session.poll_parity(now))
        .map(|(first, header)| (first.0, header.count, header.index))
        .collect()
}

#[test]
fn the_ingress_makes_parity_of_full_blocks_and_of_what_a_pause_leaves() {
    let mut session = session(&[]);
    for seq in 1..=6 {
        session.push_source(START, seq);
    }
    assert_eq!(made(&mut session, START), [(1, 4, 0), (1, 4, 1)]);
    assert_eq!(made(&mut session, START + MS), [], "it may go on");
    let pause = START + MS * 2;
    assert_eq!(made(&mut session, pause), [(5, 2, 0), (5, 2, 1)]);
    session.push_source(pause, 7);
    session.push_source(pause, 8);
    assert_eq!(made(&mut session, pause), [(7, 2, 0), (7, 2, 1)]);
}

#[test]
fn as_much_parity_as_there_are_gaps_rebuilds_them_without_a_request() {
    let mut session = session(&[PARENT]);
    for seq in [1, 4] {
        data(&mut session, START, seq);
    }
    take_parity(&mut session, START, 1, 0);
    assert_eq!(session.poll_rebuild(), None, "two are missing");
    take_parity(&mut session, START, 1, 1);
    let (first, header) = session.poll_rebuild().unwrap();
    assert_eq!((first, header.count), (Seq(1), 4));
    assert_eq!(session.parity(first).count(), 2);
    for seq in [2, 3] {
        session.handle_rebuilt(START, Seq(seq), seq).unwrap();
    }
    assert_eq!(session.poll_rebuild(), None);
    assert_eq!(
        session.parity(first).count(),
        0,
        "kept no longer than needed"
    );
    let stats = session.stats();
    assert_eq!((stats.repaired, stats.rebuilt, stats.in_flight), (2, 2, 0));
    assert_eq!(asked(&mut session, START + MS * 90), []);
    assert_eq!(delivered(&mut session, START), [1, 2, 3, 4]);
}

#[test]
fn a_repair_completes_what_parity_alone_could_not() {
    let mut session = session(&[PARENT]);
    for seq in [1, 2, 3, 4, 8] {
        data(&mut session, START, seq);
    }
    take_parity(&mut session, START, 5, 0);
    take_parity(&mut session, START, 5, 1);
    assert_eq!(
        asked(&mut session, START),
        [(5, 3)],
        "at once: nothing else will come"
    );
    let repair = header(Kind::Repair, 1, 6);
    session.handle_repair(START, &repair, 6).unwrap();
    assert!(session.poll_rebuild().is_some());
}

#[test]
fn a_gap_waits_for_its_parity_until_the_next_block() {
    let mut session = session(&[PARENT]);
    for seq in [1, 3, 4] {
        data(&mut session, START, seq);
    }
    assert_eq!(asked(&mut session, START + MS), []);
    data(&mut session, START + MS, 5);
    assert_eq!(asked(&mut session, START + MS), [(2, 1)]);
}

#[test]
fn a_gap_waits_for_its_parity_no_longer_than_it_may_take() {
    let mut session = session(&[PARENT]);
    for seq in [1, 3] {
        data(&mut session, START, seq);
    }
    let heartbeat = header(Kind::Heartbeat, 1, 3);
    session.handle_heartbeat(START + MS, &heartbeat).unwrap();
    assert_eq!(asked(&mut session, START + MS * 49), []);
    assert_eq!(asked(&mut session, START + MS * 50), [(2, 1)]);
}

#[test]
fn parity_tells_of_a_lost_tail_and_the_useless_is_not_kept() {
    let mut session = session(&[PARENT]);
    for seq in 1..=3 {
        data(&mut session, START, seq);
    }
    take_parity(&mut session, START, 1, 1);
    assert!(session.poll_rebuild().is_some());
    session.handle_rebuilt(START, Seq(4), 4).unwrap();
    take_parity(&mut session, START, 1, 0);
    assert_eq!(session.parity(Seq(1)).count(), 0);
    assert_eq!(session.stats.parity_received, 2);
}

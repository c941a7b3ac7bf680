//! Joining late: clients and whole nodes; ends and silence.

use super::*;
use crate::wire::FLAG_END;
use crate::{CatchUp, Reject};

fn with_retention(delivery: Order) -> Session<u64> {
    let config = SessionConfig {
        max_rate_pps: 1000,
        retention: Duration::from_secs(1),
        deadline: Duration::from_secs(1),
        ..config(Some(delivery))
    };
    Session::new(START, config, Epoch(0))
}

/// What a client got alone, and from which sequence it is served with the others.
fn caught_up(session: &mut Session<u64>, now: Instant) -> (Vec<u64>, Option<u64>) {
    let mut alone = Vec::new();
    while let Some((client, step)) = session.poll_catch_up(now) {
        assert_eq!(client, 9);
        match step {
            CatchUp::Packet(seq) => alone.push(seq.0),
            CatchUp::Live(seq) => return (alone, Some(seq.0)),
        }
    }
    (alone, None)
}

#[test]
fn a_client_gets_the_asked_time_then_all_that_follows() {
    let mut session = with_retention(Order::Ordered);
    let at = |seq: u64| START + MS * seq as u32;
    for seq in 1..=100 {
        data(&mut session, at(seq), seq);
        delivered(&mut session, at(seq));
    }
    session.catch_up(at(100), 9, MS * 10);
    assert_eq!(
        caught_up(&mut session, at(100)),
        ((90..=100).collect(), Some(101))
    );
    assert!(session.catch_ups.is_empty());
}

#[test]
fn a_client_behind_a_gap_goes_live_at_the_gap() {
    let mut session = with_retention(Order::Ordered);
    for seq in [1, 2, 4, 5] {
        data(&mut session, START, seq);
    }
    assert_eq!(delivered(&mut session, START), [1, 2]);
    session.catch_up(START, 9, MS);
    assert_eq!(caught_up(&mut session, START), (vec![1, 2], Some(3)));
    data(&mut session, START, 3);
    assert_eq!(delivered(&mut session, START), [3, 4, 5]);
}

#[test]
fn as_they_come_a_client_waits_for_the_gap_and_gets_it_once() {
    let mut session = with_retention(Order::Immediate);
    for seq in [1, 3] {
        data(&mut session, START, seq);
    }
    session.catch_up(START, 9, MS);
    assert_eq!(
        caught_up(&mut session, START),
        (vec![1], None),
        "2 is awaited"
    );
    assert_eq!(delivered(&mut session, START), [1, 3]);
    data(&mut session, START, 2);
    assert_eq!(
        caught_up(&mut session, START),
        (vec![2, 3], None),
        "2 is not delivered yet"
    );
    assert_eq!(delivered(&mut session, START), [2]);
    assert_eq!(caught_up(&mut session, START), (vec![], Some(4)));
}

#[test]
fn history_is_sent_no_faster_than_twice_the_rate() {
    let mut session = with_retention(Order::Ordered);
    for seq in 1..=800 {
        data(&mut session, START, seq);
        delivered(&mut session, START);
    }
    session.catch_up(START, 9, MS);
    let (burst, _) = caught_up(&mut session, START);
    assert_eq!(burst.len(), 64);
    let (more, _) = caught_up(&mut session, START + MS * 10);
    assert_eq!(more.len(), 20);
}

#[test]
fn what_went_before_its_turn_is_counted() {
    let mut session = with_retention(Order::Ordered);
    for seq in 1..=200 {
        data(&mut session, START, seq);
        delivered(&mut session, START);
    }
    session.catch_up(START, 9, MS);
    assert_eq!(caught_up(&mut session, START).0.len(), 64);
    session.handle_timeout(START + Duration::from_secs(2));
    let (none, live) = caught_up(&mut session, START + Duration::from_secs(2));
    assert_eq!((none, live), (vec![], Some(201)));
    assert_eq!(session.stats.catch_up_missed, 136);
}

fn joining() -> Session<u64> {
    let config = SessionConfig {
        catch_up: MS * 500,
        ..with_retention(Order::Ordered).config.clone()
    };
    Session::new(START, config, Epoch(0))
}

fn history(session: &mut Session<u64>, first: u64, count: u32) -> Result<(), Reject> {
    let body = body_of(&[(first, count)]);
    let ranges = NakRanges::parse(&body).unwrap();
    session.handle_history(START, &header(Kind::NakConfirm, 1, 0), PARENT, ranges)
}

#[test]
fn a_node_that_joins_fetches_its_parents_history_before_it_delivers() {
    let mut session = joining();
    data(&mut session, START, 50);
    assert_eq!(delivered(&mut session, START), [], "history may come");
    let request = session.poll_request(START, &neighbors(2), MS).unwrap();
    assert_eq!((request.to, request.timestamp), (PARENT, 500_000_000));
    history(&mut session, 40, 11).unwrap();
    assert_eq!(asked(&mut session, START), [(40, 10)]);
    for seq in 40..50 {
        let repair = header(Kind::Repair, 1, seq);
        session.handle_repair(START, &repair, seq).unwrap();
    }
    assert_eq!(
        delivered(&mut session, START),
        (40..=50).collect::<Vec<_>>()
    );
    let stats = session.stats();
    assert_eq!(
        (stats.sent, stats.tree, stats.repaired, stats.in_flight),
        (11, 1, 10, 0)
    );
    session.check();
    assert_eq!(
        history(&mut session, 30, 10),
        Err(Reject::RepairUnasked),
        "once"
    );
}

#[test]
fn a_node_without_an_answer_delivers_from_where_it_joined() {
    let mut session = joining();
    data(&mut session, START, 50);
    session.handle_timeout(START + MS * 500);
    assert_eq!(delivered(&mut session, START + MS * 500), [50]);
}

#[test]
fn a_parent_says_from_where_on_it_has_the_asked_time() {
    let mut session = with_retention(Order::Ordered);
    for seq in 1..=100 {
        data(&mut session, START + MS * seq as u32, seq);
    }
    let hello = Header {
        flags: wire::FLAG_HISTORY,
        timestamp: 20_000_000,
        ..header(Kind::Hello, 1, 0)
    };
    session.handle_request(START, CHILD, &hello).unwrap();
    let now = START + MS * 100;
    let answer = session.poll_answer(now, &mut neighbors(2));
    assert_eq!(answer, Some(Answer::History(CHILD)));
    assert_eq!(pairs(session.ranges()), [(80, 21)]);
    assert_eq!(session.poll_answer(now, &mut neighbors(2)), None);
}

#[test]
fn the_end_is_told_once_and_no_more_is_taken() {
    let ingress = SessionConfig {
        upstream: vec![],
        ..config(None)
    };
    let mut session: Session<u64> = Session::new(START, ingress, Epoch(1));
    session.push_source(START, 1);
    session.end(START);
    assert!(!session.takes_source());
    let last = session.poll_heartbeat(START).unwrap();
    assert_eq!((last.sequence, last.flags), (Seq(1), FLAG_END));

    let mut receiver = receiver(None);
    data(&mut receiver, START, 1);
    receiver.handle_heartbeat(START, &last).unwrap();
    assert!(receiver.is_ended());
    let (changes, ..) = receiver.take_changes().unwrap();
    assert!(changes.ended);
    let told = receiver.poll_heartbeat(START).unwrap();
    assert_eq!(told.flags, FLAG_END, "and to its children");
    receiver.handle_heartbeat(START, &last).unwrap();
    assert!(receiver.take_changes().is_none());
    receiver.handle_timeout(START + MS * 100);
    assert_eq!(receiver.held(), 0, "windows drain");
}

#[test]
fn silence_forgets_the_stream_and_keeps_the_balance() {
    let mut session = receiver(Some(Order::Ordered));
    for seq in [1, 2, 4] {
        data(&mut session, START, seq);
    }
    let idle = START + Duration::from_secs(600);
    session.handle_timeout(idle);
    assert_eq!((session.epoch(), session.held()), (None, 0));
    let stats = session.stats();
    assert_eq!((stats.sent, stats.tree, stats.unrecovered), (4, 3, 1));
    data(&mut session, idle, 100);
    assert_eq!(session.stats().sent, 5, "it joins anew");
    assert_eq!(delivered(&mut session, idle), [100]);
}

//! Copies: who sends them, in which order, and what they change for the tree.

use super::*;
use crate::wire::{FLAG_COPY, FLAG_GRAFT, FLAG_SECOND};
use crate::{Mode, Reject};

fn copying(mode: Mode) -> Box<Session<u64>> {
    let config = SessionConfig {
        mode,
        upstream: vec![PARENT, NeighborId(2)],
        ..config(Some(Order::Ordered))
    };
    Box::new(Session::new(START, config, Epoch(0)))
}

fn copy(session: &mut Session<u64>, now: Instant, seq: u64) -> Result<(), Reject> {
    session.handle_copy(now, &header(Kind::Copy, 1, seq), seq)
}

fn subscribe(session: &mut Session<u64>, until: Instant, from: u64) {
    let header = Header {
        flags: FLAG_COPY,
        ..header(Kind::Hello, 1, from)
    };
    session.handle_request(until, CHILD, &header).unwrap();
}

fn copies(session: &mut Session<u64>, now: Instant) -> Vec<u64> {
    let mut all = neighbors(3);
    let polled = core::iter::from_fn(|| session.poll_answer(now, &mut all));
    polled
        .map(|answer| match answer {
            Answer::Copy(CHILD, seq) => seq.0,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn balance(session: &Session<u64>) -> [u64; 5] {
    let stats = session.stats();
    assert_eq!(
        stats.sent,
        stats.tree + stats.repaired + stats.unrecovered + stats.in_flight
    );
    [
        stats.sent,
        stats.tree,
        stats.repaired,
        stats.copied,
        stats.in_flight,
    ]
}

#[test]
fn a_copy_fills_a_gap_and_nobody_is_asked() {
    let mut session = copying(Mode::Copy);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    assert_eq!(
        asked(&mut session, START),
        [],
        "the copy has had no time yet"
    );
    assert_eq!(confirmed(&mut session, START), None);
    copy(&mut session, START + MS, 2).unwrap();
    assert_eq!(balance(&session), [3, 2, 1, 1, 0]);
    assert_eq!(session.stats.repair_latency.count(), 1);
    assert_eq!(copy(&mut session, START, 3), Err(Reject::Redundant));
    assert_eq!(
        session.stats.duplicates, 0,
        "what is expected is no duplicate"
    );
}

#[test]
fn a_copy_that_comes_first_does_not_keep_the_tree_from_the_children() {
    let mut session = copying(Mode::Copy);
    copy(&mut session, START, 1).unwrap();
    let late = header(Kind::Data, 1, 1);
    assert_eq!(session.handle_data(START, &late, 1), Ok(None));
    assert_eq!(session.handle_data(START, &late, 1), Err(Reject::Duplicate));
    assert_eq!(balance(&session), [1, 0, 1, 1, 0]);
}

#[test]
fn a_lost_copy_is_asked_for_after_the_time_that_copies_take() {
    let mut session = copying(Mode::Copy);
    for seq in 1..100 {
        data(&mut session, START + MS * seq as u32, seq);
        let _ = copy(&mut session, START + MS * seq as u32 + MS / 2, seq);
    }
    let found = START + MS * 200;
    data(&mut session, found, 101);
    assert_eq!(asked(&mut session, found + MS / 3), []);
    assert_eq!(asked(&mut session, found + MS), [(100, 1)]);
}

#[test]
fn copies_go_out_in_order_and_what_was_missing_when_it_comes() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    subscribe(&mut session, START + MS * 30, 1);
    assert_eq!(copies(&mut session, START), [1]);
    for seq in [2, 4, 5] {
        data(&mut session, START, seq);
    }
    assert_eq!(copies(&mut session, START), [2, 4, 5]);
    let repair = header(Kind::Repair, 1, 3);
    session.handle_repair(START, &repair, 3).unwrap();
    assert_eq!(
        session.poll_answer(START, &mut neighbors(3)),
        Some(Answer::Repair(CHILD, Seq(3)))
    );
    session.handle_timeout(START + MS * 30);
    data(&mut session, START + MS * 30, 6);
    assert_eq!(copies(&mut session, START + MS * 30), [], "not renewed");
}

#[test]
fn copies_come_from_a_backup_and_a_backup_that_is_parent_is_told_to_send_the_tree() {
    let mut session = copying(Mode::Copy);
    let mut all = neighbors(3);
    for neighbor in all.iter_mut().flatten() {
        neighbor.come_up(START);
    }
    let request = session.poll_request(START, &all, MS * 10).unwrap();
    assert_eq!((request.to, request.flags), (NeighborId(2), FLAG_COPY));
    assert_eq!(session.poll_request(START, &all, MS * 10), None);
    all[0] = None;
    session.choose_parent(START, &all, MS);
    let request = session
        .poll_request(START + MS * 10, &all, MS * 10)
        .unwrap();
    assert_eq!(
        (request.to, request.flags),
        (NeighborId(2), FLAG_COPY | FLAG_GRAFT)
    );
}

#[test]
fn auto_copies_while_the_tree_loses_and_stops_when_it_does_not() {
    let mut session = copying(Mode::Auto);
    let mut now = START;
    let mut at_change = Vec::new();
    // A second clean, one at 5 %, three clean: a packet a millisecond.
    for seq in 1..5000u64 {
        now = now + MS;
        let lost = (1000..2000).contains(&seq) && seq.is_multiple_of(20);
        if !lost {
            data(&mut session, now, seq);
        }
        let before = session.is_copying();
        session.handle_timeout(now);
        if session.is_copying() != before {
            at_change.push(seq);
        }
    }
    assert!(
        matches!(at_change[..], [begin, end] if (1100..2000).contains(&begin) && (2000..3200).contains(&end)),
        "{at_change:?}"
    );
    assert_eq!(session.stats.mode_changes, 2);
}

#[test]
fn loss_on_one_of_two_trees_is_not_even_a_gap_to_speak_of() {
    let config = SessionConfig {
        second_upstream: vec![NeighborId(2)],
        second_downstream: vec![CHILD],
        ..config(Some(Order::Ordered))
    };
    let mut session: Session<u64> = Session::new(START, config, Epoch(0));
    let second = |seq| Header {
        flags: FLAG_SECOND,
        ..header(Kind::Data, 1, seq)
    };
    for seq in 1..=100u64 {
        let now = START + MS * seq as u32;
        if !seq.is_multiple_of(10) {
            data(&mut session, now, seq);
        }
        let late = now + MS / 4;
        assert_eq!(asked(&mut session, late), []);
        let taken = session.handle_data(late, &second(seq), seq);
        assert!(taken.is_ok(), "sent on");
        assert_eq!(delivered(&mut session, late), [seq]);
    }
    let stats = session.stats();
    assert_eq!(
        (stats.tree, stats.second_tree, stats.repaired),
        (100, 10, 0)
    );
    assert_eq!((stats.repair_latency.count(), stats.duplicates), (0, 0));
}

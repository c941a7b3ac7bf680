//! NAK confirmations, repairs down the tree, and what they keep from being sent.

use super::*;
use crate::Reject;

fn repair(session: &mut Session<u64>, now: Instant, seq: u64) -> Result<(), Reject> {
    session.handle_repair(now, &header(Kind::Repair, 1, seq), seq)
}

/// A promise of `from` for all up to `last`.
fn confirm(
    session: &mut Session<u64>,
    now: Instant,
    from: NeighborId,
    (last, hold): (u32, Duration),
) {
    let header = Header {
        timestamp: hold.as_nanos() as u64,
        ..header(Kind::NakConfirm, 1, 0)
    };
    let body = body_of(&[(1, last)]);
    let ranges = NakRanges::parse(&body).unwrap();
    session
        .handle_confirm(now, &header, (from, RTT), ranges)
        .unwrap();
}

fn answers(session: &mut Session<u64>, now: Instant, count: usize) -> Vec<Answer> {
    let mut neighbors = neighbors(count);
    core::iter::from_fn(|| session.poll_answer(now, &mut neighbors)).collect()
}

#[test]
fn a_gap_is_announced_to_the_children_before_it_is_asked_for() {
    let mut session = receiver(None);
    for seq in [1, 4, 6] {
        data(&mut session, START, seq);
    }
    let (ranges, _) = confirmed(&mut session, START).unwrap();
    assert_eq!(ranges, [(2, 2), (5, 1)]);
    assert_eq!(confirmed(&mut session, START), None);
    assert_eq!(asked(&mut session, START), [(2, 2), (5, 1)]);
}

#[test]
fn a_gap_that_is_asked_for_again_is_announced_again() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    confirmed(&mut session, START);
    assert_eq!(asked(&mut session, START), [(2, 1)]);
    assert_eq!(
        confirmed(&mut session, START),
        None,
        "the first request is no news"
    );
    let later = START + MS * 20;
    assert_eq!(asked(&mut session, later), [(2, 1)]);
    let (ranges, hold) = confirmed(&mut session, later).unwrap();
    assert_eq!(ranges, [(2, 1)]);
    assert!(hold >= MS * 10, "until the answer may be here: {hold:?}");
}

#[test]
fn a_promised_gap_is_asked_for_only_when_the_promise_was_not_kept() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    confirm(&mut session, START, PARENT, (3, MS));
    assert_eq!(asked(&mut session, START + MS / 2), []);
    assert_eq!(asked(&mut session, START + MS), [(2, 1)]);
}

#[test]
fn only_the_parents_promise_counts_and_none_lasts_long() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    confirm(&mut session, START, CHILD, (3, MS));
    assert_eq!(asked(&mut session, START), [(2, 1)], "not the parent's");
    data(&mut session, START, 5);
    confirm(&mut session, START, PARENT, (5, Duration::from_secs(3600)));
    assert_eq!(asked(&mut session, START + MS * 20), [(2, 1), (4, 1)]);
}

#[test]
fn a_tail_that_the_parent_lacks_is_known_from_its_promise() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    confirm(&mut session, START, PARENT, (10, MS));
    assert_eq!((session.lead(), session.stats.in_flight), (Seq(10), 9));
    assert_eq!(asked(&mut session, START), []);
    assert_eq!(asked(&mut session, START + MS), [(2, 9)]);
}

#[test]
fn a_promise_is_passed_on_to_the_children() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    confirmed(&mut session, START);
    confirm(&mut session, START, PARENT, (3, MS * 5));
    assert_eq!(confirmed(&mut session, START), Some((vec![(2, 1)], MS * 5)));
    confirm(&mut session, START, PARENT, (3, MS * 5));
    assert_eq!(confirmed(&mut session, START), None, "they know");
}

#[test]
fn a_repair_of_ones_own_gap_goes_down_the_tree_once() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    nak(&mut session, START, &[(2, 1)]);
    repair(&mut session, START, 2).unwrap();
    let mut all = neighbors(2);
    assert_eq!(session.poll_subcast(START, &mut all), Some(Seq(2)));
    assert_eq!(session.poll_subcast(START, &mut all), None);
    assert_eq!(
        answers(&mut session, START, 2),
        [],
        "the child has it from the tree"
    );
    nak(&mut session, START + RTT / 2, &[(2, 1)]);
    assert_eq!(
        answers(&mut session, START, 2),
        [],
        "the NAK passed it on the way"
    );
    assert_eq!(session.stats.naks_suppressed, 1);
    nak(&mut session, START + RTT, &[(2, 1)]);
    assert_eq!(
        answers(&mut session, START, 2),
        [Answer::Repair(CHILD, Seq(2))]
    );
}

#[test]
fn a_late_packet_that_was_repaired_meanwhile_is_not_sent_on() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    repair(&mut session, START, 2).unwrap();
    let late = session.handle_data(START, &header(Kind::Data, 1, 2), 2);
    assert_eq!(late, Err(Reject::Duplicate));
}

#[test]
fn a_child_without_budget_gets_it_later_and_by_itself() {
    let mut session = receiver(None);
    data(&mut session, START, 1);
    data(&mut session, START, 3);
    repair(&mut session, START, 2).unwrap();
    let mut all = neighbors(2);
    let child = all[1].as_mut().unwrap();
    while child.take_repair(START) {}
    assert_eq!(session.poll_subcast(START, &mut all), None);
    assert_eq!(session.poll_answer(START, &mut all), None);
    assert_eq!(
        session.poll_answer(START + MS, &mut all),
        Some(Answer::Repair(CHILD, Seq(2)))
    );
}

#[test]
fn what_enough_children_miss_goes_down_the_tree() {
    let many = SessionConfig {
        downstream: (1..=10).map(NeighborId).collect(),
        ..config(None)
    };
    let mut session: Session<u64> = Session::new(START, many, Epoch(0));
    data(&mut session, START, 1);
    for child in 1..=4 {
        nak_of(&mut session, START, NeighborId(child), &body_of(&[(1, 1)]));
    }
    assert_eq!(session.poll_subcast(START, &mut neighbors(11)), None);
    assert_eq!(answers(&mut session, START, 11).len(), 4);
    // The same child again is no fifth one.
    nak_of(&mut session, START, NeighborId(4), &body_of(&[(1, 1)]));
    assert_eq!(answers(&mut session, START, 11).len(), 1);
    nak_of(&mut session, START, NeighborId(5), &body_of(&[(1, 1)]));
    assert_eq!(
        session.poll_subcast(START, &mut neighbors(11)),
        Some(Seq(1))
    );
    assert_eq!(answers(&mut session, START, 11), []);
}

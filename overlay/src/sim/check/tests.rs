//! The checkers see what is wrong: each is shown something that breaks its rule.

use super::*;
use crate::Seq;

const MS: u64 = 1_000_000;
const EPOCH: Option<Epoch> = Some(Epoch(1));

fn watch(order: Order) -> Watch {
    Watch::new(order, Duration::from_millis(10))
}

/// The rules that `act` breaks.
fn broken_by(order: Order, act: impl Fn(&mut Watch, &mut Verdict)) -> Vec<Rule> {
    let mut verdict = Verdict::default();
    act(&mut watch(order), &mut verdict);
    assert_eq!(verdict.count, verdict.violations.len() as u64);
    verdict
        .violations
        .iter()
        .map(|violation| violation.rule)
        .collect()
}

fn delivery(seq: u64) -> Delivery {
    Delivery {
        epoch: EPOCH,
        seq,
        payload: seq,
        expected: Some(seq),
    }
}

fn deliver_all(order: Order, seqs: &[u64]) -> Vec<Rule> {
    broken_by(order, |watch, verdict| {
        for &seq in seqs {
            watch.delivers(delivery(seq), verdict);
        }
    })
}

/// A node that has had the first `lead` packets, but for those in flight.
fn seen(lead: u64, in_flight: u64) -> Seen {
    Seen {
        epoch: EPOCH,
        lead,
        trail: 1,
        held: (lead - in_flight) as usize,
        held_max: 100,
        sent: lead,
        tree: lead - in_flight,
        in_flight,
        ..Seen::default()
    }
}

#[test]
fn order_and_once() {
    assert_eq!(deliver_all(Order::Ordered, &[1, 2, 3]), []);
    assert_eq!(deliver_all(Order::Ordered, &[1, 3, 2]), [Rule::Order]);
    assert_eq!(deliver_all(Order::Ordered, &[1, 2, 2]), [Rule::Once]);
    assert_eq!(deliver_all(Order::Immediate, &[1, 3, 2]), []);
    assert_eq!(deliver_all(Order::Immediate, &[1, 3, 2, 3]), [Rule::Once]);
}

#[test]
fn a_packet_passed_over_must_be_accounted_for() {
    let rules = |unrecovered| {
        broken_by(Order::Ordered, |watch, verdict| {
            for seq in [1, 3] {
                watch.delivers(delivery(seq), verdict);
            }
            let seen = Seen {
                unrecovered,
                tree: 3 - unrecovered,
                ..seen(3, 0)
            };
            watch.after(&seen, |_| true, verdict);
        })
    };
    assert_eq!(rules(1), []);
    assert_eq!(rules(0), [Rule::Order]);
}

#[test]
fn payload() {
    let rules = broken_by(Order::Ordered, |watch, verdict| {
        watch.delivers(
            Delivery {
                payload: 2,
                ..delivery(1)
            },
            verdict,
        );
        watch.delivers(
            Delivery {
                expected: None,
                ..delivery(2)
            },
            verdict,
        );
    });
    assert_eq!(rules, [Rule::Payload, Rule::Payload]);
}

#[test]
fn balance_and_memory() {
    let after = |seen: Seen| {
        broken_by(Order::Ordered, |watch, verdict| {
            watch.after(&seen, |_| true, verdict);
        })
    };
    assert_eq!(after(seen(5, 0)), []);
    assert_eq!(
        after(Seen {
            tree: 4,
            ..seen(5, 0)
        }),
        [Rule::Balance]
    );
    assert_eq!(
        after(Seen {
            held: 102,
            ..seen(5, 0)
        }),
        [Rule::Memory]
    );
}

#[test]
fn a_gap_that_outlives_its_deadline() {
    let rules = |now| {
        broken_by(Order::Ordered, |watch, verdict| {
            watch.after(&seen(5, 1), |seq| seq != 3, verdict);
            watch.after(&seen(6, 1), |seq| seq != 3, verdict.step(now, 0));
        })
    };
    assert_eq!(rules(10 * MS), []);
    assert_eq!(rules(11 * MS), [Rule::Deadline]);
}

#[test]
fn a_gap_that_was_never_one() {
    let rules = broken_by(Order::Ordered, |watch, verdict| {
        watch.after(&seen(5, 1), |_| true, verdict);
    });
    assert_eq!(rules, [Rule::Deadline]);
}

#[test]
fn a_request_before_its_time() {
    let ask = |again_at, to, answered| {
        broken_by(Order::Ordered, |watch, verdict| {
            let range = SeqRange::new(Seq(4), 2).unwrap();
            watch.asks(NeighborId(0), range, 2 * MS, verdict);
            if answered {
                watch.arrived(4);
                watch.arrived(5);
            }
            let again = SeqRange::new(Seq(5), 1).unwrap();
            watch.asks(NeighborId(to), again, 2 * MS, verdict.step(again_at, 0));
        })
    };
    assert_eq!(ask(MS, 0, false), [Rule::Request]);
    assert_eq!(ask(2 * MS, 0, false), []);
    assert_eq!(ask(MS, 1, false), []);
    assert_eq!(ask(MS, 0, true), []);
}

#[test]
fn a_splice_with_a_duplicate_or_a_gap() {
    let splice = |delivered, had, next| {
        broken_by(Order::Immediate, |watch, verdict| {
            watch.delivers(delivery(delivered), verdict);
            watch.splices(EPOCH, had, verdict);
            watch.delivers(delivery(next), verdict);
        })
    };
    assert_eq!(splice(9, (5, 10), 10), []);
    assert_eq!(splice(9, (5, 10), 4), []);
    assert_eq!(splice(9, (5, 9), 10), [Rule::Splice]);
    assert_eq!(splice(9, (5, 10), 7), [Rule::Splice]);
}

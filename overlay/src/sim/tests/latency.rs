//! How fast gaps are filled, and whom it troubles.

use core::time::Duration;

use super::super::*;
use super::{after, ms};
use crate::{Mode, SessionConfig};

/// Delay of a hop: its round-trip time is twice that.
const HOP: Duration = Duration::from_millis(1);
const PACE: Duration = Duration::from_micros(50);

/// Keeps the packets that are to be lost apart from the hellos, which go out each 10 ms.
const OFFSET: Duration = Duration::from_micros(13);

/// Ingress 0, cores 1 and 2, last hop 3; the way by core 2 takes `longer`. All packets are 50 µs apart.
fn two_ways(longer: Duration) -> Scenario {
    let parents: [&[usize]; 4] = [&[], &[0], &[0], &[1, 2]];
    let mut scenario = Scenario::tree(1, &parents, Impairment::delay(HOP));
    for (one, other) in [(0, 2), (2, 3)] {
        let link = Link::new(one, other, Impairment::delay(HOP + longer / 2));
        *scenario.link_mut(one, other).unwrap() = link;
    }
    let session = &mut scenario.sessions[0];
    session.source.start = OFFSET + ms(200);
    session.source.interval = PACE;
    session.source.count = 20_000;
    session.config = SessionConfig {
        max_rate_pps: 25_000,
        deadline: ms(500),
        retention: ms(500),
        ..session.config.clone()
    };
    scenario
}

/// From one router to another every `each`-th packet of some is lost.
fn lose(scenario: &mut Scenario, from: usize, to: usize, (count, each): (u32, u32)) {
    for lost in 0..count {
        let at = OFFSET + ms(300) + PACE * (lost * each) - PACE / 4;
        scenario.events.push((at, Action::Cut(from, to)));
        scenario
            .events
            .push((at + PACE / 2, Action::Heal(from, to)));
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[test]
fn a_loss_is_repaired_in_a_round_trip_and_a_half() {
    for (from, to) in [(0, 1), (1, 3)] {
        let mut scenario = two_ways(Duration::ZERO);
        lose(&mut scenario, from, to, (300, 50));
        let reorder = scenario.sessions[0].config.reorder_delay;
        let report = run(&scenario);
        assert_eq!((report.failure(), report.repaired), (None, 300));
        let most = micros(2 * HOP * 3 / 2 + reorder);
        let tail = report.recovery.quantile_us(0.999);
        assert!(
            tail <= most,
            "{tail} µs after a loss between {from} and {to}"
        );
    }
}

#[test]
fn a_hundred_losses_in_a_round_trip_are_repaired_as_fast_as_one() {
    let slowest = |losses, each| {
        let mut scenario = two_ways(Duration::ZERO);
        // A round trip of 20 ms, 400 packets long.
        for link in &mut scenario.links {
            link.forth.delay = ms(10);
            link.back.delay = ms(10);
        }
        lose(&mut scenario, 1, 3, (losses, each));
        let report = run(&scenario);
        assert_eq!((report.failure(), report.repaired), (None, losses.into()));
        report.recovery.max_us()
    };
    let (one, hundred) = (slowest(1, 1), slowest(100, 4));
    assert!(hundred <= one, "{hundred} µs instead of {one}");
}

#[test]
fn a_copy_takes_as_long_as_its_way() {
    let longer = Duration::from_micros(700);
    let mut scenario = two_ways(longer);
    scenario.sessions[0].config.mode = Mode::Copy;
    lose(&mut scenario, 1, 3, (300, 50));
    let report = run(&scenario);
    assert_eq!((report.failure(), report.copied), (None, 300));
    let most = micros(longer) + 100;
    let tail = report.recovery.quantile_us(0.999);
    assert!(tail <= most, "{tail} µs");
    assert_eq!(report.total.naks.packets, 0);
}

#[test]
fn a_loss_on_one_of_two_trees_is_not_even_a_gap() {
    let mut scenario = two_ways(Duration::ZERO);
    for place in &mut scenario.sessions[0].places {
        place.second_upstream = [&[][..], &[0], &[2]][place.router - 1].to_vec();
    }
    scenario.impairment_mut(1, 3).unwrap().loss = 0.1;
    let report = run(&scenario);
    assert_eq!((report.failure(), report.repaired), (None, 0));
    let second = report.second_tree;
    assert!(second > 1500, "the second tree brought {second}");
    assert_eq!(report.delivery.max_us(), micros(2 * HOP));
    assert_eq!(report.total.naks.packets, 0);
}

/// The latencies of all children of a router but the first, of which `child` is the impairment.
fn siblings(child: Impairment, silent: bool) -> Latencies {
    let hop = Impairment::lossy(HOP, 0.02);
    let mut scenario = Scenario::fan_out(1, 8, 1, hop);
    *scenario.link_mut(0, 1).unwrap() = Link::new(0, 1, child);
    scenario.sessions[0].source.count = 20_000;
    if silent {
        scenario.blackout(after(500), ms(60_000), 0, 1);
    }
    scenario.lossless = false;
    let report = run(&scenario);
    assert_eq!(report.failure(), None);
    let mut all = Latencies::default();
    for node in &report.nodes[2..] {
        all.add(&node.delivery);
    }
    all
}

#[test]
fn a_bad_child_does_not_trouble_its_siblings() {
    let good = Impairment::lossy(HOP, 0.02);
    let before = siblings(good, false).quantile_us(0.99);
    for (child, silent) in [(Impairment::lossy(HOP, 0.5), false), (good, true)] {
        let after = siblings(child, silent).quantile_us(0.99);
        assert!(
            after * 100 <= before * 101,
            "{after} µs instead of {before}"
        );
    }
}

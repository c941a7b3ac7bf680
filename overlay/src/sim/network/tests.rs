//! A whole run that goes wrong is seen to go wrong.

use super::super::scenario::{Impairment, Scenario};
use super::*;
use crate::TokenBucket;

fn scenario() -> Scenario {
    let hop = Impairment::lossy(Duration::from_micros(200), 0.02);
    let mut scenario = Scenario::fan_out(1, 3, 1, hop);
    scenario.replay = "treecast sim --random --seed 77".into();
    scenario
}

/// The rules that a run breaks after `tamper`.
fn broken_by(scenario: &Scenario, tamper: impl Fn(&mut Network)) -> Vec<Rule> {
    let mut network = Network::new(scenario);
    tamper(&mut network);
    network.run();
    let report = network.report();
    let line = report.failure().unwrap_or_default();
    assert!(report.violation_count == 0 || line.starts_with(&scenario.replay));
    let mut rules: Vec<Rule> = report.violations.iter().map(|seen| seen.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn an_honest_run_is_clean() {
    assert_eq!(broken_by(&scenario(), |_| ()), []);
}

#[test]
fn more_repairs_than_a_neighbor_may_have_are_seen() {
    let nothing = TokenBucket::new(0, Duration::ZERO);
    let rules = broken_by(&scenario(), |network| {
        network.routers[0].budgets.fill(nothing.clone());
    });
    assert_eq!(rules, [Rule::Budget]);
}

#[test]
fn packets_that_carry_something_else_are_seen() {
    let rules = broken_by(&scenario(), |network| {
        network.sources[0].epochs[0].1 = 1;
    });
    assert!(rules.contains(&Rule::Payload));
}

#[test]
fn what_is_never_made_good_is_seen() {
    let mut cut = scenario();
    cut.events
        .push((Duration::from_millis(300), Action::Cut(0, 1)));
    // It hears nothing more: it has what it knows of, but not what was sent.
    assert_eq!(broken_by(&cut, |_| ()), [Rule::Complete]);
    cut.events
        .push((Duration::from_millis(500), Action::Heal(0, 1)));
    assert_eq!(broken_by(&cut, |_| ()), []);
    // It hears of gaps, but is not heard.
    let mut unheard = scenario();
    let cut = Action::Cut(1, 0);
    unheard.events.push((Duration::from_millis(300), cut));
    assert_eq!(broken_by(&unheard, |_| ()), [Rule::Recovered]);
}

#[test]
fn a_packet_that_is_sent_on_again_and_again_is_seen() {
    let rules = broken_by(&scenario(), |network| {
        for direction in &mut network.layout.directions {
            direction.stats.data.packets = 5000;
        }
    });
    assert_eq!(rules, [Rule::Storm]);
}

use std::time::Duration;

use overlay::sim::{Impairment, Scenario};

use super::{Bars, NAMED_MAX, svg};
use crate::sim::case::Case;
use crate::sim::outcome::Outcome;
use crate::sim::runs::Subject;

fn outcome(width: usize, loss: f64) -> Outcome {
    let hop = Impairment::lossy(Duration::from_millis(1), loss);
    let mut case = Case::random(1);
    case.scenario = Scenario::fan_out(1, width, 1, hop);
    case.routers = (0..=width).map(|at| format!("r{at}")).collect();
    let report = overlay::sim::run(&case.scenario);
    let mut outcome = Outcome::new(&Subject::Random, 1, 1);
    outcome.count(&case, report);
    outcome
}

#[test]
fn the_plots_have_titles_axes_and_units() {
    let svg = svg(&outcome(3, 0.05)).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "Recovery latency: p50 2",
        "later than by the tree",
        "Repair bytes per link:",
        "bytes sent",
        "r0&gt;r3",
        "NAKs per node:",
        "NAK packets received",
        "ms\n",
        "kB\n",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn a_network_that_loses_nothing_can_be_drawn() {
    let svg = svg(&outcome(2, 0.0)).unwrap();
    assert!(svg.contains("Recovery latency: none"));
}

#[test]
fn many_links_are_shown_in_order_of_size() {
    let outcome = outcome(3 * NAMED_MAX, 0.05);
    let drawn = Bars::links(&outcome).drawn();
    let sums: Vec<u64> = drawn.iter().map(|bar| bar.1.iter().sum()).collect();
    assert!(sums.is_sorted_by(|one, other| one >= other) && sums[0] > 0);
    assert!(svg(&outcome).unwrap().contains("the busiest first"));
}

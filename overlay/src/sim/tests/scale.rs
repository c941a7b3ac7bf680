//! Ten thousand last hops.

use core::time::Duration;
use std::vec::Vec;

use super::super::*;

/// One ingress, three levels, `last_hops` at the bottom, 1 % loss on every link.
fn three_levels(last_hops: usize, count: u64) -> Scenario {
    let width = (1..)
        .find(|width| width * width * width >= last_hops)
        .unwrap();
    let first = 1 + width;
    let mut parents: Vec<Vec<usize>> = Vec::from([Vec::new()]);
    parents.extend((0..width).map(|_| Vec::from([0])));
    parents.extend((0..width * width).map(|place| Vec::from([1 + place / width])));
    parents.extend((0..last_hops).map(|place| Vec::from([first + place % (width * width)])));
    let hop = Impairment::lossy(Duration::from_millis(2), 0.01);
    let mut scenario = Scenario::tree(1, &parents, hop);
    // Windows of 200 ms: small ones, and long enough for six requests.
    let session = &mut scenario.sessions[0];
    session.config.max_rate_pps = 4500;
    session.config.deadline = Duration::from_millis(200);
    session.config.retention = Duration::from_millis(200);
    session.source.interval = Duration::from_micros(250);
    session.source.count = count;
    scenario.node.hello_interval = Duration::from_millis(100);
    scenario
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn run_and_check(last_hops: usize, count: u64) -> Report {
    let before = resident_bytes();
    let scenario = three_levels(last_hops, count);
    let mut network = Network::new(&scenario);
    network.run();
    let memory = resident_bytes().saturating_sub(before);
    let report = network.report();
    assert_eq!(report.failure(), None);
    assert_eq!((report.unrecovered, report.in_flight), (0, 0));
    assert_eq!(report.delivered, last_hops as u64 * count);
    let ingress = &report.nodes[0];
    let stats = ingress.stats(0);
    let own = report.links.iter().filter(|link| link.0 == 0);
    let lost: u64 = own.map(|link| link.2.data.lost).sum();
    let naks = ingress.asked_of as f64 / lost as f64;
    let repairs = (stats.repairs_sent + stats.subcasts_sent) as f64 / lost as f64;
    let seconds = report.run_time.as_secs_f64();
    std::println!(
        "{last_hops} last hops, {count} packets: {seconds:.1} s, {} events, {:.2} million a second, {} kB a node\n\
         ingress: {lost} lost on its links, {naks:.2} NAKs and {repairs:.2} repairs for each; \
         most NAKs of one node for one packet: {}; recovery p50 {} p99.9 {} max {} µs",
        report.events,
        report.events as f64 / seconds / 1e6,
        memory / 1024 / scenario.routers as u64,
        report.naks_per_loss_max,
        report.recovery.quantile_us(0.5),
        report.recovery.quantile_us(0.999),
        report.recovery.max_us(),
    );
    // A node has 22 children. A few ask where confirmations are lost as well, never all of them.
    assert!(
        report.naks_per_loss_max <= 8,
        "{}",
        report.naks_per_loss_max
    );
    assert!(naks <= 1.2, "{naks} NAKs for each packet lost");
    assert!(repairs <= 1.2, "{repairs} repairs for each packet lost");
    report
}

#[test]
fn a_loss_on_the_trunk_is_asked_for_once_whoever_lacks_it() {
    let mut scenario = three_levels(1000, 2000);
    for link in &mut scenario.links {
        link.forth.loss = 0.0;
        link.back.loss = 0.0;
    }
    scenario.impairment_mut(0, 1).unwrap().loss = 0.01;
    let report = run(&scenario);
    assert_eq!(report.failure(), None);
    let link = |from, to| {
        let mut links = report.links.iter();
        links.find(|link| (link.0, link.1) == (from, to)).unwrap().2
    };
    let lost = link(0, 1).data.lost;
    assert!(lost > 10, "{lost}");
    // A repair that is lost as well is asked for again.
    let again = link(0, 1).repairs.lost;
    assert_eq!(report.nodes[0].asked_of, lost + again);
    let below = report.nodes[1..].iter().map(|node| node.asked_of);
    assert_eq!(below.sum::<u64>(), 0, "nobody else asked for anything");
    assert_eq!(report.repaired, 100 * lost, "and all had it");
}

#[test]
fn a_thousand_last_hops_cost_the_ingress_no_more_than_its_own_losses() {
    run_and_check(1000, 500);
}

#[test]
#[ignore = "a minute or two in release, gigabytes of memory: `make sim-long` runs it"]
fn ten_thousand_last_hops_cost_the_ingress_no_more_than_its_own_losses() {
    let count = std::env::var("SIM_PACKETS").map_or(10_000, |count| count.parse().unwrap());
    let last_hops = std::env::var("SIM_LAST_HOPS").map_or(10_000, |count| count.parse().unwrap());
    run_and_check(last_hops, count);
}

//! What whole trees do.

mod golden;
mod latency;
mod random;
mod scale;
mod splice;
mod survival;

use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::wire::HelloState;
use crate::{Event, NeighborId, Order, SessionId, StateReason};

const HOP: Duration = Duration::from_micros(200);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// When the packet after `count` leaves the source, by default.
const fn after(count: u64) -> Duration {
    Duration::from_micros(200_000 + 200 * count)
}

/// Ingress 0, transit 1, last hops 2 to 4.
fn quickstart(seed: u64, loss: f64, count: u64) -> Scenario {
    let parents: [&[usize]; 5] = [&[], &[0], &[1], &[1], &[1]];
    with_count(
        Scenario::tree(seed, &parents, Impairment::lossy(HOP, loss)),
        count,
    )
}

/// Ingress 0, cores 1 and 2, last hops 3 and 4 with core 2 as backup.
fn diamond(seed: u64, loss: f64, count: u64) -> Scenario {
    let parents: [&[usize]; 5] = [&[], &[0], &[0], &[1, 2], &[1, 2]];
    with_count(
        Scenario::tree(seed, &parents, Impairment::lossy(HOP, loss)),
        count,
    )
}

fn with_count(mut scenario: Scenario, count: u64) -> Scenario {
    scenario.sessions[0].source.count = count;
    scenario
}

/// Runs a scenario in which nothing may be missing at the end.
fn run_clean(scenario: &Scenario) -> Report {
    let report = run(scenario);
    assert_eq!(report.failure(), None);
    assert_eq!((report.unrecovered, report.in_flight), (0, 0));
    report
}

#[test]
fn equal_scenarios_give_equal_reports() {
    let scenario = quickstart(3, 0.05, 1000);
    let [one, other] = [run(&scenario), run(&scenario)];
    assert_eq!((one.links, one.recovery), (other.links, other.recovery));
    let other = run(&quickstart(4, 0.05, 1000));
    assert_ne!(one.delivery, other.delivery);
}

#[test]
fn every_packet_arrives_once_in_order_at_any_loss() {
    for (seed, loss) in [(1, 0.0), (2, 0.01), (3, 0.05), (4, 0.2), (5, 0.3)] {
        let report = run_clean(&quickstart(seed, loss, 3000));
        assert_eq!(report.delivered, 3 * 3000);
        assert_eq!(report.repaired > 0, loss > 0.0, "the loss was real");
    }
}

#[test]
fn immediate_delivery_passes_each_packet_once() {
    let mut scenario = quickstart(6, 0.1, 3000);
    scenario.sessions[0].order = Order::Immediate;
    let report = run_clean(&scenario);
    assert_eq!(report.delivered, 3 * 3000);
    // In order, a packet behind a gap waits for it: a tenth of them lost, nine tenths did not wait.
    let ordered = run_clean(&quickstart(6, 0.1, 3000));
    let [immediate, ordered] = [report, ordered].map(|report| report.delivery.quantile_us(0.7));
    assert!(immediate < ordered, "{immediate} {ordered}");
}

#[test]
fn half_of_one_link_may_be_lost() {
    let mut scenario = quickstart(7, 0.2, 3000);
    *scenario.link_mut(1, 2).unwrap() = Link::new(1, 2, Impairment::lossy(HOP, 0.5));
    run_clean(&scenario);
}

#[test]
fn reordering_and_duplication_change_nothing() {
    let mut scenario = quickstart(8, 0.05, 3000);
    for link in &mut scenario.links {
        for way in [&mut link.forth, &mut link.back] {
            way.jitter = ms(2);
            way.reorder = 0.1;
            way.duplicate = 0.1;
        }
    }
    let report = run_clean(&scenario);
    assert!(report.nodes[2].stats(0).duplicates > 100);
}

#[test]
fn a_blackout_of_a_second_is_filled() {
    let mut scenario = quickstart(9, 0.02, 11_000);
    scenario.blackout(after(1000), ms(1000), 0, 1);
    let report = run_clean(&scenario);
    let repairs = report.nodes[0].stats(0).repairs_sent + report.nodes[0].stats(0).subcasts_sent;
    assert!(
        (5000..6000).contains(&repairs),
        "{repairs} repairs for 5,000 losses and 2 %"
    );
}

#[test]
fn a_transit_router_that_restarts_fetches_what_its_children_lack() {
    let mut scenario = quickstart(10, 0.02, 8000);
    scenario.events.push((after(1000), Action::Kill(1)));
    scenario.events.push((after(6000), Action::Restart(1)));
    let report = run_clean(&scenario);
    assert!(report.nodes[1].stats(0).backfilled >= 5000);
}

#[test]
fn a_backup_serves_when_the_parent_dies_for_good() {
    let mut scenario = diamond(11, 0.02, 5000);
    scenario.events.push((after(1000), Action::Kill(1)));
    let report = run_clean(&scenario);
    let node = &report.nodes[3];
    let has = |event| node.events.iter().any(|seen| seen.1 == event);
    let silent = Event::Neighbor(NeighborId(0), HelloState::Down, StateReason::Silent);
    assert!(has(silent) && has(Event::Parent(SessionId(1), NeighborId(1))));
    assert!(
        node.stats(0).tree > 3500,
        "core 2 has grafted the last hop onto the tree"
    );
}

#[test]
fn the_nearest_router_answers() {
    let scenario = Scenario::fan_out(12, 1, 5, Impairment::lossy(HOP, 0.05));
    let scenario = with_count(scenario, 5000);
    let mut network = Network::new(&scenario);
    network.run();
    let lost = network.link(0, 1).unwrap().data.lost;
    let stats = network.report().nodes[0].stats(0);
    let repairs = stats.repairs_sent + stats.subcasts_sent;
    assert!(
        repairs <= 2 * lost,
        "{repairs} repairs of the ingress for {lost} losses"
    );
}

#[test]
fn what_misses_its_deadline_is_counted_and_the_rest_goes_on() {
    let parents: [&[usize]; 5] = [&[], &[0], &[1], &[1], &[1]];
    let scenario = Scenario::tree(13, &parents, Impairment::lossy(ms(50), 0.02));
    let mut scenario = with_count(scenario, 5000);
    scenario.sessions[0].config.deadline = ms(5);
    scenario.lossless = false;
    let report = run(&scenario);
    assert_eq!(report.failure(), None);
    assert!(report.unrecovered > 150 && report.in_flight == 0);
    assert_eq!(report.unrecovered + report.delivered, 3 * 5000);
}

#[test]
fn a_lost_tail_is_found_and_filled_without_another_packet() {
    let mut scenario = quickstart(14, 0.0, 20);
    for router in [(0, 1), (1, 2), (1, 3), (1, 4)] {
        let at = after(10) + HOP / 2;
        scenario.blackout(at, Duration::from_micros(2500), router.0, router.1);
    }
    let report = run_clean(&scenario);
    assert_eq!(report.repaired, 3 * 10);
    assert!(report.recovery.max_us() < 20_000);
}

#[test]
fn a_new_epoch_starts_from_its_first_packet() {
    let mut scenario = quickstart(15, 0.1, 1000);
    scenario.sessions[0].source.pauses = Vec::from([(500, ms(600))]);
    scenario
        .events
        .push((after(500) + ms(300), Action::Restart(0)));
    let report = run_clean(&scenario);
    assert_eq!(report.delivered, 3 * 1000);
}

#[test]
fn a_clean_network_costs_little() {
    let report = run_clean(&quickstart(16, 0.0, 5000));
    let total = report.total;
    assert_eq!(total.data.packets, 4 * 5000);
    let overhead = total.control.packets + total.naks.packets + total.repairs.packets;
    assert!(
        overhead < 4 * 5000 * 6 / 100,
        "{overhead} packets beside the stream"
    );
    assert_eq!((total.naks.packets, total.repairs.packets), (0, 0));
}

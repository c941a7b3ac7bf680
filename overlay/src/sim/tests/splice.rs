//! Clients that come late, a million of them.

use core::time::Duration;
use std::vec::Vec;

use super::super::*;
use super::{HOP, after};
use crate::Order;

/// Clients of each run.
const CLIENTS: u64 = 100_000;
const LAST_HOPS: u64 = 8;

fn late_clients(seed: u64, order: Order) -> Report {
    let hop = Impairment::lossy(HOP, 0.02);
    let mut scenario = Scenario::fan_out(seed, LAST_HOPS as usize, 1, hop);
    scenario.sessions[0].order = order;
    scenario.sessions[0].source.count = 10_000;
    let mut rng = fastrand::Rng::with_seed(seed);
    let joins = (0..CLIENTS).map(|client| {
        let join = Action::Join {
            session: 0,
            router: 1 + (client % LAST_HOPS) as usize,
            client,
            catch_up: Duration::from_micros(rng.u64(..3000)),
        };
        (
            after(50) + Duration::from_micros(rng.u64(..1_900_000)),
            join,
        )
    });
    scenario.events = joins.collect::<Vec<_>>();
    run(&scenario)
}

#[test]
fn a_million_late_clients_miss_nothing_and_get_nothing_twice() {
    let mut all = Report::default();
    for seed in 0..5 {
        all.add(&late_clients(seed, Order::Ordered));
        all.add(&late_clients(seed, Order::Immediate));
    }
    assert_eq!(all.failure(), None);
    assert_eq!(all.spliced, 10 * CLIENTS);
    assert!(
        all.caught_up > 3 * all.spliced,
        "{} packets of history",
        all.caught_up
    );
}

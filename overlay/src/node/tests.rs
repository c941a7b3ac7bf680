use super::netsim::{Net, SESSION, Tree};
use super::*;
use crate::Order;
use std::vec;
use std::vec::Vec;

const HOP: Duration = Duration::from_micros(200);
const PACE: Duration = Duration::from_micros(200);

fn tree(parents: Vec<Vec<usize>>) -> Tree {
    Tree {
        parents,
        deliver: Some(Order::Ordered),
        deadline: Duration::from_secs(2),
    }
}

/// Ingress 0, transit 1, last hops 2 to 4.
fn quickstart() -> Tree {
    tree(vec![vec![], vec![0], vec![1], vec![1], vec![1]])
}

/// Ingress 0, cores 1 and 2, last hops 3 and 4 with core 2 as backup.
fn diamond() -> Tree {
    tree(vec![vec![], vec![0], vec![0], vec![1, 2], vec![1, 2]])
}

#[test]
fn every_packet_arrives_once_in_order_at_any_loss() {
    for (seed, loss) in [(1, 0.0), (2, 0.01), (3, 0.05), (4, 0.2), (5, 0.3)] {
        let mut net = Net::new(seed, quickstart(), loss, HOP);
        net.stream(3000, PACE);
        net.run(Duration::from_secs(3));
        net.assert_all_delivered();
        for last_hop in net.last_hops() {
            let stats = net.stats(last_hop);
            assert_eq!(
                (stats.sent, stats.unrecovered, stats.in_flight),
                (3000, 0, 0)
            );
            assert_eq!(stats.repaired > 0, loss > 0.0, "the loss was real");
        }
    }
}

#[test]
fn immediate_delivery_passes_each_packet_once() {
    let mut net = Net::new(
        6,
        Tree {
            deliver: Some(Order::Immediate),
            ..quickstart()
        },
        0.1,
        HOP,
    );
    net.stream(3000, PACE);
    net.run(Duration::from_secs(1));
    assert!(
        !net.routers[2].delivered.is_sorted(),
        "nothing overtook a gap"
    );
    net.assert_all_delivered();
}

#[test]
fn half_of_one_link_may_be_lost() {
    let mut net = Net::new(7, quickstart(), 0.2, HOP);
    for link in [(1, 2), (2, 1)] {
        net.links.get_mut(&link).unwrap().loss = 0.5;
    }
    net.stream(3000, PACE);
    net.run(Duration::from_secs(3));
    net.assert_all_delivered();
}

#[test]
fn reordering_and_duplication_change_nothing() {
    let mut net = Net::new(8, quickstart(), 0.05, HOP);
    for link in net.links.values_mut() {
        link.jitter = Duration::from_millis(2);
        link.duplicate = 0.1;
    }
    net.stream(3000, PACE);
    net.run(Duration::from_secs(1));
    net.assert_all_delivered();
    assert!(net.stats(2).duplicates > 100);
}

#[test]
fn a_blackout_of_a_second_is_filled() {
    let mut net = Net::new(9, quickstart(), 0.02, HOP);
    net.stream(1000, PACE);
    for link in [(0, 1), (1, 0)] {
        net.links.get_mut(&link).unwrap().loss = 1.0;
    }
    net.stream(5000, PACE);
    for link in [(0, 1), (1, 0)] {
        net.links.get_mut(&link).unwrap().loss = 0.02;
    }
    net.stream(5000, PACE);
    net.run(Duration::from_secs(1));
    net.assert_all_delivered();
    let repairs = net.stats(0).repairs_sent;
    assert!(
        (5000..6000).contains(&repairs),
        "{repairs} repairs for 5,000 losses and 2 %"
    );
}

#[test]
fn a_transit_router_that_restarts_fetches_what_its_children_lack() {
    let mut net = Net::new(10, quickstart(), 0.02, HOP);
    net.stream(1000, PACE);
    net.kill(1);
    net.stream(5000, PACE);
    net.restart(1);
    net.stream(2000, PACE);
    net.run(Duration::from_secs(2));
    net.assert_all_delivered();
    assert!(net.stats(1).backfilled >= 5000);
}

#[test]
fn a_backup_serves_when_the_parent_dies_for_good() {
    let mut net = Net::new(11, diamond(), 0.02, HOP);
    net.stream(1000, PACE);
    net.kill(1);
    net.stream(4000, PACE);
    net.run(Duration::from_secs(2));
    net.assert_all_delivered();
    let router = &net.routers[3];
    assert!(router.events.contains(&Event::Neighbor(
        NeighborId(0),
        HelloState::Down,
        StateReason::Silent
    )));
    assert!(
        router
            .events
            .contains(&Event::Parent(SESSION, NeighborId(1)))
    );
    assert!(
        net.stats(3).tree > 3500,
        "core 2 has grafted the last hop onto the tree"
    );
}

#[test]
fn the_nearest_router_answers() {
    let chain = tree(vec![vec![], vec![0], vec![1], vec![2], vec![3], vec![4]]);
    let mut net = Net::new(12, chain, 0.05, HOP);
    net.stream(5000, PACE);
    net.run(Duration::from_secs(1));
    net.assert_all_delivered();
    let lost = net.links[&(0, 1)].dropped;
    let repairs = net.stats(0).repairs_sent;
    assert!(
        repairs <= 2 * lost,
        "{repairs} repairs of the ingress for {lost} losses"
    );
}

#[test]
fn what_misses_its_deadline_is_counted_and_the_rest_goes_on() {
    let late = Tree {
        deadline: Duration::from_millis(5),
        ..quickstart()
    };
    let mut net = Net::new(13, late, 0.02, Duration::from_millis(50));
    net.stream(5000, PACE);
    net.run(Duration::from_secs(1));
    for last_hop in net.last_hops() {
        let stats = net.stats(last_hop);
        assert!(stats.unrecovered > 50 && stats.in_flight == 0);
        assert_eq!(stats.unrecovered + stats.delivered, 5000);
        assert_eq!(
            net.routers[last_hop].delivered.len() as u64,
            stats.delivered
        );
        assert!(net.routers[last_hop].delivered.is_sorted());
    }
}

#[test]
fn a_lost_tail_is_found_and_filled_without_another_packet() {
    let mut net = Net::new(14, quickstart(), 0.0, HOP);
    net.stream(10, PACE);
    for link in net.links.values_mut() {
        link.loss = 1.0;
    }
    net.stream(10, Duration::ZERO);
    net.run(Duration::from_micros(500));
    for link in net.links.values_mut() {
        link.loss = 0.0;
    }
    net.run(Duration::from_millis(20));
    net.assert_all_delivered();
}

#[test]
fn a_new_epoch_starts_from_its_first_packet() {
    let mut net = Net::new(15, quickstart(), 0.1, HOP);
    net.stream(500, PACE);
    net.run(Duration::from_millis(300));
    net.restart(0);
    let before = net.sent;
    net.stream(500, PACE);
    net.run(Duration::from_secs(1));
    net.assert_all_delivered();
    assert_eq!(before, 500);
}

#[test]
fn a_clean_network_costs_little() {
    let mut net = Net::new(16, quickstart(), 0.0, HOP);
    let before: u64 = net.links.values().map(|link| link.offered).sum();
    net.stream(5000, PACE);
    let sent: u64 = net.links.values().map(|link| link.offered).sum();
    let overhead = sent - before - 4 * 5000;
    assert!(
        overhead < 4 * 5000 * 5 / 100,
        "{overhead} packets beside the stream"
    );
    assert_eq!((net.stats(2).naks_sent, net.stats(2).duplicates), (0, 0));
}

/// A tree of up to nine routers, each with its parent and perhaps a backup before it.
fn any_tree(rng: &mut fastrand::Rng) -> Tree {
    let mut parents: Vec<Vec<usize>> = vec![vec![], vec![0]];
    for router in 2..rng.usize(3..9) {
        let parent = rng.usize(..router);
        let backup = rng.usize(..router);
        let several = backup != parent && rng.bool();
        parents.push([parent, backup][..1 + usize::from(several)].to_vec());
    }
    let order = [Order::Ordered, Order::Immediate][rng.usize(..2)];
    Tree {
        deliver: Some(order),
        ..tree(parents)
    }
}

/// `NET_SEEDS` chooses how many seeds are run.
#[test]
fn any_tree_delivers_everything_whatever_it_loses() {
    let seeds = std::env::var("NET_SEEDS").map_or(20, |n| n.parse().unwrap());
    let mut failed = Vec::new();
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let tree = any_tree(&mut rng);
            let parents = tree.parents.clone();
            let loss = [0.0, 0.02, 0.2][rng.usize(..3)];
            let mut net = Net::new(seed, tree, loss, Duration::from_micros(rng.u64(20..2000)));
            for link in net.links.values_mut() {
                link.jitter = Duration::from_micros(rng.u64(..500));
                link.duplicate = [0.0, 0.1][rng.usize(..2)];
            }
            net.stream(300, PACE);
            let transit: Vec<usize> = (1..parents.len())
                .filter(|me| !net.last_hops().contains(me))
                .collect();
            let victim =
                (!transit.is_empty() && rng.bool()).then(|| transit[rng.usize(..transit.len())]);
            if let Some(victim) = victim {
                net.kill(victim);
                net.stream(300, PACE);
                net.restart(victim);
            }
            net.stream(600, PACE);
            net.run(Duration::from_secs(3));
            std::println!("seed {seed} loss {loss} killed {victim:?} of {parents:?}");
            net.assert_all_delivered();
        });
        if run.is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed with seeds {failed:?}");
}

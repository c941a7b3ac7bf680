//! The metrics of neighbors.

use dataplane::NeighborSnapshot;

use super::family::{Families, Field, Labels};

/// The states that [`NeighborSnapshot::state`] runs through.
const NEIGHBOR_STATES: [&str; 3] = ["down", "init", "up"];

fn neighbor_labels(neighbor: &NeighborSnapshot) -> Labels {
    vec![("neighbor", neighbor.name.clone())]
}

/// Adds the metrics of the neighbors.
pub(super) fn add(families: &mut Families, neighbors: &[NeighborSnapshot]) {
    const COUNTERS: [Field<NeighborSnapshot>; 9] = [
        (
            "treecast_neighbor_downs_total",
            "How often the neighbor went down.",
            |neighbor| neighbor.downs as f64,
        ),
        (
            "treecast_neighbor_hellos_sent_total",
            "Hellos sent to the neighbor.",
            |neighbor| neighbor.hellos_sent as f64,
        ),
        (
            "treecast_neighbor_hellos_received_total",
            "Hellos had from the neighbor.",
            |neighbor| neighbor.hellos_received as f64,
        ),
        (
            "treecast_neighbor_naks_sent_total",
            "NAK packets sent to the neighbor.",
            |neighbor| neighbor.naks_sent as f64,
        ),
        (
            "treecast_neighbor_naks_received_total",
            "NAK packets had from the neighbor.",
            |neighbor| neighbor.naks_received as f64,
        ),
        (
            "treecast_neighbor_repairs_sent_total",
            "Repairs sent to the neighbor.",
            |neighbor| neighbor.repairs_sent as f64,
        ),
        (
            "treecast_neighbor_repairs_received_total",
            "Repairs had from the neighbor.",
            |neighbor| neighbor.repairs_received as f64,
        ),
        (
            "treecast_neighbor_throttles_total",
            "How often the neighbor began to ask for more repairs than its rate.",
            |neighbor| neighbor.throttles as f64,
        ),
        (
            "treecast_neighbor_ejections_total",
            "How often the neighbor's NAKs were left unanswered for a while, since it was throttled for so long.",
            |neighbor| neighbor.ejects as f64,
        ),
    ];
    const GAUGES: [Field<NeighborSnapshot>; 4] = [
        (
            "treecast_neighbor_rtt_seconds",
            "Smoothed round-trip time; 0 before the first sample.",
            |neighbor| neighbor.rtt_us as f64 / 1e6,
        ),
        (
            "treecast_neighbor_state_change_timestamp_seconds",
            "When the neighbor's state last changed, in seconds since 1970.",
            |neighbor| neighbor.since_unix_ms as f64 / 1e3,
        ),
        (
            "treecast_neighbor_throttled",
            "Whether the neighbor asks for more repairs than its rate now.",
            |neighbor| f64::from(neighbor.throttled),
        ),
        (
            "treecast_neighbor_ejected",
            "Whether the neighbor's NAKs go unanswered now.",
            |neighbor| f64::from(neighbor.ejected),
        ),
    ];
    families.counters(&COUNTERS, neighbors, neighbor_labels);
    families.gauges(&GAUGES, neighbors, neighbor_labels);
    let states = neighbors.iter().flat_map(|neighbor| {
        NEIGHBOR_STATES.map(|state| {
            let mut labels = neighbor_labels(neighbor);
            labels.push(("state", state.to_owned()));
            (labels, f64::from(neighbor.state == state))
        })
    });
    families.gauge(
        "treecast_neighbor_state",
        "1 for the state that the neighbor is in, 0 for the others.",
        states,
    );
}

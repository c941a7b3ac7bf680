//! Prometheus metrics: a snapshot as text, made anew at each scrape.
//!
//! Labels are bounded by what is configured: sessions, clients, neighbors, ports; and by the product itself: drop
//! reasons, pools, states.

mod family;
mod neighbor;
mod port;
mod session;

use std::collections::BTreeMap;

use dataplane::{PoolSnapshot, Snapshot, WorkerSnapshot};
use family::{Families, Field, Labels};
use prometheus::TextEncoder;

/// The media type of [`render`]'s text.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What a node says beside its snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    /// Name of the node.
    pub(crate) name: &'a str,
    /// When it started, in seconds since 1970.
    pub(crate) start_unix_s: f64,
}

/// The node's metrics in Prometheus' text format.
pub(crate) fn render(node: Identity<'_>, snapshot: &Snapshot) -> Result<String, prometheus::Error> {
    let mut families = Families::default();
    add_node(&mut families, node);
    session::add(&mut families, &snapshot.sessions);
    neighbor::add(&mut families, &snapshot.neighbors);
    port::add(&mut families, &snapshot.ports);
    add_workers(&mut families, &snapshot.workers);
    add_pools(&mut families, &snapshot.pools);
    add_drops(&mut families, &snapshot.drops);
    TextEncoder::new().encode_to_string(&families.into_vec())
}

fn add_node(families: &mut Families, node: Identity<'_>) {
    let info = vec![
        ("name", node.name.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    families.gauge(
        "treecast_node_info",
        "The node's name and version; always 1.",
        [(info, 1.0)],
    );
    families.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        [(Labels::new(), node.start_unix_s)],
    );
}

fn add_workers(families: &mut Families, workers: &[WorkerSnapshot]) {
    const COUNTERS: [Field<WorkerSnapshot>; 5] = [
        (
            "treecast_worker_turns_total",
            "Turns of the worker's loop.",
            |worker| worker.turns as f64,
        ),
        (
            "treecast_worker_busy_turns_total",
            "Turns that found something to do.",
            |worker| worker.busy_turns as f64,
        ),
        (
            "treecast_worker_nap_seconds_total",
            "Time spent asleep.",
            |worker| worker.nap_ns as f64 / 1e9,
        ),
        (
            "treecast_worker_receive_packets_total",
            "Frames that the worker received.",
            |worker| worker.rx_packets as f64,
        ),
        (
            "treecast_worker_transmit_packets_total",
            "Frames that the worker sent.",
            |worker| worker.tx_packets as f64,
        ),
    ];
    const GAUGES: [Field<WorkerSnapshot>; 2] = [
        (
            "treecast_worker_longest_turn_seconds",
            "The longest turn since the start.",
            |worker| worker.longest_turn_ns as f64 / 1e9,
        ),
        (
            "treecast_worker_sessions",
            "Sessions that the worker has.",
            |worker| worker.sessions as f64,
        ),
    ];
    let labels = |worker: &WorkerSnapshot| vec![("worker", worker.worker.to_string())];
    families.counters(&COUNTERS, workers, labels);
    families.gauges(&GAUGES, workers, labels);
}

fn add_pools(families: &mut Families, pools: &[PoolSnapshot]) {
    const GAUGES: [Field<PoolSnapshot>; 2] = [
        (
            "treecast_pool_buffers",
            "Buffers in the pool, free or in use.",
            |pool| pool.size as f64,
        ),
        (
            "treecast_pool_in_use_buffers",
            "Buffers of the pool that are in use.",
            |pool| pool.in_use as f64,
        ),
    ];
    const COUNTERS: [Field<PoolSnapshot>; 1] = [(
        "treecast_pool_exhausted_total",
        "Looks, ten a second, that found no free buffer in the pool.",
        |pool| pool.exhausted as f64,
    )];
    let labels = |pool: &PoolSnapshot| vec![("pool", pool.name.to_owned())];
    families.counters(&COUNTERS, pools, labels);
    families.gauges(&GAUGES, pools, labels);
}

fn add_drops(families: &mut Families, drops: &BTreeMap<&'static str, u64>) {
    families.counter(
        "treecast_drops_total",
        "Packets dropped, by reason.",
        drops
            .iter()
            .map(|(reason, count)| (vec![("reason", (*reason).to_owned())], *count as f64)),
    );
}

#[cfg(test)]
mod tests;

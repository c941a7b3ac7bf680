//! Prometheus metrics: a snapshot as text, made anew at each scrape.
//!
//! Labels are bounded by what is configured: sessions, clients, neighbors, ports; and by the product itself: drop
//! reasons, pools, states.

mod family;
mod port;

use std::collections::BTreeMap;

use dataplane::{
    ClientSnapshot, NeighborSnapshot, PoolSnapshot, SessionSnapshot, Snapshot, WorkerSnapshot,
};
use family::{Families, Field, Labels};
use prometheus::TextEncoder;

/// The media type of [`render`]'s text.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The states that [`dataplane::NeighborSnapshot::state`] runs through.
const NEIGHBOR_STATES: [&str; 3] = ["down", "init", "up"];

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
    add_sessions(&mut families, &snapshot.sessions);
    add_repairing(&mut families, &snapshot.sessions);
    add_clients(&mut families, &snapshot.sessions);
    add_neighbors(&mut families, &snapshot.neighbors);
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

fn session_labels(session: &SessionSnapshot) -> Labels {
    vec![
        ("session", session.session.to_string()),
        ("name", session.name.clone()),
    ]
}

fn add_sessions(families: &mut Families, sessions: &[SessionSnapshot]) {
    const COUNTERS: [Field<SessionSnapshot>; 10] = [
        (
            "treecast_session_sent_packets_total",
            "Packets that the ingress has sent since this node joined.",
            |session| session.sent as f64,
        ),
        (
            "treecast_session_tree_packets_total",
            "Packets that came by the tree.",
            |session| session.tree as f64,
        ),
        (
            "treecast_session_repaired_packets_total",
            "Packets that came as repairs.",
            |session| session.repaired as f64,
        ),
        (
            "treecast_session_unrecovered_packets_total",
            "Packets given up when their deadline passed.",
            |session| session.unrecovered as f64,
        ),
        (
            "treecast_session_duplicate_packets_total",
            "Packets that came again.",
            |session| session.duplicates as f64,
        ),
        (
            "treecast_session_delivered_packets_total",
            "Packets passed on to the clients, each counted once however many clients there are.",
            |session| session.delivered as f64,
        ),
        (
            "treecast_session_undelivered_packets_total",
            "Packets held that went before they could be delivered.",
            |session| session.undelivered as f64,
        ),
        (
            "treecast_session_backfilled_packets_total",
            "Repairs from before the node joined, fetched for a child.",
            |session| session.backfilled as f64,
        ),
        (
            "treecast_session_evicted_packets_total",
            "Packets dropped from retention before their time, for lack of room.",
            |session| session.evicted_early as f64,
        ),
        (
            "treecast_session_resyncs_total",
            "Jumps of the sequence beyond the window that were followed.",
            |session| session.resyncs as f64,
        ),
    ];
    const GAUGES: [Field<SessionSnapshot>; 3] = [
        (
            "treecast_session_in_flight_packets",
            "Packets missing but not given up.",
            |session| session.in_flight as f64,
        ),
        (
            "treecast_session_retained_packets",
            "Packets kept to answer NAKs.",
            |session| session.retained as f64,
        ),
        (
            "treecast_session_synced",
            "Whether the node has heard from the session's ingress.",
            |session| f64::from(session.synced),
        ),
    ];
    families.counters(&COUNTERS, sessions, session_labels);
    families.gauges(&GAUGES, sessions, session_labels);
}

fn add_repairing(families: &mut Families, sessions: &[SessionSnapshot]) {
    const COUNTERS: [Field<SessionSnapshot>; 6] = [
        (
            "treecast_session_naks_sent_total",
            "NAK packets sent.",
            |session| session.naks_sent as f64,
        ),
        (
            "treecast_session_naks_received_total",
            "NAK packets received.",
            |session| session.naks_received as f64,
        ),
        (
            "treecast_session_naks_unanswerable_total",
            "Sequences that a neighbor asked for and that are neither held nor to be had.",
            |session| session.naks_unanswerable as f64,
        ),
        (
            "treecast_session_naks_over_budget_total",
            "Sequences that a neighbor asked for beyond what is taken on at once.",
            |session| session.naks_over_budget as f64,
        ),
        (
            "treecast_session_repairs_sent_total",
            "Repairs sent.",
            |session| session.repairs_sent as f64,
        ),
        (
            "treecast_session_repairs_received_total",
            "Repairs received, duplicates among them.",
            |session| session.repairs_received as f64,
        ),
    ];
    families.counters(&COUNTERS, sessions, session_labels);
    families.latency(
        "treecast_session_repair_latency_seconds",
        "Time from the discovery of a gap to its repair.",
        sessions
            .iter()
            .map(|session| (session_labels(session), &session.repair_latency_us)),
    );
}

fn add_clients(families: &mut Families, sessions: &[SessionSnapshot]) {
    type Client<'a> = (&'a SessionSnapshot, &'a ClientSnapshot);
    let clients: Vec<Client<'_>> = sessions
        .iter()
        .flat_map(|session| session.clients.iter().map(move |client| (session, client)))
        .collect();
    let labels = |(session, client): &Client<'_>| {
        let mut labels = session_labels(session);
        labels.push(("client", client.client.clone()));
        labels
    };
    families.counters(
        &[
            (
                "treecast_client_packets_total",
                "Copies sent to the client.",
                |(_, client): &Client<'_>| client.packets as f64,
            ),
            (
                "treecast_client_dropped_packets_total",
                "Copies that could not be sent to the client.",
                |(_, client)| client.dropped as f64,
            ),
        ],
        &clients,
        labels,
    );
    families.gauges(
        &[(
            "treecast_client_resolved",
            "Whether the Ethernet address of the client's next hop is known.",
            |(_, client): &Client<'_>| f64::from(client.resolved),
        )],
        &clients,
        labels,
    );
}

fn neighbor_labels(neighbor: &NeighborSnapshot) -> Labels {
    vec![("neighbor", neighbor.name.clone())]
}

fn add_neighbors(families: &mut Families, neighbors: &[NeighborSnapshot]) {
    const COUNTERS: [Field<NeighborSnapshot>; 7] = [
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
    ];
    const GAUGES: [Field<NeighborSnapshot>; 2] = [
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
    const GAUGES: [Field<WorkerSnapshot>; 1] = [(
        "treecast_worker_longest_turn_seconds",
        "The longest turn since the start.",
        |worker| worker.longest_turn_ns as f64 / 1e9,
    )];
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

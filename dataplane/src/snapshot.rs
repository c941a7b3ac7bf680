//! What a node says of itself: plain values that the API prints as JSON.

use std::collections::BTreeMap;

use overlay::LatencyHistogram;
use serde::Serialize;

/// Everything at one moment; each part is consistent in itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// The ports, in order of configuration.
    pub ports: Vec<PortSnapshot>,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
    /// The neighbors, in order of configuration.
    pub neighbors: Vec<NeighborSnapshot>,
    /// The sessions, by number.
    pub sessions: Vec<SessionSnapshot>,
    /// The buffer pools.
    pub pools: Vec<PoolSnapshot>,
    /// Packets dropped, by reason; reasons that never happened are present with 0.
    pub drops: BTreeMap<&'static str, u64>,
}

/// One port.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PortSnapshot {
    /// Configured name.
    pub name: String,
    /// DPDK device string.
    pub device: String,
    /// DPDK driver, such as `net_af_packet`.
    pub driver: String,
    /// Ethernet address, `02:00:…`.
    pub mac: String,
    /// The node's address and prefix, `10.0.0.1/24`; where it has both families `10.0.0.1/24, fd00::1/64`.
    pub address: String,
    /// Whether the link is up.
    pub link_up: bool,
    /// How often it went down.
    pub downs: u64,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// As configured: the kernel interface below may take less.
    pub configured_mtu: u16,
    /// Shortest payload that goes out chained to a header, in bytes: shorter ones are copied behind it. Absent where the
    /// device can't send chains.
    pub chain_from: Option<u16>,
    /// Frames received, before any impairment.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device lost because nobody fetched them.
    pub rx_missed: u64,
    /// Frames lost because the pool was empty.
    pub rx_nombuf: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames given up because the device took none.
    pub tx_dropped: u64,
    /// Data frames of the tree that arrived on the wire, before any impairment.
    pub tree_offered: u64,
    /// Those of `tree_offered` that the impairment lost.
    pub tree_dropped: u64,
    /// What the impairment did to all frames; absent where none was ever set.
    pub impairment: Option<ImpairmentSnapshot>,
    /// The kernel exception path; absent where the port has none.
    pub kernel: Option<KernelSnapshot>,
}

/// The kernel exception path of a port.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KernelSnapshot {
    /// Name of the TAP interface.
    pub interface: String,
    /// Frames that the kernel took.
    pub to_kernel: u64,
    /// Frames that the kernel sent out of the port.
    pub from_kernel: u64,
}

/// What an impairment did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ImpairmentSnapshot {
    /// Frames it saw.
    pub offered: u64,
    /// Frames it lost, for any cause.
    pub dropped: u64,
    /// Frames it doubled.
    pub duplicated: u64,
    /// Frames it let overtake.
    pub reordered: u64,
    /// Frames that the rate limit lost (also in `dropped`).
    pub rate_dropped: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WorkerSnapshot {
    /// Its number.
    pub worker: usize,
    /// CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Time spent asleep, in nanoseconds.
    pub nap_ns: u64,
    /// Longest turn since the start, in nanoseconds.
    pub longest_turn_ns: u64,
    /// Sessions that it has.
    pub sessions: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
}

/// One stage of a worker's loop, over the time that it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageSnapshot {
    /// The worker's number.
    pub worker: usize,
    /// `receive`, `timers`, `transmit` …
    pub stage: &'static str,
    /// Times that it ran.
    pub calls: u64,
    /// Those of them that found packets.
    pub busy_calls: u64,
    /// These packets.
    pub packets: u64,
    /// Cycles of the time stamp counter, of all calls.
    pub cycles: u64,
    /// Those of them that the calls with packets took.
    pub busy_cycles: u64,
    /// Its share of all cycles of the worker, 0 to 1.
    pub share: f64,
}

/// One overlay neighbor.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NeighborSnapshot {
    /// Configured name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Port it is reached through.
    pub port: String,
    /// Its Ethernet address, once resolved.
    pub mac: Option<String>,
    /// `down`, `init` or `up`.
    pub state: &'static str,
    /// Why the state last changed: `start`, `hello`, `silent`, `restarted` …
    pub reason: &'static str,
    /// When the state last changed, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How often it went down.
    pub downs: u64,
    /// Smoothed round-trip time, in microseconds; 0 before the first sample.
    pub rtt_us: u64,
    /// Hellos sent.
    pub hellos_sent: u64,
    /// Hellos received.
    pub hellos_received: u64,
    /// NAK packets sent to it.
    pub naks_sent: u64,
    /// NAK packets had from it.
    pub naks_received: u64,
    /// Repairs sent to it.
    pub repairs_sent: u64,
    /// Repairs had from it.
    pub repairs_received: u64,
    /// Copies sent to it.
    pub copies_sent: u64,
    /// Copies had from it.
    pub copies_received: u64,
    /// Most repairs that are sent to it per second.
    pub repair_rate_pps: u32,
    /// Whether it now asks for more repairs than its rate.
    pub throttled: bool,
    /// How often it began to.
    pub throttles: u64,
    /// Whether its NAKs go unanswered for a while, since it was throttled for so long.
    pub ejected: bool,
    /// How often that happened.
    pub ejects: u64,
}

/// One session. At a last hop `sent = tree + repaired + unrecovered + in_flight`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionSnapshot {
    /// Number.
    pub session: u32,
    /// The worker that has it.
    pub worker: usize,
    /// Name.
    pub name: String,
    /// Multicast address.
    pub group: String,
    /// Address of the ingress.
    pub source: String,
    /// `ingress`, `transit`, `last_hop`, as many as apply.
    pub roles: Vec<&'static str>,
    /// Whether an epoch is known: a receiver has heard from the ingress.
    pub synced: bool,
    /// The ingress' life.
    pub epoch: u16,
    /// Newest sequence known of.
    pub lead: u64,
    /// Oldest sequence held.
    pub trail: u64,
    /// Next sequence to be delivered in order.
    pub expected: u64,
    /// Whether the ingress has said that the stream ended.
    pub ended: bool,
    /// Packets that the ingress has sent since this node joined.
    pub sent: u64,
    /// Packets that came by the tree.
    pub tree: u64,
    /// Those of `tree` that the second tree brought first.
    pub second_tree: u64,
    /// Packets that came otherwise first: as repairs or copies, or rebuilt from parity.
    pub repaired: u64,
    /// Those of `repaired` that came as copies.
    pub copied: u64,
    /// Those of `repaired` that were rebuilt from parity.
    pub rebuilt: u64,
    /// Packets given up.
    pub unrecovered: u64,
    /// Packets missing but not given up.
    pub in_flight: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets passed on to the clients (each counted once, however many clients).
    pub delivered: u64,
    /// Packets held that went before they could be delivered, for lack of room or for a new epoch.
    pub undelivered: u64,
    /// Repairs from before this node joined, fetched for a child.
    pub backfilled: u64,
    /// Packets kept to answer NAKs.
    pub retained: u64,
    /// Packets dropped from retention before their time, for lack of room.
    pub evicted_early: u64,
    /// Jumps of the sequence beyond the window that were followed.
    pub resyncs: u64,
    /// The neighbor now asked for repairs.
    pub parent: Option<String>,
    /// What fills gaps before anybody asks: `pull`, `copy` or `auto`.
    pub mode: &'static str,
    /// Whether this node now has copies sent to it.
    pub copying: bool,
    /// Changes between pull and copy of mode `auto`.
    pub mode_changes: u64,
    /// NAK packets sent.
    pub naks_sent: u64,
    /// NAK packets received.
    pub naks_received: u64,
    /// Sequences that a neighbor asked for and that are neither held nor to be had.
    pub naks_unanswerable: u64,
    /// Sequences that a neighbor asked for beyond what is taken on at once; it asks again.
    pub naks_over_budget: u64,
    /// Repairs sent.
    pub repairs_sent: u64,
    /// Repairs received.
    pub repairs_received: u64,
    /// Repairs sent down the tree, for several children at once.
    pub subcasts_sent: u64,
    /// NAK confirmations sent.
    pub confirms_sent: u64,
    /// NAK confirmations received.
    pub confirms_received: u64,
    /// Sequences that a neighbor asked for while the answer was on its way.
    pub naks_suppressed: u64,
    /// Copies sent.
    pub copies_sent: u64,
    /// Copies received.
    pub copies_received: u64,
    /// Parity packets made and sent; at the ingress only.
    pub parity_sent: u64,
    /// Parity packets received, used or not.
    pub parity_received: u64,
    /// Packets sent to clients that catch up.
    pub caught_up: u64,
    /// Packets of the asked history that were gone when a client's turn came.
    pub catch_up_missed: u64,
    /// Time from the discovery of a gap to its repair.
    #[serde(serialize_with = "serialize_latency")]
    pub repair_latency_us: LatencyHistogram,
    /// The clients served here.
    pub clients: Vec<ClientSnapshot>,
}

/// One client.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientSnapshot {
    /// Name.
    pub client: String,
    /// Where its copies go.
    pub address: String,
    /// UDP port.
    pub port: u16,
    /// Whether the Ethernet address of its next hop is known.
    pub resolved: bool,
    /// Whether it still gets history, and is not yet served with the others.
    pub catching_up: bool,
    /// Copies sent to it.
    pub packets: u64,
    /// Copies that could not be sent.
    pub dropped: u64,
}

/// One buffer pool.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PoolSnapshot {
    /// `packets` or `headers`.
    pub name: &'static str,
    /// Buffers in all.
    pub size: u64,
    /// Buffers in use now.
    pub in_use: u64,
    /// How often, of ten looks a second, no buffer was free. What a device then has to receive waits in its ring, and
    /// is lost when that is full: `net_af_packet` does not count it.
    pub exhausted: u64,
}

fn serialize_latency<S: serde::Serializer>(
    latency: &LatencyHistogram,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Quantiles {
        count: u64,
        p50: u64,
        p99: u64,
        max: u64,
    }
    Quantiles {
        count: latency.count(),
        p50: latency.quantile_us(0.5),
        p99: latency.quantile_us(0.99),
        max: latency.max_us(),
    }
    .serialize(serializer)
}

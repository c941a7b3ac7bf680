//! The outcome as one JSON document: equal for equal seeds, so without how long it took.

use overlay::sim::Latencies;
use serde::Serialize;

use super::{LastHop, Outcome};

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
pub(in crate::sim) struct Document<'a> {
    name: &'a str,
    runs: u64,
    seed: u64,
    violations: u64,
    /// Command lines of the runs that failed, each with the first violation.
    failed: Vec<&'a str>,
    /// What the sources sent; the counters that follow are sums over last hops.
    source_packets: u64,
    sent: u64,
    tree: u64,
    second_tree: u64,
    repaired: u64,
    copied: u64,
    rebuilt: u64,
    unrecovered: u64,
    in_flight: u64,
    delivered: u64,
    naks_per_loss_max: u32,
    recovery_us: Quantiles,
    delivery_us: Quantiles,
    ingress: Ingress,
    bytes: Bytes,
    overhead_percent: f64,
    virtual_s: f64,
    events: u64,
    last_hops: Vec<LastHopDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    count: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Ingress {
    packets_lost: u64,
    naks_received: u64,
    packets_asked_for: u64,
    repairs_sent: u64,
}

/// Bytes sent over all links, lost or not.
#[derive(Debug, Serialize)]
struct Bytes {
    /// What the first trees would have taken without loss.
    tree_without_loss: u64,
    data: u64,
    repairs: u64,
    copies: u64,
    parity: u64,
    naks: u64,
    heartbeats: u64,
    control: u64,
}

#[derive(Debug, Serialize)]
struct LastHopDocument<'a> {
    session: &'a str,
    node: &'a str,
    sent: u64,
    tree: u64,
    repaired: u64,
    copied: u64,
    rebuilt: u64,
    unrecovered: u64,
    in_flight: u64,
}

impl Outcome {
    /// What `--json` prints.
    #[must_use]
    pub(in crate::sim) fn document(&self) -> Document<'_> {
        let total = &self.total;
        Document {
            name: &self.name,
            runs: self.runs,
            seed: self.seed,
            violations: self.violations(),
            failed: self.failures.iter().map(|(_, line)| &**line).collect(),
            source_packets: total.source_packets,
            sent: total.sent,
            tree: total.tree,
            second_tree: total.second_tree,
            repaired: total.repaired,
            copied: total.copied,
            rebuilt: total.rebuilt,
            unrecovered: total.unrecovered,
            in_flight: total.in_flight,
            delivered: total.delivered,
            naks_per_loss_max: total.naks_per_loss_max,
            recovery_us: Quantiles::new(&total.recovery),
            delivery_us: Quantiles::new(&total.delivery),
            ingress: Ingress {
                packets_lost: self.ingress.lost,
                naks_received: self.ingress.naks,
                packets_asked_for: self.ingress.asked,
                repairs_sent: self.ingress.repairs,
            },
            bytes: self.bytes_by_kind(),
            overhead_percent: (self.overhead_percent() * 100.0).round() / 100.0,
            virtual_s: total.virtual_time.as_secs_f64(),
            events: total.events,
            last_hops: self.last_hops.iter().map(LastHopDocument::new).collect(),
        }
    }

    fn bytes_by_kind(&self) -> Bytes {
        let total = &self.total.total;
        Bytes {
            tree_without_loss: self.tree_bytes,
            data: total.data.bytes,
            repairs: total.repairs.bytes,
            copies: total.copies.bytes,
            parity: total.parity.bytes,
            naks: total.naks.bytes,
            heartbeats: total.heartbeats.bytes,
            control: total.control.bytes,
        }
    }
}

impl Quantiles {
    fn new(latencies: &Latencies) -> Quantiles {
        Quantiles {
            count: latencies.count(),
            p50: latencies.quantile_us(0.5),
            p99: latencies.quantile_us(0.99),
            p999: latencies.quantile_us(0.999),
            max: latencies.max_us(),
        }
    }
}

impl<'a> LastHopDocument<'a> {
    fn new(last_hop: &'a LastHop) -> LastHopDocument<'a> {
        LastHopDocument {
            session: &last_hop.session,
            node: &last_hop.node,
            sent: last_hop.sent,
            tree: last_hop.tree,
            repaired: last_hop.repaired,
            copied: last_hop.copied,
            rebuilt: last_hop.rebuilt,
            unrecovered: last_hop.unrecovered,
            in_flight: last_hop.in_flight,
        }
    }
}

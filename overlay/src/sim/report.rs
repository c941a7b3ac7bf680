//! What a run comes to.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::link::LinkStats;
use crate::{Event, SessionStats};

/// Latencies below this are counted a microsecond each in an array: 100 ms.
const DENSE_US: usize = 100_000;

/// The outcome of a run. "Packets" are those that the last hops should have had, summed over them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How to have the run again.
    pub replay: String,
    /// Packets the sources sent.
    pub source_packets: u64,
    /// Packets due at the last hops: `sent = tree + repaired + unrecovered + in_flight`.
    pub sent: u64,
    /// Packets of them that a tree brought first.
    pub tree: u64,
    /// Packets of them that came otherwise first.
    pub repaired: u64,
    /// Packets of `repaired` that came as copies.
    pub copied: u64,
    /// Packets of `repaired` that were rebuilt from parity.
    pub rebuilt: u64,
    /// Packets of `tree` that the second tree brought.
    pub second_tree: u64,
    /// Packets given up.
    pub unrecovered: u64,
    /// Packets missing when the run, or the life of their last hop, ended.
    pub in_flight: u64,
    /// Packets delivered to clients.
    pub delivered: u64,
    /// Packets of history sent to clients that came late.
    pub caught_up: u64,
    /// Clients that have caught up.
    pub spliced: u64,
    /// The first violations, at most 100.
    pub violations: Vec<Violation>,
    /// How many violations there were.
    pub violation_count: u64,
    /// Most NAKs that one node received for one packet.
    pub naks_per_loss_max: u32,
    /// For every packet that came otherwise than by a tree: how much later it came to its last hop than the tree
    /// would have brought it.
    pub recovery: Latencies,
    /// For every packet delivered: how long after the source had sent it.
    pub delivery: Latencies,
    /// All links together.
    pub total: LinkStats,
    /// Each direction of each link: from, to, and what it carried.
    pub links: Vec<(usize, usize, LinkStats)>,
    /// Each router.
    pub nodes: Vec<NodeReport>,
    /// How many things happened: arrivals, timers, packets of the sources.
    pub events: u64,
    /// How much time passed in the run.
    pub virtual_time: Duration,
    /// How long the run took.
    pub run_time: Duration,
}

/// What a router did in a run, all its lives together.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// The counters of its sessions, each with the session's place in the scenario, once for each life of the router.
    pub sessions: Vec<(usize, SessionStats)>,
    /// Sequences asked for in the NAKs it sent.
    pub asked: u64,
    /// Sequences asked for in the NAKs it received.
    pub asked_of: u64,
    /// Most NAKs that it received for one packet.
    pub naks_per_loss_max: u32,
    /// Events, oldest first, at most 1,000, each with its moment.
    pub events: Vec<(Duration, Event)>,
    /// As [`Report::recovery`], of this router alone; left empty in runs of more than 1,000 routers.
    pub recovery: Latencies,
    /// As [`Report::delivery`], of this router alone; left empty in runs of more than 1,000 routers.
    pub delivery: Latencies,
}

impl NodeReport {
    /// The counters of one session in the router's last life; all 0 where the router does not join it.
    #[must_use]
    pub fn stats(&self, session: usize) -> SessionStats {
        let found = self.sessions.iter().rfind(|entry| entry.0 == session);
        found.map(|entry| entry.1.clone()).unwrap_or_default()
    }
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Packets are delivered in order.
    Order,
    /// Each packet is delivered once.
    Once,
    /// A packet carries what the source sent under its number.
    Payload,
    /// `sent = tree + repaired + unrecovered + in_flight`.
    Balance,
    /// A gap is filled or given up by its deadline.
    Deadline,
    /// A packet is asked of a neighbor again only after a time-out.
    Request,
    /// Repairs to a neighbor stay within its rate.
    Budget,
    /// What is held stays within what the session is sized for.
    Memory,
    /// One input makes few outputs.
    Storm,
    /// Nothing is given up where nothing is lost for good.
    Recovered,
    /// Everything that came is delivered, and everything sent is accounted for.
    Complete,
    /// A client that joins gets its history and then the stream, without gap or duplicate.
    Splice,
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, from the start of the run.
    pub at: Duration,
    /// At which router.
    pub router: usize,
    /// What it breaks.
    pub rule: Rule,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            at,
            router,
            rule,
            text,
        } = self;
        write!(f, "{rule:?} at router {router}, {at:?}: {text}")
    }
}

impl Report {
    /// One line for a run that failed: how to have it again, and what was seen first. `None` for a clean run.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let first = self.violations.first()?;
        let count = self.violation_count;
        Some(alloc::format!(
            "{}   # {count} violations, first {first}",
            self.replay
        ))
    }

    /// Bytes of repairs, copies and parity sent over all links, lost or not.
    #[must_use]
    pub fn recovery_bytes(&self) -> u64 {
        self.total.repairs.bytes + self.total.copies.bytes + self.total.parity.bytes
    }

    /// Adds the counters of a last hop.
    pub(super) fn count(&mut self, stats: &SessionStats) {
        self.sent += stats.sent;
        self.tree += stats.tree;
        self.repaired += stats.repaired;
        self.copied += stats.copied;
        self.rebuilt += stats.rebuilt;
        self.second_tree += stats.second_tree;
        self.unrecovered += stats.unrecovered;
        self.in_flight += stats.in_flight;
        self.delivered += stats.delivered;
    }

    /// Adds another run's counters and latencies. Links and nodes are left out: they differ between runs.
    pub fn add(&mut self, other: &Report) {
        self.source_packets += other.source_packets;
        self.sent += other.sent;
        self.tree += other.tree;
        self.repaired += other.repaired;
        self.copied += other.copied;
        self.rebuilt += other.rebuilt;
        self.second_tree += other.second_tree;
        self.unrecovered += other.unrecovered;
        self.in_flight += other.in_flight;
        self.delivered += other.delivered;
        self.caught_up += other.caught_up;
        self.spliced += other.spliced;
        self.violations.extend(other.violations.iter().cloned());
        self.violation_count += other.violation_count;
        self.naks_per_loss_max = self.naks_per_loss_max.max(other.naks_per_loss_max);
        self.recovery.add(&other.recovery);
        self.delivery.add(&other.delivery);
        self.total.add(&other.total);
        self.events += other.events;
        self.virtual_time += other.virtual_time;
        self.run_time += other.run_time;
    }
}

/// Latencies to the microsecond, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    dense: Vec<u64>,
    long: BTreeMap<u64, u64>,
    count: u64,
}

impl Latencies {
    /// Adds one; parts of a microsecond are dropped.
    pub fn record(&mut self, latency: Duration) {
        self.record_ns(latency.as_nanos() as u64);
    }

    pub(super) fn record_ns(&mut self, ns: u64) {
        self.add_us(ns / 1000, 1);
    }

    fn add_us(&mut self, us: u64, times: u64) {
        self.count += times;
        let place = us as usize;
        if place >= DENSE_US {
            *self.long.entry(us).or_default() += times;
            return;
        }
        if place >= self.dense.len() {
            let len = (place + 1).next_power_of_two().min(DENSE_US);
            self.dense.resize(len, 0);
        }
        self.dense[place] += times;
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Latencies) {
        for (us, times) in other.counts() {
            self.add_us(us, times);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Each latency in µs that occurred, ascending, and how often: what a distribution is plotted from.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let dense = self.dense.iter().enumerate();
        dense
            .map(|(us, &times)| (us as u64, times))
            .filter(|entry| entry.1 > 0)
            .chain(self.long.iter().map(|(&us, &times)| (us, times)))
    }

    /// The latency that a share `q` (0 to 1) of all stays at or below, in µs; 0 if there are none.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> u64 {
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (us, times) in self.counts() {
            seen += times;
            if seen >= rank {
                return us;
            }
        }
        0
    }

    /// The longest, in µs; 0 if there are none.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.quantile_us(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact() {
        let mut latencies = Latencies::default();
        for us in (1..=1000).chain([5_000_000]) {
            latencies.record(Duration::from_micros(us));
        }
        let quantiles = [0.5, 0.99, 0.999, 1.0].map(|q| latencies.quantile_us(q));
        assert_eq!(quantiles, [501, 991, 1000, 5_000_000]);
        assert_eq!(Latencies::default().max_us(), 0);
        let mut twice = latencies.clone();
        twice.add(&latencies);
        assert_eq!((twice.count(), twice.quantile_us(0.5)), (2002, 501));
    }
}

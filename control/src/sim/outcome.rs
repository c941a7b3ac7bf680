//! What runs came to, summed over them.

use std::collections::HashSet;
use std::time::Duration;

use overlay::sim::{LinkStats, Report};

use super::case::Case;
use super::runs::Subject;

mod document;
mod last_hop;
mod table;
pub(super) use table::{quantiles, size};

pub(super) use last_hop::LastHop;

/// The sum of some runs.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was run: the topology's name, or `random`.
    pub(super) name: String,
    /// The routers' names; none where each run had other ones.
    pub(super) routers: Vec<String>,
    /// First seed.
    pub(super) seed: u64,
    /// How many runs were asked for.
    pub(super) runs: u64,
    /// Seeds that failed, each with the line that runs it again.
    pub(super) failures: Vec<(u64, String)>,
    /// Everything that can be added.
    pub(super) total: Report,
    /// The ingresses.
    pub(super) ingress: Ingress,
    /// Bytes that the trees alone would have taken, had nothing been lost.
    pub(super) tree_bytes: u64,
    /// Each direction of each link; none where each run had other ones, as with what follows.
    pub(super) links: Vec<(usize, usize, LinkStats)>,
    /// The last hops, session by session.
    pub(super) last_hops: Vec<LastHop>,
    /// How long it took.
    pub(super) took: Duration,
    /// Whether all runs are of one network.
    one_network: bool,
}

/// What happened at ingresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ingress {
    /// Packets of the tree lost on their links.
    pub(super) lost: u64,
    /// NAK packets that reached them.
    pub(super) naks: u64,
    /// Packets asked for in these.
    pub(super) asked: u64,
    /// Repairs that they sent, those down the tree once for each link.
    pub(super) repairs: u64,
}

impl Outcome {
    /// That of no run yet.
    pub(super) fn new(subject: &Subject, seed: u64, runs: u64) -> Outcome {
        let name = match subject {
            Subject::One(case) => case.name.clone(),
            Subject::Random => "random".to_string(),
        };
        Outcome {
            name,
            seed,
            runs,
            one_network: runs == 1 || matches!(subject, Subject::One(_)),
            ..Outcome::default()
        }
    }

    /// Adds a run.
    pub(super) fn count(&mut self, case: &Case, report: Report) {
        self.total.add(&report);
        self.ingress.add(&Ingress::new(case, &report));
        self.tree_bytes += tree_bytes(case, &report);
        if self.one_network {
            self.routers.clone_from(&case.routers);
            let last_hops = LastHop::all(case, &report);
            self.add_network(report.links, last_hops);
        }
    }

    /// Adds other runs of the same subject.
    pub(super) fn add(&mut self, other: Outcome) {
        self.total.add(&other.total);
        self.ingress.add(&other.ingress);
        self.tree_bytes += other.tree_bytes;
        self.failures.extend(other.failures);
        if !other.routers.is_empty() {
            self.routers = other.routers;
        }
        self.add_network(other.links, other.last_hops);
    }

    fn add_network(&mut self, links: Vec<(usize, usize, LinkStats)>, last_hops: Vec<LastHop>) {
        if self.links.is_empty() {
            self.links = links;
            self.last_hops = last_hops;
            return;
        }
        for (sum, link) in self.links.iter_mut().zip(links) {
            sum.2.add(&link.2);
        }
        for (sum, last_hop) in self.last_hops.iter_mut().zip(&last_hops) {
            sum.add(last_hop);
        }
    }

    /// Puts in order what several workers found.
    pub(super) fn finish(mut self) -> Outcome {
        self.failures.sort_unstable();
        self
    }

    /// Violations, and one for each run that did not even end.
    pub(super) fn violations(&self) -> u64 {
        let panics = self.failures.iter();
        let panics = panics.filter(|(_, line)| line.ends_with(super::runs::PANICKED));
        self.total.violation_count + panics.count() as u64
    }

    /// How much more than the trees alone went over the links, in percent.
    pub(super) fn overhead_percent(&self) -> f64 {
        let bytes = self.bytes() as f64;
        100.0 * (bytes / self.tree_bytes.max(1) as f64 - 1.0)
    }

    fn bytes(&self) -> u64 {
        let total = &self.total.total;
        self.total.recovery_bytes()
            + total.data.bytes
            + total.naks.bytes
            + total.heartbeats.bytes
            + total.control.bytes
    }
}

impl Ingress {
    fn new(case: &Case, report: &Report) -> Ingress {
        let sessions = case.scenario.sessions.iter();
        let ingresses: HashSet<usize> = sessions.map(|plan| plan.ingress).collect();
        let mut sum = Ingress::default();
        for (from, to, stats) in &report.links {
            if ingresses.contains(from) {
                sum.lost += stats.data.lost;
                sum.repairs += stats.repairs.packets;
            }
            if ingresses.contains(to) {
                sum.naks += stats.naks.packets - stats.naks.lost;
            }
        }
        let nodes = ingresses.iter().filter_map(|&at| report.nodes.get(at));
        sum.asked = nodes.map(|node| node.asked_of).sum();
        sum
    }

    fn add(&mut self, other: &Ingress) {
        self.lost += other.lost;
        self.naks += other.naks;
        self.asked += other.asked;
        self.repairs += other.repairs;
    }
}

/// Every packet of a session once over each link of its first tree. All packets of a case are of one size, or nearly.
fn tree_bytes(case: &Case, report: &Report) -> u64 {
    let data = &report.total.data;
    let packet_bytes = data.bytes as f64 / data.packets.max(1) as f64;
    let sessions = case.scenario.sessions.iter();
    let crossings: f64 = sessions
        .map(|plan| plan.source.count as f64 * plan.places.len() as f64)
        .sum();
    (packet_bytes * crossings) as u64
}

#[cfg(test)]
mod tests;

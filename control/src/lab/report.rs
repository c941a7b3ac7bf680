//! The final report of a run: the balance of each last hop and the verdict of each client.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::plan::Plan;
use super::stats::{NodeStats, RepairLatency};
use super::topology::Delivery;
use crate::probe::{LatencyReport, RecvReport};

/// The report of a run, as `lab run --json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every balance holds and every client's verdict is clean.
    pub pass: bool,
    /// Name of the lab.
    pub lab: String,
    /// Seed of everything random.
    pub seed: u64,
    /// How long the sources sent, in seconds.
    pub duration_s: f64,
    /// Why it did not pass, one sentence each.
    pub problems: Vec<String>,
    /// The sessions.
    pub sessions: Vec<SessionReport>,
    /// The links of the trees, in the direction of the trees.
    pub links: Vec<LinkReport>,
    /// The nodes, over all their lives.
    pub nodes: Vec<NodeReport>,
}

/// A session.
#[derive(Debug, Serialize)]
pub(super) struct SessionReport {
    /// Its number.
    pub session: u32,
    /// Its name.
    pub name: String,
    /// How it is delivered: `immediate` delivery may reorder, so there `reordered` does not count against a client.
    pub delivery: Delivery,
    /// Packets that the source sent.
    pub sent: u64,
    /// Its last hops.
    pub last_hops: Vec<LastHopReport>,
}

/// A last hop: `sent = tree + repaired + unrecovered + in_flight`.
#[derive(Debug, Default, Serialize)]
pub(super) struct LastHopReport {
    /// The node.
    pub node: String,
    /// Packets that it knows to have been sent.
    pub sent: u64,
    /// Packets by the tree.
    pub tree: u64,
    /// Packets by repair.
    pub repaired: u64,
    /// Packets given up.
    pub unrecovered: u64,
    /// Packets missing but not given up.
    pub in_flight: u64,
    /// Packets held that went before they could be delivered, for lack of room.
    pub undelivered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Time from a gap to its repair.
    pub repair_latency_us: RepairLatency,
    /// Its clients.
    pub clients: Vec<ClientReport>,
}

/// A client.
#[derive(Debug, Default, Serialize)]
pub(super) struct ClientReport {
    /// The host.
    pub client: String,
    /// Copies that its last hop sent to it.
    pub copied: u64,
    /// Copies that its last hop could not send, for a reason among the node's drops.
    pub copies_dropped: u64,
    /// Packets received, each counted once.
    pub received: u64,
    /// Packets sent that it did not receive.
    pub missing: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Damaged packets.
    pub corrupt: u64,
    /// Packets of another session.
    pub foreign: u64,
    /// Packets that the host's kernel dropped, its socket buffer being full: not the product's loss, but a loss.
    pub kernel_dropped: u64,
    /// Time from source to client.
    pub latency_us: LatencyReport,
}

/// A link in the direction of a tree.
#[derive(Debug, Serialize)]
pub(super) struct LinkReport {
    /// Sending router.
    pub from: String,
    /// Receiving router.
    pub to: String,
    /// Data packets of the trees that crossed it.
    pub offered: u64,
    /// Those that it lost.
    pub dropped: u64,
}

/// A node.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    /// Its name.
    pub node: String,
    /// NAK packets received.
    pub naks_received: u64,
    /// NAK packets sent.
    pub naks_sent: u64,
    /// Repairs sent.
    pub repairs_sent: u64,
    /// Packets dropped, by reason; reasons that did not happen are left out.
    pub drops: BTreeMap<String, u64>,
}

/// What a run ended with, from which the report is made.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Packets sent, by session.
    pub sent: BTreeMap<u32, u64>,
    /// What each client said, by session and host.
    pub received: BTreeMap<(u32, String), RecvReport>,
    /// What each node said last.
    pub last: BTreeMap<String, NodeStats>,
    /// The counters of each node over all its lives.
    pub totals: Vec<(String, NodeStats)>,
}

impl Outcome<'_> {
    /// The sessions' part of the report.
    #[must_use]
    pub(super) fn sessions(&self) -> Vec<SessionReport> {
        let sessions = self.plan.sessions.iter();
        sessions
            .map(|plan| {
                let sent = self.sent.get(&plan.id).copied().unwrap_or(0);
                let last_hops = plan.last_hops.iter();
                SessionReport {
                    session: plan.id,
                    name: plan.name.clone(),
                    delivery: plan.delivery,
                    sent,
                    last_hops: last_hops
                        .map(|hop| LastHopReport {
                            clients: hop
                                .clients
                                .iter()
                                .map(|(client, _)| self.client(plan.id, &hop.node, client, sent))
                                .collect(),
                            ..self.last_hop(plan.id, &hop.node)
                        })
                        .collect(),
                }
            })
            .collect()
    }

    fn last_hop(&self, session: u32, node: &str) -> LastHopReport {
        let stats = self.last.get(node).and_then(|stats| stats.session(session));
        let stats = stats.cloned().unwrap_or_default();
        LastHopReport {
            node: node.to_string(),
            sent: stats.sent,
            tree: stats.tree,
            repaired: stats.repaired,
            unrecovered: stats.unrecovered,
            in_flight: stats.in_flight,
            undelivered: stats.undelivered,
            duplicates: stats.duplicates,
            repair_latency_us: stats.repair_latency_us,
            clients: Vec::new(),
        }
    }

    fn client(&self, session: u32, node: &str, client: &str, sent: u64) -> ClientReport {
        let said = self.received.get(&(session, client.to_string()));
        let said = said.cloned().unwrap_or_default();
        let node = self.last.get(node).and_then(|node| node.session(session));
        let served = node.and_then(|node| node.clients.iter().find(|at| at.client == client));
        let served = served.cloned().unwrap_or_default();
        ClientReport {
            client: client.to_string(),
            copied: served.packets,
            copies_dropped: served.dropped,
            received: said.received,
            missing: sent.saturating_sub(said.received),
            duplicate: said.duplicate,
            reordered: said.reordered,
            corrupt: said.corrupt,
            foreign: said.foreign,
            kernel_dropped: said.kernel_dropped,
            latency_us: said.latency_us,
        }
    }

    /// The links' part of the report, counted where the packets arrive.
    #[must_use]
    pub(super) fn links(&self) -> Vec<LinkReport> {
        let port = |node: &str, name: &str| {
            let (_, stats) = self.totals.iter().find(|(at, _)| at == node)?;
            stats.ports.iter().find(|port| port.name == name).cloned()
        };
        let links = self.plan.tree_links.iter();
        links
            .map(|link| {
                let port = port(&link.to, &link.from).unwrap_or_default();
                LinkReport {
                    from: link.from.clone(),
                    to: link.to.clone(),
                    offered: port.tree_offered,
                    dropped: port.tree_dropped,
                }
            })
            .collect()
    }

    /// The nodes' part of the report.
    #[must_use]
    pub(super) fn nodes(&self) -> Vec<NodeReport> {
        let nodes = self.totals.iter();
        nodes
            .map(|(node, stats)| NodeReport {
                node: node.clone(),
                naks_received: stats.sessions.iter().map(|at| at.naks_received).sum(),
                naks_sent: stats.sessions.iter().map(|at| at.naks_sent).sum(),
                repairs_sent: stats.sessions.iter().map(|at| at.repairs_sent).sum(),
                drops: stats
                    .drops
                    .iter()
                    .filter(|(_, count)| **count > 0)
                    .map(|(reason, count)| (reason.clone(), *count))
                    .collect(),
            })
            .collect()
    }
}

/// Everything that keeps the sessions from passing.
#[must_use]
pub(super) fn problems(sessions: &[SessionReport]) -> Vec<String> {
    let mut problems = Vec::new();
    for session in sessions {
        if session.sent == 0 {
            problems.push(format!("session {}: nothing was sent", session.session));
        }
        for hop in &session.last_hops {
            let place = format!("session {} at {}", session.session, hop.node);
            problems.extend(
                hop.problems(session.sent)
                    .map(|why| format!("{place}: {why}")),
            );
            for client in &hop.clients {
                let place = format!("session {} at client {}", session.session, client.client);
                let faults = client.problems(session.delivery);
                problems.extend(faults.map(|why| format!("{place}: {why}")));
            }
        }
    }
    problems
}

impl LastHopReport {
    fn problems(&self, sent: u64) -> impl Iterator<Item = String> {
        let sum = self.tree + self.repaired + self.unrecovered + self.in_flight;
        let found = [
            (self.sent != sent)
                .then(|| format!("the source sent {sent}, the node knows of {}", self.sent)),
            (self.sent != sum).then(|| {
                format!(
                    "the balance does not hold: {} sent, but {sum} = {} tree + {} repaired + {} unrecovered + {} in flight",
                    self.sent, self.tree, self.repaired, self.unrecovered, self.in_flight
                )
            }),
            (self.unrecovered > 0).then(|| format!("{} unrecovered", self.unrecovered)),
            (self.in_flight > 0).then(|| format!("{} still in flight", self.in_flight)),
            (self.undelivered > 0).then(|| {
                format!(
                    "{} came but were evicted before their turn: the stream is faster than max_rate",
                    self.undelivered
                )
            }),
        ];
        found.into_iter().flatten()
    }
}

impl ClientReport {
    fn problems(&self, delivery: Delivery) -> impl Iterator<Item = String> {
        let reordered = match delivery {
            Delivery::Ordered => self.reordered,
            Delivery::Immediate => 0,
        };
        let where_lost = format!(
            "missing (its last hop sent {} copies and dropped {}; the client's kernel dropped {})",
            self.copied, self.copies_dropped, self.kernel_dropped
        );
        let faults = [
            (self.missing, where_lost),
            (self.duplicate, "duplicate".to_string()),
            (reordered, "reordered".to_string()),
            (self.corrupt, "corrupt".to_string()),
            (self.foreign, "of another session".to_string()),
        ];
        faults
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
    }
}

impl Report {
    /// Prints the report for people.
    pub(super) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: seed {}, {:.1} s\n",
            self.lab, self.seed, self.duration_s
        )?;
        self.print_last_hops(out)?;
        self.print_clients(out)?;
        self.print_links(out)?;
        for problem in &self.problems {
            writeln!(out, "{problem}")?;
        }
        let verdict = if self.pass {
            "PASS: every balance holds, every client has every packet"
        } else {
            "FAIL"
        };
        writeln!(out, "{verdict}")
    }

    fn print_last_hops(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<14} {:<10} {:>9} {:>9} {:>9} {:>11} {:>9} {:>10} {:>10}",
            "session",
            "last hop",
            "sent",
            "tree",
            "repaired",
            "unrecovered",
            "in flight",
            "repair p50",
            "p99"
        )?;
        for session in &self.sessions {
            for hop in &session.last_hops {
                writeln!(
                    out,
                    "{:<14} {:<10} {:>9} {:>9} {:>9} {:>11} {:>9} {:>7} µs {:>7} µs",
                    session.name,
                    hop.node,
                    hop.sent,
                    hop.tree,
                    hop.repaired,
                    hop.unrecovered,
                    hop.in_flight,
                    hop.repair_latency_us.p50,
                    hop.repair_latency_us.p99
                )?;
            }
        }
        writeln!(out)
    }

    fn print_clients(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<14} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10}",
            "session",
            "client",
            "received",
            "missing",
            "duplicate",
            "reordered",
            "corrupt",
            "latency p50",
            "p99"
        )?;
        for session in &self.sessions {
            for client in session.last_hops.iter().flat_map(|hop| &hop.clients) {
                writeln!(
                    out,
                    "{:<14} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} µs {:>7} µs",
                    session.name,
                    client.client,
                    client.received,
                    client.missing,
                    client.duplicate,
                    client.reordered,
                    client.corrupt,
                    client.latency_us.p50,
                    client.latency_us.p99
                )?;
            }
        }
        writeln!(out)
    }

    fn print_links(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<25} {:>9} {:>9} {:>7}",
            "tree link", "offered", "dropped", "loss"
        )?;
        for link in &self.links {
            let share = 100.0 * link.dropped as f64 / link.offered.max(1) as f64;
            let name = format!("{} > {}", link.from, link.to);
            writeln!(
                out,
                "{name:<25} {:>9} {:>9} {share:>6.2}%",
                link.offered, link.dropped
            )?;
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests;

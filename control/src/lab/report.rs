//! The final report of a run: the balance of each last hop and the verdict of each client.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::Plan;
use super::stats::{NodeStats, RepairLatency};
use super::topology::Delivery;
use crate::probe::{LatencyReport, RecvReport};

mod print;

/// What a payload has around it on a tree link: Ethernet, IPv4, UDP, treecast, and the source's IPv4 and UDP.
const FRAME_OVERHEAD_BYTES: usize = 14 + 20 + 8 + 24 + 20 + 8;

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
    /// What crossed the links between routers.
    pub wire: WireReport,
}

/// What all of it cost.
#[derive(Debug, Default, Serialize)]
pub(super) struct WireReport {
    /// Bytes that routers sent to routers.
    pub bytes: u64,
    /// Bytes that the trees alone, without the second ones, would have taken where nothing is lost.
    pub tree_bytes: u64,
    /// `bytes` beyond `tree_bytes`, in percent of these.
    pub overhead_percent: f64,
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
    /// Packets by a tree.
    pub tree: u64,
    /// Those of `tree` that the second tree brought first.
    pub second_tree: u64,
    /// Packets that came otherwise first.
    pub repaired: u64,
    /// Those of `repaired` that came as copies.
    pub copied: u64,
    /// Those of `repaired` that were rebuilt from parity.
    pub rebuilt: u64,
    /// Packets given up.
    pub unrecovered: u64,
    /// Packets missing but not given up.
    pub in_flight: u64,
    /// Packets held that went before they could be delivered, for lack of room.
    pub undelivered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Overlay mode: `pull`, `copy` or `auto`.
    pub mode: String,
    /// Whether it ended with copies being sent to it.
    pub copying: bool,
    /// How often `auto` began or ceased to have copies sent.
    pub mode_changes: u64,
    /// Whether it was told that the stream ended.
    pub ended: bool,
    /// NAK packets that it sent.
    pub naks_sent: u64,
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
    /// Sequences asked of it while the answer was on its way.
    pub naks_suppressed: u64,
    /// NAK confirmations sent.
    pub confirms_sent: u64,
    /// Repairs sent, each to one neighbor.
    pub repairs_sent: u64,
    /// Repairs sent down the tree.
    pub subcasts_sent: u64,
    /// Copies sent.
    pub copies_sent: u64,
    /// Parity packets made and sent.
    pub parity_sent: u64,
    /// How often a mode `auto` began or ceased to have copies sent.
    pub mode_changes: u64,
    /// How often neighbors began to ask for more than their repair rate.
    pub throttles: u64,
    /// How often neighbors' NAKs were left unanswered for that.
    pub ejections: u64,
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
    /// Bytes that the routers had sent to each other before the sources began.
    pub bytes_before: u64,
    /// Bytes of each payload.
    pub size: usize,
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
            second_tree: stats.second_tree,
            repaired: stats.repaired,
            copied: stats.copied,
            rebuilt: stats.rebuilt,
            unrecovered: stats.unrecovered,
            in_flight: stats.in_flight,
            undelivered: stats.undelivered,
            duplicates: stats.duplicates,
            mode: stats.mode,
            copying: stats.copying,
            mode_changes: stats.mode_changes,
            ended: stats.ended,
            naks_sent: stats.naks_sent,
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
                naks_received: stats.sum(|at| at.naks_received),
                naks_sent: stats.sum(|at| at.naks_sent),
                naks_suppressed: stats.sum(|at| at.naks_suppressed),
                confirms_sent: stats.sum(|at| at.confirms_sent),
                repairs_sent: stats.sum(|at| at.repairs_sent),
                subcasts_sent: stats.sum(|at| at.subcasts_sent),
                copies_sent: stats.sum(|at| at.copies_sent),
                parity_sent: stats.sum(|at| at.parity_sent),
                mode_changes: stats.sum(|at| at.mode_changes),
                throttles: stats.neighbors.iter().map(|at| at.throttles).sum(),
                ejections: stats.neighbors.iter().map(|at| at.ejects).sum(),
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

impl Outcome<'_> {
    /// What crossed the links between routers.
    #[must_use]
    pub(super) fn wire(&self) -> WireReport {
        let totals = self.totals.iter();
        let bytes = totals.map(|(_, stats)| self.plan.bytes_to_routers(stats));
        let bytes = bytes.sum::<u64>().saturating_sub(self.bytes_before);
        let frame_bytes = (FRAME_OVERHEAD_BYTES + self.size) as u64;
        let sessions = self.plan.sessions.iter();
        let crossings = sessions.map(|session| {
            let sent = self.sent.get(&session.id).copied().unwrap_or(0);
            sent * session.links as u64
        });
        let tree_bytes = crossings.sum::<u64>() * frame_bytes;
        let beyond = bytes as f64 - tree_bytes as f64;
        WireReport {
            bytes,
            tree_bytes,
            overhead_percent: 100.0 * beyond / tree_bytes.max(1) as f64,
        }
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
    /// The overlay mode, and with `auto` whether it ended with copies.
    fn overlay(&self) -> String {
        match self.copying && self.mode == "auto" {
            true => "auto+copy".to_string(),
            false => self.mode.clone(),
        }
    }

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

#[cfg(test)]
mod tests;

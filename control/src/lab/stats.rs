//! What the lab reads from its nodes' snapshots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The part of a node's snapshot that the lab uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStats {
    /// Its ports.
    pub ports: Vec<PortStats>,
    /// Its neighbors.
    pub neighbors: Vec<NeighborStats>,
    /// Its sessions.
    pub sessions: Vec<SessionStats>,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// A port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PortStats {
    /// Its name.
    pub name: String,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Data frames of the tree that reached it.
    pub tree_offered: u64,
    /// Those that the link lost.
    pub tree_dropped: u64,
}

/// A neighbor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NeighborStats {
    /// Its name.
    pub name: String,
    /// `down`, `init` or `up`.
    pub state: String,
    /// How often it began to ask for more than its repair rate.
    pub throttles: u64,
    /// How often its NAKs were left unanswered for that.
    pub ejects: u64,
}

/// A session.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionStats {
    /// Its number.
    pub session: u32,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether an epoch is known.
    pub synced: bool,
    /// Newest sequence known of.
    pub lead: u64,
    /// Packets sent since this node joined.
    pub sent: u64,
    /// Packets held that went before they could be delivered.
    pub undelivered: u64,
    /// Packets by the tree.
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
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets passed on.
    pub delivered: u64,
    /// NAK packets sent.
    pub naks_sent: u64,
    /// NAK packets received.
    pub naks_received: u64,
    /// Sequences asked for while the answer was on its way.
    pub naks_suppressed: u64,
    /// NAK confirmations sent.
    pub confirms_sent: u64,
    /// Repairs sent.
    pub repairs_sent: u64,
    /// Repairs sent down the tree.
    pub subcasts_sent: u64,
    /// Copies sent.
    pub copies_sent: u64,
    /// Parity packets made and sent.
    pub parity_sent: u64,
    /// Parity packets received.
    pub parity_received: u64,
    /// `pull`, `copy` or `auto`.
    pub mode: String,
    /// Whether copies are sent to it now.
    pub copying: bool,
    /// How often mode `auto` began or ceased to have copies sent.
    pub mode_changes: u64,
    /// Whether the ingress has said that the stream ended.
    pub ended: bool,
    /// Time from a gap to its repair.
    pub repair_latency_us: RepairLatency,
    /// The clients.
    pub clients: Vec<ClientStats>,
}

/// Percentiles of the repair latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RepairLatency {
    /// Repairs.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// Longest.
    pub max: u64,
}

/// A client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClientStats {
    /// Its name.
    pub client: String,
    /// Whether its Ethernet address is known.
    pub resolved: bool,
    /// Copies sent to it.
    pub packets: u64,
    /// Copies that could not be sent.
    pub dropped: u64,
}

impl SessionStats {
    /// Whether nothing is missing any more, and nothing waits for its delivery.
    #[must_use]
    pub(super) fn is_through(&self) -> bool {
        let passed = self.delivered + self.undelivered + self.unrecovered;
        self.in_flight == 0 && passed >= self.sent
    }

    fn add_counters(&mut self, other: &SessionStats) {
        self.naks_sent += other.naks_sent;
        self.naks_received += other.naks_received;
        self.naks_suppressed += other.naks_suppressed;
        self.confirms_sent += other.confirms_sent;
        self.repairs_sent += other.repairs_sent;
        self.subcasts_sent += other.subcasts_sent;
        self.copies_sent += other.copies_sent;
        self.parity_sent += other.parity_sent;
        self.parity_received += other.parity_received;
        self.mode_changes += other.mode_changes;
    }
}

impl NodeStats {
    /// One of its sessions.
    #[must_use]
    pub(super) fn session(&self, id: u32) -> Option<&SessionStats> {
        self.sessions.iter().find(|session| session.session == id)
    }

    /// A counter of all its sessions together.
    #[must_use]
    pub(super) fn sum(&self, count: fn(&SessionStats) -> u64) -> u64 {
        self.sessions.iter().map(count).sum()
    }

    /// What it still waits for before the lab is ready; `None` when for nothing.
    #[must_use]
    pub(super) fn waits_for(&self) -> Option<String> {
        if let Some(neighbor) = self.neighbors.iter().find(|at| at.state != "up") {
            return Some(format!("neighbor {} is {}", neighbor.name, neighbor.state));
        }
        let sessions = self.sessions.iter();
        let mut sessions = sessions.filter_map(|session| {
            let is_ingress = session.roles.iter().any(|role| role == "ingress");
            if !is_ingress && !session.synced {
                return Some(format!(
                    "session {} has not heard from its ingress",
                    session.session
                ));
            }
            let unresolved = session.clients.iter().find(|client| !client.resolved)?;
            Some(format!("client {} does not answer ARP", unresolved.client))
        });
        sessions.next()
    }

    /// Adds the counters that make sense over several lives of a node: links', neighbors', drops', and what sessions sent.
    pub(super) fn add_counters(&mut self, other: &NodeStats) {
        for port in &other.ports {
            match self.ports.iter_mut().find(|mine| mine.name == port.name) {
                Some(mine) => {
                    mine.tree_offered += port.tree_offered;
                    mine.tree_dropped += port.tree_dropped;
                    mine.tx_bytes += port.tx_bytes;
                }
                None => self.ports.push(port.clone()),
            }
        }
        for session in &other.sessions {
            match self
                .sessions
                .iter_mut()
                .find(|mine| mine.session == session.session)
            {
                Some(mine) => mine.add_counters(session),
                None => self.sessions.push(session.clone()),
            }
        }
        for neighbor in &other.neighbors {
            let mut mine = self.neighbors.iter_mut();
            match mine.find(|mine| mine.name == neighbor.name) {
                Some(mine) => {
                    mine.throttles += neighbor.throttles;
                    mine.ejects += neighbor.ejects;
                }
                None => self.neighbors.push(neighbor.clone()),
            }
        }
        for (reason, count) in &other.drops {
            *self.drops.entry(reason.clone()).or_default() += count;
        }
    }
}

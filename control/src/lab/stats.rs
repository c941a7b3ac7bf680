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
    /// Packets by repair.
    pub repaired: u64,
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
    /// Repairs sent.
    pub repairs_sent: u64,
    /// Time from a gap to its repair.
    pub repair_latency_us: RepairLatency,
    /// The clients.
    pub clients: Vec<ClientStats>,
}

/// Percentiles of the repair latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RepairLatency {
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
}

impl NodeStats {
    /// One of its sessions.
    #[must_use]
    pub(super) fn session(&self, id: u32) -> Option<&SessionStats> {
        self.sessions.iter().find(|session| session.session == id)
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

    /// Adds the counters that make sense over several lives of a node: links' and drops'.
    pub(super) fn add_counters(&mut self, other: &NodeStats) {
        for port in &other.ports {
            match self.ports.iter_mut().find(|mine| mine.name == port.name) {
                Some(mine) => {
                    mine.tree_offered += port.tree_offered;
                    mine.tree_dropped += port.tree_dropped;
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
                Some(mine) => {
                    mine.naks_sent += session.naks_sent;
                    mine.naks_received += session.naks_received;
                    mine.repairs_sent += session.repairs_sent;
                }
                None => self.sessions.push(session.clone()),
            }
        }
        for (reason, count) in &other.drops {
            *self.drops.entry(reason.clone()).or_default() += count;
        }
    }
}

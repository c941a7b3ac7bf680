//! What a new configuration changes in a running one.

use dataplane::{Device, Impairment, NeighborConfig, NodeConfig, PortConfig, SessionConfig};
use overlay::SessionId;
use thiserror::Error;

use super::Config;
use super::check::hardware;

#[cfg(test)]
mod tests;

/// What has to be done to a running node to make it match a new configuration.
///
/// In this order nothing refers to what is not there: removed sessions, neighbors added and updated, sessions updated and added,
/// neighbors removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Sessions that are not there any more, or that are another session under an old id.
    pub sessions_removed: Vec<SessionId>,
    /// New sessions, among them those that replace one of the same id.
    pub sessions_added: Vec<SessionConfig>,
    /// Sessions that go on with other settings, clients included.
    pub sessions_updated: Vec<SessionConfig>,
    /// Neighbors that are not there any more.
    pub neighbors_removed: Vec<String>,
    /// New neighbors.
    pub neighbors_added: Vec<NeighborConfig>,
    /// Neighbors of the same name with another address, port or rate.
    pub neighbors_updated: Vec<NeighborConfig>,
    /// Ports whose impairment is another, with the new one.
    pub impairments: Vec<(String, Option<Impairment>)>,
    /// Ports whose MTU is another, as they are to be.
    pub ports_resized: Vec<PortConfig>,
}

/// The new configuration differs in what a running node can't change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("only a restart changes {}", keys.join(", "))]
pub struct NeedsRestart {
    /// The keys that differ: `node.hello`, `port.up.mtu`.
    pub keys: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Config {
    /// What to change in a node that runs this configuration to make it run `new`.
    pub fn changes(&self, new: &Config) -> Result<Changes, NeedsRestart> {
        let mut keys = node_keys(&self.node, &new.node);
        keys.extend(differing(&[
            ("api.socket", self.api.socket == new.api.socket),
            ("api.listen", self.api.listen == new.api.listen),
        ]));
        keys.extend(port_keys(
            &self.node.ports,
            &new.node.ports,
            self.node.workers,
        ));
        if !keys.is_empty() {
            return Err(NeedsRestart { keys });
        }
        let mut changes = Changes::default();
        compare_sessions(&self.node.sessions, &new.node.sessions, &mut changes);
        compare_neighbors(self, new, &mut changes);
        let ports = self.node.ports.iter().zip(&new.node.ports);
        let resized = ports.clone().filter(|(old, new)| old.mtu != new.mtu);
        changes.ports_resized = resized.map(|(_, new)| new.clone()).collect();
        changes.impairments = ports
            .filter(|(old, new)| old.impairment != new.impairment)
            .map(|(_, new)| (new.name.clone(), new.impairment.clone()))
            .collect();
        Ok(changes)
    }
}

fn node_keys(old: &NodeConfig, new: &NodeConfig) -> Vec<String> {
    differing(&[
        ("node.name", old.name == new.name),
        ("node.idle", old.idle == new.idle),
        ("node.workers", old.workers == new.workers),
        ("node.cpus", old.cpus == new.cpus),
        ("node.hello", old.hello_interval == new.hello_interval),
        ("node.detect_mult", old.detect_mult == new.detect_mult),
        ("node.hold_down", old.hold_down == new.hold_down),
        ("node.max_sessions", old.max_sessions == new.max_sessions),
        ("node.tree_port", old.tree_port == new.tree_port),
        ("node.overlay_port", old.overlay_port == new.overlay_port),
        ("eal.hugepages", old.eal.hugepages == new.eal.hugepages),
        ("eal.args", old.eal.args == new.eal.args),
        ("memory.packets", old.pool_packets == new.pool_packets),
        (
            "memory.spare_packets",
            old.spare_packets == new.spare_packets,
        ),
    ])
}

fn port_keys(old: &[PortConfig], new: &[PortConfig], workers: usize) -> Vec<String> {
    let names = |ports: &[PortConfig]| -> Vec<String> {
        ports.iter().map(|port| port.name.clone()).collect()
    };
    if names(old) != names(new) {
        return vec!["port (added, removed or in another order)".to_owned()];
    }
    let interface = |port: &PortConfig| port.kernel.as_ref().map(|kernel| kernel.interface.clone());
    let rate = |port: &PortConfig| port.kernel.as_ref().map(|kernel| kernel.rate_pps);
    let mut keys = Vec::new();
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        let changed = differing(&[
            ("device", is_same_device((index, workers), old, new)),
            ("address", old.addresses == new.addresses),
            ("gateway", old.gateways == new.gateways),
            ("kernel", interface(old) == interface(new)),
            (
                "kernel_rate",
                rate(old) == rate(new) || interface(old) != interface(new),
            ),
            ("verify_payload", old.verify_payload == new.verify_payload),
            ("chain_from", old.chain_from == new.chain_from),
        ]);
        keys.extend(changed.iter().map(|key| format!("port.{}.{key}", new.name)));
    }
    keys
}

/// Whether two ports of that number have one device. Rings of `af_packet:` are made for the MTU, and for the workers.
fn is_same_device((index, workers): (usize, usize), old: &PortConfig, new: &PortConfig) -> bool {
    let interface = hardware(&old.device).strip_prefix("iface=");
    let is_made_for = |interface: &str, port: &PortConfig| {
        let made = dataplane::vdev_for("af_packet", interface, index, port.mtu, workers);
        made.map(Device::Vdev).as_ref() == Some(&port.device)
    };
    old.device == new.device
        || interface
            .is_some_and(|interface| is_made_for(interface, old) && is_made_for(interface, new))
}

fn differing(keys: &[(&str, bool)]) -> Vec<String> {
    let differing = keys.iter().filter(|(_, same)| !same);
    differing.map(|(key, _)| (*key).to_owned()).collect()
}

fn compare_sessions(old: &[SessionConfig], new: &[SessionConfig], changes: &mut Changes) {
    for session in old {
        if !new
            .iter()
            .any(|new| new.id == session.id && continues(session, new))
        {
            changes.sessions_removed.push(session.id);
        }
    }
    for session in new {
        match old.iter().find(|old| old.id == session.id) {
            Some(old) if old == session => {}
            Some(old) if continues(old, session) => changes.sessions_updated.push(session.clone()),
            _ => changes.sessions_added.push(session.clone()),
        }
    }
}

/// Whether `new` is `old` with other settings. Another tree, a second tree or parity that comes, goes or changes, another
/// flow, another role, or a window that must grow or is paced otherwise make it another session, which starts afresh.
fn continues(old: &SessionConfig, new: &SessionConfig) -> bool {
    let fixed = |of: &SessionConfig| {
        let is_ingress = of.upstream.is_empty();
        (
            of.group,
            of.source,
            of.ttl,
            of.flow,
            of.max_rate_pps,
            of.fec,
            is_ingress,
        )
    };
    let second = |of: &SessionConfig| (of.second_upstream.clone(), of.second_downstream.clone());
    fixed(old) == fixed(new)
        && second(old) == second(new)
        && dataplane::held_max(new) <= dataplane::held_max(old)
}

fn compare_neighbors(old: &Config, new: &Config, changes: &mut Changes) {
    let (before, after) = (&old.node.neighbors, &new.node.neighbors);
    let gone = before
        .iter()
        .filter(|old| !after.iter().any(|new| new.name == old.name));
    changes.neighbors_removed = gone.map(|neighbor| neighbor.name.clone()).collect();
    for neighbor in after {
        let Some(known) = before.iter().find(|known| known.name == neighbor.name) else {
            changes.neighbors_added.push(neighbor.clone());
            continue;
        };
        // A rate that follows the sessions is nothing that the file changed.
        let sized = |of: &Config| of.sized.contains(&neighbor.name);
        let rate = match sized(old) && sized(new) {
            true => neighbor.repair_rate_pps,
            false => known.repair_rate_pps,
        };
        let known = NeighborConfig {
            repair_rate_pps: rate,
            ..known.clone()
        };
        if known != *neighbor {
            changes.neighbors_updated.push(neighbor.clone());
        }
    }
}

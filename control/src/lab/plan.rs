//! From a topology to addresses, trees and the nodes' configuration files. Pure.
//!
//! | addresses | of |
//! |---|---|
//! | 10.1.0.0/16 and on, fd00:0:1::/48 | links between routers, a /30 or /64 each; `.1` is the end that the topology names first |
//! | 10.128.0.0/16 and on, fd00:0:80::/48 | links of hosts, a /30 or /64 each; `.1` is the router, `.2` the host |
//! | 198.51.100.1, 2001:db8::1 | what sources send to, a port each from 5004 on (RFC 5737, RFC 3849: nobody's address) |
//! | 239.1.0.0/16, ff3e::8000:0/112 | the groups |

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::stats::NodeStats;
use super::topology::{Delivery, Topology};

mod draft;
mod node_file;
mod tree;

pub(crate) use draft::Draft;
pub(super) use node_file::SeededImpair;
pub(crate) use tree::Tree;

/// Largest IP packet between routers, where the topology says nothing: a full one of a host and the headers around it.
const ROUTER_MTU: u16 = 1600;

/// Why a topology can't be laid out.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    /// A client can't be reached, or not twice.
    #[error("session {session}: {reason}")]
    NoPath {
        /// The session.
        session: String,
        /// Between which routers.
        reason: String,
    },
    /// More than the addressing plan has room for.
    #[error("a lab has room for {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        most: usize,
    },
    /// A node would not take its file.
    #[error("the configuration of {node} would be refused:\n  {}", .problems.join("\n  "))]
    Refused {
        /// Whose.
        node: String,
        /// What is wrong, a line each.
        problems: Vec<String>,
    },
    /// A node's file can't be written.
    #[error("write the configuration of {node}: {source}")]
    Write {
        /// Whose.
        node: String,
        /// Why.
        source: toml::ser::Error,
    },
}

/// Which DPDK driver is behind the routers' ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum PortKind {
    /// `net_af_packet`: works everywhere.
    AfPacket,
    /// `net_af_xdp`: needs root and libbpf.
    AfXdp,
}

/// A lab, laid out.
#[derive(Debug)]
pub(super) struct Plan {
    /// The routers' nodes.
    pub nodes: Vec<NodePlan>,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// The veth pairs.
    pub cables: Vec<Cable>,
    /// The sessions.
    pub sessions: Vec<SessionPlan>,
    /// The directions of router links that trees use.
    pub tree_links: Vec<TreeLink>,
    /// What each router link does, in the order of the topology.
    pub impairs: Vec<[EndImpair; 2]>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct NodePlan {
    /// The router's name.
    pub name: String,
    /// Its configuration file.
    pub config: String,
    /// Its API socket.
    pub socket: PathBuf,
}

/// A host.
#[derive(Debug)]
pub(super) struct HostPlan {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub device: String,
    /// Its address, and the length of its prefix.
    pub address: (IpAddr, u8),
    /// Its router's address.
    pub gateway: IpAddr,
    /// Largest IP packet on its link.
    pub mtu: u16,
}

/// A veth pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cable {
    /// Router or host, and interface, of both ends.
    pub ends: [(String, String); 2],
    /// Largest IP packet.
    pub mtu: u16,
}

/// A session.
#[derive(Debug)]
pub(super) struct SessionPlan {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its ingress.
    pub ingress: String,
    /// The host that sends.
    pub source: String,
    /// Where that host sends to.
    pub destination: SocketAddr,
    /// How fast.
    pub rate: String,
    /// How it is passed on.
    pub delivery: Delivery,
    /// How long a gap may stay open.
    pub deadline: Duration,
    /// Every router that carries it.
    pub members: Vec<String>,
    /// Links that each packet crosses on the first tree where nothing is lost.
    pub links: usize,
    /// Its last hops and their clients.
    pub last_hops: Vec<LastHopPlan>,
}

/// A last hop.
#[derive(Debug)]
pub(super) struct LastHopPlan {
    /// The router.
    pub node: String,
    /// Its clients: host, and where it listens.
    pub clients: Vec<(String, SocketAddr)>,
}

/// A direction of a router link that a tree uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeLink {
    /// Sending router.
    pub from: String,
    /// Receiving router; its port is named after `from`.
    pub to: String,
}

/// What a port of a router does to what it receives.
#[derive(Clone, Debug)]
pub(super) struct EndImpair {
    /// The router.
    pub node: String,
    /// Its port.
    pub port: String,
    /// What it does.
    pub impair: SeededImpair,
}

impl Plan {
    /// Lays out a topology; the nodes' sockets are in `dir`.
    pub(super) fn new(topology: &Topology, dir: &Path, kind: PortKind) -> Result<Plan, PlanError> {
        let draft = Draft::new(topology)?;
        let nodes = topology
            .routers
            .iter()
            .map(|router| draft.node(router, dir, kind))
            .collect::<Result<_, _>>()?;
        Ok(Plan {
            nodes,
            hosts: draft.hosts(),
            cables: draft.cables(),
            sessions: draft.sessions(),
            tree_links: draft.tree_links(),
            impairs: (0..topology.links.len())
                .map(|link| [0, 1].map(|end| draft.end_impair(link, end)))
                .collect(),
        })
    }
}

impl Plan {
    /// Bytes that a node has sent to routers.
    #[must_use]
    pub(super) fn bytes_to_routers(&self, stats: &NodeStats) -> u64 {
        let ports = stats.ports.iter();
        let to_routers = ports.filter(|port| self.nodes.iter().any(|node| node.name == port.name));
        to_routers.map(|port| port.tx_bytes).sum()
    }
}

/// A link of 10.1.0.0 and on has a number below this.
const MOST_LINKS: usize = 100 * 256;

fn check_room(topology: &Topology) -> Result<(), PlanError> {
    let rooms = [
        (topology.links.len(), "links between routers", MOST_LINKS),
        (topology.hosts.len(), "hosts", MOST_LINKS),
        (topology.sessions.len(), "sessions", 1 << 14),
    ];
    match rooms.iter().find(|(count, _, most)| count > most) {
        Some(&(_, what, most)) => Err(PlanError::TooMany { what, most }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! From a topology to addresses, trees and the nodes' configuration files. Pure.
//!
//! | addresses | of |
//! |---|---|
//! | 10.1.0.0/16 and on | links between routers, a /30 each; `.1` is the end that the topology names first |
//! | 10.128.0.0/16 and on | links of hosts, a /30 each; `.1` is the router, `.2` the host |
//! | 198.51.100.1 | what sources send to, a port each from 5004 on (RFC 5737: nobody's address) |
//! | 239.1.0.0/16 | the groups |

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::topology::{Delivery, Host, Impair, Session, Topology};
use crate::config::{self, quantity};

mod node_file;
mod tree;

use node_file::NodeFile;
pub(super) use node_file::SeededImpair;
use tree::Tree;

/// Where sources send to.
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Port of the first session; RTP's habit of even ports.
const FIRST_PORT: u16 = 5004;
/// Largest IP packet on a link of a host.
pub(super) const HOST_MTU: u16 = 1500;
/// Largest IP packet between routers: a full one of a host and the headers around it.
pub(super) const ROUTER_MTU: u16 = 1600;
/// Deadline of a session that sets none: the node's own default.
const DEADLINE: Duration = Duration::from_secs(1);

/// Why a topology can't be laid out.
#[derive(Debug, Error)]
pub(super) enum PlanError {
    /// A client can't be reached.
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
pub(super) enum PortKind {
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
pub(super) struct NodePlan {
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
    /// Its address, on a /30.
    pub address: Ipv4Addr,
    /// Its router's address.
    pub gateway: Ipv4Addr,
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
    pub destination: SocketAddrV4,
    /// How fast.
    pub rate: String,
    /// How it is passed on.
    pub delivery: Delivery,
    /// How long a gap may stay open.
    pub deadline: Duration,
    /// Every router that carries it.
    pub members: Vec<String>,
    /// Its last hops and their clients.
    pub last_hops: Vec<LastHopPlan>,
}

/// A last hop.
#[derive(Debug)]
pub(super) struct LastHopPlan {
    /// The router.
    pub node: String,
    /// Its clients: host, and where it listens.
    pub clients: Vec<(String, SocketAddrV4)>,
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
        check_room(topology)?;
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

/// A topology and its trees, from which all else follows.
struct Draft<'t> {
    topology: &'t Topology,
    trees: Vec<Tree<'t>>,
}

/// One end of a router's cable.
struct Attachment<'t> {
    /// Router or host at the other end: the name of the port.
    peer: &'t str,
    address: Ipv4Addr,
    peer_address: Ipv4Addr,
    /// The link between routers, and which end of it this is.
    link: Option<(usize, usize)>,
}

impl<'t> Draft<'t> {
    fn new(topology: &'t Topology) -> Result<Draft<'t>, PlanError> {
        let mut trees = Vec::new();
        for session in &topology.sessions {
            let last_hops = last_hops(topology, session);
            let ingress = router_of(topology, &session.source);
            let tree = Tree::new(topology, ingress, &last_hops);
            trees.push(tree.map_err(|reason| PlanError::NoPath {
                session: session.name.clone(),
                reason,
            })?);
        }
        Ok(Draft { topology, trees })
    }

    /// The router's cables, links first: its `n`-th has the interface `ethN`.
    fn attachments(&self, router: &str) -> Vec<Attachment<'t>> {
        let links = self.topology.links.iter().enumerate();
        let links = links.filter_map(|(link, at)| {
            let end = at.between.iter().position(|name| name == router)?;
            Some(Attachment {
                peer: &at.between[1 - end],
                address: link_address(1, link, end),
                peer_address: link_address(1, link, 1 - end),
                link: Some((link, end)),
            })
        });
        let hosts = self.topology.hosts.iter().enumerate();
        let hosts = hosts
            .filter(|(_, host)| host.router == router)
            .map(|(index, host)| Attachment {
                peer: &host.name,
                address: link_address(128, index, 0),
                peer_address: link_address(128, index, 1),
                link: None,
            });
        links.chain(hosts).collect()
    }

    fn device(&self, router: &str, peer: &str) -> String {
        let attachments = self.attachments(router);
        let position = attachments.iter().position(|at| at.peer == peer);
        format!("eth{}", position.unwrap_or(0))
    }

    fn end_impair(&self, link: usize, end: usize) -> EndImpair {
        let at = &self.topology.links[link];
        EndImpair {
            node: at.between[end].clone(),
            port: at.between[1 - end].clone(),
            impair: SeededImpair {
                seed: port_seed(self.topology.seed, link, end),
                impair: at.impair.or(&self.topology.link_defaults),
            },
        }
    }

    fn node(&self, router: &str, dir: &Path, kind: PortKind) -> Result<NodePlan, PlanError> {
        let socket = dir.join(format!("{router}.sock"));
        let settings = &self.topology.node;
        let file = NodeFile {
            node: node_file::Node::new(router, settings),
            eal: node_file::Eal { hugepages: false },
            memory: node_file::Memory::new(settings),
            api: node_file::Api {
                socket: socket.display().to_string(),
            },
            port: self.ports(router, kind),
            neighbor: self.neighbors(router),
            session: self.node_sessions(router),
        };
        let config = toml::to_string(&file).map_err(|source| PlanError::Write {
            node: router.to_string(),
            source,
        })?;
        if let Err(errors) = config::parse(router, &config) {
            return Err(PlanError::Refused {
                node: router.to_string(),
                problems: errors.lines(),
            });
        }
        Ok(NodePlan {
            name: router.to_string(),
            config,
            socket,
        })
    }

    fn ports(&self, router: &str, kind: PortKind) -> Vec<node_file::Port> {
        let driver = match kind {
            PortKind::AfPacket => "af_packet",
            PortKind::AfXdp => "af_xdp",
        };
        let attachments = self.attachments(router).into_iter().enumerate();
        let port = |(index, at): (usize, Attachment<'_>)| node_file::Port {
            name: at.peer.to_string(),
            device: format!("{driver}:eth{index}"),
            address: format!("{}/30", at.address),
            mtu: if at.link.is_some() {
                ROUTER_MTU
            } else {
                HOST_MTU
            },
            impair: at
                .link
                .map(|(link, end)| self.end_impair(link, end).impair)
                .filter(|seeded| seeded.impair != Impair::default()),
        };
        attachments.map(port).collect()
    }

    fn neighbors(&self, router: &str) -> Vec<node_file::Neighbor> {
        self.attachments(router)
            .iter()
            .filter(|at| at.link.is_some())
            .map(|at| node_file::Neighbor {
                name: at.peer.to_string(),
                address: at.peer_address.to_string(),
                port: at.peer.to_string(),
                repair_rate: self.topology.node.repair_rate.clone(),
            })
            .collect()
    }

    fn node_sessions(&self, router: &str) -> Vec<node_file::Session> {
        let sessions = self.topology.sessions.iter().enumerate();
        sessions
            .filter(|(index, _)| self.trees[*index].members().contains(&router))
            .map(|(index, session)| self.node_session(router, index, session))
            .collect()
    }

    fn node_session(&self, router: &str, index: usize, session: &Session) -> node_file::Session {
        let tree = &self.trees[index];
        let ingress = router_of(self.topology, &session.source);
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_string).collect();
        node_file::Session {
            id: session.number(index),
            name: session.name.clone(),
            group: group(session, index).to_string(),
            // The first address of the ingress names it, whichever port the tree leaves by.
            source: self
                .attachments(ingress)
                .first()
                .map_or(Ipv4Addr::UNSPECIFIED, |at| at.address)
                .to_string(),
            upstream: owned(tree.upstream(router)),
            downstream: owned(tree.downstream(router)),
            flow: (router == ingress).then(|| node_file::Match {
                destination: destination(index).to_string(),
                source: host_address(self.topology, &session.source).to_string(),
            }),
            settings: session.settings.or(&self.topology.session_defaults),
            client: clients(self.topology, session, router)
                .map(|host| node_file::Client {
                    name: host.name.clone(),
                    address: client_address(self.topology, host, index).to_string(),
                })
                .collect(),
        }
    }

    fn hosts(&self) -> Vec<HostPlan> {
        let hosts = self.topology.hosts.iter().enumerate();
        hosts
            .map(|(index, host)| HostPlan {
                name: host.name.clone(),
                device: "eth0".to_string(),
                address: link_address(128, index, 1),
                gateway: link_address(128, index, 0),
            })
            .collect()
    }

    fn cables(&self) -> Vec<Cable> {
        let links = self.topology.links.iter().map(|link| {
            let [a, b] = &link.between;
            Cable {
                ends: [
                    (a.clone(), self.device(a, b)),
                    (b.clone(), self.device(b, a)),
                ],
                mtu: ROUTER_MTU,
            }
        });
        let hosts = self.topology.hosts.iter().map(|host| Cable {
            ends: [
                (host.router.clone(), self.device(&host.router, &host.name)),
                (host.name.clone(), "eth0".to_string()),
            ],
            mtu: HOST_MTU,
        });
        links.chain(hosts).collect()
    }

    fn sessions(&self) -> Vec<SessionPlan> {
        let sessions = self.topology.sessions.iter().enumerate();
        sessions
            .map(|(index, session)| self.session(index, session))
            .collect()
    }

    fn session(&self, index: usize, session: &Session) -> SessionPlan {
        let topology = self.topology;
        let settings = session.settings.or(&topology.session_defaults);
        let last_hops = last_hops(topology, session).into_iter();
        SessionPlan {
            id: session.number(index),
            name: session.name.clone(),
            ingress: router_of(topology, &session.source).to_string(),
            source: session.source.clone(),
            destination: destination(index),
            rate: settings.rate.unwrap_or_else(|| topology.rate.clone()),
            delivery: settings.delivery.unwrap_or_default(),
            deadline: settings
                .deadline
                .and_then(|text| quantity::duration(&text).ok())
                .unwrap_or(DEADLINE),
            members: self.trees[index]
                .members()
                .iter()
                .map(ToString::to_string)
                .collect(),
            last_hops: last_hops
                .map(|router| LastHopPlan {
                    node: router.to_string(),
                    clients: clients(topology, session, router)
                        .map(|host| (host.name.clone(), client_address(topology, host, index)))
                        .collect(),
                })
                .collect(),
        }
    }

    fn tree_links(&self) -> Vec<TreeLink> {
        let mut links: Vec<TreeLink> = Vec::new();
        for tree in &self.trees {
            for from in tree.members() {
                for to in tree.downstream(from) {
                    let link = TreeLink {
                        from: from.to_string(),
                        to: to.to_string(),
                    };
                    if !links.contains(&link) {
                        links.push(link);
                    }
                }
            }
        }
        links
    }
}

/// The address of end `end` of the `index`-th link of the range that begins at 10.`base`.0.0.
fn link_address(base: u8, index: usize, end: usize) -> Ipv4Addr {
    let second = base + (index / 256) as u8;
    Ipv4Addr::new(10, second, (index % 256) as u8, end as u8 + 1)
}

/// Each end of each link has random numbers of its own.
fn port_seed(seed: u64, link: usize, end: usize) -> u64 {
    // TOML's integers have 63 bits.
    (seed.wrapping_mul(1_000_003) + (link * 2 + end) as u64) & (u64::MAX >> 1)
}

fn group(session: &Session, index: usize) -> Ipv4Addr {
    let low = index as u16 + 1;
    session
        .group
        .unwrap_or(Ipv4Addr::new(239, 1, (low >> 8) as u8, low as u8))
}

fn destination(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(DESTINATION, FIRST_PORT + 2 * index as u16)
}

fn client_address(topology: &Topology, host: &Host, index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(
        host_address(topology, &host.name),
        destination(index).port(),
    )
}

fn host_address(topology: &Topology, name: &str) -> Ipv4Addr {
    let index = topology.hosts.iter().position(|host| host.name == name);
    link_address(128, index.unwrap_or(0), 1)
}

fn router_of<'t>(topology: &'t Topology, host: &str) -> &'t str {
    topology.host(host).map_or("", |host| host.router.as_str())
}

/// The routers of a session's clients, in the order of the topology.
fn last_hops<'t>(topology: &'t Topology, session: &Session) -> Vec<&'t str> {
    let routers = topology.routers.iter().map(String::as_str);
    routers
        .filter(|router| clients(topology, session, router).next().is_some())
        .collect()
}

/// The session's clients at one router, in the order of the session.
fn clients<'t>(
    topology: &'t Topology,
    session: &Session,
    router: &str,
) -> impl Iterator<Item = &'t Host> {
    session
        .clients
        .iter()
        .filter_map(|name| topology.host(name))
        .filter(move |host| host.router == router)
}

#[cfg(test)]
mod tests;

//! How a topology becomes a plan, part by part.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::node_file::{self, NodeFile};
use super::tree::Tree;
use super::{
    Cable, EndImpair, HostPlan, LastHopPlan, NodePlan, PlanError, PortKind, ROUTER_MTU,
    SeededImpair, SessionPlan, TreeLink, check_room,
};
use crate::config::{self, quantity};
use crate::lab::topology::{Host, Impair, IpVersion, Link, Session, Topology};

/// Where sources send to.
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const DESTINATION_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Of the addresses of links: between routers, and of hosts.
const ROUTERS: u8 = 1;
const HOSTS: u8 = 128;
/// Port of the first session; RTP's habit of even ports.
const FIRST_PORT: u16 = 5004;
/// Deadline of a session that sets none: the node's own default.
const DEADLINE: Duration = Duration::from_secs(1);

/// A topology and its trees, from which all else follows.
#[derive(Debug)]
pub(crate) struct Draft<'t> {
    topology: &'t Topology,
    trees: Vec<Tree<'t>>,
}

/// One end of a router's cable.
struct Attachment<'t> {
    /// Router or host at the other end: the name of the port.
    peer: &'t str,
    address: IpAddr,
    peer_address: IpAddr,
    /// Largest IP packet on it.
    mtu: u16,
    /// The link between routers, and which end of it this is.
    link: Option<(usize, usize)>,
}

impl<'t> Draft<'t> {
    /// The trees of a topology.
    pub(crate) fn new(topology: &'t Topology) -> Result<Draft<'t>, PlanError> {
        check_room(topology)?;
        let mut trees = Vec::new();
        for session in &topology.sessions {
            let last_hops = last_hops(topology, session);
            let ingress = router_of(topology, &session.source);
            let settings = session.settings.or(&topology.session_defaults);
            let tree = Tree::new(topology, ingress, &last_hops)
                .and_then(|tree| tree.with_trees(settings.trees.unwrap_or(1)));
            trees.push(tree.map_err(|reason| PlanError::NoPath {
                session: session.name.clone(),
                reason,
            })?);
        }
        Ok(Draft { topology, trees })
    }

    /// The tree of each session, in the order of the topology.
    #[must_use]
    pub(crate) fn trees(&self) -> &[Tree<'t>] {
        &self.trees
    }

    /// The router's cables, links first: its `n`-th has the interface `ethN`.
    fn attachments(&self, router: &str) -> Vec<Attachment<'t>> {
        let (outer, inner) = (self.topology.outer, self.topology.inner);
        let links = self.topology.links.iter().enumerate();
        let links = links.filter_map(|(link, at)| {
            let end = at.between.iter().position(|name| name == router)?;
            Some(Attachment {
                peer: &at.between[1 - end],
                address: link_address(outer, ROUTERS, link, end),
                peer_address: link_address(outer, ROUTERS, link, 1 - end),
                mtu: self.link_mtu(at),
                link: Some((link, end)),
            })
        });
        let hosts = self.topology.hosts.iter().enumerate();
        let hosts = hosts
            .filter(|(_, host)| host.router == router)
            .map(|(index, host)| Attachment {
                peer: &host.name,
                address: link_address(inner, HOSTS, index, 0),
                peer_address: link_address(inner, HOSTS, index, 1),
                mtu: host.mtu,
                link: None,
            });
        links.chain(hosts).collect()
    }

    fn link_mtu(&self, link: &Link) -> u16 {
        let settings = link.settings.or(&self.topology.link_defaults);
        settings.mtu.unwrap_or(ROUTER_MTU)
    }

    fn device(&self, router: &str, peer: &str) -> String {
        let attachments = self.attachments(router);
        let position = attachments.iter().position(|at| at.peer == peer);
        format!("eth{}", position.unwrap_or(0))
    }

    pub(super) fn end_impair(&self, link: usize, end: usize) -> EndImpair {
        let at = &self.topology.links[link];
        EndImpair {
            node: at.between[end].clone(),
            port: at.between[1 - end].clone(),
            impair: SeededImpair {
                seed: port_seed(self.topology.seed, link, end),
                impair: at.settings.or(&self.topology.link_defaults).impair,
            },
        }
    }

    /// The node of a router; its socket is in `dir`.
    pub(crate) fn node(
        &self,
        router: &str,
        dir: &Path,
        kind: PortKind,
    ) -> Result<NodePlan, PlanError> {
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
            address: format!("{}/{}", at.address, prefix_len(at.address)),
            mtu: at.mtu,
            impair: at
                .link
                .map(|(link, end)| self.end_impair(link, end).impair)
                .filter(|seeded| seeded.impair != Impair::default()),
            kernel: self.topology.node.kernel.then_some(true),
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
        let group = group(self.topology.outer, session, index);
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_string).collect();
        let settings = session.settings.or(&self.topology.session_defaults);
        node_file::Session {
            id: session.number(index),
            name: session.name.clone(),
            group: group.to_string(),
            // The first address of the ingress names it, whichever port the tree leaves by. Where it is the only router,
            // and has none of the family, any will do.
            source: self
                .attachments(ingress)
                .iter()
                .find(|at| at.address.is_ipv4() == group.is_ipv4())
                .map_or(link_address(self.topology.outer, ROUTERS, 0, 0), |at| {
                    at.address
                })
                .to_string(),
            upstream: owned(tree.upstream(router)),
            downstream: owned(tree.downstream(router)),
            second_upstream: owned(tree.second_upstream(router)),
            second_downstream: owned(tree.second_downstream(router)),
            flow: (router == ingress).then(|| node_file::Match {
                destination: destination(self.topology.inner, index).to_string(),
                source: host_address(self.topology, &session.source).to_string(),
            }),
            client: clients(self.topology, session, router)
                .map(|host| node_file::Client {
                    name: host.name.clone(),
                    address: client_address(self.topology, host, index).to_string(),
                    catch_up: settings.client_catch_up.clone(),
                })
                .collect(),
            settings,
        }
    }

    pub(super) fn hosts(&self) -> Vec<HostPlan> {
        let hosts = self.topology.hosts.iter().enumerate();
        hosts
            .map(|(index, host)| HostPlan {
                name: host.name.clone(),
                device: "eth0".to_string(),
                address: host_on_link(self.topology, index),
                gateway: link_address(self.topology.inner, HOSTS, index, 0),
                mtu: host.mtu,
            })
            .collect()
    }

    pub(super) fn cables(&self) -> Vec<Cable> {
        let links = self.topology.links.iter().map(|link| {
            let [a, b] = &link.between;
            Cable {
                ends: [
                    (a.clone(), self.device(a, b)),
                    (b.clone(), self.device(b, a)),
                ],
                mtu: self.link_mtu(link),
            }
        });
        let hosts = self.topology.hosts.iter().map(|host| Cable {
            ends: [
                (host.router.clone(), self.device(&host.router, &host.name)),
                (host.name.clone(), "eth0".to_string()),
            ],
            mtu: host.mtu,
        });
        links.chain(hosts).collect()
    }

    pub(super) fn sessions(&self) -> Vec<SessionPlan> {
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
            destination: destination(topology.inner, index),
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
            links: self.trees[index].links(),
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

    pub(super) fn tree_links(&self) -> Vec<TreeLink> {
        let mut links: Vec<TreeLink> = Vec::new();
        for tree in &self.trees {
            for from in tree.members() {
                let second = tree.second_downstream(from);
                for to in tree.downstream(from).into_iter().chain(second) {
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

/// The address of end `end` of the `index`-th link of the range that begins at 10.`base`.0.0, or at fd00:0:`base`::.
fn link_address(version: IpVersion, base: u8, index: usize, end: usize) -> IpAddr {
    match version {
        IpVersion::V4 => {
            let second = base + (index / 256) as u8;
            Ipv4Addr::new(10, second, (index % 256) as u8, end as u8 + 1).into()
        }
        IpVersion::V6 => {
            let host = end as u16 + 1;
            Ipv6Addr::new(0xfd00, 0, base.into(), index as u16, 0, 0, 0, host).into()
        }
    }
}

/// Of a link: room for two, or what every IPv6 link has.
fn prefix_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 30 } else { 64 }
}

fn host_on_link(topology: &Topology, index: usize) -> (IpAddr, u8) {
    let address = link_address(topology.inner, HOSTS, index, 1);
    (address, prefix_len(address))
}

/// Each end of each link has random numbers of its own.
fn port_seed(seed: u64, link: usize, end: usize) -> u64 {
    // TOML's integers have 63 bits.
    (seed.wrapping_mul(1_000_003) + (link * 2 + end) as u64) & (u64::MAX >> 1)
}

fn group(version: IpVersion, session: &Session, index: usize) -> IpAddr {
    let low = index as u16 + 1;
    session.group.unwrap_or(match version {
        IpVersion::V4 => Ipv4Addr::new(239, 1, (low >> 8) as u8, low as u8).into(),
        IpVersion::V6 => Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, low).into(),
    })
}

fn destination(version: IpVersion, index: usize) -> SocketAddr {
    let address = match version {
        IpVersion::V4 => DESTINATION.into(),
        IpVersion::V6 => DESTINATION_IPV6.into(),
    };
    SocketAddr::new(address, FIRST_PORT + 2 * index as u16)
}

fn client_address(topology: &Topology, host: &Host, index: usize) -> SocketAddr {
    SocketAddr::new(
        host_address(topology, &host.name),
        destination(topology.inner, index).port(),
    )
}

fn host_address(topology: &Topology, name: &str) -> IpAddr {
    let index = topology.hosts.iter().position(|host| host.name == name);
    host_on_link(topology, index.unwrap_or(0)).0
}

fn router_of<'t>(topology: &'t Topology, host: &str) -> &'t str {
    topology.host(host).map_or("", |host| host.router.as_str())
}

/// The routers of a session's clients, in the order of the topology.
fn last_hops<'t>(topology: &'t Topology, session: &Session) -> Vec<&'t str> {
    let clients: HashSet<&str> = session.clients.iter().map(String::as_str).collect();
    let hosts = topology.hosts.iter();
    let served: HashSet<&str> = hosts
        .filter(|host| clients.contains(host.name.as_str()))
        .map(|host| host.router.as_str())
        .collect();
    let routers = topology.routers.iter().map(String::as_str);
    routers.filter(|router| served.contains(router)).collect()
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

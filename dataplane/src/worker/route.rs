//! A session as the worker forwards it: the branches of its tree here, and its clients.

use std::net::IpAddr;
use std::ops::{Index, IndexMut};

use overlay::{Epoch, Fec, NeighborId, Order, Seq, Session, SessionConfig as Protocol, Tree};

use super::clients::Clients;
use crate::config::{Delivery, Flow, SessionConfig};
use crate::encap::{Encap, Outer, overhead, source_port};
use crate::fec::{Codec, packet_max};
use crate::frame::{Addresses, Local, Mac, PortIndex};
use crate::payload::SharedPayload;

/// The trees through one port.
pub(crate) struct Branch {
    pub(crate) encap: Encap,
    pub(crate) mtu: u16,
    /// Which of the trees go there.
    pub(crate) active: PerTree<bool>,
}

/// Something that each of a session's trees has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerTree<T>([T; 2]);

impl<T> Index<Tree> for PerTree<T> {
    type Output = T;

    fn index(&self, tree: Tree) -> &T {
        &self.0[tree as usize]
    }
}

impl<T> IndexMut<Tree> for PerTree<T> {
    fn index_mut(&mut self, tree: Tree) -> &mut T {
        &mut self.0[tree as usize]
    }
}

/// Where a packet of a tree goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It ends here.
    Nowhere,
    /// Through one port with this MTU, and to no client here: the frame that came can be the frame that goes.
    One(PortIndex, u16),
    /// Through several ports, or to clients as well.
    Several,
}

/// The parity of a session.
pub(crate) struct Parity {
    pub(crate) codec: Codec,
    /// The block that the codec coded last: epoch, first sequence, packets.
    pub(crate) coded: Option<(Epoch, Seq, u8)>,
    /// Parity packets made and sent.
    pub(crate) sent: u64,
}

/// A session's (S,G), where it comes from and where it goes to.
pub(crate) struct Route {
    /// (S,G).
    pub(crate) channel: Addresses,
    pub(crate) ttl: u8,
    pub(crate) flow: Option<Flow>,
    /// Ports on whose links `flow`'s destination is answered for.
    pub(crate) proxies: Vec<PortIndex>,
    /// Where each tree may come from.
    pub(crate) upstream: PerTree<Vec<NeighborId>>,
    /// One for each port of the node, in order.
    pub(crate) branches: Vec<Branch>,
    /// Whether any branch takes the second tree.
    pub(crate) has_second: bool,
    /// Largest inner packet that all active branches take, in bytes.
    pub(crate) inner_max: u16,
    pub(crate) fec: Option<Fec>,
    /// Where `fec` is set.
    pub(crate) parity: Option<Box<Parity>>,
    /// The life of the ingress in which the clients' `from` counts.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) clients: Clients,
}

/// A session on its way to the worker.
pub(crate) struct NewSession {
    pub(crate) session: Box<Session<SharedPayload>>,
    pub(crate) route: Box<Route>,
}

/// What a route needs to know of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutePort {
    pub(crate) local: Local,
    /// Largest IP packet, in bytes, that it takes …
    pub(crate) mtu: u16,
    /// … and the largest that it could be set to take.
    pub(crate) mtu_max: u16,
}

impl SessionConfig {
    /// The protocol's part of the configuration. Names that `neighbor` does not know are left out.
    pub(crate) fn protocol(&self, neighbor: &dyn Fn(&str) -> Option<NeighborId>) -> Protocol {
        let ids = |names: &[String]| names.iter().filter_map(|name| neighbor(name)).collect();
        Protocol {
            id: self.id,
            upstream: ids(&self.upstream),
            downstream: ids(&self.downstream),
            delivery: (!self.clients.is_empty()).then_some(match self.delivery {
                Delivery::Ordered => Order::Ordered,
                Delivery::Immediate => Order::Immediate,
            }),
            deadline: self.deadline,
            retention: self.retention,
            reorder_delay: self.reorder_delay,
            max_rate_pps: self.max_rate_pps,
            second_upstream: ids(&self.second_upstream),
            second_downstream: ids(&self.second_downstream),
            mode: self.mode,
            fec: self.fec,
            subcast_threshold: self.subcast_threshold,
            catch_up: self.catch_up,
            idle_timeout: self.idle_timeout,
        }
    }
}

/// Largest inner packet, in bytes, that the tree of `group` takes through a port of this MTU: what all its headers leave,
/// and what its parity leaves where it has any.
#[must_use]
pub const fn inner_max(mtu: u16, fec: Option<Fec>, group: IpAddr) -> u16 {
    let room = mtu.saturating_sub(overhead(group));
    match fec {
        Some(fec) => packet_max(fec, room as usize) as u16,
        None => room,
    }
}

/// Where each tree may come from.
pub(crate) fn upstream_of(protocol: &Protocol) -> PerTree<Vec<NeighborId>> {
    PerTree([protocol.upstream.clone(), protocol.second_upstream.clone()])
}

impl Route {
    /// The route of a session over these ports, without clients.
    pub(crate) fn new(
        config: &SessionConfig,
        channel: Addresses,
        upstream: PerTree<Vec<NeighborId>>,
        ports: &[RoutePort],
        [tree_port, _]: [u16; 2],
    ) -> Route {
        let branch = |port: &RoutePort| Branch {
            encap: Encap::new(&Outer {
                from: port.local.mac,
                to: Mac::multicast(channel.destination()),
                addresses: channel,
                source_port: source_port(config.id),
                destination_port: tree_port,
                mtu: port.mtu,
            }),
            mtu: port.mtu,
            active: PerTree::default(),
        };
        let mtu = ports.iter().map(|port| port.mtu_max).max();
        let parity = |fec| {
            let packet_max = inner_max(mtu.unwrap_or_default(), Some(fec), config.group);
            Some(Box::new(Parity {
                codec: Codec::new(fec, packet_max.into())?,
                coded: None,
                sent: 0,
            }))
        };
        Route {
            channel,
            ttl: config.ttl,
            flow: config.flow,
            proxies: Vec::new(),
            upstream,
            branches: ports.iter().map(branch).collect(),
            has_second: false,
            inner_max: u16::MAX,
            fec: config.fec,
            parity: config.fec.and_then(parity),
            epoch: None,
            clients: Clients::default(),
        }
    }

    /// Sends each tree through its ports from now on, and no others.
    pub(crate) fn set_branches<I: Iterator<Item = PortIndex>>(
        &mut self,
        ports: impl Fn(Tree) -> I,
    ) {
        for branch in &mut self.branches {
            branch.active = PerTree::default();
        }
        for tree in [Tree::First, Tree::Second] {
            for port in ports(tree) {
                if let Some(branch) = self.branches.get_mut(usize::from(port.0)) {
                    branch.active[tree] = true;
                }
            }
        }
        self.follow_mtus();
        self.has_second = self
            .branches
            .iter()
            .any(|branch| branch.active[Tree::Second]);
    }

    /// Sends no packets beyond this MTU through a port from now on.
    pub(crate) fn set_mtu(&mut self, port: PortIndex, mtu: u16) {
        if let Some(branch) = self.branches.get_mut(usize::from(port.0)) {
            branch.mtu = mtu;
            branch.encap.set_mtu(mtu);
            self.follow_mtus();
        }
    }

    fn follow_mtus(&mut self) {
        let none = PerTree::default();
        let active = self.branches.iter().filter(|branch| branch.active != none);
        let mtu = active.map(|branch| branch.mtu).min();
        let group = self.channel.destination();
        self.inner_max = mtu.map_or(u16::MAX, |mtu| inner_max(mtu, self.fec, group));
    }

    /// Where a packet of a tree goes on to.
    #[inline]
    pub(crate) fn way(&self, tree: Tree) -> Way {
        let mut active = (0..)
            .zip(&self.branches)
            .filter(|(_, branch)| branch.active[tree]);
        match (active.next(), active.next()) {
            (None, _) => Way::Nowhere,
            // Frames are made of others in place over IPv4 alone.
            (Some((port, branch)), None)
                if self.clients.is_empty() && self.channel.source().is_ipv4() =>
            {
                Way::One(PortIndex(port), branch.mtu)
            }
            _ => Way::Several,
        }
    }

    /// Whether anybody gets what comes.
    pub(crate) fn has_receivers(&self) -> bool {
        let none = PerTree::default();
        let mut branches = self.branches.iter();
        branches.any(|branch| branch.active != none) || !self.clients.is_empty()
    }

    /// Follows the ingress into another life: those that are clients then get all of it. One that catches up goes on to.
    pub(crate) fn follow_epoch(&mut self, epoch: Option<Epoch>) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.clients.begin_epoch();
        }
    }
}

#[cfg(test)]
mod tests;

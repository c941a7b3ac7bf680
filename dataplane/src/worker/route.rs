//! A session as the worker forwards it: the branches of its tree here, and its clients.

use std::net::Ipv4Addr;

use overlay::{Epoch, NeighborId, Order, Seq, Session, SessionConfig as Protocol};

use crate::client::ClientEntry;
use crate::config::{Delivery, Flow, SessionConfig};
use crate::encap::{Encap, OVERHEAD, Outer, source_port};
use crate::frame::{Mac, PortIndex};
use crate::payload::SharedPayload;

/// Tells one client from all others that the node ever had; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey(pub(crate) u64);

/// A client, as its session's fan-out goes through them. What is read for each copy lies in the entry.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) entry: ClientEntry,
    pub(crate) key: ClientKey,
    /// The first sequence of the route's epoch that it gets: with repairs passed on as they come, older ones may still
    /// follow.
    pub(crate) from: Seq,
    /// Its next hop on the entry's port.
    pub(crate) next_hop: Ipv4Addr,
}

/// The tree through one port.
pub(crate) struct Branch {
    pub(crate) encap: Encap,
    pub(crate) mtu: u16,
    pub(crate) active: bool,
}

/// A session's (S,G), where it comes from and where it goes to.
pub(crate) struct Route {
    pub(crate) group: Ipv4Addr,
    pub(crate) source: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) flow: Option<Flow>,
    /// Ports on whose links `flow`'s destination is answered for.
    pub(crate) proxies: Vec<PortIndex>,
    pub(crate) upstream: Vec<NeighborId>,
    /// One for each port of the node, in order.
    pub(crate) branches: Vec<Branch>,
    /// Largest inner packet that all active branches take, in bytes.
    pub(crate) inner_max: u16,
    /// The life of the ingress in which the clients' `from` counts.
    pub(crate) epoch: Option<Epoch>,
    /// Ascending by key.
    pub(crate) clients: Vec<Client>,
}

/// A session on its way to the worker.
pub(crate) struct NewSession {
    pub(crate) session: Box<Session<SharedPayload>>,
    pub(crate) route: Box<Route>,
}

/// What a route needs to know of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutePort {
    pub(crate) mac: Mac,
    pub(crate) mtu: u16,
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

impl Route {
    /// The route of a session over these ports, without clients.
    pub(crate) fn new(
        config: &SessionConfig,
        upstream: Vec<NeighborId>,
        ports: &[RoutePort],
        [tree_port, _]: [u16; 2],
    ) -> Route {
        let branch = |port: &RoutePort| Branch {
            encap: Encap::new(&Outer {
                from: port.mac,
                to: Mac::multicast(config.group),
                source: config.source,
                destination: config.group,
                source_port: source_port(config.id),
                destination_port: tree_port,
                mtu: port.mtu,
            }),
            mtu: port.mtu,
            active: false,
        };
        Route {
            group: config.group,
            source: config.source,
            ttl: config.ttl,
            flow: config.flow,
            proxies: Vec::new(),
            upstream,
            branches: ports.iter().map(branch).collect(),
            inner_max: u16::MAX,
            epoch: None,
            clients: Vec::new(),
        }
    }

    /// Sends the tree through these ports from now on, and no others.
    pub(crate) fn set_branches(&mut self, ports: impl Iterator<Item = PortIndex>) {
        for branch in &mut self.branches {
            branch.active = false;
        }
        for port in ports {
            if let Some(branch) = self.branches.get_mut(usize::from(port.0)) {
                branch.active = true;
            }
        }
        let active = self.branches.iter().filter(|branch| branch.active);
        let mtu = active.map(|branch| branch.mtu).min();
        self.inner_max = mtu.map_or(u16::MAX, |mtu| mtu.saturating_sub(OVERHEAD as u16));
    }

    pub(crate) fn set_next_hop(&mut self, port: PortIndex, address: Ipv4Addr, mac: Option<Mac>) {
        for client in &mut self.clients {
            if client.entry.port == port && client.next_hop == address {
                client.entry.set_next_hop(mac);
            }
        }
    }

    /// Follows the ingress into another life: those that are clients then get all of it.
    pub(crate) fn follow_epoch(&mut self, epoch: Option<Epoch>) {
        if epoch != self.epoch {
            self.epoch = epoch;
            for client in &mut self.clients {
                client.from = Seq(0);
            }
        }
    }

    /// Lets `fresh` take the place of the clients. Those that stay keep their counters; those that are new get what
    /// comes from `from` on. Returns the old list, to be freed elsewhere.
    pub(crate) fn replace_clients(&mut self, mut fresh: Vec<Client>, from: Seq) -> Vec<Client> {
        let mut old = self.clients.iter().peekable();
        for client in &mut fresh {
            while old.next_if(|old| old.key < client.key).is_some() {}
            match old.next_if(|old| old.key == client.key) {
                Some(old) => {
                    client.entry.packets = old.entry.packets;
                    client.entry.dropped = old.entry.dropped;
                    client.from = old.from;
                }
                None => client.from = from,
            }
        }
        std::mem::replace(&mut self.clients, fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlay::SessionId;
    use std::time::Duration;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn route() -> Route {
        let config = SessionConfig {
            id: SessionId(1),
            name: "tv1".into(),
            group: Ipv4Addr::new(239, 1, 0, 1),
            source: Ipv4Addr::new(10, 0, 1, 1),
            ttl: 16,
            upstream: Vec::new(),
            downstream: Vec::new(),
            flow: None,
            delivery: Delivery::Ordered,
            deadline: Duration::from_secs(1),
            retention: Duration::from_secs(2),
            reorder_delay: Duration::ZERO,
            max_rate_pps: 1000,
            second_upstream: Vec::new(),
            second_downstream: Vec::new(),
            mode: overlay::Mode::Pull,
            fec: None,
            subcast_threshold: 0,
            catch_up: Duration::ZERO,
            idle_timeout: Duration::from_secs(600),
            clients: Vec::new(),
        };
        Route::new(&config, Vec::new(), &[], [7451, 7452])
    }

    fn client(key: u64) -> Client {
        let address = Ipv4Addr::new(10, 9, 1, key as u8);
        Client {
            entry: ClientEntry::new(address, 5004, PortIndex(0), MAC),
            key: ClientKey(key),
            from: Seq(0),
            next_hop: address,
        }
    }

    #[test]
    fn a_client_that_joined_late_gets_all_of_the_next_epoch() {
        let mut route = route();
        route.follow_epoch(Some(Epoch(1)));
        route.replace_clients(vec![client(1)], Seq(1));
        route.replace_clients(vec![client(1), client(2)], Seq(50_000));
        route.follow_epoch(Some(Epoch(1)));
        let from = |route: &Route| Vec::from_iter(route.clients.iter().map(|client| client.from));
        assert_eq!(from(&route), [Seq(1), Seq(50_000)]);
        route.follow_epoch(Some(Epoch(2)));
        assert_eq!(from(&route), [Seq(0), Seq(0)]);
    }
}

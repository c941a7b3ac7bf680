//! The unicast packets that begin a session here, by where they go and, if it matters, where they come from.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;

use crate::config::Flow;
use crate::frame::{Addresses, InnerHeader};

/// An IPv4 destination and port in one number: one word to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Destination(u64);

impl Destination {
    fn new(address: Ipv4Addr, port: u16) -> Destination {
        Destination(u64::from(address.to_bits()) << 16 | u64::from(port))
    }
}

/// What is known of the flows of sessions that begin here.
#[derive(Debug)]
pub(super) struct Flows<T> {
    ipv4: Table<Destination, Ipv4Addr, T>,
    ipv6: Table<(Ipv6Addr, u16), Ipv6Addr, T>,
}

/// Those of one family.
#[derive(Debug)]
struct Table<D, S, T> {
    /// Those from one source alone: looked at first. Empty in most nodes, which then pay nothing for it.
    of_one: HashMap<(D, S), T>,
    of_any: HashMap<D, T>,
}

impl<T: Copy> Flows<T> {
    pub(super) fn with_capacity(sessions: usize) -> Flows<T> {
        let mut flows = Flows {
            ipv4: Table::default(),
            ipv6: Table::default(),
        };
        flows.ipv4.of_any.reserve(sessions);
        flows
    }

    pub(super) fn insert(&mut self, flow: Flow, session: T) {
        match flow.destination {
            IpAddr::V4(address) => {
                let destination = Destination::new(address, flow.port);
                self.ipv4.insert(destination, ipv4(flow.source), session);
            }
            IpAddr::V6(address) => {
                let destination = (address, flow.port);
                self.ipv6.insert(destination, ipv6(flow.source), session);
            }
        }
    }

    pub(super) fn remove(&mut self, flow: Flow) {
        match flow.destination {
            IpAddr::V4(address) => {
                let destination = Destination::new(address, flow.port);
                self.ipv4.remove(destination, ipv4(flow.source));
            }
            IpAddr::V6(address) => self.ipv6.remove((address, flow.port), ipv6(flow.source)),
        }
    }

    /// That of the packet with that header.
    #[inline]
    pub(super) fn find(&self, packet: &InnerHeader) -> Option<T> {
        let port = packet.destination_port;
        match packet.addresses {
            Addresses::V4 {
                source,
                destination,
            } => self.ipv4.find(Destination::new(destination, port), source),
            Addresses::V6 {
                source,
                destination,
            } => self.ipv6.find((destination, port), source),
        }
    }
}

impl<D: Copy + Eq + Hash, S: Copy + Eq + Hash, T: Copy> Table<D, S, T> {
    fn insert(&mut self, destination: D, source: Option<S>, session: T) {
        match source {
            Some(source) => self.of_one.insert((destination, source), session),
            None => self.of_any.insert(destination, session),
        };
    }

    fn remove(&mut self, destination: D, source: Option<S>) {
        match source {
            Some(source) => self.of_one.remove(&(destination, source)),
            None => self.of_any.remove(&destination),
        };
    }

    #[inline]
    fn find(&self, destination: D, source: S) -> Option<T> {
        let of_one = self.of_one.get(&(destination, source));
        of_one.or_else(|| self.of_any.get(&destination)).copied()
    }
}

impl<D, S, T> Default for Table<D, S, T> {
    fn default() -> Table<D, S, T> {
        Table {
            of_one: HashMap::default(),
            of_any: HashMap::default(),
        }
    }
}

/// A flow's source, which has the family of its destination.
fn ipv4(source: Option<IpAddr>) -> Option<Ipv4Addr> {
    match source {
        Some(IpAddr::V4(source)) => Some(source),
        _ => None,
    }
}

fn ipv6(source: Option<IpAddr>) -> Option<Ipv6Addr> {
    match source {
        Some(IpAddr::V6(source)) => Some(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use overlay::SessionIndex;

    use super::*;

    const IPV4: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    ];
    const IPV6: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    ];

    fn packet(source: IpAddr, destination: IpAddr, port: u16) -> InnerHeader {
        InnerHeader {
            len: 28,
            dscp_ecn: 0,
            ttl: 9,
            id: 0,
            fragment: 0,
            flow_label: 0,
            addresses: Addresses::new(source, destination).unwrap(),
            source_port: 1,
            destination_port: port,
            udp_len: 8,
            udp_checksum: 0,
        }
    }

    #[test]
    fn a_flow_from_one_source_goes_before_that_from_any() {
        for [destination, first, second] in [IPV4, IPV6] {
            let flow = |source| Flow {
                destination,
                port: 5004,
                source,
            };
            let from = |source, port| packet(source, destination, port);
            let mut flows = Flows::with_capacity(2);
            flows.insert(flow(None), SessionIndex(1));
            flows.insert(flow(Some(first)), SessionIndex(2));
            assert_eq!(flows.find(&from(first, 5004)), Some(SessionIndex(2)));
            assert_eq!(flows.find(&from(second, 5004)), Some(SessionIndex(1)));
            assert_eq!(flows.find(&from(first, 5005)), None);
            flows.remove(flow(Some(first)));
            assert_eq!(flows.find(&from(first, 5004)), Some(SessionIndex(1)));
            flows.remove(flow(None));
            assert_eq!(flows.find(&from(first, 5004)), None);
        }
    }
}

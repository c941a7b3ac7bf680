//! The unicast packets that begin a session here, by where they go and, if it matters, where they come from.

use std::net::Ipv4Addr;

use hashbrown::HashMap;

use crate::config::Flow;
use crate::frame::InnerHeader;

/// Destination address and port in one number: one word to hash.
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
    /// Those from one source alone: looked at first. Empty in most nodes, which then pay nothing for it.
    of_one: HashMap<(Destination, Ipv4Addr), T>,
    of_any: HashMap<Destination, T>,
}

impl<T: Copy> Flows<T> {
    pub(super) fn with_capacity(sessions: usize) -> Flows<T> {
        Flows {
            of_one: HashMap::new(),
            of_any: HashMap::with_capacity(sessions),
        }
    }

    pub(super) fn insert(&mut self, flow: Flow, session: T) {
        let destination = Destination::new(flow.destination, flow.port);
        match flow.source {
            Some(source) => self.of_one.insert((destination, source), session),
            None => self.of_any.insert(destination, session),
        };
    }

    pub(super) fn remove(&mut self, flow: Flow) {
        let destination = Destination::new(flow.destination, flow.port);
        match flow.source {
            Some(source) => self.of_one.remove(&(destination, source)),
            None => self.of_any.remove(&destination),
        };
    }

    /// That of the packet with that header.
    #[inline]
    pub(super) fn find(&self, packet: &InnerHeader) -> Option<T> {
        let destination = Destination::new(packet.destination, packet.destination_port);
        let of_one = self.of_one.get(&(destination, packet.source));
        of_one.or_else(|| self.of_any.get(&destination)).copied()
    }
}

#[cfg(test)]
mod tests {
    use overlay::SessionIndex;

    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn packet(source: [u8; 4], port: u16) -> InnerHeader {
        InnerHeader {
            len: 28,
            dscp_ecn: 0,
            ttl: 9,
            id: 0,
            fragment: 0,
            source: source.into(),
            destination: GROUP,
            source_port: 1,
            destination_port: port,
            udp_len: 8,
            udp_checksum: 0,
        }
    }

    #[test]
    fn a_flow_from_one_source_goes_before_that_from_any() {
        let flow = |source| Flow {
            destination: GROUP,
            port: 5004,
            source,
        };
        let one = Some([10, 0, 0, 1].into());
        let mut flows = Flows::with_capacity(2);
        flows.insert(flow(None), SessionIndex(1));
        flows.insert(flow(one), SessionIndex(2));
        assert_eq!(
            flows.find(&packet([10, 0, 0, 1], 5004)),
            Some(SessionIndex(2))
        );
        assert_eq!(
            flows.find(&packet([10, 0, 0, 2], 5004)),
            Some(SessionIndex(1))
        );
        assert_eq!(flows.find(&packet([10, 0, 0, 1], 5005)), None);
        flows.remove(flow(one));
        assert_eq!(
            flows.find(&packet([10, 0, 0, 1], 5004)),
            Some(SessionIndex(1))
        );
        flows.remove(flow(None));
        assert_eq!(flows.find(&packet([10, 0, 0, 1], 5004)), None);
    }
}

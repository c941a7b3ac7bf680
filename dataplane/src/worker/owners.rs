//! Which worker of a node has which session.

use hashbrown::HashMap;
use overlay::SessionId;

use super::flows::Flows;
use crate::config::Flow;
use crate::frame::InnerHeader;

/// The place of a worker in its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u16);

impl WorkerId {
    /// The worker that says hello, answers ARP for the node's own addresses and impairs ports.
    pub(crate) const FIRST: WorkerId = WorkerId(0);

    /// As a place in a list.
    pub(crate) fn place(self) -> usize {
        self.0.into()
    }

    /// The one after it.
    pub(crate) fn next(self) -> WorkerId {
        WorkerId(self.0 + 1)
    }
}

/// What tells whose a frame is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    Session(SessionId),
    /// A unicast packet with this header.
    Flow(&'a InnerHeader),
}

/// The worker of each session. All workers look at the same one, which never changes: another one takes its place.
#[derive(Debug)]
pub(crate) struct Owners {
    sessions: HashMap<SessionId, WorkerId>,
    flows: Flows<(SessionId, WorkerId)>,
    /// A session that may still be on its way to its worker.
    arriving: Option<SessionId>,
}

impl Owners {
    /// Of sessions, each with its worker and, where it begins here, its flow.
    pub(crate) fn new(
        sessions: impl ExactSizeIterator<Item = (SessionId, WorkerId, Option<Flow>)>,
        arriving: Option<SessionId>,
    ) -> Owners {
        let mut owners = Owners {
            sessions: HashMap::with_capacity(sessions.len()),
            flows: Flows::with_capacity(0),
            arriving,
        };
        for (id, worker, flow) in sessions {
            owners.sessions.insert(id, worker);
            if let Some(flow) = flow {
                owners.flows.insert(flow, (id, worker));
            }
        }
        owners
    }

    /// The session that a frame belongs to, and its worker.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<(SessionId, WorkerId)> {
        match key {
            Key::Session(id) => Some((id, *self.sessions.get(&id)?)),
            Key::Flow(header) => self.flows.find(header),
        }
    }

    /// Whether its worker may not have the session yet.
    pub(crate) fn is_arriving(&self, id: SessionId) -> bool {
        self.arriving == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::frame::Addresses;

    #[test]
    fn a_frame_is_found_by_session_and_by_flow() {
        let flow = Flow {
            destination: Ipv4Addr::new(198, 51, 100, 1).into(),
            port: 5004,
            source: None,
        };
        let sessions = [
            (SessionId(7), WorkerId(1), Some(flow)),
            (SessionId(8), WorkerId(0), None),
        ];
        let owners = Owners::new(sessions.into_iter(), Some(SessionId(8)));
        let mut header = InnerHeader {
            len: 28,
            dscp_ecn: 0,
            ttl: 9,
            id: 0,
            fragment: 0,
            flow_label: 0,
            addresses: Addresses::V4 {
                source: Ipv4Addr::new(10, 0, 0, 9),
                destination: Ipv4Addr::new(198, 51, 100, 1),
            },
            source_port: 1,
            destination_port: flow.port,
            udp_len: 8,
            udp_checksum: 0,
        };
        let seven = Some((SessionId(7), WorkerId(1)));
        assert_eq!(owners.find(Key::Session(SessionId(7))), seven);
        assert_eq!(owners.find(Key::Flow(&header)), seven);
        header.destination_port += 1;
        assert_eq!(owners.find(Key::Flow(&header)), None);
        assert_eq!(owners.find(Key::Session(SessionId(9))), None);
        assert!(owners.is_arriving(SessionId(8)) && !owners.is_arriving(SessionId(7)));
    }
}

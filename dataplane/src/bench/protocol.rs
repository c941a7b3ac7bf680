//! Measuring the protocol alone: one session, packets in order, no buffers and no ports.

use std::time::Duration;

use overlay::wire::{Header, Kind};
use overlay::{
    Epoch, Instant, NeighborConfig, NeighborId, Node, NodeConfig, Order, Seq, Session,
    SessionConfig, SessionId,
};

use super::Sample;
use super::stopwatch::{Stopwatch, Usual};

/// Packets of a section, as a worker takes them in a turn.
const BURST: u64 = 32;
/// Time that passes between packets.
const PACE: Duration = Duration::from_nanos(50);
/// The session.
const SESSION: SessionId = SessionId(1);

/// A last hop of one session, to which packets come in order.
pub struct Protocol {
    node: Node<u64>,
    now: Instant,
    lead: Seq,
    usual: Usual,
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol::new()
    }
}

impl Protocol {
    /// A node that has heard nothing yet.
    #[must_use]
    pub fn new() -> Protocol {
        let now = Instant(1);
        let hello_interval = Duration::from_secs(600);
        let mut node = Node::new(
            now,
            NodeConfig {
                epoch: Epoch(1),
                hello_interval,
                hold_down: hello_interval,
                max_neighbors: 1,
                max_sessions: 1,
            },
        );
        node.add_neighbor(
            now,
            NeighborConfig {
                hello_interval,
                detect_mult: 3,
                repair_rate_pps: 50_000,
            },
        );
        let config = SessionConfig {
            id: SESSION,
            upstream: vec![NeighborId(0)],
            delivery: Some(Order::Ordered),
            ..SessionConfig::default()
        };
        let session = Box::new(Session::new(now, config, Epoch(1)));
        let added = node.add_session(now, session);
        debug_assert!(added.is_ok());
        Protocol {
            node,
            now,
            lead: Seq(0),
            usual: Usual::default(),
        }
    }

    /// Takes packets in order and delivers them, for this long.
    pub fn run(&mut self, time: Duration) -> Sample {
        let mut usual = std::mem::take(&mut self.usual);
        let mut stopwatch = Stopwatch::start(&mut usual);
        while !stopwatch.is_over(time) {
            for _ in 0..64 {
                stopwatch.section(|| self.burst());
            }
        }
        let sample = stopwatch.stop();
        self.usual = usual;
        sample
    }

    /// What a worker's turn asks of the protocol; returns how many packets were delivered.
    fn burst(&mut self) -> u64 {
        for _ in 0..BURST {
            self.lead = self.lead.next();
            let header = Header {
                kind: Kind::Data,
                flags: 0,
                epoch: Epoch(1),
                session: SESSION,
                sequence: self.lead,
                timestamp: 0,
            };
            let taken = self.node.handle_data(self.now, &header, self.lead.0);
            debug_assert!(taken.is_ok());
        }
        self.now = self.now + PACE * BURST as u32;
        self.node.handle_timeout(self.now);
        while self.node.poll_transmit(self.now).is_some() {}
        let mut delivered = 0;
        while self.node.poll_deliver(self.now).is_some() {
            delivered += 1;
        }
        delivered
    }
}

//! Measuring the protocol alone: one session, no buffers and no ports.

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

/// A last hop of one session, to which packets come in order, or every other one.
pub struct Protocol {
    loses: bool,
    node: Node<u64>,
    now: Instant,
    lead: Seq,
    usual: Usual,
}

impl Protocol {
    /// A node that has heard nothing yet. Where the tree `loses`, every other packet comes as a repair.
    #[must_use]
    pub fn new(loses: bool) -> Protocol {
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
            reorder_delay: Duration::ZERO,
            ..SessionConfig::default()
        };
        let session = Box::new(Session::new(now, config, Epoch(1)));
        let added = node.add_session(now, session);
        debug_assert!(added.is_ok());
        let mut protocol = Protocol {
            loses: false,
            node,
            now,
            lead: Seq(0),
            usual: Usual::default(),
        };
        // It joins with what it hears first; what is lost before is not its loss.
        protocol.burst();
        Protocol { loses, ..protocol }
    }

    /// Takes packets and delivers them, for this long. The sample's packets are those in order, or those that were lost.
    ///
    /// # Errors
    /// A sentence, where not everything was delivered.
    pub fn run(&mut self, time: Duration) -> Result<Sample, String> {
        let mut usual = std::mem::take(&mut self.usual);
        let mut stopwatch = Stopwatch::start(&mut usual);
        let mut delivered = BURST;
        while !stopwatch.is_over(time) {
            for _ in 0..64 {
                stopwatch.section(|| {
                    delivered = self.burst();
                    if self.loses { BURST / 2 } else { BURST }
                });
                if delivered != BURST {
                    return Err(format!("{delivered} of {BURST} packets were delivered"));
                }
            }
        }
        let sample = stopwatch.stop();
        self.usual = usual;
        Ok(sample)
    }

    /// What a worker's turns ask of the protocol; returns how many packets were delivered.
    fn burst(&mut self) -> u64 {
        let first = self.lead.next();
        let step = if self.loses { 2 } else { 1 };
        self.lead = Seq(self.lead.0 + BURST);
        let Ok(mut run) = self.node.tree_run(self.now, &header(Kind::Data, first.0)) else {
            return 0;
        };
        for seq in (first.0 + step - 1..=self.lead.0).step_by(step as usize) {
            let taken = run.push(&header(Kind::Data, seq), seq);
            debug_assert!(taken.is_ok());
        }
        drop(run);
        let mut delivered = self.turn();
        if self.loses {
            for seq in (first.0..self.lead.0).step_by(2) {
                let header = header(Kind::Repair, seq);
                let from = NeighborId(0);
                let taken = self.node.handle_repair(self.now, from, &header, seq);
                debug_assert!(taken.is_ok());
            }
            delivered += self.turn();
        }
        delivered
    }

    /// Time passes; what is to be sent and delivered is.
    fn turn(&mut self) -> u64 {
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

fn header(kind: Kind, seq: u64) -> Header {
    Header {
        kind,
        flags: 0,
        epoch: Epoch(1),
        session: SESSION,
        sequence: Seq(seq),
        timestamp: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tree_loses_comes_by_repair() {
        let mut protocol = Protocol::new(true);
        for _ in 0..1000 {
            assert_eq!(protocol.burst(), BURST);
        }
        let stats = protocol
            .node
            .session(overlay::SessionIndex(0))
            .unwrap()
            .stats();
        assert_eq!((stats.tree, stats.repaired), (16_032, 16_000));
        assert!(stats.naks_sent >= 1000);
    }
}

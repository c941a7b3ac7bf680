//! The adjacencies of a node, and what depends on them.

use super::{Event, Node, SessionIndex};
use crate::neighbor::{Conduct, Neighbor, NeighborConfig};
use crate::wire::HelloState;
use crate::{Instant, NeighborId};

impl<P> Node<P> {
    /// Adds an adjacency; `None` when there are as many as the node may have.
    pub fn add_neighbor(&mut self, now: Instant, config: NeighborConfig) -> Option<NeighborId> {
        let free = self.neighbors.iter().position(Option::is_none);
        let place = free.unwrap_or(self.neighbors.len());
        if place >= self.config.max_neighbors {
            return None;
        }
        if free.is_none() {
            self.neighbors.push(None);
        }
        self.neighbors[place] = Some(Neighbor::new(now, config));
        self.neighbors_due = now;
        Some(NeighborId(u16::try_from(place).ok()?))
    }

    /// Removes an adjacency that no session's config names. What it was owed is forgotten.
    pub fn remove_neighbor(&mut self, id: NeighborId) {
        if let Some(neighbor) = self.neighbors.get_mut(usize::from(id.0)) {
            *neighbor = None;
        }
        for entry in self.entries.iter_mut().flatten() {
            entry.session.forget_neighbor(id);
        }
    }

    /// An adjacency.
    #[must_use]
    pub fn neighbor(&self, id: NeighborId) -> Option<&Neighbor> {
        crate::session::neighbor(&self.neighbors, id)
    }

    pub(super) fn neighbor_mut(&mut self, id: NeighborId) -> Option<&mut Neighbor> {
        crate::session::neighbor_mut(&mut self.neighbors, id)
    }

    pub(super) fn neighbor_timeouts(&mut self, now: Instant) {
        for place in 0..self.neighbors.len() {
            let Some(neighbor) = self.neighbors[place].as_mut() else {
                continue;
            };
            let (before, reason, _) = neighbor.state();
            neighbor.handle_timeout(now);
            let changed = neighbor.state().1 != reason;
            let id = NeighborId(place as u16);
            if changed && before == HelloState::Down {
                self.choose_parents(now, id);
            }
            self.neighbor_changed(now, id, before);
            self.judge_neighbor(now, id);
        }
    }

    fn judge_neighbor(&mut self, now: Instant, id: NeighborId) {
        let conduct = self
            .neighbor_mut(id)
            .and_then(|neighbor| neighbor.judge(now));
        let event = match conduct {
            None => return,
            Some(Conduct::Throttled) => Event::Throttled(id, true),
            Some(Conduct::WithinRate) => Event::Throttled(id, false),
            Some(Conduct::Ejected) => Event::Ejected(id, true),
            Some(Conduct::Readmitted) => Event::Ejected(id, false),
        };
        self.push_event(event);
    }

    pub(super) fn neighbor_changed(&mut self, now: Instant, id: NeighborId, before: HelloState) {
        let Some(neighbor) = self.neighbor(id) else {
            return;
        };
        let (state, reason, _) = neighbor.state();
        if state == before {
            return;
        }
        self.push_event(Event::Neighbor(id, state, reason));
        self.choose_parents(now, id);
    }

    pub(super) fn choose_parents(&mut self, now: Instant, changed: NeighborId) {
        for place in 0..self.entries.len() {
            let Some(entry) = self.entries[place].as_ref() else {
                continue;
            };
            if entry.session.config().upstream.contains(&changed) {
                self.choose_parent(now, SessionIndex(place));
                self.touch(SessionIndex(place));
            }
        }
    }

    pub(super) fn choose_parent(&mut self, now: Instant, index: SessionIndex) {
        if let Some(entry) = self.entries[index.0].as_mut() {
            let hold_down = self.config.hold_down;
            entry.session.choose_parent(now, &self.neighbors, hold_down);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::wire::{Header, Hello, Kind};
    use crate::{Epoch, NodeConfig, Seq, SessionId};

    const INTERVAL: Duration = Duration::from_millis(10);

    fn node(quiet: bool) -> Node<()> {
        let mut node = Node::new(
            Instant(1),
            NodeConfig {
                epoch: Epoch(1),
                hello_interval: INTERVAL,
                hold_down: Duration::ZERO,
                max_neighbors: 1,
                max_sessions: 1,
            },
        );
        if quiet {
            node.keep_quiet();
        }
        let config = NeighborConfig {
            hello_interval: INTERVAL,
            detect_mult: 3,
            repair_rate_pps: 1,
        };
        assert_eq!(node.add_neighbor(Instant(1), config), Some(NeighborId(0)));
        node
    }

    /// What the node sends and says from `now` on, in as many hello intervals.
    fn run(node: &mut Node<()>, mut now: Instant, intervals: u32) -> (usize, usize) {
        let end = now + INTERVAL * intervals;
        let (mut hellos, mut events) = (0, 0);
        while now < end {
            node.handle_timeout(now);
            hellos += core::iter::from_fn(|| node.poll_transmit(now).map(drop)).count();
            events += core::iter::from_fn(|| node.poll_event()).count();
            assert!(node.poll_timeout() > now, "it would spin");
            now = node.poll_timeout().min(now + INTERVAL);
        }
        (hellos, events)
    }

    #[test]
    fn a_quiet_node_hears_as_any_other_and_says_nothing() {
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch: Epoch(9),
            session: SessionId(0),
            sequence: Seq(1),
            timestamp: 0,
        };
        let hello = Hello {
            interval_us: 10_000,
            detect_mult: 3,
            state: HelloState::Init,
            echo: 1,
            held_ns: 0,
        };
        let [mut speaking, mut quiet] = [false, true].map(node);
        for node in [&mut speaking, &mut quiet] {
            let heard_at = Instant(5_000_000);
            node.handle_hello(heard_at, NeighborId(0), &header, &hello)
                .unwrap();
            let said = run(node, heard_at, 2);
            let neighbor = node.neighbor(NeighborId(0)).unwrap();
            assert!(neighbor.is_up());
            assert_eq!(neighbor.rtt(), Duration::from_nanos(4_999_999));
            assert_eq!(said == (0, 0), node.quiet);
            run(node, heard_at + 2 * INTERVAL, 3);
            assert!(!node.neighbor(NeighborId(0)).unwrap().is_up());
        }
    }
}

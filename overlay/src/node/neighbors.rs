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

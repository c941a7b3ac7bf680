//! Answering children: who waits for what, and whose turn it is.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Reject, Session};
use crate::neighbor::Neighbor;
use crate::window::{Slot, Window};
use crate::wire::NakRanges;
use crate::{Instant, NeighborId, Seq, SeqRange};

/// Children of a session on one node: a bit each in a 64-bit set.
pub const CHILDREN_MAX: usize = 64;
/// Repairs that wait to be sent to one child: two round trips' worth of what a child has outstanding.
const QUEUE_MAX: u64 = 4096;
/// Sequences of one NAK that are looked at; what is beyond is asked for again.
const NAK_SEQUENCES_MAX: u64 = 4096;

/// A neighbor that gets the tree or asks for repairs.
#[derive(Debug)]
struct Child {
    neighbor: NeighborId,
    configured: bool,
    grafted_until: Option<Instant>,
    queue: VecDeque<Seq>,
}

/// The children, and the repairs that wait to be sent to each.
#[derive(Debug)]
pub(super) struct Answers {
    children: Vec<Child>,
    queue_max: usize,
    /// Child whose turn it is.
    turn: usize,
    /// When the child that is throttled longest may be served.
    throttled_until: Option<Instant>,
}

impl Answers {
    pub(super) fn new(downstream: &[NeighborId], capacity: u64) -> Answers {
        let mut answers = Answers {
            children: Vec::with_capacity(CHILDREN_MAX),
            queue_max: capacity.min(QUEUE_MAX) as usize,
            turn: 0,
            throttled_until: None,
        };
        answers.set_children(downstream);
        answers
    }

    /// Sets who always gets the tree. Others keep their place until the session ends: a place is a bit in every slot.
    pub(super) fn set_children(&mut self, downstream: &[NeighborId]) {
        for child in &mut self.children {
            child.configured = false;
        }
        for &neighbor in downstream {
            if let Some(child) = self.child(neighbor) {
                self.children[child].configured = true;
            }
        }
    }

    /// The place of a child, new if it has none; `None` when all places are taken.
    fn child(&mut self, neighbor: NeighborId) -> Option<usize> {
        let known = self
            .children
            .iter()
            .position(|child| child.neighbor == neighbor);
        if known.is_some() || self.children.len() == CHILDREN_MAX {
            return known;
        }
        let queue = VecDeque::with_capacity(self.queue_max);
        self.children.push(Child {
            neighbor,
            configured: false,
            grafted_until: None,
            queue,
        });
        Some(self.children.len() - 1)
    }

    pub(super) fn downstream(&self) -> impl Iterator<Item = NeighborId> + '_ {
        let on_the_tree = |child: &&Child| child.configured || child.grafted_until.is_some();
        self.children
            .iter()
            .filter(on_the_tree)
            .map(|child| child.neighbor)
    }

    pub(super) fn clear(&mut self) {
        for child in &mut self.children {
            child.queue.clear();
        }
    }

    /// Ends the grafts that were not renewed. `true` if there were any.
    pub(super) fn expire_grafts(&mut self, now: Instant) -> bool {
        let mut expired = false;
        for child in &mut self.children {
            if child.grafted_until.is_some_and(|until| until <= now) {
                child.grafted_until = None;
                expired = true;
            }
        }
        expired
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let grafts = self
            .children
            .iter()
            .filter_map(|child| child.grafted_until)
            .min();
        [self.throttled_until, grafts].into_iter().flatten().min()
    }

    /// Queues the packet `seq`, which just came in, for the children that wait for it.
    pub(super) fn packet_is_in<P>(&mut self, window: &mut Window<P>, seq: Seq) {
        let mut waiting = *window.waiters_mut(seq);
        while waiting != 0 {
            let place = waiting.trailing_zeros();
            waiting &= waiting - 1;
            let queue = &mut self.children[place as usize].queue;
            if queue.len() < self.queue_max {
                queue.push_back(seq);
            } else {
                *window.waiters_mut(seq) &= !(1 << place);
            }
        }
    }
}

impl<P> Session<P> {
    /// Takes a child's NAK: what is here is queued, what is missing is noted, what came before this node joined is
    /// asked of the parent.
    pub(crate) fn handle_nak(
        &mut self,
        now: Instant,
        from: NeighborId,
        ranges: NakRanges<'_>,
    ) -> Result<(), Reject> {
        let child = self.answers.child(from).ok_or(Reject::NotAChild)?;
        self.stats.naks_received += 1;
        let mut budget = NAK_SEQUENCES_MAX;
        let mut backfills = NAK_SEQUENCES_MAX;
        for range in ranges.iter() {
            backfills -= self.backfill(now, range, backfills);
            let mut seq = range.first().max(self.window.trail());
            let end = range.last().next().min(self.window.next());
            self.stats.naks_unanswerable += seq.above(range.first()).min(range.count().into());
            while seq < end && budget > 0 {
                self.want(child, seq);
                budget -= 1;
                seq = seq.next();
            }
            self.stats.naks_over_budget += end.above(seq);
        }
        Ok(())
    }

    fn want(&mut self, child: usize, seq: Seq) {
        let held = match self.window.slot(seq) {
            Slot::Held(..) => true,
            Slot::Missing => false,
            Slot::Absent | Slot::Lost => {
                self.stats.naks_unanswerable += 1;
                return;
            }
        };
        let waiters = self.window.waiters_mut(seq);
        if *waiters & (1 << child) != 0 {
            return;
        }
        let queue = &mut self.answers.children[child].queue;
        if held && queue.len() == self.answers.queue_max {
            self.stats.naks_over_budget += 1;
            return;
        }
        *waiters |= 1 << child;
        if held {
            queue.push_back(seq);
        }
    }

    /// Opens gaps for sequences from before this node joined: a child that was there then may lack them because
    /// this node was down. Looks at `most` of them and returns at how many it did.
    fn backfill(&mut self, now: Instant, range: SeqRange, most: u64) -> u64 {
        let oldest = self
            .window
            .next()
            .0
            .saturating_sub(self.window.capacity())
            .max(1);
        let first = range.first().max(Seq(oldest));
        let end = range
            .last()
            .next()
            .min(self.first)
            .min(Seq(first.0.saturating_add(most)));
        if self.config.upstream.is_empty() || self.epoch.is_none() || first >= end {
            return 0;
        }
        if first < self.window.trail() {
            self.window.extend_back(first);
        }
        let mut seq = first;
        while seq < end {
            if matches!(self.window.slot(seq), Slot::Absent) {
                self.window.put(seq, Slot::Missing);
                self.asks.open(now, seq, now);
            }
            seq = seq.next();
        }
        end.above(first)
    }

    /// Sends a neighbor the tree until the given moment.
    pub(crate) fn handle_graft(&mut self, until: Instant, from: NeighborId) -> Result<(), Reject> {
        let child = self.answers.child(from).ok_or(Reject::NotAChild)?;
        let before = self.answers.children[child].grafted_until.replace(until);
        self.changes.downstream |= before.is_none();
        Ok(())
    }

    /// The next repair to send, children in turn, each within its neighbor's rate.
    pub(crate) fn poll_repair(
        &mut self,
        now: Instant,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<(NeighborId, Seq)> {
        let count = self.answers.children.len();
        self.answers.throttled_until = None;
        for _ in 0..count {
            self.answers.turn = (self.answers.turn + 1) % count;
            let found = self.next_repair_to(now, self.answers.turn, neighbors);
            if found.is_some() {
                self.stats.repairs_sent += 1;
                return found;
            }
        }
        None
    }

    fn next_repair_to(
        &mut self,
        now: Instant,
        place: usize,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<(NeighborId, Seq)> {
        let child = &mut self.answers.children[place];
        while let Some(&seq) = child.queue.front() {
            if self.window.packet(seq).is_none() {
                // It went from retention while it waited.
                child.queue.pop_front();
                self.stats.naks_unanswerable += 1;
                continue;
            }
            let neighbor = neighbors.get_mut(usize::from(child.neighbor.0))?.as_mut()?;
            if !neighbor.repairs.take(now) {
                let ready = neighbor.repairs.ready_at(now);
                let throttled = self.answers.throttled_until.get_or_insert(ready);
                *throttled = ready.min(*throttled);
                return None;
            }
            child.queue.pop_front();
            *self.window.waiters_mut(seq) &= !(1 << place);
            return Some((child.neighbor, seq));
        }
        None
    }
}

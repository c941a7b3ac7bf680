//! Receiving: epochs, gaps, and what fills them.

use thiserror::Error;

use super::Session;
use crate::neighbor::Neighbor;
use crate::window::Slot;
use crate::wire::Header;
use crate::{Epoch, Instant, NeighborId, Seq, SeqRange};
use core::time::Duration;

/// After this much silence of an epoch any other one is followed, even one that compares as older: the ingress may have
/// lived for longer than half the range of the epoch, or its clock may have stepped back. Four of the longest heartbeat
/// intervals, and short enough that what a new life sends meanwhile is still in its retention.
const EPOCH_HOLD: Duration = Duration::from_secs(1);
/// Packets in a row, each near the one before, that make a jump beyond the window believed.
const RESYNC_AFTER: u8 = 3;
/// Requests outstanding at once, at least: a receive ring's worth, so that answers can't overrun it.
const OUTSTANDING_MIN: usize = 1024;
/// Requests to the parent before its backups are asked in turn.
const PARENT_TRIES: usize = 2;

/// Why a packet was not taken. The packet is dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Reject {
    /// The node has no such session.
    #[error("no such session")]
    SessionUnknown,
    /// A packet of the tree at the ingress, or of the source at another node.
    #[error("not for this role")]
    Role,
    /// It belongs to another life of the ingress than the present one.
    #[error("of another epoch")]
    EpochOld,
    /// It is here already.
    #[error("duplicate")]
    Duplicate,
    /// It lies before the window: given up or gone.
    #[error("older than the window")]
    SequenceOld,
    /// It lies so far ahead that it is believed only when more follow.
    #[error("beyond the window")]
    SequenceBeyondWindow,
    /// A repair that nobody waits for.
    #[error("repair not asked for")]
    RepairUnasked,
    /// The sender is not a neighbor of the session, or there is no room for one more child.
    #[error("not a child")]
    NotAChild,
    /// A hello that is a replay or out of date.
    #[error("stale hello")]
    HelloStale,
}

impl<P> Session<P> {
    /// Takes a packet of the tree. `Ok`: it is new, held, and to be sent on to the children.
    pub(crate) fn handle_data(
        &mut self,
        now: Instant,
        header: &Header,
        packet: P,
    ) -> Result<(), Reject> {
        let seq = header.sequence;
        self.follow_epoch(now, header.epoch, seq)?;
        if seq >= self.window.next() {
            self.advance_to(now, seq)?;
            self.make_room(now, seq);
            self.window.push(Slot::Held(packet, now));
            self.packet_is_in(seq, true);
            return Ok(());
        }
        match self.window.slot(seq) {
            Slot::Missing => {
                self.fill(now, seq, packet);
                self.packet_is_in(seq, true);
                Ok(())
            }
            Slot::Held(..) => {
                self.stats.duplicates += 1;
                Err(Reject::Duplicate)
            }
            Slot::Absent | Slot::Lost => Err(Reject::SequenceOld),
        }
    }

    /// Takes a repair. `Ok`: it filled a gap.
    pub(crate) fn handle_repair(
        &mut self,
        now: Instant,
        header: &Header,
        packet: P,
    ) -> Result<(), Reject> {
        let seq = header.sequence;
        if self.is_ingress() {
            return Err(Reject::Role);
        }
        if self.epoch != Some(header.epoch) {
            return Err(Reject::EpochOld);
        }
        self.stats.repairs_received += 1;
        match self.window.slot(seq) {
            Slot::Missing => {
                if seq >= self.first {
                    self.stats
                        .repair_latency
                        .record(now.since(self.asks.since(seq)));
                }
                self.last_repair = (now, seq);
                self.fill(now, seq, packet);
                self.packet_is_in(seq, false);
                Ok(())
            }
            Slot::Held(..) => {
                self.stats.duplicates += 1;
                Err(Reject::Duplicate)
            }
            Slot::Lost => Err(Reject::SequenceOld),
            Slot::Absent => Err(Reject::RepairUnasked),
        }
    }

    /// Learns the ingress' lead. `Ok`: to be sent on to the children.
    pub(crate) fn handle_heartbeat(&mut self, now: Instant, header: &Header) -> Result<(), Reject> {
        let lead = header.sequence;
        self.follow_epoch(now, header.epoch, lead.next())?;
        if lead >= self.window.next() {
            self.advance_to(now, lead.next())?;
        }
        Ok(())
    }

    /// Makes sure that the packet belongs to the present epoch, beginning it with `seq` if it is new.
    fn follow_epoch(&mut self, now: Instant, epoch: Epoch, seq: Seq) -> Result<(), Reject> {
        if self.is_ingress() {
            return Err(Reject::Role);
        }
        match self.epoch {
            Some(present) if present == epoch => {}
            None => self.join(now, epoch, seq),
            Some(present) => {
                let silent = self.heard_at + EPOCH_HOLD <= now;
                if !epoch.is_newer_than(present) && !silent {
                    return Err(Reject::EpochOld);
                }
                // Having heard the epoch before, this node was there when the new one began.
                let near = seq.0 <= self.window.capacity() / 2;
                self.join(now, epoch, if near { Seq::FIRST } else { seq });
            }
        }
        self.heard_at = now;
        Ok(())
    }

    /// Begins an epoch at `first`. What the old one still lacked is lost.
    fn join(&mut self, now: Instant, epoch: Epoch, first: Seq) {
        self.clear(now);
        self.sent_before = self.sent();
        self.changes.epoch = true;
        self.epoch = Some(epoch);
        self.beyond = None;
        self.restart_at(first);
    }

    fn restart_at(&mut self, first: Seq) {
        self.first = first;
        self.lowest_gap = first;
        self.window.restart_at(first);
        if let Some(deliveries) = &mut self.deliveries {
            self.stats.undelivered += deliveries.start_at(first) as u64;
        }
    }

    fn clear(&mut self, now: Instant) {
        while self.window.trail() < self.window.next() {
            self.evict_trail(now);
        }
        self.answers.clear();
    }

    /// Opens gaps for everything before `seq`, which lies at or above the end of the window.
    fn advance_to(&mut self, now: Instant, seq: Seq) -> Result<(), Reject> {
        let lead = self.window.next();
        if seq.above(lead) > self.window.capacity() / 2 {
            return self.jump_to(now, seq);
        }
        self.beyond = None;
        while self.window.next() < seq {
            let gap = self.window.next();
            self.make_room(now, gap);
            self.window.push(Slot::Missing);
            if self.stats.in_flight == 0 {
                self.lowest_gap = gap;
            }
            self.stats.in_flight += 1;
            self.asks.open(now, gap, now + self.config.reorder_delay);
        }
        Ok(())
    }

    /// Follows a jump beyond the window, once several packets in a row agree on it.
    fn jump_to(&mut self, now: Instant, seq: Seq) -> Result<(), Reject> {
        let near = self.window.capacity() / 2;
        let count = match self.beyond {
            Some((last, count)) if seq > last && seq.above(last) <= near => count + 1,
            _ => 1,
        };
        self.beyond = Some((seq, count));
        if count < RESYNC_AFTER {
            return Err(Reject::SequenceBeyondWindow);
        }
        self.clear(now);
        let skipped = seq.above(self.window.next());
        // A forger can jump across all sequences there are, more than once: the balance holds all the same.
        self.sent_before = self.sent_before.wrapping_add(seq.above(self.first));
        self.stats.unrecovered = self.stats.unrecovered.wrapping_add(skipped);
        self.stats.resyncs += 1;
        self.changes.skipped = skipped;
        self.beyond = None;
        self.restart_at(seq);
        Ok(())
    }

    fn fill(&mut self, now: Instant, seq: Seq, packet: P) {
        self.asks.close(seq);
        if seq >= self.first {
            self.stats.in_flight -= 1;
        }
        while self.window.held() >= self.held_max && self.window.trail() < seq {
            self.evict_trail(now);
        }
        self.window.put(seq, Slot::Held(packet, now));
        self.gap_closed(seq);
        self.answers.packet_is_in(&mut self.window, seq);
    }

    /// Counts the packet that just came in and queues it for delivery.
    pub(super) fn packet_is_in(&mut self, seq: Seq, by_tree: bool) {
        if seq < self.first {
            self.stats.backfilled += 1;
            return;
        }
        if by_tree {
            self.stats.tree += 1;
        } else {
            self.stats.repaired += 1;
        }
        if let Some(deliveries) = &mut self.deliveries {
            let pushed_out = deliveries.packet_is_in(seq, by_tree);
            self.stats.undelivered += u64::from(pushed_out);
        }
    }

    /// Requests that may be outstanding: what the parent's rate brings in two round trips, and not below a floor.
    pub(super) fn outstanding_max(&self, neighbors: &[Option<Neighbor>]) -> usize {
        let rtt = self
            .parent()
            .and_then(|id| neighbor(neighbors, id))
            .map(Neighbor::rtt);
        let in_two_rtts =
            rtt.unwrap_or_default().as_micros() * u128::from(self.config.max_rate_pps) / 500_000;
        OUTSTANDING_MIN.max(usize::try_from(in_two_rtts).unwrap_or(usize::MAX))
    }

    /// The next NAK: whom to ask, and for what.
    pub(crate) fn poll_nak(
        &mut self,
        now: Instant,
        neighbors: &[Option<Neighbor>],
    ) -> Option<(NeighborId, &[SeqRange])> {
        let outstanding_max = self.outstanding_max(neighbors);
        self.ranges.clear();
        let mut to = None;
        while let Some(seq) = self.asks.due(now, outstanding_max) {
            // Those that a child asked for are not looked at by themselves: this is often enough.
            if seq < self.first && self.is_past_deadline(now, seq) {
                self.give_up(seq);
                continue;
            }
            let target = self.target(neighbors, self.asks.tries(seq));
            let rto = neighbor(neighbors, target).map_or(Duration::ZERO, |to| to.rtt.rto());
            if let Some(due) = self.still_coming(now, seq, rto) {
                self.asks.put_off(seq, due);
                continue;
            }
            if to.is_some_and(|to| to != target) || !add_to(&mut self.ranges, seq) {
                break;
            }
            to = Some(target);
            self.asks.asked(now, seq, rto);
        }
        self.stats.naks_sent += u64::from(to.is_some());
        to.map(|to| (to, &self.ranges[..]))
    }

    /// A repair that was asked for is on its way while those before it still arrive: answers come in order.
    fn still_coming(&self, now: Instant, seq: Seq, rto: Duration) -> Option<Instant> {
        let (at, last) = self.last_repair;
        let due = at + rto;
        (self.asks.tries(seq) > 0 && seq > last && due > now).then_some(due)
    }

    /// Whom to ask: the parent, and after some tries its backups in turn; the silent only when all are.
    fn target(&self, neighbors: &[Option<Neighbor>], tries: u8) -> NeighborId {
        let upstream = &self.config.upstream;
        let beyond_parent = (usize::from(tries) + 1).saturating_sub(PARENT_TRIES);
        let turn = self.parent + beyond_parent % upstream.len();
        let candidates =
            (0..upstream.len()).map(|offset| upstream[(turn + offset) % upstream.len()]);
        let mut up = candidates.filter(|&id| neighbor(neighbors, id).is_some_and(Neighbor::is_up));
        up.next().unwrap_or(upstream[self.parent])
    }

    /// Chooses the first neighbor that is up as parent; what was asked of another is asked of it at once.
    pub(crate) fn choose_parent(&mut self, now: Instant, neighbors: &[Option<Neighbor>]) {
        let serves = |id: &NeighborId| neighbor(neighbors, *id).is_some_and(Neighbor::may_serve);
        let Some(parent) = self.config.upstream.iter().position(serves) else {
            return;
        };
        if parent != self.parent {
            self.parent = parent;
            self.changes.parent = true;
            self.graft_at = now;
            self.asks.start_over(now);
        }
    }

    /// Whom to ask for the tree, when that is due: a parent that is not the configured one must be told.
    pub(crate) fn poll_graft(&mut self, now: Instant, interval: Duration) -> Option<NeighborId> {
        if self.parent == 0 || now < self.graft_at {
            return None;
        }
        self.graft_at = now + interval;
        self.parent()
    }
}

pub(crate) fn neighbor(neighbors: &[Option<Neighbor>], id: NeighborId) -> Option<&Neighbor> {
    neighbors.get(usize::from(id.0))?.as_ref()
}

/// Adds `seq` to the ranges, extending the last one where it follows. `false`: they are full.
fn add_to(ranges: &mut alloc::vec::Vec<SeqRange>, seq: Seq) -> bool {
    if let Some(last) = ranges.last_mut()
        && last.last().next() == seq
        && let Some(longer) = SeqRange::new(last.first(), last.count() + 1)
    {
        *last = longer;
        return true;
    }
    let room = ranges.len() < super::NAK_RANGES_MAX;
    match SeqRange::new(seq, 1) {
        Some(range) if room => {
            ranges.push(range);
            true
        }
        _ => false,
    }
}

//! Receiving: epochs, gaps, and what fills them.

use thiserror::Error;

use super::ingress::Announcer;
use super::parity::PARITY_WAIT;
use super::{Session, Source};
use crate::neighbor::Neighbor;
use crate::window::{Marks, Slot};
use crate::wire::{FLAG_END, FLAG_SECOND, Header};
use crate::{Epoch, Instant, NeighborId, Seq, Tree};
use core::time::Duration;

/// After this much silence of an epoch any other one is followed, even one that compares as older: the ingress may have
/// lived for longer than half the range of the epoch, or its clock may have stepped back. Four of the longest heartbeat
/// intervals, and short enough that what a new life sends meanwhile is still in its retention.
pub(super) const EPOCH_HOLD: Duration = Duration::from_secs(1);
/// Packets in a row, each near the one before, that make a jump beyond the window believed.
const RESYNC_AFTER: u8 = 3;
/// Longest time between two ways of a packet that is waited for: the longest way round the earth.
const LAG_MAX: Duration = Duration::from_millis(250);
/// Time that the slower way gets before anything is known of it: that of a time-out.
const LAG_INITIAL: Duration = Duration::from_millis(10);

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
    /// It came by the same way before.
    #[error("duplicate")]
    Duplicate,
    /// It came by another way before, as it should where there are several.
    #[error("came by another way before")]
    Redundant,
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
    /// The sender asks for more than it may.
    #[error("more NAKs than it may send")]
    NakOverBudget,
    /// The sender has asked for more than it may for so long that it gets nothing for a while.
    #[error("ejected")]
    Ejected,
    /// A hello that is a replay or out of date.
    #[error("stale hello")]
    HelloStale,
}

impl<P> Session<P> {
    /// Takes a packet of a tree. `Ok`: it is held and to be sent on down that tree, whose first one it is; with the
    /// packet that had to make room for it.
    #[inline]
    pub(crate) fn handle_data(
        &mut self,
        now: Instant,
        header: &Header,
        packet: P,
    ) -> Result<Option<P>, Reject> {
        let seq = header.sequence;
        let (tree, mark) = tree_of(header);
        self.follow_epoch(now, header.epoch, seq)?;
        let evicted = if seq >= self.window.next() {
            self.append(now, seq, packet, (Source::Tree(tree), mark))?
        } else {
            self.take_late(now, seq, packet, (tree, mark))?
        };
        self.first_tree += u64::from(tree == Tree::First);
        Ok(evicted)
    }

    /// Whether it is the next packet of the stream, as nearly all are.
    #[inline]
    pub(crate) fn is_next(&self, header: &Header) -> bool {
        header.sequence == self.window.next() && self.epoch == Some(header.epoch)
    }

    /// Takes a packet of a tree that lies before the end of the window.
    #[cold]
    fn take_late(
        &mut self,
        now: Instant,
        seq: Seq,
        packet: P,
        (tree, mark): (Tree, Marks),
    ) -> Result<Option<P>, Reject> {
        let evicted = match self.window.slot(seq) {
            Slot::Missing => self.fill(now, seq, packet, Source::Tree(tree)),
            Slot::Held(_, at) => {
                if self.window.has_mark(seq, mark) {
                    self.stats.duplicates += 1;
                    return Err(Reject::Duplicate);
                }
                self.lag.sample(now.since(at));
                None
            }
            Slot::Absent | Slot::Lost => return Err(Reject::SequenceOld),
        };
        self.window.mark(seq, mark);
        Ok(evicted)
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
                self.last_repair = (now, seq);
                self.fill(now, seq, packet, Source::Repair);
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

    /// Takes a copy. `Ok`: it came before the tree, or filled a gap.
    pub(crate) fn handle_copy(
        &mut self,
        now: Instant,
        header: &Header,
        packet: P,
    ) -> Result<(), Reject> {
        let seq = header.sequence;
        self.follow_epoch(now, header.epoch, seq)?;
        self.stats.copies_received += 1;
        if seq >= self.window.next() {
            self.append(now, seq, packet, (Source::Copy, Marks::default()))?;
            return Ok(());
        }
        match self.window.slot(seq) {
            Slot::Missing => {
                self.fill(now, seq, packet, Source::Copy);
                Ok(())
            }
            Slot::Held(_, at) => {
                let behind = now.since(at);
                self.lag.sample(behind);
                Err(Reject::Redundant)
            }
            Slot::Absent | Slot::Lost => Err(Reject::SequenceOld),
        }
    }

    /// Takes a packet that lies at or above the end of the window; returns one that had to make room for it.
    #[inline]
    fn append(
        &mut self,
        now: Instant,
        seq: Seq,
        packet: P,
        (source, marks): (Source, Marks),
    ) -> Result<Option<P>, Reject> {
        if seq > self.window.next() {
            self.advance_to(now, seq)?;
        }
        self.beyond_count = 0;
        let evicted = self.make_room(now, seq);
        self.window.push(Slot::Held(packet, now), marks);
        self.packet_is_in(seq, source);
        self.announcer.lead_moved(now);
        if self.has_fec {
            self.block_may_be_over(now, seq);
        }
        Ok(evicted)
    }

    /// Learns the parent's lead. It is not sent on: each node announces its own.
    pub(crate) fn handle_heartbeat(&mut self, now: Instant, header: &Header) -> Result<(), Reject> {
        let lead = header.sequence;
        self.follow_epoch(now, header.epoch, lead.next())?;
        if lead >= self.window.next() {
            self.advance_to(now, lead.next())?;
        }
        if header.flags & FLAG_END != 0 && !self.ended {
            self.ended = true;
            self.changes.ended = true;
            self.announcer = Announcer::new(now);
        }
        Ok(())
    }

    /// Makes sure that the packet belongs to the present epoch, beginning it with `seq` if it is new.
    #[inline]
    pub(super) fn follow_epoch(
        &mut self,
        now: Instant,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<(), Reject> {
        if self.ingress {
            return Err(Reject::Role);
        }
        if self.epoch != Some(epoch) {
            self.follow_other_epoch(now, epoch, seq)?;
        }
        self.heard_at = now;
        Ok(())
    }

    #[cold]
    fn follow_other_epoch(&mut self, now: Instant, epoch: Epoch, seq: Seq) -> Result<(), Reject> {
        match self.epoch {
            None => {
                self.join(now, epoch, seq);
                self.ask_for_history(now);
            }
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
        Ok(())
    }

    /// Begins an epoch at `first`. What the old one still lacked is lost.
    fn join(&mut self, now: Instant, epoch: Epoch, first: Seq) {
        self.clear(now);
        self.sent_before = self.sent();
        self.changes.epoch = true;
        self.epoch = Some(epoch);
        self.beyond_count = 0;
        self.ended = false;
        self.restart_at(now, first);
    }

    fn restart_at(&mut self, now: Instant, first: Seq) {
        self.first = first;
        self.lowest_gap = first;
        self.window.restart_at(first);
        self.announcer = Announcer::new(now);
        self.confirms.clear();
        self.parities.clear();
        self.answers.clear(first);
        self.copying.restart(now, first, self.first_tree);
        self.catch_ups.restart_at(first);
        if let Some(deliveries) = &mut self.deliveries {
            self.stats.undelivered += deliveries.start_at(first) as u64;
        }
    }

    fn clear(&mut self, now: Instant) {
        while self.window.trail() < self.window.next() {
            self.evict_trail(now);
        }
    }

    /// Forgets a stream whose ingress has been silent for too long.
    pub(super) fn expire_if_idle(&mut self, now: Instant) {
        let idle_at = self.heard_at + self.config.idle_timeout;
        if self.is_ingress() || self.epoch.is_none() || now < idle_at {
            return;
        }
        self.clear(now);
        self.sent_before = self.sent();
        let next = self.window.next();
        self.restart_at(now, next);
        self.epoch = None;
        self.changes.idle = true;
    }

    /// Opens gaps for everything before `seq`, which lies at or above the end of the window.
    #[cold]
    pub(super) fn advance_to(&mut self, now: Instant, seq: Seq) -> Result<(), Reject> {
        let lead = self.window.next();
        if seq.above(lead) > self.window.capacity() / 2 {
            return self.jump_to(now, seq);
        }
        self.beyond_count = 0;
        let first = self.window.next();
        while self.window.next() < seq {
            let gap = self.window.next();
            self.make_room(now, gap);
            self.window.push(Slot::Missing, Marks::default());
            if self.stats.in_flight == 0 {
                self.lowest_gap = gap;
            }
            self.stats.in_flight += 1;
            self.open_gap(now, gap);
        }
        if first < seq {
            self.announcer.lead_moved(now);
        }
        // Where another way may still bring it, it is not worth a word yet.
        if first < seq && !self.is_redundant() {
            let due = now + self.config.reorder_delay + self.upstream_rto;
            self.confirm(first, seq.above(first), due + self.margin());
        }
        Ok(())
    }

    fn open_gap(&mut self, now: Instant, gap: Seq) {
        match self.config.fec {
            Some(_) => self.asks.open_parked(now, gap, now + PARITY_WAIT),
            None => {
                let due = now + self.config.reorder_delay + self.lag();
                self.asks.open(now, gap, due);
            }
        }
    }

    /// Whether gaps are expected to be filled without a request.
    pub(super) fn is_redundant(&self) -> bool {
        self.has_other_way() || self.config.fec.is_some()
    }

    fn has_other_way(&self) -> bool {
        self.copying.is_active() || !self.config.second_upstream.is_empty()
    }

    /// How long after the first of its ways a packet may come by another.
    fn lag(&self) -> Duration {
        if !self.has_other_way() {
            return Duration::ZERO;
        }
        self.lag.upper().unwrap_or(LAG_INITIAL).min(LAG_MAX)
    }

    /// Asks for what the blocks before that of `seq` still lack: their parity has had its chance.
    fn block_may_be_over(&mut self, now: Instant, seq: Seq) {
        let (Some(fec), Some(gap)) = (self.config.fec, self.asks.first_parked()) else {
            return;
        };
        let block = u64::from(fec.block);
        let begin = (seq.0 - 1) / block * block;
        if gap.0 <= begin {
            self.unpark(now, Seq(begin));
        }
    }

    /// Has the gaps up to `last` that wait for parity asked for.
    pub(super) fn unpark(&mut self, now: Instant, last: Seq) {
        let due = now + self.config.reorder_delay + self.lag();
        self.asks.unpark(last, due);
    }

    /// Follows a jump beyond the window, once several packets in a row agree on it.
    fn jump_to(&mut self, now: Instant, seq: Seq) -> Result<(), Reject> {
        let near = self.window.capacity() / 2;
        let last = self.beyond;
        let follows = self.beyond_count > 0 && seq > last && seq.above(last) <= near;
        self.beyond_count = if follows { self.beyond_count + 1 } else { 1 };
        self.beyond = seq;
        if self.beyond_count < RESYNC_AFTER {
            return Err(Reject::SequenceBeyondWindow);
        }
        self.clear(now);
        let skipped = seq.above(self.window.next());
        // A forger can jump across all sequences there are, more than once: the balance holds all the same.
        self.sent_before = self.sent_before.wrapping_add(seq.above(self.first));
        self.stats.unrecovered = self.stats.unrecovered.wrapping_add(skipped);
        self.stats.resyncs += 1;
        self.changes.skipped = skipped;
        self.beyond_count = 0;
        self.restart_at(now, seq);
        Ok(())
    }

    /// Fills the gap `seq`; returns a packet that had to make room for it.
    pub(super) fn fill(&mut self, now: Instant, seq: Seq, packet: P, source: Source) -> Option<P> {
        let own = seq >= self.first;
        if own && !matches!(source, Source::Tree(_)) {
            let latency = now.since(self.asks.since(seq));
            self.stats.repair_latency.record(latency);
        }
        self.asks.close(seq);
        self.stats.in_flight -= u64::from(own);
        let mut evicted = None;
        while self.window.held() >= self.held_max && self.window.trail() < seq {
            evicted = self.evict_trail(now).or(evicted);
        }
        self.window.put(seq, Slot::Held(packet, now));
        self.gap_closed(seq);
        self.answers
            .gap_is_filled(&mut self.window, seq, own, source);
        self.packet_is_in(seq, source);
        self.block_may_be_whole(seq);
        evicted
    }

    /// Counts the packet that just came in and queues it for delivery.
    #[inline]
    pub(super) fn packet_is_in(&mut self, seq: Seq, source: Source) {
        if seq < self.first {
            self.stats.backfilled += 1;
            return;
        }
        match source {
            Source::Tree(tree) => {
                self.counts.tree += 1;
                self.stats.second_tree += u64::from(tree == Tree::Second);
            }
            Source::Repair => self.stats.repaired += 1,
            Source::Copy => {
                self.stats.repaired += 1;
                self.stats.copied += 1;
            }
            Source::Parity => {
                self.stats.repaired += 1;
                self.stats.rebuilt += 1;
            }
        }
        if let Some(deliveries) = &mut self.deliveries {
            let live = matches!(source, Source::Tree(_) | Source::Copy);
            let pushed_out = deliveries.packet_is_in(seq, live);
            self.stats.undelivered += u64::from(pushed_out);
        }
    }
}

/// The tree that a packet came by, and its mark.
pub(super) fn tree_of(header: &Header) -> (Tree, Marks) {
    if header.flags & FLAG_SECOND == 0 {
        (Tree::First, Marks::FIRST_TREE)
    } else {
        (Tree::Second, Marks::SECOND_TREE)
    }
}

pub(crate) fn neighbor_mut(
    neighbors: &mut [Option<Neighbor>],
    id: NeighborId,
) -> Option<&mut Neighbor> {
    neighbors.get_mut(usize::from(id.0))?.as_mut()
}

pub(crate) fn neighbor(neighbors: &[Option<Neighbor>], id: NeighborId) -> Option<&Neighbor> {
    neighbors.get(usize::from(id.0))?.as_ref()
}

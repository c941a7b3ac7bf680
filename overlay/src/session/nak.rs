//! Being asked by a NAK.

use core::time::Duration;

use super::{Reject, Session};
use crate::window::{Marks, Slot};
use crate::wire::NakRanges;
use crate::{Instant, NeighborId, Seq, SeqRange};

/// Sequences of one NAK that are looked at; a NAK of this protocol asks for no more.
pub(super) const NAK_SEQUENCES_MAX: u64 = 4096;
/// Children that must have asked for a packet before it goes down the tree, at least, unless configured: to a few,
/// each for itself is cheaper.
const SUBCAST_MIN: u32 = 4;

impl<P> Session<P> {
    /// Takes a child's NAK: what is here is queued, what is missing is noted, what came before this node joined is
    /// asked of the parent. `rtt`: the child's.
    pub(crate) fn handle_nak(
        &mut self,
        now: Instant,
        (from, rtt): (NeighborId, Duration),
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
                self.want(now, (child, rtt), seq);
                budget -= 1;
                seq = seq.next();
            }
            self.stats.naks_over_budget += end.above(seq);
        }
        Ok(())
    }

    fn want(&mut self, now: Instant, (child, rtt): (usize, Duration), seq: Seq) {
        let held_at = match self.window.slot(seq) {
            Slot::Held(_, at) => Some(at),
            Slot::Missing => None,
            Slot::Absent | Slot::Lost => {
                self.stats.naks_unanswerable += 1;
                return;
            }
        };
        let subcast = self.window.has_mark(seq, Marks::SUBCAST);
        let interest = self.window.interest_mut(seq);
        let bit = 1 << child;
        interest.asked |= bit;
        if interest.waiting & bit != 0 {
            return;
        }
        let Some(at) = held_at else {
            interest.waiting |= bit;
            return;
        };
        // The NAK and the repair that went down the tree have passed each other.
        if subcast && self.answers.tree & bit != 0 && now.since(at) < rtt {
            self.stats.naks_suppressed += 1;
            return;
        }
        let askers = (interest.asked & self.answers.tree).count_ones();
        if !subcast && askers >= self.subcast_threshold() {
            let served = self.answers.subcast(&mut self.window, seq);
            if served & bit != 0 {
                self.window.interest_mut(seq).waiting &= !served;
                return;
            }
        }
        if !self.answers.enqueue(&mut self.window, child, seq) {
            self.stats.naks_over_budget += 1;
        }
    }

    fn subcast_threshold(&self) -> u32 {
        match self.config.subcast_threshold {
            0 => SUBCAST_MIN.max(self.answers.tree.count_ones().div_ceil(2)),
            configured => configured.into(),
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
}

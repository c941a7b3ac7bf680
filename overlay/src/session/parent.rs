//! Asking: whom, for what, and when.

use alloc::vec::Vec;
use core::time::Duration;

use super::nak::NAK_SEQUENCES_MAX;
use super::receive::neighbor;
use super::{NAK_RANGES_MAX, Session};
use crate::neighbor::Neighbor;
use crate::time::nanos;
use crate::{Instant, NeighborId, Seq, SeqRange};

/// Requests outstanding at once, at least: a receive ring's worth, so that answers can't overrun it.
pub(super) const OUTSTANDING_MIN: usize = 1024;
/// Requests to the parent before its backups are asked in turn.
const PARENT_TRIES: usize = 2;

impl<P> Session<P> {
    /// Takes over what is known of the way to the parent: its time-out, and how many requests may be outstanding, what
    /// two round trips bring at the stream's rate, and not below a floor.
    pub(crate) fn follow_rtt(&mut self, neighbors: &[Option<Neighbor>]) {
        let Some(parent) = self.parent().and_then(|id| neighbor(neighbors, id)) else {
            return;
        };
        self.upstream_rto = parent.rtt.rto();
        let rtt_us = nanos(parent.rtt()) / 1000;
        let in_two_rtts = rtt_us.saturating_mul(self.config.max_rate_pps.into()) / 500_000;
        self.outstanding_max = OUTSTANDING_MIN.max(in_two_rtts as usize);
    }

    /// The next NAK: whom to ask, and for what.
    pub(crate) fn poll_nak(
        &mut self,
        now: Instant,
        neighbors: &[Option<Neighbor>],
    ) -> Option<(NeighborId, &[SeqRange])> {
        if self.asks.is_empty() {
            return None;
        }
        self.ranges.clear();
        let mut to = None;
        let mut room = NAK_SEQUENCES_MAX;
        while room > 0
            && let Some(seq) = self.asks.due(now, self.outstanding_max)
        {
            // Those that a child asked for are not looked at by themselves: this is often enough.
            if seq < self.first && self.is_past_deadline(now, seq) {
                self.give_up(seq);
                continue;
            }
            let target = self.target(neighbors, self.asks.tries(seq));
            let rto = neighbor(neighbors, target).map_or(Duration::ZERO, |to| to.rtt.rto());
            if let Some(due) = self.still_coming(now, seq, rto) {
                self.asks.put_off(seq, due);
                if seq >= self.first {
                    self.confirm(seq, 1, due + self.margin());
                }
                continue;
            }
            if to.is_some_and(|to| to != target) || !add_to(&mut self.ranges, seq, 1) {
                break;
            }
            to = Some(target);
            room -= 1;
            // Those of a fresh gap were told when it was found.
            let told = self.asks.is_fresh(seq) && !self.is_redundant();
            let due = self.asks.asked(now, seq, rto);
            if seq >= self.first && !told {
                self.confirm(seq, 1, due + self.margin());
            }
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

    /// Chooses the first neighbor that serves as parent; what was asked of another is asked of it at once. One before
    /// the present parent must have been up for `hold_down`, so that it does not come and go.
    pub(crate) fn choose_parent(
        &mut self,
        now: Instant,
        neighbors: &[Option<Neighbor>],
        hold_down: Duration,
    ) {
        let serves = |id: NeighborId| neighbor(neighbors, id).is_some_and(Neighbor::may_serve);
        let steady =
            |id: NeighborId| neighbor(neighbors, id).is_some_and(|it| it.is_steady(now, hold_down));
        let present = self.parent().is_some_and(serves);
        let mut places = self.config.upstream.iter().enumerate();
        let best = places.find(|&(place, &id)| {
            if present && place < self.parent {
                steady(id)
            } else {
                serves(id)
            }
        });
        let Some((best, _)) = best else {
            return;
        };
        self.follow_rtt(neighbors);
        if best != self.parent {
            self.parent = best;
            self.changes.parent = true;
            self.request_at = now;
            if !present {
                self.asks.start_over(now);
            }
        }
    }
}

/// Adds `count` sequences from `first` on to the ranges of a packet, extending the last one where they follow it.
/// `false`: they are full.
pub(super) fn add_to(ranges: &mut Vec<SeqRange>, first: Seq, count: u32) -> bool {
    if let Some(last) = ranges.last_mut()
        && last.last().next() == first
        && let Some(longer) = SeqRange::new(last.first(), last.count().saturating_add(count))
    {
        *last = longer;
        return true;
    }
    let room = ranges.len() < NAK_RANGES_MAX;
    let range = SeqRange::new(first, count).filter(|_| room);
    ranges.extend(range);
    range.is_some()
}

//! NAK confirmations: telling the children that gaps are being seen to, and being told.

use core::time::Duration;

use super::ask::BACK_OFF_MAX;
use super::nak::NAK_SEQUENCES_MAX;
use super::parent::add_to;
use super::{Reject, Session};
use crate::wire::{Header, NakRanges};
use crate::{Instant, NeighborId, Seq};

impl<P> Session<P> {
    /// Time by which a confirmation outlasts the answer that it goes by: when that is lost, the next confirmation is there
    /// before the children ask.
    pub(super) fn margin(&self) -> Duration {
        self.upstream_rto / 2
    }

    /// Announces to the children that `count` gaps from `first` on are being seen to, and until when.
    pub(super) fn confirm(&mut self, first: Seq, count: u64, until: Instant) {
        if !self.answers.has_tree() {
            return;
        }
        if self.confirms.is_empty() {
            self.confirm_until = until;
        }
        self.confirm_until = self.confirm_until.max(until);
        for seq in first.0..first.0.saturating_add(count) {
            self.asks.tell(Seq(seq), until);
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // Children that are not told for lack of room ask.
        add_to(&mut self.confirms, first, count);
    }

    /// The next NAK confirmation, in [`Session::ranges`]: how long the children need not ask.
    pub(crate) fn poll_confirm(&mut self, now: Instant) -> Option<Duration> {
        if self.confirms.is_empty() {
            return None;
        }
        self.ranges.clear();
        self.ranges.append(&mut self.confirms);
        self.stats.confirms_sent += 1;
        Some(self.confirm_until.since(now))
    }

    /// Takes a parent's word that it sees to these gaps: they are not asked for until its time is over.
    pub(crate) fn handle_confirm(
        &mut self,
        now: Instant,
        header: &Header,
        (from, rto): (NeighborId, Duration),
        ranges: NakRanges<'_>,
    ) -> Result<(), Reject> {
        if self.is_ingress() {
            return Err(Reject::Role);
        }
        if self.epoch != Some(header.epoch) {
            return Err(Reject::EpochOld);
        }
        self.stats.confirms_received += 1;
        if self.parent() != Some(from) {
            return Ok(());
        }
        let promised = Duration::from_nanos(header.timestamp).min(BACK_OFF_MAX.max(4 * rto));
        let until = now + promised;
        let own_due = until + self.config.reorder_delay;
        let mut room = NAK_SEQUENCES_MAX;
        let known = self.window.next();
        for range in ranges.iter() {
            // Of a lost tail the parent heard first; the children are told with the others.
            if range.last() >= self.window.next() {
                self.advance_to(now, range.last().next())?;
                self.confirm_until = self.confirm_until.max(until + self.margin());
            }
            let mut seq = range.first().max(self.first).max(self.window.trail());
            let end = range.last().next().min(self.window.next());
            while seq < end && room > 0 {
                if self.window.is_missing(seq) {
                    if self.asks.is_fresh(seq) {
                        self.copying.excuse();
                    }
                    self.asks.promised(seq, own_due);
                    if own_due > self.asks.told(seq) && seq < known {
                        self.confirm(seq, 1, until + self.margin());
                    }
                }
                seq = seq.next();
                room -= 1;
            }
        }
        Ok(())
    }
}

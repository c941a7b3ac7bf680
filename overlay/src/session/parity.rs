//! Forward error correction: when the ingress makes parity, and when a receiver can rebuild with it.
//!
//! The bytes are the caller's: it makes the parity of a block from the packets of the session, and the missing packets
//! of a block from the others and its parity.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::receive::tree_of;
use super::{Fec, Reject, Session, Source};
use crate::window::Slot;
use crate::wire::{FEC_PARITY_MAX, Header, ParityHeader};
use crate::{Instant, Seq};

/// Parity packets kept by a receiver: some blocks' worth, since a block is over when the next one is.
pub const PARITY_KEPT_MAX: usize = 256;
/// Blocks whose parity waits to be sent, or that wait to be rebuilt; the oldest go.
const WAITING_MAX: usize = 64;
/// Longest time that a gap waits for parity: two round trips of a slow link. Usually the next block ends it.
pub(super) const PARITY_WAIT: Duration = Duration::from_millis(50);
/// A source that is silent for so many of its intervals pauses: the block ends with what it has.
const PAUSE_INTERVALS: u32 = 8;
/// Bounds of that: longer than a burst's jitter, and soon enough for the gaps that wait.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// The parity that a receiver keeps, as long as packets of its block are missing.
#[derive(Debug)]
pub(super) struct Parities<P> {
    kept: VecDeque<Kept<P>>,
    /// The first sequences of blocks that can be rebuilt.
    ready: VecDeque<Seq>,
    /// What came last by each tree, and where the next one is noted.
    seen: [Seen; 2],
}

/// The parity packets that came last: each is sent on once, so that what comes twice does not multiply from node to node.
#[derive(Debug, Default)]
struct Seen {
    last: [(Seq, u8); FEC_PARITY_MAX as usize],
    next: usize,
}

impl Seen {
    /// `false`: it came before.
    fn add(&mut self, first: Seq, index: u8) -> bool {
        let new = !self.last.contains(&(first, index));
        if new {
            self.last[self.next] = (first, index);
            self.next = (self.next + 1) % self.last.len();
        }
        new
    }
}

#[derive(Debug)]
struct Kept<P> {
    first: Seq,
    header: ParityHeader,
    packet: P,
}

impl<P> Kept<P> {
    fn end(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.header.count))
    }
}

impl<P> Parities<P> {
    pub(super) fn new(fec: Option<Fec>) -> Parities<P> {
        let room = |most| if fec.is_some() { most } else { 0 };
        Parities {
            kept: VecDeque::with_capacity(room(PARITY_KEPT_MAX)),
            ready: VecDeque::with_capacity(room(WAITING_MAX)),
            seen: Default::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.ready.clear();
        self.seen = Default::default();
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn of_block(&self, first: Seq) -> impl Iterator<Item = &Kept<P>> {
        self.kept.iter().filter(move |kept| kept.first == first)
    }

    fn keep(&mut self, first: Seq, header: ParityHeader, packet: P) {
        if self.kept.len() == PARITY_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            first,
            header,
            packet,
        });
    }

    fn is_ready(&mut self, first: Seq) {
        if self.ready.contains(&first) {
            return;
        }
        if self.ready.len() == WAITING_MAX {
            self.ready.pop_front();
        }
        self.ready.push_back(first);
    }
}

/// What the ingress has to make parity of.
#[derive(Debug)]
pub(super) struct ParityMaker {
    fec: Fec,
    /// First sequence of the block that is not full yet, and the last one of the source.
    begin: Seq,
    last: Seq,
    sent_at: Instant,
    /// Time between packets, smoothed.
    interval: Duration,
    /// Blocks whose parity is to be sent, each with the packet that is next.
    due: VecDeque<(Seq, ParityHeader)>,
}

impl ParityMaker {
    pub(super) fn new(now: Instant, fec: Fec) -> ParityMaker {
        ParityMaker {
            fec,
            begin: Seq::FIRST,
            last: Seq(0),
            sent_at: now,
            interval: Duration::ZERO,
            due: VecDeque::with_capacity(WAITING_MAX),
        }
    }

    pub(super) fn packet_sent(&mut self, now: Instant, seq: Seq) {
        self.interval = (self.interval * 7 + now.since(self.sent_at).min(PAUSE_MAX)) / 8;
        self.sent_at = now;
        self.last = seq;
        if seq.0.is_multiple_of(u64::from(self.fec.block)) {
            self.finish_block();
        }
    }

    /// When the source counts as pausing, if a block is open.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pause = (self.interval * PAUSE_INTERVALS).clamp(PAUSE_MIN, PAUSE_MAX);
        (self.begin <= self.last).then(|| self.sent_at + pause)
    }

    /// Ends the present block with the last packet, full or not.
    fn finish_block(&mut self) {
        let count = self.last.next().above(self.begin);
        let Some(count) = u8::try_from(count).ok().filter(|&count| count > 0) else {
            return;
        };
        if self.due.len() == WAITING_MAX {
            self.due.pop_front();
        }
        let header = ParityHeader {
            count,
            parity: self.fec.parity,
            index: 0,
        };
        self.due.push_back((self.begin, header));
        self.begin = self.last.next();
    }

    fn poll(&mut self) -> Option<(Seq, ParityHeader)> {
        let (first, next) = self.due.front_mut()?;
        let found = (*first, *next);
        next.index += 1;
        if next.index == next.parity {
            self.due.pop_front();
        }
        Some(found)
    }
}

impl<P> Session<P> {
    /// The next parity packet to make and to send down the trees: of the block that begins with the sequence.
    pub(crate) fn poll_parity(&mut self, now: Instant) -> Option<(Seq, ParityHeader)> {
        let maker = self.parity_maker.as_mut()?;
        if maker.poll_timeout().is_some_and(|due| due <= now) {
            maker.finish_block();
        }
        maker.poll()
    }

    /// Takes a parity packet. `Ok`: to be sent on down its tree.
    pub(crate) fn handle_parity(
        &mut self,
        now: Instant,
        header: &Header,
        parity: ParityHeader,
        packet: P,
    ) -> Result<(), Reject> {
        let first = header.sequence;
        let end = Seq(first.0 + u64::from(parity.count));
        if end > Seq::MAX.next() {
            return Err(Reject::SequenceBeyondWindow);
        }
        self.follow_epoch(now, header.epoch, end)?;
        self.stats.parity_received += 1;
        let seen = &mut self.parities.seen[tree_of(header).0 as usize];
        if !seen.add(first, parity.index) {
            return Err(Reject::Duplicate);
        }
        if end > self.window.next() {
            self.advance_to(now, end)?;
        }
        let known = |kept: &Kept<P>| kept.header.index == parity.index;
        if self.config.fec.is_none() || self.parities.of_block(first).any(known) {
            return Ok(());
        }
        let lacking = self.lacking(first, end);
        if lacking == 0 {
            return Ok(());
        }
        let here = self.parities.of_block(first).count() + 1;
        self.parities.keep(first, parity, packet);
        if lacking <= here {
            self.parities.is_ready(first);
        } else if here == usize::from(parity.parity) {
            self.unpark(now, Seq(end.0 - 1));
        }
        Ok(())
    }

    /// How many packets of a block are not here.
    fn lacking(&self, first: Seq, end: Seq) -> usize {
        let lacking = |&seq: &u64| self.window.packet(Seq(seq)).is_none();
        (first.0..end.0).filter(lacking).count()
    }

    /// Looks whether the block of `seq`, which just came in, is whole, or can be made so.
    pub(super) fn block_may_be_whole(&mut self, seq: Seq) {
        let holds = |kept: &&Kept<P>| kept.first <= seq && seq < kept.end();
        let Some((first, end)) = self
            .parities
            .kept
            .iter()
            .find(holds)
            .map(|kept| (kept.first, kept.end()))
        else {
            return;
        };
        match self.lacking(first, end) {
            0 => self.parities.kept.retain(|kept| kept.first != first),
            lacking if lacking <= self.parities.of_block(first).count() => {
                self.parities.is_ready(first);
            }
            _ => {}
        }
    }

    /// A block that can be rebuilt: its first sequence and what its parity says of it.
    pub(crate) fn poll_rebuild(&mut self) -> Option<(Seq, ParityHeader)> {
        while let Some(first) = self.parities.ready.pop_front() {
            let Some((end, header)) = self
                .parities
                .of_block(first)
                .next()
                .map(|kept| (kept.end(), kept.header))
            else {
                continue;
            };
            let lacking = self.lacking(first, end);
            if (1..=self.parities.of_block(first).count()).contains(&lacking) {
                return Some((first, header));
            }
        }
        None
    }

    /// The parity that is here of the block that begins with `first`: which of it, and the packet as it was handed in.
    pub fn parity(&self, first: Seq) -> impl Iterator<Item = (u8, &P)> {
        self.parities
            .of_block(first)
            .map(|kept| (kept.header.index, &kept.packet))
    }

    /// Takes a packet that was rebuilt.
    pub(crate) fn handle_rebuilt(
        &mut self,
        now: Instant,
        seq: Seq,
        packet: P,
    ) -> Result<(), Reject> {
        match self.window.slot(seq) {
            Slot::Missing => {
                self.fill(now, seq, packet, Source::Parity);
                Ok(())
            }
            Slot::Held(..) => Err(Reject::Redundant),
            Slot::Absent | Slot::Lost => Err(Reject::SequenceOld),
        }
    }
}

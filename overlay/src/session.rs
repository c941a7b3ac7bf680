//! One session on one node: numbers packets, finds gaps, asks, answers and delivers.
//!
//! What a session does follows from its place in the tree. Without upstream neighbors it is the ingress: it numbers
//! packets and announces its lead. With some it receives: it finds gaps and asks. Every node answers its children
//! from what it holds, and a last hop delivers.
//!
//! ```text
//! the stream    idle ─▶ joining (where it catches up) ─▶ following ─▶ ended
//!               following, ended ─ new epoch ─▶ following; ─ idle time-out ─▶ idle
//! a sequence    absent ─ passed over ─▶ missing ─ tree, repair, copy or parity ─▶ held ─ retention ─▶ gone
//!               missing ─ deadline ─▶ lost
//! its request   fresh ─ reorder delay ─▶ asked for ─ time-out ─▶ asked for again …
//!               parked (where there is parity) ─ its block is over ─▶ fresh
//!               any ─ NAK confirmation ─▶ promised ─ its time is over ─▶ asked for
//! ```
//! What each event does in each state, in full: the snapshot of `session/matrix.rs` in `session/snapshots`.

mod answer;
mod ask;
mod catch_up;
mod config;
mod confirm;
mod copying;
mod deliver;
mod ingress;
mod nak;
mod parent;
mod parity;
mod receive;
mod stats;

use alloc::vec::Vec;
use core::time::Duration;

use crate::rtt::Rtt;
use crate::time::nanos;
use crate::window::{Slot, Window};
use crate::wire::{Header, Kind};
use crate::{Epoch, Instant, NeighborId, Seq, SeqRange, SessionId};
use answer::Answers;
use ask::Asks;
use catch_up::{CatchUps, History};
use copying::Copying;
use deliver::Deliveries;
use ingress::Announcer;
use parity::{Parities, ParityMaker};

pub(crate) use answer::Answer;
pub use answer::CHILDREN_MAX;
pub use catch_up::CatchUp;
pub use config::{Fec, Mode, Order, SessionConfig, Tree};
pub(crate) use copying::Request;
pub(crate) use ingress::HEARTBEAT_FIRST;
pub use parity::PARITY_KEPT_MAX;
pub use receive::Reject;
pub(crate) use receive::{neighbor, neighbor_mut};
pub use stats::SessionStats;

/// Most ranges that one NAK carries: 12 bytes each, they fit a datagram of 1,280 bytes with all headers.
pub const NAK_RANGES_MAX: usize = 96;
/// Slots for gaps, beside those for packets: so many more, or as many as packets where those are fewer.
const GAPS_MIN: usize = 1024;
/// How often packets that outlived the retention are looked for.
const EVICT_INTERVAL: Duration = Duration::from_millis(10);
/// Packets given up per look, so that a full window can't hold up the loop.
const EVICT_BUDGET: usize = 512;

/// One session on one node.
///
/// What a packet in order touches comes first, in as few cache lines as it takes: with very many sessions each is a miss.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Session<P> {
    window: Window<P>,
    held_max: usize,
    heard_at: Instant,
    /// The sequence at which this node joined the epoch.
    first: Seq,
    announcer: Announcer,
    /// Packets that the first tree brought.
    first_tree: u64,
    epoch: Option<Epoch>,
    id: SessionId,
    ingress: bool,
    has_fec: bool,
    /// The ingress has said that no more follows.
    ended: bool,
    downstream_changed: bool,
    /// How many sequences in a row lay beyond the window, each near the one before.
    beyond_count: u8,
    /// `config.retention`.
    retention_ns: u64,
    counts: Counts,
    deliveries: Option<Deliveries>,
    parity_maker: Option<ParityMaker>,
    config: SessionConfig,
    /// While any is in flight: the lowest gap since this node joined.
    lowest_gap: Seq,
    evict_at: Instant,
    asks: Asks,
    /// When the last repair came, and which one.
    last_repair: (Instant, Seq),
    /// Place of the neighbor now asked in `config.upstream`.
    parent: usize,
    /// Time-out of that neighbor, and how many gaps it may be asked for at once.
    upstream_rto: Duration,
    outstanding_max: usize,
    /// What neighbors are to be asked for now, and when all of it is due again.
    requests: u8,
    request_at: Instant,
    /// How far the ways of a packet lie apart.
    lag: Rtt,
    copying: Copying,
    parities: Parities<P>,
    history: Option<History>,
    /// Ranges of the packet that was polled last.
    ranges: Vec<SeqRange>,
    /// Gaps to tell the children of, and until when they need not ask.
    confirms: Vec<SeqRange>,
    confirm_until: Instant,
    answers: Answers,
    catch_ups: CatchUps,
    /// The last sequence beyond the window, where there was one.
    beyond: Seq,
    /// `stats.sent` of the epochs before this one.
    sent_before: u64,
    stats: SessionStats,
    changes: Changes,
}

/// The counters that each packet moves: `stats` has the others.
#[derive(Debug, Default)]
struct Counts {
    tree: u64,
    delivered: u64,
    evicted_early: u64,
}

/// What packets in order give a session to do, beside their delivery, as far as nothing else happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calm {
    /// Something: it must be looked at after each.
    No,
    /// Their lead is to be announced.
    Announcing,
    /// Nothing.
    Silent,
}

/// What happened since the owner last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) parent: bool,
    pub(crate) epoch: bool,
    pub(crate) skipped: u64,
    pub(crate) copying: bool,
    pub(crate) ended: bool,
    pub(crate) idle: bool,
}

/// The way by which a packet came here first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Tree(Tree),
    Repair,
    Copy,
    Parity,
}

impl<P> Session<P> {
    /// A session that begins now. `epoch` is the life of the ingress if this node is it; receivers learn theirs.
    ///
    /// All memory is taken here.
    #[must_use]
    pub fn new(now: Instant, config: SessionConfig, epoch: Epoch) -> Session<P> {
        let held_max = config.held_max();
        let gaps = (held_max / 16 + GAPS_MIN).min(held_max);
        let window = Window::new(held_max + gaps, Seq::FIRST);
        let ingress = config.upstream.is_empty();
        let capacity = window.capacity();
        // Between two ranges is a sequence that is not of them.
        let ranges_max = if ingress {
            1
        } else {
            NAK_RANGES_MAX.min(capacity as usize / 2)
        };
        Session {
            epoch: ingress.then_some(epoch),
            id: config.id,
            first_tree: 0,
            retention_ns: nanos(config.retention),
            counts: Counts::default(),
            downstream_changed: true,
            heard_at: now,
            first: Seq::FIRST,
            lowest_gap: Seq::FIRST,
            evict_at: now,
            asks: Asks::new(if ingress { 1 } else { capacity }),
            last_repair: (Instant(0), Seq(0)),
            parent: 0,
            upstream_rto: Duration::ZERO,
            outstanding_max: parent::OUTSTANDING_MIN,
            requests: 0,
            request_at: now,
            lag: Rtt::default(),
            copying: Copying::new(now, if ingress { Mode::Pull } else { config.mode }),
            parities: Parities::new(config.fec.filter(|_| !ingress)),
            parity_maker: config
                .fec
                .filter(|_| ingress)
                .map(|fec| ParityMaker::new(now, fec)),
            history: None,
            ranges: Vec::with_capacity(ranges_max),
            confirms: Vec::with_capacity(if ingress { 0 } else { ranges_max }),
            confirm_until: Instant(0),
            answers: Answers::new(&config, capacity),
            deliveries: config
                .delivery
                .map(|order| Deliveries::new(order, &config, capacity)),
            catch_ups: CatchUps::default(),
            ingress,
            has_fec: config.fec.is_some(),
            announcer: Announcer::new(now),
            ended: false,
            beyond_count: 0,
            beyond: Seq(0),
            sent_before: 0,
            stats: SessionStats::default(),
            changes: Changes::default(),
            window,
            held_max,
            config,
        }
    }

    /// Changes what can be changed while packets flow: neighbors, deadline, retention (up to the memory that was taken
    /// at the start), reorder delay, mode, and whether there are clients. FEC stays as it was made.
    pub fn reconfigure(&mut self, now: Instant, config: SessionConfig) {
        let held_max = config.held_max();
        let capacity = self.window.capacity() as usize;
        self.held_max = held_max.min(capacity - GAPS_MIN.min(capacity / 2));
        self.answers
            .set_children(&config.downstream, &config.second_downstream);
        if !self.is_ingress() {
            self.copying.set_mode(config.mode);
        }
        self.request_at = now;
        match (&mut self.deliveries, config.delivery) {
            (Some(deliveries), Some(order)) => deliveries.change_order(order, &self.window),
            (_, None) => {
                self.deliveries = None;
                self.catch_ups = CatchUps::default();
            }
            (deliveries, Some(order)) => {
                let mut fresh = Deliveries::new(order, &config, self.window.capacity());
                fresh.start_at(self.window.next());
                *deliveries = Some(fresh);
            }
        }
        if self.config.upstream != config.upstream {
            self.parent = 0;
            self.asks.start_over(now);
        }
        self.downstream_changed = true;
        self.retention_ns = nanos(config.retention);
        self.config = SessionConfig {
            fec: self.config.fec,
            ..config
        };
    }

    /// How it is run.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Whether this node is the session's ingress.
    #[must_use]
    pub fn is_ingress(&self) -> bool {
        self.ingress
    }

    /// The life of the ingress; `None` at a receiver that has not heard of one.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Newest sequence known of; 0 before the first.
    #[must_use]
    pub fn lead(&self) -> Seq {
        Seq(self.window.next().0 - 1)
    }

    /// Oldest sequence of the window.
    #[must_use]
    pub fn trail(&self) -> Seq {
        self.window.trail()
    }

    /// The lowest sequence that is not delivered yet, or, where nothing is delivered, not here yet.
    #[must_use]
    pub fn expected(&self) -> Seq {
        match &self.deliveries {
            Some(deliveries) => deliveries.expected(&self.window),
            None if self.stats.in_flight > 0 => self.lowest_gap,
            None => self.window.next(),
        }
    }

    /// Packets held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.window.held()
    }

    /// The packet `seq`, if it is held.
    #[must_use]
    #[inline]
    pub fn packet(&self, seq: Seq) -> Option<&P> {
        self.window.packet(seq)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn packet_mut(&mut self, seq: Seq) -> Option<&mut P> {
        self.window.packet_mut(seq)
    }

    /// The neighbor that is asked for repairs first; `None` at the ingress.
    #[must_use]
    pub fn parent(&self) -> Option<NeighborId> {
        self.config.upstream.get(self.parent).copied()
    }

    /// The neighbors that get a tree: those configured, and, of the first, those that grafted themselves on.
    pub fn downstream(&self, tree: Tree) -> impl Iterator<Item = NeighborId> + '_ {
        self.answers.downstream(tree)
    }

    /// Whether the ingress has said that the stream has ended; at the ingress, whether it says so.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn forget_neighbor(&mut self, id: NeighborId) {
        self.answers.forget(id);
        self.downstream_changed = true;
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            sent: self.sent(),
            tree: self.counts.tree,
            delivered: self.counts.delivered,
            evicted_early: self.counts.evicted_early,
            ..self.stats.clone()
        }
    }

    fn sent(&self) -> u64 {
        self.sent_before
            .wrapping_add(self.window.next().above(self.first))
    }

    /// The ranges of the NAK or NAK confirmation that was polled last.
    pub(crate) fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// The header of a packet of this stream.
    pub(crate) fn header(&self, kind: Kind, sequence: Seq) -> Header {
        Header {
            kind,
            flags: 0,
            epoch: self.epoch.unwrap_or_default(),
            session: self.id,
            sequence,
            timestamp: 0,
        }
    }

    pub(crate) fn may_rebuild(&self) -> bool {
        self.parities.any_ready()
    }

    pub(crate) fn has_catch_ups(&self) -> bool {
        !self.catch_ups.is_empty()
    }

    /// What happened, if anything did, with the present epoch and parent.
    pub(crate) fn take_changes(&mut self) -> Option<(Changes, Epoch, Option<NeighborId>)> {
        if self.changes == Changes::default() {
            return None;
        }
        let taken = core::mem::take(&mut self.changes);
        Some((taken, self.epoch.unwrap_or_default(), self.parent()))
    }

    #[inline]
    pub(crate) fn take_downstream_changed(&mut self) -> bool {
        core::mem::take(&mut self.downstream_changed)
    }

    /// Gives up gaps past their deadline and packets past their retention, and lets requests go that were not renewed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.expire_gaps(now);
        self.downstream_changed |= self.answers.expire_requests(now);
        self.judge_loss(now);
        self.history = self.history.filter(|history| !history.is_over(now));
        self.expire_if_idle(now);
        if now >= self.evict_at {
            let all = (0..EVICT_BUDGET).any(|_| !self.evict_outlived(now));
            self.evict_at = match self.window.slot(self.window.trail()) {
                _ if !all => now,
                Slot::Held(_, at) => (at + self.config.retention).max(now + EVICT_INTERVAL),
                Slot::Absent | Slot::Missing | Slot::Lost => now + EVICT_INTERVAL,
            };
        }
    }

    /// When [`Session::handle_timeout`] or a `poll_*` next has something to do, beside the heartbeat that
    /// [`Session::announce_at`] tells of; [`Instant::NEVER`] if nothing is to come.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let mut next = Instant::NEVER;
        let mut due = |at: Instant| next = next.min(at);
        if !self.asks.is_empty() {
            self.asks.next_due(self.outstanding_max).map(&mut due);
        }
        if self.stats.in_flight > 0 {
            due(self.asks.since(self.lowest_gap) + self.config.deadline);
        }
        if self.window.trail() < self.window.next() {
            due(self.evict_at);
        }
        if self.has_requests() {
            due(self.request_at);
        }
        if !self.is_ingress() && self.epoch.is_some() {
            due(self.heard_at + self.config.idle_timeout);
        }
        self.judge_at().map(&mut due);
        self.answers.poll_timeout().map(&mut due);
        self.catch_ups.poll_timeout().map(&mut due);
        let deliveries = self.deliveries.as_ref();
        deliveries.and_then(Deliveries::poll_timeout).map(&mut due);
        if let Some(history) = self.history {
            due(history.poll_timeout());
        }
        let maker = self.parity_maker.as_ref();
        maker.and_then(ParityMaker::poll_timeout).map(&mut due);
        next
    }

    /// What packets in order give to do, beside their delivery.
    pub(crate) fn calm(&self) -> Calm {
        let busy = !self.asks.is_empty()
            || !self.answers.is_idle()
            || !self.catch_ups.is_empty()
            || self.history.is_some()
            || self.parity_maker.is_some()
            || self.window.trail() == self.window.next()
            || self.is_about_to_judge();
        if busy {
            Calm::No
        } else if self.ingress || self.answers.has_children() {
            Calm::Announcing
        } else {
            Calm::Silent
        }
    }

    #[inline]
    pub(crate) fn delivers(&self) -> bool {
        self.deliveries.is_some()
    }

    fn expire_gaps(&mut self, now: Instant) {
        while self.stats.in_flight > 0 && self.is_past_deadline(now, self.lowest_gap) {
            self.give_up(self.lowest_gap);
        }
    }

    fn is_past_deadline(&self, now: Instant, gap: Seq) -> bool {
        self.asks.since(gap) + self.config.deadline <= now
    }

    fn give_up(&mut self, gap: Seq) {
        self.asks.close(gap);
        self.window.put(gap, Slot::Lost);
        self.count_lost(gap);
    }

    /// Finds the lowest gap again when `seq` was it. The search moves on only, so it costs a step a packet in all.
    fn gap_closed(&mut self, seq: Seq) {
        if seq != self.lowest_gap || self.stats.in_flight == 0 {
            return;
        }
        while !self.window.is_missing(self.lowest_gap) {
            self.lowest_gap = self.lowest_gap.next();
        }
    }

    fn count_lost(&mut self, seq: Seq) {
        if seq >= self.first {
            self.stats.in_flight -= 1;
            self.stats.unrecovered = self.stats.unrecovered.wrapping_add(1);
            self.gap_closed(seq);
        }
    }

    /// Removes the trail if nobody needs it any more. `false`: it is needed, or there is none.
    fn evict_outlived(&mut self, now: Instant) -> bool {
        let outlived = match self.window.slot(self.window.trail()) {
            Slot::Held(_, at) => self.is_delivered() && self.is_outlived(now, at),
            Slot::Absent | Slot::Lost => self.is_delivered(),
            Slot::Missing => false,
        };
        outlived && self.window.pop().is_some()
    }

    /// Whether a packet that is here since `at` has been kept for the retention.
    #[inline]
    fn is_outlived(&self, now: Instant, at: Instant) -> bool {
        at.0.saturating_add(self.retention_ns) <= now.0
    }

    /// Whether the trail is not to be delivered, or has been.
    #[inline]
    fn is_delivered(&self) -> bool {
        match &self.deliveries {
            Some(deliveries) => self.window.trail() < deliveries.expected(&self.window),
            None => true,
        }
    }

    /// Removes the trail, needed or not, and returns the packet that was there. The caller knows that there is one.
    #[inline]
    fn evict_trail(&mut self, now: Instant) -> Option<P> {
        let trail = self.window.trail();
        let delivered = self.is_delivered();
        match self.window.pop()? {
            Slot::Held(packet, at) => {
                if !delivered || !self.is_outlived(now, at) {
                    self.counts.evicted_early += 1;
                }
                if !delivered {
                    self.skip(trail);
                }
                Some(packet)
            }
            Slot::Missing => {
                self.asks.close(trail);
                self.count_lost(trail);
                None
            }
            Slot::Absent | Slot::Lost => None,
        }
    }

    /// Does without delivering the packet `seq`, which is gone.
    #[cold]
    fn skip(&mut self, seq: Seq) {
        let deliveries = self.deliveries.as_mut();
        let skipped = deliveries.is_some_and(|deliveries| deliveries.skip(seq));
        self.stats.undelivered += u64::from(skipped);
    }
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
impl<P> Session<P> {
    /// The sequence at which this node joined the epoch.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// What must hold at any moment.
    pub(crate) fn check(&self) {
        let mut lowest = None;
        let mut seq = self.window.trail();
        while seq < self.window.next() {
            if self.window.is_missing(seq) {
                lowest = lowest.or((seq >= self.first).then_some(seq));
            }
            seq = seq.next();
        }
        if let Some(lowest) = lowest {
            assert_eq!(lowest, self.lowest_gap, "lowest gap");
        }
        if let Some(deliveries) = &self.deliveries {
            deliveries.check(self.window.capacity());
        }
    }
}

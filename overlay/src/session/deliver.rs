//! Delivering: in order or as they come, each packet once, never faster than clients can be expected to read.

use alloc::collections::VecDeque;

use super::{Order, Session, SessionConfig};
use crate::bucket::TokenBucket;
use crate::window::{Slot, Window};
use crate::{Instant, Seq};

/// Packets that may be delivered back to back. A default socket buffer (Linux: 212,992 bytes) holds about 90
/// datagrams of a full Ethernet frame each.
const BURST: u64 = 64;
/// Deliveries that each packet of the tree earns: one for itself and one to catch up, however fast the source is.
const EARNED: u64 = 2;

/// The packets that are next to be delivered.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Deliveries {
    order: Order,
    /// In order: everything from here on. What lies below is delivered, given up, or delivered as it comes.
    expected: Seq,
    /// What came before it is not delivered.
    from: Seq,
    pace: TokenBucket,
    /// As they come: what came and is not delivered yet.
    ready: VecDeque<Seq>,
    /// Something is ready, but the pace holds it back until then; [`Instant::NEVER`] where nothing is held back.
    paced_until: Instant,
}

impl Deliveries {
    pub(super) fn new(order: Order, config: &SessionConfig, capacity: u64) -> Deliveries {
        let room = if order == Order::Immediate {
            capacity as usize
        } else {
            0
        };
        Deliveries {
            order,
            from: Seq::FIRST,
            expected: Seq::FIRST,
            ready: VecDeque::with_capacity(room),
            pace: TokenBucket::with_burst(config.max_rate_pps.into(), BURST),
            paced_until: Instant::NEVER,
        }
    }

    /// Delivers from `seq`, the end of the window, on; returns how many packets it forgets.
    pub(super) fn start_at(&mut self, seq: Seq) -> usize {
        let forgotten = self.ready.len();
        self.ready.clear();
        self.from = seq;
        self.expected = seq;
        forgotten
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// Whether nothing waits that came out of order.
    pub(super) fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// Delivers from `seq` on, which lies before all that has come; nothing has been delivered yet.
    pub(super) fn begin_earlier(&mut self, seq: Seq) {
        self.from = seq;
        self.expected = seq;
    }

    /// Changes the order of what is not delivered yet. To order what came as it came would need to know what of it was
    /// delivered: only packets from the end of the window on are in order then.
    pub(super) fn change_order<P>(&mut self, order: Order, window: &Window<P>) {
        if order == self.order {
            return;
        }
        self.order = order;
        if order == Order::Immediate {
            self.ready.reserve(window.capacity() as usize);
            let mut seq = self.expected.max(window.trail());
            while seq < window.next() {
                if window.packet(seq).is_some() {
                    self.ready.push_back(seq);
                }
                seq = seq.next();
            }
        }
        self.expected = window.next();
    }

    /// The lowest sequence that is not delivered yet.
    #[inline]
    pub(super) fn expected<P>(&self, window: &Window<P>) -> Seq {
        match (self.ready.front(), self.order) {
            (Some(&seq), _) => seq,
            (None, Order::Ordered) => self.expected,
            (None, Order::Immediate) => window.next(),
        }
    }

    /// Notes a packet that came in. `true`: one that waits for its delivery had to make room for it.
    /// `live`: it came as the source sent it, rather than afterwards.
    #[inline]
    pub(super) fn packet_is_in(&mut self, seq: Seq, live: bool) -> bool {
        if live {
            self.pace.grant(EARNED);
        }
        let in_order = self.order == Order::Ordered && seq >= self.expected;
        if in_order || seq < self.from {
            return false;
        }
        let full = self.ready.len() == self.ready.capacity();
        let pushed_out = full && self.ready.pop_front().is_some();
        self.ready.push_back(seq);
        pushed_out
    }

    /// The held packet `seq` is about to go. `true` if it was not delivered.
    pub(super) fn skip(&mut self, seq: Seq) -> bool {
        match self.order {
            Order::Ordered => {
                let skipped = seq >= self.expected;
                self.expected = self.expected.max(seq.next());
                skipped
            }
            // Found gone, and counted, when its turn comes.
            Order::Immediate => false,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.paced_until).filter(|&until| until < Instant::NEVER)
    }

    /// The sequence to deliver now, not yet taken.
    #[inline]
    fn next<P>(&mut self, window: &Window<P>, undelivered: &mut u64) -> Option<Seq> {
        while let Some(&seq) = self.ready.front() {
            if window.packet(seq).is_some() {
                return Some(seq);
            }
            self.ready.pop_front();
            *undelivered += 1;
        }
        if self.order == Order::Immediate {
            return None;
        }
        self.expected = self.expected.max(window.trail());
        while self.expected < window.next() {
            match window.slot(self.expected) {
                Slot::Held(..) => return Some(self.expected),
                Slot::Missing => return None,
                Slot::Absent | Slot::Lost => self.expected = self.expected.next(),
            }
        }
        None
    }

    /// Takes what [`Deliveries::next`] has found.
    #[inline]
    fn take(&mut self) {
        if self.ready.is_empty() {
            self.expected = self.expected.next();
        } else {
            self.ready.pop_front();
        }
    }
}

impl<P> Session<P> {
    /// The next packet to deliver, if there is one and the pace allows it.
    #[inline]
    pub(crate) fn poll_deliver(&mut self, now: Instant) -> Option<Seq> {
        let deliveries = self
            .deliveries
            .as_mut()
            .filter(|_| self.history.is_none())?;
        deliveries.paced_until = Instant::NEVER;
        let seq = deliveries.next(&self.window, &mut self.stats.undelivered)?;
        if !deliveries.pace.take(now) {
            deliveries.paced_until = deliveries.pace.ready_at(now);
            return None;
        }
        deliveries.take();
        self.counts.delivered += 1;
        Some(seq)
    }

    /// When a delivery that the pace holds back is due.
    #[inline]
    pub(crate) fn deliver_due(&self) -> Option<Instant> {
        self.deliveries.as_ref()?.poll_timeout()
    }
}

#[cfg(any(test, fuzzing))]
impl Deliveries {
    pub(super) fn check(&self, capacity: u64) {
        assert!(self.ready.len() as u64 <= capacity, "ready");
    }
}

//! Joining late with history: a client of this node, or this node as a whole.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Order, Reject, Session};
use crate::bucket::TokenBucket;
use crate::window::Slot;
use crate::wire::{Header, NakRanges};
use crate::{Instant, NeighborId, Seq};

/// Packets of history that may be sent to a client back to back, as in `deliver.rs`.
const BURST: u64 = 64;
/// How much faster than `max_rate_pps` history is sent: it has to catch up with what goes on meanwhile.
const SPEED: u64 = 2;
/// Longest time that a node which joins waits to hear how much history there is.
const ANSWER_WAIT: Duration = Duration::from_millis(500);
/// How often it asks.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// A step of a client that catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// This packet, which the session holds, goes to the client alone.
    Packet(Seq),
    /// The client has all that came before: it is served with the others from this sequence on.
    Live(Seq),
}

/// The clients that catch up.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    clients: Vec<Client>,
    turn: usize,
    paced_until: Option<Instant>,
}

#[derive(Debug)]
struct Client {
    number: u64,
    next: Seq,
    pace: TokenBucket,
}

impl CatchUps {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn restart_at(&mut self, first: Seq) {
        for client in &mut self.clients {
            client.next = first;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.paced_until.filter(|_| !self.is_empty())
    }
}

/// A node that joined and waits to hear how much history its parent has.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    ask_at: Instant,
    until: Instant,
}

impl History {
    pub(super) fn poll_timeout(&self) -> Instant {
        self.ask_at.min(self.until)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// Whether it is time to ask.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let due = self.ask_at <= now;
        if due {
            self.ask_at = now + ASK_INTERVAL;
        }
        due
    }
}

impl<P> Session<P> {
    /// Sends a client what is here of the last `span`, then has it served with the others. It must not be served with
    /// them before.
    pub(crate) fn catch_up(&mut self, now: Instant, client: u64, span: Duration) {
        let next = self.history_start(now, self.expected(), span);
        let rate = SPEED * u64::from(self.config.max_rate_pps);
        self.catch_ups.clients.push(Client {
            number: client,
            next,
            pace: TokenBucket::with_burst(rate, BURST),
        });
    }

    /// Forgets a client that catches up.
    pub(crate) fn end_catch_up(&mut self, client: u64) {
        let clients = &mut self.catch_ups.clients;
        clients.retain(|known| known.number != client);
    }

    /// The first packet held of the last `span` before `end`; `end` if there is none.
    pub(super) fn history_start(&self, now: Instant, end: Seq, span: Duration) -> Seq {
        let oldest = self.window.trail().max(self.first);
        let mut start = end;
        let mut seq = end;
        while seq > oldest {
            seq = Seq(seq.0 - 1);
            match self.window.slot(seq) {
                Slot::Held(_, at) if at + span < now => break,
                Slot::Held(..) => start = seq,
                Slot::Absent | Slot::Missing | Slot::Lost => {}
            }
        }
        start
    }

    /// The next step of a client that catches up, clients in turn.
    pub(crate) fn poll_catch_up(&mut self, now: Instant) -> Option<(u64, CatchUp)> {
        if self.catch_ups.is_empty() || self.history.is_some() {
            return None;
        }
        self.catch_ups.paced_until = None;
        for _ in 0..self.catch_ups.clients.len() {
            self.catch_ups.turn = (self.catch_ups.turn + 1) % self.catch_ups.clients.len();
            if let Some(found) = self.next_step(now, self.catch_ups.turn) {
                return Some(found);
            }
        }
        None
    }

    fn next_step(&mut self, now: Instant, place: usize) -> Option<(u64, CatchUp)> {
        let splice = self.splice();
        let catch_ups = &mut self.catch_ups;
        let client = &mut catch_ups.clients[place];
        let number = client.number;
        if client.next < self.window.trail() {
            self.stats.catch_up_missed += self.window.trail().above(client.next);
            client.next = self.window.trail();
        }
        while client.next < self.window.next() && splice.is_none_or(|splice| client.next < splice) {
            match self.window.slot(client.next) {
                Slot::Held(..) => {
                    if !client.pace.take(now) {
                        let ready = client.pace.ready_at(now);
                        let until = catch_ups.paced_until.get_or_insert(ready);
                        *until = ready.min(*until);
                        return None;
                    }
                    let seq = client.next;
                    client.next = seq.next();
                    self.stats.caught_up += 1;
                    return Some((number, CatchUp::Packet(seq)));
                }
                Slot::Missing => return None,
                Slot::Absent | Slot::Lost => client.next = client.next.next(),
            }
        }
        let live = client.next.max(splice?);
        catch_ups.clients.swap_remove(place);
        Some((number, CatchUp::Live(live)))
    }

    /// The sequence from which on everything is delivered to all clients, and nothing before it; `None` while there is
    /// no such one.
    fn splice(&self) -> Option<Seq> {
        let deliveries = self.deliveries.as_ref()?;
        match deliveries.order() {
            Order::Ordered => Some(deliveries.expected(&self.window).max(self.window.trail())),
            Order::Immediate => deliveries.is_drained().then(|| self.window.next()),
        }
    }

    /// This node has just joined: asks for history, if it is to have any, and holds deliveries until it knows.
    pub(super) fn ask_for_history(&mut self, now: Instant) {
        if self.config.catch_up > Duration::ZERO {
            self.history = Some(History {
                ask_at: now,
                until: now + ANSWER_WAIT.min(self.config.deadline),
            });
        }
    }

    /// Takes a parent's word of how much history it has: all of it is missing now, and is fetched as gaps are.
    pub(crate) fn handle_history(
        &mut self,
        now: Instant,
        header: &Header,
        from: NeighborId,
        ranges: NakRanges<'_>,
    ) -> Result<(), Reject> {
        if self.epoch != Some(header.epoch) {
            return Err(Reject::EpochOld);
        }
        let awaited = self.history.is_some() && self.parent() == Some(from);
        let range = ranges.iter().next().filter(|_| awaited);
        let range = range.ok_or(Reject::RepairUnasked)?;
        self.history = None;
        // One slot stays free for the next packet.
        let oldest = (self.window.next().0 + 1).saturating_sub(self.window.capacity());
        let most = self.window.next().0.saturating_sub(self.held_max as u64);
        let first = range.first().0.max(oldest).max(most).max(1);
        let joined = self.first;
        if first >= joined.0 {
            return Ok(());
        }
        if Seq(first) < self.window.trail() {
            self.window.extend_back(Seq(first));
        }
        for seq in (first..joined.0).map(Seq) {
            self.begin_earlier(now, seq);
        }
        self.first = Seq(first);
        self.lowest_gap = Seq(first);
        if self.stats.in_flight > 0 && !self.window.is_missing(self.lowest_gap) {
            self.gap_closed(self.lowest_gap);
        }
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.begin_earlier(Seq(first));
        }
        Ok(())
    }

    /// Counts a sequence from before this node joined as one of its own.
    fn begin_earlier(&mut self, now: Instant, seq: Seq) {
        match self.window.slot(seq) {
            // A child had asked for it.
            Slot::Held(..) => self.stats.repaired += 1,
            Slot::Missing => self.stats.in_flight += 1,
            Slot::Absent | Slot::Lost => {
                self.window.put(seq, Slot::Missing);
                self.asks.open(now, seq, now);
                self.stats.in_flight += 1;
            }
        }
    }
}

//! Which gaps are open, and when each is to be asked for.

use alloc::boxed::Box;
use core::time::Duration;

use crate::{Instant, Seq};

/// Numbers of requests that have a list, and a delay, of their own; more share the last.
const TRIES: usize = 8;
/// The list of the gaps that a neighbor has promised to fill.
const PROMISED: usize = TRIES;
/// The list of the gaps that wait for the parity of their block.
const PARKED: usize = TRIES + 1;
const LISTS: usize = TRIES + 2;
/// Longest delay between two requests for one gap, unless the round trip itself is longer: a deadline of a second
/// leaves room for fifty requests, enough for a link that loses half of them both ways.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_millis(20);
/// The longest delay is that of so many round trips, within these bounds: a neighbor that is gone is noticed in tens of
/// milliseconds, and need not be asked a thousand times until then.
const BACK_OFF_RTOS: u32 = 4;
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
/// Requests after each of which one RTO is waited. On a link that loses a fifth both ways one in three fails, and it is
/// loss rather than load: repairs keep to a rate of their own.
const PATIENT_TRIES: usize = 3;
/// In a link field: no sequence. Sequences start at 1.
const NONE: Seq = Seq(0);

/// One missing sequence, a member of one list.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    since: Instant,
    due: Instant,
    /// Until when the children were told that they need not ask.
    told: Instant,
    previous: Seq,
    next: Seq,
    tries: u8,
    list: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    head: Seq,
    tail: Seq,
}

/// The open gaps of a session, in one list for each number of requests made so far, and two for those that wait for
/// something else than an answer.
///
/// All gaps of a list wait for the same delay, so each list is in order of time by itself: opening, asking and
/// closing a gap take constant time and no memory.
#[derive(Debug)]
pub(super) struct Asks {
    gaps: Box<[Gap]>,
    lists: [List; LISTS],
    open: usize,
    outstanding: usize,
}

impl Asks {
    /// Room for the gaps of a window of `capacity` sequences, a power of two.
    pub(super) fn new(capacity: u64) -> Asks {
        debug_assert!(capacity.is_power_of_two());
        Asks {
            gaps: alloc::vec![Gap::default(); capacity as usize].into_boxed_slice(),
            lists: [List::default(); LISTS],
            open: 0,
            outstanding: 0,
        }
    }

    fn gap(&mut self, seq: Seq) -> &mut Gap {
        let index = (seq.0 & (self.gaps.len() as u64 - 1)) as usize;
        &mut self.gaps[index]
    }

    fn peek(&self, seq: Seq) -> &Gap {
        &self.gaps[(seq.0 & (self.gaps.len() as u64 - 1)) as usize]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// When the gap `seq`, which is open, was found.
    pub(super) fn since(&self, seq: Seq) -> Instant {
        self.peek(seq).since
    }

    /// Until when the children need not ask for the gap `seq`, which is open, as far as they know.
    pub(super) fn told(&self, seq: Seq) -> Instant {
        self.peek(seq).told
    }

    /// Notes that the children are told.
    pub(super) fn tell(&mut self, seq: Seq, until: Instant) {
        self.gap(seq).told = until;
    }

    /// How often the gap `seq`, which is open, was asked for.
    pub(super) fn tries(&self, seq: Seq) -> u8 {
        self.peek(seq).tries
    }

    /// Whether the gap `seq`, which is open, was neither asked for nor promised so far.
    pub(super) fn is_fresh(&self, seq: Seq) -> bool {
        let gap = self.peek(seq);
        gap.tries == 0 && usize::from(gap.list) != PROMISED
    }

    /// Opens the gap `seq`, to be asked for first at `due`.
    pub(super) fn open(&mut self, now: Instant, seq: Seq, due: Instant) {
        self.open_in(now, seq, 0, due);
    }

    /// Opens the gap `seq`, to wait for parity until [`Asks::unpark`], or until `due`.
    pub(super) fn open_parked(&mut self, now: Instant, seq: Seq, due: Instant) {
        self.open_in(now, seq, PARKED, due);
    }

    fn open_in(&mut self, now: Instant, seq: Seq, list: usize, due: Instant) {
        self.open += 1;
        *self.gap(seq) = Gap {
            since: now,
            ..Gap::default()
        };
        self.append(seq, list, due);
    }

    /// Has the gaps up to `last` that wait for parity asked for at `due`.
    pub(super) fn unpark(&mut self, last: Seq, due: Instant) {
        while self.lists[PARKED].head != NONE && self.lists[PARKED].head <= last {
            let seq = self.lists[PARKED].head;
            self.unlink(seq);
            self.append(seq, 0, due);
        }
    }

    /// The lowest gap that waits for parity.
    pub(super) fn first_parked(&self) -> Option<Seq> {
        Some(self.lists[PARKED].head).filter(|&head| head != NONE)
    }

    /// Closes the gap `seq`, which is open.
    pub(super) fn close(&mut self, seq: Seq) {
        self.open -= 1;
        self.outstanding -= usize::from(self.peek(seq).tries > 0);
        self.unlink(seq);
    }

    /// Notes one more request for the gap `seq`: the next is due after `rto`, doubled with each try after the first few.
    /// Returns when.
    pub(super) fn asked(&mut self, now: Instant, seq: Seq, rto: Duration) -> Instant {
        let gap = self.gap(seq);
        let first = gap.tries == 0;
        gap.tries = gap.tries.saturating_add(1);
        let list = usize::from(gap.tries).min(TRIES - 1);
        self.outstanding += usize::from(first);
        self.unlink(seq);
        let due = now + back_off(list, rto);
        self.append(seq, list, due);
        due
    }

    /// Lets the gap `seq` wait until `due` without a request.
    pub(super) fn put_off(&mut self, seq: Seq, due: Instant) {
        let list = usize::from(self.peek(seq).list);
        self.unlink(seq);
        self.append(seq, list, due);
    }

    /// Lets the gap `seq` wait until `due`: it was promised. An answer that is awaited for longer still is.
    pub(super) fn promised(&mut self, seq: Seq, due: Instant) {
        let gap = self.peek(seq);
        let asked = gap.tries > 0;
        let due = if asked { due.max(gap.due) } else { due };
        self.unlink(seq);
        self.append(seq, PROMISED, due);
    }

    /// Forgets all requests and promises: every gap is due at once, as if never asked for.
    pub(super) fn start_over(&mut self, now: Instant) {
        for list in 1..LISTS {
            while self.lists[list].head != NONE {
                let seq = self.lists[list].head;
                self.unlink(seq);
                self.gap(seq).tries = 0;
                self.append(seq, 0, now);
            }
        }
        self.outstanding = 0;
    }

    /// A gap that is due: those asked for before come first; new ones only while fewer than `outstanding_max` are
    /// outstanding.
    pub(super) fn due(&self, now: Instant, outstanding_max: usize) -> Option<Seq> {
        let heads = self.heads(outstanding_max);
        heads
            .map(|list| list.head)
            .find(|&head| self.peek(head).due <= now)
    }

    /// When the next gap is due.
    pub(super) fn next_due(&self, outstanding_max: usize) -> Option<Instant> {
        if self.open == 0 {
            return None;
        }
        self.heads(outstanding_max)
            .map(|list| self.peek(list.head).due)
            .min()
    }

    fn heads(&self, outstanding_max: usize) -> impl Iterator<Item = &List> {
        let room = self.outstanding < outstanding_max;
        let fresh = [&self.lists[0], &self.lists[PARKED]];
        self.lists[1..=PROMISED]
            .iter()
            .chain(fresh.into_iter().filter(move |_| room))
            .filter(|list| list.head != NONE)
    }

    fn append(&mut self, seq: Seq, list: usize, due: Instant) {
        let tail = self.lists[list].tail;
        let gap = self.gap(seq);
        gap.list = list as u8;
        gap.due = due;
        gap.previous = tail;
        gap.next = NONE;
        if tail == NONE {
            self.lists[list].head = seq;
        } else {
            self.gap(tail).next = seq;
        }
        self.lists[list].tail = seq;
    }

    fn unlink(&mut self, seq: Seq) {
        let Gap {
            previous,
            next,
            list,
            ..
        } = *self.peek(seq);
        let list = usize::from(list);
        if previous == NONE {
            self.lists[list].head = next;
        } else {
            self.gap(previous).next = next;
        }
        if next == NONE {
            self.lists[list].tail = previous;
        } else {
            self.gap(next).previous = previous;
        }
    }
}

/// How long the answer to a request is waited for, after as many of them as the list stands for.
fn back_off(tries: usize, rto: Duration) -> Duration {
    let doublings = tries.saturating_sub(PATIENT_TRIES);
    let longest = (rto * BACK_OFF_RTOS).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
    (rto * (1 << doublings)).min(longest.max(rto))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const RTO: Duration = Duration::from_millis(1);

    fn due_now(asks: &mut Asks, now: Instant, most: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(seq) = asks.due(now, most) {
            asks.asked(now, seq, RTO);
            seqs.push(seq.0);
        }
        seqs
    }

    #[test]
    fn gaps_are_asked_for_in_order_and_again_with_back_off() {
        let mut asks = Asks::new(16);
        let start = Instant(1000);
        for seq in 5..9 {
            asks.open(start, Seq(seq), start + RTO);
        }
        assert_eq!(due_now(&mut asks, start, 100), []);
        assert_eq!(due_now(&mut asks, start + RTO, 100), [5, 6, 7, 8]);
        asks.close(Seq(6));
        for tries in 2..=4 {
            assert_eq!(due_now(&mut asks, start + RTO * tries, 100), [5, 7, 8]);
        }
        assert_eq!(due_now(&mut asks, start + RTO * 5, 100), []);
        assert_eq!(due_now(&mut asks, start + RTO * 6, 100), [5, 7, 8]);
        for seq in [5, 7, 8] {
            asks.close(Seq(seq));
        }
        assert_eq!(
            (asks.open, asks.outstanding, asks.next_due(100)),
            (0, 0, None)
        );
    }

    #[test]
    fn only_so_many_are_outstanding() {
        let mut asks = Asks::new(16);
        for seq in 1..=10 {
            asks.open(Instant(0), Seq(seq), Instant(0));
        }
        assert_eq!(due_now(&mut asks, Instant(0), 4), [1, 2, 3, 4]);
        asks.close(Seq(2));
        assert_eq!(due_now(&mut asks, Instant(1), 4), [5]);
    }

    #[test]
    fn a_promised_gap_waits_for_its_promise_and_holds_up_no_other() {
        let mut asks = Asks::new(16);
        asks.open(Instant(0), Seq(1), Instant(100));
        asks.promised(Seq(1), Instant(1000));
        asks.open(Instant(50), Seq(2), Instant(150));
        assert_eq!(due_now(&mut asks, Instant(150), 100), [2]);
        assert_eq!(due_now(&mut asks, Instant(999), 100), []);
        assert_eq!(due_now(&mut asks, Instant(1000), 100), [1]);
    }

    #[test]
    fn a_parked_gap_is_asked_for_once_its_block_is_over() {
        let mut asks = Asks::new(16);
        for seq in [3, 7] {
            asks.open_parked(Instant(0), Seq(seq), Instant(5000));
        }
        asks.unpark(Seq(4), Instant(100));
        assert_eq!(asks.first_parked(), Some(Seq(7)));
        assert_eq!(due_now(&mut asks, Instant(100), 100), [3]);
        assert_eq!(due_now(&mut asks, Instant(5000), 100), [7]);
    }

    #[test]
    fn starting_over_makes_all_due_again() {
        let mut asks = Asks::new(16);
        for seq in 1..=4 {
            asks.open(Instant(0), Seq(seq), Instant(0));
        }
        due_now(&mut asks, Instant(0), 100);
        asks.start_over(Instant(10));
        assert_eq!(asks.outstanding, 0);
        assert_eq!(due_now(&mut asks, Instant(10), 100), [1, 2, 3, 4]);
    }
}

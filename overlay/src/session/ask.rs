//! Which gaps are open, and when each is to be asked for.

use alloc::boxed::Box;
use core::time::Duration;

use crate::{Instant, Seq};

/// Numbers of requests that have a list, and a delay, of their own; more share the last.
const TRIES: usize = 8;
/// Longest delay between two requests for one gap, unless the round trip itself is longer: a deadline of a second
/// leaves room for fifty requests, enough for a link that loses half of them both ways.
const BACK_OFF_MAX: Duration = Duration::from_millis(20);
/// In a link field: no sequence. Sequences start at 1.
const NONE: Seq = Seq(0);

/// One missing sequence, a member of the list of its number of tries.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    since: Instant,
    due: Instant,
    previous: Seq,
    next: Seq,
    tries: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    head: Seq,
    tail: Seq,
}

/// The open gaps of a session, in one list for each number of requests made so far.
///
/// All gaps of a list wait for the same delay, so each list is in order of time by itself: opening, asking and
/// closing a gap take constant time and no memory.
#[derive(Debug)]
pub(super) struct Asks {
    gaps: Box<[Gap]>,
    lists: [List; TRIES],
    open: usize,
    outstanding: usize,
}

impl Asks {
    /// Room for the gaps of a window of `capacity` sequences, a power of two.
    pub(super) fn new(capacity: u64) -> Asks {
        debug_assert!(capacity.is_power_of_two());
        Asks {
            gaps: alloc::vec![Gap::default(); capacity as usize].into_boxed_slice(),
            lists: [List::default(); TRIES],
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

    /// When the gap `seq`, which is open, was found.
    pub(super) fn since(&self, seq: Seq) -> Instant {
        self.peek(seq).since
    }

    /// How often the gap `seq`, which is open, was asked for.
    pub(super) fn tries(&self, seq: Seq) -> u8 {
        self.peek(seq).tries
    }

    /// Opens the gap `seq`, to be asked for first at `due`.
    pub(super) fn open(&mut self, now: Instant, seq: Seq, due: Instant) {
        self.open += 1;
        *self.gap(seq) = Gap {
            since: now,
            ..Gap::default()
        };
        self.append(seq, 0, due);
    }

    /// Closes the gap `seq`, which is open.
    pub(super) fn close(&mut self, seq: Seq) {
        self.open -= 1;
        self.unlink(seq);
    }

    /// Notes one more request for the gap `seq`: the next is due after `rto`, doubled with each try.
    pub(super) fn asked(&mut self, now: Instant, seq: Seq, rto: Duration) {
        let tries = self.peek(seq).tries.saturating_add(1);
        let back_off = rto * (1 << (list_of(tries) - 1));
        self.unlink(seq);
        self.append(seq, tries, now + back_off.min(BACK_OFF_MAX.max(rto)));
    }

    /// Lets the gap `seq` wait until `due` without a request.
    pub(super) fn put_off(&mut self, seq: Seq, due: Instant) {
        let tries = self.peek(seq).tries;
        self.unlink(seq);
        self.append(seq, tries, due);
    }

    /// Forgets all requests: every gap is due at once, as if never asked for.
    pub(super) fn start_over(&mut self, now: Instant) {
        for tries in 1..TRIES {
            while self.lists[tries].head != NONE {
                let seq = self.lists[tries].head;
                self.unlink(seq);
                self.append(seq, 0, now);
            }
        }
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
        let fresh = (self.outstanding < outstanding_max).then_some(&self.lists[0]);
        self.lists[1..]
            .iter()
            .chain(fresh)
            .filter(|list| list.head != NONE)
    }

    fn append(&mut self, seq: Seq, tries: u8, due: Instant) {
        let list = list_of(tries);
        let tail = self.lists[list].tail;
        let gap = self.gap(seq);
        gap.tries = tries;
        gap.due = due;
        gap.previous = tail;
        gap.next = NONE;
        if tail == NONE {
            self.lists[list].head = seq;
        } else {
            self.gap(tail).next = seq;
        }
        self.lists[list].tail = seq;
        self.outstanding += usize::from(tries > 0);
    }

    fn unlink(&mut self, seq: Seq) {
        let Gap {
            previous,
            next,
            tries,
            ..
        } = *self.peek(seq);
        let list = list_of(tries);
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
        self.outstanding -= usize::from(tries > 0);
    }
}

/// The list of the gaps that were asked for `tries` times.
fn list_of(tries: u8) -> usize {
    usize::from(tries).min(TRIES - 1)
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
        assert_eq!(due_now(&mut asks, start + RTO * 2, 100), [5, 7, 8]);
        assert_eq!(due_now(&mut asks, start + RTO * 3, 100), []);
        assert_eq!(due_now(&mut asks, start + RTO * 4, 100), [5, 7, 8]);
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

//! What is yet to happen, in slots of time.
//!
//! A slot is no longer than the shortest link: what happens at one router cannot reach another within the slot. So
//! the routers of a slot need not take turns event by event: each gets through its part of the slot at once, while
//! its memory is in the processor's cache. That is what makes ten thousand routers fast on one core, and it is as
//! deterministic as the one order of all events would be.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Slots kept in the ring; what lies further ahead waits in a map.
const RING: usize = 4096;

/// Something that happens at a router.
#[derive(Debug)]
pub(super) struct Event<T> {
    /// When, in ns since the start.
    pub(super) at: u64,
    /// At which router.
    pub(super) router: u32,
    /// What.
    pub(super) what: T,
}

/// A calendar queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    slot_ns: u64,
    /// The first slot that may hold something.
    slot: u64,
    ring: Vec<Vec<Event<T>>>,
    /// A bit for each place of the ring that is not empty.
    full: [u64; RING / 64],
    far: BTreeMap<u64, Vec<Event<T>>>,
    /// Memory of slots that are over, for those to come.
    spare: Vec<Vec<Event<T>>>,
}

impl<T> Queue<T> {
    pub(super) fn new(slot_ns: u64) -> Queue<T> {
        Queue {
            slot_ns: slot_ns.max(1),
            slot: 0,
            ring: (0..RING).map(|_| Vec::new()).collect(),
            full: [0; RING / 64],
            far: BTreeMap::new(),
            spare: Vec::new(),
        }
    }

    /// The slot that a moment lies in.
    pub(super) fn slot_of(&self, at: u64) -> u64 {
        at / self.slot_ns
    }

    /// When the slot that ends at `end` began.
    pub(super) fn start_of(&self, end: u64) -> u64 {
        end - self.slot_ns
    }

    /// When the next slot with something in it begins.
    pub(super) fn next_at(&self) -> Option<u64> {
        Some(self.next_slot()? * self.slot_ns)
    }

    fn next_slot(&self) -> Option<u64> {
        let far = self.far.keys().next().copied();
        [self.next_in_ring(), far].into_iter().flatten().min()
    }

    /// Adds what happens at `event.at`, which is not before the slot that was taken last ended.
    pub(super) fn push(&mut self, event: Event<T>) {
        let slot = self.slot_of(event.at).max(self.slot);
        if slot - self.slot >= RING as u64 {
            self.far.entry(slot).or_default().push(event);
            return;
        }
        let place = (slot % RING as u64) as usize;
        self.full[place / 64] |= 1 << (place % 64);
        let events = &mut self.ring[place];
        if events.capacity() == 0 {
            *events = self.spare.pop().unwrap_or_default();
        }
        events.push(event);
    }

    /// The next slot with something in it: its end, and its events in the order in which they were added. The vector
    /// comes back by [`Queue::give_back`].
    pub(super) fn take(&mut self) -> Option<(u64, Vec<Event<T>>)> {
        let slot = self.next_slot()?;
        let mut events = self.far.remove(&slot).unwrap_or_default();
        if slot - self.slot < RING as u64 {
            let place = (slot % RING as u64) as usize;
            self.full[place / 64] &= !(1 << (place % 64));
            let mut ring = core::mem::take(&mut self.ring[place]);
            if events.is_empty() {
                events = ring;
            } else {
                events.append(&mut ring);
            }
        }
        self.slot = slot + 1;
        Some((self.slot * self.slot_ns, events))
    }

    /// Takes back the memory of a slot.
    pub(super) fn give_back(&mut self, mut events: Vec<Event<T>>) {
        events.clear();
        self.spare.push(events);
    }

    fn next_in_ring(&self) -> Option<u64> {
        let start = (self.slot % RING as u64) as usize;
        let words = RING / 64;
        // The word of the start is looked at twice: first above the start, at last below it.
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.full[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (place + RING - start) % RING;
                return Some(self.slot + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_slot_by_slot_however_far_ahead() {
        let mut queue = Queue::new(10);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut expected = Vec::new();
        for what in 0..5000 {
            let at = [rng.u64(..1000), rng.u64(..1_000_000)][rng.usize(..2)];
            expected.push((at / 10, what));
            queue.push(Event {
                at,
                router: 0,
                what,
            });
        }
        let mut taken = Vec::new();
        while let Some((end, events)) = queue.take() {
            for event in &events {
                assert!(event.at < end && event.at + 10 >= end);
                taken.push((end / 10 - 1, event.what));
            }
            // What is added late comes all the same.
            if end == 500 {
                let event = Event {
                    at: 77_777,
                    router: 0,
                    what: 9999,
                };
                queue.push(event);
                expected.push((7777, 9999));
            }
            queue.give_back(events);
        }
        expected.sort_unstable();
        taken.sort_unstable();
        assert_eq!(taken, expected);
    }
}

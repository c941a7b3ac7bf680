//! When each of a fixed number of places is next due.

use alloc::boxed::Box;

use crate::Instant;

/// One timer a place, in a tree of which each knot holds the earlier of its two below: setting one and finding the
/// earliest take a step a level, and no memory.
#[derive(Debug)]
pub(crate) struct Timers {
    /// The root at 1, below each `n` those at `2n` and `2n + 1`; the lower half are the places.
    tree: Box<[Instant]>,
}

impl Timers {
    pub(crate) fn new(places: usize) -> Timers {
        let tree = alloc::vec![Instant::NEVER; 2 * places.max(1).next_power_of_two()];
        Timers {
            tree: tree.into_boxed_slice(),
        }
    }

    fn first_place(&self) -> usize {
        self.tree.len() / 2
    }

    /// Has the timer of `place` go off at `due`, if it does not go off before.
    pub(crate) fn set(&mut self, place: usize, due: Instant) {
        if due < self.tree[self.first_place() + place] {
            self.put(place, due);
        }
    }

    /// When the timer of `place` goes off.
    pub(crate) fn due(&self, place: usize) -> Instant {
        self.tree[self.first_place() + place]
    }

    pub(crate) fn clear(&mut self, place: usize) {
        self.put(place, Instant::NEVER);
    }

    fn put(&mut self, place: usize, due: Instant) {
        let mut at = self.first_place() + place;
        self.tree[at] = due;
        while at > 1 {
            at /= 2;
            self.tree[at] = self.tree[2 * at].min(self.tree[2 * at + 1]);
        }
    }

    /// When the next one goes off; the end of time if none is set.
    pub(crate) fn next_due(&self) -> Instant {
        self.tree[1]
    }

    /// A place whose timer goes off by `now`; it is cleared.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<usize> {
        if self.next_due() == Instant::NEVER || self.next_due() > now {
            return None;
        }
        let mut at = 1;
        while at < self.first_place() {
            at = 2 * at + usize::from(self.tree[2 * at] > now);
        }
        let place = at - self.first_place();
        self.clear(place);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_goes_off_once_when_it_is_due() {
        let mut timers = Timers::new(5);
        for (place, due) in [(0, 30), (4, 10), (2, 20), (4, 40), (2, 15)] {
            timers.set(place, Instant(due));
        }
        assert_eq!(timers.pop(Instant(9)), None);
        assert_eq!(timers.next_due(), Instant(10));
        let mut popped = std::vec::Vec::from_iter(core::iter::from_fn(|| timers.pop(Instant(15))));
        popped.sort_unstable();
        assert_eq!(popped, [2, 4]);
        timers.clear(0);
        assert_eq!(timers.next_due(), Instant::NEVER);
        assert_eq!(timers.pop(Instant::NEVER), None);
    }
}

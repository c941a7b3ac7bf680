//! When each of a fixed number of places is next due.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::Instant;

/// Times of a knot: a cache line.
const WIDTH: usize = 8;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Knot([Instant; WIDTH]);

impl Knot {
    fn earliest(&self) -> Instant {
        self.0.iter().copied().min().unwrap_or(Instant::NEVER)
    }
}

/// One timer a place, in a tree each of whose knots holds the earliest of each of the eight below it: setting one and
/// finding the earliest take a step a level (six for 100,000 places), and no memory. In most cases the lowest level
/// alone is touched: what is not the earliest of its knot moves nothing above.
#[derive(Debug)]
pub(crate) struct Timers {
    /// The places, then the earliest of each eight of them, and so on, up to a single knot.
    levels: Vec<Box<[Knot]>>,
}

impl Timers {
    pub(crate) fn new(places: usize) -> Timers {
        let mut levels = Vec::new();
        let mut knots = places.max(1);
        loop {
            knots = knots.div_ceil(WIDTH);
            let level = alloc::vec![Knot([Instant::NEVER; WIDTH]); knots];
            levels.push(level.into_boxed_slice());
            if knots == 1 {
                return Timers { levels };
            }
        }
    }

    /// Has the timer of `place` go off at `due`, and not when it was to before.
    pub(crate) fn set(&mut self, mut place: usize, mut due: Instant) {
        for level in &mut self.levels {
            let knot = &mut level[place / WIDTH];
            let before = knot.earliest();
            knot.0[place % WIDTH] = due;
            due = knot.earliest();
            if due == before {
                return;
            }
            place /= WIDTH;
        }
    }

    pub(crate) fn clear(&mut self, place: usize) {
        self.set(place, Instant::NEVER);
    }

    /// When the next one goes off; the end of time if none is set.
    #[inline]
    pub(crate) fn next_due(&self) -> Instant {
        let top = self.levels.last().and_then(|level| level.first());
        top.map_or(Instant::NEVER, Knot::earliest)
    }

    /// A place whose timer goes off by `now`; it is cleared.
    #[inline]
    pub(crate) fn pop(&mut self, now: Instant) -> Option<usize> {
        let due = self.next_due();
        if due > now || due == Instant::NEVER {
            return None;
        }
        let place = self.levels.iter().rev().try_fold(0, |knot, level| {
            let times = &level[knot].0;
            let place = times.iter().position(|&due| due <= now)?;
            Some(knot * WIDTH + place)
        })?;
        self.clear(place);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_timer_goes_off_once_when_it_is_due() {
        let mut timers = Timers::new(5);
        for (place, due) in [(0, 30), (4, 40), (2, 20), (4, 10), (2, 15)] {
            timers.set(place, Instant(due));
        }
        assert_eq!(timers.pop(Instant(9)), None);
        assert_eq!(timers.next_due(), Instant(10));
        let mut popped = Vec::from_iter(core::iter::from_fn(|| timers.pop(Instant(15))));
        popped.sort_unstable();
        assert_eq!(popped, [2, 4]);
        timers.clear(0);
        assert_eq!(timers.next_due(), Instant::NEVER);
        assert_eq!(timers.pop(Instant::NEVER), None);
    }

    proptest! {
        #[test]
        fn the_tree_behaves_as_a_list(
            steps in prop::collection::vec((0usize..700, 0u64..1000, 0u64..8), 1..500)
        ) {
            let mut timers = Timers::new(700);
            let mut model = BTreeMap::new();
            for (place, due, kind) in steps {
                if kind == 0 {
                    let due_now = |timers: &mut Timers| timers.pop(Instant(due));
                    let mut popped = Vec::from_iter(core::iter::from_fn(|| due_now(&mut timers)));
                    popped.sort_unstable();
                    let expected = model.extract_if(.., |_, at| *at <= due).map(|(place, _)| place);
                    prop_assert_eq!(popped, Vec::from_iter(expected));
                } else {
                    timers.set(place, Instant(due));
                    model.insert(place, due);
                }
                let next = model.values().min().map_or(Instant::NEVER, |&due| Instant(due));
                prop_assert_eq!(timers.next_due(), next);
            }
        }
    }
}

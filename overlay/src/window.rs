//! What a node holds of a session: a ring of slots from the trail to the lead.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Instant, Seq};

/// The state of one sequence within the window.
#[derive(Debug)]
pub(crate) enum Slot<P> {
    /// Never looked for: it lies before the sequence at which this node joined.
    Absent,
    /// Looked for.
    Missing,
    /// Here since the given moment.
    Held(P, Instant),
    /// Given up.
    Lost,
}

/// The children that a sequence matters to, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interest {
    /// Those that wait for it.
    pub(crate) waiting: u64,
    /// Those that ever asked for it.
    pub(crate) asked: u64,
}

/// What is known of a sequence's ways, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u8);

impl Marks {
    /// The first tree has brought it, or has been made up for.
    pub(crate) const FIRST_TREE: Marks = Marks(1);
    /// The second tree has brought it.
    pub(crate) const SECOND_TREE: Marks = Marks(2);
    /// It went down the tree as a repair.
    pub(crate) const SUBCAST: Marks = Marks(4);

    pub(crate) fn has(self, other: Marks) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds `other`. `true`: it was not there before.
    pub(crate) fn add(&mut self, other: Marks) -> bool {
        let new = !self.has(other);
        self.0 |= other.0;
        new
    }
}

/// The sequences from trail to lead, each with its slot, its marks and the children that it matters to.
///
/// Memory is taken once: 41 bytes a slot for a `P` of 8 bytes.
#[derive(Debug)]
pub(crate) struct Window<P> {
    slots: Box<[Slot<P>]>,
    marks: Box<[Marks]>,
    interest: Box<[Interest]>,
    trail: Seq,
    /// The sequence after the lead.
    next: Seq,
    held: usize,
}

impl<P> Window<P> {
    /// A window of at least `capacity` sequences (rounded up to a power of two), empty, whose next one is `next`.
    pub(crate) fn new(capacity: usize, next: Seq) -> Window<P> {
        let capacity = capacity.next_power_of_two();
        let mut slots = Vec::with_capacity(capacity);
        slots.resize_with(capacity, || Slot::Absent);
        Window {
            slots: slots.into_boxed_slice(),
            marks: alloc::vec![Marks::default(); capacity].into_boxed_slice(),
            interest: alloc::vec![Interest::default(); capacity].into_boxed_slice(),
            trail: next,
            next,
            held: 0,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Oldest sequence of the window; equal to [`Window::next`] when it is empty.
    pub(crate) fn trail(&self) -> Seq {
        self.trail
    }

    /// The sequence after the lead.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        self.trail <= seq && seq < self.next
    }

    /// Whether the window can grow to hold `seq` without giving up its trail.
    pub(crate) fn has_room_for(&self, seq: Seq) -> bool {
        seq.above(self.trail) < self.capacity()
    }

    fn index(&self, seq: Seq) -> usize {
        (seq.0 & (self.capacity() - 1)) as usize
    }

    /// The slot of `seq`; [`Slot::Absent`] outside of the window.
    pub(crate) fn slot(&self, seq: Seq) -> &Slot<P> {
        if self.contains(seq) {
            &self.slots[self.index(seq)]
        } else {
            &Slot::Absent
        }
    }

    pub(crate) fn is_missing(&self, seq: Seq) -> bool {
        matches!(self.slot(seq), Slot::Missing)
    }

    /// The packet `seq`, if it is held.
    pub(crate) fn packet(&self, seq: Seq) -> Option<&P> {
        match self.slot(seq) {
            Slot::Held(packet, _) => Some(packet),
            _ => None,
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn packet_mut(&mut self, seq: Seq) -> Option<&mut P> {
        if !self.contains(seq) {
            return None;
        }
        let index = self.index(seq);
        match &mut self.slots[index] {
            Slot::Held(packet, _) => Some(packet),
            _ => None,
        }
    }

    /// Appends the next sequence. The caller has checked [`Window::has_room_for`] it.
    pub(crate) fn push(&mut self, slot: Slot<P>) {
        let seq = self.next;
        debug_assert!(self.has_room_for(seq));
        self.next = seq.next();
        self.put(seq, slot);
    }

    /// Lets the window begin at an older sequence, with nothing there. The caller has checked that it fits.
    pub(crate) fn extend_back(&mut self, trail: Seq) {
        debug_assert!(trail < self.trail && self.next.above(trail) <= self.capacity());
        while self.trail > trail {
            self.trail = Seq(self.trail.0 - 1);
            let index = self.index(self.trail);
            self.slots[index] = Slot::Absent;
            self.forget_ways(index);
        }
    }

    /// Changes the slot of a sequence of the window.
    pub(crate) fn put(&mut self, seq: Seq, slot: Slot<P>) {
        debug_assert!(self.contains(seq));
        let index = self.index(seq);
        self.held += usize::from(matches!(slot, Slot::Held(..)));
        let before = core::mem::replace(&mut self.slots[index], slot);
        self.forget(&before);
    }

    /// Removes the trail and returns what was there; `None` when the window is empty.
    pub(crate) fn pop(&mut self) -> Option<Slot<P>> {
        if self.trail == self.next {
            return None;
        }
        let index = self.index(self.trail);
        let slot = core::mem::replace(&mut self.slots[index], Slot::Absent);
        self.forget(&slot);
        self.forget_ways(index);
        self.trail = self.trail.next();
        Some(slot)
    }

    /// Moves an empty window to another place.
    pub(crate) fn restart_at(&mut self, next: Seq) {
        debug_assert!(self.trail == self.next);
        self.trail = next;
        self.next = next;
    }

    fn forget(&mut self, slot: &Slot<P>) {
        self.held -= usize::from(matches!(slot, Slot::Held(..)));
    }

    fn forget_ways(&mut self, index: usize) {
        self.marks[index] = Marks::default();
        self.interest[index] = Interest::default();
    }

    /// The children that `seq`, which lies in the window, matters to.
    pub(crate) fn interest_mut(&mut self, seq: Seq) -> &mut Interest {
        debug_assert!(self.contains(seq));
        let index = self.index(seq);
        &mut self.interest[index]
    }

    /// The marks of `seq`, which lies in the window.
    pub(crate) fn marks_mut(&mut self, seq: Seq) -> &mut Marks {
        debug_assert!(self.contains(seq));
        let index = self.index(seq);
        &mut self.marks[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool),
        Fill(u64),
        Pop,
        Back(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<bool>().prop_map(Step::Push),
            3 => (0u64..40).prop_map(Step::Fill),
            1 => Just(Step::Pop),
            1 => (1u64..8).prop_map(Step::Back),
        ]
    }

    proptest! {
        /// `Some` is a packet, `None` a hole; sequences that are not in the map are absent.
        #[test]
        fn the_window_behaves_as_a_map(steps in prop::collection::vec(any_step(), 1..400)) {
            let start = Seq(100);
            let mut window = Window::new(32, start);
            let mut model: BTreeMap<u64, Option<u64>> = BTreeMap::new();
            let (mut trail, mut next) = (start.0, start.0);
            for step in steps {
                match step {
                    Step::Push(held) if window.has_room_for(Seq(next)) => {
                        let slot = if held { Slot::Held(next, Instant(0)) } else { Slot::Missing };
                        window.push(slot);
                        model.insert(next, held.then_some(next));
                        next += 1;
                    }
                    Step::Fill(offset) if model.get(&(trail + offset)) == Some(&None) => {
                        window.put(Seq(trail + offset), Slot::Held(trail + offset, Instant(0)));
                        model.insert(trail + offset, Some(trail + offset));
                    }
                    Step::Pop if trail < next => {
                        let popped = window.pop();
                        let expected = model.remove(&trail);
                        prop_assert_eq!(matches!(popped, Some(Slot::Held(..))), matches!(expected, Some(Some(_))));
                        trail += 1;
                    }
                    Step::Back(count) if next - (trail - count) <= window.capacity() => {
                        window.extend_back(Seq(trail - count));
                        trail -= count;
                    }
                    _ => {}
                }
                prop_assert_eq!((window.trail().0, window.next().0), (trail, next));
                prop_assert_eq!(window.held(), model.values().flatten().count());
                for seq in trail - 3..next + 3 {
                    let inside = trail <= seq && seq < next;
                    let expected = model.get(&seq).filter(|_| inside);
                    prop_assert_eq!(window.packet(Seq(seq)).copied(), expected.copied().flatten());
                    prop_assert_eq!(window.is_missing(Seq(seq)), expected == Some(&None));
                }
            }
        }
    }
}

//! What a node holds of a session: a ring of slots from the trail to the lead.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Instant, Seq};

/// The state of one sequence within the window, and its packet as `T`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot<T> {
    /// Never looked for: it lies before the sequence at which this node joined.
    Absent,
    /// Looked for.
    Missing,
    /// Here since the given moment.
    Held(T, Instant),
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
pub(crate) struct Marks(u64);

impl Marks {
    /// The first tree has brought it, or has been made up for.
    pub(crate) const FIRST_TREE: Marks = Marks(1 << 2);
    /// The second tree has brought it.
    pub(crate) const SECOND_TREE: Marks = Marks(1 << 3);
    /// It went down the tree as a repair.
    pub(crate) const SUBCAST: Marks = Marks(1 << 4);
}

/// What is kept of a sequence: 16 bytes where `P` is a pointer, so that a cache line holds four and none is split.
#[derive(Debug)]
struct Cell<P> {
    packet: Option<P>,
    /// The state in the lowest two bits, marks in the next three, the moment since when it is held above: 59 bits of
    /// nanoseconds, 18 years from the clock's zero.
    word: u64,
}

const ABSENT: u64 = 0;
const MISSING: u64 = 1;
const HELD: u64 = 2;
const LOST: u64 = 3;
const STATE: u64 = 3;
const MARKS: u64 = 7 << 2;
const MOMENT: u32 = 5;

impl<P> Cell<P> {
    #[inline]
    fn slot(&self) -> Slot<&P> {
        match (&self.packet, self.word & STATE) {
            (Some(packet), _) => Slot::Held(packet, Instant(self.word >> MOMENT)),
            (None, MISSING) => Slot::Missing,
            (None, LOST) => Slot::Lost,
            (None, _) => Slot::Absent,
        }
    }

    /// Sets the state, and these marks. Field by field: a value that is put together first and then copied as a whole
    /// costs a stall.
    #[inline]
    fn set(&mut self, slot: Slot<P>, marks: u64) {
        match slot {
            Slot::Held(packet, now) => {
                self.packet = Some(packet);
                self.word = now.0 << MOMENT | marks | HELD;
            }
            Slot::Absent => self.set_empty(ABSENT | marks),
            Slot::Missing => self.set_empty(MISSING | marks),
            Slot::Lost => self.set_empty(LOST | marks),
        }
    }

    fn set_empty(&mut self, word: u64) {
        self.packet = None;
        self.word = word;
    }
}

/// The sequences from trail to lead, each with its slot, its marks and the children that it matters to.
///
/// Memory is taken once: 32 bytes a slot for a `P` that is a pointer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Window<P> {
    cells: Box<[Cell<P>]>,
    trail: Seq,
    /// The sequence after the lead.
    next: Seq,
    held: usize,
    /// Places from this sequence on have no interest left from the sequence that had them before.
    clean_from: Seq,
    interest: Box<[Interest]>,
}

impl<P> Window<P> {
    /// A window of at least `capacity` sequences (rounded up to a power of two), empty, whose next one is `next`.
    pub(crate) fn new(capacity: usize, next: Seq) -> Window<P> {
        let capacity = capacity.next_power_of_two();
        let mut cells = Vec::with_capacity(capacity);
        cells.resize_with(capacity, || Cell {
            packet: None,
            word: ABSENT,
        });
        Window {
            cells: cells.into_boxed_slice(),
            trail: next,
            next,
            held: 0,
            clean_from: Seq(0),
            interest: alloc::vec![Interest::default(); capacity].into_boxed_slice(),
        }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.cells.len() as u64
    }

    /// Oldest sequence of the window; equal to [`Window::next`] when it is empty.
    #[inline]
    pub(crate) fn trail(&self) -> Seq {
        self.trail
    }

    /// The sequence after the lead.
    #[inline]
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    #[inline]
    pub(crate) fn contains(&self, seq: Seq) -> bool {
        self.trail <= seq && seq < self.next
    }

    /// Whether the window can grow to hold `seq` without giving up its trail.
    #[inline]
    pub(crate) fn has_room_for(&self, seq: Seq) -> bool {
        seq.above(self.trail) < self.capacity()
    }

    #[inline]
    fn index(&self, seq: Seq) -> usize {
        (seq.0 & (self.capacity() - 1)) as usize
    }

    /// The slot of `seq`; [`Slot::Absent`] outside of the window.
    #[inline]
    pub(crate) fn slot(&self, seq: Seq) -> Slot<&P> {
        if self.contains(seq) {
            self.cells[self.index(seq)].slot()
        } else {
            Slot::Absent
        }
    }

    pub(crate) fn is_missing(&self, seq: Seq) -> bool {
        matches!(self.slot(seq), Slot::Missing)
    }

    /// The packet `seq`, if it is held.
    #[inline]
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
        self.cells[index].packet.as_mut()
    }

    /// Appends the next sequence, with these marks. The caller has checked [`Window::has_room_for`] it.
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot<P>, marks: Marks) {
        let seq = self.next;
        debug_assert!(self.has_room_for(seq));
        self.next = Seq(seq.0 + 1);
        self.held += usize::from(matches!(slot, Slot::Held(..)));
        let index = self.index(seq);
        self.cells[index].set(slot, marks.0);
        if seq < self.clean_from {
            self.interest[index] = Interest::default();
        }
    }

    /// Lets the window begin at an older sequence, with nothing there. The caller has checked that it fits.
    pub(crate) fn extend_back(&mut self, trail: Seq) {
        debug_assert!(trail < self.trail && self.next.above(trail) <= self.capacity());
        while self.trail > trail {
            self.trail = Seq(self.trail.0 - 1);
            let index = self.index(self.trail);
            self.cells[index].set_empty(ABSENT);
            self.interest[index] = Interest::default();
        }
    }

    /// Changes the slot of a sequence of the window.
    pub(crate) fn put(&mut self, seq: Seq, slot: Slot<P>) {
        debug_assert!(self.contains(seq));
        let index = self.index(seq);
        let cell = &mut self.cells[index];
        self.held -= usize::from(cell.packet.is_some());
        self.held += usize::from(matches!(slot, Slot::Held(..)));
        cell.set(slot, cell.word & MARKS);
    }

    /// Removes the trail and returns what was there; `None` when the window is empty.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Slot<P>> {
        if self.trail == self.next {
            return None;
        }
        let index = self.index(self.trail);
        let cell = &mut self.cells[index];
        let word = core::mem::replace(&mut cell.word, ABSENT);
        self.trail = Seq(self.trail.0 + 1);
        Some(match (cell.packet.take(), word & STATE) {
            (Some(packet), _) => {
                self.held -= 1;
                Slot::Held(packet, Instant(word >> MOMENT))
            }
            (None, MISSING) => Slot::Missing,
            (None, LOST) => Slot::Lost,
            (None, _) => Slot::Absent,
        })
    }

    /// Moves an empty window to another place.
    pub(crate) fn restart_at(&mut self, next: Seq) {
        debug_assert!(self.trail == self.next);
        self.trail = next;
        self.next = next;
        if self.clean_from > Seq(0) {
            self.clean_from = Seq(next.0 + self.capacity());
        }
    }

    /// The children that `seq`, which lies in the window, matters to.
    pub(crate) fn interest(&self, seq: Seq) -> Interest {
        debug_assert!(self.contains(seq));
        self.interest[self.index(seq)]
    }

    /// The children that `seq`, which lies in the window, matters to.
    pub(crate) fn interest_mut(&mut self, seq: Seq) -> &mut Interest {
        debug_assert!(self.contains(seq));
        self.clean_from = self.clean_from.max(Seq(seq.0 + self.capacity() + 1));
        let index = self.index(seq);
        &mut self.interest[index]
    }

    /// Whether `seq`, which lies in the window, has any of these marks.
    pub(crate) fn has_mark(&self, seq: Seq, marks: Marks) -> bool {
        debug_assert!(self.contains(seq));
        self.cells[self.index(seq)].word & marks.0 != 0
    }

    /// Adds marks to `seq`, which lies in the window.
    pub(crate) fn mark(&mut self, seq: Seq, marks: Marks) {
        debug_assert!(self.contains(seq));
        let index = self.index(seq);
        self.cells[index].word |= marks.0;
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
                        window.push(slot, Marks::FIRST_TREE);
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

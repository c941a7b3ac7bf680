//! Answering children: who waits for what, and whose turn it is.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Reject, Session, Source, neighbor_mut};
use crate::neighbor::Neighbor;
use crate::window::{Marks, Slot, Window};
use crate::wire::{FLAG_COPY, FLAG_GRAFT, FLAG_HISTORY, Header};
use crate::{Instant, NeighborId, Seq, SeqRange, Tree};

/// Children of a session on one node: a bit each in a 64-bit set.
pub const CHILDREN_MAX: usize = 64;
/// Time whose packets may wait to be sent to one child: two round trips of 100 ms.
const QUEUE_SPAN: Duration = Duration::from_millis(200);
/// Packets that may wait to be sent to one child, however low the rate, as far as the window has so many.
const QUEUE_MIN: u64 = 4096;

/// A neighbor that gets the tree or asks for something.
#[derive(Debug)]
struct Child {
    neighbor: NeighborId,
    configured: bool,
    second: bool,
    grafted_until: Option<Instant>,
    copies: Option<Copies>,
    /// It asked how much of this time is here.
    history: Option<Duration>,
    queue: VecDeque<Seq>,
}

/// A child's stream of copies: what is here of the window, in order. What is missing is sent when it comes.
#[derive(Clone, Copy, Debug)]
struct Copies {
    until: Instant,
    next: Seq,
}

/// The children, and what waits to be sent to each.
#[derive(Debug)]
pub(super) struct Answers {
    children: Vec<Child>,
    queue_max: usize,
    /// Repairs that wait in all queues.
    queued: usize,
    /// Repairs to send down the tree.
    subcasts: VecDeque<Seq>,
    /// Children on the first tree, a bit each.
    pub(super) tree: u64,
    /// Children on the second tree, a bit each.
    second: u64,
    /// Children that get copies, a bit each.
    copying: u64,
    asked_for_history: bool,
    /// Child whose turn it is.
    turn: usize,
    /// When the child that is throttled longest may be served.
    throttled_until: Option<Instant>,
}

/// What to send to one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A repair.
    Repair(NeighborId, Seq),
    /// A copy.
    Copy(NeighborId, Seq),
    /// What is here of the history that it asked for, in the session's ranges.
    History(NeighborId),
}

impl Answers {
    pub(super) fn new(config: &super::SessionConfig, capacity: u64) -> Answers {
        let span = u64::from(config.max_rate_pps) * QUEUE_SPAN.as_millis() as u64 / 1000;
        let queue_max = capacity.min(span.max(QUEUE_MIN)) as usize;
        let mut answers = Answers {
            children: Vec::with_capacity(config.downstream.len() + config.second_downstream.len()),
            queue_max,
            queued: 0,
            subcasts: VecDeque::new(),
            tree: 0,
            second: 0,
            copying: 0,
            asked_for_history: false,
            turn: 0,
            throttled_until: None,
        };
        answers.set_children(&config.downstream, &config.second_downstream);
        answers
    }

    /// Sets who always gets the trees. Others keep their place until the session ends: a place is a bit in every slot.
    pub(super) fn set_children(&mut self, first: &[NeighborId], second: &[NeighborId]) {
        for child in &mut self.children {
            child.configured = false;
            child.second = false;
        }
        for &neighbor in first {
            if let Some(child) = self.child(neighbor) {
                self.children[child].configured = true;
            }
        }
        for &neighbor in second {
            if let Some(child) = self.child(neighbor) {
                self.children[child].second = true;
            }
        }
        self.find_members();
    }

    /// The place of a child, new if it has none; `None` when all places are taken.
    pub(super) fn child(&mut self, neighbor: NeighborId) -> Option<usize> {
        let known = self
            .children
            .iter()
            .position(|child| child.neighbor == neighbor);
        if known.is_some() || self.children.len() == CHILDREN_MAX {
            return known;
        }
        if self.subcasts.capacity() == 0 {
            self.subcasts.reserve_exact(self.queue_max);
        }
        self.children.push(Child {
            neighbor,
            configured: false,
            second: false,
            grafted_until: None,
            copies: None,
            history: None,
            queue: VecDeque::with_capacity(self.queue_max),
        });
        Some(self.children.len() - 1)
    }

    /// Forgets what a neighbor that is no more was owed: its number may come to mean another.
    pub(super) fn forget(&mut self, neighbor: NeighborId) {
        let known = self
            .children
            .iter_mut()
            .find(|child| child.neighbor == neighbor);
        if let Some(child) = known {
            child.configured = false;
            child.second = false;
            child.grafted_until = None;
            child.copies = None;
            child.history = None;
            self.queued -= child.queue.len();
            child.queue.clear();
        }
        self.find_members();
    }

    fn find_members(&mut self) {
        let set = |is_in: &dyn Fn(&Child) -> bool| {
            let members = self.children.iter().enumerate();
            members.fold(0, |set, (place, child)| {
                set | u64::from(is_in(child)) << place
            })
        };
        let tree = set(&Child::is_on_the_tree);
        let second = set(&|child| child.second);
        let copying = set(&|child| child.copies.is_some());
        (self.tree, self.second, self.copying) = (tree, second, copying);
    }

    pub(super) fn downstream(&self, tree: Tree) -> impl Iterator<Item = NeighborId> + '_ {
        self.children
            .iter()
            .filter(move |child| match tree {
                Tree::First => child.is_on_the_tree(),
                Tree::Second => child.second,
            })
            .map(|child| child.neighbor)
    }

    /// Whether there are children that learn of packets from here alone.
    pub(super) fn has_tree(&self) -> bool {
        self.tree != 0
    }

    /// Whether nothing waits to be sent to any child.
    pub(super) fn is_idle(&self) -> bool {
        self.queued == 0 && self.copying == 0 && !self.asked_for_history
    }

    /// Whether there are children on any tree.
    pub(super) fn has_children(&self) -> bool {
        self.tree | self.second != 0
    }

    pub(super) fn clear(&mut self, next: Seq) {
        self.subcasts.clear();
        self.queued = 0;
        for child in &mut self.children {
            child.queue.clear();
            if let Some(copies) = &mut child.copies {
                copies.next = next;
            }
        }
    }

    /// Ends what was not renewed. `true` if that changes the tree.
    pub(super) fn expire_requests(&mut self, now: Instant) -> bool {
        let mut expired = false;
        for child in &mut self.children {
            child.copies = child.copies.filter(|copies| copies.until > now);
            if child.grafted_until.is_some_and(|until| until <= now) {
                child.grafted_until = None;
                expired = true;
            }
        }
        self.find_members();
        expired
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let children = self.children.iter();
        let requests = children
            .filter_map(|child| {
                let copies = child.copies.map(|copies| copies.until);
                child.grafted_until.into_iter().chain(copies).min()
            })
            .min();
        [self.throttled_until, requests].into_iter().flatten().min()
    }

    /// Sees to it that children get the packet `seq`, which just filled a gap. `own`: they lack it as this node did.
    pub(super) fn gap_is_filled<P>(
        &mut self,
        window: &mut Window<P>,
        seq: Seq,
        own: bool,
        source: Source,
    ) {
        let served = match source {
            // The caller sends it on.
            Source::Tree(Tree::First) => self.tree,
            Source::Tree(Tree::Second) => self.second,
            Source::Repair | Source::Copy if own && self.tree & !self.copying != 0 => {
                self.subcast(window, seq)
            }
            // They have the same parity.
            Source::Repair | Source::Copy | Source::Parity => 0,
        };
        let served = served | self.copied_after(seq);
        let waiting = window.interest(seq).waiting;
        if waiting == 0 {
            return;
        }
        let mut left = waiting & !served;
        window.interest_mut(seq).waiting = left;
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            self.enqueue(window, place as usize, seq);
        }
    }

    /// The children whose copies have not come to `seq` yet.
    fn copied_after(&self, seq: Seq) -> u64 {
        if self.copying == 0 {
            return 0;
        }
        let children = self.children.iter().enumerate();
        children.fold(0, |set, (place, child)| {
            let follows = child.copies.is_some_and(|copies| copies.next <= seq);
            set | u64::from(follows) << place
        })
    }

    /// Has `seq` go down the tree once; returns who gets it that way.
    pub(super) fn subcast<P>(&mut self, window: &mut Window<P>, seq: Seq) -> u64 {
        if self.subcasts.len() == self.queue_max {
            return 0;
        }
        self.subcasts.push_back(seq);
        window.mark(seq, Marks::FIRST_TREE);
        window.mark(seq, Marks::SUBCAST);
        self.tree
    }

    /// Queues `seq` for one child. `false`: its queue is full, it will ask again.
    pub(super) fn enqueue<P>(&mut self, window: &mut Window<P>, place: usize, seq: Seq) -> bool {
        let queue = &mut self.children[place].queue;
        let room = queue.len() < self.queue_max;
        let waiting = &mut window.interest_mut(seq).waiting;
        if room {
            queue.push_back(seq);
            self.queued += 1;
            *waiting |= 1 << place;
        } else {
            *waiting &= !(1 << place);
        }
        room
    }

    /// The next repair for the tree, if all its children may be sent one; where one may not, each is queued for.
    fn poll_subcast<P>(
        &mut self,
        now: Instant,
        window: &mut Window<P>,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<Seq> {
        while let Some(seq) = self.subcasts.pop_front() {
            if window.packet(seq).is_none() {
                continue;
            }
            let mut ready = true;
            for child in self.children.iter().filter(|child| child.is_on_the_tree()) {
                ready &= neighbor_mut(neighbors, child.neighbor)
                    .is_some_and(|to| to.repairs.ready_at(now) <= now);
            }
            if ready {
                for child in self.children.iter().filter(|child| child.is_on_the_tree()) {
                    if let Some(to) = neighbor_mut(neighbors, child.neighbor) {
                        to.take_repair(now);
                    }
                }
                return Some(seq);
            }
            for place in 0..self.children.len() {
                if self.children[place].is_on_the_tree() {
                    self.enqueue(window, place, seq);
                }
            }
        }
        None
    }
}

impl Child {
    fn is_on_the_tree(&self) -> bool {
        self.configured || self.grafted_until.is_some()
    }
}

impl<P> Session<P> {
    /// Takes a neighbor's request for the tree, for copies or for news of the history; the first two hold until the
    /// given moment.
    pub(crate) fn handle_request(
        &mut self,
        until: Instant,
        from: NeighborId,
        header: &Header,
    ) -> Result<(), Reject> {
        let place = self.answers.child(from).ok_or(Reject::NotAChild)?;
        let child = &mut self.answers.children[place];
        if header.flags & FLAG_GRAFT != 0 {
            let before = child.grafted_until.replace(until);
            self.downstream_changed |= before.is_none();
        }
        if header.flags & FLAG_COPY != 0 {
            let next = match child.copies {
                Some(copies) => copies.next,
                None if header.sequence.0 == 0 => self.window.next(),
                None => header.sequence.min(self.window.next()),
            };
            child.copies = Some(Copies { until, next });
        }
        if header.flags & FLAG_HISTORY != 0 && self.epoch.is_some() {
            child.history = Some(Duration::from_nanos(header.timestamp));
            self.answers.asked_for_history = true;
        }
        self.answers.find_members();
        Ok(())
    }

    /// The next repair for all children at once.
    pub(crate) fn poll_subcast(
        &mut self,
        now: Instant,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<Seq> {
        let found = self
            .answers
            .poll_subcast(now, &mut self.window, neighbors)?;
        self.stats.subcasts_sent += 1;
        Some(found)
    }

    /// What to send to a child, children in turn, each within its neighbor's rate.
    pub(crate) fn poll_answer(
        &mut self,
        now: Instant,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<Answer> {
        let count = self.answers.children.len();
        self.answers.throttled_until = None;
        if self.answers.is_idle() {
            return None;
        }
        for _ in 0..count {
            self.answers.turn = (self.answers.turn + 1) % count;
            let place = self.answers.turn;
            if let Some(found) = self.next_history_of(now, place) {
                return Some(found);
            }
            if let Some(found) = self.next_repair_to(now, place, neighbors) {
                self.stats.repairs_sent += 1;
                return Some(found);
            }
            if let Some(found) = self.next_copy_to(now, place, neighbors) {
                self.stats.copies_sent += 1;
                return Some(found);
            }
        }
        self.answers.asked_for_history = false;
        None
    }

    fn next_history_of(&mut self, now: Instant, place: usize) -> Option<Answer> {
        if !self.answers.asked_for_history {
            return None;
        }
        let span = self.answers.children[place].history.take()?;
        let first = self.history_start(now, self.window.next(), span);
        let count = u32::try_from(self.window.next().above(first)).ok()?;
        self.ranges.clear();
        self.ranges.push(SeqRange::new(first, count)?);
        Some(Answer::History(self.answers.children[place].neighbor))
    }

    fn next_repair_to(
        &mut self,
        now: Instant,
        place: usize,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<Answer> {
        let child = &mut self.answers.children[place];
        while let Some(&seq) = child.queue.front() {
            if self.window.packet(seq).is_none() {
                // It went from retention while it waited.
                child.queue.pop_front();
                self.answers.queued -= 1;
                self.stats.naks_unanswerable += 1;
                continue;
            }
            if !may_send(
                &mut self.answers.throttled_until,
                now,
                child.neighbor,
                neighbors,
            ) {
                return None;
            }
            child.queue.pop_front();
            self.answers.queued -= 1;
            self.window.interest_mut(seq).waiting &= !(1 << place);
            return Some(Answer::Repair(child.neighbor, seq));
        }
        None
    }

    /// The next copy. What is missing here is passed over, as asked for: a stream that waited for it would make a child
    /// wait for what it lost itself, and each child of that again.
    fn next_copy_to(
        &mut self,
        now: Instant,
        place: usize,
        neighbors: &mut [Option<Neighbor>],
    ) -> Option<Answer> {
        let child = &mut self.answers.children[place];
        let copies = child.copies.as_mut()?;
        copies.next = copies.next.max(self.window.trail());
        while copies.next < self.window.next() {
            match self.window.slot(copies.next) {
                Slot::Held(..) => {
                    if !may_send(
                        &mut self.answers.throttled_until,
                        now,
                        child.neighbor,
                        neighbors,
                    ) {
                        return None;
                    }
                    let seq = copies.next;
                    copies.next = seq.next();
                    return Some(Answer::Copy(child.neighbor, seq));
                }
                Slot::Missing => {
                    self.window.interest_mut(copies.next).waiting |= 1 << place;
                    copies.next = copies.next.next();
                }
                Slot::Absent | Slot::Lost => copies.next = copies.next.next(),
            }
        }
        None
    }
}

/// Takes from a neighbor's repair budget. `false`: there is nothing left, and `throttled_until` says until when.
fn may_send(
    throttled_until: &mut Option<Instant>,
    now: Instant,
    to: NeighborId,
    neighbors: &mut [Option<Neighbor>],
) -> bool {
    let Some(neighbor) = neighbor_mut(neighbors, to) else {
        return false;
    };
    if neighbor.take_repair(now) {
        return true;
    }
    let ready = neighbor.repairs.ready_at(now);
    let throttled = throttled_until.get_or_insert(ready);
    *throttled = ready.min(*throttled);
    false
}

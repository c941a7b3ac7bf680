//! What must hold after every step, checked from outside of the node.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;

use super::report::{Rule, Violation};
use crate::{Epoch, NeighborId, Order, SeqRange, Session};

/// Violations kept in full; more are only counted.
const KEPT: usize = 100;
/// Clients that came late and are looked after, the latest.
const SPLICES_KEPT: usize = 8;
/// How late a gap may be given up: timers are exact here, so this is for rounding alone.
const DEADLINE_TOLERANCE_NS: u64 = 1_000;

/// The violations of a run.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// When the step under check happens.
    pub(super) now: u64,
    /// At which router.
    pub(super) router: usize,
    pub(super) violations: Vec<Violation>,
    pub(super) count: u64,
}

impl Verdict {
    /// What is checked from now on happens then and there.
    #[inline]
    pub(super) fn step(&mut self, now: u64, router: usize) -> &mut Verdict {
        self.now = now;
        self.router = router;
        self
    }

    /// Notes a violation unless `holds`.
    #[inline]
    pub(super) fn check(&mut self, rule: Rule, holds: bool, text: impl FnOnce() -> String) {
        if holds {
            return;
        }
        self.count += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation {
                at: Duration::from_nanos(self.now),
                router: self.router,
                rule,
                text: text(),
            });
        }
    }
}

/// A packet that is delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) epoch: Option<Epoch>,
    pub(super) seq: u64,
    pub(super) payload: u64,
    /// What the source sent under this number.
    pub(super) expected: Option<u64>,
}

/// What can be seen of a session after a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) epoch: Option<Epoch>,
    pub(super) lead: u64,
    pub(super) trail: u64,
    pub(super) held: usize,
    pub(super) held_max: usize,
    pub(super) sent: u64,
    pub(super) tree: u64,
    pub(super) repaired: u64,
    pub(super) unrecovered: u64,
    pub(super) in_flight: u64,
    pub(super) undelivered: u64,
}

impl Seen {
    #[inline]
    pub(super) fn new(session: &Session<u64>) -> Seen {
        let stats = session.stats();
        Seen {
            epoch: session.epoch(),
            lead: session.lead().0,
            trail: session.trail().0,
            held: session.held(),
            held_max: session.config().held_max(),
            sent: stats.sent,
            tree: stats.tree,
            repaired: stats.repaired,
            unrecovered: stats.unrecovered,
            in_flight: stats.in_flight,
            undelivered: stats.undelivered,
        }
    }
}

/// The observer of one session on one router, for one life of that router.
#[derive(Debug)]
pub(super) struct Watch {
    order: Order,
    deadline_ns: u64,
    epoch: Option<Epoch>,
    lead: u64,
    /// What was missing when the lead passed it, and since when, for as long as it may stay so.
    young: VecDeque<(u64, u64)>,
    /// The delivered sequence that is highest in this epoch.
    last: u64,
    /// Delivered sequences of this epoch, a bit each, where order is not promised.
    seen: Vec<u64>,
    /// Sequences that delivery in order passed over.
    skipped: u64,
    /// Of each client that came late, the first sequence it had, and the one from which on it is served with the others:
    /// nothing between them may be delivered any more.
    spliced: VecDeque<(u64, u64)>,
    /// What was due here.
    sent: u64,
    /// For each sequence asked for and not had since: of whom, and until when it may not be asked of that one again.
    asked: HashMap<u64, Vec<(NeighborId, u64)>>,
}

impl Watch {
    pub(super) fn new(order: Order, deadline: Duration) -> Watch {
        Watch {
            order,
            deadline_ns: deadline.as_nanos() as u64,
            epoch: None,
            lead: 0,
            young: VecDeque::new(),
            last: 0,
            seen: Vec::new(),
            skipped: 0,
            spliced: VecDeque::new(),
            sent: 0,
            asked: HashMap::new(),
        }
    }

    fn begin(&mut self, epoch: Option<Epoch>) {
        self.epoch = epoch;
        self.lead = 0;
        self.young.clear();
        self.last = 0;
        self.spliced.clear();
        self.seen.clear();
        self.asked.clear();
    }

    /// A packet came in that was not there before.
    #[inline]
    pub(super) fn arrived(&mut self, seq: u64) {
        if !self.asked.is_empty() {
            self.asked.remove(&seq);
        }
    }

    /// Another parent was chosen, or the neighbor began anew: what was asked does not count any more.
    pub(super) fn asks_start_over(&mut self) {
        self.asked.clear();
    }

    /// A NAK leaves. `rto_ns` is how long its neighbor has to answer.
    pub(super) fn asks(
        &mut self,
        to: NeighborId,
        range: SeqRange,
        rto_ns: u64,
        verdict: &mut Verdict,
    ) {
        for seq in range.first().0..=range.last().0 {
            let asked = self.asked.entry(seq).or_default();
            let now = verdict.now;
            let until = now + rto_ns;
            match asked.iter_mut().find(|entry| entry.0 == to) {
                Some(entry) => {
                    verdict.check(Rule::Request, entry.1 <= now, || {
                        let early = Duration::from_nanos(entry.1 - now);
                        alloc::format!("{seq} asked of {to:?} again {early:?} too early")
                    });
                    entry.1 = until;
                }
                None => asked.push((to, until)),
            }
        }
    }

    /// A packet is delivered.
    pub(super) fn delivers(&mut self, delivery: Delivery, verdict: &mut Verdict) {
        let Delivery {
            epoch,
            seq,
            payload,
            expected,
        } = delivery;
        if self.epoch != epoch {
            self.begin(epoch);
        }
        verdict.check(Rule::Payload, Some(payload) == expected, || {
            alloc::format!("{seq} delivered as {payload}, sent as {expected:?}")
        });
        let had = |client: &&(u64, u64)| client.0 <= seq && seq < client.1;
        let client = self.spliced.iter().find(had);
        verdict.check(Rule::Splice, client.is_none(), || {
            alloc::format!("{seq} delivered, which a client had or missed: {client:?}")
        });
        if self.order == Order::Ordered {
            verdict.check(Rule::Once, seq != self.last, || {
                alloc::format!("{seq} delivered twice")
            });
            verdict.check(Rule::Order, seq >= self.last, || {
                alloc::format!("{seq} delivered after {}", self.last)
            });
            if self.last > 0 {
                self.skipped += seq.saturating_sub(self.last + 1);
            }
        } else {
            let (word, bit) = ((seq / 64) as usize, 1 << (seq % 64));
            if word >= self.seen.len() {
                self.seen.resize(word + 1, 0);
            }
            verdict.check(Rule::Once, self.seen[word] & bit == 0, || {
                alloc::format!("{seq} delivered twice")
            });
            self.seen[word] |= bit;
        }
        self.last = self.last.max(seq);
    }

    /// A client has had what there was from `first` on, and is served with the others from `live` on.
    pub(super) fn splices(
        &mut self,
        epoch: Option<Epoch>,
        (first, live): (u64, u64),
        verdict: &mut Verdict,
    ) {
        if self.epoch != epoch {
            self.begin(epoch);
        }
        verdict.check(Rule::Splice, live > self.last, || {
            alloc::format!("live from {live} on, but {} is delivered", self.last)
        });
        if self.spliced.len() == SPLICES_KEPT {
            self.spliced.pop_front();
        }
        self.spliced.push_back((first, live));
    }

    /// A step is over.
    #[inline]
    pub(super) fn after(
        &mut self,
        seen: &Seen,
        is_held: impl Fn(u64) -> bool,
        verdict: &mut Verdict,
    ) {
        let sum = seen.tree + seen.repaired + seen.unrecovered + seen.in_flight;
        verdict.check(Rule::Balance, seen.sent == sum, || {
            alloc::format!("{seen:?}")
        });
        verdict.check(Rule::Memory, seen.held <= seen.held_max + 1, || {
            alloc::format!("{} packets held, {} at most", seen.held, seen.held_max)
        });
        if self.epoch != seen.epoch {
            self.begin(seen.epoch);
        }
        self.note_gaps(verdict.now, seen, &is_held);
        self.forget_gaps(verdict.now, seen, &is_held);
        let young = self.young.len() as u64;
        verdict.check(Rule::Deadline, seen.in_flight <= young, || {
            alloc::format!("{} gaps open, {young} within the deadline", seen.in_flight)
        });
        let passed = self.skipped <= seen.unrecovered + seen.undelivered;
        verdict.check(Rule::Order, passed, || {
            alloc::format!("{} passed over: {seen:?}", self.skipped)
        });
    }

    fn note_gaps(&mut self, now: u64, seen: &Seen, is_held: &impl Fn(u64) -> bool) {
        // What was due before this node joined may become due later: history that is fetched.
        let new = seen.sent.saturating_sub(self.sent);
        let earlier = new > seen.lead.saturating_sub(self.lead);
        let from = if earlier { 0 } else { self.lead + 1 }.max(seen.trail);
        self.sent = seen.sent;
        for seq in from..=seen.lead {
            if !is_held(seq) {
                self.young.push_back((seq, now));
            }
        }
        self.lead = seen.lead;
    }

    fn forget_gaps(&mut self, now: u64, seen: &Seen, is_held: &impl Fn(u64) -> bool) {
        while let Some(&(seq, since)) = self.young.front() {
            let over = now > since + self.deadline_ns + DEADLINE_TOLERANCE_NS;
            if !over && seq >= seen.trail && !is_held(seq) {
                break;
            }
            self.young.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;

//! Whose turn it is: the sessions that send, deliver, rebuild or help clients to catch up, their timers, and what is to
//! be told of them.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::{Entry, Event, SessionIndex};
use crate::Instant;
use crate::session::{Calm, HEARTBEAT_FIRST, Session};
use crate::timers::Timers;

/// Events kept for an owner that does not fetch them; the oldest go.
pub(super) const EVENTS_MAX: usize = 256;
/// Packets that a session delivers in its turn: those of a burst, while what they need is at hand.
const DELIVERIES: u32 = 32;
/// Time between the heartbeats that sessions may plan on: half a million a second, which costs a twentieth of a core. Of
/// 500 sessions that fall silent each is heard a millisecond later, of 100,000 each within 200 ms.
const HEARTBEAT_SPACING: Duration = Duration::from_micros(2);
/// Heartbeats of this time may go at once, where there were none before.
const HEARTBEAT_BURST: Duration = Duration::from_millis(1);
/// However many sessions there are, none waits longer: so long does a silent one wait for its next heartbeat anyway.
const HEARTBEAT_WAIT_MAX: Duration = Duration::from_millis(250);

/// The turn for a heartbeat of a session that has none.
pub(super) const UNPLANNED: Instant = Instant(0);

/// The queues in which sessions wait for their turns.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) sending: VecDeque<SessionIndex>,
    pub(super) delivering: VecDeque<SessionIndex>,
    /// Packets that the first of them has delivered in its turn.
    delivered: u32,
    /// Sessions with clients that catch up.
    pub(super) catching_up: VecDeque<SessionIndex>,
    /// Sessions with blocks that may be rebuilt.
    pub(super) rebuilding: VecDeque<SessionIndex>,
    /// By place of the session.
    timers: Timers,
    /// From when on heartbeats may be planned.
    next_heartbeat: Instant,
    events: VecDeque<Event>,
}

impl Turns {
    pub(super) fn new(max_sessions: usize) -> Turns {
        Turns {
            sending: VecDeque::with_capacity(max_sessions),
            delivering: VecDeque::with_capacity(max_sessions),
            delivered: 0,
            catching_up: VecDeque::with_capacity(max_sessions),
            rebuilding: VecDeque::with_capacity(max_sessions),
            timers: Timers::new(max_sessions),
            next_heartbeat: Instant(0),
            events: VecDeque::with_capacity(EVENTS_MAX),
        }
    }

    /// Takes a session that is removed out of all queues.
    pub(super) fn forget(&mut self, index: SessionIndex) {
        self.timers.clear(index.0);
        let queues = [
            &mut self.sending,
            &mut self.delivering,
            &mut self.catching_up,
            &mut self.rebuilding,
        ];
        for queue in queues {
            queue.retain(|&queued| queued != index);
        }
    }

    /// Has a session looked at: something happened to it.
    pub(super) fn touch<P>(&mut self, index: SessionIndex, entry: &mut Entry<P>) {
        entry.calm = Calm::No;
        if !core::mem::replace(&mut entry.sending, true) {
            self.sending.push_back(index);
        }
        self.may_deliver(index, entry);
        if entry.session.may_rebuild() && !core::mem::replace(&mut entry.rebuilding, true) {
            self.rebuilding.push_back(index);
        }
        self.tell(&mut entry.session);
    }

    /// Has a session looked at to which nothing happened but that it took packets in order. Where it is calm there is
    /// nothing to send, and its timer stays, unless its lead was to be announced much later.
    #[inline]
    pub(super) fn touch_in_order<P>(
        &mut self,
        now: Instant,
        index: SessionIndex,
        entry: &mut Entry<P>,
    ) {
        let rests = match entry.calm {
            Calm::No => false,
            Calm::Silent => true,
            Calm::Announcing => entry.armed <= self.next_heartbeat.max(now + HEARTBEAT_FIRST),
        };
        if rests {
            debug_assert!(
                entry.armed <= entry.session.poll_timeout(),
                "armed too late"
            );
            self.may_deliver(index, entry);
        } else {
            self.touch(index, entry);
        }
    }

    #[inline]
    fn may_deliver<P>(&mut self, index: SessionIndex, entry: &mut Entry<P>) {
        if entry.session.delivers() && !core::mem::replace(&mut entry.delivering, true) {
            self.delivering.push_back(index);
        }
    }

    /// Counts a packet that the session whose turn it is delivers, and lets the next one have its turn in time.
    #[inline]
    pub(super) fn delivered(&mut self) {
        self.delivered += 1;
        if self.delivered == DELIVERIES {
            self.delivered = 0;
            self.delivering.rotate_left(1);
        }
    }

    /// The session whose turn it is to deliver has nothing more.
    pub(super) fn end_delivery(&mut self) {
        self.delivered = 0;
        self.delivering.pop_front();
    }

    /// Makes events of what has changed at a session.
    pub(super) fn tell<P>(&mut self, session: &mut Session<P>) {
        let Some((changes, epoch, parent)) = session.take_changes() else {
            return;
        };
        let id = session.config().id;
        let copying = session.is_copying();
        if changes.epoch {
            self.push_event(Event::Epoch(id, epoch));
        }
        if let Some(parent) = parent.filter(|_| changes.parent) {
            self.push_event(Event::Parent(id, parent));
        }
        if changes.skipped > 0 {
            self.push_event(Event::Skipped(id, changes.skipped));
        }
        if changes.copying {
            self.push_event(Event::Copying(id, copying));
        }
        if changes.ended {
            self.push_event(Event::Ended(id));
        }
        if changes.idle {
            self.push_event(Event::Idle(id));
        }
    }

    /// The session has nothing more to send: sees to it that its timer goes off in time. One that goes off early is set
    /// anew then.
    pub(super) fn rest<P>(&mut self, now: Instant, index: SessionIndex, entry: &mut Entry<P>) {
        entry.calm = entry.session.calm();
        let mut due = entry.session.poll_timeout();
        if let Some(at) = entry.session.announce_at() {
            due = due.min(self.plan_heartbeat(now, at, &mut entry.heartbeat));
        }
        self.arm(index, entry, due);
    }

    /// Has the session's timer go off at `due`, if it does not go off before.
    pub(super) fn arm<P>(&mut self, index: SessionIndex, entry: &mut Entry<P>, due: Instant) {
        if due < entry.armed {
            entry.armed = due;
            self.timers.set(index.0, due);
        }
    }

    /// Whether a session is to announce its lead now: that is due, and there is time for it.
    pub(super) fn may_announce<P>(&mut self, now: Instant, entry: &mut Entry<P>) -> bool {
        let due = entry.session.announce_at().filter(|&at| at <= now);
        let Some(at) = due else {
            return false;
        };
        let has_turn = entry.heartbeat > UNPLANNED && entry.heartbeat <= now;
        has_turn || self.plan_heartbeat(now, at, &mut entry.heartbeat) <= now
    }

    /// When a session whose lead is to be announced `at` a time has its turn: then, or when there is time for one more.
    fn plan_heartbeat(&mut self, now: Instant, at: Instant, planned: &mut Instant) -> Instant {
        if *planned <= now || *planned > at.max(self.next_heartbeat) {
            let next = self.next_heartbeat.max(now - HEARTBEAT_BURST);
            let longest = now + HEARTBEAT_WAIT_MAX;
            *planned = next.min(longest);
            self.next_heartbeat = (next + HEARTBEAT_SPACING).min(longest);
        }
        *planned = at.max(*planned);
        *planned
    }

    /// When the next session's timer goes off.
    pub(super) fn next_due(&self) -> Instant {
        self.timers.next_due()
    }

    /// A session whose timer goes off by `now`. It is not set any more.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<SessionIndex> {
        self.timers.pop(now).map(SessionIndex)
    }

    pub(super) fn push_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests;

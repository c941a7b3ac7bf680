//! Whose turn it is: the sessions that send, deliver, rebuild or help clients to catch up, their timers, and what is to
//! be told of them.

use alloc::collections::VecDeque;

use super::{Entry, Event, SessionIndex};
use crate::Instant;
use crate::session::Session;
use crate::timers::Timers;

/// Events kept for an owner that does not fetch them; the oldest go.
pub(super) const EVENTS_MAX: usize = 256;

/// The queues in which sessions wait for their turns.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) sending: VecDeque<SessionIndex>,
    pub(super) delivering: VecDeque<SessionIndex>,
    /// Sessions with clients that catch up.
    pub(super) catching_up: VecDeque<SessionIndex>,
    /// Sessions with blocks that may be rebuilt.
    pub(super) rebuilding: VecDeque<SessionIndex>,
    /// By place of the session.
    pub(super) timers: Timers,
    events: VecDeque<Event>,
}

impl Turns {
    pub(super) fn new(max_sessions: usize) -> Turns {
        Turns {
            sending: VecDeque::with_capacity(max_sessions),
            delivering: VecDeque::with_capacity(max_sessions),
            catching_up: VecDeque::with_capacity(max_sessions),
            rebuilding: VecDeque::with_capacity(max_sessions),
            timers: Timers::new(max_sessions),
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
        if !core::mem::replace(&mut entry.sending, true) {
            self.sending.push_back(index);
        }
        if !core::mem::replace(&mut entry.delivering, true) {
            self.delivering.push_back(index);
        }
        if entry.session.may_rebuild() && !core::mem::replace(&mut entry.rebuilding, true) {
            self.rebuilding.push_back(index);
        }
        self.tell(&mut entry.session);
    }

    /// Makes events of what has changed at a session.
    pub(super) fn tell<P>(&mut self, session: &mut Session<P>) {
        let id = session.config().id;
        let copying = session.is_copying();
        let Some((changes, epoch, parent)) = session.take_changes() else {
            return;
        };
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

    /// Sees to it that the session's timer goes off in time. Later ones are left to go off early and be set anew.
    pub(super) fn arm<P>(&mut self, now: Instant, index: SessionIndex, session: &Session<P>) {
        if !session.is_armed_well(now, self.timers.due(index.0)) {
            self.timers.set(index.0, session.poll_timeout());
        }
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

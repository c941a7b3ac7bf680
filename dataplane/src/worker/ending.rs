//! Ending streams that begin here: their sessions stay for a while, so that those below hear of the end and fetch what
//! they lack. A node that stops ends all of its own, and passes on what it has.

use std::time::Duration;

use crossbeam::channel::Sender;
use overlay::{Instant, NeighborId, SessionId, SessionIndex};

use super::{Reply, Route, Worker, WorkerPort};

/// How long the end of a stream is told where nobody waits for more: markers at 0, 2, 6 and 14 ms.
const STOP_LINGER: Duration = Duration::from_millis(20);
/// How long those below must have asked for nothing before a node that stops takes it that they have everything: twice
/// the longest back-off between two requests of theirs …
const QUIET: Duration = Duration::from_millis(40);
/// … and so many round trips, in which four requests may be lost one after another.
const QUIET_ROUND_TRIPS: u32 = 5;
/// Longest time for that, and for what this node's own clients are still to get: the default deadline.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How often a node that stops looks whether it is done.
const LOOK: Duration = Duration::from_millis(1);

/// What ends at some moment, and who waits for it.
#[derive(Default)]
pub(super) struct Endings {
    sessions: Vec<(Instant, SessionId, Sender<Reply>)>,
    draining: Option<Draining>,
    /// The worker's loop is to end.
    is_over: bool,
}

/// A node that stops.
struct Draining {
    until: Instant,
    look_at: Instant,
    /// Those below have asked for nothing since `quiet` before that.
    quiet_at: Instant,
    quiet: Duration,
    /// What they had asked for at the last look, and been given.
    asked: u64,
    /// Sessions that are delivered here, with the packets that they are to have passed on.
    owed: Vec<(SessionIndex, u64)>,
    to: Sender<Reply>,
}

impl Endings {
    pub(super) fn next_due(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().map(|(due, ..)| *due);
        let draining = self.draining.as_ref();
        sessions.chain(draining.map(|node| node.look_at)).min()
    }
}

impl Worker {
    /// Ends the stream of a session that begins here, which is removed `linger` later; the reply comes then. `Err`: it is
    /// another's, has ended before, or nobody is there to linger for.
    pub(super) fn begin_ending(
        &mut self,
        now: Instant,
        (id, linger): (SessionId, Duration),
        to: Sender<Reply>,
    ) -> Result<(), Sender<Reply>> {
        let Some(index) = self.node.find(id) else {
            return Err(to);
        };
        if linger.is_zero() || !self.end_stream(now, index) {
            return Err(to);
        }
        // Where nothing is held nothing can be fetched.
        let session = self.node.session(index);
        let linger = match session.is_some_and(|session| session.held() > 0) {
            true => linger,
            false => linger.min(STOP_LINGER),
        };
        self.endings.sessions.push((now + linger, id, to));
        Ok(())
    }

    /// Ends all streams that begin here. The reply comes when those below have them whole and the clients here what has
    /// come so far, or when it has taken too long; the worker goes on until [`Worker::end`].
    pub(super) fn begin_draining(&mut self, now: Instant, to: Sender<Reply>) {
        let places = (0..self.routes.len()).map(SessionIndex);
        let ended = places.filter(|&index| self.end_stream(now, index)).count();
        let places = (0..self.routes.len()).map(SessionIndex);
        let owed = places.filter_map(|index| {
            let sent = self.node.session(index)?.stats().sent;
            let is_delivered = !self.route(index)?.clients.is_empty();
            is_delivered.then_some((index, sent))
        });
        let owed = owed.collect();
        let neighbors = (0..self.adjacents.len()).map(|id| NeighborId(id as u16));
        let rtts = neighbors.filter_map(|id| Some(self.node.neighbor(id)?.rtt()));
        let quiet = QUIET + QUIET_ROUND_TRIPS * rtts.max().unwrap_or_default();
        self.endings.draining = Some(Draining {
            until: now + DRAIN_MAX,
            look_at: now,
            quiet_at: if ended > 0 { now + quiet } else { now },
            quiet,
            asked: self.asked_so_far(),
            owed,
            to,
        });
    }

    /// Has the loop end with this turn.
    pub(super) fn end(&mut self) {
        self.endings.is_over = true;
    }

    /// What those below have asked for, and been given.
    fn asked_so_far(&self) -> u64 {
        let places = (0..self.routes.len()).map(SessionIndex);
        let sessions = places.filter_map(|index| self.node.session(index));
        let stats = sessions.map(|session| session.stats());
        stats
            .map(|stats| stats.naks_received + stats.repairs_sent + stats.subcasts_sent)
            .sum()
    }

    /// Tells whoever waits for it when a node that stops is done.
    fn drain(&mut self, now: Instant) {
        let due = |draining: &mut Draining| draining.look_at <= now;
        let Some(mut draining) = self.endings.draining.take_if(due) else {
            return;
        };
        let asked = self.asked_so_far();
        if asked != draining.asked {
            draining.asked = asked;
            draining.quiet_at = now + draining.quiet;
        }
        self.flush();
        let is_done = now >= draining.quiet_at
            && draining.owed.iter().all(|&owed| self.is_passed_on(owed))
            && self.ports.iter().all(WorkerPort::is_flushed);
        if is_done || now >= draining.until {
            let _ = draining.to.send(Reply::Done);
        } else {
            draining.look_at = now + LOOK;
            self.endings.draining = Some(draining);
        }
    }

    fn is_passed_on(&self, (index, packets): (SessionIndex, u64)) -> bool {
        let stats = self.node.session(index).map(|session| session.stats());
        stats.is_none_or(|stats| stats.delivered + stats.undelivered + stats.unrecovered >= packets)
    }

    /// Whether there was a stream to end, and somebody who has to hear of it.
    fn end_stream(&mut self, now: Instant, index: SessionIndex) -> bool {
        let session = self.node.session(index);
        if !session.is_some_and(|session| session.is_ingress() && !session.is_ended()) {
            return false;
        }
        self.follow_downstream(index);
        let has_receivers = self.route(index).is_some_and(Route::has_receivers);
        if has_receivers {
            self.node.end_session(now, index);
        }
        has_receivers
    }

    /// Removes the sessions whose time is over. `true`: the worker's own time is.
    pub(super) fn end_what_is_due(&mut self, now: Instant) -> bool {
        while let Some(place) = self
            .endings
            .sessions
            .iter()
            .position(|(due, ..)| *due <= now)
        {
            let (_, id, to) = self.endings.sessions.swap_remove(place);
            let reply = self.remove_session(id);
            self.flush();
            let _ = to.send(reply);
        }
        self.drain(now);
        self.endings.is_over
    }
}

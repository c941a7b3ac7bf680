//! Ending streams that begin here: their sessions stay for a while, so that those below hear of the end and fetch what
//! they lack.

use std::time::Duration;

use crossbeam::channel::Sender;
use overlay::{Instant, SessionId, SessionIndex};

use super::{Reply, Route, Worker};

/// How long the end of a stream is told where nobody waits for more: markers at 0, 2, 6 and 14 ms.
const STOP_LINGER: Duration = Duration::from_millis(20);

/// What ends at some moment, and who waits for it.
#[derive(Default)]
pub(super) struct Endings {
    sessions: Vec<(Instant, SessionId, Sender<Reply>)>,
    node: Option<(Instant, Sender<Reply>)>,
}

impl Endings {
    pub(super) fn next_due(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().map(|(due, ..)| *due);
        sessions.chain(self.node.iter().map(|(due, _)| *due)).min()
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

    /// Ends all streams that begin here; the worker itself ends soon after, or at once if there are none.
    pub(super) fn begin_stop(&mut self, now: Instant, to: Sender<Reply>) {
        let places = (0..self.routes.len()).map(SessionIndex);
        let ended = places.filter(|&index| self.end_stream(now, index)).count();
        let linger = if ended > 0 {
            STOP_LINGER
        } else {
            Duration::ZERO
        };
        self.endings.node = Some((now + linger, to));
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

    /// Removes the sessions whose time is over. `true`: the worker's own is.
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
        let Some((_, to)) = self.endings.node.take_if(|(due, _)| *due <= now) else {
            return false;
        };
        self.flush();
        let _ = to.send(Reply::Done);
        true
    }
}

//! Moving a session from one worker to another, without losing or reordering its packets.
//!
//! Control first tells the new worker, which from then on keeps the frames of the session that it finds. Then it tells
//! all others but the old one: they hand over to the new one. When it tells the old one, all that was handed over to
//! that lies in its inbox: it works that off, sends what waits, and posts the session, which the new one goes on with.

use std::sync::Arc;

use crossbeam::channel::Sender;
use overlay::{Instant, SessionId};

use super::owners::{Owners, WorkerId};
use super::peers::{Letter, Peers};
use super::{Leftover, NewSession, Reply, Worker, WorkerPort};
use crate::drops::DropReason;

/// A session on its way, and who waits for it to arrive.
pub(crate) struct Moving {
    session: NewSession,
    /// What the old worker went by: not for a worker to free.
    owners: Option<Arc<Owners>>,
    to: Sender<Reply>,
}

impl Worker {
    /// Goes by other owners from now on, and lets go of what it kept for a session that does not come any more.
    pub(crate) fn follow_owners(&mut self, now: Instant, owners: Arc<Owners>) -> Reply {
        let Some(peers) = &mut self.peers else {
            return Reply::Left(Leftover::Owners(owners));
        };
        // Before anything goes by the new ones: what was found earlier is there when control hears of this.
        let dropped = peers.flush_all();
        let before = peers.set_owners(owners);
        self.drops.add(DropReason::HandoverFull, dropped as u64);
        self.take_parked(now);
        Reply::Left(Leftover::Owners(before))
    }

    /// Gives a session to another worker, who replies.
    pub(super) fn give_away(
        &mut self,
        now: Instant,
        (id, to): (SessionId, WorkerId),
        owners: Arc<Owners>,
        reply: Sender<Reply>,
    ) {
        self.drain_inbox(now);
        // A packet goes to all clients by the same worker.
        let (index, began) = (self.node.find(id), self.clock.now());
        while index.is_some_and(|index| !self.finish_fan_out(now, index)) {
            if self.flush() == 0 && self.is_held_up(began) {
                let _ = reply.send(Reply::Refused);
                return;
            }
        }
        let Reply::Left(Leftover::Session(session)) = self.remove_session(id) else {
            let _ = reply.send(Reply::Refused);
            return;
        };
        self.send_what_waits();
        let owners = self.peers.as_mut().map(|peers| peers.set_owners(owners));
        let moving = Box::new(Moving {
            session,
            owners,
            to: reply,
        });
        let refused = match &self.peers {
            Some(peers) => peers.post(to, Letter::Session(moving)).err(),
            None => Some(Letter::Session(moving)),
        };
        if let Some(Letter::Session(moving)) = refused {
            self.take_back(now, *moving);
        }
    }

    /// Goes on with a session that was another worker's.
    pub(super) fn adopt(&mut self, now: Instant, moving: Moving) {
        let Moving {
            session,
            owners,
            to,
        } = moving;
        // What the other worker sent by this one's queues goes first.
        self.flush();
        let reply = match (self.install(now, session), owners) {
            (Ok(_), Some(owners)) => Reply::Left(Leftover::Owners(owners)),
            (Ok(_), None) => Reply::Done,
            (Err(session), _) => Reply::Left(Leftover::Session(session)),
        };
        self.take_parked(now);
        let _ = to.send(reply);
    }

    /// Keeps a session that the other worker has no room for.
    fn take_back(&mut self, now: Instant, moving: Moving) {
        if let Some((peers, owners)) = self.peers.as_mut().zip(moving.owners) {
            peers.set_owners(owners);
        }
        let _ = self.install(now, moving.session);
        let _ = moving.to.send(Reply::Refused);
    }

    fn take_parked(&mut self, now: Instant) {
        // As many as there are now: one whose session has not come yet is parked again.
        for _ in 0..self.peers.as_ref().map_or(0, Peers::parked) {
            if let Some(handed) = self.peers.as_mut().and_then(Peers::unpark) {
                self.take_parked_frame(now, handed);
            }
        }
    }

    /// Sends what waits for the ports, so that nothing of the session's next worker overtakes it. A port that does not
    /// take it is not waited for any longer than in a turn.
    fn send_what_waits(&mut self) {
        let began = self.clock.now();
        while !self.ports.iter().all(WorkerPort::is_flushed) && !self.is_held_up(began) {
            self.flush();
        }
    }

    fn is_held_up(&self, since: Instant) -> bool {
        self.clock.now().since(since) > super::port::PATIENCE
    }
}

//! The other workers of the node: what a worker hands over to them, and they to it.
//!
//! Workers share nothing that any of them changes. Each has an inbox, two bounded queues: frames of its sessions, in
//! batches, and letters, which no flood of frames can keep out.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::RX_BURST;
use super::moving::Moving;
use super::owners::{Key, Owners, WorkerId};
use crate::frame::PortIndex;
use crate::mbuf::Mbuf;
use crate::rx::Burst;

/// Frames handed over at once: what a worker takes from a port in a turn.
const BATCH: usize = RX_BURST;
/// Batches that wait for a worker at most: two receive rings, the first half of them perhaps of one frame each.
pub(super) const BATCHES: usize = 128;
/// Letters that wait for a worker at most: hellos of some turns of a large node.
const LETTERS: usize = 256;
/// Frames kept for a session that is on its way: 20 ms of 100 kpps, a thousand times what a move takes.
const PARKED_MAX: usize = 2048;
/// Buffers on their way to a worker at most.
pub(crate) const HANDED_MAX: usize = BATCH * BATCHES + LETTERS + PARKED_MAX;

/// A frame, and the port that it came by.
pub(crate) type Handed = (PortIndex, Mbuf);

/// Frames that came by the same port, oldest first.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) port: PortIndex,
    pub(crate) frames: Burst<BATCH>,
}

/// What goes to a worker beside frames of its sessions.
pub(crate) enum Letter {
    /// A frame for all workers, from the first to the last; whether one of those before had a use for it.
    Notice(Handed, bool),
    /// A session that is the receiver's from now on.
    Session(Box<Moving>),
}

/// What waits for a worker.
struct Inbox {
    frames: ArrayQueue<Batch>,
    letters: ArrayQueue<Letter>,
}

/// A worker's view of all workers.
pub(crate) struct Peers {
    me: WorkerId,
    owners: Arc<Owners>,
    /// Of each worker, this one's among them.
    inboxes: Arc<[Inbox]>,
    /// Not yet handed over, to each worker.
    batches: Vec<Batch>,
    /// Frames of the session that is on its way here, oldest first.
    parked: VecDeque<Handed>,
}

impl Peers {
    /// One for each of so many workers, at least two.
    pub(crate) fn all(workers: u16) -> impl Iterator<Item = Peers> {
        let inbox = |_| Inbox {
            frames: ArrayQueue::new(BATCHES),
            letters: ArrayQueue::new(LETTERS),
        };
        let inboxes: Arc<[Inbox]> = (0..workers).map(inbox).collect();
        let owners = Arc::new(Owners::new(std::iter::empty(), None));
        (0..workers).map(move |me| Peers {
            me: WorkerId(me),
            owners: Arc::clone(&owners),
            inboxes: Arc::clone(&inboxes),
            batches: (0..workers).map(|_| Batch::default()).collect(),
            parked: VecDeque::with_capacity(PARKED_MAX),
        })
    }

    pub(crate) fn me(&self) -> WorkerId {
        self.me
    }

    pub(crate) fn is_first(&self) -> bool {
        self.me == WorkerId::FIRST
    }

    /// Workers of the node.
    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// The worker after this one.
    pub(crate) fn next(&self) -> Option<WorkerId> {
        Some(self.me.next()).filter(|next| next.place() < self.inboxes.len())
    }

    /// The worker that has the session of a frame which is not here. This one: the session is on its way.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<WorkerId> {
        let (session, worker) = self.owners.find(key)?;
        (worker != self.me || self.owners.is_arriving(session)).then_some(worker)
    }

    /// Puts others in place and returns those that were.
    pub(crate) fn set_owners(&mut self, owners: Arc<Owners>) -> Arc<Owners> {
        std::mem::replace(&mut self.owners, owners)
    }

    /// Hands a frame over, once there is a batch of them or [`Peers::flush`] is called; returns how many were dropped.
    pub(crate) fn hand_over(&mut self, to: WorkerId, (port, mbuf): Handed) -> usize {
        let (inbox, batch) = (&self.inboxes[to.place()], &mut self.batches[to.place()]);
        let mut dropped = 0;
        if batch.port != port {
            dropped += push(inbox, batch);
            batch.port = port;
        }
        if let Err(mbuf) = batch.frames.push(mbuf) {
            dropped += push(inbox, batch);
            let refused = batch.frames.push(mbuf);
            debug_assert!(refused.is_ok(), "there is room now");
        }
        dropped
    }

    /// Hands over what waits; returns how many frames were dropped since the other worker had no room. Where much waits
    /// for that already, batches are filled first: it may be off its core, and frames come one by one.
    pub(crate) fn flush(&mut self) -> usize {
        let inboxes = self.inboxes.iter().zip(&mut self.batches);
        let waiting = inboxes.filter(|(inbox, _)| inbox.frames.len() < BATCHES / 2);
        waiting.map(|(inbox, batch)| push(inbox, batch)).sum()
    }

    /// Hands over all that waits, whatever waits there; returns how many frames were dropped.
    pub(crate) fn flush_all(&mut self) -> usize {
        let inboxes = self.inboxes.iter().zip(&mut self.batches);
        inboxes.map(|(inbox, batch)| push(inbox, batch)).sum()
    }

    /// The oldest frames that others have handed over.
    pub(crate) fn fetch(&self) -> Option<Batch> {
        self.inboxes[self.me.place()].frames.pop()
    }

    /// Sends a letter.
    ///
    /// # Errors
    /// The letter, where the other worker has no room for it.
    pub(crate) fn post(&self, to: WorkerId, letter: Letter) -> Result<(), Letter> {
        self.inboxes[to.place()].letters.push(letter)
    }

    /// The oldest letter to this worker.
    pub(crate) fn read(&self) -> Option<Letter> {
        self.inboxes[self.me.place()].letters.pop()
    }

    /// Keeps a frame of a session that is on its way here. `false`: there is no room, and it is dropped.
    pub(crate) fn park(&mut self, handed: Handed) -> bool {
        let has_room = self.parked.len() < PARKED_MAX;
        if has_room {
            self.parked.push_back(handed);
        }
        has_room
    }

    /// Frames that are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// The oldest frame that is parked.
    pub(crate) fn unpark(&mut self) -> Option<Handed> {
        self.parked.pop_front()
    }
}

/// Hands a batch over, or drops it and says how many frames that were.
fn push(inbox: &Inbox, batch: &mut Batch) -> usize {
    if batch.frames.is_empty() {
        return 0;
    }
    let fresh = Batch {
        port: batch.port,
        ..Batch::default()
    };
    let refused = inbox.frames.push(std::mem::replace(batch, fresh));
    refused.map_or_else(|batch| batch.frames.len(), |()| 0)
}

//! A whole node: its adjacencies, its sessions and their timers. What a worker drives.

mod input;
mod neighbors;
mod run;
mod transmit;
mod turns;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;

use crate::neighbor::{Neighbor, StateReason};
use crate::session::{Calm, CatchUp, Reject, Session};
use crate::wire::{Header, HelloState, ParityHeader};
use crate::{Epoch, Instant, NeighborId, Seq, SessionId};

pub use run::{SourceRun, TreeRun};
pub use transmit::{Body, Destination, Transmit};
use turns::{Turns, UNPLANNED};

/// How a node is run.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// This life of the node.
    pub epoch: Epoch,
    /// How often grafts are renewed; the hellos' interval.
    pub hello_interval: Duration,
    /// How long a parent that came back must stay up before it is parent again.
    pub hold_down: Duration,
    /// Most neighbors at once.
    pub max_neighbors: usize,
    /// Most sessions at once.
    pub max_sessions: usize,
}

/// The place of a session in its node, until the session is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIndex(pub usize);

/// Something an operator would want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An adjacency changed.
    Neighbor(NeighborId, HelloState, StateReason),
    /// A session asks another neighbor first.
    Parent(SessionId, NeighborId),
    /// A receiver follows another life of its ingress.
    Epoch(SessionId, Epoch),
    /// A receiver followed a jump over this many packets.
    Skipped(SessionId, u64),
    /// A session of mode `auto` begins (`true`) or ends to have copies sent.
    Copying(SessionId, bool),
    /// The ingress said that the stream has ended.
    Ended(SessionId),
    /// The ingress has been silent for so long that the session's state went.
    Idle(SessionId),
    /// A neighbor asks for more than its repair rate (`true`), or does no more.
    Throttled(NeighborId, bool),
    /// A neighbor has been throttled for so long that its NAKs are not answered for a while (`true`), or are again.
    Ejected(NeighborId, bool),
}

/// A block that can be rebuilt: its missing packets from the others and its parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// The session.
    pub index: SessionIndex,
    /// First sequence of the block.
    pub first: Seq,
    /// Packets of the block.
    pub count: u8,
    /// Parity packets made of it.
    pub parity: u8,
}

/// Sessions whose timers are seen to in one go: 100 µs or less, in which no receive ring overflows.
const TIMEOUT_BUDGET: usize = 256;

/// A session and the queues it stands in.
#[derive(Debug)]
struct Entry<P> {
    session: Box<Session<P>>,
    /// When its timer goes off.
    armed: Instant,
    /// When it is to announce its lead, as planned last.
    heartbeat: Instant,
    calm: Calm,
    /// In `Turns::sending`.
    sending: bool,
    /// In `Turns::delivering`.
    delivering: bool,
    /// In `Turns::rebuilding`.
    rebuilding: bool,
}

/// The protocol of a whole node.
#[derive(Debug)]
pub struct Node<P> {
    config: NodeConfig,
    /// Another part of the same node speaks to the neighbors: see [`Node::keep_quiet`].
    quiet: bool,
    neighbors: Vec<Option<Neighbor>>,
    neighbors_due: Instant,
    hellos_due: bool,
    entries: Vec<Option<Entry<P>>>,
    /// Places of sessions that were removed.
    free: Vec<SessionIndex>,
    /// Places of the sessions, in as few bytes as they take: with very many each look is a miss.
    by_id: HashMap<SessionId, u32>,
    turns: Turns,
    /// What is still to be sent down the second tree as it went down the first.
    again: Option<(SessionIndex, Header, Option<ParityHeader>)>,
}

impl<P> Node<P> {
    /// A node without neighbors and sessions.
    #[must_use]
    pub fn new(now: Instant, config: NodeConfig) -> Node<P> {
        Node {
            config,
            quiet: false,
            neighbors: Vec::with_capacity(config.max_neighbors),
            neighbors_due: now,
            hellos_due: false,
            entries: Vec::with_capacity(config.max_sessions),
            free: Vec::with_capacity(config.max_sessions),
            by_id: HashMap::with_capacity(config.max_sessions),
            turns: Turns::new(config.max_sessions),
            again: None,
        }
    }

    /// Leaves hellos, and the news of neighbors, to another part of the same node, which has the same neighbors: where a
    /// node's sessions are spread over several of these, one says hello, and all hear what it is answered.
    pub fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// Adds a session, new or from another part of the same node, and returns its place.
    ///
    /// # Errors
    /// The session itself, if one of that number is there or the node is full.
    pub fn add_session(
        &mut self,
        now: Instant,
        session: Box<Session<P>>,
    ) -> Result<SessionIndex, Box<Session<P>>> {
        let id = session.config().id;
        if self.by_id.contains_key(&id) || self.by_id.len() >= self.config.max_sessions {
            return Err(session);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            SessionIndex(self.entries.len() - 1)
        });
        let entry = Entry {
            session,
            armed: Instant::NEVER,
            heartbeat: UNPLANNED,
            calm: Calm::No,
            sending: false,
            delivering: false,
            rebuilding: false,
        };
        if entry.session.has_catch_ups() {
            self.turns.catching_up.push_back(index);
        }
        self.entries[index.0] = Some(entry);
        self.by_id.insert(id, index.0 as u32);
        self.choose_parent(now, index);
        self.touch(index);
        Ok(index)
    }

    /// Removes a session and returns it: its memory is not freed here.
    pub fn remove_session(&mut self, index: SessionIndex) -> Option<Box<Session<P>>> {
        let entry = self.entries.get_mut(index.0)?.take()?;
        self.by_id.remove(&entry.session.config().id);
        self.turns.forget(index);
        self.free.push(index);
        self.again = self.again.filter(|again| again.0 != index);
        Some(entry.session)
    }

    /// Changes a session in place. Its ingress and the memory it was made with stay as they are.
    pub fn reconfigure(&mut self, now: Instant, index: SessionIndex, config: crate::SessionConfig) {
        if let Some(entry) = self.entry(index) {
            entry.session.reconfigure(now, config);
            self.choose_parent(now, index);
            self.touch(index);
        }
    }

    /// The place of a session.
    #[must_use]
    #[inline]
    pub fn find(&self, id: SessionId) -> Option<SessionIndex> {
        let place = *self.by_id.get(&id)?;
        Some(SessionIndex(place as usize))
    }

    /// A session.
    #[must_use]
    #[inline]
    pub fn session(&self, index: SessionIndex) -> Option<&Session<P>> {
        Some(&*self.entries.get(index.0)?.as_ref()?.session)
    }

    /// The packet `seq` of a session, if it is held: for what the caller notes in it.
    #[inline]
    pub fn packet_mut(&mut self, index: SessionIndex, seq: Seq) -> Option<&mut P> {
        let entry = self.entries.get_mut(index.0)?.as_mut()?;
        entry.session.packet_mut(seq)
    }

    /// Ends the stream of a session that begins here: it takes no more packets, and says so to all below.
    pub fn end_session(&mut self, now: Instant, index: SessionIndex) {
        if let Some(entry) = self.entry(index) {
            entry.session.end(now);
            self.touch(index);
        }
    }

    /// Moves time on: silence, deadlines, retention.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.neighbors_due {
            self.hellos_due = true;
            self.neighbor_timeouts(now);
        }
        for _ in 0..TIMEOUT_BUDGET {
            let Some(index) = self.turns.pop_due(now) else {
                return;
            };
            if let Some(entry) = self.entries[index.0].as_mut() {
                entry.armed = Instant::NEVER;
                entry.session.handle_timeout(now);
                entry.session.follow_rtt(&self.neighbors);
                self.turns.touch(index, entry);
            }
        }
    }

    /// When [`Node::handle_timeout`] is next needed; now, if it has left something over.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.turns.next_due().min(self.neighbors_due)
    }

    /// Sends a client of a session what is here of the last `span`, before it is served with the others: see
    /// [`Node::poll_catch_up`]. `client` is a number of the caller's choice.
    pub fn catch_up(&mut self, now: Instant, index: SessionIndex, client: u64, span: Duration) {
        if let Some(entry) = self.entry(index) {
            entry.session.catch_up(now, client, span);
            if !self.turns.catching_up.contains(&index) {
                self.turns.catching_up.push_back(index);
            }
        }
    }

    /// Forgets a client that catches up.
    pub fn end_catch_up(&mut self, index: SessionIndex, client: u64) {
        if let Some(entry) = self.entry(index) {
            entry.session.end_catch_up(client);
        }
    }

    /// The next step of a client that catches up, sessions in turn.
    pub fn poll_catch_up(&mut self, now: Instant) -> Option<(SessionIndex, u64, CatchUp)> {
        for _ in 0..self.turns.catching_up.len() {
            let index = self.turns.catching_up.pop_front()?;
            let Some(entry) = self.entry(index) else {
                continue;
            };
            let step = entry.session.poll_catch_up(now);
            if entry.session.has_catch_ups() {
                self.turns.catching_up.push_back(index);
            }
            if let Some((client, step)) = step {
                return Some((index, client, step));
            }
            self.rest(now, index);
        }
        None
    }

    /// The next block that can be rebuilt. The caller makes its missing packets and hands each to
    /// [`Node::handle_rebuilt`]; where it can't, the block is asked for as any other gap.
    pub fn poll_rebuild(&mut self) -> Option<Rebuild> {
        while let Some(&index) = self.turns.rebuilding.front() {
            let entry = self.entry(index)?;
            if let Some((first, header)) = entry.session.poll_rebuild() {
                return Some(Rebuild {
                    index,
                    first,
                    count: header.count,
                    parity: header.parity,
                });
            }
            entry.rebuilding = false;
            self.turns.rebuilding.pop_front();
        }
        None
    }

    /// The next packet to deliver to the session's clients, sessions in turn.
    #[inline]
    pub fn poll_deliver(&mut self, now: Instant) -> Option<(SessionIndex, Seq, &P)> {
        let (index, seq) = self.next_delivery(now)?;
        Some((index, seq, self.session(index)?.packet(seq)?))
    }

    #[inline]
    fn next_delivery(&mut self, now: Instant) -> Option<(SessionIndex, Seq)> {
        while let Some(&index) = self.turns.delivering.front() {
            if let Some(entry) = self.entries[index.0].as_mut() {
                if let Some(seq) = entry.session.poll_deliver(now) {
                    self.turns.delivered();
                    return Some((index, seq));
                }
                entry.delivering = false;
                if let Some(due) = entry.session.deliver_due() {
                    self.turns.arm(index, entry, due);
                }
            }
            self.turns.end_delivery();
        }
        None
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.turns.poll_event()
    }

    /// Whether a session's downstream neighbors changed since this was last asked.
    pub fn take_downstream_changed(&mut self, index: SessionIndex) -> bool {
        let entry = self.entry(index);
        entry.is_some_and(|entry| entry.session.take_downstream_changed())
    }

    fn entry(&mut self, index: SessionIndex) -> Option<&mut Entry<P>> {
        self.entries.get_mut(index.0)?.as_mut()
    }

    fn with_session(
        &mut self,
        header: &Header,
        handle: impl FnOnce(&mut Session<P>, &[Option<Neighbor>]) -> Result<(), Reject>,
    ) -> Result<SessionIndex, Reject> {
        let index = self.find(header.session).ok_or(Reject::SessionUnknown)?;
        let entry = self.entries[index.0]
            .as_mut()
            .ok_or(Reject::SessionUnknown)?;
        handle(&mut entry.session, &self.neighbors)?;
        self.touch(index);
        Ok(index)
    }

    /// Has a session looked at: something happened to it.
    fn touch(&mut self, index: SessionIndex) {
        if let Some(entry) = self.entries.get_mut(index.0).and_then(Option::as_mut) {
            self.turns.touch(index, entry);
        }
    }

    fn rest(&mut self, now: Instant, index: SessionIndex) {
        if let Some(entry) = self.entries.get_mut(index.0).and_then(Option::as_mut) {
            self.turns.rest(now, index, entry);
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.quiet && matches!(event, Event::Neighbor(..)) {
            return;
        }
        self.turns.push_event(event);
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

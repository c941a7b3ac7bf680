//! A whole node: its adjacencies, its sessions and their timers. What a worker drives.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;

use crate::neighbor::{Neighbor, NeighborConfig, StateReason};
use crate::session::{Reject, Session};
use crate::timers::Timers;
use crate::wire::{FLAG_GRAFT, Header, Hello, HelloState, Kind, NakRanges, ParityHeader};
use crate::{Epoch, Instant, NeighborId, Seq, SeqRange, SessionId, Tree};

/// Events kept for an owner that does not fetch them; the oldest go.
const EVENTS_MAX: usize = 256;

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

/// A packet to send.
#[derive(Debug)]
pub struct Transmit<'a, P> {
    /// Where to.
    pub to: Destination,
    /// The treecast header. Of a repair, the timestamp is 0: the caller knows the packet's own.
    pub header: Header,
    /// What follows the header.
    pub body: Body<'a, P>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By the overlay to a neighbor.
    Neighbor(NeighborId),
    /// Down one of the trees of a session.
    Tree(SessionIndex, Tree),
}

/// What follows the header of a packet to send.
#[derive(Debug)]
pub enum Body<'a, P> {
    /// Nothing.
    Empty,
    /// The ranges of a NAK.
    Ranges(&'a [SeqRange]),
    /// A hello.
    Hello(Hello),
    /// The packet of a repair or a copy.
    Packet(&'a P),
    /// Parity, to be made of the packets of its block, which the session holds: from the header's sequence on.
    Parity(ParityHeader),
}

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

/// A session and the queues it stands in.
#[derive(Debug)]
struct Entry<P> {
    session: Box<Session<P>>,
    /// In `Node::sending`.
    sending: bool,
    /// In `Node::delivering`.
    delivering: bool,
}

/// What a session wants sent, before it is lent out.
enum Found {
    Nak(NeighborId),
    Repair(NeighborId, Seq),
    Heartbeat(Header),
    Graft(NeighborId),
}

/// The protocol of a whole node.
#[derive(Debug)]
pub struct Node<P> {
    config: NodeConfig,
    neighbors: Vec<Option<Neighbor>>,
    neighbors_due: Instant,
    hellos_due: bool,
    entries: Vec<Option<Entry<P>>>,
    by_id: HashMap<SessionId, SessionIndex>,
    sending: VecDeque<SessionIndex>,
    delivering: VecDeque<SessionIndex>,
    /// By place of the session.
    timers: Timers,
    events: VecDeque<Event>,
}

impl<P> Node<P> {
    /// A node without neighbors and sessions.
    #[must_use]
    pub fn new(now: Instant, config: NodeConfig) -> Node<P> {
        Node {
            config,
            neighbors: Vec::with_capacity(config.max_neighbors),
            neighbors_due: now,
            hellos_due: false,
            entries: Vec::with_capacity(config.max_sessions),
            by_id: HashMap::with_capacity(config.max_sessions),
            sending: VecDeque::with_capacity(config.max_sessions),
            delivering: VecDeque::with_capacity(config.max_sessions),
            timers: Timers::new(config.max_sessions),
            events: VecDeque::with_capacity(EVENTS_MAX),
        }
    }

    /// Adds an adjacency; `None` when there are as many as the node may have.
    pub fn add_neighbor(&mut self, now: Instant, config: NeighborConfig) -> Option<NeighborId> {
        let free = self.neighbors.iter().position(Option::is_none);
        let place = free.unwrap_or(self.neighbors.len());
        if place >= self.config.max_neighbors {
            return None;
        }
        if free.is_none() {
            self.neighbors.push(None);
        }
        self.neighbors[place] = Some(Neighbor::new(now, config));
        self.neighbors_due = now;
        Some(NeighborId(u16::try_from(place).ok()?))
    }

    /// Removes an adjacency that no session refers to.
    pub fn remove_neighbor(&mut self, id: NeighborId) {
        if let Some(neighbor) = self.neighbors.get_mut(usize::from(id.0)) {
            *neighbor = None;
        }
    }

    /// An adjacency.
    #[must_use]
    pub fn neighbor(&self, id: NeighborId) -> Option<&Neighbor> {
        crate::session::neighbor(&self.neighbors, id)
    }

    /// Adds a session and returns its place.
    ///
    /// # Errors
    /// The session itself, if one of that number is there or the node is full.
    pub fn add_session(
        &mut self,
        now: Instant,
        session: Box<Session<P>>,
    ) -> Result<SessionIndex, Box<Session<P>>> {
        let id = session.config().id;
        let free = self.entries.iter().position(Option::is_none);
        let index = SessionIndex(free.unwrap_or(self.entries.len()));
        if self.by_id.contains_key(&id) || index.0 >= self.config.max_sessions {
            return Err(session);
        }
        if free.is_none() {
            self.entries.push(None);
        }
        let entry = Entry {
            session,
            sending: false,
            delivering: false,
        };
        self.entries[index.0] = Some(entry);
        self.by_id.insert(id, index);
        self.choose_parent(now, index);
        self.touch(index);
        Ok(index)
    }

    /// Removes a session and returns it: its memory is not freed here.
    pub fn remove_session(&mut self, index: SessionIndex) -> Option<Box<Session<P>>> {
        let entry = self.entries.get_mut(index.0)?.take()?;
        self.by_id.remove(&entry.session.config().id);
        self.timers.clear(index.0);
        self.sending.retain(|&queued| queued != index);
        self.delivering.retain(|&queued| queued != index);
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
    pub fn find(&self, id: SessionId) -> Option<SessionIndex> {
        self.by_id.get(&id).copied()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, index: SessionIndex) -> Option<&Session<P>> {
        Some(&*self.entries.get(index.0)?.as_ref()?.session)
    }

    /// Numbers and keeps a packet of the source; the header is that of the data packet to send. `None`: this node is
    /// not the session's ingress.
    pub fn handle_source(
        &mut self,
        now: Instant,
        index: SessionIndex,
        timestamp: u64,
        packet: P,
    ) -> Option<Header> {
        let header = self
            .entry(index)?
            .session
            .handle_source(now, timestamp, packet);
        self.touch(index);
        header
    }

    /// Takes a packet of the tree. `Ok`: it is new, held, and to be sent on.
    ///
    /// # Errors
    /// Why the packet was dropped.
    pub fn handle_data(
        &mut self,
        now: Instant,
        header: &Header,
        packet: P,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, _| {
            session.handle_data(now, header, packet)
        })
    }

    /// Takes a heartbeat of the tree. `Ok`: it is to be sent on.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_heartbeat(
        &mut self,
        now: Instant,
        header: &Header,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, _| session.handle_heartbeat(now, header))
    }

    /// Takes a repair.
    ///
    /// # Errors
    /// Why the packet was dropped.
    pub fn handle_repair(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
        packet: P,
    ) -> Result<SessionIndex, Reject> {
        if let Some(neighbor) = self.neighbor_mut(from) {
            neighbor.stats.repairs_received += 1;
        }
        self.with_session(header, |session, _| {
            session.handle_repair(now, header, packet)
        })
    }

    /// Takes a NAK.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_nak(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
        ranges: NakRanges<'_>,
    ) -> Result<SessionIndex, Reject> {
        if let Some(neighbor) = self.neighbor_mut(from) {
            neighbor.stats.naks_received += 1;
        }
        self.with_session(header, |session, _| {
            if session.epoch() != Some(header.epoch) {
                return Err(Reject::EpochOld);
            }
            session.handle_nak(now, from, ranges)
        })
    }

    /// Takes a graft: a hello with a session.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_graft(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, neighbors| {
            let detection = crate::session::neighbor(neighbors, from).map(Neighbor::detection);
            let until = now + detection.ok_or(Reject::NotAChild)?;
            session.handle_graft(until, from)
        })
    }

    /// Takes a hello without a session.
    ///
    /// # Errors
    /// [`Reject::HelloStale`] for a replay, [`Reject::NotAChild`] for an unknown neighbor.
    pub fn handle_hello(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
        hello: &Hello,
    ) -> Result<(), Reject> {
        let neighbor = self.neighbor_mut(from).ok_or(Reject::NotAChild)?;
        let before = neighbor.state().0;
        if !neighbor.handle_hello(now, header, hello) {
            return Err(Reject::HelloStale);
        }
        self.neighbor_changed(now, from, before);
        Ok(())
    }

    /// Moves time on: silence, deadlines, retention.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.neighbors_due {
            self.hellos_due = true;
            self.neighbor_timeouts(now);
        }
        while let Some(place) = self.timers.pop(now) {
            if let Some(entry) = self.entry(SessionIndex(place)) {
                entry.session.handle_timeout(now);
                self.touch(SessionIndex(place));
            }
        }
    }

    /// When [`Node::handle_timeout`] is next needed.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.timers.next_due().min(self.neighbors_due)
    }

    /// The next packet to send, sessions in turn; `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_, P>> {
        if let Some((to, header, hello)) = self.poll_hello(now) {
            let to = Destination::Neighbor(to);
            return Some(Transmit {
                to,
                header,
                body: Body::Hello(hello),
            });
        }
        let (index, found) = self.find_transmit(now)?;
        let epoch = self.config.epoch;
        let session = &self.entries[index.0].as_ref()?.session;
        let header = |kind, sequence| Header {
            kind,
            flags: 0,
            epoch: session.epoch().unwrap_or_default(),
            session: session.config().id,
            sequence,
            timestamp: 0,
        };
        let none = Seq(0);
        Some(match found {
            Found::Nak(to) => Transmit {
                to: Destination::Neighbor(to),
                header: header(Kind::Nak, none),
                body: Body::Ranges(session.nak_ranges()),
            },
            Found::Repair(to, seq) => Transmit {
                to: Destination::Neighbor(to),
                header: header(Kind::Repair, seq),
                body: Body::Packet(session.packet(seq)?),
            },
            Found::Heartbeat(header) => Transmit {
                to: Destination::Tree(index, Tree::First),
                header,
                body: Body::Empty,
            },
            Found::Graft(to) => Transmit {
                to: Destination::Neighbor(to),
                header: Header {
                    flags: FLAG_GRAFT,
                    epoch,
                    ..header(Kind::Hello, none)
                },
                body: Body::Empty,
            },
        })
    }

    /// The next packet to deliver to the session's clients, sessions in turn.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<(SessionIndex, Seq, &P)> {
        while let Some(index) = self.delivering.pop_front() {
            let Some(entry) = self.entries[index.0].as_mut() else {
                continue;
            };
            if let Some(seq) = entry.session.poll_deliver(now) {
                self.delivering.push_back(index);
                return Some((index, seq, self.session(index)?.packet(seq)?));
            }
            entry.delivering = false;
            self.arm(index);
        }
        None
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether a session's downstream neighbors changed since this was last asked.
    pub fn take_downstream_changed(&mut self, index: SessionIndex) -> bool {
        let entry = self.entry(index);
        entry.is_some_and(|entry| entry.session.take_downstream_changed())
    }

    fn entry(&mut self, index: SessionIndex) -> Option<&mut Entry<P>> {
        self.entries.get_mut(index.0)?.as_mut()
    }

    fn neighbor_mut(&mut self, id: NeighborId) -> Option<&mut Neighbor> {
        self.neighbors.get_mut(usize::from(id.0))?.as_mut()
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
        let Some(entry) = self.entries[index.0].as_mut() else {
            return;
        };
        if !core::mem::replace(&mut entry.sending, true) {
            self.sending.push_back(index);
        }
        if !core::mem::replace(&mut entry.delivering, true) {
            self.delivering.push_back(index);
        }
        let session = &mut entry.session;
        let id = session.config().id;
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
    }

    /// Sees to it that the session's timer goes off in time. Later ones are left to go off early and be set anew.
    fn arm(&mut self, index: SessionIndex) {
        let Some(entry) = self.entries[index.0].as_mut() else {
            return;
        };
        if let Some(due) = entry.session.poll_timeout(&self.neighbors) {
            self.timers.set(index.0, due);
        }
    }

    fn find_transmit(&mut self, now: Instant) -> Option<(SessionIndex, Found)> {
        while let Some(index) = self.sending.pop_front() {
            let Some(entry) = self.entries[index.0].as_mut() else {
                continue;
            };
            let interval = self.config.hello_interval;
            let found = find_in(&mut entry.session, now, &mut self.neighbors, interval);
            if let Some(found) = found {
                self.sending.push_back(index);
                return Some((index, found));
            }
            entry.sending = false;
            self.arm(index);
        }
        None
    }

    fn poll_hello(&mut self, now: Instant) -> Option<(NeighborId, Header, Hello)> {
        if !self.hellos_due {
            return None;
        }
        let epoch = self.config.epoch;
        for (place, neighbor) in self.neighbors.iter_mut().enumerate() {
            let polled = neighbor
                .as_mut()
                .and_then(|neighbor| neighbor.poll_hello(now, epoch));
            if let Some((header, hello)) = polled {
                return Some((NeighborId(place as u16), header, hello));
            }
        }
        self.hellos_due = false;
        let dues = self.neighbors.iter().flatten().map(Neighbor::poll_timeout);
        self.neighbors_due = dues.min().unwrap_or(now + self.config.hello_interval);
        None
    }

    fn neighbor_timeouts(&mut self, now: Instant) {
        for place in 0..self.neighbors.len() {
            let Some(neighbor) = self.neighbors[place].as_mut() else {
                continue;
            };
            let (before, reason, _) = neighbor.state();
            neighbor.handle_timeout(now);
            let changed = neighbor.state().1 != reason;
            let id = NeighborId(place as u16);
            if changed && before == HelloState::Down {
                self.choose_parents(now, id);
            }
            self.neighbor_changed(now, id, before);
        }
    }

    fn neighbor_changed(&mut self, now: Instant, id: NeighborId, before: HelloState) {
        let Some(neighbor) = self.neighbor(id) else {
            return;
        };
        let (state, reason, _) = neighbor.state();
        if state == before {
            return;
        }
        self.push_event(Event::Neighbor(id, state, reason));
        self.choose_parents(now, id);
    }

    fn choose_parents(&mut self, now: Instant, changed: NeighborId) {
        for place in 0..self.entries.len() {
            let Some(entry) = self.entries[place].as_ref() else {
                continue;
            };
            if entry.session.config().upstream.contains(&changed) {
                self.choose_parent(now, SessionIndex(place));
                self.touch(SessionIndex(place));
            }
        }
    }

    fn choose_parent(&mut self, now: Instant, index: SessionIndex) {
        if let Some(entry) = self.entries[index.0].as_mut() {
            entry.session.choose_parent(now, &self.neighbors);
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// What the session wants sent: requests first, since they open what is closed; then answers.
fn find_in<P>(
    session: &mut Session<P>,
    now: Instant,
    neighbors: &mut [Option<Neighbor>],
    graft_interval: Duration,
) -> Option<Found> {
    if let Some((to, _)) = session.poll_nak(now, neighbors) {
        if let Some(neighbor) = neighbors[usize::from(to.0)].as_mut() {
            neighbor.stats.naks_sent += 1;
        }
        return Some(Found::Nak(to));
    }
    if let Some((to, seq)) = session.poll_repair(now, neighbors) {
        if let Some(neighbor) = neighbors[usize::from(to.0)].as_mut() {
            neighbor.stats.repairs_sent += 1;
        }
        return Some(Found::Repair(to, seq));
    }
    if let Some(header) = session.poll_heartbeat(now) {
        return Some(Found::Heartbeat(header));
    }
    session.poll_graft(now, graft_interval).map(Found::Graft)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod netsim;
#[cfg(test)]
mod tests;

//! A whole node: its adjacencies, its sessions and their timers. What a worker drives.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;

use crate::neighbor::{Conduct, Neighbor, NeighborConfig, StateReason};
use crate::session::{Answer, CatchUp, Reject, Request, Session};
use crate::timers::Timers;
use crate::wire::{
    FLAG_COPY, FLAG_HISTORY, FLAG_SECOND, Header, Hello, HelloState, Kind, NakRanges, ParityHeader,
};
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
    Confirm(Duration),
    Nak(NeighborId),
    Subcast(Seq),
    Answer(Answer),
    Parity(Seq, ParityHeader),
    Heartbeat(Header),
    Request(Request),
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
    /// Sessions with clients that catch up.
    catching_up: VecDeque<SessionIndex>,
    /// Sessions with blocks that may be rebuilt.
    rebuilding: VecDeque<SessionIndex>,
    /// What is still to be sent down the second tree as it went down the first.
    again: Option<(SessionIndex, Header, Option<ParityHeader>)>,
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
            catching_up: VecDeque::with_capacity(config.max_sessions),
            rebuilding: VecDeque::with_capacity(config.max_sessions),
            again: None,
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

    /// Removes an adjacency that no session's config names. What it was owed is forgotten.
    pub fn remove_neighbor(&mut self, id: NeighborId) {
        if let Some(neighbor) = self.neighbors.get_mut(usize::from(id.0)) {
            *neighbor = None;
        }
        for entry in self.entries.iter_mut().flatten() {
            entry.session.forget_neighbor(id);
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
        self.catching_up.retain(|&queued| queued != index);
        self.rebuilding.retain(|&queued| queued != index);
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
    pub fn find(&self, id: SessionId) -> Option<SessionIndex> {
        self.by_id.get(&id).copied()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, index: SessionIndex) -> Option<&Session<P>> {
        Some(&*self.entries.get(index.0)?.as_ref()?.session)
    }

    /// Ends the stream of a session that begins here: it takes no more packets, and says so to all below.
    pub fn end_session(&mut self, now: Instant, index: SessionIndex) {
        if let Some(entry) = self.entry(index) {
            entry.session.end(now);
            self.touch(index);
        }
    }

    /// Numbers and keeps a packet of the source; the header is that of the data packet to send. `None`: this node is
    /// not the session's ingress, or has ended it.
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

    /// Takes a packet of a tree. `Ok`: it is held, and to be sent on down the tree that its flags name, for the first
    /// time.
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

    /// Takes a heartbeat of the tree. It is not sent on: each node announces its own lead.
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

    /// Takes a copy.
    ///
    /// # Errors
    /// Why the packet was dropped.
    pub fn handle_copy(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
        packet: P,
    ) -> Result<SessionIndex, Reject> {
        if let Some(neighbor) = self.neighbor_mut(from) {
            neighbor.stats.copies_received += 1;
        }
        self.with_session(header, |session, _| {
            session.handle_copy(now, header, packet)
        })
    }

    /// Takes a parity packet: `packet` is what follows its [`ParityHeader`]. `Ok`: it is to be sent on down the tree
    /// that its flags name.
    ///
    /// # Errors
    /// Why the packet was dropped.
    pub fn handle_parity(
        &mut self,
        now: Instant,
        header: &Header,
        parity: ParityHeader,
        packet: P,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, _| {
            session.handle_parity(now, header, parity, packet)
        })
    }

    /// Takes a packet that was rebuilt of what [`Node::poll_rebuild`] had named.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_rebuilt(
        &mut self,
        now: Instant,
        index: SessionIndex,
        seq: Seq,
        packet: P,
    ) -> Result<(), Reject> {
        let entry = self.entry(index).ok_or(Reject::SessionUnknown)?;
        entry.session.handle_rebuilt(now, seq, packet)?;
        self.touch(index);
        Ok(())
    }

    /// Takes a NAK confirmation, of the tree or of the overlay.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_confirm(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
        ranges: NakRanges<'_>,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, neighbors| {
            if header.flags & FLAG_HISTORY != 0 {
                return session.handle_history(now, header, from, ranges);
            }
            let rto = crate::session::neighbor(neighbors, from).map(|from| from.rtt.rto());
            session.handle_confirm(now, header, (from, rto.unwrap_or_default()), ranges)
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
        let neighbor = self.neighbor_mut(from).ok_or(Reject::NotAChild)?;
        neighbor.stats.naks_received += 1;
        let rtt = neighbor.rtt();
        if neighbor.is_held_back().1 {
            return Err(Reject::Ejected);
        }
        if !neighbor.take_nak(now) {
            return Err(Reject::NakOverBudget);
        }
        self.with_session(header, |session, _| {
            if session.epoch() != Some(header.epoch) {
                return Err(Reject::EpochOld);
            }
            session.handle_nak(now, (from, rtt), ranges)
        })
    }

    /// Takes a request: a hello with a session, for its tree, for copies, or for news of its history.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_request(
        &mut self,
        now: Instant,
        from: NeighborId,
        header: &Header,
    ) -> Result<SessionIndex, Reject> {
        self.with_session(header, |session, neighbors| {
            let neighbor = crate::session::neighbor(neighbors, from).ok_or(Reject::NotAChild)?;
            if header.flags & FLAG_COPY != 0 && neighbor.is_held_back().1 {
                return Err(Reject::Ejected);
            }
            session.handle_request(now + neighbor.detection(), from, header)
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
                self.follow_rtt(SessionIndex(place));
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
        if let Some((index, header, parity)) = self.again.take() {
            return Some(Transmit {
                to: Destination::Tree(index, Tree::Second),
                header,
                body: parity.map_or(Body::Empty, Body::Parity),
            });
        }
        let (index, found) = self.find_transmit(now)?;
        self.repeat_on_second_tree(index, &found);
        self.transmit_of(index, found)
    }

    /// What announces something to all goes down both trees.
    fn repeat_on_second_tree(&mut self, index: SessionIndex, found: &Found) {
        let Some(session) = self.session(index) else {
            return;
        };
        if session.downstream(Tree::Second).next().is_none() {
            return;
        }
        let (header, parity) = match *found {
            Found::Heartbeat(header) => (header, None),
            Found::Parity(first, parity) => (session.header(Kind::Parity, first), Some(parity)),
            _ => return,
        };
        let flags = header.flags | FLAG_SECOND;
        self.again = Some((index, Header { flags, ..header }, parity));
    }

    /// What a session wants sent, as a packet.
    fn transmit_of(&self, index: SessionIndex, found: Found) -> Option<Transmit<'_, P>> {
        let epoch = self.config.epoch;
        let session = self.session(index)?;
        let header = |kind, sequence| session.header(kind, sequence);
        let tree = Destination::Tree(index, Tree::First);
        let (to, header, body) = match found {
            Found::Confirm(hold) => {
                let timestamp = u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX);
                let header = Header {
                    timestamp,
                    ..header(Kind::NakConfirm, Seq(0))
                };
                (tree, header, Body::Ranges(session.ranges()))
            }
            Found::Nak(to) => {
                let body = Body::Ranges(session.ranges());
                (Destination::Neighbor(to), header(Kind::Nak, Seq(0)), body)
            }
            Found::Subcast(seq) => {
                let body = Body::Packet(session.packet(seq)?);
                (tree, header(Kind::Repair, seq), body)
            }
            Found::Answer(Answer::Repair(to, seq)) => {
                let body = Body::Packet(session.packet(seq)?);
                (Destination::Neighbor(to), header(Kind::Repair, seq), body)
            }
            Found::Answer(Answer::Copy(to, seq)) => {
                let body = Body::Packet(session.packet(seq)?);
                (Destination::Neighbor(to), header(Kind::Copy, seq), body)
            }
            Found::Answer(Answer::History(to)) => {
                let header = Header {
                    flags: FLAG_HISTORY,
                    ..header(Kind::NakConfirm, Seq(0))
                };
                let body = Body::Ranges(session.ranges());
                (Destination::Neighbor(to), header, body)
            }
            Found::Parity(first, parity) => {
                (tree, header(Kind::Parity, first), Body::Parity(parity))
            }
            Found::Heartbeat(header) => (tree, header, Body::Empty),
            Found::Request(request) => {
                let header = Header {
                    flags: request.flags,
                    epoch,
                    timestamp: request.timestamp,
                    ..header(Kind::Hello, request.sequence)
                };
                (Destination::Neighbor(request.to), header, Body::Empty)
            }
        };
        Some(Transmit { to, header, body })
    }

    /// Sends a client of a session what is here of the last `span`, before it is served with the others: see
    /// [`Node::poll_catch_up`]. `client` is a number of the caller's choice.
    pub fn catch_up(&mut self, now: Instant, index: SessionIndex, client: u64, span: Duration) {
        if let Some(entry) = self.entry(index) {
            entry.session.catch_up(now, client, span);
            if !self.catching_up.contains(&index) {
                self.catching_up.push_back(index);
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
        for _ in 0..self.catching_up.len() {
            let index = self.catching_up.pop_front()?;
            let Some(entry) = self.entry(index) else {
                continue;
            };
            let step = entry.session.poll_catch_up(now);
            if entry.session.has_catch_ups() {
                self.catching_up.push_back(index);
            }
            if let Some((client, step)) = step {
                return Some((index, client, step));
            }
            self.arm(now, index);
        }
        None
    }

    /// The next block that can be rebuilt. The caller makes its missing packets and hands each to
    /// [`Node::handle_rebuilt`]; where it can't, the block is asked for as any other gap.
    pub fn poll_rebuild(&mut self) -> Option<Rebuild> {
        while let Some(&index) = self.rebuilding.front() {
            let polled = self
                .entry(index)
                .and_then(|entry| entry.session.poll_rebuild());
            if let Some((first, header)) = polled {
                return Some(Rebuild {
                    index,
                    first,
                    count: header.count,
                    parity: header.parity,
                });
            }
            self.rebuilding.pop_front();
        }
        None
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
            self.arm(now, index);
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
        if session.may_rebuild() && !self.rebuilding.contains(&index) {
            self.rebuilding.push_back(index);
        }
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
    fn arm(&mut self, now: Instant, index: SessionIndex) {
        let Some(entry) = self.entries[index.0].as_mut() else {
            return;
        };
        if !entry.session.is_armed_well(now, self.timers.due(index.0)) {
            self.timers.set(index.0, entry.session.poll_timeout());
        }
    }

    fn follow_rtt(&mut self, index: SessionIndex) {
        if let Some(entry) = self.entries[index.0].as_mut() {
            entry.session.follow_rtt(&self.neighbors);
        }
    }

    fn find_transmit(&mut self, now: Instant) -> Option<(SessionIndex, Found)> {
        while let Some(index) = self.sending.pop_front() {
            let Some(entry) = self.entries[index.0].as_mut() else {
                continue;
            };
            let found = find_in(&mut entry.session, now, &mut self.neighbors, &self.config);
            if let Some(found) = found {
                self.sending.push_back(index);
                return Some((index, found));
            }
            entry.sending = false;
            self.arm(now, index);
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
            self.judge_neighbor(now, id);
        }
    }

    fn judge_neighbor(&mut self, now: Instant, id: NeighborId) {
        let conduct = self
            .neighbor_mut(id)
            .and_then(|neighbor| neighbor.judge(now));
        let event = match conduct {
            None => return,
            Some(Conduct::Throttled) => Event::Throttled(id, true),
            Some(Conduct::WithinRate) => Event::Throttled(id, false),
            Some(Conduct::Ejected) => Event::Ejected(id, true),
            Some(Conduct::Readmitted) => Event::Ejected(id, false),
        };
        self.push_event(event);
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
            let hold_down = self.config.hold_down;
            entry.session.choose_parent(now, &self.neighbors, hold_down);
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// What the session wants sent: requests first, since they open what is closed, and what keeps others from making them;
/// then answers.
fn find_in<P>(
    session: &mut Session<P>,
    now: Instant,
    neighbors: &mut [Option<Neighbor>],
    config: &NodeConfig,
) -> Option<Found> {
    if let Some((to, _)) = session.poll_nak(now, neighbors) {
        if let Some(neighbor) = neighbors[usize::from(to.0)].as_mut() {
            neighbor.stats.naks_sent += 1;
        }
        return Some(Found::Nak(to));
    }
    if let Some(hold) = session.poll_confirm(now) {
        return Some(Found::Confirm(hold));
    }
    if let Some(seq) = session.poll_subcast(now, neighbors) {
        return Some(Found::Subcast(seq));
    }
    if let Some(answer) = session.poll_answer(now, neighbors) {
        count_answer(answer, neighbors);
        return Some(Found::Answer(answer));
    }
    if let Some((first, parity)) = session.poll_parity(now) {
        return Some(Found::Parity(first, parity));
    }
    if let Some(header) = session.poll_heartbeat(now) {
        return Some(Found::Heartbeat(header));
    }
    if session.parent_may_return(now) {
        session.choose_parent(now, neighbors, config.hold_down);
    }
    session
        .poll_request(now, neighbors, config.hello_interval)
        .map(Found::Request)
}

fn count_answer(answer: Answer, neighbors: &mut [Option<Neighbor>]) {
    let (Answer::Repair(to, _) | Answer::Copy(to, _) | Answer::History(to)) = answer;
    let Some(neighbor) = neighbors[usize::from(to.0)].as_mut() else {
        return;
    };
    match answer {
        Answer::Repair(..) => neighbor.stats.repairs_sent += 1,
        Answer::Copy(..) => neighbor.stats.copies_sent += 1,
        Answer::History(_) => {}
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

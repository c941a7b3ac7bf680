//! What a node sends: who is next, and the packet that it is.

use core::time::Duration;

use super::turns::UNPLANNED;
use super::{Node, NodeConfig, SessionIndex};
use crate::neighbor::Neighbor;
use crate::session::{Answer, Request, Session, neighbor_mut};
use crate::time::nanos;
use crate::wire::{FLAG_HISTORY, FLAG_SECOND, Header, Hello, Kind, ParityHeader};
use crate::{Instant, NeighborId, Seq, SeqRange, Tree};

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

/// What a session wants sent, before it is lent out.
pub(super) enum Found {
    Confirm(Duration),
    Nak(NeighborId),
    Subcast(Seq),
    Answer(Answer),
    Parity(Seq, ParityHeader),
    Heartbeat(Header),
    Request(Request),
}

impl<P> Node<P> {
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
                let header = Header {
                    timestamp: nanos(hold),
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

    fn find_transmit(&mut self, now: Instant) -> Option<(SessionIndex, Found)> {
        while let Some(index) = self.turns.sending.pop_front() {
            let Some(entry) = self.entries[index.0].as_mut() else {
                continue;
            };
            let announces = self.turns.may_announce(now, entry);
            let neighbors = &mut self.neighbors;
            let found = find_in(
                &mut entry.session,
                now,
                neighbors,
                (&self.config, announces),
            );
            if let Some(found) = found {
                if matches!(found, Found::Heartbeat(_)) {
                    entry.heartbeat = UNPLANNED;
                }
                self.turns.sending.push_back(index);
                return Some((index, found));
            }
            entry.sending = false;
            self.turns.rest(now, index, entry);
        }
        None
    }

    fn poll_hello(&mut self, now: Instant) -> Option<(NeighborId, Header, Hello)> {
        if !self.hellos_due {
            return None;
        }
        let epoch = self.config.epoch;
        if self.quiet {
            let neighbors = self.neighbors.iter_mut().flatten();
            neighbors.for_each(|neighbor| neighbor.skip_hello(now));
        }
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
}

/// What the session wants sent: requests first, since they open what is closed, and what keeps others from making them;
/// then answers, and its lead where it `announces` that.
fn find_in<P>(
    session: &mut Session<P>,
    now: Instant,
    neighbors: &mut [Option<Neighbor>],
    (config, announces): (&NodeConfig, bool),
) -> Option<Found> {
    if let Some((to, _)) = session.poll_nak(now, neighbors) {
        if let Some(neighbor) = neighbor_mut(neighbors, to) {
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
    if let Some(header) = announces.then(|| session.poll_heartbeat(now)).flatten() {
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
    let Some(neighbor) = neighbor_mut(neighbors, to) else {
        return;
    };
    match answer {
        Answer::Repair(..) => neighbor.stats.repairs_sent += 1,
        Answer::Copy(..) => neighbor.stats.copies_sent += 1,
        Answer::History(_) => {}
    }
}

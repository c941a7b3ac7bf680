//! What a node is handed: packets of the source, of the trees and of its neighbors.

use super::{Event, Node, SessionIndex};
use crate::neighbor::StateReason;
use crate::session::Reject;
use crate::wire::{FLAG_COPY, FLAG_HISTORY, Header, Hello, HelloState, NakRanges, ParityHeader};
use crate::{Instant, NeighborId, Seq};

impl<P> Node<P> {
    /// Numbers and keeps a packet of the source; the header is that of the data packet to send. `None`: this node is
    /// not the session's ingress, or has ended it.
    pub fn handle_source(
        &mut self,
        now: Instant,
        index: SessionIndex,
        timestamp: u64,
        packet: P,
    ) -> Option<Header> {
        let mut run = self.source_run(now, index)?;
        let header = run.header(timestamp);
        run.push(packet);
        Some(header)
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
        let mut run = self.tree_run(now, header)?;
        run.push(header, packet)?;
        Ok(run.index())
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
        let (before, downs) = (neighbor.state().0, neighbor.stats().downs);
        if !neighbor.handle_hello(now, header, hello) {
            return Err(Reject::HelloStale);
        }
        if neighbor.is_up() && neighbor.stats().downs > downs {
            // It began anew and heard us before we heard it: down and up at once.
            self.push_event(Event::Neighbor(
                from,
                HelloState::Down,
                StateReason::Restarted,
            ));
            self.neighbor_changed(now, from, HelloState::Down);
        } else {
            self.neighbor_changed(now, from, before);
        }
        Ok(())
    }
}

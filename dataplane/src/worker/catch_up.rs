//! Clients that join late: history for each of them alone, then its place among the others.

use overlay::{CatchUp, Instant, Seq, Session, SessionIndex};

use super::{CATCH_UP_BUDGET, Client, ClientKey, Worker};
use crate::drops::DropReason;
use crate::frame::InnerHeader;

impl Worker {
    /// Has new clients catch up that are to, and forgets those that are no clients any more. `old` is the list before.
    pub(super) fn follow_catch_ups(&mut self, now: Instant, index: SessionIndex, old: &[Client]) {
        let Some(Some(route)) = self.routes.get(index.0) else {
            return;
        };
        let holds = |clients: &[Client], key: ClientKey| {
            let found = clients.binary_search_by_key(&key, |client| client.key);
            found.is_ok()
        };
        let catching_up = |client: &&Client| client.is_catching_up();
        for gone in old.iter().filter(catching_up) {
            if !holds(&route.clients, gone.key) {
                self.node.end_catch_up(index, gone.key.0);
            }
        }
        for client in route.clients.iter().filter(catching_up) {
            if !holds(old, client.key) {
                let key = client.key.0;
                self.node.catch_up(now, index, key, client.catch_up);
            }
        }
    }

    /// Sends what clients that catch up are to have, as far as ports have room; returns how many steps that were.
    pub(super) fn catch_up(&mut self, now: Instant) -> usize {
        for work in 0..CATCH_UP_BUDGET {
            if self.ports.iter().any(|port| port.is_full(now)) {
                return work;
            }
            let Some((index, key, step)) = self.node.poll_catch_up(now) else {
                return work;
            };
            let key = ClientKey(key);
            let sent = match step {
                CatchUp::Packet(seq) => self.send_history(index, key, seq),
                CatchUp::Live(seq) => self.serve_from(index, key, seq),
            };
            if let Err(reason) = sent {
                self.drops.count(reason);
            }
        }
        CATCH_UP_BUDGET
    }

    fn send_history(
        &mut self,
        index: SessionIndex,
        key: ClientKey,
        seq: Seq,
    ) -> Result<(), DropReason> {
        let session = self.node.session(index).ok_or(DropReason::SessionUnknown)?;
        let payload = session.packet(seq).ok_or(DropReason::RetentionFull)?;
        let inner = InnerHeader::read(payload.headers(payload.meta().inner_header_len.into()));
        let inner = inner.map_err(|_| DropReason::InnerBad)?;
        let route = self.routes.get_mut(index.0).and_then(Option::as_mut);
        let client = route.and_then(|route| route.client_mut(key));
        let client = client.ok_or(DropReason::SessionUnknown)?;
        let port = &mut self.ports[usize::from(client.entry.port.0)];
        client.send(port, &self.pools, (&inner, payload))
    }

    fn serve_from(
        &mut self,
        index: SessionIndex,
        key: ClientKey,
        seq: Seq,
    ) -> Result<(), DropReason> {
        let epoch = self.node.session(index).and_then(Session::epoch);
        let route = self.routes.get_mut(index.0).and_then(Option::as_mut);
        let route = route.ok_or(DropReason::SessionUnknown)?;
        // Before the client has its place: a new epoch would let it begin from the first packet.
        route.follow_epoch(epoch);
        let client = route.client_mut(key).ok_or(DropReason::SessionUnknown)?;
        client.from = seq;
        Ok(())
    }
}

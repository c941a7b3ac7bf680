//! Clients that join late: history for each of them alone, then its place among the others.

use overlay::{CatchUp, Instant, Seq, Session, SessionIndex};

use super::deliver::Copies;
use super::{CATCH_UP_BUDGET, Client, ClientKey, Clients, Worker};
use crate::client::Template;
use crate::drops::DropReason;
use crate::frame::InnerHeader;

impl Worker {
    /// Has new clients catch up that are to, and forgets those that are no clients any more. `old` is the list before.
    pub(super) fn follow_catch_ups(&mut self, now: Instant, index: SessionIndex, old: &Clients) {
        let Some(Some(route)) = self.routes.get(index.0) else {
            return;
        };
        if !old.is_any_catching_up() && !route.clients.is_any_catching_up() {
            return;
        }
        fn catching_up(clients: &Clients) -> impl Iterator<Item = &Client> {
            let clients = clients.iter().map(|(client, _)| client);
            clients.filter(|client| client.is_catching_up())
        }
        for gone in catching_up(old) {
            if !route.clients.contains(gone.key) {
                self.node.end_catch_up(index, gone.key.0);
            }
        }
        for client in catching_up(&route.clients) {
            if !old.contains(client.key) {
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
        let inner = InnerHeader::read(payload.headers());
        let inner = inner.map_err(|_| DropReason::InnerBad)?;
        let route = self.routes.get_mut(index.0).and_then(Option::as_mut);
        let entry = route.and_then(|route| route.clients.entry_mut(key));
        let entry = entry.ok_or(DropReason::SessionUnknown)?;
        let port = &mut self.ports[usize::from(entry.port.0)];
        let copies = Copies {
            packet: &Template::new(&inner),
            udp_len: inner.udp_len,
            payload,
            pools: &self.pools,
        };
        copies.send(entry, port)
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
        let is_client = route.clients.serve_from(key, seq);
        is_client.then_some(()).ok_or(DropReason::SessionUnknown)
    }
}

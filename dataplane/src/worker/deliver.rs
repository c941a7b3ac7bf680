//! Delivering: one copy to each client, a header of its own before the shared payload.

use overlay::{Instant, Seq, Session, SessionIndex};

use super::{COPY_BUDGET, Client, Pools, Worker, WorkerPort};
use crate::client::{COPY_HEADERS, ClientEntry};
use crate::drops::DropReason;
use crate::frame::{IPV4_LEN, InnerHeader};
use crate::mbuf::Mbuf;
use crate::payload::SharedPayload;
use crate::pool::Pool;

impl Worker {
    /// Passes on what is ready, as far as ports have room; returns how many packets.
    pub(super) fn deliver(&mut self, now: Instant) -> usize {
        let mut work = 0;
        let mut copies = 0;
        while copies < COPY_BUDGET {
            if self.ports.iter().any(|port| port.is_full(now)) {
                // What does not go out now stays with the session, in order.
                return work;
            }
            let polled = self.node.poll_deliver(now);
            let Some((index, seq, payload)) = polled else {
                return work;
            };
            let payload = payload.clone();
            copies += self.fan_out(index, seq, &payload);
            work += 1;
        }
        work
    }

    /// Sends each client of the session its copy; returns how many clients there are.
    fn fan_out(&mut self, index: SessionIndex, seq: Seq, payload: &SharedPayload) -> usize {
        let Some(route) = self.routes.get_mut(index.0).and_then(Option::as_mut) else {
            return 0;
        };
        let inner = InnerHeader::read(payload.headers(payload.meta().inner_header_len.into()));
        let Ok(inner) = inner else {
            self.drops.count(DropReason::InnerBad);
            return 0;
        };
        route.follow_epoch(self.node.session(index).and_then(Session::epoch));
        let count = route.clients.len();
        for client in route.clients.iter_mut().filter(|client| client.from <= seq) {
            let port = &mut self.ports[usize::from(client.entry.port.0)];
            let sent = client.send(port, &self.pools, (&inner, payload));
            if let Err(reason) = sent {
                self.drops.count(reason);
            }
        }
        count
    }
}

impl Client {
    /// Sends the client its copy of a packet, and counts it.
    pub(super) fn send(
        &mut self,
        port: &mut WorkerPort,
        pools: &Pools,
        (inner, payload): (&InnerHeader, &SharedPayload),
    ) -> Result<(), DropReason> {
        let entry = &mut self.entry;
        let sent = copy_header(&pools.headers, entry, inner, port.mtu)
            .and_then(|head| port.join(head, payload, &pools.packets))
            .and_then(|frame| port.send(frame));
        match sent {
            Ok(()) => entry.packets += 1,
            Err(_) => entry.dropped += 1,
        }
        sent
    }
}

/// The headers of one client's copy, in a buffer of their own.
fn copy_header(
    headers: &Pool,
    client: &ClientEntry,
    inner: &InnerHeader,
    mtu: u16,
) -> Result<Mbuf, DropReason> {
    if !client.is_resolved() {
        return Err(DropReason::ArpUnresolved);
    }
    if inner.udp_len > mtu.saturating_sub(IPV4_LEN as u16) {
        return Err(DropReason::TooBig);
    }
    let mut head = headers.alloc().ok_or(DropReason::NoHeaderBuffer)?;
    let area = head
        .append(COPY_HEADERS)
        .and_then(|area| area.first_chunk_mut());
    client.fill(area.ok_or(DropReason::NoHeaderBuffer)?, inner);
    Ok(head)
}

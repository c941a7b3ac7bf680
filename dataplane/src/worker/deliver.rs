//! Delivering: one copy to each client, a header of its own before the shared payload.

use overlay::{Instant, Seq, SessionIndex};

use super::{COPY_BUDGET, Client, Pools, Worker, WorkerPort};
use crate::chain::Frame;
use crate::client::{COPY_HEADERS, COPY_HEADERS_IPV6, ClientEntry, Template};
use crate::drops::DropReason;
use crate::frame::InnerHeader;
use crate::payload::{Lent, SharedPayload};

/// Clients whose references to a payload are counted at once.
const CHUNK: usize = 64;

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
            let Some((index, seq, _)) = self.node.poll_deliver(now) else {
                return work;
            };
            copies += self.fan_out(index, seq);
            work += 1;
        }
        work
    }

    /// Sends each client of the session its copy of a packet, which the session holds; returns how many clients there are.
    fn fan_out(&mut self, index: SessionIndex, seq: Seq) -> usize {
        let session = self.node.session(index);
        let Some((session, payload)) =
            session.and_then(|session| Some((session, session.packet(seq)?)))
        else {
            return 0;
        };
        let Some(route) = self.routes.get_mut(index.0).and_then(Option::as_mut) else {
            return 0;
        };
        let inner = InnerHeader::read(payload.headers(payload.meta().inner_header_len.into()));
        let Ok(inner) = inner else {
            self.drops.count(DropReason::InnerBad);
            return 0;
        };
        route.follow_epoch(session.epoch());
        let packet = Template::new(&inner);
        for clients in route.clients.chunks_mut(CHUNK) {
            let mut copies = Copies {
                packet: &packet,
                udp_len: inner.udp_len,
                payload,
                lent: payload.lend(clients.len() as u16),
            };
            for client in clients.iter_mut().filter(|client| client.from <= seq) {
                let port = &mut self.ports[usize::from(client.entry.port.0)];
                if let Err(reason) = copies.send(&mut client.entry, port, &self.pools) {
                    self.drops.count(reason);
                }
            }
        }
        route.clients.len()
    }
}

impl Client {
    /// Sends the client alone its copy of a packet, and counts it.
    pub(super) fn send(
        &mut self,
        port: &mut WorkerPort,
        pools: &Pools,
        (inner, payload): (&InnerHeader, &SharedPayload),
    ) -> Result<(), DropReason> {
        let mut copies = Copies {
            packet: &Template::new(inner),
            udp_len: inner.udp_len,
            payload,
            lent: payload.lend(1),
        };
        copies.send(&mut self.entry, port, pools)
    }
}

/// The copies of a packet that are made in one go.
struct Copies<'a> {
    packet: &'a Template,
    /// Length of the UDP header and payload, in bytes.
    udp_len: u16,
    payload: &'a SharedPayload,
    /// A reference for each of them.
    lent: Lent<'a>,
}

impl Copies<'_> {
    /// Sends a client its copy, and counts it.
    #[inline]
    fn send(
        &mut self,
        client: &mut ClientEntry,
        port: &mut WorkerPort,
        pools: &Pools,
    ) -> Result<(), DropReason> {
        let sent = self
            .make(client, port, pools)
            .and_then(|frame| port.send(frame));
        match sent {
            Ok(()) => client.packets += 1,
            Err(_) => client.dropped += 1,
        }
        sent
    }

    #[inline]
    fn make(
        &mut self,
        client: &ClientEntry,
        port: &WorkerPort,
        pools: &Pools,
    ) -> Result<Frame, DropReason> {
        if !client.is_resolved() {
            return Err(DropReason::ArpUnresolved);
        }
        if self.udp_len > port.mtu.saturating_sub(self.packet.ip_len() as u16) {
            return Err(DropReason::TooBig);
        }
        if !self.packet.suits(client) {
            return Err(DropReason::FamilyWrong);
        }
        let mut head = pools.headers.alloc().ok_or(DropReason::NoHeaderBuffer)?;
        match self.packet {
            Template::V4(packet) => {
                let area = head.append(COPY_HEADERS);
                let area = area.and_then(|area| area.first_chunk_mut());
                client.fill(area.ok_or(DropReason::NoHeaderBuffer)?, packet);
            }
            Template::V6(packet) => {
                let area = head.append(COPY_HEADERS_IPV6);
                let area = area.and_then(|area| area.first_chunk_mut());
                client.fill_ipv6(area.ok_or(DropReason::NoHeaderBuffer)?, packet);
            }
        }
        if port.chained {
            return Frame::chain_lent(head, &mut self.lent).ok_or(DropReason::NoHeaderBuffer);
        }
        Frame::linear(head, self.payload, &pools.packets).ok_or(DropReason::NoPacketBuffer)
    }
}

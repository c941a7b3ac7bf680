//! Delivering: one copy to each client, a header of its own before the shared payload.

use std::ops::Range;

use overlay::{Instant, Seq, Session, SessionIndex};

use super::{COPY_BUDGET, ClientKey, Pools, Route, Worker, WorkerPort};
use crate::chain::Frame;
use crate::client::{
    COPY_HEADERS, COPY_HEADERS_IPV6, ClientEntry, CopyHeaders, CopyHeadersIpv6, Template,
};
use crate::drops::{DropCounters, DropReason};
use crate::frame::{InnerHeader, PortIndex};
use crate::payload::SharedPayload;
use crate::tx::BURST;

/// Copies that are made in one go: a burst of the device.
const CHUNK: usize = BURST;

/// A packet that has not gone to all clients of its session yet: more than a turn's copies, or a port was full.
pub(super) struct Unfinished {
    index: SessionIndex,
    seq: Seq,
    payload: SharedPayload,
    /// Clients up to this one have their copy …
    done: Option<ClientKey>,
    /// … and those above this one have joined since it began.
    last: Option<ClientKey>,
}

impl Worker {
    /// Passes on what is ready, as far as ports have room; returns how many packets.
    pub(super) fn deliver(&mut self, now: Instant) -> usize {
        let mut work = 0;
        let mut budget = COPY_BUDGET;
        while budget > 0 {
            if self.ports.iter().any(|port| port.is_full(now)) {
                // What does not go out now stays with the session, in order.
                return work;
            }
            let copies = match self.unfinished.take() {
                Some(unfinished) => self.resume(now, unfinished, budget),
                None => match self.node.poll_deliver(now) {
                    Some((index, seq, _)) => self.fan_out(now, (index, seq), budget),
                    None => return work,
                },
            };
            budget = budget.saturating_sub(copies.max(1));
            work += 1;
        }
        work
    }

    /// Sends each client of the session its copy of a packet, which the session holds; returns how many copies that were.
    #[inline]
    fn fan_out(&mut self, now: Instant, (index, seq): (SessionIndex, Seq), budget: usize) -> usize {
        if self.send_to_only_client(index, seq) {
            return 1;
        }
        let session = self.node.session(index);
        let held = session.and_then(|session| Some((session, session.packet(seq)?)));
        let (Some((session, payload)), Some(Some(route))) = (held, self.routes.get_mut(index.0))
        else {
            return 0;
        };
        route.follow_epoch(session.epoch());
        let mut fan_out = FanOut {
            now,
            ports: &mut self.ports,
            pools: &self.pools,
            drops: &mut self.drops,
        };
        let places = 0..route.clients.len();
        let reached = fan_out.send(route, (seq, payload), places.clone(), budget);
        if reached < places.end {
            self.unfinished = Some(Unfinished {
                index,
                seq,
                payload: payload.clone(),
                done: reached
                    .checked_sub(1)
                    .and_then(|place| route.clients.key(place)),
                last: route.clients.key(places.end - 1),
            });
        }
        reached
    }

    /// Sends a session's only client its copy in the buffer that the packet came in; `false` where there are others, somebody
    /// else has the buffer, or something else stands in the way.
    #[inline]
    fn send_to_only_client(&mut self, index: SessionIndex, seq: Seq) -> bool {
        let Some(Some(route)) = self.routes.get_mut(index.0) else {
            return false;
        };
        if route.clients.len() != 1 || !route.clients.all_take(seq) {
            return false;
        }
        route.follow_epoch(self.node.session(index).and_then(Session::epoch));
        let Some(payload) = self.node.packet_mut(index, seq) else {
            return false;
        };
        let Ok(inner) = InnerHeader::read(payload.headers()) else {
            return false;
        };
        let Some(client) = route.clients.entries_mut(0..1).first_mut() else {
            return false;
        };
        let port = &mut self.ports[usize::from(client.port.0)];
        let packet = Template::new(&inner);
        if packet.is_too_big(inner.udp_len, port) || !packet.suits(client) {
            return false;
        }
        let frame = match &packet {
            Template::V4(packet) => {
                payload.frame_in_place::<COPY_HEADERS>(|headers| client.fill(headers, packet))
            }
            Template::V6(packet) => payload
                .frame_in_place::<COPY_HEADERS_IPV6>(|headers| client.fill_ipv6(headers, packet)),
        };
        let Some(frame) = frame else {
            return false;
        };
        match port.send(frame) {
            Ok(()) => client.packets += 1,
            Err(reason) => {
                client.dropped += 1;
                self.drops.count(reason);
            }
        }
        true
    }

    /// Goes on with a packet; the clients may be others than when it began.
    fn resume(&mut self, now: Instant, mut unfinished: Unfinished, budget: usize) -> usize {
        let Some(Some(route)) = self.routes.get_mut(unfinished.index.0) else {
            return 0;
        };
        let place = |key: Option<ClientKey>| key.map_or(0, |key| route.clients.place_after(key));
        let places = place(unfinished.done)..place(unfinished.last);
        let mut fan_out = FanOut {
            now,
            ports: &mut self.ports,
            pools: &self.pools,
            drops: &mut self.drops,
        };
        let packet = (unfinished.seq, &unfinished.payload);
        let reached = fan_out.send(route, packet, places.clone(), budget);
        if reached < places.end {
            if reached > places.start {
                unfinished.done = route.clients.key(reached - 1);
            }
            self.unfinished = Some(unfinished);
        }
        reached - places.start
    }

    /// Sends the rest of a packet of this session that has not gone to all clients yet, as far as ports have room;
    /// returns whether there is none left.
    pub(super) fn finish_fan_out(&mut self, now: Instant, index: SessionIndex) -> bool {
        let unfinished = self
            .unfinished
            .take_if(|unfinished| unfinished.index == index);
        if let Some(unfinished) = unfinished {
            self.resume(now, unfinished, usize::MAX);
        }
        self.unfinished
            .as_ref()
            .is_none_or(|unfinished| unfinished.index != index)
    }

    /// The session is removed: nobody gets any more of it.
    pub(super) fn forget_unfinished(&mut self, index: SessionIndex) {
        self.unfinished
            .take_if(|unfinished| unfinished.index == index);
    }
}

/// What a fan-out needs of the worker.
struct FanOut<'a> {
    now: Instant,
    ports: &'a mut [WorkerPort],
    pools: &'a Pools,
    drops: &'a mut DropCounters,
}

impl FanOut<'_> {
    /// Sends the clients at `places` their copies, until the budget is used or a port is full; returns the place of the
    /// first that has none yet.
    fn send(
        &mut self,
        route: &mut Route,
        (seq, payload): (Seq, &SharedPayload),
        places: Range<usize>,
        budget: usize,
    ) -> usize {
        let Ok(inner) = InnerHeader::read(payload.headers()) else {
            self.drops.count(DropReason::InnerBad);
            return places.end;
        };
        // A buffer that went down the tree as it is can't follow a header: one that can is made, once.
        let plain = if payload.can_be_chained() || places.len() < 2 {
            None
        } else {
            payload.copy(&self.pools.packets)
        };
        let packet = Template::new(&inner);
        let copies = Copies {
            packet: &packet,
            udp_len: inner.udp_len,
            payload: plain.as_ref().unwrap_or(payload),
            pools: self.pools,
        };
        let end = places.end.min(places.start.saturating_add(budget));
        let mut place = places.start;
        while place < end {
            if self.ports.iter().any(|port| port.is_full(self.now)) {
                break;
            }
            let chunk = place..end.min(place + CHUNK);
            place = chunk.end;
            if route.clients.all_take(seq) {
                self.send_chunk(&copies, route.clients.entries_mut(chunk));
            } else {
                let clients = route.clients.takers_mut(chunk, seq);
                clients.for_each(|client| self.send_one(&copies, client));
            }
        }
        place
    }

    /// Sends copies to clients, port by port.
    #[inline]
    fn send_chunk(&mut self, copies: &Copies<'_>, mut clients: &mut [ClientEntry]) {
        while let Some(first) = clients.first() {
            let PortIndex(port) = first.port;
            let same = clients.iter().take_while(|client| client.port.0 == port);
            let (batch, rest) = clients.split_at_mut(same.count());
            clients = rest;
            let port = &mut self.ports[usize::from(port)];
            if !copies.send_batch(batch, port) {
                batch
                    .iter_mut()
                    .for_each(|client| self.send_one(copies, client));
            }
        }
    }

    fn send_one(&mut self, copies: &Copies<'_>, client: &mut ClientEntry) {
        let port = &mut self.ports[usize::from(client.port.0)];
        if let Err(reason) = copies.send(client, port) {
            self.drops.count(reason);
        }
    }
}

impl Template {
    /// Whether a packet with that much of UDP is too long for the port.
    #[inline]
    fn is_too_big(&self, udp_len: u16, port: &WorkerPort) -> bool {
        udp_len > port.mtu.saturating_sub(self.ip_len() as u16)
    }
}

/// The copies of a packet.
pub(super) struct Copies<'a> {
    pub(super) packet: &'a Template,
    /// Length of the UDP header and payload, in bytes.
    pub(super) udp_len: u16,
    pub(super) payload: &'a SharedPayload,
    pub(super) pools: &'a Pools,
}

impl Copies<'_> {
    /// Whether the packet is too long for the port.
    #[inline]
    fn is_too_big(&self, port: &WorkerPort) -> bool {
        self.packet.is_too_big(self.udp_len, port)
    }

    /// Sends clients behind one port, whose next hops are known, their copies all at once, and counts them. `false`: none
    /// was sent, since something stands in the way that has to be looked at for each of them.
    #[inline]
    fn send_batch(&self, clients: &mut [ClientEntry], port: &mut WorkerPort) -> bool {
        let chained = port.chains(self.payload);
        let is_possible = if chained {
            self.payload.can_be_chained()
        } else {
            COPY_HEADERS_IPV6 + self.payload.len() <= self.pools.headers.room()
        };
        // All clients of a session have addresses of one family.
        let suits = clients
            .first()
            .is_some_and(|client| self.packet.suits(client));
        if !is_possible || !suits || self.is_too_big(port) || !port.has_room_for(clients.len()) {
            return false;
        }
        let Some(buffers) = self.pools.headers.take::<CHUNK>(clients.len()) else {
            return false;
        };
        let payload = (self.payload, chained);
        match self.packet {
            Template::V4(packet) => {
                let headers = clients.iter_mut().map(|client| {
                    client.packets += 1;
                    move |area: &mut CopyHeaders| client.fill(area, packet)
                });
                port.tx
                    .push_each::<COPY_HEADERS, CHUNK>(buffers, payload, headers);
            }
            Template::V6(packet) => {
                let headers = clients.iter_mut().map(|client| {
                    client.packets += 1;
                    move |area: &mut CopyHeadersIpv6| client.fill_ipv6(area, packet)
                });
                port.tx
                    .push_each::<COPY_HEADERS_IPV6, CHUNK>(buffers, payload, headers);
            }
        }
        port.flush_bursts();
        true
    }

    /// Sends a client its copy, and counts it.
    #[inline]
    pub(super) fn send(
        &self,
        client: &mut ClientEntry,
        port: &mut WorkerPort,
    ) -> Result<(), DropReason> {
        let sent = self.make(client, port).and_then(|frame| port.send(frame));
        match sent {
            Ok(()) => client.packets += 1,
            Err(_) => client.dropped += 1,
        }
        sent
    }

    fn make(&self, client: &ClientEntry, port: &WorkerPort) -> Result<Frame, DropReason> {
        if !client.is_resolved() {
            return Err(DropReason::ArpUnresolved);
        }
        if self.is_too_big(port) {
            return Err(DropReason::TooBig);
        }
        if !self.packet.suits(client) {
            return Err(DropReason::FamilyWrong);
        }
        let mut head = self
            .pools
            .headers
            .alloc()
            .ok_or(DropReason::NoHeaderBuffer)?;
        match self.packet {
            Template::V4(packet) => {
                let area = head.restart::<COPY_HEADERS>();
                client.fill(area.ok_or(DropReason::NoHeaderBuffer)?, packet);
            }
            Template::V6(packet) => {
                let area = head.restart::<COPY_HEADERS_IPV6>();
                client.fill_ipv6(area.ok_or(DropReason::NoHeaderBuffer)?, packet);
            }
        }
        port.join(head, self.payload, &self.pools.packets)
    }
}

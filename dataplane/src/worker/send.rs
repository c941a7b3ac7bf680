//! Sending: down the tree, and over the overlay to a neighbor.

use overlay::wire::{Header, Kind, ParityHeader, RANGE_LEN, emit_range};
use overlay::{
    Body, Destination, Instant, NAK_RANGES_MAX, NeighborId, SessionIndex, Transmit, Tree,
};

use super::{Pools, Route, TRANSMIT_BUDGET, Worker, WorkerPort, tree_of};
use crate::chain::Frame;
use crate::drops::{DropCounters, DropReason};
use crate::encap::{Encap, InnerBytes, OUTER_LEN_IPV6, OVERLAY_TTL, Outer, source_port};
use crate::frame::PortIndex;
use crate::mbuf::Mbuf;
use crate::payload::SharedPayload;
use crate::pool::Pool;

/// Body of the longest packet that the protocol sends without a payload: a NAK with all its ranges.
pub(super) const BODY_MAX: usize = NAK_RANGES_MAX * RANGE_LEN;

/// A packet of the protocol, taken out of the node: header, body and, of a repair or copy, the packet.
struct Outgoing<'a> {
    to: Destination,
    header: Header,
    body: &'a [u8],
    packet: Option<SharedPayload>,
    /// Still to be made.
    parity: Option<ParityHeader>,
}

impl Worker {
    /// Sends what the protocol has to send, as far as ports have room; returns how many packets.
    pub(super) fn transmit(&mut self, now: Instant) -> usize {
        let mut body = std::mem::take(&mut self.body);
        let sent = (0..TRANSMIT_BUDGET).take_while(|_| self.transmit_one(now, &mut body));
        let sent = sent.count();
        self.body = body;
        sent
    }

    /// Sends the next packet, and says whether there was one and room for it. `body` is for its body.
    fn transmit_one(&mut self, now: Instant, body: &mut Vec<u8>) -> bool {
        if self.ports.iter().any(|port| port.is_full(now)) {
            return false;
        }
        let polled = self.node.poll_transmit(now);
        let Some(outgoing) = polled.map(|packet| Outgoing::of(&packet, body)) else {
            return false;
        };
        let sent = match outgoing.to {
            Destination::Neighbor(to) => self.send_to(to, &outgoing),
            Destination::Tree(index, _) => self.send_on_tree(index, &outgoing),
        };
        if let Err(reason) = sent {
            self.drops.count(reason);
        }
        true
    }

    /// Sends a packet of the protocol down a tree.
    fn send_on_tree(
        &mut self,
        index: SessionIndex,
        outgoing: &Outgoing<'_>,
    ) -> Result<(), DropReason> {
        let route = self.route(index).ok_or(DropReason::SessionUnknown)?;
        let header = (&outgoing.header, route.ttl);
        match (&outgoing.packet, outgoing.parity) {
            (Some(payload), _) => self.send_payload_down(index, header, payload),
            (None, Some(parity)) => {
                let payload = self.make_parity(index, header.0, parity)?;
                self.send_payload_down(index, header, &payload)
            }
            (None, None) => self.announce_down(index, header, outgoing.body),
        }
    }

    /// Sends a data packet, which the session holds, down the tree that its flags name.
    pub(super) fn send_down(
        &mut self,
        index: SessionIndex,
        header: &Header,
        ttl: u8,
    ) -> Result<(), DropReason> {
        self.follow_downstream(index);
        let session = self.node.session(index).ok_or(DropReason::SessionUnknown)?;
        let payload = session
            .packet(header.sequence)
            .ok_or(DropReason::RetentionFull)?;
        let route = self.routes[index.0]
            .as_ref()
            .ok_or(DropReason::SessionUnknown)?;
        let ports = (&mut self.ports[..], &mut self.drops);
        send_on_branches(route, ports, (header, ttl), (payload, &self.pools));
        Ok(())
    }

    /// Sends a packet that is no session's (yet, or any more) down the tree that its flags name.
    pub(super) fn send_payload_down(
        &mut self,
        index: SessionIndex,
        header: (&Header, u8),
        payload: &SharedPayload,
    ) -> Result<(), DropReason> {
        self.follow_downstream(index);
        let route = self.routes[index.0]
            .as_ref()
            .ok_or(DropReason::SessionUnknown)?;
        let ports = (&mut self.ports[..], &mut self.drops);
        send_on_branches(route, ports, header, (payload, &self.pools));
        Ok(())
    }

    /// Sends a packet without a payload down the tree that its flags name.
    pub(super) fn announce_down(
        &mut self,
        index: SessionIndex,
        header: (&Header, u8),
        body: &[u8],
    ) -> Result<(), DropReason> {
        self.follow_downstream(index);
        let route = self.routes[index.0]
            .as_ref()
            .ok_or(DropReason::SessionUnknown)?;
        let pool = self.pools.for_body(body);
        let ports = (&mut self.ports[..], &mut self.drops);
        on_branches(route, ports, tree_of(header.0), |encap, _| {
            Ok(control_frame(pool, encap, header, body)?.into())
        });
        Ok(())
    }

    /// Brings the branches in line with the session's downstream neighbors, if those have changed.
    pub(super) fn follow_downstream(&mut self, index: SessionIndex) {
        if !self.node.take_downstream_changed(index) {
            return;
        }
        let Some(session) = self.node.session(index) else {
            return;
        };
        let Some(route) = self.routes.get_mut(index.0).and_then(Option::as_mut) else {
            return;
        };
        let adjacents = &self.adjacents;
        let port_of = |id: NeighborId| Some(adjacents.get(usize::from(id.0))?.as_ref()?.port);
        route.set_branches(|tree| session.downstream(tree).filter_map(port_of));
    }

    /// Sends a packet of the protocol to a neighbor.
    fn send_to(&mut self, to: NeighborId, outgoing: &Outgoing<'_>) -> Result<(), DropReason> {
        let adjacent = *self.adjacent(to).ok_or(DropReason::Stranger)?;
        let mac = adjacent.mac.ok_or(DropReason::ArpUnresolved)?;
        let header = (&outgoing.header, OVERLAY_TTL);
        let port = &mut self.ports[usize::from(adjacent.port.0)];
        let encap = Encap::new(&Outer {
            from: port.local.mac,
            to: mac,
            addresses: adjacent.addresses,
            source_port: source_port(outgoing.header.session),
            destination_port: self.overlay_port,
            mtu: port.mtu,
        });
        let frame = match &outgoing.packet {
            Some(payload) => {
                let head = packet_header(&self.pools.headers, &encap, header, payload)?;
                port.join(head, payload, &self.pools.packets)?
            }
            None => {
                let body = outgoing.body;
                control_frame(self.pools.for_body(body), &encap, header, body)?.into()
            }
        };
        port.send(frame)
    }

    /// Sends a frame that is ready: ARP, ND or ICMP.
    pub(super) fn send_bytes(&mut self, port: PortIndex, bytes: &[u8]) {
        let port = &mut self.ports[usize::from(port.0)];
        let frame = self
            .pools
            .headers
            .copy(bytes)
            .ok_or(DropReason::NoHeaderBuffer);
        if let Err(reason) = frame.and_then(|frame| port.send(frame.into())) {
            self.drops.count(reason);
        }
    }
}

impl Pools {
    /// The pool whose buffers have room for a packet of this body and its headers.
    fn for_body(&self, body: &[u8]) -> &Pool {
        let room = usize::from(self.headers.data_room() - crate::HEADROOM);
        if OUTER_LEN_IPV6 + body.len() <= room {
            &self.headers
        } else {
            &self.packets
        }
    }
}

impl<'a> Outgoing<'a> {
    fn of(transmit: &Transmit<'_, SharedPayload>, body: &'a mut Vec<u8>) -> Outgoing<'a> {
        body.clear();
        let mut header = transmit.header;
        let (mut packet, mut parity) = (None, None);
        match &transmit.body {
            Body::Empty => {}
            Body::Parity(of) => parity = Some(*of),
            Body::Hello(hello) => body.extend_from_slice(&hello.emit()),
            Body::Ranges(ranges) => {
                body.extend(ranges.iter().flat_map(|&range| emit_range(range)));
            }
            Body::Packet(payload) => {
                header.timestamp = payload.meta().ingress_ns;
                packet = Some((*payload).clone());
            }
        }
        Outgoing {
            to: transmit.to,
            header,
            body,
            packet,
            parity,
        }
    }
}

/// Sends a packet through each branch of the tree that its flags name.
#[inline]
pub(super) fn send_on_branches(
    route: &Route,
    ports: (&mut [WorkerPort], &mut DropCounters),
    header: (&Header, u8),
    (payload, pools): (&SharedPayload, &Pools),
) {
    on_branches(route, ports, tree_of(header.0), |encap, port| {
        let head = packet_header(&pools.headers, encap, header, payload)?;
        port.join(head, payload, &pools.packets)
    });
}

/// Sends what `frame` makes for each branch of a tree.
#[inline]
fn on_branches(
    route: &Route,
    (ports, drops): (&mut [WorkerPort], &mut DropCounters),
    tree: Tree,
    frame: impl Fn(&Encap, &WorkerPort) -> Result<Frame, DropReason>,
) {
    let branches = route.branches.iter().zip(ports);
    for (branch, port) in branches.filter(|(branch, _)| branch.active[tree]) {
        let sent = frame(&branch.encap, port).and_then(|frame| port.send(frame));
        if let Err(reason) = sent {
            drops.count(reason);
        }
    }
}

/// The headers of a packet with a payload, in a buffer of their own.
#[inline]
fn packet_header(
    headers: &Pool,
    encap: &Encap,
    (header, ttl): (&Header, u8),
    payload: &SharedPayload,
) -> Result<Mbuf, DropReason> {
    let inner = payload.headers();
    let mut mbuf = headers.alloc().ok_or(DropReason::NoHeaderBuffer)?;
    let area = mbuf
        .append(encap.outer_len() + inner.len())
        .ok_or(DropReason::NoHeaderBuffer)?;
    if header.kind == Kind::Parity {
        encap.parity(area, ttl, header, (inner, payload.data()))?;
    } else {
        let inner = InnerBytes {
            headers: inner,
            payload: payload.data(),
        };
        encap.packet(area, ttl, header, inner)?;
    }
    Ok(mbuf)
}

/// A whole packet without a payload.
fn control_frame(
    pool: &Pool,
    encap: &Encap,
    (header, ttl): (&Header, u8),
    body: &[u8],
) -> Result<Mbuf, DropReason> {
    let mut mbuf = pool.alloc().ok_or(DropReason::NoHeaderBuffer)?;
    let area = mbuf
        .append(encap.outer_len() + body.len())
        .ok_or(DropReason::NoHeaderBuffer)?;
    encap.control(area, ttl, header, body)?;
    Ok(mbuf)
}

//! Runs: consecutive packets of a session that came by one port. What holds for all of them is looked up once, and each is
//! taken by what it differs in from the first.

use overlay::wire::Header;
use overlay::{Instant, SessionIndex};

use super::Rest;
use super::by_tree::ttl_on;
use crate::chain::Frame;
use crate::drops::DropReason;
use crate::encap::{OUTER_LEN, Template, pass_on};
use crate::frame::{
    Channel, ETHERNET_LEN, FlowLike, FlowPacket, IPV4_LEN, InnerHeader, Mac, PortIndex, TreeLike,
    TreePacket, UDP_LEN,
};
use crate::mbuf::Mbuf;
use crate::payload::{PayloadMeta, Place, SharedPayload};
use crate::worker::send::send_on_branches;
use crate::worker::{Way, Worker, tree_of};

/// Where the inner headers lie in a frame of the tree without IP options.
const PLACE: Place = Place {
    headers_at: OUTER_LEN,
    headers_len: IPV4_LEN + UDP_LEN,
};
/// Bytes that the outer headers take of the room before a source's frame, whose Ethernet header goes.
pub(super) const ROOM: usize = OUTER_LEN - ETHERNET_LEN;

/// A source's packet and those that follow it.
pub(super) struct FlowRun<'a> {
    pub(super) like: FlowLike,
    pub(super) first: (Mbuf, FlowPacket),
    pub(super) rest: &'a mut Rest,
}

/// A tree's packet and those that follow it.
pub(super) struct TreeRun<'a> {
    pub(super) like: TreeLike,
    pub(super) first: (Mbuf, TreePacket),
    pub(super) rest: &'a mut Rest,
}

impl Worker {
    /// Numbers packets of a source and sends them through the one port that their tree has here. Each becomes a frame of
    /// the tree where it lies.
    #[inline]
    pub(super) fn begin_tree(
        &mut self,
        now: Instant,
        (index, ingress_ns): (SessionIndex, u64),
        inner: &InnerHeader,
        (run, out, inner_max): (FlowRun<'_>, PortIndex, u16),
    ) -> Result<(), DropReason> {
        let route = self.routes.get(index.0).and_then(Option::as_ref);
        let route = route.ok_or(DropReason::SessionUnknown)?;
        let encap = &route.branches[usize::from(out.0)].encap;
        let session = self.node.source_run(now, index);
        let mut session = session.ok_or(DropReason::FlowUnknown)?;
        let template = encap.prepare(route.ttl, &session.header(ingress_ns), inner);
        let template = template.ok_or(DropReason::ChannelWrong)?;
        let port = &mut self.ports[usize::from(out.0)];
        let FlowRun { like, first, rest } = run;
        let mut next = Some(first);
        while let Some((mbuf, packet)) = next {
            let header = session.header(ingress_ns);
            let (payload, frame) = encapsulate(mbuf, packet, &template, &header);
            if let Some(spent) = session.push(payload) {
                self.spent.push(spent);
            }
            if let Err(reason) = port.send(frame) {
                self.drops.count(reason);
            }
            next = rest.next_if(|mbuf| {
                let packet = like.takes(mbuf.data())?;
                (packet.len <= inner_max && mbuf.headroom() >= ROOM).then_some(packet)
            });
        }
        Ok(())
    }

    /// Takes packets of a tree and sends them on; through one port, each as the frame that it came in.
    #[inline]
    pub(super) fn follow_tree(
        &mut self,
        (now, port): (Instant, PortIndex),
        index: SessionIndex,
        (header, channel): (&Header, &Channel),
        run: TreeRun<'_>,
    ) -> Result<(), DropReason> {
        self.idler.traffic(now);
        self.follow_downstream(index);
        let ttl = ttl_on(channel)?;
        let route = self.routes.get(index.0).and_then(Option::as_ref);
        let route = route.ok_or(DropReason::SessionUnknown)?;
        let mut session = self.node.tree_run(now, header)?;
        let TreeRun { like, first, rest } = run;
        let (way, limit) = match route.way(tree_of(header)) {
            Way::One(_, mtu) if first.1.len > mtu => (Way::Several, u16::MAX),
            way @ Way::One(_, mtu) => (way, mtu),
            way @ (Way::Nowhere | Way::Several) => (way, u16::MAX),
        };
        let mut taken = 0;
        let mut next = Some(first);
        while let Some((mbuf, packet)) = next {
            let header = Header {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                ..*header
            };
            taken += 1;
            let (payload, onward) = match way {
                Way::Nowhere => (strip_data(mbuf, packet), Onward::Ends),
                Way::One(out, _) => {
                    let (payload, frame) =
                        pass_on_data(mbuf, packet, self.ports[usize::from(out.0)].local.mac);
                    (payload, Onward::Frame(out, frame))
                }
                Way::Several => {
                    let payload = strip_data(mbuf, packet);
                    (payload.clone(), Onward::Branches(payload))
                }
            };
            match session.push(&header, payload) {
                Ok(None) => {}
                Ok(Some(spent)) => self.spent.push(spent),
                Err(reject) => {
                    self.drops.count(reject.into());
                    next = rest.next_if(|mbuf| like.takes(mbuf.data()));
                    continue;
                }
            }
            match onward {
                Onward::Ends => {}
                Onward::Frame(out, frame) => {
                    if let Err(reason) = self.ports[usize::from(out.0)].send(frame) {
                        self.drops.count(reason);
                    }
                }
                Onward::Branches(payload) => {
                    let ports = (&mut self.ports[..], &mut self.drops);
                    send_on_branches(route, ports, (&header, ttl), (&payload, &self.pools));
                }
            }
            next =
                rest.next_if(|mbuf| like.takes(mbuf.data()).filter(|packet| packet.len <= limit));
        }
        drop(session);
        self.offered(port, taken);
        Ok(())
    }
}

/// How a packet of a tree goes on.
enum Onward {
    Ends,
    Frame(PortIndex, Frame),
    Branches(SharedPayload),
}

/// Makes a source's frame one of the tree.
#[inline(always)]
fn encapsulate(
    mut mbuf: Mbuf,
    packet: FlowPacket,
    template: &Template,
    header: &Header,
) -> (SharedPayload, Frame) {
    mbuf.trim_back_to(ETHERNET_LEN + usize::from(packet.len));
    mbuf.trim_front(ETHERNET_LEN);
    if let Some(area) = mbuf
        .prepend(OUTER_LEN)
        .and_then(|area| area.first_chunk_mut())
    {
        template.fill(area, packet.dscp_ecn, packet.len, header.sequence);
    }
    mbuf.share_as_frame(PLACE, header.timestamp)
}

/// Makes a frame of the tree that of its next hop.
#[inline(always)]
fn pass_on_data(mut mbuf: Mbuf, packet: TreePacket, from: Mac) -> (SharedPayload, Frame) {
    mbuf.trim_back_to(ETHERNET_LEN + usize::from(packet.len));
    if let Some(headers) = mbuf.data_mut().first_chunk_mut() {
        pass_on(headers, from);
    }
    mbuf.share_as_frame(PLACE, packet.timestamp)
}

/// Leaves the payload of a frame of the tree as the buffer's data.
#[inline(always)]
fn strip_data(mut mbuf: Mbuf, packet: TreePacket) -> SharedPayload {
    mbuf.trim_back_to(ETHERNET_LEN + usize::from(packet.len));
    mbuf.trim_front(PLACE.headers_at + PLACE.headers_len);
    mbuf.share(PayloadMeta {
        ingress_ns: packet.timestamp,
        inner_header_len: PLACE.headers_len as u16,
    })
}

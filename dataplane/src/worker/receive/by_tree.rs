//! What comes down a tree: taken from upstream alone (RPF), and sent on where it is for those below as well.

use std::ops::Range;

use overlay::wire::{Header, NakRanges, PARITY_HEADER_LEN, ParityHeader};
use overlay::{Instant, NeighborId, SessionIndex};

use super::runs::TreeRun;
use super::{Rest, strip};
use crate::drops::DropReason;
use crate::frame::{Channel, Inner, PortIndex, TreeLike};
use crate::mbuf::Mbuf;
use crate::payload::PayloadMeta;
use crate::worker::owners::Key;
use crate::worker::{Worker, tree_of};

impl Worker {
    #[inline(always)]
    pub(super) fn receive_data(
        &mut self,
        (now, port): (Instant, PortIndex),
        (header, channel): (Header, Channel),
        (mbuf, inner): (Mbuf, Inner),
        rest: &mut Rest,
    ) -> Result<(), DropReason> {
        let checked = self.check_channel(port, &header, &channel);
        if let (Ok((index, _)), Some((like, packet))) = (checked, TreeLike::of(mbuf.data()))
            && !self.ports[usize::from(port.0)].local.verify_payload
        {
            let run = TreeRun {
                like,
                first: (mbuf, packet),
                rest,
            };
            return self.follow_tree((now, port), index, (&header, &channel), run);
        }
        self.offered(port, 1);
        if let Err(unknown @ DropReason::SessionUnknown) = checked {
            let key = (Key::Session(header.session), unknown);
            self.pass_on(now, (port, mbuf), key);
            return Ok(());
        }
        checked?;
        self.idler.traffic(now);
        let payload = strip(mbuf, &inner, header.timestamp);
        let index = self.node.handle_data(now, &header, payload)?;
        self.send_down(index, &header, ttl_on(&channel)?)
    }

    pub(super) fn receive_heartbeat(
        &mut self,
        now: Instant,
        port: PortIndex,
        header: &Header,
        channel: &Channel,
    ) -> Result<(), DropReason> {
        self.check_channel(port, header, channel)?;
        let index = self.node.handle_heartbeat(now, header)?;
        self.announce_down(index, (header, ttl_on(channel)?), &[])
    }

    /// A repair for several children: it ends here, and goes on only from a node whose own children lack it.
    pub(super) fn receive_subcast(
        &mut self,
        now: Instant,
        port: PortIndex,
        (header, channel): (Header, Channel),
        (mbuf, inner): (Mbuf, Inner),
    ) -> Result<(), DropReason> {
        let (_, from) = self.check_channel(port, &header, &channel)?;
        self.idler.traffic(now);
        let payload = strip(mbuf, &inner, header.timestamp);
        self.node.handle_repair(now, from, &header, payload)?;
        Ok(())
    }

    pub(super) fn receive_parity(
        &mut self,
        now: Instant,
        port: PortIndex,
        (header, channel): (Header, Channel),
        (mut mbuf, parity, coded): (Mbuf, ParityHeader, Range<usize>),
    ) -> Result<(), DropReason> {
        self.check_channel(port, &header, &channel)?;
        self.idler.traffic(now);
        mbuf.trim_back_to(coded.end);
        mbuf.trim_front(coded.start);
        // Its own header lies before it as inner headers do before a payload.
        let payload = mbuf.share(PayloadMeta {
            ingress_ns: 0,
            inner_header_len: PARITY_HEADER_LEN as u16,
        });
        let kept = payload.clone();
        let index = self.node.handle_parity(now, &header, parity, kept)?;
        self.send_payload_down(index, (&header, ttl_on(&channel)?), &payload)
    }

    pub(super) fn receive_confirm(
        &mut self,
        now: Instant,
        port: PortIndex,
        (header, channel): (Header, Channel),
        body: &[u8],
    ) -> Result<(), DropReason> {
        let (_, from) = self.check_channel(port, &header, &channel)?;
        self.idler.traffic(now);
        let ranges = NakRanges::parse(body).map_err(|_| DropReason::WireTruncated)?;
        self.node.handle_confirm(now, from, &header, ranges)?;
        Ok(())
    }

    /// Counts data of a tree that came by a port without an impairment, which counts for itself.
    #[inline]
    pub(super) fn offered(&mut self, port: PortIndex, count: u64) {
        let port = &mut self.ports[usize::from(port.0)];
        if port.impaired.is_none() {
            port.tree_offered += count;
        }
    }

    /// (S,G) and RPF: the packet must be of its session's channel and come from a neighbor that is upstream on the tree
    /// that it came by, which is returned.
    #[inline]
    fn check_channel(
        &self,
        port: PortIndex,
        header: &Header,
        channel: &Channel,
    ) -> Result<(SessionIndex, NeighborId), DropReason> {
        let index = self
            .node
            .find(header.session)
            .ok_or(DropReason::SessionUnknown)?;
        let route = self.route(index).ok_or(DropReason::SessionUnknown)?;
        if channel.addresses != route.channel {
            return Err(DropReason::ChannelWrong);
        }
        let mut unresolved = None;
        for &id in &route.upstream[tree_of(header)] {
            match self.adjacent(id) {
                Some(from) if from.port == port => match from.mac {
                    Some(mac) if mac == channel.station => return Ok((index, id)),
                    Some(_) => {}
                    None => unresolved = unresolved.or(Some(id)),
                },
                _ => {}
            }
        }
        let from = unresolved.ok_or(DropReason::RpfFailed)?;
        Ok((index, from))
    }
}

/// The TTL with which a packet goes on.
pub(super) fn ttl_on(channel: &Channel) -> Result<u8, DropReason> {
    channel
        .ttl
        .checked_sub(1)
        .filter(|&ttl| ttl > 0)
        .ok_or(DropReason::TtlExpired)
}

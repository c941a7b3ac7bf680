//! Parity: made where a stream begins, and used where packets of it are missing.

use overlay::wire::{Header, PARITY_HEADER_LEN, ParityHeader};
use overlay::{Fec, Instant, Rebuild, Seq, SessionIndex};

use super::receive::strip;
use super::{REBUILD_BUDGET, Worker};
use crate::drops::DropReason;
use crate::fec::{FecError, Record};
use crate::frame::parse_inner;
use crate::payload::{PayloadMeta, SharedPayload};
use crate::pool::Pool;

impl Worker {
    /// Makes a parity packet of the block that begins with the header's sequence. The block is coded once, for all of
    /// its parity packets and both trees.
    pub(super) fn make_parity(
        &mut self,
        index: SessionIndex,
        header: &Header,
        parity: ParityHeader,
    ) -> Result<SharedPayload, DropReason> {
        let session = self.node.session(index).ok_or(DropReason::SessionUnknown)?;
        let route = self.routes.get_mut(index.0).and_then(Option::as_mut);
        let made = route.and_then(|route| route.parity.as_mut());
        let made = made.ok_or(DropReason::SessionUnknown)?;
        let block = (header.epoch, header.sequence, parity.count);
        if made.coded != Some(block) {
            made.coded = None;
            let packets = block_of(header.sequence, parity.count);
            let packets = packets.filter_map(|(_, seq)| Some(record(session.packet(seq)?)));
            made.codec.encode(parity.count, packets)?;
            made.coded = Some(block);
        }
        let coded = made.codec.parity(parity.index);
        let coded = coded.ok_or(DropReason::ParityUseless)?;
        let payload = parity_payload(&self.pools.packets, parity, coded)?;
        made.sent += 1;
        Ok(payload)
    }

    /// Rebuilds what can be; returns how many blocks that were.
    pub(super) fn rebuild(&mut self, now: Instant) -> usize {
        for work in 0..REBUILD_BUDGET {
            let Some(block) = self.node.poll_rebuild() else {
                return work;
            };
            if let Err(reason) = self.rebuild_block(now, &block) {
                self.drops.count(reason);
            }
            self.rebuilt.clear();
        }
        REBUILD_BUDGET
    }

    /// Rebuilds a block, and hands over what it lacks: all of it, or nothing.
    fn rebuild_block(&mut self, now: Instant, block: &Rebuild) -> Result<(), DropReason> {
        let index = block.index;
        let session = self.node.session(index).ok_or(DropReason::SessionUnknown)?;
        let route = self.routes.get_mut(index.0).and_then(Option::as_mut);
        let parity = route.and_then(|route| route.parity.as_mut());
        let codec = &mut parity.ok_or(DropReason::ParityUseless)?.codec;
        let packets = block_of(block.first, block.count);
        let packets =
            packets.filter_map(|(place, seq)| Some((place, record(session.packet(seq)?))));
        let parity = session.parity(block.first);
        let parity = parity.map(|(index, payload)| (index, payload.data()));
        let (rebuilt, packet_pool) = (&mut self.rebuilt, &self.pools.packets);
        let mut sound = Ok(());
        let size = Fec {
            block: block.count,
            parity: block.parity,
        };
        codec.rebuild(size, packets, parity, |place, record| {
            let seq = Seq(block.first.0 + u64::from(place));
            match payload_of(packet_pool, &record) {
                Ok(payload) => rebuilt.push((seq, payload)),
                Err(reason) => sound = Err(reason),
            }
        })?;
        sound?;
        for (seq, payload) in self.rebuilt.drain(..) {
            if let Err(reject) = self.node.handle_rebuilt(now, index, seq, payload) {
                self.drops.count(reject.into());
            }
        }
        Ok(())
    }
}

/// The places and sequences of a block.
fn block_of(first: Seq, count: u8) -> impl Iterator<Item = (u8, Seq)> + Clone {
    (0..count).map(move |place| (place, Seq(first.0 + u64::from(place))))
}

fn record(payload: &SharedPayload) -> Record<'_> {
    Record {
        timestamp: payload.meta().ingress_ns,
        packet: [payload.headers(), payload.data()],
    }
}

/// A parity packet as it is shared: the coded bytes, its own header right before them.
fn parity_payload(
    packets: &Pool,
    parity: ParityHeader,
    coded: &[u8],
) -> Result<SharedPayload, DropReason> {
    let mut mbuf = packets
        .copy(&parity.emit())
        .ok_or(DropReason::NoPacketBuffer)?;
    let area = mbuf.append(coded.len()).ok_or(DropReason::TooBig)?;
    area.copy_from_slice(coded);
    mbuf.trim_front(PARITY_HEADER_LEN);
    Ok(mbuf.share(PayloadMeta {
        ingress_ns: 0,
        inner_header_len: PARITY_HEADER_LEN as u16,
    }))
}

/// A packet that was rebuilt, as it would have come by the tree. What its ingress and the nodes before would have checked
/// is checked here: a block may have been coded of other packets than are here.
fn payload_of(packets: &Pool, record: &Record<'_>) -> Result<SharedPayload, DropReason> {
    let [packet, _] = record.packet;
    let mbuf = packets.copy(packet).ok_or(DropReason::NoPacketBuffer)?;
    let inner = parse_inner(mbuf.data(), 0..packet.len()).map_err(|_| DropReason::ParityUseless)?;
    let verified = inner.verify(mbuf.data(), true);
    verified.map_err(|_| DropReason::ParityUseless)?;
    Ok(strip(mbuf, &inner, record.timestamp))
}

impl From<FecError> for DropReason {
    fn from(error: FecError) -> DropReason {
        match error {
            FecError::TooLong
            | FecError::Block
            | FecError::Lengths
            | FecError::Count
            | FecError::Record => DropReason::ParityUseless,
        }
    }
}

//! What a benchmark needs of a worker beside its turns.

use std::net::Ipv4Addr;

use overlay::{Epoch, Session, SessionIndex};

use super::{Pools, Worker};
use crate::arp::{ArpOperation, ArpPacket};
use crate::chain::Frame;
use crate::drops::DropReason;
use crate::frame::{Mac, PortIndex};
use crate::threshold::NEVER;

impl Worker {
    /// The buffers.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Takes an ARP answer, as a station on the link of `port` would give it.
    pub(crate) fn resolve(&mut self, port: PortIndex, address: Ipv4Addr, mac: Mac) {
        let now = self.clock.now();
        let local = &self.ports[usize::from(port.0)].local;
        let answer = ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender: address,
            target_mac: local.mac,
            target: local.address,
        };
        let action = self.arp.handle(now, port, &answer);
        if let Some((address, mac)) = action.ok().and_then(|action| action.learned) {
            self.set_next_hop(port, address, Some(mac));
        }
    }

    /// Puts a frame on the wire that leads to `port`, where that is a loop (`net_ring`).
    pub(crate) fn loop_back(&mut self, port: PortIndex, frame: Frame) {
        let _ = self.ports[usize::from(port.0)].tx.push(frame);
    }

    /// Sends what [`Worker::loop_back`] was given.
    pub(crate) fn flush_loop(&mut self, port: PortIndex) {
        self.ports[usize::from(port.0)].tx.flush();
    }

    /// Takes off the wire what `port` has sent, where that is a loop.
    pub(crate) fn discard(&mut self, port: PortIndex) {
        if let Some(rx) = &mut self.ports[usize::from(port.0)].rx {
            rx.discard();
        }
    }

    /// Frames that the device behind `port` has taken.
    pub(crate) fn sent(&self, port: PortIndex) -> u64 {
        self.ports[usize::from(port.0)].tx.counters().packets
    }

    /// Has copies for `port` be linear.
    pub(crate) fn forbid_chains(&mut self, port: PortIndex) {
        self.ports[usize::from(port.0)].chain_from = NEVER;
    }

    /// The life of the first session, which begins here.
    pub(crate) fn epoch(&self) -> Epoch {
        let session = self.node.session(SessionIndex(0));
        session.and_then(Session::epoch).unwrap_or_default()
    }

    /// What was dropped since the start, by reason.
    pub(crate) fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.drops.iter().filter(|(_, count)| *count > 0)
    }
}

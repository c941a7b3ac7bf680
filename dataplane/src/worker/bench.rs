//! What a benchmark needs of a worker beside its turns.

use std::net::IpAddr;

use overlay::{Epoch, Session, SessionIndex};

use super::{Pools, Worker};
use crate::chain::Frame;
use crate::drops::DropReason;
use crate::frame::{Mac, PortIndex};
use crate::threshold::NEVER;

impl Worker {
    /// The buffers.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Hears from a next hop on the link of `port`, so that it need not be asked for.
    pub(crate) fn find_next_hop(&mut self, port: PortIndex, address: IpAddr, mac: Mac) {
        self.hear(self.clock.now(), (port, address), mac);
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

    /// Takes up to 64 frames of that off the wire.
    #[cfg(test)]
    pub(crate) fn discard_some(&mut self, port: PortIndex) {
        let mut burst = crate::rx::Burst::<64>::new();
        if let Some(rx) = &mut self.ports[usize::from(port.0)].rx {
            rx.recv(&mut burst);
        }
    }

    /// Frames that the device behind `port` has not taken yet.
    #[cfg(test)]
    pub(crate) fn waiting(&self, port: PortIndex) -> usize {
        self.ports[usize::from(port.0)].tx.len()
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

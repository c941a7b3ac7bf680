//! What neighbors send over the overlay.

use std::net::IpAddr;

use overlay::wire::{Header, Hello, Kind, NakRanges};
use overlay::{Instant, NeighborId, Reject};

use super::strip;
use crate::drops::DropReason;
use crate::frame::{Inner, Mac, PortIndex};
use crate::mbuf::Mbuf;
use crate::worker::Worker;

impl Worker {
    /// A repair or a copy.
    pub(super) fn receive_unicast(
        &mut self,
        now: Instant,
        from: (PortIndex, IpAddr),
        header: &Header,
        (mbuf, inner): (Mbuf, Inner),
    ) -> Result<(), DropReason> {
        let from = self.neighbor_at(from)?;
        self.idler.traffic(now);
        let payload = strip(mbuf, &inner, header.timestamp);
        if header.kind == Kind::Copy {
            self.node.handle_copy(now, from, header, payload)?;
        } else {
            self.node.handle_repair(now, from, header, payload)?;
        }
        Ok(())
    }

    pub(in crate::worker) fn receive_control(
        &mut self,
        now: Instant,
        from: (PortIndex, IpAddr),
        header: &Header,
        body: &[u8],
    ) -> Result<(), DropReason> {
        let from = self.neighbor_at(from)?;
        match header.kind {
            Kind::Nak => {
                self.idler.traffic(now);
                let ranges = NakRanges::parse(body).map_err(|_| DropReason::WireTruncated)?;
                self.node
                    .handle_nak(now, from, header, ranges)
                    .map_err(|reject| match reject {
                        Reject::SessionUnknown => DropReason::NakUnknownSession,
                        other => other.into(),
                    })?;
            }
            Kind::Hello if header.session.0 != 0 => {
                self.node.handle_request(now, from, header)?;
            }
            Kind::Hello => {
                let hello = Hello::parse(body).map_err(|_| DropReason::WireTruncated)?;
                self.node.handle_hello(now, from, header, &hello)?;
            }
            Kind::NakConfirm => {
                let ranges = NakRanges::parse(body).map_err(|_| DropReason::WireTruncated)?;
                self.node.handle_confirm(now, from, header, ranges)?;
            }
            Kind::Data | Kind::Repair | Kind::Heartbeat | Kind::Copy | Kind::Parity => {
                return Err(DropReason::KindMisplaced);
            }
        }
        Ok(())
    }

    /// A neighbor that speaks has told its Ethernet address: what is owed to it need not wait until it is found.
    pub(in crate::worker) fn hear(
        &mut self,
        now: Instant,
        (port, address): (PortIndex, IpAddr),
        station: Mac,
    ) {
        if self.next_hops.hear(now, port, address, station) {
            self.set_next_hop(port, address, Some(station));
        }
    }

    fn neighbor_at(&self, from: (PortIndex, IpAddr)) -> Result<NeighborId, DropReason> {
        self.by_address
            .get(&from)
            .copied()
            .ok_or(DropReason::Stranger)
    }
}

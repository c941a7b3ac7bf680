//! The NAKs that a rig feeds: a child asks for what the node holds, one part of it after the other.

use std::net::Ipv4Addr;

use overlay::wire::{Header, Kind, OVERLAY_PORT, RANGE_LEN, emit_range};
use overlay::{Epoch, Seq, SeqRange, SessionId};

use super::frames::STATION;
use crate::encap::{Encap, OUTER_LEN, OVERLAY_TTL, Outer, source_port};
use crate::frame::{Addresses, Mac};
use crate::mbuf::Mbuf;

/// The session that is asked for.
const SESSION: SessionId = SessionId(1);

pub(super) struct NakGenerator {
    encap: Encap,
    /// Packets that a NAK asks for, in a row.
    asks: u16,
    /// Packets that there are, from the first on.
    held: u64,
    next: u64,
    epoch: Epoch,
}

impl NakGenerator {
    /// A child at `from`, which talks to the node's port of this address and Ethernet address.
    pub(super) fn new(
        (from, to): (Ipv4Addr, Ipv4Addr),
        mac: Mac,
        (epoch, asks, held): (Epoch, u16, u32),
    ) -> NakGenerator {
        NakGenerator {
            encap: Encap::new(&Outer {
                from: STATION,
                to: mac,
                addresses: Addresses::V4 {
                    source: from,
                    destination: to,
                },
                source_port: source_port(SESSION),
                destination_port: OVERLAY_PORT,
                mtu: u16::MAX,
            }),
            asks,
            held: held.into(),
            next: 1,
            epoch,
        }
    }

    /// Writes the next NAK into an empty buffer.
    pub(super) fn write(&mut self, mbuf: &mut Mbuf) {
        if self.next + u64::from(self.asks) > self.held {
            self.next = 1;
        }
        let Some(range) = SeqRange::new(Seq(self.next), self.asks.into()) else {
            return;
        };
        self.next += u64::from(self.asks);
        let header = Header {
            kind: Kind::Nak,
            flags: 0,
            epoch: self.epoch,
            session: SESSION,
            sequence: Seq(0),
            timestamp: 0,
        };
        let len = OUTER_LEN + RANGE_LEN;
        let Some(area) = mbuf.append(len) else {
            return;
        };
        let written = self
            .encap
            .control(area, OVERLAY_TTL, &header, &emit_range(range));
        debug_assert_eq!(written, Ok(len));
    }
}

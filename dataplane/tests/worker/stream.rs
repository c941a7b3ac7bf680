//! A stream as its ingress would send it.

use std::net::IpAddr;

use dataplane::SessionConfig;
use etherparse::PacketBuilder;
use overlay::wire::{Header, Kind, emit_range};
use overlay::{Epoch, Seq, SeqRange, SessionId};

/// A session's stream, of one epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    /// (S,G).
    pub(crate) channel: (IpAddr, IpAddr),
}

impl Stream {
    pub(crate) fn of(config: &SessionConfig) -> Stream {
        Stream {
            session: config.id,
            epoch: Epoch(7),
            channel: (config.source, config.group),
        }
    }

    pub(crate) fn header(&self, kind: Kind, flags: u8, sequence: u64) -> Header {
        Header {
            kind,
            flags,
            epoch: self.epoch,
            session: self.session,
            sequence: Seq(sequence),
            timestamp: 1_000_000 + sequence,
        }
    }

    /// The packet of a sequence.
    pub(crate) fn packet(&self, kind: Kind, flags: u8, sequence: u64) -> Vec<u8> {
        let header = self.header(kind, flags, sequence);
        [&header.emit()[..], &inner(sequence)].concat()
    }

    /// A NAK, or a confirmation of one.
    pub(crate) fn ask(&self, kind: Kind, first: u64, count: u32) -> Vec<u8> {
        let header = Header {
            sequence: Seq(0),
            ..self.header(kind, 0, 0)
        };
        let range = SeqRange::new(Seq(first), count).unwrap();
        [&header.emit()[..], &emit_range(range)].concat()
    }
}

/// What the source says in the packet of a sequence; their lengths differ.
pub(crate) fn payload(sequence: u64) -> Vec<u8> {
    let len = 8 + (sequence as usize * 37) % 900;
    let mut payload = vec![sequence as u8; len];
    payload[..8].copy_from_slice(&sequence.to_be_bytes());
    payload
}

/// The source's packet of a sequence.
pub(crate) fn inner(sequence: u64) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 5], [198, 51, 100, 1], 60)
        .udp(4000, 5004)
        .write(&mut packet, &payload(sequence))
        .unwrap();
    packet
}

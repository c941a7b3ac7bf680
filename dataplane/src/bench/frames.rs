//! The frames that a rig feeds: a source's packets, or those of a tree.

use std::net::Ipv4Addr;

use overlay::wire::{Header, Kind};
use overlay::{Epoch, Seq, SessionId};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

use super::{Role, Workload};
use crate::checksum::Sum;
use crate::encap::{Encap, InnerBytes, OUTER_LEN, OVERHEAD, Outer, source_port};
use crate::frame::{
    Addresses, ETHERNET_LEN, ETHERTYPE_IPV4, EthernetHeader, IPV4_LEN, Ipv4Header, Mac, UDP_LEN,
    UdpHeader,
};
use crate::mbuf::Mbuf;

/// Inner IP and UDP header, in bytes.
const INNER_LEN: usize = IPV4_LEN + UDP_LEN;
/// The source's address.
pub(super) const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
/// The ingress: S of every (S,G).
pub(super) const INGRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// The Ethernet address of whoever is beyond a port.
pub(super) const STATION: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
/// UDP ports of the sessions' source and destination.
const UDP_PORTS: [u16; 2] = [40_000, 5004];
/// Room for what goes before a payload.
const HEADERS_MAX: usize = OUTER_LEN + INNER_LEN;

/// Where the source sends the packets of the session of that index: an address of the benchmarking range (RFC 2544).
pub(super) fn destination(session: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + session)
}

/// UDP port that the source sends to.
pub(super) const fn destination_port() -> u16 {
    UDP_PORTS[1]
}

/// The group of the session of that index.
pub(super) fn group(session: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(239, 1, 0, 0).to_bits() + session)
}

/// Makes the frames that come in, sessions by turns.
pub(super) struct Generator {
    role: Role,
    sessions: u32,
    /// Of the port that they come in by.
    mac: Mac,
    payload: Vec<u8>,
    payload_sum: Sum,
    next_session: u32,
    sequence: Seq,
    epoch: Epoch,
}

impl Generator {
    pub(super) fn new(workload: &Workload, mac: Mac) -> Generator {
        let len = usize::from(workload.size).saturating_sub(ETHERNET_LEN + INNER_LEN);
        let payload: Vec<u8> = (0..len).map(|i| (i * 7 + 1) as u8).collect();
        Generator {
            role: workload.role,
            sessions: workload.sessions,
            mac,
            payload_sum: Sum::of(&payload),
            payload,
            next_session: 0,
            sequence: Seq(1),
            epoch: Epoch(1),
        }
    }

    /// Length of a frame that comes in.
    pub(super) fn frame_len(role: Role, size: u16) -> u16 {
        match role {
            Role::Ingress | Role::Parent { .. } => size,
            Role::Transit { .. } | Role::LastHop { .. } => size + OVERHEAD as u16,
        }
    }

    /// Writes a frame into an empty buffer, payload and all.
    pub(super) fn write(&mut self, mbuf: &mut Mbuf) {
        let (headers, len) = self.next_headers();
        let Some(area) = mbuf.append(len + self.payload.len()) else {
            return;
        };
        area[..len].copy_from_slice(&headers[..len]);
        area[len..].copy_from_slice(&self.payload);
    }

    /// Writes a frame into an empty buffer whose payload is there from before.
    pub(super) fn rewrite(&mut self, mbuf: &mut Mbuf) {
        let (headers, len) = self.next_headers();
        if let Some(area) = mbuf.append(len) {
            area.copy_from_slice(&headers[..len]);
        }
    }

    /// What goes before the payload of the next frame, and its length.
    fn next_headers(&mut self) -> ([u8; HEADERS_MAX], usize) {
        let session = self.next_session;
        let inner = self.inner(session);
        let mut headers = [0; HEADERS_MAX];
        let len = match self.role {
            Role::Ingress | Role::Parent { .. } => {
                headers[..ETHERNET_LEN].copy_from_slice(self.ethernet().as_bytes());
                headers[ETHERNET_LEN..][..INNER_LEN].copy_from_slice(&inner);
                ETHERNET_LEN + INNER_LEN
            }
            Role::Transit { .. } | Role::LastHop { .. } => {
                self.tree_headers(&mut headers, &inner, session)
            }
        };
        self.next_session += 1;
        if self.next_session == self.sessions {
            self.next_session = 0;
            self.sequence = self.sequence.next();
        }
        (headers, len)
    }

    fn tree_headers(&self, area: &mut [u8], inner: &[u8], session: u32) -> usize {
        let id = SessionId(session + 1);
        let encap = Encap::new(&Outer {
            from: STATION,
            to: Mac::of_ipv4_group(group(session)),
            addresses: Addresses::V4 {
                source: INGRESS,
                destination: group(session),
            },
            source_port: source_port(id),
            destination_port: overlay::wire::TREE_PORT,
            mtu: u16::MAX,
        });
        let header = Header {
            kind: Kind::Data,
            flags: 0,
            epoch: self.epoch,
            session: id,
            sequence: self.sequence,
            timestamp: 1,
        };
        let bytes = InnerBytes {
            headers: inner,
            payload: &self.payload,
        };
        encap.packet(area, 8, &header, bytes).unwrap_or_default()
    }

    /// IP and UDP header of a source's packet, checksums and all.
    fn inner(&self, session: u32) -> [u8; INNER_LEN] {
        let udp_len = (UDP_LEN + self.payload.len()) as u16;
        let mut ip = Ipv4Header::new(SOURCE, destination(session), 60);
        ip.total_len = U16::new(udp_len + IPV4_LEN as u16);
        ip.seal();
        let addresses = Addresses::V4 {
            source: SOURCE,
            destination: destination(session),
        };
        let sum = Sum::udp_pseudo(&addresses, udp_len)
            + Sum::word(UDP_PORTS[0])
            + Sum::word(UDP_PORTS[1])
            + Sum::word(udp_len)
            + self.payload_sum;
        let udp = UdpHeader {
            source: U16::new(UDP_PORTS[0]),
            destination: U16::new(UDP_PORTS[1]),
            len: U16::new(udp_len),
            checksum: U16::new(sum.udp_checksum()),
        };
        let mut headers = [0; INNER_LEN];
        headers[..IPV4_LEN].copy_from_slice(ip.as_bytes());
        headers[IPV4_LEN..].copy_from_slice(udp.as_bytes());
        headers
    }

    fn ethernet(&self) -> EthernetHeader {
        EthernetHeader {
            destination: self.mac,
            source: STATION,
            ethertype: U16::new(ETHERTYPE_IPV4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Wire;
    use crate::frame::{Local, Parsed, parse};

    fn frames(role: Role, size: u16) -> impl Iterator<Item = Vec<u8>> {
        let workload = Workload {
            role,
            wire: Wire::Null,
            size,
            sessions: 3,
            held: 64,
            switches: true,
        };
        let mut generator = Generator::new(&workload, LOCAL.mac);
        std::iter::from_fn(move || {
            let (headers, len) = generator.next_headers();
            Some([&headers[..len], &generator.payload].concat())
        })
    }

    const LOCAL: Local = Local {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        ipv4: Some(Ipv4Addr::new(10, 1, 0, 1)),
        ipv6: None,
        tree_port: overlay::wire::TREE_PORT,
        overlay_port: overlay::wire::OVERLAY_PORT,
        verify_payload: true,
    };

    #[test]
    fn a_sources_frames_are_sound_and_take_turns() {
        for size in [64, 256, 1400] {
            let frames = frames(Role::Ingress, size).take(6);
            for (place, frame) in frames.enumerate() {
                assert_eq!(frame.len(), usize::from(size));
                let Ok(Parsed::Flow { inner }) = parse(&frame, &LOCAL) else {
                    panic!("{size} bytes are no flow's");
                };
                assert_eq!(inner.verify(&frame, true), Ok(()));
                let to = inner.header.addresses.destination();
                assert_eq!(to, destination(place as u32 % 3));
            }
        }
    }

    #[test]
    fn a_trees_frames_are_sound_and_in_order() {
        let last_hop = Role::LastHop {
            clients: 1,
            linear: false,
        };
        for role in [Role::Transit { branches: 1 }, last_hop] {
            for (place, frame) in frames(role, 256).take(6).enumerate() {
                assert_eq!(frame.len(), usize::from(Generator::frame_len(role, 256)));
                let Ok(Parsed::Data {
                    header, channel, ..
                }) = parse(&frame, &LOCAL)
                else {
                    panic!("not data of a tree");
                };
                assert_eq!(header.sequence, Seq(1 + place as u64 / 3));
                let group = group(place as u32 % 3);
                assert_eq!(channel.addresses.destination(), group);
            }
        }
    }
}

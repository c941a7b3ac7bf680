//! The other end of a link: a packet socket that answers ARP, and what else came.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use dataplane::PortSnapshot;
use etherparse::{EtherType, PacketBuilder, PacketHeaders, TransportHeader};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use overlay::wire::{Header, Hello, HelloState, Kind, OVERLAY_PORT, TREE_PORT};
use overlay::{Epoch, Seq, SessionId};

use crate::PATIENCE;

/// Bytes that may wait for a test that is busy with something else: all that a case has the node send.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A UDP datagram that the node sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    /// As a treecast packet.
    pub(crate) fn open(&self) -> Option<(Header, &[u8])> {
        if [TREE_PORT, OVERLAY_PORT].contains(&self.port) {
            Header::parse(&self.payload).ok()
        } else {
            None
        }
    }

    pub(crate) fn is_of_tree(&self) -> bool {
        self.port == TREE_PORT
    }
}

pub(crate) struct Station {
    socket: OwnedFd,
    mac: [u8; 6],
    node_mac: [u8; 6],
    /// First three numbers of the link's addresses.
    prefix: [u8; 3],
    came: VecDeque<Datagram>,
}

impl Station {
    pub(crate) fn new(interface: &str) -> Station {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let all = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all).unwrap();
        let mut addresses = nix::ifaddrs::getifaddrs().unwrap();
        let link = addresses.find_map(|found| {
            let link = *found.address?.as_link_addr()?;
            (found.interface_name == interface).then_some(link)
        });
        let link = link.unwrap();
        bind(socket.as_raw_fd(), &link).unwrap();
        // What came by other interfaces before it was bound to this one.
        while recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::empty()).is_ok() {}
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap();
        Station {
            socket,
            mac: link.addr().unwrap(),
            node_mac: [0; 6],
            prefix: [0; 3],
            came: VecDeque::new(),
        }
    }

    /// Learns who is at the other end.
    pub(crate) fn learn(&mut self, port: &PortSnapshot) {
        let bytes = port
            .mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        self.node_mac = Vec::from_iter(bytes).try_into().unwrap();
        let address = port.address.split('/').next().unwrap();
        let [a, b, c, _] = address.parse::<Ipv4Addr>().unwrap().octets();
        self.prefix = [a, b, c];
    }

    /// Its own Ethernet address.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The Ethernet address of the node's port.
    pub(crate) fn node_mac(&self) -> [u8; 6] {
        self.node_mac
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, host)
    }

    /// Sends a frame whose Ethernet and IP destination fit.
    fn send_udp(&self, (from, to): (Ipv4Addr, Ipv4Addr), ports: (u16, u16), payload: &[u8]) {
        let [_, b, c, d] = to.octets();
        let mac = if to.is_multicast() {
            [1, 0, 0x5e, b & 0x7f, c, d]
        } else {
            self.node_mac
        };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.mac, mac)
            .ipv4(from.octets(), to.octets(), 16)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload)
            .unwrap();
        self.send_frame(&frame);
    }

    /// Sends a frame as it is.
    pub(crate) fn send_frame(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
        assert_eq!(sent, frame.len());
    }

    /// Sends a treecast packet down a tree.
    pub(crate) fn send_tree(&self, (source, group): (Ipv4Addr, Ipv4Addr), payload: &[u8]) {
        self.send_udp((source, group), (50_000, TREE_PORT), payload);
    }

    /// Sends a treecast packet to the node, as the neighbor of that host number.
    pub(crate) fn send_overlay(&self, host: u8, payload: &[u8]) {
        let ends = (self.address(host), self.address(1));
        self.send_udp(ends, (50_000, OVERLAY_PORT), payload);
    }

    /// Sends a source's packet through the node.
    pub(crate) fn send_flow(&self, to: (Ipv4Addr, u16), payload: &[u8]) {
        self.send_udp((self.address(9), to.0), (4000, to.1), payload);
    }

    /// Says hello as the neighbor of that host number, once and for long.
    pub(crate) fn greet(&mut self, host: u8) {
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch: Epoch(1),
            session: SessionId(0),
            sequence: Seq(1),
            timestamp: 0,
        };
        let hello = Hello {
            interval_us: 10_000_000,
            detect_mult: 60,
            state: HelloState::Init,
            echo: 0,
            held_ns: 0,
        };
        self.send_overlay(host, &[&header.emit()[..], &hello.emit()].concat());
    }

    /// The next frame that has come, as it is.
    pub(crate) fn see(&self) -> Option<Vec<u8>> {
        let mut frame = [0; 4096];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(len) => Some(frame[..len].to_vec()),
            // The latter is said once by a link that went down.
            Err(Errno::EAGAIN | Errno::ENETDOWN) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes in what has come.
    pub(crate) fn pump(&mut self) {
        while let Some(frame) = self.see() {
            self.take(&frame);
        }
    }

    fn take(&mut self, frame: &[u8]) {
        let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
        if frame[12..14] == EtherType::ARP.0.to_be_bytes() {
            return self.answer_arp(frame);
        }
        let ip = headers.net.as_ref().unwrap().ipv4_ref().unwrap().0;
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let Some(TransportHeader::Udp(udp)) = &headers.transport else {
            return;
        };
        let payload = headers.payload.slice();
        assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap());
        self.came.push_back(Datagram {
            source: ip.source.into(),
            destination: ip.destination.into(),
            port: udp.destination_port,
            payload: payload.to_vec(),
        });
    }

    /// Whoever is asked for is here, unless it is the node.
    fn answer_arp(&self, frame: &[u8]) {
        if frame[20..22] != [0, 1] || frame[28..32] == frame[38..42] {
            return;
        }
        let mut answer = frame[..42].to_vec();
        answer[..6].copy_from_slice(&frame[6..12]);
        answer[6..12].copy_from_slice(&self.mac);
        answer[21] = 2;
        answer[22..28].copy_from_slice(&self.mac);
        answer[28..32].copy_from_slice(&frame[38..42]);
        answer[32..42].copy_from_slice(&frame[22..32]);
        self.send_frame(&answer);
    }

    /// The first datagram that came, or comes, of which `wanted` makes something; it is taken out.
    pub(crate) fn expect<T>(&mut self, what: &str, wanted: impl Fn(&Datagram) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.pump();
            if let Some(found) = self.all(&wanted).into_iter().next() {
                let place = self.came.iter().position(|came| wanted(came).is_some());
                self.came.remove(place.unwrap_or_default());
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come");
        }
    }

    /// All that came so far, of which `wanted` makes something; it stays.
    pub(crate) fn all<T>(&self, wanted: impl Fn(&Datagram) -> Option<T>) -> Vec<T> {
        self.came.iter().filter_map(wanted).collect()
    }

    /// Forgets what came.
    pub(crate) fn forget(&mut self) {
        self.pump();
        self.came.clear();
    }
}

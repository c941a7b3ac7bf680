//! The other end of a link: a packet socket that answers ARP and neighbor solicitations, and what else came.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use dataplane::PortSnapshot;
use etherparse::{EtherType, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
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

/// A neighbor's link-local address, whatever its Ethernet address.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// The IPv6 address of a host on a link, by the third number of the link's IPv4 addresses.
pub(crate) fn ipv6(link: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, link.into(), 0, 0, 0, 0, host.into())
}

/// A UDP datagram that the node sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
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
    /// ICMP messages, whole frames.
    messages: VecDeque<Vec<u8>>,
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
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap();
        Station {
            socket,
            mac: link.addr().unwrap(),
            node_mac: [0; 6],
            prefix: [0; 3],
            came: VecDeque::new(),
            messages: VecDeque::new(),
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

    pub(crate) fn address(&self, host: u8) -> IpAddr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, host).into()
    }

    /// The node's address that is like that one.
    pub(crate) fn node_address(&self, like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => self.address(1),
            IpAddr::V6(like) if like.is_unicast_link_local() => {
                let [a, b, c, d, e, f] = self.node_mac.map(u16::from);
                let end = [a << 8 ^ 0x200 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
                Ipv6Addr::new(0xfe80, 0, 0, 0, end[0], end[1], end[2], end[3]).into()
            }
            IpAddr::V6(_) => ipv6(self.prefix[2], 1).into(),
        }
    }

    /// Sends a frame whose Ethernet and IP destination fit.
    fn send_udp(&self, (from, to): (IpAddr, IpAddr), ports: (u16, u16), payload: &[u8]) {
        self.send_udp_with_ttl((from, to), 16, ports, payload);
    }

    /// The same, with that TTL or hop limit.
    pub(crate) fn send_udp_with_ttl(
        &self,
        (from, to): (IpAddr, IpAddr),
        ttl: u8,
        ports: (u16, u16),
        payload: &[u8],
    ) {
        let mac = match to {
            IpAddr::V4(to) if to.is_multicast() => {
                let [_, b, c, d] = to.octets();
                [1, 0, 0x5e, b & 0x7f, c, d]
            }
            IpAddr::V6(to) if to.is_multicast() => {
                let [.., a, b, c, d] = to.octets();
                [0x33, 0x33, a, b, c, d]
            }
            _ => self.node_mac,
        };
        let ethernet = PacketBuilder::ethernet2(self.mac, mac);
        let packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), ttl),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), ttl),
            _ => panic!("from {from} to {to}"),
        };
        let mut frame = Vec::new();
        packet
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
    pub(crate) fn send_tree(&self, (source, group): (IpAddr, IpAddr), payload: &[u8]) {
        self.send_udp((source, group), (50_000, TREE_PORT), payload);
    }

    /// Sends a treecast packet to the node, as the neighbor of that host number.
    pub(crate) fn send_overlay(&self, host: u8, payload: &[u8]) {
        self.send_overlay_from(self.address(host), payload);
    }

    /// The same, as the neighbor of that address.
    pub(crate) fn send_overlay_from(&self, address: IpAddr, payload: &[u8]) {
        let ends = (address, self.node_address(address));
        self.send_udp(ends, (50_000, OVERLAY_PORT), payload);
    }

    /// Sends a source's packet through the node.
    pub(crate) fn send_flow(&self, to: (Ipv4Addr, u16), payload: &[u8]) {
        self.send_udp((self.address(9), to.0.into()), (4000, to.1), payload);
    }

    /// Says hello as the neighbor of that address, once and for long.
    pub(crate) fn greet(&mut self, address: IpAddr) {
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
        self.send_overlay_from(address, &[&header.emit()[..], &hello.emit()].concat());
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
        let payload = headers.payload.slice();
        let net = headers.net.as_ref().unwrap();
        match (&headers.transport, net) {
            (Some(TransportHeader::Udp(udp)), NetHeaders::Ipv4(ip, _)) => {
                assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap());
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                let ends = (ip.source.into(), ip.destination.into());
                self.note(ends, ip.time_to_live, udp.destination_port, payload);
            }
            (Some(TransportHeader::Udp(udp)), NetHeaders::Ipv6(ip, _)) => {
                assert_eq!(udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap());
                let ends = (ip.source.into(), ip.destination.into());
                self.note(ends, ip.hop_limit, udp.destination_port, payload);
            }
            (Some(TransportHeader::Icmpv6(icmp)), NetHeaders::Ipv6(ip, _)) => {
                let sound = icmp.icmp_type;
                let sound = sound.calc_checksum(ip.source, ip.destination, payload);
                assert_eq!(Ok(icmp.checksum), sound);
                if frame[54] == 135 {
                    self.answer_solicitation(frame);
                } else {
                    self.messages.push_back(frame.to_vec());
                }
            }
            (Some(TransportHeader::Icmpv4(icmp)), NetHeaders::Ipv4(ip, _)) => {
                assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload));
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                self.messages.push_back(frame.to_vec());
            }
            _ => {}
        }
    }

    fn note(&mut self, ends: (IpAddr, IpAddr), ttl: u8, port: u16, payload: &[u8]) {
        self.came.push_back(Datagram {
            source: ends.0,
            destination: ends.1,
            ttl,
            port,
            payload: payload.to_vec(),
        });
    }

    /// Whoever is asked for is here.
    fn answer_solicitation(&self, frame: &[u8]) {
        let (asking, target) = (&frame[22..38], &frame[62..78]);
        let mut answer = Vec::new();
        PacketBuilder::ethernet2(self.mac, self.node_mac)
            .ipv6(target.try_into().unwrap(), asking.try_into().unwrap(), 255)
            .icmpv6_raw(136, 0, [0x60, 0, 0, 0])
            .write(&mut answer, &[target, &[2, 1], &self.mac].concat())
            .unwrap();
        self.send_frame(&answer);
    }

    /// Sends an echo request to the node.
    pub(crate) fn send_echo(&self, from: IpAddr, to: IpAddr, data: &[u8]) {
        let ethernet = PacketBuilder::ethernet2(self.mac, self.node_mac);
        let mut frame = Vec::new();
        let written = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
                .ipv4(from.octets(), to.octets(), 64)
                .icmpv4_echo_request(7, 1)
                .write(&mut frame, data),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
                .ipv6(from.octets(), to.octets(), 64)
                .icmpv6_echo_request(7, 1)
                .write(&mut frame, data),
            _ => panic!("from {from} to {to}"),
        };
        written.unwrap();
        self.send_frame(&frame);
    }

    /// The first ICMP message that came, or comes: a whole frame.
    pub(crate) fn expect_message(&mut self, what: &str) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.pump();
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            assert!(Instant::now() < deadline, "{what} did not come");
        }
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
        self.messages.clear();
    }
}

//! The kernel's unicast fan-out: a datagram to each client, with one `sendmmsg`; and its multicast route.
//!
//! They run in a network namespace of their own. The datagrams go through routing and neighbor table out of one end of a
//! veth pair; the other end has no address, so what comes is dropped as not for it.

mod route;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use dataplane::bench::Sample;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::time::{ClockId, clock_gettime};

pub(super) use route::Router;

/// Ethernet, IP and UDP header of a copy, in bytes.
const HEADERS: u16 = 42;

/// What makes the network: a gateway that is not there, behind a link that is.
const NETWORK: [&str; 7] = [
    "link add near type veth peer name far",
    "link set near addrgenmode none up",
    "link set far addrgenmode none up",
    "address add 10.99.0.1/24 dev near",
    "neighbor add 10.99.0.2 lladdr 02:00:00:00:00:99 dev near",
    "route add 10.200.0.0/16 via 10.99.0.2",
    "link set lo up",
];

pub(super) struct Sender {
    socket: UdpSocket,
    payload: Vec<u8>,
    clients: Vec<Option<SockaddrIn>>,
}

impl Sender {
    /// Makes the network and the socket, in the namespace that this process is in.
    pub(super) fn new(clients: u16, size: u16) -> Result<Sender, String> {
        for arguments in NETWORK {
            ip(arguments)?;
        }
        let socket = UdpSocket::bind("10.99.0.1:0").map_err(|error| error.to_string())?;
        let client = |index: u16| {
            let [high, low] = index.to_be_bytes();
            let address = Ipv4Addr::new(10, 200, high, low);
            Some(SockaddrIn::from(SocketAddrV4::new(address, 5004)))
        };
        Ok(Sender {
            socket,
            payload: vec![7; usize::from(size - HEADERS)],
            // Not the network's own address.
            clients: (1..=clients).map(client).collect(),
        })
    }

    /// Sends to all clients again and again, for this long.
    pub(super) fn run(&mut self, time: Duration) -> Result<Sample, String> {
        let end = std::time::Instant::now() + time;
        let slices = vec![[IoSlice::new(&self.payload)]; self.clients.len()];
        let mut headers = MultiHeaders::preallocate(self.clients.len(), None);
        let before = time_on_core()?;
        let mut packets = 0;
        while std::time::Instant::now() < end {
            for _ in 0..16 {
                let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
                let sent = sendmmsg(fd, &mut headers, &slices, &self.clients, [], flags);
                packets += sent.map_err(|error| format!("sendmmsg: {error}"))?.count() as u64;
            }
        }
        let ns = (time_on_core()? - before).as_nanos() as u64;
        Ok(Sample {
            packets,
            cycles: 0,
            ns,
            set_aside: 0.0,
        })
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    match status.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err(format!("`ip {arguments}` failed")),
    }
}

/// The time that this thread has had a core.
fn time_on_core() -> Result<Duration, String> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from)
        .map_err(|error| format!("the thread's clock: {error}"))
}

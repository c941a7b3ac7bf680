//! The kernel's multicast route: what comes in by one interface goes out by several.
//!
//! Each interface is one end of a veth pair. The source's frames are written into the other end of the first; the other
//! ends of those that they go out by have no address, so what comes there is dropped.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use dataplane::bench::Sample;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use super::{ip, time_on_core};
use crate::bench::contender::Piped;
use crate::bench::program::Program;

/// What sets the route.
const PROGRAM: &str = include_str!("multicast_route.c");
/// Frames written at once.
const BATCH: usize = 16;
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 9);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 0, 1);
/// Hops that a frame may go: more than the one.
const TTL: u8 = 16;

pub(in crate::bench) struct Router {
    socket: OwnedFd,
    frame: Vec<u8>,
    branches: u16,
    /// Holds the route.
    _route: Piped,
    _program: Program,
}

impl Router {
    /// Makes the interfaces and the route, in the namespace that this process is in.
    pub(in crate::bench) fn new(branches: u16, size: u16) -> Result<Router, String> {
        pair("in", "source", 0)?;
        for branch in 1..=branches {
            pair(&format!("out{branch}"), &format!("far{branch}"), branch)?;
        }
        let program = Program::compile(PROGRAM, None)?;
        let mut command = Command::new(program.path());
        command.args([SOURCE, GROUP].map(|address| address.to_string()));
        command.arg("in");
        command.args((1..=branches).map(|branch| format!("out{branch}")));
        let mut route = Piped::start(&mut command)?;
        route.hear()?;
        Ok(Router {
            socket: open("source")?,
            frame: frame(size),
            branches,
            _route: route,
            _program: program,
        })
    }

    /// Writes the source's frames, for this long. The sample's packets are those that went out.
    pub(in crate::bench) fn run(&mut self, time: Duration) -> Result<Sample, String> {
        let end = Instant::now() + time;
        let slices = vec![[IoSlice::new(&self.frame)]; BATCH];
        let nowhere: [Option<LinkAddr>; BATCH] = [None; BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let (before, from) = (self.sent()?, time_on_core()?);
        while Instant::now() < end {
            let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
            sendmmsg(fd, &mut headers, &slices, nowhere, [], flags)
                .map_err(|error| format!("sendmmsg: {error}"))?;
        }
        let ns = (time_on_core()? - from).as_nanos() as u64;
        let packets = self.sent()? - before;
        if packets == 0 {
            return Err("the kernel has routed nothing".into());
        }
        Ok(Sample {
            packets,
            cycles: 0,
            ns,
            set_aside: 0.0,
        })
    }

    /// Frames that have gone out by all branches.
    fn sent(&self) -> Result<u64, String> {
        let said = std::fs::read_to_string("/proc/thread-self/net/dev");
        let said = said.map_err(|error| format!("/proc/thread-self/net/dev: {error}"))?;
        let sent = said.lines().filter_map(|line| {
            let (name, counters) = line.trim_start().split_once(':')?;
            let branch: u16 = name.strip_prefix("out")?.parse().ok()?;
            let sent = counters.split_whitespace().nth(9)?.parse::<u64>().ok()?;
            (1..=self.branches).contains(&branch).then_some(sent)
        });
        Ok(sent.sum())
    }
}

/// A veth pair whose near end is the router's, on network `number`.
fn pair(near: &str, far: &str, number: u16) -> Result<(), String> {
    ip(&format!("link add {near} type veth peer name {far}"))?;
    for end in [near, far] {
        ip(&format!("link set {end} addrgenmode none up"))?;
    }
    ip(&format!("address add 10.98.{number}.1/24 dev {near}"))
}

/// A socket that writes frames into an interface.
fn open(interface: &str) -> Result<OwnedFd, String> {
    let mut addresses = getifaddrs().map_err(|error| error.to_string())?;
    let link = addresses.find_map(|found| {
        let link = *found.address?.as_link_addr()?;
        (found.interface_name == interface).then_some(link)
    });
    let link = link.ok_or("the source's interface is not there")?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
        .map_err(|error| format!("a packet socket: {error}"))?;
    bind(socket.as_raw_fd(), &link).map_err(|error| format!("a packet socket: {error}"))?;
    Ok(socket)
}

/// The source's frame: a UDP datagram without checksum to the group.
fn frame(size: u16) -> Vec<u8> {
    let ip_len = size - 14;
    let [_, b, c, d] = GROUP.octets();
    let mut frame = vec![0x01, 0x00, 0x5e, b & 0x7f, c, d, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend(ip_len.to_be_bytes());
    frame.extend([0, 0, 0, 0, TTL, 17, 0, 0]);
    frame.extend(SOURCE.octets());
    frame.extend(GROUP.octets());
    let words = frame[14..].chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    for port in [40_000u16, 5004] {
        frame.extend(port.to_be_bytes());
    }
    frame.extend((ip_len - 20).to_be_bytes());
    frame.resize(size.into(), 0);
    frame
}

//! A raw socket on an interface of a lab: sees what passes, and sends what it is given.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol,
    SockType, bind, recv, sendmmsg, socket,
};
use nix::unistd::gettid;
use serde_json::Value;

use crate::daemon::request;
use crate::lab::Lab;

/// Longest frame of a lab.
const LONGEST: usize = 2048;

/// A raw socket.
pub(crate) struct Tap {
    socket: OwnedFd,
    /// Ethernet address of its interface.
    pub(crate) mac: [u8; 6],
}

impl Tap {
    /// A socket on `device` in the namespace of `place` that only sends.
    pub(crate) fn sender(lab: &Lab, place: &str, device: &str) -> Tap {
        Tap::open(lab, place, device, None)
    }

    /// One that sees every frame as well, both ways.
    pub(crate) fn listener(lab: &Lab, place: &str, device: &str) -> Tap {
        Tap::open(lab, place, device, Some(SockProtocol::EthAll))
    }

    fn open(lab: &Lab, place: &str, device: &str, protocol: Option<SockProtocol>) -> Tap {
        let namespace = File::open(namespace(lab, place)).unwrap();
        let device = device.to_string();
        // A namespace is a thread's; the socket stays in the one it was made in.
        let thread = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let address = link_address(&device);
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).unwrap();
            bind(socket.as_raw_fd(), &address).unwrap();
            let mac = address.addr().unwrap();
            Tap { socket, mac }
        });
        thread.join().unwrap()
    }

    /// The next frame that was seen, if there is one.
    pub(crate) fn see(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; LONGEST];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(len) => {
                frame.truncate(len);
                Some(frame)
            }
            Err(Errno::EAGAIN) => None,
            Err(error) => panic!("see a frame: {error}"),
        }
    }

    /// Sends all of `frames`.
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        let mut sent = 0;
        while sent < frames.len() {
            match self.send_some(&frames[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::ENOBUFS | Errno::EAGAIN) => thread::yield_now(),
                Err(error) => panic!("send {} bytes: {error}", frames[sent].len()),
            }
        }
    }

    fn send_some(&self, frames: &[Vec<u8>]) -> nix::Result<usize> {
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let nobody: Vec<Option<LinkAddr>> = vec![None; frames.len()];
        let mut headers = MultiHeaders::preallocate(frames.len(), None);
        let no_control: [ControlMessage<'_>; 0] = [];
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            &slices,
            nobody,
            no_control,
            MsgFlags::empty(),
        )?;
        Ok(sent.count())
    }
}

/// The file of the network namespace of a router or host.
fn namespace(lab: &Lab, place: &str) -> String {
    let dir = Path::new(lab.shown["dir"].as_str().unwrap());
    let path = format!("/v1/spaces/{place}");
    let (status, body) = request(&dir.join("lab.sock"), "GET", &path, None);
    assert_eq!(status, 200, "{body}");
    let space: Value = serde_json::from_str(&body).unwrap();
    format!("/proc/{}/task/{}/ns/net", space["pid"], space["tid"])
}

fn link_address(device: &str) -> LinkAddr {
    let mut all = getifaddrs().unwrap();
    let found = all.find_map(|at| {
        let address = at.address.filter(|_| at.interface_name == device)?;
        address.as_link_addr().copied()
    });
    found.unwrap_or_else(|| panic!("thread {} sees no {device}", gettid()))
}

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::netns::{Netns, VethEnd, connect};
use super::state::{self, StateDir};
use crate::probe;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const A_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const B_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// Two namespaces with a veth pair between them.
fn pair() -> (Netns, Netns) {
    pair_at((A, 30), (B, 30))
}

/// The same, with these addresses at its ends.
fn pair_at(first: (IpAddr, u8), second: (IpAddr, u8)) -> (Netns, Netns) {
    let (a, b) = (Netns::new("a").unwrap(), Netns::new("b").unwrap());
    let end = |netns| VethEnd {
        netns,
        device: "eth0",
    };
    connect(end(&a), end(&b)).unwrap();
    for (netns, address) in [(&a, first), (&b, second)] {
        netns.configure("eth0", 1600, Some(address)).unwrap();
        netns.checksum_in_software("eth0").unwrap();
    }
    (a, b)
}

#[test]
fn a_datagram_crosses_a_veth_pair() {
    cross((A, 30), (B, 30));
}

#[test]
fn a_datagram_crosses_it_over_ipv6_at_once() {
    cross((A_IPV6, 64), (B_IPV6, 64));
}

fn cross(first: (IpAddr, u8), second: (IpAddr, u8)) {
    let (a, b) = pair_at(first, second);
    let (first, second) = (first.0, second.0);
    b.route_by(first).unwrap();
    let receiver = b
        .run(move || std::net::UdpSocket::bind((second, 5000)))
        .unwrap()
        .unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let send = move || std::net::UdpSocket::bind((first, 0))?.send_to(&[7; 1500], (second, 5000));
    a.run(send).unwrap().unwrap();
    let mut buffer = [0; 2000];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 1500);
}

#[test]
fn a_namespace_ends_with_its_last_handle() {
    let (a, b) = pair();
    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000").stdout(Stdio::null());
    let mut child = a.spawn(sleeper).unwrap();
    let link = format!("/proc/{}/ns/net", child.id());
    let inside = std::fs::read_link(&link).unwrap();
    assert_ne!(inside, std::fs::read_link("/proc/self/ns/net").unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let tid = a.tid();
    drop((a, b));
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while std::path::Path::new(&format!("/proc/self/task/{tid}")).exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// The arguments of a probe, as the command line gives them.
fn args<T: clap::Args + clap::FromArgMatches>(line: &str) -> T {
    let command = T::augment_args(clap::Command::new("probe").no_binary_name(true));
    T::from_arg_matches(&command.get_matches_from(line.split_whitespace())).unwrap()
}

/// Whether a datagram to port 5004 of the other end is answered by "port unreachable".
fn is_refused() -> bool {
    let socket = std::net::UdpSocket::bind((A, 0)).unwrap();
    socket.connect((B, 5004)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    socket.send(&[]).is_err_and(|error| refused(&error))
        || socket.recv(&mut [0]).is_err_and(|error| refused(&error))
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it never came about");
    }
}

#[test]
fn a_stream_crosses_a_veth_pair_clean() {
    let (a, b) = pair();
    // Nobody listens yet: a refusal proves that link and ARP are there both ways.
    a.run(|| wait_until(is_refused)).unwrap();
    let receiver = std::thread::spawn(move || {
        b.run(|| {
            probe::receive(&args(
                "--listen 10.0.0.2:5004 --expect 2000 --duration 20s --stream 9",
            ))
        })
    });
    let sent = a
        .run(|| {
            wait_until(|| !is_refused());
            probe::stream(&args(
                "--to 10.0.0.2:5004 --rate 20kpps --count 2000 --stream 9",
            ))
        })
        .unwrap()
        .unwrap();
    assert_eq!(sent.sent, 2000);
    let report = receiver.join().unwrap().unwrap().unwrap();
    assert_eq!((report.received, report.missing), (2000, 0));
    assert_eq!((report.duplicate, report.reordered), (0, 0));
    assert!(report.latency_us.p50 < 1_000_000);
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let root = tempfile::tempdir().unwrap();
    let first = StateDir::claim(root.path(), "demo").unwrap();
    let second = StateDir::claim(root.path(), "demo").unwrap();
    assert_eq!((first.name(), second.name()), ("demo", "demo-2"));
    assert_eq!(state::running(root.path()), ["demo", "demo-2"]);
    assert_eq!(
        state::pid(root.path(), "demo"),
        Some(std::process::id().cast_signed())
    );
    drop(first);
    assert!(!state::is_running(root.path(), "demo"));
    assert_eq!(StateDir::claim(root.path(), "demo").unwrap().name(), "demo");
}

#[test]
fn what_a_dead_lab_left_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let alive = StateDir::claim(root.path(), "alive").unwrap();
    let dead = root.path().join("dead");
    std::fs::create_dir_all(dead.join("dpdk")).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    assert_eq!(state::sweep(root.path()), ["dead"]);
    assert!(!dead.exists() && alive.path().exists());
}

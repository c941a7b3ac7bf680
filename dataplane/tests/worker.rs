//! A whole node on real DPDK ports (`net_af_packet` over veth pairs in a network namespace of the test's own). What is
//! beyond its links is the test: neighbors, a source and clients, frame by frame.
//!
//! One node serves all cases, since the EAL starts once in a process. Each case has a session of its own, and the pools
//! must be as before when it is removed. Further processes have two workers, the second one with the sessions: once with
//! a queue for each, once with one for both, so that the first one receives and sends for the other.

// A test in all but the attribute, which would bring threads.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "worker/cases.rs"]
mod cases;
#[path = "worker/families.rs"]
mod families;
#[path = "worker/fan_out.rs"]
mod fan_out;
#[path = "worker/kernel.rs"]
mod kernel;
#[path = "worker/links.rs"]
mod links;
#[path = "worker/namespace.rs"]
mod namespace;
#[path = "worker/station.rs"]
mod station;
#[path = "worker/stream.rs"]
mod stream;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dataplane::{
    ClientConfig, Dataplane, Delivery, Device, EalConfig, Idle, KernelConfig, NeighborConfig,
    NodeConfig, PortAddress, PortConfig, SessionConfig, SessionSnapshot, Snapshot, vdev_for,
};
use overlay::{Mode, SessionId};

use station::Station;

const MTU: u16 = 1600;
/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The node's links: its interface, the station's, and the link's prefix.
const LINKS: [(&str, &str, [u8; 3]); 4] = [
    ("uplink", "parent", [10, 0, 1]),
    ("detour", "other", [10, 0, 2]),
    ("downlink", "child", [10, 0, 3]),
    ("edge", "host", [10, 0, 4]),
];

/// What the kernel has of the port at the edge.
const KERNEL_INTERFACE: &str = "kernel";

/// The node, and the stations at the other ends of its links.
struct Bench {
    node: Dataplane,
    /// Where the parent is.
    parent: Station,
    /// Where the other parent is.
    other: Station,
    /// Where the children `first` and `second` are.
    child: Station,
    /// Where source and clients are.
    host: Station,
}

/// Has the process be one with two workers and as many queues as it says.
const QUEUES: &str = "TREECAST_TEST_QUEUES";
/// Workers of the node, and queues of each port.
static LAYOUT: OnceLock<(usize, usize)> = OnceLock::new();

fn main() {
    let queues = std::env::var(QUEUES).ok();
    let layout = queues.map_or((1, 1), |queues| (2, queues.parse().unwrap()));
    LAYOUT.set(layout).unwrap();
    if layout == (1, 1) {
        for queues in ["1", "2"] {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let status = again.env(QUEUES, queues).status().unwrap();
            assert!(status.success(), "with {queues} queues: {status}");
        }
    }
    namespace::enter_namespace();
    for (near, far, _) in LINKS {
        let pair = format!("link add {near} mtu {MTU} type veth peer name {far} mtu {MTU}");
        namespace::run("ip", &pair);
        for interface in [near, far] {
            // The kernel's own frames (IPv6 neighbor discovery) would mix with the test's.
            namespace::run("ip", &format!("link set {interface} addrgenmode none"));
            namespace::run("ip", &format!("link set {interface} up"));
        }
    }
    let mut bench = bench();
    for setting in ["addrgenmode none", "up"] {
        namespace::run("ip", &format!("link set {KERNEL_INTERFACE} {setting}"));
    }
    for (name, case) in cases::CASES.into_iter().chain(links::CASES) {
        let session = bench.settled();
        case(&mut bench);
        assert_eq!(
            session,
            bench.settled(),
            "{name}: packets kept before and after"
        );
        println!("test {name} {:?} ... ok", LAYOUT.get().unwrap());
    }
    cases::a_node_that_stops_says_so(bench);
    println!("test a_node_that_stops_says_so ... ok");
}

fn workers() -> usize {
    LAYOUT.get().unwrap().0
}

fn queues() -> usize {
    LAYOUT.get().unwrap().1
}

fn bench() -> Bench {
    let ports = LINKS.iter().enumerate();
    let ports = ports.map(|(index, (name, _, [a, b, c]))| PortConfig {
        name: (*name).into(),
        device: Device::Vdev(vdev_for("af_packet", name, index, MTU, queues()).unwrap()),
        addresses: vec![
            PortAddress {
                address: Ipv4Addr::new(*a, *b, *c, 1).into(),
                prefix_len: 24,
            },
            PortAddress {
                address: station::ipv6(*c, 1).into(),
                prefix_len: 64,
            },
        ],
        gateways: Vec::new(),
        mtu: MTU,
        verify_payload: false,
        chain_from: None,
        impairment: None,
        // Where the host is.
        kernel: (*name == "edge").then(|| KernelConfig {
            interface: KERNEL_INTERFACE.into(),
            rate_pps: 500,
        }),
    });
    let neighbors = [
        ("parent", "uplink", IpAddr::from([10, 0, 1, 2])),
        ("other", "detour", IpAddr::from([10, 0, 2, 2])),
        ("first", "downlink", IpAddr::from([10, 0, 3, 2])),
        ("second", "downlink", IpAddr::from([10, 0, 3, 3])),
        ("parent6", "uplink", station::ipv6(1, 2).into()),
        ("first6", "downlink", station::LINK_LOCAL.into()),
    ];
    let neighbors = neighbors.map(|(name, port, address)| NeighborConfig {
        name: name.into(),
        address,
        port: port.into(),
        repair_rate_pps: 50_000,
    });
    let node = Dataplane::start(NodeConfig {
        name: "node".into(),
        idle: Idle::Nap,
        workers: workers(),
        cpus: Vec::new(),
        eal: EalConfig::default(),
        pool_packets: None,
        spare_packets: 20_480,
        max_sessions: 8,
        tree_port: overlay::wire::TREE_PORT,
        overlay_port: overlay::wire::OVERLAY_PORT,
        hello_interval: Duration::from_millis(20),
        hold_down: Duration::from_secs(1),
        // What is asked for once lasts: nobody here renews it.
        detect_mult: 250,
        ports: ports.collect(),
        neighbors: neighbors.to_vec(),
        sessions: Vec::new(),
    });
    let node = node.unwrap();
    let stations = LINKS.map(|(_, name, _)| Station::new(name));
    let [parent, other, child, host] = stations;
    let mut bench = Bench {
        node,
        parent,
        other,
        child,
        host,
    };
    bench.greet();
    bench
}

impl Bench {
    fn stations(&mut self) -> [&mut Station; 4] {
        [
            &mut self.parent,
            &mut self.other,
            &mut self.child,
            &mut self.host,
        ]
    }

    /// Has all neighbors be up from now on: they ask for no more than a hello in ten minutes.
    fn greet(&mut self) {
        let snapshot = self.node.snapshot();
        let ports = snapshot.ports.iter().zip(self.stations());
        for (port, station) in ports {
            station.learn(port);
        }
        for host in [2, 3] {
            self.child.greet(self.child.address(host));
        }
        self.child.greet(station::LINK_LOCAL.into());
        self.parent.greet(self.parent.address(2));
        self.parent.greet(station::ipv6(1, 2).into());
        self.other.greet(self.other.address(2));
        self.until("all neighbors are up", |snapshot| {
            snapshot
                .neighbors
                .iter()
                .all(|neighbor| neighbor.state == "up")
        });
    }

    /// A snapshot of which `holds` is true.
    fn until(&mut self, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for station in self.stations() {
                station.pump();
            }
            let snapshot = self.node.snapshot();
            if holds(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "{what}: {snapshot:#?}");
        }
    }

    /// The numbers of a session of which `holds` is true.
    fn until_session(
        &mut self,
        id: u32,
        what: &str,
        holds: impl Fn(&SessionSnapshot) -> bool,
    ) -> SessionSnapshot {
        let of = |snapshot: &Snapshot| {
            let mut sessions = snapshot.sessions.iter();
            sessions.find(|session| session.session == id).cloned()
        };
        let found = self.until(what, |snapshot| {
            of(snapshot).is_some_and(|said| holds(&said))
        });
        of(&found).unwrap()
    }

    fn drops(&mut self, reason: &str) -> u64 {
        self.node.snapshot().drops[reason]
    }

    /// Packet buffers in use, once nothing is under way.
    fn settled(&mut self) -> u64 {
        let in_use = |snapshot: &Snapshot| snapshot.pools[0].in_use;
        let mut before = u64::MAX;
        loop {
            let snapshot = self.until("nothing is under way", |_| true);
            if in_use(&snapshot) == before {
                return before;
            }
            before = in_use(&snapshot);
        }
    }
}

/// A session with the parent upstream and all else off.
fn session(id: u32) -> SessionConfig {
    SessionConfig {
        id: SessionId(id),
        name: format!("s{id}"),
        group: Ipv4Addr::new(239, 1, 0, id as u8).into(),
        source: Ipv4Addr::new(10, 9, 9, 9).into(),
        ttl: 16,
        upstream: vec!["parent".into()],
        downstream: Vec::new(),
        flow: None,
        delivery: Delivery::Ordered,
        deadline: Duration::from_secs(2),
        retention: Duration::from_secs(10),
        reorder_delay: Duration::from_millis(1),
        max_rate_pps: 100,
        second_upstream: Vec::new(),
        second_downstream: Vec::new(),
        mode: Mode::Pull,
        fec: None,
        subcast_threshold: 0,
        catch_up: Duration::ZERO,
        idle_timeout: Duration::from_secs(600),
        worker: Some(workers() - 1),
        clients: Vec::new(),
    }
}

/// A client at the host.
fn client(port: u16) -> ClientConfig {
    ClientConfig {
        name: format!("c{port}"),
        address: Ipv4Addr::new(10, 0, 4, 2).into(),
        port,
        catch_up: Duration::ZERO,
    }
}

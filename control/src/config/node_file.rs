//! The tables of a node's file, key by key, and the defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dataplane::{
    BurstLoss, ClientConfig, Delivery, Device, EalConfig, Flow, Idle, Impairment, KernelConfig,
    NeighborConfig, NodeConfig, PortConfig, SessionConfig, is_af_packet,
};
use overlay::wire::{FEC_BLOCK_MAX, FEC_PARITY_MAX};
use overlay::{Fec, Mode, SessionId};

use super::table::Table;
use super::{ApiConfig, device, field, repair_rate};

/// Hellos every 10 ms find a dead parent within 30 ms, for 100 small packets per second and neighbor.
const HELLO: Duration = Duration::from_millis(10);
/// RFC 5880's usual multiplier.
const DETECT_MULT: u8 = 3;
/// Far longer than a daemon takes to stumble again after its start, far shorter than an operator's patience.
const HOLD_DOWN: Duration = Duration::from_secs(1);
/// More than any device has queues for that a node of this size needs.
const WORKERS_MAX: usize = 64;
const MAX_SESSIONS: usize = 1024;
const TREE_PORT: u16 = 7451;
const OVERLAY_PORT: u16 = 7452;
const SPARE_PACKETS: usize = 16_384;
const MTU: u16 = 1500;
/// Routing protocols and logins need less; as much of anything else takes some percent of a core.
const KERNEL_RATE_PPS: u32 = 10_000;
const TTL: u8 = 16;
const DEADLINE: Duration = Duration::from_secs(1);
/// Twice the deadline: a neighbor asked at the last moment still has the packet.
const RETENTION: Duration = Duration::from_secs(2);
const REORDER_DELAY: Duration = Duration::from_micros(100);
const MAX_RATE_PPS: u32 = 25_000;
/// An encoder is restarted within minutes; a stream that pauses for longer begins as a new one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Stands where an address could not be read.
const NOWHERE: SocketAddr = SocketAddr::new(NO_ADDRESS, 0);
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);
/// More than a 100 Gbit/s port carries of the smallest packets would be a slip of the unit.
pub(super) const RATE_LIMIT_PPS: u32 = 150_000_000;

/// The whole file.
pub(super) fn node_file(table: &mut Table<'_>) -> (NodeConfig, ApiConfig) {
    let mut node = table.section("node", node);
    node.eal = table.section("eal", eal);
    (node.pool_packets, node.spare_packets) = table.section("memory", memory);
    let api = table.section("api", |table| api(table, &node.name));
    let workers = node.workers;
    node.ports = table.each("port", |table, index| port(table, (index, workers)));
    node.neighbors = table.each("neighbor", |table, _| neighbor(table));
    node.sessions = table.each("session", |table, _| session(table));
    (node, api)
}

fn node(table: &mut Table<'_>) -> NodeConfig {
    let idle = field::choice(&[("spin", Idle::Spin), ("nap", Idle::Nap)]);
    NodeConfig {
        name: table
            .required("name", "\"core\"", field::name)
            .unwrap_or_default(),
        idle: table.or("idle", Idle::Spin, idle),
        workers: table.or("workers", 1, field::integer(1..=WORKERS_MAX)),
        cpus: cpus(table),
        hello_interval: table.or("hello", HELLO, field::duration(MILLISECOND..=MINUTE)),
        hold_down: table.or(
            "hold_down",
            HOLD_DOWN,
            field::duration(Duration::ZERO..=10 * MINUTE),
        ),
        detect_mult: table.or("detect_mult", DETECT_MULT, field::integer(1..=255)),
        max_sessions: table.or("max_sessions", MAX_SESSIONS, field::integer(1..=65_536)),
        tree_port: table.or("tree_port", TREE_PORT, field::integer(1..=65_535)),
        overlay_port: table.or("overlay_port", OVERLAY_PORT, field::integer(1..=65_535)),
        eal: EalConfig::default(),
        pool_packets: None,
        spare_packets: SPARE_PACKETS,
        ports: Vec::new(),
        neighbors: Vec::new(),
        sessions: Vec::new(),
    }
}

/// `cpus` of all workers, or `cpu` of the one that there is.
fn cpus(table: &mut Table<'_>) -> Vec<usize> {
    let cpu = || field::integer(0..=1023);
    let one = table.optional("cpu", cpu());
    let mut all = table.list("cpus", cpu());
    all.extend(one.filter(|_| all.is_empty()));
    all
}

fn eal(table: &mut Table<'_>) -> EalConfig {
    EalConfig {
        hugepages: table.or("hugepages", true, field::flag),
        args: table.list("args", field::text),
    }
}

fn memory(table: &mut Table<'_>) -> (Option<usize>, usize) {
    // DPDK counts a pool's elements in 32 bits.
    let limit = 1 << 31;
    (
        table.optional("packets", field::integer(1..=limit)),
        table.or("spare_packets", SPARE_PACKETS, field::integer(0..=limit)),
    )
}

fn api(table: &mut Table<'_>, node: &str) -> ApiConfig {
    let default = PathBuf::from(format!("/run/treecast/{node}.sock"));
    ApiConfig {
        socket: table.or("socket", default, field::socket_path),
        listen: table.optional("listen", field::listen_address),
    }
}

fn port(table: &mut Table<'_>, place: (usize, usize)) -> PortConfig {
    // From what IPv4 demands of every link to a jumbo frame.
    let mtu = table.or("mtu", MTU, field::integer(68..=9_600));
    let addresses = field::one_or_more(field::address_and_prefix);
    let addresses = table.required("address", "\"10.0.1.2/30\"", addresses);
    let gateways = table.optional("gateway", field::one_or_more(field::address));
    let name = table
        .required("name", "\"up\"", field::name)
        .unwrap_or_default();
    let device = table
        .required("device", "\"pci:0000:8a:00.0\"", |value| {
            device::device(value, place, mtu)
        })
        .unwrap_or_else(|| Device::Vdev(String::new()));
    // Beside what a packet socket costs, it is little.
    let verify_payload = is_af_packet(&device);
    PortConfig {
        kernel: kernel(table, &name),
        name,
        device,
        addresses: addresses.unwrap_or_default(),
        gateways: gateways.unwrap_or_default(),
        mtu,
        verify_payload: table.or("verify_payload", verify_payload, field::flag),
        chain_from: table.optional("chain_from", field::integer(0..=9_600)),
        impairment: table.nested("impair", impairment),
    }
}

fn kernel(table: &mut Table<'_>, port: &str) -> Option<KernelConfig> {
    let rates = field::packet_rate(1..=RATE_LIMIT_PPS);
    let rate_pps = table.or("kernel_rate", KERNEL_RATE_PPS, rates);
    let interface = table.or("kernel", None, field::kernel_interface(port))?;
    Some(KernelConfig {
        interface,
        rate_pps,
    })
}

/// What an `impair` table says.
pub(super) fn impairment(table: &mut Table<'_>) -> Impairment {
    let longest = Duration::from_secs(10);
    Impairment {
        seed: table.or("seed", 0, field::integer(0..=u64::MAX)),
        loss: table.or("loss", 0.0, field::percent),
        burst_loss: table.nested("burst_loss", burst_loss),
        delay: table.or(
            "delay",
            Duration::ZERO,
            field::duration(Duration::ZERO..=longest),
        ),
        jitter: table.or(
            "jitter",
            Duration::ZERO,
            field::duration(Duration::ZERO..=longest),
        ),
        reorder: table.or("reorder", 0.0, field::percent),
        duplicate: table.or("duplicate", 0.0, field::percent),
        rate_bps: table.optional("rate", field::bit_rate(1_000..=1_000_000_000_000)),
    }
}

fn burst_loss(table: &mut Table<'_>) -> BurstLoss {
    BurstLoss {
        loss: table
            .required("loss", "\"1%\"", field::percent)
            .unwrap_or_default(),
        mean_len: table
            .required("mean", "50", field::at_least_one)
            .unwrap_or(1.0),
    }
}

fn neighbor(table: &mut Table<'_>) -> NeighborConfig {
    let rates = field::packet_rate(1..=RATE_LIMIT_PPS);
    NeighborConfig {
        name: table
            .required("name", "\"ing\"", field::name)
            .unwrap_or_default(),
        address: table
            .required("address", "\"10.0.1.1\"", field::address)
            .unwrap_or(NO_ADDRESS),
        port: table
            .required("port", "\"up\"", field::name)
            .unwrap_or_default(),
        repair_rate_pps: table.or("repair_rate", repair_rate::UNSET_PPS, rates),
    }
}

/// What a `[[session]]` says.
pub(super) fn session(table: &mut Table<'_>) -> SessionConfig {
    let id = table.required("id", "1", field::integer(1..=u32::MAX));
    let times = || field::duration(MILLISECOND..=10 * MINUTE);
    let reorder_delays = field::duration(Duration::ZERO..=SECOND);
    SessionConfig {
        id: SessionId(id.unwrap_or_default()),
        name: table
            .required("name", "\"tv1\"", field::name)
            .unwrap_or_default(),
        group: table
            .required("group", "\"239.1.0.1\"", field::address)
            .unwrap_or(NO_ADDRESS),
        source: table
            .required("source", "\"10.0.1.1\"", field::address)
            .unwrap_or(NO_ADDRESS),
        ttl: table.or("ttl", TTL, field::integer(1..=255)),
        upstream: table.list("upstream", field::name),
        downstream: table.list("downstream", field::name),
        second_upstream: table.list("second_upstream", field::name),
        second_downstream: table.list("second_downstream", field::name),
        flow: table.nested("match", flow),
        delivery: table.or("delivery", Delivery::Ordered, field::choice(&DELIVERIES)),
        deadline: table.or("deadline", DEADLINE, times()),
        retention: table.or("retention", RETENTION, times()),
        reorder_delay: table.or("reorder_delay", REORDER_DELAY, reorder_delays),
        max_rate_pps: table.or(
            "max_rate",
            MAX_RATE_PPS,
            field::packet_rate(1..=RATE_LIMIT_PPS),
        ),
        mode: table.or("overlay", Mode::Pull, field::choice(&MODES)),
        fec: table.nested("fec", fec),
        subcast_threshold: table.or("subcast_threshold", 0, field::integer(0..=64)),
        catch_up: catch_up(table),
        idle_timeout: table.or(
            "idle_timeout",
            IDLE_TIMEOUT,
            field::duration(IDLE_TIMEOUT_MIN..=24 * 60 * MINUTE),
        ),
        worker: table.optional("worker", field::integer(0..=WORKERS_MAX - 1)),
        clients: table.each("client", |table, _| client(table)),
    }
}

/// Four of the longest heartbeats: a source that pauses is not gone.
const IDLE_TIMEOUT_MIN: Duration = SECOND;

static MODES: [(&str, Mode); 3] = [
    ("pull", Mode::Pull),
    ("copy", Mode::Copy),
    ("auto", Mode::Auto),
];

fn fec(table: &mut Table<'_>) -> Fec {
    let blocks = field::integer(1..=FEC_BLOCK_MAX);
    let parities = field::integer(1..=FEC_PARITY_MAX);
    Fec {
        block: table.required("block", "32", blocks).unwrap_or(1),
        parity: table.required("parity", "2", parities).unwrap_or(1),
    }
}

/// How much history: none unless it is asked for.
fn catch_up(table: &mut Table<'_>) -> Duration {
    let spans = field::duration(Duration::ZERO..=10 * MINUTE);
    table.or("catch_up", Duration::ZERO, spans)
}

static DELIVERIES: [(&str, Delivery); 2] = [
    ("ordered", Delivery::Ordered),
    ("immediate", Delivery::Immediate),
];

fn flow(table: &mut Table<'_>) -> Flow {
    let destination = table
        .required("destination", "\"198.51.100.1:5004\"", field::endpoint)
        .unwrap_or(NOWHERE);
    Flow {
        destination: destination.ip(),
        port: destination.port(),
        source: table.optional("source", field::address),
    }
}

/// What a `[[session.client]]` says.
pub(super) fn client(table: &mut Table<'_>) -> ClientConfig {
    let address = table
        .required("address", "\"10.9.1.2:5004\"", field::endpoint)
        .unwrap_or(NOWHERE);
    ClientConfig {
        name: table
            .required("name", "\"c1\"", field::name)
            .unwrap_or_default(),
        address: address.ip(),
        port: address.port(),
        catch_up: catch_up(table),
    }
}

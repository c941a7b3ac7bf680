//! What a node is told to be: plain values, already checked by the control plane.

mod port_address;

use std::net::IpAddr;
use std::time::Duration;

use overlay::{Fec, Mode, SessionId};

pub use port_address::PortAddress;

/// A whole node, as [`crate::Dataplane::start`] takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// Name of the node, for logs and thread names.
    pub name: String,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Workers, at least one: threads that share the sessions among them.
    pub workers: usize,
    /// The CPU that each worker is pinned to, in order; where there is none the choice is the kernel's.
    pub cpus: Vec<usize>,
    /// The environment abstraction layer's settings.
    pub eal: EalConfig,
    /// Size of the packet pool in packets; `None` computes it from ports and sessions.
    pub pool_packets: Option<usize>,
    /// Room for packets of sessions that are added at run time, in packets, beside what the formula gives.
    pub spare_packets: usize,
    /// Most sessions the node will ever hold at once.
    pub max_sessions: usize,
    /// UDP destination port of the tree.
    pub tree_port: u16,
    /// UDP destination port of the overlay.
    pub overlay_port: u16,
    /// How often hellos go to each neighbor.
    pub hello_interval: Duration,
    /// How long a parent that came back must stay up before it is parent again.
    pub hold_down: Duration,
    /// How many silent intervals mean that a neighbor is down.
    pub detect_mult: u8,
    /// The ports, in the order in which they are opened.
    pub ports: Vec<PortConfig>,
    /// The overlay neighbors.
    pub neighbors: Vec<NeighborConfig>,
    /// The sessions to begin with.
    pub sessions: Vec<SessionConfig>,
}

/// What a worker does when a turn of its loop found nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll on: lowest latency, a whole core.
    Spin,
    /// Sleep a little, longer the longer nothing comes: for labs, where many nodes share a core.
    Nap,
}

/// Settings of DPDK's environment abstraction layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalConfig {
    /// Use hugepages (`--in-memory`) instead of ordinary memory (`--no-huge`).
    pub hugepages: bool,
    /// Further arguments, passed on as they are.
    pub args: Vec<String>,
}

/// How a port's device is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A PCI device bound to a DPDK driver, by address: `pci:0000:8a:00.0`.
    Pci(String),
    /// A virtual device: DPDK's `--vdev` string, such as `net_af_packet0,iface=eth1`.
    Vdev(String),
}

/// One port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortConfig {
    /// Name that everything else refers to.
    pub name: String,
    /// The device behind it.
    pub device: Device,
    /// The node's own addresses on it: one IPv4, one IPv6, or both.
    pub addresses: Vec<PortAddress>,
    /// Next hops for clients that are not on link, one of a family at most.
    pub gateways: Vec<IpAddr>,
    /// Largest IP packet the link takes, in bytes.
    pub mtu: u16,
    /// Whether UDP checksums are verified over payloads too, not over headers alone: for links without a frame check
    /// sequence.
    pub verify_payload: bool,
    /// Shortest payload that is chained to a header rather than copied behind it, in bytes; measured at start if `None`.
    pub chain_from: Option<u16>,
    /// What to do to packets on their way in, for labs.
    pub impairment: Option<Impairment>,
    /// The kernel interface that gets what is not for the node; `None` for none.
    pub kernel: Option<KernelConfig>,
}

/// The kernel exception path of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Name of the TAP interface, 15 bytes at most.
    pub interface: String,
    /// Most frames per second: of those for the port's own Ethernet address, of those for groups and everybody, and of
    /// those from the kernel, each.
    pub rate_pps: u32,
}

impl PortConfig {
    /// Its address of the family of `other`.
    #[must_use]
    pub fn address_like(&self, other: IpAddr) -> Option<&PortAddress> {
        let addresses = &mut self.addresses.iter();
        addresses.find(|own| own.address.is_ipv4() == other.is_ipv4())
    }

    /// Its gateway of the family of `other`.
    #[must_use]
    pub fn gateway_like(&self, other: IpAddr) -> Option<IpAddr> {
        let gateways = &mut self.gateways.iter();
        gateways
            .find(|gateway| gateway.is_ipv4() == other.is_ipv4())
            .copied()
    }

    /// Whether the address is on the port's link: in one of its prefixes or, where it speaks IPv6, link-local.
    #[must_use]
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        let own = self.address_like(address);
        own.is_some_and(|own| own.has_on_link(address) || is_link_local(address))
    }
}

/// Whether an address is good on one link alone: one of `fe80::/10` (RFC 4291 §2.5.6).
#[must_use]
pub const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// What happens to the packets that a port receives, in a lab. Probabilities run from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Seed of the port's random numbers: the same seed and packets, the same fate.
    pub seed: u64,
    /// Share of packets lost, each for itself.
    pub loss: f64,
    /// Burst loss; on top of `loss`.
    pub burst_loss: Option<BurstLoss>,
    /// Time that every packet is held.
    pub delay: Duration,
    /// Further time, uniform from zero to this, for each packet by itself; keeps the order unless `reorder`.
    pub jitter: Duration,
    /// Share of packets that overtake those before them: they skip `delay` and `jitter`, or, where neither is set, are
    /// held back by `REORDER_HOLD`.
    pub reorder: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// Rate limit, in bits of Ethernet frames per second, with a queue of 100 ms; `None` for none.
    pub rate_bps: Option<u64>,
}

/// A two-state loss model (Gilbert): good packets pass, bad ones are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// Share of packets lost over time, 0 to 1.
    pub loss: f64,
    /// Mean length of a burst of losses, in packets, at least 1.
    pub mean_len: f64,
}

/// One overlay neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Name that sessions refer to.
    pub name: String,
    /// Its address, on link on `port`; of its family are the packets that go to it.
    pub address: IpAddr,
    /// Name of the port it is reached through.
    pub port: String,
    /// Most repairs sent to it per second.
    pub repair_rate_pps: u32,
}

/// One session, as this node takes part in it. The role follows from what is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Number, the same on every node of the tree.
    pub id: SessionId,
    /// Name for people.
    pub name: String,
    /// Multicast address of the tree; of its family are the outer packets.
    pub group: IpAddr,
    /// Address of the ingress: the source of the outer packets, S of (S,G). Of the family of `group`.
    pub source: IpAddr,
    /// TTL of the outer packets that the ingress sends.
    pub ttl: u8,
    /// Names of the neighbors towards the root: the parent, then its backups in order of preference. Empty: ingress.
    pub upstream: Vec<String>,
    /// Names of the neighbors that always get this session's tree.
    pub downstream: Vec<String>,
    /// Which unicast packets belong to the session; set at the ingress only.
    pub flow: Option<Flow>,
    /// Whether clients get packets in order.
    pub delivery: Delivery,
    /// How long a gap may stay open.
    pub deadline: Duration,
    /// How long packets are kept to answer NAKs.
    pub retention: Duration,
    /// How long a gap waits for a late packet before it is asked for.
    pub reorder_delay: Duration,
    /// Packets per second that windows and pools are sized for. Deliveries are paced: by this rate, and two more for each
    /// packet of the tree.
    pub max_rate_pps: u32,
    /// Names of the neighbors that the second tree comes from; empty where there is none.
    pub second_upstream: Vec<String>,
    /// Names of the neighbors that get the second tree.
    pub second_downstream: Vec<String>,
    /// What fills gaps before anybody asks.
    pub mode: Mode,
    /// Parity packets down the tree; at all nodes of the session alike.
    pub fec: Option<Fec>,
    /// Children that must have asked for a packet before it goes down the tree once more; 0 for half of them.
    pub subcast_threshold: u8,
    /// How much history this node fetches and delivers when it joins.
    pub catch_up: Duration,
    /// Silence of the ingress after which all state of its stream goes.
    pub idle_timeout: Duration,
    /// The worker that has the session; `None` for the one with the least to do when it is added.
    pub worker: Option<usize>,
    /// The clients served here.
    pub clients: Vec<ClientConfig>,
}

/// The unicast packets that make up a session: UDP to one address and port, from one source or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Destination address.
    pub destination: IpAddr,
    /// Destination UDP port.
    pub port: u16,
    /// Source address, of the family of `destination`; `None` for any.
    pub source: Option<IpAddr>,
}

/// How a last hop passes a session on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Hold what follows a gap until the gap is filled or given up.
    Ordered,
    /// Pass each packet on as it comes.
    Immediate,
}

/// One client of a session at this last hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name, unique in its session.
    pub name: String,
    /// Where its copies go: an address of the family of the session's flow.
    pub address: IpAddr,
    /// UDP port they go to.
    pub port: u16,
    /// How much history it gets when it is added.
    pub catch_up: Duration,
}

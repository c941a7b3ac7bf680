//! The node that a workload needs.

use std::net::Ipv4Addr;
use std::time::Duration;

use overlay::{Mode, SessionId};

use super::frames::{Generator, INGRESS, destination, destination_port, group};
use super::{Role, Wire, Workload};
use crate::config::{
    ClientConfig, Delivery, Device, EalConfig, Flow, Idle, NeighborConfig, NodeConfig, PortAddress,
    PortConfig, SessionConfig,
};
use crate::encap::OVERHEAD;
use crate::frame::PortIndex;
use crate::sizing::held_max;

/// Longer than any measurement: hellos are not what is measured.
const HELLO: Duration = Duration::from_secs(600);
/// Buffers under way, at the least: rings, bursts, caches.
const UNDER_WAY: usize = 8192;

/// Repairs a second that a neighbor may have: more than there can be.
const REPAIR_RATE_PPS: u32 = u32::MAX;

/// The node's address on a port.
pub(super) const fn address(port: PortIndex) -> Ipv4Addr {
    Ipv4Addr::new(10, port.0 as u8 + 1, 0, 1)
}

/// The neighbor, or gateway, beyond a port.
pub(super) const fn beyond(port: PortIndex) -> Ipv4Addr {
    Ipv4Addr::new(10, port.0 as u8 + 1, 0, 2)
}

/// A node with the port `in` and others out, its workers pinned to `cpus`.
pub(super) fn node(workload: &Workload, cpus: &[usize]) -> NodeConfig {
    let workers = usize::from(workload.workers);
    let sessions: Vec<_> = (0..workload.sessions * u32::from(workload.workers))
        .map(|index| session(workload, index))
        .collect();
    let kept: usize = sessions.iter().map(held_max).sum();
    let ports = 0..=workload.role.branches();
    let neighbors = ports.clone().map(|place| NeighborConfig {
        name: name(place),
        address: beyond(PortIndex(place)).into(),
        port: name(place),
        repair_rate_pps: REPAIR_RATE_PPS,
    });
    NodeConfig {
        name: "bench".into(),
        idle: Idle::Spin,
        workers,
        cpus: cpus.to_vec(),
        eal: EalConfig::default(),
        pool_packets: Some(kept + UNDER_WAY * workers),
        spare_packets: 0,
        max_sessions: sessions.len(),
        tree_port: overlay::wire::TREE_PORT,
        overlay_port: overlay::wire::OVERLAY_PORT,
        hello_interval: HELLO,
        hold_down: HELLO,
        detect_mult: 3,
        neighbors: neighbors.collect(),
        ports: ports.map(|place| port(workload, place)).collect(),
        sessions,
    }
}

/// `in`, `out`, `out2` …
fn name(port: u16) -> String {
    match port {
        0 => "in".into(),
        1 => "out".into(),
        other => format!("out{other}"),
    }
}

fn port(workload: &Workload, place: u16) -> PortConfig {
    let is_ring = workload.wire == Wire::Ring || place == 0 && workload.is_fed_by_ring();
    let device = match place {
        _ if is_ring => format!("net_ring_bench{place}"),
        0 => {
            let len = Generator::frame_len(workload.role, workload.size);
            format!("net_null0,size={len}")
        }
        _ => format!("net_null{place},no-rx=1"),
    };
    PortConfig {
        name: name(place),
        device: Device::Vdev(device),
        addresses: vec![PortAddress {
            address: address(PortIndex(place)).into(),
            prefix_len: 16,
        }],
        gateways: if place == 1 {
            vec![beyond(PortIndex(place)).into()]
        } else {
            Vec::new()
        },
        mtu: workload.size + OVERHEAD as u16,
        verify_payload: false,
        chain_from: None,
        impairment: None,
        kernel: None,
    }
}

fn session(workload: &Workload, index: u32) -> SessionConfig {
    let (is_ingress, clients) = match workload.role {
        Role::Ingress | Role::Parent { .. } => (true, 0),
        Role::Transit { .. } => (false, 0),
        Role::LastHop { clients, .. } => (false, clients),
    };
    let branches = (1..=workload.role.branches()).filter(|_| clients == 0);
    // A parent that nothing comes to keeps what it has.
    let (retention_s, max_rate_pps) = match workload.role {
        Role::Parent { .. } => (workload.held, 1),
        _ => (1, workload.held),
    };
    SessionConfig {
        id: SessionId(index + 1),
        name: format!("s{index}"),
        group: group(index).into(),
        source: INGRESS.into(),
        ttl: 16,
        upstream: (!is_ingress).then(|| name(0)).into_iter().collect(),
        downstream: branches.map(name).collect(),
        flow: is_ingress.then(|| Flow {
            destination: destination(index).into(),
            port: destination_port(),
            source: None,
        }),
        delivery: Delivery::Ordered,
        deadline: Duration::from_secs(1),
        retention: Duration::from_secs(retention_s.into()),
        reorder_delay: Duration::from_micros(100),
        max_rate_pps,
        second_upstream: Vec::new(),
        second_downstream: Vec::new(),
        mode: Mode::Pull,
        fec: None,
        subcast_threshold: 0,
        catch_up: Duration::ZERO,
        idle_timeout: HELLO,
        worker: Some(index as usize % usize::from(workload.workers)),
        clients: (0..clients).map(client).collect(),
    }
}

/// Clients are beyond the gateway, as behind an aggregation router: one next hop, an address each.
fn client(index: u16) -> ClientConfig {
    let [high, low] = index.to_be_bytes();
    ClientConfig {
        name: format!("c{index}"),
        address: Ipv4Addr::new(10, 200, high, low).into(),
        port: 5004,
        catch_up: Duration::ZERO,
    }
}

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
use crate::sizing::held_max;

/// Longer than any measurement: hellos are not what is measured.
const HELLO: Duration = Duration::from_secs(600);
/// Buffers under way, at the least: rings, bursts, caches.
const UNDER_WAY: usize = 8192;

/// The neighbor beyond `in`, and the neighbor or gateway beyond `out`.
pub(super) const BEYOND: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 2, 0, 2)];

/// A node with the ports `in` and `out`, its worker pinned to `cpu`.
pub(super) fn node(workload: &Workload, cpu: Option<usize>) -> NodeConfig {
    let sessions: Vec<_> = (0..workload.sessions)
        .map(|index| session(workload, index))
        .collect();
    let kept: usize = sessions.iter().map(held_max).sum();
    let neighbor = |name: &str, place: usize| NeighborConfig {
        name: name.into(),
        address: BEYOND[place].into(),
        port: name.into(),
        repair_rate_pps: 50_000,
    };
    NodeConfig {
        name: "bench".into(),
        idle: Idle::Spin,
        cpu,
        eal: EalConfig::default(),
        pool_packets: Some(kept + UNDER_WAY),
        spare_packets: 0,
        max_sessions: sessions.len(),
        tree_port: overlay::wire::TREE_PORT,
        overlay_port: overlay::wire::OVERLAY_PORT,
        hello_interval: HELLO,
        hold_down: HELLO,
        detect_mult: 3,
        ports: vec![port(workload, 0), port(workload, 1)],
        neighbors: vec![neighbor("in", 0), neighbor("out", 1)],
        sessions,
    }
}

fn port(workload: &Workload, place: usize) -> PortConfig {
    let is_fed_by_ring = place == 0 && workload.clients > 1;
    let device = match workload.wire {
        Wire::Null if place == 1 => "net_null1,no-rx=1".into(),
        Wire::Null if !is_fed_by_ring => {
            let len = Generator::frame_len(workload.role, workload.size);
            format!("net_null0,size={len}")
        }
        Wire::Null | Wire::Ring => format!("net_ring_bench{place}"),
    };
    let network = [10, place as u8 + 1, 0, 1];
    PortConfig {
        name: ["in", "out"][place].into(),
        device: Device::Vdev(device),
        addresses: vec![PortAddress {
            address: network.into(),
            prefix_len: 16,
        }],
        gateways: if place == 1 {
            vec![BEYOND[1].into()]
        } else {
            Vec::new()
        },
        mtu: workload.size + OVERHEAD as u16,
        impairment: None,
    }
}

fn session(workload: &Workload, index: u32) -> SessionConfig {
    let role = workload.role;
    let names = |is: bool, name: &str| if is { vec![name.into()] } else { Vec::new() };
    let clients = if role == Role::LastHop {
        workload.clients
    } else {
        0
    };
    SessionConfig {
        id: SessionId(index + 1),
        name: format!("s{index}"),
        group: group(index).into(),
        source: INGRESS.into(),
        ttl: 16,
        upstream: names(role != Role::Ingress, "in"),
        downstream: names(role != Role::LastHop, "out"),
        flow: (role == Role::Ingress).then(|| Flow {
            destination: destination(index).into(),
            port: destination_port(),
            source: None,
        }),
        delivery: Delivery::Ordered,
        deadline: Duration::from_secs(1),
        retention: Duration::from_secs(1),
        reorder_delay: Duration::from_micros(100),
        max_rate_pps: workload.held,
        second_upstream: Vec::new(),
        second_downstream: Vec::new(),
        mode: Mode::Pull,
        fec: None,
        subcast_threshold: 0,
        catch_up: Duration::ZERO,
        idle_timeout: HELLO,
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

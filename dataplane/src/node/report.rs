//! Snapshots: the names before the worker fills in its numbers, and the words after.

use crossbeam::channel::Sender;
use overlay::{Mode, NeighborId};

use super::model::{Known, Model};
use crate::config::{Device, NeighborConfig, SessionConfig};
use crate::drops::DropCounters;
use crate::port::Port;
use crate::snapshot::{
    ClientSnapshot, KernelSnapshot, NeighborSnapshot, PoolSnapshot, PortSnapshot, SessionSnapshot,
    Snapshot, StageSnapshot, WorkerSnapshot,
};
use crate::worker::{Report, Stage, StageCounts, WorkerId};

impl Model {
    /// A snapshot with all its names, to be filled in by the worker.
    pub(super) fn report(&self, ports: &[Port], to: Sender<Box<Report>>) -> Box<Report> {
        let (neighbors, ids): (Vec<NeighborSnapshot>, Vec<NeighborId>) = self
            .neighbors()
            .map(|(neighbor, id)| (neighbor_names(neighbor), id))
            .unzip();
        let sessions: Vec<SessionSnapshot> = self.sessions().map(session_names).collect();
        let pools = ["packets", "headers"];
        let snapshot = Snapshot {
            ports: ports
                .iter()
                .enumerate()
                .map(|(place, port)| self.port_names(place, port))
                .collect(),
            workers: (0..self.config().workers)
                .map(|worker| WorkerSnapshot {
                    worker,
                    cpu: self.config().cpus.get(worker).copied(),
                    ..WorkerSnapshot::default()
                })
                .collect(),
            neighbors,
            pools: pools
                .map(|name| PoolSnapshot {
                    name,
                    ..Default::default()
                })
                .into(),
            sessions,
            drops: Default::default(),
        };
        Box::new(Report {
            macs: vec![None; ids.len()],
            parents: vec![None; snapshot.sessions.len()],
            neighbors: ids,
            drops: DropCounters::new(),
            worker: WorkerId::FIRST,
            stashed: [0; 2],
            filled: 0,
            snapshot: Box::new(snapshot),
            to,
        })
    }

    /// Puts what the worker said in numbers into words.
    pub(super) fn finish(&self, report: Box<Report>) -> Snapshot {
        let report = *report;
        let mut snapshot = *report.snapshot;
        for (neighbor, mac) in snapshot.neighbors.iter_mut().zip(report.macs) {
            neighbor.mac = mac.map(|mac| mac.to_string());
        }
        for (session, parent) in snapshot.sessions.iter_mut().zip(report.parents) {
            session.parent = parent.and_then(|id| self.neighbor_name(id));
        }
        snapshot.drops = report
            .drops
            .iter()
            .map(|(reason, count)| (reason.name(), count))
            .collect();
        snapshot
    }

    fn port_names(&self, place: usize, port: &Port) -> PortSnapshot {
        let Some(config) = self.config().ports.get(place) else {
            return PortSnapshot::default();
        };
        let (link, stats) = (self.link(place), port.stats());
        let addresses = config.addresses.iter().map(ToString::to_string);
        let addresses: Vec<String> = addresses.collect();
        PortSnapshot {
            name: config.name.clone(),
            device: match &config.device {
                Device::Pci(device) | Device::Vdev(device) => device.clone(),
            },
            driver: port.driver().into(),
            mac: crate::frame::Mac(port.mac()).to_string(),
            address: addresses.join(", "),
            link_up: link.up,
            downs: self.downs(place),
            mtu: link.mtu,
            configured_mtu: config.mtu,
            kernel: config.kernel.as_ref().map(|kernel| KernelSnapshot {
                interface: kernel.interface.clone(),
                ..KernelSnapshot::default()
            }),
            rx_missed: stats.rx_missed,
            rx_nombuf: stats.rx_nombuf,
            ..PortSnapshot::default()
        }
    }
}

/// What a worker has counted of its stages, in words.
pub(super) fn stages(worker: usize, counts: &StageCounts) -> Vec<StageSnapshot> {
    let all = counts
        .iter()
        .map(|count| count.busy_cycles + count.empty_cycles);
    let all: u64 = all.sum();
    let stages = Stage::ALL.iter().zip(counts);
    let stages = stages.map(|(stage, count)| {
        let cycles = count.busy_cycles + count.empty_cycles;
        StageSnapshot {
            worker,
            stage: stage.name(),
            calls: count.busy_calls + count.empty_calls,
            busy_calls: count.busy_calls,
            packets: count.packets,
            cycles,
            busy_cycles: count.busy_cycles,
            share: cycles as f64 / all.max(1) as f64,
        }
    });
    stages.collect()
}

fn neighbor_names(neighbor: &NeighborConfig) -> NeighborSnapshot {
    NeighborSnapshot {
        name: neighbor.name.clone(),
        address: neighbor.address.to_string(),
        port: neighbor.port.clone(),
        repair_rate_pps: neighbor.repair_rate_pps,
        ..NeighborSnapshot::default()
    }
}

fn session_names(known: &Known) -> SessionSnapshot {
    let config = &known.config;
    let clients = known.clients.iter().map(|(_, client)| ClientSnapshot {
        client: client.name.clone(),
        address: client.address.to_string(),
        port: client.port,
        ..ClientSnapshot::default()
    });
    SessionSnapshot {
        session: config.id.0,
        name: config.name.clone(),
        group: config.group.to_string(),
        source: config.source.to_string(),
        roles: roles(config),
        mode: match config.mode {
            Mode::Pull => "pull",
            Mode::Copy => "copy",
            Mode::Auto => "auto",
        },
        clients: clients.collect(),
        ..SessionSnapshot::default()
    }
}

/// The roles that follow from a session's place in the tree.
fn roles(config: &SessionConfig) -> Vec<&'static str> {
    let ingress = config.upstream.is_empty().then_some("ingress");
    let last_hop = (!config.clients.is_empty()).then_some("last_hop");
    let transit =
        !config.upstream.is_empty() && (!config.downstream.is_empty() || last_hop.is_none());
    ingress
        .into_iter()
        .chain(transit.then_some("transit"))
        .chain(last_hop)
        .collect()
}

//! Starting a node: EAL, pools, ports, worker.

use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Sender, bounded};
use crossbeam::queue::ArrayQueue;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use overlay::{Epoch, Node};
use thiserror::Error;

use super::model::Model;
use super::{CommandError, Dataplane};
use crate::config::{Device, KernelConfig, NodeConfig, PortConfig};
use crate::device::data_room;
use crate::eal::{Eal, EalError};
use crate::encap::MAX_HEADERS;
use crate::kernel::Kernel;
use crate::next_hop::NextHops;
use crate::pool::{HEADROOM, Pool, PoolError, memory_mb};
use crate::port::{Port, PortError};
use crate::sizing::{headers_needed, packets_needed};
use crate::worker::{
    Clock, Command, EventQueue, Idler, KernelPort, Parts, Pools, Reply, RoutePort, Worker,
    WorkerPort,
};

/// Most adjacencies of a node: what a 16-bit number tells apart.
const NEIGHBORS_MAX: usize = u16::MAX as usize;
/// Commands that may wait for the worker.
const COMMANDS: usize = 64;
/// Events kept for a control plane that does not fetch them.
const EVENTS: usize = 256;
/// Room for headers: Ethernet, outer IP and UDP, treecast, inner IP with options, inner UDP (134 bytes), or a small
/// frame of the protocol, in whole cache lines.
const HEADER_ROOM: u16 = 192;
const _: () = assert!(HEADER_ROOM as usize >= MAX_HEADERS);
/// What an epoch counts: a node or session that begins anew half a second later has another one, and a clock that is
/// off by hours still tells older from newer.
const EPOCH_UNIT_MS: u128 = 500;

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// DPDK did not start.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// There was no memory for the buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A port could not be opened.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A neighbor or session of the configuration could not be set up.
    #[error(transparent)]
    Config(#[from] CommandError),
    /// A kernel interface could not be made.
    #[error("port {port}: making the kernel interface {interface} failed: {source}")]
    Kernel {
        /// Name of the port.
        port: String,
        /// Name of the interface.
        interface: String,
        /// Why.
        source: std::io::Error,
    },
    /// The worker's thread could not be started.
    #[error("the worker's thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// This life of the node or of a session on it.
pub(super) fn epoch_now() -> Epoch {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Epoch((since_1970.as_millis() / EPOCH_UNIT_MS) as u16)
}

pub(super) fn start(config: NodeConfig) -> Result<Dataplane, StartError> {
    let Built {
        worker,
        model,
        ports,
        commands,
        events,
        kernel,
        eal,
    } = build(&config)?;
    let kernel = kernel.start()?;
    let worker = spawn(worker, &config, eal)?;
    Ok(Dataplane {
        model: model.into(),
        ports,
        commands,
        events,
        worker: Some(worker),
        is_drained: false,
        _kernel: kernel,
        looking: Mutex::default(),
    })
}

/// A node whose worker has no thread yet.
pub(crate) struct Built {
    pub(crate) worker: Worker,
    pub(super) model: Model,
    pub(crate) ports: Vec<Port>,
    pub(crate) commands: Sender<Command>,
    pub(super) events: EventQueue,
    pub(super) kernel: Kernel,
    pub(crate) eal: Eal,
}

/// Starts the EAL, opens the ports and makes the worker, with the neighbors and sessions of the configuration.
pub(crate) fn build(config: &NodeConfig) -> Result<Built, StartError> {
    let packets = config
        .pool_packets
        .unwrap_or_else(|| packets_needed(config));
    let headers = headers_needed(config);
    let rooms = config
        .ports
        .iter()
        .map(|port| data_room(&port.device, port.mtu));
    let room = rooms.max().unwrap_or(HEADROOM);
    let header_room = HEADROOM + HEADER_ROOM;
    let memory = memory_mb(&[(packets, room), (headers, header_room)]);
    let devices: Vec<Device> = config
        .ports
        .iter()
        .map(|port| port.device.clone())
        .collect();
    let eal = Eal::start(&config.eal, &config.name, &devices, memory)?;
    let pools = Pools {
        packets: Pool::new(&eal, "packets", packets, room)?,
        headers: Pool::new(&eal, "headers", headers, header_room)?,
        exhausted: [0; 2],
    };
    let mut ports = Vec::new();
    let mut worker_ports = Vec::new();
    let udp_ports = [config.tree_port, config.overlay_port];
    let mut kernel = Kernel::new()?;
    for port in &config.ports {
        let (opened, rx, tx) = Port::open(&port.name, &port.device, port.mtu, &pools.packets)?;
        let mut worker_port = WorkerPort::new(port, udp_ports, &opened, (rx, tx));
        worker_port.kernel = open_kernel_port(&mut kernel, port, &worker_port)?;
        worker_ports.push(worker_port);
        ports.push(opened);
    }
    let (commands, for_worker) = bounded(COMMANDS);
    let events = Arc::new(ArrayQueue::new(EVENTS));
    let clock = Clock::new();
    let node = overlay::NodeConfig {
        epoch: epoch_now(),
        hello_interval: config.hello_interval,
        hold_down: config.hold_down,
        max_neighbors: NEIGHBORS_MAX.min(config.neighbors.len() + config.max_sessions),
        max_sessions: config.max_sessions,
    };
    let locals = worker_ports.iter().map(|port| port.local);
    let route_ports = worker_ports.iter().zip(&ports);
    let route_ports = route_ports.map(|(worker, port)| RoutePort {
        local: worker.local,
        mtu: worker.mtu,
        mtu_max: port.mtu_max(),
    });
    let route_ports: Vec<RoutePort> = route_ports.collect();
    let worker = Worker::new(Parts {
        node: Node::new(clock.now(), node),
        next_hops: NextHops::new(locals.collect()),
        ports: worker_ports,
        pools,
        idler: Idler::new(config.idle),
        max_sessions: config.max_sessions,
        overlay_port: config.overlay_port,
        commands: for_worker,
        events: Arc::clone(&events),
        clock: clock.clone(),
    });
    let mut model = Model::new(config, route_ports, packets, clock);
    let worker = populate(worker, &mut model, config)?;
    Ok(Built {
        worker,
        model,
        ports,
        commands,
        events,
        kernel,
        eal,
    })
}

/// Makes the kernel interface of a port, if it is to have one.
fn open_kernel_port(
    kernel: &mut Kernel,
    config: &PortConfig,
    port: &WorkerPort,
) -> Result<Option<Box<KernelPort>>, StartError> {
    let Some(KernelConfig {
        interface,
        rate_pps,
    }) = &config.kernel
    else {
        return Ok(None);
    };
    let link = kernel.open(interface, port.local.mac.0, port.tx.max_frame_len());
    let link = link.map_err(|source| StartError::Kernel {
        port: config.name.clone(),
        interface: interface.clone(),
        source,
    })?;
    Ok(Some(Box::new(KernelPort::new(link, *rate_pps))))
}

/// Adds the neighbors and sessions of the configuration before the first packet.
fn populate(
    mut worker: Worker,
    model: &mut Model,
    config: &NodeConfig,
) -> Result<Worker, CommandError> {
    for neighbor in &config.neighbors {
        let (protocol, adjacent) = model.new_neighbor(neighbor)?;
        let Reply::Neighbor(id) = worker.add_neighbor(model.now(), protocol, adjacent) else {
            return Err(CommandError::NoRoom(
                "the node can't hold that many neighbors".into(),
            ));
        };
        model.add_neighbor(neighbor.clone(), id);
    }
    for session in &config.sessions {
        let (new, clients, known) = model.new_session(session)?;
        let Reply::Done = worker.add_session(model.now(), new, clients) else {
            return Err(CommandError::NoRoom(
                "max_sessions is less than there are sessions".into(),
            ));
        };
        model.note(known);
    }
    Ok(worker)
}

fn spawn(
    worker: Worker,
    config: &NodeConfig,
    eal: Eal,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let cpu = config.cpu;
    let (ready, started) = bounded(1);
    let thread = Builder::new().name("worker".into()).spawn(move || {
        let registered = set_up_thread(cpu).and_then(|()| eal.register_thread());
        match registered {
            Ok(_registration) => {
                let _ = ready.send(Ok(()));
                worker.run();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    match started.recv() {
        Ok(result) => result.map(|()| thread).map_err(StartError::Eal),
        Err(_) => Err(StartError::Thread(std::io::Error::other("it ended early"))),
    }
}

/// Pins the worker's thread, and has its naps end when they should: 50 µs of timer slack would double them.
pub(crate) fn set_up_thread(cpu: Option<usize>) -> Result<(), EalError> {
    let _ = nix::sys::prctl::set_timerslack(1);
    let Some(cpu) = cpu else { return Ok(()) };
    let mut cpus = CpuSet::new();
    let pinned = cpus
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus));
    pinned.map_err(|error| EalError::Register(format!("CPU {cpu}: {error}")))
}

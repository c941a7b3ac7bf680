//! Starting a node: EAL, pools, ports, worker.

use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Sender, bounded};
use crossbeam::queue::ArrayQueue;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use overlay::{Epoch, Instant, Node};
use thiserror::Error;

use super::model::Model;
use super::{CommandError, Dataplane};
use crate::config::{Device, KernelConfig, NodeConfig, PortConfig};
use crate::device::data_room;
use crate::eal::{Eal, EalError};
use crate::encap::MAX_HEADERS;
use crate::kernel::Kernel;
use crate::next_hop::NextHops;
use crate::payload::SharedPayload;
use crate::pool::{HEADROOM, Pool, PoolError, memory_mb};
use crate::port::{Port, PortError};
use crate::rx::RxQueue;
use crate::sizing::{headers_needed, packets_needed};
use crate::threshold::chain_from;
use crate::tx::{CAPACITY, Relay, TxBuffer};
use crate::worker::{
    Clock, Command, EventQueue, Idler, KernelPort, Parts, Peers, Pools, Reply, RoutePort, Worker,
    WorkerPort,
};

/// Most adjacencies of a node: what a 16-bit number tells apart.
const NEIGHBORS_MAX: usize = u16::MAX as usize;
/// Commands that may wait for the worker.
const COMMANDS: usize = 64;
/// Events kept for a control plane that does not fetch them.
const EVENTS: usize = 256;
/// Room for headers: Ethernet, outer IP and UDP, treecast, inner IP with options, inner UDP (134 bytes), or a small
/// frame of the protocol; and for a payload that is cheaper copied than chained. In whole cache lines.
const HEADER_ROOM: u16 = 320;
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
    let (mut dataplane, workers, eal) = build(&config)?.split()?;
    for (place, worker) in workers.into_iter().enumerate() {
        let thread = spawn(worker, &config, place, eal.clone())?;
        dataplane.workers.push(thread);
    }
    Ok(dataplane)
}

/// A node whose workers have no threads yet.
pub(crate) struct Built {
    pub(crate) workers: Vec<Worker>,
    pub(super) model: Model,
    pub(crate) ports: Vec<Port>,
    pub(crate) commands: Vec<Sender<Command>>,
    pub(super) events: EventQueue,
    pub(super) kernel: Kernel,
    pub(crate) eal: Eal,
}

impl Built {
    /// The control plane's handle, and what the workers' threads are to have.
    pub(crate) fn split(self) -> Result<(Dataplane, Vec<Worker>, Eal), StartError> {
        let dataplane = Dataplane {
            model: self.model.into(),
            ports: self.ports,
            commands: self.commands,
            events: self.events,
            workers: Vec::with_capacity(self.workers.len()),
            is_drained: false,
            _kernel: self.kernel.start()?,
            looking: Mutex::default(),
        };
        Ok((dataplane, self.workers, self.eal))
    }
}

/// Starts the EAL, opens the ports and makes the workers, with the neighbors and sessions of the configuration.
pub(crate) fn build(config: &NodeConfig) -> Result<Built, StartError> {
    let (eal, pools, packets) = memory(config)?;
    let Opened {
        ports,
        of_workers,
        kernel,
    } = open_ports(config, &pools)?;
    let route_ports = ports.iter().zip(of_workers.first().into_iter().flatten());
    let route_ports = route_ports.map(|(port, worker)| RoutePort {
        local: worker.local,
        mtu: worker.mtu,
        mtu_max: port.mtu_max(),
    });
    let route_ports: Vec<RoutePort> = route_ports.collect();
    let clock = Clock::new();
    let epoch = epoch_now();
    let events = Arc::new(ArrayQueue::new(EVENTS));
    let mut model = Model::new(config, route_ports, packets, clock.clone());
    let mut commands = Vec::new();
    let mut workers = Vec::new();
    let mut peers = peers(config);
    for ports in of_workers {
        let (to_worker, from_control) = bounded(COMMANDS);
        commands.push(to_worker);
        workers.push(Worker::new(Parts {
            node: protocol(config, (clock.now(), epoch), !workers.is_empty()),
            next_hops: NextHops::new(ports.iter().map(|port| port.local).collect()),
            ports,
            pools: pools.handles(),
            peers: peers.next(),
            idler: Idler::new(config.idle),
            max_sessions: config.max_sessions,
            overlay_port: config.overlay_port,
            commands: from_control,
            events: Arc::clone(&events),
            clock: clock.clone(),
        }));
    }
    populate(&mut workers, &mut model, config)?;
    Ok(Built {
        workers,
        model,
        ports,
        commands,
        events,
        kernel,
        eal,
    })
}

/// The EAL and the pools, and how many buffers there are for packets.
fn memory(config: &NodeConfig) -> Result<(Eal, Pools, usize), StartError> {
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
    Ok((eal, pools, packets))
}

/// The ports, each worker's part of them, and the kernel's.
struct Opened {
    ports: Vec<Port>,
    of_workers: Vec<Vec<WorkerPort>>,
    kernel: Kernel,
}

fn open_ports(config: &NodeConfig, pools: &Pools) -> Result<Opened, StartError> {
    let mut ports = Vec::new();
    let mut of_workers: Vec<Vec<WorkerPort>> = Vec::new();
    of_workers.resize_with(config.workers, Vec::new);
    let udp_ports = [config.tree_port, config.overlay_port];
    let measured = chain_from(&pools.packets, &pools.headers);
    let mut kernel = Kernel::new()?;
    let count = config.workers as u16;
    for port in &config.ports {
        let (opened, rx, tx) =
            Port::open_for(&port.name, &port.device, port.mtu, (&pools.packets, count))?;
        let queues = share(rx, tx, config.workers);
        for (place, ((rx, tx, relays), worker)) in queues.zip(&mut of_workers).enumerate() {
            let mut own = WorkerPort::new(port, udp_ports, (&opened, measured), (rx, tx));
            own.relays = relays;
            if place == 0 {
                own.kernel = open_kernel_port(&mut kernel, port, &own)?;
            } else {
                own.impaired_by_first = own.impaired.take().is_some();
                own.kernel_of_first = port.kernel.is_some();
            }
            worker.push(own);
        }
        ports.push(opened);
    }
    Ok(Opened {
        ports,
        of_workers,
        kernel,
    })
}

/// The queues of a port, one each way for each worker; those without send by those of the first.
fn share(
    rx: Vec<RxQueue>,
    mut tx: Vec<TxBuffer>,
    workers: usize,
) -> impl Iterator<Item = (Option<RxQueue>, TxBuffer, Vec<Relay>)> {
    let mut relays = Vec::new();
    for _ in tx.len()..workers {
        let relay = Arc::new(ArrayQueue::new(CAPACITY));
        tx.push(tx[0].relayed(Arc::clone(&relay)));
        relays.push(relay);
    }
    let rx = rx
        .into_iter()
        .map(Some)
        .chain(std::iter::repeat_with(|| None));
    rx.zip(tx)
        .map(move |(rx, tx)| (rx, tx, std::mem::take(&mut relays)))
}

/// A worker's part of the protocol. The first one speaks to the neighbors, the others listen.
fn protocol(
    config: &NodeConfig,
    (now, epoch): (Instant, Epoch),
    quiet: bool,
) -> Node<SharedPayload> {
    let node = overlay::NodeConfig {
        epoch,
        hello_interval: config.hello_interval,
        hold_down: config.hold_down,
        max_neighbors: NEIGHBORS_MAX.min(config.neighbors.len() + config.max_sessions),
        max_sessions: config.max_sessions,
    };
    let mut node = Node::new(now, node);
    if quiet {
        node.keep_quiet();
    }
    node
}

/// What ties workers together, for each of them; nothing for one that is alone.
fn peers(config: &NodeConfig) -> impl Iterator<Item = Peers> {
    let workers = if config.workers > 1 {
        config.workers
    } else {
        0
    };
    Peers::all(workers as u16)
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
    workers: &mut [Worker],
    model: &mut Model,
    config: &NodeConfig,
) -> Result<(), CommandError> {
    for neighbor in &config.neighbors {
        let (protocol, adjacent) = model.new_neighbor(neighbor)?;
        for worker in workers.iter_mut() {
            let Reply::Neighbor(id) = worker.add_neighbor(model.now(), protocol, adjacent) else {
                return Err(CommandError::NoRoom(
                    "the node can't hold that many neighbors".into(),
                ));
            };
            model.add_neighbor(neighbor, id);
        }
    }
    for session in &config.sessions {
        let (new, clients, known) = model.new_session(session)?;
        let worker = &mut workers[known.worker.place()];
        let Reply::Done = worker.add_session(model.now(), new, clients) else {
            return Err(CommandError::NoRoom(
                "max_sessions is less than there are sessions".into(),
            ));
        };
        model.note(known);
    }
    let owners = Arc::new(model.owners(None));
    for worker in workers.iter_mut() {
        worker.follow_owners(model.now(), Arc::clone(&owners));
    }
    Ok(())
}

fn spawn(
    worker: Worker,
    config: &NodeConfig,
    place: usize,
    eal: Eal,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let cpu = config.cpus.get(place).copied();
    let name = match config.workers {
        1 => "worker".to_owned(),
        _ => format!("worker-{place}"),
    };
    let (ready, started) = bounded(1);
    let thread = Builder::new().name(name).spawn(move || {
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

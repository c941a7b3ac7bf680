//! The worker: one thread that polls the ports, drives the protocol and sends, run to completion.
//!
//! Nothing in its loop locks, logs or makes a system call beyond what a driver makes, and nothing allocates for a
//! packet. What a turn does is bounded, so that receiving can't starve sending, nor sending the timers.

mod bench;
mod catch_up;
mod clients;
mod clock;
mod command;
mod deliver;
mod ending;
mod flows;
mod handover;
mod idle;
mod kernel;
mod link;
mod moving;
mod owners;
mod parity;
mod peers;
mod port;
mod receive;
mod report;
mod route;
mod send;
mod stages;

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::channel::Receiver;
use crossbeam::queue::ArrayQueue;
use hashbrown::HashMap;
use overlay::wire::{FEC_PARITY_MAX, FLAG_SECOND, Header};
use overlay::{Instant, NeighborId, Node, Seq, SessionIndex, Tree};

use crate::drops::{DropCounters, DropReason};
use crate::frame::{Addresses, Mac, PortIndex};
use crate::icmp::{echo_limiter, icmp_limiter};
use crate::next_hop::{NextHops, Output};
use crate::payload::{SharedPayload, Spent};
use crate::pool::Pool;
use deliver::Unfinished;
use ending::Endings;
use flows::Flows;
use overlay::TokenBucket;
use stages::Look;

pub(crate) use clients::{Client, ClientKey, Clients};
pub(crate) use clock::Clock;
pub(crate) use command::{Command, Leftover, Reply};
pub(crate) use idle::Idler;
pub(crate) use kernel::KernelPort;
pub(crate) use link::PortLink;
pub(crate) use owners::{Owners, WorkerId};
pub(crate) use peers::{HANDED_MAX, Peers};
pub(crate) use port::WorkerPort;
pub(crate) use report::Report;
pub use route::inner_max;
pub(crate) use route::{NewSession, Route, RoutePort, Way, upstream_of};
pub(crate) use stages::{Stage, StageCounts};

/// Frames taken from a port in one turn: as many as its ring can't overflow with while the others have theirs.
const RX_BURST: usize = 32;
/// Packets that the protocol may send in one turn: repairs and NAKs; the tree has the rest of the time.
const TRANSMIT_BUDGET: usize = 64;
/// Blocks rebuilt in one turn: 20 µs each, the largest 100 µs, in which no receive ring overflows.
const REBUILD_BUDGET: usize = 4;
/// Packets of history sent to clients in one turn: live ones have the rest of the time.
const CATCH_UP_BUDGET: usize = 64;
/// Copies made for clients in one turn, before ports are polled again (a receive ring lasts longer than that).
const COPY_BUDGET: usize = 1024;
/// Room that a transmit buffer must have before more packets are taken on for it.
const TX_ROOM: usize = 128;
/// Turns between looks at what does not come with packets.
const HOUSEKEEPING_TURNS: u64 = 256;

/// What the worker knows of a neighbor beside the protocol's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adjacent {
    /// The port's own address, and the neighbor's.
    pub(crate) addresses: Addresses,
    pub(crate) port: PortIndex,
    /// Its Ethernet address, once resolved.
    pub(crate) mac: Option<Mac>,
}

/// The buffers: whole packets as received, and headers for what is sent.
pub(crate) struct Pools {
    pub(crate) packets: Pool,
    pub(crate) headers: Pool,
    /// How often each was found without a free buffer.
    pub(crate) exhausted: [u64; 2],
}

impl Pools {
    /// Handles to the same pools for another worker.
    pub(crate) fn handles(&self) -> Pools {
        Pools {
            packets: self.packets.handle(),
            headers: self.headers.handle(),
            exhausted: [0; 2],
        }
    }

    fn both(&self) -> [&Pool; 2] {
        [&self.packets, &self.headers]
    }

    /// Notes which pools have no free buffer.
    fn look(&mut self) {
        let empty = self.both().map(|pool| pool.in_use() >= pool.size());
        for (count, empty) in self.exhausted.iter_mut().zip(empty) {
            *count += u64::from(empty);
        }
    }
}

/// What a worker counts of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerCounters {
    turns: u64,
    busy_turns: u64,
    longest_turn_ns: u64,
}

/// Something the log should have, told to the control plane.
pub(crate) type EventQueue = Arc<ArrayQueue<(u64, overlay::Event)>>;

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) node: Node<SharedPayload>,
    pub(crate) ports: Vec<WorkerPort>,
    pub(crate) next_hops: NextHops,
    pub(crate) pools: Pools,
    pub(crate) clock: Clock,
    pub(crate) idler: Idler,
    /// `None` for a worker that is alone.
    pub(crate) peers: Option<Peers>,
    pub(crate) max_sessions: usize,
    pub(crate) overlay_port: u16,
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: EventQueue,
}

/// The worker's state; its thread owns all of it.
pub(crate) struct Worker {
    node: Node<SharedPayload>,
    ports: Vec<WorkerPort>,
    /// By [`NeighborId`].
    adjacents: Vec<Option<Adjacent>>,
    by_address: HashMap<(PortIndex, IpAddr), NeighborId>,
    /// By [`SessionIndex`].
    routes: Vec<Option<Box<Route>>>,
    flows: Flows<SessionIndex>,
    peers: Option<Peers>,
    next_hops: NextHops,
    pools: Pools,
    overlay_port: u16,
    drops: DropCounters,
    icmp: TokenBucket,
    echoes: TokenBucket,
    clock: Clock,
    idler: Idler,
    counters: WorkerCounters,
    commands: Receiver<Command>,
    events: EventQueue,
    /// A report under way.
    report: Option<Box<Report>>,
    /// A look at the stages under way.
    look: Option<Box<Look>>,
    /// The body of the packet that is being sent.
    body: Vec<u8>,
    /// What was rebuilt of a block, on its way to the protocol.
    rebuilt: Vec<(Seq, SharedPayload)>,
    /// Sessions whose stream has ended, and the node itself.
    endings: Endings,
    /// A packet that has not gone to all clients yet.
    unfinished: Option<Unfinished>,
    /// Packets that windows have given up.
    spent: Spent,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Worker {
        Worker {
            node: parts.node,
            ports: parts.ports,
            adjacents: Vec::new(),
            by_address: HashMap::new(),
            routes: Vec::with_capacity(parts.max_sessions),
            flows: Flows::with_capacity(parts.max_sessions),
            icmp: icmp_limiter(parts.peers.as_ref().map_or(1, Peers::count)),
            echoes: echo_limiter(),
            peers: parts.peers,
            next_hops: parts.next_hops,
            pools: parts.pools,
            overlay_port: parts.overlay_port,
            drops: DropCounters::new(),
            clock: parts.clock,
            idler: parts.idler,
            counters: WorkerCounters::default(),
            commands: parts.commands,
            events: parts.events,
            report: None,
            look: None,
            body: Vec::with_capacity(send::BODY_MAX),
            rebuilt: Vec::with_capacity(FEC_PARITY_MAX.into()),
            endings: Endings::default(),
            unfinished: None,
            spent: Spent::new(),
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        while self.turn::<true>() {}
    }

    /// One turn of the loop; returns whether another one is to follow. Without `SWITCHES` it is the same without what can be
    /// switched on (impairments, looks at stages): what these cost while they are off is the difference.
    pub(crate) fn turn<const SWITCHES: bool>(&mut self) -> bool {
        let now = self.clock.now();
        let mut work =
            self.stage::<SWITCHES>(Stage::Receive, |worker| worker.receive_all::<SWITCHES>(now));
        work += self.stage::<SWITCHES>(Stage::Kernel, |worker| worker.exchange_with_kernel(now));
        self.node.handle_timeout(now);
        self.lap::<SWITCHES>(Stage::Timers, 0);
        work += self.stage::<SWITCHES>(Stage::Rebuild, |worker| worker.rebuild(now));
        work += self.stage::<SWITCHES>(Stage::Transmit, |worker| worker.transmit(now));
        work += self.stage::<SWITCHES>(Stage::Deliver, |worker| worker.deliver(now));
        work += self.stage::<SWITCHES>(Stage::CatchUp, |worker| worker.catch_up(now));
        work += self.stage::<SWITCHES>(Stage::Flush, Worker::flush);
        if self.counters.turns.is_multiple_of(HOUSEKEEPING_TURNS) || work == 0 {
            self.housekeeping(now);
            self.lap::<SWITCHES>(Stage::Housekeeping, 0);
        }
        if !self.commands.is_empty() {
            self.obey(now);
        }
        if self.end_what_is_due(now) {
            return false;
        }
        self.fill_report(now);
        self.lap::<SWITCHES>(Stage::Control, 0);
        self.rest(now, work);
        self.lap::<SWITCHES>(Stage::Rest, 0);
        if SWITCHES {
            self.end_look(now);
        }
        true
    }

    /// Counts the turn, and naps if there was nothing to do in it.
    fn rest(&mut self, now: Instant, work: usize) {
        self.counters.turns += 1;
        if work > 0 || self.report.is_some() {
            let end = self.clock.now();
            let took_ns = end.0 - now.0;
            self.counters.busy_turns += 1;
            self.counters.longest_turn_ns = self.counters.longest_turn_ns.max(took_ns);
            self.idler.busy();
        } else {
            let due = self.next_due();
            self.idler.rest(&self.clock, due);
        }
    }

    fn next_due(&self) -> Instant {
        let impaired = self.ports.iter().filter_map(WorkerPort::impairment_due);
        let others = impaired
            .chain(self.next_hops.next_due())
            .chain(self.endings.next_due())
            .min();
        others.map_or(self.node.poll_timeout(), |due| {
            due.min(self.node.poll_timeout())
        })
    }

    /// What need not be looked at in every turn.
    fn housekeeping(&mut self, now: Instant) {
        self.spent.give_back();
        if self.clock.follow_realtime(now) {
            self.pools.look();
        }
        while let Some(output) = self.next_hops.poll(now) {
            match output {
                Output::Request { port, frame } => self.send_bytes(port, frame.as_bytes()),
                Output::Lost { port, address } => self.set_next_hop(port, address, None),
            }
        }
        while let Some(event) = self.node.poll_event() {
            let unix_ms = self.clock.realtime_ns(now) / 1_000_000;
            self.events.force_push((unix_ms, event));
        }
        for port in &mut self.ports {
            let dropped = port.give_up_stuck(now);
            self.drops.add(DropReason::TxFull, dropped);
            let relayed = port.drop_relayed();
            self.drops.add(DropReason::PortDown, relayed);
            if let Some(kernel) = &mut port.kernel {
                self.drops
                    .add(DropReason::KernelFull, kernel.newly_refused());
            }
        }
    }

    /// Hands to the devices what waits; returns how many frames they took.
    fn flush(&mut self) -> usize {
        self.flush_handed();
        let ports = self.ports.iter_mut();
        ports.map(|port| port.relay() + port.flush()).sum()
    }

    /// Notes the Ethernet address of a next hop, or that it has none any more, wherever it is used.
    fn set_next_hop(&mut self, port: PortIndex, address: IpAddr, mac: Option<Mac>) {
        if let Some(id) = self.by_address.get(&(port, address)) {
            let adjacent = self.adjacents.get_mut(usize::from(id.0));
            if let Some(adjacent) = adjacent.and_then(Option::as_mut) {
                adjacent.mac = mac;
            }
        }
        for route in self.routes.iter_mut().flatten() {
            route.clients.set_next_hop(port, address, mac);
        }
    }

    fn adjacent(&self, id: NeighborId) -> Option<&Adjacent> {
        self.adjacents.get(usize::from(id.0))?.as_ref()
    }

    fn route(&self, index: SessionIndex) -> Option<&Route> {
        self.routes.get(index.0)?.as_deref()
    }
}

/// The tree that a packet came by, or goes down.
const fn tree_of(header: &Header) -> Tree {
    if header.flags & FLAG_SECOND == 0 {
        Tree::First
    } else {
        Tree::Second
    }
}

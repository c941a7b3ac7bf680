//! What a worker says of itself: numbers filled into a snapshot that the control plane prepared.
//!
//! Sessions are filled some in each turn, so that a node with many of them forwards on meanwhile. Each session's
//! numbers are of one moment: its balance holds.

use crossbeam::channel::Sender;
use overlay::wire::HelloState;
use overlay::{Instant, Neighbor, NeighborId, SessionId, SessionIndex};

use super::{Worker, WorkerId};
use crate::drops::DropCounters;
use crate::frame::Mac;
use crate::rx::RxQueue;
use crate::snapshot::{NeighborSnapshot, SessionSnapshot, Snapshot};
use crate::threshold::NEVER;

/// Sessions filled in one turn: about 1 µs each.
const SESSIONS_A_TURN: usize = 32;

/// A snapshot under way. Names and order are the control plane's.
pub(crate) struct Report {
    pub(crate) snapshot: Box<Snapshot>,
    /// Of each neighbor in the snapshot, in order.
    pub(crate) neighbors: Vec<NeighborId>,
    /// Of each neighbor, in the same order: its Ethernet address.
    pub(crate) macs: Vec<Option<Mac>>,
    /// Of each session in the snapshot, in order: its parent.
    pub(crate) parents: Vec<Option<NeighborId>>,
    pub(crate) drops: DropCounters,
    /// The worker that fills it in now: one after another adds what it knows.
    pub(crate) worker: WorkerId,
    /// Buffers of each pool that workers have fetched ahead and that are free.
    pub(crate) stashed: [usize; 2],
    /// Sessions filled so far.
    pub(crate) filled: usize,
    pub(crate) to: Sender<Box<Report>>,
}

impl Report {
    /// Is for this worker to fill in next.
    pub(crate) fn begin(&mut self, worker: WorkerId) {
        self.worker = worker;
        self.filled = 0;
    }
}

impl Worker {
    /// Does a piece of the report under way, and hands it over when it is whole.
    pub(super) fn fill_report(&mut self, now: Instant) {
        let Some(mut report) = self.report.take() else {
            return;
        };
        let sessions = report.snapshot.sessions.iter_mut().zip(&mut report.parents);
        for (session, parent) in sessions.skip(report.filled).take(SESSIONS_A_TURN) {
            if let Some(index) = self.node.find(SessionId(session.session)) {
                session.worker = report.worker.place();
                *parent = self.fill_session(session, index);
            }
            report.filled += 1;
        }
        if report.filled < report.snapshot.sessions.len() {
            self.report = Some(report);
            return;
        }
        for (said, &id) in report.snapshot.neighbors.iter_mut().zip(&report.neighbors) {
            let Some(neighbor) = self.node.neighbor(id) else {
                continue;
            };
            if report.worker == WorkerId::FIRST {
                self.fill_adjacency(now, said, neighbor);
            }
            add_exchange(said, neighbor);
        }
        if report.worker == WorkerId::FIRST {
            for (mac, &id) in report.macs.iter_mut().zip(&report.neighbors) {
                *mac = self.adjacent(id).and_then(|adjacent| adjacent.mac);
            }
        }
        report.drops.merge(&self.drops);
        self.fill_node(&mut report);
        let to = report.to.clone();
        let _ = to.send(report);
    }

    fn fill_node(&self, report: &mut Report) {
        let snapshot = &mut report.snapshot;
        let mut received = 0;
        for (port, said) in self.ports.iter().zip(&mut snapshot.ports) {
            let rx = port.rx.as_ref().map(RxQueue::counters).unwrap_or_default();
            let tx = port.tx.counters();
            received += rx.packets;
            said.rx_packets += rx.packets;
            said.rx_bytes += rx.bytes;
            said.rx_nombuf += rx.no_buffer;
            // What goes by another worker's queue is counted there.
            if port.tx.relay().is_none() {
                said.tx_packets += tx.packets;
                said.tx_bytes += tx.bytes;
            }
            said.chain_from = (port.chain_from != NEVER).then_some(port.chain_from);
            said.tx_dropped += port.tx_dropped + tx.oversize;
            said.tree_offered += port.tree_offered;
            said.tree_dropped += port.tree_dropped;
            said.impairment = said.impairment.or(port.impairment_stats());
            if let (Some(said), Some(kernel)) = (&mut said.kernel, &port.kernel) {
                (said.to_kernel, said.from_kernel) = kernel.counters();
            }
        }
        if let Some(worker) = snapshot.workers.get_mut(report.worker.place()) {
            worker.turns = self.counters.turns;
            worker.busy_turns = self.counters.busy_turns;
            worker.longest_turn_ns = self.counters.longest_turn_ns;
            worker.nap_ns = self.idler.nap_ns();
            worker.sessions = self.routes.iter().flatten().count() as u64;
            worker.rx_packets = received;
            let sent = self.ports.iter().map(|port| port.tx.counters().packets);
            worker.tx_packets = sent.sum();
        }
        let pools = self.pools.both().into_iter().zip(self.pools.exhausted);
        let pools = pools.zip(&mut snapshot.pools).zip(&mut report.stashed);
        for (((pool, exhausted), said), stashed) in pools {
            *stashed += pool.stashed();
            said.size = pool.size() as u64;
            said.in_use = pool.taken().saturating_sub(*stashed) as u64;
            said.exhausted = said.exhausted.max(exhausted);
        }
    }

    fn fill_adjacency(&self, now: Instant, said: &mut NeighborSnapshot, neighbor: &Neighbor) {
        let (state, reason, since) = neighbor.state();
        let stats = neighbor.stats();
        said.state = match state {
            HelloState::Down => "down",
            HelloState::Init => "init",
            HelloState::Up => "up",
        };
        said.reason = reason.as_str();
        let age_ns = now.since(since).as_nanos() as u64;
        said.since_unix_ms = (self.clock.realtime_ns(now) - age_ns) / 1_000_000;
        said.rtt_us = neighbor.rtt().as_micros() as u64;
        said.downs = stats.downs;
        said.hellos_sent = stats.hellos_sent;
        said.hellos_received = stats.hellos_received;
    }

    /// Fills in a session's numbers and returns its parent.
    fn fill_session(&self, said: &mut SessionSnapshot, index: SessionIndex) -> Option<NeighborId> {
        let session = self.node.session(index)?;
        let stats = session.stats();
        said.synced = session.epoch().is_some();
        said.epoch = session.epoch().unwrap_or_default().0;
        said.lead = session.lead().0;
        said.trail = session.trail().0;
        said.expected = session.expected().0;
        said.ended = session.is_ended();
        said.copying = session.is_copying();
        said.sent = stats.sent;
        said.tree = stats.tree;
        said.second_tree = stats.second_tree;
        said.repaired = stats.repaired;
        said.copied = stats.copied;
        said.rebuilt = stats.rebuilt;
        said.unrecovered = stats.unrecovered;
        said.in_flight = stats.in_flight;
        said.duplicates = stats.duplicates;
        said.delivered = stats.delivered;
        said.undelivered = stats.undelivered;
        said.backfilled = stats.backfilled;
        said.retained = session.held() as u64;
        said.evicted_early = stats.evicted_early;
        said.resyncs = stats.resyncs;
        said.naks_sent = stats.naks_sent;
        said.naks_received = stats.naks_received;
        said.naks_unanswerable = stats.naks_unanswerable;
        said.naks_over_budget = stats.naks_over_budget;
        said.repairs_sent = stats.repairs_sent;
        said.repairs_received = stats.repairs_received;
        said.subcasts_sent = stats.subcasts_sent;
        said.confirms_sent = stats.confirms_sent;
        said.confirms_received = stats.confirms_received;
        said.naks_suppressed = stats.naks_suppressed;
        said.copies_sent = stats.copies_sent;
        said.copies_received = stats.copies_received;
        said.parity_received = stats.parity_received;
        said.caught_up = stats.caught_up;
        said.catch_up_missed = stats.catch_up_missed;
        said.mode_changes = stats.mode_changes;
        said.repair_latency_us.clone_from(&stats.repair_latency);
        let route = self.route(index)?;
        said.parity_sent = route.parity.as_ref().map_or(0, |parity| parity.sent);
        for ((client, entry), said) in route.clients.iter().zip(&mut said.clients) {
            said.resolved = entry.is_resolved();
            said.catching_up = client.is_catching_up();
            said.packets = entry.packets;
            said.dropped = entry.dropped;
        }
        session.parent()
    }
}

/// Adds what a worker and a neighbor have sent each other.
fn add_exchange(said: &mut NeighborSnapshot, neighbor: &Neighbor) {
    let stats = neighbor.stats();
    said.naks_sent += stats.naks_sent;
    said.naks_received += stats.naks_received;
    said.repairs_sent += stats.repairs_sent;
    said.repairs_received += stats.repairs_received;
    said.copies_sent += stats.copies_sent;
    said.copies_received += stats.copies_received;
    let (throttled, ejected) = neighbor.is_held_back();
    said.throttled |= throttled;
    said.ejected |= ejected;
    said.throttles += stats.throttles;
    said.ejects += stats.ejections;
}

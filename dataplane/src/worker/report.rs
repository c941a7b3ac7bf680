//! What a worker says of itself: numbers filled into a snapshot that the control plane prepared.
//!
//! Sessions are filled some in each turn, so that a node with many of them forwards on meanwhile. Each session's
//! numbers are of one moment: its balance holds.

use crossbeam::channel::Sender;
use overlay::wire::HelloState;
use overlay::{Instant, NeighborId, SessionId};

use super::Worker;
use crate::drops::DropCounters;
use crate::frame::Mac;
use crate::snapshot::{NeighborSnapshot, SessionSnapshot, Snapshot};

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
    /// Sessions filled so far.
    pub(crate) filled: usize,
    pub(crate) to: Sender<Box<Report>>,
}

impl Worker {
    /// Does a piece of the report under way, and hands it over when it is whole.
    pub(super) fn fill_report(&mut self, now: Instant) {
        let Some(mut report) = self.report.take() else {
            return;
        };
        let sessions = report.snapshot.sessions.iter_mut().zip(&mut report.parents);
        for (session, parent) in sessions.skip(report.filled).take(SESSIONS_A_TURN) {
            *parent = self.fill_session(session);
            report.filled += 1;
        }
        if report.filled < report.snapshot.sessions.len() {
            self.report = Some(report);
            return;
        }
        for (neighbor, &id) in report.snapshot.neighbors.iter_mut().zip(&report.neighbors) {
            self.fill_neighbor(now, neighbor, id);
        }
        for (mac, &id) in report.macs.iter_mut().zip(&report.neighbors) {
            *mac = self.adjacent(id).and_then(|adjacent| adjacent.mac);
        }
        report.drops.clone_from(&self.drops);
        self.fill_node(&mut report.snapshot);
        let to = report.to.clone();
        let _ = to.send(report);
    }

    fn fill_node(&self, snapshot: &mut Snapshot) {
        for (port, said) in self.ports.iter().zip(&mut snapshot.ports) {
            let (rx, tx) = (port.rx.counters(), port.tx.counters());
            said.rx_packets = rx.packets;
            said.rx_bytes = rx.bytes;
            said.rx_nombuf += rx.no_buffer;
            said.tx_packets = tx.packets;
            said.tx_bytes = tx.bytes;
            said.tx_dropped = port.tx_dropped + tx.oversize;
            said.tree_offered = port.tree_offered;
            said.tree_dropped = port.tree_dropped;
            said.impairment = port.impairment_stats();
            if let (Some(said), Some(kernel)) = (&mut said.kernel, &port.kernel) {
                (said.to_kernel, said.from_kernel) = kernel.counters();
            }
        }
        for worker in &mut snapshot.workers {
            worker.turns = self.counters.turns;
            worker.busy_turns = self.counters.busy_turns;
            worker.longest_turn_ns = self.counters.longest_turn_ns;
            worker.nap_ns = self.idler.nap_ns();
            worker.rx_packets = self
                .ports
                .iter()
                .map(|port| port.rx.counters().packets)
                .sum();
            worker.tx_packets = self
                .ports
                .iter()
                .map(|port| port.tx.counters().packets)
                .sum();
        }
        let pools = self.pools.both().into_iter().zip(self.pools.exhausted);
        for ((pool, exhausted), said) in pools.zip(&mut snapshot.pools) {
            said.size = pool.size() as u64;
            said.in_use = pool.in_use() as u64;
            said.exhausted = exhausted;
        }
    }

    fn fill_neighbor(&self, now: Instant, said: &mut NeighborSnapshot, id: NeighborId) {
        let Some(neighbor) = self.node.neighbor(id) else {
            return;
        };
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
        said.naks_sent = stats.naks_sent;
        said.naks_received = stats.naks_received;
        said.repairs_sent = stats.repairs_sent;
        said.repairs_received = stats.repairs_received;
        said.copies_sent = stats.copies_sent;
        said.copies_received = stats.copies_received;
        (said.throttled, said.ejected) = neighbor.is_held_back();
        said.throttles = stats.throttles;
        said.ejects = stats.ejections;
    }

    /// Fills in a session's numbers and returns its parent.
    fn fill_session(&self, said: &mut SessionSnapshot) -> Option<NeighborId> {
        let index = self.node.find(SessionId(said.session))?;
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

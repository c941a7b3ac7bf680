//! A router of the network: a real node, and what is known of it from outside.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::check::Watch;
use super::layout::{Joined, Port};
use super::network::CatchingUp;
use super::report::{Latencies, NodeReport};
use super::scenario::{NodeSettings, Scenario};
use crate::{
    Epoch, Event, Instant, NeighborConfig, Node, NodeConfig, Order, Session, SessionIndex,
    TokenBucket,
};

/// Repairs that may leave to one neighbor back to back, as far as the checker is concerned.
const REPAIR_BURST: u64 = 160;
/// Events kept of a router.
const EVENTS_KEPT: usize = 1000;

/// One router.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) node: Node<u64>,
    pub(super) up: bool,
    /// How far its clock is ahead of the network's.
    pub(super) clock_ns: u64,
    pub(super) lives: u16,
    pub(super) sessions: Vec<Attendance>,
    /// The sessions, by place in the scenario, that have their source here.
    pub(super) feeds: Vec<usize>,
    /// What it may send to each neighbor.
    pub(super) budgets: Vec<TokenBucket>,
    /// The slot for which it has asked to be woken; the last there is if it has not.
    pub(super) wake_slot: u64,
    pub(super) history: History,
}

/// One session in one life of a router.
#[derive(Debug)]
pub(super) struct Attendance {
    /// Its place in the scenario.
    pub(super) plan: usize,
    pub(super) index: SessionIndex,
    pub(super) watch: Watch,
    pub(super) delivers: bool,
    /// Its clients that catch up.
    pub(super) catching_up: Vec<CatchingUp>,
    /// See [`Joined::path_ns`].
    pub(super) path_ns: u64,
}

/// What a router did in all its lives.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) report: NodeReport,
    /// For each session and sequence, how many NAKs came for it.
    pub(super) naks: Vec<Vec<u16>>,
}

impl Router {
    pub(super) fn new(
        now: u64,
        me: usize,
        scenario: &Scenario,
        ports: &[Port],
        joined: &[Joined],
    ) -> Router {
        // Clocks agree on nothing: each router's begins at another moment.
        let clock_ns = 1_000_000_000 + (super::layout::mix(scenario.seed, !(me as u64)) >> 24);
        let mut router = Router {
            node: Node::new(Instant(0), node_config(0, scenario.node, 0, 0)),
            up: true,
            clock_ns,
            lives: 0,
            sessions: Vec::new(),
            feeds: Vec::new(),
            budgets: Vec::new(),
            wake_slot: u64::MAX,
            history: History::default(),
        };
        router.boot(now, scenario, ports, joined);
        router
    }

    /// The router's own time.
    pub(super) fn local(&self, now: u64) -> Instant {
        Instant(now + self.clock_ns)
    }

    /// When the node next wants to be called, in the network's time.
    #[inline]
    pub(super) fn due(&self) -> u64 {
        if !self.up {
            return u64::MAX;
        }
        match self.node.poll_timeout() {
            Instant(u64::MAX) => u64::MAX,
            Instant(due) => due.saturating_sub(self.clock_ns),
        }
    }

    /// Begins a life, with nothing of what was known.
    pub(super) fn boot(
        &mut self,
        now: u64,
        scenario: &Scenario,
        ports: &[Port],
        joined: &[Joined],
    ) {
        self.lives += 1;
        self.up = true;
        let local = self.local(now);
        let settings = scenario.node;
        let config = node_config(self.lives, settings, ports.len(), joined.len());
        self.node = Node::new(local, config);
        let neighbor = NeighborConfig {
            hello_interval: settings.hello_interval,
            detect_mult: settings.detect_mult,
            repair_rate_pps: settings.repair_rate_pps,
        };
        for _ in ports {
            self.node.add_neighbor(local, neighbor);
        }
        let budget = TokenBucket::with_burst(settings.repair_rate_pps.into(), REPAIR_BURST);
        self.budgets = alloc::vec![budget; ports.len()];
        self.sessions = joined
            .iter()
            .filter_map(|joined| self.join(local, joined))
            .collect();
    }

    fn join(&mut self, local: Instant, joined: &Joined) -> Option<Attendance> {
        let config = joined.config.clone();
        let (order, deadline) = (config.delivery.unwrap_or(Order::Ordered), config.deadline);
        let delivers = config.delivery.is_some();
        let session = Box::new(Session::new(local, config, Epoch(self.lives)));
        let index = self.node.add_session(local, session).ok()?;
        Some(Attendance {
            plan: joined.plan,
            index,
            watch: Watch::new(order, deadline),
            delivers,
            catching_up: Vec::new(),
            path_ns: joined.path_ns,
        })
    }

    /// Takes the counters of a life that ends into the history.
    pub(super) fn end_life(&mut self) {
        self.up = false;
        for attendance in core::mem::take(&mut self.sessions) {
            if let Some(session) = self.node.session(attendance.index) {
                let life = (attendance.plan, session.stats());
                self.history.report.sessions.push(life);
            }
        }
    }

    /// The session of a place in the scenario, as this router attends it.
    #[inline]
    pub(super) fn attendance(&mut self, plan: usize) -> Option<&mut Attendance> {
        self.sessions
            .iter_mut()
            .find(|attendance| attendance.plan == plan)
    }

    pub(super) fn session(&self, attendance: &Attendance) -> Option<&Session<u64>> {
        self.node.session(attendance.index)
    }
}

impl History {
    pub(super) fn event(&mut self, now: u64, event: Event) {
        if self.report.events.len() < EVENTS_KEPT {
            self.report.events.push((Duration::from_nanos(now), event));
        }
    }

    /// A NAK asks for this sequence.
    pub(super) fn asked_of(&mut self, plan: usize, seq: u64) {
        self.report.asked_of += 1;
        if plan >= self.naks.len() {
            self.naks.resize(plan + 1, Vec::new());
        }
        let (naks, place) = (&mut self.naks[plan], seq as usize);
        if place >= naks.len() {
            naks.resize(place + 1, 0);
        }
        naks[place] = naks[place].saturating_add(1);
        let most = u32::from(naks[place]).max(self.report.naks_per_loss_max);
        self.report.naks_per_loss_max = most;
    }
}

fn node_config(life: u16, settings: NodeSettings, neighbors: usize, sessions: usize) -> NodeConfig {
    NodeConfig {
        epoch: Epoch(life),
        hello_interval: settings.hello_interval,
        hold_down: settings.hold_down,
        max_neighbors: neighbors,
        max_sessions: sessions,
    }
}

/// What a router's own latencies are kept for: networks small enough to look at each router.
pub(super) const SMALL: usize = 1000;

/// Adds a latency to the network's, and to the router's own in a small network.
pub(super) fn record(all: &mut Latencies, own: &mut Latencies, routers: usize, ns: u64) {
    all.record_ns(ns);
    if routers <= SMALL {
        own.record_ns(ns);
    }
}

//! The network: routers, links and what is under way, moved on slot by slot.

mod arrive;
mod catch_up;
mod step;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

pub(super) use catch_up::CatchingUp;

use super::check::{Seen, Verdict};
use super::layout::{Layout, mix};
use super::queue::{Event, Queue};
use super::report::{Report, Rule};
use super::router::Router;
use super::scenario::{Action, Scenario, Source};
use crate::wire::{Header, ParityHeader};
use crate::{Epoch, NeighborId, Node};

/// How often the network looks whether anything is still missing, once the sources are through.
const SETTLED_INTERVAL_NS: u64 = 20_000_000;

/// Runs a scenario to its end.
///
/// # Panics
/// If a session joins routers that have no link, or an event or a session names a router that there is not.
#[must_use]
pub fn run(scenario: &Scenario) -> Report {
    let mut network = Network::new(scenario);
    network.run();
    network.report()
}

/// A scenario under way. [`run`] is all that most need; this is for those who want to look in between.
#[derive(Debug)]
pub struct Network {
    scenario: Scenario,
    layout: Layout,
    routers: Vec<Router>,
    sources: Vec<Sent>,
    queue: Queue<What>,
    /// In ns since the start.
    now: u64,
    slot_end: u64,
    events: u64,
    verdict: Verdict,
    report: Report,
    /// Nothing happens by itself any more from here on.
    quiet_at: u64,
    /// Packets of the trees that ingresses made: data, parity.
    made: [u64; 2],
    started: std::time::Instant,
}

/// What a session's ingress has sent.
#[derive(Debug, Default)]
struct Sent {
    /// When each packet was sent; a packet's payload is its place here, plus one.
    at: Vec<u64>,
    /// Each epoch, and how many packets were sent before it.
    epochs: Vec<(Epoch, u64)>,
    pauses_done: usize,
    /// When there is the next packet to send; the end of time after the last.
    next_at: u64,
    /// How often there was one.
    turns: u64,
}

impl Sent {
    fn new(source: &Source, life: u16) -> Sent {
        let some = source.count > 0;
        Sent {
            next_at: if some {
                source.start.as_nanos() as u64
            } else {
                u64::MAX
            },
            epochs: alloc::vec![(Epoch(life), 0)],
            ..Sent::default()
        }
    }

    fn schedule_next(&mut self, source: &Source) {
        self.turns += 1;
        let mut next = self.next_at + source.interval.as_nanos() as u64;
        if let Some(&(after, span)) = source.pauses.get(self.pauses_done)
            && self.turns >= after
        {
            self.pauses_done += 1;
            next += span.as_nanos() as u64;
        }
        self.next_at = if self.turns < source.count {
            next
        } else {
            u64::MAX
        };
    }

    /// What packet `seq` of an epoch carries.
    fn payload(&self, epoch: Option<Epoch>, seq: u64) -> Option<u64> {
        let mut epochs = self.epochs.iter().rev();
        let before = epochs.find(|entry| Some(entry.0) == epoch)?.1;
        let payload = before + seq;
        (payload <= self.at.len() as u64).then_some(payload)
    }
}

/// What happens at a router.
#[derive(Debug)]
enum What {
    /// A packet arrives.
    Arrival(Message),
    /// A timer of the node may be due.
    Wake,
    /// An event of the scenario, by its place there.
    Action(usize),
}

/// A packet on a link.
#[derive(Clone, Debug)]
struct Message {
    header: Header,
    payload: u64,
    /// Whom it comes from, as the receiver knows it.
    from: NeighborId,
    body: Content,
}

/// What else a packet carries.
#[derive(Clone, Debug)]
enum Content {
    Nothing,
    /// As on the wire: the ranges of a NAK, a hello.
    Bytes(Box<[u8]>),
    #[allow(
        dead_code,
        reason = "the caller of the protocol will make parity packets"
    )]
    Parity(ParityHeader),
}

/// The session of a packet, by its place in the scenario.
fn plan_of(header: &Header) -> usize {
    (header.session.0 as usize).wrapping_sub(1)
}

/// What stands for the coded bytes of a parity packet: a number that depends on all payloads of its block.
fn parity_payload(payloads: &[u64], index: u8) -> u64 {
    let mixed = payloads
        .iter()
        .map(|&payload| mix(payload, u64::from(index)));
    mixed.fold(payloads.len() as u64, u64::wrapping_add)
}

impl Network {
    /// A network at its start.
    ///
    /// # Panics
    /// As [`run`].
    #[must_use]
    pub fn new(scenario: &Scenario) -> Network {
        let layout = Layout::new(scenario);
        let delays = scenario
            .links
            .iter()
            .flat_map(|link| [link.forth.delay, link.back.delay]);
        let later = scenario
            .events
            .iter()
            .filter_map(|(_, action)| match action {
                Action::Impair(_, _, impairment) => Some(impairment.delay),
                _ => None,
            });
        let shortest = delays.chain(later).min();
        let shortest = shortest.unwrap_or(Duration::from_millis(1));
        let slot_ns = (shortest.as_nanos() as u64).clamp(1_000, 10_000_000);
        let boot = |me| Router::new(0, me, scenario, &layout.ports[me], &layout.joined[me]);
        let mut network = Network {
            routers: (0..scenario.routers).map(boot).collect(),
            sources: Vec::new(),
            queue: Queue::new(slot_ns),
            now: 0,
            slot_end: 0,
            events: 0,
            verdict: Verdict::default(),
            report: Report::default(),
            quiet_at: 0,
            made: [0; 2],
            started: std::time::Instant::now(),
            scenario: scenario.clone(),
            layout,
        };
        network.schedule();
        network
    }

    fn schedule(&mut self) {
        let mut quiet_at = Duration::ZERO;
        for router in 0..self.routers.len() {
            self.push(0, router, What::Wake);
        }
        for (plan, session) in self.scenario.sessions.iter().enumerate() {
            quiet_at = quiet_at.max(session.source_end());
            let ingress = &mut self.routers[session.ingress];
            ingress.feeds.push(plan);
            self.sources.push(Sent::new(&session.source, ingress.lives));
        }
        for event in 0..self.scenario.events.len() {
            let (at, action) = self.scenario.events[event];
            quiet_at = quiet_at.max(at);
            let router = match action {
                Action::Kill(router)
                | Action::Restart(router)
                | Action::ClockJump(router, _)
                | Action::Cut(router, _)
                | Action::Heal(router, _)
                | Action::Impair(router, ..)
                | Action::Join { router, .. }
                | Action::Leave { router, .. } => router,
            };
            self.push(at.as_nanos() as u64, router, What::Action(event));
        }
        self.quiet_at = quiet_at.as_nanos() as u64;
    }

    fn push(&mut self, at: u64, router: usize, what: What) {
        let router = router as u32;
        self.queue.push(Event { at, router, what });
    }

    /// How long the network has run, in its own time.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// A router's node.
    #[must_use]
    pub fn node(&self, router: usize) -> &Node<u64> {
        &self.routers[router].node
    }

    /// What passed the links from one router to another so far; `None` where there is no link.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<super::LinkStats> {
        let direction = self.layout.direction(from, to)?;
        Some(self.layout.directions[direction].stats)
    }

    /// Runs until the scenario ends: nothing is missing, or `drain` has passed since the last packet and event.
    pub fn run(&mut self) {
        let end = self.quiet_at + self.scenario.drain.as_nanos() as u64;
        let mut look_at = self.quiet_at;
        while self.now < end {
            look_at = (look_at + SETTLED_INTERVAL_NS).min(end);
            self.run_until(Duration::from_nanos(look_at));
            if self.is_settled() {
                break;
            }
        }
    }

    /// Runs until everything before `until` has happened, to the end of a slot of at most the shortest link's delay.
    pub fn run_until(&mut self, until: Duration) {
        let until = until.as_nanos() as u64;
        let mut order = Vec::new();
        while self.queue.next_at().is_some_and(|next| next < until) {
            let Some((end, events)) = self.queue.take() else {
                break;
            };
            self.slot_end = end;
            let start = self.queue.start_of(end);
            order.clear();
            let keys = events.iter().enumerate();
            order.extend(keys.map(|(place, event)| {
                let offset = event.at.saturating_sub(start);
                (u64::from(event.router) << 32 | offset, place as u32)
            }));
            order.sort_unstable();
            let mut turns = &order[..];
            while let Some(first) = turns.first() {
                let router = first.0 >> 32;
                let count = turns.iter().take_while(|key| key.0 >> 32 == router).count();
                let (turn, rest) = turns.split_at(count);
                self.turn(router as usize, turn, &events);
                turns = rest;
            }
            self.queue.give_back(events);
            self.now = end;
        }
        self.now = self.now.max(until);
    }

    /// Whether every router that is up has everything, and has delivered it.
    fn is_settled(&self) -> bool {
        (0..self.routers.len()).all(|router| self.router_is_settled(router))
    }

    fn router_is_settled(&self, me: usize) -> bool {
        let router = &self.routers[me];
        !router.up
            || router.sessions.iter().all(|attendance| {
                let ingress = &self.routers[self.scenario.sessions[attendance.plan].ingress];
                let mut there = ingress.sessions.iter();
                let lead = there
                    .find(|other| other.plan == attendance.plan)
                    .and_then(|other| ingress.session(other))
                    .map(|session| (session.lead(), session.epoch()));
                router.session(attendance).is_some_and(|session| {
                    let here = (session.lead(), session.epoch());
                    let complete = lead.is_none_or(|lead| lead == here);
                    let delivered = session.expected() == session.lead().next();
                    complete && delivered && Seen::new(session).in_flight == 0
                })
            })
    }

    /// What the run came to, up to now. What is still missing counts as such: ask when the run has ended.
    pub fn report(&mut self) -> Report {
        let mut report = core::mem::take(&mut self.report);
        report.replay.clone_from(&self.scenario.replay);
        self.check_amplification();
        for me in 0..self.routers.len() {
            self.complete(me);
            self.routers[me].end_life();
            let node = core::mem::take(&mut self.routers[me].history.report);
            report.naks_per_loss_max = report.naks_per_loss_max.max(node.naks_per_loss_max);
            let last_hops = &self.layout.joined[me];
            for (plan, stats) in &node.sessions {
                let delivers = |joined: &&super::layout::Joined| joined.config.delivery.is_some();
                if last_hops
                    .iter()
                    .filter(delivers)
                    .any(|joined| joined.plan == *plan)
                {
                    report.count(stats);
                }
            }
            report.nodes.push(node);
        }
        for (from, ports) in self.layout.ports.iter().enumerate() {
            for port in ports {
                let stats = &self.layout.directions[port.direction].stats;
                report.total.add(stats);
                report.links.push((from, port.peer, *stats));
            }
        }
        report.source_packets = self.sources.iter().map(|sent| sent.at.len() as u64).sum();
        report.violations = core::mem::take(&mut self.verdict.violations);
        report.violation_count = self.verdict.count;
        report.events = self.events;
        report.virtual_time = self.now();
        report.run_time = self.started.elapsed();
        report
    }

    /// Checks at the end that no link had more of the trees than the ingresses made: what a router sends on twice,
    /// those below it double again.
    fn check_amplification(&mut self) {
        let trees = 2;
        // A node announces each lead at most once a millisecond.
        let heartbeats = self.now / 1_000_000 * self.scenario.sessions.len() as u64;
        let made = [self.made[0], heartbeats, self.made[1]];
        for (from, ports) in self.layout.ports.iter().enumerate() {
            for port in ports {
                let stats = &self.layout.directions[port.direction].stats;
                let carried = [stats.data, stats.heartbeats, stats.parity];
                for (carried, made) in carried.into_iter().zip(made) {
                    let verdict = self.verdict.step(self.now, from);
                    // A router that restarts may take again what it has had.
                    verdict.check(Rule::Storm, carried.packets <= trees * made + 64, || {
                        let to = port.peer;
                        alloc::format!("{made} packets became {carried:?} on the way to {to}")
                    });
                }
            }
        }
    }

    /// Checks at the end that everything is accounted for.
    fn complete(&mut self, me: usize) {
        let router = &self.routers[me];
        for attendance in &router.sessions {
            let Some(session) = router.session(attendance) else {
                continue;
            };
            let seen = Seen::new(session);
            let verdict = self.verdict.step(self.now, me);
            if self.scenario.lossless {
                let all = (seen.unrecovered, seen.undelivered, seen.in_flight);
                verdict.check(Rule::Recovered, all == (0, 0, 0), || {
                    alloc::format!("gave up packets: {seen:?}")
                });
                let sent = &self.sources[attendance.plan];
                let before = sent.epochs.last().map_or(0, |epoch| epoch.1);
                let last = sent.at.len() as u64 - before;
                verdict.check(Rule::Complete, seen.lead == last, || {
                    alloc::format!("knows of {} packets of {last}", seen.lead)
                });
            }
            if attendance.delivers {
                let stats = session.stats();
                let told =
                    stats.delivered + stats.unrecovered + stats.undelivered + stats.in_flight;
                let waits = stats.in_flight > 0;
                verdict.check(Rule::Complete, waits || told == stats.sent, || {
                    alloc::format!("{} delivered: {seen:?}", stats.delivered)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;

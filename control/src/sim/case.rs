//! From a topology to what the simulator runs. Pure.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use overlay::sim::{Action, BurstLoss, Impairment, Link, NodeSettings, Place};
use overlay::sim::{Scenario, SessionPlan, Source};
use overlay::{Order, SessionConfig};
use serde_json::json;
use thiserror::Error;

use crate::config::{self, Config, quantity};
use crate::lab::{Draft, Event, Impair, PlanError, PortKind, Session, Topology, Tree};
use crate::probe;

/// What a link without a delay of its own takes: about what a packet needs from one node of a lab to the next.
const HOP: Duration = Duration::from_micros(100);
/// Hellos and longest links before the sources begin: all adjacencies are up by then, even where much is lost.
const HEAD_START: u32 = 10;
/// How much longer than its deadline a last hop may take to close its books; the lab's as well.
const GRACE: Duration = Duration::from_secs(2);
/// IPv4 and UDP header of the packets that a source sends.
const INNER_HEADERS: u32 = 28;
/// The queue in front of a rate limit, as time at that rate: that of a lab's link.
const RATE_QUEUE: Duration = Duration::from_millis(100);

/// Why a topology can't be simulated.
#[derive(Debug, Error)]
pub(super) enum CaseError {
    /// It can't be laid out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A link's settings make no sense.
    #[error("{place}: {}", .lines.join("; "))]
    Impair {
        /// Where they stand.
        place: String,
        /// What is wrong.
        lines: Vec<String>,
    },
    /// Nobody receives the session.
    #[error("session {0} has no client, so there is nothing to simulate")]
    NoClient(String),
    /// A client gets its packets without a tree.
    #[error(
        "session {session}: a client at {router} can't be simulated, since that is the ingress; \
         leave out its clients there"
    )]
    ClientAtIngress {
        /// The session.
        session: String,
        /// The ingress.
        router: String,
    },
    /// A source that sends nothing.
    #[error("session {0}: a rate of 0 sends nothing")]
    Silent(String),
}

/// What is simulated: a scenario, and what its parts are called.
#[derive(Debug)]
pub(super) struct Case {
    /// Its name.
    pub(super) name: String,
    /// The routers' names.
    pub(super) routers: Vec<String>,
    /// The sessions' names.
    pub(super) sessions: Vec<String>,
    /// What there is and what happens; the seed is the topology's.
    pub(super) scenario: Scenario,
}

impl Case {
    /// The case of a topology: the routers, trees and settings that its lab would have.
    pub(super) fn new(topology: &Topology) -> Result<Case, CaseError> {
        let draft = Draft::new(topology)?;
        let mut scenario = Scenario::new(topology.seed, topology.routers.len());
        // Operators may ask for more than can be had; what is given up is a result, no defect.
        scenario.lossless = false;
        let routers = routers(topology);
        for link in &topology.links {
            let place = format!("link {}:{}", link.between[0], link.between[1]);
            let impairment = impairment(&place, &link.settings.or(&topology.link_defaults).impair)?;
            let between = link.between.each_ref().map(|name| routers[name.as_str()]);
            scenario
                .links
                .push(Link::new(between[0], between[1], impairment));
        }
        let mut most_repairs = 0;
        for (index, session) in topology.sessions.iter().enumerate() {
            let tree = &draft.trees()[index];
            let config = member_config(&draft, tree, session)?;
            most_repairs = repair_rate_pps(&config).max(most_repairs);
            scenario.node = node_settings(&config, most_repairs);
            let plan = session_plan(topology, session, tree, &config)?;
            scenario.drain = scenario.drain.max(plan.config.deadline + GRACE);
            scenario.sessions.push(plan);
        }
        let start = start(&scenario);
        for session in &mut scenario.sessions {
            session.source.start = start;
        }
        for (index, event) in topology.events.iter().enumerate() {
            let place = format!("event {}", index + 1);
            let actions = actions(&place, event, &routers, &scenario)?;
            let from_start = actions.into_iter().map(|(at, action)| (start + at, action));
            scenario.events.extend(from_start);
        }
        Ok(Case {
            name: topology.name.clone(),
            routers: topology.routers.clone(),
            sessions: topology.sessions.iter().map(|at| at.name.clone()).collect(),
            scenario,
        })
    }

    /// The random case of a seed.
    pub(super) fn random(seed: u64) -> Case {
        let scenario = overlay::sim::random(seed);
        Case {
            name: "random".to_string(),
            routers: (0..scenario.routers).map(|at| at.to_string()).collect(),
            sessions: (1..=scenario.sessions.len())
                .map(|at| at.to_string())
                .collect(),
            scenario,
        }
    }
}

/// The routers' numbers.
fn routers(topology: &Topology) -> HashMap<&str, usize> {
    let names = topology.routers.iter().enumerate();
    names.map(|(at, name)| (name.as_str(), at)).collect()
}

/// The configuration of a node that carries the session, read as that node would read it.
fn member_config(
    draft: &Draft<'_>,
    tree: &Tree<'_>,
    session: &Session,
) -> Result<Config, CaseError> {
    if tree.last_hops().contains(&tree.ingress()) {
        return Err(CaseError::ClientAtIngress {
            session: session.name.clone(),
            router: tree.ingress().to_string(),
        });
    }
    let last_hop = tree.last_hops().first();
    let router = *last_hop.ok_or_else(|| CaseError::NoClient(session.name.clone()))?;
    let node = draft.node(router, Path::new("/run/treecast"), PortKind::AfPacket)?;
    let config = config::parse(router, &node.config).map_err(|errors| PlanError::Refused {
        node: router.to_string(),
        problems: errors.lines(),
    })?;
    Ok(config)
}

fn node_settings(config: &Config, repair_rate_pps: u32) -> NodeSettings {
    NodeSettings {
        hello_interval: config.node.hello_interval,
        detect_mult: config.node.detect_mult,
        hold_down: config.node.hold_down,
        repair_rate_pps,
    }
}

fn session_plan(
    topology: &Topology,
    session: &Session,
    tree: &Tree<'_>,
    config: &Config,
) -> Result<SessionPlan, CaseError> {
    let routers = routers(topology);
    let numbers = |names: Vec<&str>| names.into_iter().map(|name| routers[name]).collect();
    let last_hops: HashSet<&str> = tree.last_hops().iter().copied().collect();
    let below = tree
        .members()
        .iter()
        .filter(|name| **name != tree.ingress());
    let places = below.map(|name| Place {
        router: routers[name],
        upstream: numbers(tree.upstream(name)),
        second_upstream: numbers(tree.second_upstream(name)),
        delivers: last_hops.contains(name),
    });
    let mut plan = SessionPlan::new(routers[tree.ingress()], places.collect());
    let known = config.node.sessions.iter();
    if let Some(known) = known.into_iter().find(|known| known.name == session.name) {
        plan.config = SessionConfig {
            deadline: known.deadline,
            retention: known.retention,
            reorder_delay: known.reorder_delay,
            max_rate_pps: known.max_rate_pps,
            mode: known.mode,
            fec: known.fec,
            subcast_threshold: known.subcast_threshold,
            catch_up: known.catch_up,
            idle_timeout: known.idle_timeout,
            ..SessionConfig::default()
        };
        plan.order = match known.delivery {
            dataplane::Delivery::Ordered => Order::Ordered,
            dataplane::Delivery::Immediate => Order::Immediate,
        };
    }
    plan.source = source(topology, session)?;
    Ok(plan)
}

/// What the session's probe would send.
fn source(topology: &Topology, session: &Session) -> Result<Source, CaseError> {
    let pps = packets_per_second(topology, session);
    if pps <= 0.0 {
        return Err(CaseError::Silent(session.name.clone()));
    }
    // Checked with the topology, as all quantities are.
    let duration = quantity::duration(&topology.duration).unwrap_or_default();
    Ok(Source {
        interval: Duration::from_secs_f64(1.0 / pps).max(Duration::from_nanos(1)),
        count: ((duration.as_secs_f64() * pps).round() as u64).max(1),
        packet_bytes: topology.size as u32 + INNER_HEADERS,
        ..Source::default()
    })
}

/// How fast the source of a session sends.
pub(super) fn packets_per_second(topology: &Topology, session: &Session) -> f64 {
    let settings = session.settings.or(&topology.session_defaults);
    let rate = settings.rate.as_ref().unwrap_or(&topology.rate);
    quantity::rate(rate).map_or(0.0, |rate| probe::packets_per_second(rate, topology.size))
}

/// When the sources begin.
fn start(scenario: &Scenario) -> Duration {
    let delays = scenario.links.iter().map(|link| link.forth.delay);
    let longest = delays.max().unwrap_or_default();
    HEAD_START * (scenario.node.hello_interval + longest)
}

/// What a link does to packets, in each direction.
fn impairment(place: &str, impair: &Impair) -> Result<Impairment, CaseError> {
    let read = config::parse_impairment(&json!(impair)).map_err(|errors| CaseError::Impair {
        place: place.to_string(),
        lines: errors.lines(),
    })?;
    let burst = read.burst_loss.map(|burst| BurstLoss {
        loss: burst.loss,
        mean: burst.mean_len,
    });
    if burst.is_some_and(|burst| burst.loss >= 1.0) {
        return Err(CaseError::Impair {
            place: place.to_string(),
            lines: vec!["bursts of 100% never end: write loss = \"100%\" instead".to_string()],
        });
    }
    let rate_bps = read.rate_bps.unwrap_or(0);
    Ok(Impairment {
        delay: match read.delay {
            Duration::ZERO => HOP,
            delay => delay.max(Duration::from_micros(1)),
        },
        jitter: read.jitter,
        loss: read.loss,
        burst,
        reorder: read.reorder,
        duplicate: read.duplicate,
        rate_bps,
        queue_bytes: (rate_bps as f64 / 8.0 * RATE_QUEUE.as_secs_f64()) as u64,
    })
}

/// What an event comes to, and when, counted from the first packet.
fn actions(
    place: &str,
    event: &Event,
    routers: &HashMap<&str, usize>,
    scenario: &Scenario,
) -> Result<Vec<(Duration, Action)>, CaseError> {
    let read = |text: &String| quantity::duration(text).unwrap_or_default();
    let at = read(&event.at);
    let mut actions = Vec::new();
    if let Some(link) = &event.link {
        let [a, b] = link.each_ref().map(|name| routers[name.as_str()]);
        let during = impairment(place, &event.impair)?;
        let before = scenario.links.iter().find(|link| {
            let [one, other] = link.between;
            [one, other] == [a, b] || [one, other] == [b, a]
        });
        for (from, to) in [(a, b), (b, a)] {
            actions.push((at, Action::Impair(from, to, during)));
            if let (Some(lasting), Some(before)) = (&event.lasting, before) {
                let restored = Action::Impair(from, to, before.forth);
                actions.push((at + read(lasting), restored));
            }
        }
    }
    if let Some(node) = &event.kill {
        let router = routers[node.as_str()];
        actions.push((at, Action::Kill(router)));
        if let Some(after) = &event.start_after {
            actions.push((at + read(after), Action::Restart(router)));
        }
    }
    Ok(actions)
}

/// Most repairs per second that a node sends to one neighbor.
fn repair_rate_pps(config: &Config) -> u32 {
    let neighbors = config.node.neighbors.iter();
    let rates = neighbors.map(|neighbor| neighbor.repair_rate_pps);
    rates.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;

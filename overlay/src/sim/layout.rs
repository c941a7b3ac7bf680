//! Who is whose neighbor, and how each router's sessions are set up.

use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;

use super::link::Direction;
use super::scenario::{Place, Scenario, SessionPlan};
use crate::{NeighborId, SessionConfig, SessionId};

/// A router's adjacency: the neighbor at its place in the node's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    /// The router at the other end.
    pub(super) peer: usize,
    /// The direction of the link from here to there.
    pub(super) direction: usize,
}

/// One session of one router, as it is to be set up in each of the router's lives.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// Its place in the scenario.
    pub(super) plan: usize,
    pub(super) config: SessionConfig,
    /// How long a packet takes here from the ingress by the shortest of its trees, undisturbed.
    pub(super) path_ns: u64,
}

/// The scenario, as the network needs it.
#[derive(Debug)]
pub(super) struct Layout {
    /// By router, in the order of the neighbors' numbers there.
    pub(super) ports: Vec<Vec<Port>>,
    /// By router.
    pub(super) joined: Vec<Vec<Joined>>,
    pub(super) directions: Vec<Direction>,
}

impl Layout {
    pub(super) fn new(scenario: &Scenario) -> Layout {
        let mut layout = Layout {
            ports: alloc::vec![Vec::new(); scenario.routers],
            joined: alloc::vec![Vec::new(); scenario.routers],
            directions: Vec::with_capacity(2 * scenario.links.len()),
        };
        for link in &scenario.links {
            let [one, other] = link.between;
            let ends = [(one, other, link.forth), (other, one, link.back)];
            let known_as = [one, other].map(|router| NeighborId(layout.ports[router].len() as u16));
            for (place, (from, to, impairment)) in ends.into_iter().enumerate() {
                let direction = layout.directions.len();
                let seed = mix(scenario.seed, direction as u64);
                let arrives_as = known_as[1 - place];
                layout.ports[from].push(Port {
                    peer: to,
                    direction,
                });
                let direction = Direction::new(to, arrives_as, impairment, seed);
                layout.directions.push(direction);
            }
        }
        for (number, plan) in scenario.sessions.iter().enumerate() {
            layout.join(number, plan);
        }
        layout
    }

    /// As which neighbor a router knows another.
    pub(super) fn neighbor(&self, router: usize, peer: usize) -> Option<NeighborId> {
        let place = self.ports[router]
            .iter()
            .position(|port| port.peer == peer)?;
        Some(NeighborId(place as u16))
    }

    /// The direction of the link from one router to another.
    pub(super) fn direction(&self, from: usize, to: usize) -> Option<usize> {
        let port = self.ports[from].iter().find(|port| port.peer == to)?;
        Some(port.direction)
    }

    fn join(&mut self, number: usize, plan: &SessionPlan) {
        let mut children: HashMap<usize, [Vec<NeighborId>; 2]> = HashMap::new();
        for place in &plan.places {
            for (tree, parents) in [&place.upstream, &place.second_upstream].iter().enumerate() {
                let Some(&parent) = parents.first() else {
                    continue;
                };
                if let Some(child) = self.neighbor(parent, place.router) {
                    children.entry(parent).or_default()[tree].push(child);
                }
            }
        }
        let paths = self.paths(plan);
        let ingress = Place {
            router: plan.ingress,
            ..Place::default()
        };
        for place in core::iter::once(&ingress).chain(&plan.places) {
            let neighbors = |peers: &[usize]| -> Vec<NeighborId> {
                let known = peers.iter();
                known
                    .filter_map(|&peer| self.neighbor(place.router, peer))
                    .collect()
            };
            let [downstream, second_downstream] =
                children.remove(&place.router).unwrap_or_default();
            let config = SessionConfig {
                id: SessionId(number as u32 + 1),
                upstream: neighbors(&place.upstream),
                second_upstream: neighbors(&place.second_upstream),
                downstream,
                second_downstream,
                delivery: place.delivers.then_some(plan.order),
                ..plan.config.clone()
            };
            self.joined[place.router].push(Joined {
                plan: number,
                config,
                path_ns: paths.get(&place.router).copied().unwrap_or(0),
            });
        }
    }

    /// How long the faster of the trees takes to each router.
    fn paths(&self, plan: &SessionPlan) -> HashMap<usize, u64> {
        let mut best: HashMap<usize, u64> = HashMap::new();
        let trees: [fn(&Place) -> Option<&usize>; 2] = [
            |place| place.upstream.first(),
            |place| place.second_upstream.first(),
        ];
        for parent_of in trees {
            let parents: HashMap<usize, usize> = plan
                .places
                .iter()
                .filter_map(|place| Some((place.router, *parent_of(place)?)))
                .collect();
            for place in &plan.places {
                let path = self.path(plan.ingress, place.router, &parents);
                if let Some(path) = path {
                    let shortest = best.entry(place.router).or_insert(path);
                    *shortest = path.min(*shortest);
                }
            }
        }
        best
    }

    fn path(&self, ingress: usize, from: usize, parents: &HashMap<usize, usize>) -> Option<u64> {
        let (mut at, mut path) = (from, Duration::ZERO);
        // No path is longer than there are routers; a circle is none.
        for _ in 0..=parents.len() {
            if at == ingress {
                return Some(path.as_nanos() as u64);
            }
            let parent = *parents.get(&at)?;
            path += self.directions[self.direction(parent, at)?]
                .impairment
                .delay;
            at = parent;
        }
        None
    }
}

/// A seed of its own for each of several things (SplitMix64).
pub(super) fn mix(seed: u64, of: u64) -> u64 {
    let mut mixed = seed.wrapping_add(of.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

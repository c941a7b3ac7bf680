//! Any interleaving is legal: a node under arbitrary inputs, with what must hold checked after every step.
//!
//! The inputs follow from bytes: random ones in the test below, and those of libFuzzer in the target
//! `session_machine`.

use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::wire::{FLAG_COPY, FLAG_HISTORY, FLAG_SECOND, Hello, Kind, NakRanges};
use crate::{Fec, Mode, NeighborConfig, Order, SeqRange, SessionConfig, Tree};
use choices::Choices;
use watch::Watched;

mod choices;
mod inputs;
mod watch;

const NEIGHBORS: u16 = 3;
const INGRESS: u32 = 1;
const SESSIONS: u32 = 4;
/// Steps of a run, so that no input takes long.
const STEPS_MAX: usize = 3000;

/// What stands for a packet: which one it is.
type Packet = (Epoch, Seq);

/// A node, where its inputs come from, and what it has put out.
#[derive(Debug)]
pub(crate) struct Fuzz<'a> {
    choices: Choices<'a>,
    now: Instant,
    node: Node<Packet>,
    watched: Vec<Watched>,
    epochs: Vec<u16>,
    clients: u64,
}

impl Fuzz<'_> {
    /// A node with some neighbors and sessions.
    pub(crate) fn new(bytes: &[u8]) -> Fuzz<'_> {
        let now = Instant(1_000_000_000);
        let config = NodeConfig {
            epoch: Epoch(1),
            hello_interval: Duration::from_millis(10),
            hold_down: Duration::from_millis(20),
            max_neighbors: usize::from(NEIGHBORS),
            max_sessions: SESSIONS as usize,
        };
        let mut fuzz = Fuzz {
            choices: Choices(bytes),
            now,
            node: Node::new(now, config),
            watched: (0..=SESSIONS).map(|_| Watched::default()).collect(),
            epochs: std::vec![1; SESSIONS as usize + 1],
            clients: 0,
        };
        for _ in 0..NEIGHBORS {
            fuzz.add_neighbor();
        }
        for id in 1..=SESSIONS {
            fuzz.add_session(id);
        }
        fuzz
    }

    /// Makes steps until the choices are used up.
    ///
    /// # Panics
    /// When something does not hold that must.
    pub(crate) fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.choices.is_used_up() {
                break;
            }
            self.step();
            self.check();
            if self.choices.below(3) > 0 {
                self.drain();
                self.check();
            }
        }
        self.drain();
        self.check();
    }

    fn step(&mut self) {
        match self.choices.below(100) {
            0..18 => self.source(),
            18..42 => self.data(),
            42..52 => self.repair(),
            52..60 => self.copy(),
            60..64 => self.heartbeat(),
            64..72 => self.nak(),
            72..76 => self.confirm(),
            76..80 => self.parity(),
            80..84 => self.hello(),
            84..87 => self.request(),
            87..95 => self.pass_time(),
            95..97 => self.catch_up(),
            _ => self.configure(),
        }
    }

    fn pass_time(&mut self) {
        let spans = [1, 1000, 100_000, 1_000_000, 10_000_000];
        let jumps = [200_000_000, 1_000_000_000, 11_000_000_000];
        let span = if self.choices.rarely(50) {
            self.choices.pick(&jumps)
        } else {
            self.choices.pick(&spans)
        };
        self.now = self.now + Duration::from_nanos(span);
    }

    fn add_neighbor(&mut self) {
        let config = NeighborConfig {
            hello_interval: Duration::from_millis(10),
            detect_mult: 3,
            repair_rate_pps: self.choices.pick(&[0, 1, 1000, 50_000]),
        };
        self.node.add_neighbor(self.now, config);
    }

    fn add_session(&mut self, id: u32) {
        let config = self.config(id);
        self.epochs[id as usize] += 1;
        let epoch = Epoch(self.epochs[id as usize]);
        let session = Box::new(Session::new(self.now, config, epoch));
        if self.node.add_session(self.now, session).is_ok() {
            self.watched[id as usize] = Watched::default();
        }
    }

    fn configure(&mut self) {
        let Some((id, index)) = self.session() else {
            return;
        };
        match self.choices.below(20) {
            0 => drop(self.node.remove_session(index)),
            1..5 => {
                let config = self.config(id);
                self.watched[id as usize].reconfigured(&self.node, index, &config);
                self.node.reconfigure(self.now, index, config);
            }
            // No session names neighbor 2.
            5 => self.node.remove_neighbor(NeighborId(2)),
            6 => self.add_neighbor(),
            7 if self.choices.rarely(4) => self.node.end_session(self.now, index),
            _ => {}
        }
        for id in 1..=SESSIONS {
            if self.node.find(SessionId(id)).is_none() && self.choices.below(2) > 0 {
                self.add_session(id);
            }
        }
    }

    /// One of the sessions that are there.
    fn session(&mut self) -> Option<(u32, SessionIndex)> {
        let id = 1 + self.choices.below(u64::from(SESSIONS)) as u32;
        Some((id, self.node.find(SessionId(id))?))
    }

    /// Session 1 begins here, 2 is in transit, 3 and 4 are delivered.
    fn config(&mut self, id: u32) -> SessionConfig {
        let from = |ids: &[u16]| ids.iter().copied().map(NeighborId).collect();
        let upstream: &[&[u16]] = if id == INGRESS {
            &[&[]]
        } else {
            &[&[0], &[0, 1], &[1, 0], &[0, 1]]
        };
        let orders = [None, Some(Order::Ordered), Some(Order::Immediate)];
        let delivery = match id {
            3 => Some(Order::Ordered),
            4 => Some(Order::Immediate),
            _ => self.choices.pick(&orders),
        };
        let fec = Fec {
            block: self.choices.pick(&[1, 8, 32, 128]),
            parity: self.choices.pick(&[1, 2, 32]),
        };
        let children: &[&[u16]] = &[&[], &[1], &[1], &[0, 1]];
        SessionConfig {
            id: SessionId(id),
            upstream: from(self.choices.pick(upstream)),
            downstream: from(self.choices.pick(children)),
            delivery,
            deadline: self.millis(&[0, 1, 20, 500]),
            retention: self.millis(&[0, 10, 1000]),
            reorder_delay: self.millis(&[0, 1]),
            max_rate_pps: self.choices.pick(&[1, 1000, 2000]),
            second_upstream: from(self.choices.pick(&[&[], &[1]])),
            second_downstream: from(self.choices.pick(children)),
            mode: self.choices.pick(&[Mode::Pull, Mode::Copy, Mode::Auto]),
            fec: self.choices.pick(&[None, Some(fec)]),
            subcast_threshold: self.choices.pick(&[0, 1, 2]),
            catch_up: self.millis(&[0, 0, 100]),
            idle_timeout: self.millis(&[20, 600_000]),
        }
    }

    fn millis(&mut self, from: &[u64]) -> Duration {
        Duration::from_millis(self.choices.pick(from))
    }
}

/// `FUZZ_SEEDS` and `FUZZ_FROM` choose how many seeds are run, and which.
#[cfg(test)]
#[test]
fn any_interleaving_keeps_the_balance_and_comes_to_rest() {
    let seeds = std::env::var("FUZZ_SEEDS").map_or(20, |n| n.parse().unwrap());
    let start = std::env::var("FUZZ_FROM").map_or(0, |n| n.parse().unwrap());
    let mut failed = Vec::new();
    for seed in start..start + seeds {
        let mut bytes = std::vec![0; 32_768];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        if std::panic::catch_unwind(|| Fuzz::new(&bytes).run()).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed with seeds {failed:?}");
}

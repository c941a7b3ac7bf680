//! Any interleaving is legal: a node under arbitrary inputs, seeded, with what must hold checked after every step.

use std::boxed::Box;
use std::collections::BTreeSet;
use std::vec::Vec;

use super::*;
use crate::{Order, SessionConfig, wire};

const NEIGHBORS: u16 = 3;
const INGRESS: u32 = 1;
const SESSIONS: u32 = 4;

/// What a session delivered in the present life of its ingress.
#[derive(Default)]
struct Delivered {
    seqs: BTreeSet<u64>,
    last: u64,
    /// The order changed while packets flowed: across that, only "once" holds.
    mixed: bool,
    held: usize,
}

struct Fuzz {
    rng: fastrand::Rng,
    now: Instant,
    node: Node<u64>,
    delivered: Vec<Delivered>,
    epochs: Vec<u16>,
}

impl Fuzz {
    fn new(seed: u64) -> Fuzz {
        let now = Instant(1_000_000_000);
        let config = NodeConfig {
            epoch: Epoch(1),
            hello_interval: Duration::from_millis(10),
            hold_down: Duration::ZERO,
            max_neighbors: 3,
            max_sessions: SESSIONS as usize,
        };
        let mut fuzz = Fuzz {
            rng: fastrand::Rng::with_seed(seed),
            now,
            node: Node::new(now, config),
            delivered: (0..=SESSIONS).map(|_| Delivered::default()).collect(),
            epochs: std::vec![1; SESSIONS as usize + 1],
        };
        for _ in 0..NEIGHBORS {
            fuzz.add_neighbor();
        }
        for id in 1..=SESSIONS {
            fuzz.add_session(id);
        }
        fuzz
    }

    fn add_neighbor(&mut self) {
        let config = NeighborConfig {
            hello_interval: Duration::from_millis(10),
            detect_mult: 3,
            repair_rate_pps: *self.pick(&[0, 1, 1000, 50_000]),
        };
        self.node.add_neighbor(self.now, config);
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.usize(..from.len())]
    }

    fn millis(&mut self, from: &[u64]) -> Duration {
        Duration::from_millis(*self.pick(from))
    }

    /// Session 1 begins here, 2 is in transit, 3 and 4 are delivered.
    fn config(&mut self, id: u32) -> SessionConfig {
        let upstream: &[&[u16]] = if id == INGRESS {
            &[&[]]
        } else {
            &[&[0], &[0, 1], &[1, 0], &[0, 1]]
        };
        let orders = [None, Some(Order::Ordered), Some(Order::Immediate)];
        let delivery = match id {
            3 => Some(Order::Ordered),
            4 => Some(Order::Immediate),
            _ => *self.pick(&orders),
        };
        SessionConfig {
            id: SessionId(id),
            upstream: self
                .pick(upstream)
                .iter()
                .copied()
                .map(NeighborId)
                .collect(),
            downstream: [NeighborId(1)][..self.rng.usize(..2)].to_vec(),
            delivery,
            deadline: self.millis(&[0, 1, 20, 500]),
            retention: self.millis(&[0, 10, 1000]),
            reorder_delay: self.millis(&[0, 1]),
            max_rate_pps: *self.pick(&[1, 1000, 2000]),
            ..SessionConfig::default()
        }
    }

    fn add_session(&mut self, id: u32) {
        let config = self.config(id);
        self.epochs[id as usize] += 1;
        let epoch = Epoch(self.epochs[id as usize]);
        let session = Box::new(Session::new(self.now, config, epoch));
        if self.node.add_session(self.now, session).is_ok() {
            self.delivered[id as usize] = Delivered::default();
        }
    }

    fn index(&mut self) -> Option<SessionIndex> {
        let id = self.rng.u32(1..=SESSIONS);
        self.node.find(SessionId(id))
    }

    fn header(&mut self, kind: Kind) -> Option<Header> {
        let id = self.rng.u32(1..=SESSIONS);
        let index = self.node.find(SessionId(id))?;
        let (lead, trail, expected, epoch) = {
            let session = self.node.session(index)?;
            (
                session.lead().0,
                session.trail().0,
                session.expected().0,
                session.epoch(),
            )
        };
        let places = [
            lead,
            lead,
            lead,
            lead,
            lead,
            trail,
            expected,
            lead.saturating_add(2),
            lead.saturating_add(30),
            lead.saturating_add(512),
            lead.saturating_add(1024),
            lead.saturating_add(2048),
            lead.saturating_sub(1024),
            lead.saturating_sub(2048),
            1,
        ];
        let wild = [1 << 32, u64::MAX - 4096, u64::MAX - 2];
        let near = if self.rng.u32(..200) == 0 {
            *self.pick(&wild)
        } else {
            *self.pick(&places)
        };
        let up = near.saturating_add(self.rng.u64(..4));
        let mut sequence = up.saturating_sub(self.rng.u64(..3)).max(1);
        if self.rng.u32(..2000) == 0 {
            sequence = self.rng.u64(1..u64::MAX);
        }
        let epoch = match (self.rng.u32(..400), epoch) {
            (0, Some(epoch)) => Epoch(epoch.0.wrapping_add(1)),
            (1, Some(epoch)) => Epoch(epoch.0.wrapping_sub(1)),
            (2, _) | (_, None) => Epoch(self.rng.u16(..)),
            (_, Some(epoch)) => epoch,
        };
        let header = Header {
            kind,
            flags: 0,
            epoch,
            session: SessionId(id),
            sequence: Seq(sequence),
            timestamp: self.now.0,
        };
        Some(Header::parse(&header.emit()).ok()?.0)
    }

    fn step(&mut self) {
        match self.rng.u32(..100) {
            0..20 => {
                if let Some(index) = self.node.find(SessionId(INGRESS)) {
                    let lead = self.node.session(index).unwrap().lead().0;
                    let _ = self.node.handle_source(self.now, index, 0, lead + 1);
                }
            }
            20..50 => {
                if let Some(header) = self.header(Kind::Data) {
                    let _ = self.node.handle_data(self.now, &header, header.sequence.0);
                }
            }
            50..65 => {
                if let Some(header) = self.header(Kind::Repair) {
                    let from = NeighborId(self.rng.u16(..4));
                    let _ = self
                        .node
                        .handle_repair(self.now, from, &header, header.sequence.0);
                }
            }
            65..70 => {
                if let Some(header) = self.header(Kind::Heartbeat) {
                    let _ = self.node.handle_heartbeat(self.now, &header);
                }
            }
            70..80 => self.nak(),
            80..85 => self.hello(),
            85..87 => {
                if let Some(header) = self.header(Kind::Hello) {
                    let from = NeighborId(self.rng.u16(..4));
                    let _ = self.node.handle_request(self.now, from, &header);
                }
            }
            87..96 => self.pass_time(),
            _ => self.configure(),
        }
    }

    fn nak(&mut self) {
        let mut body = Vec::new();
        let Some(header) = self.header(Kind::Nak) else {
            return;
        };
        for _ in 0..self.rng.usize(1..6) {
            let first = self
                .header(Kind::Data)
                .map_or(1, |header| header.sequence.0);
            let count = *self.pick(&[1, 1, 1, 3, 100, 4096, u32::MAX]);
            body.extend(
                SeqRange::new(Seq(first), count)
                    .map(wire::emit_range)
                    .into_iter()
                    .flatten(),
            );
        }
        if let Ok(ranges) = NakRanges::parse(&body) {
            let from = NeighborId(self.rng.u16(..4));
            let _ = self.node.handle_nak(self.now, from, &header, ranges);
        }
    }

    fn hello(&mut self) {
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch: Epoch(1 + u16::from(self.rng.u32(..50) == 0)),
            session: SessionId(0),
            sequence: Seq(self.now.0 + self.rng.u64(..3)),
            timestamp: *self.pick(&[0, 1, self.now.0, u64::MAX]),
        };
        let hello = Hello {
            interval_us: *self.pick(&[1, 10_000, 10_000, u32::MAX]),
            detect_mult: *self.pick(&[1, 3, 255]),
            state: *self.pick(&[
                HelloState::Down,
                HelloState::Init,
                HelloState::Up,
                HelloState::Up,
            ]),
            echo: *self.pick(&[0, 1, self.now.0, u64::MAX]),
            held_ns: *self.pick(&[0, 1000, u64::MAX]),
        };
        let from = NeighborId(self.rng.u16(..4));
        let _ = self.node.handle_hello(self.now, from, &header, &hello);
    }

    fn pass_time(&mut self) {
        let spans = [1, 1000, 100_000, 1_000_000, 10_000_000];
        let jumps = [1_000_000_000, 11_000_000_000];
        let span = if self.rng.u32(..50) == 0 {
            *self.pick(&jumps)
        } else {
            *self.pick(&spans)
        };
        self.now = self.now + Duration::from_nanos(span);
    }

    fn configure(&mut self) {
        let Some(index) = self.index() else { return };
        let id = self.node.session(index).unwrap().config().id.0;
        match self.rng.u32(..20) {
            0 => drop(self.node.remove_session(index)),
            1..5 => {
                let config = self.config(id);
                let before = self.node.session(index).unwrap().config().delivery;
                self.delivered[id as usize].mixed |= before != config.delivery;
                self.node.reconfigure(self.now, index, config);
            }
            5 => {
                // No session names neighbor 2.
                self.node.remove_neighbor(NeighborId(2));
            }
            6 => self.add_neighbor(),
            _ => {}
        }
        for id in 1..=SESSIONS {
            if self.node.find(SessionId(id)).is_none() && self.rng.bool() {
                self.add_session(id);
            }
        }
    }

    /// Takes all output, as far as there is any.
    fn drain(&mut self) {
        for _ in 0..64 {
            self.node.handle_timeout(self.now);
            let mut outputs = 0;
            while let Some(_sent) = self.node.poll_transmit(self.now) {
                outputs += 1;
                assert!(outputs < 6000, "does not stop sending");
            }
            self.deliver();
            if self.node.poll_timeout() > self.now {
                return;
            }
        }
        panic!(
            "timer stays due at {:?}: {:?}",
            self.now,
            self.node.poll_timeout()
        );
    }

    fn deliver(&mut self) {
        while let Some(event) = self.node.poll_event() {
            if let Event::Epoch(id, _) = event {
                let delivered = &mut self.delivered[id.0 as usize];
                delivered.seqs.clear();
                delivered.last = 0;
            }
        }
        while let Some((index, seq, &packet)) = self.node.poll_deliver(self.now) {
            assert_eq!(seq.0, packet);
            let config = self.node.session(index).unwrap().config().clone();
            let delivered = &mut self.delivered[config.id.0 as usize];
            assert!(delivered.seqs.insert(seq.0), "{seq} delivered twice");
            if config.delivery == Some(Order::Ordered) && !delivered.mixed {
                assert!(seq.0 > delivered.last, "{seq} after {}", delivered.last);
            }
            delivered.last = seq.0;
        }
    }

    fn check(&mut self) {
        for id in 1..=SESSIONS {
            let Some(index) = self.node.find(SessionId(id)) else {
                continue;
            };
            let session = self.node.session(index).unwrap();
            let stats = session.stats();
            let sum = stats.tree + stats.repaired + stats.unrecovered.wrapping_add(stats.in_flight);
            assert_eq!(stats.sent, sum, "balance of {id}");
            session.check();
            let held_max = session.config().held_max() + 1;
            let held_before =
                core::mem::replace(&mut self.delivered[id as usize].held, session.held());
            assert!(session.held() <= held_max.max(held_before), "held");
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.check();
            if self.rng.u32(..3) > 0 {
                self.drain();
                self.check();
            }
        }
    }
}

/// `FUZZ_SEEDS` and `FUZZ_FROM` choose how many seeds are run, and which.
#[test]
fn any_interleaving_keeps_the_balance_and_comes_to_rest() {
    let seeds = std::env::var("FUZZ_SEEDS").map_or(20, |n| n.parse().unwrap());
    let start = std::env::var("FUZZ_FROM").map_or(0, |n| n.parse().unwrap());
    let mut failed = Vec::new();
    for seed in start..start + seeds {
        if std::panic::catch_unwind(|| Fuzz::new(seed).run(3000)).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed with seeds {failed:?}");
}

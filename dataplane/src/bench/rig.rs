//! A node under the stopwatch.

use std::time::Duration;

use super::frames::{Generator, STATION};
use super::setup::{BEYOND, node};
use super::stopwatch::{Stopwatch, Usual};
use super::{Role, Sample, Wire, Workload};
use crate::eal::ThreadRegistration;
use crate::frame::{Mac, PortIndex};
use crate::node::{Built, StartError, build, set_up_thread};
use crate::worker::Worker;

/// The burst: as the worker takes it from a port in a turn, and as testpmd does.
const BURST: u64 = 32;
/// Copies that a fan-out makes in a section, at the least.
const COPIES: u64 = 1024;
/// Sections between looks at the clock.
const SECTIONS: usize = 16;
/// Turns after which a section must be over: it takes two or three.
const TURNS_MAX: usize = 1000;

const IN: PortIndex = PortIndex(0);
const OUT: PortIndex = PortIndex(1);

/// A node whose worker runs on the thread that made it. A process can have one.
pub struct Rig {
    workload: Workload,
    built: Built,
    generator: Generator,
    /// Frames that come in in a section, and those that go out of it.
    burst: u64,
    expected: u64,
    is_fed_by_ring: bool,
    usual: Usual,
    _registration: ThreadRegistration,
}

impl Rig {
    /// Starts DPDK with the workload's devices, pins this thread to `cpu` and makes the node.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn new(workload: Workload, cpu: Option<usize>) -> Result<Rig, StartError> {
        let config = node(&workload, cpu);
        let built = build(&config)?;
        set_up_thread(cpu)?;
        let registration = built.eal.register_thread()?;
        let mac = Mac(built.ports[0].mac());
        let mut generator = Generator::new(&workload, mac);
        let copies = match workload.role {
            Role::LastHop => u64::from(workload.clients),
            Role::Ingress | Role::Transit => 1,
        };
        let is_fed_by_ring = workload.wire == Wire::Ring || copies > 1;
        if !is_fed_by_ring {
            let packets = &built.worker.pools().packets;
            if generator.is_constant() {
                packets.write_all(|mbuf| generator.write(mbuf));
            } else {
                let mut scratch = Generator::new(&workload, mac);
                packets.write_all(|mbuf| scratch.write(mbuf));
            }
        }
        let burst = if copies > 1 {
            COPIES.div_ceil(copies).min(BURST)
        } else {
            BURST
        };
        Ok(Rig {
            workload,
            built,
            generator,
            burst,
            expected: burst * copies,
            is_fed_by_ring,
            usual: Usual::default(),
            _registration: registration,
        })
    }

    /// Forwards for this long.
    ///
    /// # Errors
    /// A sentence, where not everything that came in went out: then nothing was measured.
    pub fn run(&mut self, time: Duration) -> Result<Sample, String> {
        for (port, address) in [(IN, BEYOND[0]), (OUT, BEYOND[1])] {
            self.built
                .worker
                .find_next_hop(port, address.into(), STATION);
        }
        let mut usual = std::mem::take(&mut self.usual);
        let mut stopwatch = Stopwatch::start(&mut usual);
        while !stopwatch.is_over(time) {
            for _ in 0..SECTIONS {
                self.feed();
                let (worker, expected) = (&mut self.built.worker, self.expected);
                let mut sent = 0;
                stopwatch.section(|| {
                    sent = section(worker, expected);
                    sent
                });
                if sent < expected {
                    return Err(self.why(sent));
                }
                if self.workload.wire == Wire::Ring {
                    self.built.worker.discard(OUT);
                }
            }
        }
        let sample = stopwatch.stop();
        self.usual = usual;
        Ok(sample)
    }

    /// Sees to the next burst.
    fn feed(&mut self) {
        let worker = &mut self.built.worker;
        if !self.is_fed_by_ring {
            if !self.generator.is_constant() {
                let packets = &worker.pools().packets;
                packets.write_next(BURST as usize, |mbuf| self.generator.rewrite(mbuf));
            }
            return;
        }
        for _ in 0..self.burst {
            if let Some(mut mbuf) = worker.pools().packets.alloc() {
                self.generator.write(&mut mbuf);
                worker.loop_back(IN, mbuf.into());
            }
        }
        worker.flush_loop(IN);
    }

    fn why(&self, sent: u64) -> String {
        let drops = self.built.worker.drops();
        let drops: Vec<_> = drops
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        format!(
            "{} of {} frames went out; drops: {}",
            sent,
            self.expected,
            drops.join(", ")
        )
    }
}

/// The worker's turns until a burst has gone through; returns how many frames went out.
fn section(worker: &mut Worker, expected: u64) -> u64 {
    let before = worker.sent(OUT);
    for _ in 0..TURNS_MAX {
        worker.turn();
        let sent = worker.sent(OUT) - before;
        if sent >= expected {
            return sent;
        }
    }
    worker.sent(OUT) - before
}

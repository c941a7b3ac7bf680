//! A node under the stopwatch.

use std::time::Duration;

use super::frames::{Generator, STATION};
use super::naks::NakGenerator;
use super::setup::{address, beyond, node};
use super::stopwatch::{Stopwatch, Usual};
use super::{Role, Sample, Wire, Workload};
use crate::eal::ThreadRegistration;
use crate::frame::{Mac, PortIndex};
use crate::mbuf::Mbuf;
use crate::node::{Built, StartError, build, set_up_thread};
use crate::worker::Worker;

/// The burst: as the worker takes it from a port in a turn, and as testpmd does.
const BURST: u64 = 32;
/// Copies that a fan-out makes in a section, at the least.
const COPIES: u64 = 1024;
/// The same where a ring takes them: what one holds, twice over.
const COPIES_ON_RING: u64 = 512;
/// Repairs of a section: what a turn sends of them.
const REPAIRS: u64 = 64;
/// Sections between looks at the clock.
const SECTIONS: usize = 16;
/// Turns after which a section must be over: it takes two or three.
const TURNS_MAX: usize = 1000;

const IN: PortIndex = PortIndex(0);
pub(super) const OUT: PortIndex = PortIndex(1);

/// A node whose worker runs on the thread that made it. A process can have one.
pub struct Rig {
    pub(super) workload: Workload,
    built: Built,
    generator: Generator,
    naks: Option<NakGenerator>,
    /// Frames that come in in a section.
    burst: u64,
    pub(super) usual: Usual,
    _registration: ThreadRegistration,
}

impl Workload {
    /// Frames that come in in a section.
    fn burst(&self) -> u64 {
        let out = self.role.frames_out();
        let least = match (self.role, self.wire) {
            (Role::Parent { .. }, _) => REPAIRS,
            (_, Wire::Ring) => COPIES_ON_RING,
            (_, Wire::Null) => COPIES,
        };
        least.div_ceil(out).min(BURST)
    }

    pub(super) fn is_fed_by_ring(&self) -> bool {
        self.wire == Wire::Ring || self.burst() < BURST
    }
}

impl Rig {
    /// Starts DPDK with the workload's devices, pins this thread to `cpu` and makes the node.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn new(workload: Workload, cpu: Option<usize>) -> Result<Rig, StartError> {
        let config = node(&workload, cpu);
        let mut built = build(&config)?;
        set_up_thread(cpu)?;
        let registration = built.eal.register_thread()?;
        let mac = Mac(built.ports[0].mac());
        let generator = Generator::new(&workload, mac);
        if !workload.is_fed_by_ring() {
            let packets = &built.workers[0].pools().packets;
            let mut scratch = Generator::new(&workload, mac);
            packets.write_all(|mbuf| scratch.write(mbuf));
        }
        if let Role::LastHop { linear: true, .. } = workload.role {
            built.workers[0].forbid_chains(OUT);
        }
        let mut rig = Rig {
            burst: workload.burst(),
            workload,
            built,
            generator,
            naks: None,
            usual: Usual::default(),
            _registration: registration,
        };
        if let Role::Parent { asks } = workload.role {
            rig.fill(asks);
        }
        Ok(rig)
    }

    /// Forwards for this long.
    ///
    /// # Errors
    /// A sentence, where not everything that came in went out: then nothing was measured.
    pub fn run(&mut self, time: Duration) -> Result<Sample, String> {
        self.resolve();
        let expected = self.burst * self.workload.role.frames_out();
        let branches = self.workload.role.branches();
        let section = match self.workload.switches {
            true => section::<true>,
            false => section::<false>,
        };
        let mut usual = std::mem::take(&mut self.usual);
        let mut stopwatch = Stopwatch::start(&mut usual);
        while !stopwatch.is_over(time) {
            for _ in 0..SECTIONS {
                self.feed(self.burst);
                let worker = &mut self.built.workers[0];
                let mut sent = 0;
                stopwatch.section(|| {
                    sent = section(worker, branches, expected);
                    // Heartbeats go out as well: they are work, but no packets.
                    sent.min(expected)
                });
                if sent < expected {
                    return Err(self.why(sent, expected));
                }
                self.clear();
            }
        }
        let sample = stopwatch.stop();
        self.usual = usual;
        Ok(sample)
    }

    /// The worker.
    pub(super) fn worker(&mut self) -> &mut Worker {
        &mut self.built.workers[0]
    }

    /// Has whoever is beyond the ports be known.
    pub(super) fn resolve(&mut self) {
        for port in self.ports() {
            self.built.workers[0].find_next_hop(port, beyond(port).into(), STATION);
        }
    }

    fn ports(&self) -> impl Iterator<Item = PortIndex> + use<> {
        (0..=self.workload.role.branches()).map(PortIndex)
    }

    /// Sees to the next frames, at most a burst.
    pub(super) fn feed(&mut self, count: u64) {
        let worker = &mut self.built.workers[0];
        if let Some(naks) = &mut self.naks {
            return put(worker, OUT, count, |mbuf| naks.write(mbuf));
        }
        if self.workload.is_fed_by_ring() {
            put(worker, IN, count, |mbuf| self.generator.write(mbuf));
        } else {
            let packets = &worker.pools().packets;
            packets.write_next(BURST as usize, |mbuf| self.generator.rewrite(mbuf));
        }
    }

    /// Takes off the wires what has come out.
    pub(super) fn clear(&mut self) {
        if self.workload.wire == Wire::Ring {
            for port in self.ports().skip(1) {
                self.built.workers[0].discard(port);
            }
        }
    }

    /// Has the node take in as many packets as it keeps; from now on a child asks for them.
    fn fill(&mut self, asks: u16) {
        self.resolve();
        let held = self.workload.held;
        for _ in 0..u64::from(held).div_ceil(BURST) {
            self.feed(BURST);
            self.built.workers[0].turn::<true>();
            self.clear();
        }
        let mac = Mac(self.built.ports[usize::from(OUT.0)].mac());
        let asked = (self.built.workers[0].epoch(), asks, held);
        self.naks = Some(NakGenerator::new((beyond(OUT), address(OUT)), mac, asked));
    }

    pub(super) fn why(&self, sent: u64, expected: u64) -> String {
        let drops = self.built.workers[0].drops();
        let drops: Vec<_> = drops
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        let drops = drops.join(", ");
        format!("{sent} of {expected} frames went out; drops: {drops}")
    }
}

/// Puts frames on the ring behind a port, which the worker polls.
fn put(worker: &mut Worker, port: PortIndex, count: u64, mut write: impl FnMut(&mut Mbuf)) {
    for _ in 0..count {
        if let Some(mut mbuf) = worker.pools().packets.alloc() {
            write(&mut mbuf);
            worker.loop_back(port, mbuf.into());
        }
    }
    worker.flush_loop(port);
}

/// The worker's turns until a burst has gone through; returns how many frames went out by so many ports.
fn section<const SWITCHES: bool>(worker: &mut Worker, branches: u16, expected: u64) -> u64 {
    let sent = |worker: &Worker| -> u64 {
        (1..=branches)
            .map(|port| worker.sent(PortIndex(port)))
            .sum()
    };
    let before = sent(worker);
    for _ in 0..TURNS_MAX {
        worker.turn::<SWITCHES>();
        let sent = sent(worker) - before;
        if sent >= expected {
            return sent;
        }
    }
    sent(worker) - before
}

#[cfg(test)]
mod tests;

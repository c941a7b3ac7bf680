//! The stopwatch: cycles of sections, without those in which the kernel ran something else.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::Sample;
use crate::eal::cycles;

/// A section that takes this many times the usual is looked at: nothing that the worker does takes so long.
const SUSPICIOUS: u64 = 4;
/// Sections from which the usual is learned.
const LEARN: usize = 64;

/// What a section usually takes.
#[derive(Default)]
pub(super) struct Usual {
    learned: Vec<u64>,
    cycles: Option<u64>,
}

impl Usual {
    /// Whether a section took so long that something else may have had the core.
    pub(super) fn is_suspicious(&self, took: u64) -> bool {
        self.cycles.is_some_and(|usual| took > usual * SUSPICIOUS)
    }

    /// Learns from a section, until enough is known.
    fn learn(&mut self, took: u64) {
        self.learned.push(took);
        if self.learned.len() == LEARN {
            self.learned.sort_unstable();
            self.cycles = Some(self.learned[LEARN / 2]);
        }
    }
}

pub(super) struct Stopwatch<'a> {
    started: (Instant, u64),
    usual: &'a mut Usual,
    switches: i64,
    packets: u64,
    cycles: u64,
    aside: u64,
}

impl Stopwatch<'_> {
    pub(super) fn start(usual: &mut Usual) -> Stopwatch<'_> {
        Stopwatch {
            started: (Instant::now(), cycles()),
            usual,
            switches: switches(),
            packets: 0,
            cycles: 0,
            aside: 0,
        }
    }

    /// Takes the time of a section; it returns how many packets came out of it.
    pub(super) fn section(&mut self, section: impl FnOnce() -> u64) {
        let from = cycles();
        let packets = section();
        let took = cycles() - from;
        if self.usual.cycles.is_none() {
            // Caches are cold and nothing is known of the usual: these don't count.
            self.usual.learn(took);
            self.switches = switches();
            return;
        }
        if self.usual.is_suspicious(took) && self.was_switched() {
            self.aside += took;
            return;
        }
        self.packets += packets;
        self.cycles += took;
    }

    /// Whether this time is over and something was measured.
    pub(super) fn is_over(&self, time: Duration) -> bool {
        self.packets > 0 && self.started.0.elapsed() >= time
    }

    /// Whether another thread had the core since this was asked last.
    fn was_switched(&mut self) -> bool {
        let before = std::mem::replace(&mut self.switches, switches());
        before != self.switches
    }

    pub(super) fn stop(self) -> Sample {
        let (instant, from) = self.started;
        let ns = instant.elapsed().as_nanos() as f64;
        let ns_per_cycle = ns / (cycles() - from).max(1) as f64;
        Sample {
            packets: self.packets,
            cycles: self.cycles,
            ns: (self.cycles as f64 * ns_per_cycle) as u64,
            set_aside: self.aside as f64 / (self.cycles + self.aside).max(1) as f64,
        }
    }
}

/// How often another thread got the core instead of this one.
pub(super) fn switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    usage.map_or(0, |usage| {
        usage.voluntary_context_switches() + usage.involuntary_context_switches()
    })
}

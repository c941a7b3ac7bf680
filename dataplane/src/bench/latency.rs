//! Latency through a node: from when a frame could be received to when its copy is with the device.
//!
//! Frames come at random (Poisson), at a share of what the node can take. Time is the worker's own: it passes while the
//! worker takes its turns, and stands still while the rig puts frames on the ring, takes copies off, or something else has
//! the core. So neither the rig nor the machine's other work is part of it, nor what a NIC would add.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rig::{OUT, Rig};
use super::stopwatch::switches;
use super::{Sample, Wire};
use crate::eal::cycles;

/// Frames that wait at most: half of what a ring holds. Later ones come when there is room, and have waited since their
/// time.
const WAITING_MAX: usize = 512;
/// Turns between looks at the clock.
const TURNS: usize = 256;
/// Any seed does; a fixed one makes runs alike.
const SEED: u64 = 7;

/// When frames come, in cycles.
struct Arrivals {
    rng: fastrand::Rng,
    /// Mean distance.
    interval: f64,
    next: f64,
}

impl Arrivals {
    /// When the next one came, if that was before `now`.
    fn before(&mut self, now: u64) -> Option<u64> {
        if self.next > now as f64 {
            return None;
        }
        let came = self.next;
        // 1 − f is never 0.
        self.next += -(1.0 - self.rng.f64()).ln() * self.interval;
        Some(came as u64)
    }
}

impl Rig {
    /// Forwards for this long, at `load` of what the node can take (0 to 1). Of the sample, the mean for each packet is the
    /// `quantile` of latency.
    ///
    /// # Errors
    /// A sentence, where not everything that came in went out, or on other devices than rings.
    pub fn latency(&mut self, time: Duration, load: f64, quantile: f64) -> Result<Sample, String> {
        if self.workload.wire != Wire::Ring {
            return Err("latency is measured on rings".into());
        }
        let most = self.run(time / 4)?;
        let arrivals = Arrivals {
            rng: fastrand::Rng::with_seed(SEED),
            interval: most.cycles as f64 / most.packets as f64 / load,
            next: 0.0,
        };
        let (started, from) = (Instant::now(), cycles());
        let mut latencies = self.latencies(time * 3 / 4, arrivals)?;
        let ns_per_cycle = started.elapsed().as_nanos() as f64 / (cycles() - from).max(1) as f64;
        latencies.sort_unstable();
        let place = (latencies.len() - 1) as f64 * quantile;
        let latency = latencies[place as usize];
        let packets = latencies.len() as u64;
        Ok(Sample {
            packets,
            cycles: latency * packets,
            ns: (latency as f64 * ns_per_cycle * packets as f64) as u64,
            set_aside: 0.0,
        })
    }

    /// How long frames took, in cycles; at least one.
    fn latencies(&mut self, time: Duration, mut arrivals: Arrivals) -> Result<Vec<u64>, String> {
        self.resolve();
        let end = Instant::now() + time;
        let mut waiting = VecDeque::with_capacity(WAITING_MAX);
        let mut latencies = Vec::new();
        let mut now = 0;
        let mut switched = switches();
        while latencies.is_empty() || Instant::now() < end {
            for _ in 0..TURNS {
                let before = waiting.len();
                while waiting.len() < WAITING_MAX
                    && let Some(came) = arrivals.before(now)
                {
                    waiting.push_back(came);
                }
                self.feed((waiting.len() - before) as u64);
                let sent = self.worker().sent(OUT);
                let took = self.turn();
                let sent = self.worker().sent(OUT) - sent;
                let is_whole = !self.usual.is_suspicious(took)
                    || std::mem::replace(&mut switched, switches()) == switched;
                now += if is_whole { took } else { 0 };
                let done = waiting.drain(..waiting.len().min(sent as usize));
                latencies.extend(done.filter(|_| is_whole).map(|came| now - came));
                self.clear();
            }
            if waiting.len() == WAITING_MAX && latencies.is_empty() {
                return Err(self.why(0, WAITING_MAX as u64));
            }
        }
        Ok(latencies)
    }

    /// A turn of the worker; the cycles that it took.
    fn turn(&mut self) -> u64 {
        let from = cycles();
        self.worker().turn::<true>();
        cycles() - from
    }
}

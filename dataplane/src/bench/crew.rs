//! A node of several workers under the stopwatch, each on a thread and a CPU of its own.
//!
//! All forward at the same time, each its own sessions by its own queue, and each is measured as a worker that is alone
//! is: section by section, without those in which its core was taken away. What they forward together is the sum of
//! what each does in the time that it had.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::frames::{Generator, STATION};
use super::rig::{BURST, SECTIONS, section, why};
use super::setup::{beyond, node};
use super::stopwatch::{Stopwatch, Usual};
use super::{Sample, Workload};
use crate::eal::Eal;
use crate::frame::{Mac, PortIndex};
use crate::node::{StartError, build, set_up_thread};
use crate::port::Port;
use crate::worker::Worker;

/// The workers of a node, each with what it is fed. A process can have one.
pub struct Crew {
    workload: Workload,
    lanes: Vec<Lane>,
    eal: Eal,
    _ports: Vec<Port>,
}

/// A worker, and what it is fed.
struct Lane {
    worker: Worker,
    cpu: usize,
    generator: Generator,
    usual: Usual,
}

impl Crew {
    /// Starts DPDK with the workload's devices and makes the node, a worker for each CPU. The workload is one that
    /// `net_null` feeds.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn new(workload: Workload, cpus: &[usize]) -> Result<Crew, StartError> {
        let built = build(&node(&workload, cpus))?;
        let mac = Mac(built.ports[0].mac());
        let mut scratch = Generator::new(&workload, mac);
        let packets = &built.workers[0].pools().packets;
        packets.write_all(|mbuf| scratch.write(mbuf));
        let lanes = built.workers.into_iter().zip(cpus).enumerate();
        let lanes = lanes.map(|(place, (worker, &cpu))| Lane {
            worker,
            cpu,
            generator: Generator::of_worker(&workload, mac, place as u32),
            usual: Usual::default(),
        });
        Ok(Crew {
            workload,
            lanes: lanes.collect(),
            eal: built.eal,
            _ports: built.ports,
        })
    }

    /// Has all of them forward for this long.
    ///
    /// # Errors
    /// A sentence, where not everything that came in went out: then nothing was measured.
    pub fn run(&mut self, time: Duration) -> Result<Sample, String> {
        let (eal, workload) = (&self.eal, self.workload);
        let start = &Barrier::new(self.lanes.len());
        let samples = thread::scope(|scope| {
            let running = self.lanes.iter_mut().map(|lane| {
                scope.spawn(move || {
                    let set_up = set_up_thread(Some(lane.cpu)).and_then(|()| eal.register_thread());
                    start.wait();
                    let _registration = set_up.map_err(|error| error.to_string())?;
                    lane.run(&workload, time)
                })
            });
            let running: Vec<_> = running.collect();
            let samples = running.into_iter().map(|lane| match lane.join() {
                Ok(sample) => sample,
                Err(_) => Err("a worker's thread has ended".to_owned()),
            });
            samples.collect::<Result<Vec<_>, String>>()
        })?;
        Ok(together(&samples))
    }
}

impl Lane {
    fn run(&mut self, workload: &Workload, time: Duration) -> Result<Sample, String> {
        let branches = workload.role.branches();
        for port in (0..=branches).map(PortIndex) {
            self.worker
                .find_next_hop(port, beyond(port).into(), STATION);
        }
        let mut usual = std::mem::take(&mut self.usual);
        let mut stopwatch = Stopwatch::start(&mut usual);
        while !stopwatch.is_over(time) {
            for _ in 0..SECTIONS {
                let packets = &self.worker.pools().packets;
                packets.write_next(BURST as usize, |mbuf| self.generator.rewrite(mbuf));
                let mut sent = 0;
                stopwatch.section(|| {
                    sent = section::<true>(&mut self.worker, branches, BURST);
                    sent
                });
                if sent < BURST {
                    return Err(why(&self.worker, sent, BURST));
                }
            }
        }
        let sample = stopwatch.stop();
        self.usual = usual;
        Ok(sample)
    }
}

/// What several have forwarded side by side: their rates add up.
fn together(samples: &[Sample]) -> Sample {
    let packets: u64 = samples.iter().map(|sample| sample.packets).sum();
    let per_ns = |sample: &Sample| sample.packets as f64 / sample.ns.max(1) as f64;
    let rate: f64 = samples.iter().map(per_ns).sum();
    let aside: f64 = samples.iter().map(|sample| sample.set_aside).sum();
    Sample {
        packets,
        cycles: samples.iter().map(|sample| sample.cycles).sum(),
        ns: (packets as f64 / rate) as u64,
        set_aside: aside / samples.len() as f64,
    }
}

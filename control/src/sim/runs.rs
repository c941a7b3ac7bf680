//! Runs, one seed each, on all processors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use overlay::sim::{Network, Report, Scenario};

use super::case::Case;
use super::outcome::Outcome;
use super::progress::Progress;
use super::replay;

/// How much virtual time passes between two looks at how far a run is.
const STEP: Duration = Duration::from_millis(50);

/// What is said of a run that did not end.
pub(super) const PANICKED: &str = "# panicked";

/// What is run again and again.
#[derive(Debug)]
pub(super) enum Subject {
    /// One network, each time with another seed.
    One(Box<Case>),
    /// Another network for each seed.
    Random,
}

/// Runs `runs` seeds from `seed` on.
pub(super) fn run(subject: &Subject, seed: u64, runs: u64) -> Outcome {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let progress = Progress::new();
    let work = || {
        let mut sum = Outcome::new(subject, seed, runs);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= runs {
                return sum;
            }
            if runs > 1 {
                progress.say(|| format!("run {at} of {runs}"));
            }
            one(subject, seed.wrapping_add(at), (runs, &progress), &mut sum);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut outcome = Outcome::new(subject, seed, runs);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.min(runs)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(sum) => outcome.add(sum),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    progress.clear();
    outcome.took = started.elapsed();
    outcome.finish()
}

/// Runs one seed; one that fails is told at once.
fn one(subject: &Subject, seed: u64, (runs, progress): (u64, &Progress), sum: &mut Outcome) {
    let drawn;
    let case = match subject {
        Subject::One(case) => case,
        Subject::Random => {
            drawn = Case::random(seed);
            &drawn
        }
    };
    let mut scenario = case.scenario.clone();
    scenario.seed = seed;
    scenario.replay = replay::line(std::env::args().skip(1), seed);
    // A run that can't even end is one that fails, and must be named as well.
    let report = catch_unwind(AssertUnwindSafe(|| {
        simulate(&scenario, |share| {
            if runs == 1 {
                progress.say(|| format!("{:.0} %", share * 100.0));
            }
        })
    }));
    let failure = match report {
        Ok(report) => {
            let failure = report.failure();
            sum.count(case, report);
            failure
        }
        Err(_) => Some(format!("{}   {PANICKED}", scenario.replay)),
    };
    if let Some(line) = failure {
        progress.clear();
        eprintln!("{line}");
        sum.failures.push((seed, line));
    }
}

/// Runs a scenario to its end, with a word now and then on what share of it is done.
fn simulate(scenario: &Scenario, mut done: impl FnMut(f64)) -> Report {
    let ends = scenario.sessions.iter().map(|plan| plan.source_end());
    let end = ends.max().unwrap_or_default();
    let mut network = Network::new(scenario);
    let mut now = STEP;
    while now < end {
        network.run_until(now);
        done(now.as_secs_f64() / end.as_secs_f64());
        now += STEP;
    }
    network.run();
    network.report()
}

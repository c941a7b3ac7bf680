//! `treecast bench`: the dataplane against testpmd, the kernel and itself, in one run.
//!
//! Every contender is a process of its own that sleeps until it has its slice of time: ours is this program once more
//! (`subject`), the other one `dpdk-testpmd` or a sender of the kernel's. They take turns, A B B A, on one core that both
//! are pinned to. What counts is time on that core: neither pays for what else the machine does.

mod contender;
mod kernel;
mod multicast;
mod program;
mod report;
mod rows;
mod subject;
mod testpmd;

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::cli::Failure;
use contender::Pool;
use report::{Measured, Report};
use rows::{Against, Row};

/// Measure the dataplane against testpmd, the kernel and itself.
///
/// Exit status: 0 all rows were measured; 1 one could not be; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object for each row instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure the most important rows for less than a minute in all; the spread is wider.
    #[arg(long)]
    quick: bool,
    /// Measure these rows only, such as `encap,fanout-1-64`.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<String>,
    /// Measure on this CPU; the last one this process may use, if not set.
    #[arg(long, value_name = "CPU")]
    cpu: Option<usize>,
    /// Be a contender: what to measure, as JSON.
    #[arg(long, hide = true, value_name = "SUBJECT")]
    measure: Option<String>,
}

/// How long and how often each contender measures.
#[derive(Clone, Copy, Debug)]
struct Effort {
    slice: Duration,
    /// Times A B B A.
    rounds: usize,
}

/// Enough for a quick look: four slices each.
const QUICK: Effort = Effort {
    slice: Duration::from_millis(60),
    rounds: 2,
};
/// Sixteen slices each, long beside any pause of the machine.
const FULL: Effort = Effort {
    slice: Duration::from_millis(250),
    rounds: 8,
};

/// Where contenders run: the CPU under test, and one for what only waits.
#[derive(Clone, Copy, Debug)]
struct Cpus {
    test: usize,
    rest: usize,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let failure = |status, message| Failure {
        status,
        message,
        json: args.json,
    };
    let cpus = cpus(args.cpu).map_err(|message| failure(2, message))?;
    if let Some(subject) = &args.measure {
        return subject::serve(subject, cpus).map_err(|message| failure(1, message));
    }
    let rows = rows::select(&args.rows, args.quick).map_err(|message| failure(2, message))?;
    let effort = if args.quick { QUICK } else { FULL };
    let report = Report::new(args.json);
    let mut pool = Pool::new(cpus);
    let mut missing = Vec::new();
    report.begin(cpus.test);
    for row in rows {
        match measure(&row, &mut pool, effort) {
            Ok(measured) => report.row(&row, &measured),
            Err(reason) => missing.push(format!("{}: not measured: {reason}", row.label())),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(failure(1, missing.join("\n")))
}

/// Measures a row: A B B A, as often as the effort says.
fn measure(row: &Row, pool: &mut Pool, effort: Effort) -> Result<Measured, String> {
    let mut ours = pool.subject(&row.ours)?;
    let mut theirs = match &row.against {
        Against::Testpmd(setup) => Some(pool.testpmd(setup)?),
        Against::Subject(subject) | Against::Times(_, subject) => Some(pool.subject(subject)?),
        Against::Limit(_) => None,
    };
    let mut measured = Measured::default();
    // The first slice finds caches cold and buffers untouched.
    ours.measure(effort.slice)?;
    if let Some(theirs) = &mut theirs {
        theirs.measure(effort.slice)?;
    }
    for _ in 0..effort.rounds {
        for is_ours in [true, false, false, true] {
            match &mut theirs {
                _ if is_ours => measured.ours.push(ours.measure(effort.slice)?),
                Some(theirs) => measured
                    .theirs
                    .push(row.against.times(theirs.measure(effort.slice)?)),
                None => {}
            }
        }
    }
    pool.give_back(ours, theirs);
    Ok(measured)
}

/// The CPU under test, as asked for or the last that may be used, and another one if there is any.
fn cpus(wanted: Option<usize>) -> Result<Cpus, String> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())?;
    let allowed: Vec<usize> = (0..CpuSet::count())
        .filter(|&cpu| allowed.is_set(cpu).unwrap_or(false))
        .collect();
    let last = *allowed.last().ok_or("no CPU may be used")?;
    let test = wanted.unwrap_or(last);
    if !allowed.contains(&test) {
        return Err(format!("CPU {test} may not be used"));
    }
    let rest = allowed.into_iter().find(|&cpu| cpu != test);
    Ok(Cpus {
        test,
        rest: rest.unwrap_or(test),
    })
}

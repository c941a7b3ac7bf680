//! The other side of a contender of ours: measures whenever a line with a number of milliseconds comes.

use std::io::{BufRead, Write};
use std::time::Duration;

use dataplane::bench::{Crew, Protocol, Rig, Sample};

use super::Cpus;
use super::kernel::{Router, Sender};
use super::multicast;
use super::rows::Subject;

/// Measures `subject`, as JSON, on the CPU under test, and the other one where it has two workers, until there is no more input.
pub(super) fn serve(subject: &str, cpus: Cpus) -> Result<(), String> {
    let cpu = cpus.test;
    let subject: Subject = serde_json::from_str(subject).map_err(|error| error.to_string())?;
    match subject {
        Subject::Worker(workload) if workload.workers > 1 => {
            if cpus.rest == cpu || workload.workers > 2 {
                return Err("each worker needs a CPU, and there are two at most".to_owned());
            }
            let crew = Crew::new(workload, &[cpu, cpus.rest]);
            let mut crew = crew.map_err(|error| error.to_string())?;
            answer(|slice| crew.run(slice))
        }
        Subject::Worker(workload) => {
            let mut rig = Rig::new(workload, Some(cpu)).map_err(|error| error.to_string())?;
            answer(|slice| rig.run(slice))
        }
        Subject::Latency {
            workload,
            load_percent,
            quantile_percent,
        } => {
            let mut rig = Rig::new(workload, Some(cpu)).map_err(|error| error.to_string())?;
            let [load, quantile] = [load_percent, quantile_percent].map(|it| f64::from(it) / 100.0);
            answer(|slice| rig.latency(slice, load, quantile))
        }
        Subject::Protocol { loses } => {
            pin(cpu)?;
            let mut protocol = Protocol::new(loses);
            answer(|slice| protocol.run(slice))
        }
        Subject::Multicast {
            clones,
            outputs,
            size,
        } => multicast::serve(clones, outputs, size, cpu),
        Subject::KernelRoute { branches, size } => {
            pin(cpu)?;
            let mut router = Router::new(branches, size)?;
            answer(|slice| router.run(slice))
        }
        Subject::Kernel { clients, size } => {
            pin(cpu)?;
            let mut sender = Sender::new(clients, size)?;
            answer(|slice| sender.run(slice))
        }
    }
}

fn pin(cpu: usize) -> Result<(), String> {
    let mut cpus = nix::sched::CpuSet::new();
    cpus.set(cpu)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus))
        .map_err(|error| format!("CPU {cpu}: {error}"))
}

fn answer(mut measure: impl FnMut(Duration) -> Result<Sample, String>) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    let mut say = |line: &str| {
        let said = writeln!(output, "{line}").and_then(|()| output.flush());
        said.map_err(|error| error.to_string())
    };
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let slice = line.parse().map_err(|_| format!("not a number: {line}"))?;
        match measure(Duration::from_millis(slice)) {
            Ok(sample) => say(&serde_json::to_string(&sample).map_err(|e| e.to_string())?)?,
            Err(reason) => say(&reason)?,
        }
    }
    Ok(())
}

//! One run: sources send through the lab, clients judge, the lab reports.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::sync::{Mutex, MutexGuard};

use super::live::Live;
use super::network::{LabError, Network};
use super::process::Process;
use super::report::{Outcome, Report, problems};
use super::script::Script;
use super::topology::Topology;
use crate::probe::{RecvReport, SendReport};

/// How often the lab looks after its processes and events.
const TICK: Duration = Duration::from_millis(50);
/// How much longer than its deadline a last hop may take to close its books.
const GRACE: Duration = Duration::from_secs(2);
/// How long a probe may take to begin, or to report once it is told to stop.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long a packet that a node has sent may take to a client's socket, on a machine with too much to do.
const ON_THE_WIRE: Duration = Duration::from_millis(100);

/// A lab under way, shared with its control socket.
pub(super) type Shared = Arc<Mutex<Network>>;

/// Runs the topology's sources through the lab once.
pub(super) async fn run(
    lab: &Shared,
    topology: &Topology,
    live: &mut Live,
) -> Result<Report, LabError> {
    let bytes_before = bytes_sent(&mut *lab.lock().await).await;
    let mut receivers = start_receivers(&*lab.lock().await)?;
    let mut sources = start_sources(&*lab.lock().await, topology)?;
    let mut script = Script::new(&topology.events);
    let start = Instant::now();
    while sources
        .iter_mut()
        .any(|(_, source)| source.ended().is_none())
    {
        let mut lab = lab.lock().await;
        script.play(start.elapsed(), &mut lab).await?;
        look_after(&mut lab, &mut receivers)?;
        live.tick(start.elapsed(), &mut lab).await;
        drop(lab);
        tokio::time::sleep(TICK).await;
    }
    let sent = sources
        .iter()
        .map(|(session, source)| Ok((*session, sent_by(*session, source)?)))
        .collect::<Result<BTreeMap<_, _>, LabError>>()?;
    let duration_s = sent.values().map(|at| at.duration_s).fold(0.0, f64::max);
    let sent = sent
        .iter()
        .map(|(session, at)| (*session, at.sent))
        .collect();
    settle(lab, &sent, &mut script, start, live).await?;
    tokio::time::sleep(ON_THE_WIRE).await;
    let mut lab = lab.lock().await;
    lab.refresh().await;
    let received = stop_receivers(&mut receivers);
    let outcome = outcome(&lab, (sent, received), bytes_before, topology.size);
    Ok(report(&outcome, topology, duration_s))
}

/// Bytes that all routers have sent to each other.
async fn bytes_sent(lab: &mut Network) -> u64 {
    lab.refresh().await;
    let totals = lab.totals();
    totals
        .map(|(_, stats)| lab.plan().bytes_to_routers(&stats))
        .sum()
}

/// The processes of the clients, by session and host.
type Receivers = Vec<((u32, String), Process)>;
type Sent = BTreeMap<u32, u64>;
type Received = BTreeMap<(u32, String), RecvReport>;

fn start_receivers(lab: &Network) -> Result<Receivers, LabError> {
    let mut receivers = Vec::new();
    for session in &lab.plan().sessions {
        for (client, listen) in session.last_hops.iter().flat_map(|hop| &hop.clients) {
            let args = [
                "recv",
                "--json",
                "--listen",
                &listen.to_string(),
                "--stream",
                &session.id.to_string(),
            ]
            .map(str::to_string);
            let name = format!("{client}-{}", session.id);
            let process = start_probe(lab, client, &name, &args)?;
            receivers.push(((session.id, client.clone()), process));
        }
    }
    for ((_, client), process) in &mut receivers {
        if !process.wait_for_log("ready:", PROBE_LIMIT) {
            return Err(died("receiver", client, process));
        }
    }
    Ok(receivers)
}

fn start_sources(lab: &Network, topology: &Topology) -> Result<Vec<(u32, Process)>, LabError> {
    let sessions = lab.plan().sessions.iter();
    sessions
        .map(|session| {
            let args = [
                "send",
                "--json",
                "--to",
                &session.destination.to_string(),
                "--stream",
                &session.id.to_string(),
                "--rate",
                &session.rate,
                "--size",
                &topology.size.to_string(),
                "--duration",
                &topology.duration,
            ]
            .map(str::to_string);
            let name = format!("{}-{}", session.source, session.id);
            let process = start_probe(lab, &session.source, &name, &args)?;
            Ok((session.id, process))
        })
        .collect()
}

fn start_probe(
    lab: &Network,
    host: &str,
    name: &str,
    args: &[String],
) -> Result<Process, LabError> {
    Process::start(lab.netns(host)?, lab.dir().path(), name, args).map_err(|source| LabError::Io {
        what: format!("start a probe on {host}"),
        source,
    })
}

fn died(what: &str, name: &str, process: &Process) -> LabError {
    LabError::Io {
        what: format!("the {what} of {name} ended"),
        source: io::Error::other(process.last_words()),
    }
}

/// Fails when a process ended that should not have.
fn look_after(
    lab: &mut MutexGuard<'_, Network>,
    receivers: &mut Receivers,
) -> Result<(), LabError> {
    if let Some(casualty) = lab.casualty() {
        return Err(casualty);
    }
    let ended = receivers.iter_mut().find_map(|((_, client), process)| {
        process.ended().map(|_| died("receiver", client, process))
    });
    ended.map_or(Ok(()), Err)
}

fn sent_by(session: u32, source: &Process) -> Result<SendReport, LabError> {
    serde_json::from_str(&source.output())
        .map_err(|_| died("source", &format!("session {session}"), source))
}

/// Waits until every last hop has closed its books on what was sent, or its deadline is well over.
async fn settle(
    lab: &Shared,
    sent: &Sent,
    script: &mut Script,
    start: Instant,
    live: &mut Live,
) -> Result<(), LabError> {
    let slowest = {
        let lab = lab.lock().await;
        let deadlines = lab.plan().sessions.iter().map(|session| session.deadline);
        deadlines.max().unwrap_or_default()
    };
    // What an event takes away for a while is given back before the books are closed.
    let over = script.end().max(start.elapsed()) + slowest + GRACE;
    while start.elapsed() < over {
        let mut lab = lab.lock().await;
        script.play(start.elapsed(), &mut lab).await?;
        if let Some(casualty) = lab.casualty() {
            return Err(casualty);
        }
        lab.refresh().await;
        live.tick(start.elapsed(), &mut lab).await;
        if script.is_over() && is_settled(&lab, sent) {
            return Ok(());
        }
        drop(lab);
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

fn is_settled(lab: &Network, sent: &Sent) -> bool {
    lab.plan().sessions.iter().all(|session| {
        session.last_hops.iter().all(|hop| {
            let stats = lab
                .stats(&hop.node)
                .and_then(|stats| stats.session(session.id));
            stats.is_some_and(|at| Some(&at.lead) == sent.get(&session.id) && at.is_through())
        })
    })
}

fn stop_receivers(receivers: &mut Receivers) -> Received {
    for (_, process) in receivers.iter_mut() {
        process.signal(Signal::SIGTERM);
    }
    let mut received = BTreeMap::new();
    for (client, process) in receivers.iter_mut() {
        process.wait(PROBE_LIMIT);
        // A client that says nothing has received nothing, which is what the report then says.
        if let Ok(report) = serde_json::from_str(&process.output()) {
            received.insert(client.clone(), report);
        }
    }
    received
}

fn outcome(
    lab: &Network,
    (sent, received): (Sent, Received),
    bytes_before: u64,
    size: usize,
) -> Outcome<'_> {
    let last = |node: &str| {
        (
            node.to_string(),
            lab.stats(node).cloned().unwrap_or_default(),
        )
    };
    Outcome {
        plan: lab.plan(),
        sent,
        received,
        last: lab
            .plan()
            .nodes
            .iter()
            .map(|node| last(&node.name))
            .collect(),
        totals: lab
            .totals()
            .map(|(node, stats)| (node.to_string(), stats))
            .collect(),
        bytes_before,
        size,
    }
}

fn report(outcome: &Outcome<'_>, topology: &Topology, duration_s: f64) -> Report {
    let sessions = outcome.sessions();
    let problems = problems(&sessions);
    Report {
        pass: problems.is_empty(),
        lab: topology.name.clone(),
        seed: topology.seed,
        duration_s,
        problems,
        sessions,
        links: outcome.links(),
        nodes: outcome.nodes(),
        wire: outcome.wire(),
    }
}

//! Building labs: in the foreground for a run, or in the background.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::unistd::geteuid;
use nix::unistd::setsid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::args::{RunArgs, UpArgs};
use super::live::Live;
use super::network::Network;
use super::plan::{Plan, PortKind};
use super::report::Report;
use super::run::{self, Shared};
use super::state::{self, StateDir};
use super::topology::Topology;
use super::{control, exec};

/// What the process in the background says on stdout when its lab is ready.
const READY: &str = "ready ";
/// Its log in the lab's folder.
const LOG: &str = "lab.log";

/// A failure and its exit status.
pub(super) type Failed = (u8, String);

/// `treecast lab run`.
pub(super) fn run(args: &RunArgs) -> Result<Report, Failed> {
    let topology = args.load().map_err(|message| (2, message))?;
    let runs = Runs::prepare(args.topology.port_kind)?;
    runs.run(args.topology.name.as_deref(), &topology)?
}

/// Runs of this process, one lab after the other.
pub(super) struct Runs {
    ports: PortKind,
    root: PathBuf,
}

impl Runs {
    /// Gets this process the right to make labs. Before the first thread.
    pub(super) fn prepare(ports: PortKind) -> Result<Runs, Failed> {
        let root = prepare(ports)?;
        Ok(Runs { ports, root })
    }

    /// Builds a topology's lab, runs it once and takes it down. The inner error is that of the run; the outer one says that
    /// there should be no further runs.
    pub(super) fn run(
        &self,
        name: Option<&str>,
        topology: &Topology,
    ) -> Result<Result<Report, Failed>, Failed> {
        block_on(async {
            let lab = match build((name, self.ports), topology, &self.root).await {
                Ok(lab) => lab,
                Err(failed) => return Ok(Err(failed)),
            };
            let report = run::run(&lab, topology, &mut Live::new()).await;
            Ok(report.map_err(|error| (1, error.to_string())))
        })
    }
}

/// `treecast lab up`: returns the lab's name when it is ready.
pub(super) fn up(args: &UpArgs) -> Result<Option<String>, Failed> {
    let topology = args.topology.load().map_err(|message| (2, message))?;
    if args.detached {
        be_the_lab(args, &topology).map(|()| None)
    } else {
        start_in_background().map(Some)
    }
}

/// Removes what dead labs left and gets the right to make namespaces. Before the first thread.
fn prepare(ports: PortKind) -> Result<PathBuf, Failed> {
    if ports == PortKind::AfXdp && !geteuid().is_root() {
        let why = "af_xdp ports need root: XDP programs can't be loaded from a user namespace; \
                   af_packet ports do without";
        return Err((2, why.to_string()));
    }
    let root = state::root();
    state::sweep(&root);
    exec::become_lab_root().map_err(|message| (1, message))?;
    Ok(root)
}

/// Runs `work` until it is done or a signal says to stop; either way what it holds is dropped then.
fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (1, format!("start: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            stopped = stop_signal() => Err((1, match stopped {
                Ok(name) => format!("stopped by {name}"),
                Err(error) => format!("wait for signals: {error}"),
            })),
            done = work => done,
        }
    })
}

async fn stop_signal() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hangup.recv() => "SIGHUP",
    })
}

/// Builds the lab, waits until it is ready and serves its socket.
async fn build(
    (name, ports): (Option<&str>, PortKind),
    topology: &Topology,
    root: &Path,
) -> Result<Shared, Failed> {
    let name = name.unwrap_or(&topology.name);
    let failed = |error: &dyn std::fmt::Display| (1, error.to_string());
    let dir = StateDir::claim(root, name).map_err(|error| failed(&error))?;
    let plan = Plan::new(topology, dir.path(), ports).map_err(|error| (2, error.to_string()))?;
    let mut network = Network::build(plan, dir).map_err(|error| failed(&error))?;
    network.wait_ready().await.map_err(|error| failed(&error))?;
    let path = network.dir().path().to_owned();
    let lab = Arc::new(Mutex::new(network));
    control::serve(&lab, &path).map_err(|error| failed(&error))?;
    Ok(lab)
}

/// Starts this command again, detached, and waits until its lab is ready.
fn start_in_background() -> Result<String, Failed> {
    let failed = |error: io::Error| (1, format!("start the lab in the background: {error}"));
    let root = state::root();
    fs::create_dir_all(&root).map_err(failed)?;
    let log = root.join(format!("up-{}.log", std::process::id()));
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut said)
            .map_err(failed)?;
    }
    if let Some(name) = said.strip_prefix(READY) {
        let name = name.trim().to_string();
        // From now on its log is where the lab's other files are.
        fs::rename(&log, root.join(&name).join(LOG)).map_err(failed)?;
        return Ok(name);
    }
    let status = child.wait().map_err(failed)?;
    let words = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    let words = words.trim().trim_start_matches("treecast: ").to_string();
    Err((status.code().map_or(1, |code| code as u8), words))
}

/// Is the lab until a signal ends it.
fn be_the_lab(args: &UpArgs, topology: &Topology) -> Result<(), Failed> {
    setsid().map_err(|error| (1, format!("leave the terminal: {error}")))?;
    let (name, ports) = (args.topology.name.as_deref(), args.topology.port_kind);
    let root = prepare(ports)?;
    let stopped = block_on(async {
        let lab = build((name, ports), topology, &root).await?;
        let name = lab.lock().await.dir().name().to_string();
        let mut out = io::stdout();
        writeln!(out, "{READY}{name}")
            .and_then(|()| out.flush())
            .map_err(|error| (1, format!("say that the lab is ready: {error}")))?;
        report_casualties(&lab).await
    });
    stopped.map(|never: std::convert::Infallible| match never {})
}

/// Logs each node that ends by itself; the rest of the lab stays up to be looked at.
async fn report_casualties(lab: &Shared) -> Result<std::convert::Infallible, Failed> {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(500);
    let mut last = String::new();
    loop {
        if let Some(casualty) = lab.lock().await.casualty() {
            let casualty = casualty.to_string();
            if casualty != last {
                let _ = writeln!(io::stderr(), "{casualty}");
                last = casualty;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

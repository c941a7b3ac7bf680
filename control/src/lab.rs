//! Labs: whole topologies on one machine, made of network namespaces, veth pairs and real `treecast node` processes.
//!
//! A lab is one process. `lab run` is the lab itself; `lab up` starts one in the background; the other commands talk to a
//! lab through the socket in its folder. All that a lab consists of ends with its process, whatever ends that.

mod args;
mod control;
mod exec;
mod live;
mod modes;
mod netns;
mod network;
mod plan;
mod process;
mod report;
mod run;
mod script;
mod state;
mod stats;
mod topology;
mod up;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

pub use args::Args;
use args::{Command, ImpairArgs, ListArgs, WhichArgs};
pub(crate) use args::{Overrides, Traffic, checked_duration};
pub(crate) use plan::{Draft, PlanError, PortKind, Tree};
pub(crate) use topology::{Event, Impair, Session, Topology};
use up::Failed;

use crate::api::{Client, ClientError, Endpoint};
use crate::cli::Failure;

/// How long a lab may take to end before it is killed.
const DOWN_LIMIT: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let json = args.command.json();
    run_command(args.command).map_err(|(status, message)| Failure {
        status,
        message,
        json,
    })
}

fn run_command(command: Command) -> Result<(), Failed> {
    match command {
        Command::Run(args) => {
            let report = up::run(&args)?;
            if args.json {
                let report =
                    serde_json::to_string(&report).map_err(|error| (1, error.to_string()))?;
                print(&report)?;
            } else {
                report
                    .print(&mut io::stdout().lock())
                    .map_err(unprintable)?;
            }
            if report.pass {
                return Ok(());
            }
            let count = report.problems.len();
            let first = report.problems.first().map_or("", String::as_str);
            Err((1, format!("the run did not pass: {first}, {count} in all")))
        }
        Command::Modes(args) => {
            let table = modes::run(&args)?;
            if args.json {
                print(&table.to_json().to_string())?;
            } else {
                print(table.to_string().trim_end())?;
            }
            match table.failed() {
                0 => Ok(()),
                failed => Err((1, format!("{failed} runs did not pass"))),
            }
        }
        Command::Up(args) => match up::up(&args)? {
            Some(name) => print(&format!("lab {name} is up")),
            None => Ok(()),
        },
        Command::Exec(args) => {
            let lab = Lab::find(args.name.as_deref())?;
            let space = lab.get(&format!("/v1/spaces/{}", args.host))?;
            let space = serde_json::from_value(space)
                .map_err(|error| (3, format!("the lab's answer makes no sense: {error}")))?;
            Err((1, exec::exec(&space, &args.command)))
        }
        Command::Show(args) => {
            let lab = Lab::find(args.which.name.as_deref())?.get("/v1/lab")?;
            print(&if args.which.json {
                lab.to_string()
            } else {
                describe(&lab)
            })
        }
        Command::Kill(args) => Lab::find(args.which.name.as_deref())?
            .post(&format!("/v1/nodes/{}/kill", args.node))
            .map(drop),
        Command::Start(args) => Lab::find(args.which.name.as_deref())?
            .post(&format!("/v1/nodes/{}/start", args.node))
            .map(drop),
        Command::Impair(args) => impair(&args),
        Command::Down(args) => down(&args),
        Command::List(args) => list(&args),
    }
}

impl Command {
    /// Whether errors are to be JSON.
    fn json(&self) -> bool {
        match self {
            Command::Run(args) => args.json,
            Command::Modes(args) => args.json,
            Command::Show(args) => args.which.json,
            Command::Kill(args) | Command::Start(args) => args.which.json,
            Command::Impair(args) => args.which.json,
            Command::Down(args) => args.json,
            Command::List(args) => args.json,
            Command::Up(_) | Command::Exec(_) => false,
        }
    }
}

/// A lab that runs, as another process sees it.
struct Lab(Client);

impl Lab {
    /// The lab of that name, or the only one.
    fn find(name: Option<&str>) -> Result<Lab, Failed> {
        let root = state::root();
        let running = state::running(&root);
        let name = match (name, running.as_slice()) {
            (Some(name), _) if state::is_running(&root, name) => name,
            (Some(name), _) => return Err((3, format!("lab {name} does not run"))),
            (None, [only]) => only,
            (None, []) => {
                return Err((
                    3,
                    "no lab runs: start one with `treecast lab up`".to_string(),
                ));
            }
            (None, several) => {
                let names = several.join(", ");
                return Err((
                    2,
                    format!("several labs run; choose one with --name: {names}"),
                ));
            }
        };
        let socket = root.join(name).join(control::SOCKET);
        Ok(Lab(Client::new(Endpoint::Unix(socket))))
    }

    fn get(&self, path: &str) -> Result<Value, Failed> {
        self.ask(self.0.get(path))
    }

    fn post(&self, path: &str) -> Result<Value, Failed> {
        self.ask(self.0.post(path, &Value::Null))
    }

    fn ask(
        &self,
        request: impl Future<Output = Result<Value, ClientError>>,
    ) -> Result<Value, Failed> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| (1, error.to_string()))?
            .block_on(request)
            .map_err(|error| (if error.is_no_answer() { 3 } else { 1 }, error.to_string()))
    }
}

fn impair(args: &ImpairArgs) -> Result<(), Failed> {
    let lab = Lab::find(args.which.name.as_deref())?;
    let path = format!("/v1/links/{}/{}/impairment", args.from, args.to);
    let done = if args.clear {
        lab.ask(lab.0.delete(&path))
    } else {
        lab.ask(lab.0.put(&path, &json!(args.impair())))
    };
    done.map(drop)
}

/// Ends the lab that is named, or all that run, and removes what dead ones left.
fn down(args: &WhichArgs) -> Result<(), Failed> {
    let root = state::root();
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => state::running(&root),
    };
    for name in &names {
        if state::is_running(&root, name) {
            end(&root, name)?;
            print(&format!("lab {name} is down"))?;
        }
    }
    for name in state::sweep(&root) {
        print(&format!("removed what lab {name} left"))?;
    }
    Ok(())
}

fn end(root: &Path, name: &str) -> Result<(), Failed> {
    let Some(pid) = state::pid(root, name) else {
        return Err((3, format!("lab {name} does not say which process it is")));
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // A lab that is gone already is what is wanted.
        let _ = kill(Pid::from_raw(pid), signal);
        let deadline = Instant::now() + DOWN_LIMIT;
        let is_there = || state::is_running(root, name) || is_alive(pid);
        while is_there() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !is_there() {
            return Ok(());
        }
    }
    Err((1, format!("lab {name} (process {pid}) does not end")))
}

/// Whether a process has not ended; one that only waits for its parent to ask how has no program any more.
fn is_alive(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn list(args: &ListArgs) -> Result<(), Failed> {
    let names = state::running(&state::root());
    if args.json {
        return print(&json!(names).to_string());
    }
    names.iter().try_for_each(|name| print(name))
}

/// A lab for people.
fn describe(lab: &Value) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string)
    };
    let list = |key: &str| lab[key].as_array().cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "lab {} (process {}), files in {}",
        text(&lab["lab"]),
        lab["pid"],
        text(&lab["dir"])
    )];
    for node in list("nodes") {
        lines.push(format!(
            "  node {:<12} {:<8} {}",
            text(&node["node"]),
            text(&node["state"]),
            text(&node["api"])
        ));
    }
    for host in list("hosts") {
        lines.push(format!(
            "  host {:<12} {}",
            text(&host["host"]),
            text(&host["address"])
        ));
    }
    for session in list("sessions") {
        lines.push(format!(
            "  session {} {}: {} sends to {}",
            session["session"],
            text(&session["name"]),
            text(&session["source"]),
            text(&session["destination"])
        ));
        for client in session["clients"].as_array().into_iter().flatten() {
            lines.push(format!(
                "    client {:<8} listens on {} at {}",
                text(&client["client"]),
                text(&client["listen"]),
                text(&client["node"])
            ));
        }
    }
    lines.join("\n")
}

fn print(line: &str) -> Result<(), Failed> {
    writeln!(io::stdout(), "{line}").map_err(unprintable)
}

/// Reads a topology and lays it out. For a fuzz target.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_topology(text: &str) {
    if let Ok(topology) = topology::Topology::parse("fuzz.toml", text) {
        let dir = std::path::Path::new("/run/lab");
        let _ = plan::Plan::new(&topology, dir, plan::PortKind::AfPacket);
    }
}

fn unprintable(error: io::Error) -> Failed {
    (1, format!("print: {error}"))
}

#[cfg(test)]
mod tests;

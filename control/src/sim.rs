//! `treecast sim`: a topology or a random network in virtual time, with the nodes' own protocol.

mod case;
mod outcome;
mod plot;
mod progress;
mod replay;
mod runs;
mod shape;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::Failure;
use crate::config::quantity;
use crate::lab::{Overrides, Topology, Traffic, checked_duration};
use case::{Case, packets_per_second};
use outcome::Outcome;
use runs::Subject;
use shape::Shape;

/// Simulate a topology, a large tree or random networks: the nodes' own protocol in virtual time.
///
/// A topology file is that of `treecast lab`, and gives the same trees, backups and settings; links without a delay take
/// 100us. Equal seeds give equal results. Every step is checked; exit status 0 only if nothing was violated. A run that
/// fails prints the line that runs it again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    shape: Shape,
    /// Seed of everything random [default: the file's, or 1].
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs, each with the seed after the last one's; results are sums.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Delay of every link between routers.
    #[arg(long, value_parser = checked_duration, conflicts_with = "random")]
    delay: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    traffic: Traffic,
    /// Report as one JSON document.
    #[arg(long)]
    json: bool,
    /// Draw recovery latency, repair bytes per link and NAKs per node into an SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What is simulated.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The topology file.
    file: Option<PathBuf>,
    /// Random networks: 2 to 200 routers and everything that may happen to them.
    #[arg(long, conflicts_with_all = ["Overrides", "Traffic"])]
    random: bool,
    /// A regular tree of so many last hops.
    #[arg(long, value_name = "LAST_HOPS", value_parser = clap::value_parser!(u32).range(1..))]
    tree: Option<u32>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let json = args.json;
    simulate(&args).map_err(|(status, message)| Failure {
        status,
        message,
        json,
    })
}

fn simulate(args: &Args) -> Result<(), (u8, String)> {
    if args.plot.is_some() && args.what.random && args.runs > 1 {
        let why = "--plot shows one network: random runs have one each, so leave out --runs";
        return Err((2, why.to_string()));
    }
    let topology = args.topology().map_err(|message| (2, message))?;
    let subject = match &topology {
        None => Subject::Random,
        Some(topology) => {
            let case = Case::new(topology).map_err(|error| (2, args.blame(&error)))?;
            Subject::One(Box::new(case))
        }
    };
    let file_seed = topology.map_or(1, |topology| topology.seed);
    let seed = args.seed.unwrap_or(file_seed);
    let outcome = runs::run(&subject, seed, args.runs);
    args.report(&outcome).map_err(|message| (1, message))?;
    match outcome.failures.len() {
        0 => Ok(()),
        failed => Err((1, format!("{failed} of {} runs failed", args.runs))),
    }
}

impl Args {
    /// The topology, changed as asked; `None` for random networks.
    fn topology(&self) -> Result<Option<Topology>, String> {
        let mut topology = match (&self.what.file, self.what.tree) {
            (Some(file), _) => Topology::load(file).map_err(|error| error.to_string())?,
            (None, Some(last_hops)) => {
                let text = self.shape.topology(last_hops as usize)?;
                Topology::parse("--tree", &text).map_err(|error| error.to_string())?
            }
            (None, None) => return Ok(None),
        };
        self.overrides.apply(&mut topology)?;
        self.traffic.apply(&mut topology)?;
        if let Some(delay) = &self.delay {
            for link in &mut topology.links {
                link.settings.impair.delay = Some(delay.clone());
            }
        }
        if self.what.tree.is_some() {
            fit_windows(&mut topology);
        }
        Ok(Some(topology))
    }

    /// An error of the case, with the file that it is about.
    fn blame(&self, error: &case::CaseError) -> String {
        match &self.what.file {
            Some(file) => format!("{}: {error}", file.display()),
            None => error.to_string(),
        }
    }

    fn report(&self, outcome: &Outcome) -> Result<(), String> {
        if let Some(file) = &self.plot {
            let svg = plot::svg(outcome)?;
            std::fs::write(file, svg)
                .map_err(|error| format!("write {}: {error}", file.display()))?;
        }
        let text = if self.json {
            let document = serde_json::to_string(&outcome.document());
            document.map_err(|error| error.to_string())? + "\n"
        } else {
            outcome.to_string()
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .map_err(|error| format!("print: {error}"))
    }
}

/// Sizes the windows of a generated tree for what its source sends, and half as much again: thousands of nodes share
/// the memory of one machine.
fn fit_windows(topology: &mut Topology) {
    for index in 0..topology.sessions.len() {
        let pps = packets_per_second(topology, &topology.sessions[index]);
        let max_rate = quantity::print_packet_rate((pps * 1.5).ceil().max(1.0) as u64);
        topology.sessions[index].settings.max_rate = Some(max_rate);
    }
}

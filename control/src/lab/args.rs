//! The command line of `treecast lab`.

use std::path::PathBuf;

use super::plan::PortKind;
use super::topology::{Impair, Topology, legal_name};
use crate::config::quantity::{self, Rate};

mod overrides;

use overrides::checked_share;
pub(crate) use overrides::{Overrides, Traffic, checked_duration};

/// Run whole topologies on this machine: a namespace and a real node for each router, hosts for sources and clients.
///
/// Needs no root where the kernel allows user namespaces.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Build a lab, send through it, report, and take it down.
    ///
    /// Exit status 0 only if every balance holds and every client received every packet once, undamaged and, unless
    /// delivery is immediate, in order.
    Run(RunArgs),
    /// Run topologies once for each way of filling gaps, and compare them in one table.
    ///
    /// The columns are pull, copy, auto, fec (32+2) and, where a topology has room for them, two trees. Exit status 0 only
    /// if every run passes.
    Modes(ModesArgs),
    /// Build a lab in the background and leave it up.
    Up(UpArgs),
    /// Run a command on a host or router of a lab.
    Exec(ExecArgs),
    /// Show a lab's nodes, hosts and sessions.
    Show(ShowArgs),
    /// Kill a node, as `kill -9` does.
    Kill(NodeArgs),
    /// Start a node that was killed.
    Start(NodeArgs),
    /// Change what a link between two routers does, in both directions.
    Impair(ImpairArgs),
    /// Take labs down and remove what dead ones left.
    Down(WhichArgs),
    /// List the labs that run.
    List(ListArgs),
}

/// A topology, and what to change in it.
#[derive(Debug, clap::Args)]
pub(super) struct TopologyArgs {
    /// The topology file.
    pub(super) file: PathBuf,
    /// Name of the lab [default: the file's].
    #[arg(long, value_parser = legal_name)]
    pub(super) name: Option<String>,
    /// Seed of everything random.
    #[arg(long)]
    seed: Option<u64>,
    /// DPDK driver behind the routers' ports.
    #[arg(long, value_enum, default_value = "af_packet")]
    pub(super) port_kind: PortKind,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) topology: TopologyArgs,
    #[command(flatten)]
    traffic: Traffic,
    /// Report as one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ModesArgs {
    /// The topology files.
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Loss on every link between routers; several for several runs.
    #[arg(long, value_name = "SHARE", value_delimiter = ',', default_values = ["5%", "20%"], value_parser = checked_share)]
    pub(super) loss: Vec<String>,
    /// How long the sources of each run send.
    #[arg(long, default_value = "5s", value_parser = checked_duration)]
    pub(super) duration: String,
    /// How fast each session's source sends [default: the file's].
    #[arg(long, value_parser = quantity::rate)]
    pub(super) rate: Option<Rate>,
    /// DPDK driver behind the routers' ports.
    #[arg(long, value_enum, default_value = "af_packet")]
    pub(super) port_kind: PortKind,
    /// The table as one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    pub(super) topology: TopologyArgs,
    /// Be the lab instead of starting it in the background.
    #[arg(long, hide = true)]
    pub(super) detached: bool,
}

/// Which lab is meant.
#[derive(Debug, clap::Args)]
pub(super) struct WhichArgs {
    /// Name of the lab [default: the only one that runs; for `down`, all].
    #[arg(long, value_parser = legal_name)]
    pub(super) name: Option<String>,
    /// Errors as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// The host or router.
    pub(super) host: String,
    /// Name of the lab [default: the only one that runs].
    #[arg(long, value_parser = legal_name)]
    pub(super) name: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct NodeArgs {
    /// The router.
    pub(super) node: String,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImpairArgs {
    /// One router.
    pub(super) from: String,
    /// The other.
    pub(super) to: String,
    #[command(flatten)]
    pub(super) which: WhichArgs,
    /// Share of packets lost.
    #[arg(long)]
    loss: Option<String>,
    /// Time each packet is held.
    #[arg(long)]
    delay: Option<String>,
    /// Further random time.
    #[arg(long)]
    jitter: Option<String>,
    /// Share of packets that overtake others.
    #[arg(long)]
    reorder: Option<String>,
    /// Share of packets that arrive twice.
    #[arg(long)]
    duplicate: Option<String>,
    /// Rate limit in bits per second.
    #[arg(long)]
    rate: Option<String>,
    /// Make the link as the topology says again.
    #[arg(long, conflicts_with_all = ["loss", "delay", "jitter", "reorder", "duplicate", "rate"])]
    pub(super) clear: bool,
}

impl ImpairArgs {
    /// What the link shall do.
    pub(super) fn impair(&self) -> Impair {
        Impair {
            loss: self.loss.clone(),
            burst_loss: None,
            delay: self.delay.clone(),
            jitter: self.jitter.clone(),
            reorder: self.reorder.clone(),
            duplicate: self.duplicate.clone(),
            rate: self.rate.clone(),
        }
    }
}

impl TopologyArgs {
    /// The topology of the file, changed as asked.
    pub(super) fn load(&self) -> Result<Topology, String> {
        let mut topology = Topology::load(&self.file).map_err(|error| error.to_string())?;
        topology.seed = self.seed.unwrap_or(topology.seed);
        self.overrides.apply(&mut topology)?;
        Ok(topology)
    }
}

impl RunArgs {
    /// The topology of the file, changed as asked.
    pub(super) fn load(&self) -> Result<Topology, String> {
        let mut topology = self.topology.load()?;
        self.traffic.apply(&mut topology)?;
        Ok(topology)
    }
}

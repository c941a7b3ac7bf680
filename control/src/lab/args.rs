//! The command line of `treecast lab`.

use std::path::PathBuf;
use std::time::Duration;

use overlay::wire::{FEC_BLOCK_MAX, FEC_PARITY_MAX};

use super::plan::PortKind;
use super::topology::{Delivery, Fec, Impair, Overlay, TREES, Topology, legal_name};
use crate::config::quantity::{self, QuantityError, Rate};

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
    /// Loss on every link between routers (`2%`), or on one (`core:lh1=50%`); may be given several times.
    #[arg(long, value_name = "[A:B=]SHARE")]
    loss: Vec<LossArg>,
    /// Seed of everything random.
    #[arg(long)]
    seed: Option<u64>,
    /// DPDK driver behind the routers' ports.
    #[arg(long, value_enum, default_value = "af_packet")]
    pub(super) port_kind: PortKind,
    /// Deadline of every session.
    #[arg(long, value_parser = checked_duration)]
    deadline: Option<String>,
    /// Retention of every session.
    #[arg(long, value_parser = checked_duration)]
    retention: Option<String>,
    /// Delivery of every session.
    #[arg(long, value_enum)]
    delivery: Option<Delivery>,
    /// What fills gaps of every session before anybody asks.
    #[arg(long, value_enum)]
    overlay: Option<Overlay>,
    /// Parity of every session: `32+2` for two parity packets behind every 32, `none` for none.
    #[arg(long, value_name = "BLOCK+PARITY")]
    fec: Option<FecArg>,
    /// Disjoint trees that every session is sent on.
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(trees()))]
    trees: Option<u8>,
}

fn trees() -> std::ops::RangeInclusive<i64> {
    i64::from(*TREES.start())..=i64::from(*TREES.end())
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) topology: TopologyArgs,
    /// How long the sources send.
    #[arg(long, value_parser = checked_duration)]
    duration: Option<String>,
    /// How fast each session's source sends: `5kpps`, `8Mbps`.
    #[arg(long, value_parser = quantity::rate)]
    rate: Option<Rate>,
    /// Bytes of each payload.
    #[arg(long)]
    size: Option<usize>,
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

/// A loss for one link or for all.
#[derive(Clone, Debug, PartialEq)]
struct LossArg {
    link: Option<[String; 2]>,
    loss: String,
}

impl std::str::FromStr for LossArg {
    type Err = String;

    fn from_str(text: &str) -> Result<LossArg, String> {
        let (link, loss) = match text.split_once('=') {
            Some((link, loss)) => {
                let (a, b) = link
                    .split_once(':')
                    .ok_or("a link is written A:B, as in core:lh1=50%")?;
                (Some([a.to_string(), b.to_string()]), loss)
            }
            None => (None, text),
        };
        quantity::percent(loss).map_err(|error| error.to_string())?;
        Ok(LossArg {
            link,
            loss: loss.to_string(),
        })
    }
}

/// Parity, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FecArg(Option<Fec>);

impl std::str::FromStr for FecArg {
    type Err = String;

    fn from_str(text: &str) -> Result<FecArg, String> {
        if text == "none" {
            return Ok(FecArg(None));
        }
        let (block, parity) = text
            .split_once('+')
            .ok_or("parity is written BLOCK+PARITY, as in 32+2, or none")?;
        let number = |what: &str, text: &str, most: u8| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("{what}: {text:?} is not a number from 1 to {most}"))
        };
        Ok(FecArg(Some(Fec {
            block: number("block", block, FEC_BLOCK_MAX)?,
            parity: number("parity", parity, FEC_PARITY_MAX)?,
        })))
    }
}

/// A share that is kept as written.
fn checked_share(text: &str) -> Result<String, QuantityError> {
    quantity::percent(text).map(|_: f64| text.to_string())
}

/// A duration that is kept as written.
fn checked_duration(text: &str) -> Result<String, QuantityError> {
    quantity::duration(text).map(|_: Duration| text.to_string())
}

impl TopologyArgs {
    /// The topology of the file, changed as asked.
    pub(super) fn load(&self) -> Result<Topology, String> {
        let mut topology = Topology::load(&self.file).map_err(|error| error.to_string())?;
        topology.seed = self.seed.unwrap_or(topology.seed);
        for loss in self.loss.iter().filter(|loss| loss.link.is_none()) {
            for link in &mut topology.links {
                link.impair.loss = Some(loss.loss.clone());
            }
        }
        for loss in &self.loss {
            let Some([a, b]) = &loss.link else { continue };
            let link = topology
                .link_between(a, b)
                .ok_or_else(|| format!("--loss: there is no link {a}:{b}"))?;
            topology.links[link].impair.loss = Some(loss.loss.clone());
        }
        for session in &mut topology.sessions {
            let settings = &mut session.settings;
            settings.delivery = self.delivery.or(settings.delivery);
            settings.overlay = self.overlay.or(settings.overlay);
            settings.trees = self.trees.or(settings.trees);
            for (set, to) in [
                (&mut settings.deadline, &self.deadline),
                (&mut settings.retention, &self.retention),
            ] {
                if to.is_some() {
                    set.clone_from(to);
                }
            }
        }
        if let Some(FecArg(fec)) = self.fec {
            topology.each_settings(|settings| settings.fec = fec);
        }
        Ok(topology)
    }
}

impl RunArgs {
    /// The topology of the file, changed as asked.
    pub(super) fn load(&self) -> Result<Topology, String> {
        let mut topology = self.topology.load()?;
        if let Some(duration) = &self.duration {
            topology.duration.clone_from(duration);
        }
        if let Some(rate) = self.rate {
            topology.set_rate(rate);
        }
        if let Some(size) = self.size {
            let sizes = crate::probe::MIN_LEN..=crate::probe::MAX_LEN;
            if !sizes.contains(&size) {
                return Err(format!(
                    "--size must be {} to {} bytes",
                    sizes.start(),
                    sizes.end()
                ));
            }
            topology.size = size;
        }
        Ok(topology)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fec, FecArg, LossArg};

    #[test]
    fn a_loss_is_for_one_link_or_for_all() {
        let all: LossArg = "2%".parse().unwrap();
        assert_eq!((all.link, all.loss.as_str()), (None, "2%"));
        let one: LossArg = "core:lh-1=50%".parse().unwrap();
        assert_eq!(one.link, Some(["core".to_string(), "lh-1".to_string()]));
        for bad in ["2", "core=2%", "a:b=2"] {
            assert!(bad.parse::<LossArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parity_is_written_as_a_sum() {
        let fec = |block, parity| Ok(FecArg(Some(Fec { block, parity })));
        assert_eq!("32+2".parse(), fec(32, 2));
        assert_eq!("128+32".parse(), fec(128, 32));
        assert_eq!("none".parse(), Ok(FecArg(None)));
        for bad in ["32", "0+1", "129+1", "32+33", "32+0", "a+1"] {
            assert!(bad.parse::<FecArg>().is_err(), "{bad}");
        }
    }
}

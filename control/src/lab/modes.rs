//! `treecast lab modes`: the ways of filling gaps side by side, each in a lab of its own.

use std::io::{self, Write};

use serde::Serialize;

use super::args::ModesArgs;
use super::plan::{Plan, PortKind};
use super::report::Report;
use super::topology::{Fec, Overlay, Topology};
use super::up::{Failed, Runs};

mod table;

pub(super) use table::Table;

/// A way of filling gaps: a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    name: &'static str,
    overlay: Overlay,
    fec: Option<Fec>,
    trees: u8,
}

/// Any two losses among 34 packets, for 6 % more of them.
const FEC: Fec = Fec {
    block: 32,
    parity: 2,
};

const MODES: [Mode; 5] = [
    Mode::new("pull", Overlay::Pull, None, 1),
    Mode::new("copy", Overlay::Copy, None, 1),
    Mode::new("auto", Overlay::Auto, None, 1),
    Mode::new("fec 32+2", Overlay::Pull, Some(FEC), 1),
    Mode::new("two trees", Overlay::Pull, None, 2),
];

impl Mode {
    const fn new(name: &'static str, overlay: Overlay, fec: Option<Fec>, trees: u8) -> Mode {
        Mode {
            name,
            overlay,
            fec,
            trees,
        }
    }

    /// The topology with this way of filling gaps and nothing else.
    fn of(self, topology: &Topology) -> Topology {
        let mut topology = topology.clone();
        topology.each_settings(|settings| {
            settings.overlay = Some(self.overlay);
            settings.fec = self.fec;
            settings.trees = Some(self.trees);
        });
        topology
    }
}

/// What one run came to: a cell of the table.
#[derive(Debug, Default, Serialize)]
struct Cell {
    mode: &'static str,
    pass: bool,
    /// Why it did not pass.
    problems: Vec<String>,
    /// Time from a gap to its repair, at the last hop where it is longest; absent where nothing was repaired.
    repair_us: Option<Quantiles>,
    /// Time from the source to the client where it is longest.
    client_us: Option<Quantiles>,
    /// Packets repaired at all last hops, by what.
    nak: u64,
    copy: u64,
    parity: u64,
    /// Bytes beyond those of one tree without loss, in percent of these.
    overhead_percent: f64,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Quantiles {
    p50: u64,
    p99: u64,
}

impl Quantiles {
    fn worst(all: impl Iterator<Item = Quantiles>) -> Option<Quantiles> {
        all.reduce(|a, b| Quantiles {
            p50: a.p50.max(b.p50),
            p99: a.p99.max(b.p99),
        })
    }
}

impl Cell {
    /// What a report says of a run in `mode`.
    fn new(mode: Mode, report: Report) -> Cell {
        let hops = || {
            report
                .sessions
                .iter()
                .flat_map(|session| &session.last_hops)
        };
        let sum = |count: fn(&super::report::LastHopReport) -> u64| hops().map(count).sum::<u64>();
        let repairs = hops().map(|hop| hop.repair_latency_us);
        let repairs = repairs.filter(|latency| latency.count > 0);
        let clients = hops().flat_map(|hop| &hop.clients);
        let (copy, parity) = (sum(|hop| hop.copied), sum(|hop| hop.rebuilt));
        Cell {
            mode: mode.name,
            pass: report.pass,
            repair_us: Quantiles::worst(repairs.map(|at| Quantiles {
                p50: at.p50,
                p99: at.p99,
            })),
            client_us: Quantiles::worst(clients.map(|client| Quantiles {
                p50: client.latency_us.p50,
                p99: client.latency_us.p99,
            })),
            nak: sum(|hop| hop.repaired).saturating_sub(copy + parity),
            copy,
            parity,
            overhead_percent: report.wire.overhead_percent,
            problems: report.problems,
        }
    }

    /// A run that came to nothing.
    fn failed(mode: Mode, why: String) -> Cell {
        Cell {
            mode: mode.name,
            problems: vec![why],
            ..Cell::default()
        }
    }
}

/// Runs every topology in every mode at every loss.
pub(super) fn run(args: &ModesArgs) -> Result<Table, Failed> {
    let topologies = load(args)?;
    let runs = Runs::prepare(args.port_kind)?;
    let mut table = Table::default();
    for topology in &topologies {
        for loss in &args.loss {
            let lossy = with_loss(topology, loss);
            let mut cells = Vec::new();
            for mode in MODES {
                let topology = mode.of(&lossy);
                if mode.trees > 1 && !has_room(&topology, args.port_kind) {
                    continue;
                }
                // Nobody to tell is no reason to end the runs.
                let _ = writeln!(
                    io::stderr(),
                    "{}, {loss} loss, {}",
                    topology.name,
                    mode.name
                );
                cells.push(match runs.run(None, &topology)? {
                    Ok(report) => Cell::new(mode, report),
                    Err((_, why)) => Cell::failed(mode, why),
                });
            }
            table.push(&topology.name, loss, cells);
        }
    }
    Ok(table)
}

fn load(args: &ModesArgs) -> Result<Vec<Topology>, Failed> {
    let load = |file| {
        let mut topology = Topology::load(file).map_err(|error| (2, error.to_string()))?;
        topology.duration.clone_from(&args.duration);
        if let Some(rate) = args.rate {
            topology.set_rate(rate);
        }
        Ok(topology)
    };
    args.files.iter().map(|file| load(file)).collect()
}

fn with_loss(topology: &Topology, loss: &str) -> Topology {
    let mut topology = topology.clone();
    for link in &mut topology.links {
        link.settings.impair.loss = Some(loss.to_string());
    }
    topology
}

/// Whether there is a second path to every last hop.
fn has_room(topology: &Topology, ports: PortKind) -> bool {
    Plan::new(topology, std::path::Path::new("/"), ports).is_ok()
}

#[cfg(test)]
mod tests;

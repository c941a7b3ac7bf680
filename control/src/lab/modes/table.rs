//! The table: modes side by side, as Markdown or JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{Cell, MODES, Quantiles};

/// What all runs came to.
#[derive(Debug, Default)]
pub(in crate::lab) struct Table(Vec<Group>);

/// One topology at one loss.
#[derive(Debug)]
struct Group {
    topology: String,
    loss: String,
    cells: Vec<Cell>,
}

/// A line of a group: its title, and how it reads a cell.
type Line = (&'static str, fn(&Cell) -> String);

/// The line that says something of a run that came to nothing as well.
const VERDICT: &str = "verdict";

const LINES: [Line; 5] = [
    ("repair p50 / p99", |cell| quantiles(cell.repair_us)),
    ("source to client p50 / p99", |cell| {
        quantiles(cell.client_us)
    }),
    ("repaired by NAK, copy, parity", |cell| {
        format!("{}, {}, {}", cell.nak, cell.copy, cell.parity)
    }),
    ("bytes beyond one tree's", |cell| {
        format!("{:+.1} %", cell.overhead_percent)
    }),
    (VERDICT, |cell| verdict(cell).to_string()),
];

impl Table {
    /// Adds what the runs of a topology at one loss came to.
    pub(super) fn push(&mut self, topology: &str, loss: &str, cells: Vec<Cell>) {
        self.0.push(Group {
            topology: topology.to_string(),
            loss: loss.to_string(),
            cells,
        });
    }

    /// How many runs did not pass.
    #[must_use]
    pub(in crate::lab) fn failed(&self) -> usize {
        let cells = self.0.iter().flat_map(|group| &group.cells);
        cells.filter(|cell| !cell.pass).count()
    }

    /// One object a run.
    #[must_use]
    pub(in crate::lab) fn to_json(&self) -> Value {
        let runs = self.0.iter().flat_map(|group| {
            group.cells.iter().map(|cell| {
                let mut run = json!(cell);
                run["topology"] = json!(group.topology);
                run["loss"] = json!(group.loss);
                run
            })
        });
        json!({ "pass": self.failed() == 0, "runs": runs.collect::<Vec<_>>() })
    }
}

/// Markdown: a group of lines for each topology and loss, a column for each mode, and below what went wrong.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = MODES.map(|mode| mode.name);
        writeln!(f, "| topology, loss | | {} |", names.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(names.len()))?;
        for group in &self.0 {
            for (place, (title, read)) in LINES.iter().enumerate() {
                let cells = names.map(|name| match group.cell(name) {
                    Some(cell) if cell.client_us.is_some() || *title == VERDICT => read(cell),
                    _ => "–".to_string(),
                });
                let head = match place {
                    0 => format!("{}, {}", group.topology, group.loss),
                    _ => String::new(),
                };
                writeln!(f, "| {head} | {title} | {} |", cells.join(" | "))?;
            }
        }
        for group in &self.0 {
            for cell in &group.cells {
                for problem in &cell.problems {
                    let (topology, loss) = (&group.topology, &group.loss);
                    writeln!(f, "\n{topology}, {loss}, {}: {problem}", cell.mode)?;
                }
            }
        }
        Ok(())
    }
}

impl Group {
    fn cell(&self, mode: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.mode == mode)
    }
}

fn verdict(cell: &Cell) -> &'static str {
    if cell.pass { "clean" } else { "NOT CLEAN" }
}

fn quantiles(of: Option<Quantiles>) -> String {
    let ms = |us: u64| match us {
        0..10_000 => format!("{:.2}", us as f64 / 1e3),
        _ => format!("{:.1}", us as f64 / 1e3),
    };
    of.map_or("none".to_string(), |of| {
        format!("{} / {} ms", ms(of.p50), ms(of.p99))
    })
}

//! The outcome for people.

use std::fmt;

use overlay::sim::Latencies;

use super::{LastHop, Outcome};
use crate::show::format::micros;
use crate::show::table::Table;

/// More last hops than fit a screen are summed up.
const ROWS_MAX: usize = 24;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        writeln!(f)?;
        if (1..=ROWS_MAX).contains(&self.last_hops.len()) {
            writeln!(f, "{}", self.rows())?;
        }
        self.summary(f)
    }
}

impl Outcome {
    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            name, seed, runs, ..
        } = self;
        match runs {
            1 => write!(f, "{name}: seed {seed}")?,
            _ => write!(
                f,
                "{name}: {runs} runs, seeds {seed} to {}",
                seed + runs - 1
            )?,
        }
        if !self.routers.is_empty() {
            let (routers, last_hops) = (self.routers.len(), self.last_hops.len());
            write!(f, ", {routers} routers, {last_hops} last hops")?;
        }
        let sent = self.total.source_packets;
        let seconds = self.total.virtual_time.as_secs_f64();
        writeln!(f, ", {sent} packets, {seconds:.1} s of virtual time")
    }

    fn rows(&self) -> Table {
        let numbers = [
            "SENT",
            "TREE",
            "REPAIRED",
            "COPIED",
            "REBUILT",
            "UNRECOVERED",
            "IN FLIGHT",
            "P50",
            "P99",
            "P99.9",
            "MAX",
        ];
        let words = [("SESSION", false), ("LAST HOP", false)];
        let numbers = numbers.map(|title| (title, true));
        Table {
            columns: words.into_iter().chain(numbers).collect(),
            rows: self.last_hops.iter().map(row).collect(),
            empty: "",
        }
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        writeln!(
            f,
            "last hops    {} due: {} by the tree, {} repaired ({} copied, {} rebuilt), {} unrecovered, {} in flight",
            total.sent,
            total.tree,
            total.repaired,
            total.copied,
            total.rebuilt,
            total.unrecovered,
            total.in_flight
        )?;
        let recovery = quantiles(&total.recovery);
        writeln!(f, "recovery     {recovery} later than by the tree")?;
        let delivery = quantiles(&total.delivery);
        writeln!(f, "delivery     {delivery} after the source")?;
        self.ingress_line(f)?;
        let most = total.naks_per_loss_max;
        writeln!(f, "NAKs         at most {most} at one node for one packet")?;
        self.bytes_line(f)?;
        let events = total.events as f64 / 1e6;
        let took = self.took.as_secs_f64();
        writeln!(f, "run time     {took:.1} s for {events:.1} million events")?;
        match self.failures.len() {
            0 => writeln!(f, "violations   none"),
            failed => {
                let found = self.violations();
                writeln!(f, "violations   {found}, in {failed} runs")
            }
        }
    }

    fn ingress_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = &self.ingress;
        write!(f, "ingress      {} packets lost on its links", at.lost)?;
        let per_loss = |count: u64| match at.lost {
            0 => String::new(),
            lost => format!(" ({:.2} per loss)", count as f64 / lost as f64),
        };
        let (naks, repairs) = (per_loss(at.naks), per_loss(at.repairs));
        writeln!(
            f,
            ", {} NAKs received{naks}, {} repairs sent{repairs}",
            at.naks, at.repairs
        )
    }

    fn bytes_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total.total;
        let kinds = [
            ("tree", total.data.bytes),
            ("repairs", total.repairs.bytes),
            ("copies", total.copies.bytes),
            ("parity", total.parity.bytes),
            ("NAKs", total.naks.bytes),
            ("heartbeats", total.heartbeats.bytes),
            ("hellos and NCFs", total.control.bytes),
        ];
        let sent = kinds.iter().filter(|(_, bytes)| *bytes > 0);
        let sent: Vec<String> = sent
            .map(|(what, bytes)| format!("{what} {}", size(*bytes)))
            .collect();
        writeln!(f, "links        {}", sent.join(", "))?;
        writeln!(
            f,
            "overhead     {:+.1} % over what the tree alone takes without loss",
            self.overhead_percent()
        )
    }
}

fn row(last_hop: &LastHop) -> Vec<String> {
    let counts = [
        last_hop.sent,
        last_hop.tree,
        last_hop.repaired,
        last_hop.copied,
        last_hop.rebuilt,
        last_hop.unrecovered,
        last_hop.in_flight,
    ];
    let recovery = &last_hop.recovery;
    let quantiles = [0.5, 0.99, 0.999, 1.0].map(|share| match recovery.count() {
        0 => "-".to_string(),
        _ => micros(recovery.quantile_us(share)),
    });
    let names = [last_hop.session.clone(), last_hop.node.clone()];
    let counts = counts.map(|count| count.to_string());
    names.into_iter().chain(counts).chain(quantiles).collect()
}

/// Quantiles for people.
pub(in crate::sim) fn quantiles(latencies: &Latencies) -> String {
    if latencies.count() == 0 {
        return "none".to_string();
    }
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| micros(latencies.quantile_us(share)));
    let max = micros(latencies.max_us());
    format!("p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}")
}

/// Bytes to three digits.
pub(in crate::sim) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

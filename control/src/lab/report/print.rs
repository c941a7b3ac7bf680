//! The report for people.

use std::io;

use super::Report;

impl Report {
    /// Prints the report.
    pub(in crate::lab) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: seed {}, {:.1} s\n",
            self.lab, self.seed, self.duration_s
        )?;
        self.print_last_hops(out)?;
        self.print_clients(out)?;
        self.print_links(out)?;
        self.print_nodes(out)?;
        for problem in &self.problems {
            writeln!(out, "{problem}")?;
        }
        let verdict = if self.pass {
            "PASS: every balance holds, every client has every packet"
        } else {
            "FAIL"
        };
        writeln!(out, "{verdict}")
    }

    fn print_last_hops(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<14} {:<10} {:<9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>11} {:>9} {:>10} {:>10}",
            "session",
            "last hop",
            "overlay",
            "sent",
            "tree",
            "repaired",
            "copied",
            "rebuilt",
            "unrecovered",
            "in flight",
            "repair p50",
            "p99"
        )?;
        for session in &self.sessions {
            for hop in &session.last_hops {
                writeln!(
                    out,
                    "{:<14} {:<10} {:<9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>11} {:>9} {:>7} µs {:>7} µs",
                    session.name,
                    hop.node,
                    hop.overlay(),
                    hop.sent,
                    hop.tree,
                    hop.repaired,
                    hop.copied,
                    hop.rebuilt,
                    hop.unrecovered,
                    hop.in_flight,
                    hop.repair_latency_us.p50,
                    hop.repair_latency_us.p99
                )?;
            }
        }
        writeln!(out)
    }

    fn print_clients(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<14} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10}",
            "session",
            "client",
            "received",
            "missing",
            "duplicate",
            "reordered",
            "corrupt",
            "latency p50",
            "p99"
        )?;
        for session in &self.sessions {
            for client in session.last_hops.iter().flat_map(|hop| &hop.clients) {
                writeln!(
                    out,
                    "{:<14} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} µs {:>7} µs",
                    session.name,
                    client.client,
                    client.received,
                    client.missing,
                    client.duplicate,
                    client.reordered,
                    client.corrupt,
                    client.latency_us.p50,
                    client.latency_us.p99
                )?;
            }
        }
        writeln!(out)
    }

    fn print_links(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<25} {:>9} {:>9} {:>7}",
            "tree link", "offered", "dropped", "loss"
        )?;
        for link in &self.links {
            let share = 100.0 * link.dropped as f64 / link.offered.max(1) as f64;
            let name = format!("{} > {}", link.from, link.to);
            writeln!(
                out,
                "{name:<25} {:>9} {:>9} {share:>6.2}%",
                link.offered, link.dropped
            )?;
        }
        writeln!(out)
    }

    fn print_nodes(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<14} {:>7} {:>7} {:>10} {:>5} {:>8} {:>8} {:>8} {:>7} {:>8} {:>9} {:>7}",
            "node",
            "NAKs tx",
            "NAKs rx",
            "suppressed",
            "NCFs",
            "repairs",
            "subcasts",
            "copies",
            "parity",
            "switched",
            "throttled",
            "ejected"
        )?;
        for node in &self.nodes {
            writeln!(
                out,
                "{:<14} {:>7} {:>7} {:>10} {:>5} {:>8} {:>8} {:>8} {:>7} {:>8} {:>9} {:>7}",
                node.node,
                node.naks_sent,
                node.naks_received,
                node.naks_suppressed,
                node.confirms_sent,
                node.repairs_sent,
                node.subcasts_sent,
                node.copies_sent,
                node.parity_sent,
                node.mode_changes,
                node.throttles,
                node.ejections
            )?;
        }
        writeln!(
            out,
            "between routers {:.1} % more than the tree alone takes without loss\n",
            self.wire.overhead_percent
        )
    }
}

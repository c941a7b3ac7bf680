//! What is shown while a lab runs: a table that is redrawn on a terminal, a line a second elsewhere. On stderr, so that
//! stdout holds the report alone.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ratatui::crossterm::terminal;

use super::network::Network;
use super::stats::SessionStats;

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(250);
/// How often a line is printed.
const LINE: Duration = Duration::from_secs(1);

/// The display of a run.
#[derive(Debug)]
pub(super) struct Live {
    is_terminal: bool,
    next: Duration,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

/// A session at a last hop.
struct Row<'a> {
    session: &'a str,
    node: &'a str,
    stats: SessionStats,
}

impl Live {
    /// A display for this process' stderr.
    #[must_use]
    pub(super) fn new() -> Live {
        Live {
            is_terminal: io::stderr().is_terminal(),
            next: Duration::ZERO,
            drawn: 0,
        }
    }

    /// Shows how things stand at `now`, when it is time to.
    pub(super) async fn tick(&mut self, now: Duration, lab: &mut Network) {
        if now < self.next {
            return;
        }
        self.next = now + if self.is_terminal { REDRAW } else { LINE };
        lab.refresh().await;
        let rows = rows(lab);
        // Nobody to show it to is no reason to end a run.
        let _ = if self.is_terminal {
            self.draw(now, &rows)
        } else {
            print_line(now, &rows)
        };
    }

    fn draw(&mut self, now: Duration, rows: &[Row<'_>]) -> io::Result<()> {
        let height = terminal::size().map_or(24, |(_, height)| usize::from(height));
        let most = height.saturating_sub(4).max(1);
        let mut text = format!(
            "{:>6.1} s  {:<14} {:<10} {:>9} {:>8} {:>8} {:>11} {:>9} {:>10} {:>10}\n",
            now.as_secs_f64(),
            "session",
            "last hop",
            "sent",
            "lost",
            "repaired",
            "unrecovered",
            "delivered",
            "repair p50",
            "p99"
        );
        for row in rows.iter().take(most) {
            text += &row.line();
        }
        if rows.len() > most {
            text += &format!("          … and {} more\n", rows.len() - most);
        }
        let mut out = io::stderr().lock();
        if self.drawn > 0 {
            // Back to the table's first line, and clear from there.
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.drawn = text.lines().count();
        out.write_all(text.as_bytes())
    }
}

impl Row<'_> {
    fn line(&self) -> String {
        let at = &self.stats;
        format!(
            "          {:<14} {:<10} {:>9} {:>8} {:>8} {:>11} {:>9} {:>7} µs {:>7} µs\n",
            self.session,
            self.node,
            at.sent,
            at.sent.saturating_sub(at.tree),
            at.repaired,
            at.unrecovered,
            at.delivered,
            at.repair_latency_us.p50,
            at.repair_latency_us.p99
        )
    }
}

fn rows(lab: &Network) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for session in &lab.plan().sessions {
        for hop in &session.last_hops {
            let stats = lab
                .stats(&hop.node)
                .and_then(|stats| stats.session(session.id));
            rows.push(Row {
                session: &session.name,
                node: &hop.node,
                stats: stats.cloned().unwrap_or_default(),
            });
        }
    }
    rows
}

fn print_line(now: Duration, rows: &[Row<'_>]) -> io::Result<()> {
    let sum =
        |count: fn(&SessionStats) -> u64| rows.iter().map(|row| count(&row.stats)).sum::<u64>();
    writeln!(
        io::stderr(),
        "{:>6.1} s  sent {}, tree {}, repaired {}, unrecovered {}, in flight {}, delivered {}",
        now.as_secs_f64(),
        sum(|at| at.sent),
        sum(|at| at.tree),
        sum(|at| at.repaired),
        sum(|at| at.unrecovered),
        sum(|at| at.in_flight),
        sum(|at| at.delivered)
    )
}

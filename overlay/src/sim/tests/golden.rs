//! The table of recovery: virtual time makes it exact, so each change of a number is seen.

use core::fmt::Write;
use core::time::Duration;
use std::string::String;
use std::vec::Vec;

use super::super::*;
use crate::{Fec, Mode};

/// The table as it was reviewed.
const GOLDEN: &str = include_str!("../../../tests/golden/recovery.txt");
const LAST_HOPS: usize = 4;
const COUNT: u64 = 3000;
const HOP: Duration = Duration::from_micros(500);
/// The hops of the other way are a little longer.
const OTHER_HOP: Duration = Duration::from_micros(600);

/// Two chains of routers side by side, one a backup of the other, and four last hops at their ends.
fn ladder(depth: usize, loss: f64, two_trees: bool) -> Scenario {
    let sides = 2 * (depth - 1);
    let mut scenario = Scenario::new(depth as u64, 1 + sides + LAST_HOPS);
    let mut places = Vec::new();
    for router in 1..scenario.routers {
        let is_last_hop = router > sides;
        let side = if is_last_hop { 0 } else { (router - 1) % 2 };
        let above = if is_last_hop {
            sides + 1
        } else {
            router - side
        };
        let upstream = if above == 1 {
            Vec::from([0])
        } else {
            // The same side first.
            Vec::from([above - 2 + side, above - 1 - side])
        };
        for &parent in &upstream {
            let other = parent > 0 && parent % 2 == 0 || !is_last_hop && side == 1;
            let delay = if other { OTHER_HOP } else { HOP };
            let link = Link::new(parent, router, Impairment::lossy(delay, loss));
            scenario.links.push(link);
        }
        let second = upstream.last().copied();
        places.push(Place {
            router,
            second_upstream: second.filter(|_| two_trees).into_iter().collect(),
            upstream,
            delivers: is_last_hop,
        });
    }
    scenario.sessions.push(SessionPlan::new(0, places));
    scenario.sessions[0].source.count = COUNT;
    scenario
}

fn in_mode(mode: &str, depth: usize, loss: f64) -> Scenario {
    let mut scenario = ladder(depth, loss, mode == "two trees");
    let config = &mut scenario.sessions[0].config;
    config.mode = match mode {
        "copy" => Mode::Copy,
        "auto" => Mode::Auto,
        _ => Mode::Pull,
    };
    let fec = Fec {
        block: 32,
        parity: 2,
    };
    config.fec = (mode == "fec").then_some(fec);
    scenario
}

fn table() -> String {
    let mut table = String::from(
        "How much later than by the tree, undisturbed, packets come that the tree did not bring, and the bytes of \
         repairs, copies, parity\nand the second tree for each byte of the stream. Hops of 500 µs, 600 µs on the \
         other way; 3,000 packets to 4 last hops.\n\n\
         loss   depth  mode       recovered    p50 µs    p99 µs    max µs  overhead\n",
    );
    for loss in [0.001, 0.01, 0.05, 0.2] {
        for depth in [2, 4, 8] {
            for mode in ["pull", "copy", "auto", "fec", "two trees"] {
                let report = run(&in_mode(mode, depth, loss));
                assert_eq!(report.failure(), None);
                let wanted = report.nodes.len() as u64 - 1;
                let wanted = wanted * COUNT;
                let again = (report.total.data.packets).saturating_sub(wanted);
                let packet = report.total.data.bytes / report.total.data.packets;
                let bytes = report.recovery_bytes() + again * packet;
                let _ = writeln!(
                    table,
                    "{:<5}  {depth:>5}  {mode:<9}  {:>9}  {:>8}  {:>8}  {:>8}  {:>7.3}",
                    std::format!("{:.1}%", loss * 100.0),
                    report.repaired,
                    report.recovery.quantile_us(0.5),
                    report.recovery.quantile_us(0.99),
                    report.recovery.max_us(),
                    bytes as f64 / (wanted * packet) as f64,
                );
            }
        }
    }
    table
}

/// `GOLDEN=1` writes the table anew.
#[test]
fn recovery_is_as_it_was_reviewed() {
    let table = table();
    if std::env::var_os("GOLDEN").is_some() {
        let path = std::concat!(
            std::env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/recovery.txt"
        );
        std::fs::write(path, &table).unwrap();
        return;
    }
    let changed: Vec<_> = table
        .lines()
        .zip(GOLDEN.lines())
        .filter(|(now, then)| now != then)
        .collect();
    assert!(
        table == GOLDEN,
        "recovery has changed; look at it, then run with GOLDEN=1: {changed:#?}"
    );
}

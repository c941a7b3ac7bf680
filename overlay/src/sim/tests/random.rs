//! Random trees: thousands of them, and not one violation.

use super::super::*;

/// Seeds of each of the two tests, which run side by side.
const SEEDS: u64 = 1000;

/// Runs the random scenarios of a range of seeds, prints the line that brings each failure back, and fails if there
/// were any. `SIM_SEEDS` chooses another number of seeds, `SIM_FIRST` where they begin.
fn run_random(part: u64) {
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let count: u64 = number("SIM_SEEDS", SEEDS);
    let first = number("SIM_FIRST", 0) + part * count;
    let mut all = Report::default();
    for seed in first..first + count {
        let report = run(&random(seed));
        if let Some(line) = report.failure() {
            std::println!("{line}");
        }
        all.add(&report);
    }
    std::println!(
        "{count} trees from seed {first}: {} events in {:?}, {} packets, {} repaired, {} unrecovered",
        all.events,
        all.run_time,
        all.sent,
        all.repaired,
        all.unrecovered,
    );
    assert_eq!(all.violation_count, 0, "the failures are listed above");
    // They are as bad as they should be.
    assert!(all.repaired * 100 > all.sent && all.unrecovered > 0 && all.spliced > count);
}

#[test]
fn random_trees_hold_whatever_happens() {
    run_random(0);
}

#[test]
fn other_random_trees_hold_whatever_happens() {
    run_random(1);
}

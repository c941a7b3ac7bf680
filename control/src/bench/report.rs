//! What a run says: a table for people, or a line of JSON for each row.

use dataplane::bench::Sample;
use serde::Serialize;

use super::rows::{Against, Row, Unit};

/// The samples of a row.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) ours: Vec<Sample>,
    pub(super) theirs: Vec<Sample>,
}

/// A row as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    row: &'a str,
    vdev: &'a str,
    size: u16,
    ours: f64,
    comparator: &'a str,
    theirs: f64,
    unit: &'a str,
    ratio: f64,
    cycles: f64,
}

/// The middle of some numbers, and how far the quarters around it lie apart, as a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Middle {
    median: f64,
    spread: f64,
}

/// Where rows go as they are measured.
pub(super) struct Report {
    json: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Report {
        Report { json }
    }

    /// Says what is to come.
    pub(super) fn begin(&self, cpu: usize) {
        if self.json {
            return;
        }
        say(&format!(
            "{}on CPU {cpu}, contenders by turns; medians, ± half the distance of the quartiles",
            processor()
        ));
        say(&format!(
            "\n{:<17} {:<5} {:>5} {:>9} {:>6} {:>7}  {:<22} {:>9} {:>6} {:>7} {:<5} {:>7} {:>9}",
            "ROW",
            "VDEV",
            "SIZE",
            "OURS",
            "±",
            "CYCLES",
            "COMPARATOR",
            "THEIRS",
            "±",
            "CYCLES",
            "UNIT",
            "RATIO",
            "MUST BE"
        ));
    }

    /// Says how a row came out.
    pub(super) fn row(&self, row: &Row, measured: &Measured) {
        let ours = middle(measured.ours.iter().map(|sample| value(row.unit, sample)));
        let theirs = match row.against {
            Against::Limit(limit) => Middle {
                median: limit,
                spread: 0.0,
            },
            _ => middle(measured.theirs.iter().map(|sample| value(row.unit, sample))),
        };
        let cycles = middle(measured.ours.iter().map(cycles_per_packet)).median;
        let ratio = ours.median / theirs.median;
        if self.json {
            let line = Line {
                row: row.name,
                vdev: row.vdev,
                size: row.size,
                ours: rounded(ours.median),
                comparator: row.comparator,
                theirs: rounded(theirs.median),
                unit: row.unit.name(),
                ratio: rounded(ratio),
                cycles: rounded(cycles),
            };
            say(&serde_json::to_string(&line).unwrap_or_default());
            return;
        }
        let must = match (row.bound, row.unit) {
            (None, _) => String::new(),
            (Some(bound), Unit::Mpps) => format!("≥ {bound:.2}"),
            (Some(bound), Unit::Ns) => format!("≤ {bound:.2}"),
        };
        let holds = row.bound.is_none_or(|bound| match row.unit {
            Unit::Mpps => ratio >= bound,
            Unit::Ns => ratio <= bound,
        });
        say(&format!(
            "{:<17} {:<5} {:>5} {:>9.2} {:>5.1}% {:>7.1}  {:<22} {:>9.2} {:>5.1}% {:>7.1} {:<5} {:>7.2} {:>9}{}",
            row.name,
            row.vdev,
            row.size,
            ours.median,
            ours.spread * 100.0,
            cycles,
            row.comparator,
            theirs.median,
            theirs.spread * 100.0,
            their_cycles(row.unit, theirs.median, &measured.ours),
            row.unit.name(),
            ratio,
            must,
            if holds { "" } else { "  short" },
        ));
    }
}

/// What a row compares.
fn value(unit: Unit, sample: &Sample) -> f64 {
    let ns_per_packet = sample.ns as f64 / sample.packets.max(1) as f64;
    match unit {
        Unit::Mpps => 1000.0 / ns_per_packet,
        Unit::Ns => ns_per_packet,
    }
}

fn cycles_per_packet(sample: &Sample) -> f64 {
    sample.cycles as f64 / sample.packets.max(1) as f64
}

/// The comparator's cost in cycles of the time stamp counter, whose rate our samples tell.
fn their_cycles(unit: Unit, value: f64, ours: &[Sample]) -> f64 {
    let cycles: u64 = ours.iter().map(|sample| sample.cycles).sum();
    let ns: u64 = ours.iter().map(|sample| sample.ns).sum();
    let per_ns = cycles as f64 / ns.max(1) as f64;
    match unit {
        Unit::Mpps => 1000.0 / value * per_ns,
        Unit::Ns => value * per_ns,
    }
}

fn middle(values: impl Iterator<Item = f64>) -> Middle {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return Middle {
            median: 0.0,
            spread: 0.0,
        };
    }
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        values[low] + (values[high] - values[low]) * place.fract()
    };
    let median = at(0.5);
    Middle {
        median,
        spread: (at(0.75) - at(0.25)) / 2.0 / median,
    }
}

/// Three digits behind the point: more than what is measured means.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The processor's name, if the kernel tells.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'));
    name.map_or(String::new(), |(_, name)| format!("{}, ", name.trim()))
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_median_and_half_the_distance_of_the_quartiles() {
        let found = middle([4.0, 1.0, 3.0, 2.0, 5.0].into_iter());
        assert_eq!(
            found,
            Middle {
                median: 3.0,
                spread: 1.0 / 3.0
            }
        );
    }

    #[test]
    fn a_line_of_json_is_as_documented() {
        let line = Line {
            row: "fanout-1-64",
            vdev: "null",
            size: 1400,
            ours: 0.5,
            comparator: "testpmd-txonly-2seg",
            theirs: 0.25,
            unit: "Mpps",
            ratio: 2.0,
            cycles: 52.0,
        };
        let expected = "{\"row\":\"fanout-1-64\",\"vdev\":\"null\",\"size\":1400,\"ours\":0.5,\
             \"comparator\":\"testpmd-txonly-2seg\",\"theirs\":0.25,\"unit\":\"Mpps\",\"ratio\":2.0,\"cycles\":52.0}";
        assert_eq!(serde_json::to_string(&line).unwrap(), expected);
    }

    #[test]
    fn a_rate_is_packets_in_time_on_the_core() {
        let sample = Sample {
            packets: 1000,
            cycles: 260_000,
            ns: 100_000,
            set_aside: 0.0,
        };
        assert!((value(Unit::Mpps, &sample) - 10.0).abs() < 1e-9);
        assert!((value(Unit::Ns, &sample) - 100.0).abs() < 1e-9);
        assert!((their_cycles(Unit::Mpps, 10.0, &[sample]) - 260.0).abs() < 1e-9);
    }
}

//! How a neighbor keeps to its repair rate: throttled, ejected and back.

use super::*;

/// Something that happens to a neighbor's repair budget, and when after what went before.
#[derive(Clone, Copy)]
enum Moment {
    /// It is found empty.
    Empty(Duration),
    /// It is judged.
    Judged(Duration),
}

use Moment::{Empty, Judged};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(10);

/// What leads to each state, from the start.
const PATHS: [(&str, &[Moment]); 4] = [
    ("Within", &[]),
    ("Beyond", &[Empty(NOW)]),
    (
        "Throttled",
        &[Empty(NOW), Empty(THROTTLED_AFTER), Judged(NOW)],
    ),
    ("Ejected", &[Empty(NOW), Empty(EJECTED_AFTER), Judged(NOW)]),
];

const EVENTS: [(&str, &[Moment]); 5] = [
    ("judged", &[Judged(SOON)]),
    ("found empty", &[Empty(SOON), Judged(NOW)]),
    ("so for 100 ms", &[Empty(THROTTLED_AFTER), Judged(NOW)]),
    ("so for 10 s", &[Empty(EJECTED_AFTER), Judged(NOW)]),
    ("not so for 1 s", &[Judged(THROTTLED_PAUSE)]),
];

/// A neighbor whose budget is always empty, and what was last judged of it.
struct Driven {
    neighbor: Neighbor,
    now: Instant,
    told: Option<Conduct>,
}

impl Driven {
    fn new(path: &[Moment]) -> Driven {
        let config = NeighborConfig {
            hello_interval: INTERVAL,
            detect_mult: 3,
            repair_rate_pps: 0,
        };
        let mut driven = Driven {
            neighbor: Neighbor::new(START, config),
            now: START,
            told: None,
        };
        driven.apply(path);
        driven
    }

    fn apply(&mut self, inputs: &[Moment]) {
        for &input in inputs {
            match input {
                Empty(after) => {
                    self.now = self.now + after;
                    assert!(!self.neighbor.take_repair(self.now));
                }
                Judged(after) => {
                    self.now = self.now + after;
                    self.told = self.neighbor.judge(self.now);
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        match (self.neighbor.throttle, self.neighbor.ejected_until) {
            (_, Some(_)) => "Ejected",
            (Some(throttle), None) if throttle.told => "Throttled",
            (Some(_), None) => "Beyond",
            (None, None) => "Within",
        }
    }
}

/// The state that follows, and `!` where an operator is told.
fn cell(path: &[Moment], event: &[Moment]) -> String {
    let mut driven = Driven::new(path);
    let before = driven.name();
    driven.told = None;
    driven.apply(event);
    match (driven.told, driven.name()) {
        (None, after) if after == before => "–".into(),
        (None, after) => after.into(),
        (Some(_), after) => format!("{after} !"),
    }
}

fn table() -> String {
    let row = |event: &str, cells: [String; PATHS.len()]| {
        let cells = cells.map(|cell| format!(" {cell:<11} |"));
        format!("| {event:<14} |{}", cells.concat())
    };
    let mut rows = Vec::from([row("repair budget", PATHS.map(|(name, _)| name.into()))]);
    rows.push(format!(
        "|{:-<16}|{}",
        "",
        "-------------|".repeat(PATHS.len())
    ));
    for (event, inputs) in EVENTS {
        rows.push(row(event, PATHS.map(|(_, path)| cell(path, inputs))));
    }
    rows.join("\n")
}

#[test]
fn each_path_leads_to_the_conduct_that_it_is_named_after() {
    for (name, path) in PATHS {
        assert_eq!(Driven::new(path).name(), name);
    }
}

#[test]
fn what_each_event_does_in_each_conduct() {
    insta::assert_snapshot!(table());
}

#[test]
fn the_docs_have_the_same_table_of_conduct() {
    assert_in_docs(&table());
}

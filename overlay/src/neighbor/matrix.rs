//! The state machine in full: each state, each event, and what becomes of it.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;

mod conduct;

const START: Instant = Instant(1_000_000_000);
const INTERVAL: Duration = Duration::from_millis(10);
const DETECTION: Duration = Duration::from_millis(30);
const STATES: [HelloState; 3] = [HelloState::Down, HelloState::Init, HelloState::Up];

/// Something that happens to an adjacency.
#[derive(Clone, Copy)]
enum Input {
    /// A hello: the difference to the epoch and to the sequence heard before, and its state.
    Hello(i16, i64, HelloState),
    /// This much time after the last hello, or the start.
    Silence(Duration),
}

use Input::{Hello as Hears, Silence};

/// What leads to each state, from the start.
const PATHS: [(&str, &[Input]); 7] = [
    ("Start", &[]),
    ("Heard", &[Hears(0, 1, HelloState::Up)]),
    (
        "Silent",
        &[Hears(0, 1, HelloState::Init), Silence(DETECTION)],
    ),
    (
        "Restart",
        &[Hears(0, 1, HelloState::Init), Hears(1, 1, HelloState::Up)],
    ),
    ("Init", &[Hears(0, 1, HelloState::Down)]),
    (
        "Unheard",
        &[Hears(0, 1, HelloState::Init), Hears(0, 1, HelloState::Down)],
    ),
    ("Up", &[Hears(0, 1, HelloState::Init)]),
];

/// A neighbor and the newest hello that was sent to it.
struct Driven {
    neighbor: Neighbor,
    now: Instant,
    sent: Option<(Epoch, Seq)>,
}

impl Driven {
    fn new(path: &[Input]) -> Driven {
        let config = NeighborConfig {
            hello_interval: INTERVAL,
            detect_mult: 3,
            repair_rate_pps: 1,
        };
        let mut driven = Driven {
            neighbor: Neighbor::new(START, config),
            now: START,
            sent: None,
        };
        for &input in path {
            driven.apply(input);
        }
        driven
    }

    /// `false`: the hello was not taken.
    fn apply(&mut self, input: Input) -> bool {
        match input {
            Hears(epochs, sequences, state) => self.hear(epochs, sequences, state),
            Silence(span) => {
                self.neighbor.handle_timeout(self.now + span);
                true
            }
        }
    }

    fn hear(&mut self, epochs: i16, sequences: i64, state: HelloState) -> bool {
        let (epoch, sequence) = self.sent.unwrap_or((Epoch(100), Seq(100)));
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch: Epoch(epoch.0.wrapping_add_signed(epochs)),
            session: SessionId(0),
            sequence: Seq(sequence.0.wrapping_add_signed(sequences)),
            timestamp: 1,
        };
        let hello = Hello {
            interval_us: 10_000,
            detect_mult: 3,
            state,
            echo: 0,
            held_ns: 0,
        };
        self.sent = Some((header.epoch, header.sequence));
        self.neighbor.handle_hello(self.now, &header, &hello)
    }

    fn name(&self) -> &'static str {
        let heard = self.neighbor.heard.is_some();
        match (self.neighbor.state, self.neighbor.reason) {
            (HelloState::Down, StateReason::Start) if !heard => "Start",
            (HelloState::Down, StateReason::Start) => "Heard",
            (HelloState::Down, StateReason::Silent) => "Silent",
            (HelloState::Down, StateReason::Restarted) => "Restart",
            (HelloState::Init, StateReason::Hello) => "Init",
            (HelloState::Init, StateReason::Unheard) => "Unheard",
            (HelloState::Up, StateReason::Hello) => "Up",
            other => panic!("a state of no name: {other:?}"),
        }
    }
}

fn events() -> Vec<(String, Input)> {
    let mut events = Vec::new();
    for (what, epochs, sequences) in [
        ("hears", 0, 1),
        ("replay of", 0, 0),
        ("new epoch,", 1, -9),
        ("old epoch,", -1, 9),
    ] {
        for state in STATES {
            events.push((format!("{what} {state:?}"), Hears(epochs, sequences, state)));
        }
    }
    events.push(("detection over".into(), Silence(DETECTION)));
    let patience = DETECTION * START_PATIENCE;
    events.push(("patience over".into(), Silence(patience)));
    events
}

/// What `input` does to a neighbor that `path` has led to its state.
fn cell(path: &[Input], input: Input) -> String {
    let mut driven = Driven::new(path);
    let before = (driven.name(), driven.neighbor.stats.downs);
    let taken = driven.apply(input);
    let after = (driven.name(), driven.neighbor.stats.downs);
    if !taken {
        assert_eq!(before, after);
        return "stale".into();
    }
    if before == after {
        return "–".into();
    }
    let down = if after.1 > before.1 { " ↓" } else { "" };
    format!("{}{down}", after.0)
}

fn table() -> String {
    let mut rows = Vec::from([row("event", PATHS.map(|(name, _)| name.into()))]);
    rows.push(format!(
        "|{:-<20}|{}",
        "",
        "-----------|".repeat(PATHS.len())
    ));
    for (event, input) in events() {
        rows.push(row(&event, PATHS.map(|(_, path)| cell(path, input))));
    }
    let says = PATHS.map(|(_, path)| {
        let polled = Driven::new(path).neighbor.poll_hello(START, Epoch(1));
        format!("{:?}", polled.unwrap().1.state)
    });
    rows.push(row("its own hellos say", says));
    rows.join("\n")
}

fn row(event: &str, cells: [String; PATHS.len()]) -> String {
    let cells = cells.map(|cell| format!(" {cell:<9} |"));
    format!("| {event:<18} |{}", cells.concat())
}

#[test]
fn each_path_leads_to_the_state_that_it_is_named_after() {
    for (name, path) in PATHS {
        assert_eq!(Driven::new(path).name(), name);
    }
}

#[test]
fn what_each_event_does_in_each_state() {
    insta::assert_snapshot!(table());
}

/// The docs of the module have this table.
fn assert_in_docs(table: &str) {
    let docs: String = table.lines().map(|row| format!("//! {row}\n")).collect();
    assert!(
        include_str!("../neighbor.rs").contains(&docs),
        "the docs of the module should have this table:\n{docs}"
    );
}

#[test]
fn the_docs_have_the_same_table() {
    assert_in_docs(&table());
}

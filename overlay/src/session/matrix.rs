//! The session machine in full: each state, each event, and what becomes of it.
//!
//! A node with a parent, a child and a backup is led into a state by events; then one more is applied. 5 is the sequence
//! that the states are about.

use std::boxed::Box;
use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::SessionId;
use crate::wire::{FLAG_COPY, FLAG_END, FLAG_GRAFT, FLAG_HISTORY, FLAG_SECOND, HelloState};
use crate::wire::{Hello, Kind, NakRanges, ParityHeader, emit_range};
use crate::{Node, NodeConfig, SessionIndex};
use outcome::Outcome;

mod outcome;

const START: Instant = Instant(1_000_000_000);
const MS: Duration = Duration::from_millis(1);
const PARENT: NeighborId = NeighborId(0);
const CHILD: NeighborId = NeighborId(1);
const BACKUP: NeighborId = NeighborId(2);
const ID: SessionId = SessionId(7);
const EPOCH: u16 = 10;
const REORDER_DELAY: Duration = MS;
/// The time-out before the first round trip has been measured.
const TIME_OUT: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_millis(100);
const RETENTION: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const FEC: Fec = Fec {
    block: 8,
    parity: 1,
};

/// What can happen. `next` and the like are relative to the lead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Data(u64),
    Second(u64),
    Next,
    Ahead,
    Beyond,
    Repair(u64),
    Copy(u64),
    Rebuilt(u64),
    Parity,
    Heartbeat,
    HeartbeatAhead,
    End,
    NewEpoch,
    OldEpoch,
    Nak(u64),
    Confirm(u64),
    ConfirmOfBackup(u64),
    History,
    Graft,
    CopyRequest,
    HistoryRequest,
    Source,
    EndSession,
    Pass(&'static str, Duration),
    ParentDown,
    ParentUp,
}

use Event::*;

const EVENTS: [Event; 31] = [
    Data(5),
    Second(5),
    Next,
    Ahead,
    Beyond,
    Repair(5),
    Copy(5),
    Rebuilt(5),
    Parity,
    Heartbeat,
    HeartbeatAhead,
    End,
    NewEpoch,
    OldEpoch,
    Nak(5),
    Confirm(5),
    ConfirmOfBackup(5),
    History,
    Graft,
    CopyRequest,
    HistoryRequest,
    Source,
    EndSession,
    Pass("reorder delay over", REORDER_DELAY),
    Pass("time-out over", TIME_OUT),
    Pass("deadline over", DEADLINE),
    Pass("retention over", RETENTION),
    Pass("a second over", SILENCE),
    Pass("idle time-out over", IDLE_TIMEOUT),
    ParentDown,
    ParentUp,
];

/// How the session is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Setup {
    Receiver,
    CopyMode,
    WithFec,
    WithHistory,
    TwoTrees,
    Ingress,
}

/// A state, what it is, and what leads to it.
struct State {
    name: &'static str,
    setup: Setup,
    path: &'static [Event],
}

const fn state(name: &'static str, setup: Setup, path: &'static [Event]) -> State {
    State { name, setup, path }
}

const STATES: [State; 20] = [
    state("idle: nothing heard", Setup::Receiver, &[]),
    state(
        "joining: waits for history",
        Setup::WithHistory,
        &[Data(10)],
    ),
    state(
        "following, 5 not sent yet",
        Setup::Receiver,
        &[Data(1), Data(2), Data(3), Data(4)],
    ),
    state("5 missing, fresh", Setup::Receiver, &[Data(4), Data(6)]),
    state(
        "5 missing, asked for",
        Setup::Receiver,
        &[Data(4), Data(6), Pass("", REORDER_DELAY)],
    ),
    state(
        "5 missing, promised",
        Setup::Receiver,
        &[Data(4), Data(6), Confirm(5)],
    ),
    state(
        "5 missing, a child waits",
        Setup::Receiver,
        &[Data(4), Data(6), Nak(5)],
    ),
    state(
        "5 missing, waits for parity",
        Setup::WithFec,
        &[Data(1), Data(2), Data(3), Data(4), Data(6)],
    ),
    state(
        "5 missing, can be rebuilt",
        Setup::WithFec,
        &[
            Data(1),
            Data(2),
            Data(3),
            Data(4),
            Data(6),
            Data(7),
            Data(8),
            Parity,
        ],
    ),
    state(
        "5 missing, copies on their way",
        Setup::CopyMode,
        &[Data(4), Data(6)],
    ),
    state(
        "5 missing, the second tree may bring it",
        Setup::TwoTrees,
        &[Data(4), Data(6)],
    ),
    state("5 held, by the tree", Setup::Receiver, &[Data(4), Data(5)]),
    state(
        "5 held, as a repair",
        Setup::Receiver,
        &[Data(4), Data(6), Pass("", REORDER_DELAY), Repair(5)],
    ),
    state(
        "5 lost",
        Setup::Receiver,
        &[Data(4), Data(6), Pass("", DEADLINE)],
    ),
    state("5 before this node joined", Setup::Receiver, &[Data(8)]),
    state(
        "silent for a second",
        Setup::Receiver,
        &[Data(4), Pass("", SILENCE)],
    ),
    state(
        "with a backup as parent",
        Setup::Receiver,
        &[Data(4), ParentDown],
    ),
    state("ended", Setup::Receiver, &[Data(4), Data(5), End]),
    state(
        "ingress",
        Setup::Ingress,
        &[Source, Source, Source, Source, Source],
    ),
    state(
        "ingress, ended",
        Setup::Ingress,
        &[Source, Source, Source, Source, Source, EndSession],
    ),
];

/// A node with one session, in some state.
struct Driven {
    node: Node<u64>,
    index: SessionIndex,
    now: Instant,
    parent_is_up: bool,
}

impl Driven {
    fn new(state: &State) -> Driven {
        let config = NodeConfig {
            epoch: Epoch(1),
            hello_interval: MS * 10,
            hold_down: Duration::ZERO,
            max_neighbors: 3,
            max_sessions: 1,
        };
        let mut node = Node::new(START, config);
        for _ in [PARENT, CHILD, BACKUP] {
            let neighbor = crate::NeighborConfig {
                hello_interval: MS * 10,
                detect_mult: 3,
                repair_rate_pps: 1_000_000,
            };
            node.add_neighbor(START, neighbor);
        }
        let session = Session::new(START, session_config(state.setup), Epoch(EPOCH));
        let index = node.add_session(START, Box::new(session)).unwrap();
        let mut driven = Driven {
            node,
            index,
            now: START,
            parent_is_up: true,
        };
        driven.hellos();
        driven.drain();
        for &event in state.path {
            driven.apply(event);
        }
        driven
    }

    fn session(&self) -> &Session<u64> {
        self.node.session(self.index).unwrap()
    }

    /// Has all neighbors that are up say so.
    fn hellos(&mut self) {
        for from in [PARENT, CHILD, BACKUP] {
            if from == PARENT && !self.parent_is_up {
                continue;
            }
            let header = Header {
                flags: 0,
                epoch: Epoch(1),
                session: SessionId(0),
                ..self.header(Kind::Hello, self.now.0)
            };
            let hello = Hello {
                interval_us: 10_000,
                detect_mult: 3,
                state: HelloState::Init,
                echo: 0,
                held_ns: 0,
            };
            self.node.handle_hello(self.now, from, &header, &hello).ok();
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.hellos();
    }

    fn header(&self, kind: Kind, seq: u64) -> Header {
        Header {
            kind,
            flags: 0,
            epoch: Epoch(EPOCH),
            session: ID,
            sequence: Seq(seq),
            timestamp: 0,
        }
    }

    /// Applies an event and takes what the node puts out.
    fn apply(&mut self, event: Event) -> Outcome {
        let before = self.session().stats();
        let result = match self.handle(event) {
            None => String::new(),
            Some(Ok(())) => "taken".into(),
            Some(Err(reject)) => reject.to_string(),
        };
        Outcome {
            result,
            out: self.drain(),
            counts: outcome::counted(&before, &self.session().stats()),
        }
    }

    /// `None`: an event that can't be refused.
    fn handle(&mut self, event: Event) -> Option<Result<(), Reject>> {
        let lead = self.session().lead().0;
        let result = match event {
            Data(seq) => self.data(EPOCH, seq, 0),
            Second(seq) => self.data(EPOCH, seq, FLAG_SECOND),
            Next => self.data(EPOCH, lead + 1, 0),
            Ahead => self.data(EPOCH, lead + 3, 0),
            Beyond => self.data(EPOCH, lead + 100_000, 0),
            NewEpoch => self.data(EPOCH + 1, 2, 0),
            OldEpoch => self.data(EPOCH - 1, lead + 1, 0),
            Heartbeat => self.heartbeat(lead, 0),
            HeartbeatAhead => self.heartbeat(lead + 2, 0),
            End => self.heartbeat(lead, FLAG_END),
            Repair(_) | Copy(_) | Rebuilt(_) | Parity => self.otherwise(event),
            Nak(_) | Confirm(_) | ConfirmOfBackup(_) | History => self.ranges(event),
            Graft => self.request(FLAG_GRAFT),
            CopyRequest => self.request(FLAG_COPY),
            HistoryRequest => self.request(FLAG_HISTORY),
            Source => {
                let header = self.node.handle_source(self.now, self.index, 0, lead + 1);
                header.map(drop).ok_or(Reject::Role)
            }
            EndSession | Pass(..) | ParentDown | ParentUp => {
                self.change(event);
                return None;
            }
        };
        Some(result)
    }

    fn change(&mut self, event: Event) {
        match event {
            EndSession => self.node.end_session(self.now, self.index),
            Pass(_, span) => self.pass(span),
            ParentDown => {
                self.parent_is_up = false;
                self.pass(MS * 15);
                self.node.handle_timeout(self.now);
                self.pass(MS * 15);
            }
            _ => {
                self.parent_is_up = true;
                self.pass(MS);
            }
        }
    }

    fn data(&mut self, epoch: u16, seq: u64, flags: u8) -> Result<(), Reject> {
        let header = Header {
            epoch: Epoch(epoch),
            flags,
            ..self.header(Kind::Data, seq)
        };
        self.node.handle_data(self.now, &header, seq).map(drop)
    }

    fn heartbeat(&mut self, lead: u64, flags: u8) -> Result<(), Reject> {
        let header = self.header(Kind::Heartbeat, lead);
        let header = Header { flags, ..header };
        self.node.handle_heartbeat(self.now, &header).map(drop)
    }

    /// A packet that comes otherwise than by the tree.
    fn otherwise(&mut self, event: Event) -> Result<(), Reject> {
        let now = self.now;
        match event {
            Repair(seq) => {
                let header = self.header(Kind::Repair, seq);
                self.node.handle_repair(now, PARENT, &header, seq).map(drop)
            }
            Copy(seq) => {
                let header = self.header(Kind::Copy, seq);
                self.node.handle_copy(now, BACKUP, &header, seq).map(drop)
            }
            Rebuilt(seq) => self.node.handle_rebuilt(now, self.index, Seq(seq), seq),
            _ => {
                let header = self.header(Kind::Parity, 1);
                let parity = ParityHeader {
                    count: FEC.block,
                    parity: FEC.parity,
                    index: 0,
                };
                let taken = self.node.handle_parity(now, &header, parity, 0);
                taken.map(drop)
            }
        }
    }

    fn ranges(&mut self, event: Event) -> Result<(), Reject> {
        let (Nak(first) | Confirm(first) | ConfirmOfBackup(first), count) = (event, 1) else {
            return self.history();
        };
        let body = emit_range(SeqRange::new(Seq(first), count).unwrap());
        let ranges = NakRanges::parse(&body).unwrap();
        let header = self.header(Kind::NakConfirm, 0);
        let header = Header {
            timestamp: 5_000_000,
            ..header
        };
        let node = &mut self.node;
        match event {
            Nak(_) => node.handle_nak(self.now, CHILD, &header, ranges),
            Confirm(_) => node.handle_confirm(self.now, PARENT, &header, ranges),
            _ => node.handle_confirm(self.now, BACKUP, &header, ranges),
        }
        .map(drop)
    }

    /// The parent's word that it has what follows 3.
    fn history(&mut self) -> Result<(), Reject> {
        let body = emit_range(SeqRange::new(Seq(4), 6).unwrap());
        let ranges = NakRanges::parse(&body).unwrap();
        let header = Header {
            flags: FLAG_HISTORY,
            ..self.header(Kind::NakConfirm, 0)
        };
        let taken = self.node.handle_confirm(self.now, PARENT, &header, ranges);
        taken.map(drop)
    }

    /// A request of the child, of all that is here.
    fn request(&mut self, flags: u8) -> Result<(), Reject> {
        let header = Header {
            flags,
            timestamp: SILENCE.as_nanos() as u64,
            ..self.header(Kind::Hello, 1)
        };
        self.node.handle_request(self.now, CHILD, &header).map(drop)
    }
}

fn session_config(setup: Setup) -> SessionConfig {
    SessionConfig {
        id: ID,
        upstream: if setup == Setup::Ingress {
            vec![]
        } else {
            vec![PARENT, BACKUP]
        },
        downstream: vec![CHILD],
        delivery: Some(Order::Ordered),
        deadline: DEADLINE,
        retention: RETENTION,
        reorder_delay: REORDER_DELAY,
        max_rate_pps: 1000,
        second_upstream: if setup == Setup::TwoTrees {
            vec![BACKUP]
        } else {
            vec![]
        },
        mode: if setup == Setup::CopyMode {
            Mode::Copy
        } else {
            Mode::Pull
        },
        fec: (setup == Setup::WithFec).then_some(FEC),
        catch_up: if setup == Setup::WithHistory {
            SILENCE
        } else {
            Duration::ZERO
        },
        idle_timeout: IDLE_TIMEOUT,
        ..SessionConfig::default()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data(seq) => write!(f, "data {seq}"),
            Second(seq) => write!(f, "data {seq}, second tree"),
            Next => f.write_str("data in order"),
            Ahead => f.write_str("data ahead by 2"),
            Beyond => f.write_str("data beyond the window"),
            Repair(seq) => write!(f, "repair {seq}"),
            Copy(seq) => write!(f, "copy {seq}"),
            Rebuilt(seq) => write!(f, "rebuilt {seq}"),
            Parity => f.write_str("parity of 1–8"),
            Heartbeat => f.write_str("heartbeat"),
            HeartbeatAhead => f.write_str("heartbeat ahead by 2"),
            End => f.write_str("heartbeat with the end"),
            NewEpoch => f.write_str("data 2, newer epoch"),
            OldEpoch => f.write_str("data, older epoch"),
            Nak(seq) => write!(f, "NAK {seq}"),
            Confirm(seq) => write!(f, "NCF {seq}"),
            ConfirmOfBackup(seq) => write!(f, "NCF {seq} of the backup"),
            History => f.write_str("history 4–9"),
            Graft => f.write_str("request: tree"),
            CopyRequest => f.write_str("request: copies"),
            HistoryRequest => f.write_str("request: history"),
            Source => f.write_str("source packet"),
            EndSession => f.write_str("end of session"),
            Pass(what, _) => f.write_str(what),
            ParentDown => f.write_str("parent down"),
            ParentUp => f.write_str("parent up"),
        }
    }
}

fn section(state: &State) -> String {
    let mut rows = vec![format!("## {}\n", state.name)];
    rows.push("| event | result | sends, delivers, tells | counts |".into());
    rows.push("|---|---|---|---|".into());
    for event in EVENTS {
        let outcome = Driven::new(state).apply(event);
        rows.push(format!("| {event} | {outcome} |"));
    }
    rows.join("\n")
}

fn table() -> String {
    let sections: Vec<String> = STATES.iter().map(section).collect();
    sections.join("\n\n")
}

#[test]
fn what_each_event_does_in_each_state() {
    insta::assert_snapshot!(table());
}

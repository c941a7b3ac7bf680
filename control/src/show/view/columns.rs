//! The columns of the tables, and how their cells are made.

use serde_json::Value;

use crate::show::format::{age, micros, percent};

/// A column: its title, whether it stands right, and its cell of one row at a time in ms since 1970.
pub(super) type Column = (&'static str, bool, Cell);

/// How a cell is made.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    /// The value of a key.
    Key(&'static str),
    /// Something made of the row and of the time in ms since 1970.
    Made(fn(&Value, u64) -> String),
}

pub(super) use Cell::{Key, Made};

/// Of sessions: their balance.
pub(super) const SESSIONS: &[Column] = &[
    ("SESSION", true, Key("session")),
    ("NAME", false, Key("name")),
    ("ROLES", false, Key("roles")),
    ("PARENT", false, Key("parent")),
    ("OVERLAY", false, Made(|row, _| overlay(row))),
    ("SENT", true, Key("sent")),
    ("TREE", true, Key("tree")),
    ("REPAIRED", true, Key("repaired")),
    ("COPIED", true, Key("copied")),
    ("REBUILT", true, Key("rebuilt")),
    ("UNRECOVERED", true, Key("unrecovered")),
    ("IN-FLIGHT", true, Key("in_flight")),
    ("DELIVERED", true, Key("delivered")),
    ("DUPLICATE", true, Key("duplicates")),
    ("RETAINED", true, Key("retained")),
    ("NAKS-TX", true, Key("naks_sent")),
    ("NAKS-RX", true, Key("naks_received")),
    ("REPAIRS-TX", true, Key("repairs_sent")),
    ("P50", true, Made(|row, _| latency(row, "p50"))),
    ("P99", true, Made(|row, _| latency(row, "p99"))),
];

/// Of sessions: how gaps are filled.
pub(super) const RECOVERY: &[Column] = &[
    ("SESSION", true, Key("session")),
    ("NAME", false, Key("name")),
    ("OVERLAY", false, Made(|row, _| overlay(row))),
    ("CHANGES", true, Key("mode_changes")),
    ("STREAM", false, Made(|row, _| stream(row))),
    ("2ND-TREE", true, Key("second_tree")),
    ("REPAIRED", true, Key("repaired")),
    ("COPIED", true, Key("copied")),
    ("REBUILT", true, Key("rebuilt")),
    ("NAKS-TX", true, Key("naks_sent")),
    ("NAKS-RX", true, Key("naks_received")),
    ("SUPPRESSED", true, Key("naks_suppressed")),
    ("NCFS-TX", true, Key("confirms_sent")),
    ("NCFS-RX", true, Key("confirms_received")),
    ("REPAIRS-TX", true, Key("repairs_sent")),
    ("SUBCASTS-TX", true, Key("subcasts_sent")),
    ("COPIES-TX", true, Key("copies_sent")),
    ("COPIES-RX", true, Key("copies_received")),
    ("PARITY-TX", true, Key("parity_sent")),
    ("PARITY-RX", true, Key("parity_received")),
    ("CAUGHT-UP", true, Key("caught_up")),
    ("MISSED", true, Key("catch_up_missed")),
];

/// Of clients.
pub(super) const CLIENTS: &[Column] = &[
    ("SESSION", true, Key("session")),
    ("NAME", false, Key("name")),
    ("CLIENT", false, Key("client")),
    ("ADDRESS", false, Made(|row, _| address(row))),
    ("STATE", false, Made(|row, _| client_state(row))),
    ("PACKETS", true, Key("packets")),
    ("DROPPED", true, Key("dropped")),
];

/// Of neighbors.
pub(super) const NEIGHBORS: &[Column] = &[
    ("NEIGHBOR", false, Key("name")),
    ("ADDRESS", false, Key("address")),
    ("PORT", false, Key("port")),
    ("MAC", false, Key("mac")),
    ("STATE", false, Key("state")),
    (
        "SINCE",
        true,
        Made(|row, now| since(row, "since_unix_ms", now)),
    ),
    ("WHY", false, Key("reason")),
    ("RTT", true, Made(|row, _| rtt(row))),
    ("DOWNS", true, Key("downs")),
    ("NAKS-TX", true, Key("naks_sent")),
    ("NAKS-RX", true, Key("naks_received")),
    ("REPAIRS-TX", true, Key("repairs_sent")),
    ("REPAIRS-RX", true, Key("repairs_received")),
    ("BUDGET", false, Made(|row, _| budget(row))),
    ("THROTTLES", true, Key("throttles")),
    ("EJECTIONS", true, Key("ejects")),
];

/// Of ports.
pub(super) const PORTS: &[Column] = &[
    ("PORT", false, Key("name")),
    ("DRIVER", false, Key("driver")),
    ("MAC", false, Key("mac")),
    ("ADDRESS", false, Key("address")),
    (
        "LINK",
        false,
        Made(|row, _| either(row, "link_up", ["up", "down"])),
    ),
    ("DOWNS", true, Key("downs")),
    ("MTU", true, Key("mtu")),
    ("CHAIN-FROM", true, Key("chain_from")),
    ("RX-PACKETS", true, Key("rx_packets")),
    ("RX-BYTES", true, Key("rx_bytes")),
    ("TX-PACKETS", true, Key("tx_packets")),
    ("TX-BYTES", true, Key("tx_bytes")),
    ("RX-MISSED", true, Key("rx_missed")),
    ("NO-BUFFER", true, Key("rx_nombuf")),
    ("TX-DROPPED", true, Key("tx_dropped")),
    ("TREE-RX", true, Key("tree_offered")),
    ("TREE-LOST", true, Key("tree_dropped")),
    (
        "KERNEL",
        false,
        Made(|row, _| text(&row["kernel"]["interface"])),
    ),
    (
        "TO-KERNEL",
        true,
        Made(|row, _| text(&row["kernel"]["to_kernel"])),
    ),
    (
        "FROM-KERNEL",
        true,
        Made(|row, _| text(&row["kernel"]["from_kernel"])),
    ),
];

/// Of workers.
pub(super) const WORKERS: &[Column] = &[
    ("WORKER", true, Key("worker")),
    ("CPU", true, Key("cpu")),
    ("SESSIONS", true, Key("sessions")),
    ("TURNS", true, Key("turns")),
    (
        "BUSY",
        true,
        Made(|row, _| percent(number(row, "busy_turns"), number(row, "turns"))),
    ),
    (
        "NAPPED",
        true,
        Made(|row, _| micros(number(row, "nap_ns") / 1_000)),
    ),
    (
        "LONGEST-TURN",
        true,
        Made(|row, _| micros(number(row, "longest_turn_ns") / 1_000)),
    ),
    ("RX-PACKETS", true, Key("rx_packets")),
    ("TX-PACKETS", true, Key("tx_packets")),
];

/// Of stages of a worker's loop.
pub(super) const STAGES: &[Column] = &[
    ("WORKER", true, Key("worker")),
    ("STAGE", false, Key("stage")),
    ("CALLS", true, Key("calls")),
    ("PACKETS", true, Key("packets")),
    (
        "PACKETS/CALL",
        true,
        Made(|row, _| {
            let of = (number(row, "packets"), number(row, "busy_calls"));
            quotient(of, 1)
        }),
    ),
    (
        "CYCLES/PACKET",
        true,
        Made(|row, _| {
            let of = (number(row, "busy_cycles"), number(row, "packets"));
            quotient(of, 0)
        }),
    ),
    (
        "CYCLES/EMPTY",
        true,
        Made(|row, _| {
            let cycles = number(row, "cycles").saturating_sub(number(row, "busy_cycles"));
            quotient(
                (cycles, number(row, "calls") - number(row, "busy_calls")),
                0,
            )
        }),
    ),
    (
        "SHARE",
        true,
        Made(|row, _| format!("{:.1}%", row["share"].as_f64().unwrap_or(0.0) * 100.0)),
    ),
];

/// Of drop reasons.
pub(super) const DROPS: &[Column] = &[
    ("REASON", false, Key("reason")),
    ("PACKETS", true, Key("packets")),
];

/// Of pools.
pub(super) const POOLS: &[Column] = &[
    ("POOL", false, Key("name")),
    ("SIZE", true, Key("size")),
    ("IN-USE", true, Key("in_use")),
    (
        "USED",
        true,
        Made(|row, _| percent(number(row, "in_use"), number(row, "size"))),
    ),
    ("EXHAUSTED", true, Key("exhausted")),
];

/// Of events.
pub(super) const EVENTS: &[Column] = &[
    ("AGE", true, Made(|row, now| since(row, "unix_ms", now))),
    ("EVENT", false, Key("message")),
];

/// Of the node.
pub(super) const NODE: &[Column] = &[
    ("NAME", false, Key("name")),
    ("VERSION", false, Key("version")),
    ("PID", true, Key("pid")),
    (
        "UPTIME",
        true,
        Made(|row, _| age(number(row, "uptime_s") * 1_000)),
    ),
    (
        "READY",
        false,
        Made(|row, _| either(row, "ready", ["yes", "no"])),
    ),
];

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or(0)
}

/// The first by the second, with so many digits after the point.
fn quotient((of, by): (u64, u64), digits: usize) -> String {
    match by {
        0 => "-".to_owned(),
        _ => format!("{:.digits$}", of as f64 / by as f64),
    }
}

/// A value as it stands in a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn either(row: &Value, key: &str, [yes, no]: [&str; 2]) -> String {
    let word = if row[key] == true { yes } else { no };
    word.to_owned()
}

/// `auto+copy`: it is up to the node, which now has copies sent.
fn overlay(row: &Value) -> String {
    match (text(&row["mode"]), &row["copying"]) {
        (mode, copying) if mode == "auto" && *copying == true => "auto+copy".to_owned(),
        (mode, _) => mode,
    }
}

fn stream(row: &Value) -> String {
    let word = match (&row["ended"], &row["synced"]) {
        (ended, _) if *ended == true => "ended",
        (_, synced) if *synced == true => "live",
        _ => "none",
    };
    word.to_owned()
}

fn client_state(row: &Value) -> String {
    let catching_up = row["catching_up"] == true && row["resolved"] == true;
    match catching_up {
        true => "catching-up".to_owned(),
        false => either(row, "resolved", ["resolved", "unresolved"]),
    }
}

/// Whether the neighbor keeps to its repair rate.
fn budget(row: &Value) -> String {
    match row["ejected"] == true {
        true => "ejected".to_owned(),
        false => either(row, "throttled", ["throttled", "ok"]),
    }
}

fn address(row: &Value) -> String {
    let (address, port) = (text(&row["address"]), text(&row["port"]));
    match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    }
}

fn since(row: &Value, key: &str, now_unix_ms: u64) -> String {
    age(now_unix_ms.saturating_sub(number(row, key)))
}

fn rtt(row: &Value) -> String {
    match number(row, "rtt_us") {
        0 => "-".to_owned(),
        us => micros(us),
    }
}

fn latency(row: &Value, quantile: &str) -> String {
    let latency = &row["repair_latency_us"];
    match number(latency, "count") {
        0 => "-".to_owned(),
        _ => micros(number(latency, quantile)),
    }
}

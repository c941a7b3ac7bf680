//! What can be shown: where it comes from, and the columns of its table.

use serde_json::{Value, json};

use super::format::{age, micros, percent};
use super::table::Table;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub(super) enum View {
    /// Sessions: roles, balance, repair latency.
    Sessions,
    /// Sessions once more: what fills their gaps, what is asked for and what is spared.
    Recovery,
    /// Clients of all sessions.
    Clients,
    /// Overlay neighbors: state, since when, why, round-trip time.
    Neighbors,
    /// Ports: link, traffic, losses.
    Ports,
    /// Workers: load and longest turn.
    Workers,
    /// Drop reasons, the most frequent first.
    Drops {
        /// Show reasons that never happened as well.
        #[arg(long)]
        all: bool,
    },
    /// Buffer pools.
    Pools,
    /// The last 256 events.
    Events,
    /// The node itself: name, version, uptime.
    Node,
}

/// A column: its title, whether it stands right, and its cell of one row at a time in ms since 1970.
type Column = (&'static str, bool, Cell);

/// How a cell is made.
#[derive(Clone, Copy)]
enum Cell {
    /// The value of a key.
    Key(&'static str),
    /// Something made of the row and of the time in ms since 1970.
    Made(fn(&Value, u64) -> String),
}

use Cell::{Key, Made};

const SESSIONS: &[Column] = &[
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

const RECOVERY: &[Column] = &[
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

const CLIENTS: &[Column] = &[
    ("SESSION", true, Key("session")),
    ("NAME", false, Key("name")),
    ("CLIENT", false, Key("client")),
    ("ADDRESS", false, Made(|row, _| address(row))),
    ("STATE", false, Made(|row, _| client_state(row))),
    ("PACKETS", true, Key("packets")),
    ("DROPPED", true, Key("dropped")),
];

const NEIGHBORS: &[Column] = &[
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

const PORTS: &[Column] = &[
    ("PORT", false, Key("name")),
    ("DRIVER", false, Key("driver")),
    ("MAC", false, Key("mac")),
    ("ADDRESS", false, Key("address")),
    (
        "LINK",
        false,
        Made(|row, _| either(row, "link_up", ["up", "down"])),
    ),
    ("MTU", true, Key("mtu")),
    ("RX-PACKETS", true, Key("rx_packets")),
    ("RX-BYTES", true, Key("rx_bytes")),
    ("TX-PACKETS", true, Key("tx_packets")),
    ("TX-BYTES", true, Key("tx_bytes")),
    ("RX-MISSED", true, Key("rx_missed")),
    ("NO-BUFFER", true, Key("rx_nombuf")),
    ("TX-DROPPED", true, Key("tx_dropped")),
    ("TREE-RX", true, Key("tree_offered")),
    ("TREE-LOST", true, Key("tree_dropped")),
];

const WORKERS: &[Column] = &[
    ("WORKER", true, Key("worker")),
    ("CPU", true, Key("cpu")),
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

const DROPS: &[Column] = &[
    ("REASON", false, Key("reason")),
    ("PACKETS", true, Key("packets")),
];

const POOLS: &[Column] = &[
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

const EVENTS: &[Column] = &[
    ("AGE", true, Made(|row, now| since(row, "unix_ms", now))),
    ("EVENT", false, Key("message")),
];

const NODE: &[Column] = &[
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

impl View {
    /// The API's path of it.
    pub(super) fn path(self) -> &'static str {
        match self {
            View::Sessions | View::Recovery => "/v1/sessions",
            View::Clients => "/v1/clients",
            View::Neighbors => "/v1/neighbors",
            View::Ports => "/v1/ports",
            View::Workers => "/v1/workers",
            View::Drops { .. } => "/v1/drops",
            View::Pools => "/v1/pools",
            View::Events => "/v1/events",
            View::Node => "/v1/node",
        }
    }

    /// The API's answer as a table.
    pub(super) fn table(self, answer: &Value, now_unix_ms: u64) -> Table {
        let (columns, empty) = self.columns();
        let rows = self.rows(answer);
        let cells = |row: &Value| {
            columns
                .iter()
                .map(|(_, _, cell)| match cell {
                    Key(key) => text(&row[key]),
                    Made(make) => make(row, now_unix_ms),
                })
                .collect()
        };
        Table {
            columns: columns
                .iter()
                .map(|(title, right, _)| (*title, *right))
                .collect(),
            rows: rows.iter().map(cells).collect(),
            empty,
        }
    }

    fn columns(self) -> (&'static [Column], &'static str) {
        match self {
            View::Sessions => (SESSIONS, "no sessions"),
            View::Recovery => (RECOVERY, "no sessions"),
            View::Clients => (CLIENTS, "no clients"),
            View::Neighbors => (NEIGHBORS, "no neighbors"),
            View::Ports => (PORTS, "no ports"),
            View::Workers => (WORKERS, "no workers"),
            View::Drops { .. } => (DROPS, "no packet was dropped"),
            View::Pools => (POOLS, "no pools"),
            View::Events => (EVENTS, "no events"),
            View::Node => (NODE, "no node"),
        }
    }

    fn rows(self, answer: &Value) -> Vec<Value> {
        match (self, answer) {
            (View::Drops { all }, Value::Object(reasons)) => {
                let mut drops: Vec<(&str, u64)> = reasons
                    .iter()
                    .map(|(reason, packets)| (reason.as_str(), packets.as_u64().unwrap_or(0)))
                    .filter(|(_, packets)| all || *packets > 0)
                    .collect();
                drops.sort_by_key(|(reason, packets)| (std::cmp::Reverse(*packets), *reason));
                drops
                    .into_iter()
                    .map(|(reason, packets)| json!({"reason": reason, "packets": packets}))
                    .collect()
            }
            (_, Value::Array(rows)) => rows.clone(),
            (_, row) => vec![row.clone()],
        }
    }
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
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
    format!("{}:{}", text(&row["address"]), text(&row["port"]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_sorted_and_zeros_hidden_unless_asked_for() {
        let drops = json!({"bad_ttl": 0, "no_session": 3, "bad_checksum": 12});
        let shown = View::Drops { all: false }.table(&drops, 0).to_string();
        assert_eq!(
            shown,
            "REASON        PACKETS\nbad_checksum       12\nno_session          3\n"
        );
        assert!(
            View::Drops { all: true }
                .table(&drops, 0)
                .to_string()
                .contains("bad_ttl")
        );
        let none = View::Drops { all: false }.table(&json!({"bad_ttl": 0}), 0);
        assert_eq!(none.to_string(), "no packet was dropped\n");
    }

    /// Every key that a table names must exist in what the node says, or a column would be `-` for ever.
    #[test]
    fn tables_show_a_snapshots_values() {
        let session = dataplane::SessionSnapshot {
            session: 1,
            name: "tv1".into(),
            roles: vec!["transit", "last_hop"],
            mode: "auto",
            copying: true,
            mode_changes: 2,
            ended: true,
            ..Default::default()
        };
        let neighbor = dataplane::NeighborSnapshot {
            name: "ing".into(),
            state: "down",
            reason: "silent",
            mac: Some("02:00:00:00:00:01".into()),
            since_unix_ms: 1_000,
            rtt_us: 250,
            throttled: true,
            ..Default::default()
        };
        let filled = |value: Value, optional: &str, view: View| {
            let table = view.table(&json!([value]), 193_000);
            for ((title, _), cell) in table.columns.iter().zip(&table.rows[0]) {
                assert!(cell != "-" || optional.contains(title), "{view:?} {title}");
            }
            table.to_string()
        };
        let shown = filled(json!(session), "PARENT P50 P99", View::Sessions);
        assert!(shown.contains("transit,last_hop"), "{shown}");
        let shown = filled(json!(session), "", View::Recovery);
        assert!(shown.contains("auto+copy        2  ended"), "{shown}");
        let shown = filled(json!(neighbor), "", View::Neighbors);
        assert!(shown.contains("down   3m12s  silent  250us"), "{shown}");
        assert!(shown.contains("throttled"), "{shown}");
        let client = dataplane::ClientSnapshot {
            client: "c1".into(),
            address: "10.9.1.2".into(),
            resolved: true,
            catching_up: true,
            ..Default::default()
        };
        let shown = filled(json!(client), "SESSION NAME", View::Clients);
        assert!(shown.contains("catching-up"), "{shown}");
        filled(json!(dataplane::PortSnapshot::default()), "", View::Ports);
        filled(
            json!(dataplane::PoolSnapshot::default()),
            "USED",
            View::Pools,
        );
        let worker = dataplane::WorkerSnapshot::default();
        filled(json!(worker), "CPU BUSY", View::Workers);
    }
}

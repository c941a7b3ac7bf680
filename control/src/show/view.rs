//! What can be shown: where it comes from, and how it becomes a table.

use serde_json::{Value, json};

use super::table::Table;

mod columns;

use columns::{
    CLIENTS, Column, DROPS, EVENTS, Key, Made, NEIGHBORS, NODE, POOLS, PORTS, RECOVERY, SESSIONS,
    STAGES, WORKERS, text,
};

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
    Workers {
        /// Count the cycles of each stage of the loop for a second, and show them.
        #[arg(long)]
        stages: bool,
    },
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

impl View {
    /// The API's path of it.
    pub(super) fn path(self) -> &'static str {
        match self {
            View::Sessions | View::Recovery => "/v1/sessions",
            View::Clients => "/v1/clients",
            View::Neighbors => "/v1/neighbors",
            View::Ports => "/v1/ports",
            View::Workers { stages: false } => "/v1/workers",
            View::Workers { stages: true } => "/v1/workers/stages",
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
            View::Workers { stages: false } => (WORKERS, "no workers"),
            View::Workers { stages: true } => (STAGES, "no workers"),
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
        let port = dataplane::PortSnapshot {
            kernel: Some(dataplane::KernelSnapshot::default()),
            ..Default::default()
        };
        filled(json!(port), "CHAIN-FROM", View::Ports);
        filled(
            json!(dataplane::PoolSnapshot::default()),
            "USED",
            View::Pools,
        );
        let worker = dataplane::WorkerSnapshot::default();
        filled(json!(worker), "CPU BUSY", View::Workers { stages: false });
        let stage = dataplane::StageSnapshot {
            stage: "receive",
            calls: 10,
            busy_calls: 4,
            packets: 128,
            cycles: 26_200,
            busy_cycles: 25_600,
            share: 0.417,
            ..Default::default()
        };
        let shown = filled(json!(stage), "", View::Workers { stages: true });
        let row =
            "     0  receive     10      128          32.0            200           100  41.7%";
        assert!(shown.ends_with(&format!("{row}\n")), "{shown}");
    }
}

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use dataplane::{
    ClientSnapshot, ImpairmentSnapshot, NeighborSnapshot, PortSnapshot, SessionSnapshot,
};

use super::*;

fn session() -> SessionSnapshot {
    let mut session = SessionSnapshot {
        session: 1,
        name: "tv \"one\"".into(),
        synced: true,
        sent: 50_000,
        tree: 49_000,
        repaired: 988,
        unrecovered: 2,
        in_flight: 10,
        duplicates: 3,
        delivered: 49_988,
        retained: 4_000,
        naks_sent: 900,
        repairs_received: 991,
        second_tree: 24_000,
        copied: 700,
        rebuilt: 88,
        mode: "auto",
        copying: true,
        mode_changes: 3,
        naks_suppressed: 4,
        subcasts_sent: 5,
        confirms_sent: 6,
        copies_sent: 7,
        parity_received: 8,
        caught_up: 9,
        catch_up_missed: 1,
        clients: vec![ClientSnapshot {
            client: "c1".into(),
            resolved: true,
            catching_up: true,
            packets: 49_988,
            dropped: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    for us in [50, 63, 64, 500] {
        session.repair_latency_us.record(Duration::from_micros(us));
    }
    session
}

fn snapshot() -> Snapshot {
    Snapshot {
        ports: vec![PortSnapshot {
            name: "up".into(),
            link_up: true,
            mtu: 1500,
            rx_packets: 7,
            tree_dropped: 4,
            impairment: Some(ImpairmentSnapshot {
                dropped: 5,
                ..Default::default()
            }),
            ..Default::default()
        }],
        workers: vec![WorkerSnapshot {
            nap_ns: 1_500_000_000,
            ..Default::default()
        }],
        neighbors: vec![NeighborSnapshot {
            name: "core".into(),
            state: "up",
            rtt_us: 250,
            throttled: true,
            throttles: 2,
            ejects: 1,
            ..Default::default()
        }],
        sessions: vec![session()],
        pools: vec![PoolSnapshot {
            name: "packets",
            size: 65_535,
            in_use: 512,
            exhausted: 3,
        }],
        drops: [("bad_checksum", 2), ("no_session", 0)].into(),
    }
}

fn text() -> String {
    let node = Identity {
        name: "lh1",
        start_unix_s: 1_700_000_000.5,
    };
    render(node, &snapshot()).unwrap()
}

#[test]
fn every_part_of_a_snapshot_is_a_metric() {
    let text = text();
    for line in [
        r#"treecast_session_sent_packets_total{session="1",name="tv \"one\""} 50000"#,
        r#"treecast_session_tree_packets_total{session="1",name="tv \"one\""} 49000"#,
        r#"treecast_session_repaired_packets_total{session="1",name="tv \"one\""} 988"#,
        r#"treecast_session_unrecovered_packets_total{session="1",name="tv \"one\""} 2"#,
        r#"treecast_session_in_flight_packets{session="1",name="tv \"one\""} 10"#,
        r#"treecast_session_naks_sent_total{session="1",name="tv \"one\""} 900"#,
        r#"treecast_session_second_tree_packets_total{session="1",name="tv \"one\""} 24000"#,
        r#"treecast_session_copied_packets_total{session="1",name="tv \"one\""} 700"#,
        r#"treecast_session_rebuilt_packets_total{session="1",name="tv \"one\""} 88"#,
        r#"treecast_session_overlay_mode{session="1",name="tv \"one\"",mode="auto"} 1"#,
        r#"treecast_session_overlay_mode{session="1",name="tv \"one\"",mode="pull"} 0"#,
        r#"treecast_session_copying{session="1",name="tv \"one\""} 1"#,
        r#"treecast_session_mode_changes_total{session="1",name="tv \"one\""} 3"#,
        r#"treecast_session_naks_suppressed_total{session="1",name="tv \"one\""} 4"#,
        r#"treecast_session_subcasts_sent_total{session="1",name="tv \"one\""} 5"#,
        r#"treecast_session_confirms_sent_total{session="1",name="tv \"one\""} 6"#,
        r#"treecast_session_copies_sent_total{session="1",name="tv \"one\""} 7"#,
        r#"treecast_session_parity_received_total{session="1",name="tv \"one\""} 8"#,
        r#"treecast_session_caught_up_packets_total{session="1",name="tv \"one\""} 9"#,
        r#"treecast_session_catch_up_missed_packets_total{session="1",name="tv \"one\""} 1"#,
        r#"treecast_client_catching_up{session="1",name="tv \"one\"",client="c1"} 1"#,
        r#"treecast_neighbor_throttled{neighbor="core"} 1"#,
        r#"treecast_neighbor_throttles_total{neighbor="core"} 2"#,
        r#"treecast_neighbor_ejected{neighbor="core"} 0"#,
        r#"treecast_neighbor_ejections_total{neighbor="core"} 1"#,
        r#"treecast_client_packets_total{session="1",name="tv \"one\"",client="c1"} 49988"#,
        r#"treecast_client_dropped_packets_total{session="1",name="tv \"one\"",client="c1"} 1"#,
        r#"treecast_neighbor_state{neighbor="core",state="up"} 1"#,
        r#"treecast_neighbor_state{neighbor="core",state="down"} 0"#,
        r#"treecast_neighbor_rtt_seconds{neighbor="core"} 0.00025"#,
        r#"treecast_port_up{port="up"} 1"#,
        r#"treecast_port_receive_packets_total{port="up"} 7"#,
        r#"treecast_impairment_dropped_packets_total{port="up"} 5"#,
        r#"treecast_worker_nap_seconds_total{worker="0"} 1.5"#,
        r#"treecast_pool_in_use_buffers{pool="packets"} 512"#,
        r#"treecast_pool_exhausted_total{pool="packets"} 3"#,
        r#"treecast_drops_total{reason="bad_checksum"} 2"#,
        r#"treecast_drops_total{reason="no_session"} 0"#,
        "process_start_time_seconds 1700000000.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn repair_latency_is_a_cumulative_histogram_in_seconds() {
    let text = text();
    let of = |suffix: &str| {
        let start = format!("treecast_session_repair_latency_seconds_{suffix}");
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let bucket = |le: &str| {
        of(&format!(
            "bucket{{session=\"1\",name=\"tv \\\"one\\\"\",le=\"{le}\"}}"
        ))
    };
    assert_eq!(bucket("0.000064"), "2");
    assert_eq!(bucket("0.000128"), "3");
    assert_eq!(bucket("0.000256"), "3");
    assert_eq!(bucket("0.000512"), "4");
    assert_eq!(bucket("8.388608"), "4");
    assert_eq!(bucket("+Inf"), "4");
    assert_eq!(of("count"), "4");
    assert_eq!(of("sum"), "0.000677");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    for text in [
        text(),
        render(
            Identity {
                name: "",
                start_unix_s: 0.0,
            },
            &Snapshot::default(),
        )
        .unwrap(),
    ] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is in Debian's package prometheus");
        let mut stdin = promtool.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        let done = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{said}");
    }
}

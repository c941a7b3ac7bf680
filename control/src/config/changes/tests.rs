use std::time::Duration;

use super::*;
use crate::config::parse;
use crate::config::tests::FULL;

fn edited(edits: &[(&str, &str)]) -> Config {
    let mut text = FULL.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn changes(edits: &[(&str, &str)]) -> Result<Changes, NeedsRestart> {
    edited(&[]).changes(&edited(edits))
}

#[test]
fn the_same_file_changes_nothing() {
    assert!(changes(&[]).unwrap().is_empty());
}

#[test]
fn a_client_or_a_deadline_updates_its_session_alone() {
    let edits = [
        ("10.9.1.2:5004", "10.9.1.3:5004"),
        ("deadline = \"1500ms\"", "deadline = \"2s\""),
    ];
    let got = changes(&edits).unwrap();
    assert_eq!(got.sessions_updated.len(), 1);
    assert_eq!(got.sessions_updated[0].deadline, Duration::from_secs(2));
    assert_eq!(
        Changes {
            sessions_updated: Vec::new(),
            ..got
        },
        Changes::default()
    );
}

#[test]
fn another_tree_under_the_same_id_is_another_session() {
    let got = changes(&[("239.1.0.1", "239.1.0.7")]).unwrap();
    assert_eq!(got.sessions_removed, [SessionId(1)]);
    assert_eq!(got.sessions_added.len(), 1);
    assert!(got.sessions_updated.is_empty());
}

#[test]
fn sessions_and_neighbors_come_and_go() {
    let got = changes(&[
        ("id = 2", "id = 3"),
        ("name = \"lh1\"", "name = \"lh2\""),
        (
            "downstream = [\"lh1\"]\ndelivery",
            "downstream = [\"lh2\"]\ndelivery",
        ),
        ("second_downstream = [\"lh1\"]\n", ""),
        ("second_upstream = [\"core2\"]\n", ""),
        ("downstream = [\"lh1\"]", "downstream = [\"lh2\"]"),
        ("repair_rate = \"10kpps\"", "repair_rate = \"20kpps\""),
    ])
    .unwrap();
    // The first has lost its second tree: it begins afresh.
    assert_eq!(got.sessions_removed, [SessionId(1), SessionId(2)]);
    assert_eq!(got.sessions_added[0].id, SessionId(1));
    assert_eq!(got.sessions_added[1].id, SessionId(3));
    assert!(got.sessions_updated.is_empty());
    assert_eq!(got.neighbors_removed, ["lh1"]);
    assert_eq!(got.neighbors_added[0].name, "lh2");
    assert_eq!(got.neighbors_updated[0].repair_rate_pps, 20_000);
}

#[test]
fn an_impairment_changes_in_a_running_node() {
    let got = changes(&[("loss = \"2%\"", "loss = \"5%\"")]).unwrap();
    assert_eq!(got.impairments.len(), 1);
    assert_eq!(got.impairments[0].1.as_ref().map(|i| i.loss), Some(0.05));
}

#[test]
fn a_session_moves_between_workers_in_a_running_node() {
    let got = changes(&[("worker = 1", "worker = 0")]).unwrap();
    assert_eq!(got.sessions_updated.len(), 1);
    assert_eq!(got.sessions_updated[0].worker, Some(0));
    let refused = changes(&[("cpus = [2, 3]", "cpus = [3, 2]")]);
    assert_eq!(refused.unwrap_err().keys, ["node.cpus"]);
}

#[test]
fn what_needs_a_restart_is_named() {
    let refused = changes(&[
        ("hello = \"20ms\"", "hello = \"30ms\""),
        ("8a:00.0", "8a:00.1"),
        ("x.sock", "y.sock"),
    ]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "only a restart changes node.hello, api.socket, port.down.device"
    );
}

#[test]
fn an_mtu_changes_in_a_running_node_and_the_device_does_not() {
    let got = changes(&[("mtu = 1600", "mtu = 1500")]).unwrap();
    let [port] = &got.ports_resized[..] else {
        panic!("{got:?}");
    };
    assert_eq!((port.name.as_str(), port.mtu), ("up", 1500));
    let others = Changes {
        ports_resized: Vec::new(),
        ..got.clone()
    };
    assert!(others.is_empty());
    let refused = changes(&[
        ("mtu = 1600", "mtu = 1500"),
        ("af_packet:eth1", "af_packet:eth2"),
    ]);
    assert_eq!(refused.unwrap_err().keys, ["port.up.device"]);
}

#[test]
fn another_set_of_ports_needs_a_restart() {
    let refused = changes(&[
        ("name = \"down\"", "name = \"south\""),
        ("port = \"down\"", "port = \"south\""),
        ("port = \"down\"", "port = \"south\""),
    ]);
    assert_eq!(
        refused.unwrap_err().keys,
        ["port (added, removed or in another order)"]
    );
}

#[test]
fn how_gaps_are_filled_changes_in_a_running_session() {
    let got = changes(&[
        ("overlay = \"auto\"", "overlay = \"copy\""),
        ("subcast_threshold = 8", "subcast_threshold = 2"),
        ("catch_up = \"1s\"", "catch_up = \"2s\""),
        ("idle_timeout = \"5min\"", "idle_timeout = \"6min\""),
        ("catch_up = \"500ms\"", "catch_up = \"600ms\""),
    ])
    .unwrap();
    let updated = &got.sessions_updated[0];
    assert_eq!(updated.mode, overlay::Mode::Copy);
    assert_eq!(updated.clients[0].catch_up, Duration::from_millis(600));
    assert_eq!(
        Changes {
            sessions_updated: Vec::new(),
            ..got
        },
        Changes::default()
    );
}

#[test]
fn another_parity_or_second_tree_begins_the_session_afresh() {
    let second = "second_upstream = [\"core2\"]\nsecond_downstream = [\"lh1\"]\n";
    for edit in [
        ("parity = 3", "parity = 4"),
        ("fec = { block = 16, parity = 3 }\n", ""),
        (second, ""),
    ] {
        let got = changes(&[edit]).unwrap();
        assert_eq!(got.sessions_removed, [SessionId(1)], "{edit:?}");
        assert_eq!(got.sessions_added.len(), 1, "{edit:?}");
        assert!(got.sessions_updated.is_empty(), "{edit:?}");
    }
}

#[test]
fn hold_down_needs_a_restart() {
    let refused = changes(&[("hold_down = \"2s\"", "hold_down = \"3s\"")]);
    assert_eq!(refused.unwrap_err().keys, ["node.hold_down"]);
}

#[test]
fn a_repair_rate_that_follows_the_sessions_is_no_change() {
    let faster = [("max_rate = \"20kpps\"", "max_rate = \"40kpps\"")];
    assert_eq!(changes(&faster).unwrap().neighbors_updated, []);

    // Twice the 20 kpps and the 25 kpps of its sessions, then twice the 40 and the 25.
    let rate = |of: &Config| of.node.neighbors[1].repair_rate_pps;
    let (running, mut new) = (edited(&[]), edited(&faster));
    assert_eq!((rate(&running), rate(&new)), (90_000, 130_000));
    let said = new.keep_repair_rates(&running);
    assert_eq!(rate(&new), 90_000);
    assert_eq!(
        said[0],
        "neighbor lh1 keeps a repair rate of 90kpps until a restart, but the sessions now want 130kpps"
    );

    // One that is written at last is a change.
    let lh1 = "address = \"10.0.2.2\"\n";
    let written = format!("{lh1}repair_rate = \"60kpps\"\n");
    let got = changes(&[(lh1, &written)]).unwrap();
    assert_eq!(got.neighbors_updated[0].repair_rate_pps, 60_000);
}

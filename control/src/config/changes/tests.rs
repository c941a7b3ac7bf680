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
        ("downstream = [\"lh1\"]", "downstream = [\"lh2\"]"),
        ("downstream = [\"lh1\"]", "downstream = [\"lh2\"]"),
        ("repair_rate = \"10kpps\"", "repair_rate = \"20kpps\""),
    ])
    .unwrap();
    assert_eq!(got.sessions_removed, [SessionId(2)]);
    assert_eq!(got.sessions_added[0].id, SessionId(3));
    assert_eq!(got.sessions_updated[0].id, SessionId(1));
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
fn what_needs_a_restart_is_named() {
    let refused = changes(&[
        ("hello = \"20ms\"", "hello = \"30ms\""),
        ("mtu = 1600", "mtu = 1500"),
        ("8a:00.0", "8a:00.1"),
        ("x.sock", "y.sock"),
    ]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "only a restart changes node.hello, api.socket, port.up.mtu, port.down.device"
    );
}

#[test]
fn another_set_of_ports_needs_a_restart() {
    let refused = changes(&[
        ("name = \"down\"", "name = \"south\""),
        ("port = \"down\"", "port = \"south\""),
    ]);
    assert_eq!(
        refused.unwrap_err().keys,
        ["port (added, removed or in another order)"]
    );
}

//! The cycles of a worker's stages, looked at while a stream flows.

use serde_json::Value;

use crate::daemon::treecast;
use crate::lab::{Lab, Running, list, number, succeed, topology, wait_for};

#[test]
fn show_workers_tells_what_each_stage_takes_while_a_stream_flows() {
    let lab = Lab::up(&topology("quickstart"), "");
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 6s");
    wait_for("the stream", || {
        (number(&lab.session("lh1")["lead"]) > 100).then_some(())
    });
    let mut nodes = list(&lab.shown["nodes"]).iter();
    let lh1 = nodes.find(|node| node["node"] == "lh1").unwrap();
    let show = |args: &[&str]| {
        let mut show = treecast();
        show.args([
            "show",
            "workers",
            "--stages",
            "--api",
            lh1["api"].as_str().unwrap(),
        ]);
        Running::start(show.args(args))
    };
    // Two that look at the same time both have an answer.
    let (table, json) = (show(&[]), show(&["--json"]));
    let table = succeed(table.finish());
    let stages: Value = serde_json::from_str(&succeed(json.finish())).unwrap();
    let stages = list(&stages);
    let of = |name: &str| {
        let found = stages.iter().find(|stage| stage["stage"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {stages:?}"))
    };
    // A second of 2,000 packets, of which 2 % come by the overlay, and two clients.
    for stage in ["receive", "deliver", "flush"] {
        let stage = of(stage);
        assert!(number(&stage["packets"]) > 1_000, "{stage}");
        assert!(number(&stage["busy_cycles"]) > 0, "{stage}");
        assert!(
            number(&stage["busy_calls"]) <= number(&stage["calls"]),
            "{stage}"
        );
    }
    assert!(number(&of("transmit")["packets"]) > 0, "NAKs");
    assert!(number(&of("timers")["cycles"]) > 0);
    let shares: f64 = stages
        .iter()
        .map(|stage| stage["share"].as_f64().unwrap())
        .sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let mut lines = table.lines();
    assert!(lines.next().unwrap().contains("CYCLES/PACKET"), "{table}");
    assert_eq!(lines.count(), stages.len(), "{table}");
    // The stream has not noticed.
    let sent = lab.settle(source);
    for client in clients {
        client.assert_clean(sent);
    }
}

//! Links that go and come back, and whose MTU changes, while a stream flows.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::daemon::request;
use crate::lab::{Lab, assert_lossy, changed, list, number, run, topology, wait_for};

/// The port of that name at a node.
fn port(lab: &Lab, node: &str, name: &str) -> Value {
    let ports = lab.get(node, "/v1/ports");
    let mut ports = list(&ports).iter();
    ports.find(|port| port["name"] == name).unwrap().clone()
}

/// The value of a metric, as Prometheus would have it.
fn metric(lab: &Lab, node: &str, name: &str) -> String {
    let mut nodes = list(&lab.shown["nodes"]).iter();
    let api = &nodes.find(|at| at["node"] == node).unwrap()["api"];
    let (_, text) = request(Path::new(api.as_str().unwrap()), "GET", "/metrics", None);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
}

/// Waits for an event at a node.
fn wait_for_event(lab: &Lab, node: &str, message: &str) {
    wait_for(message, || {
        let events = lab.get(node, "/v1/events");
        let mut events = list(&events).iter();
        events.find(|event| event["message"] == message).map(drop)
    });
}

fn wait_for_parent(lab: &Lab, parent: &str) {
    wait_for(&format!("the parent {parent}"), || {
        (lab.session("lh1")["parent"] == parent).then_some(())
    });
}

fn wait_for_lead(lab: &Lab, more: u64) {
    let lead = number(&lab.session("lh1")["lead"]);
    wait_for(&format!("{more} packets more"), || {
        (number(&lab.session("lh1")["lead"]) >= lead + more).then_some(())
    });
}

#[test]
fn a_link_that_goes_down_costs_nothing_where_there_is_another_way() {
    let lab = Lab::up(&topology("diamond"), "--loss 0%");
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 8s");
    wait_for_lead(&lab, 2_000);
    assert_eq!(lab.session("lh1")["parent"], "core1");
    // The tree's link to lh1, at the far end.
    lab.exec("core1", &["ip", "link", "set", "eth1", "down"]);
    wait_for_event(&lab, "lh1", "port core1 is down");
    assert_eq!(port(&lab, "lh1", "core1")["link_up"], false);
    let up = "treecast_port_up{port=\"core1\"} ";
    assert_eq!(metric(&lab, "lh1", up), "0");
    let shown = lab.exec("lh1", &[env!("CARGO_BIN_EXE_treecast"), "show", "ports"]);
    let row = shown.lines().find(|line| line.starts_with("core1"));
    assert!(
        row.unwrap().split_whitespace().any(|cell| cell == "down"),
        "{shown}"
    );
    wait_for_parent(&lab, "core2");
    wait_for_lead(&lab, 2_000);
    let drops = lab.get("core1", "/v1/drops");
    assert!(number(&drops["port_down"]) > 0, "{drops}");
    assert_eq!(drops["tx_full"], 0, "{drops}");

    lab.exec("core1", &["ip", "link", "set", "eth1", "up"]);
    wait_for_event(&lab, "lh1", "port core1 is up");
    assert_eq!(metric(&lab, "lh1", up), "1");
    assert_eq!(port(&lab, "lh1", "core1")["downs"], 1);
    // After hold_down.
    wait_for_parent(&lab, "core1");
    let before = number(&port(&lab, "lh1", "core1")["tree_offered"]);
    wait_for_lead(&lab, 500);
    assert!(number(&port(&lab, "lh1", "core1")["tree_offered"]) > before);
    let sent = lab.settle(source);
    for node in ["lh1", "lh2"] {
        assert_eq!(lab.session(node)["unrecovered"], 0);
    }
    for client in clients {
        client.assert_clean(sent);
    }
}

/// The MTU that the source's kernel believes of the way to the session's destination.
fn path_mtu(lab: &Lab) -> u64 {
    let destination = lab.shown["sessions"][0]["destination"].as_str().unwrap();
    let (address, _) = destination.split_once(':').unwrap();
    let said = lab.exec("source", &["ip", "-j", "route", "get", address]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let learned = &said[0]["metrics"][0]["mtu"];
    learned.as_u64().unwrap_or(1500)
}

#[test]
fn a_reload_changes_an_mtu_and_the_source_hears_of_it() {
    let lab = Lab::up(&topology("quickstart"), "--loss 0%");
    let clients = lab.listen_all();
    assert_eq!(path_mtu(&lab), 1500);
    let file = Path::new(lab.shown["dir"].as_str().unwrap()).join("ing.toml");
    let text = fs::read_to_string(&file).unwrap();
    let reload = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        lab.ask("ing", "POST", "/v1/reload", None)
    };
    let (status, answer) = reload("mtu = 1600", "mtu = 1352");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["ports"]["changed"], serde_json::json!(["core"]));
    assert_eq!(port(&lab, "ing", "core")["mtu"], 1352);
    wait_for_event(&lab, "ing", "port core: its MTU is now 1352");
    // 1,316 bytes with their own headers and those of the tree are 1,396.
    let refused = lab
        .send("--rate 100pps --duration 200ms --size 1316")
        .finish();
    assert_eq!(path_mtu(&lab), 1300, "{refused:?}");
    let drops = lab.get("ing", "/v1/drops");
    assert!(number(&drops["too_big"]) > 0, "{drops}");
    // What its buffers can't take is refused, and nothing changes.
    let (status, answer) = reload("mtu = 1600", "mtu = 9000");
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("restart"));
    assert_eq!(port(&lab, "ing", "core")["mtu"], 1352);

    // The operator narrows the interface further, and widens it again.
    lab.exec("ing", &["ip", "link", "set", "eth0", "mtu", "1300"]);
    let narrower =
        "port core: its MTU is now 1300, less than configured: its interface takes no more";
    wait_for_event(&lab, "ing", narrower);
    let mtu = "treecast_port_mtu_bytes{port=\"core\"} ";
    assert_eq!(metric(&lab, "ing", mtu), "1300");
    lab.exec("ing", &["ip", "link", "set", "eth0", "mtu", "1600"]);
    let (status, answer) = reload("mtu = 1600", "mtu = 1600");
    assert_eq!(status, 200, "{answer}");
    wait_for_event(&lab, "ing", "port core: its MTU is now 1600");
    assert_eq!(metric(&lab, "ing", mtu), "1600");
    lab.exec("source", &["ip", "route", "flush", "cache"]);
    let sent = lab.settle(lab.send("--rate 1kpps --duration 1s --size 1316"));
    for client in clients {
        client.assert_clean(sent);
    }
}

#[test]
fn jumbo_frames_are_repaired_as_others_are() {
    let run = run(&topology("jumbo"), "--duration 3s --loss 5% --fec 8+2");
    run.assert_clean();
    let hops = run.last_hops();
    let rebuilt: u64 = hops.iter().map(|(_, hop)| number(&hop["rebuilt"])).sum();
    assert!(rebuilt > 0, "{}", run.report);
    assert_lossy(run.link("ing", "core"), 0.05);
}

#[test]
fn a_branch_that_is_too_narrow_harms_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "jumbo", |text| {
        let wide = r#"{ between = ["core", "lh2"] }"#;
        text.replace(wide, r#"{ between = ["core", "lh2"], mtu = 1600 }"#)
    });
    let lab = Lab::up(&file, "--loss 0%");
    let mut clients = lab.listen_all();
    let source = lab.send("--rate 500pps --duration 1s --size 8950");
    let sent = lab.settle(source);
    let (narrow, wide) = (lab.session("lh2"), lab.session("lh1"));
    assert_eq!(
        (&wide["unrecovered"], &wide["tree"]),
        (&0.into(), &sent.into())
    );
    assert_eq!(
        (&narrow["unrecovered"], &narrow["tree"]),
        (&sent.into(), &0.into())
    );
    let drops = lab.get("core", "/v1/drops");
    assert!(number(&drops["too_big"]) >= sent, "{drops}");
    assert_eq!(clients.pop().unwrap().stop()["received"], 0);
    for client in clients {
        client.assert_clean(sent);
    }
}

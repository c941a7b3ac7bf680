//! Where repairs come from: the nearest node that has the packet, or the backup when the parent is gone.

use serde_json::Value;

use crate::lab::{Lab, list, number, topology, wait_for};

#[test]
fn the_ingress_repairs_its_own_link_alone_and_the_source_hears_nothing() {
    let lab = Lab::up(&topology("chain"), "--loss 5%");
    let clients = lab.listen_all();
    let sent = lab.settle(lab.send("--rate 2kpps --duration 4s"));
    for client in clients {
        client.assert_clean(sent);
    }
    let ports = lab.get("r2", "/v1/ports");
    let mut ports = list(&ports).iter();
    let first_link = ports.find(|port| port["name"] == "r1").unwrap();
    let lost = number(&first_link["tree_dropped"]);
    let ingress = lab.session("r1");
    let repairs = number(&ingress["repairs_sent"]);
    assert!(
        0 < lost && (lost..=2 * lost).contains(&repairs),
        "{repairs} repairs of {lost} packets lost on the ingress' link"
    );
    // Five links lose five times as much, which all had to be repaired by somebody: what a router lost itself it sends
    // down the tree unasked.
    let all: u64 = ["r2", "r3", "r4", "r5"]
        .iter()
        .map(|node| lab.session(node))
        .map(|session| number(&session["repairs_sent"]) + number(&session["subcasts_sent"]))
        .sum();
    assert!(all > 4 * repairs, "{all} repairs below, {repairs} above");

    assert_eq!(ingress["naks_sent"], 0);
    let [received, transmitted] = ip_packets(&lab, "source");
    assert!(transmitted >= sent, "{transmitted} left, {sent} were sent");
    assert_eq!(received, 0, "IP packets reached the source");
}

/// IP packets that the kernel of a host has received and sent, by its own count.
fn ip_packets(lab: &Lab, host: &str) -> [u64; 2] {
    let table = lab.exec(host, &["cat", "/proc/net/snmp"]);
    let mut lines = table.lines().filter(|line| line.starts_with("Ip:"));
    let keys: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let values: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    ["InReceives", "OutRequests"].map(|key| {
        let at = keys.iter().position(|at| *at == key).unwrap();
        values[at].parse().unwrap()
    })
}

#[test]
fn the_backup_takes_over_when_the_parent_is_dead_for_good() {
    let lab = Lab::up(&topology("diamond"), "");
    let clients = lab.listen_all();
    assert_eq!(lab.session("lh1")["parent"], "core1");
    let source = lab.send("--rate 2kpps --duration 5s");
    wait_for("a second of the stream", || {
        (number(&lab.session("lh1")["lead"]) > 2_000).then_some(())
    });
    lab.run(&["kill", "core1"]);
    let sent = lab.settle(source);
    for client in clients {
        client.assert_clean(sent);
    }
    for last_hop in ["lh1", "lh2"] {
        let session = lab.session(last_hop);
        assert_eq!(session["parent"], "core2", "{session}");
        assert_eq!(session["unrecovered"], 0, "{session}");
        assert_down(&lab, last_hop);
    }
}

/// Checks that a last hop tells all that want to know of the death of `core1`.
fn assert_down(lab: &Lab, last_hop: &str) {
    let neighbors = lab.get(last_hop, "/v1/neighbors");
    let core1 = list(&neighbors).iter().find(|at| at["name"] == "core1");
    let core1 = core1.unwrap();
    assert_eq!([&core1["state"], &core1["reason"]], ["down", "silent"]);
    let table = lab.exec(
        last_hop,
        &[env!("CARGO_BIN_EXE_treecast"), "show", "neighbors"],
    );
    let mut rows = table.lines().filter(|row| row.starts_with("core1 "));
    let row: Vec<&str> = rows.next().unwrap().split_whitespace().collect();
    assert!(row.contains(&"down") && row.contains(&"silent"), "{table}");
    let events = lab.get(last_hop, "/v1/events");
    let told = |what: &str| {
        let mut events = list(&events).iter();
        events.any(|event: &Value| event["message"] == what)
    };
    assert!(told("neighbor core1 is down: silent"), "{events}");
    assert!(told("session 1: parent is now core2"), "{events}");
}

//! A node that is told to stop passes on what it has.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, changed, list, number, topology, wait_for};

/// Has a node stop as systemd does, and returns its log when it has.
fn stop(lab: &Lab, node: &str) -> String {
    let mut nodes = list(&lab.shown["nodes"]).iter();
    let at = nodes.find(|at| at["node"] == node).unwrap();
    let pid = number(&at["pid"]).try_into().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let log = Path::new(lab.shown["dir"].as_str().unwrap()).join(format!("{node}.log"));
    wait_for("the node to stop", || {
        let said = fs::read_to_string(&log).unwrap();
        said.contains(" stopped\n").then_some(said)
    })
}

/// How many packets a node that has stopped says that session 1 had sent.
fn sent(log: &str) -> u64 {
    let (_, said) = log.split_once("session 1: ").unwrap();
    said.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn all_that_an_ingress_took_before_it_stopped_reaches_the_clients() {
    // A loss is asked for 30 ms after it happened at the earliest, when the ingress has long been told to stop.
    let dir = tempfile::tempdir().unwrap();
    let slow = changed(dir.path(), "chain", |text| {
        text.replace("loss = \"5%\"", "loss = \"5%\"\ndelay = \"30ms\"")
    });
    let lab = Lab::up(&slow, "");
    let clients = lab.listen_all();
    let source = lab.send("--rate 5kpps --duration 20s");
    wait_for("the stream", || {
        (number(&lab.session("r6")["lead"]) > 5_000).then_some(())
    });
    let sent = sent(&stop(&lab, "r1"));
    wait_for("the end of the stream", || {
        let at = lab.session("r6");
        let passed = number(&at["delivered"]) + number(&at["unrecovered"]);
        (number(&at["lead"]) == sent && passed == sent).then_some(())
    });
    let at = lab.session("r6");
    assert_eq!(
        (&at["ended"], number(&at["unrecovered"])),
        (&true.into(), 0),
        "{at}"
    );
    drop(source);
    for client in clients {
        client.assert_clean(sent);
    }
}

#[test]
fn a_last_hop_that_stops_delivers_what_has_come_in_order() {
    let lab = Lab::up(&topology("chain"), "--loss 5%");
    let mut clients = lab.listen_all();
    let source = lab.send("--rate 5kpps --duration 20s");
    wait_for("the stream", || {
        (number(&lab.session("r6")["lead"]) > 5_000).then_some(())
    });
    // Somewhere behind a gap, as always at that loss.
    let lead = number(&lab.session("r6")["lead"]);
    stop(&lab, "r6");
    drop(source);
    let said = clients.remove(0).stop();
    let [first, last, received] = ["first", "last", "received"].map(|key| number(&said[key]));
    assert_eq!((first, received), (1, last), "{said}");
    assert!(last >= lead, "{last} of {lead}");
}

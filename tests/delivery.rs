//! Every client gets every packet, in order, once, whatever the links do; what can't be had in time is counted.

use serde_json::Value;

use crate::lab::{Lab, Run, assert_lossy, changed, list, number, run, topology};

/// The tree links of the quickstart topology.
const LINKS: [(&str, &str); 4] = [
    ("ing", "core"),
    ("core", "lh1"),
    ("core", "lh2"),
    ("core", "lh3"),
];

fn quickstart(args: &str) -> Run {
    run(&topology("quickstart"), args)
}

/// What the clients of a run had from repairs.
fn repaired(run: &Run) -> u64 {
    let hops = run.last_hops();
    hops.iter().map(|(_, hop)| number(&hop["repaired"])).sum()
}

/// A clean run with every link losing `share`, of which the report tells the truth.
fn assert_repaired_at(percent: u32) -> Run {
    let run = quickstart(&format!("--loss {percent}% --duration 2s --rate 2kpps"));
    run.assert_clean();
    for (from, to) in LINKS {
        assert_lossy(run.link(from, to), f64::from(percent) / 100.0);
    }
    run
}

#[test]
fn a_clean_network_needs_no_repair_and_almost_no_overlay() {
    let lab = Lab::up(&topology("quickstart"), "--loss 0%");
    let clients = lab.listen_all();
    let before = wire_bytes(&lab);
    let sent = lab.settle(lab.send("--rate 2kpps --duration 3s"));
    let after = wire_bytes(&lab);
    for client in clients {
        client.assert_clean(sent);
    }
    for node in ["ing", "core", "lh1", "lh2", "lh3"] {
        let session = lab.session(node);
        for key in ["naks_sent", "naks_received", "repairs_sent", "repaired"] {
            assert_eq!(session[key], 0, "{node} {key}: {session}");
        }
    }
    // Ethernet, IPv4, UDP, treecast, and the source's own packet: IPv4, UDP, payload.
    let frame_bytes = 14 + 20 + 8 + 24 + 20 + 8 + 1316;
    let tree_bytes = sent * frame_bytes * LINKS.len() as u64;
    let overlay_bytes = (after - before).checked_sub(tree_bytes);
    let overlay_bytes = overlay_bytes.expect("less on the wire than the tree itself");
    // Hellos flow, so that nothing at all would mean that the wrong thing was counted.
    assert!(
        0 < overlay_bytes && overlay_bytes * 100 < tree_bytes,
        "{overlay_bytes} bytes beside the tree's {tree_bytes}"
    );
}

/// Bytes sent by all routers towards routers.
fn wire_bytes(lab: &Lab) -> u64 {
    let towards_routers = |node: &str| -> u64 {
        let ports = lab.get(node, "/v1/ports");
        let neighbors = lab.get(node, "/v1/neighbors");
        let between_routers =
            |port: &&Value| list(&neighbors).iter().any(|at| at["port"] == port["name"]);
        let ports = list(&ports).iter().filter(between_routers);
        ports.map(|port| number(&port["tx_bytes"])).sum()
    };
    ["ing", "core", "lh1", "lh2", "lh3"]
        .map(towards_routers)
        .iter()
        .sum()
}

#[test]
fn no_loss_is_reported_where_none_is() {
    let run = quickstart("--loss 0% --duration 1s --rate 2kpps");
    run.assert_clean();
    for (from, to) in LINKS {
        let sent = number(&run.report["sessions"][0]["sent"]);
        assert_eq!(run.link(from, to), (sent, 0), "{from} > {to}");
    }
    assert_eq!(repaired(&run), 0);
}

#[test]
fn one_percent_of_loss_is_repaired() {
    assert_repaired_at(1);
}

#[test]
fn five_percent_of_loss_is_repaired() {
    assert_repaired_at(5);
}

#[test]
fn twenty_percent_of_loss_is_repaired() {
    let run = assert_repaired_at(20);
    // 36 % of what a last hop needs is lost on one of its two links: what came is not what was never lost.
    assert!(repaired(&run) * 4 > number(&run.report["sessions"][0]["sent"]) * 3);
}

#[test]
fn a_link_that_loses_half_is_repaired() {
    let run = quickstart("--loss 20% --loss core:lh1=50% --duration 3s --rate 2kpps");
    run.assert_clean();
    assert_lossy(run.link("core", "lh1"), 0.5);
    assert_lossy(run.link("core", "lh2"), 0.2);
}

/// The quickstart topology, with an event.
fn with_event(event: &str, duration: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        format!("{text}\n[[event]]\n{event}\n")
    });
    run(&file, &format!("--duration {duration} --rate 2kpps"))
}

#[test]
fn a_second_of_blackout_is_repaired() {
    let run = with_event(
        "at = \"1s\"\nlink = [\"core\", \"lh2\"]\nloss = \"100%\"\nfor = \"1s\"",
        "3s",
    );
    run.assert_clean();
    let (offered, dropped) = run.link("core", "lh2");
    // A second of 2,000 packets, and the 2 % of the rest; an event comes at most a tenth of a second late.
    assert!(
        (1_700..2_600).contains(&dropped),
        "{dropped} of {offered} lost"
    );
}

#[test]
fn a_blackout_over_the_end_of_the_stream_is_repaired() {
    let run = with_event(
        "at = \"1s\"\nlink = [\"core\", \"lh2\"]\nloss = \"100%\"\nfor = \"2s\"",
        "2s",
    );
    run.assert_clean();
    let mut hops = run.last_hops().into_iter();
    let (sent, lh2) = hops.find(|(_, hop)| hop["node"] == "lh2").unwrap();
    // Nothing came after the blackout that could have told of a gap.
    assert!(number(&lh2["repaired"]) * 3 > sent, "{lh2}");
}

#[test]
fn a_transit_that_is_killed_and_comes_back_costs_nothing() {
    let run = with_event("at = \"1s\"\nkill = \"core\"\nstart_after = \"1s\"", "4s");
    run.assert_clean();
    // It was dead: the tree through it carried at least half a second less than was sent.
    let sent = number(&run.report["sessions"][0]["sent"]);
    let (offered, _) = run.link("core", "lh1");
    assert!(
        offered + 1_000 < sent,
        "{offered} of {sent} came by the tree"
    );
}

#[test]
fn immediate_delivery_passes_repairs_on_as_they_come_but_each_packet_once() {
    let run = quickstart("--loss 5% --delivery immediate --duration 2s --rate 2kpps");
    assert_eq!((run.status, &run.report["pass"]), (Some(0), &true.into()));
    for (sent, hop) in run.last_hops() {
        assert_eq!(number(&hop["tree"]) + number(&hop["repaired"]), sent);
        for client in list(&hop["clients"]) {
            let at = |key: &str| number(&client[key]);
            assert_eq!((at("received"), at("missing")), (sent, 0), "{client}");
            assert_eq!((at("duplicate"), at("corrupt")), (0, 0), "{client}");
            assert!(0 < at("reordered"), "{client}");
            assert!(at("reordered") <= number(&hop["repaired"]), "{hop}");
        }
    }
}

#[test]
fn twenty_sessions_cross_one_tree_and_do_not_mix() {
    let run = run(&topology("sessions"), "--duration 2s");
    assert_eq!((run.status, &run.report["pass"]), (Some(0), &true.into()));
    let sessions = list(&run.report["sessions"]);
    let ordered = sessions.iter().filter(|at| at["delivery"] == "ordered");
    assert_eq!((sessions.len(), ordered.count()), (20, 10));
    for session in sessions {
        let clients = list(&session["last_hops"]).iter();
        for client in clients.flat_map(|hop| list(&hop["clients"])) {
            assert_eq!(client["received"], session["sent"], "{session}");
            for fault in ["missing", "duplicate", "corrupt", "foreign"] {
                assert_eq!(client[fault], 0, "{session}");
            }
            let reordered = client["reordered"] != 0;
            assert!(
                !reordered || session["delivery"] == "immediate",
                "{session}"
            );
        }
    }
    assert!(repaired(&run) > 0);
}

#[test]
fn reordering_and_duplication_are_undone() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        let impair = "loss = \"2%\"\nreorder = \"5%\"\nduplicate = \"5%\"\njitter = \"2ms\"";
        text.replace("loss = \"2%\"", impair)
    });
    let run = run(&file, "--duration 3s --rate 2kpps");
    run.assert_clean();
    for (sent, hop) in run.last_hops() {
        // One in twenty comes twice on each of two links, and nothing else keeps so many away.
        assert!(number(&hop["duplicates"]) > sent / 40, "{hop}");
    }
}

#[test]
fn gaps_that_cannot_be_filled_in_time_are_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        text.replace("loss = \"2%\"", "loss = \"2%\"\ndelay = \"50ms\"")
            .replace("deadline = \"2s\"", "deadline = \"5ms\"")
    });
    let run = run(&file, "--duration 3s --rate 2kpps");
    assert_eq!(run.status, Some(1), "{}", run.report);
    assert_eq!(run.report["pass"], false);
    // What the other tests go by sees it too.
    assert_eq!(run.faults().len(), 3 + 6, "{:?}", run.faults());
    for (sent, hop) in run.last_hops() {
        let at = |key: &str| number(&hop[key]);
        assert_eq!(at("sent"), sent, "{hop}");
        assert_eq!(at("in_flight"), 0, "{hop}");
        // A repair takes a round trip, 100 ms: none comes in time.
        assert_eq!(
            (at("repaired"), at("tree") + at("unrecovered")),
            (0, sent),
            "{hop}"
        );
        assert_lossy((sent, at("unrecovered")), 1.0 - 0.98 * 0.98);
        for client in list(&hop["clients"]) {
            assert_eq!(client["missing"], at("unrecovered"), "{hop}");
            assert_eq!(client["received"], at("tree"), "{hop}");
            for fault in ["duplicate", "reordered", "corrupt", "foreign"] {
                assert_eq!(client[fault], 0, "{hop}");
            }
        }
    }
}

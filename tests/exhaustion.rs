//! More than a node can hold or send, or is willing to do: less gets through, for a counted reason, and then all does
//! again.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::treecast;
use crate::hostile::{Liar, in_use, nodes, pids};
use crate::lab::{Lab, changed, list, number, succeed, topology, wait_for};

/// What all last hops know to have been sent, once nothing is in flight any more.
fn leads(lab: &Lab) -> u64 {
    wait_for("all last hops to have closed their books", || {
        let lead = number(&lab.session("ing")["lead"]);
        let settled = ["lh1", "lh2", "lh3"].iter().all(|node| {
            let at = lab.session(node);
            at["lead"] == lead && at["in_flight"] == 0
        });
        settled.then_some(lead)
    })
}

/// A further stream of `lab`, every packet of which must arrive.
fn assert_recovered(lab: &Lab, args: &str) {
    let clients = lab.listen_all();
    let said = succeed(lab.send(args).finish());
    let said: Value = serde_json::from_str(&said).unwrap();
    leads(lab);
    for client in clients {
        client.assert_clean(number(&said["sent"]));
    }
}

#[test]
fn a_source_faster_than_its_session_is_sized_for_costs_retention_and_no_pool() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        text.replace("max_rate", "max_rate = \"1kpps\" #")
    });
    let lab = Lab::up(&file, "");
    let (rested, alive) = (in_use(&lab), pids(&lab));
    succeed(lab.send("--rate 5kpps --duration 3s").finish());
    leads(&lab);
    for node in ["lh1", "lh2", "lh3"] {
        let session = lab.session(node);
        let at = |key: &str| number(&session[key]);
        let came = at("tree") + at("repaired");
        assert_eq!(at("sent"), came + at("unrecovered"), "{session}");
        assert!(at("evicted_early") > 0, "{session}");
        wait_for("what is held to be delivered or given up", || {
            let session = lab.session(node);
            let at = |key: &str| number(&session[key]);
            (at("delivered") + at("undelivered") == came).then_some(())
        });
    }
    for node in nodes(&lab) {
        let ports = lab.get(node, "/v1/ports");
        for port in list(&ports) {
            assert_eq!(port["rx_nombuf"], 0, "{node}: {port}");
        }
        let drops = lab.get(node, "/v1/drops");
        assert_eq!(drops["no_packet_buffer"], 0, "{node}: {drops}");
    }
    wait_for("all buffers to be given back", || {
        (in_use(&lab) == rested).then_some(())
    });
    assert_eq!(pids(&lab), alive);
    assert_recovered(&lab, "--rate 500pps --duration 2s");
}

/// A pool can't be made too small for what a node may have to hold: its file is refused.
#[test]
fn a_pool_too_small_for_its_sessions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        text.replace(
            "[link_defaults]",
            "[node]\npackets = 8192\n\n[link_defaults]",
        )
    });
    let up = treecast().args(["lab", "run"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(
        !up.status.success() && said.contains("8192 packets are too few"),
        "{said}"
    );
}

/// A link that holds more frames than the pool has buffers for: less gets through, which is told, and then all again.
#[test]
fn an_exhausted_pool_is_told_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        text.replace("max_rate", "max_rate = \"1kpps\" #")
            .replace("retention", "retention = \"1s\" #")
            .replace("deadline", "deadline = \"1s\" #")
    });
    let lab = Lab::up(&file, "--loss 0%");
    let (rested, alive) = (in_use(&lab), pids(&lab));
    lab.run(&["impair", "ing", "core", "--delay", "3s"]);
    let source = lab.send("--rate 2kpps --duration 3s");
    let packets = || {
        let pools = lab.get("core", "/v1/pools");
        list(&pools)[0].clone()
    };
    wait_for("the pool to be exhausted", || {
        (number(&packets()["exhausted"]) > 0).then_some(())
    });
    succeed(source.finish());
    lab.run(&["impair", "ing", "core", "--clear"]);
    wait_for("all buffers to be given back", || {
        (in_use(&lab) == rested).then_some(())
    });
    let told = number(&packets()["exhausted"]);
    leads(&lab);
    assert_recovered(&lab, "--rate 500pps --duration 2s");
    assert_eq!(number(&packets()["exhausted"]), told);
    assert_eq!(pids(&lab), alive);
}

#[test]
fn a_link_that_is_too_slow_for_a_while_costs_nothing() {
    let lab = Lab::up(&topology("quickstart"), "");
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 4s");
    wait_for("the stream", || {
        (number(&lab.session("lh1")["lead"]) > 1000).then_some(())
    });
    let lost = || {
        let ports = lab.get("lh1", "/v1/ports");
        let port = list(&ports).iter().find(|port| port["name"] == "core");
        number(&port.unwrap()["impairment"]["rate_dropped"])
    };
    // Half of what the stream needs.
    lab.run(&["impair", "core", "lh1", "--rate", "10Mbps"]);
    wait_for("the link to be full", || (lost() > 500).then_some(()));
    lab.run(&["impair", "core", "lh1", "--clear"]);
    let sent = lab.settle(source);
    for client in clients {
        client.assert_clean(sent);
    }
}

#[test]
fn a_flood_of_naks_from_one_neighbor_harms_nobody() {
    let lab = Lab::up(&topology("quickstart"), "");
    let (rested, alive) = (in_use(&lab), pids(&lab));
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 4s");
    let liar = Liar::new(&lab, "core", "lh1");
    let flood = Instant::now();
    while flood.elapsed() < Duration::from_secs(2) {
        liar.ask_for_everything(32);
        // Its worker answers this.
        lab.get("core", "/v1/workers");
    }
    let core = lab.session("core");
    let sent = lab.settle(source);
    let asked = number(&core["naks_received"]);
    assert!(asked > 1000, "{core}");
    assert!(number(&core["naks_over_budget"]) > 0, "{core}");
    for client in clients {
        client.assert_clean(sent);
    }
    assert_eq!(pids(&lab), alive);
    wait_for("all buffers to be given back", || {
        (in_use(&lab) == rested).then_some(())
    });
}

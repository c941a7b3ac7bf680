//! Programs that know nothing of treecast: socat at both ends, promtool on the metrics.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::request;
use crate::lab::{Lab, Running, list, number, succeed, topology, wait_for};

/// socat has no pace of its own: it is fed 16 datagrams of 1,316 bytes every 10 ms, 1,600 a second at most.
const FEED: &str = r#"
blocks=$((($(stat -c %s "$0") + 21055) / 21056))
i=0
while [ $i -lt $blocks ]; do
  dd if="$0" bs=21056 skip=$i count=1 status=none
  i=$((i + 1))
  sleep 0.01
done | socat -u -b1316 STDIN UDP-SENDTO:$1
"#;

/// Every client's host receives the first session with socat, each into a file of its own in `dir`.
fn receive(lab: &Lab, dir: &Path) -> Vec<(Running, std::path::PathBuf)> {
    let start = |[host, _, address]: [String; 3]| {
        let file = dir.join(&host);
        let (_, port) = address.split_once(':').unwrap();
        let from = format!("UDP-RECV:{port}");
        let to = format!("CREATE:{}", file.display());
        let socat = lab.start(&host, &["socat", "-u", &from, &to]);
        let port = format!(":{:04X}", port.parse::<u16>().unwrap());
        wait_for("socat to listen", || {
            let sockets = lab.exec(&host, &["cat", "/proc/net/udp"]);
            sockets.contains(&port).then_some(())
        });
        (socat, file)
    };
    lab.clients().into_iter().map(start).collect()
}

/// Sends `file` with `send`, and checks that each client has it, bit for bit.
fn carry(lab: &Lab, file: &Path, send: impl Fn(&Lab, &Path, &str) -> Running) {
    let dir = tempfile::tempdir().unwrap();
    let receivers = receive(lab, dir.path());
    let to = lab.shown["sessions"][0]["destination"].as_str().unwrap();
    succeed(send(lab, file, to).finish());
    let sent = fs::read(file).unwrap();
    for (_, copy) in &receivers {
        wait_for(&format!("all of the file in {}", copy.display()), || {
            let len = fs::metadata(copy).map_or(0, |copy| copy.len());
            (len >= sent.len() as u64).then_some(())
        });
        // Not with `assert_eq`: nobody wants to read megabytes.
        assert!(fs::read(copy).unwrap() == sent, "{}", copy.display());
    }
}

#[test]
fn a_file_streamed_by_socat_is_bit_identical_at_each_client() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let mut random = fastrand::Rng::with_seed(6);
    // Not a whole number of datagrams.
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(3_000_001)
        .collect();
    fs::write(&file, bytes).unwrap();
    let lab = Lab::up(&topology("quickstart"), "--loss 5%");
    carry(&lab, &file, |lab, file, to| {
        lab.start("source", &["sh", "-c", FEED, file.to_str().unwrap(), to])
    });
    carry(&lab, &file, |lab, file, to| {
        let treecast = env!("CARGO_BIN_EXE_treecast");
        let file = file.to_str().unwrap();
        lab.start(
            "source",
            &[
                treecast, "send", "--to", to, "--file", file, "--rate", "16Mbps",
            ],
        )
    });
    let lost = list(&lab.get("lh1", "/v1/ports"))
        .iter()
        .map(|port| number(&port["tree_dropped"]))
        .sum::<u64>();
    assert!(lost > 0, "the tree lost nothing");
}

/// A node's metrics, each with its value by name and labels, after promtool has seen them.
fn metrics(lab: &Lab, node: &str) -> BTreeMap<String, f64> {
    let api = list(&lab.shown["nodes"])
        .iter()
        .find(|at| at["node"] == node)
        .map(|at| at["api"].as_str().unwrap());
    let (status, text) = request(Path::new(api.unwrap()), "GET", "/metrics", None);
    assert_eq!(status, 200, "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in Debian's package prometheus");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let done = promtool.wait_with_output().unwrap();
    assert!(
        done.status.success() && done.stderr.is_empty(),
        "{node}: {done:?}"
    );
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_string(), value.parse().unwrap())
        })
        .collect()
}

/// Counters of a session: metric and key in JSON.
const SESSION: [(&str, &str); 8] = [
    ("sent_packets_total", "sent"),
    ("tree_packets_total", "tree"),
    ("repaired_packets_total", "repaired"),
    ("unrecovered_packets_total", "unrecovered"),
    ("duplicate_packets_total", "duplicates"),
    ("naks_sent_total", "naks_sent"),
    ("naks_received_total", "naks_received"),
    ("repairs_sent_total", "repairs_sent"),
];

#[test]
fn the_metrics_of_every_node_are_sound_and_agree_with_json() {
    let lab = Lab::up(&topology("quickstart"), "--loss 5%");
    let clients = lab.listen_all();
    let sent = lab.settle(lab.send("--rate 2kpps --duration 2s"));
    let mut repaired = 0.0;
    for at in list(&lab.shown["nodes"]) {
        let node = at["node"].as_str().unwrap();
        let snapshot: Value = lab.get(node, "/v1/snapshot");
        let metrics = metrics(&lab, node);
        let value = |name: &str| {
            let value = metrics.get(name);
            *value.unwrap_or_else(|| panic!("{node} has no {name}: {metrics:?}"))
        };
        for (metric, key) in SESSION {
            let name = format!("treecast_session_{metric}{{session=\"1\",name=\"tv1\"}}");
            let json = number(&snapshot["sessions"][0][key]);
            assert_eq!(value(&name), json as f64, "{node}: {name}");
        }
        let sum = |of: &str| {
            value(&format!(
                "treecast_session_{of}{{session=\"1\",name=\"tv1\"}}"
            ))
        };
        let balance = sum("tree_packets_total")
            + sum("repaired_packets_total")
            + sum("unrecovered_packets_total")
            + sum("in_flight_packets");
        assert_eq!(
            (sum("sent_packets_total"), balance),
            (sent as f64, sent as f64)
        );
        repaired += sum("repaired_packets_total");
        let latencies = sum("repair_latency_seconds_count");
        assert_eq!(latencies, sum("repaired_packets_total"), "{node}");
        for client in list(&snapshot["sessions"][0]["clients"]) {
            let name = client["client"].as_str().unwrap();
            let name = format!(
                "treecast_client_packets_total{{session=\"1\",name=\"tv1\",client=\"{name}\"}}"
            );
            assert_eq!(value(&name), sent as f64, "{node}");
        }
    }
    assert!(repaired > 0.0, "nothing was lost");
    for client in clients {
        client.assert_clean(sent);
    }
}

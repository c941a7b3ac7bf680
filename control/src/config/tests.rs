use std::path::Path;
use std::time::Duration;

use dataplane::{Delivery, Device, Idle};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A transit node with every key set.
pub(super) const FULL: &str = r#"[node]
name = "core"
idle = "nap"
workers = 2
cpus = [2, 3]
hello = "20ms"
detect_mult = 4
hold_down = "2s"
max_sessions = 100
tree_port = 7461
overlay_port = 7462
[eal]
hugepages = false
args = ["--no-pci"]
[memory]
packets = 200000
spare_packets = 1000
[api]
socket = "/run/treecast/x.sock"
listen = "127.0.0.1:7450"
[[port]]
name = "up"
device = "af_packet:eth1"
address = "10.0.1.2/30"
gateway = "10.0.1.1"
mtu = 1600
verify_payload = false
chain_from = 200
impair = { seed = 7, loss = "2%", burst_loss = { loss = "1%", mean = 50 }, delay = "1ms", jitter = "2ms", reorder = "3%", duplicate = "4%", rate = "100Mbps" }
[[port]]
name = "down"
device = "pci:8a:00.0"
address = "10.0.2.1/24"
kernel = "down"
kernel_rate = "5kpps"
[[neighbor]]
name = "ing"
address = "10.0.1.1"
port = "up"
repair_rate = "10kpps"
[[neighbor]]
name = "lh1"
address = "10.0.2.2"
port = "down"
[[neighbor]]
name = "core2"
address = "10.0.2.3"
port = "down"
[[session]]
id = 1
name = "tv1"
group = "239.1.0.1"
source = "10.0.1.1"
ttl = 8
upstream = ["ing"]
downstream = ["lh1"]
delivery = "immediate"
deadline = "1500ms"
retention = "3s"
reorder_delay = "50us"
max_rate = "20kpps"
overlay = "auto"
fec = { block = 16, parity = 3 }
subcast_threshold = 8
second_upstream = ["core2"]
second_downstream = ["lh1"]
catch_up = "1s"
idle_timeout = "5min"
worker = 1
[[session.client]]
name = "c1"
address = "10.9.1.2:5004"
catch_up = "500ms"
[[session]]
id = 2
name = "tv2"
group = "239.1.0.2"
source = "10.0.1.2"
match = { destination = "198.51.100.1:5004", source = "10.0.2.9" }
downstream = ["lh1"]
"#;

/// The smallest node there is.
const BARE: &str = r#"
[node]
name = "n"
[[port]]
name = "p"
device = "null:"
address = "10.0.0.1/24"
"#;

/// A file in which nearly everything is wrong, each line in its own way.
const WRONG: &str = r#"[node]
nmae = "core"
idle = "doze"
hello = 10
tree_port = 7451
overlay_port = 7451
[memory]
spare_packets = "many"
[api]
listen = "localhost"
[[port]]
name = "up"
device = "af_paket:eth1"
address = "10.0.1.2"
mtu = 500
impair = { loss = 0.02, burst_loss = { loss = "1%" }, delay = "1msec", rate = "100kpps" }
[[port]]
name = "up"
device = "af_packet:eth2"
address = "10.0.2.0/24"
[[neighbor]]
name = "ing"
address = 10.0.7.1
port = "pu"
repair_rate = 50000
[[session]]
id = 0
name = "tv1"
group = "224.0.0.5"
source = "10.0.1.1"
upstream = ["in"]
match = { destination = "239.1.1.1:5004" }
retenton = "2s"
deadline = "60min"
[[session]]
id = 7
name = "tv1"
group = "10.0.0.1"
source = "10.0.1.1"
[[session.client]]
name = "c 1"
address = "10.9.1.2"
[neighbour]
"#;

#[test]
fn every_error_of_a_file_is_told_in_one_run() {
    let errors = parse("wrong.toml", WRONG).unwrap_err();
    insta::assert_snapshot!(errors.render(false));
}

#[test]
fn errors_are_json_with_their_place() {
    let errors = parse("a.toml", &BARE.replace("\"p\"", "\"p q\"")).unwrap_err();
    assert_eq!(
        errors.to_json(),
        json!([{
            "severity": "error", "line": 5, "column": 8, "key": "port[0].name",
            "message": "`p q` can't be a name",
            "hint": "names are 1 to 63 letters, digits, `-`, `_` and `.`, and begin with none of `-` and `.`",
        }])
    );
}

#[test]
fn every_key_is_read() {
    let config = parse("core.toml", FULL).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    insta::assert_debug_snapshot!(config);
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse("n.toml", BARE).unwrap();
    let node = &config.node;
    assert_eq!(config.api.socket, Path::new("/run/treecast/n.sock"));
    assert_eq!(config.api.listen, None);
    assert_eq!(node.idle, Idle::Spin);
    assert_eq!((node.workers, node.pool_packets), (1, None));
    assert!(node.cpus.is_empty());
    assert_eq!(node.hello_interval, Duration::from_millis(10));
    assert_eq!((node.tree_port, node.overlay_port), (7451, 7452));
    assert!(node.eal.hugepages);
    assert_eq!(node.ports[0].mtu, 1500);
    assert_eq!(node.hold_down, Duration::from_secs(1));
}

#[test]
fn a_repair_rate_that_is_left_out_is_sized_from_the_sessions() {
    let rates = |text: &str| -> Vec<u32> {
        let neighbors = parse("x", text).unwrap().node.neighbors;
        neighbors.iter().map(|at| at.repair_rate_pps).collect()
    };
    // `ing` has a rate of its own; the sessions bring 20 kpps and, by default, 25 kpps.
    assert_eq!(rates(FULL), [10_000, 90_000, 90_000]);
    let slow = FULL.replace("max_rate = \"20kpps\"", "max_rate = \"1pps\"");
    assert_eq!(rates(&slow), [10_000, 50_002, 50_002]);
    let (without, _) = FULL.split_once("[[session]]").unwrap();
    assert_eq!(rates(without), [10_000, 50_000, 50_000]);

    // What is added later does not change a neighbor that is there, but counts for the next check.
    let config = parse("x", FULL).unwrap();
    let session = json!({
        "id": 3, "name": "tv3", "group": "239.1.0.3", "source": "10.0.1.1", "upstream": ["ing"],
        "downstream": ["lh1"], "max_rate": "30kpps", "overlay": "copy",
    });
    let more = config.with_session(&session).unwrap();
    assert_eq!(more.node.neighbors[1].repair_rate_pps, 150_000);
    let client = json!({"name": "c2", "address": "10.0.2.8:5004", "catch_up": "1s"});
    let more = config.with_client(SessionId(1), &client).unwrap();
    assert_eq!(more.node.neighbors, config.node.neighbors);
    assert_eq!(
        more.node.sessions[0].clients[1].catch_up,
        Duration::from_secs(1)
    );
}

#[test]
fn a_syntax_error_hides_no_other_error() {
    let text = BARE
        .replace("\"10.0.0.1/24\"", "10.0.0.1/24")
        .replace("name = \"n\"", "name = \"n\"\nhello = 5");
    let lines = parse("n.toml", &text).unwrap_err().lines();
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("n.toml:8: this is not TOML")),
        "{lines:?}"
    );
    assert!(
        lines.contains(
            &"n.toml:4: `5` has no unit, and a duration needs one (write \"5ms\")".into()
        ),
        "{lines:?}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("`address` is missing")),
        "{lines:?}"
    );
}

#[test]
fn a_broken_value_is_not_held_against_what_refers_to_it() {
    let text = FULL.replace("10.0.1.2/30", "10.0.1.2/99");
    let lines = parse("x", &text).unwrap_err().lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("`10.0.1.2/99` is not an IP address with a prefix length"));
}

#[test]
fn a_value_of_several_lines_is_quoted_on_one() {
    let text = BARE.replace("\"n\"", "\'\'\'n\nm\'\'\'");
    let lines = parse("x", &text).unwrap_err().lines();
    assert!(
        lines[0].starts_with("x:3: `n\\nm` can't be a name"),
        "{lines:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load(Path::new("/nonexistent/n.toml")).unwrap_err();
    assert_eq!(
        errors.lines(),
        ["can't read /nonexistent/n.toml: No such file or directory (os error 2)"]
    );
}

#[test]
fn devices_have_their_kinds() {
    let device = |text: &str| {
        let text = BARE.replace("null:", text);
        parse("x", &text)
            .map(|config| config.node.ports[0].device.clone())
            .map_err(|e| e.lines())
    };
    let vdev = |text: &str| Ok(Device::Vdev(text.to_owned()));
    assert_eq!(device("null:"), vdev("net_null0"));
    assert_eq!(device("vdev:net_tap0,iface=t"), vdev("net_tap0,iface=t"));
    assert_eq!(device("net_tap0,iface=t"), vdev("net_tap0,iface=t"));
    assert_eq!(
        device("pci:8A:00.1"),
        Ok(Device::Pci("0000:8a:00.1".into()))
    );
    assert_eq!(
        device("pci:0000:8a:00.1"),
        Ok(Device::Pci("0000:8a:00.1".into()))
    );
    let af_packet = device("af_packet:eth1").unwrap();
    assert!(
        matches!(&af_packet, Device::Vdev(text) if text.starts_with("net_af_packet0,iface=eth1,")),
        "{af_packet:?}"
    );
    for wrong in [
        "pci:eth0",
        "af_packet:",
        "af_packet:averylonginterfacename",
        "eth0",
        "pcap:",
    ] {
        assert!(device(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_session_is_added_by_json_with_the_same_checks() {
    let config = parse("core.toml", FULL).unwrap();
    let session = json!({
        "id": 3, "name": "tv3", "group": "239.1.0.3", "source": "10.0.1.1", "upstream": ["ing"],
        "deadline": "100ms", "client": [{"name": "c1", "address": "10.0.2.7:5004"}], "match": null,
    });
    let more = config.with_session(&session).unwrap();
    assert_eq!(more.node.sessions.len(), 3);
    let added = &more.node.sessions[2];
    assert_eq!(added.deadline, Duration::from_millis(100));
    assert_eq!(
        (added.clients.len(), added.delivery),
        (1, Delivery::Ordered)
    );
    let changes = config.changes(&more).unwrap();
    assert_eq!(changes.sessions_added.first(), Some(added));

    let wrong = json!({
        "id": 1, "name": "tv3", "group": "239.1.0.3", "source": "10.0.1.1", "upstream": ["inh"], "deadline": 100, "clint": [],
    });
    let mut lines = config.with_session(&wrong).unwrap_err().lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "session[2].clint: unknown key `clint` in [session] (did you mean `client`?)",
            "session[2].deadline: `100` has no unit, and a duration needs one (write \"100ms\")",
            "session[2].id: two sessions have the id 1",
            "session[2].upstream[0]: there is no neighbor `inh` (did you mean `ing`?)",
        ]
    );
    let lines = config.with_session(&json!([1])).unwrap_err().lines();
    assert_eq!(lines, ["the body is a list, not a JSON object"]);
}

#[test]
fn a_client_is_added_by_json_with_the_same_checks() {
    let config = parse("core.toml", FULL).unwrap();
    let more = config
        .with_client(
            SessionId(1),
            &json!({"name": "c2", "address": "10.0.2.8:5004"}),
        )
        .unwrap();
    assert_eq!(more.node.sessions[0].clients.len(), 2);
    assert_eq!(config.changes(&more).unwrap().sessions_updated.len(), 1);

    let taken = json!({"name": "c1", "address": "10.0.2.8:5004"});
    let errors = config.with_client(SessionId(1), &taken).unwrap_err();
    assert_eq!(
        errors.lines(),
        ["session[0].client[1].name: two clients of session `tv1` are named `c1`"]
    );
    let errors = config.with_client(SessionId(9), &taken).unwrap_err();
    assert_eq!(errors.lines(), ["there is no session 9"]);
}

#[test]
fn an_impairment_is_read_from_json() {
    let read = parse_impairment(&json!({"loss": "2%", "delay": "5ms", "seed": 9})).unwrap();
    assert_eq!((read.loss, read.seed), (0.02, 9));
    let lines = parse_impairment(&json!({"loss": "200%", "dely": "5ms"}))
        .unwrap_err()
        .lines();
    assert_eq!(
        lines,
        [
            "impair.loss: `200%` is out of range (from 0% to 100%)",
            "impair.dely: unknown key `dely` in [impair] (did you mean `delay`?)",
        ]
    );
}

proptest! {
    #[test]
    fn any_damage_to_a_file_gives_a_config_or_errors_that_can_be_shown(
        at in 0..FULL.len(), len in 0usize..40, patch in "[\\[\\]{}=\"'#a-z0-9.\\n é]{0,6}",
    ) {
        let mut text = FULL.to_owned();
        text.replace_range(at..(at + len).min(FULL.len()), &patch);
        if let Err(errors) = parse("x", &text) {
            prop_assert!(errors.error_count() > 0);
            for problem in &errors.problems {
                for (span, _) in &problem.labels {
                    prop_assert!(text.get(span.clone()).is_some(), "{span:?} is no part of {text}");
                }
                prop_assert!(errors.render(false).contains(problem.message.split(' ').next().unwrap()));
            }
        }
    }
}

/// A line of a sample that begins with `#` and a key, without a space, is a default.
fn with_defaults_written_out(sample: &str) -> String {
    let line = |line: &str| {
        let is_default = line
            .strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        format!("{}\n", if is_default { &line[1..] } else { line })
    };
    sample.lines().map(line).collect()
}

#[test]
fn the_samples_load_and_show_the_defaults() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for role in ["ingress", "transit", "last-hop"] {
        let path = deploy.join(format!("{role}.toml"));
        let config = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [""; 0], "{role}");
        let sample = std::fs::read_to_string(&path).unwrap();
        let written_out = with_defaults_written_out(&sample);
        assert_ne!(sample, written_out, "{role} shows no default");
        let same = parse(role, &written_out).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            same, config,
            "{role}: a value shown as default is not the default"
        );
    }
}

use std::time::Duration;

use overlay::Mode;
use overlay::sim::{Action, Impairment};

use super::Case;
use crate::lab::Topology;

const MS: Duration = Duration::from_millis(1);

/// A diamond with a slow, lossy and narrow link, and two events.
const DIAMOND: &str = r#"
name = "diamond"
seed = 5
rate = "8Mbps"
size = 1000
duration = "2s"
routers = ["ing", "core1", "core2", "lh"]
link = [
  { between = ["ing", "core1"], loss = "3%", delay = "2ms", jitter = "1ms", rate = "8Mbps" },
  { between = ["core2", "ing"], burst_loss = { loss = "1%", mean = 5.0 } },
  { between = ["core1", "lh"], reorder = "1%", duplicate = "2%" },
  { between = ["core2", "lh"] },
]
host = [{ name = "s", router = "ing" }, { name = "c", router = "lh" }]
[link_defaults]
delay = "5ms"
[node]
hello = "20ms"
detect_mult = 4
hold_down = "3s"
[[session]]
name = "tv"
source = "s"
clients = ["c"]
deadline = "700ms"
retention = "900ms"
max_rate = "60kpps"
overlay = "copy"
fec = { block = 16, parity = 2 }
trees = 2
[[event]]
at = "1s"
link = ["lh", "core1"]
loss = "100%"
for = "300ms"
[[event]]
at = "500ms"
kill = "core1"
start_after = "200ms"
"#;

fn case(text: &str) -> Case {
    Case::new(&Topology::parse("test.toml", text).unwrap()).unwrap()
}

fn error(text: &str) -> String {
    let topology = Topology::parse("test.toml", text).unwrap();
    Case::new(&topology).unwrap_err().to_string()
}

#[test]
fn links_do_in_both_directions_what_the_topology_says() {
    let links = case(DIAMOND).scenario.links;
    let expected = [
        Impairment {
            loss: 0.03,
            jitter: MS,
            rate_bps: 8_000_000,
            queue_bytes: 100_000,
            ..links[0].forth
        },
        Impairment {
            burst: links[1].forth.burst,
            ..links[3].forth
        },
        Impairment {
            reorder: 0.01,
            duplicate: 0.02,
            ..links[3].forth
        },
        Impairment {
            queue_bytes: 0,
            ..Impairment::delay(5 * MS)
        },
    ];
    for (link, expected) in links.iter().zip(expected) {
        assert_eq!((link.forth, link.back), (expected, expected));
    }
    assert_eq!(links[0].forth.delay, 2 * MS);
    let burst = links[1].forth.burst.unwrap();
    assert_eq!((burst.loss, burst.mean), (0.01, 5.0));
    let between: Vec<_> = links.iter().map(|link| link.between).collect();
    assert_eq!(between, [[0, 1], [2, 0], [1, 3], [2, 3]]);
}

#[test]
fn a_link_without_delay_takes_what_a_hop_of_a_lab_takes() {
    let text = DIAMOND.replace("delay = \"5ms\"", "loss = \"1%\"");
    assert_eq!(case(&text).scenario.links[3].forth.delay, super::HOP);
}

#[test]
fn routers_have_the_places_and_settings_of_their_nodes() {
    let case = case(DIAMOND);
    let scenario = &case.scenario;
    assert_eq!((scenario.seed, scenario.routers), (5, 4));
    let node = scenario.node;
    assert_eq!((node.hello_interval, node.detect_mult), (20 * MS, 4));
    assert_eq!(node.hold_down, 3000 * MS);
    // Sized by the node: twice what its sessions bring.
    assert_eq!(node.repair_rate_pps, 120_000);
    let session = &scenario.sessions[0];
    assert_eq!(session.ingress, 0);
    let places: Vec<_> = session
        .places
        .iter()
        .map(|at| {
            let upstream = (at.upstream.clone(), at.second_upstream.clone());
            (at.router, upstream, at.delivers)
        })
        .collect();
    assert_eq!(
        places,
        [
            (1, (vec![0], vec![]), false),
            (2, (vec![0], vec![0]), false),
            (3, (vec![1, 2], vec![2]), true),
        ]
    );
    let config = &session.config;
    assert_eq!((config.deadline, config.retention), (700 * MS, 900 * MS));
    assert_eq!((config.mode, config.max_rate_pps), (Mode::Copy, 60_000));
    assert_eq!(config.fec.map(|fec| (fec.block, fec.parity)), Some((16, 2)));
    assert!(!scenario.lossless);
    assert!(scenario.drain > config.deadline);
}

#[test]
fn the_source_sends_what_the_probe_would() {
    let source = &case(DIAMOND).scenario.sessions[0].source;
    // 8 Mbit/s of 1,000 bytes each are 1,000 packets a second.
    assert_eq!((source.interval, source.count), (MS, 2000));
    assert_eq!(source.packet_bytes, 1028);
    // Ten hellos, and ten times the longest link.
    assert_eq!(source.start, 250 * MS);
}

#[test]
fn events_happen_so_long_after_the_first_packet() {
    let scenario = case(DIAMOND).scenario;
    let start = scenario.sessions[0].source.start;
    let dark = Impairment {
        loss: 1.0,
        delay: super::HOP,
        ..scenario.links[3].forth
    };
    let before = scenario.links[2].forth;
    let expected = [
        (1000, Action::Impair(3, 1, dark)),
        (1300, Action::Impair(3, 1, before)),
        (1000, Action::Impair(1, 3, dark)),
        (1300, Action::Impair(1, 3, before)),
        (500, Action::Kill(1)),
        (700, Action::Restart(1)),
    ];
    assert_eq!(
        scenario.events,
        expected.map(|(ms, action)| (start + ms * MS, action))
    );
}

#[test]
fn what_can_not_be_simulated_is_said() {
    let no_client = DIAMOND.replace("clients = [\"c\"]", "clients = []");
    assert!(error(&no_client).contains("session tv has no client"));
    let at_ingress = DIAMOND.replace("router = \"lh\" }]", "router = \"ing\" }]");
    assert!(error(&at_ingress).contains("a client at ing can't be simulated"));
    let silent = DIAMOND.replace("rate = \"8Mbps\"\nsize", "rate = \"0pps\"\nsize");
    assert!(error(&silent).contains("session tv: a rate of 0 sends nothing"));
    let too_much = error(&DIAMOND.replace("loss = \"3%\"", "loss = \"300%\""));
    assert!(
        too_much.contains("link ing:core1") && too_much.contains("300%"),
        "{too_much}"
    );
    let endless = DIAMOND.replace("{ loss = \"1%\", mean", "{ loss = \"100%\", mean");
    assert!(error(&endless).contains("link core2:ing: bursts of 100% never end"));
    let lost = error(&DIAMOND.replace("deadline = \"700ms\"", "deadline = \"700us\""));
    assert!(lost.contains("lh") && lost.contains("700us"), "{lost}");
    let alone = DIAMOND.replace("  { between = [\"core2\", \"lh\"] },\n", "");
    assert!(error(&alone).contains("no second path"));
}

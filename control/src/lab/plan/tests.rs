use std::path::Path;
use std::time::Duration;

use super::{Plan, PortKind, TreeLink};
use crate::config;
use crate::lab::topology::Topology;

const DIAMOND: &str = r#"
name = "diamond"
routers = ["ing", "a", "b", "lh"]
link = [
  { between = ["ing", "a"] },
  { between = ["ing", "b"], delay = "1ms" },
  { between = ["a", "lh"], loss = "5%" },
  { between = ["b", "lh"] },
]
host = [
  { name = "source", router = "ing" },
  { name = "c1", router = "lh" },
]
session = [
  { name = "tv", source = "source", clients = ["c1"], deadline = "2s" },
]
[link_defaults]
loss = "2%"
"#;

fn plan(text: &str) -> Plan {
    let topology = Topology::parse("test.toml", text).unwrap();
    Plan::new(&topology, Path::new("/run/lab"), PortKind::AfPacket).unwrap()
}

#[test]
fn the_nodes_of_a_diamond() {
    let plan = plan(DIAMOND);
    for node in &plan.nodes {
        config::parse(&node.name, &node.config).unwrap();
    }
    let files: Vec<_> = plan
        .nodes
        .iter()
        .map(|node| format!("# {}\n{}", node.name, node.config))
        .collect();
    insta::assert_snapshot!(files.join("\n"));
}

#[test]
fn what_a_node_would_refuse_is_said_before_anything_starts() {
    let refused = DIAMOND.replace(r#"name = "tv""#, r#"name = "t[v""#);
    let topology = Topology::parse("test.toml", &refused).unwrap();
    let error = Plan::new(&topology, Path::new("/run/lab"), PortKind::AfPacket).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("the configuration of ing") && error.contains("`t[v` can't be a name"),
        "{error}"
    );
}

#[test]
fn the_cables_and_sessions_of_a_diamond() {
    let plan = plan(DIAMOND);
    insta::assert_debug_snapshot!((plan.hosts, plan.cables, plan.sessions));
}

#[test]
fn each_ip_version_goes_inside_each() {
    for (outer, inner) in [(4, 6), (6, 4), (6, 6)] {
        let text = format!("outer = {outer}\ninner = {inner}\n{DIAMOND}");
        let plan = plan(&text);
        for node in &plan.nodes {
            let config = config::parse(&node.name, &node.config).unwrap();
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            let session = &config.node.sessions[0];
            assert_eq!(session.group.is_ipv6(), outer == 6);
            let neighbors = &config.node.neighbors;
            assert!(
                neighbors
                    .iter()
                    .all(|at| at.address.is_ipv6() == (outer == 6))
            );
        }
        let session = &plan.sessions[0];
        assert_eq!(session.destination.is_ipv6(), inner == 6);
        assert_eq!(plan.hosts[0].gateway.is_ipv6(), inner == 6);
    }
    let error = Topology::parse("test.toml", &format!("outer = 5\n{DIAMOND}")).unwrap_err();
    assert!(
        error.to_string().contains("an IP version is 4 or 6"),
        "{error}"
    );
}

#[test]
fn a_backup_carries_the_tree_as_well() {
    let link = |from: &str, to: &str| TreeLink {
        from: from.to_string(),
        to: to.to_string(),
    };
    let expected = [link("ing", "a"), link("ing", "b"), link("a", "lh")];
    assert_eq!(plan(DIAMOND).tree_links, expected);
}

#[test]
fn a_client_that_cannot_be_reached_is_named() {
    let cut = DIAMOND
        .lines()
        .filter(|line| !line.contains("\"lh\"] }") && !line.contains("[\"a\", \"lh\"]"))
        .collect::<Vec<_>>()
        .join("\n");
    let topology = Topology::parse("test.toml", &cut).unwrap();
    let error = Plan::new(&topology, Path::new("/"), PortKind::AfPacket).unwrap_err();
    assert_eq!(
        error.to_string(),
        "session tv: there is no path from ing to lh"
    );
}

/// The parents in the second tree, by child.
fn second_parents(plan: &Plan) -> Vec<(&str, String)> {
    let nodes = plan.nodes.iter();
    nodes
        .filter_map(|node| {
            let config = config::parse(&node.name, &node.config).unwrap().node;
            let parent = config.sessions.first()?.second_upstream.first()?.clone();
            Some((node.name.as_str(), parent))
        })
        .collect()
}

fn with_two_trees(text: &str) -> String {
    text.replace("deadline = \"2s\"", "deadline = \"2s\", trees = 2")
}

#[test]
fn a_second_tree_uses_other_links_and_other_routers() {
    let two = plan(&with_two_trees(DIAMOND));
    assert_eq!(
        second_parents(&two),
        [("b", "ing".to_string()), ("lh", "b".to_string())]
    );
    let lh = config::parse("lh", &two.nodes[3].config).unwrap();
    let session = &lh.node.sessions[0];
    // Backups stay.
    assert_eq!(session.upstream, ["a", "b"]);
    let b = config::parse("b", &two.nodes[2].config).unwrap();
    assert_eq!(b.node.sessions[0].second_downstream, ["lh"]);
    let link = |from: &str, to: &str| TreeLink {
        from: from.to_string(),
        to: to.to_string(),
    };
    assert!(two.tree_links.contains(&link("b", "lh")));
}

#[test]
fn a_second_tree_takes_a_detour_to_go_around_a_router() {
    // x is on the first tree. It can be passed by other links, but not be gone around on a short way.
    let text = r#"
name = "detour"
routers = ["ing", "x", "p", "q", "r", "s", "lh"]
link = [
  { between = ["ing", "x"] },
  { between = ["x", "lh"] },
  { between = ["ing", "p"] },
  { between = ["p", "x"] },
  { between = ["x", "q"] },
  { between = ["q", "lh"] },
  { between = ["p", "r"] },
  { between = ["r", "s"] },
  { between = ["s", "lh"] },
]
host = [{ name = "source", router = "ing" }, { name = "c1", router = "lh" }]
session = [{ name = "tv", source = "source", clients = ["c1"], trees = 2 }]
"#;
    let parents = |text: &str| -> Vec<String> {
        let plan = plan(text);
        let parents = second_parents(&plan).into_iter();
        parents.map(|(at, from)| format!("{from}>{at}")).collect()
    };
    assert_eq!(parents(text), ["ing>p", "p>r", "r>s", "s>lh"]);
    // Where there is no way around, other links of the same router do.
    let cut = text.replace("  { between = [\"r\", \"s\"] },\n", "");
    assert_eq!(parents(&cut), ["p>x", "ing>p", "x>q", "q>lh"]);
}

#[test]
fn a_last_hop_without_a_second_path_is_named() {
    let chain = with_two_trees(DIAMOND).replace("  { between = [\"b\", \"lh\"] },\n", "");
    let topology = Topology::parse("test.toml", &chain).unwrap();
    let error = Plan::new(&topology, Path::new("/"), PortKind::AfPacket).unwrap_err();
    assert_eq!(
        error.to_string(),
        "session tv: there is no second path from ing to lh on links that the first tree leaves free"
    );
}

#[test]
fn what_a_topology_says_of_recovery_reaches_the_nodes() {
    let text = DIAMOND.replace(
        "deadline = \"2s\"",
        "overlay = \"auto\", fec = { block = 16, parity = 1 }, subcast_threshold = 3, catch_up = \"1s\", \
         client_catch_up = \"500ms\", idle_timeout = \"20s\"",
    ) + "[node]\nhold_down = \"300ms\"\n";
    let lh = &plan(&text).nodes[3];
    let node = config::parse("lh", &lh.config).unwrap().node;
    let session = &node.sessions[0];
    assert_eq!(node.hold_down, Duration::from_millis(300));
    assert_eq!(session.mode, overlay::Mode::Auto);
    assert_eq!(
        session.fec.map(|fec| (fec.block, fec.parity)),
        Some((16, 1))
    );
    assert_eq!(session.subcast_threshold, 3);
    assert_eq!(session.catch_up, Duration::from_secs(1));
    assert_eq!(session.idle_timeout, Duration::from_secs(20));
    assert_eq!(session.clients[0].catch_up, Duration::from_millis(500));
}

#[test]
fn every_end_of_every_link_has_its_own_seed() {
    let plan = plan(DIAMOND);
    let mut seeds: Vec<_> = plan
        .impairs
        .iter()
        .flatten()
        .map(|end| end.impair.seed)
        .collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 8);
}

#[test]
fn every_topology_that_is_shipped_can_be_laid_out() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let topology = Topology::load(&path).unwrap();
        let plan = Plan::new(&topology, Path::new("/run/lab"), PortKind::AfXdp).unwrap();
        for node in &plan.nodes {
            config::parse(&node.name, &node.config).unwrap();
        }
        count += 1;
    }
    assert!(count >= 5);
}

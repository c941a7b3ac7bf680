use std::path::Path;

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

//! `treecast sim`: topologies, generated trees and random networks in virtual time.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::daemon::treecast;
use crate::lab::{changed, topology};

fn sim(args: &str) -> Output {
    let args = args.split_whitespace();
    treecast().arg("sim").args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one document of a run with `--json`, and its exit status.
fn document(args: &str) -> (Value, Option<i32>) {
    let output = sim(&format!("{args} --json"));
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (document, output.status.code())
}

fn quickstart() -> String {
    topology("quickstart").display().to_string()
}

#[test]
fn a_topology_of_the_lab_can_be_simulated() {
    let (document, status) = document(&quickstart());
    assert_eq!(status, Some(0), "{document}");
    assert_eq!(
        (&document["violations"], &document["unrecovered"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        (&document["seed"], &document["runs"]),
        (&7.into(), &1.into())
    );
    // 50,000 packets to each of three last hops.
    assert_eq!(document["sent"], 150_000);
    assert_eq!(document["delivered"], 150_000);
    // 2 % on each of two links.
    let repaired = document["repaired"].as_u64().unwrap();
    assert!((4_000..8_000).contains(&repaired), "{repaired}");
    for key in ["p50", "p99", "p999"] {
        assert!(document["recovery_us"][key].as_u64().unwrap() > 0, "{key}");
    }
}

#[test]
fn every_sample_topology_can_be_simulated() {
    for name in ["chain", "diamond", "sessions", "wide"] {
        let file = topology(name).display().to_string();
        let (document, status) = document(&format!("{file} --duration 1s"));
        assert_eq!(status, Some(0), "{name}: {document}");
        assert_eq!(document["unrecovered"], 0, "{name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_document() {
    let run = |seed| {
        sim(&format!(
            "{} --duration 1s --json --seed {seed}",
            quickstart()
        ))
        .stdout
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
    let random = || sim("--random --seed 5 --runs 4 --json").stdout;
    assert_eq!(random(), random());
}

#[test]
fn random_networks_hold_what_the_protocol_promises() {
    let (document, status) = document("--random --runs 20 --seed 1");
    assert_eq!(status, Some(0), "{document}");
    assert_eq!(
        (&document["runs"], &document["violations"]),
        (&20.into(), &0.into())
    );
    assert!(document["repaired"].as_u64().unwrap() > 1000, "{document}");
}

#[test]
fn a_deadline_that_can_not_be_met_shows_as_unrecovered() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        // A repair takes two links' delay, 40 ms.
        text.replace("loss = \"2%\"", "loss = \"2%\"\ndelay = \"20ms\"")
            .replace("deadline = \"2s\"", "deadline = \"30ms\"")
    });
    let (document, _) = document(&format!("{} --duration 2s", file.display()));
    let unrecovered = document["unrecovered"].as_u64().unwrap();
    assert!((700..2000).contains(&unrecovered), "{document}");
    assert_eq!(document["violations"], 0, "{document}");
}

#[test]
fn a_large_tree_needs_no_file() {
    let tree = "--tree 300 --levels 3 --loss 3% --delay 1ms --rate 1kpps --duration 1s";
    let output = sim(tree);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    for part in [
        "tree-300: seed 1, 353 routers, 300 last hops",
        "300000 due",
        " 0 unrecovered",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (document, status) = document(
        "--tree 40 --redundant --trees 2 --overlay copy --fec 16+1 --loss 5% --duration 1s",
    );
    assert_eq!((status, &document["unrecovered"]), (Some(0), &0.into()));
    for key in ["second_tree", "repaired"] {
        assert!(document[key].as_u64().unwrap() > 0, "{key}: {document}");
    }
}

#[test]
fn the_plots_go_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.svg");
    let output = sim(&format!(
        "{} --duration 1s --plot {}",
        quickstart(),
        file.display()
    ));
    assert!(output.status.success(), "{}", said(&output));
    let svg = fs::read_to_string(file).unwrap();
    for title in ["Recovery latency", "Repair bytes per link", "NAKs per node"] {
        assert!(svg.contains(title), "{title}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = changed(dir.path(), "quickstart", |text| {
        text.replace("seed", "sead")
    });
    let ingress = changed(dir.path(), "chain", |text| {
        text.replace(
            "name = \"c1\", router = \"r6\"",
            "name = \"c1\", router = \"r1\"",
        )
    });
    for (args, words) in [
        (unknown.display().to_string(), "unknown field `sead`"),
        (
            ingress.display().to_string(),
            "a client at r1 can't be simulated",
        ),
        ("nowhere.toml".to_string(), "nowhere.toml"),
        (String::new(), "--random"),
        ("--random --loss 5%".to_string(), "cannot be used with"),
        ("--random --tree 5".to_string(), "cannot be used with"),
        ("--levels 2 --random".to_string(), "cannot be used with"),
        (
            "--random --runs 2 --plot x.svg".to_string(),
            "leave out --runs",
        ),
        (format!("{} --trees 2", quickstart()), "no second path"),
    ] {
        let output = sim(&args);
        assert_eq!(output.status.code(), Some(2), "{args}: {}", said(&output));
        assert!(said(&output).contains(words), "{args}: {}", said(&output));
    }
}

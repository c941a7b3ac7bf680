use std::time::Duration;

use overlay::sim::{Impairment, Network, Scenario};

use super::Outcome;
use crate::sim::case::Case;
use crate::sim::runs::Subject;

/// An ingress, two transit routers and four last hops.
fn case(seed: u64) -> Case {
    let hop = Impairment::lossy(Duration::from_millis(1), 0.05);
    let scenario = Scenario::fan_out(seed, 2, 2, hop);
    Case {
        name: "small".to_string(),
        routers: ["ing", "t1", "t2", "lh1", "lh2", "lh3", "lh4"]
            .map(str::to_string)
            .to_vec(),
        sessions: vec!["tv".to_string()],
        scenario,
    }
}

fn outcome(seeds: &[u64]) -> Outcome {
    let subject = Subject::One(Box::new(case(seeds[0])));
    let mut outcome = Outcome::new(&subject, seeds[0], seeds.len() as u64);
    for seed in seeds {
        let case = case(*seed);
        let mut network = Network::new(&case.scenario);
        network.run();
        outcome.count(&case, network.report());
    }
    outcome
}

#[test]
fn the_document_has_the_keys_that_scripts_rely_on() {
    let document = serde_json::to_value(outcome(&[3]).document()).unwrap();
    assert_eq!(
        (&document["runs"], &document["seed"]),
        (&1.into(), &3.into())
    );
    assert_eq!(document["violations"], 0);
    assert_eq!(document["sent"], 4 * 1000);
    assert_eq!(document["unrecovered"], 0);
    let number = |key: &str| document[key].as_u64().unwrap();
    assert_eq!(
        number("sent"),
        number("tree") + number("repaired") + number("unrecovered") + number("in_flight")
    );
    assert!(number("naks_per_loss_max") >= 1);
    let recovery = &document["recovery_us"];
    // A NAK and its repair over a link of a millisecond.
    assert!(recovery["p50"].as_u64().unwrap() >= 2000, "{recovery}");
    let quantiles = ["p50", "p99", "p999", "max"].map(|key| recovery[key].as_u64().unwrap());
    assert!(quantiles.is_sorted() && recovery["count"] == document["repaired"]);
    assert_eq!(document["last_hops"].as_array().unwrap().len(), 4);
    assert_eq!(document["last_hops"][3]["node"], "lh4");
}

#[test]
fn the_tree_alone_is_each_packet_once_over_each_link() {
    let outcome = outcome(&[3]);
    let data = outcome.total.total.data;
    assert_eq!(outcome.tree_bytes, data.bytes / data.packets * 1000 * 6);
    // What the tree loses early it does not carry on, so that repairs make up for less than is lost.
    let overhead = outcome.overhead_percent();
    assert!((0.0..20.0).contains(&overhead), "{overhead}");
    let ingress = outcome.ingress;
    assert!(
        ingress.lost > 50 && ingress.repairs >= ingress.lost,
        "{ingress:?}"
    );
    assert!(ingress.asked >= ingress.lost, "{ingress:?}");
}

#[test]
fn runs_add_up_however_they_are_shared_out() {
    let (one, other) = (outcome(&[1]), outcome(&[2]));
    let whole = outcome(&[1, 2]);
    let mut sum = Outcome::new(&Subject::One(Box::new(case(1))), 1, 2);
    sum.add(other);
    sum.add(one);
    let json = |outcome: &Outcome| serde_json::to_string(&outcome.document()).unwrap();
    assert_eq!(json(&sum), json(&whole));
    assert_eq!(sum.last_hops[0].sent, 2000);
    assert!(sum.links.iter().any(|link| link.2.repairs.bytes > 0));
}

#[test]
fn a_table_has_a_row_for_each_of_few_last_hops() {
    let mut outcome = outcome(&[3]);
    let text = outcome.to_string();
    for part in [
        "small: seed 3, 7 routers, 4 last hops",
        "tv       lh1",
        "violations   none",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let rows = outcome.last_hops.clone();
    outcome.last_hops.extend((0..6).flat_map(|_| rows.clone()));
    let text = outcome.to_string();
    assert!(
        !text.contains("lh1") && text.contains("28 last hops"),
        "{text}"
    );
}

#[test]
fn a_run_that_failed_is_counted_and_named() {
    let mut outcome = outcome(&[3]);
    let line = format!(
        "treecast sim --random --seed 9   {}",
        crate::sim::runs::PANICKED
    );
    outcome.failures.push((9, line));
    assert_eq!(outcome.violations(), 1);
    assert!(outcome.to_string().contains("violations   1, in 1 runs"));
}

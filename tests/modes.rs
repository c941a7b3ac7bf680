//! The ways of filling gaps: copies, parity, two trees, and asking behind all of them.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, Run, changed, list, number, run, topology, wait_for};

/// A session for each way that any topology allows; they share the lab, so that few labs tell much.
const MODES: [(&str, &str); 4] = [
    ("pull", "overlay = \"pull\""),
    ("copy", "overlay = \"copy\""),
    ("auto", "overlay = \"auto\""),
    ("fec", "fec = { block = 32, parity = 2 }"),
];
const TWO_TREES: (&str, &str) = ("two-trees", "trees = 2");

/// A topology that comes with the product, its session once in each mode, and more text at its end.
fn in_each_mode(dir: &Path, name: &str, modes: &[(&str, &str)], more: &str) -> PathBuf {
    changed(dir, name, |text| {
        let (head, session) = text.split_once("[[session]]").unwrap();
        // Room for so many sessions at the rate of one would take a second to clear.
        let session = session.replace("\"20kpps\"", "\"2kpps\"");
        let sessions = modes.iter().map(|(mode, keys)| {
            let renamed = session.replace("\"tv1\"", &format!("\"{mode}\""));
            format!("[[session]]\n{keys}{renamed}")
        });
        format!("{head}{}\n{more}", sessions.collect::<String>())
    })
}

fn quickstart(loss: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let file = in_each_mode(dir.path(), "quickstart", &MODES, "");
    run(&file, &format!("--loss {loss} --duration 2s --rate 500pps"))
}

/// The diamond topology, with what happens to it.
fn diamond(loss: &str, more: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let modes = [&MODES[..], &[TWO_TREES]].concat();
    let file = in_each_mode(dir.path(), "diamond", &modes, more);
    run(&file, &format!("--loss {loss} --duration 2s --rate 500pps"))
}

/// What the last hops of a session say, summed up.
fn sum(run: &Run, session: &str, key: &str) -> u64 {
    let mut sessions = list(&run.report["sessions"]).iter();
    let session = sessions.find(|at| at["name"] == session).unwrap();
    let hops = list(&session["last_hops"]).iter();
    hops.map(|hop| number(&hop[key])).sum()
}

/// Checks that all is clean, and that each mode did what it is for.
fn assert_each_mode_works(run: &Run) {
    run.assert_clean();
    assert_eq!(
        (sum(run, "pull", "copied"), sum(run, "pull", "rebuilt")),
        (0, 0)
    );
    assert!(sum(run, "pull", "repaired") > 0);
    // Most of what the tree loses a copy brings, which can be lost itself.
    let copied = sum(run, "copy", "copied");
    assert!(2 * copied > sum(run, "copy", "repaired"), "{}", run.report);
    assert!(sum(run, "auto", "copied") > 0, "{}", run.report);
    assert!(sum(run, "auto", "mode_changes") > 0, "{}", run.report);
    assert!(sum(run, "fec", "rebuilt") > 0, "{}", run.report);
}

#[test]
fn every_mode_repairs_five_percent() {
    assert_each_mode_works(&quickstart("5%"));
}

#[test]
fn every_mode_repairs_twenty_percent() {
    assert_each_mode_works(&quickstart("20%"));
}

#[test]
fn every_mode_repairs_five_percent_with_two_workers() {
    let dir = tempfile::tempdir().unwrap();
    let file = in_each_mode(dir.path(), "quickstart", &MODES, "[node]\nworkers = 2\n");
    assert_each_mode_works(&run(&file, "--loss 5% --duration 2s --rate 500pps"));
}

/// Checks that what one tree loses the other brings: far less is repaired than with one tree.
fn assert_two_trees_work(run: &Run) {
    let [one, two] = ["pull", "two-trees"].map(|session| sum(run, session, "repaired"));
    assert!(
        2 * two < one,
        "{two} repaired with two trees, {one} with one"
    );
    assert!(sum(run, "two-trees", "second_tree") > 0);
}

#[test]
fn every_mode_and_two_trees_repair_five_percent_of_a_diamond() {
    let run = diamond("5%", "");
    assert_each_mode_works(&run);
    assert_two_trees_work(&run);
}

#[test]
fn every_mode_and_two_trees_repair_twenty_percent_of_a_diamond() {
    let run = diamond("20%", "");
    assert_each_mode_works(&run);
    assert_two_trees_work(&run);
}

fn killed(router: &str) -> String {
    format!("[[event]]\nat = \"1s\"\nkill = \"{router}\"\n")
}

#[test]
fn the_death_of_the_parent_costs_no_mode_a_packet() {
    diamond("5%", &killed("core1")).assert_clean();
}

#[test]
fn the_death_of_the_backup_and_of_the_second_tree_costs_no_mode_a_packet() {
    diamond("5%", &killed("core2")).assert_clean();
}

#[test]
fn the_death_of_a_last_hop_costs_the_others_nothing() {
    let run = diamond("5%", &killed("lh1"));
    assert_ne!(run.report["pass"], true, "lh1 was dead: {}", run.report);
    for session in list(&run.report["sessions"]) {
        let sent = number(&session["sent"]);
        let mut hops = list(&session["last_hops"]).iter();
        let lh2 = hops.find(|hop| hop["node"] == "lh2").unwrap();
        assert_eq!(lh2["sent"], sent, "{lh2}");
        assert_eq!(
            number(&lh2["tree"]) + number(&lh2["repaired"]),
            sent,
            "{lh2}"
        );
        for client in list(&lh2["clients"]) {
            assert_eq!(
                [&client["received"], &client["missing"]],
                [sent, 0],
                "{client}"
            );
        }
    }
}

#[test]
fn parity_spares_the_naks() {
    let run = run(
        &topology("quickstart"),
        "--fec 32+2 --loss 0.2% --duration 3s --rate 3kpps",
    );
    run.assert_clean();
    let (repaired, rebuilt) = (sum(&run, "tv1", "repaired"), sum(&run, "tv1", "rebuilt"));
    // Three losses in one block of 34 are too many for two parity packets, and rare.
    assert!(
        rebuilt > 0 && 10 * rebuilt >= 9 * repaired,
        "{}",
        run.report
    );
    let nodes = list(&run.report["nodes"]).iter();
    let naks: u64 = nodes.map(|node| number(&node["naks_sent"])).sum();
    assert!(10 * naks <= rebuilt, "{naks} NAKs, {rebuilt} rebuilt");
}

/// Messages of a node's events that hold `text`, with their time.
fn events(lab: &Lab, node: &str, text: &str) -> Vec<(u64, String)> {
    let events = lab.get(node, "/v1/events");
    let events = list(&events).iter().map(|event| {
        let message = event["message"].as_str().unwrap();
        (number(&event["unix_ms"]), message.to_owned())
    });
    events
        .filter(|(_, message)| message.contains(text))
        .collect()
}

fn metric(lab: &Lab, node: &str, sample: &str) -> String {
    let mut nodes = list(&lab.shown["nodes"]).iter();
    let api = &nodes.find(|at| at["node"] == node).unwrap()["api"];
    let api = Path::new(api.as_str().unwrap());
    let (_, text) = crate::daemon::request(api, "GET", "/metrics", None);
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(sample));
    line.unwrap_or_else(|| panic!("no {sample}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn auto_has_copies_sent_while_the_tree_loses_and_says_so() {
    const BEGINS: &str = "session 1: the tree loses much, copies are sent as well";
    const ENDS: &str = "session 1: the tree loses little, no copies any more";
    let lab = Lab::up(&topology("quickstart"), "--loss 0% --overlay auto");
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 5s");
    let lead = |least: u64| {
        wait_for("the stream", || {
            (number(&lab.session("lh1")["lead"]) > least).then_some(())
        });
    };
    lead(1_500);
    assert_eq!(lab.session("lh1")["copying"], false);
    assert_eq!(metric(&lab, "lh1", "treecast_session_copying"), "0");
    lab.run(&["impair", "core", "lh1", "--loss", "10%"]);
    let impaired_at = unix_ms();
    wait_for("copies to lh1", || {
        (lab.session("lh1")["copying"] == true).then_some(())
    });
    let begun = events(&lab, "lh1", BEGINS);
    assert_eq!(begun.len(), 1);
    assert!(
        begun[0].0 < impaired_at + 1_000,
        "{begun:?}, impaired at {impaired_at}"
    );
    assert_eq!(metric(&lab, "lh1", "treecast_session_copying"), "1");
    let table = lab.exec("lh1", &[env!("CARGO_BIN_EXE_treecast"), "show", "recovery"]);
    assert!(table.contains("auto+copy"), "{table}");
    // It is lh1's link alone that loses.
    assert_eq!(lab.session("lh2")["copying"], false);
    lead(number(&lab.session("lh1")["lead"]) + 1_500);
    lab.run(&["impair", "core", "lh1", "--clear"]);
    wait_for("the end of the copies", || {
        (lab.session("lh1")["copying"] == false).then_some(())
    });
    assert_eq!(events(&lab, "lh1", ENDS).len(), 1);
    assert_eq!(
        metric(&lab, "lh1", "treecast_session_mode_changes_total"),
        "2"
    );
    let sent = lab.settle(source);
    for client in clients {
        client.assert_clean(sent);
    }
    let said = lab.session("lh1");
    assert!(number(&said["copied"]) > 0, "{said}");
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

#[test]
fn a_parent_that_comes_and_goes_is_parent_again_when_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    // On a machine that does much else a router is silent for longer than a lab's hellos allow.
    let file = changed(dir.path(), "diamond", |text| {
        format!("{text}\n[node]\nhello = \"100ms\"\n")
    });
    let lab = Lab::up(&file, "");
    let clients = lab.listen_all();
    let source = lab.send("--rate 1kpps --duration 6s");
    let parent = |name: &str| {
        wait_for(&format!("parent {name}"), || {
            (lab.session("lh1")["parent"] == name).then_some(())
        });
    };
    let state = |wanted: &str| {
        wait_for(&format!("core1 to be {wanted}"), || {
            let neighbors = lab.get("lh1", "/v1/neighbors");
            let mut neighbors = list(&neighbors).iter();
            let core1 = neighbors.find(|at| at["name"] == "core1").unwrap();
            (core1["state"] == wanted).then_some(())
        });
    };
    parent("core1");
    let before = events(&lab, "lh1", "parent is now").len();
    lab.run(&["kill", "core1"]);
    parent("core2");
    lab.run(&["start", "core1"]);
    state("up");
    assert_eq!(lab.session("lh1")["parent"], "core2");
    // Gone again before it was held to be back: nothing changes.
    lab.run(&["kill", "core1"]);
    state("down");
    lab.run(&["start", "core1"]);
    parent("core1");
    let changes = events(&lab, "lh1", "parent is now");
    assert_eq!(changes.len() - before, 2, "{changes:?}");
    let ups = events(&lab, "lh1", "neighbor core1 is up");
    let (up, back) = (ups.last().unwrap().0, changes.last().unwrap().0);
    assert!(back >= up + 1_000, "up at {up}, parent at {back}");
    let sent = lab.settle(source);
    for client in clients {
        client.assert_clean(sent);
    }
}

#[test]
fn the_end_of_a_session_and_the_silence_of_its_ingress_free_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "quickstart", |text| {
        let times = "deadline = \"500ms\"\nidle_timeout = \"1s\"";
        let text = text.replace("deadline = \"2s\"", times);
        text.replace("retention = \"3s\"", "retention = \"1s\"")
    });
    let lab = Lab::up(&file, "");
    let clients = lab.listen_all();
    let sent = lab.settle(lab.send("--rate 1kpps --duration 1s"));
    for client in clients {
        client.assert_clean(sent);
    }
    let (status, answer) = lab.ask("ing", "DELETE", "/v1/sessions/1", None);
    assert_eq!(status, 200, "{answer}");
    for node in ["core", "lh1", "lh2", "lh3"] {
        wait_for(&format!("{node} to hear of the end"), || {
            (events(&lab, node, "session 1: the stream has ended").len() == 1).then_some(())
        });
        wait_for(&format!("{node} to forget the stream"), || {
            let at = lab.session(node);
            (at["retained"] == 0 && at["synced"] == false).then_some(())
        });
        assert_eq!(events(&lab, node, "state dropped").len(), 1, "{node}");
    }
    // What was counted stays.
    let at = lab.session("lh1");
    assert_eq!([&at["sent"], &at["unrecovered"]], [sent, 0], "{at}");
}

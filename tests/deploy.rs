//! What `deploy/` ships, judged by the tools that will read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TREECAST: &str = env!("CARGO_BIN_EXE_treecast");

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not run, is it installed? {error}"))
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let done = run(command);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}{complaint}");
    said + &complaint
}

#[test]
fn the_command_accepts_every_sample() {
    let samples = ["ingress.toml", "transit.toml", "last-hop.toml"];
    let said = succeeds(
        Command::new(TREECAST)
            .args(["config", "check"])
            .args(samples)
            .current_dir(deploy()),
    );
    assert_eq!(
        said,
        "ingress.toml: ok (2 ports, 1 neighbor, 1 session, 0 clients)\n\
         transit.toml: ok (3 ports, 3 neighbors, 1 session, 0 clients)\n\
         last-hop.toml: ok (3 ports, 2 neighbors, 1 session, 2 clients)\n"
    );
}

#[test]
fn a_wrong_file_is_told_by_exit_status_2_and_by_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sample = std::fs::read_to_string(deploy().join("transit.toml")).expect("the sample");
    let wrong = sample.replace("cpu = 2", "cpu = \"two\"\nhelo = \"20ms\"");
    std::fs::write(folder.path().join("wrong.toml"), wrong).expect("writing it");
    let check = |args: &[&str]| {
        run(Command::new(TREECAST)
            .args(["config", "check", "wrong.toml"])
            .args(args)
            .current_dir(folder.path()))
    };
    let done = check(&[]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2));
    for part in [
        "wrong.toml: 2 errors",
        "[wrong.toml:9:7]",
        "did you mean `hello`?",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }

    let done = check(&["--json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(verdict[0]["ok"], false);
    assert_eq!(verdict[0]["errors"][0]["key"], "node.cpu");
    assert_eq!(verdict[0]["errors"][0]["line"], 9);
    let complaint: serde_json::Value = serde_json::from_slice(&done.stderr).expect("JSON");
    assert_eq!(complaint["error"], "1 of 1 files can't be used");
}

#[test]
fn prometheus_accepts_the_scrape_config() {
    succeeds(
        Command::new("promtool")
            .args(["check", "config"])
            .arg(deploy().join("prometheus.yml")),
    );
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_rates_it_ok() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = std::fs::read_to_string(deploy().join("treecast@.service")).expect("the unit");
    // systemd looks whether the command is there.
    let unit = unit.replace("/usr/bin/treecast", TREECAST);
    let path = folder.path().join("treecast@.service");
    std::fs::write(&path, unit).expect("writing the unit");
    let said = succeeds(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path),
    );
    assert_eq!(said, "");
    // 0 is locked in, 10 wide open; the threshold is in tenths.
    succeeds(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=30"])
            .arg(&path),
    );
}

//! Labs themselves: up and down, side by side, for everybody, and nothing left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::daemon::treecast;
use crate::lab::{Lab, Running, changed, list, run_with, succeed, topology, unique, wait_for};

/// Labs that run, by `lab list`.
fn labs() -> Vec<String> {
    let listed = treecast().args(["lab", "list", "--json"]).output();
    serde_json::from_str(&succeed(listed.unwrap())).unwrap()
}

/// All that a lab consists of while it runs.
struct Traces {
    /// Its processes: the lab itself, its nodes and probes.
    pids: Vec<u32>,
    /// Its network namespaces, as `net:[…]`.
    namespaces: BTreeSet<PathBuf>,
    /// Its folder.
    dir: PathBuf,
}

impl Traces {
    /// Of the lab that is process `pid`.
    fn of(pid: u32, dir: &Path) -> Traces {
        let mut pids = vec![pid];
        for task in entries(format!("/proc/{pid}/task")) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            pids.extend(
                children
                    .split_whitespace()
                    .map(|child| child.parse::<u32>().unwrap()),
            );
        }
        let mut namespaces = BTreeSet::new();
        for pid in &pids {
            namespaces.extend(namespaces_of(*pid));
        }
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        namespaces.remove(&own);
        Traces {
            pids,
            namespaces,
            dir: dir.to_owned(),
        }
    }

    /// What of it is still there. A namespace lives as long as a thread is in it, or it is mounted somewhere; its
    /// interfaces go with it, and those of a veth pair go together.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for process in entries("/proc") {
            let name = process.file_name().unwrap().to_string_lossy().into_owned();
            let Ok(pid) = name.parse() else { continue };
            let inside = namespaces_of(pid).any(|at| self.namespaces.contains(&at));
            // A process that has ended has no program any more, though its new parent may never ask how it ended.
            let alive = fs::read_link(process.join("exe")).is_ok();
            if inside || alive && self.pids.contains(&pid) {
                left.push(format!("process {pid}"));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(self.namespaces.iter().filter_map(|at| {
            let name = at.to_string_lossy().into_owned();
            mounts.contains(&name).then_some(name)
        }));
        left
    }

    /// Checks that all of it goes, the folder apart.
    fn assert_gone(&self) {
        assert!(self.namespaces.len() >= 5, "{:?}", self.namespaces);
        assert!(self.pids.len() >= 6, "{:?}", self.pids);
        wait_for("the lab's processes and namespaces to go", || {
            self.left().is_empty().then_some(())
        });
    }
}

fn entries(path: impl AsRef<Path>) -> Vec<PathBuf> {
    // A process may end while it is looked at.
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn namespaces_of(pid: u32) -> impl Iterator<Item = PathBuf> {
    let tasks = entries(format!("/proc/{pid}/task")).into_iter();
    tasks.filter_map(|task| fs::read_link(task.join("ns/net")).ok())
}

#[test]
fn a_lab_comes_up_is_looked_at_changed_and_taken_down() {
    let lab = Lab::up(&topology("quickstart"), "");
    assert!(labs().contains(&lab.name));
    let listed = treecast().args(["lab", "list"]).output();
    let listed = succeed(listed.unwrap());
    assert!(listed.lines().any(|line| line == lab.name), "{listed}");
    let shown = lab.run(&["show"]);
    assert!(
        shown.contains(&lab.name) && shown.contains("host c6"),
        "{shown}"
    );

    let addresses = lab.exec("source", &["ip", "-brief", "address"]);
    assert!(addresses.contains("eth"), "{addresses}");
    let status = lab.start("source", &["sh", "-c", "exit 7"]).finish().status;
    assert_eq!(status.code(), Some(7));
    let binary = env!("CARGO_BIN_EXE_treecast");
    let node = lab.exec("lh2", &[binary, "show", "node", "--json"]);
    assert!(node.contains("\"lh2\""), "{node}");

    lab.run(&["kill", "lh2"]);
    assert_eq!(state(&lab.show(), "lh2"), "is down");
    lab.run(&["start", "lh2"]);
    assert_eq!(state(&lab.show(), "lh2"), "runs");
    wait_for("core to hear lh2 again", || {
        let neighbors = lab.get("core", "/v1/neighbors");
        let lh2 = list(&neighbors).iter().find(|at| at["name"] == "lh2");
        (lh2?["state"] == "up" && lh2?["downs"] != 0).then_some(())
    });
    lab.run(&["impair", "core", "lh1", "--loss", "100%"]);
    wait_for_core(&lab, "down");
    lab.run(&["impair", "core", "lh1", "--clear"]);
    wait_for_core(&lab, "up");

    let traces = traces(&lab);
    lab.run(&["down"]);
    assert!(!labs().contains(&lab.name));
    assert_eq!(traces.left(), Vec::<String>::new());
    assert!(!traces.dir.exists());
}

/// Waits until `core` is in that state for `lh1`.
fn wait_for_core(lab: &Lab, state: &str) {
    wait_for(&format!("core to be {state}"), || {
        (lab.get("lh1", "/v1/neighbors")[0]["state"] == state).then_some(())
    });
}

fn state(shown: &Value, node: &str) -> String {
    let mut nodes = list(&shown["nodes"]).iter();
    let node = nodes.find(|at| at["node"] == node).unwrap();
    node["state"].as_str().unwrap().to_owned()
}

fn traces(lab: &Lab) -> Traces {
    let dir = Path::new(lab.shown["dir"].as_str().unwrap());
    let traces = Traces::of(lab.pid().as_raw().try_into().unwrap(), dir);
    for node in list(&lab.shown["nodes"]) {
        let api = node["api"].as_str().unwrap();
        assert!(Path::new(api).starts_with(dir), "{api}");
    }
    traces
}

#[test]
fn a_lab_that_is_killed_leaves_nothing() {
    let lab = Lab::up(&topology("quickstart"), "");
    let traces = traces(&lab);
    kill(lab.pid(), Signal::SIGKILL).unwrap();
    traces.assert_gone();
    assert!(!labs().contains(&lab.name));
    lab.run(&["down"]);
    assert!(!traces.dir.exists());
}

#[test]
fn ctrl_c_ends_a_run_and_leaves_nothing() {
    let name = unique("run");
    let mut command = treecast();
    command.args(["lab", "run", "--json", "--duration", "60s", "--name", &name]);
    let mut running = Running::start(command.arg(topology("quickstart")));
    let dir = wait_for("the source to send", || {
        let show = treecast()
            .args(["lab", "show", "--json", "--name", &name])
            .output();
        let shown: Value = serde_json::from_slice(&show.unwrap().stdout).ok()?;
        let dir = PathBuf::from(shown["dir"].as_str()?);
        // Its output is there as soon as it runs.
        dir.join("source-1.out").exists().then_some(dir)
    });
    let traces = Traces::of(running.pid(), &dir);
    running.signal(Signal::SIGINT);
    let output = running.finish();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(last, r#"{"error":"stopped by SIGINT"}"#);
    assert!(output.stdout.is_empty());
    traces.assert_gone();
    assert!(!dir.exists());
}

#[test]
fn two_labs_of_one_file_run_side_by_side() {
    let one = Lab::up(&topology("quickstart"), "");
    let two = Lab::up_beside(&one, &topology("quickstart"));
    assert_eq!(two.name, format!("{}-2", one.name));
    let listening = [one.listen_all(), two.listen_all()];
    let sources = [&one, &two].map(|lab| lab.send("--rate 1kpps --duration 3s"));
    for ((lab, source), clients) in [&one, &two].into_iter().zip(sources).zip(listening) {
        let sent = lab.settle(source);
        for client in clients {
            client.assert_clean(sent);
        }
    }
}

/// The command as an ordinary user runs it, and what keeps its files.
fn ordinary_user(dir: &Path) -> Vec<String> {
    let binary = env!("CARGO_BIN_EXE_treecast").to_owned();
    if !geteuid().is_root() {
        return vec![binary];
    }
    // Where anybody can read it, wherever the project lies.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.join("treecast");
    fs::copy(binary, &copy).unwrap();
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs";
    let mut command: Vec<String> = nobody.split(' ').map(str::to_owned).collect();
    command.push(copy.to_str().unwrap().to_owned());
    command
}

#[test]
fn an_ordinary_user_runs_a_lab_and_works_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let user = ordinary_user(dir.path());
    let file = changed(dir.path(), "quickstart", |text| {
        text.replace("seed = 7", "seed = 99")
    });
    let command = || {
        let mut command = Command::new(&user[0]);
        command.args(&user[1..]).current_dir(dir.path());
        if geteuid().is_root() {
            command.env_remove("XDG_RUNTIME_DIR");
        }
        command
    };
    // Where user namespaces are forbidden, this fails with what the lab says of it.
    let run = run_with(command(), &file, "--loss 5% --duration 2s --rate 1kpps");
    run.assert_clean();
    assert!(run.link("core", "lh1").1 > 0);
    assert_eq!(run.report["seed"], 99);

    let lab = |verb: &[&str], name: &str, more: &[&str]| {
        let mut command = command();
        command
            .arg("lab")
            .args(verb)
            .args(["--name", name])
            .args(more);
        Running::start(&mut command).finish()
    };
    let name = unique("user");
    let up = lab(&["up"], &name, &[file.to_str().unwrap()]);
    let id = lab(&["exec", "source"], &name, &["--", "id", "-u"]);
    let down = lab(&["down"], &name, &[]);
    // Judged when it is down again, whatever happened.
    succeed(up);
    assert_eq!(succeed(id), "0\n");
    assert_eq!(succeed(down), format!("lab {name} is down\n"));
}

fn refused(args: &[&str]) -> Output {
    let output = treecast().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

/// A file with a misspelt key, and the line of it.
fn misspelt(dir: &Path, text: &str, key: &str) -> (String, usize) {
    let wrong = text.replace(&format!("{key} = "), &format!("x{key} = "));
    let line = wrong
        .lines()
        .position(|line| line.contains(&format!("x{key}")));
    let path = dir.join("wrong.toml");
    fs::write(&path, &wrong).unwrap();
    (path.to_str().unwrap().to_owned(), line.unwrap() + 1)
}

fn assert_points_at(output: &Output, line: usize, key: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("wrong.toml"), "{said}");
    assert!(said.contains(&format!("{line}")), "{said}");
    assert!(said.contains(&format!("x{key}")), "{said}");
    assert!(said.contains('^') || said.contains('┬'), "no caret: {said}");
}

#[test]
fn a_wrong_topology_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(topology("quickstart")).unwrap();
    let (file, line) = misspelt(dir.path(), &text, "routers");
    for verb in ["run", "up"] {
        assert_points_at(&refused(&["lab", verb, &file]), line, "routers");
    }
    let said = refused(&["lab", "run", "--json", &file]).stderr;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert!(said["error"].as_str().unwrap().contains("xrouters"));

    // A name becomes a folder's, which is emptied.
    let said = refused(&["lab", "up", "--name", "../escape", &file]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("a name is"));

    let unknown = changed(dir.path(), "quickstart", |text| {
        text.replace(r#"router = "lh3""#, r#"router = "lh9""#)
    });
    let said = refused(&["lab", "run", unknown.to_str().unwrap()]).stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("c5") && said.contains("lh9"), "{said}");
}

#[test]
fn a_wrong_node_file_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let text = crate::daemon::config(dir.path(), crate::daemon::SESSIONS);
    let (file, line) = misspelt(dir.path(), &text, "max_rate");
    for args in [["config", "check", &file], ["node", "--config", &file]] {
        assert_points_at(&refused(&args), line, "max_rate");
    }
}

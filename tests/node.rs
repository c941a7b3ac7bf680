//! The daemon on its own: start, API, metrics, reload, stop.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, SESSIONS, config, treecast};

fn session(id: u32) -> Value {
    json!({
        "id": id, "name": format!("tv{id}"), "group": format!("239.1.0.{id}"), "source": "10.0.1.2", "max_rate": "1kpps",
        "match": { "destination": format!("198.51.100.{id}:5004") },
    })
}

fn client(name: &str, address: &str) -> Value {
    json!({ "name": name, "address": address })
}

#[test]
fn a_node_starts_tells_systemd_and_stops_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let info = daemon.get("/v1/node");
    assert_eq!(info["name"], "ing");
    assert_eq!(info["pid"], daemon.child.id());
    assert_eq!(info["ready"], true);
    let socket = daemon.socket.clone();
    let (status, log) = daemon.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(
        log.contains("node ing runs") && log.contains("stopped"),
        "{log}"
    );
    assert!(!log.contains('\x1b'), "colours in a pipe: {log}");
    assert!(!socket.exists());
}

#[test]
fn sessions_and_clients_come_and_go_by_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    assert_eq!(daemon.sessions(), [(1, 1)]);

    let added = daemon.json("POST", "/v1/sessions", Some(&session(2)));
    assert_eq!(added, (201, json!({ "session": 2 })));
    let c2 = client("c2", "10.0.1.1:5006");
    let added = daemon.json("POST", "/v1/sessions/2/clients", Some(&c2));
    assert_eq!(added, (201, json!({ "session": 2, "client": "c2" })));
    assert_eq!(daemon.sessions(), [(1, 1), (2, 1)]);
    assert_eq!(daemon.get("/v1/sessions/2/clients")[0]["client"], "c2");
    assert_eq!(daemon.get("/v1/clients")[1]["name"], "tv2");

    assert_eq!(
        daemon.json("DELETE", "/v1/sessions/2/clients/c2", None).0,
        200
    );
    assert_eq!(daemon.sessions(), [(1, 1), (2, 0)]);
    assert_eq!(daemon.json("DELETE", "/v1/sessions/1", None).0, 200);
    assert_eq!(daemon.sessions(), [(2, 0)]);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let refused = |method: &str, path: &str, body: Option<&Value>, status: u16, words: &str| {
        let (answered, body) = daemon.json(method, path, body);
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answered, status, "{method} {path}: {error}");
        assert!(error.contains(words), "{method} {path}: {error}");
    };
    let c1 = client("c1", "10.0.1.1:5008");
    let mut unitless = session(2);
    unitless["retention"] = json!(2);
    let none = Some(&Value::Null);
    refused("GET", "/v1/nothing", None, 404, "nothing at this path");
    refused("PUT", "/v1/sessions", None, 405, "method");
    refused("GET", "/v1/sessions/9", None, 404, "session 9");
    refused("GET", "/v1/sessions/x", None, 400, "`x`");
    refused("POST", "/v1/sessions", None, 400, "not JSON");
    refused("POST", "/v1/sessions", none, 400, "object");
    refused("POST", "/v1/sessions", Some(&unitless), 400, "retention");
    refused(
        "POST",
        "/v1/sessions",
        Some(&session(1)),
        409,
        "session 1 exists",
    );
    refused("DELETE", "/v1/sessions/9", None, 404, "session 9");
    refused(
        "POST",
        "/v1/sessions/9/clients",
        Some(&c1),
        404,
        "session 9",
    );
    refused(
        "POST",
        "/v1/sessions/1/clients",
        Some(&c1),
        409,
        "client c1 exists",
    );
    refused("DELETE", "/v1/sessions/1/clients/c9", None, 404, "c9");
    let impair = json!({ "loss": "200%" });
    refused("PUT", "/v1/ports/p0/impairment", Some(&impair), 400, "loss");
    let impair = json!({ "loss": "2%" });
    refused("PUT", "/v1/ports/p9/impairment", Some(&impair), 404, "p9");
    let (_, body) = daemon.json("POST", "/v1/sessions", Some(&unitless));
    assert_eq!(body["problems"][0]["key"], "session[1].retention");
    assert_eq!(daemon.sessions(), [(1, 1)]);
}

#[test]
fn an_impairment_is_set_and_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let impair = json!({ "loss": "2%", "seed": 7 });
    let path = "/v1/ports/p0/impairment";
    assert_eq!(daemon.json("PUT", path, Some(&impair)).0, 200);
    assert!(daemon.get("/v1/ports")[0]["impairment"].is_object());
    assert_eq!(daemon.json("DELETE", path, None).0, 200);
}

#[test]
fn a_reload_makes_the_node_match_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let more = SESSIONS.to_owned()
        + r#"
[[session.client]]
name = "c2"
address = "10.0.1.1:5006"
[[session]]
id = 2
name = "tv2"
group = "239.1.0.2"
source = "10.0.1.2"
max_rate = "1kpps"
match = { destination = "198.51.100.2:5004" }
"#;
    fs::write(&daemon.config, config(dir.path(), &more)).unwrap();
    let (status, done) = daemon.json("POST", "/v1/reload", None);
    assert_eq!(status, 200, "{done}");
    assert_eq!(
        done["sessions"],
        json!({ "added": [2], "changed": [1], "removed": [] })
    );
    assert_eq!(daemon.sessions(), [(1, 2), (2, 0)]);

    // What the API has added is not in the file.
    let added = daemon.json("POST", "/v1/sessions", Some(&session(3)));
    assert_eq!(added.0, 201, "{}", added.1);
    fs::write(&daemon.config, config(dir.path(), SESSIONS)).unwrap();
    daemon.signal(Signal::SIGHUP);
    assert_eq!(daemon.told_systemd(), "RELOADING=1");
    assert_eq!(daemon.told_systemd(), "READY=1");
    assert_eq!(daemon.sessions(), [(1, 1)]);
}

#[test]
fn a_reload_that_is_wrong_or_needs_a_restart_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let file = fs::read_to_string(&daemon.config).unwrap();
    let reload = |from: &str, to: &str| {
        assert!(file.contains(from));
        fs::write(&daemon.config, file.replace(from, to)).unwrap();
        let (status, body) = daemon.json("POST", "/v1/reload", None);
        (
            status,
            body["error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let (status, error) = reload("id = 1", "id = 0");
    assert!(status == 400 && error.contains("id"), "{status} {error}");
    let (status, error) = reload("10.0.1.2/24", "10.0.1.2/25");
    assert!(
        status == 409 && error.contains("port.p0.address"),
        "{status} {error}"
    );
    let (status, error) = reload("\"10.0.1.3\"", "\"10.0.1.4\"");
    assert!(
        status == 409 && error.contains("neighbor.core"),
        "{status} {error}"
    );
    fs::write(&daemon.config, "broken").unwrap();
    daemon.signal(Signal::SIGHUP);
    assert_eq!(daemon.told_systemd(), "RELOADING=1");
    assert_eq!(daemon.told_systemd(), "READY=1");
    assert_eq!(daemon.sessions(), [(1, 1)]);
    let (_, log) = daemon.stop();
    assert!(log.contains("not reloaded"), "{log}");
}

#[test]
fn promtool_accepts_the_metrics_of_a_running_node() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let (status, text) = daemon.request("GET", "/metrics", None);
    assert_eq!(status, 200);
    assert!(text.contains("treecast_node_info{name=\"ing\""), "{text}");
    assert!(
        text.contains("treecast_client_packets_total{session=\"1\",name=\"tv1\",client=\"c1\"}")
    );
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
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn show_prints_tables_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    for what in [
        "sessions",
        "clients",
        "neighbors",
        "ports",
        "workers",
        "drops",
        "pools",
        "events",
        "node",
    ] {
        let table = daemon.show(&[what]);
        assert!(
            table.status.success() && !table.stdout.is_empty(),
            "{what} {table:?}"
        );
        let json = daemon.show(&[what, "--json"]);
        serde_json::from_slice::<Value>(&json.stdout).unwrap();
    }
    let table = String::from_utf8(daemon.show(&["neighbors"]).stdout).unwrap();
    let mut lines = table.lines();
    assert!(
        lines.next().unwrap().starts_with("NEIGHBOR  ADDRESS"),
        "{table}"
    );
    assert!(
        lines.next().unwrap().starts_with("core      10.0.1.3"),
        "{table}"
    );
}

#[test]
fn show_watches_with_one_document_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let mut watch = treecast()
        .args(["show", "node", "--watch", "--json", "--api"])
        .arg(&daemon.socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        let document: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["name"], "ing");
    }
    // A reader that goes away ends it, without an error.
    drop(lines);
    let ended = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = watch.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < ended, "it watches on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn show_says_that_nothing_answers() {
    let said = treecast()
        .args(["show", "ports", "--json", "--api", "/nonexistent/x.sock"])
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&said.stderr).unwrap();
    let error = error["error"].as_str().unwrap();
    assert!(error.contains("is `treecast node` running?"), "{error}");
}

#[test]
fn a_second_node_on_the_same_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let second = treecast()
        .args(["node", "--config"])
        .arg(&daemon.config)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("ing.sock is in use"), "{said}");
    assert_eq!(daemon.get("/v1/node")["name"], "ing");
}

#[test]
fn a_killed_nodes_socket_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::start(dir.path());
    let socket = first.socket.clone();
    drop(first);
    assert!(socket.exists());
    fs::remove_file(dir.path().join("notify")).unwrap();
    let second = Daemon::start(dir.path());
    assert_eq!(second.get("/v1/node")["name"], "ing");
}

#[test]
fn the_api_is_on_tcp_too_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = config(dir.path(), SESSIONS);
    let text = text.replace("[api]", &format!("[api]\nlisten = \"{address}\""));
    let _daemon = Daemon::start_with(dir.path(), &text);
    let shown = treecast()
        .args(["show", "node", "--json"])
        .env("TREECAST_API", format!("http://{address}"))
        .output()
        .unwrap();
    let node: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(node["name"], "ing");
}

#[test]
fn a_wrong_configuration_is_told_whole_with_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let text = config(dir.path(), SESSIONS).replace("id = 1", "id = 0");
    fs::write(&file, text.replace("\"nap\"", "\"sleep\"")).unwrap();
    let said = treecast()
        .args(["node", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("`sleep`") && said.contains("`0`"), "{said}");
}

#[test]
fn a_lab_node_dies_with_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let starter = std::thread::spawn(move || Daemon::start(&path));
    let mut daemon = starter.join().unwrap();
    let status = daemon.child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
}

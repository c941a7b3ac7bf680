//! What changes while a stream flows: clients come, go and are restarted, and the others notice nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::lab::{Client, Lab, changed, list, number, wait_for};

const STREAM: &str = "--rate 2kpps --duration 4s";

/// The quickstart lab with one host more at `lh1`, no client of anything yet.
fn lab_with_a_spare_host(dir: &Path) -> (Lab, String) {
    let file = changed(dir, "quickstart", |text| {
        let c1 = r#"{ name = "c1", router = "lh1" },"#;
        text.replace(
            c1,
            &format!("{c1} {{ name = \"late\", router = \"lh1\" }},"),
        )
    });
    let lab = Lab::up(&file, "");
    let mut hosts = list(&lab.shown["hosts"]).iter();
    let late = hosts.find(|host| host["host"] == "late").unwrap();
    let address = format!("{}:5004", late["address"].as_str().unwrap());
    (lab, address)
}

/// Waits until `lh1` has passed on `count` packets.
fn wait_for_packets(lab: &Lab, count: u64) {
    wait_for(&format!("{count} packets at lh1"), || {
        (number(&lab.session("lh1")["delivered"]) >= count).then_some(())
    });
}

fn assert_clean(clients: Vec<Client>, sent: u64) {
    for client in clients {
        client.assert_clean(sent);
    }
}

/// Checks that what a client received from its first packet on is all that was sent, each once and in order.
fn assert_unbroken(received: &Value, sent: u64) {
    let (first, last) = (number(&received["first"]), number(&received["last"]));
    assert_eq!(received["clean"], true, "{received}");
    assert_eq!(received["received"], sent + 1 - first, "{received}");
    assert_eq!(last, sent, "{received}");
    assert!(first > 1_000, "it was there from the start: {received}");
}

/// Takes one client out of those that listen.
fn take(clients: &mut Vec<Client>, name: &str) -> Client {
    let index = clients.iter().position(|client| client.name == name);
    clients.remove(index.unwrap())
}

#[test]
fn a_client_added_in_mid_stream_gets_an_unbroken_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, address) = lab_with_a_spare_host(dir.path());
    let clients = lab.listen_all();
    let late = lab.listen("late", &address);
    let source = lab.send(STREAM);
    wait_for_packets(&lab, 2_000);
    let body = json!({ "name": "late", "address": address });
    let (status, answer) = lab.ask("lh1", "POST", "/v1/sessions/1/clients", Some(&body));
    assert_eq!(status, 201, "{answer}");
    let sent = lab.settle(source);
    assert_unbroken(&late.stop(), sent);
    assert_clean(clients, sent);
}

#[test]
fn a_client_removed_in_mid_stream_gets_nothing_after_the_reply() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, _) = lab_with_a_spare_host(dir.path());
    let mut clients = lab.listen_all();
    let removed = take(&mut clients, "c2");
    let mut counter = Counter::new(&lab, "c2");
    let source = lab.send(STREAM);
    wait_for_packets(&lab, 2_000);
    assert!(counter.packets() > 1_000);
    let (status, answer) = lab.ask("lh1", "DELETE", "/v1/sessions/1/clients/c2", None);
    let at_reply = counter.packets();
    assert_eq!(status, 200, "{answer}");
    let sent = lab.settle(source);
    assert_eq!(counter.packets(), at_reply);
    let received = removed.stop();
    assert_eq!(received["clean"], true, "{received}");
    assert_eq!([&received["received"], &received["last"]], [at_reply; 2]);
    assert!(at_reply < sent);
    assert_clean(clients, sent);
}

/// Tells at once, whenever it is asked, how many IP packets have reached a host: a shell that waits in its namespace.
struct Counter {
    shell: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Counter {
    fn new(lab: &Lab, host: &str) -> Counter {
        // Two lines begin with `Ip:`, names and then numbers; the third is InReceives.
        const SCRIPT: &str = "while read ask; do
            while read key a b in rest; do [ $key = Ip: ] && last=$in; done < /proc/net/snmp
            echo $last
        done";
        let mut shell = lab.interactive(host, &["sh", "-c", SCRIPT]);
        Counter {
            ask: shell.stdin.take().unwrap(),
            answers: BufReader::new(shell.stdout.take().unwrap()),
            shell,
        }
    }

    fn packets(&mut self) -> u64 {
        self.ask.write_all(b"\n").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn a_reload_changes_what_it_says_and_costs_the_others_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, address) = lab_with_a_spare_host(dir.path());
    let clients = lab.listen_all();
    let late = lab.listen("late", &address);
    let source = lab.send(STREAM);
    wait_for_packets(&lab, 2_000);
    let file = Path::new(lab.shown["dir"].as_str().unwrap()).join("lh1.toml");
    let text = fs::read_to_string(&file).unwrap();
    // Its only session stands last.
    let more = format!("\n[[session.client]]\nname = \"late\"\naddress = \"{address}\"\n");
    let new = text.replace("deadline = \"2s\"", "deadline = \"1500ms\"") + &more;
    fs::write(&file, new).unwrap();
    let mut nodes = list(&lab.shown["nodes"]).iter();
    let lh1 = nodes.find(|node| node["node"] == "lh1").unwrap();
    let pid = Pid::from_raw(number(&lh1["pid"]).try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
    let sent = lab.settle(source);
    assert_unbroken(&late.stop(), sent);
    assert_clean(clients, sent);
}

/// Appends to the file of `lh1`, whose only session stands last, and has it loaded again.
fn append_and_reload(lab: &Lab, more: &str) {
    let file = Path::new(lab.shown["dir"].as_str().unwrap()).join("lh1.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + more).unwrap();
    let (status, answer) = lab.ask("lh1", "POST", "/v1/reload", None);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_client_that_catches_up_gets_its_history_then_all_that_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, address) = lab_with_a_spare_host(dir.path());
    let clients = lab.listen_all();
    let late = lab.listen("late", &address);
    let source = lab.send(STREAM);
    wait_for_packets(&lab, 4_000);
    let before = number(&lab.session("lh1")["lead"]);
    append_and_reload(
        &lab,
        &format!(
            "\n[[session.client]]\nname = \"late\"\naddress = \"{address}\"\ncatch_up = \"1s\"\n"
        ),
    );
    let after = number(&lab.session("lh1")["lead"]);
    let sent = lab.settle(source);
    let received = late.stop();
    assert_unbroken(&received, sent);
    // A second of 2,000 packets, as the source kept its pace; it may have had to wait for its turn.
    let first = number(&received["first"]);
    let history = 1_500..=2_500;
    assert!(
        history.contains(&(before + 1).saturating_sub(first))
            || history.contains(&(after + 1).saturating_sub(first)),
        "it began with {first}; the lead was {before} to {after} then"
    );
    let session = lab.session("lh1");
    assert!(
        number(&session["caught_up"]) + 1 >= before.saturating_sub(first),
        "{session}"
    );
    assert_eq!(session["catch_up_missed"], 0, "{session}");
    assert_clean(clients, sent);
}

#[test]
fn a_client_whose_process_is_restarted_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, _) = lab_with_a_spare_host(dir.path());
    let mut clients = lab.listen_all();
    let killed = take(&mut clients, "c1");
    let source = lab.send(STREAM);
    wait_for_packets(&lab, 2_000);
    drop(killed);
    // Its kernel now says to each packet that nobody listens.
    wait_for_packets(&lab, 3_000);
    let all = lab.clients();
    let [_, _, address] = all.iter().find(|[host, ..]| host == "c1").unwrap();
    let restarted = lab.listen("c1", address);
    let sent = lab.settle(source);
    assert_unbroken(&restarted.stop(), sent);
    assert_clean(clients, sent);
}

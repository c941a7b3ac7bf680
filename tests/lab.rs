//! A lab to be tested: the real command, namespaces, nodes on veth, and everything gone when the test is over.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::daemon::{PATIENCE, request, treecast};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A name that no other lab of this machine has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{count}-{what}", std::process::id())
}

/// One of the topologies that come with the product.
pub(crate) fn topology(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("lab/{name}.toml"))
}

/// Such a topology, with its text changed. `change` must change something.
pub(crate) fn changed(dir: &Path, name: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let text = fs::read_to_string(topology(name)).unwrap();
    let new = change(&text);
    assert_ne!(new, text, "{name} has not what was to be replaced");
    let path = dir.join(format!("{name}.toml"));
    fs::write(&path, new).unwrap();
    path
}

/// Waits until `look` finds what it looks for; panics with `what` when that takes too long.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// What a finished `lab run --json` said.
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) report: Value,
}

/// Runs a topology; `args` are further arguments, separated by spaces.
pub(crate) fn run(file: &Path, args: &str) -> Run {
    run_with(treecast(), file, args)
}

/// Runs a topology with `command`, which ends in the binary.
pub(crate) fn run_with(mut command: Command, file: &Path, args: &str) -> Run {
    command
        .args(["lab", "run", "--json", "--name", &unique("run")])
        .args(args.split_whitespace())
        .arg(file);
    let output = Running::start(&mut command).finish();
    let said = String::from_utf8_lossy(&output.stderr);
    // A second document, or a word more, would be an error.
    let report = serde_json::from_slice(&output.stdout);
    Run {
        status: output.status.code(),
        report: report.unwrap_or_else(|error| panic!("not one JSON document ({error}): {said}")),
    }
}

impl Run {
    /// The last hops of all sessions, each with what its session's source sent.
    pub(crate) fn last_hops(&self) -> Vec<(u64, &Value)> {
        let sessions = list(&self.report["sessions"]);
        sessions
            .iter()
            .flat_map(|session| {
                let sent = number(&session["sent"]);
                list(&session["last_hops"])
                    .iter()
                    .map(move |hop| (sent, hop))
            })
            .collect()
    }

    /// Everything that a user would call a loss, a fault or a wrong sum, in words of its own: the report's verdict is
    /// checked against it, not believed.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (sent, hop) in self.last_hops() {
            let at = |key: &str| number(&hop[key]);
            let sum = at("tree") + at("repaired") + at("unrecovered") + at("in_flight");
            if sent == 0 || at("sent") != sent || sum != sent || at("tree") + at("repaired") != sent
            {
                faults.push(format!("{sent} sent, but {hop}"));
            }
            let clients = list(&hop["clients"]);
            faults.extend(clients.iter().filter_map(|client| fault(client, sent)));
        }
        faults
    }

    /// Checks that all is clean and that the command says so.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.faults(), Vec::<String>::new());
        assert_eq!(self.report["pass"], true, "{}", self.report);
        assert_eq!(self.status, Some(0));
    }

    /// Data packets offered to a tree link and lost on it.
    pub(crate) fn link(&self, from: &str, to: &str) -> (u64, u64) {
        let links = list(&self.report["links"]);
        let mut links = links.iter();
        let link = links.find(|link| link["from"] == from && link["to"] == to);
        let link = link.unwrap_or_else(|| panic!("no link {from} > {to}: {}", self.report));
        (number(&link["offered"]), number(&link["dropped"]))
    }
}

/// What is wrong with what a client received of `sent` packets.
fn fault(client: &Value, sent: u64) -> Option<String> {
    let faults = ["missing", "duplicate", "reordered", "corrupt", "foreign"];
    let clean = faults.iter().all(|key| client[key] == 0) && client["received"] == sent;
    (!clean).then(|| format!("{sent} sent, but {client}"))
}

/// Checks that `dropped` of `offered` packets is what a link that loses `share` of all would lose: within five standard
/// deviations, which chance leaves once in two million runs.
pub(crate) fn assert_lossy((offered, dropped): (u64, u64), share: f64) {
    let mean = offered as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    let off = (dropped as f64 - mean).abs();
    assert!(
        offered > 0 && off <= 5.0 * deviation,
        "{dropped} of {offered} lost where {share} of all should be"
    );
}

/// A process, killed when it is dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Starts it with its output in pipes.
    pub(crate) fn start(command: &mut Command) -> Running {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        Running(Some(
            child.unwrap_or_else(|error| panic!("start {command:?}: {error}")),
        ))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn pid(&mut self) -> u32 {
        self.child().id()
    }

    /// Reads its standard error up to the line that holds `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let mut lines = BufReader::with_capacity(1, self.child().stderr.as_mut().unwrap());
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains(text) {
            let read = lines.read_line(&mut said).unwrap();
            assert!(read > 0, "it ended before it said {text:?}: {said}");
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// What it says until it ends. Fails when that takes longer than any run here.
    pub(crate) fn finish(mut self) -> Output {
        let mut child = self.0.take().unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let deadline = Instant::now() + 3 * PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.0 = Some(child);
                panic!("it does not end");
            }
            thread::sleep(LOOK_AGAIN);
        };
        Output {
            status,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A lab in the background, taken down when it is dropped.
pub(crate) struct Lab {
    pub(crate) name: String,
    /// What `lab show --json` said when it was ready.
    pub(crate) shown: Value,
}

impl Lab {
    /// `lab up`, with further arguments separated by spaces.
    pub(crate) fn up(file: &Path, args: &str) -> Lab {
        let name = unique("up");
        Lab::up_as(&name, &name, file, args)
    }

    /// A lab that asks for the name of `other`, which runs.
    pub(crate) fn up_beside(other: &Lab, file: &Path) -> Lab {
        Lab::up_as(&other.name, &format!("{}-2", other.name), file, "")
    }

    fn up_as(asked: &str, name: &str, file: &Path, args: &str) -> Lab {
        let mut command = treecast();
        command
            .args(["lab", "up", "--name", asked])
            .args(args.split_whitespace())
            .arg(file);
        // From here on it is taken down, even if it does not come up as it should.
        let mut lab = Lab {
            name: name.to_owned(),
            shown: Value::Null,
        };
        let up = succeed(Running::start(&mut command).finish());
        assert_eq!(up, format!("lab {name} is up\n"));
        lab.shown = lab.show();
        lab
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = treecast();
        command
            .arg("lab")
            .args(verb)
            .args(["--name", self.name.as_str()]);
        command
    }

    /// `lab VERB …` on this lab; what it prints.
    pub(crate) fn run(&self, verb: &[&str]) -> String {
        succeed(Running::start(&mut self.command(verb)).finish())
    }

    pub(crate) fn show(&self) -> Value {
        serde_json::from_str(&self.run(&["show", "--json"])).unwrap()
    }

    /// The lab's process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.shown["pid"].as_i64().unwrap().try_into().unwrap())
    }

    /// `lab exec HOST -- ARGS`, under way.
    pub(crate) fn start(&self, host: &str, args: &[&str]) -> Running {
        let mut command = self.command(&["exec", host]);
        Running::start(command.arg("--").args(args))
    }

    /// `lab exec HOST -- ARGS`, with pipes to talk to it.
    pub(crate) fn interactive(&self, host: &str, args: &[&str]) -> Child {
        let mut command = self.command(&["exec", host]);
        command.arg("--").args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    /// `lab exec HOST -- ARGS`; what it prints.
    pub(crate) fn exec(&self, host: &str, args: &[&str]) -> String {
        succeed(self.start(host, args).finish())
    }

    /// A request to a node's API, with its status.
    pub(crate) fn ask(
        &self,
        node: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut nodes = list(&self.shown["nodes"]).iter();
        let api = &nodes.find(|at| at["node"] == node).unwrap()["api"];
        let (status, body) = request(Path::new(api.as_str().unwrap()), method, path, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn get(&self, node: &str, path: &str) -> Value {
        let (status, body) = self.ask(node, "GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Session 1 at a node.
    pub(crate) fn session(&self, node: &str) -> Value {
        self.get(node, "/v1/sessions/1")
    }

    /// The first session's clients: host, last hop and `ADDR:PORT`.
    pub(crate) fn clients(&self) -> Vec<[String; 3]> {
        let clients = list(&self.shown["sessions"][0]["clients"]);
        let text = |client: &Value, key: &str| client[key].as_str().unwrap().to_string();
        clients
            .iter()
            .map(|client| ["client", "node", "listen"].map(|key| text(client, key)))
            .collect()
    }

    /// A `recv` on `host` that listens.
    pub(crate) fn listen(&self, host: &str, address: &str) -> Client {
        let args = ["recv", "--json", "--stream", "1", "--listen", address];
        let binary = env!("CARGO_BIN_EXE_treecast");
        let mut process = self.start(host, &[&[binary], args.as_slice()].concat());
        process.wait_for_line("ready:");
        Client {
            name: host.to_string(),
            process,
        }
    }

    /// Every client of the first session, listening.
    pub(crate) fn listen_all(&self) -> Vec<Client> {
        let clients = self.clients();
        clients
            .iter()
            .map(|[host, _, address]| self.listen(host, address))
            .collect()
    }

    /// A source of the first session; `args` say how fast and how long.
    pub(crate) fn send(&self, args: &str) -> Running {
        let session = &self.shown["sessions"][0];
        let source = session["source"].as_str().unwrap();
        let to = session["destination"].as_str().unwrap();
        let binary = env!("CARGO_BIN_EXE_treecast");
        let mut command = vec![binary, "send", "--json", "--to", to];
        command.extend(args.split_whitespace());
        self.start(source, &command)
    }

    /// Waits until the source has ended and every last hop has closed its books; what was sent.
    pub(crate) fn settle(&self, source: Running) -> u64 {
        let said: Value = serde_json::from_str(&succeed(source.finish())).unwrap();
        let sent = number(&said["sent"]);
        for [_, node, _] in self.clients() {
            wait_for(&format!("{node} to have all {sent} packets"), || {
                let at = self.session(&node);
                let passed = number(&at["delivered"]) + number(&at["unrecovered"]);
                (at["lead"] == sent && passed >= number(&at["sent"])).then_some(())
            });
        }
        sent
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.command(&["down"]).output();
        // While a test fails, its own words matter more.
        if !thread::panicking() {
            let down = down.unwrap();
            assert!(down.status.success(), "{down:?}");
        }
    }
}

/// A `recv` on a client's host.
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) process: Running,
}

impl Client {
    /// Stops it; what it received.
    pub(crate) fn stop(mut self) -> Value {
        self.process.signal(Signal::SIGTERM);
        let output = self.process.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Stops it and checks that it received `sent` packets in order, each once.
    pub(crate) fn assert_clean(self, sent: u64) {
        let name = self.name.clone();
        let said = self.stop();
        assert_eq!(fault(&said, sent), None, "{name}");
        assert_eq!((number(&said["first"]), number(&said["last"])), (1, sent));
    }
}

/// What a command printed that must not fail.
pub(crate) fn succeed(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", words(output.status));
    String::from_utf8(output.stdout).unwrap()
}

fn words(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("status {:?}", status.code()),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

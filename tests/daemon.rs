//! A daemon to be tested: `treecast node` on a ring for a port.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longer than anything here takes, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command, free of what the surroundings set.
pub(crate) fn treecast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
    command.env_remove("TREECAST_API").env_remove("RUST_LOG");
    command
}

/// A request to the API at `socket`, answered with status and body.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map_or_else(String::new, Value::to_string);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// A running daemon on a ring for a port, which carries what it sends back to itself.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) config: PathBuf,
    notified: UnixDatagram,
}

impl Daemon {
    pub(crate) fn start(dir: &Path) -> Daemon {
        Daemon::start_with(dir, &config(dir, SESSIONS))
    }

    pub(crate) fn start_with(dir: &Path, text: &str) -> Daemon {
        let config = dir.join("node.toml");
        fs::write(&config, text).unwrap();
        let notify = dir.join("notify");
        let notified = UnixDatagram::bind(&notify).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = treecast()
            .args(["node", "--die-with-parent", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut daemon = Daemon {
            child,
            socket: dir.join("run/ing.sock"),
            config,
            notified,
        };
        daemon.wait_ready();
        daemon
    }

    /// Waits until systemd is told, or fails with what the daemon says instead.
    fn wait_ready(&mut self) {
        let mut buffer = [0; 64];
        let told = self.notified.recv(&mut buffer).map(|len| &buffer[..len]);
        if !matches!(told, Ok(b"READY=1" | b"READY=1\n")) {
            // It may have ended already.
            let _ = self.child.kill();
            let log = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
            panic!("it told systemd {told:?}; its log:\n{log}");
        }
    }

    /// The next line that systemd is told.
    pub(crate) fn told_systemd(&self) -> String {
        let mut buffer = [0; 512];
        let len = self.notified.recv(&mut buffer).unwrap();
        let said = String::from_utf8_lossy(&buffer[..len]);
        said.lines().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// A request, answered with status and body.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        request(&self.socket, method, path, body)
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, body) = self.request(method, path, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.json("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The sessions' numbers, and how many clients each has.
    pub(crate) fn sessions(&self) -> Vec<(u64, usize)> {
        let sessions = self.get("/v1/sessions");
        let sessions = sessions.as_array().unwrap().iter();
        let clients = |session: &Value| session["clients"].as_array().unwrap().len();
        sessions
            .map(|session| (session["session"].as_u64().unwrap(), clients(session)))
            .collect()
    }

    pub(crate) fn show(&self, args: &[&str]) -> Output {
        let mut show = treecast();
        show.arg("show").args(args).arg("--api").arg(&self.socket);
        show.output().unwrap()
    }

    /// Ends the daemon as systemd does, and returns its exit status and its log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.told_systemd(), "STOPPING=1");
        let log = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only a failed test leaves it running; one that has ended takes no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One session with one client.
pub(crate) const SESSIONS: &str = r#"
[[session]]
id = 1
name = "tv1"
group = "239.1.0.1"
source = "10.0.1.2"
max_rate = "1kpps"
match = { destination = "198.51.100.1:5004" }
[[session.client]]
name = "c1"
address = "10.0.1.1:5004"
"#;

/// A node's file, with these sessions.
pub(crate) fn config(dir: &Path, sessions: &str) -> String {
    let socket = dir.join("run/ing.sock");
    format!(
        r#"
[node]
name = "ing"
idle = "nap"
[eal]
hugepages = false
[api]
socket = "{}"
[[port]]
name = "p0"
device = "ring:r0"
address = "10.0.1.2/24"
[[neighbor]]
name = "core"
address = "10.0.1.3"
port = "p0"
{sessions}"#,
        socket.display()
    )
}

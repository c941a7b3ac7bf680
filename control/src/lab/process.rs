//! The lab's processes: this very program, started in a namespace, with its output in files.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;

/// How often something that a process does is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A `treecast` process in a namespace, killed when it is dropped or when the lab dies.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdout: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts `treecast ARGS --die-with-parent`; `NAME.out` and `NAME.log` in `dir` take its output.
    pub(super) fn start(
        netns: &Netns,
        dir: &Path,
        name: &str,
        args: &[String],
    ) -> io::Result<Process> {
        let stdout = dir.join(format!("{name}.out"));
        let log = dir.join(format!("{name}.log"));
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("treecast")
            .args(args)
            .arg("--die-with-parent")
            // The lab itself says when to stop: Ctrl-C on the terminal must not reach its children.
            .process_group(0)
            // Where DPDK keeps its own files: root of a user namespace may not write to the system's place.
            .env("RUNTIME_DIRECTORY", dir)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::options().create(true).append(true).open(&log)?);
        let child = netns.spawn(command)?;
        Ok(Process { child, stdout, log })
    }

    /// Its process id.
    #[must_use]
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal; one to a process that has ended does nothing.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }

    /// Waits until its log holds `text`; false when it ended or `limit` passed before.
    pub(super) fn wait_for_log(&mut self, text: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if self.log().contains(text) {
                return true;
            }
            if self.ended().is_some() || Instant::now() > deadline {
                return false;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits for its end for at most `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What it wrote to its standard output.
    #[must_use]
    pub(super) fn output(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// The last lines of its log, for a message.
    #[must_use]
    pub(super) fn last_words(&self) -> String {
        const LINES: usize = 8;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

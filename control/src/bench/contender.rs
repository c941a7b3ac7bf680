//! The contenders of a row: processes that measure when they are told to.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use dataplane::bench::Sample;

use super::Cpus;
use super::rows::{Subject, Testpmd};
use super::testpmd;

/// Something that measures itself for a slice of time.
pub(super) trait Contender {
    fn measure(&mut self, slice: Duration) -> Result<Sample, String>;
}

/// Starts contenders. testpmd is kept for the rows that follow.
pub(super) struct Pool {
    cpus: Cpus,
    testpmds: Vec<(Testpmd, Box<dyn Contender>)>,
    lent: Option<Testpmd>,
}

impl Pool {
    pub(super) fn new(cpus: Cpus) -> Pool {
        Pool {
            cpus,
            testpmds: Vec::new(),
            lent: None,
        }
    }

    /// This program once more, as `subject`.
    pub(super) fn subject(&self, subject: &Subject) -> Result<Box<dyn Contender>, String> {
        Ok(Box::new(Process::start(subject, self.cpus)?))
    }

    /// testpmd, set up like that.
    pub(super) fn testpmd(&mut self, setup: &Testpmd) -> Result<Box<dyn Contender>, String> {
        self.lent = Some(setup.clone());
        let place = self.testpmds.iter().position(|(kept, _)| kept == setup);
        if let Some(place) = place {
            return Ok(self.testpmds.swap_remove(place).1);
        }
        Ok(Box::new(testpmd::Process::start(setup, self.cpus)?))
    }

    /// Ends what is not needed any more.
    pub(super) fn give_back(
        &mut self,
        ours: Box<dyn Contender>,
        theirs: Option<Box<dyn Contender>>,
    ) {
        drop(ours);
        if let Some((setup, theirs)) = self.lent.take().zip(theirs) {
            self.testpmds.push((setup, theirs));
        }
    }
}

/// A child with a pipe each way; it ends with this value.
pub(super) struct Piped {
    child: Child,
    /// `None` when it was closed, which has the child end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Piped {
    pub(super) fn start(command: &mut Command) -> Result<Piped, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no pipe")?;
        Ok(Piped {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("it was told to end")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .map_err(|error| format!("it has gone away: {error}"))
    }

    /// The next line that it says.
    pub(super) fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("it has ended; its reason stands above".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // Both testpmd and we end with our input. What we say then nobody reads.
        drop(self.input.take());
        let _ = std::io::copy(&mut self.output, &mut std::io::sink());
        let _ = self.child.wait();
    }
}

/// This program, measuring.
struct Process {
    piped: Piped,
}

impl Process {
    fn start(subject: &Subject, cpus: Cpus) -> Result<Process, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = match subject {
            // A network of its own, in which an ordinary user may make interfaces too.
            Subject::Kernel { .. } | Subject::KernelRoute { .. } => {
                let mut command = Command::new("unshare");
                let is_root = nix::unistd::geteuid().is_root();
                command.arg(if is_root { "-n" } else { "-Urn" });
                command.arg(program);
                command
            }
            Subject::Worker(_)
            | Subject::Latency { .. }
            | Subject::Protocol { .. }
            | Subject::Multicast { .. } => Command::new(program),
        };
        let subject = serde_json::to_string(subject).map_err(|error| error.to_string())?;
        let cpu = cpus.test.to_string();
        command.args(["bench", "--measure", &subject, "--cpu", &cpu]);
        let mut piped = Piped::start(&mut command)?;
        match piped.hear()?.as_str() {
            "ready" => Ok(Process { piped }),
            other => Err(other.to_owned()),
        }
    }
}

impl Contender for Process {
    fn measure(&mut self, slice: Duration) -> Result<Sample, String> {
        self.piped.tell(&slice.as_millis().to_string())?;
        let line = self.piped.hear()?;
        serde_json::from_str(&line).map_err(|_| line)
    }
}

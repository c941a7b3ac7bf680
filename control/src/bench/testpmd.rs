//! DPDK's own testpmd, as a contender.
//!
//! It forwards between `start` and `stop`. Its forwarding thread sleeps otherwise, so the time that the kernel counts for
//! that thread is the time on its core in which the packets were forwarded.

use std::process::Command;
use std::time::Duration;

use dataplane::bench::{Sample, Wire};

use super::Cpus;
use super::contender::{Contender, Piped};
use super::rows::Testpmd;

/// Buffers: some bursts and the caches.
const MBUFS: usize = 4096;
/// Memory, in MiB: a buffer takes a page at most.
const MEMORY_MB: usize = 96;
/// Bytes before the data in a buffer.
const HEADROOM: u16 = 128;
/// Bursts that circulate on a ring.
const RING_BURSTS: usize = 4;

pub(super) struct Process {
    piped: Piped,
    /// Where the kernel counts the forwarding thread's time.
    schedstat: String,
    start: String,
}

impl Process {
    pub(super) fn start(setup: &Testpmd, cpus: Cpus) -> Result<Process, String> {
        let mut piped = Piped::start(&mut command(setup, cpus))
            .map_err(|error| format!("{error} (`make bench` installs dpdk-testpmd)"))?;
        // It says this when it takes commands.
        piped.tell("show config cores")?;
        while !piped.hear()?.contains("forwarding lcores:") {}
        let thread = forwarding_thread(piped.id())?;
        let first = match setup.wire {
            Wire::Ring => format!(" tx_first {RING_BURSTS}"),
            Wire::Null => String::new(),
        };
        Ok(Process {
            schedstat: format!("/proc/{}/task/{thread}/schedstat", piped.id()),
            piped,
            start: format!("start{first}"),
        })
    }

    fn time_on_core(&self) -> Result<u64, String> {
        let said = std::fs::read_to_string(&self.schedstat).map_err(|error| error.to_string())?;
        let ns = said
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok());
        ns.ok_or_else(|| format!("{}: {said}", self.schedstat))
    }
}

impl Contender for Process {
    fn measure(&mut self, slice: Duration) -> Result<Sample, String> {
        let before = self.time_on_core()?;
        self.piped.tell(&self.start)?;
        std::thread::sleep(slice);
        self.piped.tell("stop")?;
        let mut packets = 0;
        loop {
            let line = self.piped.hear()?;
            if let Some(count) = sent(&line) {
                packets = count;
            }
            if line == "Done." {
                break;
            }
        }
        let ns = self.time_on_core()? - before;
        Ok(Sample {
            packets,
            cycles: 0,
            ns,
            set_aside: 0.0,
        })
    }
}

/// What a line of the statistics says of the packets sent; the last one is of all ports together.
fn sent(line: &str) -> Option<u64> {
    let (_, after) = line.split_once("TX-packets:")?;
    after.split_whitespace().next()?.parse().ok()
}

fn command(setup: &Testpmd, cpus: Cpus) -> Command {
    let size = setup.size;
    let vdev = match setup.wire {
        Wire::Null => format!("net_null0,size={size}"),
        Wire::Ring => "net_ring0".into(),
    };
    // A pipe makes its output wait in a buffer, but for this.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "dpdk-testpmd", "--no-huge", "--no-pci"]);
    command.args(["--no-shconf", "--no-telemetry", "--iova-mode=va"]);
    command.args(["--log-level=*:warning", "-m", &MEMORY_MB.to_string()]);
    command.arg(format!("--lcores=0@{},1@{}", cpus.rest, cpus.test));
    command.arg(format!(
        "--file-prefix=treecast-testpmd-{}-{}-{size}",
        std::process::id(),
        setup.mode
    ));
    command.arg(format!("--vdev={vdev}"));
    command.args(["--", "-i", "--nb-cores=1", "--burst=32"]);
    command.args(["--port-topology=loop", "--no-flush-rx"]);
    command.arg(format!("--forward-mode={}", setup.mode));
    command.arg(format!("--total-num-mbufs={MBUFS}"));
    command.arg(format!("--mbuf-size={}", buffer_size(setup)));
    if let Some(segments) = setup.segments {
        command.arg(format!("--txpkts={segments}"));
    } else {
        command.arg(format!("--txpkts={size}"));
    }
    command
}

/// Bytes of a buffer: no more than needed, so that as many as can be share a page.
fn buffer_size(setup: &Testpmd) -> u16 {
    (setup.size + HEADROOM).next_multiple_of(64)
}

/// The thread that forwards: the EAL's second.
fn forwarding_thread(process: u32) -> Result<String, String> {
    let tasks = format!("/proc/{process}/task");
    let tasks = std::fs::read_dir(tasks).map_err(|error| error.to_string())?;
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        // `rte-worker-1` in 22.11, `dpdk-worker1` in later ones.
        if name.contains("-worker") {
            return Ok(task.file_name().to_string_lossy().into_owned());
        }
    }
    Err("testpmd has no forwarding thread".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_count_of_sent_packets_is_read() {
        let line = "  TX-packets: 12032          TX-dropped: 0             TX-total: 12032";
        assert_eq!(sent(line), Some(12032));
        assert_eq!(sent("  RX-packets: 5"), None);
    }
}

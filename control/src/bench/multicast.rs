//! DPDK's own way to send a packet to many, as the guide of its `ipv4_multicast` sample describes it: a program of ours.

use std::process::Command;

use super::program::Program;

/// What measures, line by line as a subject does.
const PROGRAM: &str = include_str!("ipv4_multicast.c");
/// Memory, in MiB: for its three pools.
const MEMORY_MB: &str = "96";

/// Is the contender on this CPU, on this process's input and output, until there is no more input.
pub(super) fn serve(clones: bool, outputs: u16, size: u16, cpu: usize) -> Result<(), String> {
    let program = Program::compile(PROGRAM, Some("libdpdk"))?;
    let mut command = Command::new(program.path());
    command.args(["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry"]);
    command.args(["--iova-mode=va", "--log-level=*:warning", "-m", MEMORY_MB]);
    let process = std::process::id();
    command.arg(format!("--file-prefix=treecast-multicast-{process}"));
    command.arg(format!("--lcores=0@{cpu}"));
    command.arg(format!("--vdev=net_null0,size={size}"));
    command.args(["--", if clones { "clone" } else { "count" }]);
    command.args([outputs, size].map(|number| number.to_string()));
    let ended = command.status().map_err(|error| error.to_string())?;
    match ended.success() {
        true => Ok(()),
        false => Err(format!("ipv4_multicast ended with {ended}")),
    }
}

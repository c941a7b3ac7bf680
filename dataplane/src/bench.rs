//! Measuring the worker: the code that forwards, on real DPDK ports, fed with valid frames.
//!
//! A [`Rig`] is a node with two ports, `in` and `out`, whose worker takes its turns under a stopwatch. A *section* is what
//! is measured at a time: the turns that take in one burst and send all that follows from it. Between sections, and
//! unmeasured, the rig sees to the next burst:
//!
//! - [`Wire::Null`]: `net_null` hands out buffers as they come from the pool, without writing to them. So the rig writes
//!   frames into the very buffers that it will hand out next. Sent frames go to `net_null`, which frees them: inside.
//! - [`Wire::Ring`]: the rig puts frames on a `net_ring`, which the worker polls. Sent frames go onto another one, and
//!   are taken off it and freed outside; the buffers for headers are taken inside.
//!
//! Inside the section are, besides all of the turn (timers, polls, housekeeping when it is due), two readings of the time
//! stamp counter. A section in which the kernel took the core away is set aside, and counted.

mod frames;
mod protocol;
mod rig;
mod setup;
mod stopwatch;

use serde::{Deserialize, Serialize};

pub use protocol::Protocol;
pub use rig::Rig;

/// What a node is for its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes a source's packets and sends them down the tree.
    Ingress,
    /// It takes packets of the tree and sends them on.
    Transit,
    /// It takes packets of the tree and sends each client its copy.
    LastHop,
}

/// Which devices the ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// `net_null`.
    Null,
    /// `net_ring`.
    Ring,
}

/// What a worker does under the stopwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Role of the node.
    pub role: Role,
    /// The devices. A last hop with several clients is always fed by a ring, since it takes in less than a burst a turn.
    pub wire: Wire,
    /// Length of the source's frames, in bytes, without their checksum; a client's copies have the same.
    pub size: u16,
    /// Sessions, which have turns.
    pub sessions: u32,
    /// Clients of each session, at a last hop.
    pub clients: u16,
    /// Packets that each session keeps, at least 64.
    pub held: u32,
    /// Whether there is in the worker what can be switched on, and is off: as in every worker but this one's.
    pub switches: bool,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Packets that came out: frames on the tree, or copies.
    pub packets: u64,
    /// Cycles of the time stamp counter that they took.
    pub cycles: u64,
    /// Nanoseconds that those are.
    pub ns: u64,
    /// Share of all cycles under the stopwatch that was set aside, since the kernel had taken the core away.
    pub set_aside: f64,
}

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
//! Where NAKs are answered they come by `out`, a ring, which takes the repairs too.
//!
//! Inside the section are, besides all of the turn (timers, polls, housekeeping when it is due), two readings of the time
//! stamp counter. A section in which the kernel took the core away is set aside, and counted.

mod crew;
mod frames;
mod latency;
mod naks;
mod protocol;
mod rig;
mod setup;
mod stopwatch;

use serde::{Deserialize, Serialize};

pub use crew::Crew;
pub use protocol::Protocol;
pub use rig::Rig;

/// What a node is for its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes a source's packets and sends them down the tree.
    Ingress,
    /// It takes packets of the tree and sends them on.
    Transit {
        /// Ports that each packet goes out by.
        branches: u16,
    },
    /// It takes packets of the tree and sends each client its copy.
    LastHop {
        /// Clients of each session.
        clients: u16,
        /// Whether copies are linear, as for a device that can't chain, instead of a header before the shared payload.
        linear: bool,
    },
    /// It holds packets and answers a child's NAKs.
    Parent {
        /// Packets that each NAK asks for.
        asks: u16,
    },
}

impl Role {
    /// Frames that follow from one that comes in.
    fn frames_out(self) -> u64 {
        match self {
            Role::Ingress => 1,
            Role::Transit { branches } => branches.into(),
            Role::LastHop { clients, .. } => clients.into(),
            Role::Parent { asks } => asks.into(),
        }
    }

    /// Ports that frames go out by.
    fn branches(self) -> u16 {
        match self {
            Role::Transit { branches } => branches,
            Role::Ingress | Role::LastHop { .. } | Role::Parent { .. } => 1,
        }
    }
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
    /// The devices. What takes in less than a burst a turn is always fed by a ring; a parent has no other.
    pub wire: Wire,
    /// Length of the source's frames, in bytes, without their checksum; a client's copies have the same.
    pub size: u16,
    /// Sessions, which have turns.
    pub sessions: u32,
    /// Packets that each session keeps, at least 64.
    pub held: u32,
    /// Whether there is in the worker what can be switched on, and is off: as in every worker but this one's.
    pub switches: bool,
    /// Workers, each with as many sessions.
    pub workers: u16,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Packets that came out: frames on the tree, copies, or repairs.
    pub packets: u64,
    /// Cycles of the time stamp counter that they took.
    pub cycles: u64,
    /// Nanoseconds that those are.
    pub ns: u64,
    /// Share of all cycles under the stopwatch that was set aside, since the kernel had taken the core away.
    pub set_aside: f64,
}

//! The treecast overlay protocol: reliable, ordered delivery of a packet stream over a lossy tree.
//!
//! Pure: no clock, no socket, no thread, no allocation on the data path. Inputs are packets and the time, outputs
//! are packets to send and packets to deliver; methods are `handle_*` and `poll_*`, and `now` is the first argument.
//! It is not a network stack: addresses, checksums and buffers belong to the caller, which hands in each packet as a
//! value `P` that the protocol keeps, lends and drops but never looks into.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, fuzzing, feature = "sim"))]
extern crate std;

mod bucket;
mod latency;
mod neighbor;
mod node;
mod rtt;
mod seq;
mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod time;
mod timers;
mod window;
pub mod wire;

pub use bucket::TokenBucket;
pub use latency::LatencyHistogram;
pub use neighbor::{Neighbor, NeighborConfig, NeighborStats, StateReason};
pub use node::{
    Body, Destination, Event, Node, NodeConfig, Rebuild, SessionIndex, SourceRun, Transmit, TreeRun,
};
pub use seq::{Epoch, NeighborId, Seq, SeqRange, SessionId};
pub use session::{
    CHILDREN_MAX, CatchUp, Fec, Mode, NAK_RANGES_MAX, Order, PARITY_KEPT_MAX, Reject, Session,
    SessionConfig, SessionStats, Tree,
};
pub use time::Instant;

/// Runs a node on the inputs that follow from `bytes`, and checks what must hold.
///
/// # Panics
/// When something does not hold.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_session_machine(bytes: &[u8]) {
    node::fuzz::Fuzz::new(bytes).run();
}

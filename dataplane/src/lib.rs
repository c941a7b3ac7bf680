//! treecast's poll-mode workers over DPDK.
//!
//! A [`Dataplane`] is one running node: it starts the EAL, opens the ports and runs a worker, a thread that polls
//! them and drives the protocol of the `overlay` crate. It knows nothing of files, sockets and tokio: the control
//! plane hands it a checked [`NodeConfig`] and asks it for [`Snapshot`]s.

#![deny(unsafe_code)]

pub mod bench;
mod chain;
mod checksum;
mod client;
mod config;
mod device;
mod drops;
mod eal;
mod encap;
mod event;
mod fec;
mod frame;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod icmp;
mod impair;
mod kernel;
mod mbuf;
mod next_hop;
mod node;
#[cfg(all(test, miri))]
mod ownership;
mod payload;
mod pool;
mod port;
mod rx;
mod sizing;
mod snapshot;
mod tap;
mod threshold;
mod tx;
mod worker;

pub use chain::Frame;
pub use config::*;
pub use device::{data_room, is_af_packet, vdev_for};
pub use drops::DropReason;
pub use eal::{Eal, EalError, ThreadRegistration};
pub use encap::overhead;
pub use event::{Event, EventKind};
pub use mbuf::Mbuf;
pub use node::{CommandError, Dataplane, StartError};
pub use payload::{PayloadMeta, SharedPayload};
pub use pool::{HEADROOM, Pool, PoolError, memory_mb};
pub use port::{DESCRIPTORS, Link, Port, PortError, PortStats};
pub use rx::{Burst, RxCounters, RxQueue};
pub use sizing::{held_max, packets_needed};
pub use snapshot::*;
pub use tx::{TxBuffer, TxCounters};
pub use worker::inner_max;

//! How a session is run.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{NeighborId, SessionId};

/// How a session is run on this node.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The session.
    pub id: SessionId,
    /// The parent, then its backups in order of preference; empty at the ingress.
    pub upstream: Vec<NeighborId>,
    /// Children that always get the tree.
    pub downstream: Vec<NeighborId>,
    /// Whether packets are delivered here, and how; `None` where there are no clients.
    pub delivery: Option<Order>,
    /// How long a gap may stay open.
    pub deadline: Duration,
    /// How long packets are kept to answer NAKs.
    pub retention: Duration,
    /// How long a gap waits for a late packet before it is asked for.
    pub reorder_delay: Duration,
    /// Packets per second that window and pace are sized for; at least 1.
    pub max_rate_pps: u32,
    /// The neighbors that the second tree comes from, the first that is up; empty where there is none.
    pub second_upstream: Vec<NeighborId>,
    /// Children that get the second tree.
    pub second_downstream: Vec<NeighborId>,
    /// What fills gaps before anybody asks.
    pub mode: Mode,
    /// Parity packets down the tree; at all nodes of the session alike.
    pub fec: Option<Fec>,
    /// Children that must have asked for a packet before it goes down the tree once more; 0 for half of them.
    pub subcast_threshold: u8,
    /// How much history a node that joins fetches and delivers.
    pub catch_up: Duration,
    /// Silence of the ingress after which all state of its stream goes.
    pub idle_timeout: Duration,
}

impl Default for SessionConfig {
    /// A session 0 without neighbors; every time as ARCHITECTURE.md explains it.
    fn default() -> SessionConfig {
        SessionConfig {
            id: SessionId(0),
            upstream: Vec::new(),
            downstream: Vec::new(),
            delivery: None,
            deadline: Duration::from_secs(1),
            retention: Duration::from_secs(2),
            reorder_delay: Duration::from_micros(100),
            max_rate_pps: 25_000,
            second_upstream: Vec::new(),
            second_downstream: Vec::new(),
            mode: Mode::Pull,
            fec: None,
            subcast_threshold: 0,
            catch_up: Duration::ZERO,
            idle_timeout: Duration::from_secs(600),
        }
    }
}

/// What fills gaps before anybody asks. Asking (pull) is behind all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: a gap is asked for.
    #[default]
    Pull,
    /// Each packet comes once more over the overlay, from a backup where there is one.
    Copy,
    /// `Pull` while the tree loses little, `Copy` while it loses more.
    Auto,
}

/// Forward error correction: `parity` packets after every `block` packets, any of which replace as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fec {
    /// Packets of a block, 1 to 128.
    pub block: u8,
    /// Parity packets of a block, 1 to 32.
    pub parity: u8,
}

/// One of the trees that a session is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The one that every session has.
    #[default]
    First,
    /// The one on other links, if there is one.
    Second,
}

/// Whether delivery waits for gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hold what follows a gap until it is filled or given up.
    Ordered,
    /// Deliver each packet as it comes.
    Immediate,
}

impl SessionConfig {
    /// Most packets that the session holds: what `max_rate_pps` brings in the longer of retention and deadline.
    #[must_use]
    pub fn held_max(&self) -> usize {
        let span = self.retention.max(self.deadline).as_nanos();
        let packets = (span * u128::from(self.max_rate_pps)).div_ceil(1_000_000_000);
        usize::try_from(packets)
            .unwrap_or(usize::MAX)
            .clamp(64, 1 << 24)
    }
}

//! What happened in a node that an operator would want in the log.

use overlay::SessionId;
use thiserror::Error;

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub struct Event {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened; `Display` is the log line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EventKind {
    /// A neighbor is heard and hears us.
    #[error("neighbor {name} is up")]
    NeighborUp {
        /// Its name.
        name: String,
    },
    /// A neighbor is gone.
    #[error("neighbor {name} is down: {reason}")]
    NeighborDown {
        /// Its name.
        name: String,
        /// `silent`, `restarted` …
        reason: &'static str,
    },
    /// A session asks another neighbor for its repairs.
    #[error("session {}: parent is now {name}", .session.0)]
    ParentChanged {
        /// The session.
        session: SessionId,
        /// Name of the new parent.
        name: String,
    },
    /// A session's ingress began anew.
    #[error("session {}: epoch {epoch}", .session.0)]
    EpochChanged {
        /// The session.
        session: SessionId,
        /// The new epoch.
        epoch: u16,
    },
    /// A session's sequence jumped beyond its window; what lay between is unrecovered.
    #[error("session {}: jumped over {skipped} packets to follow the ingress", .session.0)]
    Resync {
        /// The session.
        session: SessionId,
        /// Packets skipped.
        skipped: u64,
    },
}

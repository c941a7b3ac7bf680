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
    /// A port's link carries frames, or does no more.
    #[error("port {name} is {}", if *.up { "up" } else { "down" })]
    PortLink {
        /// Its name.
        name: String,
        /// Whether it does now.
        up: bool,
    },
    /// A port takes packets of another size.
    #[error("port {name}: its MTU is now {mtu}{}", mtu_words(.mtu, .configured))]
    PortMtu {
        /// Its name.
        name: String,
        /// The largest it takes.
        mtu: u16,
        /// As configured.
        configured: u16,
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
    /// A session of mode `auto` begins or ends to have copies sent.
    #[error("session {}: {}", .session.0, copying_words(.copying))]
    Copying {
        /// The session.
        session: SessionId,
        /// Whether it has them sent now.
        copying: bool,
    },
    /// A session's ingress said that the stream has ended.
    #[error("session {}: the stream has ended", .session.0)]
    Ended {
        /// The session.
        session: SessionId,
    },
    /// A session's ingress was silent for so long that the stream's state went.
    #[error("session {}: silent for its idle timeout, state dropped", .session.0)]
    Idle {
        /// The session.
        session: SessionId,
    },
    /// A neighbor asks for more repairs than its rate, or does no more.
    #[error("neighbor {name} {}", throttled_words(.throttled))]
    Throttled {
        /// Its name.
        name: String,
        /// Whether it does now.
        throttled: bool,
    },
    /// A neighbor was throttled for so long that its NAKs are not answered for a while, or are again.
    #[error("neighbor {name} {}", ejected_words(.ejected))]
    Ejected {
        /// Its name.
        name: String,
        /// Whether they go unanswered now.
        ejected: bool,
    },
}

const fn mtu_words(mtu: &u16, configured: &u16) -> &'static str {
    if *mtu < *configured {
        ", less than configured: its interface takes no more"
    } else {
        ""
    }
}

const fn copying_words(copying: &bool) -> &'static str {
    if *copying {
        "the tree loses much, copies are sent as well"
    } else {
        "the tree loses little, no copies any more"
    }
}

const fn throttled_words(throttled: &bool) -> &'static str {
    if *throttled {
        "asks for more than its repair rate: throttled"
    } else {
        "asks for no more than its repair rate again"
    }
}

const fn ejected_words(ejected: &bool) -> &'static str {
    if *ejected {
        "was throttled for too long: its NAKs go unanswered for a while"
    } else {
        "has its NAKs answered again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_and_what_ends_read_differently() {
        let session = SessionId(7);
        let name = || "core".to_owned();
        let said = |on| {
            [
                EventKind::Copying {
                    session,
                    copying: on,
                },
                EventKind::Throttled {
                    name: name(),
                    throttled: on,
                },
                EventKind::Ejected {
                    name: name(),
                    ejected: on,
                },
            ]
            .map(|kind| kind.to_string())
        };
        assert_eq!(
            said(true),
            [
                "session 7: the tree loses much, copies are sent as well",
                "neighbor core asks for more than its repair rate: throttled",
                "neighbor core was throttled for too long: its NAKs go unanswered for a while",
            ]
        );
        assert_eq!(
            said(false),
            [
                "session 7: the tree loses little, no copies any more",
                "neighbor core asks for no more than its repair rate again",
                "neighbor core has its NAKs answered again",
            ]
        );
    }
}

//! The last events of a node.

use std::collections::VecDeque;

use dataplane::{Event, EventKind};
use serde::Serialize;

/// Events kept for `/v1/events`: some hours of a quiet node's, some seconds of a bad one's.
const CAPACITY: usize = 256;

/// An event as the API gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LoggedEvent {
    /// Milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// What happened.
    pub(crate) message: String,
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventLog(VecDeque<LoggedEvent>);

impl EventLog {
    /// Writes an event to the log, and keeps it instead of the oldest.
    pub(super) fn record(&mut self, event: &Event) {
        let message = event.kind.to_string();
        match event.kind {
            EventKind::NeighborDown { .. }
            | EventKind::PortLink { up: false, .. }
            | EventKind::PortMtu { .. }
            | EventKind::Resync { .. }
            | EventKind::Throttled { .. }
            | EventKind::Ejected { .. } => tracing::warn!("{message}"),
            EventKind::NeighborUp { .. }
            | EventKind::PortLink { up: true, .. }
            | EventKind::ParentChanged { .. }
            | EventKind::EpochChanged { .. }
            | EventKind::Copying { .. }
            | EventKind::Ended { .. }
            | EventKind::Idle { .. } => tracing::info!("{message}"),
        }
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(LoggedEvent {
            unix_ms: event.unix_ms,
            message,
        });
    }

    /// The events kept.
    pub(super) fn to_vec(&self) -> Vec<LoggedEvent> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_256_events_are_kept_oldest_first() {
        let mut log = EventLog::default();
        for unix_ms in 0..300 {
            let name = "core".to_owned();
            let kind = EventKind::NeighborUp { name };
            log.record(&Event { unix_ms, kind });
        }
        let kept = log.to_vec();
        assert_eq!(kept.len(), 256);
        assert_eq!((kept[0].unix_ms, kept[255].unix_ms), (44, 299));
        assert_eq!(kept[0].message, "neighbor core is up");
    }
}

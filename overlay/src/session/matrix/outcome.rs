//! What became of an event.

use super::*;
use crate::{Body, Destination, Transmit};

/// The result of an event, what the node put out because of it, and what was counted.
pub(super) struct Outcome {
    pub(super) result: String,
    pub(super) out: Vec<String>,
    pub(super) counts: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, counts) = (self.out.join(", "), self.counts.join(", "));
        write!(f, "{} | {out} | {counts}", self.result)
    }
}

impl Driven {
    /// Takes all that the node puts out now, but for hellos and what they lead to.
    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        for _ in 0..8 {
            self.node.handle_timeout(self.now);
            while let Some(block) = self.node.poll_rebuild() {
                let last = block.first.0 + u64::from(block.count) - 1;
                out.push(format!("can rebuild {}–{last}", block.first));
            }
            while let Some(transmit) = self.node.poll_transmit(self.now) {
                out.extend(sent(&transmit));
            }
            while let Some((_, seq, _)) = self.node.poll_deliver(self.now) {
                out.push(format!("delivers {seq}"));
            }
            while let Some(event) = self.node.poll_event() {
                out.extend(told(event));
            }
            if self.node.poll_timeout() > self.now {
                return out;
            }
        }
        panic!("does not come to rest");
    }
}

fn sent(transmit: &Transmit<'_, u64>) -> Option<String> {
    let Header {
        kind,
        flags,
        session,
        sequence,
        timestamp,
        ..
    } = transmit.header;
    let to = match transmit.to {
        Destination::Neighbor(PARENT) => "to the parent",
        Destination::Neighbor(CHILD) => "to the child",
        Destination::Neighbor(_) => "to the backup",
        Destination::Tree(_, Tree::First) => "down the tree",
        Destination::Tree(_, Tree::Second) => "down the second tree",
    };
    let what = match (kind, &transmit.body) {
        (Kind::Hello, _) if session.0 == 0 => return None,
        (Kind::Hello, _) => format!("request{}", requested(flags)),
        (Kind::NakConfirm, Body::Ranges(ranges)) if flags & FLAG_HISTORY != 0 => {
            format!("history {}", all(ranges))
        }
        (Kind::NakConfirm, Body::Ranges(ranges)) => {
            let hold = Duration::from_nanos(timestamp);
            format!("NCF {} for {hold:?}", all(ranges))
        }
        (_, Body::Ranges(ranges)) => format!("NAK {}", all(ranges)),
        (_, Body::Parity(parity)) => {
            let last = sequence.0 + u64::from(parity.count) - 1;
            format!("parity of {sequence}–{last}")
        }
        (Kind::Heartbeat, _) if flags & FLAG_END != 0 => format!("end at {sequence}"),
        (Kind::Heartbeat, _) => format!("heartbeat {sequence}"),
        (Kind::Copy, _) => format!("copy {sequence}"),
        _ => format!("repair {sequence}"),
    };
    Some(format!("{what} {to}"))
}

fn requested(flags: u8) -> String {
    let all = [
        (FLAG_GRAFT, " for the tree"),
        (FLAG_COPY, " for copies"),
        (FLAG_HISTORY, " for history"),
    ];
    let set = all.iter().filter(|(flag, _)| flags & flag != 0);
    set.map(|(_, what)| *what).collect()
}

fn all(ranges: &[SeqRange]) -> String {
    let ranges = ranges.iter().map(|range| match range.count() {
        1 => range.first().to_string(),
        _ => format!("{}–{}", range.first(), range.last()),
    });
    ranges.collect::<Vec<_>>().join(" ")
}

fn told(event: crate::Event) -> Option<String> {
    Some(match event {
        crate::Event::Neighbor(..) => return None,
        crate::Event::Parent(_, PARENT) => "says: the parent is back".into(),
        crate::Event::Parent(..) => "says: the backup is parent".into(),
        crate::Event::Epoch(_, epoch) => format!("says: epoch {}", epoch.0),
        crate::Event::Skipped(_, count) => format!("says: {count} skipped"),
        crate::Event::Copying(_, begins) => format!("says: copies, {begins}"),
        crate::Event::Ended(_) => "says: ended".into(),
        crate::Event::Idle(_) => "says: idle".into(),
        crate::Event::Throttled(..) | crate::Event::Ejected(..) => format!("says: {event:?}"),
    })
}

/// What was counted between two moments.
pub(super) fn counted(before: &SessionStats, after: &SessionStats) -> Vec<String> {
    macro_rules! changes {
        ($($field:ident)*) => {
            [$((stringify!($field), before.$field, after.$field)),*]
        };
    }
    let all = changes!(
        tree second_tree repaired copied rebuilt unrecovered in_flight duplicates backfilled
        delivered undelivered evicted_early resyncs naks_sent naks_received naks_unanswerable
        naks_over_budget repairs_sent repairs_received subcasts_sent confirms_sent
        confirms_received naks_suppressed copies_sent copies_received parity_received caught_up
        catch_up_missed mode_changes
    );
    let changed = all.into_iter().filter(|(_, before, after)| before != after);
    changed
        .map(|(name, before, after)| format!("{name} {:+}", after.wrapping_sub(before) as i64))
        .collect()
}

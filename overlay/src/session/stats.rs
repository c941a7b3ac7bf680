//! What a session counts.

use crate::LatencyHistogram;

/// Counters of a session. At a receiver, over all epochs and at each moment,
/// `sent = tree + repaired + unrecovered + in_flight`.
#[derive(Clone, Debug, Default)]
pub struct SessionStats {
    /// Packets the ingress has sent since this node joined, as far as is known here.
    pub sent: u64,
    /// Packets that came by the tree.
    pub tree: u64,
    /// Packets that came otherwise first: as repairs or copies, or rebuilt from parity.
    pub repaired: u64,
    /// Those of `repaired` that came as copies.
    pub copied: u64,
    /// Those of `repaired` that were rebuilt from parity.
    pub rebuilt: u64,
    /// Those of `tree` that the second tree brought first.
    pub second_tree: u64,
    /// Packets given up.
    pub unrecovered: u64,
    /// Packets missing but not given up.
    pub in_flight: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Repairs from before this node joined, fetched for a child.
    pub backfilled: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Packets held that went before they could be delivered.
    pub undelivered: u64,
    /// Packets that went from retention before their time, for lack of room.
    pub evicted_early: u64,
    /// Jumps beyond the window that were followed.
    pub resyncs: u64,
    /// NAK packets sent.
    pub naks_sent: u64,
    /// NAK packets received.
    pub naks_received: u64,
    /// Sequences asked for by a child that are not here and can't be had.
    pub naks_unanswerable: u64,
    /// Sequences asked for by a child beyond what its queue holds; it will ask again.
    pub naks_over_budget: u64,
    /// Repairs sent.
    pub repairs_sent: u64,
    /// Repairs received, taken or not.
    pub repairs_received: u64,
    /// Repairs sent down the tree, for several children at once.
    pub subcasts_sent: u64,
    /// NAK confirmations sent.
    pub confirms_sent: u64,
    /// NAK confirmations received.
    pub confirms_received: u64,
    /// Sequences asked for by a child while the answer was on its way.
    pub naks_suppressed: u64,
    /// Copies sent.
    pub copies_sent: u64,
    /// Copies received, taken or not.
    pub copies_received: u64,
    /// Parity packets received, used or not.
    pub parity_received: u64,
    /// Packets sent to clients that catch up.
    pub caught_up: u64,
    /// Packets of the asked history that were gone when a client's turn came.
    pub catch_up_missed: u64,
    /// Changes between pull and copy of mode `auto`.
    pub mode_changes: u64,
    /// Time from the discovery of a gap to its repair.
    pub repair_latency: LatencyHistogram,
}

//! Cycles of each stage of the loop, counted while somebody looks.
//!
//! Off, a stage costs one branch a turn. On, it costs a reading of the time stamp counter (some 40 cycles, which show in
//! its own number). What lies between two stages counts as the latter's.

use std::time::Duration;

use crossbeam::channel::Sender;
use overlay::Instant;

use super::Worker;
use crate::eal::cycles;

/// The parts of a turn, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Frames taken from the ports, and sent down the tree: a burst that is complete goes to the device here.
    Receive,
    /// Frames to the kernel's part of the ports, and from it.
    Kernel,
    /// The protocol's timers.
    Timers,
    /// Blocks rebuilt from parity.
    Rebuild,
    /// What the protocol sends: NAKs, repairs, copies, heartbeats, hellos.
    Transmit,
    /// Copies for clients.
    Deliver,
    /// History for clients that have joined late.
    CatchUp,
    /// What is left of bursts, handed to the devices.
    Flush,
    /// ARP, events, the clock, ports that are stuck.
    Housekeeping,
    /// Commands and reports.
    Control,
    /// Naps.
    Rest,
}

impl Stage {
    pub(crate) const ALL: [Stage; 11] = [
        Stage::Receive,
        Stage::Kernel,
        Stage::Timers,
        Stage::Rebuild,
        Stage::Transmit,
        Stage::Deliver,
        Stage::CatchUp,
        Stage::Flush,
        Stage::Housekeeping,
        Stage::Control,
        Stage::Rest,
    ];

    /// The word for it in the API and in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Kernel => "kernel",
            Stage::Timers => "timers",
            Stage::Rebuild => "rebuild",
            Stage::Transmit => "transmit",
            Stage::Deliver => "deliver",
            Stage::CatchUp => "catch_up",
            Stage::Flush => "flush",
            Stage::Housekeeping => "housekeeping",
            Stage::Control => "control",
            Stage::Rest => "rest",
        }
    }
}

/// What a stage took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageCount {
    /// Times that it ran and found packets; these; and the cycles that took.
    pub(crate) busy_calls: u64,
    pub(crate) packets: u64,
    pub(crate) busy_cycles: u64,
    /// Times that it found none, and the cycles.
    pub(crate) empty_calls: u64,
    pub(crate) empty_cycles: u64,
}

/// In the order of [`Stage::ALL`].
pub(crate) type StageCounts = [StageCount; Stage::ALL.len()];

/// A look at the stages, under way.
pub(super) struct Look {
    counts: StageCounts,
    /// When the last stage ended, in cycles.
    lap: u64,
    until: Instant,
    to: Sender<StageCounts>,
}

impl Look {
    /// Counts from now on, for this long.
    pub(super) fn begin(now: Instant, time: Duration, to: Sender<StageCounts>) -> Look {
        Look {
            counts: StageCounts::default(),
            lap: cycles(),
            until: now + time,
            to,
        }
    }

    /// A stage has ended.
    #[cold]
    fn lap(&mut self, stage: Stage, packets: usize) {
        let lap = cycles();
        let took = lap - std::mem::replace(&mut self.lap, lap);
        let count = &mut self.counts[stage as usize];
        if packets > 0 {
            count.busy_calls += 1;
            count.packets += packets as u64;
            count.busy_cycles += took;
        } else {
            count.empty_calls += 1;
            count.empty_cycles += took;
        }
    }
}

impl Worker {
    /// Runs a stage, which says how many packets it had, and counts that if somebody looks.
    #[inline(always)]
    pub(super) fn stage<const SWITCHES: bool>(
        &mut self,
        stage: Stage,
        run: impl FnOnce(&mut Worker) -> usize,
    ) -> usize {
        let packets = run(self);
        self.lap::<SWITCHES>(stage, packets);
        packets
    }

    /// A stage has ended, with so many packets.
    #[inline(always)]
    pub(super) fn lap<const SWITCHES: bool>(&mut self, stage: Stage, packets: usize) {
        if SWITCHES && let Some(look) = &mut self.look {
            look.lap(stage, packets);
        }
    }

    /// Says what was counted, when the time is over.
    pub(super) fn end_look(&mut self, now: Instant) {
        if let Some(over) = self.look.take_if(|look| look.until <= now) {
            let _ = over.to.send(over.counts);
        }
    }
}

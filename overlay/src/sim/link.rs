//! One direction of a link: what it loses, holds and counts.

use core::time::Duration;

use super::scenario::{BurstLoss, Impairment};
use crate::NeighborId;
use crate::wire::Kind;

/// What a direction of a link carried and lost, by kind of packet; bytes are those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets of the tree with a packet of the source.
    pub data: Carried,
    /// Repairs, to a neighbor or down the tree.
    pub repairs: Carried,
    /// Copies.
    pub copies: Carried,
    /// Parity.
    pub parity: Carried,
    /// NAKs.
    pub naks: Carried,
    /// Heartbeats.
    pub heartbeats: Carried,
    /// NAK confirmations and hellos.
    pub control: Carried,
    /// Most bytes that waited for their turn.
    pub queue_bytes_max: u64,
}

/// What was sent of one kind of packet, and what of it was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets sent.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets of them that were lost.
    pub lost: u64,
    /// Bytes of them that were lost.
    pub lost_bytes: u64,
}

impl Carried {
    pub(super) fn add(&mut self, other: &Carried) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.lost_bytes += other.lost_bytes;
    }
}

impl LinkStats {
    fn of(&mut self, kind: Kind) -> &mut Carried {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Repair => &mut self.repairs,
            Kind::Copy => &mut self.copies,
            Kind::Parity => &mut self.parity,
            Kind::Nak => &mut self.naks,
            Kind::Heartbeat => &mut self.heartbeats,
            Kind::NakConfirm | Kind::Hello => &mut self.control,
        }
    }

    /// Adds what another link carried.
    pub fn add(&mut self, other: &LinkStats) {
        self.data.add(&other.data);
        self.repairs.add(&other.repairs);
        self.copies.add(&other.copies);
        self.parity.add(&other.parity);
        self.naks.add(&other.naks);
        self.heartbeats.add(&other.heartbeats);
        self.control.add(&other.control);
        self.queue_bytes_max = self.queue_bytes_max.max(other.queue_bytes_max);
    }
}

/// When the copies of a packet arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    pub(super) first: Option<u64>,
    pub(super) second: Option<u64>,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Direction {
    /// The router at its end.
    pub(super) to: u32,
    /// As which neighbor the sender is known there.
    pub(super) arrives_from: NeighborId,
    pub(super) impairment: Impairment,
    pub(super) stats: LinkStats,
    rng: fastrand::Rng,
    /// How many cuts are in force.
    cuts: u32,
    /// In the bad state of the Gilbert–Elliott model.
    bursting: bool,
    /// When all that waits has been sent, in ns.
    busy_until: u64,
}

impl Direction {
    pub(super) fn new(to: usize, from: NeighborId, impairment: Impairment, seed: u64) -> Direction {
        Direction {
            to: to as u32,
            arrives_from: from,
            impairment,
            stats: LinkStats::default(),
            rng: fastrand::Rng::with_seed(seed),
            cuts: 0,
            bursting: false,
            busy_until: 0,
        }
    }

    pub(super) fn cut(&mut self) {
        self.cuts += 1;
    }

    pub(super) fn heal(&mut self) {
        self.cuts = self.cuts.saturating_sub(1);
    }

    /// Sends a packet: when it arrives, and when its duplicate does.
    #[inline]
    pub(super) fn send(&mut self, now: u64, kind: Kind, bytes: u64) -> Arrivals {
        let sent_at = self.queue(now, bytes);
        let lost = sent_at.is_none() || self.cuts > 0 || self.loses();
        let carried = self.stats.of(kind);
        carried.packets += 1;
        carried.bytes += bytes;
        if lost {
            carried.lost += 1;
            carried.lost_bytes += bytes;
            return Arrivals::default();
        }
        let sent_at = sent_at.unwrap_or(now);
        let first = Some(sent_at + self.travel());
        let twice = self.impairment.duplicate > 0.0 && self.rng.f64() < self.impairment.duplicate;
        let second = twice.then(|| sent_at + self.travel());
        Arrivals { first, second }
    }

    /// Queues a packet: when it has left; `None` where the queue is full.
    fn queue(&mut self, now: u64, bytes: u64) -> Option<u64> {
        let rate = self.impairment.rate_bps;
        if rate == 0 {
            return Some(now);
        }
        let start = self.busy_until.max(now);
        let waiting = (u128::from(start - now) * u128::from(rate) / 8_000_000_000) as u64 + bytes;
        if waiting > self.impairment.queue_bytes.max(bytes) {
            return None;
        }
        self.stats.queue_bytes_max = self.stats.queue_bytes_max.max(waiting);
        self.busy_until = start + bytes * 8_000_000_000 / rate;
        Some(self.busy_until)
    }

    fn loses(&mut self) -> bool {
        let Impairment { loss, burst, .. } = self.impairment;
        if let Some(burst) = burst {
            let (enter, leave) = transitions(burst);
            let change = if self.bursting { leave } else { enter };
            self.bursting ^= self.rng.f64() < change;
            if self.bursting {
                return true;
            }
        }
        loss > 0.0 && self.rng.f64() < loss
    }

    fn travel(&mut self) -> u64 {
        let Impairment {
            delay,
            jitter,
            reorder,
            ..
        } = self.impairment;
        let mut travel = delay.as_nanos() as u64;
        if jitter > Duration::ZERO {
            travel += self.rng.u64(..jitter.as_nanos() as u64);
        }
        if reorder > 0.0 && self.rng.f64() < reorder {
            travel += self.rng.u64(..delay.as_nanos() as u64);
        }
        travel
    }
}

/// The chance to enter and to leave a burst, for each packet.
fn transitions(burst: BurstLoss) -> (f64, f64) {
    let leave = 1.0 / burst.mean.max(1.0);
    let enter = burst.loss * leave / (1.0 - burst.loss).max(f64::EPSILON);
    (enter.min(1.0), leave)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MS: u64 = 1_000_000;

    fn direction(impairment: Impairment) -> Direction {
        Direction::new(0, NeighborId(0), impairment, 1)
    }

    #[test]
    fn bursts_lose_the_share_and_have_the_length_that_was_asked_for() {
        let mut link = direction(Impairment {
            burst: Some(BurstLoss {
                loss: 0.1,
                mean: 50.0,
            }),
            ..Impairment::delay(Duration::from_millis(1))
        });
        let (mut lost, mut bursts, mut before) = (0.0, 0.0, false);
        for _ in 0..1_000_000 {
            let now = link.send(0, Kind::Data, 100).first.is_none();
            lost += f64::from(u8::from(now));
            bursts += f64::from(u8::from(now && !before));
            before = now;
        }
        assert!((0.09..0.11).contains(&(lost / 1e6)), "{lost}");
        assert!((45.0..55.0).contains(&(lost / bursts)), "{lost} {bursts}");
    }

    #[test]
    fn a_bandwidth_holds_packets_and_a_full_queue_loses_them() {
        let mut link = direction(Impairment {
            rate_bps: 8_000_000,
            queue_bytes: 5_000,
            ..Impairment::delay(Duration::from_millis(2))
        });
        let arrivals: Vec<_> = (0..8)
            .map(|_| link.send(0, Kind::Data, 1000).first)
            .collect();
        let expected = [
            Some(3),
            Some(4),
            Some(5),
            Some(6),
            Some(7),
            None,
            None,
            None,
        ];
        assert_eq!(arrivals, expected.map(|ms| ms.map(|ms: u64| ms * MS)));
        assert_eq!(link.send(3 * MS, Kind::Data, 1000).first, Some(8 * MS));
        assert_eq!(link.stats.data.lost_bytes, 3000);
    }

    #[test]
    fn nothing_passes_a_cut() {
        let mut link = direction(Impairment::delay(Duration::from_millis(1)));
        link.cut();
        assert_eq!(link.send(0, Kind::Data, 1).first, None);
        link.heal();
        assert_eq!(link.send(5, Kind::Data, 1).first, Some(MS + 5));
    }
}

//! Sequence numbers, ranges of them, and the other integers that travel.

use core::fmt;

/// A sequence number: the place of a packet in its epoch, counted from 1.
///
/// 64 bits never wrap (design: one packet a nanosecond lasts 584 years), so plain comparison is order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The sequence of the first packet of an epoch.
    pub const FIRST: Seq = Seq(1);
    /// The highest sequence that is believed: 2^56, 91 years at 25 million packets per second. What lies above is
    /// forged, and sums of a few such sequences must still fit 64 bits.
    pub const MAX: Seq = Seq(1 << 56);

    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }

    /// How far `self` lies above `other`; 0 if it does not.
    #[must_use]
    pub const fn above(self, other: Seq) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of consecutive sequences: `count` of them from `first`. Never empty, never past [`Seq::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    first: Seq,
    count: u32,
}

impl SeqRange {
    /// The range of `count` sequences from `first`; `None` if it would be empty, start at 0 or pass [`Seq::MAX`].
    #[must_use]
    pub fn new(first: Seq, count: u32) -> Option<SeqRange> {
        let last = first.0.checked_add(u64::from(count.checked_sub(1)?))?;
        (first.0 > 0 && last <= Seq::MAX.0).then_some(SeqRange { first, count })
    }

    /// The lowest sequence of the range.
    #[must_use]
    pub const fn first(self) -> Seq {
        self.first
    }

    /// How many sequences the range holds, at least 1.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The highest sequence of the range.
    #[must_use]
    pub const fn last(self) -> Seq {
        Seq(self.first.0 + self.count as u64 - 1)
    }
}

/// One life of an ingress for a session, or of a node. Compared as a serial number (RFC 1982), since it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u16);

impl Epoch {
    /// Whether `self` began after `other`, by serial number arithmetic (RFC 1982 §3.2).
    #[must_use]
    pub const fn is_newer_than(self, other: Epoch) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 0x8000
    }
}

/// The number of a session, the same on every node of its tree. 0 means "no session" and is never one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// The place of a neighbor in its node's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighborId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_compare_across_the_wrap() {
        assert!(Epoch(3).is_newer_than(Epoch(65_530)));
        assert!(!Epoch(65_530).is_newer_than(Epoch(3)));
        assert!(!Epoch(7).is_newer_than(Epoch(7)));
    }

    #[test]
    fn a_range_is_never_empty_and_never_wraps() {
        assert_eq!(SeqRange::new(Seq(5), 0), None);
        assert_eq!(SeqRange::new(Seq(0), 1), None);
        assert_eq!(SeqRange::new(Seq(u64::MAX), 1), None);
        assert_eq!(SeqRange::new(Seq(Seq::MAX.0 - 1), 3), None);
        assert!(SeqRange::new(Seq(Seq::MAX.0 - 1), 2).is_some());
        assert_eq!(SeqRange::new(Seq(5), 3).map(SeqRange::last), Some(Seq(7)));
    }
}

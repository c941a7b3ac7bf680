//! Time as the protocol sees it: a number handed in by the caller.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment of a monotonic clock, in nanoseconds since a zero of the caller's choice, less than 18 years ago.
///
/// The protocol has no clock of its own: every call carries `now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The end of time: of what is not to come.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// How long after `earlier` this moment is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, after: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(after)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, before: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(before)))
    }
}

/// A duration in nanoseconds: 584 years at most. Without the 128 bits of `Duration::as_nanos`, which cost.
pub(crate) const fn nanos(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(span.subsec_nanos() as u64)
}

//! A token bucket: so much a second, with a little ahead of time.

use core::time::Duration;

use crate::Instant;
use crate::time::nanos;

/// A token bucket, kept as the moment at which all that was taken has been earned (the generic cell rate algorithm).
///
/// Seen the other way it is a line of a fixed rate with a bounded queue: what is taken leaves the line when
/// [`TokenBucket::reserve`] says.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    earned_at: Instant,
    /// What a whole number of nanoseconds left of the last price, in tokens per 10⁹: keeps the rate exact.
    remainder: u64,
    per_second: u64,
    /// Nanoseconds that one token takes to be earned, and what the division left: no division for each.
    price_ns: u64,
    price_remainder: u64,
    depth_ns: u64,
}

/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket that earns `per_second` tokens a second and lends those of `depth`. At rate 0 nothing passes.
    pub const fn new(per_second: u64, depth: Duration) -> TokenBucket {
        let divisor = if per_second == 0 { 1 } else { per_second };
        TokenBucket {
            earned_at: Instant(0),
            remainder: 0,
            per_second,
            price_ns: NANOS / divisor,
            price_remainder: NANOS % divisor,
            depth_ns: nanos(depth),
        }
    }

    /// A full bucket that earns `per_second` tokens a second and lends up to `burst` of them.
    #[must_use]
    pub fn with_burst(per_second: u64, burst: u64) -> TokenBucket {
        let depth = Duration::from_secs_f64(burst as f64 / per_second.max(1) as f64);
        TokenBucket::new(per_second, depth)
    }

    /// Takes `tokens` and returns the moment at which they are earned, `now` + depth at most; `None`, and nothing
    /// taken, where it would be later.
    pub fn reserve(&mut self, now: Instant, tokens: u64) -> Option<Instant> {
        let idle = self.earned_at <= now;
        let start = if idle { now } else { self.earned_at };
        let remainder = if idle { 0 } else { self.remainder };
        let price = tokens.checked_mul(NANOS)?.checked_add(remainder)?;
        let earned_at = start + Duration::from_nanos(price.checked_div(self.per_second)?);
        if earned_at.0.saturating_sub(now.0) > self.depth_ns {
            return None;
        }
        self.earned_at = earned_at;
        self.remainder = price % self.per_second;
        Some(earned_at)
    }

    /// Takes one token, if it is there.
    #[inline]
    pub fn take(&mut self, now: Instant) -> bool {
        let idle = self.earned_at <= now;
        let (start, remainder) = if idle {
            (now.0, 0)
        } else {
            (self.earned_at.0, self.remainder)
        };
        let remainder = remainder + self.price_remainder;
        let carried = remainder >= self.per_second;
        let earned_at = start.saturating_add(self.price_ns + u64::from(carried));
        if self.per_second == 0 || earned_at.saturating_sub(now.0) > self.depth_ns {
            return false;
        }
        self.earned_at = Instant(earned_at);
        self.remainder = if carried {
            remainder - self.per_second
        } else {
            remainder
        };
        true
    }

    /// When [`TokenBucket::take`] will succeed, if nothing else is taken before; never before `now`.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Instant {
        let price = NANOS
            .saturating_add(self.remainder)
            .checked_div(self.per_second);
        let earned_at = self.earned_at + Duration::from_nanos(price.unwrap_or(u64::MAX));
        (earned_at - Duration::from_nanos(self.depth_ns)).max(now)
    }

    /// Gives `tokens` on top of the rate; what does not fit into the bucket is lost.
    #[inline]
    pub fn grant(&mut self, tokens: u64) {
        let worth = self.price_ns.saturating_mul(tokens);
        self.earned_at = Instant(self.earned_at.0.saturating_sub(worth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_lends_its_depth_and_then_the_rate() {
        let mut bucket = TokenBucket::new(1000, Duration::from_millis(10));
        let start = Instant(5_000_000_000);
        let burst = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(burst, 10);
        let later = (1..=1000u64)
            .filter(|&step| bucket.take(start + Duration::from_micros(step * 500)))
            .count();
        assert_eq!(later, 500);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_is_kept_exactly() {
        let mut bucket = TokenBucket::new(3_000_000_000, Duration::from_secs(2));
        let mut earned = Instant(0);
        for _ in 0..3_000_000 {
            earned = bucket.reserve(Instant(0), 1000).unwrap();
        }
        assert_eq!(earned, Instant(1_000_000_000));
    }

    #[test]
    fn what_is_granted_comes_on_top_and_readiness_is_told() {
        let mut bucket = TokenBucket::with_burst(1000, 10);
        let now = Instant(5_000_000_000);
        while bucket.take(now) {}
        assert_eq!(bucket.ready_at(now), now + Duration::from_millis(1));
        assert!(bucket.take(bucket.ready_at(now)));
        bucket.grant(3);
        assert_eq!((0..100).filter(|_| bucket.take(now)).count(), 2);
        bucket.grant(1000);
        assert_eq!((0..100).filter(|_| bucket.take(now)).count(), 10);
    }

    #[test]
    fn nothing_passes_at_rate_zero() {
        assert!(!TokenBucket::new(0, Duration::from_secs(1)).take(Instant(7)));
    }
}

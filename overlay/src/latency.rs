//! A histogram of latencies in fixed memory.

use core::time::Duration;

/// Buckets per power of two: a reported value is at most 1/8 above the true one.
const SUB_BUCKETS: usize = 8;
/// Octaves covered: 1 µs to 2^27 µs (134 s), longer than any deadline.
const OCTAVES: usize = 28;
const BUCKETS: usize = SUB_BUCKETS * OCTAVES;

/// A log-linear histogram of latencies: 1 µs to 134 s, at most 12.5 % too high, 1,800 bytes, no allocation.
///
/// ```
/// use core::time::Duration;
/// let mut repairs = overlay::LatencyHistogram::default();
/// repairs.record(Duration::from_micros(200));
/// assert_eq!(repairs.quantile_us(0.5), 200);
/// ```
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        LatencyHistogram {
            buckets: [0; BUCKETS],
            count: 0,
            sum_us: 0,
            max_us: 0,
        }
    }
}

impl LatencyHistogram {
    /// Adds one latency; below a microsecond it counts as 0, above the range in the last bucket.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(us)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// How many latencies were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all latencies, in microseconds.
    #[must_use]
    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The longest latency, in microseconds, exact.
    #[must_use]
    pub const fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The latency that a share `q` (0 to 1) of all stays at or below, in microseconds; 0 when nothing was recorded.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> u64 {
        let rank = (q.clamp(0.0, 1.0) * self.count as f64) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if *bucket > 0 && seen >= rank.max(1) {
                return upper_bound_us(index).min(self.max_us);
            }
        }
        self.max_us
    }

    /// How many latencies were at most `us` microseconds, counting whole buckets; exact when `us` is a power of two less one.
    #[must_use]
    pub fn count_up_to_us(&self, us: u64) -> u64 {
        (0..BUCKETS)
            .take_while(|&index| upper_bound_us(index) <= us)
            .map(|index| self.buckets[index])
            .sum()
    }
}

/// Values below `SUB_BUCKETS` have a bucket each; above, the octave and the three bits after the leading one name it.
fn bucket_of(us: u64) -> usize {
    if us < SUB_BUCKETS as u64 {
        return us as usize;
    }
    let exponent = us.ilog2() as usize;
    let sub = (us >> (exponent - 3)) as usize & (SUB_BUCKETS - 1);
    ((exponent - 2) * SUB_BUCKETS + sub).min(BUCKETS - 1)
}

/// The highest value that falls into bucket `index`.
fn upper_bound_us(index: usize) -> u64 {
    if index < SUB_BUCKETS {
        return index as u64;
    }
    let exponent = index / SUB_BUCKETS + 2;
    let sub = (index % SUB_BUCKETS) as u64;
    ((SUB_BUCKETS as u64 + sub + 1) << (exponent - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_and_within_an_eighth(us in 0u64..100_000_000) {
            let index = bucket_of(us);
            let upper = upper_bound_us(index);
            prop_assert!(us <= upper && upper as f64 <= us as f64 * 1.125 + 1.0);
            prop_assert!(index == 0 || upper_bound_us(index - 1) < us);
        }
    }

    #[test]
    fn quantiles_follow_the_ranks() {
        let mut histogram = LatencyHistogram::default();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        assert!((500..=562).contains(&histogram.quantile_us(0.5)));
        assert_eq!(histogram.quantile_us(1.0), 1000);
        assert_eq!(histogram.count_up_to_us(511), 511);
        assert_eq!(LatencyHistogram::default().quantile_us(0.99), 0);
    }
}

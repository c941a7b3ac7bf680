//! Round-trip time of an adjacency, and the time-out that follows from it.

use core::time::Duration;

/// Shortest time-out (design: §5.3): below it a scheduling hiccup at the neighbor looks like a loss.
const RTO_MIN: Duration = Duration::from_micros(200);
/// Longest time-out before back-off: a neighbor slower than this is better asked again than waited for.
const RTO_MAX: Duration = Duration::from_millis(250);
/// Time-out before the first sample. RFC 6298's second would outlast most deadlines.
const RTO_INITIAL: Duration = Duration::from_millis(10);

/// A smoothed time and its variation (RFC 6298 §2): of a round trip, or of how far two ways lie apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed_ns: u64,
    variation_ns: u64,
}

impl Rtt {
    /// Takes one measurement in.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        let rtt_ns = u64::try_from(rtt.as_nanos())
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 40);
        if self.smoothed_ns == 0 {
            self.smoothed_ns = rtt_ns;
            self.variation_ns = rtt_ns / 2;
            return;
        }
        let error = self.smoothed_ns.abs_diff(rtt_ns);
        self.variation_ns = (3 * self.variation_ns + error) / 4;
        self.smoothed_ns = (7 * self.smoothed_ns + rtt_ns) / 8;
    }

    /// The smoothed round-trip time; zero before the first sample.
    pub(crate) fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.smoothed_ns)
    }

    /// A time that few samples exceed; `None` before the first one.
    pub(crate) fn upper(&self) -> Option<Duration> {
        let upper = self.smoothed_ns + 4 * self.variation_ns;
        (self.smoothed_ns > 0).then(|| Duration::from_nanos(upper))
    }

    /// How long to wait for an answer before asking again.
    pub(crate) fn rto(&self) -> Duration {
        self.upper()
            .map_or(RTO_INITIAL, |upper| upper.clamp(RTO_MIN, RTO_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_follows_the_samples_within_its_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(), RTO_INITIAL);
        for _ in 0..100 {
            rtt.sample(Duration::from_micros(20));
        }
        assert_eq!(rtt.rto(), RTO_MIN);
        for _ in 0..100 {
            rtt.sample(Duration::from_millis(20));
        }
        assert!((20..22).contains(&rtt.rto().as_millis()), "{:?}", rtt.rto());
        rtt.sample(Duration::from_secs(100));
        assert_eq!(rtt.rto(), RTO_MAX);
    }
}

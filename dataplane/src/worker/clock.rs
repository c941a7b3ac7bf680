//! The worker's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlay::Instant;

/// How often CLOCK_REALTIME is looked at: its slew (NTP: at most 500 ppm) makes 50 µs of error in this time.
const REALTIME_INTERVAL: Duration = Duration::from_millis(100);

/// A monotonic clock that starts near zero, and its distance to CLOCK_REALTIME.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
    realtime_offset_ns: u64,
    realtime_due: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let mut clock = Clock {
            start: std::time::Instant::now(),
            realtime_offset_ns: 0,
            realtime_due: Instant(0),
        };
        clock.follow_realtime(clock.now());
        clock
    }

    /// The time since the start; never 0, which the protocol reads as "never".
    pub(crate) fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64 + 1)
    }

    /// `now` as nanoseconds since 1970.
    pub(crate) fn realtime_ns(&self, now: Instant) -> u64 {
        now.0 + self.realtime_offset_ns
    }

    /// Looks at CLOCK_REALTIME, if it is time to; returns whether it was.
    pub(crate) fn follow_realtime(&mut self, now: Instant) -> bool {
        if now < self.realtime_due {
            return false;
        }
        self.realtime_due = now + REALTIME_INTERVAL;
        let realtime = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.realtime_offset_ns = (realtime.as_nanos() as u64).saturating_sub(self.now().0);
        true
    }
}

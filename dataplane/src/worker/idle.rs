//! What a worker does when there is nothing to do.

use std::thread;
use std::time::Duration;

use overlay::Instant;

use super::Clock;
use crate::config::Idle;

/// Turns without work before the first nap: a packet often has company close behind.
const POLLS_BEFORE_NAP: u32 = 16;
/// Naps grow from this …
const NAP_MIN: Duration = Duration::from_micros(5);
/// … to this while there was traffic a moment ago: it is the latency that a nap adds.
const NAP_MAX: Duration = Duration::from_micros(50);
/// Without traffic for this long, naps may last `DOZE_MAX`.
const DOZE_AFTER: Duration = Duration::from_millis(500);
/// Longest nap of a node that has nothing but hellos: it then takes 4 % of a core, with naps of `NAP_MAX` 14 %.
const DOZE_MAX: Duration = Duration::from_micros(400);

/// The idle ladder: poll on, then nap, longer each time, and longest when nothing but hellos has come for a while.
#[derive(Debug)]
pub(crate) struct Idler {
    idle: Idle,
    idle_turns: u32,
    nap: Duration,
    traffic_at: Instant,
    nap_ns: u64,
}

impl Idler {
    pub(crate) fn new(idle: Idle) -> Idler {
        Idler {
            idle,
            idle_turns: 0,
            nap: NAP_MIN,
            traffic_at: Instant(0),
            nap_ns: 0,
        }
    }

    /// There was work.
    pub(crate) fn busy(&mut self) {
        self.idle_turns = 0;
        self.nap = NAP_MIN;
    }

    /// There was traffic of a session: the next packet is not to wait for a long nap.
    pub(crate) fn traffic(&mut self, now: Instant) {
        self.traffic_at = now;
    }

    /// There was nothing to do, and will be nothing before `due` unless a packet comes.
    pub(crate) fn rest(&mut self, clock: &Clock, due: Instant) {
        self.idle_turns = self.idle_turns.saturating_add(1);
        if self.idle == Idle::Spin || self.idle_turns < POLLS_BEFORE_NAP {
            std::hint::spin_loop();
            return;
        }
        let now = clock.now();
        let dozing = now.since(self.traffic_at) > DOZE_AFTER;
        let longest = if dozing { DOZE_MAX } else { NAP_MAX };
        let nap = self.nap.min(longest).min(due.since(now));
        self.nap = (self.nap * 2).min(longest);
        if nap > Duration::from_micros(1) {
            thread::sleep(nap);
            self.nap_ns += clock.now().since(now).as_nanos() as u64;
        }
    }

    /// Time spent asleep, in nanoseconds.
    pub(crate) fn nap_ns(&self) -> u64 {
        self.nap_ns
    }
}

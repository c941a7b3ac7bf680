//! One overlay adjacency: hellos, liveness and round-trip time.
//!
//! ```text
//!              hears Down            hears Init or Up
//!   ┌──────┐ ──────────▶ ┌──────┐ ──────────────────▶ ┌────┐
//!   │ Down │             │ Init │                     │ Up │
//!   └──────┘ ◀────────── └──────┘ ◀────────────────── └────┘
//!      │        silent              hears Down           │
//!      │                                                 │
//!      ├──── hears Init ──────────────────────────────▶  │
//!      └ ◀─────────────────────── silent, restarted ─────┘
//! ```
//! In full, with `Start` (nothing heard yet), `Heard`, `Silent` and `Restart` for `Down` and its reasons, `Unheard` for
//! the `Init` that follows `Up`, `–` for what changes nothing, `stale` for what is not taken and `↓` for what counts
//! as going down:
//!
//! | event              | Start     | Heard     | Silent    | Restart   | Init      | Unheard   | Up        |
//! |--------------------|-----------|-----------|-----------|-----------|-----------|-----------|-----------|
//! | hears Down         | Init      | Init      | Init      | Init      | –         | –         | Unheard ↓ |
//! | hears Init         | Up        | Up        | Up        | Up        | Up        | Up        | –         |
//! | hears Up           | Heard     | –         | –         | –         | Up        | Up        | –         |
//! | replay of Down     | Init      | Init      | Init      | Init      | stale     | stale     | stale     |
//! | replay of Init     | Up        | Up        | Up        | Up        | stale     | stale     | stale     |
//! | replay of Up       | Heard     | –         | –         | –         | stale     | stale     | stale     |
//! | new epoch, Down    | Init      | Init      | Init      | Init      | –         | Init      | Init ↓    |
//! | new epoch, Init    | Up        | Up        | Up        | Up        | Up        | Up        | Up ↓      |
//! | new epoch, Up      | Heard     | –         | –         | –         | Restart   | Restart   | Restart ↓ |
//! | old epoch, Down    | Init      | Init      | Init      | Init      | stale     | stale     | stale     |
//! | old epoch, Init    | Up        | Up        | Up        | Up        | stale     | stale     | stale     |
//! | old epoch, Up      | Heard     | –         | –         | –         | stale     | stale     | stale     |
//! | detection over     | –         | Silent    | –         | –         | Silent    | Silent    | Silent ↓  |
//! | patience over      | Silent    | Silent    | –         | –         | Silent    | Silent    | Silent ↓  |
//! | its own hellos say | Down      | Down      | Down      | Down      | Init      | Init      | Up        |
//!
//! The three-way handshake and the detection time are those of RFC 5880 (§6.2, §6.8.4), without its negotiation: the
//! sender's own interval and multiplier say when it counts as gone.
//!
//! How a neighbor keeps to its repair rate, as judged whenever hellos are due; `!` where an operator is told:
//!
//! | repair budget  | Within      | Beyond      | Throttled   | Ejected     |
//! |----------------|-------------|-------------|-------------|-------------|
//! | judged         | –           | –           | –           | –           |
//! | found empty    | Beyond      | –           | –           | –           |
//! | so for 100 ms  | Beyond      | Throttled ! | –           | –           |
//! | so for 10 s    | Beyond      | Ejected !   | Ejected !   | Beyond !    |
//! | not so for 1 s | –           | Within      | Within !    | Within !    |

use core::time::Duration;

use crate::bucket::TokenBucket;
use crate::rtt::Rtt;
use crate::time::nanos;
use crate::wire::{Header, Hello, HelloState, Kind};
use crate::{Epoch, Instant, Seq, SessionId};

/// Longest round trip that is believed: a longer one is a clock that jumped or a forged echo.
const RTT_MAX: Duration = Duration::from_secs(10);
/// Repairs that may leave to one neighbor back to back: within a receive ring of any device.
const REPAIR_BURST: u64 = 128;

/// NAKs that one neighbor may send back to back: one for each packet that a receive ring holds.
const NAK_BURST: u64 = 1024;
/// A budget that is found empty for this long makes a neighbor throttled: longer than any burst of repairs.
const THROTTLED_AFTER: Duration = Duration::from_millis(100);
/// A budget that is not found empty for this long ends that.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
/// Throttled for this long, a neighbor can't be helped: it is ejected.
const EJECTED_AFTER: Duration = Duration::from_secs(10);
/// How long an ejected neighbor is not answered.
const EJECTED_FOR: Duration = Duration::from_secs(1);

/// Detection times that a neighbor has at the start before it counts as silent: daemons start one after another.
const START_PATIENCE: u32 = 10;

/// Why an adjacency is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateReason {
    /// Nothing has been heard yet.
    Start,
    /// A hello moved it on.
    Hello,
    /// No hello for the detection time.
    Silent,
    /// The neighbor came back with a new epoch.
    Restarted,
    /// The neighbor says that it does not hear us.
    Unheard,
}

impl StateReason {
    /// The reason in a word or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StateReason::Start => "start",
            StateReason::Hello => "hello",
            StateReason::Silent => "silent",
            StateReason::Restarted => "restarted",
            StateReason::Unheard => "does not hear us",
        }
    }
}

/// How an adjacency is kept.
#[derive(Clone, Copy, Debug)]
pub struct NeighborConfig {
    /// How often a hello is sent.
    pub hello_interval: Duration,
    /// How many silent intervals mean that we are gone.
    pub detect_mult: u8,
    /// Most repairs sent to it per second.
    pub repair_rate_pps: u32,
}

/// Counters of an adjacency.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeighborStats {
    /// Hellos sent.
    pub hellos_sent: u64,
    /// Hellos received and taken.
    pub hellos_received: u64,
    /// How often it left `Up`.
    pub downs: u64,
    /// NAK packets sent to it.
    pub naks_sent: u64,
    /// NAK packets had from it.
    pub naks_received: u64,
    /// Repairs sent to it.
    pub repairs_sent: u64,
    /// Repairs had from it.
    pub repairs_received: u64,
    /// Copies sent to it.
    pub copies_sent: u64,
    /// Copies had from it.
    pub copies_received: u64,
    /// How often it was throttled: its repair rate was too low for what it asked for.
    pub throttles: u64,
    /// How often it was ejected: throttled for so long that it was not answered for a while.
    pub ejections: u64,
}

/// How a neighbor keeps to its repair rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Throttled,
    WithinRate,
    Ejected,
    Readmitted,
}

/// A repair budget that was found empty, with no pause since.
#[derive(Clone, Copy, Debug)]
struct Throttle {
    since: Instant,
    last: Instant,
    told: bool,
}

/// What a neighbor last told of itself.
#[derive(Clone, Copy, Debug)]
struct Heard {
    epoch: Epoch,
    sequence: Seq,
    timestamp: u64,
    at: Instant,
    detection: Duration,
}

/// One adjacency.
#[derive(Clone, Debug)]
pub struct Neighbor {
    config: NeighborConfig,
    state: HelloState,
    reason: StateReason,
    since: Instant,
    heard: Option<Heard>,
    next_hello: Instant,
    sequence: Seq,
    pub(crate) rtt: Rtt,
    pub(crate) repairs: TokenBucket,
    naks: TokenBucket,
    throttle: Option<Throttle>,
    ejected_until: Option<Instant>,
    pub(crate) stats: NeighborStats,
}

impl Neighbor {
    pub(crate) fn new(now: Instant, config: NeighborConfig) -> Neighbor {
        Neighbor {
            config,
            state: HelloState::Down,
            reason: StateReason::Start,
            since: now,
            heard: None,
            next_hello: now,
            sequence: Seq(0),
            rtt: Rtt::default(),
            repairs: TokenBucket::with_burst(config.repair_rate_pps.into(), REPAIR_BURST),
            // A NAK for each repair that it may have is more than it needs.
            naks: TokenBucket::with_burst(config.repair_rate_pps.into(), NAK_BURST),
            throttle: None,
            ejected_until: None,
            stats: NeighborStats::default(),
        }
    }

    /// Its state, why, and since when.
    #[must_use]
    pub fn state(&self) -> (HelloState, StateReason, Instant) {
        (self.state, self.reason, self.since)
    }

    /// Whether each hears the other.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == HelloState::Up
    }

    /// Whether it is worth asking: it is up, or has not had the time to come up yet.
    pub(crate) fn may_serve(&self) -> bool {
        let coming_up = matches!(self.reason, StateReason::Start | StateReason::Hello);
        self.is_up() || (coming_up && self.stats.downs == 0)
    }

    /// Whether it is up, and has been for `time`.
    pub(crate) fn is_steady(&self, now: Instant, time: Duration) -> bool {
        self.is_up() && self.since + time <= now
    }

    /// Whether it is throttled, and whether it is ejected.
    #[must_use]
    pub fn is_held_back(&self) -> (bool, bool) {
        let throttled = self.throttle.is_some_and(|throttle| throttle.told);
        (throttled, self.ejected_until.is_some())
    }

    /// Takes a packet of its repair budget; `false` if none is left.
    pub(crate) fn take_repair(&mut self, now: Instant) -> bool {
        let taken = self.repairs.take(now);
        if !taken {
            let throttle = self.throttle.get_or_insert(Throttle {
                since: now,
                last: now,
                told: false,
            });
            throttle.last = now;
        }
        taken
    }

    /// Takes a NAK of its budget; `false` if none is left.
    pub(crate) fn take_nak(&mut self, now: Instant) -> bool {
        self.naks.take(now)
    }

    /// Judges how it keeps to its repair rate; `Some` if that has changed.
    pub(crate) fn judge(&mut self, now: Instant) -> Option<Conduct> {
        if self.ejected_until.is_some_and(|until| until <= now) {
            self.ejected_until = None;
            return Some(Conduct::Readmitted);
        }
        let throttle = self.throttle.as_mut()?;
        let lasted = throttle.last.since(throttle.since);
        if now.since(throttle.last) >= THROTTLED_PAUSE {
            let told = throttle.told;
            self.throttle = None;
            return told.then_some(Conduct::WithinRate);
        }
        if lasted >= EJECTED_AFTER {
            self.throttle = None;
            self.ejected_until = Some(now + EJECTED_FOR);
            self.stats.ejections += 1;
            return Some(Conduct::Ejected);
        }
        if lasted >= THROTTLED_AFTER && !throttle.told {
            throttle.told = true;
            self.stats.throttles += 1;
            return Some(Conduct::Throttled);
        }
        None
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> NeighborStats {
        self.stats
    }

    /// Smoothed round-trip time; zero before the first sample.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.rtt.smoothed()
    }

    /// How long something that it must keep alive lives on without word from it.
    pub(crate) fn detection(&self) -> Duration {
        let own = self.config.hello_interval * u32::from(self.config.detect_mult);
        self.heard.map_or(own, |heard| heard.detection)
    }

    /// Takes a hello in. `false`: it is a replay or older than what was heard, and changed nothing.
    pub(crate) fn handle_hello(&mut self, now: Instant, header: &Header, hello: &Hello) -> bool {
        if self
            .heard
            .is_some_and(|heard| self.is_stale(&heard, header))
        {
            return false;
        }
        let restarted = self.heard.is_some_and(|heard| heard.epoch != header.epoch);
        if restarted && self.state != HelloState::Down {
            self.change(now, HelloState::Down, StateReason::Restarted);
        }
        self.heard = Some(Heard {
            epoch: header.epoch,
            sequence: header.sequence,
            timestamp: header.timestamp,
            at: now,
            detection: Duration::from_micros(hello.interval_us.into())
                * u32::from(hello.detect_mult),
        });
        self.stats.hellos_received += 1;
        self.measure(now, hello);
        match (self.state, hello.state) {
            (HelloState::Down, HelloState::Down) => {
                self.change(now, HelloState::Init, StateReason::Hello);
            }
            (HelloState::Down, HelloState::Init)
            | (HelloState::Init, HelloState::Init | HelloState::Up) => {
                self.change(now, HelloState::Up, StateReason::Hello);
            }
            (HelloState::Up, HelloState::Down) => {
                self.change(now, HelloState::Init, StateReason::Unheard);
            }
            // Down hears Up: the neighbor has not yet noticed that we are new. Our `Down` tells it.
            (HelloState::Down, HelloState::Up)
            | (HelloState::Init, HelloState::Down)
            | (HelloState::Up, HelloState::Init | HelloState::Up) => {}
        }
        true
    }

    /// A neighbor that is down is believed whatever it says: its clock may have stepped back over a restart, and one
    /// forged hello with a high sequence must not shut it out for good.
    fn is_stale(&self, heard: &Heard, header: &Header) -> bool {
        if self.state == HelloState::Down {
            return false;
        }
        if heard.epoch == header.epoch {
            return header.sequence <= heard.sequence;
        }
        !header.epoch.is_newer_than(heard.epoch)
    }

    fn measure(&mut self, now: Instant, hello: &Hello) {
        let Some(gone) = now.0.checked_sub(hello.echo).filter(|_| hello.echo != 0) else {
            return;
        };
        let Some(rtt) = gone.checked_sub(hello.held_ns).map(Duration::from_nanos) else {
            return;
        };
        if rtt <= RTT_MAX {
            self.rtt.sample(rtt);
        }
    }

    fn change(&mut self, now: Instant, state: HelloState, reason: StateReason) {
        if self.state == HelloState::Up {
            self.stats.downs += 1;
        }
        self.state = state;
        self.reason = reason;
        self.since = now;
    }

    /// Notices silence.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let (heard_at, patience) = match self.heard {
            Some(heard) => (heard.at, heard.detection),
            None => (self.since, self.detection() * START_PATIENCE),
        };
        let known = self.state == HelloState::Down && self.reason != StateReason::Start;
        if !known && now >= heard_at + patience {
            self.change(now, HelloState::Down, StateReason::Silent);
        }
    }

    /// The next hello, when it is due.
    pub(crate) fn poll_hello(&mut self, now: Instant, epoch: Epoch) -> Option<(Header, Hello)> {
        if now < self.next_hello {
            return None;
        }
        // From the schedule rather than from now, unless more than one is overdue: naps don't stretch the interval.
        self.next_hello = (self.next_hello + self.config.hello_interval).max(now);
        self.sequence = self.sequence.next();
        self.stats.hellos_sent += 1;
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch,
            session: SessionId(0),
            sequence: self.sequence,
            timestamp: now.0,
        };
        let interval_us = u32::try_from(self.config.hello_interval.as_micros()).unwrap_or(u32::MAX);
        let held = self
            .heard
            .map_or(Duration::ZERO, |heard| now.since(heard.at));
        let hello = Hello {
            interval_us: interval_us.max(1),
            detect_mult: self.config.detect_mult.max(1),
            state: self.state,
            echo: self.heard.map_or(0, |heard| heard.timestamp),
            held_ns: nanos(held),
        };
        Some((header, hello))
    }

    /// Lets a hello that is due be sent by another part of the node.
    pub(crate) fn skip_hello(&mut self, now: Instant) {
        if now >= self.next_hello {
            self.next_hello = now + self.config.hello_interval;
        }
    }

    /// When it next needs [`Neighbor::handle_timeout`] or [`Neighbor::poll_hello`].
    pub(crate) fn poll_timeout(&self) -> Instant {
        // Silence is looked for with every hello as well; this is only to notice it in time.
        match self.heard {
            Some(heard) if self.state != HelloState::Down => {
                self.next_hello.min(heard.at + heard.detection)
            }
            _ => self.next_hello,
        }
    }
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;

#[cfg(test)]
impl Neighbor {
    /// Brings the adjacency up, as two hellos would.
    pub(crate) fn come_up(&mut self, now: Instant) {
        self.change(now, HelloState::Up, StateReason::Hello);
    }
}

//! A bad link, for labs: loses, delays, reorders, doubles and limits what a port receives, the same way for each seed.

use std::collections::VecDeque;
use std::time::Duration;

use overlay::Instant;

use crate::{BurstLoss, Impairment, ImpairmentSnapshot};
use overlay::TokenBucket;

/// How long a frame is held back so that others overtake it, where the link has no delay of its own: some frames at
/// lab rates (5 ms are 25 at 5 kpps), far less than any deadline.
pub(crate) const REORDER_HOLD: Duration = Duration::from_millis(5);
/// The queue in front of a rate limit, as time at that rate: what an unmanaged router port holds.
const RATE_QUEUE: Duration = Duration::from_millis(100);
/// Most frames held at once; what comes beyond them is lost and counted as dropped. Each is a buffer of the packet
/// pool: 8,192 hold 80 ms at 100 kpps or 1.6 s at 5 kpps, and are half of the pool's default spare.
pub(crate) const MAX_HELD: usize = 8192;
/// Bits of a byte.
const BITS: u64 = 8;

/// What became of an offered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fate {
    /// It, and perhaps its double, comes out of [`Impaired::poll`] when it is time.
    Held,
    /// It is lost.
    Lost,
}

/// A bad link in front of a port, holding items `T`: buffers.
///
/// An offered item goes through random loss, burst loss, rate limit, delay and jitter, reordering and duplication, in
/// this order.
#[derive(Debug)]
pub(crate) struct Impaired<T> {
    settings: Impairment,
    random: fastrand::Rng,
    burst: Option<Gilbert>,
    rate: Option<TokenBucket>,
    /// What keeps the order: each waits for the one ahead of it, whatever jitter or a change of settings say.
    line: VecDeque<Held<T>>,
    /// What was picked to leave the order.
    aside: VecDeque<Held<T>>,
    /// Items ever held, so that those of the same moment leave as they came.
    arrivals: u64,
    stats: ImpairmentSnapshot,
}

#[derive(Debug)]
struct Held<T> {
    due: Instant,
    arrival: u64,
    item: T,
}

impl<T> Impaired<T> {
    /// A link that is bad in the ways of `settings` and counts on from `stats`.
    pub(crate) fn new(settings: &Impairment, stats: ImpairmentSnapshot) -> Impaired<T> {
        Impaired {
            settings: settings.clone(),
            random: fastrand::Rng::with_seed(settings.seed),
            burst: settings.burst_loss.map(Gilbert::new),
            rate: settings.rate_bps.map(rate_limit),
            line: VecDeque::with_capacity(MAX_HELD),
            aside: VecDeque::with_capacity(MAX_HELD),
            arrivals: 0,
            stats,
        }
    }

    /// Changes the settings and starts their random numbers anew; what is held stays and leaves as it would have.
    pub(crate) fn change(&mut self, settings: &Impairment) {
        self.settings = settings.clone();
        self.random = fastrand::Rng::with_seed(settings.seed);
        self.burst = settings.burst_loss.map(Gilbert::new);
        self.rate = settings.rate_bps.map(rate_limit);
    }

    /// What it has done so far.
    pub(crate) const fn stats(&self) -> ImpairmentSnapshot {
        self.stats
    }

    /// Puts a received frame of `len` bytes on the link. `copy` makes its double; where it can't, there is none.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        item: T,
        len: usize,
        copy: impl FnOnce(&T) -> Option<T>,
    ) -> Fate {
        self.stats.offered += 1;
        let Some(due) = self.pass(now, len) else {
            self.stats.dropped += 1;
            return Fate::Lost;
        };
        let reordered = self.happens(self.settings.reorder);
        self.stats.reordered += u64::from(reordered);
        if self.happens(self.settings.duplicate)
            && self.held() + 1 < MAX_HELD
            && let Some(double) = copy(&item)
        {
            self.stats.duplicated += 1;
            self.hold(due, reordered, item);
            self.hold(due, reordered, double);
        } else {
            self.hold(due, reordered, item);
        }
        Fate::Held
    }

    /// The next item whose time has come; call until `None`.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.first()?.pop_front().map(|held| held.item)
    }

    /// When [`Impaired::poll`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let line = self.line.front().map(|held| held.due);
        let aside = self.aside.front().map(|held| held.due);
        line.into_iter().chain(aside).min()
    }

    /// Gives back what is held, in the order in which it would have left: for when the link becomes a good one.
    pub(crate) fn drain(mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || self.poll(Instant(u64::MAX)))
    }

    /// How many items it holds.
    pub(crate) fn held(&self) -> usize {
        self.line.len() + self.aside.len()
    }

    /// When a frame of `len` bytes is through losses, rate limit and queue; `None` if it is lost there.
    fn pass(&mut self, now: Instant, len: usize) -> Option<Instant> {
        // The burst model moves on with every frame, whether or not that is lost otherwise.
        let lost = self.happens(self.settings.loss);
        let in_burst = match &mut self.burst {
            Some(burst) => burst.loses(&mut self.random),
            None => false,
        };
        if lost || in_burst || self.held() >= MAX_HELD {
            return None;
        }
        let Some(rate) = &mut self.rate else {
            return Some(now);
        };
        let through = rate.reserve(now, len as u64 * BITS);
        self.stats.rate_dropped += u64::from(through.is_none());
        through
    }

    /// Queues an item that is through the rate limit at `due`.
    fn hold(&mut self, due: Instant, reordered: bool, item: T) {
        let Impairment { delay, jitter, .. } = self.settings;
        let slow = !(delay.is_zero() && jitter.is_zero());
        let due = match (reordered, slow) {
            (true, true) => due,
            (true, false) => due + REORDER_HOLD,
            (false, _) => due + delay + jitter.mul_f64(self.random.f64()),
        };
        let queue = if reordered {
            &mut self.aside
        } else {
            &mut self.line
        };
        self.arrivals += 1;
        queue.push_back(Held {
            due,
            arrival: self.arrivals,
            item,
        });
    }

    /// The queue whose first item leaves first.
    fn first(&mut self) -> Option<&mut VecDeque<Held<T>>> {
        let order = |queue: &VecDeque<Held<T>>| queue.front().map(|held| (held.due, held.arrival));
        match (order(&self.line), order(&self.aside)) {
            (None, None) => None,
            (Some(line), Some(aside)) if aside < line => Some(&mut self.aside),
            (Some(_), _) => Some(&mut self.line),
            (None, Some(_)) => Some(&mut self.aside),
        }
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }
}

const fn rate_limit(rate_bps: u64) -> TokenBucket {
    TokenBucket::new(rate_bps, RATE_QUEUE)
}

/// Gilbert's loss model: a good state that loses nothing, a bad one that loses all.
#[derive(Debug)]
struct Gilbert {
    /// Probability to turn bad at a frame.
    to_bad: f64,
    /// Probability to turn good at a frame.
    to_good: f64,
    bad: bool,
}

impl Gilbert {
    /// The share of loss is `to_bad / (to_bad + to_good)`, the mean length of a burst `1 / to_good`. Where both can't
    /// be had (a large share in short bursts), the share holds and bursts are longer.
    fn new(burst: BurstLoss) -> Gilbert {
        let good = 1.0 - burst.loss;
        let to_good = if burst.loss > 0.0 {
            (1.0 / burst.mean_len.max(1.0)).min(good / burst.loss)
        } else {
            1.0
        };
        let to_bad = if good > 0.0 {
            to_good * burst.loss / good
        } else {
            1.0
        };
        Gilbert {
            to_bad,
            to_good,
            bad: false,
        }
    }

    fn loses(&mut self, random: &mut fastrand::Rng) -> bool {
        let turn = if self.bad { self.to_good } else { self.to_bad };
        if random.f64() < turn {
            self.bad = !self.bad;
        }
        self.bad
    }
}

#[cfg(test)]
mod tests;

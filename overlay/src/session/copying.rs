//! Having copies sent: when, by whom, and for how long.

use core::time::Duration;

use super::{Mode, Session};
use crate::neighbor::Neighbor;
use crate::time::nanos;
use crate::wire::{FLAG_COPY, FLAG_GRAFT, FLAG_HISTORY};
use crate::{Instant, NeighborId, Seq};

/// How often mode `auto` looks at the loss: five times within the second in which it is to act.
const INTERVAL: Duration = Duration::from_millis(200);
/// Packets that a share of losses is judged by: four of them lost are 1 %, so that one alone means nothing.
const PACKETS_MIN: u64 = 400;
/// A slow source is judged by the packets of this time, however few: it is to act within a second.
const INTERVAL_MAX: Duration = Duration::from_millis(800);
/// Loss from which on copies are worth their bytes: one packet in this many.
const WORTH_COPIES: u64 = 100;
/// Loss below which they are not: one packet in this many. A quarter of the other, so that chance alone does not move it.
const NOT_WORTH_COPIES: u64 = 400;
/// How long it must stay below before copies end: most of the second in which that is to be noticed.
const CALM: Duration = Duration::from_millis(800);

/// A session's request for copies, and what mode `auto` goes by.
#[derive(Debug)]
pub(super) struct Copying {
    active: bool,
    /// When the interval began, and where the window ended then.
    begun: Instant,
    begin: Seq,
    /// Packets that the first tree had brought when it began.
    came_before: u64,
    /// Packets that the parent said it lacks itself.
    excused: u64,
    calm_since: Option<Instant>,
}

/// A hello with a session that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) to: NeighborId,
    pub(crate) flags: u8,
    pub(crate) sequence: Seq,
    pub(crate) timestamp: u64,
}

impl Copying {
    /// `mode` is that of a receiver: the ingress has nobody to ask.
    pub(super) fn new(now: Instant, mode: Mode) -> Copying {
        Copying {
            active: mode == Mode::Copy,
            begun: now,
            begin: Seq::FIRST,
            came_before: 0,
            excused: 0,
            calm_since: None,
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        match mode {
            Mode::Pull => self.active = false,
            Mode::Copy => self.active = true,
            Mode::Auto => {}
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    pub(super) fn excuse(&mut self) {
        self.excused += 1;
    }

    /// Begins an interval, when the first tree has brought `came` packets.
    pub(super) fn restart(&mut self, now: Instant, next: Seq, came: u64) {
        self.begun = now;
        self.begin = next;
        self.came_before = came;
        self.excused = 0;
    }

    /// When the interval is over, if nothing more comes.
    fn look_at(&self, next: Seq) -> Instant {
        let enough = next.above(self.begin) >= PACKETS_MIN;
        self.begun + if enough { INTERVAL } else { INTERVAL_MAX }
    }

    /// Judges the loss of the interval that is over. `true`: copies begin or end.
    fn judge(&mut self, now: Instant, next: Seq, came: u64) -> bool {
        let sent = next.above(self.begin);
        if now < self.look_at(next) || sent == 0 {
            return false;
        }
        let lost = sent.saturating_sub(came - self.came_before + self.excused);
        let begun = self.begun;
        self.restart(now, next, came);
        let before = self.active;
        if lost * WORTH_COPIES >= sent {
            self.active = true;
            self.calm_since = None;
        } else if lost * NOT_WORTH_COPIES <= sent {
            let since = *self.calm_since.get_or_insert(begun);
            self.active &= now.since(since) < CALM;
        } else {
            self.calm_since = None;
        }
        self.active != before
    }
}

impl<P> Session<P> {
    /// Whether copies are asked for at present.
    #[must_use]
    pub fn is_copying(&self) -> bool {
        self.copying.is_active()
    }

    /// Moves mode `auto` on.
    pub(super) fn judge_loss(&mut self, now: Instant) {
        if self.config.mode != Mode::Auto || self.is_ingress() || self.ended {
            return;
        }
        if self.copying.judge(now, self.window.next(), self.first_tree) {
            self.stats.mode_changes += 1;
            self.changes.copying = true;
            self.request_at = now;
        }
    }

    /// When [`Session::judge_loss`] is next needed.
    pub(super) fn judge_at(&self) -> Option<Instant> {
        let judges = self.config.mode == Mode::Auto && !self.is_ingress();
        let next = self.window.next();
        let any = next > self.copying.begin;
        (judges && any && !self.ended).then(|| self.copying.look_at(next))
    }

    /// Whether the packets to come may bring forward the moment at which mode `auto` judges.
    pub(super) fn is_about_to_judge(&self) -> bool {
        let enough = self.window.next().above(self.copying.begin) >= PACKETS_MIN;
        self.config.mode == Mode::Auto && !self.is_ingress() && !self.ended && !enough
    }

    /// Whether there is anything that neighbors must be asked for again and again.
    pub(super) fn has_requests(&self) -> bool {
        let asks = self.parent > 0 || self.copying.is_active();
        asks && !self.is_ingress() && !self.ended
    }

    /// Whether a parent before the present one may have been back for long enough.
    pub(crate) fn parent_may_return(&self, now: Instant) -> bool {
        self.parent > 0 && now >= self.request_at
    }

    /// What to ask a neighbor for, when that is due: the tree, where the parent is not the configured one and must be
    /// told; copies; and how much history there is.
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        neighbors: &[Option<Neighbor>],
        interval: Duration,
    ) -> Option<Request> {
        let parent = self.parent()?;
        if self
            .history
            .as_mut()
            .is_some_and(|history| history.ask(now))
        {
            return Some(Request {
                to: parent,
                flags: FLAG_HISTORY,
                sequence: Seq(0),
                timestamp: nanos(self.config.catch_up),
            });
        }
        if self.has_requests() && now >= self.request_at {
            self.request_at = now + interval;
            self.requests = FLAG_COPY * u8::from(self.is_copying());
            self.requests |= FLAG_GRAFT * u8::from(self.parent > 0);
        }
        let source = self.copy_source(neighbors).unwrap_or(parent);
        let (to, flags) = match self.requests {
            0 => return None,
            both if source == parent => (parent, both),
            both if both & FLAG_GRAFT != 0 => (parent, FLAG_GRAFT),
            copy => (source, copy),
        };
        self.requests &= !flags;
        Some(Request {
            to,
            flags,
            // What came before this node is not asked for.
            sequence: self.epoch.map_or(Seq(0), |_| self.window.next()),
            timestamp: 0,
        })
    }

    /// Who sends the copies: a neighbor on another path than the tree where there is one, else the parent.
    fn copy_source(&self, neighbors: &[Option<Neighbor>]) -> Option<NeighborId> {
        let is_up = |id: &NeighborId| super::neighbor(neighbors, *id).is_some_and(Neighbor::is_up);
        let parent = self.parent();
        let others = self.config.upstream.iter().copied();
        others
            .filter(|&id| Some(id) != parent)
            .find(is_up)
            .or(parent)
    }
}

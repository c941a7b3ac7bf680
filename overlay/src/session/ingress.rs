//! Numbering packets, at the ingress, and announcing the lead when the source pauses, at every node with children.

use core::time::Duration;

use super::receive::EPOCH_HOLD;
use super::{Session, Source};
use crate::time::nanos;
use crate::window::{Marks, Slot};
use crate::wire::{FLAG_END, Header, Kind};
use crate::{Instant, Seq, Tree};

/// Silence after a packet before the first heartbeat (design: §5.2).
pub(crate) const HEARTBEAT_FIRST: Duration = Duration::from_millis(1);
/// Longest time between heartbeats of a silent source.
const HEARTBEAT_MAX: Duration = Duration::from_millis(250);

/// When the lead is announced next: 1, 2, 4 … 250 ms after the last packet.
#[derive(Debug)]
pub(super) struct Announcer {
    due: Instant,
    interval_ns: u64,
}

impl Announcer {
    /// Announces at once: receivers that hear of lead 0 of an epoch know that they miss nothing.
    pub(super) fn new(now: Instant) -> Announcer {
        Announcer {
            due: now,
            interval_ns: nanos(HEARTBEAT_FIRST),
        }
    }

    #[inline]
    pub(super) fn lead_moved(&mut self, now: Instant) {
        self.interval_ns = nanos(HEARTBEAT_FIRST);
        self.due = now + HEARTBEAT_FIRST;
    }
}

impl<P> Session<P> {
    /// Whether packets of the source are numbered here: not at a node that is not the ingress, or has ended the stream.
    #[inline]
    pub(crate) fn takes_source(&self) -> bool {
        self.ingress && !self.ended
    }

    /// The header of the data packet that the source's next packet becomes.
    #[inline]
    pub(crate) fn source_header(&self, timestamp: u64) -> Header {
        Header {
            timestamp,
            ..self.header(Kind::Data, self.window.next())
        }
    }

    /// Numbers a packet of the source and keeps it; returns the packet that had to make room for it. The caller has
    /// checked [`Session::takes_source`].
    #[inline]
    pub(crate) fn push_source(&mut self, now: Instant, packet: P) -> Option<P> {
        self.announcer.lead_moved(now);
        let sequence = self.window.next();
        let evicted = self.make_room(now, sequence);
        self.window.push(Slot::Held(packet, now), Marks::default());
        self.packet_is_in(sequence, Source::Tree(Tree::First));
        if self.has_fec
            && let Some(maker) = &mut self.parity_maker
        {
            maker.packet_sent(now, sequence);
        }
        evicted
    }

    /// The next heartbeat, when it is due.
    pub(crate) fn poll_heartbeat(&mut self, now: Instant) -> Option<Header> {
        if self.announce_at().is_none_or(|due| due > now) {
            return None;
        }
        let interval_ns = (self.announcer.interval_ns * 2).min(nanos(HEARTBEAT_MAX));
        self.announcer.interval_ns = interval_ns;
        self.announcer.due = now + Duration::from_nanos(interval_ns);
        let flags = FLAG_END * u8::from(self.ended);
        Some(Header {
            flags,
            ..self.header(Kind::Heartbeat, self.lead())
        })
    }

    /// When the lead is next to be announced: at nodes with children, as long as they hear of the ingress themselves. A
    /// heartbeat goes one hop, so that one that is lost is lost to few, and none multiplies.
    pub(crate) fn announce_at(&self) -> Option<Instant> {
        let due = self.announcer.due;
        let heard = self.epoch.is_some() && due < self.heard_at + EPOCH_HOLD;
        (self.ingress || heard && self.answers.has_children()).then_some(due)
    }

    /// Ends the stream: takes no more packets, and says so with each heartbeat from now on.
    pub(crate) fn end(&mut self, now: Instant) {
        if self.ingress {
            self.announcer = Announcer::new(now);
            self.ended = true;
        }
    }

    /// Makes the window fit `seq` and one more packet. Returns the last packet that had to go: there is one at most,
    /// unless less may be held than before.
    #[inline]
    pub(super) fn make_room(&mut self, now: Instant, seq: Seq) -> Option<P> {
        let mut evicted = None;
        while !self.window.has_room_for(seq) || self.window.held() >= self.held_max {
            evicted = self.evict_trail(now).or(evicted);
        }
        evicted
    }
}

//! Frames that came to one worker and are another's.
//!
//! A device spreads what it receives over its queues as it likes, or has one queue alone: whoever finds a frame that is
//! not of a session of its own hands it over to the session's worker. ARP, neighbor discovery and hellos are of use to all, and go from the
//! first worker to the last.

use overlay::Instant;
use overlay::wire::Kind;

use super::Worker;
use super::owners::{Key, WorkerId};
use super::peers::{BATCHES, Handed, Letter, Peers};
use crate::drops::DropReason;
use crate::frame::{Parsed, PortIndex, parse};
use crate::next_hop::Resolution;
use crate::rx::Burst;

/// Batches taken from other workers in one turn, before ports are polled again.
const BATCH_BUDGET: usize = 4;

impl Worker {
    /// Takes what other workers have handed over; returns how many frames came.
    pub(super) fn receive_handed(&mut self, now: Instant) -> usize {
        let mut work = self.read_letters(now);
        for _ in 0..BATCH_BUDGET {
            let Some(batch) = self.peers.as_ref().and_then(|peers| peers.fetch()) else {
                break;
            };
            for handed in batch {
                self.take_handed(now, handed);
                work += 1;
            }
        }
        work
    }

    /// Takes all that others had handed over before this was called.
    pub(super) fn drain_inbox(&mut self, now: Instant) {
        for _ in 0..=BATCHES / BATCH_BUDGET {
            self.receive_handed(now);
        }
    }

    /// Takes a frame from another worker, who has counted it.
    pub(super) fn take_handed(&mut self, now: Instant, (port, mbuf): Handed) {
        let place = usize::from(port.0);
        if self.ports[place].impaired.is_some() {
            return self.impair(now, port, std::iter::once(mbuf));
        }
        let offered = self.ports[place].tree_offered;
        self.receive(now, port, mbuf, &mut Burst::new());
        self.ports[place].tree_offered = offered;
    }

    /// Whether the packet is another worker's, or all workers'. Data and flows are not asked for here: they are found
    /// out when their session is looked for.
    pub(super) fn is_elsewhere(&self, parsed: &Parsed) -> bool {
        let header = match parsed {
            _ if self.peers.is_none() => return false,
            Parsed::Arp(_) | Parsed::Nd(_) => return true,
            Parsed::Data { .. } | Parsed::Flow { .. } | Parsed::Echo(_) => return false,
            Parsed::Heartbeat { header, .. }
            | Parsed::Subcast { header, .. }
            | Parsed::Parity { header, .. }
            | Parsed::Confirm { header, .. }
            | Parsed::Unicast { header, .. }
            | Parsed::Control { header, .. } => header,
        };
        self.node.find(header.session).is_none()
    }

    /// Hands over a packet that [`Worker::is_elsewhere`].
    pub(super) fn redirect(&mut self, now: Instant, handed: Handed, parsed: &Parsed) {
        let (header, unknown) = match parsed {
            Parsed::Control { header, .. } if header.session.0 == 0 => {
                return self.notify(now, handed);
            }
            Parsed::Control { header, .. } if header.kind == Kind::Nak => {
                (header, DropReason::NakUnknownSession)
            }
            Parsed::Control { header, .. }
            | Parsed::Unicast { header, .. }
            | Parsed::Heartbeat { header, .. }
            | Parsed::Subcast { header, .. }
            | Parsed::Parity { header, .. }
            | Parsed::Confirm { header, .. }
            | Parsed::Data { header, .. } => (header, DropReason::SessionUnknown),
            Parsed::Arp(_) | Parsed::Nd(_) | Parsed::Echo(_) | Parsed::Flow { .. } => {
                return self.notify(now, handed);
            }
        };
        self.pass_on(now, handed, (Key::Session(header.session), unknown));
    }

    /// A frame of a session that is not here: hands it over to the worker that has it, or ends it as `unknown`.
    #[cold]
    pub(super) fn pass_on(
        &mut self,
        now: Instant,
        handed: Handed,
        (key, unknown): (Key<'_>, DropReason),
    ) {
        match self.peers.as_ref().and_then(|peers| peers.find(key)) {
            Some(to) => self.hand_over(now, to, handed),
            None => self.end_frame(now, handed, unknown),
        }
    }

    /// Hands a frame over, or keeps it where its session is on its way here.
    pub(super) fn hand_over(&mut self, now: Instant, to: WorkerId, handed: Handed) {
        let Some(peers) = &mut self.peers else {
            return;
        };
        self.idler.traffic(now);
        let dropped = if to == peers.me() {
            usize::from(!peers.park(handed))
        } else {
            peers.hand_over(to, handed)
        };
        self.drops.add(DropReason::HandoverFull, dropped as u64);
    }

    /// A frame that is nothing to a session: it may be something to the kernel, whose part of a port the first worker
    /// has.
    pub(super) fn end_frame(&mut self, now: Instant, (port, mbuf): Handed, reason: DropReason) {
        if self.ports[usize::from(port.0)].kernel_of_first && reason.is_for_kernel() {
            self.hand_over(now, WorkerId::FIRST, (port, mbuf));
        } else {
            self.end_here(now, port, mbuf.data(), reason);
        }
    }

    /// Hands over what waits for a batch to be full.
    pub(super) fn flush_handed(&mut self) {
        if let Some(peers) = &mut self.peers {
            let dropped = peers.flush();
            self.drops.add(DropReason::HandoverFull, dropped as u64);
        }
    }

    /// Lets all workers have a frame, the first one first.
    fn notify(&mut self, now: Instant, handed: Handed) {
        match &self.peers {
            Some(peers) if !peers.is_first() => {
                let posted = peers.post(WorkerId::FIRST, Letter::Notice(handed, false));
                self.count_refused(posted);
            }
            _ => self.take_notice(now, handed, false),
        }
    }

    fn count_refused(&mut self, posted: Result<(), Letter>) {
        if posted.is_err() {
            self.drops.count(DropReason::HandoverFull);
        }
    }

    fn read_letters(&mut self, now: Instant) -> usize {
        let mut read = 0;
        while let Some(letter) = self.peers.as_ref().and_then(|peers| peers.read()) {
            read += 1;
            match letter {
                Letter::Notice(handed, taken) => self.take_notice(now, handed, taken),
                Letter::Session(moving) => self.adopt(now, *moving),
            }
        }
        read
    }

    /// ARP or ND that is for all workers: the first one answers for the node's own addresses.
    fn hear_of(
        &mut self,
        now: Instant,
        (port, frame): (PortIndex, &[u8]),
        packet: &Resolution,
    ) -> Result<(), DropReason> {
        let local = &self.ports[usize::from(port.0)].local;
        let is_first = self.peers.as_ref().is_none_or(Peers::is_first);
        let is_own = packet.question().is_some_and(|asked| local.has(asked));
        self.learn(now, port, (packet, frame), is_first || !is_own)
    }

    /// Takes a frame that is for all workers, and passes it on. `taken`: a worker before this one had a use for it. That
    /// it is of no use is for the first worker to say of a hello, and for the last one of ARP or ND.
    fn take_notice(&mut self, now: Instant, (port, mbuf): Handed, taken: bool) {
        let Some(peers) = &self.peers else {
            return;
        };
        let (is_first, next) = (peers.is_first(), peers.next());
        let frame = mbuf.data();
        let local = &self.ports[usize::from(port.0)].local;
        let useful = match parse(frame, local) {
            Ok(Parsed::Arp(packet)) => self.hear_of(now, (port, frame), &packet.into()),
            Ok(Parsed::Nd(packet)) => self.hear_of(now, (port, frame), &packet.into()),
            Ok(Parsed::Control {
                header,
                source,
                station,
                body,
            }) => {
                self.hear(now, (port, source), station);
                let heard = self.receive_control(now, (port, source), &header, &frame[body]);
                if is_first { heard } else { Ok(()) }
            }
            Ok(_) => Ok(()),
            Err(reason) => Err(reason),
        };
        let taken = match useful {
            Ok(()) => true,
            Err(reason @ (DropReason::ArpNotForUs | DropReason::NdNotForUs)) => {
                let taken = taken || self.offer_to_kernel(now, port, frame, reason);
                if next.is_none() && !taken {
                    self.drops.count(reason);
                }
                taken
            }
            Err(reason) => return self.end_here(now, port, frame, reason),
        };
        if let Some((peers, next)) = self.peers.as_ref().zip(next) {
            let posted = peers.post(next, Letter::Notice((port, mbuf), taken));
            self.count_refused(posted);
        }
    }
}

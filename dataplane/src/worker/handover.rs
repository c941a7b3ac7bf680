//! Frames that came to one worker and are another's.
//!
//! A device spreads what it receives over its queues as it likes, or has one queue alone: whoever finds a frame that is
//! not of a session of its own hands it over to the session's worker. ARP and hellos are of use to all, and go from the
//! first worker to the last.

use overlay::Instant;
use overlay::wire::Kind;

use super::Worker;
use super::owners::{Key, WorkerId};
use super::peers::{BATCHES, Handed, Letter};
use crate::arp::ArpPacket;
use crate::drops::DropReason;
use crate::frame::{Parsed, PortIndex, parse};

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
        self.receive(now, port, mbuf);
        self.ports[place].tree_offered = offered;
    }

    /// Whether the packet is another worker's, or all workers'. Data and flows are not asked for here: they are found
    /// out when their session is looked for.
    pub(super) fn is_elsewhere(&self, parsed: &Parsed) -> bool {
        let header = match parsed {
            _ if self.peers.is_none() => return false,
            Parsed::Arp(_) => return true,
            Parsed::Data { .. } | Parsed::Flow { .. } => return false,
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
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        handed: Handed,
        parsed: &Parsed,
    ) -> Result<(), DropReason> {
        match parsed {
            Parsed::Unicast { header, .. }
            | Parsed::Heartbeat { header, .. }
            | Parsed::Subcast { header, .. }
            | Parsed::Parity { header, .. }
            | Parsed::Confirm { header, .. } => {
                let key = Key::Session(header.session);
                self.hand_over(now, handed, (key, DropReason::SessionUnknown))
            }
            Parsed::Control { header, .. } if header.session.0 != 0 => {
                let unknown = match header.kind {
                    Kind::Nak => DropReason::NakUnknownSession,
                    _ => DropReason::SessionUnknown,
                };
                self.hand_over(now, handed, (Key::Session(header.session), unknown))
            }
            _ => self.notify(now, handed),
        }
    }

    /// Hands a frame over to the worker of its session, or keeps it where the session is on its way here.
    ///
    /// # Errors
    /// `unknown` if no worker has the session, [`DropReason::HandoverFull`].
    #[cold]
    pub(super) fn hand_over(
        &mut self,
        now: Instant,
        handed: Handed,
        (key, unknown): (Key<'_>, DropReason),
    ) -> Result<(), DropReason> {
        let peers = self.peers.as_mut().ok_or(unknown)?;
        let (session, to) = peers.owners().find(key).ok_or(unknown)?;
        self.idler.traffic(now);
        if to != peers.me() {
            let dropped = peers.hand_over(to, handed);
            self.drops.add(DropReason::HandoverFull, dropped as u64);
            return Ok(());
        }
        if !peers.owners().is_arriving(session) {
            return Err(unknown);
        }
        match peers.park(handed) {
            true => Ok(()),
            false => Err(DropReason::HandoverFull),
        }
    }

    /// Hands a frame of an impaired port to the worker that impairs.
    pub(super) fn hand_to_first(&mut self, handed: Handed) {
        if let Some(peers) = &mut self.peers {
            let dropped = peers.hand_over(WorkerId::FIRST, handed);
            self.drops.add(DropReason::HandoverFull, dropped as u64);
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
    fn notify(&mut self, now: Instant, handed: Handed) -> Result<(), DropReason> {
        match &self.peers {
            Some(peers) if !peers.is_first() => {
                let posted = peers.post(WorkerId::FIRST, Letter::Notice(handed, false));
                posted.map_err(|_| DropReason::HandoverFull)
            }
            _ => self.take_notice(now, handed, false),
        }
    }

    fn read_letters(&mut self, now: Instant) -> usize {
        let mut read = 0;
        while let Some(letter) = self.peers.as_ref().and_then(|peers| peers.read()) {
            read += 1;
            match letter {
                Letter::Notice(handed, taken) => {
                    if let Err(reason) = self.take_notice(now, handed, taken) {
                        self.drops.count(reason);
                    }
                }
                Letter::Session(moving) => self.adopt(now, *moving),
            }
        }
        read
    }

    /// Takes a frame that is for all workers, and passes it on. `taken`: a worker before this one had a use for it.
    ///
    /// # Errors
    /// Why it is of no use: the first worker says it of hellos, the last one of ARP.
    fn take_notice(
        &mut self,
        now: Instant,
        (port, mbuf): Handed,
        taken: bool,
    ) -> Result<(), DropReason> {
        let Some(peers) = &self.peers else {
            return Ok(());
        };
        let (is_first, next) = (peers.is_first(), peers.next());
        let local = &self.ports[usize::from(port.0)].local;
        let useful = match parse(mbuf.data(), local)? {
            Parsed::Arp(packet) => {
                let may_answer = is_first || packet.target != local.address;
                self.learn(now, port, &packet, may_answer)
            }
            Parsed::Control {
                header,
                source,
                station,
                body,
            } => {
                self.hear(now, (port, source), station);
                let heard = self.receive_control(now, (port, source), &header, &mbuf.data()[body]);
                if is_first { heard } else { heard.or(Ok(())) }
            }
            _ => Ok(()),
        };
        let taken = match useful {
            Ok(()) => true,
            Err(DropReason::ArpNotForUs) if next.is_some() || taken => taken,
            Err(reason) => return Err(reason),
        };
        let Some((peers, next)) = self.peers.as_ref().zip(next) else {
            return Ok(());
        };
        let posted = peers.post(next, Letter::Notice((port, mbuf), taken));
        posted.map_err(|_| DropReason::HandoverFull)
    }

    /// Takes in an ARP packet, and answers it if it may.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        port: PortIndex,
        packet: &ArpPacket,
        may_answer: bool,
    ) -> Result<(), DropReason> {
        let action = self.arp.handle(now, port, packet)?;
        if let Some((address, mac)) = action.learned {
            self.set_next_hop(port, address, Some(mac));
        }
        if let Some(reply) = action.reply.filter(|_| may_answer) {
            self.send_bytes(port, &reply);
        }
        Ok(())
    }
}

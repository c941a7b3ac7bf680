//! Receiving: what a frame is, and what becomes of it.

mod by_overlay;
mod by_tree;
mod runs;

use overlay::wire::{FLAG_SECOND, Header};
use overlay::{Instant, Reject, SessionIndex, Tree};

use super::owners::{Key, WorkerId};
use super::peers::Handed;
use super::{RX_BURST, Way, Worker};
use crate::drops::DropReason;
use crate::frame::{FlowLike, Inner, Parsed, PortIndex, is_tree_data, parse};
use crate::icmp::{Echo, IcmpError};
use crate::impair::Fate;
use crate::mbuf::Mbuf;
use crate::next_hop::Resolution;
use crate::payload::{PayloadMeta, SharedPayload};
use crate::rx::Burst;
use runs::{FlowRun, ROOM};

/// What came behind a frame.
type Rest = Burst<RX_BURST>;

impl Worker {
    /// Takes a burst from each port; returns how many frames came.
    pub(super) fn receive_all<const SWITCHES: bool>(&mut self, now: Instant) -> usize {
        let mut work = self.receive_handed(now);
        for place in 0..self.ports.len() {
            let mut burst = Burst::<RX_BURST>::new();
            if let Some(rx) = &mut self.ports[place].rx {
                work += rx.recv(&mut burst);
            }
            let port = PortIndex(place as u16);
            if SWITCHES && self.ports[place].impaired_by_first {
                burst.for_each(|mbuf| self.hand_over(now, WorkerId::FIRST, (port, mbuf)));
            } else if SWITCHES && self.ports[place].impaired.is_some() {
                self.impair(now, port, burst);
                work += self.receive_impaired(now, port);
            } else {
                while let Some(mbuf) = burst.next() {
                    self.receive(now, port, mbuf, &mut burst);
                }
            }
        }
        self.flush_handed();
        work
    }

    pub(super) fn impair(
        &mut self,
        now: Instant,
        port: PortIndex,
        frames: impl Iterator<Item = Mbuf>,
    ) {
        let this = &mut self.ports[usize::from(port.0)];
        let Some(impaired) = &mut this.impaired else {
            return;
        };
        let packets = &self.pools.packets;
        for mbuf in frames {
            let is_tree = is_tree_data(mbuf.data(), this.local.tree_port);
            let len = mbuf.len();
            let fate = impaired.offer(now, mbuf, len, |mbuf| packets.copy(mbuf.data()));
            this.tree_offered += u64::from(is_tree);
            if fate == Fate::Lost {
                this.tree_dropped += u64::from(is_tree);
                self.drops.count(DropReason::Impaired);
            }
        }
    }

    fn receive_impaired(&mut self, now: Instant, port: PortIndex) -> usize {
        let mut none = Rest::new();
        for work in 0..2 * RX_BURST {
            let impaired = self.ports[usize::from(port.0)].impaired.as_mut();
            let Some(mbuf) = impaired.and_then(|impaired| impaired.poll(now)) else {
                return work;
            };
            self.receive(now, port, mbuf, &mut none);
        }
        2 * RX_BURST
    }

    /// Takes a frame, and of those that came behind it the ones that are like it.
    pub(super) fn receive(&mut self, now: Instant, port: PortIndex, mbuf: Mbuf, rest: &mut Rest) {
        let this = &mut self.ports[usize::from(port.0)];
        let parsed = parse(mbuf.data(), &this.local);
        let taken = match parsed {
            Ok(Parsed::Data {
                header,
                channel,
                inner,
            }) => self.receive_data((now, port), (header, channel), (mbuf, inner), rest),
            Ok(Parsed::Flow { inner }) => match self.flows.find(&inner.header) {
                Some(index) => self.receive_flow((now, port), (index, mbuf), &inner, rest),
                None => {
                    let unknown = (Key::Flow(&inner.header), DropReason::FlowUnknown);
                    return self.pass_on(now, (port, mbuf), unknown);
                }
            },
            Ok(parsed) if self.is_elsewhere(&parsed) => {
                return self.redirect(now, (port, mbuf), &parsed);
            }
            Ok(Parsed::Unicast {
                header,
                source,
                inner,
            }) => self.receive_unicast(now, (port, source), &header, (mbuf, inner)),
            Ok(Parsed::Control {
                header,
                source,
                station,
                body,
            }) => {
                self.hear(now, (port, source), station);
                self.receive_control(now, (port, source), &header, &mbuf.data()[body])
            }
            Ok(Parsed::Heartbeat { header, channel }) => {
                self.receive_heartbeat(now, port, &header, &channel)
            }
            Ok(Parsed::Parity {
                header,
                channel,
                parity,
                coded,
            }) => self.receive_parity(now, port, (header, channel), (mbuf, parity, coded)),
            Ok(Parsed::Subcast {
                header,
                channel,
                inner,
            }) => self.receive_subcast(now, port, (header, channel), (mbuf, inner)),
            Ok(Parsed::Confirm {
                header,
                channel,
                body,
            }) => self.receive_confirm(now, port, (header, channel), &mbuf.data()[body]),
            Ok(Parsed::Arp(packet)) => {
                return self.resolve(now, port, &packet.into(), mbuf.data());
            }
            Ok(Parsed::Nd(packet)) => {
                return self.resolve(now, port, &packet.into(), mbuf.data());
            }
            Ok(Parsed::Echo(echo)) => return self.answer_echo(now, (port, mbuf), &echo),
            Err(reason) => return self.end_frame(now, (port, mbuf), reason),
        };
        if let Err(reason) = taken {
            self.drops.count(reason);
        }
    }

    /// A unicast packet of a session that begins here.
    #[inline(always)]
    fn receive_flow(
        &mut self,
        (now, port): (Instant, PortIndex),
        (index, mbuf): (SessionIndex, Mbuf),
        inner: &Inner,
        rest: &mut Rest,
    ) -> Result<(), DropReason> {
        let verify_payload = self.ports[usize::from(port.0)].local.verify_payload;
        if let Err(reason) = inner.verify(mbuf.data(), verify_payload) {
            if reason == DropReason::TtlExpired {
                self.tell_source(now, port, (mbuf, inner), IcmpError::TimeExceeded);
            }
            return Err(reason);
        }
        self.follow_downstream(index);
        let route = self.route(index).ok_or(DropReason::SessionUnknown)?;
        let (ttl, inner_max, has_second) = (route.ttl, route.inner_max, route.has_second);
        let way = if has_second {
            Way::Several
        } else {
            route.way(Tree::First)
        };
        if inner.header.packet_len() > usize::from(inner_max) {
            self.tell_source(now, port, (mbuf, inner), IcmpError::TooBig(inner_max));
            return Err(DropReason::TooBig);
        }
        self.idler.traffic(now);
        let ingress_ns = self.clock.realtime_ns(now);
        if let (Way::One(out, _), Some((like, packet))) = (way, FlowLike::of(mbuf.data()))
            && !verify_payload
            && mbuf.headroom() >= ROOM
        {
            let run = FlowRun {
                like,
                first: (mbuf, packet),
                rest,
            };
            let session = (index, ingress_ns);
            return self.begin_tree(now, session, &inner.header, (run, out, inner_max));
        }
        let payload = strip(mbuf, inner, ingress_ns);
        let header = self.node.handle_source(now, index, ingress_ns, payload);
        let header = header.ok_or(DropReason::FlowUnknown)?;
        self.send_down(index, &header, ttl)?;
        if has_second {
            let flags = header.flags | FLAG_SECOND;
            self.send_down(index, &Header { flags, ..header }, ttl)?;
        }
        Ok(())
    }

    /// Tells the source of a packet of ours why it goes nowhere.
    #[cold]
    fn tell_source(
        &mut self,
        now: Instant,
        PortIndex(port): PortIndex,
        (mbuf, inner): (Mbuf, &Inner),
        error: IcmpError,
    ) {
        if !self.icmp.take(now) {
            self.drops.count(DropReason::IcmpLimited);
            return;
        }
        let port = &mut self.ports[usize::from(port)];
        let message = error.answer(mbuf, inner, &port.local);
        if let Some(Err(reason)) = message.map(|message| port.send(message.into())) {
            self.drops.count(reason);
        }
    }

    /// An echo request to an address of the port: the kernel's, where it has a part of the port.
    #[cold]
    fn answer_echo(&mut self, now: Instant, (port, mbuf): Handed, echo: &Echo) {
        let this = &mut self.ports[usize::from(port.0)];
        if this.kernel.is_some() || this.kernel_of_first {
            return self.end_frame(now, (port, mbuf), DropReason::IcmpUnknown);
        }
        if !self.echoes.take(now) {
            return self.drops.count(DropReason::IcmpLimited);
        }
        let answer = echo.answer(mbuf, &this.local);
        if let Some(Err(reason)) = answer.map(|answer| this.send(answer.into())) {
            self.drops.count(reason);
        }
    }

    /// ARP or ND. The kernel, where it has a part of the port, gets a copy of each answer, for its own table, and what is
    /// not for us; questions for our addresses are answered here alone.
    #[cold]
    fn resolve(&mut self, now: Instant, port: PortIndex, packet: &Resolution, frame: &[u8]) {
        if let Err(reason) = self.learn(now, port, (packet, frame), true) {
            self.end_here(now, port, frame, reason);
        }
    }

    /// Takes in what ARP or ND says, and answers it if it may.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        port: PortIndex,
        (packet, frame): (&Resolution, &[u8]),
        may_answer: bool,
    ) -> Result<(), DropReason> {
        let action = self.next_hops.handle(now, port, packet)?;
        if packet.is_answer() {
            self.copy_to_kernel(now, port, frame);
        }
        if let Some((address, mac)) = action.learned {
            self.set_next_hop(port, address, Some(mac));
        }
        if let Some(reply) = action.reply.filter(|_| may_answer) {
            self.send_bytes(port, reply.as_bytes());
        }
        Ok(())
    }
}

/// Leaves the payload of the inner packet as the buffer's data, its headers right before it, and lets it be shared.
pub(in crate::worker) fn strip(mut mbuf: Mbuf, inner: &Inner, ingress_ns: u64) -> SharedPayload {
    let payload = inner.payload();
    mbuf.trim_back_to(payload.end);
    mbuf.trim_front(payload.start);
    mbuf.share(PayloadMeta {
        ingress_ns,
        inner_header_len: u16::from(inner.header.len),
    })
}

impl From<Reject> for DropReason {
    fn from(reject: Reject) -> DropReason {
        match reject {
            Reject::SessionUnknown => DropReason::SessionUnknown,
            Reject::Role => DropReason::RpfFailed,
            Reject::EpochOld => DropReason::EpochOld,
            Reject::Duplicate => DropReason::Duplicate,
            Reject::SequenceOld => DropReason::SequenceOld,
            Reject::SequenceBeyondWindow => DropReason::SequenceBeyondWindow,
            Reject::RepairUnasked => DropReason::RepairUnasked,
            Reject::Redundant => DropReason::Redundant,
            Reject::NakOverBudget => DropReason::NakOverBudget,
            Reject::Ejected => DropReason::Ejected,
            Reject::NotAChild => DropReason::Stranger,
            Reject::HelloStale => DropReason::HelloStale,
        }
    }
}

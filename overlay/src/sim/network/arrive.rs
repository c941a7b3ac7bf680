//! What a router does with a packet that arrives: the part that the dataplane has in a real one.

use super::super::router::record;
use super::{Content, Message, Network, parity_payload, plan_of};
use crate::wire::{Header, Hello, Kind, NakRanges};
use crate::{Rebuild, Seq};

impl Network {
    /// Hands a packet to the node, sends it on where that is called for, and takes out what the node made of it.
    pub(super) fn arrive(&mut self, now: u64, me: usize, message: &Message) {
        let on_the_tree = match message.header.kind {
            Kind::Data => self.data(now, me, message),
            Kind::Heartbeat => self.heartbeat(now, me, message),
            Kind::Parity => self.parity(now, me, message),
            Kind::Repair | Kind::Copy => self.repair(now, me, message),
            Kind::Nak | Kind::NakConfirm => self.ranges(now, me, message),
            Kind::Hello => self.hello(now, me, message),
        };
        if on_the_tree {
            self.down_the_tree(now, me, message);
        }
        self.drain(now, me);
    }

    fn data(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let router = &mut self.routers[me];
        let (local, header) = (router.local(now), &message.header);
        let taken = router.node.handle_data(local, header, message.payload);
        if taken.is_ok() {
            self.packet_is_in(me, header);
        }
        taken.is_ok()
    }

    fn heartbeat(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let router = &mut self.routers[me];
        let local = router.local(now);
        // Each node announces its lead to its children itself.
        let _ = router.node.handle_heartbeat(local, &message.header);
        false
    }

    fn parity(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let Content::Parity(parity) = message.body else {
            return false;
        };
        let router = &mut self.routers[me];
        let (local, header) = (router.local(now), &message.header);
        let taken = router
            .node
            .handle_parity(local, header, parity, message.payload);
        taken.is_ok()
    }

    fn repair(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let router = &mut self.routers[me];
        let (local, header) = (router.local(now), &message.header);
        let (from, payload) = (message.from, message.payload);
        let taken = if header.kind == Kind::Copy {
            router.node.handle_copy(local, from, header, payload)
        } else {
            router.node.handle_repair(local, from, header, payload)
        };
        if taken.is_ok() {
            self.packet_is_in(me, header);
            self.recovered(now, me, header, payload);
        }
        false
    }

    fn ranges(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let Content::Bytes(bytes) = &message.body else {
            return false;
        };
        let Ok(ranges) = NakRanges::parse(bytes) else {
            return false;
        };
        let router = &mut self.routers[me];
        let (local, header) = (router.local(now), &message.header);
        if header.kind == Kind::NakConfirm {
            let _ = router
                .node
                .handle_confirm(local, message.from, header, ranges);
            return false;
        }
        for range in ranges.iter() {
            for seq in range.first().0..=range.last().0 {
                router.history.asked_of(plan_of(header), seq);
            }
        }
        let _ = router.node.handle_nak(local, message.from, header, ranges);
        false
    }

    fn hello(&mut self, now: u64, me: usize, message: &Message) -> bool {
        let router = &mut self.routers[me];
        let (local, header) = (router.local(now), &message.header);
        if header.session.0 != 0 {
            let _ = router.node.handle_request(local, message.from, header);
        } else if let Content::Bytes(bytes) = &message.body
            && let Ok(hello) = Hello::parse(bytes)
        {
            let _ = router
                .node
                .handle_hello(local, message.from, header, &hello);
        }
        false
    }

    /// A packet is here that was not.
    fn packet_is_in(&mut self, me: usize, header: &Header) {
        if let Some(attendance) = self.routers[me].attendance(plan_of(header)) {
            attendance.watch.arrived(header.sequence.0);
        }
    }

    /// A packet came otherwise than by a tree: how much later than by the tree?
    fn recovered(&mut self, now: u64, me: usize, header: &Header, payload: u64) {
        let plan = plan_of(header);
        let count = self.routers.len();
        let router = &mut self.routers[me];
        let Some(attendance) = router.attendance(plan) else {
            return;
        };
        if !attendance.delivers {
            return;
        }
        let sent_at = self.sources[plan]
            .at
            .get((payload as usize).wrapping_sub(1));
        let due = sent_at.map_or(now, |at| at + attendance.path_ns);
        let own = &mut router.history.report.recovery;
        record(
            &mut self.report.recovery,
            own,
            count,
            now.saturating_sub(due),
        );
    }

    /// Rebuilds what can be rebuilt from parity.
    pub(super) fn rebuild(&mut self, now: u64, me: usize) {
        while let Some(rebuild) = self.routers[me].node.poll_rebuild() {
            self.rebuild_block(now, me, rebuild);
        }
    }

    fn rebuild_block(&mut self, now: u64, me: usize, rebuild: Rebuild) {
        let Rebuild {
            index,
            first,
            count,
            ..
        } = rebuild;
        let router = &self.routers[me];
        let Some(session) = router.node.session(index) else {
            return;
        };
        let header = session.header(Kind::Repair, first);
        let sent = &self.sources[plan_of(&header)];
        let block = first.0..first.0 + u64::from(count);
        let payloads = block.clone().map(|seq| sent.payload(session.epoch(), seq));
        let Some(payloads) = payloads.collect::<Option<alloc::vec::Vec<u64>>>() else {
            return;
        };
        let lacking = block.filter(|&seq| session.packet(Seq(seq)).is_none());
        let lacking: alloc::vec::Vec<u64> = lacking.collect();
        let parity = session
            .parity(first)
            .filter(|&(index, &parity)| parity == parity_payload(&payloads, index));
        // Too little parity, or that of another block: nobody could rebuild with it.
        if parity.count() < lacking.len() {
            let verdict = self.verdict.step(now, me);
            verdict.check(super::Rule::Payload, false, || {
                alloc::format!("block of {count} at {first} lacks {lacking:?} and its parity")
            });
            return;
        }
        for seq in lacking {
            let payload = payloads[(seq - first.0) as usize];
            let router = &mut self.routers[me];
            let local = router.local(now);
            let taken = router.node.handle_rebuilt(local, index, Seq(seq), payload);
            if taken.is_ok() {
                let header = Header {
                    sequence: Seq(seq),
                    ..header
                };
                self.packet_is_in(me, &header);
                self.recovered(now, me, &header, payload);
            }
        }
    }
}

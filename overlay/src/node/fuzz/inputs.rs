//! The inputs: what neighbors send, well-formed and not always well-meant.

use super::*;
use crate::wire::{self, FLAG_END, FLAG_GRAFT};

impl Fuzz<'_> {
    pub(super) fn source(&mut self) {
        let Some(index) = self.node.find(SessionId(INGRESS)) else {
            return;
        };
        let Some(session) = self.node.session(index) else {
            return;
        };
        let (seq, ended) = (session.lead().next(), session.is_ended());
        let packet = (session.epoch().unwrap_or_default(), seq);
        let header = self.node.handle_source(self.now, index, 0, packet);
        assert_eq!(header.is_none(), ended, "taken after the end");
        assert!(header.is_none_or(|header| header.sequence == seq));
    }

    pub(super) fn data(&mut self) {
        let second = FLAG_SECOND * u8::from(self.choices.rarely(4));
        let Some(header) = self.header(Kind::Data, second) else {
            return;
        };
        let packet = (header.epoch, header.sequence);
        if let Ok(index) = self.node.handle_data(self.now, &header, packet) {
            let session = self.node.session(index).expect("it took a packet");
            assert_eq!(session.packet(header.sequence), Some(&packet), "not held");
            let first = session.first();
            self.note_events();
            // What a child asked for from before this node joined may be fetched, and come, more than once.
            if header.sequence >= first {
                self.watched[header.session.0 as usize].sent_on(&header);
            }
        }
    }

    pub(super) fn repair(&mut self) {
        let Some(header) = self.header(Kind::Repair, 0) else {
            return;
        };
        let packet = (header.epoch, header.sequence);
        let from = self.anybody();
        let _ = self.node.handle_repair(self.now, from, &header, packet);
    }

    pub(super) fn copy(&mut self) {
        let Some(header) = self.header(Kind::Copy, 0) else {
            return;
        };
        let packet = (header.epoch, header.sequence);
        let from = self.anybody();
        let _ = self.node.handle_copy(self.now, from, &header, packet);
    }

    pub(super) fn heartbeat(&mut self) {
        let second = FLAG_SECOND * u8::from(self.choices.rarely(4));
        let end = FLAG_END * u8::from(self.choices.rarely(8));
        if let Some(header) = self.header(Kind::Heartbeat, second | end) {
            let _ = self.node.handle_heartbeat(self.now, &header);
        }
    }

    pub(super) fn nak(&mut self) {
        let Some(header) = self.header(Kind::Nak, 0) else {
            return;
        };
        let body = self.ranges();
        if let Ok(ranges) = NakRanges::parse(&body) {
            let from = self.anybody();
            let _ = self.node.handle_nak(self.now, from, &header, ranges);
        }
    }

    pub(super) fn confirm(&mut self) {
        let history = FLAG_HISTORY * u8::from(self.choices.rarely(3));
        let Some(header) = self.header(Kind::NakConfirm, history) else {
            return;
        };
        let timestamp = self.choices.pick(&[0, 1000, 1_000_000, u64::MAX]);
        let header = Header {
            timestamp,
            ..header
        };
        let body = self.ranges();
        if let Ok(ranges) = NakRanges::parse(&body) {
            let from = self.anybody();
            let _ = self.node.handle_confirm(self.now, from, &header, ranges);
        }
    }

    pub(super) fn parity(&mut self) {
        let second = FLAG_SECOND * u8::from(self.choices.rarely(4));
        let Some(mut header) = self.header(Kind::Parity, second) else {
            return;
        };
        let index = self.node.find(header.session);
        let session = index.and_then(|index| self.node.session(index));
        let agreed = session.and_then(|session| session.config().fec);
        let fec = agreed.unwrap_or(Fec {
            block: 4,
            parity: 2,
        });
        if self.choices.below(4) > 0 {
            let block = u64::from(fec.block);
            header.sequence = Seq((header.sequence.0 - 1) / block * block + 1);
        }
        let body = [
            self.choices.pick(&[fec.block, fec.block, 1, 5, 128]),
            self.choices.pick(&[fec.parity, fec.parity, 1, 32]),
            self.choices.below(u64::from(fec.parity)) as u8,
            0,
        ];
        if let Ok((parity, _)) = ParityHeader::parse(&body) {
            let packet = (header.epoch, header.sequence);
            let _ = self.node.handle_parity(self.now, &header, parity, packet);
        }
    }

    pub(super) fn hello(&mut self) {
        let restarted = u16::from(self.choices.rarely(50));
        let times = [0, 1, self.now.0, u64::MAX];
        let header = Header {
            kind: Kind::Hello,
            flags: 0,
            epoch: Epoch(1 + restarted),
            session: SessionId(0),
            sequence: Seq(self.now.0 + self.choices.below(3)),
            timestamp: self.choices.pick(&times),
        };
        let states = [HelloState::Up, HelloState::Down, HelloState::Init];
        let hello = Hello {
            interval_us: self.choices.pick(&[10_000, 10_000, 1, u32::MAX]),
            detect_mult: self.choices.pick(&[3, 1, 255]),
            state: self.choices.pick(&states),
            echo: self.choices.pick(&times),
            held_ns: self.choices.pick(&[0, 1000, u64::MAX]),
        };
        let from = self.anybody();
        let _ = self.node.handle_hello(self.now, from, &header, &hello);
    }

    pub(super) fn request(&mut self) {
        let flags: u8 = [FLAG_GRAFT, FLAG_COPY, FLAG_HISTORY]
            .into_iter()
            .filter(|_| self.choices.rarely(2))
            .sum();
        let Some(header) = self.header(Kind::Hello, flags) else {
            return;
        };
        let spans = [0, 1_000_000, 100_000_000, u64::MAX];
        let header = Header {
            timestamp: self.choices.pick(&spans),
            ..header
        };
        let from = self.anybody();
        let _ = self.node.handle_request(self.now, from, &header);
    }

    pub(super) fn catch_up(&mut self) {
        let Some((id, index)) = self.session() else {
            return;
        };
        if self.choices.below(4) > 0 {
            self.clients += 1;
            let span = self.millis(&[0, 10, 500, 100_000]);
            self.watched[id as usize].join(self.clients);
            self.node.catch_up(self.now, index, self.clients, span);
        } else if let Some(client) = self.watched[id as usize].leave() {
            self.node.end_catch_up(index, client);
        }
    }

    /// A neighbor, or one more.
    fn anybody(&mut self) -> NeighborId {
        NeighborId(self.choices.below(u64::from(NEIGHBORS) + 1) as u16)
    }

    fn ranges(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..=self.choices.below(5) {
            let header = self.header(Kind::Data, 0);
            let first = header.map_or(Seq::FIRST, |header| header.sequence);
            let count = self.choices.pick(&[1, 1, 1, 3, 100, 4096, u32::MAX]);
            let range = SeqRange::new(first, count);
            body.extend(range.map(wire::emit_range).into_iter().flatten());
        }
        body
    }

    /// A header of a session, usually of its present epoch and near its window.
    fn header(&mut self, kind: Kind, flags: u8) -> Option<Header> {
        let (id, index) = self.session()?;
        let sequence = self.sequence(index)?;
        let epoch = self.node.session(index)?.epoch();
        let epoch = match (self.choices.below(250), epoch) {
            (249, Some(epoch)) => Epoch(epoch.0.wrapping_add(1)),
            (248, Some(epoch)) => Epoch(epoch.0.wrapping_sub(1)),
            (247, _) | (_, None) => Epoch(self.choices.below(0x1_0000) as u16),
            (_, Some(epoch)) => epoch,
        };
        let header = Header {
            kind,
            flags,
            epoch,
            session: SessionId(id),
            sequence,
            timestamp: self.now.0,
        };
        Some(Header::parse(&header.emit()).ok()?.0)
    }

    fn sequence(&mut self, index: SessionIndex) -> Option<Seq> {
        let session = self.node.session(index)?;
        let (lead, trail) = (session.lead().0, session.trail().0);
        let places = [
            lead,
            lead,
            lead,
            lead,
            lead,
            trail,
            session.expected().0,
            lead.saturating_add(2),
            lead.saturating_add(30),
            lead.saturating_add(512),
            lead.saturating_add(1024),
            lead.saturating_add(2048),
            lead.saturating_sub(1024),
            lead.saturating_sub(2048),
            1,
        ];
        let wild = [1 << 32, Seq::MAX.0 - 4096, Seq::MAX.0 - 2];
        let near = if self.choices.rarely(200) {
            self.choices.pick(&wild)
        } else {
            self.choices.pick(&places)
        };
        let up = near.saturating_add(self.choices.below(4));
        let sequence = up.saturating_sub(self.choices.below(3)).max(1);
        if self.choices.rarely(250) {
            return Some(Seq(1 + self.choices.below(Seq::MAX.0)));
        }
        Some(Seq(sequence))
    }
}

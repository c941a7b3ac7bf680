//! What a node puts out, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::node::turns::EVENTS_MAX;
use crate::{CatchUp, SessionStats};

/// Packets sent without an input between: several queues of 4096.
const SENT_MAX: usize = 30_000;

/// What a session has put out in the present life of its ingress.
#[derive(Debug, Default)]
pub(super) struct Watched {
    delivered: BTreeSet<Seq>,
    last: Seq,
    /// The order changed while packets flowed: across that, only "once" holds.
    mixed: bool,
    held: usize,
    /// What was sent on, down which tree.
    sent_on: BTreeSet<(bool, Seq)>,
    clients: BTreeMap<u64, Client>,
}

/// A client that catches up, or has.
#[derive(Debug, Default)]
struct Client {
    got: BTreeSet<Seq>,
    live_from: Option<Seq>,
}

impl Watched {
    fn begin_epoch(&mut self) {
        self.delivered.clear();
        self.last = Seq(0);
        self.sent_on.clear();
        for client in self.clients.values_mut() {
            client.got.clear();
            client.live_from = client.live_from.map(|_| Seq(0));
        }
    }

    pub(super) fn reconfigured(
        &mut self,
        node: &Node<Packet>,
        index: SessionIndex,
        config: &SessionConfig,
    ) {
        let session = node.session(index).expect("it is configured");
        let before = session.config().delivery;
        self.mixed |= before != config.delivery;
        if before != config.delivery {
            self.clients.clear();
        }
    }

    pub(super) fn sent_on(&mut self, header: &Header) {
        let second = header.flags & FLAG_SECOND != 0;
        let first_time = self.sent_on.insert((second, header.sequence));
        assert!(
            first_time,
            "{} sent on twice, second: {second}",
            header.sequence
        );
    }

    pub(super) fn join(&mut self, client: u64) {
        self.clients.insert(client, Client::default());
    }

    /// A client that goes while it catches up.
    pub(super) fn leave(&mut self) -> Option<u64> {
        let waits = |(_, client): &(&u64, &Client)| client.live_from.is_none();
        let number = *self.clients.iter().find(waits)?.0;
        self.clients.remove(&number);
        Some(number)
    }

    fn deliver(&mut self, seq: Seq, order: Order) {
        assert!(self.delivered.insert(seq), "{seq} delivered twice");
        if order == Order::Ordered && !self.mixed {
            assert!(seq > self.last, "{seq} after {}", self.last);
        }
        self.last = seq;
        for client in self.clients.values_mut() {
            if client.live_from.is_some_and(|live| seq >= live) {
                assert!(client.got.insert(seq), "{seq} to a client twice");
            }
        }
    }

    fn catch_up(&mut self, number: u64, step: CatchUp) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        assert!(client.live_from.is_none(), "catches up after it has");
        match step {
            CatchUp::Packet(seq) => {
                let last = client.got.last();
                assert!(last.is_none_or(|last| *last < seq), "history out of order");
                client.got.insert(seq);
            }
            CatchUp::Live(seq) => {
                client.live_from = Some(seq);
                let last = client.got.last();
                assert!(last.is_none_or(|last| *last < seq), "a packet twice");
                if !self.mixed {
                    let last = self.delivered.last();
                    assert!(last.is_none_or(|last| *last < seq), "a gap at the splice");
                }
            }
        }
    }

    fn check(&mut self, session: &Session<Packet>) {
        check_stats(&session.stats());
        session.check();
        let held_max = session.config().held_max() + 1;
        let before = core::mem::replace(&mut self.held, session.held());
        assert!(session.held() <= held_max.max(before), "held");
    }
}

fn check_stats(stats: &SessionStats) {
    let sum = stats.tree + stats.repaired + stats.unrecovered.wrapping_add(stats.in_flight);
    assert_eq!(stats.sent, sum, "balance");
    assert!(
        stats.copied + stats.rebuilt <= stats.repaired,
        "parts of repaired"
    );
    assert!(stats.second_tree <= stats.tree, "part of tree");
}

impl Fuzz<'_> {
    /// Takes all output, as far as there is any.
    pub(super) fn drain(&mut self) {
        for _ in 0..64 {
            self.node.handle_timeout(self.now);
            self.rebuild();
            self.note_events();
            self.transmit();
            self.note_events();
            self.deliver();
            if self.node.poll_timeout() > self.now {
                return;
            }
        }
        panic!(
            "timer stays due at {:?}: {:?}",
            self.now,
            self.node.poll_timeout()
        );
    }

    pub(super) fn check(&mut self) {
        self.note_events();
        for id in 1..=SESSIONS {
            let index = self.node.find(SessionId(id));
            if let Some(session) = index.and_then(|index| self.node.session(index)) {
                self.watched[id as usize].check(session);
            }
        }
    }

    pub(super) fn note_events(&mut self) {
        let mut events = 0;
        while let Some(event) = self.node.poll_event() {
            events += 1;
            assert!(events < EVENTS_MAX, "a storm of events");
            if let Event::Epoch(id, _) | Event::Idle(id) = event {
                self.watched[id.0 as usize].begin_epoch();
            }
        }
    }

    fn transmit(&mut self) {
        let mut sent = 0;
        while let Some(transmit) = self.node.poll_transmit(self.now) {
            sent += 1;
            assert!(sent < SENT_MAX, "does not stop sending");
            let Transmit { to, header, body } = transmit;
            if matches!(body, Body::Packet(packet) if *packet != (header.epoch, header.sequence)) {
                panic!("another packet than {header:?} says");
            }
            if let Body::Ranges(ranges) = body {
                let sequences: u64 = ranges.iter().map(|range| u64::from(range.count())).sum();
                assert!(!ranges.is_empty() && ranges.len() <= crate::NAK_RANGES_MAX);
                assert!(
                    header.kind != Kind::Nak || sequences <= 4096,
                    "asks for too much"
                );
            }
            let ranges = match body {
                Body::Ranges(ranges) if header.kind == Kind::Nak => ranges.to_vec(),
                _ => Vec::new(),
            };
            let parity = match body {
                Body::Parity(parity) => Some(parity),
                _ => None,
            };
            assert_eq!(
                Header::parse(&header.emit()).map(|parsed| parsed.0),
                Ok(header)
            );
            self.check_destination(to, &header);
            self.check_naked(&header, &ranges);
            self.check_parity(&header, parity);
        }
    }

    fn check_destination(&self, to: Destination, header: &Header) {
        match to {
            Destination::Neighbor(id) => {
                assert!(self.node.neighbor(id).is_some(), "to nobody: {header:?}");
            }
            Destination::Tree(index, tree) => {
                let second = header.flags & FLAG_SECOND != 0;
                assert_eq!(second, tree == Tree::Second, "flags of {header:?}");
                let session = self.node.session(index).expect("it has something to send");
                assert_eq!(session.config().id, header.session);
            }
        }
    }

    /// What is asked for is not here.
    fn check_naked(&self, header: &Header, ranges: &[SeqRange]) {
        let index = self.node.find(header.session);
        let Some(session) = index.and_then(|index| self.node.session(index)) else {
            return;
        };
        for range in ranges {
            assert!(range.last() <= session.lead(), "asks for the future");
            let here =
                (range.first().0..=range.last().0).find(|&seq| session.packet(Seq(seq)).is_some());
            assert_eq!(here, None, "asks for what is here");
        }
    }

    /// Parity is made of packets that are here.
    fn check_parity(&self, header: &Header, parity: Option<ParityHeader>) {
        let index = self.node.find(header.session);
        let session = index.and_then(|index| self.node.session(index));
        let (Some(session), Some(parity)) = (session, parity) else {
            return;
        };
        let fec = session.config().fec.expect("parity");
        assert!((1..=fec.block).contains(&parity.count) && parity.index < fec.parity);
        assert_eq!(parity.parity, fec.parity);
        let block = header.sequence.0..header.sequence.0 + u64::from(parity.count);
        assert!(block.end <= session.lead().0 + 1, "parity of the future");
    }

    fn rebuild(&mut self) {
        let mut offers = 0;
        while let Some(rebuild) = self.node.poll_rebuild() {
            offers += 1;
            assert!(offers < 1000, "does not stop offering blocks");
            let session = self.node.session(rebuild.index).expect("it has a block");
            let epoch = session.epoch().unwrap_or_default();
            let block = rebuild.first.0..rebuild.first.0 + u64::from(rebuild.count);
            let lacking = |seq: &Seq| session.packet(*seq).is_none();
            let missing: Vec<Seq> = block.map(Seq).filter(lacking).collect();
            let parities = session.parity(rebuild.first).count();
            assert!(
                !missing.is_empty() && missing.len() <= parities,
                "{rebuild:?}"
            );
            if self.choices.rarely(8) {
                continue;
            }
            for seq in missing {
                let packet = (epoch, seq);
                let _ = self
                    .node
                    .handle_rebuilt(self.now, rebuild.index, seq, packet);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((index, seq, &packet)) = self.node.poll_deliver(self.now) {
            let session = self.node.session(index).expect("it delivers");
            assert_eq!(packet, (session.epoch().unwrap_or_default(), seq));
            let config = session.config();
            let order = config.delivery.expect("it delivers");
            self.watched[config.id.0 as usize].deliver(seq, order);
        }
        let mut steps = 0;
        while let Some((index, client, step)) = self.node.poll_catch_up(self.now) {
            steps += 1;
            assert!(steps < SENT_MAX, "does not stop catching up");
            let session = self.node.session(index).expect("it has a client");
            if let CatchUp::Packet(seq) = step {
                let packet = (session.epoch().unwrap_or_default(), seq);
                assert_eq!(session.packet(seq), Some(&packet));
            }
            self.watched[session.config().id.0 as usize].catch_up(client, step);
        }
    }
}

//! A network of nodes in virtual time: seeded, without threads, one event after the other.

use core::cmp::Reverse;
use std::boxed::Box;
use std::collections::{BTreeMap, BinaryHeap};
use std::vec::Vec;

use super::*;
use crate::{Order, SessionConfig, wire};

pub(super) const SESSION: SessionId = SessionId(7);
const HELLO: Duration = Duration::from_millis(10);

/// What crosses a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Packet([u8; wire::HEADER_LEN], u64),
    Control([u8; wire::HEADER_LEN], Vec<u8>),
}

/// When it arrives, a number that keeps the order, from, to, and what.
type UnderWay = Reverse<(Instant, u64, usize, usize, Message)>;

/// One direction of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) loss: f64,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) duplicate: f64,
    pub(super) offered: u64,
    pub(super) dropped: u64,
}

pub(super) struct Router {
    pub(super) node: Node<u64>,
    pub(super) index: SessionIndex,
    peers: Vec<usize>,
    pub(super) delivered: Vec<u64>,
    pub(super) events: Vec<Event>,
    up: bool,
}

/// Routers, links and what is under way between them.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) routers: Vec<Router>,
    pub(super) links: BTreeMap<(usize, usize), Link>,
    under_way: BinaryHeap<UnderWay>,
    count: u64,
    rng: fastrand::Rng,
    pub(super) sent: u64,
    lives: u16,
    tree: Tree,
}

/// The session's tree: for each router its parents (the backups behind the first), and whether it delivers.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) parents: Vec<Vec<usize>>,
    pub(super) deliver: Option<Order>,
    pub(super) deadline: Duration,
}

impl Net {
    /// The nodes of a tree, all links with the given loss and delay, brought up.
    pub(super) fn new(seed: u64, tree: Tree, loss: f64, delay: Duration) -> Net {
        let mut net = Net {
            now: Instant(1_000_000_000),
            routers: Vec::new(),
            links: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            count: 0,
            rng: fastrand::Rng::with_seed(seed),
            sent: 0,
            lives: 0,
            tree,
        };
        let link = Link {
            loss,
            delay,
            jitter: Duration::ZERO,
            duplicate: 0.0,
            offered: 0,
            dropped: 0,
        };
        for (child, parents) in net.tree.parents.iter().enumerate() {
            for &parent in parents {
                net.links.insert((parent, child), link);
                net.links.insert((child, parent), link);
            }
        }
        for router in 0..net.tree.parents.len() {
            let router = net.boot(router);
            net.routers.push(router);
        }
        net.run(Duration::from_millis(500));
        net
    }

    fn boot(&mut self, me: usize) -> Router {
        self.lives += 1;
        let config = NodeConfig {
            epoch: Epoch(self.lives),
            hello_interval: HELLO,
            hold_down: Duration::ZERO,
            max_neighbors: 64,
            max_sessions: 4,
        };
        let mut node = Node::new(self.now, config);
        let peers: Vec<usize> = self
            .links
            .keys()
            .filter(|link| link.0 == me)
            .map(|link| link.1)
            .collect();
        for _ in &peers {
            let neighbor = NeighborConfig {
                hello_interval: HELLO,
                detect_mult: 3,
                repair_rate_pps: 50_000,
            };
            node.add_neighbor(self.now, neighbor).unwrap();
        }
        let id =
            |peer: &usize| NeighborId(peers.iter().position(|known| known == peer).unwrap() as u16);
        let parents = &self.tree.parents;
        let children = (0..parents.len()).filter(|&child| parents[child].first() == Some(&me));
        let children: Vec<usize> = children.collect();
        let backup = parents
            .iter()
            .any(|parents| parents[..].get(1..).is_some_and(|rest| rest.contains(&me)));
        let config = SessionConfig {
            id: SESSION,
            upstream: parents[me].iter().map(id).collect(),
            downstream: children.iter().map(id).collect(),
            delivery: self.tree.deliver.filter(|_| children.is_empty() && !backup),
            deadline: self.tree.deadline,
            retention: Duration::from_secs(3),
            reorder_delay: Duration::from_micros(100),
            max_rate_pps: 20_000,
            ..SessionConfig::default()
        };
        let session = Box::new(Session::new(self.now, config, Epoch(self.lives)));
        let index = node.add_session(self.now, session).unwrap();
        Router {
            node,
            index,
            peers,
            delivered: Vec::new(),
            events: Vec::new(),
            up: true,
        }
    }

    /// Ends a router; nothing reaches it any more.
    pub(super) fn kill(&mut self, router: usize) {
        self.routers[router].up = false;
    }

    /// Begins a router anew, with nothing of what it knew.
    pub(super) fn restart(&mut self, router: usize) {
        self.routers[router] = self.boot(router);
    }

    /// Sends `count` packets from the ingress, router 0, at an even pace.
    pub(super) fn stream(&mut self, count: u64, interval: Duration) {
        for _ in 0..count {
            self.sent += 1;
            let router = &mut self.routers[0];
            let header = router
                .node
                .handle_source(self.now, router.index, 0, self.sent)
                .unwrap();
            self.down_the_tree(0, &header, Some(self.sent));
            self.drain(0);
            self.run(interval);
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.under_way.peek().map(|next| next.0.0);
            let timers = self.routers.iter().filter(|router| router.up);
            let timer = timers.map(|router| router.node.poll_timeout()).min();
            let next = [arrival, timer].into_iter().flatten().min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while self
                .under_way
                .peek()
                .is_some_and(|next| next.0.0 <= self.now)
            {
                let Some(Reverse((_, _, from, to, message))) = self.under_way.pop() else {
                    break;
                };
                self.arrive(from, to, &message);
            }
            for router in 0..self.routers.len() {
                if self.routers[router].up && self.routers[router].node.poll_timeout() <= self.now {
                    self.routers[router].node.handle_timeout(self.now);
                    self.drain(router);
                }
            }
        }
    }

    fn arrive(&mut self, from: usize, to: usize, message: &Message) {
        let now = self.now;
        let router = &mut self.routers[to];
        if !router.up {
            return;
        }
        let id = NeighborId(router.peers.iter().position(|&peer| peer == from).unwrap() as u16);
        let node = &mut router.node;
        match message {
            Message::Packet(header, payload) => {
                let header = Header::parse(header).unwrap().0;
                if header.kind == Kind::Repair {
                    let _ = node.handle_repair(now, id, &header, *payload);
                } else if header.kind == Kind::Copy {
                    let _ = node.handle_copy(now, id, &header, *payload);
                } else if node.handle_data(now, &header, *payload).is_ok() {
                    self.down_the_tree(to, &header, Some(*payload));
                }
            }
            Message::Control(header, body) => {
                let header = Header::parse(header).unwrap().0;
                let _ = match header.kind {
                    Kind::NakConfirm => node
                        .handle_confirm(now, id, &header, NakRanges::parse(body).unwrap())
                        .map(drop),
                    Kind::Nak => node
                        .handle_nak(now, id, &header, NakRanges::parse(body).unwrap())
                        .map(drop),
                    Kind::Hello if header.session == SESSION => {
                        node.handle_request(now, id, &header).map(drop)
                    }
                    Kind::Hello => {
                        node.handle_hello(now, id, &header, &Hello::parse(body).unwrap())
                    }
                    _ => node.handle_heartbeat(now, &header).map(drop),
                };
            }
        }
        self.drain(to);
        self.check(to);
    }

    fn drain(&mut self, me: usize) {
        while let Some((_, _, &packet)) = self.routers[me].node.poll_deliver(self.now) {
            self.routers[me].delivered.push(packet);
        }
        let mut outputs = 0;
        while let Some(transmit) = self.routers[me].node.poll_transmit(self.now) {
            let header = transmit.header;
            let bytes = header.emit();
            let message = match transmit.body {
                Body::Packet(&packet) => Message::Packet(bytes, packet),
                Body::Empty | Body::Parity(_) => Message::Control(bytes, Vec::new()),
                Body::Hello(hello) => Message::Control(bytes, hello.emit().to_vec()),
                Body::Ranges(ranges) => Message::Control(
                    bytes,
                    ranges
                        .iter()
                        .flat_map(|&range| wire::emit_range(range))
                        .collect(),
                ),
            };
            match transmit.to {
                Destination::Tree(..) => {
                    for child in self.children(me) {
                        self.send(me, child, message.clone());
                    }
                }
                Destination::Neighbor(id) => {
                    let to = self.routers[me].peers[usize::from(id.0)];
                    self.send(me, to, message);
                }
            }
            outputs += 1;
            assert!(outputs < 10_000, "node {me} does not stop sending");
        }
        while let Some(event) = self.routers[me].node.poll_event() {
            self.routers[me].events.push(event);
        }
    }

    fn children(&self, me: usize) -> Vec<usize> {
        let router = &self.routers[me];
        let session = router.node.session(router.index).unwrap();
        session
            .downstream(crate::Tree::First)
            .map(|id| router.peers[usize::from(id.0)])
            .collect()
    }

    fn down_the_tree(&mut self, me: usize, header: &Header, packet: Option<u64>) {
        for child in self.children(me) {
            let message = match packet {
                Some(packet) => Message::Packet(header.emit(), packet),
                None => Message::Control(header.emit(), Vec::new()),
            };
            self.send(me, child, message);
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let Some(link) = self.links.get_mut(&(from, to)) else {
            return;
        };
        link.offered += 1;
        if self.rng.f64() < link.loss {
            link.dropped += 1;
            return;
        }
        let copies = 1 + usize::from(self.rng.f64() < link.duplicate);
        for _ in 0..copies {
            let jitter = link.jitter.mul_f64(self.rng.f64());
            let at = self.now + link.delay + jitter;
            self.count += 1;
            self.under_way
                .push(Reverse((at, self.count, from, to, message.clone())));
        }
    }

    /// What must hold after every step.
    fn check(&self, me: usize) {
        let router = &self.routers[me];
        let session = router.node.session(router.index).unwrap();
        let stats = session.stats();
        let sum = stats.tree + stats.repaired + stats.unrecovered + stats.in_flight;
        assert_eq!(stats.sent, sum, "balance of {me}: {stats:?}");
        assert!(session.held() <= session.config().held_max() + 1);
        if self.tree.deliver == Some(Order::Ordered) {
            let last_two = router.delivered.rchunks(2).next().unwrap_or_default();
            assert!(
                last_two.is_sorted_by(|a, b| a < b),
                "{me} delivered {last_two:?}"
            );
        }
    }

    /// The last hops, whose clients are to be served.
    pub(super) fn last_hops(&self) -> Vec<usize> {
        let mut last_hops: Vec<usize> = (1..self.routers.len()).collect();
        last_hops.retain(|me| {
            !self
                .tree
                .parents
                .iter()
                .flatten()
                .any(|parent| parent == me)
        });
        last_hops
    }

    /// Asserts that every last hop delivered everything that was sent, each packet once.
    pub(super) fn assert_all_delivered(&self) {
        for me in self.last_hops() {
            let mut delivered = self.routers[me].delivered.clone();
            if self.tree.deliver == Some(Order::Immediate) {
                delivered.sort_unstable();
            }
            let missing =
                (1..=self.sent).find(|packet| delivered.get(*packet as usize - 1) != Some(packet));
            assert_eq!(
                (missing, delivered.len() as u64),
                (None, self.sent),
                "router {me}"
            );
        }
    }

    pub(super) fn stats(&self, router: usize) -> crate::SessionStats {
        self.routers[router]
            .node
            .session(self.routers[router].index)
            .unwrap()
            .stats()
    }
}

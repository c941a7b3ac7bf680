//! A router's turn: what happens at it within a slot, in order of time, and what comes out of it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::check::{Delivery, Seen};
use super::super::queue::Event as Queued;
use super::super::report::Rule;
use super::super::router::record;
use super::super::scenario::Action;
use super::{Content, Message, Network, What, parity_payload, plan_of};
use crate::wire::{self, FLAG_SECOND, HEADER_LEN, Header, HelloState, Kind, PARITY_HEADER_LEN};
use crate::{Body, Destination, Epoch, Event, Seq, Tree};

/// Bytes before the treecast header: Ethernet, IPv4, UDP.
const OUTER_LEN: usize = 14 + 20 + 8;
/// Outputs of one input, and for each neighbor as many again: a burst of repairs and some.
const OUTPUTS_MAX: usize = 256;
/// How often in a row a node's timer may go off at the same moment.
const TIMERS_MAX: u32 = 64;

impl Network {
    /// Has a router do what there is in this slot: `order` are its events by time.
    pub(super) fn turn(&mut self, me: usize, order: &[(u64, u32)], events: &[Queued<What>]) {
        let slot = self.queue.slot_of(self.slot_end - 1);
        let mut now = self.queue.start_of(self.slot_end);
        let mut order = order.iter().map(|key| &events[key.1 as usize]).peekable();
        let mut timers = 0;
        loop {
            let event_at = order.peek().map_or(u64::MAX, |event| event.at);
            let source = self.next_source(me);
            let timer_at = self.routers[me].due().max(now);
            let at = event_at.min(source.0).min(timer_at).max(now);
            if at >= self.slot_end {
                break;
            }
            timers = if at > now { 0 } else { timers };
            now = at;
            if event_at <= now {
                if let Some(event) = order.next() {
                    self.happen(now, me, &event.what);
                }
            } else if source.0 <= now {
                self.source(now, me, source.1);
            } else {
                timers += 1;
                if self.timer_is_stuck(now, me, timers) {
                    break;
                }
                self.timer(now, me);
            }
        }
        self.wake_later(me, slot);
    }

    fn timer(&mut self, now: u64, me: usize) {
        self.events += 1;
        let local = self.routers[me].local(now);
        self.routers[me].node.handle_timeout(local);
        self.drain(now, me);
    }

    fn timer_is_stuck(&mut self, now: u64, me: usize, timers: u32) -> bool {
        let stuck = timers > TIMERS_MAX;
        let verdict = self.verdict.step(now, me);
        verdict.check(Rule::Storm, !stuck, || {
            "a timer goes off and off at the same moment".into()
        });
        stuck
    }

    /// When the next source of a session whose ingress this is has a packet, and for which session.
    fn next_source(&self, me: usize) -> (u64, usize) {
        let feeds = self.routers[me].feeds.iter();
        let next = feeds.map(|&plan| (self.sources[plan].next_at, plan));
        next.min().unwrap_or((u64::MAX, 0))
    }

    /// Sees to it that the router has a turn when its node's timer is due, or its source has a packet.
    fn wake_later(&mut self, me: usize, slot: u64) {
        let due = self.routers[me].due().min(self.next_source(me).0);
        if due == u64::MAX {
            return;
        }
        let due = due.max(self.slot_end);
        let wanted = self.queue.slot_of(due);
        let asked = self.routers[me].wake_slot;
        if asked <= slot || asked > wanted {
            self.routers[me].wake_slot = wanted;
            self.push(due, me, What::Wake);
        }
    }

    fn happen(&mut self, now: u64, me: usize, what: &What) {
        match what {
            What::Wake => return,
            What::Action(event) => {
                let action = self.scenario.events[*event].1;
                self.act(now, me, action);
            }
            What::Arrival(message) if self.routers[me].up => self.arrive(now, me, message),
            What::Arrival(_) => return,
        }
        self.events += 1;
    }

    fn act(&mut self, now: u64, me: usize, action: Action) {
        match action {
            Action::Kill(_) => self.routers[me].end_life(),
            Action::Restart(_) => {
                self.routers[me].end_life();
                let (ports, joined) = (&self.layout.ports[me], &self.layout.joined[me]);
                self.routers[me].boot(now, &self.scenario, ports, joined);
                let life = Epoch(self.routers[me].lives);
                for (plan, sent) in self.sources.iter_mut().enumerate() {
                    if self.scenario.sessions[plan].ingress == me {
                        sent.epochs.push((life, sent.at.len() as u64));
                    }
                }
                self.drain(now, me);
            }
            Action::ClockJump(_, ahead) => {
                self.routers[me].clock_ns += ahead.as_nanos() as u64;
                // By its clock, answers that it awaits are late.
                for attendance in &mut self.routers[me].sessions {
                    attendance.watch.asks_start_over();
                }
            }
            Action::Cut(from, to) | Action::Heal(from, to) | Action::Impair(from, to, _) => {
                let Some(direction) = self.layout.direction(from, to) else {
                    return;
                };
                let direction = &mut self.layout.directions[direction];
                match action {
                    Action::Cut(..) => direction.cut(),
                    Action::Impair(_, _, impairment) => direction.impairment = impairment,
                    _ => direction.heal(),
                }
            }
            Action::Join {
                session,
                client,
                catch_up,
                ..
            } => self.client_joins(now, me, (session, client), catch_up),
            Action::Leave {
                session, client, ..
            } => self.client_leaves(me, session, client),
        }
    }

    /// The source has a packet, and will have the next.
    fn source(&mut self, now: u64, me: usize, plan: usize) {
        self.events += 1;
        let sent = &mut self.sources[plan];
        sent.schedule_next(&self.scenario.sessions[plan].source);
        let router = &mut self.routers[me];
        let local = router.local(now);
        let attendance = router
            .sessions
            .iter()
            .find(|attendance| attendance.plan == plan);
        // While its router is down the source keeps its pace, and what it would have sent is nobody's.
        let Some(attendance) = attendance.filter(|_| router.up) else {
            return;
        };
        sent.at.push(now);
        self.made[0] += 1;
        let payload = sent.at.len() as u64;
        let header = router
            .node
            .handle_source(local, attendance.index, now, payload);
        if let Some(header) = header {
            for flags in [header.flags, header.flags | FLAG_SECOND] {
                let header = Header { flags, ..header };
                let message = message(header, payload, Content::Nothing);
                self.down_the_tree(now, me, &message);
            }
            self.drain(now, me);
        }
        let ends = self.scenario.sessions[plan].source.end;
        if ends && self.sources[plan].next_at == u64::MAX {
            self.source_ends(now, me, plan);
        }
    }

    /// The source has nothing more: the ingress says so where it is to.
    fn source_ends(&mut self, now: u64, me: usize, plan: usize) {
        let router = &mut self.routers[me];
        let local = router.local(now);
        let sessions = router.sessions.iter();
        let attendance = sessions
            .filter(|_| router.up)
            .find(|attendance| attendance.plan == plan);
        if let Some(attendance) = attendance {
            router.node.end_session(local, attendance.index);
            self.drain(now, me);
        }
    }

    /// Takes everything out of a node that it has to send, deliver and tell.
    pub(super) fn drain(&mut self, now: u64, me: usize) {
        self.take_events(now, me);
        self.rebuild(now, me);
        self.deliver(now, me);
        self.serve_catch_up(now, me);
        let local = self.routers[me].local(now);
        let mut outputs = 0;
        while let Some(transmit) = self.routers[me].node.poll_transmit(local) {
            outputs += 1;
            let (to, header) = (transmit.to, transmit.header);
            let message = match transmit.body {
                Body::Packet(&payload) => message(header, payload, Content::Nothing),
                Body::Empty => message(header, 0, Content::Nothing),
                Body::Parity(parity) => message(header, 0, Content::Parity(parity)),
                Body::Hello(hello) => message(header, 0, Content::Bytes(Box::new(hello.emit()))),
                Body::Ranges(ranges) => {
                    let bytes = ranges.iter().flat_map(|&range| wire::emit_range(range));
                    let bytes = Content::Bytes(bytes.collect());
                    message(header, 0, bytes)
                }
            };
            let message = self.with_parity(me, message);
            match to {
                Destination::Tree(..) => {
                    self.made[1] += u64::from(header.kind == Kind::Parity);
                    self.down_the_tree(now, me, &message);
                }
                Destination::Neighbor(to) => {
                    self.check_output(now, me, to, &message);
                    let port = self.layout.ports[me][usize::from(to.0)];
                    self.send(now, port.direction, &message);
                }
            }
        }
        let most = OUTPUTS_MAX * (1 + self.layout.ports[me].len());
        let verdict = self.verdict.step(now, me);
        verdict.check(Rule::Storm, outputs <= most, || {
            alloc::format!("{outputs} packets out for one in")
        });
        self.check_step(me);
    }

    /// Makes the payload of a parity packet from those of its block.
    fn with_parity(&self, me: usize, message: Message) -> Message {
        let Content::Parity(parity) = message.body else {
            return message;
        };
        let node = &self.routers[me].node;
        let session = node
            .find(message.header.session)
            .and_then(|index| node.session(index));
        let first = message.header.sequence.0;
        let block = (first..first + u64::from(parity.count)).map(Seq);
        let payloads = block.filter_map(|seq| session?.packet(seq).copied());
        let payloads: Vec<u64> = payloads.collect();
        Message {
            payload: parity_payload(&payloads, parity.index),
            ..message
        }
    }

    fn take_events(&mut self, now: u64, me: usize) {
        let router = &mut self.routers[me];
        while let Some(event) = router.node.poll_event() {
            // What was asked before may be asked again at once.
            let starts_over = match event {
                Event::Parent(..) | Event::Epoch(..) => true,
                Event::Neighbor(_, state, _) => state != HelloState::Init,
                _ => false,
            };
            if starts_over {
                for attendance in &mut router.sessions {
                    attendance.watch.asks_start_over();
                }
            }
            router.history.event(now, event);
        }
    }

    fn check_step(&mut self, me: usize) {
        let router = &mut self.routers[me];
        let node = &router.node;
        for attendance in &mut router.sessions {
            if let Some(session) = node.session(attendance.index) {
                let is_held = |seq| session.packet(Seq(seq)).is_some();
                let seen = Seen::new(session);
                attendance.watch.after(&seen, is_held, &mut self.verdict);
            }
        }
    }

    fn deliver(&mut self, now: u64, me: usize) {
        let local = self.routers[me].local(now);
        let count = self.routers.len();
        while let Some((index, seq, &payload)) = self.routers[me].node.poll_deliver(local) {
            let router = &mut self.routers[me];
            let epoch = router
                .node
                .session(index)
                .and_then(|session| session.epoch());
            let mut sessions = router.sessions.iter_mut();
            let Some(attendance) = sessions.find(|attendance| attendance.index == index) else {
                continue;
            };
            let sent = &self.sources[attendance.plan];
            let delivery = Delivery {
                epoch,
                seq: seq.0,
                payload,
                expected: sent.payload(epoch, seq.0),
            };
            let sent_at = sent.at.get((payload as usize).wrapping_sub(1));
            attendance
                .watch
                .delivers(delivery, self.verdict.step(now, me));
            let waited = now - sent_at.copied().unwrap_or(now);
            let own = &mut router.history.report.delivery;
            record(&mut self.report.delivery, own, count, waited);
        }
    }

    fn check_output(&mut self, now: u64, me: usize, to: crate::NeighborId, message: &Message) {
        let verdict = self.verdict.step(now, me);
        let router = &mut self.routers[me];
        let local = router.local(now);
        match (message.header.kind, &message.body) {
            (Kind::Repair, _) => {
                let kept = router.budgets[usize::from(to.0)].take(local);
                verdict.check(Rule::Budget, kept, || {
                    alloc::format!("more repairs to {to:?} than its rate allows")
                });
            }
            (Kind::Nak, Content::Bytes(bytes)) => {
                let rto = router.node.neighbor(to).map(|neighbor| neighbor.rtt.rto());
                let rto_ns = rto.unwrap_or(Duration::ZERO).as_nanos() as u64;
                let plan = plan_of(&message.header);
                let ranges = wire::NakRanges::parse(bytes).ok();
                for range in ranges.into_iter().flat_map(wire::NakRanges::iter) {
                    router.history.report.asked += u64::from(range.count());
                    if let Some(attendance) = router.attendance(plan) {
                        let watch = &mut attendance.watch;
                        watch.asks(to, range, rto_ns, verdict);
                    }
                }
            }
            _ => {}
        }
    }

    /// Sends a message to everybody who gets its session's tree here.
    pub(super) fn down_the_tree(&mut self, now: u64, me: usize, message: &Message) {
        let Some(index) = self.routers[me].node.find(message.header.session) else {
            return;
        };
        let Network {
            routers,
            layout,
            queue,
            scenario,
            ..
        } = self;
        let Some(session) = routers[me].node.session(index) else {
            return;
        };
        let bytes = wire_bytes(scenario, message);
        for child in session.downstream(tree_of(&message.header)) {
            let port = layout.ports[me][usize::from(child.0)];
            send_on(
                queue,
                &mut layout.directions[port.direction],
                now,
                bytes,
                message,
            );
        }
    }

    fn send(&mut self, now: u64, direction: usize, message: &Message) {
        let bytes = wire_bytes(&self.scenario, message);
        let direction = &mut self.layout.directions[direction];
        send_on(&mut self.queue, direction, now, bytes, message);
    }
}

fn send_on(
    queue: &mut super::Queue<What>,
    direction: &mut super::super::link::Direction,
    now: u64,
    bytes: u64,
    message: &Message,
) {
    let arrivals = direction.send(now, message.header.kind, bytes);
    for at in [arrivals.first, arrivals.second].into_iter().flatten() {
        let message = Message {
            from: direction.arrives_from,
            ..message.clone()
        };
        queue.push(Queued {
            at,
            router: direction.to,
            what: What::Arrival(message),
        });
    }
}

fn message(header: Header, payload: u64, body: Content) -> Message {
    debug_assert_eq!(
        Header::parse(&header.emit()).map(|parsed| parsed.0),
        Ok(header)
    );
    Message {
        header,
        payload,
        from: crate::NeighborId(0),
        body,
    }
}

/// The tree that a packet goes down.
fn tree_of(header: &Header) -> Tree {
    if header.flags & FLAG_SECOND == 0 {
        Tree::First
    } else {
        Tree::Second
    }
}

/// The length of a message on the wire.
fn wire_bytes(scenario: &super::Scenario, message: &Message) -> u64 {
    let plan = scenario.sessions.get(plan_of(&message.header));
    let packet = plan.map_or(0, |plan| plan.source.packet_bytes as usize);
    let body = match (message.header.kind, &message.body) {
        (Kind::Data | Kind::Repair | Kind::Copy, _) => packet,
        (_, Content::Parity(_)) => PARITY_HEADER_LEN + packet,
        (_, Content::Bytes(bytes)) => bytes.len(),
        (_, Content::Nothing) => 0,
    };
    (OUTER_LEN + HEADER_LEN + body) as u64
}

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::node::{Destination, Node, NodeConfig};
use crate::{Epoch, SessionConfig, SessionId};

const START: Instant = Instant(1_000_000_000);
const STEP: Duration = Duration::from_micros(100);

/// An ingress whose sessions have just begun, and said so.
fn ingress(sessions: usize) -> Node<u64> {
    let hello_interval = Duration::from_secs(600);
    let config = NodeConfig {
        epoch: Epoch(1),
        hello_interval,
        hold_down: hello_interval,
        max_neighbors: 1,
        max_sessions: sessions,
    };
    let mut node = Node::new(START, config);
    for id in 1..=sessions as u32 {
        let config = SessionConfig {
            id: SessionId(id),
            max_rate_pps: 1,
            ..SessionConfig::default()
        };
        let session = Box::new(Session::new(START, config, Epoch(1)));
        node.add_session(START, session).expect("there is room");
    }
    assert_eq!(heartbeats(&mut node, START).len(), sessions.min(at_once()));
    node
}

/// The heartbeats that may go at one moment.
fn at_once() -> usize {
    (HEARTBEAT_BURST.as_nanos() / HEARTBEAT_SPACING.as_nanos()) as usize + 1
}

/// The sessions whose leads are announced now.
fn heartbeats(node: &mut Node<u64>, now: Instant) -> Vec<usize> {
    while {
        node.handle_timeout(now);
        node.turns.next_due() <= now
    } {}
    let mut announced = Vec::new();
    while let Some(sent) = node.poll_transmit(now) {
        if let Destination::Tree(index, _) = sent.to {
            announced.push(index.0);
        }
    }
    announced
}

/// Sends a packet of each session, then waits until each was announced; returns how long that took, and the most
/// heartbeats of a step.
fn silence(node: &mut Node<u64>, sessions: usize) -> (Duration, usize) {
    let sent_at = START + Duration::from_secs(1);
    for step in 0..20 {
        heartbeats(node, START + Duration::from_millis(50) * step);
    }
    for index in 0..sessions {
        node.handle_source(sent_at, SessionIndex(index), 0, 1);
    }
    let mut silent = vec![true; sessions];
    let (mut now, mut most, mut left) = (sent_at, 0, sessions);
    while left > 0 {
        now = now + STEP;
        let announced = heartbeats(node, now);
        most = most.max(announced.len());
        for index in announced {
            left -= usize::from(core::mem::take(&mut silent[index]));
        }
    }
    (now.since(sent_at), most)
}

#[test]
fn few_sessions_are_announced_after_a_millisecond() {
    let (took, most) = silence(&mut ingress(100), 100);
    assert_eq!((took, most), (HEARTBEAT_FIRST, 100));
}

#[test]
fn many_sessions_are_announced_one_after_the_other() {
    let sessions = 10_000;
    let (took, most) = silence(&mut ingress(sessions), sessions);
    let planned = HEARTBEAT_SPACING * sessions as u32;
    let burst = HEARTBEAT_BURST + STEP;
    assert!(
        took >= planned - burst && took <= planned + burst,
        "{took:?}"
    );
    assert!(most <= 2 * at_once(), "{most}");
}

#[test]
fn no_session_waits_longer_than_a_quarter_of_a_second() {
    let sessions = 130_000;
    let (took, _) = silence(&mut ingress(sessions), sessions);
    assert!(took <= HEARTBEAT_WAIT_MAX + STEP, "{took:?}");
}

#[test]
fn packets_in_order_have_a_calm_session_neither_looked_at_nor_armed_anew() {
    let mut node = ingress(1);
    let now = START + Duration::from_secs(10);
    heartbeats(&mut node, now);
    node.handle_source(now, SessionIndex(0), 0, 1);
    heartbeats(&mut node, now);
    let due = node.poll_timeout();
    let later = now + STEP;
    node.handle_source(later, SessionIndex(0), 0, 2);
    assert!(node.turns.sending.is_empty());
    assert_eq!(node.poll_timeout(), due);
    assert_eq!(
        heartbeats(&mut node, now + HEARTBEAT_FIRST),
        [],
        "it has gone on"
    );
    assert_eq!(heartbeats(&mut node, later + HEARTBEAT_FIRST), [0]);
}

use std::boxed::Box;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::node::NodeConfig;
use crate::wire::{FLAG_SECOND, Kind};
use crate::{Epoch, Fec, Instant, NeighborConfig, NeighborId, Order, Seq, Session};
use crate::{SessionConfig, SessionId};

const START: Instant = Instant(1_000_000_000);
const ID: SessionId = SessionId(7);
const INDEX: SessionIndex = SessionIndex(0);

/// A packet of the stream: epoch, sequence, whether by the second tree.
type Packet = (u16, u64, bool);
/// Packets that come at one moment, the microseconds until then, and where the runs they are taken in end.
type Burst = (Vec<(Packet, bool)>, u64);

fn node(upstream: bool, config: SessionConfig) -> Node<u64> {
    let hello_interval = Duration::from_secs(600);
    let node = NodeConfig {
        epoch: Epoch(1),
        hello_interval,
        hold_down: hello_interval,
        max_neighbors: 2,
        max_sessions: 1,
    };
    let neighbor = NeighborConfig {
        hello_interval,
        detect_mult: 3,
        repair_rate_pps: 50_000,
    };
    let mut node = Node::new(START, node);
    for _ in 0..2 {
        node.add_neighbor(START, neighbor);
    }
    let config = SessionConfig {
        id: ID,
        upstream: vec![NeighborId(0); usize::from(upstream)],
        max_rate_pps: 32,
        ..config
    };
    let session = Box::new(Session::new(START, config, Epoch(1)));
    node.add_session(START, session).expect("there is room");
    node
}

/// All that the node puts out until nothing more is due.
fn outputs(node: &mut Node<u64>, now: Instant) -> Vec<String> {
    let mut outputs = Vec::new();
    node.handle_timeout(now);
    while let Some(sent) = node.poll_transmit(now) {
        outputs.push(format!("{sent:?}"));
    }
    while let Some(delivered) = node.poll_deliver(now) {
        outputs.push(format!("{delivered:?}"));
    }
    while let Some(event) = node.poll_event() {
        outputs.push(format!("{event:?}"));
    }
    outputs.push(format!("{:?}", node.poll_timeout()));
    outputs
}

fn state(node: &Node<u64>) -> String {
    format!("{:?}", node.session(INDEX))
}

fn data((epoch, seq, second): Packet) -> Header {
    Header {
        kind: Kind::Data,
        flags: FLAG_SECOND * u8::from(second),
        epoch: Epoch(epoch),
        session: ID,
        sequence: Seq(seq),
        timestamp: 0,
    }
}

/// Mostly in order, with losses, duplicates, late ones, jumps and new epochs.
fn stream() -> impl Strategy<Value = Vec<Burst>> {
    let step = prop_oneof![
        30 => Just(1i64),
        4 => 2i64..6,
        3 => -40i64..1,
        1 => 100i64..3000,
    ];
    let epoch = prop_oneof![60 => Just(0u16), 1 => Just(1u16)];
    let packet = (step, epoch, prop::bool::weighted(0.1), any::<bool>());
    let burst = (prop::collection::vec(packet, 0..40), 0u64..3000);
    prop::collection::vec(burst, 1..12).prop_map(|bursts| {
        let (mut seq, mut epoch) = (0i64, 1);
        let packet = |(step, newer, second, ends): (i64, u16, bool, bool)| {
            epoch += newer;
            seq = if newer > 0 { 1 } else { (seq + step).max(1) };
            ((epoch, seq as u64, second), ends)
        };
        let mut packet = packet;
        let bursts = bursts.into_iter();
        bursts
            .map(|(packets, us)| (packets.into_iter().map(&mut packet).collect(), us))
            .collect()
    })
}

fn config() -> impl Strategy<Value = SessionConfig> {
    let orders = [None, Some(Order::Ordered), Some(Order::Immediate)];
    let fec = Fec {
        block: 8,
        parity: 2,
    };
    let delivery = prop::sample::select(orders.to_vec());
    let fec = prop::sample::select(vec![None, Some(fec)]);
    (delivery, fec, any::<bool>(), any::<bool>()).prop_map(|(delivery, fec, child, second)| {
        SessionConfig {
            delivery,
            fec,
            downstream: vec![NeighborId(1); usize::from(child)],
            second_upstream: vec![NeighborId(0); usize::from(second)],
            ..SessionConfig::default()
        }
    })
}

proptest! {
    #[test]
    fn runs_of_a_tree_are_its_packets_one_by_one(config in config(), bursts in stream()) {
        let (mut single, mut runs) = (node(true, config.clone()), node(true, config));
        let mut now = START;
        for (packets, us) in bursts {
            now = now + Duration::from_micros(us);
            for &(packet, _) in &packets {
                let _ = single.handle_data(now, &data(packet), packet.1);
            }
            for run in packets.split_inclusive(|(_, ends)| *ends) {
                let mut taken = runs.tree_run(now, &data(run[0].0)).expect("it is there");
                for &(packet, _) in run {
                    let _ = taken.push(&data(packet), packet.1);
                }
            }
            prop_assert_eq!(state(&single), state(&runs));
            prop_assert_eq!(outputs(&mut single, now), outputs(&mut runs, now));
        }
        prop_assert_eq!(state(&single), state(&runs));
    }

    #[test]
    fn runs_of_a_source_are_its_packets_one_by_one(config in config(), bursts in stream()) {
        let (mut single, mut runs) = (node(false, config.clone()), node(false, config));
        let mut now = START;
        let mut sent = 0;
        for (packets, us) in bursts {
            now = now + Duration::from_micros(us);
            let numbers = sent..sent + packets.len() as u64;
            let headers = numbers.map(|number| single.handle_source(now, INDEX, number, number));
            let mut headers = Vec::from_iter(headers).into_iter();
            for run in packets.split_inclusive(|(_, ends)| *ends) {
                let mut taken = runs.source_run(now, INDEX).expect("it begins here");
                for _ in run {
                    prop_assert_eq!(Some(Some(taken.header(sent))), headers.next());
                    taken.push(sent);
                    sent += 1;
                }
            }
            prop_assert_eq!(state(&single), state(&runs));
            prop_assert_eq!(outputs(&mut single, now), outputs(&mut runs, now));
        }
    }
}

#[test]
fn a_packet_that_makes_room_comes_back_once() {
    let config = SessionConfig::default();
    let mut node = node(false, config);
    let mut run = node.source_run(START, INDEX).expect("it begins here");
    let evicted: Vec<_> = (1..=200).filter_map(|packet| run.push(packet)).collect();
    assert_eq!(evicted, Vec::from_iter(1..=136));
}

//! Sessions that move between workers while packets flow. With one worker they only change in place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dataplane::{Dataplane, SessionConfig};
use overlay::wire::Kind;
use overlay::{Seq, SessionId};

use super::{GROUP_FLOW, had, ingress, of_tree};
use crate::station::Station;
use crate::stream::payload;
use crate::{Bench, client, session, workers};

/// Moves in a test.
const MOVES: usize = 50;
/// Packets that come between two moves at the least.
const PACKETS: u64 = 20;
/// A source's time between packets.
const INTERVAL: Duration = Duration::from_micros(200);

/// Moves the session to each worker in turn while `send` sends, packet by packet; returns the last one's number.
fn move_while(node: &Dataplane, config: &SessionConfig, send: impl Fn(u64) + Sync) -> u64 {
    let sent = AtomicU64::new(0);
    let moved = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while moved.load(Ordering::Relaxed) < MOVES as u64 {
                let next = sent.load(Ordering::Relaxed) + 1;
                send(next);
                sent.store(next, Ordering::Relaxed);
                std::thread::sleep(INTERVAL);
            }
        });
        for turn in 1..=MOVES {
            let before = sent.load(Ordering::Relaxed);
            while sent.load(Ordering::Relaxed) < before + PACKETS {
                std::thread::yield_now();
            }
            let to = turn % workers();
            let worker = Some(to);
            let moved_to = SessionConfig {
                worker,
                ..config.clone()
            };
            node.update_session(moved_to).unwrap();
            assert_eq!(node.snapshot().sessions[0].worker, to);
            moved.store(turn as u64, Ordering::Relaxed);
        }
    });
    sent.load(Ordering::Relaxed)
}

pub(super) fn a_session_that_moves_loses_and_reorders_nothing(bench: &mut Bench) {
    let config = SessionConfig {
        clients: vec![client(6000), client(6001)],
        downstream: vec!["first".into()],
        max_rate_pps: 10_000,
        retention: Duration::from_secs(2),
        ..session(20)
    };
    let stream = bench.begin(&config);
    let full = bench.drops("handover_full");
    let parent = &bench.parent;
    let last = move_while(&bench.node, &config, |sequence| {
        let packet = stream.packet(Kind::Data, 0, sequence);
        parent.send_tree(stream.channel, &packet);
    });
    for client in &config.clients {
        assert_eq!(had(&mut bench.host, client, last), [1..=last]);
    }
    let said = bench.until_session(20, "all is there", |said| said.delivered == last);
    assert_eq!((said.tree, said.repaired, said.naks_sent), (last, 0, 0));
    let served: Vec<_> = said.clients.iter().map(|client| client.packets).collect();
    assert_eq!(served, [last, last]);
    assert_eq!(numbers(&mut bench.child, last), Vec::from_iter(1..=last));
    assert_eq!(bench.drops("handover_full"), full);
    bench.node.remove_session(SessionId(20)).unwrap();
}

pub(super) fn a_stream_that_begins_here_moves_without_loss(bench: &mut Bench) {
    let config = SessionConfig {
        clients: vec![client(6000)],
        max_rate_pps: 10_000,
        retention: Duration::from_secs(2),
        ..ingress(21)
    };
    bench.begin(&config);
    let host = &bench.host;
    let last = move_while(&bench.node, &config, |sequence| {
        host.send_flow(GROUP_FLOW, &payload(sequence));
    });
    assert_eq!(
        had(&mut bench.host, &config.clients[0], last),
        [1..=last],
        "numbered in the order in which they came"
    );
    assert_eq!(numbers(&mut bench.child, last), Vec::from_iter(1..=last));
    bench.node.remove_session(SessionId(21)).unwrap();
}

/// The sequences that went down the tree, up to `last`.
fn numbers(child: &mut Station, last: u64) -> Vec<u64> {
    let sequence = |came: &_| of_tree(came, Kind::Data).map(|(header, _)| header.sequence.0);
    child.expect("the last one", |came| {
        of_tree(came, Kind::Data).filter(|(header, _)| header.sequence == Seq(last))
    });
    let mut all = child.all(sequence);
    all.push(last);
    all
}

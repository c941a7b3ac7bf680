//! What a node does on its links.

#[path = "moving.rs"]
mod moving;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use dataplane::{ClientConfig, Flow, SessionConfig, SessionSnapshot};
use overlay::wire::{
    FLAG_COPY, FLAG_END, FLAG_SECOND, Header, Kind, NakRanges, PARITY_HEADER_LEN, ParityHeader,
};
use overlay::{Epoch, Fec, Mode, Seq, SessionId};

use crate::fan_out;
use crate::kernel::the_kernel_gets_what_is_not_ours_and_sends_by_the_same_port;
use crate::station::{Datagram, Station};
use crate::stream::{Stream, inner, payload};
use crate::{Bench, client, families, session};

/// A name that says what holds, and what shows it.
pub(crate) type Case = (&'static str, fn(&mut Bench));

/// All of them, in order.
pub(crate) const CASES: [Case; 17] = [
    (
        "an_echo_request_comes_back",
        families::an_echo_request_comes_back,
    ),
    (
        "any_family_goes_inside_any_other",
        families::any_family_goes_inside_any_other,
    ),
    (
        "a_source_is_told_why_its_packet_goes_nowhere",
        families::a_source_is_told_why_its_packet_goes_nowhere,
    ),
    (
        "the_kernel_gets_what_is_not_ours_and_sends_by_the_same_port",
        the_kernel_gets_what_is_not_ours_and_sends_by_the_same_port,
    ),
    (
        "a_repair_for_several_children_goes_down_the_tree_once",
        a_repair_for_several_children_goes_down_the_tree_once,
    ),
    (
        "a_repair_down_the_tree_is_taken_from_upstream_alone",
        a_repair_down_the_tree_is_taken_from_upstream_alone,
    ),
    (
        "copies_are_asked_for_taken_and_sent",
        copies_are_asked_for_taken_and_sent,
    ),
    (
        "what_parity_was_made_of_is_rebuilt_to_the_byte",
        what_parity_was_made_of_is_rebuilt_to_the_byte,
    ),
    (
        "parity_that_does_not_fit_rebuilds_nothing_and_has_a_name",
        parity_that_does_not_fit_rebuilds_nothing_and_has_a_name,
    ),
    (
        "each_tree_has_its_own_upstream_and_downstream",
        each_tree_has_its_own_upstream_and_downstream,
    ),
    (
        "a_late_client_gets_history_then_all_that_follows",
        a_late_client_gets_history_then_all_that_follows,
    ),
    (
        "a_removed_stream_says_so_and_answers_for_a_while",
        a_removed_stream_says_so_and_answers_for_a_while,
    ),
    (
        "a_restarted_stream_begins_another_epoch_at_once",
        a_restarted_stream_begins_another_epoch_at_once,
    ),
    (
        "a_session_that_moves_loses_and_reorders_nothing",
        moving::a_session_that_moves_loses_and_reorders_nothing,
    ),
    (
        "a_stream_that_begins_here_moves_without_loss",
        moving::a_stream_that_begins_here_moves_without_loss,
    ),
    (
        "each_client_gets_each_packet_once_however_many_there_are",
        fan_out::each_client_gets_each_packet_once_however_many_there_are,
    ),
    (
        "a_table_changes_in_the_middle_of_a_packet",
        fan_out::a_table_changes_in_the_middle_of_a_packet,
    ),
];

/// Host numbers of neighbors: the first one, of whatever link, and the other child.
pub(crate) const FIRST: u8 = 2;
const SECOND: u8 = 3;
/// A source's time between packets: less than half the rate that history has in these sessions.
const INTERVAL: Duration = Duration::from_millis(3);
/// Where the source sends to.
pub(crate) const GROUP_FLOW: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 1), 5004);

pub(crate) fn of_tree(datagram: &Datagram, kind: Kind) -> Option<(Header, Vec<u8>)> {
    let (header, body) = datagram.open()?;
    (datagram.is_of_tree() && header.kind == kind).then(|| (header, body.to_vec()))
}

pub(crate) fn of_overlay(datagram: &Datagram, kind: Kind) -> Option<(Header, Vec<u8>)> {
    let (header, body) = datagram.open()?;
    (!datagram.is_of_tree() && header.kind == kind).then(|| (header, body.to_vec()))
}

fn ranges(body: &[u8]) -> Vec<(u64, u32)> {
    let ranges = NakRanges::parse(body).unwrap();
    let pairs = ranges.iter().map(|range| (range.first().0, range.count()));
    pairs.collect()
}

/// What a client has had once it has had `last`: the sequences in runs, each packet as the source sent it.
fn had(host: &mut Station, client: &ClientConfig, last: u64) -> Vec<RangeInclusive<u64>> {
    let sequence = |came: &Datagram| {
        let sequence = came.payload.first_chunk().copied().map(u64::from_be_bytes);
        let sequence = sequence.filter(|_| came.port == client.port)?;
        assert!(
            came.payload == payload(sequence),
            "{sequence} is as it was sent"
        );
        Some(sequence)
    };
    host.expect("the last one", |came| {
        (sequence(came) == Some(last)).then_some(())
    });
    let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
    for sequence in host.all(sequence).into_iter().chain([last]) {
        match runs.last_mut() {
            Some(run) if *run.end() + 1 == sequence => *run = *run.start()..=sequence,
            _ => runs.push(sequence..=sequence),
        }
    }
    runs
}

impl Bench {
    pub(crate) fn begin(&mut self, config: &SessionConfig) -> Stream {
        self.node.add_session(config.clone()).unwrap();
        self.until_session(config.id.0, "its clients are found", |said| {
            said.clients.iter().all(|client| client.resolved)
        });
        for station in self.stations() {
            station.forget();
        }
        Stream::of(config)
    }

    pub(crate) fn send_data(&self, stream: &Stream, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            let packet = stream.packet(Kind::Data, 0, sequence);
            self.parent.send_tree(stream.channel, &packet);
        }
    }
}

fn a_repair_for_several_children_goes_down_the_tree_once(bench: &mut Bench) {
    let config = SessionConfig {
        downstream: vec!["first".into(), "second".into()],
        subcast_threshold: 2,
        ..session(1)
    };
    let stream = bench.begin(&config);
    bench.send_data(&stream, [1, 3]);
    let confirmed = bench
        .child
        .expect("a confirmation", |came| of_tree(came, Kind::NakConfirm));
    assert_eq!(ranges(&confirmed.1), [(2, 1)]);
    assert!(confirmed.0.timestamp > 0, "for how long");
    let asked = bench
        .parent
        .expect("a NAK", |came| of_overlay(came, Kind::Nak));
    assert_eq!(ranges(&asked.1), [(2, 1)]);
    for child in [FIRST, SECOND] {
        bench
            .child
            .send_overlay(child, &stream.ask(Kind::Nak, 2, 1));
    }
    bench.until_session(1, "both have asked", |said| said.naks_received == 2);
    bench
        .parent
        .send_overlay(FIRST, &stream.packet(Kind::Repair, 0, 2));
    let repair = bench
        .child
        .expect("a repair", |came| of_tree(came, Kind::Repair));
    assert_eq!(repair, (stream.header(Kind::Repair, 0, 2), inner(2)));
    bench.send_data(&stream, [4]);
    bench.child.expect("the next packet", |came| {
        of_tree(came, Kind::Data).filter(|(header, _)| header.sequence == Seq(4))
    });
    let again = |came: &Datagram| came.open().filter(|it| it.0.kind == Kind::Repair).map(drop);
    assert_eq!(bench.child.all(again), []);
    let said = bench.until_session(1, "it is counted", |said| said.subcasts_sent == 1);
    assert_eq!((said.repairs_sent, said.repaired), (0, 1));
    bench.node.remove_session(SessionId(1)).unwrap();
}

fn a_repair_down_the_tree_is_taken_from_upstream_alone(bench: &mut Bench) {
    let config = SessionConfig {
        downstream: vec!["first".into()],
        clients: vec![client(6000)],
        ..session(1)
    };
    let stream = bench.begin(&config);
    bench.send_data(&stream, [1, 3]);
    bench.until_session(1, "the gap is open", |said| said.in_flight == 1);
    // The parent knows of it, and tells until when it need not be asked.
    let refused = bench.drops("rpf_failed");
    let repair = stream.packet(Kind::Repair, 0, 2);
    bench.other.send_tree(stream.channel, &repair);
    let confirm = stream.ask(Kind::NakConfirm, 2, 1);
    bench.other.send_tree(stream.channel, &confirm);
    bench.until("both are refused", |said| {
        said.drops["rpf_failed"] == refused + 2
    });
    bench.parent.send_tree(stream.channel, &confirm);
    let said = bench.until_session(1, "it is confirmed", |said| said.confirms_received == 1);
    assert_eq!((said.in_flight, said.repaired), (1, 0));
    bench.parent.send_tree(stream.channel, &repair);
    bench.until_session(1, "the gap is closed", |said| said.repaired == 1);
    assert_eq!(had(&mut bench.host, &config.clients[0], 3), [1..=3]);
    bench.node.remove_session(SessionId(1)).unwrap();
}

fn copies_are_asked_for_taken_and_sent(bench: &mut Bench) {
    let config = SessionConfig {
        upstream: vec!["parent".into(), "other".into()],
        downstream: vec!["first".into()],
        mode: Mode::Copy,
        clients: vec![client(6000)],
        ..session(2)
    };
    let stream = bench.begin(&config);
    let request = bench.other.expect("a request", |came| {
        of_overlay(came, Kind::Hello).filter(|(header, _)| header.session == stream.session)
    });
    assert_eq!(request.0.flags, FLAG_COPY);
    // The child wants some too.
    let request = Header {
        flags: FLAG_COPY,
        sequence: Seq(1),
        ..stream.header(Kind::Hello, 0, 0)
    };
    bench.child.send_overlay(FIRST, &request.emit());
    bench.send_data(&stream, [1, 3]);
    bench.until_session(2, "what is there is copied", |said| said.copies_sent == 2);
    for sequence in [1, 2, 3, 4] {
        let copy = stream.packet(Kind::Copy, 0, sequence);
        bench.other.send_overlay(FIRST, &copy);
    }
    let said = bench.until_session(2, "all copies came", |said| said.copies_received == 4);
    assert_eq!((said.tree, said.repaired, said.copied), (2, 2, 2));
    assert!(said.copying);
    let stranger = bench.drops("stranger");
    let copy = stream.packet(Kind::Copy, 0, 5);
    bench.other.send_overlay(77, &copy);
    bench.until("it is refused", |said| {
        said.drops["stranger"] == stranger + 1
    });
    assert_eq!(had(&mut bench.host, &config.clients[0], 4), [1..=4]);
    // What was missing when its turn came is sent as if the child had asked.
    for (sequence, kind) in [
        (1, Kind::Copy),
        (2, Kind::Repair),
        (3, Kind::Copy),
        (4, Kind::Copy),
    ] {
        let sent = bench.child.expect("a copy", |came| {
            of_overlay(came, kind).filter(|sent| sent.0.sequence == Seq(sequence))
        });
        assert_eq!(sent, (stream.header(kind, 0, sequence), inner(sequence)));
    }
    let said = bench.until_session(2, "copies are counted", |said| said.copies_sent == 3);
    assert_eq!(said.naks_sent, 0);
    bench.node.remove_session(SessionId(2)).unwrap();
}

/// The node makes the parity of one session, and rebuilds the packets of another from it.
fn what_parity_was_made_of_is_rebuilt_to_the_byte(bench: &mut Bench) {
    for parity in [1, 2] {
        let fec = Some(Fec { block: 4, parity });
        let (packets, parities) = code_at_the_ingress(bench, fec, parity);
        let config = SessionConfig {
            downstream: vec!["first".into()],
            clients: vec![client(6000)],
            fec,
            ..session(3)
        };
        let stream = bench.begin(&config);
        let lost = &[2, 3][..parity.into()];
        for (header, body) in packets.iter().chain(&parities) {
            if header.kind == Kind::Data && lost.contains(&header.sequence.0) {
                continue;
            }
            let header = Header {
                session: stream.session,
                epoch: stream.epoch,
                ..*header
            };
            let packet = [&header.emit()[..], body].concat();
            bench.parent.send_tree(stream.channel, &packet);
        }
        let said =
            bench.until_session(3, "it is rebuilt", |said| said.rebuilt == lost.len() as u64);
        assert_eq!((said.tree, said.repaired), (4 - said.rebuilt, said.rebuilt));
        assert_eq!((said.naks_sent, said.parity_received), (0, parity.into()));
        assert_eq!(had(&mut bench.host, &config.clients[0], 4), [1..=4]);
        // Those below get it as it came.
        for (_, body) in &parities {
            bench.child.expect("parity", |came| {
                of_tree(came, Kind::Parity).filter(|sent| sent.1 == *body)
            });
        }
        bench.node.remove_session(SessionId(3)).unwrap();
    }
}

type Packets = Vec<(Header, Vec<u8>)>;

/// Has the node number four packets and make their parity.
fn code_at_the_ingress(bench: &mut Bench, fec: Option<Fec>, parity: u8) -> (Packets, Packets) {
    let config = SessionConfig {
        upstream: Vec::new(),
        downstream: vec!["first".into()],
        source: Ipv4Addr::new(10, 0, 3, 1).into(),
        flow: Some(Flow {
            destination: GROUP_FLOW.0.into(),
            port: GROUP_FLOW.1,
            source: None,
        }),
        deadline: Duration::from_millis(50),
        fec,
        ..session(4)
    };
    let (packets, parities) = loop {
        bench.begin(&config);
        for sequence in 1..=4 {
            bench.host.send_flow(GROUP_FLOW, &payload(sequence));
        }
        let mut take = |kind: Kind, count: u8| -> Packets {
            let take = |_| bench.child.expect("the stream", |came| of_tree(came, kind));
            (0..count).map(take).collect()
        };
        let (packets, parities) = (take(Kind::Data, 4), take(Kind::Parity, parity));
        // A source that is off its core for 2 ms has paused, and its block ends.
        if ParityHeader::parse(&parities[0].1).unwrap().0.count == 4 {
            break (packets, parities);
        }
        bench.node.remove_session(SessionId(4)).unwrap();
    };
    for (place, (header, body)) in packets.iter().enumerate() {
        assert_eq!(header.sequence, Seq(place as u64 + 1));
        assert!(body.ends_with(&payload(header.sequence.0)));
    }
    for (place, (header, body)) in parities.iter().enumerate() {
        let (told, coded) = ParityHeader::parse(body).unwrap();
        assert_eq!((header.sequence, told.count), (Seq(1), 4));
        assert_eq!((told.index, told.parity), (place as u8, parity));
        let longest = packets.iter().map(|(_, body)| body.len()).max().unwrap();
        assert!((longest + 10..=longest + 11).contains(&coded.len()));
        assert_eq!(body.len(), coded.len() + PARITY_HEADER_LEN);
    }
    let said = bench.until_session(4, "parity is counted", |said| {
        said.parity_sent == u64::from(parity)
    });
    assert_eq!(said.sent, 4);
    bench.node.remove_session(SessionId(4)).unwrap();
    (packets, parities)
}

/// A block whose parity was made of other bytes, every checksum on the way right.
fn parity_that_does_not_fit_rebuilds_nothing_and_has_a_name(bench: &mut Bench) {
    let fec = Some(Fec {
        block: 4,
        parity: 1,
    });
    let (packets, parities) = code_at_the_ingress(bench, fec, 1);
    let config = SessionConfig {
        fec,
        clients: vec![client(6000)],
        ..session(3)
    };
    let stream = bench.begin(&config);
    let useless = bench.drops("parity_useless");
    for (header, body) in packets.iter().take(3).chain(&parities) {
        let header = Header {
            session: stream.session,
            epoch: stream.epoch,
            ..*header
        };
        let mut packet = [&header.emit()[..], body].concat();
        if header.kind == Kind::Parity {
            // In the payload of the lost packet.
            packet[24 + PARITY_HEADER_LEN + 10 + 28] ^= 1;
        }
        bench.parent.send_tree(stream.channel, &packet);
    }
    bench.until("it is refused", |said| {
        said.drops["parity_useless"] == useless + 1
    });
    let asked = bench
        .parent
        .expect("a NAK", |came| of_overlay(came, Kind::Nak));
    assert_eq!(ranges(&asked.1), [(4, 1)]);
    let repair = stream.packet(Kind::Repair, 0, 4);
    bench.parent.send_overlay(FIRST, &repair);
    let said = bench.until_session(3, "the gap is closed", |said| said.repaired == 1);
    assert_eq!(said.rebuilt, 0);
    assert_eq!(had(&mut bench.host, &config.clients[0], 4), [1..=4]);
    bench.node.remove_session(SessionId(3)).unwrap();
}

fn each_tree_has_its_own_upstream_and_downstream(bench: &mut Bench) {
    let config = SessionConfig {
        second_upstream: vec!["other".into()],
        second_downstream: vec!["first".into()],
        clients: vec![client(6000)],
        ..session(5)
    };
    let stream = bench.begin(&config);
    let refused = bench.drops("rpf_failed");
    let second = |sequence| stream.packet(Kind::Data, FLAG_SECOND, sequence);
    bench.parent.send_tree(stream.channel, &second(1));
    let first = stream.packet(Kind::Data, 0, 1);
    bench.other.send_tree(stream.channel, &first);
    bench.until("both are refused", |said| {
        said.drops["rpf_failed"] == refused + 2
    });
    // 2 is lost on the first tree, 3 on the second, and either may be ahead.
    bench.send_data(&stream, [1]);
    for sequence in [1, 2] {
        bench.other.send_tree(stream.channel, &second(sequence));
    }
    bench.until_session(5, "two are there", |said| said.tree == 2);
    bench.send_data(&stream, [3, 4]);
    bench.other.send_tree(stream.channel, &second(4));
    let said = bench.until_session(5, "all are there", |said| said.tree == 4);
    assert_eq!((said.second_tree, said.repaired, said.naks_sent), (1, 0, 0));
    assert_eq!(had(&mut bench.host, &config.clients[0], 4), [1..=4]);
    // Only the second tree goes on, whole but for what was lost on it.
    bench.child.expect("the last one", |came| {
        of_tree(came, Kind::Data).filter(|sent| sent.0.sequence == Seq(4))
    });
    let sent = bench.child.all(|came| of_tree(came, Kind::Data));
    let sent = Vec::from_iter(
        sent.iter()
            .map(|(header, _)| (header.sequence.0, header.flags)),
    );
    assert_eq!(sent, [(1, FLAG_SECOND), (2, FLAG_SECOND)]);
    bench.node.remove_session(SessionId(5)).unwrap();
}

fn a_late_client_gets_history_then_all_that_follows(bench: &mut Bench) {
    let config = SessionConfig {
        clients: vec![client(6000)],
        max_rate_pps: 500,
        ..session(6)
    };
    let stream = bench.begin(&config);
    bench.send_data(&stream, 1..=200);
    bench.until_session(6, "half is there", |said| said.delivered == 200);
    let late = ClientConfig {
        catch_up: Duration::from_secs(8),
        ..client(6001)
    };
    let live = client(6002);
    bench.node.add_client(SessionId(6), late.clone()).unwrap();
    bench.node.add_client(SessionId(6), live.clone()).unwrap();
    // History is paced, at twice the session's rate: the stream goes on meanwhile, and after.
    let catches_up = |said: &SessionSnapshot| said.clients.iter().any(|client| client.catching_up);
    let mut last = 200;
    let mut left = 50;
    while left > 0 {
        last += 1;
        bench.send_data(&stream, [last]);
        std::thread::sleep(INTERVAL);
        let said = bench.until_session(6, "it is there", |said| said.delivered == last);
        left -= u32::from(!catches_up(&said));
        assert!(last < 1000, "the stream leaves it behind");
    }
    for (client, all) in [
        (&config.clients[0], 1..=last),
        (&late, 1..=last),
        (&live, 201..=last),
    ] {
        assert_eq!(had(&mut bench.host, client, last), [all], "{}", client.name);
    }
    let said = bench.until_session(6, "all is there", |said| said.delivered == last);
    assert!(said.caught_up > 200, "the stream went on meanwhile");
    assert_eq!(said.catch_up_missed, 0);
    bench.node.remove_session(SessionId(6)).unwrap();
}

/// A session whose stream begins at the node.
pub(crate) fn ingress(id: u32) -> SessionConfig {
    SessionConfig {
        upstream: Vec::new(),
        downstream: vec!["first".into()],
        source: Ipv4Addr::new(10, 0, 3, 1).into(),
        flow: Some(Flow {
            destination: GROUP_FLOW.0.into(),
            port: GROUP_FLOW.1,
            source: None,
        }),
        deadline: Duration::from_millis(300),
        ..session(id)
    }
}

fn a_removed_stream_says_so_and_answers_for_a_while(bench: &mut Bench) {
    let config = ingress(7);
    bench.begin(&config);
    bench.host.send_flow(GROUP_FLOW, &payload(1));
    let data = bench
        .child
        .expect("the stream", |came| of_tree(came, Kind::Data));
    let stream = Stream {
        epoch: data.0.epoch,
        ..Stream::of(&config)
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let node = &bench.node;
        let removed = scope.spawn(|| node.remove_session(SessionId(7)));
        bench.child.expect("the end", |came| {
            of_tree(came, Kind::Heartbeat)
                .filter(|(header, _)| header.flags & FLAG_END != 0 && header.sequence == Seq(1))
        });
        // The node goes on meanwhile, and the session with it; the source's packets are nobody's.
        let refused = node.snapshot().drops["flow_unknown"];
        bench.host.send_flow(GROUP_FLOW, &payload(2));
        while node.snapshot().drops["flow_unknown"] == refused {
            assert!(began.elapsed() < crate::PATIENCE);
        }
        assert!(node.snapshot().sessions[0].ended);
        bench
            .child
            .send_overlay(FIRST, &stream.ask(Kind::Nak, 1, 1));
        bench
            .child
            .expect("a repair", |came| of_overlay(came, Kind::Repair));
        assert!(!removed.is_finished());
        removed.join().unwrap().unwrap();
    });
    assert!(began.elapsed() >= config.deadline);
    assert_eq!(bench.node.snapshot().sessions.len(), 0);
    // One of which nothing can be fetched need not stay.
    bench.begin(&config);
    let began = Instant::now();
    bench.node.remove_session(SessionId(7)).unwrap();
    assert!(began.elapsed() < config.deadline);
    bench.child.expect("the end", |came| {
        of_tree(came, Kind::Heartbeat).filter(|(header, _)| header.flags & FLAG_END != 0)
    });
}

fn a_restarted_stream_begins_another_epoch_at_once(bench: &mut Bench) {
    let config = ingress(8);
    bench.begin(&config);
    let epoch = |bench: &mut Bench| -> Epoch {
        bench.host.send_flow(GROUP_FLOW, &payload(1));
        let sent = bench.child.expect("the stream", |came| {
            of_tree(came, Kind::Data).filter(|(header, _)| header.sequence == Seq(1))
        });
        sent.0.epoch
    };
    let first = epoch(bench);
    let began = Instant::now();
    bench.node.restart_session(config.clone()).unwrap();
    assert!(began.elapsed() < config.deadline);
    assert!(epoch(bench).is_newer_than(first));
    bench.node.remove_session(SessionId(8)).unwrap();
}

/// The last case: nothing is left to run others on.
pub(crate) fn a_node_that_stops_says_so(mut bench: Bench) {
    let config = ingress(9);
    bench.begin(&config);
    bench.host.send_flow(GROUP_FLOW, &payload(1));
    bench
        .child
        .expect("the stream", |came| of_tree(came, Kind::Data));
    let began = Instant::now();
    let Bench {
        node, mut child, ..
    } = bench;
    node.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "it stops soon");
    child.pump();
    let ends = child.all(|came| {
        let (header, _) = of_tree(came, Kind::Heartbeat)?;
        (header.flags & FLAG_END != 0).then_some(header.sequence)
    });
    assert!(ends.len() >= 3, "{ends:?}: any of them may be lost");
    assert!(ends.iter().all(|&lead| lead == Seq(1)));
}

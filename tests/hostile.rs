//! What comes to the ports of a running lab that nobody should have sent.

mod frames;
mod tap;

use std::collections::BTreeMap;
use std::time::Instant;

use nix::sys::signal::Signal;
use overlay::wire::{Header, Kind};
use overlay::{Epoch, Seq, SessionId};
use serde_json::Value;

use crate::lab::{Lab, list, number, topology, wait_for};
use frames::{Generator, LONGEST, Made, TREECAST, around, is_treecast, is_udp, seal};
use tap::Tap;

/// Where the sources of a lab send to.
const DESTINATION: [u8; 4] = [198, 51, 100, 1];
/// Hostile frames in all.
const FRAMES: u64 = 1_000_000;
/// Frames sent to one port at once: a part of its receive ring, so that it can't overflow. The source's datagrams come
/// by such a ring too, and nobody repairs what is lost there.
const BATCH: u64 = 64;
/// A source that pauses for a millisecond is followed by a heartbeat, which no counter tells.
const HEARTBEATS_PER_SECOND: f64 = 1000.0;
/// Reasons that a flood of every sort of frame must have met.
const MET: [&str; 20] = [
    "arp_bad",
    "arp_not_for_us",
    "duplicate",
    "ethertype_unknown",
    "flow_unknown",
    "frame_truncated",
    "hello_stale",
    "inner_bad",
    "ipv4_checksum_bad",
    "ipv4_header_bad",
    "multicast_unknown",
    "nak_unknown_session",
    "not_for_us",
    "rpf_failed",
    "sequence_old",
    "session_unknown",
    "udp_checksum_bad",
    "udp_truncated",
    "wire_type",
    "wire_version",
];

/// A port of a node, and where frames for it can be put on its link.
struct Target {
    node: String,
    device: String,
    mac: [u8; 6],
    address: [u8; 4],
    /// Router or host at the other end of the link, and its interface.
    peer: String,
    peer_device: String,
}

impl Target {
    /// Every port of every node.
    fn all(lab: &Lab) -> Vec<Target> {
        let nodes = list(&lab.shown["nodes"]).iter();
        let ports: BTreeMap<String, Value> = nodes
            .map(|node| {
                let name = node["node"].as_str().unwrap();
                (name.to_string(), lab.get(name, "/v1/ports"))
            })
            .collect();
        // `af_packet:eth1`, or the vdev that this stands for.
        let device = |port: &Value| {
            let text = port["device"].as_str().unwrap();
            let number = text.split("eth").last().unwrap().split(',').next();
            format!("eth{}", number.unwrap())
        };
        let far = |at: &str, towards: &str| {
            let ports = list(ports.get(at)?);
            ports
                .iter()
                .find(|port| port["name"] == towards)
                .map(device)
        };
        let all = ports.iter().flat_map(|(node, ports)| {
            list(ports).iter().map(|port| {
                let peer = port["name"].as_str().unwrap().to_string();
                Target {
                    node: node.clone(),
                    mac: mac(port["mac"].as_str().unwrap()),
                    address: address(port["address"].as_str().unwrap()),
                    device: device(port),
                    peer_device: far(&peer, node).unwrap_or_else(|| "eth0".to_string()),
                    peer,
                }
            })
        });
        all.collect()
    }

    /// The port of `node` towards `peer`.
    fn find(lab: &Lab, node: &str, peer: &str) -> Target {
        let mut all = Target::all(lab).into_iter();
        let found = all.find(|target| target.node == node && target.peer == peer);
        found.unwrap()
    }

    /// Address of the other end of the link, a /30.
    fn peer_address(&self) -> [u8; 4] {
        let [a, b, c, d] = self.address;
        [a, b, c, d ^ 3]
    }
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

fn address(text: &str) -> [u8; 4] {
    let (address, _) = text.split_once('/').unwrap();
    address.parse::<std::net::Ipv4Addr>().unwrap().octets()
}

/// An ARP packet in a frame: `operation` 1 asks who has `target`, 2 tells that `sender` is at `station`.
fn arp(
    operation: u8,
    (station, sender): ([u8; 6], [u8; 4]),
    (to, target): ([u8; 6], [u8; 4]),
) -> Vec<u8> {
    let mut frame = [to, station].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(station);
    frame.extend(sender);
    frame.extend(to);
    frame.extend(target);
    frame.resize(60, 0);
    frame
}

/// The frames on their way to each target, until every kind of packet was among them.
fn capture(lab: &Lab, targets: &[Target]) -> Vec<Vec<Vec<u8>>> {
    let taps: Vec<Tap> = targets
        .iter()
        .map(|target| Tap::listener(lab, &target.node, &target.device))
        .collect();
    let mut seen = vec![Vec::new(); targets.len()];
    wait_for("data, repairs, NAKs and hellos on the wire", || {
        for ((tap, target), seen) in taps.iter().zip(targets).zip(&mut seen) {
            let to_target = |frame: &Vec<u8>| frame[6..12] != target.mac;
            seen.extend(std::iter::from_fn(|| tap.see()).take(500).filter(to_target));
        }
        let kinds: Vec<u8> = seen
            .iter()
            .flatten()
            .filter(|frame| is_treecast(frame))
            .map(|frame| frame[TREECAST] & 0x0f)
            .collect();
        [1, 2, 3, 6]
            .iter()
            .all(|kind| kinds.contains(kind))
            .then_some(())
    });
    for (target, seen) in targets.iter().zip(&mut seen) {
        let peer = Tap::sender(lab, &target.peer, &target.peer_device).mac;
        seen.push(arp(
            1,
            (peer, target.peer_address()),
            (target.mac, target.address),
        ));
    }
    seen
}

/// At the ingress a datagram of the source is a datagram of the source, however often it comes; so there it is made one
/// of a stranger.
fn disown(node: &str, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if node == "ing" && is_udp(&frame) && frame[30..34] == DESTINATION {
        frame[36] ^= 0x80;
        seal(&mut frame);
    }
    frame
}

/// What a node says of the frames that it received.
#[derive(Clone, Copy, Debug, Default)]
struct Books {
    received: u64,
    dropped: u64,
    /// Data, repairs, NAKs and hellos that were taken.
    taken: u64,
}

/// Drops on the way out, of packets that were taken on the way in.
const ON_THE_WAY_OUT: [&str; 8] = [
    "arp_unresolved",
    "no_header_buffer",
    "no_packet_buffer",
    "retention_full",
    "tx_full",
    "icmp_limited",
    "too_big",
    "ttl_expired",
];

impl Books {
    fn of(lab: &Lab, node: &str) -> Books {
        let snapshot = lab.get(node, "/v1/snapshot");
        let sum = |list_of: &str, keys: &[&str]| -> u64 {
            let all = list(&snapshot[list_of]).iter();
            all.flat_map(|at| keys.iter().map(|key| number(&at[*key])))
                .sum()
        };
        let drops = snapshot["drops"].as_object().unwrap().iter();
        let on_receipt = drops.filter(|(name, _)| !ON_THE_WAY_OUT.contains(&name.as_str()));
        let receiver = ["tree", "repaired", "backfilled", "naks_received"];
        Books {
            received: sum("ports", &["rx_packets"]),
            dropped: on_receipt.map(|(_, count)| number(count)).sum(),
            taken: sum("sessions", &receiver) + sum("neighbors", &["hellos_received"]),
        }
    }

    fn since(&self, before: &Books) -> Books {
        Books {
            received: self.received - before.received,
            dropped: self.dropped - before.dropped,
            taken: self.taken - before.taken,
        }
    }
}

/// What each node has in use of each of its pools.
pub(crate) fn in_use(lab: &Lab) -> BTreeMap<(String, String), u64> {
    let mut all = BTreeMap::new();
    for node in list(&lab.shown["nodes"]) {
        let node = node["node"].as_str().unwrap();
        for pool in list(&lab.get(node, "/v1/pools")) {
            let name = pool["name"].as_str().unwrap();
            all.insert(
                (node.to_string(), name.to_string()),
                number(&pool["in_use"]),
            );
        }
    }
    all
}

/// The nodes' processes.
pub(crate) fn pids(lab: &Lab) -> Vec<Value> {
    let shown = lab.show();
    let nodes = list(&shown["nodes"]).iter();
    nodes.map(|node| node["pid"].clone()).collect()
}

/// Sends `FRAMES` frames in all, in turn to each target; what was made for each.
fn flood(lab: &Lab, targets: &[Target], seen: &[Vec<Vec<u8>>]) -> Vec<Made> {
    let mut ports: Vec<(Tap, Generator)> = targets
        .iter()
        .enumerate()
        .map(|(index, target)| {
            let tap = Tap::sender(lab, &target.peer, &target.peer_device);
            let fit = |frames: &Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                let fit = frames.iter().filter(|frame| frame.len() <= LONGEST);
                fit.map(|frame| disown(&target.node, frame)).collect()
            };
            let others = seen.iter().enumerate().filter(|(other, _)| *other != index);
            let foreign = others.flat_map(|(_, frames)| fit(frames)).collect();
            let generator = Generator::new(index as u64, target.mac, fit(&seen[index]), foreign);
            (tap, generator)
        })
        .collect();
    let mut left = FRAMES;
    while left > 0 {
        for (tap, generator) in &mut ports {
            let batch = BATCH.min(left);
            left -= batch;
            let frames: Vec<Vec<u8>> = (0..batch).map(|_| generator.make()).collect();
            tap.send(&frames);
        }
        // A node's workers answer this: none is more than one batch behind.
        for node in nodes(lab) {
            lab.get(node, "/v1/workers");
        }
    }
    ports
        .iter()
        .map(|(_, generator)| generator.made())
        .collect()
}

/// The names of the lab's nodes.
pub(crate) fn nodes(lab: &Lab) -> Vec<&str> {
    let nodes = list(&lab.shown["nodes"]).iter();
    nodes.map(|node| node["node"].as_str().unwrap()).collect()
}

#[test]
fn a_million_hostile_frames_are_named_and_change_nothing() {
    let lab = Lab::up(&topology("quickstart"), "");
    let (rested, alive) = (in_use(&lab), pids(&lab));
    let clients = lab.listen_all();
    let mut source = lab.send("--rate 500pps --duration 5min");
    let targets = Target::all(&lab);
    let seen = capture(&lab, &targets);
    let books = || nodes(&lab).into_iter().map(|node| Books::of(&lab, node));
    let before: Vec<Books> = books().collect();
    let start = Instant::now();
    let made = flood(&lab, &targets, &seen);
    let changes: Vec<Books> = books()
        .zip(&before)
        .map(|(after, before)| after.since(before))
        .collect();
    let heartbeats = (start.elapsed().as_secs_f64() * HEARTBEATS_PER_SECOND) as u64;

    assert_eq!(made.iter().map(Made::all).sum::<u64>(), FRAMES);
    for (node, change) in nodes(&lab).into_iter().zip(&changes) {
        // A raw socket's frames are seen at both ends of the link.
        let on_links = targets.iter().zip(&made);
        let on_links = on_links.filter(|(to, _)| to.node == node || to.peer == node);
        let uncounted: u64 = on_links.map(|(_, made)| made.uncounted).sum();
        let counted = change.dropped + change.taken;
        let silent = change.received.checked_sub(counted);
        assert!(
            silent.is_some_and(|silent| silent <= uncounted + heartbeats),
            "{node}: {change:?}, {uncounted} ARP packets and heartbeats sent"
        );
    }
    let received: u64 = changes.iter().map(|change| change.received).sum();
    assert!(received >= FRAMES, "{changes:?}");
    let met = |reason: &str| {
        let count = |node: &str| number(&lab.get(node, "/v1/drops")[reason]);
        nodes(&lab).into_iter().map(count).sum::<u64>()
    };
    let unmet: Vec<&str> = MET.into_iter().filter(|reason| met(reason) == 0).collect();
    assert_eq!(unmet, Vec::<&str>::new());

    source.signal(Signal::SIGTERM);
    let sent = lab.settle(source);
    assert_eq!(pids(&lab), alive);
    for client in clients {
        client.assert_clean(sent);
    }
    wait_for("the buffers of all pools to be given back", || {
        (in_use(&lab) == rested).then_some(())
    });
}

/// Somebody who speaks to `node` in the name of its neighbor `peer`.
pub(crate) struct Liar {
    tap: Tap,
    target: Target,
    /// What the neighbor was heard saying.
    heard: Vec<Vec<u8>>,
    epoch: Epoch,
}

impl Liar {
    /// Listens to the neighbor for a while first.
    pub(crate) fn new(lab: &Lab, node: &str, peer: &str) -> Liar {
        let target = Target::find(lab, node, peer);
        let seen = Tap::listener(lab, &target.node, &target.device);
        let mut heard: Vec<Vec<u8>> = Vec::new();
        wait_for("hellos, and data where the neighbor is the parent", || {
            let new = std::iter::from_fn(|| seen.see()).take(500);
            heard.extend(new.filter(|frame| frame[6..12] != target.mac && is_treecast(frame)));
            let count = |kind| heard.iter().filter(|frame| kind_of(frame) == kind).count();
            (count(6) > 2 && (count(1) > 0 || peer != "core")).then_some(())
        });
        Liar {
            tap: Tap::sender(lab, &target.peer, &target.peer_device),
            epoch: Epoch(number(&lab.session(node)["epoch"]).try_into().unwrap()),
            target,
            heard,
        }
    }

    /// A frame of the neighbor, of this kind.
    fn like(&self, kind: Kind) -> &[u8] {
        let mut heard = self.heard.iter();
        heard.find(|frame| kind_of(frame) == kind as u8).unwrap()
    }

    /// A packet of session 1 with sound checksums, between the ends of `like`.
    fn packet(
        &self,
        like: Kind,
        kind: Kind,
        body: &[u8],
        set: impl FnOnce(&mut Header),
    ) -> Vec<u8> {
        let mut header = Header {
            kind,
            flags: 0,
            epoch: self.epoch,
            session: SessionId(1),
            sequence: Seq(0),
            timestamp: 0,
        };
        set(&mut header);
        around(self.like(like), &[&header.emit()[..], body].concat())
    }

    /// Sends `count` NAKs for all there ever was.
    pub(crate) fn ask_for_everything(&self, count: usize) {
        let body = range(1, u32::MAX).repeat(96);
        let nak = self.packet(Kind::Hello, Kind::Nak, &body, |_| {});
        self.tap.send(&vec![nak; count]);
    }
}

fn kind_of(frame: &[u8]) -> u8 {
    frame[TREECAST] & 0x0f
}

fn range(first: u64, count: u32) -> Vec<u8> {
    [&first.to_be_bytes()[..], &count.to_be_bytes()].concat()
}

/// A stream through the lab while somebody lies to a node: each reason is counted, and all of the stream arrives.
fn assert_harmless(
    (node, peer): (&str, &str),
    reasons: &[&str],
    lies: impl Fn(&Liar) -> Vec<Vec<u8>>,
) {
    let lab = Lab::up(&topology("quickstart"), "");
    let clients = lab.listen_all();
    let source = lab.send("--rate 2kpps --duration 4s");
    let liar = Liar::new(&lab, node, peer);
    let drops = || lab.get(node, "/v1/drops");
    let (before, alive) = (drops(), pids(&lab));
    // Often enough that the link, which loses some, does not lose one each time.
    let lies = lies(&liar);
    for _ in 0..5 {
        lies.chunks(32).for_each(|lies| liar.tap.send(lies));
    }
    for reason in reasons {
        wait_for(reason, || {
            (number(&drops()[reason]) > number(&before[reason])).then_some(())
        });
    }
    let sent = lab.settle(source);
    assert_eq!(pids(&lab), alive);
    for client in clients {
        client.assert_clean(sent);
    }
}

/// Sequences that no session has reached.
const FAR: [u64; 6] = [
    1 << 32,
    Seq::MAX.0 - 7,
    Seq::MAX.0,
    1 << 60,
    u64::MAX - 5,
    u64::MAX,
];

/// What stands at the wrong address, claims it.
fn spoof(liar: &Liar) -> Vec<u8> {
    let station = [2, 0, 0, 0, 0, 66];
    let Target { mac, address, .. } = liar.target;
    arp(2, (station, liar.target.peer_address()), (mac, address))
}

#[test]
fn lies_of_a_child_are_named_and_harm_nobody() {
    let reasons = [
        "nak_unknown_session",
        "epoch_old",
        "wire_field",
        "hello_stale",
        "repair_unasked",
    ];
    assert_harmless(("core", "lh1"), &reasons, |liar| {
        let hellos = liar.heard.iter().filter(|frame| kind_of(frame) == 6);
        let mut lies: Vec<Vec<u8>> = hellos.cloned().collect();
        let nak =
            |body: &[u8], set: &dyn Fn(&mut Header)| liar.packet(Kind::Hello, Kind::Nak, body, set);
        lies.push(nak(&range(1, u32::MAX).repeat(96), &|_| {}));
        for first in FAR {
            lies.push(nak(&range(first, 5), &|_| {}));
            lies.push(nak(&range(first, u32::MAX), &|_| {}));
        }
        for other in [1, 2, u16::MAX / 2, u16::MAX] {
            let epoch = Epoch(liar.epoch.0.wrapping_add(other));
            lies.push(nak(&range(1, 9), &|header| header.epoch = epoch));
        }
        for session in [0, 2, u32::MAX] {
            lies.push(nak(&range(1, 9), &|header| {
                header.session = SessionId(session)
            }));
        }
        // A repair that nobody has asked for: the inner packet is sound, the neighbor is not the parent.
        let data = heard_data(&liar.target);
        let unasked = |header: &mut Header| header.sequence = Seq(1 << 40);
        lies.push(liar.packet(Kind::Hello, Kind::Repair, &data, unasked));
        lies.push(spoof(liar));
        lies
    });
}

/// A small inner packet.
fn heard_data(target: &Target) -> Vec<u8> {
    let mut frame = vec![0; TREECAST + 32];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[22] = 9;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&target.address);
    frame[30..34].copy_from_slice(&DESTINATION);
    seal(&mut frame);
    frame.split_off(14)
}

#[test]
fn lies_of_a_parent_are_named_and_harm_nobody() {
    let reasons = [
        "channel_wrong",
        "duplicate",
        "epoch_old",
        "sequence_beyond_window",
        "session_unknown",
        "wire_field",
        "repair_unasked",
    ];
    assert_harmless(("lh1", "core"), &reasons, |liar| {
        let inner = heard_data(&liar.target);
        let data = |set: &dyn Fn(&mut Header)| liar.packet(Kind::Data, Kind::Data, &inner, set);
        let mut lies: Vec<Vec<u8>> = liar.heard.clone();
        let older = Epoch(liar.epoch.0.wrapping_sub(1));
        lies.push(data(&|header| {
            (header.sequence, header.epoch) = (Seq(1), older)
        }));
        lies.push(data(&|header| {
            (header.sequence, header.session) = (Seq(1), SessionId(2))
        }));
        // Three near each other in a row would be believed. The link may lose some of what keeps them apart, not all.
        let apart = [48, 46, 44, 42];
        let apart = apart.map(|bit| data(&|header| header.sequence = Seq(1 << bit)));
        for far in FAR {
            lies.push(data(&|header| header.sequence = Seq(far)));
            lies.extend(apart.clone());
            let lead = |header: &mut Header| header.sequence = Seq(far);
            lies.push(liar.packet(Kind::Data, Kind::Heartbeat, &[], lead));
            lies.extend(apart.clone());
        }
        let mut other_group = data(&|header| header.sequence = Seq(1));
        other_group[33] ^= 64;
        other_group[5] ^= 64;
        seal(&mut other_group);
        lies.push(other_group);
        let unasked = |header: &mut Header| header.sequence = Seq(1 << 40);
        lies.push(liar.packet(Kind::Hello, Kind::Repair, &inner, unasked));
        lies.push(spoof(liar));
        lies
    });
}

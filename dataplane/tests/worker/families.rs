//! IPv4 and IPv6, outside and inside: each of the four, frame by frame.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dataplane::{ClientConfig, Flow, SessionConfig};
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, PacketHeaders, TransportHeader};
use overlay::SessionId;
use overlay::wire::Kind;

use crate::cases::{of_overlay, of_tree};
use crate::station::{LINK_LOCAL, ipv6};
use crate::stream::{Stream, payload};
use crate::{Bench, MTU, session};

/// One of the two, as a test needs it.
struct Family {
    name: &'static str,
    /// (S,G) of a tree.
    channel: (IpAddr, IpAddr),
    /// Neighbors above and below, by name and address.
    neighbors: [(&'static str, IpAddr); 2],
    /// A source, what it sends to, and a client.
    ends: [IpAddr; 3],
    /// Outer headers of the tree, and the header of an IP packet.
    lens: [u16; 2],
}

const PORTS: (u16, u16) = (4000, 5004);

fn families() -> [Family; 2] {
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let v6 = |text: &str| -> IpAddr { text.parse().unwrap() };
    [
        Family {
            name: "IPv4",
            channel: (v4(10, 9, 9, 9), v4(239, 1, 0, 7)),
            neighbors: [("parent", v4(10, 0, 1, 2)), ("first", v4(10, 0, 3, 2))],
            ends: [v4(10, 0, 4, 9), v4(198, 51, 100, 7), v4(10, 0, 4, 2)],
            lens: [52, 20],
        },
        Family {
            name: "IPv6",
            channel: (v6("fd00:9::9"), v6("ff3e::8000:7")),
            neighbors: [
                ("parent6", ipv6(1, 2).into()),
                ("first6", LINK_LOCAL.into()),
            ],
            ends: [ipv6(4, 9).into(), v6("2001:db8::7"), ipv6(4, 2).into()],
            lens: [72, 40],
        },
    ]
}

/// A source's packet, as it comes to the ingress.
fn packet(family: &Family, payload: &[u8], ttl: u8) -> Vec<u8> {
    let [source, destination, _] = family.ends;
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            PacketBuilder::ipv4(from.octets(), to.octets(), ttl)
                .udp(PORTS.0, PORTS.1)
                .write(&mut packet, payload)
                .unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            PacketBuilder::ipv6(from.octets(), to.octets(), ttl)
                .udp(PORTS.0, PORTS.1)
                .write(&mut packet, payload)
                .unwrap();
        }
        _ => panic!("{}", family.name),
    }
    packet
}

pub(crate) fn any_family_goes_inside_any_other(bench: &mut Bench) {
    for outer in families() {
        for inner in families() {
            enters_a_tree(bench, &outer, &inner);
            leaves_it_for_a_client(bench, &outer, &inner);
        }
    }
}

/// A flow of `inner` at the ingress of a tree of `outer`, and a repair of it.
fn enters_a_tree(bench: &mut Bench, outer: &Family, inner: &Family) {
    let [_, (child, child_address)] = outer.neighbors;
    let config = SessionConfig {
        upstream: Vec::new(),
        downstream: vec![child.into()],
        source: outer.channel.0,
        group: outer.channel.1,
        flow: Some(flow(inner)),
        deadline: Duration::from_millis(50),
        ..session(30)
    };
    let what = format!("{} in {}", inner.name, outer.name);
    bench.begin(&config);
    let [source, destination, _] = inner.ends;
    let sent = payload(3);
    let wrapped = packet(inner, &sent, 16);
    bench
        .host
        .send_udp_with_ttl((source, destination), 16, PORTS, &sent);
    let came = bench.child.expect(&what, |came| {
        of_tree(came, Kind::Data).map(|(header, body)| (came.clone(), header, body))
    });
    let (datagram, header, body) = came;
    assert_eq!(
        (datagram.source, datagram.destination),
        outer.channel,
        "{what}"
    );
    assert_eq!((header.sequence.0, datagram.ttl), (1, 16), "{what}");
    assert_eq!(body, wrapped, "{what}: as the source sent it");
    let mut stream = Stream::of(&config);
    stream.epoch = header.epoch;
    let ask = stream.ask(Kind::Nak, 1, 1);
    bench.child.send_overlay_from(child_address, &ask);
    let repair = bench.child.expect(&what, |came| {
        of_overlay(came, Kind::Repair).map(|(_, body)| (came.destination, body))
    });
    assert_eq!(repair, (child_address, wrapped), "{what}: a repair");
    bench.node.remove_session(SessionId(30)).unwrap();
}

/// A stream of `inner` in a tree of `outer` at a last hop, a gap, and its repair.
fn leaves_it_for_a_client(bench: &mut Bench, outer: &Family, inner: &Family) {
    let [(parent, parent_address), _] = outer.neighbors;
    let [source, _, client] = inner.ends;
    let config = SessionConfig {
        upstream: vec![parent.into()],
        source: outer.channel.0,
        group: outer.channel.1,
        clients: vec![ClientConfig {
            name: "c".into(),
            address: client,
            port: 6000,
            catch_up: Duration::ZERO,
        }],
        ..session(31)
    };
    let what = format!("{} from {}", inner.name, outer.name);
    let stream = bench.begin(&config);
    let wrapped = |kind, sequence: u64| {
        let header = stream.header(kind, 0, sequence);
        [&header.emit()[..], &packet(inner, &payload(sequence), 60)].concat()
    };
    for sequence in [1, 3] {
        let data = wrapped(Kind::Data, sequence);
        bench.parent.send_tree(outer.channel, &data);
    }
    bench.parent.expect(&what, |came| {
        of_overlay(came, Kind::Nak).filter(|_| came.destination == parent_address)
    });
    let repair = wrapped(Kind::Repair, 2);
    bench.parent.send_overlay_from(parent_address, &repair);
    for sequence in 1..=3 {
        let copy = bench.host.expect(&what, |came| {
            (came.port == 6000).then(|| (came.clone(), came.payload.clone()))
        });
        let (datagram, came) = copy;
        assert_eq!(came, payload(sequence), "{what}: in order");
        assert_eq!((datagram.source, datagram.destination), (source, client));
        assert_eq!(datagram.ttl, 59, "{what}: one hop on");
    }
    bench.node.remove_session(SessionId(31)).unwrap();
}

fn flow(family: &Family) -> Flow {
    let [source, destination, _] = family.ends;
    Flow {
        destination,
        port: PORTS.1,
        source: Some(source),
    }
}

pub(crate) fn a_source_is_told_why_its_packet_goes_nowhere(bench: &mut Bench) {
    for outer in families() {
        for inner in families() {
            let config = SessionConfig {
                upstream: Vec::new(),
                downstream: vec![outer.neighbors[1].0.into()],
                source: outer.channel.0,
                group: outer.channel.1,
                flow: Some(flow(&inner)),
                deadline: Duration::from_millis(50),
                ..session(32)
            };
            bench.begin(&config);
            is_told_what_fits(bench, &outer, &inner);
            is_told_of_a_spent_ttl(bench, &inner);
            bench.node.remove_session(SessionId(32)).unwrap();
        }
    }
}

fn is_told_what_fits(bench: &mut Bench, outer: &Family, inner: &Family) {
    let [source, destination, _] = inner.ends;
    let room = MTU - outer.lens[0];
    let fits = usize::from(room - inner.lens[1] - 8);
    for (len, goes) in [(fits, true), (fits + 1, false)] {
        let sent = vec![7; len];
        bench
            .host
            .send_udp_with_ttl((source, destination), 9, PORTS, &sent);
        if goes {
            bench
                .child
                .expect("what fits", |came| of_tree(came, Kind::Data));
            continue;
        }
        let frame = bench.host.expect_message("too big");
        let (ours, theirs, quote) = opened(&frame);
        assert_eq!(theirs, source);
        assert_eq!(
            ours,
            [IpAddr::V4(Ipv4Addr::new(10, 0, 4, 1)), ipv6(4, 1).into()]
                [usize::from(theirs.is_ipv6())]
        );
        match message(&frame) {
            TransportHeader::Icmpv4(icmp) => {
                let told = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded {
                    next_hop_mtu: room,
                };
                assert_eq!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(told));
                assert_eq!(quote.len(), 576 - 28);
            }
            TransportHeader::Icmpv6(icmp) => {
                let told = Icmpv6Type::PacketTooBig { mtu: room.into() };
                assert_eq!(icmp.icmp_type, told);
                assert_eq!(quote.len(), 1280 - 48);
            }
            other => panic!("{other:?}"),
        }
        assert!(packet(inner, &sent, 9).starts_with(&quote), "what it was");
    }
}

fn is_told_of_a_spent_ttl(bench: &mut Bench, inner: &Family) {
    let [source, destination, _] = inner.ends;
    bench
        .host
        .send_udp_with_ttl((source, destination), 1, PORTS, b"too far");
    let frame = bench.host.expect_message("time exceeded");
    let (_, theirs, quote) = opened(&frame);
    assert_eq!(theirs, source);
    match message(&frame) {
        TransportHeader::Icmpv4(icmp) => {
            let code = etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit;
            assert_eq!(icmp.icmp_type, Icmpv4Type::TimeExceeded(code));
        }
        TransportHeader::Icmpv6(icmp) => {
            let code = etherparse::icmpv6::TimeExceededCode::HopLimitExceeded;
            assert_eq!(icmp.icmp_type, Icmpv6Type::TimeExceeded(code));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(quote, packet(inner, b"too far", 1), "what it was");
}

/// Where the kernel has no part of the port.
pub(crate) fn an_echo_request_comes_back(bench: &mut Bench) {
    let ours: [IpAddr; 3] = [
        bench.child.node_address(Ipv4Addr::LOCALHOST.into()),
        bench.child.node_address(ipv6(3, 9).into()),
        bench.child.node_address(LINK_LOCAL.into()),
    ];
    let limited = bench.drops("icmp_limited");
    for (to, len) in ours.into_iter().flat_map(|to| [(to, 0), (to, 1400)]) {
        let from = if to.is_ipv4() {
            bench.child.address(9)
        } else {
            ipv6(3, 9).into()
        };
        let sent = vec![0x5a; len];
        bench.child.send_echo(from, to, &sent);
        let frame = bench.child.expect_message("an answer");
        let (source, destination, data) = opened(&frame);
        assert_eq!((source, destination), (to, from));
        assert_eq!(data, sent);
        let echo = match message(&frame) {
            TransportHeader::Icmpv4(icmp) => match icmp.icmp_type {
                Icmpv4Type::EchoReply(echo) => echo,
                other => panic!("{other:?}"),
            },
            TransportHeader::Icmpv6(icmp) => match icmp.icmp_type {
                Icmpv6Type::EchoReply(echo) => echo,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!((echo.id, echo.seq), (7, 1));
    }
    // A flood is not answered whole, and what is not is counted.
    let flood = 1000;
    for _ in 0..flood {
        bench
            .child
            .send_echo(bench.child.address(9), ours[0], b"flood");
    }
    bench.until("the flood is limited", |said| {
        said.drops["icmp_limited"] > limited
    });
    bench.settled();
    bench.child.forget();
}

fn message(frame: &[u8]) -> TransportHeader {
    let seen = PacketHeaders::from_ethernet_slice(frame).unwrap();
    seen.transport.unwrap()
}

/// From whom a message is, to whom, and what it quotes.
fn opened(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let seen = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let ends: (IpAddr, IpAddr) = match seen.net.unwrap() {
        etherparse::NetHeaders::Ipv4(ip, _) => (ip.source.into(), ip.destination.into()),
        etherparse::NetHeaders::Ipv6(ip, _) => (ip.source.into(), ip.destination.into()),
        etherparse::NetHeaders::Arp(_) => panic!("ARP"),
    };
    (ends.0, ends.1, seen.payload.slice().to_vec())
}

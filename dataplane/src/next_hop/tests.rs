use super::*;
use crate::frame::{LocalIpv6, Parsed, parse};
use std::net::{Ipv4Addr, Ipv6Addr};

const PORT: PortIndex = PortIndex(0);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const US: Local = local(OUR_MAC, OURS, OUR_IPV6);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER_IP: IpAddr = IpAddr::V4(PEER);
const OUR_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const START: Instant = Instant(1_000_000_000_000);

const fn local(mac: Mac, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Local {
    Local {
        mac,
        ipv4: Some(ipv4),
        ipv6: Some(LocalIpv6::new(mac, ipv6)),
        tree_port: 7451,
        overlay_port: 7452,
        verify_payload: true,
    }
}

fn table() -> NextHops {
    let second = local(
        Mac([2, 0, 0, 0, 1, 1]),
        Ipv4Addr::new(10, 0, 1, 1),
        "fd00:0:0:1::1".parse().unwrap(),
    );
    NextHops::new(vec![US, second])
}

fn from_peer(operation: ArpOperation, target: Ipv4Addr) -> ArpPacket {
    ArpPacket {
        operation,
        sender_mac: PEER_MAC,
        sender: PEER,
        target_mac: Mac::NONE,
        target,
    }
}

fn at(milliseconds: u64) -> Instant {
    START + Duration::from_millis(milliseconds)
}

/// What the table sends until `end`, as (milliseconds, Ethernet destination); `None` for "lost".
fn outputs(table: &mut NextHops, end: Instant) -> Vec<(u64, Option<Mac>)> {
    let mut seen = Vec::new();
    while let Some(due) = table.next_due().filter(|&due| due <= end) {
        while let Some(output) = table.poll(due) {
            let to = match output {
                Output::Request { frame, .. } => frame.as_bytes().first_chunk().copied().map(Mac),
                Output::Lost { .. } => None,
            };
            seen.push((due.since(START).as_millis() as u64, to));
        }
    }
    seen
}

#[test]
fn a_request_is_what_etherparse_reads_and_a_frame_we_would_answer() {
    let mut table = table();
    assert_eq!(table.want(START, PORT, PEER_IP), None);
    let Some(Output::Request { port, frame }) = table.poll(START) else {
        panic!("a request")
    };
    assert_eq!(port, PORT);
    let seen = etherparse::PacketHeaders::from_ethernet_slice(frame.as_bytes()).unwrap();
    let arp = seen
        .net
        .unwrap()
        .arp_ref()
        .unwrap()
        .clone()
        .try_eth_ipv4()
        .unwrap();
    assert_eq!(arp.operation, etherparse::ArpOperation::REQUEST);
    assert_eq!(
        (arp.sender_mac, arp.sender_ipv4),
        (OUR_MAC.0, OURS.octets())
    );
    assert_eq!(arp.target_ipv4, PEER.octets());
    let peer = local(PEER_MAC, PEER, Ipv6Addr::LOCALHOST);
    let Ok(Parsed::Arp(request)) = parse(frame.as_bytes(), &peer) else {
        panic!("ARP")
    };
    let mut peers_table = NextHops::new(vec![peer]);
    let reply = peers_table
        .handle(START, PORT, &request.into())
        .unwrap()
        .reply
        .unwrap();
    let Ok(Parsed::Arp(reply)) = parse(reply.as_bytes(), &US) else {
        panic!("ARP")
    };
    let action = table.handle(START, PORT, &reply.into()).unwrap();
    assert_eq!(
        action,
        Action {
            reply: None,
            learned: Some((PEER_IP, PEER_MAC))
        }
    );
    assert_eq!(table.lookup(PORT, PEER_IP), Some(PEER_MAC));
    assert_eq!(table.want(START, PORT, PEER_IP), Some(PEER_MAC));
}

#[test]
fn an_unanswered_request_is_repeated_ever_more_slowly() {
    let mut table = table();
    table.want(START, PORT, PEER_IP);
    let times: Vec<u64> = outputs(&mut table, at(4000))
        .iter()
        .map(|output| output.0)
        .collect();
    assert_eq!(times, [0, 20, 60, 140, 300, 620, 1260, 2260, 3260]);
    table.unwant(PORT, PEER_IP);
    assert_eq!(table.next_due(), None);
}

#[test]
fn a_silent_next_hop_is_asked_three_times_then_lost_and_sought_again() {
    let mut table = table();
    table.want(START, PORT, PEER_IP);
    table
        .handle(START, PORT, &from_peer(ArpOperation::Reply, OURS).into())
        .unwrap();
    let expected = [
        (30_000, Some(PEER_MAC)),
        (31_000, Some(PEER_MAC)),
        (32_000, Some(PEER_MAC)),
        (33_000, None),
        (33_000, Some(Mac::BROADCAST)),
        (33_020, Some(Mac::BROADCAST)),
    ];
    assert_eq!(outputs(&mut table, at(33_050)), expected);
    assert_eq!(table.lookup(PORT, PEER_IP), None);
}

#[test]
fn an_answer_to_a_refresh_is_no_news_and_holds_for_another_period() {
    let mut table = table();
    table.want(START, PORT, PEER_IP);
    let reply = from_peer(ArpOperation::Reply, OURS);
    table.handle(START, PORT, &reply.into()).unwrap();
    assert_eq!(outputs(&mut table, at(30_000)).len(), 1);
    let action = table.handle(at(30_001), PORT, &reply.into()).unwrap();
    assert_eq!(
        action,
        Action {
            reply: None,
            learned: None
        }
    );
    assert_eq!(table.next_due(), Some(at(60_001)));
    // All three refreshes must go unanswered again before it is lost.
    let times: Vec<_> = outputs(&mut table, at(63_001))
        .iter()
        .map(|output| output.0)
        .take(4)
        .collect();
    assert_eq!(times, [60_001, 61_001, 62_001, 63_001]);
    assert_eq!(table.lookup(PORT, PEER_IP), None);
}

#[test]
fn a_gratuitous_packet_updates_what_is_wanted_and_nothing_else() {
    let mut table = table();
    let gratuitous = from_peer(ArpOperation::Request, PEER);
    assert_eq!(
        table.handle(START, PORT, &gratuitous.into()),
        Err(DropReason::ArpNotForUs)
    );
    table.want(START, PORT, PEER_IP);
    // On the other port it is somebody else.
    assert_eq!(
        table.handle(START, PortIndex(1), &gratuitous.into()),
        Err(DropReason::ArpNotForUs)
    );
    assert_eq!(table.lookup(PORT, PEER_IP), None);
    let learned = table
        .handle(START, PORT, &gratuitous.into())
        .unwrap()
        .learned;
    assert_eq!(learned, Some((PEER_IP, PEER_MAC)));
    let moved = ArpPacket {
        sender_mac: Mac([2, 0, 0, 0, 0, 7]),
        ..gratuitous
    };
    let learned = table.handle(START, PORT, &moved.into()).unwrap().learned;
    assert_eq!(learned, Some((PEER_IP, moved.sender_mac)));
}

#[test]
fn only_our_own_and_proxied_addresses_are_answered() {
    let mut table = table();
    let far = Ipv4Addr::new(198, 51, 100, 1);
    let ask = |table: &mut NextHops, target| {
        table
            .handle(
                START,
                PORT,
                &from_peer(ArpOperation::Request, target).into(),
            )
            .map(|action| action.reply.is_some())
    };
    assert_eq!(ask(&mut table, OURS), Ok(true));
    assert_eq!(ask(&mut table, far), Err(DropReason::ArpNotForUs));
    table.proxy(PORT, far.into());
    table.proxy(PORT, far.into());
    table.unproxy(PORT, far.into());
    assert_eq!(ask(&mut table, far), Ok(true));
    table.unproxy(PORT, far.into());
    assert_eq!(ask(&mut table, far), Err(DropReason::ArpNotForUs));
    // A probe (RFC 5227) comes from no address, and is answered all the same.
    let probe = ArpPacket {
        sender: Ipv4Addr::UNSPECIFIED,
        ..from_peer(ArpOperation::Request, OURS)
    };
    assert!(
        table
            .handle(START, PORT, &probe.into())
            .unwrap()
            .reply
            .is_some()
    );
}

#[test]
fn another_station_with_our_address_is_named() {
    let mut table = table();
    let claim = ArpPacket {
        sender: OURS,
        ..from_peer(ArpOperation::Reply, OURS)
    };
    assert_eq!(
        table.handle(START, PORT, &claim.into()),
        Err(DropReason::ArpConflict)
    );
    let echo = ArpPacket {
        sender_mac: OUR_MAC,
        ..claim
    };
    assert_eq!(
        table.handle(START, PORT, &echo.into()),
        Err(DropReason::ArpNotForUs)
    );
}

#[test]
fn a_sender_that_is_not_the_station_is_refused() {
    let frame = from_peer(ArpOperation::Reply, OURS).emit(OUR_MAC);
    assert!(ArpPacket::parse(PEER_MAC, &frame.as_bytes()[14..]).is_ok());
    let other = Mac([2, 0, 0, 0, 0, 8]);
    assert_eq!(
        ArpPacket::parse(other, &frame.as_bytes()[14..]),
        Err(DropReason::ArpBad)
    );
    for offset in [0, 3, 4, 5, 6, 7] {
        let mut bad = frame.as_bytes()[14..].to_vec();
        bad[offset] ^= 8;
        assert_eq!(
            ArpPacket::parse(PEER_MAC, &bad),
            Err(DropReason::ArpBad),
            "offset {offset}"
        );
    }
}

#[test]
fn a_wanted_next_hop_that_speaks_need_not_be_asked_for() {
    let mut table = table();
    assert!(
        !table.hear(START, PORT, PEER_IP, PEER_MAC),
        "nobody wants it"
    );
    table.want(START, PORT, PEER_IP);
    assert!(!table.hear(START, PORT, PEER_IP, Mac::BROADCAST));
    assert!(table.hear(START, PORT, PEER_IP, PEER_MAC));
    assert_eq!(table.lookup(PORT, PEER_IP), Some(PEER_MAC));
    let other = Mac([2, 0, 0, 0, 0, 7]);
    assert!(
        !table.hear(START, PORT, PEER_IP, other),
        "ARP has the last word"
    );
    assert_eq!(table.lookup(PORT, PEER_IP), Some(PEER_MAC));
}

#[test]
fn a_lie_about_a_next_hop_is_found_out_by_asking_everybody() {
    let mut table = table();
    table.want(START, PORT, PEER_IP);
    let truth = from_peer(ArpOperation::Reply, OURS);
    table.handle(START, PORT, &truth.into()).unwrap();
    let lie = ArpPacket {
        sender_mac: Mac([2, 0, 0, 0, 0, 66]),
        ..truth
    };
    let start = at(1000);
    table.handle(start, PORT, &lie.into()).unwrap();
    table.handle(start, PORT, &lie.into()).unwrap();
    // The first question, or its answer, is lost.
    let asked = outputs(&mut table, start + FIRST_RETRY * 2);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let everybody = |(_, to): &(u64, Option<Mac>)| *to == Some(Mac::BROADCAST);
    assert!(asked.iter().all(everybody), "{asked:?}");
    let answered = start + FIRST_RETRY * 2;
    let learned = table.handle(answered, PORT, &truth.into()).unwrap().learned;
    assert_eq!(learned, Some((PEER_IP, PEER_MAC)));
    let asked = outputs(&mut table, answered + FIRST_RETRY);
    assert!(asked.len() == 1 && asked.iter().all(everybody), "{asked:?}");
    table
        .handle(answered + FIRST_RETRY, PORT, &truth.into())
        .unwrap();
    assert_eq!(outputs(&mut table, answered + REFRESH), []);
}

mod ipv6 {
    use super::*;
    use crate::frame::Mac;

    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x12, 0x3456);
    const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    /// What a frame of ours is to a port with that address.
    fn parsed(frame: &ShortFrame, mac: Mac, address: Ipv6Addr) -> Result<NdPacket, DropReason> {
        match parse(frame.as_bytes(), &local(mac, OURS, address)) {
            Ok(Parsed::Nd(packet)) => Ok(packet),
            Ok(other) => panic!("{other:?}"),
            Err(reason) => Err(reason),
        }
    }

    fn ask(sender: Ipv6Addr, target: Ipv6Addr) -> NdPacket {
        NdPacket {
            operation: NdOperation::Solicit,
            station: PEER_MAC,
            sender,
            target,
            tells_station: !sender.is_unspecified(),
        }
    }

    fn tell(target: Ipv6Addr, station: Mac, overrides: bool) -> NdPacket {
        NdPacket {
            operation: NdOperation::Advertise { overrides },
            station,
            sender: target,
            target,
            tells_station: true,
        }
    }

    #[test]
    fn a_question_is_what_etherparse_reads_and_the_peer_answers() {
        let mut table = table();
        table.want(START, PORT, PEER.into());
        let Some(Output::Request { frame, .. }) = table.poll(START) else {
            panic!("a question")
        };
        let seen = etherparse::PacketHeaders::from_ethernet_slice(frame.as_bytes()).unwrap();
        let ethernet = seen.link.unwrap().ethernet2().unwrap();
        assert_eq!(ethernet.destination, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let ip = seen.net.as_ref().unwrap().ipv6_ref().unwrap().0;
        assert_eq!(ip.source, OUR_IPV6.octets());
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
        assert_eq!((ip.destination, ip.hop_limit), (group.octets(), 255));
        let icmp = seen.transport.unwrap().icmpv6().unwrap();
        let checksum =
            icmp.icmp_type
                .calc_checksum(ip.source, ip.destination, seen.payload.slice());
        assert_eq!(icmp.checksum, checksum.unwrap());
        let question = parsed(&frame, PEER_MAC, PEER).unwrap();
        let asked = NdPacket {
            station: OUR_MAC,
            ..ask(OUR_IPV6, PEER)
        };
        assert_eq!(question, asked);
        let mut peers = NextHops::new(vec![local(PEER_MAC, OURS, PEER)]);
        let reply = peers.handle(START, PORT, &question.into()).unwrap().reply;
        let answer = parsed(&reply.unwrap(), OUR_MAC, OUR_IPV6).unwrap();
        assert_eq!(answer, tell(PEER, PEER_MAC, true));
        let learned = table.handle(START, PORT, &answer.into()).unwrap().learned;
        assert_eq!(learned, Some((PEER.into(), PEER_MAC)));
        assert_eq!(table.lookup(PORT, PEER.into()), Some(PEER_MAC));
        // It is asked again alone, as long as it is believed.
        let refresh = outputs(&mut table, at(30_000));
        assert_eq!(refresh, [(30_000, Some(PEER_MAC))]);
    }

    #[test]
    fn a_link_local_next_hop_is_asked_from_the_link_local_address() {
        let mut table = table();
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        table.want(START, PORT, router.into());
        let Some(Output::Request { frame, .. }) = table.poll(START) else {
            panic!("a question")
        };
        let question = parsed(&frame, PEER_MAC, router).unwrap();
        assert_eq!(question.sender, OUR_MAC.link_local());
    }

    #[test]
    fn our_addresses_are_answered_for_and_proxied_ones_as_a_second_choice() {
        let mut table = table();
        table.proxy(PORT, FAR.into());
        let flags = |table: &mut NextHops, target| {
            let action = table.handle(START, PORT, &ask(PEER, target).into());
            action.map(|action| action.reply.unwrap().as_bytes()[58])
        };
        assert_eq!(flags(&mut table, OUR_IPV6), Ok(0xe0));
        assert_eq!(flags(&mut table, OUR_MAC.link_local()), Ok(0xe0));
        assert_eq!(flags(&mut table, FAR), Ok(0x40));
        assert_eq!(flags(&mut table, PEER), Err(DropReason::NdNotForUs));
    }

    #[test]
    fn who_wants_an_address_of_ours_for_its_own_is_told_with_all_others() {
        let mut table = table();
        let probe = ask(Ipv6Addr::UNSPECIFIED, OUR_IPV6);
        let action = table.handle(START, PORT, &probe.into()).unwrap();
        assert_eq!(action.learned, None);
        let reply = action.reply.unwrap();
        let seen = etherparse::PacketHeaders::from_ethernet_slice(reply.as_bytes()).unwrap();
        let ip = seen.net.unwrap().ipv6_ref().unwrap().0.clone();
        let all: Ipv6Addr = "ff02::1".parse().unwrap();
        assert_eq!(
            (ip.source, ip.destination),
            (OUR_IPV6.octets(), all.octets())
        );
        assert_eq!(reply.as_bytes()[..6], [0x33, 0x33, 0, 0, 0, 1]);
        // Not solicited, as it is to all.
        assert_eq!(reply.as_bytes()[58], 0xa0);
    }

    #[test]
    fn another_station_with_our_address_is_named() {
        let mut table = table();
        let claim = tell(OUR_IPV6, PEER_MAC, true);
        let named = table.handle(START, PORT, &claim.into());
        assert_eq!(named, Err(DropReason::NdConflict));
        let own = tell(OUR_IPV6, OUR_MAC, true);
        let named = table.handle(START, PORT, &own.into());
        assert_eq!(named, Err(DropReason::NdNotForUs));
    }

    #[test]
    fn a_second_choice_does_not_replace_what_is_known() {
        let mut table = table();
        table.want(START, PORT, PEER.into());
        let other = Mac([2, 0, 0, 0, 0, 7]);
        let first = tell(PEER, other, false);
        let learned = table.handle(START, PORT, &first.into()).unwrap().learned;
        assert_eq!(learned, Some((PEER.into(), other)), "better than nothing");
        let second = tell(PEER, PEER_MAC, false);
        let learned = table.handle(START, PORT, &second.into()).unwrap().learned;
        assert_eq!(learned, None);
        let true_one = tell(PEER, PEER_MAC, true);
        let learned = table.handle(START, PORT, &true_one.into()).unwrap().learned;
        assert_eq!(learned, Some((PEER.into(), PEER_MAC)));
    }

    #[test]
    fn what_may_not_be_believed_is_refused() {
        let question = NdPacket::solicitation(PEER_MAC, PEER, OUR_IPV6, None);
        assert!(parsed(&question, OUR_MAC, OUR_IPV6).is_ok());
        let refused = |offset: usize, value: u8, seal: bool| {
            let mut frame = question.as_bytes().to_vec();
            frame[offset] = value;
            if seal {
                reseal(&mut frame);
            }
            parse(&frame, &US).unwrap_err()
        };
        let cases = [
            ("forwarded", 21, 254, false),
            ("damaged", 70, 1, false),
            ("a code", 55, 1, true),
            ("a group as the target", 62, 0xff, true),
            ("an option without a length", 79, 0, true),
            ("an option that goes on", 79, 2, true),
            ("another station's address", 85, 9, true),
        ];
        for (what, offset, value, seal) in cases {
            assert_eq!(refused(offset, value, seal), DropReason::NdBad, "{what}");
        }
        assert_eq!(refused(54, 133, true), DropReason::IcmpUnknown);
        for len in 54..86 {
            let mut frame = question.as_bytes()[..len].to_vec();
            frame[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
            reseal(&mut frame);
            // A solicitation may do without the option; half of one is none.
            let is_whole = len == 78;
            assert_eq!(parse(&frame, &US).is_ok(), is_whole, "{len}");
        }
    }

    /// Sets an ICMPv6 checksum right.
    fn reseal(frame: &mut [u8]) {
        if frame.len() < 58 {
            return;
        }
        frame[56..58].fill(0);
        let len = (frame.len() - 54) as u16;
        let sum = crate::checksum::Sum::of(&frame[22..])
            + crate::checksum::Sum::word(58)
            + crate::checksum::Sum::word(len);
        let checksum = sum.checksum().to_be_bytes();
        frame[56..58].copy_from_slice(&checksum);
    }
}

use super::*;
use crate::frame::{Local, Parsed, parse};

const PORT: PortIndex = PortIndex(0);
const US: ArpPort = ArpPort {
    mac: Mac([2, 0, 0, 0, 0, 1]),
    address: Ipv4Addr::new(10, 0, 0, 1),
};
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const START: Instant = Instant(1_000_000_000_000);

fn table() -> ArpTable {
    let second = ArpPort {
        mac: Mac([2, 0, 0, 0, 1, 1]),
        address: Ipv4Addr::new(10, 0, 1, 1),
    };
    ArpTable::new(vec![US, second])
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
fn outputs(table: &mut ArpTable, end: Instant) -> Vec<(u64, Option<Mac>)> {
    let mut seen = Vec::new();
    while let Some(due) = table.next_due().filter(|&due| due <= end) {
        while let Some(output) = table.poll(due) {
            let to = match output {
                ArpOutput::Request { frame, .. } => Some(Mac([
                    frame[0], frame[1], frame[2], frame[3], frame[4], frame[5],
                ])),
                ArpOutput::Lost { .. } => None,
            };
            seen.push((due.since(START).as_millis() as u64, to));
        }
    }
    seen
}

#[test]
fn a_request_is_what_etherparse_reads_and_a_frame_we_would_answer() {
    let mut table = table();
    assert_eq!(table.want(START, PORT, PEER), None);
    let Some(ArpOutput::Request { port, frame }) = table.poll(START) else {
        panic!("a request")
    };
    assert_eq!(port, PORT);
    let seen = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
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
        (US.mac.0, US.address.octets())
    );
    assert_eq!(arp.target_ipv4, PEER.octets());
    let peer = Local {
        mac: PEER_MAC,
        address: PEER,
        tree_port: 7451,
        overlay_port: 7452,
        verify_payload: true,
    };
    let Ok(Parsed::Arp(request)) = parse(&frame, &peer) else {
        panic!("ARP")
    };
    let mut peers_table = ArpTable::new(vec![ArpPort {
        mac: PEER_MAC,
        address: PEER,
    }]);
    let reply = peers_table
        .handle(START, PORT, &request)
        .unwrap()
        .reply
        .unwrap();
    let us = Local {
        mac: US.mac,
        address: US.address,
        ..peer
    };
    let Ok(Parsed::Arp(reply)) = parse(&reply, &us) else {
        panic!("ARP")
    };
    let action = table.handle(START, PORT, &reply).unwrap();
    assert_eq!(
        action,
        ArpAction {
            reply: None,
            learned: Some((PEER, PEER_MAC))
        }
    );
    assert_eq!(table.lookup(PORT, PEER), Some(PEER_MAC));
    assert_eq!(table.want(START, PORT, PEER), Some(PEER_MAC));
}

#[test]
fn an_unanswered_request_is_repeated_ever_more_slowly() {
    let mut table = table();
    table.want(START, PORT, PEER);
    let times: Vec<u64> = outputs(&mut table, at(4000))
        .iter()
        .map(|output| output.0)
        .collect();
    assert_eq!(times, [0, 20, 60, 140, 300, 620, 1260, 2260, 3260]);
    table.unwant(PORT, PEER);
    assert_eq!(table.next_due(), None);
}

#[test]
fn a_silent_next_hop_is_asked_three_times_then_lost_and_sought_again() {
    let mut table = table();
    table.want(START, PORT, PEER);
    table
        .handle(START, PORT, &from_peer(ArpOperation::Reply, US.address))
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
    assert_eq!(table.lookup(PORT, PEER), None);
}

#[test]
fn an_answer_to_a_refresh_is_no_news_and_holds_for_another_period() {
    let mut table = table();
    table.want(START, PORT, PEER);
    let reply = from_peer(ArpOperation::Reply, US.address);
    table.handle(START, PORT, &reply).unwrap();
    assert_eq!(outputs(&mut table, at(30_000)).len(), 1);
    let action = table.handle(at(30_001), PORT, &reply).unwrap();
    assert_eq!(
        action,
        ArpAction {
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
    assert_eq!(table.lookup(PORT, PEER), None);
}

#[test]
fn a_gratuitous_packet_updates_what_is_wanted_and_nothing_else() {
    let mut table = table();
    let gratuitous = from_peer(ArpOperation::Request, PEER);
    assert_eq!(
        table.handle(START, PORT, &gratuitous),
        Err(DropReason::ArpNotForUs)
    );
    table.want(START, PORT, PEER);
    // On the other port it is somebody else.
    assert_eq!(
        table.handle(START, PortIndex(1), &gratuitous),
        Err(DropReason::ArpNotForUs)
    );
    assert_eq!(table.lookup(PORT, PEER), None);
    let learned = table.handle(START, PORT, &gratuitous).unwrap().learned;
    assert_eq!(learned, Some((PEER, PEER_MAC)));
    let moved = ArpPacket {
        sender_mac: Mac([2, 0, 0, 0, 0, 7]),
        ..gratuitous
    };
    let learned = table.handle(START, PORT, &moved).unwrap().learned;
    assert_eq!(learned, Some((PEER, moved.sender_mac)));
}

#[test]
fn only_our_own_and_proxied_addresses_are_answered() {
    let mut table = table();
    let far = Ipv4Addr::new(198, 51, 100, 1);
    let ask = |table: &mut ArpTable, target| {
        table
            .handle(START, PORT, &from_peer(ArpOperation::Request, target))
            .map(|action| action.reply.is_some())
    };
    assert_eq!(ask(&mut table, US.address), Ok(true));
    assert_eq!(ask(&mut table, far), Err(DropReason::ArpNotForUs));
    table.proxy(PORT, far);
    table.proxy(PORT, far);
    table.unproxy(PORT, far);
    assert_eq!(ask(&mut table, far), Ok(true));
    table.unproxy(PORT, far);
    assert_eq!(ask(&mut table, far), Err(DropReason::ArpNotForUs));
    // A probe (RFC 5227) comes from no address, and is answered all the same.
    let probe = ArpPacket {
        sender: Ipv4Addr::UNSPECIFIED,
        ..from_peer(ArpOperation::Request, US.address)
    };
    assert!(table.handle(START, PORT, &probe).unwrap().reply.is_some());
}

#[test]
fn another_station_with_our_address_is_named() {
    let mut table = table();
    let claim = ArpPacket {
        sender: US.address,
        ..from_peer(ArpOperation::Reply, US.address)
    };
    assert_eq!(
        table.handle(START, PORT, &claim),
        Err(DropReason::ArpConflict)
    );
    let echo = ArpPacket {
        sender_mac: US.mac,
        ..claim
    };
    assert_eq!(
        table.handle(START, PORT, &echo),
        Err(DropReason::ArpNotForUs)
    );
}

#[test]
fn a_sender_that_is_not_the_station_is_refused() {
    let frame = from_peer(ArpOperation::Reply, US.address).emit(US.mac);
    assert!(ArpPacket::parse(PEER_MAC, &frame[14..]).is_ok());
    let other = Mac([2, 0, 0, 0, 0, 8]);
    assert_eq!(
        ArpPacket::parse(other, &frame[14..]),
        Err(DropReason::ArpBad)
    );
    for offset in [0, 3, 4, 5, 6, 7] {
        let mut bad = frame[14..].to_vec();
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
    assert!(!table.hear(START, PORT, PEER, PEER_MAC), "nobody wants it");
    table.want(START, PORT, PEER);
    assert!(!table.hear(START, PORT, PEER, Mac::BROADCAST));
    assert!(table.hear(START, PORT, PEER, PEER_MAC));
    assert_eq!(table.lookup(PORT, PEER), Some(PEER_MAC));
    let other = Mac([2, 0, 0, 0, 0, 7]);
    assert!(
        !table.hear(START, PORT, PEER, other),
        "ARP has the last word"
    );
    assert_eq!(table.lookup(PORT, PEER), Some(PEER_MAC));
}

#[test]
fn a_lie_about_a_next_hop_is_found_out_by_asking_everybody() {
    let mut table = table();
    table.want(START, PORT, PEER);
    let truth = from_peer(ArpOperation::Reply, US.address);
    table.handle(START, PORT, &truth).unwrap();
    let lie = ArpPacket {
        sender_mac: Mac([2, 0, 0, 0, 0, 66]),
        ..truth
    };
    let start = at(1000);
    table.handle(start, PORT, &lie).unwrap();
    table.handle(start, PORT, &lie).unwrap();
    // The first question, or its answer, is lost.
    let asked = outputs(&mut table, start + FIRST_RETRY * 2);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let everybody = |(_, to): &(u64, Option<Mac>)| *to == Some(Mac::BROADCAST);
    assert!(asked.iter().all(everybody), "{asked:?}");
    let answered = start + FIRST_RETRY * 2;
    let learned = table.handle(answered, PORT, &truth).unwrap().learned;
    assert_eq!(learned, Some((PEER, PEER_MAC)));
    let asked = outputs(&mut table, answered + FIRST_RETRY);
    assert!(asked.len() == 1 && asked.iter().all(everybody), "{asked:?}");
    table.handle(answered + FIRST_RETRY, PORT, &truth).unwrap();
    assert_eq!(outputs(&mut table, answered + REFRESH), []);
}

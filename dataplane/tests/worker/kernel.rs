//! What goes to the kernel, frame by frame.

use etherparse::{EtherType, PacketBuilder};

use crate::station::Station;
use crate::{Bench, KERNEL_INTERFACE};

/// What the host at the edge sends; it is the node's to say which of it the kernel gets.
fn frames(host: &Station) -> [(bool, &'static str, Vec<u8>); 10] {
    let (mac, node) = (host.mac(), host.node_mac());
    let (address, router) = ([10, 0, 4, 2], [10, 0, 4, 1]);
    let udp = |to: [u8; 4], port: u16| {
        let group = [1, 0, 0x5e, to[1] & 0x7f, to[2], to[3]];
        let at = if to[0] >= 224 { group } else { node };
        let mut frame = Vec::new();
        let packet = PacketBuilder::ethernet2(mac, at).ipv4(address, to, 9);
        packet.udp(4000, port).write(&mut frame, &[7; 40]).unwrap();
        frame
    };
    let mut tcp = Vec::new();
    let packet = PacketBuilder::ethernet2(mac, node).ipv4(address, router, 64);
    packet
        .tcp(50_000, 22, 1, 1000)
        .write(&mut tcp, &[])
        .unwrap();
    let arp = |operation: u8, at: [u8; 6], target: [u8; 4]| {
        let start = [
            &at[..],
            &mac,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
            &mac,
            &address,
        ];
        [&start.concat()[..], &[0; 6], &target].concat()
    };
    let other = [2, 0, 0, 0, 0, 0x77];
    let mut to_other = tcp.clone();
    to_other[..6].copy_from_slice(&other);
    let mut damaged = tcp.clone();
    damaged[20] ^= 1;
    let ipv6 = EtherType::IPV6.0.to_be_bytes();
    let neighbor_discovery = [&[0x33, 0x33, 0, 0, 0, 1][..], &mac, &ipv6, &[0x60; 60]].concat();
    [
        (
            false,
            "a question for the node's address",
            arp(1, [0xff; 6], router),
        ),
        (true, "an answer", arp(2, node, router)),
        (
            true,
            "a question for somebody else",
            arp(1, [0xff; 6], [10, 0, 4, 99]),
        ),
        (true, "TCP", tcp),
        (
            true,
            "multicast that is no tree's",
            udp([224, 0, 0, 251], 5353),
        ),
        (true, "IPv6 for a group", neighbor_discovery),
        (false, "a frame for another station", to_other),
        (false, "a damaged one", damaged),
        (
            false,
            "a tree that is not here",
            udp([239, 1, 0, 99], overlay::wire::TREE_PORT),
        ),
        (true, "a datagram of no session", udp(router, 161)),
    ]
}

pub(crate) fn the_kernel_gets_what_is_not_ours_and_sends_by_the_same_port(bench: &mut Bench) {
    let kernel = Station::new(KERNEL_INTERFACE);
    let frames = frames(&bench.host);
    for (_, _, frame) in &frames {
        bench.host.send_frame(frame);
    }
    let for_kernel: Vec<_> = frames.iter().filter(|(wanted, ..)| *wanted).collect();
    let numbers = |snapshot: &dataplane::Snapshot| snapshot.ports[3].kernel.clone().unwrap();
    let wanted = for_kernel.len() as u64;
    bench.until("the kernel has all of it", |snapshot| {
        numbers(snapshot).to_kernel >= wanted
    });
    // In any order: with several queues they come by different ones.
    let mut seen: Vec<_> = std::iter::from_fn(|| kernel.see()).collect();
    for (_, what, frame) in for_kernel {
        let place = seen.iter().position(|seen| seen == frame);
        seen.swap_remove(place.expect(what));
    }
    assert_eq!(seen, [[0; 0]; 0], "no more than that");

    // The other way: to the host, as the kernel has made it.
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(bench.host.node_mac(), bench.host.mac())
        .ipv4([10, 0, 4, 1], [10, 0, 4, 2], 64)
        .udp(161, 4000)
        .write(&mut frame, b"from the kernel")
        .unwrap();
    kernel.send_frame(&frame);
    bench.host.expect("the kernel's datagram", |came| {
        (came.payload == b"from the kernel").then_some(())
    });
    assert_eq!(numbers(&bench.node.snapshot()).from_kernel, 1);

    // Beyond the rate, by name; each of the two counts what the other does not.
    let before = bench.node.snapshot();
    for _ in 0..400 {
        bench.host.send_frame(&frames[3].2);
    }
    let dropped = |snapshot: &dataplane::Snapshot| {
        snapshot.drops["kernel_rate"] - before.drops["kernel_rate"]
    };
    let after = bench.until("all of the storm is accounted for", |snapshot| {
        let taken = numbers(snapshot).to_kernel - numbers(&before).to_kernel;
        taken + dropped(snapshot) == 400
    });
    assert!(dropped(&after) > 300, "{}", dropped(&after));
}
